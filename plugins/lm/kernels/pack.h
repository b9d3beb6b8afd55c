/* pack.h: rearranging operands for the tiles of a vector set, written once over sixteen lanes.
 *
 * Invariant: a packed value is the operand as the product sees it (bf16/1: rounded as bf16.h says), wherever it comes
 * from. A block of lanes is up to sixteen rows of A or columns of B; its packed form has, for each index of the
 * reduction (or pair of them), the lanes side by side. */
#ifndef LM_KERNELS_PACK_H
#define LM_KERNELS_PACK_H

#include "bf16.h"
#include "rows.h"

typedef enum operand_kind {
    PLAIN,   /* f32, one index after the other */
    ROUNDED, /* f32 rounded to bf16 and widened again: for sets without an instruction for pairs */
    PAIRS    /* two bf16 in 32 bits: the even index in the low half, the odd one in the high half */
} operand_kind;

/* lm_bf16_round, left in the high half of each lane: the widened value's bits. */
static inline i16 rounded_bits(v16 x) {
    i16 bits = v_bits(x), magnitude = i_and(bits, i_set(0x7fffffffu));
    i16 odd = i_and(i_shift_right(bits, 16), i_set(1));
    i16 nearest = i_and(i_add(i_add(bits, i_set(0x7fff)), odd), i_set(0xffff0000u));
    nearest =
        i_choose(i_greater(i_set(LM_BF16_SMALLEST), magnitude), i_and(bits, i_set(0x80000000u)), nearest);
    return i_choose(i_greater(magnitude, i_set(0x7f800000u)), i_set(LM_BF16_NAN << 16), nearest);
}

static inline v16 rounded(v16 x) {
    return i_float_of(rounded_bits(x));
}

/* Sixteen reduction indices (fewer: `count`) of up to sixteen lanes: block[i] holds index i of every lane. Absent
 * lanes are 0. `lane_step` and `index_step` are distances in `source`; one of them is 1. */
static inline void gather(v16 block[16], const float *source, size_t lane_step, size_t index_step,
                          size_t lanes, size_t count) {
    if (index_step != 1 || count == 1) { /* lanes lie side by side */
        for (size_t i = 0; i < count; i++) {
            if (lane_step == 1) {
                block[i] = get(source + i * index_step, lanes);
            } else {
                float one[LANES] = {0};
                for (size_t lane = 0; lane < lanes; lane++) {
                    one[lane] = source[lane * lane_step];
                }
                block[i] = v_load(one);
            }
        }
        return;
    }
    for (size_t lane = 0; lane < LANES; lane++) {
        block[lane] = lane < lanes ? get(source + lane * lane_step, count) : v_set(0.0f);
    }
    v_transpose(block);
}

/* Packs `k` indices of up to sixteen lanes. The packed lanes of one index (or pair) are `width` values apart from
 * those of the next; each time sixteen are written, so `out` needs that much room after the last. `absent` stands for
 * the odd partner of a last even index. */
static inline void pack_lanes(operand_kind kind, uint32_t *out, size_t width, const float *source,
                              size_t lane_step, size_t index_step, size_t lanes, size_t k, uint32_t absent) {
    for (size_t first = 0; first < k; first += LANES) {
        size_t count = k - first < LANES ? k - first : LANES;
        v16 block[LANES];
        gather(block, source + first * index_step, lane_step, index_step, lanes, count);
        if (kind == PAIRS) {
            for (size_t i = 0; i < count; i += 2, out += width) {
                i16 high = i + 1 < count ? rounded_bits(block[i + 1]) : i_set(absent);
                i_store(out, i_or(high, i_shift_right(rounded_bits(block[i]), 16)));
            }
        } else {
            for (size_t i = 0; i < count; i++, out += width) {
                i_store(out, kind == ROUNDED ? rounded_bits(block[i]) : v_bits(block[i]));
            }
        }
    }
}

/* --- B: whole panels of LM_PANEL columns --- */

static size_t f32_panel_bytes(size_t k) {
    return k * LM_PANEL * sizeof(float);
}

static size_t bf16_panel_bytes(size_t k) {
    return (k / 2 + k % 2) * LM_PANEL * 2 * sizeof(uint16_t);
}

static inline void pack_panels(operand_kind kind, void *packed, const float *b, size_t k, size_t n,
                               size_t stride, bool transposed) {
    size_t panel = kind == PAIRS ? bf16_panel_bytes(k) : f32_panel_bytes(k);
    size_t lane_step = transposed ? stride : 1, index_step = transposed ? 1 : stride;
    for (size_t first = 0; first < n; first += LM_PANEL) {
        uint32_t *out = (uint32_t *)((char *)packed + first / LM_PANEL * panel);
        for (size_t half = 0; half < LM_PANEL; half += LANES) {
            size_t column = first + half, left = column < n ? n - column : 0;
            const float *source = left > 0 ? b + column * lane_step : b;
            pack_lanes(kind, out + half, LM_PANEL, source, lane_step, index_step, left < LANES ? left : LANES,
                       k, 0);
        }
    }
}

static void f32_pack(void *packed, const float *b, size_t k, size_t n, size_t stride, bool transposed) {
    pack_panels(PLAIN, packed, b, k, n, stride, transposed);
}

static void bf16_pack(void *packed, const float *b, size_t k, size_t n, size_t stride, bool transposed) {
    pack_panels(PAIRS, packed, b, k, n, stride, transposed);
}

static void f32_round(float *out, const float *x, size_t n) {
    if (n > 0 && out != x) {
        memmove(out, x, n * sizeof *x);
    }
}

static void bf16_round(float *out, const float *x, size_t n) {
    FOR_BLOCKS(i, n) {
        put(out + i, rounded(get(x + i, lanes)), lanes);
    }
}

#endif

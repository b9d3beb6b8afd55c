/* pack.h: rearranging operands for the tiles of a vector set, written once over sixteen lanes.
 *
 * Invariant: a packed value is the operand as the product sees it (bf16/1: rounded as bf16.h says),
 * wherever it comes from. A block of lanes is up to sixteen rows of A or columns of B; its packed form
 * has, for each index of the reduction (or pair of them), the lanes side by side. */
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

#ifndef LM_HARDWARE_PAIRS /* else the set has brought these two, made of its own instructions */

/* A pair in each lane: the even index's value below, the odd one's above. */
static inline i16 pairs_of_lanes(v16 even, v16 odd) {
    return i_or(rounded_bits(odd), i_shift_right(rounded_bits(even), 16));
}

/* Sixteen pairs of thirty-two neighbours. */
static inline i16 pairs_of_neighbours(v16 first, v16 second) {
    v16 even, odd;
    v_deinterleave(first, second, &even, &odd);
    return pairs_of_lanes(even, odd);
}

#endif

/* Rows of A were often written by other processors, and nothing guesses where the next row's values are. */
enum { AHEAD = 8 * LANES };
static inline void expect(const float *source, size_t count) {
    for (size_t i = 0; i < count; i += LANES) {
        __builtin_prefetch(source + i);
    }
}

/* Up to sixteen lines of a packed block: line i has index i (or pair i) of every lane. Returns how many.
 * `count` indices are there: at most 16, of pairs 32. Absent lanes and indices are 0. `lane_step` and
 * `index_step` are distances in `source`; one of them is 1. */
static inline size_t gather(operand_kind kind, v16 block[LANES], const float *source, size_t lane_step,
                            size_t index_step, size_t lanes, size_t count) {
    if (index_step == 1) { /* a lane's indices lie side by side: read along them, then turn */
        for (size_t lane = 0; lane < LANES; lane++) {
            const float *row = source + lane * lane_step;
            if (lane >= lanes) {
                block[lane] = v_set(0.0f);
            } else if (kind == PAIRS) {
                expect(row + AHEAD, 2 * LANES);
                v16 first = get(row, count < LANES ? count : LANES);
                v16 second = count > LANES ? get(row + LANES, count - LANES) : v_set(0.0f);
                block[lane] = i_float_of(pairs_of_neighbours(first, second));
            } else {
                block[lane] = kind == ROUNDED ? rounded(get(row, count)) : get(row, count);
            }
        }
        v_transpose(block);
    } else if (kind == PAIRS) {
        for (size_t i = 0; i < count; i += 2) {
            const float *even = source + i * index_step;
            v16 odd = i + 1 < count ? get(even + index_step, lanes) : v_set(0.0f);
            block[i / 2] = i_float_of(pairs_of_lanes(get(even, lanes), odd));
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            v16 row = get(source + i * index_step, lanes);
            block[i] = kind == ROUNDED ? rounded(row) : row;
        }
    }
    return kind == PAIRS ? count / 2 + count % 2 : count;
}

/* One lane whose indices lie side by side: nothing to turn. */
static inline void pack_one(operand_kind kind, uint32_t *out, const float *source, size_t k) {
    if (kind == PAIRS) {
        for (size_t i = 0; i < k; i += 2 * LANES) {
            size_t count = k - i < 2 * LANES ? k - i : 2 * LANES;
            v16 first = get(source + i, count < LANES ? count : LANES);
            v16 second = count > LANES ? get(source + i + LANES, count - LANES) : v_set(0.0f);
            i_store(out + i / 2, pairs_of_neighbours(first, second));
        }
    } else {
        FOR_BLOCKS(i, k) {
            v16 x = get(source + i, lanes);
            i_store(out + i, kind == ROUNDED ? rounded_bits(x) : v_bits(x));
        }
    }
}

/* One lane that lies in a row: nothing to rearrange. PAIRS side by side are bf16 values in their order. */
static inline void pack_row(operand_kind kind, uint32_t *out, const float *source, size_t k,
                            uint32_t absent) {
    for (size_t first = 0; first < k; first += LANES) {
        size_t count = k - first < LANES ? k - first : LANES;
        v16 x = get(source + first, count);
        if (kind == PAIRS) {
            uint32_t bits[LANES];
            uint16_t *halves = (uint16_t *)out + first;
            i_store(bits, rounded_bits(x));
            for (size_t i = 0; i < LANES; i++) {
                halves[i] = (uint16_t)(bits[i] >> 16);
            }
            if (count % 2 != 0) {
                halves[count] = (uint16_t)(absent >> 16);
            }
        } else {
            i_store(out + first, kind == ROUNDED ? rounded_bits(x) : v_bits(x));
        }
    }
}

/* Packs `k` indices of up to sixteen lanes. The packed lanes of one index (or pair) are `width` values
 * apart from those of the next; each time sixteen are written, so `out` needs that much room after the
 * last. `absent` is put where the odd partner of a last even index would stand. */
static inline void pack_lanes(operand_kind kind, uint32_t *out, size_t width, const float *source,
                              size_t lane_step, size_t index_step, size_t lanes, size_t k, uint32_t absent) {
    const size_t step = kind == PAIRS ? 2 * LANES : LANES;
    if (width == 1 && index_step == 1) {
        pack_one(kind, out, source, k);
    } else {
        uint32_t *line = out;
        for (size_t first = 0; first < k; first += step) {
            v16 block[LANES];
            size_t lines = gather(kind, block, source + first * index_step, lane_step, index_step, lanes,
                                  k - first < step ? k - first : step);
            for (size_t i = 0; i < lines; i++, line += width) {
                i_store(line, v_bits(block[i]));
            }
        }
    }
    if (kind == PAIRS && k % 2 == 1 && absent != 0) {
        for (size_t lane = 0; lane < lanes; lane++) {
            out[k / 2 * width + lane] |= absent;
        }
    }
}

/* Even shares: part `index` of `parts` of `total` begins here. */
static inline size_t lm_share(size_t total, size_t parts, size_t index) {
    return total / parts * index + (index < total % parts ? index : total % parts);
}

/* Asks for a tile of C that comes next: a large C lies in memory, its rows far apart, and nothing guesses them. */
static inline void lm_expect_tile(const float *c, size_t rows, size_t columns, size_t c_stride) {
    for (size_t row = 0; row < rows; row++) {
        __builtin_prefetch(c + row * c_stride, 1);
        if (columns > LANES) {
            __builtin_prefetch(c + row * c_stride + LANES, 1);
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

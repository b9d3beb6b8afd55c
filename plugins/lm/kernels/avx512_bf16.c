/* avx512_bf16.c: the kernel set for CPUs with avx512_bf16: bf16/1 by vdpbf16ps, two multiply-adds a lane.
 *
 * The instruction ignores MXCSR: it flushes denormals, rounds to nearest and takes the odd element first.
 * lm_avx512_bf16_holds tries all of that on this CPU before the set is used. */
#include "bf16.h"
#include "sets.h"
#include "tile.h"
#include "tiles_avx512.h"

#include <temper/rng.h>

TILES(f32_tile, f32_tiles)

TILE_BODY bf16_tile(size_t rows, size_t vectors, size_t k, const void *left, const void *right, float *c,
                    size_t c_stride, size_t columns, bool load) {
    const uint32_t *a = left, *b = right;
    const __m512i even_half = _mm512_set1_epi32(0xffff);
    __m512 chain[TILE_ROWS][2];
    tile_begin(chain, rows, vectors, c, c_stride, columns, load);
    for (; k > 1; k -= 2, a += rows, b += LM_PANEL) {
        __m512i pairs[2];
        UNROLL for (size_t v = 0; v < vectors; v++) {
            pairs[v] = _mm512_loadu_si512(b + 16 * v);
        }
        UNROLL for (size_t r = 0; r < rows; r++) {
            __m512i element = _mm512_set1_epi32((int)a[r]);
            UNROLL for (size_t v = 0; v < vectors; v++) {
                chain[r][v] = _mm512_dpbf16_ps(chain[r][v], (__m512bh)element, (__m512bh)pairs[v]);
            }
        }
    }
    if (k == 1) {
        /* The odd partner of B may be anything (an unwritten or a later key): +0 takes its place, A's is
         * -0, and adding their product -0 changes no chain. */
        UNROLL for (size_t v = 0; v < vectors; v++) {
            __m512i pairs = _mm512_and_si512(_mm512_loadu_si512(b + 16 * v), even_half);
            UNROLL for (size_t r = 0; r < rows; r++) {
                __m512i element = _mm512_set1_epi32((int)a[r]);
                chain[r][v] = _mm512_dpbf16_ps(chain[r][v], (__m512bh)element, (__m512bh)pairs);
            }
        }
    }
    tile_end(chain, rows, vectors, c, c_stride, columns);
}
TILES(bf16_tile, bf16_tiles)

/* bf16.h's rounding around the instruction's own: NaN made the one NaN, magnitudes below 2^-62 made zero
 * first. */
static inline __m512 roundable(__m512 x) {
    /* classes quiet and signalling NaN take the first operand, all others the second */
    const __m512 clean = _mm512_fixupimm_ps(_mm512_castsi512_ps(_mm512_set1_epi32((int)(LM_BF16_NAN << 16))),
                                            x, _mm512_set1_epi32(0x11111100), 0);
    const __m512i bits = _mm512_castps_si512(clean);
    const __m512i magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
    const __mmask16 small = _mm512_cmplt_epu32_mask(magnitude, _mm512_set1_epi32(LM_BF16_SMALLEST));
    return _mm512_castsi512_ps(_mm512_mask_and_epi32(bits, small, bits, _mm512_set1_epi32((int)0x80000000u)));
}

static inline __m512i pairs_of_neighbours(__m512 first, __m512 second) {
    return (__m512i)_mm512_cvtne2ps_pbh(roundable(second), roundable(first));
}

static inline __m512i pairs_of_lanes(__m512 even, __m512 odd) {
    static const uint16_t places[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(places), pairs_of_neighbours(even, odd));
}

#define LM_HARDWARE_PAIRS
#define BF16_OPERAND PAIRS
#include "product.h"
#include "q8_product.h"

static float flush(float x) {
    return __builtin_fabsf(x) < 0x1p-126f ? x * 0.0f : x;
}

static uint32_t canonical(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x == x ? bits : 0x7fc00000u;
}

/* bf16 operands as packing makes them, edges among them. */
static uint16_t operand(uint32_t random) {
    static const uint16_t edges[] = {0,      0x8000, 0x3f80, 0xbf80, 0x7f80, 0xff80, 0x7fc0,
                                     0x7f7f, 0xff7f, 0x2080, 0xa080, 0x2081, 0x3f81};
    float x;
    if (random % 16 == 0) {
        return edges[random / 16 % (sizeof edges / sizeof edges[0])];
    }
    if (random % 4 == 1) { /* any bits */
        memcpy(&x, &random, sizeof x);
        return lm_bf16_round(x);
    }
    return (uint16_t)(random >> 16 & 0x807f) |
           (uint16_t)((random % 4 == 2 ? 0x20 : 0x3e) << 8 | (random >> 8 & 0x380));
}

bool lm_avx512_bf16_holds(void) {
    for (uint64_t round = 0; round < 8192; round++) {
        uint32_t left[16], right[16], start[16];
        float result[16];
        __m512 sum;
        for (uint64_t lane = 0; lane < 16; lane++) {
            uint64_t first = temper_random(round, 0, lane), second = temper_random(round, 1, lane);
            left[lane] = (uint32_t)operand((uint32_t)first) << 16 | operand((uint32_t)(first >> 32));
            right[lane] = (uint32_t)operand((uint32_t)second) << 16 | operand((uint32_t)(second >> 32));
            start[lane] = (uint32_t)temper_random(round, 2, lane);
            if (lane % 2 == 0) { /* small enough to underflow */
                start[lane] &= 0x80ffffffu;
            }
        }
        sum = _mm512_dpbf16_ps(_mm512_castsi512_ps(_mm512_loadu_si512(start)),
                               (__m512bh)_mm512_loadu_si512(left), (__m512bh)_mm512_loadu_si512(right));
        _mm512_storeu_ps(result, sum);
        for (size_t lane = 0; lane < 16; lane++) {
            float x;
            memcpy(&x, &start[lane], sizeof x);
            x = flush(__builtin_fmaf(lm_bf16_widen((uint16_t)(left[lane] >> 16)),
                                     lm_bf16_widen((uint16_t)(right[lane] >> 16)), flush(x)));
            x = flush(
                __builtin_fmaf(lm_bf16_widen((uint16_t)left[lane]), lm_bf16_widen((uint16_t)right[lane]), x));
            if (canonical(x) != canonical(result[lane])) {
                return false;
            }
        }
    }
    return true;
}

const lm_kernels lm_kernels_avx512_bf16 = {.name = "avx512-bf16", LM_PRODUCTS, LM_Q8, LM_ROWS};

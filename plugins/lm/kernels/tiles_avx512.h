/* tiles_avx512.h: tiles of 12 x 32 for AVX-512: 24 chains in registers, each lane an element of C.
 *
 * Included by avx512.c and avx512_bf16.c, which differ in their bf16/1 tile alone. */
#ifndef LM_KERNELS_TILES_AVX512_H
#define LM_KERNELS_TILES_AVX512_H

#include "q8.h"
#include "tile.h"
#include "vector_avx512.h"
#include <stdbool.h>
#include <string.h>

#define TILE_ROWS 12
#define TILE_COLUMNS(rows) 32u

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define TILE_BODY static inline __attribute__((always_inline)) void
#define BELOW(columns, from) ((columns) >= (from) + 16 ? 16 : (columns) > (from) ? (columns) - (from) : 0)

/* Loads or clears the chains; `vectors` is 1 when the tile has 16 columns or fewer. */
TILE_BODY tile_begin(__m512 chain[TILE_ROWS][2], size_t rows, size_t vectors, const float *c, size_t c_stride,
                     size_t columns, bool load) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t v = 0; v < vectors; v++) {
            chain[r][v] = _mm512_setzero_ps();
        }
    }
    if (load) {
        UNROLL for (size_t r = 0; r < rows; r++) {
            UNROLL for (size_t v = 0; v < vectors; v++) {
                chain[r][v] = v_load_first(c + r * c_stride + 16 * v, BELOW(columns, 16 * v));
            }
        }
    }
}

TILE_BODY tile_end(__m512 chain[TILE_ROWS][2], size_t rows, size_t vectors, float *c, size_t c_stride,
                   size_t columns) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t v = 0; v < vectors; v++) {
            v_store_first(c + r * c_stride + 16 * v, chain[r][v], BELOW(columns, 16 * v));
        }
    }
}

TILE_BODY f32_tile(size_t rows, size_t vectors, size_t k, const void *left, const void *right, float *c,
                   size_t c_stride, size_t columns, bool load) {
    const float *a = left, *b = right;
    __m512 chain[TILE_ROWS][2];
    tile_begin(chain, rows, vectors, c, c_stride, columns, load);
    for (; k > 0; k--, a += rows, b += LM_PANEL) {
        __m512 row[2];
        UNROLL for (size_t v = 0; v < vectors; v++) {
            row[v] = _mm512_loadu_ps(b + 16 * v);
        }
        UNROLL for (size_t r = 0; r < rows; r++) {
            __m512 element = _mm512_set1_ps(a[r]);
            UNROLL for (size_t v = 0; v < vectors; v++) {
                chain[r][v] = _mm512_fmadd_ps(element, row[v], chain[r][v]);
            }
        }
    }
    tile_end(chain, rows, vectors, c, c_stride, columns);
}

/* --- q8/1 --- */

#ifdef __AVX512VNNI__
#define Q8_LINES 8 /* a quad of indices an instruction */
#else
#define Q8_LINES 16 /* two of them, widened to 16 bits: even bytes, then odd ones */
#endif
#define Q8_COLUMNS(rows) 32u
/* A sum that stays in its register: else the compiler stores all of them each time round, to read them afterwards. */
#define STAYS(sum) __asm__("" : "+v"(sum))

/* With a row or two, weights are wanted as fast as memory gives them. A line announced at the moment it is read comes an
 * eighth faster (Zen 4, from memory); announced further ahead, it does not. */
#define ANNOUNCE(rows, line)                                                                                 \
    do {                                                                                                     \
        if ((rows) <= 2) {                                                                                   \
            _mm_prefetch((const char *)(line), _MM_HINT_T0);                                                 \
        }                                                                                                    \
    } while (0)

/* The exact dots of one group, from where A's packing says. */
TILE_BODY q8_dots(__m512i sum[TILE_ROWS][2], size_t rows, size_t vectors, size_t quads, const uint32_t *a,
                  const uint8_t *weights) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t v = 0; v < vectors; v++) {
            sum[r][v] = _mm512_set1_epi32((int)a[Q8_LINES * rows + r]);
        }
    }
    for (; quads > 0; quads--, a += Q8_LINES / 8 * rows, weights += LM_Q8_QUAD) {
        __m512i quad[2];
        UNROLL for (size_t v = 0; v < vectors; v++) {
            ANNOUNCE(rows, weights + 64 * v);
            quad[v] = _mm512_loadu_si512(weights + 64 * v);
        }
#ifdef __AVX512VNNI__
        UNROLL for (size_t r = 0; r < rows; r++) {
            __m512i element = _mm512_set1_epi32((int)a[r]);
            UNROLL for (size_t v = 0; v < vectors; v++) {
                sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], quad[v], element);
                STAYS(sum[r][v]);
            }
        }
#else
        const __m512i even_bytes = _mm512_set1_epi16(0xff);
        UNROLL for (size_t r = 0; r < rows; r++) {
            __m512i even = _mm512_set1_epi32((int)a[r]), odd = _mm512_set1_epi32((int)a[rows + r]);
            UNROLL for (size_t v = 0; v < vectors; v++) {
                __m512i dot = _mm512_madd_epi16(_mm512_and_si512(quad[v], even_bytes), even);
                sum[r][v] = _mm512_add_epi32(sum[r][v], dot);
                dot = _mm512_madd_epi16(_mm512_srli_epi16(quad[v], 8), odd);
                sum[r][v] = _mm512_add_epi32(sum[r][v], dot);
                STAYS(sum[r][v]);
            }
        }
#endif
    }
}

/* The chains rest in memory between groups: side by side here, since rows of C far apart would push each other out of
 * the first-level cache. */
TILE_BODY q8_tile(size_t rows, size_t vectors, size_t k, const void *left, const void *right, float *c,
                  size_t c_stride, size_t columns, bool load) {
    const uint32_t *a = left;
    const uint8_t *b = right;
    _Alignas(64) float chain[TILE_ROWS][LM_PANEL];
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t v = 0; v < vectors; v++) {
            v_store(&chain[r][16 * v],
                    load ? v_load_first(c + r * c_stride + 16 * v, BELOW(columns, 16 * v)) : v_set(0.0f));
        }
    }
    while (k > 0) {
        size_t count = k < LM_Q8_GROUP ? k : LM_Q8_GROUP;
        const float *scale = (const float *)(const void *)a + (Q8_LINES + 1) * rows;
        __m512i sum[TILE_ROWS][2];
        __m512 scales[2];
        ANNOUNCE(rows, b);
        q8_dots(sum, rows, vectors, lm_q8_quads(count), a, b + LM_Q8_SCALES);
        UNROLL for (size_t v = 0; v < vectors; v++) {
            scales[v] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(b + 32 * v)));
        }
        UNROLL for (size_t r = 0; r < rows; r++) {
            UNROLL for (size_t v = 0; v < vectors; v++) {
                __m512 both = _mm512_mul_ps(_mm512_set1_ps(scale[r]), scales[v]);
                float *place = &chain[r][16 * v];
                v_store(place, v_fma(both, _mm512_cvtepi32_ps(sum[r][v]), v_load(place)));
            }
        }
        a += (Q8_LINES + 2) * rows;
        b += LM_Q8_GROUP_BYTES;
        k -= count;
    }
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t v = 0; v < vectors; v++) {
            v_store_first(c + r * c_stride + 16 * v, v_load(&chain[r][16 * v]), BELOW(columns, 16 * v));
        }
    }
}

#define Q8_TILE(rows)                                                                                        \
    static void q8_tile_##rows(size_t k, const void *a, const void *b, size_t first, float *c,               \
                               size_t c_stride, size_t columns, bool load) {                                 \
        (void)first; /* tiles are as wide as panels */                                                       \
        if (columns > 16) {                                                                                  \
            q8_tile(rows, 2, k, a, b, c, c_stride, columns, load);                                           \
        } else {                                                                                             \
            q8_tile(rows, 1, k, a, b, c, c_stride, columns, load);                                           \
        }                                                                                                    \
    }

/* A function for each number of rows of a tile body, and the table of them by rows. */
#define TILE(body, rows)                                                                                     \
    static void body##_##rows(size_t k, const void *a, const void *b, float *c, size_t c_stride,             \
                              size_t columns, bool load) {                                                   \
        if (columns > 16) {                                                                                  \
            body(rows, 2, k, a, b, c, c_stride, columns, load);                                              \
        } else {                                                                                             \
            body(rows, 1, k, a, b, c, c_stride, columns, load);                                              \
        }                                                                                                    \
    }
#define TILES(body, table)                                                                                   \
    TILE(body, 1)                                                                                            \
    TILE(body, 2)                                                                                            \
    TILE(body, 3)                                                                                            \
    TILE(body, 4)                                                                                            \
    TILE(body, 5)                                                                                            \
    TILE(body, 6)                                                                                            \
    TILE(body, 7)                                                                                            \
    TILE(body, 8)                                                                                            \
    TILE(body, 9)                                                                                            \
    TILE(body, 10)                                                                                           \
    TILE(body, 11)                                                                                           \
    TILE(body, 12)                                                                                           \
    static tile_function *const table[TILE_ROWS + 1] = {NULL,      body##_1,  body##_2, body##_3, body##_4,  \
                                                        body##_5,  body##_6,  body##_7, body##_8, body##_9,  \
                                                        body##_10, body##_11, body##_12};

Q8_TILE(1)
Q8_TILE(2)
Q8_TILE(3)
Q8_TILE(4)
Q8_TILE(5)
Q8_TILE(6)
Q8_TILE(7)
Q8_TILE(8)
Q8_TILE(9)
Q8_TILE(10)
Q8_TILE(11)
Q8_TILE(12)
static q8_tile_function *const q8_tiles[TILE_ROWS + 1] = {
    NULL,      q8_tile_1, q8_tile_2, q8_tile_3,  q8_tile_4,  q8_tile_5, q8_tile_6,
    q8_tile_7, q8_tile_8, q8_tile_9, q8_tile_10, q8_tile_11, q8_tile_12};

#endif

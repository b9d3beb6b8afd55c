/* tiles_avx512.h: tiles of 12 x 32 for AVX-512: 24 chains in registers, each lane an element of C.
 *
 * Included by avx512.c and avx512_bf16.c, which differ in their bf16/1 tile alone. */
#ifndef LM_KERNELS_TILES_AVX512_H
#define LM_KERNELS_TILES_AVX512_H

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

#endif

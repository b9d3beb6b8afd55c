/* avx2.c: the kernel set for AVX2 and FMA. Tiles of 6 x 16, half a panel wide: twelve chains in registers;
 * bf16/1 by widening, two FMAs a pair. */
#include "sets.h"
#include "tile.h"
#include "vector_avx2.h"

#include <string.h>

#define TILE_ROWS 6
#define TILE_COLUMNS(rows) ((rows) <= 2 ? 32u : 16u)

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
#define TILE_BODY static inline __attribute__((always_inline)) void

#define BELOW(columns, from) ((columns) >= (from) + 16 ? 16 : (columns) > (from) ? (columns) - (from) : 0)

/* Loads or clears the chains: `vectors` of eight for each row, 2 or 4. */
TILE_BODY tile_begin(__m256 chain[TILE_ROWS][4], size_t rows, size_t vectors, const float *c, size_t c_stride,
                     size_t columns, bool load) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t v = 0; v < vectors; v++) {
            chain[r][v] = _mm256_setzero_ps();
        }
    }
    if (load) {
        UNROLL for (size_t r = 0; r < rows; r++) {
            UNROLL for (size_t v = 0; v < vectors; v += 2) {
                size_t count = BELOW(columns, 8 * v);
                v16 row = count == 16 ? v_load(c + r * c_stride + 8 * v)
                                      : v_load_first(c + r * c_stride + 8 * v, count);
                chain[r][v] = row.low;
                chain[r][v + 1] = row.high;
            }
        }
    }
}

TILE_BODY tile_end(__m256 chain[TILE_ROWS][4], size_t rows, size_t vectors, float *c, size_t c_stride,
                   size_t columns) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t v = 0; v < vectors; v += 2) {
            v16 row = {chain[r][v], chain[r][v + 1]};
            size_t count = BELOW(columns, 8 * v);
            if (count == 16) {
                v_store(c + r * c_stride + 8 * v, row);
            } else {
                v_store_first(c + r * c_stride + 8 * v, row, count);
            }
        }
    }
}

/* One index of the reduction: every chain takes its multiply-add. */
TILE_BODY tile_step(__m256 chain[TILE_ROWS][4], size_t rows, size_t vectors, const float *a,
                    const __m256 b[4]) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        __m256 element = _mm256_broadcast_ss(a + r);
        UNROLL for (size_t v = 0; v < vectors; v++) {
            chain[r][v] = _mm256_fmadd_ps(element, b[v], chain[r][v]);
        }
        /* Row after row: a compiler that loads ahead runs out of its sixteen registers. */
        __asm__ volatile("" : "+x"(chain[r][0]), "+x"(chain[r][1])::"memory");
    }
}

TILE_BODY f32_tile(size_t rows, size_t vectors, size_t k, const void *left, const void *right, float *c,
                   size_t c_stride, size_t columns, bool load) {
    const float *a = left, *b = right;
    __m256 chain[TILE_ROWS][4];
    tile_begin(chain, rows, vectors, c, c_stride, columns, load);
    for (; k > 0; k--, a += rows, b += LM_PANEL) {
        __m256 row[4];
        UNROLL for (size_t v = 0; v < vectors; v++) {
            row[v] = _mm256_loadu_ps(b + 8 * v);
        }
        tile_step(chain, rows, vectors, a, row);
    }
    tile_end(chain, rows, vectors, c, c_stride, columns);
}

/* The odd or even elements of a row of pairs, widened, against a row of A. They are read anew for each:
 * sixteen registers hold twelve chains, and one of the two. */
TILE_BODY odd_step(__m256 chain[TILE_ROWS][4], size_t rows, size_t vectors, const float *a,
                   const uint32_t *b) {
    __m256 odd[4];
    UNROLL for (size_t v = 0; v < vectors; v++) {
        __m256i pairs = _mm256_loadu_si256((const __m256i *)(b + 8 * v));
        odd[v] = _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000u)));
    }
    tile_step(chain, rows, vectors, a, odd);
}

TILE_BODY even_step(__m256 chain[TILE_ROWS][4], size_t rows, size_t vectors, const float *a,
                    const uint32_t *b) {
    __m256 even[4];
    UNROLL for (size_t v = 0; v < vectors; v++) {
        __m256i pairs = _mm256_loadu_si256((const __m256i *)(b + 8 * v));
        even[v] = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
    }
    tile_step(chain, rows, vectors, a, even);
}

TILE_BODY bf16_tile(size_t rows, size_t vectors, size_t k, const void *left, const void *right, float *c,
                    size_t c_stride, size_t columns, bool load) {
    const float *a = left;
    const uint32_t *b = right;
    __m256 chain[TILE_ROWS][4];
    tile_begin(chain, rows, vectors, c, c_stride, columns, load);
    for (; k > 1; k -= 2, a += 2 * rows, b += LM_PANEL) {
        odd_step(chain, rows, vectors, a + rows, b);
        even_step(chain, rows, vectors, a, b);
    }
    if (k == 1) { /* no odd partner: no FMA for it */
        even_step(chain, rows, vectors, a, b);
    }
    tile_end(chain, rows, vectors, c, c_stride, columns);
}

/* A function for each number of rows of a tile body, and the table of them by rows. One or two rows take a
 * whole panel: two chains a row would wait for each other. */
#define TILE(body, rows, vectors)                                                                            \
    static void body##_##rows(size_t k, const void *a, const void *b, float *c, size_t c_stride,             \
                              size_t columns, bool load) {                                                   \
        body(rows, vectors, k, a, b, c, c_stride, columns, load);                                            \
    }
#define TILES(body, table)                                                                                   \
    TILE(body, 1, 4)                                                                                         \
    TILE(body, 2, 4)                                                                                         \
    TILE(body, 3, 2)                                                                                         \
    TILE(body, 4, 2)                                                                                         \
    TILE(body, 5, 2)                                                                                         \
    TILE(body, 6, 2)                                                                                         \
    static tile_function *const table[TILE_ROWS + 1] = {NULL,     body##_1, body##_2, body##_3,              \
                                                        body##_4, body##_5, body##_6};

TILES(f32_tile, f32_tiles)
TILES(bf16_tile, bf16_tiles)

#define BF16_OPERAND ROUNDED
#include "product.h"

const lm_kernels lm_kernels_avx2 = {.name = "avx2", LM_PRODUCTS, LM_ROWS};

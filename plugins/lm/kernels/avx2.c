/* avx2.c: the kernel set for AVX2 and FMA. Tiles of 6 x 16, half a panel wide: twelve chains in registers;
 * bf16/1 by widening, two FMAs a pair. */
#include "q8.h"
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

/* --- q8/1: two indices of a quad widened to 16 bits, even bytes, then odd ones --- */

#define Q8_LINES 16
#define Q8_COLUMNS(rows) TILE_COLUMNS(rows)

TILE_BODY q8_step(__m256i sum[TILE_ROWS][4], size_t rows, size_t vectors, const uint32_t *a,
                  const __m256i b[4]) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        __m256i element = _mm256_set1_epi32((int)a[r]);
        UNROLL for (size_t v = 0; v < vectors; v++) {
            sum[r][v] = _mm256_add_epi32(sum[r][v], _mm256_madd_epi16(b[v], element));
        }
        __asm__ volatile("" : "+x"(sum[r][0]), "+x"(sum[r][1])::"memory"); /* as in tile_step */
    }
}

/* The exact dots of one group, from where A's packing says. */
TILE_BODY q8_dots(__m256i sum[TILE_ROWS][4], size_t rows, size_t vectors, size_t quads, const uint32_t *a,
                  const uint8_t *weights) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t v = 0; v < vectors; v++) {
            sum[r][v] = _mm256_set1_epi32((int)a[Q8_LINES * rows + r]);
        }
    }
    for (; quads > 0; quads--, a += 2 * rows, weights += LM_Q8_QUAD) {
        const __m256i *quad = (const __m256i *)(const void *)weights;
        __m256i two[4];
        UNROLL for (size_t v = 0; v < vectors; v++) {
            two[v] = _mm256_and_si256(_mm256_loadu_si256(quad + v), _mm256_set1_epi16(0xff));
        }
        q8_step(sum, rows, vectors, a, two);
        UNROLL for (size_t v = 0; v < vectors; v++) {
            two[v] = _mm256_srli_epi16(_mm256_loadu_si256(quad + v), 8);
        }
        q8_step(sum, rows, vectors, a + rows, two);
    }
}

/* The chains rest in memory between groups, side by side. */
TILE_BODY q8_tile(size_t rows, size_t vectors, size_t k, const void *left, const void *right, size_t first,
                  float *c, size_t c_stride, size_t columns, bool load) {
    const uint32_t *a = left;
    const uint8_t *b = right;
    __m256 chain[TILE_ROWS][4];
    tile_begin(chain, rows, vectors, c, c_stride, columns, load);
    while (k > 0) {
        size_t count = k < LM_Q8_GROUP ? k : LM_Q8_GROUP;
        const float *scale = (const float *)(const void *)a + (Q8_LINES + 1) * rows;
        const __m128i *half = (const __m128i *)(const void *)(b + first * sizeof(uint16_t));
        __m256i sum[TILE_ROWS][4];
        q8_dots(sum, rows, vectors, lm_q8_quads(count), a, b + LM_Q8_SCALES + 4 * first);
        UNROLL for (size_t v = 0; v < vectors; v++) {
            __m256 scales = _mm256_cvtph_ps(_mm_loadu_si128(half + v));
            UNROLL for (size_t r = 0; r < rows; r++) {
                __m256 both = _mm256_mul_ps(_mm256_broadcast_ss(scale + r), scales);
                chain[r][v] = _mm256_fmadd_ps(both, _mm256_cvtepi32_ps(sum[r][v]), chain[r][v]);
            }
        }
        a += (Q8_LINES + 2) * rows;
        b += LM_Q8_GROUP_BYTES;
        k -= count;
    }
    tile_end(chain, rows, vectors, c, c_stride, columns);
}

#define Q8_TILE(rows, vectors)                                                                               \
    static void q8_tile_##rows(size_t k, const void *a, const void *b, size_t first, float *c,               \
                               size_t c_stride, size_t columns, bool load) {                                 \
        q8_tile(rows, vectors, k, a, b, first, c, c_stride, columns, load);                                  \
    }
Q8_TILE(1, 4)
Q8_TILE(2, 4)
Q8_TILE(3, 2)
Q8_TILE(4, 2)
Q8_TILE(5, 2)
Q8_TILE(6, 2)
static q8_tile_function *const q8_tiles[TILE_ROWS + 1] = {NULL,      q8_tile_1, q8_tile_2, q8_tile_3,
                                                          q8_tile_4, q8_tile_5, q8_tile_6};

#define BF16_OPERAND ROUNDED
#include "product.h"
#include "q8_product.h"

const lm_kernels lm_kernels_avx2 = {.name = "avx2", LM_PRODUCTS, LM_Q8, LM_ROWS};

/* avx2.c: the kernel set for AVX2 and FMA. Tiles of 6 x 16, half a panel wide: twelve chains in registers; bf16/1 by
 * widening, two FMAs a pair. */
#include "sets.h"
#include "tile.h"
#include "vector_avx2.h"

#include <string.h>

#define TILE_ROWS 6
#define TILE_COLUMNS 16

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
#define TILE_BODY static inline __attribute__((always_inline)) void

/* Loads or clears the chains. */
TILE_BODY tile_begin(__m256 chain[TILE_ROWS][2], size_t rows, const float *c, size_t c_stride, size_t columns,
                     bool load) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        chain[r][0] = _mm256_setzero_ps();
        chain[r][1] = _mm256_setzero_ps();
    }
    if (load) {
        UNROLL for (size_t r = 0; r < rows; r++) {
            v16 row = columns == 16 ? v_load(c + r * c_stride) : v_load_first(c + r * c_stride, columns);
            chain[r][0] = row.low;
            chain[r][1] = row.high;
        }
    }
}

TILE_BODY tile_end(__m256 chain[TILE_ROWS][2], size_t rows, float *c, size_t c_stride, size_t columns) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        v16 row = {chain[r][0], chain[r][1]};
        if (columns == 16) {
            v_store(c + r * c_stride, row);
        } else {
            v_store_first(c + r * c_stride, row, columns);
        }
    }
}

/* One index of the reduction: every chain takes its multiply-add. */
TILE_BODY tile_step(__m256 chain[TILE_ROWS][2], size_t rows, const float *a, __m256 low, __m256 high) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        __m256 element = _mm256_broadcast_ss(a + r);
        chain[r][0] = _mm256_fmadd_ps(element, low, chain[r][0]);
        chain[r][1] = _mm256_fmadd_ps(element, high, chain[r][1]);
    }
}

TILE_BODY f32_tile(size_t rows, size_t k, const void *left, const void *right, float *c, size_t c_stride,
                   size_t columns, bool load) {
    const float *a = left, *b = right;
    __m256 chain[TILE_ROWS][2];
    tile_begin(chain, rows, c, c_stride, columns, load);
    for (; k > 0; k--, a += rows, b += LM_PANEL) {
        tile_step(chain, rows, a, _mm256_loadu_ps(b), _mm256_loadu_ps(b + 8));
    }
    tile_end(chain, rows, c, c_stride, columns);
}

static inline __m256 odd_of(__m256i pairs) {
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000u)));
}

static inline __m256 even_of(__m256i pairs) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
}

TILE_BODY bf16_tile(size_t rows, size_t k, const void *left, const void *right, float *c, size_t c_stride,
                    size_t columns, bool load) {
    const float *a = left;
    const uint32_t *b = right;
    __m256 chain[TILE_ROWS][2];
    tile_begin(chain, rows, c, c_stride, columns, load);
    for (; k > 0; k -= 2, a += 2 * rows, b += LM_PANEL) {
        __m256i low = _mm256_loadu_si256((const __m256i *)b),
                high = _mm256_loadu_si256((const __m256i *)(b + 8));
        if (k == 1) { /* no odd partner: no FMA for it */
            tile_step(chain, rows, a, even_of(low), even_of(high));
            break;
        }
        tile_step(chain, rows, a + rows, odd_of(low), odd_of(high));
        tile_step(chain, rows, a, even_of(low), even_of(high));
    }
    tile_end(chain, rows, c, c_stride, columns);
}

/* A function for each number of rows of a tile body, and the table of them by rows. */
#define TILE(body, rows)                                                                                     \
    static void body##_##rows(size_t k, const void *a, const void *b, float *c, size_t c_stride,             \
                              size_t columns, bool load) {                                                   \
        body(rows, k, a, b, c, c_stride, columns, load);                                                     \
    }
#define TILES(body, table)                                                                                   \
    TILE(body, 1)                                                                                            \
    TILE(body, 2)                                                                                            \
    TILE(body, 3)                                                                                            \
    TILE(body, 4)                                                                                            \
    TILE(body, 5)                                                                                            \
    TILE(body, 6)                                                                                            \
    static tile_function *const table[TILE_ROWS + 1] = {NULL,     body##_1, body##_2, body##_3,              \
                                                        body##_4, body##_5, body##_6};

TILES(f32_tile, f32_tiles)
TILES(bf16_tile, bf16_tiles)

#define BF16_OPERAND ROUNDED
#include "product.h"

const lm_kernels lm_kernels_avx2 = {.name = "avx2", LM_PRODUCTS, LM_ROWS};

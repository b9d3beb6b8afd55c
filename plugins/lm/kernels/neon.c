/* neon.c: the kernel set for AArch64: Advanced SIMD, which every such CPU has, its multiply-add included. Tiles of
 * 6 x 16, half a panel wide: 24 chains in registers; bf16/1 by widening, two FMAs a pair. */
#include "sets.h"
#include "tile.h"
#include "vector_neon.h"

#define TILE_ROWS 6
#define TILE_COLUMNS(rows) ((rows) <= 2 ? 32u : 16u)

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
#define TILE_BODY static inline __attribute__((always_inline)) void

/* Sixteen columns of a row from `from` on: those that are there. */
#define BELOW(columns, from) ((columns) >= (from) + 16 ? 16 : (columns) > (from) ? (columns) - (from) : 0)

/* Loads or clears the chains: `vectors` of four for each row, 4 or 8. */
TILE_BODY tile_begin(float32x4_t chain[TILE_ROWS][8], size_t rows, size_t vectors, const float *c,
                     size_t c_stride, size_t columns, bool load) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t v = 0; v < vectors; v++) {
            chain[r][v] = vdupq_n_f32(0.0f);
        }
    }
    if (load) {
        UNROLL for (size_t r = 0; r < rows; r++) {
            UNROLL for (size_t v = 0; v < vectors; v += 4) {
                size_t count = BELOW(columns, 4 * v);
                v16 row = count == 16 ? v_load(c + r * c_stride + 4 * v)
                                      : v_load_first(c + r * c_stride + 4 * v, count);
                UNROLL for (size_t q = 0; q < 4; q++) {
                    chain[r][v + q] = row.quarter[q];
                }
            }
        }
    }
}

TILE_BODY tile_end(float32x4_t chain[TILE_ROWS][8], size_t rows, size_t vectors, float *c, size_t c_stride,
                   size_t columns) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t v = 0; v < vectors; v += 4) {
            v16 row = {{chain[r][v], chain[r][v + 1], chain[r][v + 2], chain[r][v + 3]}};
            size_t count = BELOW(columns, 4 * v);
            if (count == 16) {
                v_store(c + r * c_stride + 4 * v, row);
            } else {
                v_store_first(c + r * c_stride + 4 * v, row, count);
            }
        }
    }
}

/* One index of the reduction: every chain takes its multiply-add. */
TILE_BODY tile_step(float32x4_t chain[TILE_ROWS][8], size_t rows, size_t vectors, const float *a,
                    const float32x4_t b[8]) {
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t v = 0; v < vectors; v++) {
            chain[r][v] = vfmaq_n_f32(chain[r][v], b[v], a[r]);
        }
        /* Row after row: a compiler that loads ahead runs out of its registers. */
        __asm__ volatile("" : "+w"(chain[r][0]), "+w"(chain[r][1])::"memory");
    }
}

TILE_BODY f32_tile(size_t rows, size_t vectors, size_t k, const void *left, const void *right, float *c,
                   size_t c_stride, size_t columns, bool load) {
    const float *a = left, *b = right;
    float32x4_t chain[TILE_ROWS][8];
    tile_begin(chain, rows, vectors, c, c_stride, columns, load);
    for (; k > 0; k--, a += rows, b += LM_PANEL) {
        float32x4_t row[8];
        UNROLL for (size_t v = 0; v < vectors; v++) {
            row[v] = vld1q_f32(b + 4 * v);
        }
        tile_step(chain, rows, vectors, a, row);
    }
    tile_end(chain, rows, vectors, c, c_stride, columns);
}

/* The odd elements of a row of pairs, widened. */
TILE_BODY odd_of(float32x4_t out[8], size_t vectors, const uint32_t *b) {
    UNROLL for (size_t v = 0; v < vectors; v++) {
        out[v] = vreinterpretq_f32_u32(vandq_u32(vld1q_u32(b + 4 * v), vdupq_n_u32(0xffff0000u)));
    }
}

TILE_BODY even_of(float32x4_t out[8], size_t vectors, const uint32_t *b) {
    UNROLL for (size_t v = 0; v < vectors; v++) {
        out[v] = vreinterpretq_f32_u32(vshlq_n_u32(vld1q_u32(b + 4 * v), 16));
    }
}

TILE_BODY bf16_tile(size_t rows, size_t vectors, size_t k, const void *left, const void *right, float *c,
                    size_t c_stride, size_t columns, bool load) {
    const float *a = left;
    const uint32_t *b = right;
    float32x4_t chain[TILE_ROWS][8], row[8];
    tile_begin(chain, rows, vectors, c, c_stride, columns, load);
    for (; k > 1; k -= 2, a += 2 * rows, b += LM_PANEL) {
        odd_of(row, vectors, b);
        tile_step(chain, rows, vectors, a + rows, row);
        even_of(row, vectors, b);
        tile_step(chain, rows, vectors, a, row);
    }
    if (k == 1) { /* no odd partner: no FMA for it */
        even_of(row, vectors, b);
        tile_step(chain, rows, vectors, a, row);
    }
    tile_end(chain, rows, vectors, c, c_stride, columns);
}

/* A function for each number of rows of a tile body, and the table of them by rows. One or two rows take a
 * whole panel: four chains a row would wait for each other. */
#define TILE(body, rows, vectors)                                                                            \
    static void body##_##rows(size_t k, const void *a, const void *b, float *c, size_t c_stride,             \
                              size_t columns, bool load) {                                                   \
        body(rows, vectors, k, a, b, c, c_stride, columns, load);                                            \
    }
#define TILES(body, table)                                                                                   \
    TILE(body, 1, 8)                                                                                         \
    TILE(body, 2, 8)                                                                                         \
    TILE(body, 3, 4)                                                                                         \
    TILE(body, 4, 4)                                                                                         \
    TILE(body, 5, 4)                                                                                         \
    TILE(body, 6, 4)                                                                                         \
    static tile_function *const table[TILE_ROWS + 1] = {NULL,     body##_1, body##_2, body##_3,              \
                                                        body##_4, body##_5, body##_6};

TILES(f32_tile, f32_tiles)
TILES(bf16_tile, bf16_tiles)

#define BF16_OPERAND ROUNDED
#include "product.h"

const lm_kernels lm_kernels_neon = {.name = "neon", LM_PRODUCTS, LM_ROWS};

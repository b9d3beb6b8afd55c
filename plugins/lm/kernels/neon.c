/* neon.c: the kernel set for AArch64: Advanced SIMD, which every such CPU has, its multiply-add included. Tiles of
 * 6 x 16, half a panel wide: 24 chains in registers; bf16/1 by widening, two FMAs a pair. */
#include "q8.h"
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

/* --- q8/1: products of bytes in 16 bits, two quads of them, then added in pairs --- */

#define Q8_LINES 8
#define Q8_COLUMNS(rows) LM_PANEL

/* A stored weight back to q: bytes with 128 taken off. */
static inline int8x16_t q8_weights(const uint8_t *stored) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(stored), vdupq_n_u8(LM_Q8_OFFSET)));
}

/* The exact dots of one group and four columns. 2 x 127 x 127 fits 16 bits, so two quads are added there. */
TILE_BODY q8_dots(int32x4_t dot[TILE_ROWS], size_t rows, size_t quads, const uint32_t *a,
                  const uint8_t *weights) {
    int32x4_t low[TILE_ROWS], high[TILE_ROWS]; /* two columns each, a pair of sums a column */
    UNROLL for (size_t r = 0; r < rows; r++) {
        low[r] = vdupq_n_s32(0);
        high[r] = vdupq_n_s32(0);
    }
    for (; quads > 1; quads -= 2, a += 2 * rows, weights += 2 * LM_Q8_QUAD) {
        int8x16_t first = q8_weights(weights), second = q8_weights(weights + LM_Q8_QUAD);
        UNROLL for (size_t r = 0; r < rows; r++) {
            int8x16_t x = vreinterpretq_s8_u32(vdupq_n_u32(a[r]));
            int8x16_t y = vreinterpretq_s8_u32(vdupq_n_u32(a[rows + r]));
            int16x8_t products = vmull_s8(vget_low_s8(first), vget_low_s8(x));
            low[r] = vpadalq_s16(low[r], vmlal_s8(products, vget_low_s8(second), vget_low_s8(y)));
            products = vmull_high_s8(first, x);
            high[r] = vpadalq_s16(high[r], vmlal_high_s8(products, second, y));
        }
    }
    if (quads == 1) {
        int8x16_t last = q8_weights(weights);
        UNROLL for (size_t r = 0; r < rows; r++) {
            int8x16_t x = vreinterpretq_s8_u32(vdupq_n_u32(a[r]));
            low[r] = vpadalq_s16(low[r], vmull_s8(vget_low_s8(last), vget_low_s8(x)));
            high[r] = vpadalq_s16(high[r], vmull_high_s8(last, x));
        }
    }
    UNROLL for (size_t r = 0; r < rows; r++) {
        dot[r] = vpaddq_s32(low[r], high[r]);
    }
}

/* The chains rest in memory between groups, side by side. */
TILE_BODY q8_tile(size_t rows, size_t k, const void *left, const void *right, float *c, size_t c_stride,
                  size_t columns, bool load) {
    const uint32_t *a = left;
    const uint8_t *b = right;
    float chain[TILE_ROWS][LM_PANEL] = {{0}};
    for (size_t r = 0; r < rows && load; r++) {
        memcpy(chain[r], c + r * c_stride, columns * sizeof *c);
    }
    while (k > 0) {
        size_t count = k < LM_Q8_GROUP ? k : LM_Q8_GROUP;
        const float *scale = (const float *)(const void *)a + (Q8_LINES + 1) * rows;
        for (size_t column = 0; column < columns; column += 4) {
            const float16_t *half = (const float16_t *)(const void *)(b + column * sizeof(uint16_t));
            float32x4_t scales = vcvt_f32_f16(vld1_f16(half));
            int32x4_t dot[TILE_ROWS];
            q8_dots(dot, rows, lm_q8_quads(count), a, b + LM_Q8_SCALES + 4 * column);
            UNROLL for (size_t r = 0; r < rows; r++) {
                float32x4_t both = vmulq_n_f32(scales, scale[r]), before = vld1q_f32(&chain[r][column]);
                vst1q_f32(&chain[r][column], vfmaq_f32(before, both, vcvtq_f32_s32(dot[r])));
            }
        }
        a += (Q8_LINES + 2) * rows;
        b += LM_Q8_GROUP_BYTES;
        k -= count;
    }
    for (size_t r = 0; r < rows; r++) {
        memcpy(c + r * c_stride, chain[r], columns * sizeof *c);
    }
}

#define Q8_TILE(rows)                                                                                        \
    static void q8_tile_##rows(size_t k, const void *a, const void *b, size_t first, float *c,               \
                               size_t c_stride, size_t columns, bool load) {                                 \
        (void)first; /* tiles are as wide as panels */                                                       \
        q8_tile(rows, k, a, b, c, c_stride, columns, load);                                                  \
    }
Q8_TILE(1)
Q8_TILE(2)
Q8_TILE(3)
Q8_TILE(4)
Q8_TILE(5)
Q8_TILE(6)
static q8_tile_function *const q8_tiles[TILE_ROWS + 1] = {NULL,      q8_tile_1, q8_tile_2, q8_tile_3,
                                                          q8_tile_4, q8_tile_5, q8_tile_6};

#define BF16_OPERAND ROUNDED
#include "product.h"
#include "q8_product.h"

const lm_kernels lm_kernels_neon = {.name = "neon", LM_PRODUCTS, LM_Q8, LM_ROWS};

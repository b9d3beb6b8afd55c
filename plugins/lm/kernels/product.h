/* product.h: the loops around a tile: what is packed, and in which order tiles are visited. Written once;
 * a set defines TILE_ROWS, TILE_COLUMNS and its tiles, then includes this file.
 *
 * Invariant: a tile continues the chain of every element of C it holds, so the cuts of M, N and K made
 * here never show. C rests in memory between blocks of K. Cuts of K are even: a pair is never parted. */
#ifndef LM_KERNELS_PRODUCT_H
#define LM_KERNELS_PRODUCT_H

#include "flush.h"
#include "pack.h"
#include "tile.h"

enum {
    BLOCK_ROWS = 8 * TILE_ROWS,     /* rows of A packed at once: they stay in the second-level cache */
    BLOCK_VALUES = BLOCK_ROWS * 512 /* 32-bit values of A packed at once */
};

static size_t tile_scratch_bytes(size_t k) {
    (void)k; /* K is cut to fit */
    return (BLOCK_VALUES + LANES) * sizeof(uint32_t);
}

static void clear(float *c, size_t m, size_t n, size_t c_stride) {
    for (size_t i = 0; i < m; i++) {
        memset(c + i * c_stride, 0, n * sizeof *c);
    }
}

/* One block of A against all columns. */
static inline void multiply_block(operand_kind kind, tile_function *const *tiles, size_t m, size_t n,
                                  size_t k, const float *a, size_t lane_step, size_t index_step,
                                  const char *b, size_t panel_bytes, float *c, size_t c_stride, bool load,
                                  uint32_t *scratch) {
    size_t panels = (m + TILE_ROWS - 1) / TILE_ROWS, lines = kind == PAIRS ? k / 2 + k % 2 : k;
    size_t width =
        TILE_COLUMNS(m / panels); /* exact for one panel; in several, all have more rows than two */
    for (size_t p = 0; p < panels; p++) {
        size_t row = lm_share(m, panels, p), rows = lm_share(m, panels, p + 1) - row;
        /* -0 as the absent partner of A: its product with +0 is -0, and adding that changes nothing */
        pack_lanes(kind, scratch + row * lines, rows, a + row * lane_step, lane_step, index_step, rows, k,
                   0x80000000u);
    }
    for (size_t column = 0; column < n; column += width) {
        const char *right = b + column / LM_PANEL * panel_bytes + column % LM_PANEL * sizeof(uint32_t);
        size_t columns = n - column < width ? n - column : width;
        for (size_t p = 0; p < panels; p++) {
            size_t row = lm_share(m, panels, p), rows = lm_share(m, panels, p + 1) - row;
            if (p + 1 < panels) {
                lm_expect_tile(c + (row + rows) * c_stride + column, rows, columns, c_stride);
            } else if (column + width < n) {
                lm_expect_tile(c + column + width, rows, width, c_stride);
            }
            tiles[rows](k, scratch + row * lines, right, c + row * c_stride + column, c_stride, columns,
                        load);
        }
    }
}

static inline void multiply_all(operand_kind kind, tile_function *const *tiles, size_t m, size_t n, size_t k,
                                const float *a, size_t a_stride, bool a_transposed, const void *packed,
                                size_t panel_bytes, float *c, size_t c_stride, bool accumulate,
                                void *scratch) {
    size_t lane_step = a_transposed ? 1 : a_stride, index_step = a_transposed ? a_stride : 1;
    size_t blocks, depth, line = kind == PLAIN ? 1 : 2; /* indices in a line of a panel */
    if (k == 0 || m == 0) {
        if (!accumulate) {
            clear(c, m, n, c_stride);
        }
        return;
    }
    blocks = (m + BLOCK_ROWS - 1) / BLOCK_ROWS;
    depth = BLOCK_VALUES / lm_share(m, blocks, 1) & ~(size_t)1; /* the first share is the largest */
    depth = blocks > 1 || depth > 2048 ? (blocks > 1 ? 512 : 2048) : depth;
    if (kind == PAIRS) {
        depth *= 2;
    }
    for (size_t first = 0; first < k; first += depth) {
        size_t count = k - first < depth ? k - first : depth;
        const char *b = (const char *)packed + first / line * LM_PANEL * sizeof(uint32_t);
        for (size_t block = 0; block < blocks; block++) {
            size_t row = lm_share(m, blocks, block), rows = lm_share(m, blocks, block + 1) - row;
            multiply_block(kind, tiles, rows, n, count, a + row * lane_step + first * index_step, lane_step,
                           index_step, b, panel_bytes, c + row * c_stride, c_stride, accumulate || first > 0,
                           scratch);
        }
    }
}

static void f32_multiply(size_t m, size_t n, size_t k, const float *a, size_t a_stride, bool a_transposed,
                         const void *packed, float *c, size_t c_stride, bool accumulate, void *scratch) {
    multiply_all(PLAIN, f32_tiles, m, n, k, a, a_stride, a_transposed, packed, f32_panel_bytes(k), c,
                 c_stride, accumulate, scratch);
}

static void bf16_multiply(size_t m, size_t n, size_t k, const float *a, size_t a_stride, bool a_transposed,
                          const void *packed, float *c, size_t c_stride, bool accumulate, void *scratch) {
    uint64_t saved = flush_begin(); /* the tiles are called through pointers: flush.h */
    multiply_all(BF16_OPERAND, bf16_tiles, m, n, k, a, a_stride, a_transposed, packed, bf16_panel_bytes(k), c,
                 c_stride, accumulate, scratch);
    flush_end(saved);
}

/* The two products of a set. */
#define LM_PRODUCTS                                                                                          \
    .f32 = {.profile = "f32/1",                                                                              \
            .pairs = false,                                                                                  \
            .element_size = sizeof(float),                                                                   \
            .panel_bytes = f32_panel_bytes,                                                                  \
            .pack = f32_pack,                                                                                \
            .multiply = f32_multiply,                                                                        \
            .scratch_bytes = tile_scratch_bytes,                                                             \
            .round = f32_round},                                                                             \
    .bf16 = {.profile = "bf16/1",                                                                            \
             .pairs = true,                                                                                  \
             .element_size = sizeof(uint16_t),                                                               \
             .panel_bytes = bf16_panel_bytes,                                                                \
             .pack = bf16_pack,                                                                              \
             .multiply = bf16_multiply,                                                                      \
             .scratch_bytes = tile_scratch_bytes,                                                            \
             .round = bf16_round}

#endif

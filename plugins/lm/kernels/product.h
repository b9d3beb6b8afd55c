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

/* Lines of a panel of A, indices in a line of a panel of B. */
static inline size_t lines_of(operand_kind kind, size_t k) {
    return kind == PAIRS ? k / 2 + k % 2 : k;
}
static inline size_t indices_a_line(operand_kind kind) {
    return kind == PLAIN ? 1 : 2;
}

/* A block of A, panel after panel. -0 is the absent partner of an odd index: its product with +0 is -0, and adding that
 * changes nothing. */
static inline void pack_block(operand_kind kind, uint32_t *out, size_t m, size_t k, const float *a,
                              size_t lane_step, size_t index_step) {
    size_t panels = (m + TILE_ROWS - 1) / TILE_ROWS, lines = lines_of(kind, k);
    for (size_t p = 0; p < panels; p++) {
        size_t row = lm_share(m, panels, p), rows = lm_share(m, panels, p + 1) - row;
        pack_lanes(kind, out + row * lines, rows, a + row * lane_step, lane_step, index_step, rows, k,
                   0x80000000u);
    }
}

/* A packed block against all columns. */
static inline void multiply_block(operand_kind kind, tile_function *const *tiles, size_t m, size_t n,
                                  size_t k, const uint32_t *left, const char *b, size_t panel_bytes, float *c,
                                  size_t c_stride, bool load) {
    size_t panels = (m + TILE_ROWS - 1) / TILE_ROWS, lines = lines_of(kind, k);
    size_t width =
        TILE_COLUMNS(m / panels); /* exact for one panel; in several, all have more rows than two */
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
            tiles[rows](k, left + row * lines, right, c + row * c_stride + column, c_stride, columns, load);
        }
    }
}

/* How A is cut: into blocks of rows, and each into parts of so many indices. */
typedef struct product_cut {
    size_t blocks, depth;
} product_cut;

static inline product_cut cut_left(operand_kind kind, size_t m) {
    size_t blocks = (m + BLOCK_ROWS - 1) / BLOCK_ROWS;
    size_t depth = BLOCK_VALUES / lm_share(m, blocks, 1) & ~(size_t)1; /* the first share is the largest */
    depth = blocks > 1 ? 512 : depth > 2048 ? 2048 : depth;
    return (product_cut){blocks, kind == PAIRS ? 2 * depth : depth};
}

/* Where a part of A comes from: rows and strides; or, packed before, from `left`, part after part. */
typedef struct left_source {
    const float *a;
    size_t lane_step, index_step;
    uint32_t *scratch;
    const uint32_t *left;
} left_source;

static inline void multiply_all(operand_kind kind, tile_function *const *tiles, size_t m, size_t n, size_t k,
                                left_source from, const void *packed, size_t panel_bytes, float *c,
                                size_t c_stride, bool accumulate) {
    if (k == 0 || m == 0) {
        if (!accumulate) {
            clear(c, m, n, c_stride);
        }
        return;
    }
    product_cut cut = cut_left(kind, m);
    for (size_t first = 0; first < k; first += cut.depth) {
        size_t count = k - first < cut.depth ? k - first : cut.depth;
        const char *b = (const char *)packed + first / indices_a_line(kind) * LM_PANEL * sizeof(uint32_t);
        for (size_t block = 0; block < cut.blocks; block++) {
            size_t row = lm_share(m, cut.blocks, block), rows = lm_share(m, cut.blocks, block + 1) - row;
            const uint32_t *left = from.left;
            if (left == NULL) {
                pack_block(kind, from.scratch, rows, count,
                           from.a + row * from.lane_step + first * from.index_step, from.lane_step,
                           from.index_step);
                left = from.scratch;
            } else {
                from.left += rows * lines_of(kind, count);
            }
            multiply_block(kind, tiles, rows, n, count, left, b, panel_bytes, c + row * c_stride, c_stride,
                           accumulate || first > 0);
        }
    }
}

/* The parts that multiply_all wants, in its order. */
static inline void pack_left(operand_kind kind, uint32_t *left, size_t m, size_t k, const float *a,
                             size_t a_stride) {
    if (k == 0 || m == 0) {
        return;
    }
    product_cut cut = cut_left(kind, m);
    for (size_t first = 0; first < k; first += cut.depth) {
        size_t count = k - first < cut.depth ? k - first : cut.depth;
        for (size_t block = 0; block < cut.blocks; block++) {
            size_t row = lm_share(m, cut.blocks, block), rows = lm_share(m, cut.blocks, block + 1) - row;
            pack_block(kind, left, rows, count, a + row * a_stride + first, a_stride, 1);
            left += rows * lines_of(kind, count);
        }
    }
}

static inline size_t left_bytes(operand_kind kind, size_t m, size_t k) {
    return (m * lines_of(kind, k) + LANES) * sizeof(uint32_t); /* packing writes sixteen at a time */
}

/* Row i over k + i indices: the rows of a tile together as far as the first of them goes, then each alone. */
static inline void multiply_causal(operand_kind kind, tile_function *const *tiles, size_t m, size_t n,
                                   size_t k, const float *a, size_t a_stride, const char *b,
                                   size_t panel_bytes, float *c, size_t c_stride, bool accumulate,
                                   uint32_t *scratch) {
    size_t panels = (m + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t p = 0; p < panels; p++) {
        size_t row = lm_share(m, panels, p), rows = lm_share(m, panels, p + 1) - row;
        size_t together = (k + row) / indices_a_line(kind) * indices_a_line(kind);
        left_source from = {a + row * a_stride, a_stride, 1, scratch, NULL};
        multiply_all(kind, tiles, rows, n, together, from, b, panel_bytes, c + row * c_stride, c_stride,
                     accumulate);
        const char *rest = b + together / indices_a_line(kind) * LM_PANEL * sizeof(uint32_t);
        for (size_t i = row; i < row + rows; i++) {
            left_source one = {a + i * a_stride + together, a_stride, 1, scratch, NULL};
            multiply_all(kind, tiles, 1, n, k + i - together, one, rest, panel_bytes, c + i * c_stride,
                         c_stride, true);
        }
    }
}

static void f32_multiply(size_t m, size_t n, size_t k, const float *a, size_t a_stride, bool a_transposed,
                         const void *packed, float *c, size_t c_stride, bool accumulate, void *scratch) {
    left_source from = {a, a_transposed ? 1 : a_stride, a_transposed ? a_stride : 1, scratch, NULL};
    multiply_all(PLAIN, f32_tiles, m, n, k, from, packed, f32_panel_bytes(k), c, c_stride, accumulate);
}

static size_t f32_left_bytes(size_t m, size_t k) {
    return left_bytes(PLAIN, m, k);
}

static void f32_pack_left(void *left, size_t m, size_t k, const float *a, size_t a_stride) {
    pack_left(PLAIN, left, m, k, a, a_stride);
}

static void f32_multiply_left(size_t m, size_t n, size_t k, const void *left, const void *packed,
                              size_t panel_bytes, float *c, size_t c_stride, bool accumulate) {
    left_source from = {NULL, 0, 0, NULL, left};
    multiply_all(PLAIN, f32_tiles, m, n, k, from, packed, panel_bytes, c, c_stride, accumulate);
}

static void f32_multiply_causal(size_t m, size_t n, size_t k, const float *a, size_t a_stride,
                                const void *packed, size_t panel_bytes, float *c, size_t c_stride,
                                bool accumulate, void *scratch) {
    multiply_causal(PLAIN, f32_tiles, m, n, k, a, a_stride, packed, panel_bytes, c, c_stride, accumulate,
                    scratch);
}

static void bf16_multiply(size_t m, size_t n, size_t k, const float *a, size_t a_stride, bool a_transposed,
                          const void *packed, float *c, size_t c_stride, bool accumulate, void *scratch) {
    left_source from = {a, a_transposed ? 1 : a_stride, a_transposed ? a_stride : 1, scratch, NULL};
    uint64_t saved = flush_begin(); /* the tiles are called through pointers: flush.h */
    multiply_all(BF16_OPERAND, bf16_tiles, m, n, k, from, packed, bf16_panel_bytes(k), c, c_stride,
                 accumulate);
    flush_end(saved);
}

static size_t bf16_left_bytes(size_t m, size_t k) {
    return left_bytes(BF16_OPERAND, m, k);
}

static void bf16_pack_left(void *left, size_t m, size_t k, const float *a, size_t a_stride) {
    pack_left(BF16_OPERAND, left, m, k, a, a_stride);
}

static void bf16_multiply_left(size_t m, size_t n, size_t k, const void *left, const void *packed,
                               size_t panel_bytes, float *c, size_t c_stride, bool accumulate) {
    left_source from = {NULL, 0, 0, NULL, left};
    uint64_t saved = flush_begin(); /* the tiles are called through pointers: flush.h */
    multiply_all(BF16_OPERAND, bf16_tiles, m, n, k, from, packed, panel_bytes, c, c_stride, accumulate);
    flush_end(saved);
}

static void bf16_multiply_causal(size_t m, size_t n, size_t k, const float *a, size_t a_stride,
                                 const void *packed, size_t panel_bytes, float *c, size_t c_stride,
                                 bool accumulate, void *scratch) {
    uint64_t saved = flush_begin(); /* the tiles are called through pointers: flush.h */
    multiply_causal(BF16_OPERAND, bf16_tiles, m, n, k, a, a_stride, packed, panel_bytes, c, c_stride,
                    accumulate, scratch);
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
            .left_bytes = f32_left_bytes,                                                                    \
            .pack_left = f32_pack_left,                                                                      \
            .multiply_left = f32_multiply_left,                                                              \
            .multiply_causal = f32_multiply_causal,                                                          \
            .scratch_bytes = tile_scratch_bytes,                                                             \
            .round = f32_round},                                                                             \
    .bf16 = {.profile = "bf16/1",                                                                            \
             .pairs = true,                                                                                  \
             .element_size = sizeof(uint16_t),                                                               \
             .panel_bytes = bf16_panel_bytes,                                                                \
             .pack = bf16_pack,                                                                              \
             .multiply = bf16_multiply,                                                                      \
             .left_bytes = bf16_left_bytes,                                                                  \
             .pack_left = bf16_pack_left,                                                                    \
             .multiply_left = bf16_multiply_left,                                                            \
             .multiply_causal = bf16_multiply_causal,                                                        \
             .scratch_bytes = tile_scratch_bytes,                                                            \
             .round = bf16_round}

#endif

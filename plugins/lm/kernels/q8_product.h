/* q8_product.h: q8/1 around a vector set's tiles: quantising both operands, and the order in which tiles are visited.
 *
 * A set defines TILE_ROWS, Q8_COLUMNS(rows), Q8_LINES and the table q8_tiles, then includes this file after pack.h. A
 * panel of A is packed group by group; a group of `rows` rows is
 *   [Q8_LINES][rows] 32 bits   8 lines: the quad of indices 4 i .. 4 i + 3 in bytes;
 *                              16 lines: its indices 0 and 2 in 16 bits each, in the next line 1 and 3
 *   [rows] int32               -128 times the sum over the group: where a dot of stored weights starts
 *   [rows] f32                 the scale
 * Indices past the end are 0. C rests in memory between groups, so no cut of K at a group shows. */
#ifndef LM_KERNELS_Q8_PRODUCT_H
#define LM_KERNELS_Q8_PRODUCT_H

#include "product.h"
#include "q8.h"
#include "tile.h"

enum {
    Q8_ROWS = 8 * TILE_ROWS, /* rows of A packed at once */
    Q8_DEPTH = 48,           /* groups of them */
    Q8_ENTRY = Q8_LINES + 2  /* 32-bit values of a row's group */
};

/* --- quantising --- */

typedef struct q8_values { /* up to a group of values, 0 after the last */
    v16 low, high;
} q8_values;

static inline q8_values q8_get(const float *x, size_t step, size_t count) {
    float side_by_side[LM_Q8_GROUP];
    if (step != 1) {
        for (size_t i = 0; i < count; i++) {
            side_by_side[i] = x[i * step];
        }
        x = side_by_side;
    }
    return (q8_values){get(x, count < LANES ? count : LANES),
                       count > LANES ? get(x + LANES, count - LANES) : v_set(0.0f)};
}

static inline uint32_t q8_greatest(q8_values x) {
    const i16 magnitude = i_set(0x7fffffffu);
    i16 low = i_and(v_bits(x.low), magnitude), high = i_and(v_bits(x.high), magnitude);
    return i_greatest(i_choose(i_greater(low, high), low, high));
}

/* See scalar_q8.h; `inverse` is not 0 here. */
static inline i16 q8_whole(v16 x, float inverse) {
    const v16 magic = v_set(0x1.8p23f);
    return i_sub(v_bits(v_add(v_mul(x, v_set(inverse)), magic)), v_bits(magic));
}

static inline i16 q8_within(i16 whole) {
    const i16 most = i_set(127), least = i_set((uint32_t)-127);
    whole = i_choose(i_greater(whole, most), most, whole);
    return i_choose(i_greater(least, whole), least, whole);
}

/* --- B --- */

static inline void q8_pack_column(uint8_t *group, size_t column, const float *x, size_t step, size_t count) {
    q8_values values = q8_get(x, step, count);
    uint32_t quads[LM_Q8_GROUP / 4] = {0};
    float inverse;
    uint16_t scale = lm_q8_weight_scale(q8_greatest(values), &inverse);
    memcpy(group + column * sizeof scale, &scale, sizeof scale);
    if (inverse != 0.0f) {
        i_store_bytes(quads, q8_within(q8_whole(values.low, inverse)));
        i_store_bytes(quads + 4, q8_within(q8_whole(values.high, inverse)));
    }
    for (size_t i = 0; i < lm_q8_quads(count); i++) {
        uint32_t stored = quads[i] ^ 0x80808080u; /* + 128 in each byte */
        memcpy(group + LM_Q8_SCALES + i * LM_Q8_QUAD + 4 * column, &stored, sizeof stored);
    }
}

static void q8_pack(void *packed, const float *b, size_t k, size_t n, size_t stride, bool transposed) {
    size_t step = transposed ? 1 : stride, across = transposed ? stride : 1;
    for (size_t first = 0; first < n; first += LM_PANEL) {
        uint8_t *panel = (uint8_t *)packed + first / LM_PANEL * lm_q8_panel_bytes(k);
        size_t columns = n - first < LM_PANEL ? n - first : LM_PANEL;
        for (size_t start = 0; start < k; start += LM_Q8_GROUP) {
            uint8_t *group = panel + start / LM_Q8_GROUP * LM_Q8_GROUP_BYTES;
            size_t count = k - start < LM_Q8_GROUP ? k - start : LM_Q8_GROUP;
            if (columns < LM_PANEL) {
                memset(group, 0, LM_Q8_SCALES);
                memset(group + LM_Q8_SCALES, LM_Q8_OFFSET, lm_q8_quads(count) * LM_Q8_QUAD);
            }
            for (size_t j = 0; j < columns; j++) {
                q8_pack_column(group, j, b + (first + j) * across + start * step, step, count);
            }
        }
    }
}

/* --- A --- */

static inline uint32_t q8_two(uint32_t quad, int index) { /* bytes `index` and `index` + 2, 16 bits each */
    uint32_t low = (uint16_t)(int8_t)(quad >> 8 * index), high = (uint16_t)(int8_t)(quad >> 8 * (index + 2));
    return high << 16 | low;
}

/* One row's group; `entry` is that row's place in the first line. */
static inline void q8_pack_entry(uint32_t *entry, size_t rows, const float *x, size_t step, size_t count) {
    q8_values values = q8_get(x, step, count);
    uint32_t quads[LM_Q8_GROUP / 4] = {0}, start = 0;
    float inverse, scale = lm_q8_activation_scale(q8_greatest(values), &inverse);
    if (inverse != 0.0f) {
        i16 low = q8_whole(values.low, inverse), high = q8_whole(values.high, inverse);
        i_store_bytes(quads, low);
        i_store_bytes(quads + 4, high);
        start = i_total(i_add(low, high)) * (uint32_t)-LM_Q8_OFFSET;
    }
    for (size_t i = 0; i < LM_Q8_GROUP / 4; i++) {
        if (Q8_LINES == LM_Q8_GROUP / 4) {
            entry[i * rows] = quads[i];
        } else {
            entry[2 * i * rows] = q8_two(quads[i], 0);
            entry[(2 * i + 1) * rows] = q8_two(quads[i], 1);
        }
    }
    entry[Q8_LINES * rows] = start;
    memcpy(&entry[(Q8_LINES + 1) * rows], &scale, sizeof scale);
}

static inline void q8_pack_rows(uint32_t *out, size_t rows, const float *a, size_t row_step,
                                size_t index_step, size_t k) {
    for (size_t row = 0; row < rows; row++) {
        for (size_t start = 0; start < k; start += LM_Q8_GROUP) {
            q8_pack_entry(out + start / LM_Q8_GROUP * rows * Q8_ENTRY + row, rows,
                          a + row * row_step + start * index_step, index_step,
                          k - start < LM_Q8_GROUP ? k - start : LM_Q8_GROUP);
        }
    }
}

/* --- the product --- */

static size_t q8_scratch_bytes(size_t k) {
    (void)k; /* K is cut to fit */
    return (size_t)Q8_ROWS * Q8_DEPTH * Q8_ENTRY * sizeof(uint32_t);
}

static inline size_t q8_entries(size_t k) {
    return (k + LM_Q8_GROUP - 1) / LM_Q8_GROUP * Q8_ENTRY;
}

/* A block of A, k indices deep, panel after panel. */
static inline void q8_pack_block(uint32_t *out, size_t m, size_t k, const float *a, size_t row_step,
                                 size_t index_step) {
    size_t panels = (m + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t p = 0; p < panels; p++) {
        size_t row = lm_share(m, panels, p), rows = lm_share(m, panels, p + 1) - row;
        q8_pack_rows(out + row * q8_entries(k), rows, a + row * row_step, row_step, index_step, k);
    }
}

/* It against all columns. */
static inline void q8_block(size_t m, size_t n, size_t k, const uint32_t *left, const char *b,
                            size_t panel_bytes, float *c, size_t c_stride, bool load) {
    size_t panels = (m + TILE_ROWS - 1) / TILE_ROWS, width = Q8_COLUMNS(m / panels);
    for (size_t column = 0; column < n; column += width) {
        const char *right = b + column / LM_PANEL * panel_bytes;
        size_t columns = n - column < width ? n - column : width;
        for (size_t p = 0; p < panels; p++) {
            size_t row = lm_share(m, panels, p), rows = lm_share(m, panels, p + 1) - row;
            if (p + 1 < panels) {
                lm_expect_tile(c + (row + rows) * c_stride + column, rows, columns, c_stride);
            } else if (column + width < n) {
                lm_expect_tile(c + column + width, rows, width, c_stride);
            }
            q8_tiles[rows](k, left + row * q8_entries(k), right, column % LM_PANEL,
                           c + row * c_stride + column, c_stride, columns, load);
        }
    }
}

/* As product.h's; with one block, few rows have many groups: weights are read once, in order. */
static inline product_cut q8_cut(size_t m) {
    size_t blocks = (m + Q8_ROWS - 1) / Q8_ROWS;
    return (product_cut){blocks, (blocks == 1 ? (size_t)Q8_ROWS * Q8_DEPTH / m : Q8_DEPTH) * LM_Q8_GROUP};
}

static inline void q8_multiply_all(size_t m, size_t n, size_t k, left_source from, const void *packed,
                                   size_t panel_bytes, float *c, size_t c_stride, bool accumulate) {
    if (k == 0 || m == 0) {
        for (size_t i = 0; i < m && !accumulate; i++) {
            memset(c + i * c_stride, 0, n * sizeof *c);
        }
        return;
    }
    product_cut cut = q8_cut(m);
    for (size_t first = 0; first < k; first += cut.depth) {
        size_t count = k - first < cut.depth ? k - first : cut.depth;
        const char *b = (const char *)packed + first / LM_Q8_GROUP * LM_Q8_GROUP_BYTES;
        for (size_t block = 0; block < cut.blocks; block++) {
            size_t row = lm_share(m, cut.blocks, block), rows = lm_share(m, cut.blocks, block + 1) - row;
            const uint32_t *left = from.left;
            if (left == NULL) {
                q8_pack_block(from.scratch, rows, count,
                              from.a + row * from.lane_step + first * from.index_step, from.lane_step,
                              from.index_step);
                left = from.scratch;
            } else {
                from.left += rows * q8_entries(count);
            }
            q8_block(rows, n, count, left, b, panel_bytes, c + row * c_stride, c_stride,
                     accumulate || first > 0);
        }
    }
}

static void q8_multiply(size_t m, size_t n, size_t k, const float *a, size_t a_stride, bool a_transposed,
                        const void *packed, float *c, size_t c_stride, bool accumulate, void *scratch) {
    left_source from = {a, a_transposed ? 1 : a_stride, a_transposed ? a_stride : 1, scratch, NULL};
    q8_multiply_all(m, n, k, from, packed, lm_q8_panel_bytes(k), c, c_stride, accumulate);
}

static size_t q8_left_bytes(size_t m, size_t k) {
    return (m * q8_entries(k) + LANES) * sizeof(uint32_t);
}

static void q8_pack_left(void *packed_left, size_t m, size_t k, const float *a, size_t a_stride) {
    uint32_t *left = packed_left;
    if (k == 0 || m == 0) {
        return;
    }
    product_cut cut = q8_cut(m);
    for (size_t first = 0; first < k; first += cut.depth) {
        size_t count = k - first < cut.depth ? k - first : cut.depth;
        for (size_t block = 0; block < cut.blocks; block++) {
            size_t row = lm_share(m, cut.blocks, block), rows = lm_share(m, cut.blocks, block + 1) - row;
            q8_pack_block(left, rows, count, a + row * a_stride + first, a_stride, 1);
            left += rows * q8_entries(count);
        }
    }
}

static void q8_multiply_left(size_t m, size_t n, size_t k, const void *left, const void *packed,
                             size_t panel_bytes, float *c, size_t c_stride, bool accumulate) {
    left_source from = {NULL, 0, 0, NULL, left};
    q8_multiply_all(m, n, k, from, packed, panel_bytes, c, c_stride, accumulate);
}

/* What a product sees of A. */
static void q8_round(float *out, const float *x, size_t n) {
    for (size_t start = 0; start < n; start += LM_Q8_GROUP) {
        size_t count = n - start < LM_Q8_GROUP ? n - start : LM_Q8_GROUP;
        q8_values values = q8_get(x + start, 1, count);
        float inverse, scale = lm_q8_activation_scale(q8_greatest(values), &inverse);
        v16 factor = v_set(scale), low = v_set(scale * 0.0f), high = low;
        if (inverse != 0.0f) {
            low = v_mul(factor, i_convert(q8_whole(values.low, inverse)));
            high = v_mul(factor, i_convert(q8_whole(values.high, inverse)));
        }
        put(out + start, low, count < LANES ? count : LANES);
        if (count > LANES) {
            put(out + start + LANES, high, count - LANES);
        }
    }
}

#define LM_Q8                                                                                                \
    .q8 = {.profile = "q8/1",                                                                                \
           .pairs = false,                                                                                   \
           .element_size = 1,                                                                                \
           .panel_bytes = lm_q8_panel_bytes,                                                                 \
           .pack = q8_pack,                                                                                  \
           .multiply = q8_multiply,                                                                          \
           .left_bytes = q8_left_bytes,                                                                      \
           .pack_left = q8_pack_left,                                                                        \
           .multiply_left = q8_multiply_left,                                                                \
           .scratch_bytes = q8_scratch_bytes,                                                                \
           .round = q8_round}

#endif

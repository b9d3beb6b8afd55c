/* attention.c: causal attention over packed keys and values.
 *
 * Invariant: a query's result is the same however many queries are asked with it. Its scores are single outputs of
 * q . K^T; its numerators are one row operation over exactly the keys that it sees; P . V is one chain over those keys
 * in the order of their absolute positions, in pairs (2j, 2j+1) of absolute positions under bf16/1. Queries share a
 * call only over keys that all of them see, and the chain is broken only between pairs, where it continues from the
 * stored float. So prefill, decode, scoring and training give the same bits, and a masked key takes part in nothing:
 * its score may be computed beside others, but is never read.
 *
 * A sequence's keys and values lie in blocks of C positions, C a multiple of LM_PANEL (model/cache.c keeps them, and lets
 * sequences share those that they have in common). A block of a layer:
 *   keys    for each kv head C / 32 panels of panel_bytes(D): column = position.
 *   values  for each kv head ceil(D / 32) panels of panel_bytes(C): row = position, column = element of the head. Heads
 *           of 4, 8 or 16 elements share a panel side by side: a product may begin inside one, and a cache four times
 *           smaller is read four times faster.
 * A product over keys of several blocks is cut at their borders, where its chains continue from the stored floats: C is
 * even, so no pair is cut, and the size of blocks never shows. */
#include "layers.h"

#include <stdlib.h>

enum { LM_QUERY_BLOCK = 48, LM_KEYS_AT_ONCE = 512, LM_BACKWARD_BLOCK = 64 };
/* What a kv head of a sequence costs besides its keys: small products, one after another. */
enum { A_GROUP_WORK = 1 << 16 };

static size_t panels(size_t n) {
    return (n + LM_PANEL - 1) / LM_PANEL;
}

static size_t keys_run(const lm_context *context, size_t head_size, size_t capacity) {
    return panels(capacity) * context->between->panel_bytes(head_size);
}

/* Heads whose values share a panel. */
static size_t sharing(size_t head_size) {
    return head_size < LM_PANEL && LM_PANEL % head_size == 0 ? LM_PANEL / head_size : 1;
}

/* A tile loads whole rows of a panel: from a head's column inside one it reads past the last row's end. */
static size_t values_run(const lm_context *context, size_t head_size, size_t capacity) {
    size_t slack = sharing(head_size) > 1 ? LM_PANEL * sizeof(lm_real) : 0;
    return panels(head_size) * context->between->panel_bytes(panels(capacity) * LM_PANEL) + slack;
}

size_t lm_cache_layer_bytes(const lm_context *context, const lm_config *config, size_t capacity) {
    size_t shared = sharing(config->head_size);
    return config->kv_heads * keys_run(context, config->head_size, capacity) +
           (config->kv_heads + shared - 1) / shared * values_run(context, config->head_size, capacity);
}

temper_status lm_cache_layer_open(const lm_context *context, const lm_config *config, size_t capacity,
                                  lm_cache_layer *out, temper_error *error) {
    size_t positions = panels(capacity) * LM_PANEL;
    *out = (lm_cache_layer){.block = positions, .capacity = positions};
    /* Not cleared: what was never appended is never read into a result, and pages never touched cost nothing. */
    size_t bytes = lm_cache_layer_bytes(context, config, capacity);
    out->single[0] = bytes > PTRDIFF_MAX - 64 ? NULL : aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (out->single[0] == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY,
                           "no memory for the keys and values of %zu positions: %zu bytes a layer", capacity,
                           bytes);
    }
    out->blocks = out->single;
    return TEMPER_OK;
}

void lm_cache_layer_close(lm_cache_layer *self) {
    free(self->single[0]);
    *self = (lm_cache_layer){0};
}

typedef struct attention_job {
    const lm_context *context;
    const lm_config *config;
    size_t window;
    const lm_attention_rows *sequences;
    size_t scores_stride; /* elements; also the most keys any query here scores at once */
    size_t slices;        /* blocks of queries that the longest sequence has */
} attention_job;

/* This layer's part of the block that holds a position. */
static char *block_of(const lm_cache_layer *cache, size_t position) {
    return cache->blocks[position / cache->block] + cache->offset;
}

/* How many positions there are from here to the border of the block, `end` at most. */
static size_t to_border(const lm_cache_layer *cache, size_t position, size_t end) {
    size_t border = (position / cache->block + 1) * cache->block;
    return (border < end ? border : end) - position;
}

/* The panel of a head's keys that holds a position. */
static char *keys_at(const lm_context *context, const lm_config *config, const lm_cache_layer *cache,
                     size_t head, size_t position) {
    return block_of(cache, position) + head * keys_run(context, config->head_size, cache->block) +
           position % cache->block / LM_PANEL * context->between->panel_bytes(config->head_size);
}

/* A head's first column in the first row of its block's values: of panel `c` of the head's elements. */
static char *values_at(const lm_context *context, const lm_config *config, const lm_cache_layer *cache,
                       size_t head, size_t c, size_t position) {
    size_t shared = sharing(config->head_size), unit = context->between->pairs ? 4 : sizeof(lm_real);
    return block_of(cache, position) + config->kv_heads * keys_run(context, config->head_size, cache->block) +
           head / shared * values_run(context, config->head_size, cache->block) +
           head % shared * config->head_size * unit + c * context->between->panel_bytes(cache->block);
}

/* A value already rounded to bf16, as its sixteen bits. */
static uint16_t upper_half(lm_real x) {
    float value = (float)x;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* One row of a packed B (an index of the reduction), `columns` of them from the panel's first. */
static void store_row(const lm_product *product, void *panel, size_t row, const lm_real *x, size_t columns) {
    if (!product->pairs) {
        memcpy((lm_real *)panel + row * LM_PANEL, x, columns * sizeof *x);
        return;
    }
    lm_real rounded[LM_PANEL];
    uint16_t *out = (uint16_t *)panel + row / 2 * LM_PANEL * 2 + row % 2;
    product->round(rounded, x, columns);
    for (size_t d = 0; d < columns; d++) {
        out[2 * d] = upper_half(rounded[d]);
    }
}

/* One column of a panel, `rows` of it from the first. */
static void store_column(const lm_product *product, void *panel, size_t column, const lm_real *x,
                         size_t rows) {
    for (size_t first = 0; first < rows; first += LM_PANEL) {
        size_t count = rows - first < LM_PANEL ? rows - first : LM_PANEL;
        lm_real rounded[LM_PANEL];
        product->round(rounded, x + first, count);
        for (size_t d = 0; d < count; d++) {
            size_t row = first + d;
            if (product->pairs) {
                ((uint16_t *)panel)[(row / 2 * LM_PANEL + column) * 2 + row % 2] = upper_half(rounded[d]);
            } else {
                ((lm_real *)panel)[row * LM_PANEL + column] = rounded[d];
            }
        }
    }
}

static void append_keys(const attention_job *job, const lm_attention_rows *rows, size_t head) {
    const lm_product *product = job->context->between;
    size_t size = job->config->head_size, stride = job->config->kv_heads * size, first = rows->cache->length;
    for (size_t i = 0; i < rows->n;) {
        size_t position = first + i, column = position % LM_PANEL;
        const lm_real *k = rows->k + i * stride + head * size;
        char *panel = keys_at(job->context, job->config, rows->cache, head, position);
        if (column != 0) {
            store_column(product, panel, column, k, size);
            i++;
            continue;
        }
        /* The columns after the last one become zeros; later appends write them one by one. */
        size_t count = to_border(rows->cache, position, first + rows->n);
        product->pack(panel, k, size, count, stride, true);
        i += count;
    }
}

/* `count` rows of values from `position` on, all in one block. */
static void append_values_here(const attention_job *job, const lm_attention_rows *rows, size_t head,
                               size_t position, size_t count) {
    const lm_product *product = job->context->between;
    size_t size = job->config->head_size, stride = job->config->kv_heads * size, shared = sharing(size);
    const lm_real *all = rows->v + (position - rows->cache->length) * stride + head * size;
    size_t row = position % rows->cache->block;
    for (size_t c = 0; c < panels(size); c++) {
        size_t columns = size - c * LM_PANEL < LM_PANEL ? size - c * LM_PANEL : LM_PANEL, i = 0;
        const lm_real *v = all + c * LM_PANEL;
        char *panel = values_at(job->context, job->config, rows->cache, head, c, position);
        if (product->pairs && row % 2 != 0) { /* the second of a pair that is there */
            store_row(product, panel, row, v, columns);
            i = 1;
        }
        for (; shared > 1 && i < count; i++) { /* packing would clear the neighbours' columns */
            store_row(product, panel, row + i, v + i * stride, columns);
        }
        if (i < count) {
            product->pack(panel + product->panel_bytes(row + i), v + i * stride, count - i, columns, stride,
                          false);
        }
    }
}

static void append_values(const attention_job *job, const lm_attention_rows *rows, size_t head) {
    size_t position = rows->cache->length, end = position + rows->n;
    while (position < end) {
        size_t count = to_border(rows->cache, position, end);
        append_values_here(job, rows, head, position, count);
        position += count;
    }
}

/* Some queries of one head: row r stands at position + r * step. */
typedef struct queries {
    const lm_real *q;
    size_t q_stride, rows, position, step;
    lm_real *out;
    size_t out_stride;
    const lm_cache_layer *cache;
    size_t kv_head;
    void *left, *scratch; /* for products */
} queries;

static size_t first_key(size_t window, size_t position) {
    return window != 0 && position + 1 > window ? position + 1 - window : 0;
}

/* out (+)= P . V of rows low .. high over `count` keys from `from` on, which lie in one block and which all of them see.
 * p[0] is key `from` of row 0. */
static void weigh_together(const attention_job *job, const queries *self, size_t low, size_t high,
                           size_t from, size_t count, const lm_real *p, bool accumulate) {
    const lm_product *product = job->context->between;
    size_t size = job->config->head_size, row = from % self->cache->block;
    const char *values = values_at(job->context, job->config, self->cache, self->kv_head, 0, from);
    if (low == high) {
        return;
    }
    product->pack_left(self->left, high - low, count, p + low * job->scores_stride, job->scores_stride);
    product->multiply_left(high - low, size, count, self->left, values + product->panel_bytes(row),
                           product->panel_bytes(self->cache->block), self->out + low * self->out_stride,
                           self->out_stride, accumulate);
}

/* The same where each row sees one key more than the one before, row `low` the first `count`. */
static void weigh_causal(const attention_job *job, const queries *self, size_t low, size_t high, size_t from,
                         size_t count, const lm_real *p, bool accumulate) {
    const lm_product *product = job->context->between;
    size_t size = job->config->head_size, row = from % self->cache->block;
    const char *values = values_at(job->context, job->config, self->cache, self->kv_head, 0, from);
    product->multiply_causal(high - low, size, count, p + low * job->scores_stride, job->scores_stride,
                             values + product->panel_bytes(row), product->panel_bytes(self->cache->block),
                             self->out + low * self->out_stride, self->out_stride, accumulate, self->scratch);
}

/* out (+)= P . V over all keys from `from` on (not the second of a pair), each row as far as it sees. */
static void weigh(const attention_job *job, const queries *self, size_t from, const lm_real *p,
                  bool accumulate) {
    size_t last = self->position + (self->rows - 1) * self->step + 1;
    while (from < last) {
        size_t count = to_border(self->cache, from, last), low = 0, high = 0;
        count = count < LM_KEYS_AT_ONCE ? count : LM_KEYS_AT_ONCE;
        if (self->step > 0) { /* rows before `low` see none of these keys, from `high` on all */
            low = from > self->position ? from - self->position : 0;
            high = from + count > self->position + 1 ? from + count - self->position - 1 : 0;
            high = high > low && high + 1 == self->rows ? self->rows : high;
        }
        if (high > low) {
            weigh_causal(job, self, low, high, from, self->position + low + 1 - from, p, accumulate);
        }
        weigh_together(job, self, high > low ? high : low, self->rows, from, count, p, accumulate);
        from += count;
        p += count;
        accumulate = true;
    }
}

/* The window begins at the second of a pair: that key alone, as if the pair had no first. */
static void weigh_single(const attention_job *job, const queries *self, size_t key, const lm_real *p) {
    const lm_product *product = job->context->between;
    size_t size = job->config->head_size, row = key % self->cache->block;
    for (size_t c = 0; c < panels(size); c++) {
        size_t columns = size - c * LM_PANEL < LM_PANEL ? size - c * LM_PANEL : LM_PANEL;
        const char *panel = values_at(job->context, job->config, self->cache, self->kv_head, c, key);
        const uint16_t *pairs = (const uint16_t *)(const void *)panel + row / 2 * LM_PANEL * 2;
        uint16_t alone[LM_PANEL * 2] __attribute__((aligned(64))) = {0};
        for (size_t d = 0; d < columns; d++) {
            alone[2 * d] = pairs[2 * d + 1];
        }
        product->multiply(self->rows, columns, 1, p, job->scores_stride, false, alone,
                          self->out + c * LM_PANEL, self->out_stride, false, self->scratch);
    }
}

/* A block of queries whose windows begin at the same key. */
static void attend(const attention_job *job, const queries *self, size_t start, void *memory) {
    const lm_kernels *kernels = job->context->kernels;
    const lm_product *product = job->context->between;
    size_t size = job->config->head_size, panel = start / LM_PANEL, skipped = start - panel * LM_PANEL;
    size_t last = self->position + (self->rows - 1) * self->step;
    lm_real *scores = memory, sums[LM_QUERY_BLOCK];

    product->pack_left(self->left, self->rows, size, self->q, self->q_stride);
    for (size_t key = panel * LM_PANEL; key <= last;) {
        size_t count = to_border(self->cache, key, last + 1);
        product->multiply_left(self->rows, count, size, self->left,
                               keys_at(job->context, job->config, self->cache, self->kv_head, key),
                               product->panel_bytes(size), scores + (key - panel * LM_PANEL),
                               job->scores_stride, false);
        key += count;
    }
    for (size_t r = 0; r < self->rows; r++) {
        lm_real *row = scores + r * job->scores_stride + skipped;
        size_t keys = self->position + r * self->step + 1 - start;
        lm_real scale = (lm_real)job->config->attention_scale, cap = (lm_real)job->config->attention_cap;
        if (cap > 0) {
            lm_soft_cap(job->context, row, scale, cap, keys);
            scale = 1;
        }
        sums[r] = kernels->softmax_numerators(row, NULL, row, scale, keys);
    }
    const lm_real *p = scores + skipped;
    if (product->pairs && start % 2 != 0) {
        weigh_single(job, self, start, p);
        weigh(job, self, start + 1, p + 1, true);
    } else {
        weigh(job, self, start, p, false);
    }
    for (size_t r = 0; r < self->rows; r++) {
        kernels->scale(self->out + r * self->out_stride, 1 / sums[r], size);
    }
}

/* For a block of queries, and for their probabilities of some keys. */
static size_t left_room(const lm_context *context, const lm_config *config) {
    size_t most = config->head_size > LM_KEYS_AT_ONCE ? config->head_size : LM_KEYS_AT_ONCE;
    return (context->between->left_bytes(LM_QUERY_BLOCK, most) + 63) / 64 * 64;
}

/* Cuts a head's queries into blocks of one first key and at most LM_QUERY_BLOCK rows. */
static void attend_blocks(const attention_job *job, queries all, void *memory) {
    all.left = (char *)memory + LM_QUERY_BLOCK * job->scores_stride * sizeof(lm_real);
    all.scratch = (char *)all.left + left_room(job->context, job->config);
    for (size_t r = 0; r < all.rows;) {
        queries block = all;
        block.position += r * all.step;
        block.q += r * all.q_stride;
        block.out += r * all.out_stride;
        block.rows = all.rows - r < LM_QUERY_BLOCK ? all.rows - r : LM_QUERY_BLOCK;
        size_t start = first_key(job->window, block.position);
        if (first_key(job->window, block.position + (block.rows - 1) * all.step) != start) {
            block.rows = 1;
        }
        attend(job, &block, start, memory);
        r += block.rows;
    }
}

/* The queries of a sequence's one head. */
static queries queries_of(const attention_job *job, const lm_attention_rows *rows, size_t head) {
    const lm_config *config = job->config;
    size_t size = config->head_size, width = config->heads * size;
    return (queries){.q = rows->q + head * size,
                     .q_stride = width,
                     .rows = rows->n,
                     .position = rows->cache->length,
                     .step = 1,
                     .out = rows->out + head * size,
                     .out_stride = width,
                     .cache = rows->cache,
                     .kv_head = head / (config->heads / config->kv_heads)};
}

/* One new row: the heads that share these keys are the rows. */
static void attend_one(const attention_job *job, const lm_attention_rows *rows, size_t kv_head,
                       size_t worker) {
    size_t group = job->config->heads / job->config->kv_heads;
    queries self = queries_of(job, rows, kv_head * group);
    self.rows = group, self.step = 0;
    self.q_stride = self.out_stride = job->config->head_size;
    attend_blocks(job, self, lm_context_scratch(job->context, worker));
}

static size_t panel_groups(const lm_config *config) {
    size_t shared = sharing(config->head_size);
    return (config->kv_heads + shared - 1) / shared;
}

/* Heads whose values share a panel go to one worker, and are appended before any of them is read: a tile loads whole
 * rows of the panel, the neighbours' columns with them. A sequence of one new row is done then. */
static void append_group(void *argument, size_t index, size_t worker) {
    const attention_job *job = argument;
    const lm_config *config = job->config;
    size_t groups = panel_groups(config), shared = sharing(config->head_size);
    const lm_attention_rows *rows = &job->sequences[index / groups];
    size_t first = index % groups * shared;
    size_t end = first + shared < config->kv_heads ? first + shared : config->kv_heads;
    for (size_t head = first; head < end; head++) {
        append_keys(job, rows, head);
        append_values(job, rows, head);
    }
    for (size_t head = first; rows->n == 1 && head < end; head++) {
        attend_one(job, rows, head, worker);
    }
}

/* A block of queries of one head of one sequence, all keys and values appended: the last ones, which see most keys, come
 * first, so that no worker is left with a long one in the end. */
static void attend_slice(void *argument, size_t index, size_t worker) {
    const attention_job *job = argument;
    size_t heads = job->config->heads, slice = job->slices - 1 - index / heads % job->slices;
    const lm_attention_rows *rows = &job->sequences[index / heads / job->slices];
    size_t first = slice * LM_QUERY_BLOCK;
    if (rows->n < 2 || first >= rows->n) {
        return;
    }
    queries self = queries_of(job, rows, index % heads);
    self.q += first * self.q_stride;
    self.out += first * self.out_stride;
    self.position += first;
    self.rows = rows->n - first < LM_QUERY_BLOCK ? rows->n - first : LM_QUERY_BLOCK;
    attend_blocks(job, self, lm_context_scratch(job->context, worker));
}

size_t lm_attention_scratch(const lm_context *context, const lm_config *config, size_t keys) {
    size_t k = config->head_size > keys ? config->head_size : keys;
    return LM_QUERY_BLOCK * panels(keys) * LM_PANEL * sizeof(lm_real) + left_room(context, config) +
           context->between->scratch_bytes(k);
}

temper_status lm_attention_forward(const lm_context *context, const lm_config *config, size_t window,
                                   const lm_attention_rows *sequences, size_t count, temper_error *error) {
    size_t keys = 0, work = 0, most = 0;
    for (size_t i = 0; i < count; i++) {
        size_t end = sequences[i].cache->length + sequences[i].n;
        most = sequences[i].n > most ? sequences[i].n : most;
        if (end > sequences[i].cache->capacity) {
            return temper_fail(error, TEMPER_INVALID, "%zu positions do not fit a cache of %zu", end,
                               sequences[i].cache->capacity);
        }
        keys = end > keys ? end : keys;
        work += sequences[i].n * end * config->heads * (2 * config->head_size + LM_EXP_WORK) +
                config->kv_heads * A_GROUP_WORK;
    }
    attention_job job = {context,
                         config,
                         window,
                         sequences,
                         panels(keys) * LM_PANEL,
                         (most + LM_QUERY_BLOCK - 1) / LM_QUERY_BLOCK};
    temper_status status = lm_context_reserve(context, lm_attention_scratch(context, config, keys), error);
    if (status) {
        return status;
    }
    lm_context_run(context, work, count * panel_groups(config), append_group, &job);
    if (most > 1) {
        lm_context_run(context, work, count * job.slices * config->heads, attend_slice, &job);
    }
    for (size_t i = 0; i < count; i++) {
        sequences[i].cache->length += sequences[i].n;
    }
    return TEMPER_OK;
}

/* --- backward: a whole sequence from position 0, a block of queries at a time, scores made again ---
 *
 * For a head, S = scale Q K^T (capped, with a slope of its own, where the config says so), P = softmax(S) over the keys that a query sees, O = P V:
 *   dV += P^T dO     dP = dO V^T     dS = P (dP - sum over d of dO O)     dQ = scale dS K     dK += scale dS^T Q
 * dK and dV are chains over queries in order, block after block (a block is even, so the pairs of bf16/1 lie at the
 * same positions whatever the length), the heads of a kv head one after another. Masked elements of P and dS are 0. */
typedef struct backward {
    const lm_context *context;
    size_t n, size;                  /* positions, head size */
    size_t query_stride, key_stride; /* A*D, G*D */
    lm_real scale, cap;
    size_t window;
    char *keys, *values, *key_rows; /* packed: K^T, V^T (reduction over D), K (reduction over positions) */
    char *q_rows, *dout_rows;       /* packed, a block: reduction over its queries */
    lm_real *p, *ds;                /* [block][n rounded up to a panel] */
    lm_real *capped;                /* [n rounded up to a panel]: a row's capped scores */
    size_t stride;
    void *scratch;
} backward;

static size_t round_up(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

/* Lays out the memory of a backward pass; returns how much it takes. */
static size_t backward_layout(backward *self, char *memory) {
    const lm_product *product = self->context->between;
    size_t columns = panels(self->n) * product->panel_bytes(self->size), longest = self->n, used = 0;
    longest = longest < self->size ? self->size : longest;
    longest = longest < LM_BACKWARD_BLOCK ? LM_BACKWARD_BLOCK : longest;
    size_t rows = panels(self->size) * product->panel_bytes(LM_BACKWARD_BLOCK);
    self->stride = panels(self->n) * LM_PANEL;
    struct {
        void *place;
        size_t bytes;
    } parts[] = {{&self->keys, columns},
                 {&self->values, columns},
                 {&self->key_rows, panels(self->size) * product->panel_bytes(self->n)},
                 {&self->q_rows, rows},
                 {&self->dout_rows, rows},
                 {&self->p, LM_BACKWARD_BLOCK * self->stride * sizeof(lm_real)},
                 {&self->ds, LM_BACKWARD_BLOCK * self->stride * sizeof(lm_real)},
                 {&self->capped, self->stride * sizeof(lm_real)},
                 {&self->scratch, product->scratch_bytes(longest)}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (memory != NULL) {
            char *start = memory + used;
            memcpy(parts[i].place, &start, sizeof start);
        }
        used += round_up(parts[i].bytes);
    }
    return used;
}

/* C[m][size] (+)= A . B, B packed with `packed_k` rows of which the first k count. */
static void times_rows(const backward *self, size_t m, size_t k, const lm_real *a, bool a_transposed,
                       const char *packed, size_t packed_k, lm_real *c, size_t c_stride, bool accumulate) {
    const lm_product *product = self->context->between;
    for (size_t panel = 0; panel < panels(self->size); panel++) {
        size_t column = panel * LM_PANEL;
        size_t columns = self->size - column < LM_PANEL ? self->size - column : LM_PANEL;
        product->multiply(m, columns, k, a, self->stride, a_transposed,
                          packed + panel * product->panel_bytes(packed_k), c + column, c_stride, accumulate,
                          self->scratch);
    }
}

/* P and dS of queries first .. first + rows over keys below `end`; zeros where a query sees nothing. */
static void softmax_backward(const backward *self, size_t first, size_t rows, size_t end, const lm_real *out,
                             const lm_real *dout) {
    const lm_kernels *kernels = self->context->kernels;
    for (size_t r = 0; r < rows; r++) {
        size_t position = first + r, start = first_key(self->window, position);
        lm_real *p = self->p + r * self->stride, *ds = self->ds + r * self->stride;
        size_t keys = position + 1 - start;
        if (self->cap > 0) {
            lm_soft_cap(self->context, p + start, self->scale, self->cap, keys);
            memcpy(self->capped + start, p + start, keys * sizeof *p);
        }
        lm_real sum =
            kernels->softmax_numerators(p + start, NULL, p + start, self->cap > 0 ? 1 : self->scale, keys);
        lm_real mean = kernels->dot_striped(dout + position * self->query_stride,
                                            out + position * self->query_stride, self->size);
        lm_real inverse = 1 / sum;
        for (size_t j = start; j <= position; j++) {
            p[j] *= inverse;
            ds[j] = p[j] * (ds[j] - mean) * self->scale;
        }
        if (self->cap > 0) {
            lm_soft_cap_backward(self->capped + start, self->cap, ds + start, keys);
        }
        memset(p, 0, start * sizeof *p);
        memset(ds, 0, start * sizeof *ds);
        memset(p + position + 1, 0, (end - position - 1) * sizeof *p);
        memset(ds + position + 1, 0, (end - position - 1) * sizeof *ds);
    }
}

/* One head; q, out, dout, dq at its first element, k.. packed for its kv head, dk, dv at that one's. */
static void backward_head(const backward *self, const lm_real *q, const lm_real *out, const lm_real *dout,
                          lm_real *dq, lm_real *dk, lm_real *dv) {
    const lm_product *product = self->context->between;
    size_t size = self->size, width = self->query_stride;
    for (size_t first = 0; first < self->n; first += LM_BACKWARD_BLOCK) {
        size_t rows = self->n - first < LM_BACKWARD_BLOCK ? self->n - first : LM_BACKWARD_BLOCK;
        size_t end = first + rows;
        const lm_real *q_block = q + first * width, *dout_block = dout + first * width;
        product->multiply(rows, end, size, q_block, width, false, self->keys, self->p, self->stride, false,
                          self->scratch);
        product->multiply(rows, end, size, dout_block, width, false, self->values, self->ds, self->stride,
                          false, self->scratch);
        softmax_backward(self, first, rows, end, out, dout);
        times_rows(self, rows, end, self->ds, false, self->key_rows, self->n, dq + first * width, width,
                   false);
        product->pack(self->dout_rows, dout_block, rows, size, width, false);
        times_rows(self, end, rows, self->p, true, self->dout_rows, rows, dv, self->key_stride, true);
        product->pack(self->q_rows, q_block, rows, size, width, false);
        times_rows(self, end, rows, self->ds, true, self->q_rows, rows, dk, self->key_stride, true);
    }
}

temper_status lm_attention_backward(const lm_context *context, const lm_config *config, size_t window,
                                    const lm_real *q, const lm_real *k, const lm_real *v, const lm_real *out,
                                    const lm_real *dout, size_t n, lm_real *dq, lm_real *dk, lm_real *dv,
                                    temper_error *error) {
    size_t size = config->head_size, group = config->heads / config->kv_heads;
    backward self = {.context = context,
                     .n = n,
                     .size = size,
                     .query_stride = config->heads * size,
                     .key_stride = config->kv_heads * size,
                     .scale = (lm_real)config->attention_scale,
                     .cap = (lm_real)config->attention_cap,
                     .window = window};
    temper_status status = lm_context_reserve(context, backward_layout(&self, NULL), error);
    if (status) {
        return status;
    }
    backward_layout(&self, lm_context_scratch(context, 0));
    memset(dk, 0, n * self.key_stride * sizeof *dk);
    memset(dv, 0, n * self.key_stride * sizeof *dv);
    for (size_t head = 0; head < config->heads; head++) {
        size_t kv = head / group * size;
        if (head % group == 0) {
            context->between->pack(self.keys, k + kv, size, n, self.key_stride, true);
            context->between->pack(self.values, v + kv, size, n, self.key_stride, true);
            context->between->pack(self.key_rows, k + kv, n, size, self.key_stride, false);
        }
        backward_head(&self, q + head * size, out + head * size, dout + head * size, dq + head * size,
                      dk + kv, dv + kv);
    }
    return TEMPER_OK;
}

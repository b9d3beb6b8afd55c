/* forward.c: the forward pass.
 *
 * Invariant: rows of all sequences go through the same layers in the same order, whoever asks. All but attention is of a
 * row alone. So with many rows a worker takes a few of them all the way from one attention to the next, its working rows
 * in its cache; with few, workers share each product, since the weights are what costs. Working rows live in one block
 * of the context; a pass that keeps its activations uses theirs instead. None of this computes anything differently. */
#include "internal.h"

#include <stdlib.h>

/* Rows that a worker takes at a time: enough that reading the weights for them is not felt. */
enum { ROWS_AT_ONCE = 256, ROWS_TO_SHARE = 48 };

/* A pass over R rows. */
typedef struct pass {
    const lm_context *context;
    const lm_model *model;
    const lm_sequence *sequences;
    size_t count, rows;
    lm_activations *keep;
    lm_real *final_normed;
    temper_status status; /* what came of it, with its message */
    temper_error *error;
    size_t pieces, piece;         /* the rows are cut into so many pieces, of at most so many rows */
    size_t layer;                 /* whose attention comes next */
    size_t *positions;            /* [R] */
    int32_t *ids;                 /* [R] */
    lm_attention_rows *attention; /* [count] */
    lm_cache_layer *temporary;    /* [count], for sequences without a cache */
    lm_real *residual;            /* [R][H] */
    struct lm_block_activations
        work;                /* where a block writes, when nothing is kept: q, k, v, attended [R][...], ... */
    lm_real *added, *hidden; /* ... and these and the rest [piece][...] for each worker that takes pieces */
    lm_real *fused;          /* rows of a product that are then split; nobody wants them afterwards */
    size_t fused_width;
} pass;

/* Pieces of rows for workers, or one piece whose products they share. */
static void cut(pass *self) {
    size_t workers = self->context->parallel.workers;
    self->pieces = 1;
    if (self->rows >= ROWS_TO_SHARE * workers) {
        self->pieces = (self->rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
        self->pieces = (self->pieces + workers - 1) / workers * workers;
    }
    self->piece = (self->rows + self->pieces - 1) / self->pieces;
}

static void carve_pass(lm_carver *carver, pass *self) {
    const lm_config *config = &self->model->config;
    cut(self);
    size_t width = config->heads * config->head_size, kv_width = config->kv_heads * config->head_size;
    size_t rows = self->rows, own = self->piece * (self->pieces > 1 ? self->context->parallel.workers : 1);
    self->positions = lm_carve(carver, rows, sizeof *self->positions);
    self->ids = lm_carve(carver, rows, sizeof *self->ids);
    self->attention = lm_carve(carver, self->count, sizeof *self->attention);
    self->temporary = lm_carve(carver, self->count, sizeof *self->temporary);
    self->residual = lm_carve(carver, rows, config->hidden * sizeof(lm_real));
    self->work.raw_q = self->work.q = lm_carve(carver, rows, width * sizeof(lm_real));
    self->work.raw_k = self->work.k = lm_carve(carver, rows, kv_width * sizeof(lm_real));
    self->work.v = lm_carve(carver, rows, kv_width * sizeof(lm_real));
    self->work.attended = lm_carve(carver, rows, width * sizeof(lm_real));
    self->added = lm_carve(carver, own, config->hidden * sizeof(lm_real));
    /* each its own: layers of one input are computed side by side */
    self->hidden = lm_carve(carver, own * LM_BLOCK_LINEARS, self->model->lora_rank * sizeof(lm_real));
    self->work.normed = self->work.feed_normed = lm_carve(carver, own, config->hidden * sizeof(lm_real));
    self->fused_width = lm_block_has(config, LM_QUERY_KEY_VALUE) ? width + 2 * kv_width : 0;
    if (lm_block_has(config, LM_GATE_UP) && 2 * config->intermediate > self->fused_width) {
        self->fused_width = 2 * config->intermediate;
    }
    self->fused = lm_carve(carver, own, self->fused_width * sizeof(lm_real));
    if (lm_activation_gated(config->activation)) {
        self->work.gate = lm_carve(carver, own, config->intermediate * sizeof(lm_real));
    }
    self->work.up = lm_carve(carver, own, config->intermediate * sizeof(lm_real));
    self->work.activated = lm_carve(carver, own, config->intermediate * sizeof(lm_real));
}

/* Every id and length, before anything is touched. */
static temper_status check(const lm_model *model, const lm_sequence *sequences, size_t count, size_t *rows,
                           temper_error *error) {
    *rows = 0;
    for (size_t i = 0; i < count; i++) {
        const lm_sequence *sequence = &sequences[i];
        size_t length = sequence->cache == NULL ? 0 : sequence->cache->length;
        size_t limit = model->config.context;
        if (sequence->cache != NULL && sequence->cache->capacity < limit) {
            limit = sequence->cache->capacity;
        }
        if (length > limit || sequence->count > limit - length) {
            return temper_fail(error, TEMPER_INVALID, "%zu tokens after %zu are more than the %zu that fit%s",
                               sequence->count, length, limit,
                               limit == model->config.context ? " the model's context" : " this cache");
        }
        for (size_t j = 0; j < sequence->count; j++) {
            if (sequence->ids[j] < 0 || (size_t)sequence->ids[j] >= model->config.vocabulary) {
                return temper_fail(error, TEMPER_INVALID, "token id %d is outside the vocabulary of %zu",
                                   (int)sequence->ids[j], model->config.vocabulary);
            }
        }
        if (__builtin_add_overflow(*rows, sequence->count, rows)) {
            return temper_fail(error, TEMPER_INVALID, "more tokens than memory can address");
        }
    }
    return TEMPER_OK;
}

static temper_status open_caches(pass *self, temper_error *error) {
    memset(self->temporary, 0, self->count * sizeof *self->temporary);
    for (size_t i = 0; i < self->count; i++) {
        lm_cache *cache = self->sequences[i].cache;
        if (cache != NULL) {
            temper_status status = lm_cache_reserve(cache, cache->length + self->sequences[i].count, error);
            if (status) {
                return status;
            }
        }
        if (self->sequences[i].cache == NULL && self->sequences[i].count > 0) {
            temper_status status = lm_cache_layer_open(self->context, &self->model->config,
                                                       self->sequences[i].count, &self->temporary[i], error);
            if (status) {
                return status;
            }
        }
    }
    return TEMPER_OK;
}

static void number_rows(const pass *self) {
    size_t row = 0;
    for (size_t i = 0; i < self->count; i++) {
        const lm_sequence *sequence = &self->sequences[i];
        size_t position = sequence->cache == NULL ? 0 : sequence->cache->length;
        for (size_t j = 0; j < sequence->count; j++, row++) {
            self->positions[row] = position + j;
            self->ids[row] = sequence->ids[j];
        }
    }
}

/* Some rows on their way: whose context works on them, and where a worker's own working rows are. */
typedef struct some_rows {
    const lm_context *context;
    size_t first, count, slot;
} some_rows;

/* The f32 value of each token's row (and of its learned position): not rounded to the profile's operand type. */
static void embed(const pass *self, const some_rows *rows, lm_real *x) {
    const lm_model *model = self->model;
    size_t n = model->config.hidden;
    for (size_t i = 0; i < rows->count; i++, x += n) {
        size_t row = rows->first + i;
        memcpy(x, model->embedding + (size_t)self->ids[row] * n, n * sizeof *x);
        if (model->config.embedding_scale > 0) {
            self->context->kernels->scale(x, (lm_real)model->config.embedding_scale, n);
        }
        if (model->position_embedding != NULL) {
            self->context->kernels->add(x, model->position_embedding + self->positions[row] * n, n);
        }
    }
}

/* The residual stream entering a block; behind the last: leaving it. */
static lm_real *stream(const pass *self, size_t layer, size_t row) {
    const lm_activations *keep = self->keep;
    lm_real *all = keep == NULL                         ? self->residual
                   : layer < self->model->config.layers ? keep->blocks[layer].input
                                                        : keep->last;
    return all + row * self->model->config.hidden;
}

static lm_real *after(lm_real *values, size_t rows, size_t width) {
    return values == NULL ? NULL : values + rows * width;
}

/* Where these rows of a block are written. */
static struct lm_block_activations places(const pass *self, size_t layer, const some_rows *rows) {
    const lm_config *config = &self->model->config;
    struct lm_block_activations at = self->keep == NULL ? self->work : self->keep->blocks[layer];
    size_t width = config->heads * config->head_size, kv_width = config->kv_heads * config->head_size;
    size_t all = rows->first, own = self->keep == NULL ? rows->slot * self->piece : all;
    at.normed = after(at.normed, own, config->hidden);
    at.norm_statistics = after(at.norm_statistics, own, 2);
    bool each = config->head_norm == LM_HEAD_NORM_EACH;
    at.raw_q = after(at.raw_q, all, width);
    at.raw_k = after(at.raw_k, all, kv_width);
    at.query_statistics = after(at.query_statistics, all, 2 * (each ? config->heads : 1));
    at.key_statistics = after(at.key_statistics, all, 2 * (each ? config->kv_heads : 1));
    at.q = after(at.q, all, width);
    at.k = after(at.k, all, kv_width);
    at.v = after(at.v, all, kv_width);
    at.attended = after(at.attended, all, width);
    at.middle = self->keep == NULL ? stream(self, layer, all) : after(at.middle, all, config->hidden);
    at.feed_normed = after(at.feed_normed, own, config->hidden);
    at.feed_statistics = after(at.feed_statistics, own, 2);
    at.attention_added = after(at.attention_added, all, config->hidden);
    at.attention_post_statistics = after(at.attention_post_statistics, all, 2);
    at.feed_added = after(at.feed_added, all, config->hidden);
    at.feed_post_statistics = after(at.feed_post_statistics, all, 2);
    at.gate = after(at.gate, own, config->intermediate);
    at.up = after(at.up, own, config->intermediate);
    at.activated = after(at.activated, own, config->intermediate);
    for (size_t i = 0; i < LM_BLOCK_LINEARS; i++) {
        at.lora_hidden[i] = at.lora_hidden[i] == NULL
                                ? after(self->hidden, (rows->slot * LM_BLOCK_LINEARS + i) * self->piece,
                                        self->model->lora_rank)
                                : after(at.lora_hidden[i], all, self->model->lora_rank);
    }
    return at;
}

/* to = from + added */
static void add_residual(const pass *self, lm_real *to, const lm_real *from, const lm_real *added,
                         size_t rows) {
    size_t count = rows * self->model->config.hidden;
    if (to != from) {
        memcpy(to, from, count * sizeof *to);
    }
    self->context->kernels->add(to, added, count);
}

/* x through the norm into `out`, when there is one. */
static const lm_real *normed_by(const pass *self, const some_rows *rows, const lm_norm_weights *norm,
                                const lm_real *x, lm_real *out, lm_real *statistics) {
    if (norm->w == NULL) {
        return x;
    }
    lm_norm_forward(rows->context, norm, x, rows->count, self->model->config.hidden, out, statistics);
    return out;
}

/* Queries and keys as the projections gave them: normed, when there are norms for them, and turned. */
static void settle_queries(const pass *self, size_t layer, const some_rows *rows,
                           const struct lm_block_activations *at) {
    const lm_config *config = &self->model->config;
    const lm_block *block = &self->model->blocks[layer];
    const lm_rope *rope = lm_model_rope(self->model, layer);
    const size_t *positions = self->positions + rows->first;
    size_t count = rows->count, size = config->head_size;
    if (block->query_norm.w != NULL) {
        bool each = config->head_norm == LM_HEAD_NORM_EACH;
        size_t heads = each ? config->heads : 1, kv_heads = each ? config->kv_heads : 1;
        lm_norm_forward(rows->context, &block->query_norm, at->raw_q, count * heads,
                        config->heads / heads * size, at->q, at->query_statistics);
        lm_norm_forward(rows->context, &block->key_norm, at->raw_k, count * kv_heads,
                        config->kv_heads / kv_heads * size, at->k, at->key_statistics);
    }
    if (rope != NULL) {
        lm_rope_rows(rows->context, rope, at->q, count, config->heads, size, positions, false);
        lm_rope_rows(rows->context, rope, at->k, count, config->kv_heads, size, positions, false);
    }
}

/* A block up to its attention. */
static void before_attention(const pass *self, size_t layer, const some_rows *rows) {
    const lm_context *context = rows->context;
    const lm_block *block = &self->model->blocks[layer];
    struct lm_block_activations at = places(self, layer, rows);
    size_t count = rows->count;
    const lm_real *normed = normed_by(self, rows, &block->attention_norm, stream(self, layer, rows->first),
                                      at.normed, at.norm_statistics);
    if (block->query_key_value.outputs > 0) {
        lm_real *fused = after(self->fused, rows->slot * self->piece, self->fused_width);
        lm_linear_forward(context, &block->query_key_value, normed, count, fused,
                          at.lora_hidden[LM_AT_QUERY_KEY_VALUE]);
        lm_split_queries(context, &self->model->config, fused, count, at.raw_q, at.raw_k, at.v);
    } else {
        lm_linear_output outputs[] = {{&block->query, at.raw_q, at.lora_hidden[LM_AT_QUERY]},
                                      {&block->key, at.raw_k, at.lora_hidden[LM_AT_KEY]},
                                      {&block->value, at.v, at.lora_hidden[LM_AT_VALUE]}};
        lm_linear_forward_all(context, outputs, 3, normed, count);
    }
    settle_queries(self, layer, rows, &at);
}

/* What a branch adds to the stream: its last product, normed when there is a norm for it. `kept`: where the product
 * stays for backward, or NULL. */
static void finish_branch(const pass *self, const some_rows *rows, const lm_linear *linear,
                          const lm_norm_weights *norm, const lm_real *x, lm_real *kept, lm_real *statistics,
                          lm_real *hidden, lm_real *added) {
    lm_real *product = kept == NULL ? added : kept;
    lm_linear_forward(rows->context, linear, x, rows->count, product, hidden);
    if (norm->w != NULL) {
        lm_norm_forward(rows->context, norm, product, rows->count, self->model->config.hidden, added,
                        statistics);
    }
}

static void feed_forward(const pass *self, size_t layer, const some_rows *rows,
                         const struct lm_block_activations *at, const lm_real *normed, lm_real *added) {
    const lm_context *context = rows->context;
    const lm_config *config = &self->model->config;
    const lm_block *block = &self->model->blocks[layer];
    size_t count = rows->count, n = config->intermediate;
    if (block->gate_up.outputs > 0) {
        lm_real *fused = after(self->fused, rows->slot * self->piece, self->fused_width);
        lm_linear_forward(context, &block->gate_up, normed, count, fused, at->lora_hidden[LM_AT_GATE_UP]);
        lm_split_gate(context, fused, count, n, at->gate, at->up);
    } else {
        lm_linear_output outputs[] = {{&block->gate, at->gate, at->lora_hidden[LM_AT_GATE]},
                                      {&block->up, at->up, at->lora_hidden[LM_AT_UP]}};
        size_t first = block->gate.outputs > 0 ? 0 : 1;
        lm_linear_forward_all(context, outputs + first, 2 - first, normed, count);
    }
    lm_activation_forward(context, config->activation, at->gate, at->up, count, n, at->activated);
    finish_branch(self, rows, &block->down, &block->feed_post_norm, at->activated, at->feed_added,
                  at->feed_post_statistics, at->lora_hidden[LM_AT_DOWN], added);
}

/* The rest of it. Branches side by side both begin at x, which may be where `middle` is written. */
static void after_attention(const pass *self, size_t layer, const some_rows *rows) {
    const lm_config *config = &self->model->config;
    const lm_block *block = &self->model->blocks[layer];
    struct lm_block_activations at = places(self, layer, rows);
    const lm_real *x = stream(self, layer, rows->first), *normed = NULL;
    lm_real *added = after(self->added, rows->slot * self->piece, config->hidden);
    finish_branch(self, rows, &block->output, &block->attention_post_norm, at.attended, at.attention_added,
                  at.attention_post_statistics, at.lora_hidden[LM_AT_OUTPUT], added);
    if (config->parallel) {
        normed = normed_by(self, rows, &block->feed_norm, x, at.feed_normed, at.feed_statistics);
    }
    add_residual(self, at.middle, x, added, rows->count);
    if (!config->parallel) {
        normed = normed_by(self, rows, &block->feed_norm, at.middle, at.feed_normed, at.feed_statistics);
    }
    feed_forward(self, layer, rows, &at, normed, added);
    add_residual(self, stream(self, layer + 1, rows->first), at.middle, added, rows->count);
}

static void finish_rows(const pass *self, const some_rows *rows) {
    const lm_activations *keep = self->keep;
    size_t n = self->model->config.hidden;
    lm_real *normed = self->final_normed != NULL ? self->final_normed : keep->final_normed;
    normed += rows->first * n;
    lm_norm_forward(rows->context, &self->model->final_norm, stream(self, self->layer, rows->first),
                    rows->count, n, normed, keep == NULL ? NULL : keep->last_statistics + 2 * rows->first);
    if (keep != NULL && self->final_normed != NULL && self->final_normed != keep->final_normed) {
        memcpy(keep->final_normed + rows->first * n, normed, rows->count * n * sizeof *normed);
    }
}

/* From the attention before to the next one, or to the end. */
static void between_attentions(const pass *self, const some_rows *rows) {
    if (self->layer == 0) {
        embed(self, rows, stream(self, 0, rows->first));
    } else {
        after_attention(self, self->layer - 1, rows);
    }
    if (self->layer < self->model->config.layers) {
        before_attention(self, self->layer, rows);
    } else {
        finish_rows(self, rows);
    }
}

/* A piece, by a worker who does all of it. */
static void take_piece(void *argument, size_t index, size_t worker) {
    const pass *self = argument;
    lm_scratch scratch = {.team = NULL,
                          .buffers = self->context->scratch->buffers + worker,
                          .size = self->context->scratch->size};
    lm_context alone = *self->context;
    alone.parallel = lm_serial();
    alone.scratch = &scratch;
    size_t share = self->rows / self->pieces, longer = self->rows % self->pieces;
    some_rows rows = {&alone, index * share + (index < longer ? index : longer), share + (index < longer),
                      worker};
    between_attentions(self, &rows);
}

static temper_status attend(pass *self, size_t layer, temper_error *error) {
    const lm_config *config = &self->model->config;
    size_t width = config->heads * config->head_size, kv_width = config->kv_heads * config->head_size;
    size_t row = 0, used = 0;
    const struct lm_block_activations *at = self->keep == NULL ? &self->work : &self->keep->blocks[layer];
    for (size_t i = 0; i < self->count; i++) {
        const lm_sequence *sequence = &self->sequences[i];
        if (sequence->count == 0) {
            continue;
        }
        lm_cache_layer *cache =
            sequence->cache == NULL ? &self->temporary[i] : &sequence->cache->layers[layer];
        if (sequence->cache == NULL) {
            cache->length = 0;
        }
        self->attention[used++] = (lm_attention_rows){
            cache,           at->q + row * width,       at->k + row * kv_width, at->v + row * kv_width,
            sequence->count, at->attended + row * width};
        row += sequence->count;
    }
    return lm_attention_forward(self->context, config, config->window[layer], self->attention, used, error);
}

/* The whole pass, with all workers at hand. */
static void run(void *argument) {
    pass *self = argument;
    const lm_config *config = &self->model->config;
    temper_status status = TEMPER_OK;
    number_rows(self);
    for (self->layer = 0; !status && self->layer <= config->layers; self->layer++) {
        if (self->pieces > 1) {
            lm_context_run(self->context, self->rows * config->hidden * config->intermediate, self->pieces,
                           take_piece, self);
        } else {
            some_rows rows = {self->context, 0, self->rows, 0};
            between_attentions(self, &rows);
        }
        if (self->layer < config->layers) {
            status = attend(self, self->layer, self->error);
        }
    }
    self->status = status;
}

/* Caches advance together, or not at all. */
static void settle(const pass *self, bool advance) {
    for (size_t i = 0; i < self->count; i++) {
        lm_cache *cache = self->sequences[i].cache;
        if (cache == NULL) {
            continue;
        }
        cache->length += advance ? self->sequences[i].count : 0;
        for (size_t layer = 0; layer < cache->count; layer++) {
            cache->layers[layer].length = cache->length;
        }
    }
}

temper_status lm_model_forward(const lm_context *context, const lm_model *self, const lm_sequence *sequences,
                               size_t count, lm_real *final_normed, lm_activations *keep,
                               temper_error *error) {
    pass state = {.context = context,
                  .model = self,
                  .sequences = sequences,
                  .count = count,
                  .keep = keep,
                  .error = error,
                  .final_normed = final_normed};
    temper_status status = check(self, sequences, count, &state.rows, error);
    if (status || state.rows == 0) {
        return status;
    }
    if (keep != NULL && (keep->rows < state.rows || keep->layers != self->config.layers)) {
        return temper_fail(error, TEMPER_INVALID,
                           "activations for %zu rows of %zu layers cannot keep %zu of %zu", keep->rows,
                           keep->layers, state.rows, self->config.layers);
    }
    lm_carver carver = {0};
    carve_pass(&carver, &state);
    if (carver.overflow) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a pass over %zu rows", state.rows);
    }
    void *memory = NULL;
    status = lm_context_rows(context, carver.used, &memory, error);
    if (!status) {
        status = lm_model_reserve(context, self, 0, error);
    }
    if (status) {
        return status;
    }
    carver = (lm_carver){.base = memory};
    carve_pass(&carver, &state);
    status = open_caches(&state, error);
    if (!status) {
        lm_context_together(context, run, &state);
        status = state.status;
    }
    for (size_t i = 0; i < count; i++) {
        lm_cache_layer_close(&state.temporary[i]);
    }
    settle(&state, status == TEMPER_OK);
    return status;
}

size_t lm_model_forward_bytes(const lm_context *context, const lm_model *self, size_t rows, size_t count,
                              size_t positions) {
    pass state = {.context = context, .model = self, .count = count, .rows = rows};
    lm_carver carver = {0};
    size_t scratch = lm_attention_scratch(context, &self->config, positions);
    carve_pass(&carver, &state);
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        const lm_linear *linear = lm_model_linear((lm_model *)(uintptr_t)self, (lm_role)role, 0);
        size_t bytes = linear == NULL ? 0 : lm_linear_scratch(context, linear, 0);
        scratch = bytes > scratch ? bytes : scratch;
    }
    return carver.overflow ? SIZE_MAX : carver.used + scratch * context->parallel.workers;
}

typedef struct cap_job {
    const lm_context *context;
    lm_real *logits, cap;
    size_t n;
} cap_job;

static void cap_range(void *argument, size_t begin, size_t end, size_t worker) {
    const cap_job *job = argument;
    (void)worker;
    lm_soft_cap(job->context, job->logits + begin * job->n, 1, job->cap, (end - begin) * job->n);
}

typedef struct head_job {
    const lm_context *context;
    const lm_model *model;
    const lm_real *x;
    size_t rows;
    lm_real *logits;
} head_job;

static void run_head(void *argument) {
    const head_job *job = argument;
    lm_linear_forward(job->context, &job->model->head, job->x, job->rows, job->logits, NULL);
}

temper_status lm_model_logits(const lm_context *context, const lm_model *self, const lm_real *final_normed,
                              const size_t *row_index, size_t rows, lm_real *logits, temper_error *error) {
    size_t n = self->config.hidden;
    temper_status status = lm_model_reserve(context, self, 0, error);
    if (!status && row_index != NULL) {
        void *memory = NULL;
        status = lm_context_rows(context, rows * n * sizeof(lm_real), &memory, error);
        lm_real *chosen = memory;
        for (size_t i = 0; !status && i < rows; i++) {
            memcpy(chosen + i * n, final_normed + row_index[i] * n, n * sizeof *chosen);
        }
        final_normed = chosen;
    }
    if (!status) {
        head_job head = {context, self, final_normed, rows, logits};
        lm_context_together(context, run_head, &head);
        if (self->config.final_cap > 0) {
            cap_job job = {context, logits, (lm_real)self->config.final_cap, self->config.vocabulary};
            lm_context_ranges(context, rows * job.n * 8, rows, 1, cap_range, &job);
        }
    }
    return status;
}

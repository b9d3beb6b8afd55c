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
    self->work.q = lm_carve(carver, rows, width * sizeof(lm_real));
    self->work.k = lm_carve(carver, rows, kv_width * sizeof(lm_real));
    self->work.v = lm_carve(carver, rows, kv_width * sizeof(lm_real));
    self->work.attended = lm_carve(carver, rows, width * sizeof(lm_real));
    self->added = lm_carve(carver, own, config->hidden * sizeof(lm_real));
    self->hidden = lm_carve(carver, own, self->model->lora_rank * sizeof(lm_real));
    self->work.normed = self->work.feed_normed = lm_carve(carver, own, config->hidden * sizeof(lm_real));
    if (config->activation == LM_SWIGLU) {
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
    at.q = after(at.q, all, width);
    at.k = after(at.k, all, kv_width);
    at.v = after(at.v, all, kv_width);
    at.attended = after(at.attended, all, width);
    at.middle = self->keep == NULL ? stream(self, layer, all) : after(at.middle, all, config->hidden);
    at.feed_normed = after(at.feed_normed, own, config->hidden);
    at.feed_statistics = after(at.feed_statistics, own, 2);
    at.gate = after(at.gate, own, config->intermediate);
    at.up = after(at.up, own, config->intermediate);
    at.activated = after(at.activated, own, config->intermediate);
    for (size_t i = 0; i < 7; i++) {
        at.lora_hidden[i] = at.lora_hidden[i] == NULL
                                ? after(self->hidden, rows->slot * self->piece, self->model->lora_rank)
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

/* A block up to its attention. */
static void before_attention(const pass *self, size_t layer, const some_rows *rows) {
    const lm_context *context = rows->context;
    const lm_model *model = self->model;
    const lm_config *config = &model->config;
    const lm_block *block = &model->blocks[layer];
    struct lm_block_activations at = places(self, layer, rows);
    size_t count = rows->count;
    lm_norm_forward(context, &block->attention_norm, stream(self, layer, rows->first), count, config->hidden,
                    at.normed, at.norm_statistics);
    lm_linear_forward(context, &block->query, at.normed, count, at.q, at.lora_hidden[0]);
    lm_linear_forward(context, &block->key, at.normed, count, at.k, at.lora_hidden[1]);
    lm_linear_forward(context, &block->value, at.normed, count, at.v, at.lora_hidden[2]);
    if (model->cosine != NULL) {
        const size_t *positions = self->positions + rows->first;
        lm_rope_rows(context, at.q, count, config->heads, config->head_size, positions, model->cosine,
                     model->sine, false);
        lm_rope_rows(context, at.k, count, config->kv_heads, config->head_size, positions, model->cosine,
                     model->sine, false);
    }
}

/* The rest of it. */
static void after_attention(const pass *self, size_t layer, const some_rows *rows) {
    const lm_context *context = rows->context;
    const lm_config *config = &self->model->config;
    const lm_block *block = &self->model->blocks[layer];
    struct lm_block_activations at = places(self, layer, rows);
    size_t count = rows->count;
    lm_real *added = after(self->added, rows->slot * self->piece, config->hidden);
    lm_linear_forward(context, &block->output, at.attended, count, added, at.lora_hidden[3]);
    add_residual(self, at.middle, stream(self, layer, rows->first), added, count);

    lm_norm_forward(context, &block->feed_norm, at.middle, count, config->hidden, at.feed_normed,
                    at.feed_statistics);
    if (config->activation == LM_SWIGLU) {
        lm_linear_forward(context, &block->gate, at.feed_normed, count, at.gate, at.lora_hidden[4]);
    }
    lm_linear_forward(context, &block->up, at.feed_normed, count, at.up, at.lora_hidden[5]);
    lm_activation_forward(context, config->activation, at.gate, at.up, count, config->intermediate,
                          at.activated);
    lm_linear_forward(context, &block->down, at.activated, count, added, at.lora_hidden[6]);
    add_residual(self, stream(self, layer + 1, rows->first), at.middle, added, count);
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
    lm_scratch scratch = {.buffers = self->context->scratch->buffers + worker,
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

static temper_status run(pass *self, temper_error *error) {
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
            status = attend(self, self->layer, error);
        }
    }
    return status;
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
        status = run(&state, error);
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
        lm_linear_forward(context, &self->head, final_normed, rows, logits, NULL);
    }
    return status;
}

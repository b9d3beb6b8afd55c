/* forward.c: the forward pass.
 *
 * Invariant: rows of all sequences go through the same layers in the same order, whoever asks. Working rows live in one
 * block of the context; a pass that keeps its activations uses theirs instead, and computes nothing differently. */
#include "internal.h"

#include <stdlib.h>

/* A pass over R rows. */
typedef struct pass {
    const lm_context *context;
    const lm_model *model;
    const lm_sequence *sequences;
    size_t count, rows;
    size_t *positions;            /* [R] */
    lm_attention_rows *attention; /* [count] */
    lm_cache_layer *temporary;    /* [count], for sequences without a cache */
    lm_real *residual, *added, *hidden;
    struct lm_block_activations work; /* where a block writes, when nothing is kept */
} pass;

static void carve_pass(lm_carver *carver, pass *self) {
    const lm_config *config = &self->model->config;
    size_t rows = self->rows, width = config->heads * config->head_size;
    size_t kv_width = config->kv_heads * config->head_size;
    self->positions = lm_carve(carver, rows, sizeof *self->positions);
    self->attention = lm_carve(carver, self->count, sizeof *self->attention);
    self->temporary = lm_carve(carver, self->count, sizeof *self->temporary);
    self->residual = lm_carve(carver, rows, config->hidden * sizeof(lm_real));
    self->added = lm_carve(carver, rows, config->hidden * sizeof(lm_real));
    self->hidden = lm_carve(carver, rows, self->model->lora_rank * sizeof(lm_real));
    self->work.normed = self->work.feed_normed = lm_carve(carver, rows, config->hidden * sizeof(lm_real));
    self->work.q = lm_carve(carver, rows, width * sizeof(lm_real));
    self->work.k = lm_carve(carver, rows, kv_width * sizeof(lm_real));
    self->work.v = lm_carve(carver, rows, kv_width * sizeof(lm_real));
    self->work.attended = lm_carve(carver, rows, width * sizeof(lm_real));
    if (config->activation == LM_SWIGLU) {
        self->work.gate = lm_carve(carver, rows, config->intermediate * sizeof(lm_real));
    }
    self->work.up = lm_carve(carver, rows, config->intermediate * sizeof(lm_real));
    self->work.activated = lm_carve(carver, rows, config->intermediate * sizeof(lm_real));
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

/* The f32 value of each token's row (and of its learned position): not rounded to the profile's operand type. */
static void embed(const pass *self, lm_real *x) {
    const lm_model *model = self->model;
    size_t n = model->config.hidden, row = 0;
    for (size_t i = 0; i < self->count; i++) {
        const lm_sequence *sequence = &self->sequences[i];
        size_t position = sequence->cache == NULL ? 0 : sequence->cache->length;
        for (size_t j = 0; j < sequence->count; j++, row++) {
            self->positions[row] = position + j;
            memcpy(x + row * n, model->embedding + (size_t)sequence->ids[j] * n, n * sizeof *x);
            if (model->position_embedding != NULL) {
                self->context->kernels->add(x + row * n, model->position_embedding + (position + j) * n, n);
            }
        }
    }
}

typedef struct add_job {
    const lm_kernels *kernels;
    lm_real *to;
    const lm_real *from, *added;
    size_t n;
} add_job;

static void add_range(void *argument, size_t begin, size_t end, size_t worker) {
    const add_job *job = argument;
    size_t from = begin * job->n, count = (end - begin) * job->n;
    (void)worker;
    if (job->to != job->from) {
        memcpy(job->to + from, job->from + from, count * sizeof *job->to);
    }
    job->kernels->add(job->to + from, job->added + from, count);
}

/* to = from + added */
static void add_residual(const pass *self, lm_real *to, const lm_real *from, const lm_real *added) {
    add_job job = {self->context->kernels, to, from, added, self->model->config.hidden};
    lm_context_ranges(self->context, self->rows * job.n, self->rows, 1, add_range, &job);
}

static temper_status attend(pass *self, size_t layer, const struct lm_block_activations *at,
                            temper_error *error) {
    const lm_config *config = &self->model->config;
    size_t width = config->heads * config->head_size, kv_width = config->kv_heads * config->head_size;
    size_t row = 0, used = 0;
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

/* One block: from `x` through `middle` to `next`; at: where its activations go. */
static temper_status run_block(pass *self, size_t layer, const struct lm_block_activations *at,
                               const lm_real *x, lm_real *middle, lm_real *next, temper_error *error) {
    const lm_context *context = self->context;
    const lm_model *model = self->model;
    const lm_config *config = &model->config;
    const lm_block *block = &model->blocks[layer];
    size_t rows = self->rows;
    lm_real *hidden[7];
    for (size_t i = 0; i < 7; i++) {
        hidden[i] = at->lora_hidden[i] == NULL ? self->hidden : at->lora_hidden[i];
    }
    lm_norm_forward(context, &block->attention_norm, x, rows, config->hidden, at->normed,
                    at->norm_statistics);
    lm_linear_forward(context, &block->query, at->normed, rows, at->q, hidden[0]);
    lm_linear_forward(context, &block->key, at->normed, rows, at->k, hidden[1]);
    lm_linear_forward(context, &block->value, at->normed, rows, at->v, hidden[2]);
    if (model->cosine != NULL) {
        lm_rope_rows(context, at->q, rows, config->heads, config->head_size, self->positions, model->cosine,
                     model->sine, false);
        lm_rope_rows(context, at->k, rows, config->kv_heads, config->head_size, self->positions,
                     model->cosine, model->sine, false);
    }
    temper_status status = attend(self, layer, at, error);
    if (status) {
        return status;
    }
    lm_linear_forward(context, &block->output, at->attended, rows, self->added, hidden[3]);
    add_residual(self, middle, x, self->added);

    lm_norm_forward(context, &block->feed_norm, middle, rows, config->hidden, at->feed_normed,
                    at->feed_statistics);
    if (config->activation == LM_SWIGLU) {
        lm_linear_forward(context, &block->gate, at->feed_normed, rows, at->gate, hidden[4]);
    }
    lm_linear_forward(context, &block->up, at->feed_normed, rows, at->up, hidden[5]);
    lm_activation_forward(context, config->activation, at->gate, at->up, rows, config->intermediate,
                          at->activated);
    lm_linear_forward(context, &block->down, at->activated, rows, self->added, hidden[6]);
    add_residual(self, next, middle, self->added);
    return TEMPER_OK;
}

static temper_status run(pass *self, lm_real *final_normed, lm_activations *keep, temper_error *error) {
    const lm_config *config = &self->model->config;
    lm_real *x = keep == NULL ? self->residual : keep->blocks[0].input;
    embed(self, x);
    for (size_t layer = 0; layer < config->layers; layer++) {
        const struct lm_block_activations *at = keep == NULL ? &self->work : &keep->blocks[layer];
        lm_real *middle = keep == NULL ? x : at->middle;
        lm_real *next = keep == NULL                 ? x
                        : layer + 1 < config->layers ? keep->blocks[layer + 1].input
                                                     : keep->last;
        temper_status status = run_block(self, layer, at, x, middle, next, error);
        if (status) {
            return status;
        }
        x = next;
    }
    lm_real *normed = final_normed != NULL ? final_normed : keep->final_normed;
    lm_norm_forward(self->context, &self->model->final_norm, x, self->rows, config->hidden, normed,
                    keep == NULL ? NULL : keep->last_statistics);
    if (keep != NULL && normed != keep->final_normed) {
        memcpy(keep->final_normed, normed, self->rows * config->hidden * sizeof *normed);
    }
    return TEMPER_OK;
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
    pass state = {.context = context, .model = self, .sequences = sequences, .count = count};
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
        status = run(&state, final_normed, keep, error);
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

/* work.c: one worker's buffers. They only grow, so a run allocates at its first steps and never again. */
#include "internal.h"

#include <stdlib.h>

temper_status lm_work_init(lm_work *self, const lm_trainer *trainer, temper_error *error) {
    const lm_config *config = &trainer->model->config;
    *self = (lm_work){0};
    temper_status status = lm_context_init(&self->context, trainer->outer->kernels,
                                           trainer->outer->product->profile, lm_serial(), error);
    if (status) {
        return status;
    }
    self->chunk = trainer->options.chunk_rows;
    if (self->chunk == 0) { /* about 32 MiB of logits, so that a weight gradient's product has work to do */
        self->chunk = ((size_t)1 << 23) / config->vocabulary;
        self->chunk = self->chunk < 64 ? 64 : self->chunk > 512 ? 512 : self->chunk;
    }
    self->chunk = (self->chunk + 1) / 2 * 2; /* even: a pair never lies across two chunks */
    self->logits = lm_train_allocate(self->chunk, config->vocabulary);
    self->chunk_input = lm_train_allocate(self->chunk, config->hidden);
    self->d_chunk = lm_train_allocate(self->chunk, config->hidden);
    self->chunk_offsets = calloc(self->chunk + 1, sizeof *self->chunk_offsets);
    self->capped = config->final_cap > 0 ? lm_train_allocate(1, config->vocabulary) : NULL;
    if (trainer->embedding_trained && config->tied) {
        self->scatter = lm_train_allocate(config->vocabulary, config->hidden);
    }
    if (self->logits == NULL || self->chunk_input == NULL || self->d_chunk == NULL ||
        self->chunk_offsets == NULL || (config->final_cap > 0 && self->capped == NULL) ||
        (trainer->embedding_trained && config->tied && self->scatter == NULL)) {
        lm_work_free(self);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu rows of logits over %zu tokens",
                           self->chunk, config->vocabulary);
    }
    return TEMPER_OK;
}

static void free_rows(lm_work *self) {
    lm_activations_free(self->activations);
    self->activations = NULL;
    lm_real **buffers[] = {&self->final_normed, &self->d_final,    &self->d_stream,    &self->d_normed,
                           &self->d_query,      &self->d_attended, &self->d_key,       &self->d_value,
                           &self->d_gate,       &self->d_up,       &self->d_activated, &self->d_fused,
                           &self->d_branch};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        free(*buffers[i]);
        *buffers[i] = NULL;
    }
    free(self->targets);
    free(self->positions);
    self->targets = NULL;
    self->positions = NULL;
    self->rows = 0;
}

void lm_work_free(lm_work *self) {
    free_rows(self);
    free(self->sequences);
    free(self->offsets);
    free(self->target_offsets);
    free(self->scatter);
    free(self->logits);
    free(self->capped);
    free(self->chunk_input);
    free(self->d_chunk);
    free(self->chunk_offsets);
    lm_context_free(&self->context);
    *self = (lm_work){0};
}

static temper_status reserve_rows(lm_work *self, const lm_trainer *trainer, size_t rows,
                                  temper_error *error) {
    const lm_config *config = &trainer->model->config;
    size_t hidden = config->hidden, queries = config->heads * config->head_size,
           keys = config->kv_heads * config->head_size;
    const lm_block *block = &trainer->model->blocks[0];
    size_t fused = block->query_key_value.outputs;
    fused = block->gate_up.outputs > fused ? block->gate_up.outputs : fused;
    bool branches =
        config->parallel || block->attention_post_norm.w != NULL || block->feed_post_norm.w != NULL;
    free_rows(self);
    temper_status status = lm_activations_new(trainer->model, rows, &self->activations, error);
    if (status) {
        return status;
    }
    struct {
        lm_real **buffer;
        size_t columns;
    } wanted[] = {{&self->final_normed, hidden},
                  {&self->d_final, hidden},
                  {&self->d_stream, hidden},
                  {&self->d_normed, hidden},
                  {&self->d_query, queries},
                  {&self->d_attended, queries},
                  {&self->d_key, keys},
                  {&self->d_value, keys},
                  {&self->d_gate, config->intermediate},
                  {&self->d_up, config->intermediate},
                  {&self->d_activated, config->intermediate},
                  {&self->d_fused, fused},
                  {&self->d_branch, branches ? hidden : 0}};
    bool missing = false;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        *wanted[i].buffer = lm_train_allocate(rows, wanted[i].columns);
        missing = missing || *wanted[i].buffer == NULL;
    }
    self->targets = calloc(rows, sizeof *self->targets);
    self->positions = calloc(rows, sizeof *self->positions);
    if (missing || self->targets == NULL || self->positions == NULL) {
        free_rows(self);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the activations of %zu tokens", rows);
    }
    for (size_t i = 0; i < rows; i++) {
        self->positions[i] = i;
    }
    status = lm_model_reserve(&self->context, trainer->model, rows > self->chunk ? rows : self->chunk, error);
    if (status) {
        free_rows(self);
        return status;
    }
    self->rows = rows;
    return TEMPER_OK;
}

static temper_status reserve_sequences(lm_work *self, size_t count, temper_error *error) {
    lm_sequence *sequences = realloc(self->sequences, count * sizeof *sequences);
    self->sequences = sequences != NULL ? sequences : self->sequences;
    size_t *offsets = realloc(self->offsets, (count + 1) * sizeof *offsets);
    self->offsets = offsets != NULL ? offsets : self->offsets;
    size_t *target_offsets = realloc(self->target_offsets, (count + 1) * sizeof *target_offsets);
    self->target_offsets = target_offsets != NULL ? target_offsets : self->target_offsets;
    if (sequences == NULL || offsets == NULL || target_offsets == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a group of %zu sequences", count);
    }
    self->group = count;
    return TEMPER_OK;
}

temper_status lm_work_reserve(lm_work *self, const lm_trainer *trainer, size_t rows, size_t count,
                              temper_error *error) {
    temper_status status = TEMPER_OK;
    if (count > self->group) {
        status = reserve_sequences(self, count, error);
    }
    if (!status && rows > self->rows) {
        status = reserve_rows(self, trainer, rows, error);
    }
    return status;
}

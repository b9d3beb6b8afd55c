/* activations.c: memory for what backward needs of one forward pass: one block, cut up. */
#include "internal.h"

#include <stdlib.h>

static lm_real *rows_of(lm_carver *carver, size_t rows, size_t width) {
    size_t count;
    if (__builtin_mul_overflow(rows, width, &count)) {
        carver->overflow = true;
        return NULL;
    }
    return lm_carve(carver, count, sizeof(lm_real));
}

static void carve_block(lm_carver *carver, const lm_config *config, const lm_block *from, size_t rows,
                        struct lm_block_activations *block) {
    size_t width = config->heads * config->head_size, kv_width = config->kv_heads * config->head_size;
    bool each = config->head_norm == LM_HEAD_NORM_EACH, normed = lm_block_has(config, LM_QUERY_NORM);
    block->input = rows_of(carver, rows, config->hidden);
    block->normed = block->input;
    if (lm_block_has(config, LM_ATTENTION_NORM)) {
        block->normed = rows_of(carver, rows, config->hidden);
        block->norm_statistics = rows_of(carver, rows, 2);
    }
    block->q = rows_of(carver, rows, width);
    block->k = rows_of(carver, rows, kv_width);
    block->raw_q = normed ? rows_of(carver, rows, width) : block->q;
    block->raw_k = normed ? rows_of(carver, rows, kv_width) : block->k;
    if (normed) {
        block->query_statistics = rows_of(carver, rows, 2 * (each ? config->heads : 1));
        block->key_statistics = rows_of(carver, rows, 2 * (each ? config->kv_heads : 1));
    }
    block->v = rows_of(carver, rows, kv_width);
    block->attended = rows_of(carver, rows, width);
    if (lm_block_has(config, LM_ATTENTION_POST_NORM)) {
        block->attention_added = rows_of(carver, rows, config->hidden);
        block->attention_post_statistics = rows_of(carver, rows, 2);
    }
    block->middle = rows_of(carver, rows, config->hidden);
    block->feed_normed = block->middle;
    if (lm_block_has(config, LM_FEED_NORM)) {
        block->feed_normed = rows_of(carver, rows, config->hidden);
        block->feed_statistics = rows_of(carver, rows, 2);
    }
    if (lm_block_has(config, LM_FEED_POST_NORM)) {
        block->feed_added = rows_of(carver, rows, config->hidden);
        block->feed_post_statistics = rows_of(carver, rows, 2);
    }
    block->gate =
        lm_activation_gated(config->activation) ? rows_of(carver, rows, config->intermediate) : NULL;
    block->up = rows_of(carver, rows, config->intermediate);
    block->activated = rows_of(carver, rows, config->intermediate);
    const lm_linear *linears[LM_BLOCK_LINEARS] = {
        &from->query, &from->key,  &from->value,           &from->output, &from->gate,
        &from->up,    &from->down, &from->query_key_value, &from->gate_up};
    for (size_t i = 0; i < LM_BLOCK_LINEARS; i++) {
        block->lora_hidden[i] =
            linears[i]->lora == NULL ? NULL : rows_of(carver, rows, linears[i]->lora->rank);
    }
}

static void carve_all(lm_carver *carver, const lm_model *model, size_t rows, lm_activations *self) {
    for (size_t layer = 0; layer < self->layers; layer++) {
        carve_block(carver, &model->config, &model->blocks[layer], rows, &self->blocks[layer]);
    }
    self->last = rows_of(carver, rows, model->config.hidden);
    self->last_statistics = rows_of(carver, rows, 2);
    self->final_normed = rows_of(carver, rows, model->config.hidden);
}

temper_status lm_activations_new(const lm_model *model, size_t rows, lm_activations **out,
                                 temper_error *error) {
    lm_activations *self = calloc(1, sizeof *self);
    lm_carver carver = {0};
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for activations");
    }
    self->rows = rows;
    self->layers = model->config.layers;
    self->blocks = calloc(self->layers, sizeof *self->blocks);
    if (self->blocks != NULL) {
        carve_all(&carver, model, rows, self);
        self->memory = carver.overflow ? NULL : lm_allocate(carver.used, 1);
    }
    if (self->memory == NULL) {
        lm_activations_free(self);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the activations of %zu rows: %zu bytes",
                           rows, carver.used);
    }
    carver = (lm_carver){.base = self->memory};
    carve_all(&carver, model, rows, self);
    *out = self;
    return TEMPER_OK;
}

void lm_activations_free(lm_activations *self) {
    if (self == NULL) {
        return;
    }
    free(self->blocks);
    free(self->memory);
    free(self);
}

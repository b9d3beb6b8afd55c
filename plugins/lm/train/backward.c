/* backward.c: the model's backward pass over a group, block by block from the last, as model/ runs them forward.
 * d_stream is the gradient of the residual stream; what a branch adds to it is added where the branch began. */
#include "internal.h"

typedef struct pass {
    lm_work *work;
    const lm_trainer *trainer;
    lm_rows rows;
    size_t count; /* rows */
    lm_real *gradient;
} pass;

/* Where a tensor's gradient is; NULL when it is not trained. */
static lm_real *at(const pass *self, const size_t *places, lm_role role, size_t layer) {
    size_t place = places[lm_place(self->trainer->model, role, layer)];
    return place == SIZE_MAX ? NULL : self->gradient + place;
}

static lm_real *weight(const pass *self, lm_role role, size_t layer) {
    return at(self, self->trainer->places.weight, role, layer);
}

static void linear(const pass *self, const lm_linear *layer, lm_role role, lm_role bias, size_t index,
                   const lm_real *x, const lm_real *lora_hidden, const lm_real *dy, lm_real *dx,
                   bool add_dx) {
    lm_linear_backward(&self->work->context, layer, x, lora_hidden, dy, self->rows, dx, add_dx,
                       weight(self, role, index), bias == LM_ROLE_COUNT ? NULL : weight(self, bias, index),
                       at(self, self->trainer->places.a, role, index),
                       at(self, self->trainer->places.b, role, index));
}

static void feed_forward(const pass *self, size_t index) {
    lm_work *work = self->work;
    const lm_block *block = &self->trainer->model->blocks[index];
    const struct lm_block_activations *kept = &work->activations->blocks[index];
    const lm_config *config = &self->trainer->model->config;
    linear(self, &block->down, LM_DOWN, LM_DOWN_BIAS, index, kept->activated, kept->lora_hidden[6],
           work->d_stream, work->d_activated, false);
    lm_activation_backward(&work->context, config->activation, kept->gate, kept->up, work->d_activated,
                           self->count, config->intermediate, work->d_gate, work->d_up);
    if (config->activation == LM_SWIGLU) {
        linear(self, &block->gate, LM_GATE, LM_ROLE_COUNT, index, kept->feed_normed, kept->lora_hidden[4],
               work->d_gate, work->d_normed, false);
    }
    linear(self, &block->up, LM_UP, LM_UP_BIAS, index, kept->feed_normed, kept->lora_hidden[5], work->d_up,
           work->d_normed, config->activation == LM_SWIGLU);
    lm_norm_backward(&work->context, &block->feed_norm, kept->middle, kept->feed_statistics, work->d_normed,
                     self->count, config->hidden, work->d_stream, weight(self, LM_FEED_NORM, index),
                     weight(self, LM_FEED_NORM_BIAS, index));
}

static temper_status attention(const pass *self, size_t index, bool wanted, temper_error *error) {
    lm_work *work = self->work;
    const lm_model *model = self->trainer->model;
    const lm_block *block = &model->blocks[index];
    const struct lm_block_activations *kept = &work->activations->blocks[index];
    const lm_config *config = &model->config;
    size_t queries = config->heads * config->head_size, keys = config->kv_heads * config->head_size;
    linear(self, &block->output, LM_OUTPUT, LM_OUTPUT_BIAS, index, kept->attended, kept->lora_hidden[3],
           work->d_stream, work->d_attended, false);
    for (size_t s = 0; s < self->rows.sequences; s++) {
        size_t first = self->rows.offsets[s], n = self->rows.offsets[s + 1] - first;
        temper_status status = lm_attention_backward(
            &work->context, config, config->window[index], kept->q + first * queries, kept->k + first * keys,
            kept->v + first * keys, kept->attended + first * queries, work->d_attended + first * queries, n,
            work->d_query + first * queries, work->d_key + first * keys, work->d_value + first * keys, error);
        if (status) {
            return status;
        }
        if (config->positions == LM_ROPE) {
            lm_rope_rows(&work->context, work->d_query + first * queries, n, config->heads, config->head_size,
                         work->positions, model->cosine, model->sine, true);
            lm_rope_rows(&work->context, work->d_key + first * keys, n, config->kv_heads, config->head_size,
                         work->positions, model->cosine, model->sine, true);
        }
    }
    lm_real *dx = wanted ? work->d_normed : NULL;
    linear(self, &block->query, LM_QUERY, LM_QUERY_BIAS, index, kept->normed, kept->lora_hidden[0],
           work->d_query, dx, false);
    linear(self, &block->key, LM_KEY, LM_KEY_BIAS, index, kept->normed, kept->lora_hidden[1], work->d_key, dx,
           true);
    linear(self, &block->value, LM_VALUE, LM_VALUE_BIAS, index, kept->normed, kept->lora_hidden[2],
           work->d_value, dx, true);
    if (wanted) {
        lm_norm_backward(&work->context, &block->attention_norm, kept->input, kept->norm_statistics,
                         work->d_normed, self->count, config->hidden, work->d_stream,
                         weight(self, LM_ATTENTION_NORM, index), weight(self, LM_ATTENTION_NORM_BIAS, index));
    }
    return TEMPER_OK;
}

/* Rows back to the tables they were looked up in, in token order. A tied embedding's share waits in `scatter`, apart
 * from the head's, until the shard ends (trainer.c). */
static void embedding(const pass *self) {
    lm_work *work = self->work;
    const lm_model *model = self->trainer->model;
    size_t hidden = model->config.hidden;
    lm_real *tokens = model->config.tied ? work->scatter : weight(self, LM_EMBEDDING, 0);
    lm_real *positions = weight(self, LM_POSITION_EMBEDDING, 0);
    for (size_t s = 0; s < self->rows.sequences; s++) {
        size_t first = self->rows.offsets[s];
        for (size_t i = 0; i < work->sequences[s].count; i++) {
            const lm_real *row = work->d_stream + (first + i) * hidden;
            work->context.kernels->add(tokens + (size_t)work->sequences[s].ids[i] * hidden, row, hidden);
            if (positions != NULL) {
                work->context.kernels->add(positions + i * hidden, row, hidden);
            }
        }
    }
}

temper_status lm_group_backward(lm_work *work, const lm_trainer *trainer, size_t sequences, lm_real *gradient,
                                temper_error *error) {
    const lm_model *model = trainer->model;
    pass self = {work, trainer, {sequences, work->offsets}, work->offsets[sequences], gradient};
    memset(work->d_stream, 0, self.count * model->config.hidden * sizeof(lm_real));
    lm_norm_backward(&work->context, &model->final_norm, work->activations->last,
                     work->activations->last_statistics, work->d_final, self.count, model->config.hidden,
                     work->d_stream, weight(&self, LM_FINAL_NORM, 0), weight(&self, LM_FINAL_NORM_BIAS, 0));
    for (size_t index = model->config.layers; index-- > 0;) {
        feed_forward(&self, index);
        temper_status status = attention(&self, index, index > 0 || trainer->embedding_trained, error);
        if (status) {
            return status;
        }
    }
    if (trainer->embedding_trained) {
        embedding(&self);
    }
    return TEMPER_OK;
}

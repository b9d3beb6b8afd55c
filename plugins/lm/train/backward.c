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

/* From the gradient of what a branch added to the stream to that of its last product: the norm between them, when there
 * is one. */
static const lm_real *branch(const pass *self, const lm_norm_weights *norm, lm_role role, size_t index,
                             const lm_real *product, const lm_real *statistics) {
    lm_work *work = self->work;
    size_t hidden = self->trainer->model->config.hidden;
    if (norm->w == NULL) {
        return work->d_stream;
    }
    memset(work->d_branch, 0, self->count * hidden * sizeof(lm_real));
    lm_norm_backward(&work->context, norm, product, statistics, work->d_stream, self->count, hidden,
                     work->d_branch, weight(self, role, index), NULL);
    return work->d_branch;
}

/* From d_normed to the stream where the branch began. */
static void begin_branch(const pass *self, const lm_norm_weights *norm, lm_role role, lm_role bias,
                         size_t index, const lm_real *x, const lm_real *statistics, lm_real *d_stream) {
    lm_work *work = self->work;
    size_t hidden = self->trainer->model->config.hidden;
    if (norm->w == NULL) {
        work->context.kernels->add(d_stream, work->d_normed, self->count * hidden);
    } else {
        lm_norm_backward(&work->context, norm, x, statistics, work->d_normed, self->count, hidden, d_stream,
                         weight(self, role, index), weight(self, bias, index));
    }
}

/* Of side by side branches the feed-forward's share of the stream waits in d_branch until attention has seen d_stream. */
static void feed_forward(const pass *self, size_t index) {
    lm_work *work = self->work;
    const lm_block *block = &self->trainer->model->blocks[index];
    const struct lm_block_activations *kept = &work->activations->blocks[index];
    const lm_config *config = &self->trainer->model->config;
    const lm_real *dy = branch(self, &block->feed_post_norm, LM_FEED_POST_NORM, index, kept->feed_added,
                               kept->feed_post_statistics);
    linear(self, &block->down, LM_DOWN, LM_DOWN_BIAS, index, kept->activated, kept->lora_hidden[LM_AT_DOWN],
           dy, work->d_activated, false);
    lm_activation_backward(&work->context, config->activation, kept->gate, kept->up, work->d_activated,
                           self->count, config->intermediate, work->d_gate, work->d_up);
    if (block->gate_up.outputs > 0) {
        lm_join_gate(work->d_fused, self->count, config->intermediate, work->d_gate, work->d_up);
        linear(self, &block->gate_up, LM_GATE_UP, LM_ROLE_COUNT, index, kept->feed_normed,
               kept->lora_hidden[LM_AT_GATE_UP], work->d_fused, work->d_normed, false);
    } else {
        bool gated = block->gate.outputs > 0;
        if (gated) {
            linear(self, &block->gate, LM_GATE, LM_GATE_BIAS, index, kept->feed_normed,
                   kept->lora_hidden[LM_AT_GATE], work->d_gate, work->d_normed, false);
        }
        linear(self, &block->up, LM_UP, LM_UP_BIAS, index, kept->feed_normed, kept->lora_hidden[LM_AT_UP],
               work->d_up, work->d_normed, gated);
    }
    if (config->parallel) {
        memset(work->d_branch, 0, self->count * config->hidden * sizeof(lm_real));
    }
    begin_branch(self, &block->feed_norm, LM_FEED_NORM, LM_FEED_NORM_BIAS, index,
                 config->parallel ? kept->input : kept->middle, kept->feed_statistics,
                 config->parallel ? work->d_branch : work->d_stream);
}

/* Queries or keys: from behind their norm to before it, by way of `spare`, as large. */
static void head_norm(const pass *self, const lm_norm_weights *norm, lm_role role, size_t index, size_t heads,
                      const lm_real *raw, const lm_real *statistics, lm_real *dx, lm_real *spare) {
    const lm_config *config = &self->trainer->model->config;
    size_t parts = config->head_norm == LM_HEAD_NORM_EACH ? heads : 1, size = heads * config->head_size;
    if (norm->w == NULL) {
        return;
    }
    memcpy(spare, dx, self->count * size * sizeof *dx);
    memset(dx, 0, self->count * size * sizeof *dx);
    lm_norm_backward(&self->work->context, norm, raw, statistics, spare, self->count * parts, size / parts,
                     dx, weight(self, role, index), NULL);
}

/* d_query, d_key and d_value through the projections to d_normed (when that is wanted). */
static void project_queries(const pass *self, size_t index, bool wanted) {
    lm_work *work = self->work;
    const lm_model *model = self->trainer->model;
    const lm_block *block = &model->blocks[index];
    const struct lm_block_activations *kept = &work->activations->blocks[index];
    lm_real *dx = wanted ? work->d_normed : NULL;
    if (block->query_key_value.outputs > 0) {
        lm_join_queries(&model->config, work->d_fused, self->count, work->d_query, work->d_key,
                        work->d_value);
        linear(self, &block->query_key_value, LM_QUERY_KEY_VALUE, LM_QUERY_KEY_VALUE_BIAS, index,
               kept->normed, kept->lora_hidden[LM_AT_QUERY_KEY_VALUE], work->d_fused, dx, false);
        return;
    }
    linear(self, &block->query, LM_QUERY, LM_QUERY_BIAS, index, kept->normed, kept->lora_hidden[LM_AT_QUERY],
           work->d_query, dx, false);
    linear(self, &block->key, LM_KEY, LM_KEY_BIAS, index, kept->normed, kept->lora_hidden[LM_AT_KEY],
           work->d_key, dx, true);
    linear(self, &block->value, LM_VALUE, LM_VALUE_BIAS, index, kept->normed, kept->lora_hidden[LM_AT_VALUE],
           work->d_value, dx, true);
}

static temper_status attention(const pass *self, size_t index, bool wanted, temper_error *error) {
    lm_work *work = self->work;
    const lm_model *model = self->trainer->model;
    const lm_block *block = &model->blocks[index];
    const struct lm_block_activations *kept = &work->activations->blocks[index];
    const lm_config *config = &model->config;
    const lm_rope *rope = lm_model_rope(model, index);
    size_t queries = config->heads * config->head_size, keys = config->kv_heads * config->head_size;
    const lm_real *dy = branch(self, &block->attention_post_norm, LM_ATTENTION_POST_NORM, index,
                               kept->attention_added, kept->attention_post_statistics);
    linear(self, &block->output, LM_OUTPUT, LM_OUTPUT_BIAS, index, kept->attended,
           kept->lora_hidden[LM_AT_OUTPUT], dy, work->d_attended, false);
    for (size_t s = 0; s < self->rows.sequences; s++) {
        size_t first = self->rows.offsets[s], n = self->rows.offsets[s + 1] - first;
        temper_status status = lm_attention_backward(
            &work->context, config, config->window[index], kept->q + first * queries, kept->k + first * keys,
            kept->v + first * keys, kept->attended + first * queries, work->d_attended + first * queries, n,
            work->d_query + first * queries, work->d_key + first * keys, work->d_value + first * keys, error);
        if (status) {
            return status;
        }
        if (rope != NULL) {
            lm_rope_rows(&work->context, rope, work->d_query + first * queries, n, config->heads,
                         config->head_size, work->positions, true);
            lm_rope_rows(&work->context, rope, work->d_key + first * keys, n, config->kv_heads,
                         config->head_size, work->positions, true);
        }
    }
    head_norm(self, &block->query_norm, LM_QUERY_NORM, index, config->heads, kept->raw_q,
              kept->query_statistics, work->d_query, work->d_attended);
    head_norm(self, &block->key_norm, LM_KEY_NORM, index, config->kv_heads, kept->raw_k, kept->key_statistics,
              work->d_key, work->d_attended);
    project_queries(self, index, wanted);
    if (wanted) {
        begin_branch(self, &block->attention_norm, LM_ATTENTION_NORM, LM_ATTENTION_NORM_BIAS, index,
                     kept->input, kept->norm_statistics, work->d_stream);
    }
    if (config->parallel) {
        work->context.kernels->add(work->d_stream, work->d_branch, self->count * config->hidden);
    }
    return TEMPER_OK;
}

/* Rows back to the tables they were looked up in, in token order. A tied embedding's share waits in `scatter`, apart
 * from the head's, until the shard ends (trainer.c). */
static void embedding(const pass *self) {
    lm_work *work = self->work;
    const lm_model *model = self->trainer->model;
    size_t hidden = model->config.hidden;
    if (model->config.embedding_scale > 0) {
        work->context.kernels->scale(work->d_stream, (lm_real)model->config.embedding_scale,
                                     self->count * hidden);
    }
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

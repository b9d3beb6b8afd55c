/* trainer.c: a trainer's life: what it holds, and its state as bytes that training goes on from. A state is the weights as
 * the optimiser has them, its moments and its count of steps; gradients are made again. */
#include "internal.h"

#include <stdlib.h>

lm_train_options lm_train_defaults(void) {
    return (lm_train_options){
        .gradient_shards = 8, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0, .clip = 1};
}

/* Packed for both directions, frozen layers need their values no more. */
static void release_frozen(lm_model *model, bool embeddings) {
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? model->config.layers : 1;
        for (size_t layer = 0; layer < layers; layer++) {
            lm_linear *linear = lm_model_linear(model, (lm_role)role, layer);
            bool trained = role == LM_HEAD && embeddings;
            if (linear != NULL && linear->w != model->embedding && !trained) {
                free(linear->w);
                linear->w = NULL;
            }
        }
    }
}

temper_status lm_trainer_new(const lm_context *outer, lm_model *model, const lm_train_options *options,
                             lm_trainer **out, temper_error *error) {
    *out = NULL;
    if (options->gradient_shards == 0) {
        return temper_fail(error, TEMPER_INVALID, "gradient_shards is at least 1");
    }
    if (!((lm_real)options->beta1 >= 0 && (lm_real)options->beta1 < 1 && (lm_real)options->beta2 >= 0 &&
          (lm_real)options->beta2 < 1)) {
        return temper_fail(error, TEMPER_INVALID,
                           "beta1 %.17g and beta2 %.17g must be below 1, also rounded to f32", options->beta1,
                           options->beta2);
    }
    lm_trainer *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a trainer");
    }
    *self = (lm_trainer){.outer = outer, .model = model, .options = *options};
    self->options.group_rows = options->group_rows > 0 ? options->group_rows : 512;
    pthread_mutex_init(&self->lock, NULL);
    self->wide = *outer;
    size_t workers = outer->parallel.workers;
    temper_status status = lm_parameters_collect(self, error);
    if (!status) {
        self->works = calloc(workers, sizeof *self->works);
        self->spare_capacity = options->gradient_shards + workers;
        self->spare = calloc(self->spare_capacity, sizeof *self->spare);
        if (self->works == NULL || self->spare == NULL) {
            status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu workers", workers);
        }
    }
    for (size_t i = 0; !status && i < workers; i++) {
        status = lm_work_init(&self->works[i], self, error);
    }
    if (!status) {
        status = lm_pieces_init(self, error);
    }
    if (!status) {
        status = lm_model_pack(outer, model, true, error);
    }
    if (!status && self->adapters_only) {
        release_frozen(model, self->options.train_embeddings);
    }
    if (status) {
        lm_trainer_free(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

void lm_trainer_free(lm_trainer *self) {
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; self->works != NULL && i < self->outer->parallel.workers; i++) {
        lm_work_free(&self->works[i]);
    }
    for (size_t i = 0; i < self->spare_count; i++) {
        free(self->spare[i]);
    }
    free(self->works);
    free(self->spare);
    free(self->gradient);
    free(self->trained);
    free(self->places.weight);
    free(self->places.a);
    free(self->places.b);
    free(self->moment1);
    free(self->moment2);
    free(self->pieces);
    free(self->score_head);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

size_t lm_trainer_count(const lm_trainer *self) {
    return self->trained_count;
}

const lm_trained *lm_trainer_at(const lm_trainer *self, size_t index) {
    return &self->trained[index];
}

size_t lm_trainer_parameters(const lm_trainer *self) {
    return self->parameters;
}

void lm_trainer_gradient(const lm_trainer *self, lm_real *out) {
    for (size_t i = 0; i < self->parameters; i++) {
        out[i] = (lm_real)((double)self->gradient[i] * self->gradient_scale);
    }
}

lm_real *lm_trainer_score_head(lm_trainer *self) {
    return self->score_head;
}

/* --- the state --- */

typedef struct state_header {
    char magic[8];
    uint64_t parameters, step, real_size, moments;
} state_header;

static state_header header_of(const lm_trainer *self) {
    return (state_header){"lmstate", self->parameters, self->step, sizeof(lm_real),
                          (uint64_t)(self->moment1 != NULL) + (self->moment2 != NULL)};
}

size_t lm_trainer_state(lm_trainer *self, lm_bytes *out) {
    size_t count = 0;
    state_header *header = (state_header *)self->header;
    *header = header_of(self);
    out[count++] = (lm_bytes){header, sizeof *header};
    for (size_t i = 0; i < self->trained_count; i++) {
        out[count++] = (lm_bytes){self->trained[i].values, self->trained[i].count * sizeof(lm_real)};
    }
    if (self->moment1 != NULL) {
        out[count++] = (lm_bytes){self->moment1, self->parameters * sizeof(lm_real)};
    }
    if (self->moment2 != NULL) {
        out[count++] = (lm_bytes){self->moment2, self->parameters * sizeof(lm_real)};
    }
    return count;
}

temper_status lm_trainer_restore(lm_trainer *self, const void *data, size_t length, temper_error *error) {
    state_header header;
    const char *at = (const char *)data + sizeof header;
    size_t all = self->parameters * sizeof(lm_real);
    if (length < sizeof header) {
        return temper_fail(error, TEMPER_INVALID, "a trainer's state is %zu bytes: too short", length);
    }
    memcpy(&header, data, sizeof header);
    if (memcmp(header.magic, "lmstate", 8) != 0 || header.parameters != self->parameters ||
        header.real_size != sizeof(lm_real) || header.moments > 2 ||
        (length - sizeof header) / all != 1 + header.moments || (length - sizeof header) % all != 0) {
        return temper_fail(error, TEMPER_INVALID, "this is not the state of a trainer of %zu values",
                           self->parameters);
    }
    if (header.moments > 0) {
        temper_status status = lm_moments_reserve(self, error);
        if (status) {
            return status;
        }
        if (header.moments != header_of(self).moments) {
            return temper_fail(error, TEMPER_INVALID, "this is the state of another optimiser");
        }
    }
    for (size_t i = 0; i < self->trained_count; i++) {
        memcpy(self->trained[i].values, at, self->trained[i].count * sizeof(lm_real));
        at += self->trained[i].count * sizeof(lm_real);
    }
    if (header.moments > 0) {
        memcpy(self->moment1, at, all);
        at += all;
    }
    if (header.moments > 1) {
        memcpy(self->moment2, at, all);
    }
    self->step = (size_t)header.step;
    return lm_trainer_pack(self, error);
}

size_t lm_trainer_steps(const lm_trainer *self) {
    return self->step;
}

temper_status lm_trainer_round(lm_trainer *self, lm_dtype dtype, temper_error *error) {
    for (size_t i = 0; dtype == LM_BF16 && i < self->trained_count; i++) {
        const lm_trained *trained = &self->trained[i];
        for (size_t j = 0; trained->decays && j < trained->count; j++) { /* matrices are what decays */
            trained->values[j] = (lm_real)lm_bf16_to_f32(lm_bf16_from_f32((float)trained->values[j]));
        }
    }
    return lm_trainer_pack(self, error);
}

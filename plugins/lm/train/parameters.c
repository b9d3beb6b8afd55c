/* parameters.c: which values are trained, in one flat order: by role, then layer, then A before B. */
#include "internal.h"

#include <stdlib.h>

static size_t layers_of(const lm_model *model, lm_role role) {
    return lm_role_per_layer(role) ? model->config.layers : 1;
}

/* Whole beside the adapters: the embeddings, and a head of its own. */
static bool beside_adapters(const lm_trainer *self, lm_role role) {
    return self->options.train_embeddings &&
           (role == LM_EMBEDDING || (role == LM_HEAD && !self->model->config.tied));
}

static void add(lm_trainer *self, lm_role role, size_t layer, char which, lm_real *values, size_t count,
                size_t *place, size_t index) {
    unsigned rank;
    size_t shape[2];
    lm_role_shape(&self->model->config, role, &rank, shape);
    self->trained[self->trained_count++] = (lm_trained){.role = role,
                                                        .layer = layer,
                                                        .which = which,
                                                        .values = values,
                                                        .count = count,
                                                        .offset = self->parameters,
                                                        .decays = rank == 2 && which != 'S'};
    place[index] = self->parameters;
    self->parameters += count;
}

temper_status lm_parameters_collect(lm_trainer *self, temper_error *error) {
    lm_model *model = self->model;
    size_t slots = (size_t)LM_ROLE_COUNT * model->config.layers;
    self->adapters_only = model->lora_rank > 0;
    self->trained = calloc(3 * slots + 1, sizeof *self->trained);
    self->places.weight = malloc(slots * sizeof(size_t));
    self->places.a = malloc(slots * sizeof(size_t));
    self->places.b = malloc(slots * sizeof(size_t));
    if (self->trained == NULL || self->places.weight == NULL || self->places.a == NULL ||
        self->places.b == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a list of %zu tensors", slots);
    }
    for (size_t i = 0; i < slots; i++) {
        self->places.weight[i] = self->places.a[i] = self->places.b[i] = SIZE_MAX;
    }
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        for (size_t layer = 0; layer < layers_of(model, (lm_role)role); layer++) {
            lm_linear *linear = lm_model_linear(model, (lm_role)role, layer);
            if (self->adapters_only) {
                if (linear != NULL && linear->lora != NULL) {
                    lm_lora *lora = linear->lora;
                    add(self, (lm_role)role, layer, 'A', lora->a, lora->rank * linear->inputs, self->places.a,
                        lm_place(model, (lm_role)role, layer));
                    add(self, (lm_role)role, layer, 'B', lora->b, lora->rank * linear->outputs,
                        self->places.b, lm_place(model, (lm_role)role, layer));
                }
                if (!beside_adapters(self, (lm_role)role)) {
                    continue;
                }
            }
            size_t count = 0;
            if (role == LM_HEAD && model->config.tied) {
                continue; /* its values are the embedding's */
            }
            lm_real *values = lm_model_values(model, (lm_role)role, layer, &count);
            if (values != NULL && count > 0) {
                add(self, (lm_role)role, layer, 'W', values, count, self->places.weight,
                    lm_place(model, (lm_role)role, layer));
            } else if (linear != NULL) {
                return temper_fail(error, TEMPER_FAILED, "a model without its values cannot be trained");
            }
        }
    }
    if (self->options.score_head) {
        self->score_head = lm_train_allocate(model->config.hidden, 1);
        if (self->score_head == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a score head");
        }
        memset(self->score_head, 0, model->config.hidden * sizeof *self->score_head);
        add(self, LM_HEAD, 0, 'S', self->score_head, model->config.hidden, &self->score_place, 0);
    }
    self->embedding_trained = !self->adapters_only || self->options.train_embeddings;
    return TEMPER_OK;
}

typedef struct packing {
    lm_trainer *trainer;
    temper_status status;
    temper_error *error;
} packing;

/* Packs the layer of trained tensor `index`; the embedding stands for a tied head. */
static void pack_one(void *context, size_t index, size_t worker) {
    packing *self = context;
    lm_trainer *trainer = self->trainer;
    const lm_trained *trained = &trainer->trained[index];
    lm_role role = trained->role;
    if (role == LM_EMBEDDING) {
        if (!trainer->model->config.tied) {
            return;
        }
        role = LM_HEAD;
    }
    lm_model_pack_norm(trainer->model, role, trained->layer);
    lm_linear *linear = lm_model_linear(trainer->model, role, trained->layer);
    if (linear == NULL || trained->which == 'B' || trained->which == 'S') {
        return;
    }
    temper_error error = TEMPER_ERROR_INIT;
    const lm_context *inner = &trainer->works[worker].context;
    temper_status status = trained->which == 'A' ? lm_lora_pack(inner, linear, linear->lora, true, &error)
                                                 : lm_linear_pack(inner, linear, true, &error);
    if (status) {
        pthread_mutex_lock(&trainer->lock);
        self->status = status;
        if (self->error != NULL) {
            memcpy(self->error->message, error.message, sizeof error.message);
        }
        pthread_mutex_unlock(&trainer->lock);
    }
}

temper_status lm_trainer_pack(lm_trainer *self, temper_error *error) {
    packing job = {self, TEMPER_OK, error};
    self->outer->parallel.run(self->outer->parallel.self, self->trained_count, pack_one, &job);
    return job.status;
}

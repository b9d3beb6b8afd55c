/* adapters.c: the adapters of one base: each apart, and all together.
 *
 * Several together are one pair a layer whose ranks stand one after another: A = [A1; A2], B = [w1 s1 B1, w2 s2 B2],
 * so that B A is the sum of what each adds. Adding the As and the Bs instead would multiply every A with every B.
 *
 * Invariant: pairs belong to the table of the model; a linear layer's `lora` points into it, or is NULL. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static size_t cells(const lm_model *self) {
    return (size_t)LM_ROLE_COUNT * self->config.layers;
}

static lm_lora **cell(const lm_model *self, size_t adapter, lm_role role, size_t layer) {
    return &self->pairs[adapter * cells(self) + (size_t)role * self->config.layers + layer];
}

static temper_status new_pair(const lm_linear *linear, size_t rank, lm_real scale, lm_lora **out,
                              temper_error *error) {
    lm_lora *pair = calloc(1, sizeof *pair);
    if (pair != NULL) {
        pair->rank = rank;
        pair->scale = scale;
        pair->a = lm_allocate(rank * linear->inputs, sizeof *pair->a);
        pair->b = lm_allocate(rank * linear->outputs, sizeof *pair->b);
    }
    if (pair == NULL || pair->a == NULL || pair->b == NULL) {
        lm_lora_free(pair);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for an adapter of rank %zu", rank);
    }
    *out = pair;
    return TEMPER_OK;
}

/* One layer's pair of a file; nothing when it has none for it. */
static temper_status read_pair(const lm_context *context, const lm_adapter_file *file,
                               const lm_linear *linear, lm_role role, size_t layer, double weight,
                               lm_lora **out, temper_error *error) {
    size_t rank;
    double scale;
    if (!lm_adapter_pair(file, role, layer, &rank, &scale)) {
        return TEMPER_OK;
    }
    temper_status status = new_pair(linear, rank, (lm_real)(weight * scale), out, error);
    float *a = lm_allocate(rank * linear->inputs, sizeof *a),
          *b = lm_allocate(rank * linear->outputs, sizeof *b);
    if (!status && (a == NULL || b == NULL)) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for an adapter of rank %zu", rank);
    }
    if (!status && lm_adapter_read(file, role, layer, a, b)) {
        for (size_t i = 0; i < rank * linear->inputs; i++) {
            (*out)->a[i] = a[i];
        }
        for (size_t i = 0; i < rank * linear->outputs; i++) {
            (*out)->b[i] = b[i];
        }
        status = lm_lora_pack(context, linear, *out, false, error);
    }
    free(a);
    free(b);
    return status;
}

static temper_status read_one(const lm_context *context, const lm_file_set *files, size_t index,
                              double weight, lm_model *self, temper_error *error) {
    lm_adapter_file *file = NULL;
    temper_status status = lm_adapter_open_at(files, index, &self->config, &file, error);
    if (status) {
        return status;
    }
    for (int role = 0; !status && role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? self->config.layers : 1;
        for (size_t layer = 0; !status && layer < layers; layer++) {
            const lm_linear *linear = lm_model_linear(self, (lm_role)role, layer);
            if (linear != NULL) {
                status = read_pair(context, file, linear, (lm_role)role, layer, weight,
                                   cell(self, index, (lm_role)role, layer), error);
            }
        }
    }
    lm_adapter_close(file);
    return status;
}

/* Ranks one after another; what each is scaled by goes into B, so that one scale (1) serves all. */
static temper_status join(const lm_context *context, const lm_model *self, const lm_linear *linear,
                          lm_role role, size_t layer, lm_lora **out, temper_error *error) {
    size_t rank = 0, at = 0;
    for (size_t i = 0; i < self->adapters; i++) {
        const lm_lora *pair = *cell(self, i, role, layer);
        rank += pair == NULL ? 0 : pair->rank;
    }
    if (rank == 0) {
        return TEMPER_OK;
    }
    temper_status status = new_pair(linear, rank, 1, out, error);
    for (size_t i = 0; !status && i < self->adapters; i++) {
        const lm_lora *pair = *cell(self, i, role, layer);
        if (pair == NULL) {
            continue;
        }
        memcpy((*out)->a + at * linear->inputs, pair->a, pair->rank * linear->inputs * sizeof *pair->a);
        for (size_t row = 0; row < linear->outputs; row++) {
            for (size_t r = 0; r < pair->rank; r++) {
                (*out)->b[row * rank + at + r] = pair->scale * pair->b[row * pair->rank + r];
            }
        }
        at += pair->rank;
    }
    return status ? status : lm_lora_pack(context, linear, *out, false, error);
}

static temper_status join_all(const lm_context *context, lm_model *self, temper_error *error) {
    temper_status status = TEMPER_OK;
    for (int role = 0; !status && role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? self->config.layers : 1;
        for (size_t layer = 0; !status && layer < layers; layer++) {
            const lm_linear *linear = lm_model_linear(self, (lm_role)role, layer);
            if (linear != NULL) {
                status = join(context, self, linear, (lm_role)role, layer,
                              cell(self, self->adapters, (lm_role)role, layer), error);
            }
        }
    }
    return status;
}

temper_status lm_adapters_read(const lm_context *context, const lm_file_set *files, const double *weights,
                               lm_model *self, temper_error *error) {
    size_t count = lm_adapter_count(files), tables = count > 1 ? count + 1 : count;
    temper_status status = TEMPER_OK;
    if (count == 0) {
        return TEMPER_OK;
    }
    self->adapters = count;
    self->pairs = calloc(tables * cells(self), sizeof *self->pairs);
    if (self->pairs == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu adapters", count);
    }
    for (size_t i = 0; !status && i < count; i++) {
        status = read_one(context, files, i, weights == NULL ? 1.0 : weights[i], self, error);
        if (status && count > 1) {
            status = temper_fail_in(error, status, "adapter %zu", i + 1);
        }
    }
    if (!status && count > 1) {
        status = join_all(context, self, error);
    }
    for (size_t i = 0; i < tables * cells(self); i++) {
        size_t rank = self->pairs[i] == NULL ? 0 : self->pairs[i]->rank;
        self->lora_rank = rank > self->lora_rank ? rank : self->lora_rank;
    }
    return status ? status : lm_model_select(self, LM_ALL_ADAPTERS, error);
}

temper_status lm_model_select(lm_model *self, int adapter, temper_error *error) {
    size_t table = adapter >= 0 ? (size_t)adapter : self->adapters > 1 ? self->adapters : 0;
    if (adapter < LM_ALL_ADAPTERS || (adapter >= 0 && table >= self->adapters)) {
        return temper_fail(error, TEMPER_INVALID, "there is no adapter %d: the model has %zu", adapter,
                           self->adapters);
    }
    for (int role = 0; self->pairs != NULL && role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? self->config.layers : 1;
        for (size_t layer = 0; layer < layers; layer++) {
            lm_linear *linear = lm_model_linear(self, (lm_role)role, layer);
            if (linear != NULL) {
                linear->lora = adapter == LM_NO_ADAPTER ? NULL : *cell(self, table, (lm_role)role, layer);
            }
        }
    }
    return TEMPER_OK;
}

void lm_adapters_free(lm_model *self) {
    size_t tables = self->adapters > 1 ? self->adapters + 1 : self->adapters;
    if (self->pairs == NULL) {
        return;
    }
    (void)lm_model_select(self, LM_NO_ADAPTER, NULL);
    for (size_t i = 0; i < tables * cells(self); i++) {
        lm_lora_free(self->pairs[i]);
    }
    free(self->pairs);
    self->pairs = NULL;
}

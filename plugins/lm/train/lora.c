/* lora.c: a fresh adapter on a model. B is zero, so that training starts from the model as it is; A is drawn as PEFT
 * draws it, each value from its own Philox draw, so that neither the order of layers nor the targets chosen for
 * others change it. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <temper/rng.h>

static temper_status attach(const lm_context *context, lm_linear *linear, const lm_adapter_config *adapter,
                            uint64_t key, uint64_t stream, temper_error *error) {
    lm_lora *lora = calloc(1, sizeof *lora);
    lm_real *a = lm_train_allocate(adapter->rank, linear->inputs);
    lm_real *b = lm_train_allocate(linear->outputs, adapter->rank);
    if (lora == NULL || a == NULL || b == NULL) {
        free(lora);
        free(a);
        free(b);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for an adapter of rank %zu", adapter->rank);
    }
    double rank = (double)adapter->rank, bound = 1 / sqrt((double)linear->inputs);
    lora->rank = adapter->rank;
    lora->scale = (lm_real)(adapter->alpha / (adapter->rank_stabilised ? sqrt(rank) : rank));
    lora->a = a;
    lora->b = b;
    for (size_t i = 0; i < adapter->rank * linear->inputs; i++) {
        a[i] = (lm_real)(float)(bound * (2 * temper_random_unit(key, stream, i) - 1));
    }
    memset(b, 0, linear->outputs * adapter->rank * sizeof *b);
    linear->lora = lora;
    return lm_lora_pack(context, linear, lora, true, error);
}

temper_status lm_lora_attach(const lm_context *context, lm_model *model, const lm_adapter_config *adapter,
                             uint64_t key, temper_error *error) {
    if (adapter->rank == 0 || adapter->rank > 4096) {
        return temper_fail(error, TEMPER_INVALID, "an adapter's rank is 1 to 4096, not %zu", adapter->rank);
    }
    if (model->lora_rank != 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "this model has an adapter already: export it merged first");
    }
    size_t attached = 0;
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        if (!adapter->targets[role]) {
            continue;
        }
        size_t layers = lm_role_per_layer((lm_role)role) ? model->config.layers : 1;
        for (size_t layer = 0; layer < layers; layer++) {
            lm_linear *linear = lm_model_linear(model, (lm_role)role, layer);
            if (linear == NULL) {
                continue;
            }
            temper_status status =
                attach(context, linear, adapter, key, (uint64_t)role << 32 | (uint64_t)layer, error);
            if (status) {
                return status;
            }
            attached++;
        }
    }
    if (attached == 0) {
        return temper_fail(error, TEMPER_INVALID, "none of the adapter's targets is a layer of %s",
                           model->config.architecture);
    }
    model->lora_rank = adapter->rank;
    return TEMPER_OK;
}

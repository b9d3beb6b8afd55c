/* write.c: what training made, as files: a whole model or an adapter, in safetensors under the names that others read. */
#include "internal.h"

#include <stdlib.h>

/* Tensors being gathered; names and converted values are owned. */
typedef struct gathered {
    lm_tensor *tensors;
    size_t count;
} gathered;

static void release(gathered *self) {
    for (size_t i = 0; i < self->count; i++) {
        free((void *)(uintptr_t)self->tensors[i].name);
        free((void *)(uintptr_t)self->tensors[i].data);
    }
    free(self->tensors);
}

/* Where element i of the file's tensor is in `values`, which are its transpose. */
static size_t transposed(size_t i, const size_t *shape) {
    return i % shape[1] * shape[0] + i / shape[1];
}

/* Adds a tensor whose values are copied in `dtype`; turned: `values` have rows where the file has columns. The name
 * buffer is the caller's. */
static bool gather(gathered *self, const char *name, const lm_real *values, unsigned rank,
                   const size_t *shape, bool turned, lm_dtype dtype) {
    size_t count = shape[0] * (rank == 2 ? shape[1] : 1), size = lm_dtype_size(dtype);
    char *copied = strdup(name);
    void *data = malloc(count * size);
    if (copied == NULL || data == NULL) {
        free(copied);
        free(data);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        float value = (float)values[turned ? transposed(i, shape) : i];
        if (dtype == LM_BF16) {
            ((uint16_t *)data)[i] = lm_bf16_from_f32(value);
        } else {
            ((float *)data)[i] = value;
        }
    }
    self->tensors[self->count++] = (lm_tensor){.name = copied,
                                               .dtype = dtype,
                                               .rank = rank,
                                               .shape = {shape[0], rank == 2 ? shape[1] : 0},
                                               .data = data,
                                               .bytes = count * size};
    return true;
}

/* A reward model's head, when it has one. */
static bool gather_score(gathered *self, const lm_model *model, const char *name, const lm_real *score_head) {
    return score_head == NULL ||
           gather(self, name, score_head, 2, (size_t[]){1, model->config.hidden}, false, LM_F32);
}

static temper_status finish(gathered *self, bool complete, lm_write *write, void *write_context,
                            temper_error *error) {
    static const char *const metadata[] = {"format", "pt"};
    temper_status status =
        complete ? lm_safetensors_write(self->tensors, self->count, metadata, 1, write, write_context, error)
                 : temper_fail(error, TEMPER_NO_MEMORY, "no memory to write the weights");
    release(self);
    return status;
}

temper_status lm_model_write(lm_model *model, const lm_real *score_head, lm_dtype dtype, lm_write *write,
                             void *write_context, temper_error *error) {
    if (dtype == LM_F16) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "weights are written as f32 or bf16");
    }
    size_t slots = (size_t)LM_ROLE_COUNT * model->config.layers + 1;
    gathered all = {calloc(slots, sizeof *all.tensors), 0};
    bool complete = all.tensors != NULL && gather_score(&all, model, "score.weight", score_head);
    for (int role = 0; complete && role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? model->config.layers : 1;
        if (role == LM_HEAD && (model->config.tied || score_head != NULL)) {
            continue;
        }
        for (size_t layer = 0; complete && layer < layers; layer++) {
            size_t count = 0, shape[2];
            unsigned rank;
            char name[256];
            const lm_real *values = lm_model_values(model, (lm_role)role, layer, &count);
            lm_role_shape(&model->config, (lm_role)role, &rank, shape);
            if (rank == 0) {
                continue;
            }
            if (values == NULL) {
                release(&all);
                return temper_fail(error, TEMPER_FAILED, "a model without its values cannot be written");
            }
            lm_role_name(&model->config, (lm_role)role, layer, name, sizeof name);
            bool turned = lm_role_transposed(&model->config, (lm_role)role);
            size_t sides[2] = {turned ? shape[1] : shape[0], turned ? shape[0] : shape[1]};
            complete = gather(&all, name, values, rank, sides, turned, rank == 2 ? dtype : LM_F32);
        }
    }
    return finish(&all, complete, write, write_context, error);
}

temper_status lm_adapter_write(lm_model *model, const lm_real *score_head, lm_write *write,
                               void *write_context, temper_error *error) {
    size_t slots = 2 * (size_t)LM_ROLE_COUNT * model->config.layers + 1;
    gathered all = {calloc(slots, sizeof *all.tensors), 0};
    bool complete =
        all.tensors != NULL && gather_score(&all, model, "base_model.model.score.weight", score_head);
    for (int role = 0; complete && role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? model->config.layers : 1;
        for (size_t layer = 0; complete && layer < layers; layer++) {
            const lm_linear *linear = lm_model_linear(model, (lm_role)role, layer);
            if (linear == NULL || linear->lora == NULL) {
                continue;
            }
            const lm_lora *lora = linear->lora;
            char name[256];
            lm_adapter_name(&model->config, (lm_role)role, layer, 'A', name, sizeof name);
            complete = gather(&all, name, lora->a, 2, (size_t[]){lora->rank, linear->inputs}, false, LM_F32);
            lm_adapter_name(&model->config, (lm_role)role, layer, 'B', name, sizeof name);
            complete = complete &&
                       gather(&all, name, lora->b, 2, (size_t[]){linear->outputs, lora->rank}, false, LM_F32);
        }
    }
    return finish(&all, complete, write, write_context, error);
}

/* open.c: a model from its files: every role read once, linear layers packed for the profile.
 *
 * Without training a layer's values go as soon as they are packed, so that the peak is the packed model and one tensor;
 * only the embedding keeps its f32 rows, which lookups use. Adapters are read beside the base and stay apart. */
#include "internal.h"

#include <stdlib.h>

/* Floats of the files become lm_real (the same type but for the double build). */
static temper_status widen(float *from, lm_real *to, size_t count) {
    for (size_t i = 0; i < count; i++) {
        to[i] = from[i];
    }
    free(from);
    return TEMPER_OK;
}

/* What a model is opened with. */
struct opening {
    const lm_checkpoint *checkpoint;
    const double *weights; /* of adapters */
    bool keep;
    lm_change *change; /* NULL: none */
    void *change_context;
};

static temper_status read_changed(const struct opening *opening, lm_role role, size_t layer, float *out,
                                  temper_error *error) {
    temper_status status = lm_checkpoint_read(opening->checkpoint, role, layer, out, error);
    if (!status && opening->change != NULL) {
        opening->change(opening->change_context, role, layer, out);
    }
    return status;
}

static temper_status read_values(const struct opening *opening, lm_model *self, lm_role role, size_t layer,
                                 lm_real **slot, temper_error *error) {
    size_t count = 0;
    temper_status status = lm_model_allocate(self, role, layer, slot, &count, error);
    if (status || sizeof(lm_real) == sizeof(float)) {
        return status ? status : read_changed(opening, role, layer, (float *)(void *)*slot, error);
    }
    float *values = lm_allocate(count, sizeof *values);
    if (values == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu values", count);
    }
    status = read_changed(opening, role, layer, values, error);
    if (status) {
        free(values);
        return status;
    }
    return widen(values, *slot, count);
}

static temper_status read_role(const lm_context *context, const struct opening *opening, lm_model *self,
                               lm_role role, size_t layer, temper_error *error) {
    lm_real **slot = lm_model_slot(self, role, layer);
    if (slot == NULL) {
        return TEMPER_OK;
    }
    temper_status status = read_values(opening, self, role, layer, slot, error);
    lm_linear *linear = lm_model_linear(self, role, layer);
    lm_model_pack_norm(self, role, layer);
    if (status || linear == NULL) {
        return status;
    }
    status = lm_linear_pack(context, linear, false, error);
    if (!opening->keep) {
        free(*slot);
        *slot = NULL;
    }
    return status;
}

static temper_status read_model(const lm_context *context, const struct opening *opening, lm_model *self,
                                temper_error *error) {
    temper_status status = lm_model_place(context, self, error);
    for (int role = 0; !status && role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? self->config.layers : 1;
        for (size_t layer = 0; !status && layer < layers; layer++) {
            status = read_role(context, opening, self, (lm_role)role, layer, error);
        }
    }
    if (!status && self->config.tied) {
        self->head.w = self->embedding;
        status = lm_linear_pack(context, &self->head, false, error);
    }
    return status;
}

static temper_status open_model(const lm_context *context, const lm_file_set *files, struct opening opening,
                                lm_model **out, temper_error *error) {
    lm_checkpoint *checkpoint = NULL;
    lm_model *self = NULL;
    if (lm_file_find(files, "base/adapter_config.json") != NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "this adapter's base is an adapter itself: export the base merged first");
    }
    temper_status status = lm_checkpoint_open(files, &checkpoint, error);
    if (status) {
        return status;
    }
    opening.checkpoint = checkpoint;
    status = lm_model_shape(lm_checkpoint_config(checkpoint), &self, error);
    if (!status) {
        status = read_model(context, &opening, self, error);
    }
    if (!status) {
        status = lm_adapters_read(context, files, opening.weights, self, error);
    }
    lm_checkpoint_close(checkpoint);
    if (status) {
        lm_model_close(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

temper_status lm_model_open(const lm_context *context, const lm_file_set *files, lm_model **out,
                            temper_error *error) {
    return open_model(context, files, (struct opening){.keep = false}, out, error);
}

temper_status lm_model_open_weighted(const lm_context *context, const lm_file_set *files,
                                     const double *weights, lm_change *change, void *change_context,
                                     lm_model **out, temper_error *error) {
    struct opening opening = {.weights = weights, .change = change, .change_context = change_context};
    return open_model(context, files, opening, out, error);
}

temper_status lm_model_open_training(const lm_context *context, const lm_file_set *files, lm_model **out,
                                     temper_error *error) {
    return open_model(context, files, (struct opening){.keep = true}, out, error);
}

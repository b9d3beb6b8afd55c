/* cache.c: the keys and values of one sequence, layer by layer. */
#include "internal.h"

#include <stdlib.h>

temper_status lm_cache_new(const lm_context *context, const lm_config *config, size_t capacity,
                           lm_cache **out, temper_error *error) {
    temper_status status = TEMPER_OK;
    lm_cache *self = malloc(sizeof *self + config->layers * sizeof *self->layers);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a cache of %zu layers", config->layers);
    }
    *self = (lm_cache){.capacity = capacity, .count = config->layers, .layers = (lm_cache_layer *)(self + 1)};
    memset(self->layers, 0, config->layers * sizeof *self->layers);
    for (size_t layer = 0; !status && layer < config->layers; layer++) {
        status = lm_cache_layer_open(context, config, capacity, &self->layers[layer], error);
    }
    if (status) {
        lm_cache_free(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

void lm_cache_clear(lm_cache *self) {
    self->length = 0;
    for (size_t layer = 0; layer < self->count; layer++) {
        self->layers[layer].length = 0;
    }
}

void lm_cache_free(lm_cache *self) {
    if (self == NULL) {
        return;
    }
    for (size_t layer = 0; layer < self->count; layer++) {
        lm_cache_layer_close(&self->layers[layer]);
    }
    free(self);
}

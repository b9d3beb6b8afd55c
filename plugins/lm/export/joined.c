/* joined.c: several adapters as one.
 *
 * Ranks stand one after another: A = [A1; A2], B = [f1 B1, f2 B2], so that B A is the sum of what each adds. The form that
 * is written has one alpha for all layers and divides it by each pair's rank; the factors make up for what that leaves. Of
 * one adapter whose pairs all have the same alpha they are 1, and its values stay as they are.
 *
 * Invariant: alpha / rank * B A is the weighted sum of scale * B A of each adapter, up to one rounding of B to f32. */
#include "internal.h"

size_t lm_joined_rank(const lm_joined *self, lm_role role, size_t layer) {
    size_t sum = 0, rank;
    double scale;
    for (size_t i = 0; i < self->of->count; i++) {
        sum += lm_adapter_pair(self->of->adapters[i], role, layer, &rank, &scale) ? rank : 0;
    }
    return sum;
}

/* The alpha that all pairs of the only adapter have; the greatest rank when there is no such one. */
static double common_alpha(const lm_joined *self) {
    double alpha = -1.0;
    const lm_config *config = lm_merged_config(self->of);
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        for (size_t layer = 0; layer < config->layers; layer++) {
            size_t rank;
            double scale;
            if (!lm_adapter_pair(self->of->adapters[0], (lm_role)role, layer, &rank, &scale)) {
                continue;
            }
            double here = self->of->weights[0] * scale * (double)rank;
            if (self->of->count > 1 || !(here > 0.0) || (alpha >= 0.0 && alpha != here)) {
                return (double)self->rank;
            }
            alpha = here;
        }
    }
    return alpha;
}

temper_status lm_joined_open(const lm_merged *of, lm_joined *out, temper_error *error) {
    const lm_config *config = lm_merged_config(of);
    *out = (lm_joined){.of = of};
    if (of->count == 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "there is no adapter in it: export it as hf or gguf, or name one with --adapter");
    }
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        for (size_t layer = 0; layer < config->layers; layer++) {
            size_t rank = lm_joined_rank(out, (lm_role)role, layer);
            out->rank = rank > out->rank ? rank : out->rank;
            out->targets[role] = out->targets[role] || rank > 0;
        }
    }
    out->alpha = common_alpha(out);
    return TEMPER_OK;
}

temper_status lm_joined_read(const lm_joined *self, lm_role role, size_t layer, float *a, float *b,
                             temper_error *error) {
    size_t shape[2], total = lm_joined_rank(self, role, layer), at = 0;
    unsigned sides;
    lm_role_shape(lm_merged_config(self->of), role, &sides, shape);
    for (size_t i = 0; i < self->of->count; i++) {
        size_t rank;
        double scale;
        if (!lm_adapter_pair(self->of->adapters[i], role, layer, &rank, &scale)) {
            continue;
        }
        float *own = malloc(rank * shape[0] * sizeof *own + 1);
        if (own == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for an adapter of rank %zu", rank);
        }
        lm_adapter_read(self->of->adapters[i], role, layer, a + at * shape[1], own);
        double factor = self->of->weights[i] * scale * (double)total / self->alpha;
        for (size_t row = 0; row < shape[0]; row++) {
            for (size_t r = 0; r < rank; r++) {
                b[row * total + at + r] = (float)(factor * (double)own[row * rank + r]);
            }
        }
        at += rank;
        free(own);
    }
    return TEMPER_OK;
}

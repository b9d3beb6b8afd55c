/* init.c: a new model with random weights. Each value is drawn from its own Philox draws, so neither the order of
 * tensors nor their number can change it; values are rounded to f32, as a file will hold them. */
#include "internal.h"

#include <math.h>
#include <temper/math.h>
#include <temper/rng.h>

/* Box and Muller (1958): draws 2j and 2j+1 of the stream make values 2j (cosine) and 2j+1 (sine). */
static double normal(uint64_t key, uint64_t stream, uint64_t index) {
    uint64_t first = index / 2 * 2;
    double radius = sqrt(-2.0 * temper_log(1.0 - temper_random_unit(key, stream, first)));
    double angle = 6.283185307179586 * temper_random_unit(key, stream, first + 1);
    return radius * (index % 2 == 0 ? temper_cos(angle) : temper_sin(angle));
}

static bool is_bias(lm_role role) {
    return role == LM_FINAL_NORM_BIAS || role == LM_ATTENTION_NORM_BIAS || role == LM_FEED_NORM_BIAS ||
           (role >= LM_QUERY_BIAS && role <= LM_OUTPUT_BIAS) || role == LM_UP_BIAS || role == LM_DOWN_BIAS ||
           role == LM_GATE_BIAS || role == LM_QUERY_KEY_VALUE_BIAS;
}

static bool is_norm(lm_role role) {
    return role == LM_FINAL_NORM || role == LM_ATTENTION_NORM || role == LM_FEED_NORM ||
           role == LM_QUERY_NORM || role == LM_KEY_NORM || role == LM_ATTENTION_POST_NORM ||
           role == LM_FEED_POST_NORM;
}

static void fill(lm_role role, size_t layer, const lm_config *config, uint64_t key, double std,
                 lm_real *values, size_t count) {
    uint64_t stream = (uint64_t)role << 32 | (uint64_t)layer;
    if (role == LM_OUTPUT || role == LM_DOWN) {
        std /= sqrt(2.0 * (double)config->layers);
    }
    for (size_t i = 0; i < count; i++) {
        values[i] = is_bias(role)   ? 0
                    : is_norm(role) ? !config->norm_plus_one
                                    : (lm_real)(float)(std * normal(key, stream, i));
    }
}

temper_status lm_model_init(const lm_context *context, const lm_config *config, uint64_t key, double std,
                            lm_model **out, temper_error *error) {
    lm_model *self = NULL;
    temper_status status = lm_model_shape(config, &self, error);
    for (int role = 0; !status && role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? config->layers : 1;
        for (size_t layer = 0; !status && layer < layers; layer++) {
            lm_real **slot = lm_model_slot(self, (lm_role)role, layer);
            size_t count = 0;
            if (slot != NULL) {
                status = lm_model_allocate(self, (lm_role)role, layer, slot, &count, error);
            }
            if (!status && slot != NULL) {
                fill((lm_role)role, layer, config, key, std, *slot, count);
            }
        }
    }
    if (!status) {
        status = lm_model_pack(context, self, false, error);
    }
    if (status) {
        lm_model_close(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

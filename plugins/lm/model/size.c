/* size.c: what a model's weights take in memory, told from its config before they are read: packed matrices, what stays in
 * f32 beside them, and the largest matrix once more while it is packed. */
#include "internal.h"

static uint64_t packed(const lm_product *product, size_t outputs, size_t inputs) {
    return (uint64_t)(outputs + LM_PANEL - 1) / LM_PANEL * product->panel_bytes(inputs);
}

uint64_t lm_model_bytes(const lm_product *product, const lm_config *config) {
    uint64_t bytes = 0, largest = 0;
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        uint64_t layers = lm_role_per_layer((lm_role)role) ? config->layers : 1, here;
        size_t shape[2];
        unsigned rank;
        lm_role_shape(config, (lm_role)role, &rank, shape);
        if (rank == 0) {
            continue;
        }
        uint64_t values = (uint64_t)shape[0] * (rank == 2 ? shape[1] : 1) * sizeof(lm_real);
        bool kept = rank == 1 || role == LM_EMBEDDING || role == LM_POSITION_EMBEDDING;
        here = kept ? values : packed(product, shape[0], shape[1]);
        largest = !kept && values > largest ? values : largest;
        bytes += layers * here;
    }
    if (config->tied) {
        bytes += packed(product, config->vocabulary, config->hidden);
    }
    if (config->positions == LM_ROPE) {
        bytes += (uint64_t)config->context * config->head_size * sizeof(lm_real);
    }
    return bytes + largest;
}

/* tiny.h: small random models whose shapes are awkward on purpose: an odd window, groups of heads, sides that are no
 * multiple of anything. */
#ifndef TEST_TINY_H
#define TEST_TINY_H

#include "../../plugins/lm/model/model.h"

static inline lm_config tiny_llama(size_t context) {
    return (lm_config){.architecture = "llama",
                       .vocabulary = 77,
                       .hidden = 48,
                       .intermediate = 85,
                       .layers = 2,
                       .heads = 6,
                       .kv_heads = 2,
                       .head_size = 8,
                       .context = context,
                       .norm = LM_RMS_NORM,
                       .positions = LM_ROPE,
                       .activation = LM_SWIGLU,
                       .norm_epsilon = 1e-5,
                       .rope_theta = 10000,
                       .attention_scale = 0.3535533905932738,
                       .tied = false,
                       .bos = -1,
                       .eos = -1};
}

/* Heads wider than a panel of values, and in every second layer a window of an odd number of keys. */
static inline lm_config tiny_gpt_neo(size_t context) {
    lm_config config = {.architecture = "gpt_neo",
                        .vocabulary = 61,
                        .hidden = 84,
                        .intermediate = 66,
                        .layers = 2,
                        .heads = 2,
                        .kv_heads = 2,
                        .head_size = 42,
                        .context = context,
                        .norm = LM_LAYER_NORM,
                        .positions = LM_LEARNED_POSITIONS,
                        .activation = LM_GELU_NEW,
                        .norm_epsilon = 1e-5,
                        .attention_scale = 1,
                        .tied = true,
                        .bos = -1,
                        .eos = -1};
    config.window[1] = 9;
    return config;
}

/* Ids that look like nothing in particular. */
static inline void tiny_ids(int32_t *ids, size_t count, size_t vocabulary, uint32_t seed) {
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = (int32_t)((seed >> 8) % vocabulary);
    }
}

#endif

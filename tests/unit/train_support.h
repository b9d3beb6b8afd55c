/* train_support.h: tiny models and batches that the training tests share. Everything comes from Philox, so the float and
 * the double build see the same model up to rounding. Included by one source a program. */
#ifndef TRAIN_SUPPORT_H
#define TRAIN_SUPPORT_H

#include "../../plugins/lm/train/train.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <temper/rng.h>

/* What one architecture has and llama and gpt_neo have not, each of it switched on. */
typedef struct tiny_variant {
    const char *name, *architecture;
    size_t kv_heads, window, rotated; /* window: of layer 0 */
    bool attention_bias, feed_bias, parallel;
    double embedding_scale, attention_cap, final_cap, local_theta;
    lm_rope_scaling scaling;
} tiny_variant;
static const tiny_variant tiny_variants[] = {
    {.name = "llama-biased",
     .architecture = "llama",
     .kv_heads = 2,
     .attention_bias = true,
     .feed_bias = true,
     .scaling = {.kind = LM_ROPE_LLAMA3, .factor = 8, .original = 16, .low = 1, .high = 4}},
    {.name = "mistral", .architecture = "mistral", .kv_heads = 2, .window = 5},
    {.name = "qwen2",
     .architecture = "qwen2",
     .kv_heads = 2,
     .scaling = {.kind = LM_ROPE_YARN, .factor = 4, .original = 16, .low = 1, .high = 32, .magnitude = 1.2}},
    {.name = "qwen3", .architecture = "qwen3", .kv_heads = 2},
    {.name = "gemma2",
     .architecture = "gemma2",
     .kv_heads = 2,
     .window = 5,
     .embedding_scale = 4,
     .attention_cap = 1.5,
     .final_cap = 2},
    {.name = "gemma3",
     .architecture = "gemma3_text",
     .kv_heads = 2,
     .window = 5,
     .embedding_scale = 4,
     .local_theta = 100},
    {.name = "phi3", .architecture = "phi3", .kv_heads = 2, .rotated = 2},
    {.name = "olmo2", .architecture = "olmo2", .kv_heads = 2},
    {.name = "gpt2", .architecture = "gpt2", .kv_heads = 4},
    {.name = "gpt_neox",
     .architecture = "gpt_neox",
     .kv_heads = 4,
     .rotated = 2,
     .attention_bias = true,
     .parallel = true},
    {.name = "gpt_neox-sequential", .architecture = "gpt_neox", .kv_heads = 4, .attention_bias = true},
};
enum { TINY_VARIANTS = sizeof tiny_variants / sizeof *tiny_variants };

static inline lm_config tiny_variant_config(const tiny_variant *variant, bool tied) {
    lm_config config;
    if (!lm_config_start(&config, variant->architecture)) {
        abort();
    }
    config.vocabulary = 37, config.hidden = 16, config.intermediate = 24, config.layers = 2;
    config.heads = 4, config.kv_heads = variant->kv_heads, config.head_size = 4, config.context = 96;
    config.attention_scale = 0.5, config.tied = tied, config.eos = 0;
    config.window[0] = variant->window, config.rotated = variant->rotated;
    config.attention_bias = variant->attention_bias, config.feed_bias = variant->feed_bias;
    config.parallel = variant->parallel, config.embedding_scale = variant->embedding_scale;
    config.attention_cap = variant->attention_cap, config.final_cap = variant->final_cap;
    config.local_theta = variant->local_theta, config.scaling = variant->scaling;
    return config;
}

/* llama: grouped keys, rotary positions, SwiGLU. gpt_neo: biases, learned positions, a window, gelu_new, no scaling. */
static inline lm_config tiny_config(const char *architecture, bool tied) {
    for (size_t i = 0; i < TINY_VARIANTS; i++) {
        if (strcmp(tiny_variants[i].name, architecture) == 0) {
            return tiny_variant_config(&tiny_variants[i], tied);
        }
    }
    lm_config config = {.vocabulary = 37,
                        .hidden = 16,
                        .intermediate = 24,
                        .layers = 2,
                        .heads = 4,
                        .kv_heads = 2,
                        .head_size = 4,
                        .context = 96,
                        .norm = LM_RMS_NORM,
                        .positions = LM_ROPE,
                        .activation = LM_SWIGLU,
                        .norm_epsilon = 1e-5,
                        .rope_theta = 10000,
                        .attention_scale = 0.5,
                        .tied = tied,
                        .bos = -1,
                        .eos = 0};
    if (strcmp(architecture, "gpt_neo") == 0) {
        config.kv_heads = 4;
        config.norm = LM_LAYER_NORM;
        config.positions = LM_LEARNED_POSITIONS;
        config.activation = LM_GELU_NEW;
        config.attention_scale = 1;
        config.tied = true;
        config.window[1] = 5;
    }
    strcpy(config.architecture, architecture);
    return config;
}

/* Random weights, then every value nudged: norms away from 1, biases away from 0. */
static inline lm_model *tiny_model(const lm_context *context, const lm_config *config) {
    lm_model *model = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    if (lm_model_init(context, config, 11, 0.2, &model, &error)) {
        fprintf(stderr, "%s\n", error.message);
        abort();
    }
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        for (size_t layer = 0; layer < (lm_role_per_layer((lm_role)role) ? config->layers : 1); layer++) {
            size_t count = 0;
            lm_real *values = lm_model_values(model, (lm_role)role, layer, &count);
            for (size_t i = 0; i < count; i++) {
                double unit = temper_random_unit(12, (uint64_t)role << 32 | layer, i);
                values[i] = (lm_real)(float)(values[i] + (lm_real)(0.2 * (unit - 0.5)));
            }
        }
    }
    if (lm_model_pack(context, model, true, &error)) {
        fprintf(stderr, "%s\n", error.message);
        abort();
    }
    return model;
}

/* Sequences of different lengths, odd and even, one of them longer than an attention block. */
enum { TINY_EXAMPLES = 8, TINY_LONGEST = 71 };
typedef struct tiny_batch {
    int32_t ids[TINY_EXAMPLES][TINY_LONGEST];
    uint8_t trained[TINY_EXAMPLES][TINY_LONGEST];
    lm_example examples[TINY_EXAMPLES];
    const lm_example *rows[TINY_EXAMPLES];
    lm_pair pairs[TINY_EXAMPLES / 2];
    const lm_pair *pair_rows[TINY_EXAMPLES / 2];
} tiny_batch;

static inline void tiny_fill(tiny_batch *batch, size_t vocabulary, size_t longest) {
    const size_t lengths[TINY_EXAMPLES] = {5, 8, 2, 13, 7, longest, 3, 6};
    for (size_t i = 0; i < TINY_EXAMPLES; i++) {
        for (size_t t = 0; t < lengths[i]; t++) {
            batch->ids[i][t] = (int32_t)temper_random_below(13, i, t, vocabulary);
            batch->trained[i][t] = t > 0 && (t == lengths[i] - 1 || temper_random_unit(14, i, t) < 0.7);
        }
        batch->examples[i] =
            (lm_example){.ids = batch->ids[i], .trained = batch->trained[i], .count = lengths[i]};
        batch->rows[i] = &batch->examples[i];
    }
    for (size_t i = 0; i < TINY_EXAMPLES / 2; i++) {
        batch->pairs[i] = (lm_pair){.chosen = batch->examples[2 * i],
                                    .rejected = batch->examples[2 * i + 1],
                                    .reference_chosen = -3.0 - (double)i,
                                    .reference_rejected = -4.0};
        batch->pair_rows[i] = &batch->pairs[i];
    }
}

static inline lm_adapter_config tiny_adapter(void) {
    lm_adapter_config adapter = {.rank = 3, .alpha = 6};
    static const lm_role targets[] = {LM_QUERY, LM_KEY,  LM_VALUE,           LM_OUTPUT, LM_GATE,
                                      LM_UP,    LM_DOWN, LM_QUERY_KEY_VALUE, LM_GATE_UP};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        adapter.targets[targets[i]] = true;
    }
    return adapter;
}

/* --- threads that take indices in whatever order they come --- */
typedef struct tiny_threads {
    size_t count;
    atomic_size_t next, worker;
    lm_body *body;
    void *context;
} tiny_threads;

static inline void *tiny_thread(void *argument) {
    tiny_threads *self = argument;
    size_t worker = atomic_fetch_add(&self->worker, 1), index;
    while ((index = atomic_fetch_add(&self->next, 1)) < self->count) {
        self->body(self->context, index, worker);
    }
    return NULL;
}

static inline void tiny_run(void *self, size_t count, lm_body *body, void *context) {
    size_t workers = *(size_t *)self;
    pthread_t threads[64];
    tiny_threads job = {.count = count, .body = body, .context = context};
    for (size_t i = 0; i < workers; i++) {
        if (pthread_create(&threads[i], NULL, tiny_thread, &job)) {
            abort();
        }
    }
    for (size_t i = 0; i < workers; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* `workers` must outlive the result. */
static inline lm_parallel tiny_parallel(size_t *workers) {
    return (lm_parallel){*workers, workers, tiny_run};
}

#endif

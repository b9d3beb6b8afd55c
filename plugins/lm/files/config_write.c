/* config_write.c: lm_config to a config.json that transformers reads.
 *
 * Invariant: the text is a function of config and dtype, and lm_config_parse gives the same config back. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double lm_inverse_square_root(size_t value) {
    return 1.0 / sqrt((double)value); /* both exactly rounded */
}

static void set(json_t *root, const char *key, json_t *value) {
    if (key != NULL) {
        json_object_set_new(root, key, value);
    } else {
        json_decref(value);
    }
}

static void set_size(json_t *root, const char *key, size_t value) {
    set(root, key, json_integer((json_int_t)value));
}

static void set_id(json_t *root, const char *key, int64_t id) {
    set(root, key, id < 0 ? json_null() : json_integer(id));
}

static void set_cap(json_t *root, const char *key, double cap) {
    set(root, key, cap > 0 ? json_real(cap) : json_null());
}

/* Positions that the model was said to have: longrope's context is cut (config_rope.c). */
static size_t stated_context(const lm_config *config) {
    const lm_rope_scaling *scaling = &config->scaling;
    bool cut = scaling->kind == LM_ROPE_LONG && scaling->factor > 1.0;
    return cut ? (size_t)rint(scaling->original * scaling->factor) : config->context;
}

static void write_features(json_t *root, const lm_architecture *row, const lm_config *config) {
    set(root, "attention_bias", json_boolean(config->attention_bias));
    if (strcmp(row->model_type, "llama") == 0) {
        set(root, "mlp_bias", json_boolean(config->feed_bias));
    }
    if (row->query_scale > 0) {
        double scalar = 1.0 / (config->attention_scale * config->attention_scale);
        set(root, "query_pre_attn_scalar", json_integer((json_int_t)rint(scalar)));
        set_cap(root, "attn_logit_softcapping", config->attention_cap);
        set_cap(root, "final_logit_softcapping", config->final_cap);
    }
    if (row->parallel) {
        set(root, "use_parallel_residual", json_boolean(config->parallel));
    }
}

char *lm_config_write(const lm_config *config, lm_dtype dtype) {
    const lm_architecture *row = lm_architecture_find(config->architecture);
    json_t *root = json_object();
    if (row == NULL || root == NULL) {
        json_decref(root);
        return NULL;
    }
    const lm_config_names *keys = row->keys;
    set(root, "architectures", json_pack("[s]", row->class_name));
    set(root, "model_type", json_string(row->model_type));
    set_size(root, "vocab_size", config->vocabulary);
    set_size(root, keys->hidden, config->hidden);
    set_size(root, keys->intermediate, config->intermediate);
    set_size(root, keys->context, stated_context(config));
    set_size(root, keys->layers, config->layers);
    set_size(root, keys->heads, config->heads);
    set_size(root, keys->kv_heads, config->kv_heads);
    set_size(root, keys->head_size, config->head_size);
    set(root, keys->activation, json_string(lm_activation_name(config->activation)));
    set(root, keys->epsilon, json_real(config->norm_epsilon));
    if (row->positions == LM_ROPE) {
        lm_config_write_rope(root, row, config);
        write_features(root, row, config);
    }
    if (strcmp(row->model_type, "gpt2") == 0) {
        set_size(root, "n_ctx", config->context); /* llama.cpp's converter asks for it */
    }
    lm_config_write_windows(root, row, config);
    set(root, "tie_word_embeddings", json_boolean(config->tied));
    set_id(root, "bos_token_id", config->bos);
    set_id(root, "eos_token_id", config->eos);
    if (row->pads) {
        set(root, "pad_token_id", json_null());
    }
    set(root, "torch_dtype",
        json_string(dtype == LM_F32   ? "float32"
                    : dtype == LM_F16 ? "float16"
                                      : "bfloat16"));
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    return text;
}

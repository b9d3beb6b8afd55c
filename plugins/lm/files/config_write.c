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
    json_object_set_new(root, key, value);
}

static void set_size(json_t *root, const char *key, size_t value) {
    set(root, key, json_integer((json_int_t)value));
}

static void set_id(json_t *root, const char *key, int64_t id) {
    set(root, key, id < 0 ? json_null() : json_integer(id));
}

static void write_llama(json_t *root, const lm_config *config) {
    set_size(root, "num_hidden_layers", config->layers);
    set_size(root, "num_attention_heads", config->heads);
    set_size(root, "num_key_value_heads", config->kv_heads);
    set_size(root, "head_dim", config->head_size);
    set(root, "hidden_act", json_string("silu"));
    set(root, "rms_norm_eps", json_real(config->norm_epsilon));
    set(root, "rope_theta", json_real(config->rope_theta));
    set(root, "rope_scaling", json_null());
    set(root, "attention_bias", json_false());
    set(root, "mlp_bias", json_false());
}

/* Each layer its own group: [[["global"], 1], [["local"], 1], ...]. */
static void write_gpt_neo(json_t *root, const lm_config *config) {
    json_t *types = json_array(), *layers = json_array();
    size_t window = 256;
    for (size_t i = 0; i < config->layers; i++) {
        const char *kind = config->window[i] != 0 ? "local" : "global";
        window = config->window[i] != 0 ? config->window[i] : window;
        json_array_append_new(types, json_pack("[[s], i]", kind, 1));
        json_array_append_new(layers, json_string(kind));
    }
    set_size(root, "num_layers", config->layers);
    set_size(root, "num_heads", config->heads);
    set(root, "attention_types", types);
    set(root, "attention_layers", layers);
    set_size(root, "window_size", window);
    set(root, "activation_function", json_string("gelu_new"));
    set(root, "layer_norm_epsilon", json_real(config->norm_epsilon));
}

char *lm_config_write(const lm_config *config, lm_dtype dtype) {
    const lm_architecture *row = lm_architecture_find(config->architecture);
    json_t *root = json_object();
    if (row == NULL || root == NULL) {
        json_decref(root);
        return NULL;
    }
    set(root, "architectures", json_pack("[s]", row->class_name));
    set(root, "model_type", json_string(row->model_type));
    set_size(root, "vocab_size", config->vocabulary);
    set_size(root, "hidden_size", config->hidden);
    set_size(root, "intermediate_size", config->intermediate);
    set_size(root, "max_position_embeddings", config->context);
    if (row->positions == LM_ROPE) {
        write_llama(root, config);
    } else {
        write_gpt_neo(root, config);
    }
    set(root, "tie_word_embeddings", json_boolean(config->tied));
    set_id(root, "bos_token_id", config->bos);
    set_id(root, "eos_token_id", config->eos);
    set(root, "torch_dtype",
        json_string(dtype == LM_F32   ? "float32"
                    : dtype == LM_F16 ? "float16"
                                      : "bfloat16"));
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    return text;
}

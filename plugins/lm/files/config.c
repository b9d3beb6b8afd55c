/* config.c: config.json to lm_config.
 *
 * Invariant: every key is accounted for. It is read, or known to change no result, or must hold the value that
 * switches it off; a key that is none of these is refused by name, because a model that silently computes something
 * else is worse than one that does not load. */
#include "internal.h"

#include <string.h>

typedef enum rule_kind {
    READ, /* by this file */
    FREE, /* changes no result here: training only, hints, names */
    OFF,  /* null, false, 0, or empty */
    ONE   /* null or 1 */
} rule_kind;

struct rule {
    const char *key;
    rule_kind kind;
};

static const struct rule common_rules[] = {
    {"model_type", READ},
    {"architectures", READ},
    {"vocab_size", READ},
    {"hidden_size", READ},
    {"intermediate_size", READ},
    {"max_position_embeddings", READ},
    {"tie_word_embeddings", READ},
    {"bos_token_id", READ},
    {"eos_token_id", READ},
    {"pad_token_id", FREE},
    {"sep_token_id", FREE},
    {"cls_token_id", FREE},
    {"torch_dtype", FREE},
    {"dtype", FREE},
    {"transformers_version", FREE},
    {"transformers.js_config", FREE},
    {"use_cache", FREE},
    {"initializer_range", FREE},
    {"attention_dropout", FREE},
    {"resid_dropout", FREE},
    {"embed_dropout", FREE},
    {"classifier_dropout", FREE},
    {"hidden_dropout", FREE},
    {"gradient_checkpointing", FREE},
    {"task_specific_params", FREE},
    {"attn_implementation", FREE},
    {"tokenizer_class", FREE},
    {"prefix", FREE},
    {"id2label", FREE},
    {"label2id", FREE},
    {"problem_type", FREE},
    {"finetuning_task", FREE},
    {"return_dict", FREE},
    {"return_dict_in_generate", FREE},
    {"output_attentions", FREE},
    {"output_hidden_states", FREE},
    {"output_scores", FREE},
    {"torchscript", FREE},
    {"num_return_sequences", FREE},
    {"max_length", FREE},
    {"min_length", FREE},
    {"do_sample", FREE},
    {"temperature", FREE},
    {"top_k", FREE},
    {"top_p", FREE},
    {"typical_p", FREE},
    {"repetition_penalty", FREE},
    {"length_penalty", FREE},
    {"num_beams", FREE},
    {"early_stopping", FREE},
    {"unsloth_version", FREE},
    {"unsloth_fixed", FREE},
    {"is_decoder", FREE},
    {"is_encoder_decoder", OFF},
    {"add_cross_attention", OFF},
    {"cross_attention_hidden_size", OFF},
    {"tie_encoder_decoder", OFF},
    {"chunk_size_feed_forward", OFF},
    {"pruned_heads", OFF},
    {"quantization_config", OFF},
    {"auto_map", OFF},
    {"sliding_window", OFF},
    {"attention_bias", OFF},
    {"mlp_bias", OFF},
};

static const struct rule llama_rules[] = {
    {"num_hidden_layers", READ}, {"num_attention_heads", READ},  {"num_key_value_heads", READ},
    {"head_dim", READ},          {"hidden_act", READ},           {"rms_norm_eps", READ},
    {"rope_theta", READ},        {"rope_scaling", READ},         {"rope_parameters", READ},
    {"is_llama_config", FREE},   {"pretraining_tp", FREE}, /* the same sums in another order */
    {"rope_interleaved", OFF},   {"partial_rotary_factor", ONE},
};

static const struct rule gpt_neo_rules[] = {
    {"num_layers", READ},
    {"num_heads", READ},
    {"attention_types", READ},
    {"attention_layers", READ},
    {"window_size", READ},
    {"activation_function", READ},
    {"layer_norm_epsilon", READ},
    {"summary_type", FREE},
    {"summary_use_proj", FREE},
    {"summary_activation", FREE},
    {"summary_proj_to_labels", FREE},
    {"summary_first_dropout", FREE},
};

static const struct rule *find_rule(const char *key, const struct rule *rules, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rules[i].key, key) == 0) {
            return &rules[i];
        }
    }
    return NULL;
}

static bool is_off(const json_t *value) {
    return json_is_null(value) || json_is_false(value) ||
           (json_is_number(value) && json_number_value(value) == 0.0) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static temper_status check_keys(const json_t *root, const struct rule *own, size_t own_count,
                                temper_error *error) {
    const char *key;
    json_t *value;
    char text[80];
    json_object_foreach((json_t *)(uintptr_t)root, key, value) {
        const struct rule *rule = find_rule(key, common_rules, sizeof common_rules / sizeof *common_rules);
        if (rule == NULL) {
            rule = find_rule(key, own, own_count);
        }
        if (rule == NULL) {
            if (key[0] == '_' || json_is_null(value)) {
                continue; /* private notes of the writer; unset */
            }
            return temper_fail(
                error, TEMPER_UNSUPPORTED,
                "config.json: \"%.80s\" is %s; it is not known what that changes in this architecture", key,
                lm_json_describe(value, text, sizeof text));
        }
        if ((rule->kind == OFF && !is_off(value)) ||
            (rule->kind == ONE && !json_is_null(value) &&
             !(json_is_number(value) && json_number_value(value) == 1.0))) {
            return temper_fail(error, TEMPER_UNSUPPORTED, "config.json: \"%s\" is %s; only %s is supported",
                               key, lm_json_describe(value, text, sizeof text),
                               rule->kind == ONE ? "1" : "its absence (null or false)");
        }
    }
    return TEMPER_OK;
}

/* --- values: absent (or null) gives the default; a default below zero makes the key required --- */

static temper_status read_count(const json_t *root, const char *key, int64_t absent, size_t *out,
                                temper_error *error) {
    const json_t *value = json_object_get(root, key);
    int64_t integer = absent;
    char text[80];
    if (value == NULL || json_is_null(value)) {
        if (absent < 0) {
            return temper_fail(error, TEMPER_INVALID, "config.json: \"%s\" is missing", key);
        }
    } else if (!lm_json_integer(value, &integer) || integer < 1 || integer > INT32_MAX) {
        return temper_fail(error, TEMPER_INVALID,
                           "config.json: \"%s\" is %s; a whole number from 1 to 2^31-1 is meant", key,
                           lm_json_describe(value, text, sizeof text));
    }
    *out = (size_t)integer;
    return TEMPER_OK;
}

static temper_status read_real(const json_t *root, const char *key, double absent, double *out,
                               temper_error *error) {
    const json_t *value = json_object_get(root, key);
    char text[80];
    *out = absent;
    if (value == NULL || json_is_null(value)) {
        return TEMPER_OK;
    }
    if (!json_is_number(value) || !(json_number_value(value) > 0.0)) {
        return temper_fail(error, TEMPER_INVALID, "config.json: \"%s\" is %s; a positive number is meant",
                           key, lm_json_describe(value, text, sizeof text));
    }
    *out = json_number_value(value);
    return TEMPER_OK;
}

static temper_status read_flag(const json_t *root, const char *key, bool absent, bool *out,
                               temper_error *error) {
    const json_t *value = json_object_get(root, key);
    char text[80];
    *out = absent;
    if (value != NULL && !json_is_null(value)) {
        if (!json_is_boolean(value)) {
            return temper_fail(error, TEMPER_INVALID, "config.json: \"%s\" is %s; true or false is meant",
                               key, lm_json_describe(value, text, sizeof text));
        }
        *out = json_is_true(value);
    }
    return TEMPER_OK;
}

/* A token id, or a list of them whose first is taken (lm_end_tokens gives all). */
static temper_status read_id(const json_t *root, const char *key, int64_t *out, temper_error *error) {
    const json_t *value = json_object_get(root, key);
    char text[80];
    *out = -1;
    if (json_is_array(value) && json_array_size(value) > 0) {
        value = json_array_get(value, 0);
    }
    if (value != NULL && !json_is_null(value) && !lm_json_integer(value, out)) {
        return temper_fail(error, TEMPER_INVALID, "config.json: \"%s\" is %s; a token id is meant", key,
                           lm_json_describe(value, text, sizeof text));
    }
    return TEMPER_OK;
}

static temper_status require_text(const json_t *root, const char *key, const char *const *allowed,
                                  temper_error *error) {
    const json_t *value = json_object_get(root, key);
    char text[80];
    if (value == NULL || json_is_null(value)) {
        return TEMPER_OK;
    }
    for (size_t i = 0; allowed[i] != NULL; i++) {
        if (json_is_string(value) && strcmp(json_string_value(value), allowed[i]) == 0) {
            return TEMPER_OK;
        }
    }
    return temper_fail(error, TEMPER_UNSUPPORTED, "config.json: \"%s\" is %s; only \"%s\" is supported", key,
                       lm_json_describe(value, text, sizeof text), allowed[0]);
}

/* rope_scaling (before transformers 5) and rope_parameters (since): only the unscaled kind. */
static temper_status read_rope(const json_t *root, lm_config *out, temper_error *error) {
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    temper_status status = read_real(root, "rope_theta", 10000.0, &out->rope_theta, error);
    for (size_t i = 0; i < 2 && !status; i++) {
        const json_t *rope = json_object_get(root, keys[i]);
        const char *key;
        json_t *value;
        if (rope == NULL || json_is_null(rope)) {
            continue;
        }
        if (!json_is_object(rope)) {
            return temper_fail(error, TEMPER_INVALID, "config.json: \"%s\" is no object", keys[i]);
        }
        json_object_foreach((json_t *)(uintptr_t)rope, key, value) {
            bool type = strcmp(key, "rope_type") == 0 || strcmp(key, "type") == 0;
            char text[80];
            if (!(type && json_is_string(value) && strcmp(json_string_value(value), "default") == 0) &&
                strcmp(key, "rope_theta") != 0 && !json_is_null(value)) {
                return temper_fail(
                    error, TEMPER_UNSUPPORTED,
                    "config.json: \"%s\" has \"%.60s\": %s; only the type \"default\" is supported", keys[i],
                    key, lm_json_describe(value, text, sizeof text));
            }
        }
        status = read_real(rope, "rope_theta", out->rope_theta, &out->rope_theta, error);
    }
    return status;
}

static temper_status read_llama(const json_t *root, lm_config *out, temper_error *error) {
    static const char *const activations[] = {"silu", "swish", NULL};
    temper_status status;
    if ((status = read_count(root, "intermediate_size", -1, &out->intermediate, error)) ||
        (status = read_count(root, "num_hidden_layers", -1, &out->layers, error)) ||
        (status = read_count(root, "num_attention_heads", -1, &out->heads, error)) ||
        (status = read_count(root, "num_key_value_heads", (int64_t)out->heads, &out->kv_heads, error)) ||
        (status =
             read_count(root, "head_dim", (int64_t)(out->hidden / out->heads), &out->head_size, error)) ||
        (status = read_real(root, "rms_norm_eps", 1e-6, &out->norm_epsilon, error)) ||
        (status = read_flag(root, "tie_word_embeddings", false, &out->tied, error)) ||
        (status = require_text(root, "hidden_act", activations, error)) ||
        (status = read_rope(root, out, error))) {
        return status;
    }
    if (!json_is_number(json_object_get(root, "head_dim")) && out->hidden % out->heads != 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "config.json: hidden_size %zu is no multiple of num_attention_heads %zu",
                           out->hidden, out->heads);
    }
    out->attention_scale = 0.0; /* 1/sqrt(head_size), once that is checked */
    return TEMPER_OK;
}

static temper_status set_window(lm_config *out, size_t layer, const json_t *kind, size_t window,
                                temper_error *error) {
    const char *name = json_string_value(kind);
    char text[80];
    if (name == NULL || (strcmp(name, "global") != 0 && strcmp(name, "local") != 0)) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "config.json: layer %zu's attention is %s; \"global\" or \"local\" is meant",
                           layer, kind == NULL ? "nothing" : lm_json_describe(kind, text, sizeof text));
    }
    size_t value = name[0] == 'l' ? window : 0;
    if (out->window[layer] != SIZE_MAX && out->window[layer] != value) {
        return temper_fail(error, TEMPER_INVALID,
                           "config.json: attention_types and attention_layers disagree at layer %zu", layer);
    }
    out->window[layer] = value;
    return TEMPER_OK;
}

/* attention_types: [[[kinds], times], ...], repeated in turn. */
static temper_status read_attention_types(const json_t *types, lm_config *out, size_t window,
                                          temper_error *error) {
    size_t layer = 0;
    for (size_t i = 0; i < json_array_size(types); i++) {
        const json_t *group = json_array_get(types, i), *kinds = json_array_get(group, 0);
        int64_t times;
        if (json_array_size(kinds) == 0 || !lm_json_integer(json_array_get(group, 1), &times) || times < 0) {
            return temper_fail(error, TEMPER_INVALID,
                               "config.json: attention_types[%zu] is not [[kinds], times]", i);
        }
        for (int64_t time = 0; time < times; time++) {
            for (size_t k = 0; k < json_array_size(kinds); k++, layer++) {
                if (layer >= out->layers) {
                    return temper_fail(error, TEMPER_INVALID,
                                       "config.json: attention_types has more entries than num_layers %zu",
                                       out->layers);
                }
                temper_status status = set_window(out, layer, json_array_get(kinds, k), window, error);
                if (status) {
                    return status;
                }
            }
        }
    }
    return layer == out->layers
               ? TEMPER_OK
               : temper_fail(error, TEMPER_INVALID,
                             "config.json: attention_types has %zu entries, num_layers is %zu", layer,
                             out->layers);
}

static temper_status read_windows(const json_t *root, lm_config *out, temper_error *error) {
    const json_t *types = json_object_get(root, "attention_types");
    const json_t *layers = json_object_get(root, "attention_layers");
    size_t window = 0;
    temper_status status = read_count(root, "window_size", 256, &window, error);
    if (status) {
        return status;
    }
    if (json_array_size(types) == 0 && json_array_size(layers) == 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "config.json: neither attention_types nor attention_layers is there");
    }
    for (size_t i = 0; i < out->layers; i++) {
        out->window[i] = SIZE_MAX;
    }
    if (json_array_size(types) > 0) {
        status = read_attention_types(types, out, window, error);
    }
    if (!status && json_array_size(layers) > 0) {
        if (json_array_size(layers) != out->layers) {
            return temper_fail(error, TEMPER_INVALID,
                               "config.json: attention_layers has %zu entries, num_layers is %zu",
                               json_array_size(layers), out->layers);
        }
        for (size_t i = 0; i < out->layers && !status; i++) {
            status = set_window(out, i, json_array_get(layers, i), window, error);
        }
    }
    return status;
}

static temper_status read_gpt_neo(const json_t *root, lm_config *out, temper_error *error) {
    static const char *const activations[] = {"gelu_new", NULL};
    temper_status status;
    if ((status = read_count(root, "num_layers", -1, &out->layers, error)) ||
        (status = read_count(root, "num_heads", -1, &out->heads, error)) ||
        (status =
             read_count(root, "intermediate_size", 4 * (int64_t)out->hidden, &out->intermediate, error)) ||
        (status = read_real(root, "layer_norm_epsilon", 1e-5, &out->norm_epsilon, error)) ||
        (status = read_flag(root, "tie_word_embeddings", true, &out->tied, error)) ||
        (status = require_text(root, "activation_function", activations, error))) {
        return status;
    }
    if (out->layers > LM_MAX_LAYERS) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "config.json: %zu layers; up to %d are supported",
                           out->layers, LM_MAX_LAYERS);
    }
    if (out->hidden % out->heads != 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "config.json: hidden_size %zu is no multiple of num_heads %zu", out->hidden,
                           out->heads);
    }
    out->kv_heads = out->heads;
    out->head_size = out->hidden / out->heads;
    out->attention_scale = 1.0;
    return read_windows(root, out, error);
}

temper_status lm_config_check(const lm_config *config, const char *file, temper_error *error) {
    const size_t sides[] = {config->vocabulary, config->hidden,    config->intermediate, config->heads,
                            config->kv_heads,   config->head_size, config->context};
    static const char *const names[] = {"the vocabulary", "the hidden size", "the intermediate size",
                                        "heads",          "key-value heads", "the head size",
                                        "the context"};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        if (sides[i] < 1 || sides[i] > INT32_MAX) {
            return temper_fail(error, TEMPER_INVALID, "%s: %s: %zu is out of range", file, names[i],
                               sides[i]);
        }
    }
    if (config->layers < 1 || config->layers > LM_MAX_LAYERS) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s: %zu layers; 1 to %d are supported", file,
                           config->layers, LM_MAX_LAYERS);
    }
    if (config->kv_heads > config->heads || config->heads % config->kv_heads != 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s: %zu query heads do not share %zu key-value heads evenly", file, config->heads,
                           config->kv_heads);
    }
    if (config->positions == LM_ROPE && config->head_size % 2 != 0) {
        return temper_fail(error, TEMPER_INVALID, "%s: a head size of %zu cannot be rotated: it is odd", file,
                           config->head_size);
    }
    if (config->bos >= (int64_t)config->vocabulary || config->eos >= (int64_t)config->vocabulary ||
        config->bos < -1 || config->eos < -1) {
        return temper_fail(error, TEMPER_INVALID, "%s: bos %lld or eos %lld is not in the vocabulary of %zu",
                           file, (long long)config->bos, (long long)config->eos, config->vocabulary);
    }
    return TEMPER_OK;
}

static temper_status read_root(const json_t *root, lm_config *out, temper_error *error) {
    temper_status status;
    const char *type = json_string_value(json_object_get(root, "model_type"));
    if (type == NULL) {
        return temper_fail(error, TEMPER_INVALID, "config.json: \"model_type\" is missing");
    }
    const lm_architecture *row = lm_architecture_find(type);
    if (row == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "config.json: model_type \"%.60s\"; llama and gpt_neo are "
                           "supported",
                           type);
    }
    bool llama = row->positions == LM_ROPE;
    const struct rule *own = llama ? llama_rules : gpt_neo_rules;
    size_t own_count =
        llama ? sizeof llama_rules / sizeof *llama_rules : sizeof gpt_neo_rules / sizeof *gpt_neo_rules;
    snprintf(out->architecture, sizeof out->architecture, "%s", row->model_type);
    out->norm = row->norm;
    out->positions = row->positions;
    out->activation = row->activation;
    if ((status = check_keys(root, own, own_count, error)) ||
        (status = read_count(root, "vocab_size", -1, &out->vocabulary, error)) ||
        (status = read_count(root, "hidden_size", -1, &out->hidden, error)) ||
        (status = read_count(root, "max_position_embeddings", -1, &out->context, error)) ||
        (status = read_id(root, "bos_token_id", &out->bos, error)) ||
        (status = read_id(root, "eos_token_id", &out->eos, error)) ||
        (status = llama ? read_llama(root, out, error) : read_gpt_neo(root, out, error))) {
        return status;
    }
    return lm_config_check(out, "config.json", error);
}

temper_status lm_config_parse(const char *json, size_t length, lm_config *out, temper_error *error) {
    json_t *root;
    temper_status status = lm_json_parse(json, length, "config.json", &root, error);
    if (status) {
        return status;
    }
    memset(out, 0, sizeof *out);
    status = json_is_object(root) ? read_root(root, out, error)
                                  : temper_fail(error, TEMPER_INVALID, "config.json: is no JSON object");
    if (!status && out->attention_scale == 0.0) {
        out->attention_scale = lm_inverse_square_root(out->head_size);
    }
    json_decref(root);
    return status;
}

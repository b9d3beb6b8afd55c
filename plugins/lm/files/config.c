/* config.c: config.json to lm_config: the keys that all architectures have under one name or another.
 *
 * Invariant: config_keys.c accounts for every key; what is read here is checked here or in lm_config_check. */
#include "internal.h"

#include <math.h>
#include <string.h>

/* --- values: absent (or null) gives the default; a default below zero makes the key required --- */

temper_status lm_config_count(const json_t *root, const char *key, int64_t absent, size_t *out,
                              temper_error *error) {
    const json_t *value = key == NULL ? NULL : json_object_get(root, key);
    int64_t integer = absent;
    char text[80];
    if (value == NULL || json_is_null(value)) {
        if (absent < 0 && key != NULL) {
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

temper_status lm_config_real(const json_t *root, const char *key, double absent, double *out,
                             temper_error *error) {
    const json_t *value = key == NULL ? NULL : json_object_get(root, key);
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

temper_status lm_config_flag(const json_t *root, const char *key, bool absent, bool *out,
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

/* Names of activations, and what they are beside a gate and alone; LM_NO_ACTIVATION: not supported so. */
enum { LM_NO_ACTIVATION = -1 };
static const struct {
    const char *name;
    int gated, alone;
} activations[] = {{"silu", LM_SWIGLU, LM_NO_ACTIVATION},        {"swish", LM_SWIGLU, LM_NO_ACTIVATION},
                   {"gelu_pytorch_tanh", LM_GEGLU, LM_GELU_NEW}, {"gelu_fast", LM_GEGLU, LM_GELU_NEW},
                   {"gelu_new", LM_GEGLU, LM_GELU_NEW},          {"gelu", LM_NO_ACTIVATION, LM_GELU}};

static temper_status read_activation(const json_t *root, const lm_architecture *row, lm_config *out,
                                     temper_error *error) {
    const json_t *value = json_object_get(root, row->keys->activation);
    bool gated = lm_activation_gated(row->activation);
    char text[80], known[128] = "";
    if (value == NULL || json_is_null(value)) {
        return TEMPER_OK;
    }
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        int kind = gated ? activations[i].gated : activations[i].alone;
        size_t used = strlen(known);
        if (kind == LM_NO_ACTIVATION) {
            continue;
        }
        if (json_is_string(value) && strcmp(json_string_value(value), activations[i].name) == 0) {
            out->activation = (lm_activation)kind;
            return TEMPER_OK;
        }
        snprintf(known + used, sizeof known - used, "%s%s", used > 0 ? ", " : "", activations[i].name);
    }
    return temper_fail(error, TEMPER_UNSUPPORTED, "config.json: \"%s\" is %s; %s are supported in a %s",
                       row->keys->activation, lm_json_describe(value, text, sizeof text), known,
                       row->model_type);
}

/* The usual name: the first of a gated kind, the last of another. */
const char *lm_activation_name(lm_activation kind) {
    const char *name = "";
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        if (activations[i].gated == (int)kind) {
            return activations[i].name;
        }
        name = activations[i].alone == (int)kind ? activations[i].name : name;
    }
    return name;
}

static temper_status read_sizes(const json_t *root, const lm_architecture *row, lm_config *out,
                                temper_error *error) {
    const lm_config_names *keys = row->keys;
    temper_status status;
    if ((status = lm_config_count(root, "vocab_size", -1, &out->vocabulary, error)) ||
        (status = lm_config_count(root, keys->hidden, -1, &out->hidden, error)) ||
        (status = lm_config_count(root, keys->intermediate, row->wide ? 4 * (int64_t)out->hidden : -1,
                                  &out->intermediate, error)) ||
        (status = lm_config_count(root, keys->layers, -1, &out->layers, error)) ||
        (status = lm_config_count(root, keys->heads, -1, &out->heads, error)) ||
        (status = lm_config_count(root, keys->context, -1, &out->context, error)) ||
        (status = lm_config_count(root, keys->kv_heads, (int64_t)out->heads, &out->kv_heads, error))) {
        return status;
    }
    const json_t *own = keys->head_size == NULL ? NULL : json_object_get(root, keys->head_size);
    if (!json_is_number(own) && row->head_size == 0 && out->hidden % out->heads != 0) {
        return temper_fail(error, TEMPER_INVALID, "config.json: %s %zu is no multiple of %s %zu",
                           keys->hidden, out->hidden, keys->heads, out->heads);
    }
    size_t absent = row->head_size != 0 ? row->head_size : out->hidden / out->heads;
    if ((status = lm_config_count(root, keys->head_size, (int64_t)absent, &out->head_size, error)) ||
        (status = lm_config_real(root, keys->epsilon, row->epsilon, &out->norm_epsilon, error))) {
        return status;
    }
    return out->layers <= LM_MAX_LAYERS
               ? TEMPER_OK
               : temper_fail(error, TEMPER_UNSUPPORTED, "config.json: %zu layers; up to %d are supported",
                             out->layers, LM_MAX_LAYERS);
}

/* A soft cap: null switches it off, its absence gives the architecture's own. */
static temper_status read_cap(const json_t *root, const char *key, double absent, double *out,
                              temper_error *error) {
    if (json_is_null(json_object_get(root, key))) {
        *out = 0;
        return TEMPER_OK;
    }
    return absent == 0 && json_object_get(root, key) == NULL ? TEMPER_OK
                                                             : lm_config_real(root, key, absent, out, error);
}

static temper_status read_features(const json_t *root, const lm_architecture *row, lm_config *out,
                                   temper_error *error) {
    size_t query_scale;
    temper_status status;
    if ((status = lm_config_flag(root, "tie_word_embeddings", row->tied, &out->tied, error)) ||
        (status = lm_config_flag(root, "attention_bias", row->attention_bias, &out->attention_bias, error)) ||
        (status = lm_config_flag(root, "mlp_bias", false, &out->feed_bias, error)) ||
        (status = lm_config_flag(root, "use_parallel_residual", row->parallel, &out->parallel, error)) ||
        (status = read_cap(root, "attn_logit_softcapping", row->attention_cap, &out->attention_cap, error)) ||
        (status = read_cap(root, "final_logit_softcapping", row->final_cap, &out->final_cap, error)) ||
        (status = lm_config_count(root, "query_pre_attn_scalar", (int64_t)row->query_scale, &query_scale,
                                  error)) ||
        (status = read_activation(root, row, out, error))) {
        return status;
    }
    lm_config_derive(out, row, query_scale);
    if (row->positions == LM_ROPE && (status = lm_config_read_rope(root, row, out, error))) {
        return status;
    }
    return lm_config_read_windows(root, row, out, error);
}

void lm_config_derive(lm_config *config, const lm_architecture *row, size_t query_scale) {
    config->attention_scale =
        row->unscaled ? 1.0 : lm_inverse_square_root(query_scale > 0 ? query_scale : config->head_size);
    config->embedding_scale = row->embedding_scaled ? sqrt((double)config->hidden) : 0.0;
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
    size_t rotated = lm_config_rotated(config);
    if (config->positions == LM_ROPE && (rotated % 2 != 0 || rotated > config->head_size)) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s: %zu elements of a head of %zu cannot be rotated: they turn in pairs", file,
                           rotated, config->head_size);
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
    char known[256];
    const char *type = json_string_value(json_object_get(root, "model_type"));
    if (type == NULL) {
        return temper_fail(error, TEMPER_INVALID, "config.json: \"model_type\" is missing");
    }
    const lm_architecture *row = lm_architecture_find(type);
    if (row == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "config.json: model_type \"%.60s\"%s; %s are supported",
                           type,
                           strcmp(type, "gemma3") == 0
                               ? " is a text model beside an image model (its text part alone is gemma3_text)"
                               : " is not supported",
                           lm_architecture_names(false, known, sizeof known));
    }
    lm_config_start(out, type);
    if ((status = lm_config_check_keys(root, row, error)) || (status = read_sizes(root, row, out, error)) ||
        (status = read_id(root, "bos_token_id", &out->bos, error)) ||
        (status = read_id(root, "eos_token_id", &out->eos, error)) ||
        (status = read_features(root, row, out, error))) {
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
    json_decref(root);
    return status;
}

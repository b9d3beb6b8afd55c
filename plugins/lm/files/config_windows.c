/* config_windows.c: which layers of a model see only a window of keys: config.json's several ways to say it, and back.
 *
 * A window counts the keys that a query sees, itself included; transformers' sliding_window and gpt_neo's window_size
 * do, too. */
#include "internal.h"

#include <string.h>

/* --- gpt_neo: attention_types, or attention_layers --- */

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

static temper_status read_types(const json_t *root, lm_config *out, temper_error *error) {
    const json_t *types = json_object_get(root, "attention_types");
    const json_t *layers = json_object_get(root, "attention_layers");
    size_t window = 0;
    temper_status status = lm_config_count(root, "window_size", 256, &window, error);
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

/* --- the others: sliding_window, and which layers it is for --- */

static temper_status read_layer_types(const json_t *types, size_t window, lm_config *out,
                                      temper_error *error) {
    if (json_array_size(types) != out->layers) {
        return temper_fail(error, TEMPER_INVALID, "config.json: layer_types has %zu entries for %zu layers",
                           json_array_size(types), out->layers);
    }
    for (size_t i = 0; i < out->layers; i++) {
        const json_t *kind = json_array_get(types, i);
        const char *name = json_string_value(kind);
        char text[80];
        bool sliding = name != NULL && strcmp(name, "sliding_attention") == 0;
        if (name == NULL || (!sliding && strcmp(name, "full_attention") != 0)) {
            return temper_fail(
                error, TEMPER_UNSUPPORTED,
                "config.json: layer_types[%zu] is %s; \"full_attention\" and \"sliding_attention\" are "
                "supported",
                i, lm_json_describe(kind, text, sizeof text));
        }
        if (sliding && window == 0) {
            return temper_fail(error, TEMPER_INVALID,
                               "config.json: layer_types[%zu] slides, but there is no sliding_window", i);
        }
        out->window[i] = sliding ? window : 0;
    }
    return TEMPER_OK;
}

/* The first layer of those with a window, for architectures where they are the later ones. */
static temper_status read_later(const json_t *root, size_t *window, size_t *first, temper_error *error) {
    bool used;
    temper_status status = lm_config_flag(root, "use_sliding_window", false, &used, error);
    const json_t *layers = json_object_get(root, "max_window_layers");
    int64_t value = 28; /* qwen2's and qwen3's own */
    char text[80];
    if (!status && layers != NULL && (!lm_json_integer(layers, &value) || value < 0)) {
        status = temper_fail(error, TEMPER_INVALID, "config.json: \"max_window_layers\" is %s",
                             lm_json_describe(layers, text, sizeof text));
    }
    *window = used ? *window : 0;
    *first = (size_t)value;
    return status;
}

temper_status lm_config_read_windows(const json_t *root, const lm_architecture *row, lm_config *out,
                                     temper_error *error) {
    const json_t *types = json_object_get(root, "layer_types"),
                 *sliding = json_object_get(root, "sliding_window");
    size_t window = 0, first = 0, pattern = row->pattern;
    temper_status status = TEMPER_OK;
    if (row->windows == LM_WINDOWS_TYPES) {
        return read_types(root, out, error);
    }
    if (row->windows == LM_WINDOWS_NONE) {
        return TEMPER_OK;
    }
    if (sliding != NULL && !json_is_null(sliding)) {
        status = lm_config_count(root, "sliding_window", -1, &window, error);
    } else if (row->windows == LM_WINDOWS_PATTERN) {
        window = sliding == NULL ? 4096 : 0; /* gemma's own */
    }
    if (!status && row->windows == LM_WINDOWS_LATER) {
        status = read_later(root, &window, &first, error);
    }
    if (!status && pattern != 0) {
        status = lm_config_count(root, "sliding_window_pattern", (int64_t)pattern, &pattern, error);
    }
    if (status) {
        return status;
    }
    if (json_is_array(types) && json_array_size(types) > 0) {
        return read_layer_types(types, window, out, error);
    }
    for (size_t i = first; i < out->layers; i++) {
        out->window[i] = row->windows == LM_WINDOWS_PATTERN && (i + 1) % pattern == 0 ? 0 : window;
    }
    return TEMPER_OK;
}

/* --- back --- */

/* Each layer its own group: [[["global"], 1], [["local"], 1], ...]. */
static void write_types(json_t *root, const lm_config *config) {
    json_t *types = json_array(), *layers = json_array();
    size_t window = 256;
    for (size_t i = 0; i < config->layers; i++) {
        const char *kind = config->window[i] != 0 ? "local" : "global";
        window = config->window[i] != 0 ? config->window[i] : window;
        json_array_append_new(types, json_pack("[[s], i]", kind, 1));
        json_array_append_new(layers, json_string(kind));
    }
    json_object_set_new(root, "attention_types", types);
    json_object_set_new(root, "attention_layers", layers);
    json_object_set_new(root, "window_size", json_integer((json_int_t)window));
}

void lm_config_write_windows(json_t *root, const lm_architecture *row, const lm_config *config) {
    size_t window = 0;
    json_t *types;
    if (row->windows == LM_WINDOWS_TYPES) {
        write_types(root, config);
        return;
    }
    if (row->windows == LM_WINDOWS_NONE) {
        return;
    }
    types = json_array();
    for (size_t i = 0; i < config->layers; i++) {
        window = config->window[i] != 0 ? config->window[i] : window;
        json_array_append_new(types,
                              json_string(config->window[i] != 0 ? "sliding_attention" : "full_attention"));
    }
    json_object_set_new(root, "sliding_window", window == 0 ? json_null() : json_integer((json_int_t)window));
    if (row->windows == LM_WINDOWS_ALL) {
        json_decref(types);
        return;
    }
    json_object_set_new(root, "layer_types", types);
    if (row->windows == LM_WINDOWS_LATER) {
        json_object_set_new(root, "use_sliding_window", json_boolean(window != 0));
    }
}

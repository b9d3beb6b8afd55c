/* adapter_config.c: PEFT's adapter_config.json: read, and written.
 *
 * Invariant: the config asks for nothing but plain LoRA (with ranks and alphas by module, and rank-stabilised scales);
 * what it asks for beyond, and an adapter of another program, is refused by name. */
#include "internal.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char config_file[] = "adapter_config.json";

/* Keys that are read, that change nothing in a finished adapter, and that must be unset. */
static const char *const read_keys[] = {"peft_type",      "r",    "lora_alpha",   "use_rslora",
                                        "target_modules", "bias", "rank_pattern", "alpha_pattern"};
static const char *const free_keys[] = {"base_model_name_or_path",
                                        "revision",
                                        "task_type",
                                        "inference_mode",
                                        "lora_dropout",
                                        "init_lora_weights",
                                        "auto_mapping",
                                        "peft_version",
                                        "loftq_config",
                                        "eva_config",
                                        "corda_config",
                                        "runtime_config",
                                        "exclude_modules",
                                        "layers_to_transform", /* the tensors say which layers have one */
                                        "layers_pattern",
                                        "fan_in_fan_out", /* how PEFT merges into a transposed weight */
                                        "arrow_config",
                                        "megatron_core",
                                        "ensure_weight_tying"};

static bool among(const char *key, const char *const *keys, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(key, keys[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_unset(const json_t *value) {
    return json_is_null(value) || json_is_false(value) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static temper_status check_keys(const json_t *root, temper_error *error) {
    const char *key;
    json_t *value;
    char text[80];
    json_object_foreach((json_t *)(uintptr_t)root, key, value) {
        /* Defaults that mean nothing without the feature they belong to. */
        bool idle =
            strcmp(key, "megatron_config") == 0 ||
            (strcmp(key, "qalora_group_size") == 0 && !json_is_true(json_object_get(root, "use_qalora")));
        if (!among(key, read_keys, sizeof read_keys / sizeof *read_keys) &&
            !among(key, free_keys, sizeof free_keys / sizeof *free_keys) && !idle && !is_unset(value)) {
            return temper_fail(error, TEMPER_UNSUPPORTED, "%s: \"%.80s\" is %s, which is not supported",
                               config_file, key, lm_json_describe(value, text, sizeof text));
        }
    }
    return TEMPER_OK;
}

/* A module's name, or the end of one at a dot; PEFT's patterns are regular expressions, most of which are just that. */
static temper_status check_pattern(const json_t *root, const char *key, temper_error *error) {
    const json_t *pattern = json_object_get(root, key);
    const char *module;
    json_t *value;
    char text[80];
    if (pattern == NULL || json_is_null(pattern)) {
        return TEMPER_OK;
    }
    if (!json_is_object(pattern)) {
        return temper_fail(error, TEMPER_INVALID, "%s: \"%s\" is no object", config_file, key);
    }
    json_object_foreach((json_t *)(uintptr_t)pattern, module, value) {
        size_t plain = 0;
        while (isalnum((unsigned char)module[plain]) || module[plain] == '_' || module[plain] == '.') {
            plain++;
        }
        if (module[plain] != 0 || plain == 0) {
            return temper_fail(error, TEMPER_UNSUPPORTED,
                               "%s: \"%s\" has the regular expression \"%.80s\"; names of modules are read "
                               "(\"q_proj\", \"model.layers.0.self_attn.q_proj\"): write it as those",
                               config_file, key, module);
        }
        int64_t rank;
        bool good = key[0] == 'r' ? lm_json_integer(value, &rank) && rank >= 1 && rank <= 65536
                                  : json_is_number(value) && json_number_value(value) >= 0.0;
        if (!good) {
            return temper_fail(error, TEMPER_INVALID, "%s: \"%s\" has \"%.80s\": %s", config_file, key,
                               module, lm_json_describe(value, text, sizeof text));
        }
    }
    return TEMPER_OK;
}

/* The first entry whose key is the module, or its end after a dot, as PEFT looks it up. */
static const json_t *in_pattern(const json_t *root, const char *key, const char *module) {
    const char *end;
    json_t *value;
    size_t length = strlen(module);
    json_object_foreach(json_object_get(root, key), end, value) {
        size_t size = strlen(end);
        if (size <= length && strcmp(module + length - size, end) == 0 &&
            (size == length || module[length - size - 1] == '.')) {
            return value;
        }
    }
    return NULL;
}

void lm_adapter_config_of(const json_t *root, const lm_adapter_config *config, const char *module,
                          size_t *rank, double *scale) {
    const json_t *own_rank = in_pattern(root, "rank_pattern", module);
    const json_t *own_alpha = in_pattern(root, "alpha_pattern", module);
    int64_t integer = (int64_t)config->rank;
    if (own_rank != NULL) {
        lm_json_integer(own_rank, &integer);
    }
    double alpha = own_alpha == NULL ? config->alpha : json_number_value(own_alpha);
    *rank = (size_t)integer;
    *scale = alpha / (config->rank_stabilised ? sqrt((double)integer) : (double)integer);
}

/* MLX writes an adapter_config.json of its own. */
static bool is_mlx(const json_t *root) {
    return json_object_get(root, "peft_type") == NULL &&
           (json_object_get(root, "lora_parameters") != NULL ||
            json_object_get(root, "fine_tune_type") != NULL || json_object_get(root, "lora_layers") != NULL);
}

temper_status lm_adapter_config_read(const json_t *root, lm_adapter_config *out, temper_error *error) {
    const char *type = json_string_value(json_object_get(root, "peft_type"));
    const json_t *bias = json_object_get(root, "bias"), *alpha = json_object_get(root, "lora_alpha");
    int64_t rank;
    temper_status status;
    if (is_mlx(root)) {
        return temper_fail(
            error, TEMPER_UNSUPPORTED,
            "this is an adapter of MLX (%s has lora_parameters; adapters.safetensors), which is not "
            "read: merge it there (mlx_lm.fuse --model BASE --adapter-path THIS --save-path MERGED) "
            "and use MERGED as the model",
            config_file);
    }
    if ((status = check_keys(root, error)) || (status = check_pattern(root, "rank_pattern", error)) ||
        (status = check_pattern(root, "alpha_pattern", error))) {
        return status;
    }
    if (type == NULL || strcmp(type, "LORA") != 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s: peft_type is \"%.40s\"; LORA is supported",
                           config_file, type == NULL ? "(none)" : type);
    }
    if (bias != NULL && !(json_is_string(bias) && strcmp(json_string_value(bias), "none") == 0)) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s: bias must be \"none\"", config_file);
    }
    if (!lm_json_integer(json_object_get(root, "r"), &rank) || rank < 1 || rank > 65536) {
        return temper_fail(error, TEMPER_INVALID, "%s: r must be a whole number from 1 to 65536",
                           config_file);
    }
    if (!json_is_number(alpha) || !(json_number_value(alpha) >= 0.0)) {
        return temper_fail(error, TEMPER_INVALID, "%s: lora_alpha must be a number from 0", config_file);
    }
    out->rank = (size_t)rank;
    out->alpha = json_number_value(alpha);
    out->rank_stabilised = json_is_true(json_object_get(root, "use_rslora"));
    return TEMPER_OK;
}

/* A list of modules must name each role that has tensors; a pattern ("all-linear") cannot be checked. */
temper_status lm_adapter_config_targets(const json_t *root, const lm_config *base,
                                        const lm_adapter_config *config, temper_error *error) {
    const json_t *targets = json_object_get(root, "target_modules");
    for (int role = 0; role < LM_ROLE_COUNT && json_is_array(targets); role++) {
        const char *module = lm_role_module(base, (lm_role)role);
        bool named = module == NULL || !config->targets[role];
        for (size_t i = 0; i < json_array_size(targets) && !named; i++) {
            const char *target = json_string_value(json_array_get(targets, i));
            size_t length = target == NULL ? 0 : strlen(target), end = strlen(module);
            named = (length >= end && strcmp(target + length - end, module) == 0) ||
                    (length > 0 && length < end && module[end - length - 1] == '.' &&
                     strcmp(module + end - length, target) == 0);
        }
        if (!named) {
            return temper_fail(error, TEMPER_INVALID,
                               "%s: target_modules lacks \"%s\", for which there are tensors", config_file,
                               module);
        }
    }
    return TEMPER_OK;
}

char *lm_adapter_config_write(const lm_config *base, const lm_adapter_config *adapter,
                              const char *base_name) {
    json_t *targets = json_array();
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        const char *module = lm_role_module(base, (lm_role)role);
        if (adapter->targets[role] && module != NULL) {
            json_array_append_new(targets, json_string(module));
        }
    }
    bool whole = adapter->alpha <= 9007199254740992.0 && adapter->alpha == (double)(int64_t)adapter->alpha;
    json_t *alpha = whole ? json_integer((json_int_t)adapter->alpha) : json_real(adapter->alpha);
    json_t *root = json_pack("{s:s?, s:s, s:b, s:b, s:b, s:o, s:f, s:s, s:I, s:o, s:s, s:b, s:b}",
                             "base_model_name_or_path", base_name, "bias", "none", "fan_in_fan_out",
                             (int)lm_role_transposed(base, LM_OUTPUT), "inference_mode", 1,
                             "init_lora_weights", 1, "lora_alpha", alpha, "lora_dropout", 0.0, "peft_type",
                             "LORA", "r", (json_int_t)adapter->rank, "target_modules", targets, "task_type",
                             "CAUSAL_LM", "use_dora", 0, "use_rslora", (int)adapter->rank_stabilised);
    char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    return text;
}

/* adapter.c: a PEFT LoRA adapter: adapter_config.json and adapter_model.safetensors.
 *
 * Invariant: after open, every tensor of the file is one side of a pair that fits the base's role, every pair is
 * whole, and the config asks for nothing but plain LoRA; what it asks for beyond is refused by name. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static const char model_file[] = "adapter_model.safetensors", config_file[] = "adapter_config.json";

struct lm_adapter_file {
    lm_adapter_config config;
    lm_config base;
    lm_safetensors *tensors;
    const lm_tensor **a, **b; /* [role][layer] */
};

void lm_adapter_name(const lm_config *base, lm_role role, size_t layer, char which, char *out, size_t size) {
    char name[160];
    lm_role_name(base, role, layer, name, sizeof name);
    size_t length = strlen(name), end = sizeof ".weight" - 1;
    if (length > end && strcmp(name + length - end, ".weight") == 0) {
        name[length - end] = 0;
    }
    snprintf(out, size, "base_model.model.%s.lora_%c.weight", name, which);
}

/* Keys that are read, that change nothing in a finished adapter, and that must be unset. */
static const char *const read_keys[] = {"peft_type",      "r",   "lora_alpha", "use_rslora",
                                        "target_modules", "bias"};
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

static temper_status read_config(const json_t *root, lm_adapter_config *out, temper_error *error) {
    const char *type = json_string_value(json_object_get(root, "peft_type"));
    const json_t *bias = json_object_get(root, "bias"), *alpha = json_object_get(root, "lora_alpha");
    int64_t rank;
    temper_status status = check_keys(root, error);
    if (status) {
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

/* One side of a pair, if the file has it. */
static temper_status bind_side(const lm_adapter_file *self, lm_role role, size_t layer, char which,
                               const lm_tensor **out, temper_error *error) {
    char name[256], found[128];
    unsigned rank;
    size_t shape[2], expected[2];
    lm_adapter_name(&self->base, role, layer, which, name, sizeof name);
    *out = lm_safetensors_find(self->tensors, name);
    if (*out == NULL) {
        return TEMPER_OK;
    }
    lm_role_shape(&self->base, role, &rank, shape);
    expected[0] = which == 'A' ? self->config.rank : shape[0];
    expected[1] = which == 'A' ? shape[1] : self->config.rank;
    if ((*out)->rank != 2 || (*out)->shape[0] != expected[0] || (*out)->shape[1] != expected[1]) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s: tensor \"%s\" has the shape %s; the base and r expect [%zu, %zu]", model_file,
                           name, lm_shape_text((*out)->rank, (*out)->shape, found, sizeof found), expected[0],
                           expected[1]);
    }
    return TEMPER_OK;
}

/* The first tensor that no role claims, to name it. */
static temper_status name_stranger(const lm_adapter_file *self, temper_error *error) {
    size_t cells = LM_ROLE_COUNT * self->base.layers;
    for (size_t i = 0; i < lm_safetensors_count(self->tensors); i++) {
        const lm_tensor *tensor =
            lm_safetensors_find(self->tensors, lm_safetensors_at(self->tensors, i)->name);
        bool known = false;
        for (size_t cell = 0; cell < cells && !known; cell++) {
            known = self->a[cell] == tensor || self->b[cell] == tensor;
        }
        if (!known) {
            return temper_fail(error, TEMPER_UNSUPPORTED,
                               "%s: tensor \"%.200s\" belongs to no linear layer of a %s of %zu layers",
                               model_file, tensor->name, self->base.architecture, self->base.layers);
        }
    }
    return temper_fail(error, TEMPER_UNSUPPORTED, "%s: it holds tensors that cannot be read", model_file);
}

static temper_status bind_all(lm_adapter_file *self, temper_error *error) {
    size_t cells = LM_ROLE_COUNT * self->base.layers, bound = 0;
    self->a = calloc(cells, sizeof(const lm_tensor *));
    self->b = calloc(cells, sizeof(const lm_tensor *));
    if (self->a == NULL || self->b == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for an adapter's table");
    }
    for (size_t cell = 0; cell < cells; cell++) {
        lm_role role = (lm_role)(cell / self->base.layers);
        size_t layer = cell % self->base.layers;
        char name[256];
        temper_status status;
        if (lm_role_module(&self->base, role) == NULL) {
            continue;
        }
        if ((status = bind_side(self, role, layer, 'A', &self->a[cell], error)) ||
            (status = bind_side(self, role, layer, 'B', &self->b[cell], error))) {
            return status;
        }
        if ((self->a[cell] == NULL) != (self->b[cell] == NULL)) {
            lm_adapter_name(&self->base, role, layer, self->a[cell] == NULL ? 'A' : 'B', name, sizeof name);
            return temper_fail(error, TEMPER_INVALID, "%s: tensor \"%s\" is missing; its other side is there",
                               model_file, name);
        }
        if (self->a[cell] != NULL) {
            self->config.targets[role] = true;
            bound += 2;
        }
    }
    if (bound != lm_safetensors_count(self->tensors)) {
        return name_stranger(self, error);
    }
    return bound > 0 ? TEMPER_OK : temper_fail(error, TEMPER_INVALID, "%s: it holds no tensors", model_file);
}

/* A list of modules must name each role that has tensors; a pattern ("all-linear") cannot be checked. */
static temper_status check_targets(const lm_adapter_file *self, const json_t *targets, temper_error *error) {
    for (int role = 0; role < LM_ROLE_COUNT && json_is_array(targets); role++) {
        const char *module = lm_role_module(&self->base, (lm_role)role);
        bool named = module == NULL || !self->config.targets[role];
        for (size_t i = 0; i < json_array_size(targets) && !named; i++) {
            const char *target = json_string_value(json_array_get(targets, i));
            size_t length = target == NULL ? 0 : strlen(target), end = strlen(module);
            named = length >= end && strcmp(target + length - end, module) == 0;
        }
        if (!named) {
            return temper_fail(error, TEMPER_INVALID,
                               "%s: target_modules lacks \"%s\", for which there are tensors", config_file,
                               module);
        }
    }
    return TEMPER_OK;
}

temper_status lm_adapter_open(const lm_file_set *files, const lm_config *base, lm_adapter_file **out,
                              temper_error *error) {
    const lm_file *config = lm_file_find(files, config_file), *model = lm_file_find(files, model_file);
    json_t *root = NULL;
    temper_status status;
    *out = NULL;
    if (config == NULL || model == NULL) {
        return temper_fail(error, TEMPER_INVALID, "%s is missing: this is no adapter",
                           config == NULL ? config_file : model_file);
    }
    lm_adapter_file *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to open an adapter");
    }
    self->base = *base;
    if ((status = lm_json_parse(config->data, config->size, config_file, &root, error)) ||
        (status = read_config(root, &self->config, error)) ||
        (status = lm_safetensors_open(model, &self->tensors, error)) || (status = bind_all(self, error)) ||
        (status = check_targets(self, json_object_get(root, "target_modules"), error))) {
        lm_adapter_close(self);
        self = NULL;
    }
    json_decref(root);
    *out = self;
    return status;
}

const lm_adapter_config *lm_adapter_file_config(const lm_adapter_file *self) {
    return &self->config;
}

bool lm_adapter_read(const lm_adapter_file *self, lm_role role, size_t layer, float *a, float *b) {
    if ((unsigned)role >= LM_ROLE_COUNT || layer >= self->base.layers) {
        return false;
    }
    size_t cell = (size_t)role * self->base.layers + layer;
    if (self->a[cell] == NULL) {
        return false;
    }
    lm_tensor_read(self->a[cell], 0, lm_tensor_elements(self->a[cell]), a);
    lm_tensor_read(self->b[cell], 0, lm_tensor_elements(self->b[cell]), b);
    return true;
}

void lm_adapter_close(lm_adapter_file *self) {
    if (self == NULL) {
        return;
    }
    lm_safetensors_close(self->tensors);
    free(self->a);
    free(self->b);
    free(self);
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
    json_t *root =
        json_pack("{s:s?, s:s, s:b, s:b, s:b, s:o, s:f, s:s, s:I, s:o, s:s, s:b, s:b}",
                  "base_model_name_or_path", base_name, "bias", "none", "fan_in_fan_out", 0, "inference_mode",
                  1, "init_lora_weights", 1, "lora_alpha", alpha, "lora_dropout", 0.0, "peft_type", "LORA",
                  "r", (json_int_t)adapter->rank, "target_modules", targets, "task_type", "CAUSAL_LM",
                  "use_dora", 0, "use_rslora", (int)adapter->rank_stabilised);
    char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    return text;
}

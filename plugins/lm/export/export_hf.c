/* export_hf.c: a Hugging Face folder: config.json, model.safetensors, and beside them what makes the model usable:
 * tokenizer, chat template, generation config.
 *
 * Invariant: of a folder, every file that holds no weights is copied as it is, config.json with the new type alone; of a
 * GGUF, they are made from its metadata. */
#include "internal.h"

#include "../template/chat_template.h"
#include "../tokenizer/tokenizer.h"

struct gathering {
    const lm_exporting *of;
    lm_tensor *tensors; /* names owned; data NULL */
    lm_role *roles;
    size_t *layers;
    size_t count;
    float *values; /* of the largest */
};

static bool loses_nothing(lm_dtype type, const float *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        unsigned char bytes[4];
        float back;
        if (!lm_encode(type, &values[i], 1, bytes)) {
            return false;
        }
        lm_tensor one = {.name = "", .dtype = type, .rank = 0, .data = bytes, .bytes = sizeof bytes};
        lm_tensor_read(&one, 0, 1, &back);
        if (back != values[i]) {
            return false;
        }
    }
    return true;
}

/* A vector keeps its values: F32 unless the type can hold them. */
static temper_status vector_type(struct gathering *self, lm_role role, size_t layer, size_t count,
                                 lm_dtype *type, temper_error *error) {
    temper_status status = lm_merged_read(self->of->merged, role, layer, self->values, error);
    if (!status && !loses_nothing(*type, self->values, count)) {
        *type = LM_F32;
    }
    return status;
}

static temper_status add_tensor(struct gathering *self, lm_role role, size_t layer, temper_error *error) {
    const lm_config *config = lm_merged_config(self->of->merged);
    char name[256];
    unsigned rank;
    size_t shape[2];
    lm_dtype type = self->of->type;
    temper_status status = TEMPER_OK;
    lm_role_shape(config, role, &rank, shape);
    if (rank == 0) {
        return TEMPER_OK;
    }
    if (rank == 1) {
        status = vector_type(self, role, layer, shape[0], &type, error);
    }
    lm_role_name(config, role, layer, name, sizeof name);
    char *copied = status ? NULL : strdup(name);
    if (copied == NULL) {
        return status ? status : temper_fail(error, TEMPER_NO_MEMORY, "no memory for a list of tensors");
    }
    bool turned = rank == 2 && lm_role_transposed(config, role);
    self->roles[self->count] = role;
    self->layers[self->count] = layer;
    self->tensors[self->count++] =
        (lm_tensor){.name = copied,
                    .dtype = type,
                    .rank = rank,
                    .shape = {turned ? shape[1] : shape[0], turned ? shape[0] : shape[1]},
                    .bytes = lm_export_bytes(type, rank, shape)};
    return TEMPER_OK;
}

/* [rows][columns] of `values` turned in place, by way of a copy. */
static bool turn(float *values, size_t rows, size_t columns) {
    float *copy = malloc(rows * columns * sizeof *copy + 1);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, values, rows * columns * sizeof *copy);
    for (size_t row = 0; row < rows; row++) {
        for (size_t column = 0; column < columns; column++) {
            values[column * rows + row] = copy[row * columns + column];
        }
    }
    free(copy);
    return true;
}

static temper_status fetch(void *context, size_t index, void *out, temper_error *error) {
    struct gathering *self = context;
    const lm_tensor *tensor = &self->tensors[index];
    temper_status status =
        lm_merged_read(self->of->merged, self->roles[index], self->layers[index], self->values, error);
    if (!status && tensor->rank == 2 &&
        lm_role_transposed(lm_merged_config(self->of->merged), self->roles[index]) &&
        !turn(self->values, tensor->shape[1], tensor->shape[0])) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory to turn a matrix");
    }
    return status ? status
                  : lm_export_encode(tensor->name, tensor->dtype, self->values, lm_tensor_elements(tensor),
                                     out, error);
}

static temper_status write_weights(const lm_exporting *of, temper_error *error) {
    static const char *const metadata[] = {"format", "pt"};
    const lm_config *config = lm_merged_config(of->merged);
    size_t cells = (size_t)LM_ROLE_COUNT * config->layers;
    struct gathering self = {of,
                             calloc(cells, sizeof *self.tensors),
                             calloc(cells, sizeof *self.roles),
                             calloc(cells, sizeof *self.layers),
                             0,
                             malloc(lm_export_largest(config) * sizeof *self.values)};
    bool made = self.tensors != NULL && self.roles != NULL && self.layers != NULL && self.values != NULL;
    temper_status status =
        made ? TEMPER_OK : temper_fail(error, TEMPER_NO_MEMORY, "no memory for a model's largest tensor");
    for (int role = 0; !status && role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? config->layers : 1;
        for (size_t layer = 0; !status && layer < layers; layer++) {
            status = add_tensor(&self, (lm_role)role, layer, error);
        }
    }
    status = status ? status : of->sink->begin(of->sink->context, "model.safetensors", error);
    if (!status) {
        status = lm_safetensors_stream(self.tensors, self.count, metadata, 1, fetch, &self, of->sink->write,
                                       of->sink->context, error);
    }
    for (size_t i = 0; i < self.count; i++) {
        free((void *)(uintptr_t)self.tensors[i].name);
    }
    free(self.tensors);
    free(self.roles);
    free(self.layers);
    free(self.values);
    return status;
}

/* --- the files beside the weights --- */

static bool ends(const char *name, const char *ending) {
    size_t length = strlen(name), end = strlen(ending);
    return length >= end && strcmp(name + length - end, ending) == 0;
}

/* What holds or indexes weights, and what belongs to an adapter. */
static bool left_out(const char *name) {
    static const char *const endings[] = {".safetensors", ".safetensors.index.json",
                                          ".bin",         ".bin.index.json",
                                          ".pt",          ".pth",
                                          ".gguf",        ".h5",
                                          ".msgpack",     ".onnx",
                                          ".ckpt"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        if (ends(name, endings[i])) {
            return true;
        }
    }
    return strchr(name, '/') != NULL || strcmp(name, "adapter_config.json") == 0;
}

static temper_status copy_config(const lm_exporting *self, const lm_file *file, temper_error *error) {
    json_t *root = NULL;
    temper_status status = lm_json_parse(file->data, file->size, "config.json", &root, error);
    const char *type = self->type == LM_F32 ? "float32" : self->type == LM_F16 ? "float16" : "bfloat16";
    if (status) {
        return status;
    }
    bool newer = json_object_get(root, "dtype") != NULL && json_object_get(root, "torch_dtype") == NULL;
    char *text = json_object_set_new(root, newer ? "dtype" : "torch_dtype", json_string(type)) == 0
                     ? json_dumps(root, JSON_INDENT(2))
                     : NULL;
    status = text == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for a config")
                          : lm_export_file(self->sink, "config.json", text, strlen(text), error);
    free(text);
    json_decref(root);
    return status;
}

/* The base's files lie under base/ when an adapter stands above them. */
static temper_status copy_files(const lm_exporting *self, temper_error *error) {
    bool below = lm_file_find(self->files, "config.json") == NULL;
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < self->files->count && !status; i++) {
        const lm_file *file = &self->files->files[i];
        const char *name = file->name;
        if (below) {
            name = strncmp(name, "base/", 5) == 0 ? name + 5 : "/";
        }
        if (strcmp(name, "config.json") == 0) {
            status = copy_config(self, file, error);
        } else if (!left_out(name)) {
            status = lm_export_file(self->sink, name, file->data, file->size, error);
        }
    }
    return status;
}

static char *special_text(const lm_tokenizer *tokenizer, int32_t id) {
    size_t length = 0;
    const char *bytes = id < 0 ? NULL : lm_tokenizer_bytes(tokenizer, id, &length);
    return bytes == NULL ? NULL : strndup(bytes, length);
}

static temper_status write_generation(const lm_exporting *self, temper_error *error) {
    int32_t ids[16];
    size_t count = lm_end_tokens(self->files, lm_merged_config(self->merged)->vocabulary, ids, 16);
    int64_t bos = lm_merged_config(self->merged)->bos;
    json_t *root = json_object(), *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_integer(ids[i]));
    }
    json_object_set_new(root, "bos_token_id", bos < 0 ? json_null() : json_integer(bos));
    json_object_set_new(root, "eos_token_id", count == 1 ? json_integer(ids[0]) : json_incref(list));
    char *text = json_dumps(root, JSON_INDENT(2));
    temper_status status =
        text == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for a generation config")
                     : lm_export_file(self->sink, "generation_config.json", text, strlen(text), error);
    free(text);
    json_decref(list);
    json_decref(root);
    return status;
}

/* The tokenizer's config, which says whether BOS is put before a text. */
static char *tokenizer_config(const lm_tokenizer *tokenizer, const char *bos, const char *eos,
                              const char *chat, size_t context) {
    char *text = lm_tokenizer_config_write(bos, eos, chat, context);
    json_t *root = text == NULL ? NULL : json_loads(text, 0, NULL);
    free(text);
    text = root != NULL && json_object_set_new(root, "add_bos_token",
                                               json_boolean(lm_tokenizer_adds_bos(tokenizer))) == 0
               ? json_dumps(root, JSON_INDENT(2))
               : NULL;
    json_decref(root);
    return text;
}

/* What a folder has and a GGUF keeps in its metadata. */
static temper_status make_files(const lm_exporting *self, temper_error *error) {
    const lm_config *config = lm_merged_config(self->merged);
    lm_tokenizer *tokenizer = NULL;
    char *text = NULL, *chat = NULL, *bos = NULL, *eos = NULL;
    size_t length;
    temper_status status = lm_tokenizer_open(self->files, &tokenizer, error);
    if (status) {
        return status;
    }
    bos = special_text(tokenizer, lm_tokenizer_bos(tokenizer));
    eos = special_text(tokenizer, lm_tokenizer_eos(tokenizer));
    if (lm_template_find(self->files, &chat, &length, NULL)) {
        chat = NULL;
    }
    status = lm_tokenizer_write_json(tokenizer, &text, error);
    if (!status) {
        status = lm_export_file(self->sink, "tokenizer.json", text, strlen(text), error);
        free(text);
        text = tokenizer_config(tokenizer, bos, eos, chat, config->context);
    }
    if (!status && text != NULL) {
        status = lm_export_file(self->sink, "tokenizer_config.json", text, strlen(text), error);
        free(text);
        text = lm_config_write(config, self->type);
    }
    if (!status && text != NULL) {
        status = lm_export_file(self->sink, "config.json", text, strlen(text), error);
    }
    if (!status && text == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for a config");
    }
    free(text);
    free(chat);
    free(bos);
    free(eos);
    lm_tokenizer_close(tokenizer);
    return status ? status : write_generation(self, error);
}

temper_status lm_export_hf(const lm_exporting *self, temper_error *error) {
    bool folder = lm_file_find_model(self->files, "config.json") != NULL;
    temper_status status = folder ? copy_files(self, error) : make_files(self, error);
    return status ? status : write_weights(self, error);
}

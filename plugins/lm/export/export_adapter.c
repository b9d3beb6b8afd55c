/* export_adapter.c: the adapters of a set, as one: PEFT's folder, or a GGUF LoRA.
 *
 * Invariant: one PEFT adapter whose type is not to change is copied, byte for byte. */
#include "internal.h"

/* Pairs in order, tensors two by two: A, then B. */
struct gathering {
    const lm_exporting *of;
    lm_joined joined;
    lm_tensor *tensors; /* names owned; data NULL */
    lm_role *roles;
    size_t *layers;
    size_t count;
    float *a, *b; /* of the largest pair */
};

static void side_name(const struct gathering *self, lm_role role, size_t layer, bool second, char *out,
                      size_t size) {
    const lm_config *config = lm_merged_config(self->of->merged);
    if (self->of->options->format == LM_EXPORT_PEFT) {
        lm_adapter_name(config, role, layer, second ? 'B' : 'A', out, size);
        return;
    }
    char name[200];
    lm_role_gguf_name(role, layer, name, sizeof name);
    snprintf(out, size, "%s.lora_%c", name, second ? 'b' : 'a');
}

static bool add_pair(struct gathering *self, lm_role role, size_t layer, size_t rank) {
    const lm_config *config = lm_merged_config(self->of->merged);
    size_t shape[2];
    unsigned sides;
    lm_role_shape(config, role, &sides, shape);
    for (int second = 0; second < 2; second++) {
        char name[256];
        size_t own[2] = {second ? shape[0] : rank, second ? rank : shape[1]};
        lm_dtype type = lm_export_type_of(self->of->options->format, self->of->type, 2, own);
        side_name(self, role, layer, second, name, sizeof name);
        char *copied = strdup(name);
        if (copied == NULL) {
            return false;
        }
        self->roles[self->count] = role;
        self->layers[self->count] = layer;
        self->tensors[self->count++] = (lm_tensor){.name = copied,
                                                   .dtype = type,
                                                   .rank = 2,
                                                   .shape = {own[0], own[1]},
                                                   .bytes = lm_export_bytes(type, 2, own)};
    }
    return true;
}

static temper_status gather(const lm_exporting *of, struct gathering *self, temper_error *error) {
    const lm_config *config = lm_merged_config(of->merged);
    size_t cells = 2 * (size_t)LM_ROLE_COUNT * config->layers, longest = 0;
    *self = (struct gathering){.of = of};
    temper_status status = lm_joined_open(of->merged, &self->joined, error);
    if (status) {
        return status;
    }
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        size_t shape[2];
        unsigned sides;
        lm_role_shape(config, (lm_role)role, &sides, shape);
        longest = sides == 2 && shape[0] > longest ? shape[0] : longest;
        longest = sides == 2 && shape[1] > longest ? shape[1] : longest;
    }
    self->tensors = calloc(cells, sizeof *self->tensors);
    self->roles = calloc(cells, sizeof *self->roles);
    self->layers = calloc(cells, sizeof *self->layers);
    self->a = malloc(self->joined.rank * longest * sizeof *self->a);
    self->b = malloc(self->joined.rank * longest * sizeof *self->b);
    bool made = self->tensors != NULL && self->roles != NULL && self->layers != NULL && self->a != NULL &&
                self->b != NULL;
    for (int role = 0; made && role < LM_ROLE_COUNT; role++) {
        for (size_t layer = 0; made && layer < config->layers; layer++) {
            size_t rank = lm_joined_rank(&self->joined, (lm_role)role, layer);
            made = rank == 0 || add_pair(self, (lm_role)role, layer, rank);
        }
    }
    return made ? TEMPER_OK : temper_fail(error, TEMPER_NO_MEMORY, "no memory for an adapter");
}

static void release(struct gathering *self) {
    for (size_t i = 0; i < self->count; i++) {
        free((void *)(uintptr_t)self->tensors[i].name);
    }
    free(self->tensors);
    free(self->roles);
    free(self->layers);
    free(self->a);
    free(self->b);
}

/* B's rows in the order of a GGUF's rows. */
static bool reorder(const struct gathering *self, lm_role role, const size_t *shape) {
    size_t rows = shape[0], rank = shape[1];
    float *copy = malloc(rows * rank * sizeof *copy + 1);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, self->b, rows * rank * sizeof *copy);
    for (size_t row = 0; row < rows; row++) {
        size_t at = lm_gguf_row(lm_merged_config(self->of->merged), role, row);
        memcpy(self->b + at * rank, copy + row * rank, rank * sizeof *copy);
    }
    free(copy);
    return true;
}

static temper_status fetch(void *context, size_t index, void *out, temper_error *error) {
    struct gathering *self = context;
    const lm_tensor *tensor = &self->tensors[index];
    bool second = index % 2 == 1;
    temper_status status =
        lm_joined_read(&self->joined, self->roles[index], self->layers[index], self->a, self->b, error);
    if (!status && second && self->of->options->format == LM_EXPORT_GGUF_LORA &&
        !reorder(self, self->roles[index], tensor->shape)) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory to order rows");
    }
    return status ? status
                  : lm_export_encode(tensor->name, tensor->dtype, second ? self->b : self->a,
                                     lm_tensor_elements(tensor), out, error);
}

/* --- PEFT --- */

/* Modules whose rank is not the greatest, by their whole names. */
static json_t *rank_pattern(const struct gathering *self) {
    json_t *pattern = json_object();
    for (size_t i = 0; i < self->count; i += 2) {
        size_t rank = self->tensors[i].shape[0];
        if (rank != self->joined.rank) {
            char name[256];
            lm_role_name(lm_merged_config(self->of->merged), self->roles[i], self->layers[i], name,
                         sizeof name);
            size_t length = strlen(name);
            if (length > 7 && strcmp(name + length - 7, ".weight") == 0) {
                name[length - 7] = 0;
            }
            json_object_set_new(pattern, name, json_integer((json_int_t)rank));
        }
    }
    return pattern;
}

static temper_status write_config(const struct gathering *self, temper_error *error) {
    lm_adapter_config config = {.rank = self->joined.rank, .alpha = self->joined.alpha};
    memcpy(config.targets, self->joined.targets, sizeof config.targets);
    char *text = lm_adapter_config_write(lm_merged_config(self->of->merged), &config, NULL);
    json_t *root = text == NULL ? NULL : json_loads(text, 0, NULL);
    free(text);
    text = root != NULL && json_object_set_new(root, "rank_pattern", rank_pattern(self)) == 0
               ? json_dumps(root, JSON_INDENT(2))
               : NULL;
    json_decref(root);
    temper_status status =
        text == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for an adapter's config")
                     : lm_export_file(self->of->sink, "adapter_config.json", text, strlen(text), error);
    free(text);
    return status;
}

/* The only adapter's own two files, when nothing is to change; false: something is. */
static bool can_copy(const lm_exporting *self, const lm_file **config, const lm_file **model) {
    static const char *const prefixes[] = {"", "adapters/0/"};
    if (self->options->typed || lm_merged_adapters(self->merged) != 1 || self->merged->weights[0] != 1.0) {
        return false;
    }
    for (size_t i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "%sadapter_config.json", prefixes[i]);
        *config = lm_file_find(self->files, name);
        snprintf(name, sizeof name, "%sadapter_model.safetensors", prefixes[i]);
        *model = lm_file_find(self->files, name);
        if (*config != NULL && *model != NULL) {
            return true;
        }
    }
    return false;
}

temper_status lm_export_peft(const lm_exporting *self, temper_error *error) {
    static const char *const metadata[] = {"format", "pt"};
    const lm_file *config, *model;
    struct gathering all;
    if (can_copy(self, &config, &model)) {
        temper_status status =
            lm_export_file(self->sink, "adapter_config.json", config->data, config->size, error);
        return status
                   ? status
                   : lm_export_file(self->sink, "adapter_model.safetensors", model->data, model->size, error);
    }
    temper_status status = gather(self, &all, error);
    status = status ? status : write_config(&all, error);
    status = status ? status : self->sink->begin(self->sink->context, "adapter_model.safetensors", error);
    if (!status) {
        status = lm_safetensors_stream(all.tensors, all.count, metadata, 1, fetch, &all, self->sink->write,
                                       self->sink->context, error);
    }
    release(&all);
    return status;
}

/* --- GGUF --- */

temper_status lm_export_gguf_lora(const lm_exporting *self, temper_error *error) {
    const char *architecture = lm_config_gguf_name(lm_merged_config(self->merged));
    struct gathering all;
    temper_status status = gather(self, &all, error);
    lm_gguf_writer *writer = lm_gguf_writer_new();
    if (!status && architecture == NULL) {
        status = temper_fail(error, TEMPER_UNSUPPORTED, "there is no GGUF of a %s: take --format peft",
                             lm_merged_config(self->merged)->architecture);
    }
    if (!status && writer == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory to write a GGUF");
    }
    if (status) {
        goto out;
    }
    lm_gguf_writer_string(writer, "general.architecture", architecture, strlen(architecture));
    lm_gguf_writer_string(writer, "general.type", "adapter", 7);
    lm_gguf_writer_string(writer, "adapter.type", "lora", 4);
    lm_gguf_writer_number(writer, "adapter.lora.alpha", all.joined.alpha);
    lm_gguf_writer_integer(writer, "general.file_type", lm_export_file_type(self->type));
    if (lm_dtype_size(self->type) == 0) {
        lm_gguf_writer_integer(writer, "general.quantization_version", 2);
    }
    for (size_t i = 0; i < all.count; i++) {
        lm_gguf_writer_tensor(writer, &all.tensors[i]);
    }
    status = self->sink->begin(self->sink->context, "adapter.gguf", error);
    if (!status) {
        status = lm_gguf_writer_write(writer, fetch, &all, self->sink->write, self->sink->context, error);
    }
out:
    lm_gguf_writer_free(writer);
    release(&all);
    return status;
}

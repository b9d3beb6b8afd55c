/* export_gguf.c: a GGUF: the architecture's metadata, the vocabulary, the chat template, the weights.
 *
 * Invariant: of a GGUF, tokenizer and general metadata are copied as they are; of a folder, they are made from what the
 * tokenizer's files say. Norms and biases are F32, as llama.cpp wants them. */
#include "internal.h"

#include "../template/chat_template.h"
#include "../tokenizer/tokenizer.h"

struct gathering {
    const lm_exporting *of;
    lm_gguf_writer *writer;
    lm_role *roles;
    size_t *layers;
    lm_dtype *types;
    size_t count;
    float *values, *turned; /* of the largest */
    float divisors[LM_MAX_FACTORS];
};

/* ggml's numbers for what most tensors of a file are. */
uint32_t lm_export_file_type(lm_dtype type) {
    return type == LM_F32 ? 0 : type == LM_F16 ? 1 : type == LM_BF16 ? 32 : 7;
}

static void add_tensor(struct gathering *self, lm_role role, size_t layer) {
    const lm_config *config = lm_merged_config(self->of->merged);
    char name[256];
    unsigned rank;
    size_t shape[2];
    lm_role_shape(config, role, &rank, shape);
    if (rank == 0 || !lm_role_gguf_name(role, layer, name, sizeof name)) {
        return;
    }
    lm_dtype type = lm_export_type_of(LM_EXPORT_GGUF, self->of->type, rank, shape);
    self->roles[self->count] = role;
    self->layers[self->count] = layer;
    self->types[self->count++] = type;
    lm_tensor tensor = {.name = name,
                        .dtype = type,
                        .rank = rank,
                        .shape = {shape[0], shape[1]},
                        .bytes = lm_export_bytes(type, rank, shape)};
    lm_gguf_writer_tensor(self->writer, &tensor);
}

/* Rows in the file's order, and values as the file has them. */
static const float *arrange(struct gathering *self, lm_role role, unsigned rank, const size_t *shape) {
    const lm_config *config = lm_merged_config(self->of->merged);
    size_t columns = rank == 2 ? shape[1] : 1;
    for (size_t row = 0; row < shape[0]; row++) {
        memcpy(self->turned + lm_gguf_row(config, role, row) * columns, self->values + row * columns,
               columns * sizeof *self->values);
    }
    if (lm_gguf_plus_one(config, role)) {
        for (size_t i = 0; i < shape[0]; i++) {
            self->turned[i] += 1.0f;
        }
    }
    return self->turned;
}

static temper_status fetch(void *context, size_t index, void *out, temper_error *error) {
    struct gathering *self = context;
    const lm_config *config = lm_merged_config(self->of->merged);
    char name[256];
    unsigned rank;
    size_t shape[2];
    lm_role_shape(config, self->roles[index], &rank, shape);
    temper_status status =
        lm_merged_read(self->of->merged, self->roles[index], self->layers[index], self->values, error);
    if (status) {
        return status;
    }
    lm_role_gguf_name(self->roles[index], self->layers[index], name, sizeof name);
    return lm_export_encode(name, self->types[index], arrange(self, self->roles[index], rank, shape),
                            shape[0] * (rank == 2 ? shape[1] : 1), out, error);
}

/* What divides the frequencies of rope's pairs, where llama.cpp takes that from a tensor. */
static void add_divisors(struct gathering *self) {
    const lm_config *config = lm_merged_config(self->of->merged);
    size_t pairs = lm_config_rotated(config) / 2;
    if ((config->scaling.kind != LM_ROPE_LLAMA3 && config->scaling.kind != LM_ROPE_LONG) ||
        pairs > LM_MAX_FACTORS) {
        return;
    }
    for (size_t i = 0; i < pairs; i++) {
        self->divisors[i] = (float)lm_config_rope_divisor(config, i);
    }
    lm_tensor tensor = {.name = "rope_freqs.weight",
                        .dtype = LM_F32,
                        .rank = 1,
                        .shape = {pairs},
                        .data = self->divisors,
                        .bytes = pairs * sizeof *self->divisors};
    lm_gguf_writer_tensor(self->writer, &tensor);
}

static bool begins(const char *key, size_t length, const char *start) {
    return length >= strlen(start) && memcmp(key, start, strlen(start)) == 0;
}

/* The vocabulary and the names of another GGUF. */
static temper_status copy_pairs(lm_gguf_writer *writer, const lm_file *file, temper_error *error) {
    lm_gguf *gguf;
    temper_status status = lm_gguf_open(file, &gguf, error);
    if (status) {
        return status;
    }
    for (size_t i = 0; i < lm_gguf_key_count(gguf); i++) {
        size_t length;
        const char *key = lm_gguf_key_at(gguf, i, &length);
        bool own = begins(key, length, "general.architecture") || begins(key, length, "general.type") ||
                   begins(key, length, "general.file_type") ||
                   begins(key, length, "general.quantization_version") ||
                   begins(key, length, "general.alignment");
        char name[1025];
        snprintf(name, sizeof name, "%.*s", (int)length, key);
        if ((begins(key, length, "tokenizer.") || begins(key, length, "general.")) && !own) {
            lm_gguf_writer_copy(writer, gguf, name);
        }
    }
    lm_gguf_close(gguf);
    return TEMPER_OK;
}

static temper_status add_tokenizer(const lm_exporting *self, lm_gguf_writer *writer, temper_error *error) {
    const lm_file *gguf = lm_file_find_gguf(self->files);
    lm_tokenizer *tokenizer = NULL;
    char *chat = NULL;
    size_t length;
    if (lm_file_find_model(self->files, "config.json") == NULL && gguf != NULL) {
        return copy_pairs(writer, gguf, error);
    }
    temper_status status = lm_tokenizer_open(self->files, &tokenizer, error);
    if (!status) {
        int32_t ids[16];
        size_t vocabulary = lm_merged_config(self->merged)->vocabulary;
        size_t count = lm_end_tokens(self->files, vocabulary, ids, 16);
        status = lm_tokenizer_write_gguf(tokenizer, vocabulary, ids, count, writer, error);
    }
    if (!status && !lm_template_find(self->files, &chat, &length, NULL)) {
        lm_gguf_writer_string(writer, "tokenizer.chat_template", chat, length);
    }
    free(chat);
    lm_tokenizer_close(tokenizer);
    return status;
}

static temper_status fill(struct gathering *self, temper_error *error) {
    const lm_config *config = lm_merged_config(self->of->merged);
    temper_status status = lm_config_write_gguf(config, self->writer, error);
    if (status) {
        return status;
    }
    lm_gguf_writer_string(self->writer, "general.type", "model", 5);
    lm_gguf_writer_integer(self->writer, "general.file_type", lm_export_file_type(self->of->type));
    if (lm_dtype_size(self->of->type) == 0) {
        lm_gguf_writer_integer(self->writer, "general.quantization_version", 2);
    }
    status = add_tokenizer(self->of, self->writer, error);
    for (int role = 0; !status && role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? config->layers : 1;
        for (size_t layer = 0; layer < layers; layer++) {
            add_tensor(self, (lm_role)role, layer);
        }
    }
    add_divisors(self); /* last: what is fetched keeps its index */
    return status;
}

size_t lm_export_largest(const lm_config *config) {
    size_t largest = 1;
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        unsigned rank;
        size_t shape[2], count;
        lm_role_shape(config, (lm_role)role, &rank, shape);
        count = rank == 0 ? 0 : shape[0] * (rank == 2 ? shape[1] : 1);
        largest = count > largest ? count : largest;
    }
    return largest;
}

temper_status lm_export_gguf(const lm_exporting *of, temper_error *error) {
    const lm_config *config = lm_merged_config(of->merged);
    size_t cells = (size_t)LM_ROLE_COUNT * config->layers, largest = lm_export_largest(config);
    struct gathering self = {of,
                             lm_gguf_writer_new(),
                             calloc(cells, sizeof *self.roles),
                             calloc(cells, sizeof *self.layers),
                             calloc(cells, sizeof *self.types),
                             0,
                             malloc(largest * sizeof *self.values),
                             malloc(largest * sizeof *self.turned),
                             {0}};
    bool made = self.writer != NULL && self.roles != NULL && self.layers != NULL && self.types != NULL &&
                self.values != NULL && self.turned != NULL;
    temper_status status =
        made ? fill(&self, error)
             : temper_fail(error, TEMPER_NO_MEMORY, "no memory for a model's largest tensor");
    status = status ? status : of->sink->begin(of->sink->context, "model.gguf", error);
    if (!status) {
        status = lm_gguf_writer_write(self.writer, fetch, &self, of->sink->write, of->sink->context, error);
    }
    lm_gguf_writer_free(self.writer);
    free(self.roles);
    free(self.layers);
    free(self.types);
    free(self.values);
    free(self.turned);
    return status;
}

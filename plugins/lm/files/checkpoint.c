/* checkpoint.c: a model's weights by role, from a Hugging Face folder or a GGUF.
 *
 * Invariant: after open, each role that the config gives a shape has, in every layer, a tensor of that shape; and
 * the files hold no tensor whose purpose is unknown, since leaving one out would change results. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SHARDS = 1024, NAME_SIZE = 160 };

struct lm_checkpoint {
    lm_config config;
    lm_safetensors **shards;
    size_t shard_count;
    lm_gguf *gguf;
    const lm_tensor **tensors; /* [role][layer], layer 0 for those of the whole model */
};

const char *lm_shape_text(unsigned rank, const size_t *shape, char *out, size_t size) {
    size_t used = (size_t)snprintf(out, size, "[");
    for (unsigned i = 0; i < rank && used < size; i++) {
        used += (size_t)snprintf(out + used, size - used, i == 0 ? "%zu" : ", %zu", shape[i]);
    }
    if (used < size) {
        snprintf(out + used, size - used, "]");
    }
    return out;
}

static const lm_tensor **slot(const lm_checkpoint *self, lm_role role, size_t layer) {
    return &self->tensors[(size_t)role * self->config.layers + layer];
}

static const lm_tensor *find_tensor(const lm_checkpoint *self, const char *name) {
    const lm_tensor *tensor = self->gguf != NULL ? lm_gguf_find(self->gguf, name) : NULL;
    for (size_t i = 0; i < self->shard_count && tensor == NULL; i++) {
        tensor = lm_safetensors_find(self->shards[i], name);
    }
    return tensor;
}

static const char *unread_type(const lm_checkpoint *self, const char *name) {
    const char *type = self->gguf != NULL ? lm_gguf_unread(self->gguf, name) : NULL;
    for (size_t i = 0; i < self->shard_count && type == NULL; i++) {
        type = lm_safetensors_unread(self->shards[i], name);
    }
    return type;
}

/* Base models are saved without the prefix of the class with a head. */
static const lm_tensor *find_without_prefix(const lm_checkpoint *self, const char *name) {
    size_t length = strlen(lm_architecture_find(self->config.architecture)->base_prefix);
    return strncmp(name, lm_architecture_find(self->config.architecture)->base_prefix, length) == 0
               ? find_tensor(self, name + length)
               : NULL;
}

/* GGUF has every matrix by rows of outputs. */
static bool transposed(const lm_checkpoint *self, lm_role role) {
    return self->gguf == NULL && lm_role_transposed(&self->config, role);
}

static temper_status bind(lm_checkpoint *self, lm_role role, size_t layer, temper_error *error) {
    unsigned rank;
    size_t shape[2];
    char name[NAME_SIZE], expected[64], found[128];
    const lm_tensor *tensor;
    lm_role_shape(&self->config, role, &rank, shape);
    if (rank == 0) {
        return TEMPER_OK;
    }
    if (transposed(self, role)) {
        size_t rows = shape[0];
        shape[0] = shape[1];
        shape[1] = rows;
    }
    if (self->gguf != NULL) {
        lm_role_gguf_name(role, layer, name, sizeof name);
        tensor = find_tensor(self, name);
    } else {
        const char *other = lm_architecture_find(self->config.architecture)->head_names[1];
        lm_role_name(&self->config, role, layer, name, sizeof name);
        tensor = find_tensor(self, name);
        tensor = tensor == NULL && role == LM_HEAD && other != NULL ? find_tensor(self, other) : tensor;
        tensor = tensor == NULL ? find_without_prefix(self, name) : tensor;
    }
    lm_shape_text(rank, shape, expected, sizeof expected);
    if (tensor == NULL) {
        const char *type = unread_type(self, name);
        return type != NULL ? temper_fail(error, TEMPER_UNSUPPORTED,
                                          "tensor \"%s\" is stored as %s; " LM_READABLE_TYPES
                                          " are read: take this model in one of those",
                                          name, type)
                            : temper_fail(error, TEMPER_INVALID,
                                          "tensor \"%s\" is missing; the config expects one of shape %s",
                                          name, expected);
    }
    if (tensor->rank != rank || tensor->shape[0] != shape[0] || (rank == 2 && tensor->shape[1] != shape[1])) {
        return temper_fail(error, TEMPER_INVALID, "tensor \"%s\" has the shape %s; the config expects %s",
                           name, lm_shape_text(tensor->rank, tensor->shape, found, sizeof found), expected);
    }
    *slot(self, role, layer) = tensor;
    return TEMPER_OK;
}

static temper_status bind_all(lm_checkpoint *self, temper_error *error) {
    self->tensors = calloc(LM_ROLE_COUNT * self->config.layers, sizeof(const lm_tensor *));
    if (self->tensors == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the table of tensors");
    }
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? self->config.layers : 1;
        for (size_t layer = 0; layer < layers; layer++) {
            temper_status status = bind(self, (lm_role)role, layer, error);
            if (status) {
                return status;
            }
        }
    }
    return TEMPER_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* Buffers that older files carry and that follow from the config, and the copy of a tied head. */
static bool harmless(const lm_checkpoint *self, const char *name) {
    static const char *const buffers[] = {
        ".rotary_emb.inv_freq", ".attn.attention.bias", ".attn.attention.masked_bias", ".attn.bias",
        ".attn.masked_bias",    ".attention.bias",      ".attention.masked_bias"};
    const lm_architecture *row = lm_architecture_find(self->config.architecture);
    if (self->gguf != NULL && strcmp(name, "rope_freqs.weight") == 0) {
        return true; /* config_gguf.c has read it */
    }
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        if (ends_with(name, buffers[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < 2 && self->config.tied; i++) {
        if (row->head_names[i] != NULL && strcmp(name, row->head_names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int by_address(const void *left, const void *right) {
    uintptr_t a = (uintptr_t) * (const lm_tensor *const *)left,
              b = (uintptr_t) * (const lm_tensor *const *)right;
    return (a > b) - (a < b);
}

/* Every tensor that can be read is bound to a role, or known to be harmless. */
static temper_status refuse_strangers(const lm_checkpoint *self, temper_error *error) {
    size_t cells = LM_ROLE_COUNT * self->config.layers, used = 0;
    temper_status status = TEMPER_OK;
    const lm_tensor **bound = malloc(cells * sizeof *bound);
    if (bound == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the table of tensors");
    }
    for (size_t i = 0; i < cells; i++) {
        if (self->tensors[i] != NULL) {
            bound[used++] = self->tensors[i];
        }
    }
    qsort(bound, used, sizeof *bound, by_address);
    for (size_t s = 0; s < (self->gguf != NULL ? 1 : self->shard_count) && !status; s++) {
        size_t count = self->gguf != NULL ? lm_gguf_count(self->gguf) : lm_safetensors_count(self->shards[s]);
        for (size_t i = 0; i < count && !status; i++) {
            const lm_tensor *listed =
                self->gguf != NULL ? lm_gguf_at(self->gguf, i) : lm_safetensors_at(self->shards[s], i);
            /* The pointer that find gives is the one that was bound. */
            const lm_tensor *tensor = self->gguf != NULL ? lm_gguf_find(self->gguf, listed->name)
                                                         : lm_safetensors_find(self->shards[s], listed->name);
            if (bsearch(&tensor, bound, used, sizeof *bound, by_address) == NULL &&
                !harmless(self, tensor->name)) {
                status =
                    temper_fail(error, TEMPER_UNSUPPORTED,
                                "tensor \"%s\" has no place in a %s of %zu layers, so leaving it out would "
                                "change results",
                                tensor->name, self->config.architecture, self->config.layers);
            }
        }
    }
    free(bound);
    return status;
}

static temper_status open_shard(lm_checkpoint *self, const lm_file_set *files, const char *name,
                                temper_error *error) {
    const lm_file *file = lm_file_find_model(files, name);
    if (file == NULL) {
        return temper_fail(error, TEMPER_INVALID, "%.200s is missing", name);
    }
    lm_safetensors **shards = realloc(self->shards, (self->shard_count + 1) * sizeof(lm_safetensors *));
    if (shards == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the weights' files");
    }
    self->shards = shards;
    temper_status status = lm_safetensors_open(file, &self->shards[self->shard_count], error);
    self->shard_count += status == TEMPER_OK;
    return status;
}

/* The distinct files that an index's weight_map names. */
static temper_status open_index(lm_checkpoint *self, const lm_file_set *files, const lm_file *index,
                                temper_error *error) {
    json_t *root, *seen = json_object(), *value;
    const char *key;
    temper_status status = lm_json_parse(index->data, index->size, index->name, &root, error);
    json_t *map = json_object_get(root, "weight_map");
    if (!status && !json_is_object(map)) {
        status = temper_fail(error, TEMPER_INVALID, "%s: \"weight_map\" is missing", index->name);
    }
    if (status) {
        goto out;
    }
    json_object_foreach(map, key, value) {
        const char *name = json_string_value(value);
        if (name == NULL) {
            status =
                temper_fail(error, TEMPER_INVALID, "%s: the file of \"%.100s\" is no text", index->name, key);
        } else if (json_object_get(seen, name) == NULL) {
            json_object_set_new(seen, name, json_true());
            status =
                json_object_size(seen) > MAX_SHARDS
                    ? temper_fail(error, TEMPER_INVALID, "%s: more than %d files", index->name, MAX_SHARDS)
                    : open_shard(self, files, name, error);
        }
        if (status) {
            goto out;
        }
    }
out:
    json_decref(seen);
    json_decref(root);
    return status;
}

static temper_status open_folder(lm_checkpoint *self, const lm_file_set *files, const lm_file *config,
                                 temper_error *error) {
    temper_status status = lm_config_parse(config->data, config->size, &self->config, error);
    const lm_file *index = lm_file_find_model(files, "model.safetensors.index.json");
    if (status) {
        return status;
    }
    if (lm_file_find_model(files, "model.safetensors") != NULL) {
        return open_shard(self, files, "model.safetensors", error);
    }
    if (index != NULL) {
        return open_index(self, files, index, error);
    }
    return temper_fail(
        error, TEMPER_INVALID,
        "model.safetensors is missing%s; weights are read from safetensors and GGUF only",
        lm_file_find_model(files, "pytorch_model.bin") != NULL ? " (there is a pytorch_model.bin)" : "");
}

temper_status lm_checkpoint_open(const lm_file_set *files, lm_checkpoint **out, temper_error *error) {
    temper_status status;
    const lm_file *config = lm_file_find_model(files, "config.json"), *gguf = lm_file_find_gguf(files);
    lm_checkpoint *self = calloc(1, sizeof *self);
    *out = NULL;
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to open a model");
    }
    if (config != NULL) {
        status = open_folder(self, files, config, error);
    } else if (gguf != NULL) {
        status = lm_gguf_open(gguf, &self->gguf, error);
        status = status ? status : lm_config_from_gguf(self->gguf, gguf->name, &self->config, error);
    } else {
        status = temper_fail(error, TEMPER_INVALID,
                             "neither config.json nor a .gguf file is there: this is no model");
    }
    if (!status) {
        status = bind_all(self, error);
    }
    if (!status) {
        status = refuse_strangers(self, error);
    }
    if (status) {
        lm_checkpoint_close(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

const lm_config *lm_checkpoint_config(const lm_checkpoint *self) {
    return &self->config;
}

lm_dtype lm_checkpoint_dtype(const lm_checkpoint *self) {
    for (int role = LM_OUTPUT; role < LM_ROLE_COUNT; role++) {
        const lm_tensor *tensor = *slot(self, (lm_role)role, 0);
        if (tensor != NULL && tensor->rank == 2) {
            return tensor->dtype;
        }
    }
    return LM_F32;
}

/* --- values, from the files' order to ours --- */

/* `out` is [columns][rows] of the file's [rows][columns]. */
static void read_transposed(const lm_tensor *tensor, float *out) {
    size_t rows = tensor->shape[0], columns = tensor->shape[1];
    for (size_t row = 0; row < rows; row++) {
        float piece[256];
        for (size_t first = 0; first < columns; first += 256) {
            size_t count = columns - first < 256 ? columns - first : 256;
            lm_tensor_read(tensor, row * columns + first, count, piece);
            for (size_t i = 0; i < count; i++) {
                out[(first + i) * rows + row] = piece[i];
            }
        }
    }
}

static bool is_norm(lm_role role) {
    return role == LM_ATTENTION_NORM || role == LM_FEED_NORM || role == LM_FINAL_NORM ||
           role == LM_QUERY_NORM || role == LM_KEY_NORM || role == LM_ATTENTION_POST_NORM ||
           role == LM_FEED_POST_NORM;
}

bool lm_gguf_plus_one(const lm_config *config, lm_role role) {
    return config->norm_plus_one && is_norm(role);
}

static void read_gguf(const lm_checkpoint *self, const lm_tensor *tensor, lm_role role, float *out) {
    const lm_config *config = &self->config;
    size_t rows = tensor->shape[0], columns = tensor->rank == 2 ? tensor->shape[1] : 1;
    for (size_t row = 0; row < rows; row++) {
        lm_tensor_read(tensor, lm_gguf_row(config, role, row) * columns, columns, out + row * columns);
    }
    for (size_t i = 0; lm_gguf_plus_one(config, role) && i < rows; i++) {
        out[i] -= 1; /* GGUF has the 1 added */
    }
}

temper_status lm_checkpoint_read(const lm_checkpoint *self, lm_role role, size_t layer, float *out,
                                 temper_error *error) {
    char name[NAME_SIZE];
    if ((unsigned)role >= LM_ROLE_COUNT || layer >= self->config.layers || *slot(self, role, layer) == NULL) {
        if ((unsigned)role < LM_ROLE_COUNT) {
            lm_role_name(&self->config, role, layer, name, sizeof name);
        }
        return temper_fail(error, TEMPER_INVALID, "a %s has no role %d in layer %zu%s%s",
                           self->config.architecture, (int)role, layer,
                           (unsigned)role < LM_ROLE_COUNT ? ": " : "",
                           (unsigned)role < LM_ROLE_COUNT ? name : "");
    }
    const lm_tensor *tensor = *slot(self, role, layer);
    if (self->gguf != NULL) {
        read_gguf(self, tensor, role, out);
    } else if (transposed(self, role)) {
        read_transposed(tensor, out);
    } else {
        lm_tensor_read(tensor, 0, lm_tensor_elements(tensor), out);
    }
    return TEMPER_OK;
}

void lm_checkpoint_close(lm_checkpoint *self) {
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->shard_count; i++) {
        lm_safetensors_close(self->shards[i]);
    }
    free(self->shards);
    lm_gguf_close(self->gguf);
    free(self->tensors);
    free(self);
}

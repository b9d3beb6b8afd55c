/* adapter.c: a LoRA adapter against its base: PEFT's adapter_config.json and adapter_model.safetensors, or a GGUF.
 *
 * Invariant: after open, every tensor of the file is one side of a pair that fits the base's role, every pair is
 * whole, and its rank is the one that its config gives it.
 *
 * A set may hold several: its own at the top, then those under adapters/0/, adapters/1/, ... */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* One layer's pair. */
struct cell {
    const lm_tensor *a, *b; /* NULL: none */
    size_t rank;
    double scale;
};

struct lm_adapter_file {
    lm_adapter_config config;
    lm_config base;
    lm_safetensors *tensors; /* or */
    lm_gguf *gguf;
    const char *name;   /* of the file with the tensors */
    struct cell *cells; /* [role][layer] */
};

/* The module as PEFT's patterns name it: "model.layers.0.self_attn.q_proj". */
static void module_name(const lm_config *base, lm_role role, size_t layer, char *out, size_t size) {
    lm_role_name(base, role, layer, out, size);
    size_t length = strlen(out), end = sizeof ".weight" - 1;
    if (length > end && strcmp(out + length - end, ".weight") == 0) {
        out[length - end] = 0;
    }
}

void lm_adapter_name(const lm_config *base, lm_role role, size_t layer, char which, char *out, size_t size) {
    char name[160];
    module_name(base, role, layer, name, sizeof name);
    snprintf(out, size, "base_model.model.%s.lora_%c.weight", name, which);
}

/* The name of one side in the file at hand; false when it has none. */
static bool side_name(const lm_adapter_file *self, lm_role role, size_t layer, char which, char *out,
                      size_t size) {
    char name[160];
    if (self->gguf == NULL) {
        lm_adapter_name(&self->base, role, layer, which, out, size);
        return true;
    }
    if (!lm_role_gguf_name(role, layer, name, sizeof name)) {
        return false;
    }
    snprintf(out, size, "%s.lora_%c", name, which == 'A' ? 'a' : 'b');
    return true;
}

static const lm_tensor *find_side(const lm_adapter_file *self, const char *name) {
    return self->gguf != NULL ? lm_gguf_find(self->gguf, name) : lm_safetensors_find(self->tensors, name);
}

static size_t side_count(const lm_adapter_file *self) {
    return self->gguf != NULL ? lm_gguf_count(self->gguf) : lm_safetensors_count(self->tensors);
}

/* One side of a pair, if the file has it. A GGUF's pair has the rank that its tensors have. */
static temper_status bind_side(const lm_adapter_file *self, lm_role role, size_t layer, char which,
                               struct cell *cell, temper_error *error) {
    char name[256], found[128];
    unsigned rank;
    size_t shape[2], expected[2];
    if (!side_name(self, role, layer, which, name, sizeof name)) {
        return TEMPER_OK;
    }
    const lm_tensor *tensor = find_side(self, name);
    if (tensor == NULL) {
        return TEMPER_OK;
    }
    if (self->gguf != NULL && cell->rank == 0 && tensor->rank == 2) {
        cell->rank = tensor->shape[which == 'A' ? 0 : 1];
    }
    lm_role_shape(&self->base, role, &rank, shape);
    expected[0] = which == 'A' ? cell->rank : shape[0];
    expected[1] = which == 'A' ? shape[1] : cell->rank;
    if (tensor->rank != 2 || tensor->shape[0] != expected[0] || tensor->shape[1] != expected[1]) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s: tensor \"%s\" has the shape %s; the base and the rank expect [%zu, %zu]",
                           self->name, name, lm_shape_text(tensor->rank, tensor->shape, found, sizeof found),
                           expected[0], expected[1]);
    }
    *(which == 'A' ? &cell->a : &cell->b) = tensor;
    return TEMPER_OK;
}

/* The first tensor that no role claims, to name it. */
static temper_status name_stranger(const lm_adapter_file *self, temper_error *error) {
    size_t cells = LM_ROLE_COUNT * self->base.layers;
    for (size_t i = 0; i < side_count(self); i++) {
        const lm_tensor *listed =
            self->gguf != NULL ? lm_gguf_at(self->gguf, i) : lm_safetensors_at(self->tensors, i);
        const lm_tensor *tensor = find_side(self, listed->name);
        bool known = false;
        for (size_t cell = 0; cell < cells && !known; cell++) {
            known = self->cells[cell].a == tensor || self->cells[cell].b == tensor;
        }
        if (!known) {
            return temper_fail(error, TEMPER_UNSUPPORTED,
                               "%s: tensor \"%s\" belongs to no linear layer of a %s of %zu layers",
                               self->name, tensor->name, self->base.architecture, self->base.layers);
        }
    }
    return temper_fail(error, TEMPER_UNSUPPORTED, "%s: it holds tensors that cannot be read", self->name);
}

static temper_status bind_pair(lm_adapter_file *self, const json_t *config, lm_role role, size_t layer,
                               struct cell *cell, temper_error *error) {
    char name[256];
    temper_status status;
    if (config != NULL) {
        module_name(&self->base, role, layer, name, sizeof name);
        lm_adapter_config_of(config, &self->config, name, &cell->rank, &cell->scale);
    }
    if ((status = bind_side(self, role, layer, 'A', cell, error)) ||
        (status = bind_side(self, role, layer, 'B', cell, error))) {
        return status;
    }
    if ((cell->a == NULL) != (cell->b == NULL)) {
        side_name(self, role, layer, cell->a == NULL ? 'A' : 'B', name, sizeof name);
        return temper_fail(error, TEMPER_INVALID, "%s: tensor \"%s\" is missing; its other side is there",
                           self->name, name);
    }
    if (config == NULL && cell->rank > 0) { /* as llama.cpp has it: an alpha of 0 stands for none */
        cell->scale = self->config.alpha == 0.0 ? 1.0 : self->config.alpha / (double)cell->rank;
    }
    return TEMPER_OK;
}

/* `config`: adapter_config.json's root; NULL for a GGUF. */
static temper_status bind_all(lm_adapter_file *self, const json_t *config, temper_error *error) {
    size_t cells = LM_ROLE_COUNT * self->base.layers, bound = 0;
    self->cells = calloc(cells, sizeof *self->cells);
    if (self->cells == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for an adapter's table");
    }
    for (size_t i = 0; i < cells; i++) {
        lm_role role = (lm_role)(i / self->base.layers);
        if (lm_role_module(&self->base, role) == NULL) {
            continue;
        }
        temper_status status = bind_pair(self, config, role, i % self->base.layers, &self->cells[i], error);
        if (status) {
            return status;
        }
        if (self->cells[i].a != NULL) {
            self->config.targets[role] = true;
            bound += 2;
        }
    }
    if (bound != side_count(self)) {
        return name_stranger(self, error);
    }
    return bound > 0 ? TEMPER_OK : temper_fail(error, TEMPER_INVALID, "%s: it holds no tensors", self->name);
}

static temper_status open_peft(lm_adapter_file *self, const lm_file *config, const lm_file *model,
                               temper_error *error) {
    json_t *root = NULL;
    temper_status status;
    self->name = model->name;
    if ((status = lm_json_parse(config->data, config->size, "adapter_config.json", &root, error)) ||
        (status = lm_adapter_config_read(root, &self->config, error)) ||
        (status = lm_safetensors_open(model, &self->tensors, error)) ||
        (status = bind_all(self, root, error))) {
        goto out;
    }
    status = lm_adapter_config_targets(root, &self->base, &self->config, error);
out:
    json_decref(root);
    return status;
}

static bool says(const lm_gguf *gguf, const char *key, const char *wanted) {
    const char *text;
    size_t length;
    return lm_gguf_string(gguf, key, &text, &length) && length == strlen(wanted) &&
           memcmp(text, wanted, length) == 0;
}

bool lm_gguf_is_adapter(const lm_gguf *gguf) {
    return says(gguf, "general.type", "adapter");
}

/* What would change results and is not read. */
static temper_status check_gguf_keys(const lm_gguf *gguf, const char *name, temper_error *error) {
    static const char *const known[] = {"adapter.type", "adapter.lora.alpha", "adapter.lora.task_name",
                                        "adapter.lora.prompt_prefix"};
    for (size_t i = 0; i < lm_gguf_key_count(gguf); i++) {
        size_t length, k = 0;
        const char *key = lm_gguf_key_at(gguf, i, &length);
        while (k < sizeof known / sizeof *known &&
               (strlen(known[k]) != length || memcmp(known[k], key, length) != 0)) {
            k++;
        }
        if (length >= 8 && memcmp(key, "adapter.", 8) == 0 && k == sizeof known / sizeof *known) {
            return temper_fail(error, TEMPER_UNSUPPORTED, "%s: \"%.*s\": it is not known what that changes",
                               name, (int)length, key);
        }
    }
    return TEMPER_OK;
}

static temper_status open_gguf(lm_adapter_file *self, const lm_file *file, temper_error *error) {
    const char *architecture = lm_config_gguf_name(&self->base);
    temper_status status = lm_gguf_open(file, &self->gguf, error);
    self->name = file->name;
    if (status) {
        return status;
    }
    if (!lm_gguf_is_adapter(self->gguf) || !says(self->gguf, "adapter.type", "lora")) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "%s: its general.type is not \"adapter\", or its adapter.type not \"lora\"",
                           file->name);
    }
    if (architecture == NULL || !says(self->gguf, "general.architecture", architecture)) {
        return temper_fail(error, TEMPER_INVALID, "%s: its general.architecture is not the base's, %s",
                           file->name, architecture == NULL ? self->base.architecture : architecture);
    }
    if (!lm_gguf_number(self->gguf, "adapter.lora.alpha", &self->config.alpha) ||
        !(self->config.alpha >= 0.0)) {
        return temper_fail(error, TEMPER_INVALID, "%s: adapter.lora.alpha is missing or below 0", file->name);
    }
    if ((status = check_gguf_keys(self->gguf, file->name, error)) || (status = bind_all(self, NULL, error))) {
        return status;
    }
    self->config.rank = lm_adapter_greatest_rank(self);
    return TEMPER_OK;
}

/* --- the adapters of a set --- */

enum { PREFIX_SIZE = 32 };

static void set_prefix(const lm_file_set *files, size_t index, char out[PREFIX_SIZE]) {
    bool own = lm_file_find(files, "adapter_config.json") != NULL;
    if (own && index == 0) {
        out[0] = 0;
    } else {
        snprintf(out, PREFIX_SIZE, "adapters/%zu/", index - own);
    }
}

static const lm_file *find_under(const lm_file_set *files, const char *prefix, const char *name) {
    char whole[PREFIX_SIZE + 64];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    return lm_file_find(files, whole);
}

/* The first file under a prefix that ends so. */
static const lm_file *find_ending(const lm_file_set *files, const char *prefix, const char *ending) {
    size_t length = strlen(prefix), end = strlen(ending);
    for (size_t i = 0; i < files->count && length > 0; i++) {
        size_t size = strlen(files->files[i].name);
        if (size >= length + end && strncmp(files->files[i].name, prefix, length) == 0 &&
            strcmp(files->files[i].name + size - end, ending) == 0) {
            return &files->files[i];
        }
    }
    return NULL;
}

size_t lm_adapter_count(const lm_file_set *files) {
    size_t count = lm_file_find(files, "adapter_config.json") != NULL ? 1 : 0;
    char prefix[PREFIX_SIZE];
    for (;; count++) {
        set_prefix(files, count, prefix);
        if (prefix[0] != 0 && find_ending(files, prefix, "") == NULL) {
            return count;
        }
    }
}

static temper_status missing(const lm_file_set *files, const char *prefix, bool config, temper_error *error) {
    if (find_under(files, prefix, "adapters.safetensors") != NULL) {
        return temper_fail(
            error, TEMPER_UNSUPPORTED,
            "adapters.safetensors: this looks like an adapter of MLX, which is not read: merge it "
            "there (mlx_lm.fuse --model BASE --adapter-path THIS --save-path MERGED) and use MERGED "
            "as the model");
    }
    if (find_under(files, prefix, "adapter_model.bin") != NULL) {
        return temper_fail(
            error, TEMPER_UNSUPPORTED,
            "adapter_model.bin is a pickle, which can run code and is not read: save the adapter "
            "again with PEFT (save_pretrained writes adapter_model.safetensors)");
    }
    return temper_fail(error, TEMPER_INVALID, "%s is missing: this is no adapter",
                       config ? "adapter_model.safetensors" : "adapter_config.json");
}

temper_status lm_adapter_open_at(const lm_file_set *files, size_t index, const lm_config *base,
                                 lm_adapter_file **out, temper_error *error) {
    char prefix[PREFIX_SIZE];
    set_prefix(files, index, prefix);
    const lm_file *config = find_under(files, prefix, "adapter_config.json");
    const lm_file *model = find_under(files, prefix, "adapter_model.safetensors");
    const lm_file *gguf = find_ending(files, prefix, ".gguf");
    json_t *root = NULL;
    temper_status status = TEMPER_OK;
    *out = NULL;
    if (config != NULL && model == NULL &&
        (status = lm_json_parse(config->data, config->size, "adapter_config.json", &root, error)) ==
            TEMPER_OK) {
        lm_adapter_config ignored;
        status = lm_adapter_config_read(root, &ignored, error); /* another program's says so better */
    }
    json_decref(root);
    if (!status && (config == NULL || model == NULL) && gguf == NULL) {
        status = missing(files, prefix, config != NULL, error);
    }
    if (status) {
        return status;
    }
    lm_adapter_file *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to open an adapter");
    }
    self->base = *base;
    status = config != NULL && model != NULL ? open_peft(self, config, model, error)
                                             : open_gguf(self, gguf, error);
    if (status) {
        lm_adapter_close(self);
        self = NULL;
    }
    *out = self;
    return status;
}

temper_status lm_adapter_open(const lm_file_set *files, const lm_config *base, lm_adapter_file **out,
                              temper_error *error) {
    return lm_adapter_open_at(files, 0, base, out, error);
}

const lm_adapter_config *lm_adapter_file_config(const lm_adapter_file *self) {
    return &self->config;
}

static const struct cell *cell_of(const lm_adapter_file *self, lm_role role, size_t layer) {
    if ((unsigned)role >= LM_ROLE_COUNT || layer >= self->base.layers) {
        return NULL;
    }
    const struct cell *cell = &self->cells[(size_t)role * self->base.layers + layer];
    return cell->a == NULL ? NULL : cell;
}

size_t lm_adapter_greatest_rank(const lm_adapter_file *self) {
    size_t greatest = 0;
    for (size_t i = 0; i < LM_ROLE_COUNT * self->base.layers; i++) {
        const struct cell *cell = &self->cells[i];
        greatest = cell->a != NULL && cell->rank > greatest ? cell->rank : greatest;
    }
    return greatest;
}

bool lm_adapter_pair(const lm_adapter_file *self, lm_role role, size_t layer, size_t *rank, double *scale) {
    const struct cell *cell = cell_of(self, role, layer);
    if (cell != NULL) {
        *rank = cell->rank;
        *scale = cell->scale;
    }
    return cell != NULL;
}

bool lm_adapter_read(const lm_adapter_file *self, lm_role role, size_t layer, float *a, float *b) {
    const struct cell *cell = cell_of(self, role, layer);
    if (cell == NULL) {
        return false;
    }
    lm_tensor_read(cell->a, 0, lm_tensor_elements(cell->a), a);
    for (size_t row = 0; row < cell->b->shape[0]; row++) {
        size_t source = self->gguf == NULL ? row : lm_gguf_row(&self->base, role, row);
        lm_tensor_read(cell->b, source * cell->rank, cell->rank, b + row * cell->rank);
    }
    return true;
}

void lm_adapter_close(lm_adapter_file *self) {
    if (self == NULL) {
        return;
    }
    lm_safetensors_close(self->tensors);
    lm_gguf_close(self->gguf);
    free(self->cells);
    free(self);
}

/* end_tokens.c: which tokens end a generation. Models name several: the end of a text, the end of a turn.
 *
 * Invariant: this only collects; a file that cannot be read names none, for whoever loads the model has its say. */
#include "internal.h"

struct collected {
    int32_t *ids;
    size_t count, room, vocabulary;
};

static void collect(struct collected *self, int64_t id) {
    if (id < 0 || (uint64_t)id >= self->vocabulary || id > INT32_MAX) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        if (self->ids[i] == id) {
            return;
        }
    }
    if (self->count < self->room) {
        self->ids[self->count++] = (int32_t)id;
    }
}

static void from_json(struct collected *self, const lm_file *file) {
    json_t *root, *item;
    int64_t id;
    size_t i;
    if (file == NULL || lm_json_parse(file->data, file->size, file->name, &root, NULL)) {
        return;
    }
    json_t *value = json_object_get(root, "eos_token_id");
    if (lm_json_integer(value, &id)) {
        collect(self, id);
    }
    json_array_foreach(value, i, item) {
        if (lm_json_integer(item, &id)) {
            collect(self, id);
        }
    }
    json_decref(root);
}

static void from_gguf(struct collected *self, const lm_file *file) {
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    lm_gguf *gguf;
    int64_t id;
    if (file == NULL || lm_gguf_open(file, &gguf, NULL)) {
        return;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (lm_gguf_integer(gguf, keys[i], &id)) {
            collect(self, id);
        }
    }
    lm_gguf_close(gguf);
}

size_t lm_end_tokens(const lm_file_set *files, size_t vocabulary, int32_t *ids, size_t room) {
    struct collected self = {ids, 0, room, vocabulary};
    if (lm_file_find_model(files, "config.json") == NULL) {
        from_gguf(&self, lm_file_find_gguf(files));
    } else {
        from_json(&self, lm_file_find_model(files, "generation_config.json"));
        from_json(&self, lm_file_find_model(files, "config.json"));
    }
    return self.count;
}

/* stack.c: a base and adapters as one model: base/… and adapters/0/…, adapters/1/… in one tree of the store. The base's
 * weights are there, and later in memory, once.
 *
 * Invariant: an adapter that came with a base (a run's) stands on that base alone: on another it is refused. */
#include "cli/stack.h"

#include "base/text.h"
#include "scheduler/sources.h"

#include <stdlib.h>

static const tm_tree_entry *find(const tm_tree *tree, const char *path) {
    for (size_t i = 0; i < tree->count; i++) {
        if (strcmp(tree->entries[i].path, path) == 0) {
            return &tree->entries[i];
        }
    }
    return NULL;
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), size = strlen(end);
    return length >= size && strcmp(text + length - size, end) == 0;
}

/* A GGUF says what it is at its beginning, among its metadata. */
static bool is_gguf_adapter(tm_store *store, const tm_tree *tree) {
    enum { LOOK = 65536 };
    static const char key[] = "adapter.type";
    const void *data;
    size_t size;
    bool found;
    if (tree->count != 1 || !ends_with(tree->entries[0].path, ".gguf") ||
        tm_store_map(store, &tree->entries[0].digest, &data, &size, NULL) != TEMPER_OK) {
        return false;
    }
    found = memmem(data, size < LOOK ? size : LOOK, key, sizeof key - 1) != NULL;
    tm_store_unmap(store, data, size);
    return found;
}

static bool is_adapter(tm_store *store, const tm_tree *tree) {
    return find(tree, "adapter_config.json") != NULL || find(tree, "adapters.safetensors") != NULL ||
           is_gguf_adapter(store, tree);
}

temper_status cli_stack_take(tm_store *store, const char *name, cli_model *out, temper_error *error) {
    memset(out, 0, sizeof *out);
    out->name = name;
    temper_status status = tm_source_take(store, TM_MODEL, name, &out->digest, error);
    status = status ? status : tm_store_get_tree(store, &out->digest, &out->tree, error);
    out->adapter = status == TEMPER_OK && is_adapter(store, &out->tree);
    return status;
}

void cli_stack_release(cli_model *model) {
    tm_tree_free(&model->tree);
}

static bool holds_weights(const char *path) {
    return ends_with(path, ".safetensors") || ends_with(path, ".gguf") || strcmp(path, "config.json") == 0;
}

static temper_status check_base(const cli_model *adapter, const tm_tree *base, const char *base_name,
                                temper_error *error) {
    for (size_t i = 0; i < adapter->tree.count; i++) {
        const tm_tree_entry *own = &adapter->tree.entries[i];
        if (strncmp(own->path, "base/", 5) != 0 || !holds_weights(own->path + 5)) {
            continue;
        }
        const tm_tree_entry *there = find(base, own->path + 5);
        if (there == NULL || !tm_digest_equal(&there->digest, &own->digest)) {
            return temper_fail(
                error, TEMPER_INVALID,
                "%s was made on another base than %s (%s differs): name that one, or take the adapter alone "
                "(temper export %s FOLDER) if you mean it",
                adapter->name, base_name, own->path + 5, adapter->name);
        }
    }
    return TEMPER_OK;
}

/* Adds an entry under a new path; the list grows by powers of two. */
static temper_status add(tm_tree *tree, const char *prefix, const char *path, const tm_digest *digest,
                         temper_error *error) {
    tm_buffer name = TM_BUFFER_INIT;
    if ((tree->count & (tree->count - 1)) == 0) {
        tm_tree_entry *grown =
            realloc(tree->entries, (tree->count == 0 ? 1 : 2 * tree->count) * sizeof *grown);
        if (grown == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        }
        tree->entries = grown;
    }
    tm_buffer_format(&name, "%s%s", prefix, path);
    char *copy = tm_buffer_ok(&name) ? strdup(name.data) : NULL;
    tm_buffer_free(&name);
    if (copy == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    tree->entries[tree->count++] = (tm_tree_entry){.path = copy, .digest = *digest};
    return TEMPER_OK;
}

static temper_status add_base(const cli_model *base, tm_tree *all, size_t *adapters, temper_error *error) {
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < base->tree.count && status == TEMPER_OK; i++) {
        const tm_tree_entry *entry = &base->tree.entries[i];
        bool below = strncmp(entry->path, "base/", 5) == 0;
        const char *prefix = !base->adapter ? "base/" : below ? "" : "adapters/0/";
        status = add(all, prefix, entry->path, &entry->digest, error);
    }
    *adapters = base->adapter ? 1 : 0;
    return status;
}

/* The base's own files alone, as they are named there. */
static temper_status base_tree(const cli_model *base, tm_tree *out, temper_error *error) {
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < base->tree.count && status == TEMPER_OK; i++) {
        const tm_tree_entry *entry = &base->tree.entries[i];
        bool below = strncmp(entry->path, "base/", 5) == 0;
        if (!base->adapter || below) {
            status = add(out, "", entry->path + (base->adapter ? 5 : 0), &entry->digest, error);
        }
    }
    return status;
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const tm_tree_entry *)a)->path, ((const tm_tree_entry *)b)->path);
}

temper_status cli_stack_make(tm_store *store, const cli_model *base, const cli_model *const *adapters,
                             size_t count, tm_digest *out, temper_error *error) {
    tm_tree all = {NULL, 0}, alone = {NULL, 0};
    size_t at = 0;
    temper_status status = base_tree(base, &alone, error);
    if (status == TEMPER_OK && alone.count == 0) {
        status = temper_fail(error, TEMPER_INVALID,
                             "%s is an adapter without its base: name the base, and this with "
                             "--adapter",
                             base->name);
    }
    status = status ? status : add_base(base, &all, &at, error);
    for (size_t i = 0; i < count && status == TEMPER_OK; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "adapters/%zu/", at + i);
        status = adapters[i]->adapter ? check_base(adapters[i], &alone, base->name, error)
                                      : temper_fail(error, TEMPER_INVALID, "%s is no adapter: it is a model",
                                                    adapters[i]->name);
        for (size_t k = 0; k < adapters[i]->tree.count && status == TEMPER_OK; k++) {
            const tm_tree_entry *entry = &adapters[i]->tree.entries[k];
            if (strncmp(entry->path, "base/", 5) != 0) {
                status = add(&all, prefix, entry->path, &entry->digest, error);
            }
        }
    }
    if (status == TEMPER_OK) {
        qsort(all.entries, all.count, sizeof *all.entries, by_path);
        status = tm_store_put_tree(store, &all, out, error);
    }
    tm_tree_free(&all);
    tm_tree_free(&alone);
    return status;
}

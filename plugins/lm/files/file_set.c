/* file_set.c: finding a file by name in the set that makes up a model.
 *
 * Invariant: names are compared whole and never opened; a name out of a hostile index file can only miss. */
#include "files.h"
#include "internal.h"

#include <string.h>

const lm_file *lm_file_find(const lm_file_set *set, const char *name) {
    for (size_t i = 0; i < set->count; i++) {
        if (strcmp(set->files[i].name, name) == 0) {
            return &set->files[i];
        }
    }
    return NULL;
}

const lm_file *lm_file_find_model(const lm_file_set *set, const char *name) {
    const lm_file *file = lm_file_find(set, name);
    for (size_t i = 0; file == NULL && i < set->count; i++) {
        if (strncmp(set->files[i].name, "base/", 5) == 0 && strcmp(set->files[i].name + 5, name) == 0) {
            file = &set->files[i];
        }
    }
    return file;
}

static bool is_gguf(const lm_file *file) {
    return file->size >= 4 && memcmp(file->data, "GGUF", 4) == 0;
}

const lm_file *lm_file_find_gguf(const lm_file_set *set) {
    for (size_t i = 0; i < set->count; i++) {
        size_t length = strlen(set->files[i].name);
        if (strncmp(set->files[i].name, "adapters/", 9) == 0) {
            continue;
        }
        if (is_gguf(&set->files[i]) ||
            (length >= 5 && strcmp(set->files[i].name + length - 5, ".gguf") == 0)) {
            return &set->files[i];
        }
    }
    return NULL;
}

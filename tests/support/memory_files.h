/* memory_files.h: model files made in memory by a test, and tensors for them.
 *
 * A set owns copies of its files, each exactly as large as it says, so that the address sanitizer sees a read past
 * the end. */
#ifndef TEMPER_TESTS_MEMORY_FILES_H
#define TEMPER_TESTS_MEMORY_FILES_H

#include "files/config.h"
#include "files/files.h"

#include <stdlib.h>
#include <string.h>

enum { MEMORY_FILES = 16 };

typedef struct memory_files {
    lm_file files[MEMORY_FILES];
    lm_file_set set;
} memory_files;

/* Adds a file, or replaces the one of that name. */
static inline void memory_put(memory_files *self, const char *name, const void *data, size_t size) {
    size_t i = 0;
    while (i < self->set.count && strcmp(self->files[i].name, name) != 0) {
        i++;
    }
    if (i == self->set.count) {
        assert_true(i < MEMORY_FILES);
        self->set.count++;
    } else {
        free((void *)(uintptr_t)self->files[i].data);
    }
    void *copy = malloc(size == 0 ? 1 : size);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    self->files[i] = (lm_file){name, copy, size};
    self->set.files = self->files;
}

static inline void memory_put_text(memory_files *self, const char *name, const char *text) {
    memory_put(self, name, text, strlen(text));
}

static inline void memory_remove(memory_files *self, const char *name) {
    for (size_t i = 0; i < self->set.count; i++) {
        if (strcmp(self->files[i].name, name) == 0) {
            free((void *)(uintptr_t)self->files[i].data);
            self->files[i] = self->files[--self->set.count];
            return;
        }
    }
}

static inline void memory_free(memory_files *self) {
    while (self->set.count > 0) {
        memory_remove(self, self->files[0].name);
    }
}

/* A growing run of bytes, written by lm_write. */
typedef struct memory_bytes {
    unsigned char *data;
    size_t size;
} memory_bytes;

static inline temper_status memory_write(void *context, const void *bytes, size_t count,
                                         temper_error *error) {
    memory_bytes *self = context;
    (void)error;
    self->data = realloc(self->data, self->size + count + 1);
    memcpy(self->data + self->size, bytes, count);
    self->size += count;
    return TEMPER_OK;
}

/* All the tensors that a config asks for, F32, the values a function of role, layer and place. */
typedef struct memory_tensors {
    lm_tensor items[256];
    char names[256][160];
    size_t count;
} memory_tensors;

static inline float memory_value(size_t role, size_t layer, size_t i) {
    return (float)((role * 31 + layer * 7 + i * 13) % 251) / 64.0f - 2.0f;
}

static inline void memory_make_tensors(memory_tensors *self, const lm_config *config) {
    self->count = 0;
    for (size_t role = 0; role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? config->layers : 1;
        for (size_t layer = 0; layer < layers; layer++) {
            unsigned rank;
            size_t shape[2];
            lm_role_shape(config, (lm_role)role, &rank, shape);
            if (rank == 0) {
                continue;
            }
            size_t elements = shape[0] * (rank == 2 ? shape[1] : 1);
            float *values = malloc(elements * sizeof *values);
            for (size_t i = 0; i < elements; i++) {
                values[i] = memory_value(role, layer, i);
            }
            assert_true(self->count < 256);
            lm_role_name(config, (lm_role)role, layer, self->names[self->count], sizeof self->names[0]);
            self->items[self->count] =
                (lm_tensor){self->names[self->count], LM_F32, rank,
                            {shape[0], shape[1]},     values, elements * sizeof *values};
            self->count++;
        }
    }
}

static inline void memory_free_tensors(memory_tensors *self) {
    for (size_t i = 0; i < self->count; i++) {
        free((void *)(uintptr_t)self->items[i].data);
    }
    self->count = 0;
}

/* Writes the tensors as a file of the set. */
static inline void memory_put_tensors(memory_files *files, const char *name, const memory_tensors *tensors) {
    memory_bytes bytes = {0};
    static const char *const metadata[] = {"format", "pt"};
    assert_int_equal(
        lm_safetensors_write(tensors->items, tensors->count, metadata, 1, memory_write, &bytes, NULL),
        TEMPER_OK);
    memory_put(files, name, bytes.data, bytes.size);
    free(bytes.data);
}

#endif

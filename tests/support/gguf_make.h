/* gguf_make.h: GGUF files put together byte by byte, right or forged. */
#ifndef TEMPER_TESTS_GGUF_MAKE_H
#define TEMPER_TESTS_GGUF_MAKE_H

#include "memory_files.h"

static inline void gguf_bytes(memory_bytes *self, const void *data, size_t size) {
    memory_write(self, data, size, NULL);
}

static inline void gguf_u32(memory_bytes *self, uint32_t value) {
    gguf_bytes(self, &value, sizeof value);
}

static inline void gguf_u64(memory_bytes *self, uint64_t value) {
    gguf_bytes(self, &value, sizeof value);
}

static inline void gguf_text(memory_bytes *self, const char *text) {
    gguf_u64(self, strlen(text));
    gguf_bytes(self, text, strlen(text));
}

static inline void gguf_header(memory_bytes *self, uint32_t version, uint64_t tensors, uint64_t pairs) {
    gguf_bytes(self, "GGUF", 4);
    gguf_u32(self, version);
    gguf_u64(self, tensors);
    gguf_u64(self, pairs);
}

static inline void gguf_pair_u32(memory_bytes *self, const char *key, uint32_t value) {
    gguf_text(self, key);
    gguf_u32(self, 4);
    gguf_u32(self, value);
}

static inline void gguf_pair_f32(memory_bytes *self, const char *key, float value) {
    gguf_text(self, key);
    gguf_u32(self, 6);
    gguf_bytes(self, &value, sizeof value);
}

static inline void gguf_pair_text(memory_bytes *self, const char *key, const char *value) {
    gguf_text(self, key);
    gguf_u32(self, 8);
    gguf_text(self, value);
}

/* The head of an array; its items follow. */
static inline void gguf_pair_array(memory_bytes *self, const char *key, uint32_t item, uint64_t count) {
    gguf_text(self, key);
    gguf_u32(self, 9);
    gguf_u32(self, item);
    gguf_u64(self, count);
}

static inline void gguf_record(memory_bytes *self, const char *name, uint32_t rank, const uint64_t *sides,
                               uint32_t type, uint64_t offset) {
    gguf_text(self, name);
    gguf_u32(self, rank);
    gguf_bytes(self, sides, rank * sizeof *sides);
    gguf_u32(self, type);
    gguf_u64(self, offset);
}

static inline void gguf_align(memory_bytes *self, size_t alignment) {
    while (self->size % alignment != 0) {
        gguf_bytes(self, "", 1);
    }
}

#endif

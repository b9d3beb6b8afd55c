/* gguf_write.c: the writer of GGUF v3.
 *
 * Invariant: the bytes are a function of the calls alone; what is written, the reader takes. A key is written once: the
 * caller's affair. Tensors begin at multiples of 32. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 32,
    TYPE_U32 = 4,
    TYPE_I32 = 5,
    TYPE_F32 = 6,
    TYPE_BOOL = 7,
    TYPE_STRING = 8,
    TYPE_ARRAY = 9
};

struct bytes {
    unsigned char *data;
    size_t size, room;
};

struct lm_gguf_writer {
    struct bytes pairs;
    size_t pair_count;
    lm_tensor *tensors; /* names owned */
    size_t tensor_count, tensor_room;
    bool failed; /* memory */
};

uint32_t lm_gguf_type(lm_dtype dtype) {
    static const uint32_t types[LM_DTYPE_COUNT] = {
        [LM_F32] = 0,  [LM_F16] = 1,   [LM_BF16] = 30, [LM_Q8_0] = 8,
        [LM_Q4_0] = 2, [LM_Q4_K] = 12, [LM_Q5_K] = 13, [LM_Q6_K] = 14};
    return types[dtype];
}

static bool add(struct bytes *self, const void *data, size_t size) {
    if (size > self->room - self->size) {
        size_t room = self->room < 4096 ? 4096 : self->room * 2;
        room = room < self->size + size ? self->size + size : room;
        unsigned char *grown = realloc(self->data, room);
        if (grown == NULL) {
            return false;
        }
        self->data = grown;
        self->room = room;
    }
    if (size > 0) {
        memcpy(self->data + self->size, data, size);
    }
    self->size += size;
    return true;
}

static void put(lm_gguf_writer *self, const void *data, size_t size) {
    self->failed = self->failed || !add(&self->pairs, data, size);
}

static void put_u32(lm_gguf_writer *self, uint32_t value) {
    put(self, &value, sizeof value);
}

static void put_text(lm_gguf_writer *self, const char *text, size_t length) {
    uint64_t size = length;
    put(self, &size, sizeof size);
    put(self, text, length);
}

static void begin(lm_gguf_writer *self, const char *key, uint32_t type) {
    put_text(self, key, strlen(key));
    put_u32(self, type);
    self->pair_count++;
}

lm_gguf_writer *lm_gguf_writer_new(void) {
    return calloc(1, sizeof(lm_gguf_writer));
}

void lm_gguf_writer_string(lm_gguf_writer *self, const char *key, const char *text, size_t length) {
    begin(self, key, TYPE_STRING);
    put_text(self, text, length);
}

void lm_gguf_writer_integer(lm_gguf_writer *self, const char *key, uint32_t value) {
    begin(self, key, TYPE_U32);
    put_u32(self, value);
}

void lm_gguf_writer_number(lm_gguf_writer *self, const char *key, double value) {
    begin(self, key, TYPE_F32);
    lm_gguf_writer_item_number(self, value);
}

void lm_gguf_writer_flag(lm_gguf_writer *self, const char *key, bool value) {
    begin(self, key, TYPE_BOOL);
    lm_gguf_writer_item_flag(self, value);
}

void lm_gguf_writer_array(lm_gguf_writer *self, const char *key, lm_gguf_item kind, size_t count) {
    static const uint32_t types[] = {[LM_GGUF_STRINGS] = TYPE_STRING,
                                     [LM_GGUF_NUMBERS] = TYPE_F32,
                                     [LM_GGUF_INTEGERS] = TYPE_I32,
                                     [LM_GGUF_FLAGS] = TYPE_BOOL};
    uint64_t length = count;
    begin(self, key, TYPE_ARRAY);
    put_u32(self, types[kind]);
    put(self, &length, sizeof length);
}

void lm_gguf_writer_item_string(lm_gguf_writer *self, const char *text, size_t length) {
    put_text(self, text, length);
}

void lm_gguf_writer_item_number(lm_gguf_writer *self, double value) {
    float narrow = (float)value;
    put(self, &narrow, sizeof narrow);
}

void lm_gguf_writer_item_integer(lm_gguf_writer *self, int32_t value) {
    put(self, &value, sizeof value);
}

void lm_gguf_writer_item_flag(lm_gguf_writer *self, bool value) {
    unsigned char byte = value ? 1 : 0;
    put(self, &byte, 1);
}

bool lm_gguf_writer_copy(lm_gguf_writer *self, const lm_gguf *from, const char *key) {
    size_t size;
    const void *raw = lm_gguf_raw(from, key, &size);
    if (raw != NULL) {
        put_text(self, key, strlen(key));
        put(self, raw, size);
        self->pair_count++;
    }
    return raw != NULL;
}

size_t lm_gguf_writer_tensor(lm_gguf_writer *self, const lm_tensor *tensor) {
    if (self->tensor_count == self->tensor_room) {
        size_t room = self->tensor_room == 0 ? 64 : 2 * self->tensor_room;
        lm_tensor *grown = realloc(self->tensors, room * sizeof *grown);
        if (grown == NULL) {
            self->failed = true;
            return 0;
        }
        self->tensors = grown;
        self->tensor_room = room;
    }
    lm_tensor *added = &self->tensors[self->tensor_count];
    *added = *tensor;
    added->name = strdup(tensor->name);
    self->failed = self->failed || added->name == NULL;
    return self->tensor_count++;
}

static size_t aligned(size_t size) {
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Header, pairs, tensor records and the bytes that align the data. */
static bool build_head(const lm_gguf_writer *self, struct bytes *out) {
    const uint32_t version = 3;
    const uint64_t counts[] = {self->tensor_count, self->pair_count};
    uint64_t offset = 0;
    bool made = add(out, "GGUF", 4) && add(out, &version, sizeof version) &&
                add(out, counts, sizeof counts) && add(out, self->pairs.data, self->pairs.size);
    for (size_t i = 0; made && i < self->tensor_count; i++) {
        const lm_tensor *tensor = &self->tensors[i];
        uint64_t length = strlen(tensor->name);
        uint32_t rank = tensor->rank, type = lm_gguf_type(tensor->dtype);
        made = add(out, &length, sizeof length) && add(out, tensor->name, length) &&
               add(out, &rank, sizeof rank);
        for (unsigned side = rank; made && side > 0; side--) {
            uint64_t size = tensor->shape[side - 1];
            made = add(out, &size, sizeof size);
        }
        made = made && add(out, &type, sizeof type) && add(out, &offset, sizeof offset);
        offset += aligned(tensor->bytes);
    }
    while (made && out->size % ALIGNMENT != 0) {
        made = add(out, "", 1);
    }
    return made;
}

static temper_status write_tensor(const lm_gguf_writer *self, size_t index, void *room, lm_fetch *fetch,
                                  void *fetch_context, lm_write *write, void *context, temper_error *error) {
    static const char zeros[ALIGNMENT];
    const lm_tensor *tensor = &self->tensors[index];
    const void *data = tensor->data;
    temper_status status = TEMPER_OK;
    if (data == NULL) {
        status = fetch(fetch_context, index, room, error);
        data = room;
    }
    if (!status && tensor->bytes > 0) {
        status = write(context, data, tensor->bytes, error);
    }
    size_t rest = aligned(tensor->bytes) - tensor->bytes;
    return status || rest == 0 ? status : write(context, zeros, rest, error);
}

temper_status lm_gguf_writer_write(const lm_gguf_writer *self, lm_fetch *fetch, void *fetch_context,
                                   lm_write *write, void *context, temper_error *error) {
    struct bytes head = {0};
    size_t most = 0;
    void *room = NULL;
    for (size_t i = 0; i < self->tensor_count; i++) {
        const lm_tensor *tensor = &self->tensors[i];
        most = tensor->data == NULL && tensor->bytes > most ? tensor->bytes : most;
    }
    bool made = !self->failed && build_head(self, &head) && (room = malloc(most + 1)) != NULL;
    temper_status status = made ? write(context, head.data, head.size, error)
                                : temper_fail(error, TEMPER_NO_MEMORY, "no memory to write a GGUF");
    for (size_t i = 0; i < self->tensor_count && !status; i++) {
        status = write_tensor(self, i, room, fetch, fetch_context, write, context, error);
    }
    free(room);
    free(head.data);
    return status;
}

void lm_gguf_writer_free(lm_gguf_writer *self) {
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->tensor_count; i++) {
        free((void *)(uintptr_t)self->tensors[i].name);
    }
    free(self->tensors);
    free(self->pairs.data);
    free(self);
}

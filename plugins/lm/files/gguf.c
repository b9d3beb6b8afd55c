/* gguf.c: the reader of GGUF v2 and v3: metadata pairs, tensor records, then aligned data.
 *
 * Invariant: after open, every string, array and tensor lies in the file; keys and tensor names are unique; tensors
 * do not overlap. Counts are believed only as far as the bytes left could hold them. Tensors of a type that this
 * library does not read are kept by name, so that a message can say why one is missing. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum gguf_type {
    G_UINT8,
    G_INT8,
    G_UINT16,
    G_INT16,
    G_UINT32,
    G_INT32,
    G_FLOAT32,
    G_BOOL,
    G_STRING,
    G_ARRAY,
    G_UINT64,
    G_INT64,
    G_FLOAT64,
    G_TYPE_COUNT
};

static const unsigned char type_size[G_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

struct pair {
    const char *key;
    size_t key_length;
    enum gguf_type type, item; /* item: an array's */
    size_t length;             /* of a string or an array */
    const unsigned char *data;
    size_t *strings;          /* an array's strings: their offsets from `data`, each at its 8-byte length */
    const unsigned char *raw; /* from its type on ... */
    size_t raw_size;          /* ... to its end */
};

struct record {
    char *name; /* the same as tensor.name */
    uint32_t type;
    uint64_t offset;
    lm_tensor tensor; /* data NULL: not one of ours */
};

struct lm_gguf {
    struct pair *pairs; /* sorted by key */
    size_t pair_count;
    struct record *records; /* in the file's order */
    struct record **by_name;
    size_t record_count;
    lm_tensor *tensors; /* those that can be read */
    size_t tensor_count;
};

/* Where the reader stands. Every take_ function fails when fewer bytes are left than it needs. */
struct cursor {
    const lm_file *file;
    size_t at;
};

static const unsigned char *take(struct cursor *cursor, size_t count) {
    if (count > cursor->file->size - cursor->at) {
        return NULL;
    }
    const unsigned char *data = (const unsigned char *)cursor->file->data + cursor->at;
    cursor->at += count;
    return data;
}

static size_t left(const struct cursor *cursor) {
    return cursor->file->size - cursor->at;
}

static bool take_u32(struct cursor *cursor, uint32_t *out) {
    const unsigned char *data = take(cursor, sizeof *out);
    if (data != NULL) {
        memcpy(out, data, sizeof *out);
    }
    return data != NULL;
}

static bool take_u64(struct cursor *cursor, uint64_t *out) {
    const unsigned char *data = take(cursor, sizeof *out);
    if (data != NULL) {
        memcpy(out, data, sizeof *out);
    }
    return data != NULL;
}

static bool take_string(struct cursor *cursor, const char **text, size_t *length) {
    uint64_t count;
    if (!take_u64(cursor, &count) || count > left(cursor)) {
        return false;
    }
    *length = (size_t)count;
    *text = (const char *)take(cursor, *length);
    return true;
}

static temper_status cut_short(const struct cursor *cursor, const char *what, size_t index,
                               temper_error *error) {
    return temper_fail(error, TEMPER_INVALID,
                       "%s: %s %zu runs past the end of the file (%zu bytes; is it cut short?)",
                       cursor->file->name, what, index, cursor->file->size);
}

static temper_status read_array(struct cursor *cursor, struct pair *pair, size_t index, temper_error *error) {
    uint32_t item;
    uint64_t length;
    if (!take_u32(cursor, &item) || !take_u64(cursor, &length)) {
        return cut_short(cursor, "metadata pair", index, error);
    }
    if (item >= G_TYPE_COUNT || item == G_ARRAY) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s: \"%.*s\" is a list of items of type %u",
                           cursor->file->name, (int)pair->key_length, pair->key, item);
    }
    pair->item = (enum gguf_type)item;
    pair->data = (const unsigned char *)cursor->file->data + cursor->at;
    size_t least = item == G_STRING ? 8 : type_size[item];
    if (length > left(cursor) / least) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s: \"%.*s\" says it has %llu items; the file is not that long",
                           cursor->file->name, (int)pair->key_length, pair->key, (unsigned long long)length);
    }
    pair->length = (size_t)length;
    if (item != G_STRING) {
        take(cursor, pair->length * least);
        return TEMPER_OK;
    }
    pair->strings = malloc((pair->length + 1) * sizeof *pair->strings);
    if (pair->strings == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "%s: no memory for \"%.*s\"", cursor->file->name,
                           (int)pair->key_length, pair->key);
    }
    size_t start = cursor->at;
    for (size_t i = 0; i < pair->length; i++) {
        const char *text;
        size_t size;
        pair->strings[i] = cursor->at - start;
        if (!take_string(cursor, &text, &size)) {
            return cut_short(cursor, "a string of metadata pair", index, error);
        }
    }
    return TEMPER_OK;
}

static temper_status read_pair(struct cursor *cursor, struct pair *pair, size_t index, temper_error *error) {
    uint32_t type;
    if (!take_string(cursor, &pair->key, &pair->key_length) || !take_u32(cursor, &type)) {
        return cut_short(cursor, "metadata pair", index, error);
    }
    pair->raw = (const unsigned char *)cursor->file->data + cursor->at - sizeof type;
    if (pair->key_length > 1024) {
        return temper_fail(error, TEMPER_INVALID, "%s: metadata pair %zu has a key of %zu bytes",
                           cursor->file->name, index, pair->key_length);
    }
    if (type >= G_TYPE_COUNT) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s: \"%.*s\" is of unknown type %u",
                           cursor->file->name, (int)pair->key_length, pair->key, type);
    }
    pair->type = (enum gguf_type)type;
    if (type == G_ARRAY) {
        return read_array(cursor, pair, index, error);
    }
    if (type == G_STRING) {
        const char *text;
        if (!take_string(cursor, &text, &pair->length)) {
            return cut_short(cursor, "metadata pair", index, error);
        }
        pair->data = (const unsigned char *)text;
        return TEMPER_OK;
    }
    pair->data = take(cursor, type_size[type]);
    return pair->data == NULL ? cut_short(cursor, "metadata pair", index, error) : TEMPER_OK;
}

static int compare_keys(const char *a, size_t a_length, const char *b, size_t b_length) {
    int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
    return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

static int by_key(const void *left_pair, const void *right_pair) {
    const struct pair *a = left_pair, *b = right_pair;
    return compare_keys(a->key, a->key_length, b->key, b->key_length);
}

static temper_status read_pairs(lm_gguf *self, struct cursor *cursor, uint64_t count, temper_error *error) {
    /* The least pair: an empty key's length, a type, one byte. */
    if (count > left(cursor) / 13) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s: says it has %llu metadata pairs; the file is not that long",
                           cursor->file->name, (unsigned long long)count);
    }
    self->pairs = calloc((size_t)count + 1, sizeof *self->pairs);
    if (self->pairs == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "%s: no memory for its metadata", cursor->file->name);
    }
    for (size_t i = 0; i < count; i++) {
        self->pair_count++;
        temper_status status = read_pair(cursor, &self->pairs[i], i, error);
        if (status) {
            return status;
        }
        const unsigned char *end = (const unsigned char *)cursor->file->data + cursor->at;
        self->pairs[i].raw_size = (size_t)(end - self->pairs[i].raw);
    }
    qsort(self->pairs, self->pair_count, sizeof *self->pairs, by_key);
    for (size_t i = 1; i < self->pair_count; i++) {
        if (by_key(&self->pairs[i - 1], &self->pairs[i]) == 0) {
            return temper_fail(error, TEMPER_INVALID, "%s: \"%.*s\" is there twice", cursor->file->name,
                               (int)self->pairs[i].key_length, self->pairs[i].key);
        }
    }
    return TEMPER_OK;
}

static temper_status read_record(struct cursor *cursor, struct record *record, size_t index,
                                 temper_error *error) {
    const char *name;
    size_t length;
    uint32_t rank;
    lm_tensor *tensor = &record->tensor;
    if (!take_string(cursor, &name, &length) || !take_u32(cursor, &rank)) {
        return cut_short(cursor, "tensor record", index, error);
    }
    if (length > 1024 || memchr(name, 0, length) != NULL || rank == 0 || rank > LM_MAX_RANK) {
        return temper_fail(error, TEMPER_INVALID, "%s: tensor record %zu has a name of %zu bytes and rank %u",
                           cursor->file->name, index, length, rank);
    }
    record->name = strndup(name, length);
    if (record->name == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "%s: no memory for its tensors", cursor->file->name);
    }
    tensor->rank = rank;
    for (uint32_t i = 0; i < rank; i++) {
        uint64_t side;
        if (!take_u64(cursor, &side)) {
            return cut_short(cursor, "tensor record", index, error);
        }
        tensor->shape[rank - 1 - i] = (size_t)side;
    }
    if (!take_u32(cursor, &record->type) || !take_u64(cursor, &record->offset)) {
        return cut_short(cursor, "tensor record", index, error);
    }
    return TEMPER_OK;
}

static bool own_dtype(uint32_t type, lm_dtype *out) {
    for (size_t i = 0; i < LM_DTYPE_COUNT; i++) {
        if (lm_gguf_type((lm_dtype)i) == type) {
            *out = (lm_dtype)i;
            return true;
        }
    }
    return false;
}

/* Bytes of a tensor of one of our types: whole blocks in every row. */
static temper_status count_bytes(const struct cursor *cursor, struct record *record, size_t *bytes,
                                 temper_error *error) {
    const lm_tensor *tensor = &record->tensor;
    size_t elements, row = tensor->shape[tensor->rank - 1], block = lm_dtype_block(tensor->dtype, &elements);
    if (row % elements != 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s: tensor \"%s\": a row of %zu is not a multiple of the %zu of a %s block",
                           cursor->file->name, record->name, row, elements, lm_dtype_name(tensor->dtype));
    }
    bool overflow = __builtin_mul_overflow(row / elements, block, bytes);
    for (unsigned i = 0; i + 1 < tensor->rank; i++) {
        overflow = __builtin_mul_overflow(*bytes, tensor->shape[i], bytes) || overflow;
    }
    /* As f32, which is what it is read as, too. */
    size_t widened = *bytes;
    overflow = __builtin_mul_overflow(widened, (size_t)8, &widened) || overflow;
    return overflow ? temper_fail(error, TEMPER_INVALID, "%s: tensor \"%s\": its shape overflows",
                                  cursor->file->name, record->name)
                    : TEMPER_OK;
}

/* Places a tensor in the data, or, for a type that is not read, checks that it begins there. */
static temper_status place(const struct cursor *cursor, size_t data_start, size_t alignment,
                           struct record *record, temper_error *error) {
    lm_tensor *tensor = &record->tensor;
    size_t size = data_start > cursor->file->size ? 0 : cursor->file->size - data_start, bytes = 0;
    bool ours = own_dtype(record->type, &tensor->dtype);
    temper_status status = ours ? count_bytes(cursor, record, &bytes, error) : TEMPER_OK;
    if (status) {
        return status;
    }
    if (record->offset % alignment != 0 || record->offset > size || (ours && bytes > size - record->offset)) {
        return temper_fail(
            error, TEMPER_INVALID,
            "%s: tensor \"%s\" at offset %llu is not within the file's %zu bytes of data, at a "
            "multiple of %zu (is the file cut short?)",
            cursor->file->name, record->name, (unsigned long long)record->offset, size, alignment);
    }
    if (ours) {
        tensor->name = record->name;
        tensor->bytes = bytes;
        tensor->data = (const char *)cursor->file->data + data_start + record->offset;
    }
    return TEMPER_OK;
}

static int by_offset(const void *left_record, const void *right_record) {
    const struct record *a = *(struct record *const *)left_record, *b = *(struct record *const *)right_record;
    if (a->offset != b->offset) {
        return a->offset < b->offset ? -1 : 1;
    }
    return a->tensor.bytes < b->tensor.bytes ? -1 : a->tensor.bytes > b->tensor.bytes;
}

static int by_record_name(const void *left_record, const void *right_record) {
    return strcmp((*(struct record *const *)left_record)->name,
                  (*(struct record *const *)right_record)->name);
}

static temper_status check_records(lm_gguf *self, const lm_file *file, temper_error *error) {
    struct record **sorted = self->by_name;
    size_t end = 0;
    qsort(sorted, self->record_count, sizeof *sorted, by_offset);
    for (size_t i = 0; i < self->record_count; i++) {
        if (sorted[i]->offset < end) {
            return temper_fail(error, TEMPER_INVALID, "%s: tensor \"%s\" begins inside another", file->name,
                               sorted[i]->name);
        }
        end = (size_t)sorted[i]->offset + sorted[i]->tensor.bytes;
    }
    qsort(sorted, self->record_count, sizeof *sorted, by_record_name);
    for (size_t i = 1; i < self->record_count; i++) {
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0) {
            return temper_fail(error, TEMPER_INVALID, "%s: tensor \"%s\" is there twice", file->name,
                               sorted[i]->name);
        }
    }
    return TEMPER_OK;
}

static temper_status read_records(lm_gguf *self, struct cursor *cursor, uint64_t count, temper_error *error) {
    int64_t alignment = 32;
    temper_status status;
    /* The least record: an empty name's length, a rank, one side, a type, an offset. */
    if (count > left(cursor) / 32) {
        return temper_fail(error, TEMPER_INVALID, "%s: says it has %llu tensors; the file is not that long",
                           cursor->file->name, (unsigned long long)count);
    }
    self->records = calloc((size_t)count + 1, sizeof *self->records);
    self->by_name = calloc((size_t)count + 1, sizeof *self->by_name);
    self->tensors = calloc((size_t)count + 1, sizeof *self->tensors);
    if (self->records == NULL || self->by_name == NULL || self->tensors == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "%s: no memory for its tensors", cursor->file->name);
    }
    lm_gguf_integer(self, "general.alignment", &alignment);
    if (alignment <= 0 || alignment > 1 << 30 || (alignment & (alignment - 1)) != 0) {
        return temper_fail(error, TEMPER_INVALID, "%s: general.alignment is %lld; it must be a power of two",
                           cursor->file->name, (long long)alignment);
    }
    for (size_t i = 0; i < count; i++) {
        self->record_count++;
        self->by_name[i] = &self->records[i];
        status = read_record(cursor, &self->records[i], i, error);
        if (status) {
            return status;
        }
    }
    size_t start = cursor->at, step = (size_t)alignment;
    if (__builtin_add_overflow(start, (step - start % step) % step, &start)) {
        return cut_short(cursor, "data of tensor", 0, error);
    }
    for (size_t i = 0; i < count; i++) {
        status = place(cursor, start, step, &self->records[i], error);
        if (status) {
            return status;
        }
        if (self->records[i].tensor.data != NULL) {
            self->tensors[self->tensor_count++] = self->records[i].tensor;
        }
    }
    return check_records(self, cursor->file, error);
}

temper_status lm_gguf_open(const lm_file *file, lm_gguf **out, temper_error *error) {
    struct cursor cursor = {file, 0};
    uint32_t version;
    uint64_t tensors, pairs;
    temper_status status;
    *out = NULL;
    const unsigned char *magic = take(&cursor, 4);
    if (magic == NULL || memcmp(magic, "GGUF", 4) != 0) {
        return temper_fail(error, TEMPER_INVALID, "%s: is no GGUF file (it does not begin with \"GGUF\")",
                           file->name);
    }
    if (!take_u32(&cursor, &version) || !take_u64(&cursor, &tensors) || !take_u64(&cursor, &pairs)) {
        return cut_short(&cursor, "the header, byte", 4, error);
    }
    if (version != 2 && version != 3) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s: GGUF version %u%s; 2 and 3 are read", file->name,
                           version, (version & 0xffff) == 0 && version != 0 ? " (big-endian)" : "");
    }
    lm_gguf *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "%s: no memory", file->name);
    }
    status = read_pairs(self, &cursor, pairs, error);
    if (!status) {
        status = read_records(self, &cursor, tensors, error);
    }
    if (status) {
        lm_gguf_close(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

void lm_gguf_close(lm_gguf *self) {
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->pair_count; i++) {
        free(self->pairs[i].strings);
    }
    for (size_t i = 0; i < self->record_count; i++) {
        free(self->records[i].name);
    }
    free(self->pairs);
    free(self->records);
    free(self->by_name);
    free(self->tensors);
    free(self);
}

size_t lm_gguf_count(const lm_gguf *self) {
    return self->tensor_count;
}

const lm_tensor *lm_gguf_at(const lm_gguf *self, size_t index) {
    return index < self->tensor_count ? &self->tensors[index] : NULL;
}

static const struct record *find_record(const lm_gguf *self, const char *name) {
    size_t low = 0, high = self->record_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, self->by_name[middle]->name);
        if (order == 0) {
            return self->by_name[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

const lm_tensor *lm_gguf_find(const lm_gguf *self, const char *name) {
    const struct record *record = find_record(self, name);
    return record == NULL || record->tensor.data == NULL ? NULL : &record->tensor;
}

const char *lm_gguf_unread(const lm_gguf *self, const char *name) {
    static const char *const names[] = {
        "F32",      "F16",      "Q4_0",    "Q4_1",  "Q4_2",       "Q4_3",       "Q5_0",       "Q5_1",
        "Q8_0",     "Q8_1",     "Q2_K",    "Q3_K",  "Q4_K",       "Q5_K",       "Q6_K",       "Q8_K",
        "IQ2_XXS",  "IQ2_XS",   "IQ3_XXS", "IQ1_S", "IQ4_NL",     "IQ3_S",      "IQ2_S",      "IQ4_XS",
        "I8",       "I16",      "I32",     "I64",   "F64",        "IQ1_M",      "BF16",       "Q4_0_4_4",
        "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",   "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4"};
    const struct record *record = find_record(self, name);
    if (record == NULL || record->tensor.data != NULL) {
        return NULL;
    }
    return record->type < sizeof names / sizeof *names ? names[record->type] : "a type";
}

static const struct pair *find_pair(const lm_gguf *self, const char *key) {
    size_t low = 0, high = self->pair_count, length = strlen(key);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_keys(key, length, self->pairs[middle].key, self->pairs[middle].key_length);
        if (order == 0) {
            return &self->pairs[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

const void *lm_gguf_raw(const lm_gguf *self, const char *key, size_t *size) {
    const struct pair *pair = find_pair(self, key);
    *size = pair == NULL ? 0 : pair->raw_size;
    return pair == NULL ? NULL : pair->raw;
}

/* One integer of the file, of any width; a u64 past int64 is no integer here. */
static bool integer_at(enum gguf_type type, const unsigned char *data, int64_t *out) {
    uint64_t bits = 0;
    if (type == G_FLOAT32 || type == G_FLOAT64 || type == G_BOOL || type_size[type] == 0) {
        return false;
    }
    memcpy(&bits, data, type_size[type]);
    switch (type) {
    case G_INT8: *out = (int64_t)(bits ^ 0x80) - 0x80; return true;
    case G_INT16: *out = (int16_t)bits; return true;
    case G_INT32: *out = (int32_t)bits; return true;
    case G_INT64: *out = (int64_t)bits; return true;
    default: *out = (int64_t)bits; return bits <= INT64_MAX;
    }
}

static bool number_at(enum gguf_type type, const unsigned char *data, double *out) {
    float narrow;
    int64_t integer;
    if (type == G_FLOAT32) {
        memcpy(&narrow, data, sizeof narrow);
        *out = (double)narrow;
        return true;
    }
    if (type == G_FLOAT64) {
        memcpy(out, data, sizeof *out);
        return true;
    }
    if (integer_at(type, data, &integer)) {
        *out = (double)integer;
        return true;
    }
    return false;
}

bool lm_gguf_integer(const lm_gguf *self, const char *key, int64_t *out) {
    const struct pair *pair = find_pair(self, key);
    return pair != NULL && integer_at(pair->type, pair->data, out);
}

bool lm_gguf_number(const lm_gguf *self, const char *key, double *out) {
    const struct pair *pair = find_pair(self, key);
    return pair != NULL && number_at(pair->type, pair->data, out);
}

bool lm_gguf_bool(const lm_gguf *self, const char *key, bool *out) {
    const struct pair *pair = find_pair(self, key);
    if (pair == NULL || pair->type != G_BOOL) {
        return false;
    }
    *out = pair->data[0] != 0;
    return true;
}

bool lm_gguf_string(const lm_gguf *self, const char *key, const char **text, size_t *length) {
    const struct pair *pair = find_pair(self, key);
    if (pair == NULL || pair->type != G_STRING) {
        return false;
    }
    *text = (const char *)pair->data;
    *length = pair->length;
    return true;
}

size_t lm_gguf_array_length(const lm_gguf *self, const char *key) {
    const struct pair *pair = find_pair(self, key);
    return pair == NULL || pair->type != G_ARRAY ? 0 : pair->length;
}

bool lm_gguf_array_string(const lm_gguf *self, const char *key, size_t index, const char **text,
                          size_t *length) {
    const struct pair *pair = find_pair(self, key);
    if (pair == NULL || pair->type != G_ARRAY || pair->item != G_STRING || index >= pair->length) {
        return false;
    }
    uint64_t size;
    const unsigned char *data = pair->data + pair->strings[index];
    memcpy(&size, data, sizeof size);
    *text = (const char *)data + sizeof size;
    *length = (size_t)size;
    return true;
}

bool lm_gguf_array_number(const lm_gguf *self, const char *key, size_t index, double *out) {
    const struct pair *pair = find_pair(self, key);
    if (pair == NULL || pair->type != G_ARRAY || index >= pair->length) {
        return false;
    }
    return number_at(pair->item, pair->data + index * type_size[pair->item], out);
}

size_t lm_gguf_key_count(const lm_gguf *self) {
    return self->pair_count;
}

const char *lm_gguf_key_at(const lm_gguf *self, size_t index, size_t *length) {
    *length = self->pairs[index].key_length;
    return self->pairs[index].key;
}

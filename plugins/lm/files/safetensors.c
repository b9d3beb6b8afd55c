/* safetensors.c: the reader. Eight bytes of header length, a JSON header, then one buffer.
 *
 * Invariant: after open, each tensor's shape times its element size is the length of its range, the ranges lie in
 * the buffer, and together they cover it without hole or overlap. Tensors of a dtype or rank that this library does
 * not read are checked as strictly, and then kept by name only, so that a message can say why one is missing. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* The reference implementation's limit on the header. */
enum { MAX_HEADER = 100000000 };

struct entry {
    const char *name;  /* owned by the JSON document */
    const char *dtype; /* the same */
    size_t begin, end;
    lm_tensor tensor; /* data NULL: not one of ours */
};

struct lm_safetensors {
    json_t *header;
    struct entry *entries; /* in the header's order */
    size_t count;
    struct entry **by_name;
    lm_tensor *tensors; /* those that can be read, in the header's order */
    size_t tensor_count;
};

static const struct {
    const char *name;
    unsigned size;
    int ours;
} dtypes[] = {{"F32", 4, LM_F32}, {"F16", 2, LM_F16}, {"BF16", 2, LM_BF16}, {"F64", 8, -1},
              {"I64", 8, -1},     {"U64", 8, -1},     {"C64", 8, -1},       {"I32", 4, -1},
              {"U32", 4, -1},     {"I16", 2, -1},     {"U16", 2, -1},       {"I8", 1, -1},
              {"U8", 1, -1},      {"BOOL", 1, -1},    {"F8_E5M2", 1, -1},   {"F8_E4M3", 1, -1},
              {"F8_E8M0", 1, -1}};

static temper_status read_size(const json_t *value, const char *file, const char *name, const char *what,
                               size_t *out, temper_error *error) {
    int64_t integer;
    char text[80];
    if (!lm_json_integer(value, &integer) || integer < 0) {
        return temper_fail(error, TEMPER_INVALID, "%s: tensor \"%s\": %s holds %s, which is no size", file,
                           name, what,
                           value == NULL ? "nothing" : lm_json_describe(value, text, sizeof text));
    }
    *out = (size_t)integer;
    return TEMPER_OK;
}

/* Shape and dtype against the range; fills the tensor if it is one that can be read. */
static temper_status read_shape(const lm_file *file, const json_t *shape, size_t dtype, struct entry *entry,
                                temper_error *error) {
    size_t elements = 1, bytes, rank = json_array_size(shape);
    for (size_t i = 0; i < rank; i++) {
        size_t side = 0;
        temper_status status =
            read_size(json_array_get(shape, i), file->name, entry->name, "shape", &side, error);
        if (status) {
            return status;
        }
        if (__builtin_mul_overflow(elements, side, &elements)) {
            return temper_fail(error, TEMPER_INVALID, "%s: tensor \"%s\": its shape overflows", file->name,
                               entry->name);
        }
        if (i < LM_MAX_RANK) {
            entry->tensor.shape[i] = side;
        }
    }
    if (__builtin_mul_overflow(elements, (size_t)dtypes[dtype].size, &bytes) ||
        bytes != entry->end - entry->begin) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s: tensor \"%s\": %zu elements of %s are not the %zu bytes of its data_offsets",
                           file->name, entry->name, elements, dtypes[dtype].name, entry->end - entry->begin);
    }
    if (dtypes[dtype].ours >= 0 && rank <= LM_MAX_RANK) {
        entry->tensor.name = entry->name;
        entry->tensor.dtype = (lm_dtype)dtypes[dtype].ours;
        entry->tensor.rank = (unsigned)rank;
        entry->tensor.bytes = bytes;
    }
    return TEMPER_OK;
}

static temper_status read_entry(const lm_file *file, size_t data_start, const json_t *value,
                                struct entry *entry, temper_error *error) {
    temper_status status;
    const json_t *shape = json_object_get(value, "shape");
    const json_t *offsets = json_object_get(value, "data_offsets");
    size_t dtype = 0, size = file->size - data_start;
    entry->dtype = json_string_value(json_object_get(value, "dtype"));
    if (entry->dtype == NULL || !json_is_array(shape) || !json_is_array(offsets) ||
        json_array_size(offsets) != 2) {
        return temper_fail(
            error, TEMPER_INVALID,
            "%s: tensor \"%s\": needs dtype (a string), shape (a list) and data_offsets (two numbers)",
            file->name, entry->name);
    }
    while (dtype < sizeof dtypes / sizeof *dtypes && strcmp(dtypes[dtype].name, entry->dtype) != 0) {
        dtype++;
    }
    if (dtype == sizeof dtypes / sizeof *dtypes) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s: tensor \"%s\": unknown dtype \"%.40s\"",
                           file->name, entry->name, entry->dtype);
    }
    if ((status = read_size(json_array_get(offsets, 0), file->name, entry->name, "data_offsets",
                            &entry->begin, error)) ||
        (status = read_size(json_array_get(offsets, 1), file->name, entry->name, "data_offsets", &entry->end,
                            error))) {
        return status;
    }
    if (entry->begin > entry->end || entry->end > size) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s: tensor \"%s\": its range %zu..%zu is not within the file's %zu bytes of data "
                           "(is the file cut short?)",
                           file->name, entry->name, entry->begin, entry->end, size);
    }
    entry->tensor.data = NULL;
    status = read_shape(file, shape, dtype, entry, error);
    if (!status && entry->tensor.name != NULL) {
        entry->tensor.data = (const char *)file->data + data_start + entry->begin;
    }
    return status;
}

static int by_range(const void *left, const void *right) {
    const struct entry *a = *(struct entry *const *)left, *b = *(struct entry *const *)right;
    if (a->begin != b->begin) {
        return a->begin < b->begin ? -1 : 1;
    }
    return a->end < b->end ? -1 : a->end > b->end;
}

static int by_name(const void *left, const void *right) {
    return strcmp((*(struct entry *const *)left)->name, (*(struct entry *const *)right)->name);
}

static temper_status check_cover(const lm_file *file, size_t size, struct entry **sorted, size_t count,
                                 temper_error *error) {
    size_t end = 0;
    for (size_t i = 0; i < count; i++) {
        if (sorted[i]->begin != end) {
            return temper_fail(
                error, TEMPER_INVALID, "%s: tensor \"%s\" begins at byte %zu of the data, %s %zu", file->name,
                sorted[i]->name, sorted[i]->begin,
                sorted[i]->begin < end ? "inside the one that ends at" : "leaving a hole after", end);
        }
        end = sorted[i]->end;
    }
    if (end != size) {
        return temper_fail(error, TEMPER_INVALID, "%s: %zu bytes after the last tensor belong to none",
                           file->name, size - end);
    }
    return TEMPER_OK;
}

static temper_status read_header(lm_safetensors *self, const lm_file *file, size_t data_start,
                                 temper_error *error) {
    const char *name;
    json_t *value;
    temper_status status = TEMPER_OK;
    size_t capacity = json_object_size(self->header) + 1;
    self->entries = calloc(capacity, sizeof *self->entries);
    self->by_name = calloc(capacity, sizeof *self->by_name);
    self->tensors = calloc(capacity, sizeof *self->tensors);
    if (self->entries == NULL || self->by_name == NULL || self->tensors == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "%s: no memory for its tensors", file->name);
    }
    json_object_foreach(self->header, name, value) {
        if (strcmp(name, "__metadata__") == 0) {
            continue;
        }
        struct entry *entry = &self->entries[self->count];
        entry->name = name;
        status = read_entry(file, data_start, value, entry, error);
        if (status) {
            return status;
        }
        self->by_name[self->count++] = entry;
        if (entry->tensor.name != NULL) {
            self->tensors[self->tensor_count] = entry->tensor;
            self->tensor_count++;
        }
    }
    qsort(self->by_name, self->count, sizeof *self->by_name, by_range);
    status = check_cover(file, file->size - data_start, self->by_name, self->count, error);
    qsort(self->by_name, self->count, sizeof *self->by_name, by_name);
    return status;
}

temper_status lm_safetensors_open(const lm_file *file, lm_safetensors **out, temper_error *error) {
    uint64_t length;
    temper_status status;
    *out = NULL;
    if (file->size < sizeof length) {
        return temper_fail(error, TEMPER_INVALID, "%s: %zu bytes are too few for a safetensors file",
                           file->name, file->size);
    }
    memcpy(&length, file->data, sizeof length);
    if (length > MAX_HEADER || length > file->size - sizeof length) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s: a header of %llu bytes is not within the file's %zu (is it cut short?)",
                           file->name, (unsigned long long)length, file->size);
    }
    lm_safetensors *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "%s: no memory", file->name);
    }
    status = lm_json_parse((const char *)file->data + sizeof length, (size_t)length, file->name,
                           &self->header, error);
    if (!status && !json_is_object(self->header)) {
        status = temper_fail(error, TEMPER_INVALID, "%s: the header is not a JSON object", file->name);
    }
    if (!status) {
        status = read_header(self, file, sizeof length + (size_t)length, error);
    }
    if (status) {
        lm_safetensors_close(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

size_t lm_safetensors_count(const lm_safetensors *self) {
    return self->tensor_count;
}

const lm_tensor *lm_safetensors_at(const lm_safetensors *self, size_t index) {
    return index < self->tensor_count ? &self->tensors[index] : NULL;
}

static const struct entry *find_entry(const lm_safetensors *self, const char *name) {
    size_t low = 0, high = self->count;
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

const lm_tensor *lm_safetensors_find(const lm_safetensors *self, const char *name) {
    const struct entry *entry = find_entry(self, name);
    return entry == NULL || entry->tensor.name == NULL ? NULL : &entry->tensor;
}

const char *lm_safetensors_unread(const lm_safetensors *self, const char *name) {
    const struct entry *entry = find_entry(self, name);
    return entry == NULL || entry->tensor.name != NULL ? NULL : entry->dtype;
}

void lm_safetensors_close(lm_safetensors *self) {
    if (self == NULL) {
        return;
    }
    json_decref(self->header);
    free(self->entries);
    free(self->by_name);
    free(self->tensors);
    free(self);
}

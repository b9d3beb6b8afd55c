/* safetensors_write.c: the writer.
 *
 * Invariant: the bytes are a function of the tensors and the metadata alone: wide elements first (so that each
 * tensor is aligned to its element), then by name; metadata in the caller's order; header padded to 8 bytes. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static int in_file_order(const void *left, const void *right) {
    const lm_tensor *a = *(const lm_tensor *const *)left, *b = *(const lm_tensor *const *)right;
    size_t wide_a = lm_dtype_size(a->dtype), wide_b = lm_dtype_size(b->dtype);
    if (wide_a != wide_b) {
        return wide_a > wide_b ? -1 : 1;
    }
    return strcmp(a->name, b->name);
}

static int by_name(const void *left, const void *right) {
    return strcmp((*(const lm_tensor *const *)left)->name, (*(const lm_tensor *const *)right)->name);
}

static temper_status check_tensors(const lm_tensor **sorted, size_t count, temper_error *error) {
    qsort(sorted, count, sizeof *sorted, by_name);
    for (size_t i = 0; i < count; i++) {
        const lm_tensor *tensor = sorted[i];
        size_t bytes = lm_dtype_size(tensor->dtype);
        bool overflow = tensor->rank > LM_MAX_RANK || bytes == 0; /* no blocks in this format */
        for (unsigned side = 0; !overflow && side < tensor->rank; side++) {
            overflow = __builtin_mul_overflow(bytes, tensor->shape[side], &bytes);
        }
        if (overflow || bytes != tensor->bytes) {
            return temper_fail(error, TEMPER_INVALID, "tensor \"%s\": its shape and its %zu bytes disagree",
                               tensor->name, tensor->bytes);
        }
        if (i > 0 && strcmp(sorted[i - 1]->name, tensor->name) == 0) {
            return temper_fail(error, TEMPER_INVALID, "tensor \"%s\" is there twice", tensor->name);
        }
    }
    return TEMPER_OK;
}

/* The header as compact JSON, or NULL when memory (or a name's UTF-8) fails. */
static char *build_header(const lm_tensor *const *sorted, size_t count, const char *const *metadata,
                          size_t metadata_pairs) {
    json_t *header = json_object();
    char *text = NULL;
    size_t offset = 0;
    if (metadata_pairs > 0) {
        json_t *pairs = json_object();
        for (size_t i = 0; i < metadata_pairs; i++) {
            if (json_object_set_new(pairs, metadata[2 * i], json_string(metadata[2 * i + 1]))) {
                json_decref(pairs);
                goto out;
            }
        }
        if (json_object_set_new(header, "__metadata__", pairs)) {
            goto out;
        }
    }
    for (size_t i = 0; i < count; i++) {
        const lm_tensor *tensor = sorted[i];
        json_t *shape = json_array();
        for (unsigned side = 0; side < tensor->rank; side++) {
            json_array_append_new(shape, json_integer((json_int_t)tensor->shape[side]));
        }
        json_t *value =
            json_pack("{s:s, s:o, s:[I,I]}", "dtype", lm_dtype_name(tensor->dtype), "shape", shape,
                      "data_offsets", (json_int_t)offset, (json_int_t)offset + (json_int_t)tensor->bytes);
        if (value == NULL || json_object_set_new(header, tensor->name, value)) {
            goto out;
        }
        offset += tensor->bytes;
    }
    text = json_dumps(header, JSON_COMPACT);
out:
    json_decref(header);
    return text;
}

/* The tensors one after another; one that has no data yet is fetched into `room`, which holds the largest of those. */
static temper_status write_data(const lm_tensor *tensors, const lm_tensor *const *sorted, size_t count,
                                lm_fetch *fetch, void *fetch_context, lm_write *write, void *context,
                                temper_error *error) {
    size_t most = 0;
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < count; i++) {
        most = sorted[i]->data == NULL && sorted[i]->bytes > most ? sorted[i]->bytes : most;
    }
    void *room = malloc(most + 1);
    if (room == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a tensor of %zu bytes", most);
    }
    for (size_t i = 0; i < count && !status; i++) {
        const void *data = sorted[i]->data;
        if (data == NULL) {
            status = fetch(fetch_context, (size_t)(sorted[i] - tensors), room, error);
            data = room;
        }
        if (!status && sorted[i]->bytes > 0) {
            status = write(context, data, sorted[i]->bytes, error);
        }
    }
    free(room);
    return status;
}

temper_status lm_safetensors_write(const lm_tensor *tensors, size_t count, const char *const *metadata,
                                   size_t metadata_pairs, lm_write *write, void *context,
                                   temper_error *error) {
    return lm_safetensors_stream(tensors, count, metadata, metadata_pairs, NULL, NULL, write, context, error);
}

temper_status lm_safetensors_stream(const lm_tensor *tensors, size_t count, const char *const *metadata,
                                    size_t metadata_pairs, lm_fetch *fetch, void *fetch_context,
                                    lm_write *write, void *context, temper_error *error) {
    temper_status status;
    char *header = NULL;
    const lm_tensor **sorted = malloc((count + 1) * sizeof *sorted);
    if (sorted == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to write tensors");
    }
    for (size_t i = 0; i < count; i++) {
        sorted[i] = &tensors[i];
    }
    status = check_tensors(sorted, count, error);
    if (status) {
        goto out;
    }
    qsort(sorted, count, sizeof *sorted, in_file_order);
    header = build_header(sorted, count, metadata, metadata_pairs);
    if (header == NULL) {
        status =
            temper_fail(error, TEMPER_INVALID, "no safetensors header: a name is not UTF-8, or no memory");
        goto out;
    }
    size_t used = strlen(header);
    uint64_t length = (used + 7) / 8 * 8;
    if ((status = write(context, &length, sizeof length, error)) ||
        (status = write(context, header, used, error)) ||
        (length > used && (status = write(context, "        ", (size_t)length - used, error)))) {
        goto out;
    }
    status = write_data(tensors, sorted, count, fetch, fetch_context, write, context, error);
out:
    free(header);
    free(sorted);
    return status;
}

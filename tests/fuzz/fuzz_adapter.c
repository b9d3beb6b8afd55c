/* fuzz_adapter.c: any bytes as adapter_config.json, over tensors that fit a small llama: what is taken has ranks and scales in
 * range and can be read to its last element. */
#include "files/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HIDDEN = 8, LAYERS = 2, RANK = 2 };

/* PEFT's pairs of every query. */
static size_t make_tensors(const lm_config *base, lm_tensor *tensors, char names[][160]) {
    static const float values[HIDDEN * RANK];
    size_t count = 0;
    for (size_t layer = 0; layer < LAYERS; layer++) {
        for (int second = 0; second < 2; second++, count++) {
            lm_adapter_name(base, LM_QUERY, layer, second ? 'B' : 'A', names[count], 160);
            tensors[count] = (lm_tensor){.name = names[count],
                                         .dtype = LM_F32,
                                         .rank = 2,
                                         .shape = {second ? HIDDEN : RANK, second ? RANK : HIDDEN},
                                         .data = values,
                                         .bytes = sizeof values};
        }
    }
    return count;
}

typedef struct bytes {
    char data[4096];
    size_t size;
} bytes;

static temper_status append(void *context, const void *data, size_t count, temper_error *error) {
    bytes *self = context;
    if (count > sizeof self->data - self->size) {
        return temper_fail(error, TEMPER_NO_MEMORY, "more than was thought");
    }
    memcpy(self->data + self->size, data, count);
    self->size += count;
    return TEMPER_OK;
}

static void use(const lm_adapter_file *adapter) {
    float a[HIDDEN * RANK], b[HIDDEN * RANK];
    for (size_t layer = 0; layer < LAYERS; layer++) {
        size_t rank;
        double scale;
        if (!lm_adapter_pair(adapter, LM_QUERY, layer, &rank, &scale) || rank != RANK || !(scale >= 0) ||
            !lm_adapter_read(adapter, LM_QUERY, layer, a, b)) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static lm_config base;
    static bytes weights;
    temper_error error = TEMPER_ERROR_INIT;
    if (weights.size == 0) {
        lm_tensor tensors[2 * LAYERS];
        char names[2 * LAYERS][160];
        if (!lm_config_start(&base, "llama")) {
            abort();
        }
        base.vocabulary = base.hidden = base.intermediate = base.context = HIDDEN;
        base.heads = base.kv_heads = 2;
        base.head_size = HIDDEN / 2;
        base.layers = LAYERS;
        if (lm_safetensors_write(tensors, make_tensors(&base, tensors, names), NULL, 0, append, &weights,
                                 &error)) {
            abort();
        }
    }
    const lm_file files[] = {{"adapter_config.json", data, size},
                             {"adapter_model.safetensors", weights.data, weights.size}};
    const lm_file_set set = {files, 2};
    lm_adapter_file *adapter;
    if (lm_adapter_open(&set, &base, &adapter, &error) == TEMPER_OK) {
        use(adapter);
        lm_adapter_close(adapter);
    } else if (error.message[0] == 0) {
        abort();
    }
    return 0;
}

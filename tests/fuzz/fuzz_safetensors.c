/* fuzz_safetensors.c: any bytes as a safetensors file. What is taken can be read to its last element, and written again
 * gives a file with the same tensors. */
#include "files/files.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static temper_status count_bytes(void *context, const void *bytes, size_t count, temper_error *error) {
    volatile const unsigned char *at = bytes;
    (void)error;
    for (size_t i = 0; i < count; i++) {
        *(unsigned *)context += at[i];
    }
    return TEMPER_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    temper_error error = TEMPER_ERROR_INIT;
    void *copy = malloc(size + 1);
    lm_safetensors *self;
    unsigned sum = 0;
    memcpy(copy, data, size);
    lm_file file = {"model.safetensors", copy, size};
    if (lm_safetensors_open(&file, &self, &error)) {
        if (error.message[0] == 0) {
            abort();
        }
        free(copy);
        return 0;
    }
    size_t count = lm_safetensors_count(self);
    for (size_t i = 0; i < count; i++) {
        const lm_tensor *tensor = lm_safetensors_at(self, i);
        size_t elements = lm_tensor_elements(tensor);
        float *values = malloc((elements + 1) * sizeof *values);
        lm_tensor_read(tensor, 0, elements, values);
        free(values);
        if (lm_safetensors_find(self, tensor->name) == NULL) {
            abort();
        }
    }
    if (count > 0 && lm_safetensors_write(lm_safetensors_at(self, 0), count, NULL, 0, count_bytes, &sum,
                                          &error) != TEMPER_OK) {
        abort();
    }
    lm_safetensors_close(self);
    free(copy);
    return 0;
}

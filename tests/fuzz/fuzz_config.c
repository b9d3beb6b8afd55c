/* fuzz_config.c: any bytes as config.json. What is taken is in range, and written gives itself back. */
#include "files/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static lm_config config, again;
    temper_error error = TEMPER_ERROR_INIT;
    if (lm_config_parse((const char *)data, size, &config, &error)) {
        if (error.message[0] == 0) {
            abort();
        }
        return 0;
    }
    if (config.layers < 1 || config.layers > LM_MAX_LAYERS || config.heads % config.kv_heads != 0) {
        abort();
    }
    char *text = lm_config_write(&config, LM_F32);
    if (text == NULL || lm_config_parse(text, strlen(text), &again, &error) ||
        memcmp(&config, &again, sizeof config) != 0) {
        abort();
    }
    free(text);
    return 0;
}

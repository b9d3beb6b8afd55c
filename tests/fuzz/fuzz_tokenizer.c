/* fuzz_tokenizer.c: any bytes as tokenizer.json. With what is taken, text comes back as it went in. */
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lm_file file = {"tokenizer.json", data, size};
    lm_file_set set = {&file, 1};
    temper_error error = TEMPER_ERROR_INIT;
    lm_tokenizer *tokenizer;
    lm_tokens tokens;
    char *back;
    const char *text = (const char *)data;
    size_t length = size < 300 ? size : 300, back_length;
    if (lm_tokenizer_open(&set, &tokenizer, &error)) {
        if (error.message[0] == 0) {
            abort();
        }
        return 0;
    }
    if (!lm_tokenizer_encode(tokenizer, text, length, data, &tokens, &error)) {
        int32_t *ids = malloc((tokens.count + 1) * sizeof *ids);
        for (size_t i = 0; i < tokens.count; i++) {
            ids[i] = tokens.items[i].id;
        }
        if (lm_tokenizer_decode(tokenizer, ids, tokens.count, false, true, &back, &back_length, &error) ||
            back_length != length || memcmp(back, text, length) != 0) {
            abort();
        }
        free(back);
        free(ids);
        lm_tokens_free(&tokens);
    }
    lm_tokenizer_close(tokenizer);
    return 0;
}

/* fuzz_tokenizer.c: any bytes as tokenizer.json. See tokenizer_check.h for what holds. */
#include "tokenizer_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lm_file file = {"tokenizer.json", data, size};
    lm_file_set set = {&file, 1};
    temper_error error = TEMPER_ERROR_INIT;
    lm_tokenizer *tokenizer;
    if (lm_tokenizer_open(&set, &tokenizer, &error)) {
        if (error.message[0] == 0) {
            abort();
        }
        return 0;
    }
    check_tokenizer(tokenizer, (const char *)data, size < 300 ? size : 300, data);
    check_tokenizer(tokenizer, "AB a\xC3\xA9  <s>h\xEF\xAC\x81, 12 <t> he", 25,
                    (const uint8_t *)"1111111111111111111111111");
    lm_tokenizer_close(tokenizer);
    return 0;
}

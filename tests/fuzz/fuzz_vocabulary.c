/* fuzz_vocabulary.c: any bytes as a SentencePiece .model, as a file of ranks, as tekken.json. The first byte says which. See
 * tokenizer_check.h for what holds. */
#include "tokenizer_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"tokenizer.model", "ranks.tiktoken", "tekken.json"};
    if (size < 1) {
        return 0;
    }
    lm_file file = {names[data[0] % 3], data + 1, size - 1};
    lm_file_set set = {&file, 1};
    temper_error error = TEMPER_ERROR_INIT;
    lm_tokenizer *tokenizer;
    static lm_load_file *const loaders[] = {lm_load_sentencepiece, lm_load_tiktoken, lm_load_tekken};
    lm_specials *specials = NULL;
    temper_status status = lm_specials_read(&set, &specials, &error);
    status = status ? status : loaders[data[0] % 3](&file, specials, &tokenizer, &error);
    lm_specials_free(specials);
    if (status) {
        if (error.message[0] == 0) {
            abort();
        }
        return 0;
    }
    check_tokenizer(tokenizer, "the sea, a\xC3\xA9  <s> \xE2\x96\x81 x", 22, NULL);
    check_tokenizer(tokenizer, (const char *)data, size < 200 ? size : 200, data);
    lm_tokenizer_close(tokenizer);
    return 0;
}

/* fuzz_gguf.c: any bytes as a GGUF: its tensors, its model, its vocabulary. */
#include "files/config.h"
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_vocabulary(const lm_file_set *set) {
    lm_tokenizer *tokenizer;
    lm_tokens tokens;
    if (lm_tokenizer_open(set, &tokenizer, NULL)) {
        return;
    }
    if (!lm_tokenizer_encode(tokenizer, "Once \xE2\x96\x81 upon", 13, NULL, &tokens, NULL)) {
        lm_tokens_free(&tokens);
    }
    lm_tokenizer_close(tokenizer);
}

static void use_model(const lm_file_set *set) {
    lm_checkpoint *checkpoint;
    if (lm_checkpoint_open(set, &checkpoint, NULL)) {
        return;
    }
    const lm_config *config = lm_checkpoint_config(checkpoint);
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        unsigned rank;
        size_t shape[2];
        lm_role_shape(config, (lm_role)role, &rank, shape);
        float *values = malloc(shape[0] * (rank == 2 ? shape[1] : 1) * sizeof *values + 1);
        for (size_t layer = 0; rank > 0 && layer < (lm_role_per_layer((lm_role)role) ? config->layers : 1);
             layer++) {
            lm_checkpoint_read(checkpoint, (lm_role)role, layer, values, NULL);
        }
        free(values);
    }
    lm_checkpoint_close(checkpoint);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    void *copy = malloc(size + 1);
    memcpy(copy, data, size);
    lm_file file = {"model.gguf", copy, size};
    lm_file_set set = {&file, 1};
    use_model(&set);
    use_vocabulary(&set);
    free(copy);
    return 0;
}

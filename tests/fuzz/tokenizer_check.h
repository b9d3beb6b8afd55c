/* tokenizer_check.h: what holds for whatever tokenizer came out of a fuzzed file: tokens lie in order in the text, decoding takes
 * them, and where nothing of the text's is dropped by its nature, it comes back. */
#ifndef TEMPER_FUZZ_TOKENIZER_CHECK_H
#define TEMPER_FUZZ_TOKENIZER_CHECK_H

#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

static inline bool comes_back(const lm_tokenizer *self) {
    bool good = self->normalizer_count == 0;
    for (size_t i = 0; i < self->cut_count; i++) {
        const lm_cut *cut = &self->cuts[i];
        good = good && cut->behaviour != LM_REMOVED &&
               !(cut->kind == LM_CUT_METASPACE && cut->prefix != LM_PREFIX_NEVER);
    }
    for (size_t id = 0; id < self->size; id++) {
        const lm_entry *entry = &self->entries[id];
        good = good && (entry->match & (LM_LEFT_STRIP | LM_RIGHT_STRIP)) == 0 &&
               !(entry->kind == LM_ADDED && entry->length > 0 && entry->bytes[0] == ' ');
    }
    return good;
}

static inline void check_tokenizer(const lm_tokenizer *self, const char *text, size_t length,
                                   const uint8_t *allowed) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_tokens tokens;
    char *back;
    size_t back_length, at = 0;
    bool spared = comes_back(self);
    if (lm_tokenizer_encode(self, text, length, allowed, &tokens, &error)) {
        if (error.message[0] == 0) {
            abort();
        }
        return;
    }
    int32_t *ids = malloc((tokens.count + 1) * sizeof *ids);
    for (size_t i = 0; ids != NULL && i < tokens.count; i++) {
        const lm_token *token = &tokens.items[i];
        ids[i] = token->id;
        spared = spared && ids[i] != self->unknown;
        if (token->start > token->end || token->end > length || token->end < at) {
            abort();
        }
        at = token->end;
    }
    if (ids == NULL ||
        lm_tokenizer_decode(self, ids, tokens.count, false, true, &back, &back_length, &error)) {
        abort();
    }
    if (spared && (back_length != length || memcmp(back, text, length) != 0)) {
        abort();
    }
    free(back);
    free(ids);
    lm_tokens_free(&tokens);
}

#endif

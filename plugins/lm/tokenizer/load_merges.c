/* load_merges.c: vocab.json and merges.txt, as GPT-2 was released.
 *
 * Invariant: vocab.json's texts are byte-level symbols, except those that the other files call special. */
#include "../files/internal.h"
#include "internal.h"
#include "load.h"

#include <stdlib.h>
#include <string.h>

/* Lines of two tokens; a first line "#version: ..." and empty lines count for nothing. */
static temper_status read_merges(lm_tokenizer *self, const lm_file *file, temper_error *error) {
    const char *at = file->data, *end = at + file->size;
    size_t lines = 0, rank = 0, number = 0;
    for (const char *c = at; c < end; c++) {
        lines += *c == '\n';
    }
    temper_status status = lm_vocabulary_expect_merges(self, lines + 1, error);
    while (at < end && !status) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop == NULL ? end : stop;
        size_t length = (size_t)(stop - at);
        length -= length > 0 && at[length - 1] == '\r';
        number++;
        if (length > 0 && !(number == 1 && length >= 8 && memcmp(at, "#version", 8) == 0)) {
            status = lm_load_merge_line(self, LM_WRITES_BYTES, at, length, rank++, error);
        }
        if (status) {
            return temper_fail_in(error, status, "%s: line %zu", file->name, number);
        }
        at = stop == end ? end : stop + 1;
    }
    return status;
}

temper_status lm_load_merges(const lm_file_set *files, const lm_file *vocab, const lm_file *merges,
                             lm_tokenizer **out, temper_error *error) {
    lm_specials *specials = NULL;
    lm_tokenizer *self = NULL;
    json_t *root = NULL;
    temper_status status = lm_specials_read(files, &specials, error);
    *out = NULL;
    if (status || (status = lm_json_parse(vocab->data, vocab->size, vocab->name, &root, error))) {
        goto out;
    }
    if (!json_is_object(root)) {
        status = temper_fail(error, TEMPER_INVALID, "%s: is no JSON object", vocab->name);
        goto out;
    }
    const lm_vocab_source source = {.file = vocab->name,
                                    .writing = LM_WRITES_BYTES,
                                    .added = lm_specials_added(specials),
                                    .specials = specials};
    if ((status = lm_load_vocab(root, &source, &self, error)) ||
        (status = read_merges(self, merges, error))) {
        goto out;
    }
    lm_cut_add(self, LM_CUT_GPT2, LM_ISOLATED);
    status = lm_vocabulary_finish(self, error);
    if (!status) {
        lm_specials_apply(specials, self);
        *out = self;
        self = NULL;
    }
out:
    lm_tokenizer_close(self);
    lm_specials_free(specials);
    json_decref(root);
    return status;
}

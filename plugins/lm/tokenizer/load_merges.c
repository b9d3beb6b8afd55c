/* load_merges.c: vocab.json and merges.txt, as GPT-2 was released.
 *
 * Invariant: vocab.json's texts are byte-level symbols, except those that the other files call special. */
#include "../files/internal.h"
#include "internal.h"
#include "load.h"

#include <stdlib.h>
#include <string.h>

temper_status lm_load_vocab(const json_t *vocab, const json_t *added, const lm_specials *specials,
                            const char *file, lm_tokenizer **out, temper_error *error) {
    const char *text;
    json_t *value;
    int64_t id;
    size_t bytes = 0, most = json_object_size(vocab) + json_object_size(added);
    uint64_t size = 0;
    temper_status status;
    const json_t *sources[] = {vocab, added};
    *out = NULL;
    for (size_t s = 0; s < 2; s++) {
        json_object_foreach((json_t *)(uintptr_t)sources[s], text, value) {
            if (!lm_json_integer(value, &id) || id < 0 || (uint64_t)id > 2 * (uint64_t)most + 65536) {
                return temper_fail(error, TEMPER_INVALID,
                                   "%s: the id of \"%.60s\" is no number or far too large", file, text);
            }
            size = (uint64_t)id >= size ? (uint64_t)id + 1 : size;
            bytes += strlen(text) + 1;
        }
    }
    lm_tokenizer *self = lm_vocabulary_new((size_t)size, bytes);
    char *decoded = malloc(bytes + 1);
    if (self == NULL || decoded == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "%s: no memory for %llu tokens", file,
                             (unsigned long long)size);
        goto out;
    }
    status = TEMPER_OK;
    json_object_foreach((json_t *)(uintptr_t)added, text, value) {
        const json_t *twin = json_object_get(vocab, text);
        int64_t other;
        lm_json_integer(value, &id);
        if (twin != NULL && lm_json_integer(twin, &other) && other != id) {
            status = temper_fail(error, TEMPER_INVALID,
                                 "%s: \"%.60s\" is token %lld in the vocabulary and %lld among "
                                 "the added tokens",
                                 file, text, (long long)other, (long long)id);
            goto out;
        }
        lm_token_kind kind =
            lm_specials_has(specials, text) || lm_specials_has_id(specials, id) ? LM_SPECIAL : LM_ADDED;
        status = lm_vocabulary_add(self, id, text, strlen(text), kind, error);
        if (status) {
            goto out;
        }
    }
    json_object_foreach((json_t *)(uintptr_t)vocab, text, value) {
        size_t length = strlen(text);
        if (json_object_get(added, text) != NULL) {
            continue;
        }
        lm_json_integer(value, &id);
        if (lm_specials_has(specials, text) || lm_specials_has_id(specials, id)) {
            status = lm_vocabulary_add(self, id, text, length, LM_SPECIAL, error);
        } else if ((length = lm_byte_level_decode(text, length, decoded)) == SIZE_MAX) {
            status =
                temper_fail(error, TEMPER_UNSUPPORTED,
                            "%s: token \"%.60s\" is not made of byte-level symbols: only byte-level BPE is "
                            "supported",
                            file, text);
        } else {
            status = lm_vocabulary_add(self, id, decoded, length, LM_NORMAL, error);
        }
        if (status) {
            goto out;
        }
    }
out:
    free(decoded);
    if (status) {
        lm_tokenizer_close(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

temper_status lm_load_merge(lm_tokenizer *self, const char *left, size_t left_length, const char *right,
                            size_t right_length, size_t rank, temper_error *error) {
    char a[1024], b[1024];
    if (left_length > sizeof a || right_length > sizeof b) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "merge %zu is of texts of %zu and %zu bytes", rank,
                           left_length, right_length);
    }
    size_t a_length = lm_byte_level_decode(left, left_length, a);
    size_t b_length = lm_byte_level_decode(right, right_length, b);
    if (a_length == SIZE_MAX || b_length == SIZE_MAX) {
        return temper_fail(error, TEMPER_INVALID,
                           "merge %zu, of \"%.*s\" and \"%.*s\", is not of byte-level symbols", rank,
                           (int)left_length, left, (int)right_length, right);
    }
    return lm_vocabulary_merge(self, a, a_length, b, b_length, rank, error);
}

temper_status lm_load_merge_line(lm_tokenizer *self, const char *line, size_t length, size_t rank,
                                 temper_error *error) {
    const char *space = memchr(line, ' ', length);
    size_t left = space == NULL ? 0 : (size_t)(space - line);
    if (left == 0 || left + 1 == length || memchr(space + 1, ' ', length - left - 1) != NULL) {
        return temper_fail(error, TEMPER_INVALID,
                           "merge %zu, \"%.*s\", is not two tokens with a space between", rank,
                           length > 60 ? 60 : (int)length, line);
    }
    return lm_load_merge(self, line, left, space + 1, length - left - 1, rank, error);
}

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
            status = lm_load_merge_line(self, at, length, rank++, error);
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
    if ((status = lm_load_vocab(root, lm_specials_added(specials), specials, vocab->name, &self, error)) ||
        (status = read_merges(self, merges, error))) {
        goto out;
    }
    self->split = LM_SPLIT_GPT2;
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

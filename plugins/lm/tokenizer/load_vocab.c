/* load_vocab.c: a vocabulary in JSON: {text: id}, or Unigram's list of [text, score]; and its merges.
 *
 * Invariant: what the files call special is no part of the vocabulary that text is made of. */
#include "../files/internal.h"
#include "load.h"

#include <stdlib.h>
#include <string.h>

/* A text as it stands in a text; SIZE_MAX when it is not written as the vocabulary writes. */
static size_t read_text(lm_writing writing, const char *text, size_t length, char *out) {
    switch (writing) {
    case LM_WRITES_BYTES: return lm_byte_level_decode(text, length, out);
    case LM_WRITES_MARKED: return lm_unmark(text, length, out);
    case LM_WRITES_PLAIN: break;
    }
    memcpy(out, text, length);
    return length;
}

static bool has_mark(const char *text, size_t length) {
    return memmem(text, length, "\xE2\x96\x81", 3) != NULL;
}

static temper_status add_added(lm_tokenizer *self, const lm_vocab_source *source, const char *text,
                               int64_t id, bool in_vocabulary, char *room, temper_error *error) {
    size_t length = strlen(text);
    const json_t *flags = source->match == NULL ? NULL : json_object_get(source->match, text);
    lm_token_kind kind = lm_specials_has(source->specials, text) || lm_specials_has_id(source->specials, id)
                             ? LM_SPECIAL
                             : LM_ADDED;
    if (kind == LM_ADDED && source->writing == LM_WRITES_MARKED && has_mark(text, length)) {
        /* No text has the mark that this would be looked for by; merges make it of spaces. */
        length = lm_unmark(text, length, room);
        return lm_vocabulary_add(self, id, room, length, LM_NORMAL, error);
    }
    int byte = source->byte_fallback ? lm_byte_of(text, length) : -1;
    if (byte >= 0) {
        char one = (char)byte;
        return lm_vocabulary_add(self, id, &one, 1, LM_BYTE, error);
    }
    temper_status status = lm_vocabulary_add(self, id, text, length, kind, error);
    if (!status) {
        self->entries[id].match =
            (uint8_t)(flags != NULL ? json_integer_value(flags) : lm_specials_match(source->specials, text));
        if (kind == LM_ADDED && in_vocabulary && source->writing != LM_WRITES_BYTES) {
            lm_vocabulary_know(self, (int32_t)id);
        }
    }
    return status;
}

static temper_status add_normal(lm_tokenizer *self, const lm_vocab_source *source, const char *text,
                                size_t length, int64_t id, double score, char *room, temper_error *error) {
    int byte = source->byte_fallback ? lm_byte_of(text, length) : -1;
    temper_status status;
    if (lm_specials_has(source->specials, text) || lm_specials_has_id(source->specials, id)) {
        return lm_vocabulary_add(self, id, text, length, LM_SPECIAL, error);
    }
    if (byte >= 0) {
        char one = (char)byte;
        return lm_vocabulary_add(self, id, &one, 1, LM_BYTE, error);
    }
    length = read_text(source->writing, text, length, room);
    if (length == SIZE_MAX) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s: token \"%.60s\" is not made of byte-level symbols",
                           source->file, text);
    }
    status = lm_vocabulary_add(self, id, room, length, LM_NORMAL, error);
    if (!status) {
        self->entries[id].score = score;
    }
    return status;
}

/* One more id seen: whether it is one, and how large the vocabulary is. */
static temper_status survey(const lm_vocab_source *source, const char *text, const json_t *value, size_t most,
                            uint64_t *size, size_t *bytes, temper_error *error) {
    int64_t id;
    if (!lm_json_integer(value, &id) || id < 0 || (uint64_t)id > 2 * (uint64_t)most + 65536) {
        return temper_fail(error, TEMPER_INVALID, "%s: the id of \"%.60s\" is no number or far too large",
                           source->file, text);
    }
    *size = (uint64_t)id >= *size ? (uint64_t)id + 1 : *size;
    *bytes += strlen(text) + 1;
    return TEMPER_OK;
}

static temper_status survey_pieces(const lm_vocab_source *source, const json_t *vocab, uint64_t *size,
                                   size_t *bytes, temper_error *error) {
    size_t i;
    json_t *pair;
    json_array_foreach((json_t *)(uintptr_t)vocab, i, pair) {
        if (json_array_size(pair) != 2 || !json_is_string(json_array_get(pair, 0)) ||
            !json_is_number(json_array_get(pair, 1))) {
            return temper_fail(error, TEMPER_INVALID, "%s: entry %zu of the vocabulary is no [text, score]",
                               source->file, i);
        }
        *bytes += json_string_length(json_array_get(pair, 0)) + 1;
    }
    *size = json_array_size(vocab) > *size ? json_array_size(vocab) : *size;
    return TEMPER_OK;
}

/* The id that the vocabulary itself gives a text; -1: none. */
static int64_t id_in(const json_t *vocab, const json_t *value, const char *text) {
    int64_t id = -1, added = -1;
    if (json_is_object(vocab)) {
        lm_json_integer(json_object_get(vocab, text), &id);
        return id;
    }
    lm_json_integer(value, &added);
    const json_t *piece = added < 0 ? NULL : json_array_get(json_array_get(vocab, (size_t)added), 0);
    return json_is_string(piece) && strcmp(json_string_value(piece), text) == 0 ? added : -1;
}

static temper_status fill_added(lm_tokenizer *self, const lm_vocab_source *source, const json_t *vocab,
                                char *room, temper_error *error) {
    const char *text;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)source->added, text, value) {
        int64_t id = -1, other = id_in(vocab, value, text);
        lm_json_integer(value, &id);
        if (other >= 0 && other != id) {
            return temper_fail(
                error, TEMPER_INVALID,
                "%s: \"%.60s\" is token %lld in the vocabulary and %lld among the added tokens", source->file,
                text, (long long)other, (long long)id);
        }
        temper_status status = add_added(self, source, text, id, other >= 0, room, error);
        if (status) {
            return status;
        }
    }
    return TEMPER_OK;
}

static temper_status fill_normal(lm_tokenizer *self, const lm_vocab_source *source, const json_t *vocab,
                                 char *room, temper_error *error) {
    const char *text;
    json_t *value;
    size_t i;
    temper_status status = TEMPER_OK;
    json_array_foreach((json_t *)(uintptr_t)vocab, i, value) {
        const json_t *piece = json_array_get(value, 0);
        if (self->entries[i].kind == LM_ABSENT) {
            status = add_normal(self, source, json_string_value(piece), json_string_length(piece), (int64_t)i,
                                json_number_value(json_array_get(value, 1)), room, error);
        }
        if (status) {
            return status;
        }
    }
    json_object_foreach((json_t *)(uintptr_t)vocab, text, value) {
        int64_t id = -1;
        if (json_object_get(source->added, text) == NULL) {
            lm_json_integer(value, &id);
            status = add_normal(self, source, text, strlen(text), id, 0, room, error);
        }
        if (status) {
            return status;
        }
    }
    return TEMPER_OK;
}

temper_status lm_load_vocab(const json_t *vocab, const lm_vocab_source *source, lm_tokenizer **out,
                            temper_error *error) {
    size_t bytes = 0,
           most = json_object_size(vocab) + json_array_size(vocab) + json_object_size(source->added);
    uint64_t size = 0;
    const char *text;
    json_t *value;
    temper_status status = survey_pieces(source, vocab, &size, &bytes, error);
    *out = NULL;
    if (!json_is_array(vocab)) {
        json_object_foreach((json_t *)(uintptr_t)vocab, text, value) {
            status = status ? status : survey(source, text, value, most, &size, &bytes, error);
        }
    }
    json_object_foreach((json_t *)(uintptr_t)source->added, text, value) {
        status = status ? status : survey(source, text, value, most, &size, &bytes, error);
    }
    if (status) {
        return status;
    }
    lm_tokenizer *self = lm_vocabulary_new((size_t)size, bytes);
    char *room = malloc(bytes + 1);
    if (self == NULL || room == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "%s: no memory for %llu tokens", source->file,
                             (unsigned long long)size);
        goto out;
    }
    self->chars = source->writing != LM_WRITES_BYTES;
    self->marked = source->writing == LM_WRITES_MARKED;
    self->byte_fallback = source->byte_fallback;
    status = fill_added(self, source, vocab, room, error);
    status = status ? status : fill_normal(self, source, vocab, room, error);
out:
    free(room);
    if (status) {
        lm_tokenizer_close(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

temper_status lm_load_merge(lm_tokenizer *self, lm_writing writing, const char *left, size_t left_length,
                            const char *right, size_t right_length, size_t rank, temper_error *error) {
    char a[1024], b[1024];
    if (left_length > sizeof a || right_length > sizeof b) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "merge %zu is of texts of %zu and %zu bytes", rank,
                           left_length, right_length);
    }
    size_t a_length = read_text(writing, left, left_length, a);
    size_t b_length = read_text(writing, right, right_length, b);
    if (a_length == SIZE_MAX || b_length == SIZE_MAX) {
        return temper_fail(error, TEMPER_INVALID,
                           "merge %zu, of \"%.*s\" and \"%.*s\", is not of byte-level symbols", rank,
                           (int)left_length, left, (int)right_length, right);
    }
    return lm_vocabulary_merge(self, a, a_length, b, b_length, rank, error);
}

temper_status lm_load_merge_line(lm_tokenizer *self, lm_writing writing, const char *line, size_t length,
                                 size_t rank, temper_error *error) {
    const char *space = memchr(line, ' ', length);
    size_t left = space == NULL ? 0 : (size_t)(space - line);
    if (left == 0 || left + 1 == length || memchr(space + 1, ' ', length - left - 1) != NULL) {
        return temper_fail(error, TEMPER_INVALID,
                           "merge %zu, \"%.*s\", is not two tokens with a space between", rank,
                           length > 60 ? 60 : (int)length, line);
    }
    return lm_load_merge(self, writing, line, left, space + 1, length - left - 1, rank, error);
}

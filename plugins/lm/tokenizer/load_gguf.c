/* load_gguf.c: the vocabulary inside a GGUF: "llama" (SentencePiece-style, by scores) and "gpt2" (byte-level BPE).
 *
 * Invariant: the token types decide what a text is: normal, a byte, control (special) or user-defined (added). */
#include "../files/internal.h"
#include "families.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

static const char tokens_key[] = "tokenizer.ggml.tokens";

static int type_of(const lm_gguf *gguf, size_t id) {
    double type = TYPE_NORMAL;
    lm_gguf_array_number(gguf, "tokenizer.ggml.token_type", id, &type);
    return type >= TYPE_NORMAL && type <= TYPE_BYTE ? (int)type : TYPE_NORMAL;
}

static temper_status add_token(lm_tokenizer *self, const lm_gguf *gguf, size_t id, char *room,
                               temper_error *error) {
    const char *text;
    size_t length;
    double score = 0.0;
    int type = type_of(gguf, id), byte;
    temper_status status;
    if (!lm_gguf_array_string(gguf, tokens_key, id, &text, &length)) {
        return temper_fail(error, TEMPER_INVALID, "%s holds no text for token %zu", tokens_key, id);
    }
    if (type == TYPE_UNUSED) {
        return TEMPER_OK;
    }
    if (type == TYPE_CONTROL || type == TYPE_UNKNOWN) {
        return lm_vocabulary_add(self, (int64_t)id, text, length, LM_SPECIAL, error);
    }
    if (type == TYPE_USER) {
        if (self->marked) {
            length = lm_unmark(text, length, room);
            text = room;
        }
        return lm_vocabulary_add(self, (int64_t)id, text, length, LM_ADDED, error);
    }
    if (!self->marked) {
        length = lm_byte_level_decode(text, length, room);
        return length == SIZE_MAX
                   ? temper_fail(error, TEMPER_INVALID, "token %zu is not made of byte-level symbols", id)
                   : lm_vocabulary_add(self, (int64_t)id, room, length, LM_NORMAL, error);
    }
    byte = lm_byte_of(text, length);
    if (type == TYPE_BYTE) {
        char one = (char)byte;
        return byte < 0 ? temper_fail(error, TEMPER_INVALID,
                                      "token %zu is of type byte and not of the form <0x41>", id)
                        : lm_vocabulary_add(self, (int64_t)id, &one, 1, LM_BYTE, error);
    }
    length = lm_unmark(text, length, room);
    status = lm_vocabulary_add(self, (int64_t)id, room, length, LM_NORMAL, error);
    lm_gguf_array_number(gguf, "tokenizer.ggml.scores", id, &score);
    if (!status) {
        if (!(score >= -3.4e38 && score <= 3.4e38)) {
            return temper_fail(error, TEMPER_INVALID, "the score of token %zu is no number", id);
        }
        self->entries[id].score = score;
    }
    return status;
}

static bool is_text(const lm_gguf *gguf, const char *key, const char *const *texts) {
    const char *text;
    size_t length;
    if (lm_gguf_string(gguf, key, &text, &length)) {
        for (size_t i = 0; texts[i] != NULL; i++) {
            if (strlen(texts[i]) == length && memcmp(texts[i], text, length) == 0) {
                return true;
            }
        }
    }
    return false;
}

static temper_status read_kind(lm_tokenizer *self, const lm_gguf *gguf, temper_error *error) {
    static const char *const sentence[] = {"llama", NULL}, *const byte_level[] = {"gpt2", NULL};
    const char *text = "(none)";
    size_t length = 6;
    if (is_text(gguf, "tokenizer.ggml.model", sentence)) {
        bool prefix = true;
        lm_gguf_bool(gguf, "tokenizer.ggml.add_space_prefix", &prefix);
        self->marked = self->chars = self->byte_fallback = true;
        self->method = LM_BY_SCORE;
        self->prefix = self->dropped = prefix ? LM_PREFIX_ALWAYS : LM_PREFIX_NEVER;
        self->adds_bos = true;
        return TEMPER_OK;
    }
    if (!is_text(gguf, "tokenizer.ggml.model", byte_level)) {
        lm_gguf_string(gguf, "tokenizer.ggml.model", &text, &length);
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "tokenizer.ggml.model is \"%.*s\"; \"llama\" and \"gpt2\" are supported",
                           length > 60 ? 60 : (int)length, text);
    }
    lm_gguf_string(gguf, "tokenizer.ggml.pre", &text, &length);
    const lm_family *family = lm_family_find(text, length);
    if (family == NULL) {
        return temper_fail(
            error, TEMPER_UNSUPPORTED,
            "tokenizer.ggml.pre is \"%.*s\", which is none of the known ways to cut words (gpt-2, "
            "smollm, llama-bpe, qwen2, gpt-4o, tekken, deepseek-coder, deepseek-v3, falcon and those "
            "that do as they do)",
            length > 60 ? 60 : (int)length, text);
    }
    return lm_family_apply(family, self, error);
}

static int32_t read_id(const lm_tokenizer *self, const lm_gguf *gguf, const char *key) {
    int64_t id = -1;
    lm_gguf_integer(gguf, key, &id);
    return id >= 0 && (uint64_t)id < self->size && self->entries[id].kind != LM_ABSENT ? (int32_t)id : -1;
}

static temper_status read_merges(lm_tokenizer *self, const lm_gguf *gguf, temper_error *error) {
    size_t count = lm_gguf_array_length(gguf, "tokenizer.ggml.merges");
    temper_status status = lm_vocabulary_expect_merges(self, count, error);
    for (size_t i = 0; i < count && !status; i++) {
        const char *line;
        size_t length;
        status = lm_gguf_array_string(gguf, "tokenizer.ggml.merges", i, &line, &length)
                     ? lm_load_merge_line(self, LM_WRITES_BYTES, line, length, i, error)
                     : temper_fail(error, TEMPER_INVALID, "tokenizer.ggml.merges is no list of texts");
    }
    return status;
}

static temper_status load(const lm_gguf *gguf, lm_tokenizer **out, temper_error *error) {
    size_t count = lm_gguf_array_length(gguf, tokens_key), bytes = 0, longest = 0;
    temper_status status;
    for (size_t id = 0; id < count; id++) {
        const char *text;
        size_t length = 0;
        lm_gguf_array_string(gguf, tokens_key, id, &text, &length);
        bytes += length + 1; /* cannot overflow: they lie apart in one file */
        longest = length > longest ? length : longest;
    }
    if (count == 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "it holds no tokenizer (%s is missing)", tokens_key);
    }
    lm_tokenizer *self = lm_vocabulary_new(count, bytes);
    char *room = malloc(longest + 1);
    if (self == NULL || room == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu tokens", count);
        goto out;
    }
    status = read_kind(self, gguf, error);
    for (size_t id = 0; id < count && !status; id++) {
        status = add_token(self, gguf, id, room, error);
    }
    if (status || (!self->marked && (status = read_merges(self, gguf, error))) ||
        (status = lm_vocabulary_finish(self, error))) {
        goto out;
    }
    self->bos = read_id(self, gguf, "tokenizer.ggml.bos_token_id");
    self->eos = read_id(self, gguf, "tokenizer.ggml.eos_token_id");
    self->unknown = read_id(self, gguf, "tokenizer.ggml.unknown_token_id");
    lm_gguf_bool(gguf, "tokenizer.ggml.add_bos_token", &self->adds_bos);
    if (self->adds_bos) {
        lm_tokenizer_add_bos(self);
    }
    *out = self;
    self = NULL;
out:
    free(room);
    lm_tokenizer_close(self);
    return status;
}

temper_status lm_load_gguf(const lm_file *file, lm_tokenizer **out, temper_error *error) {
    lm_gguf *gguf;
    temper_status status = lm_gguf_open(file, &gguf, error);
    *out = NULL;
    if (status) {
        return status;
    }
    status = load(gguf, out, error);
    lm_gguf_close(gguf);
    return status ? temper_fail_in(error, status, "%s", file->name) : TEMPER_OK;
}

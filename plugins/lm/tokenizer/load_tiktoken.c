/* load_tiktoken.c: files of ranks: tiktoken's lines of base64 and a number, and Mistral's tekken.json, which adds the
 * pattern and the special tokens.
 *
 * Invariant: a rank is an id, and the order of joining; each bytes' text has one. */
#include "../files/internal.h"
#include "families.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_RANKS = 1 << 22, MAX_LINE = 4096 };

/* One line, or what is left of it; false at the end. */
static bool next_line(const char **at, const char *end, const char **line, size_t *length) {
    if (*at == end) {
        return false;
    }
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    *line = *at;
    *length = (size_t)((stop == NULL ? end : stop) - *at);
    *at = stop == NULL ? end : stop + 1;
    *length -= *length > 0 && (*line)[*length - 1] == '\r';
    return true;
}

/* "IQ== 0" to its parts. */
static bool split_line(const char *line, size_t length, size_t *text, int64_t *rank) {
    const char *space = memchr(line, ' ', length);
    *text = space == NULL ? 0 : (size_t)(space - line);
    if (*text == 0 || *text + 1 >= length || length - *text > 9) {
        return false;
    }
    *rank = 0;
    for (size_t i = *text + 1; i < length; i++) {
        if (line[i] < '0' || line[i] > '9') {
            return false;
        }
        *rank = *rank * 10 + (line[i] - '0');
    }
    return true;
}

bool lm_is_tiktoken(const lm_file *file) {
    const char *at = file->data, *line;
    size_t length, text;
    int64_t rank;
    return file->size > 0 &&
           next_line(&at, at + (file->size < MAX_LINE ? file->size : MAX_LINE), &line, &length) &&
           split_line(line, length, &text, &rank) && text % 4 == 0;
}

static temper_status survey(const lm_file *file, size_t *count, size_t *size, size_t *bytes,
                            temper_error *error) {
    const char *at = file->data, *end = at + file->size, *line;
    size_t length, text, number = 0;
    int64_t rank;
    *count = *size = *bytes = 0;
    while (next_line(&at, end, &line, &length)) {
        number++;
        if (length == 0) {
            continue;
        }
        if (!split_line(line, length, &text, &rank) || rank >= MAX_RANKS) {
            return temper_fail(error, TEMPER_INVALID, "line %zu is not a text in base64 and its rank",
                               number);
        }
        *bytes += text + 1;
        *size = (size_t)rank >= *size ? (size_t)rank + 1 : *size;
        (*count)++;
    }
    if (*count == 0) {
        return temper_fail(error, TEMPER_INVALID, "it has no ranks");
    }
    return TEMPER_OK;
}

static temper_status add_rank(lm_tokenizer *self, const char *text, size_t length, int64_t id,
                              temper_error *error) {
    unsigned char *bytes;
    size_t size;
    if (length == 1 && *text == '=') {
        return TEMPER_OK; /* Whisper's file has a rank for no bytes at all */
    }
    temper_status status = lm_base64(text, length, &bytes, &size, error);
    if (!status) {
        status = lm_vocabulary_find(self, (const char *)bytes, size) >= 0
                     ? temper_fail(error, TEMPER_INVALID, "rank %lld has the bytes of another", (long long)id)
                     : lm_vocabulary_add(self, id, (const char *)bytes, size, LM_NORMAL, error);
    }
    free(bytes);
    return status;
}

static temper_status fill(lm_tokenizer *self, const lm_file *file, temper_error *error) {
    const char *at = file->data, *end = at + file->size, *line;
    size_t length, text, number = 0;
    int64_t rank;
    temper_status status = TEMPER_OK;
    while (!status && next_line(&at, end, &line, &length)) {
        number++;
        if (length > 0 && split_line(line, length, &text, &rank)) {
            status = add_rank(self, line, text, rank, error);
            status = status ? temper_fail_in(error, status, "line %zu", number) : TEMPER_OK;
        }
    }
    return status;
}

/* Special tokens: those that the files beside it name, else the published ones. */
static temper_status add_specials(lm_tokenizer *self, const lm_rank_set *set, const lm_specials *specials,
                                  temper_error *error) {
    const char *text;
    json_t *value;
    temper_status status = TEMPER_OK;
    json_object_foreach((json_t *)(uintptr_t)lm_specials_added(specials), text, value) {
        int64_t id = -1;
        lm_json_integer(value, &id);
        status = lm_vocabulary_add(self, id, text, strlen(text),
                                   lm_specials_has(specials, text) ? LM_SPECIAL : LM_ADDED, error);
        if (status) {
            return status;
        }
        self->entries[id].match = (uint8_t)lm_specials_match(specials, text);
    }
    for (size_t i = 0; set != NULL && i < LM_RANK_SPECIALS && set->specials[i].text != NULL && !status; i++) {
        int32_t id = set->specials[i].id;
        if (self->entries[id].kind == LM_ABSENT) {
            status = lm_vocabulary_add(self, id, set->specials[i].text, strlen(set->specials[i].text),
                                       LM_SPECIAL, error);
        }
    }
    return status;
}

static temper_status room_for_specials(const lm_rank_set *set, const lm_specials *specials, size_t *size,
                                       size_t *bytes, temper_error *error) {
    const char *text;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)lm_specials_added(specials), text, value) {
        int64_t id = -1;
        lm_json_integer(value, &id);
        if (id < 0 || id >= MAX_RANKS) {
            return temper_fail(error, TEMPER_INVALID, "the id of \"%.60s\" is far too large", text);
        }
        *size = (size_t)id >= *size ? (size_t)id + 1 : *size;
        *bytes += strlen(text) + 1;
    }
    for (size_t i = 0; set != NULL && i < LM_RANK_SPECIALS && set->specials[i].text != NULL; i++) {
        size_t id = (size_t)set->specials[i].id;
        *size = id >= *size ? id + 1 : *size;
        *bytes += strlen(set->specials[i].text) + 1;
    }
    return TEMPER_OK;
}

temper_status lm_load_tiktoken(const lm_file *file, const lm_specials *specials, lm_tokenizer **out,
                               temper_error *error) {
    size_t count, size, bytes;
    temper_status status = survey(file, &count, &size, &bytes, error);
    if (status) {
        return status;
    }
    const lm_rank_set *set = lm_rank_set_find(count);
    if (set == NULL) {
        return temper_fail(
            error, TEMPER_UNSUPPORTED,
            "a file of ranks does not say how words are cut, and %zu ranks are none of the known "
            "sets (GPT-2, cl100k, o200k, Llama 3, Qwen, Whisper): put its tokenizer.json beside it",
            count);
    }
    status = room_for_specials(set, specials, &size, &bytes, error);
    if (status) {
        return status;
    }
    lm_tokenizer *self = lm_vocabulary_new(size, bytes);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu tokens", size);
    }
    self->method = LM_BY_RANK;
    if ((status = fill(self, file, error)) || (status = add_specials(self, set, specials, error)) ||
        (status = lm_family_apply(lm_family_find(set->family, strlen(set->family)), self, error)) ||
        (status = lm_vocabulary_finish(self, error))) {
        goto out;
    }
    self->whole_words = true; /* as tiktoken does; ranks alone would find the same but for a few words */
    lm_specials_apply(specials, self);
    if (self->bos < 0 && strcmp(set->specials[0].text, "<|begin_of_text|>") == 0) {
        self->bos = set->specials[0].id;
        lm_tokenizer_add_bos(self);
    }
    if (self->eos < 0) {
        self->eos = lm_tokenizer_special(self, "<|endoftext|>", 13);
        self->eos = self->eos < 0 ? lm_tokenizer_special(self, "<|end_of_text|>", 15) : self->eos;
    }
    *out = self;
    self = NULL;
out:
    lm_tokenizer_close(self);
    return status;
}

/* --- tekken.json -------------------------------------------------------------------------------------------------- */

static temper_status tekken_specials(lm_tokenizer *self, const json_t *list, size_t count,
                                     temper_error *error) {
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < count && !status; i++) {
        const json_t *one = json_array_get(list, i), *text = json_object_get(one, "token_str");
        char name[40];
        int64_t rank = (int64_t)i;
        snprintf(name, sizeof name, "<SPECIAL_%zu>", i);
        if (one != NULL && (!lm_json_integer(json_object_get(one, "rank"), &rank) || rank != (int64_t)i ||
                            !json_is_string(text))) {
            return temper_fail(error, TEMPER_INVALID, "special_tokens[%zu] is not the token of rank %zu", i,
                               i);
        }
        const char *bytes = one != NULL ? json_string_value(text) : name;
        status = lm_vocabulary_add(self, (int64_t)i, bytes, strlen(bytes), LM_SPECIAL, error);
    }
    return status;
}

/* The old files name no special tokens; these are the ones that Mistral's own program gives them. */
static const char *const tekken_names[] = {
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
};

static temper_status tekken_default_specials(lm_tokenizer *self, size_t count, temper_error *error) {
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < count && !status; i++) {
        char name[40];
        snprintf(name, sizeof name, "<SPECIAL_%zu>", i);
        const char *text = i < sizeof tekken_names / sizeof *tekken_names ? tekken_names[i] : name;
        status = lm_vocabulary_add(self, (int64_t)i, text, strlen(text), LM_SPECIAL, error);
    }
    return status;
}

static temper_status tekken_fill(lm_tokenizer *self, const json_t *vocab, size_t specials, size_t count,
                                 temper_error *error) {
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < count && !status; i++) {
        const json_t *one = json_array_get(vocab, i), *text = json_object_get(one, "token_bytes");
        int64_t rank;
        if (!json_is_string(text) || !lm_json_integer(json_object_get(one, "rank"), &rank) ||
            rank != (int64_t)i) {
            return temper_fail(error, TEMPER_INVALID, "vocab[%zu] is not the token of rank %zu", i, i);
        }
        status =
            add_rank(self, json_string_value(text), json_string_length(text), (int64_t)(specials + i), error);
    }
    return status;
}

static temper_status load_tekken(const json_t *root, lm_tokenizer **out, temper_error *error) {
    const json_t *config = json_object_get(root, "config"), *vocab = json_object_get(root, "vocab");
    const json_t *pattern = json_object_get(config, "pattern"),
                 *list = json_object_get(root, "special_tokens");
    int64_t specials = -1, size = -1;
    size_t bytes = 0;
    lm_json_integer(json_object_get(config, "default_num_special_tokens"), &specials);
    lm_json_integer(json_object_get(config, "default_vocab_size"), &size);
    if (!json_is_string(pattern) || specials < 3 || specials > 65536 || size < specials ||
        (uint64_t)(size - specials) > json_array_size(vocab)) {
        return temper_fail(
            error, TEMPER_INVALID,
            "config needs a pattern, default_vocab_size and default_num_special_tokens that fit "
            "the %zu tokens of vocab",
            json_array_size(vocab));
    }
    for (size_t i = 0; i < (size_t)size; i++) {
        bytes += 48 + json_string_length(json_object_get(json_array_get(vocab, i), "token_bytes")) +
                 json_string_length(json_object_get(json_array_get(list, i), "token_str"));
    }
    lm_tokenizer *self = lm_vocabulary_new((size_t)size, bytes);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %lld tokens", (long long)size);
    }
    self->method = LM_BY_RANK;
    temper_status status = json_is_array(list) ? tekken_specials(self, list, (size_t)specials, error)
                                               : tekken_default_specials(self, (size_t)specials, error);
    if (status || (status = tekken_fill(self, vocab, (size_t)specials, (size_t)(size - specials), error)) ||
        (status = lm_load_pattern(self, json_string_value(pattern), json_string_length(pattern), LM_ISOLATED,
                                  false, error)) ||
        (status = lm_vocabulary_finish(self, error))) {
        lm_tokenizer_close(self);
        return status;
    }
    self->whole_words = true;
    self->bos = lm_tokenizer_special(self, "<s>", 3);
    self->eos = lm_tokenizer_special(self, "</s>", 4);
    lm_tokenizer_add_bos(self);
    *out = self;
    return TEMPER_OK;
}

temper_status lm_load_tekken(const lm_file *file, const lm_specials *specials, lm_tokenizer **out,
                             temper_error *error) {
    json_error_t cause;
    json_t *root = json_loadb(file->data, file->size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                              &cause); /* "\u0000" is a token */
    temper_status status = root == NULL
                               ? temper_fail(error, TEMPER_INVALID, "line %d: %s", cause.line, cause.text)
                               : load_tekken(root, out, error);
    (void)specials; /* it says itself which are special */
    json_decref(root);
    return status;
}

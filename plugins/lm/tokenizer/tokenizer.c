/* tokenizer.c: the room's door: choosing a loader, cutting added tokens out of a text, and decoding.
 *
 * Invariant: an added token is looked for from the left, the longest first; a special one only where every one of
 * its bytes is allowed to be one. */
#include "../files/internal.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 1 << 30 };

temper_status lm_tokenizer_open(const lm_file_set *files, lm_tokenizer **out, temper_error *error) {
    const lm_file *json = lm_file_find_model(files, "tokenizer.json");
    const lm_file *vocab = lm_file_find_model(files, "vocab.json");
    const lm_file *merges = lm_file_find_model(files, "merges.txt");
    const lm_file *gguf = lm_file_find_gguf(files);
    *out = NULL;
    if (gguf != NULL && lm_file_find_model(files, "config.json") == NULL) {
        return lm_load_gguf(gguf, out, error);
    }
    if (json != NULL) {
        return lm_load_tokenizer_json(files, json, out, error);
    }
    if (vocab != NULL && merges != NULL) {
        return lm_load_merges(files, vocab, merges, out, error);
    }
    return temper_fail(error, TEMPER_UNSUPPORTED,
                       "no tokenizer: neither tokenizer.json nor vocab.json with merges.txt is there%s",
                       lm_file_find_model(files, "tokenizer.model") != NULL
                           ? "; a SentencePiece tokenizer.model is read from a GGUF only"
                           : "");
}

void lm_tokenizer_close(lm_tokenizer *self) {
    if (self == NULL) {
        return;
    }
    free(self->entries);
    free(self->arena);
    free(self->by_bytes.slots);
    free(self->merges.slots);
    free(self->added);
    free(self);
}

size_t lm_tokenizer_size(const lm_tokenizer *self) {
    return self->size;
}

int32_t lm_tokenizer_bos(const lm_tokenizer *self) {
    return self->bos;
}

int32_t lm_tokenizer_eos(const lm_tokenizer *self) {
    return self->eos;
}

bool lm_tokenizer_adds_bos(const lm_tokenizer *self) {
    return self->adds_bos;
}

void lm_tokens_free(lm_tokens *tokens) {
    free(tokens->items);
    *tokens = (lm_tokens){0};
}

temper_status lm_tokens_push(lm_tokens *tokens, size_t *capacity, lm_token token, temper_error *error) {
    if (tokens->count == *capacity) {
        size_t larger = *capacity == 0 ? 32 : *capacity * 2;
        lm_token *items = realloc(tokens->items, larger * sizeof *items);
        if (items == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu tokens", larger);
        }
        tokens->items = items;
        *capacity = larger;
    }
    tokens->items[tokens->count++] = token;
    return TEMPER_OK;
}

/* The added token that begins here, or -1. */
static int32_t added_at(const lm_tokenizer *self, const char *text, size_t length, size_t at,
                        const uint8_t *allowed) {
    unsigned char first = (unsigned char)text[at];
    for (uint32_t i = self->added_from[first]; i < self->added_from[first + 1]; i++) {
        const lm_entry *entry = &self->entries[self->added[i]];
        if (entry->length > length - at || memcmp(entry->bytes, text + at, entry->length) != 0) {
            continue;
        }
        uint32_t covered = 0;
        while (entry->kind == LM_SPECIAL && allowed != NULL && covered < entry->length &&
               allowed[at + covered] != 0) {
            covered++;
        }
        if (entry->kind == LM_ADDED || covered == entry->length) {
            return self->added[i];
        }
    }
    return -1;
}

static temper_status encode_run(const lm_tokenizer *self, const char *text, size_t start, size_t end,
                                lm_tokens *out, size_t *capacity, temper_error *error) {
    if (self->sentence) {
        return lm_encode_sentence(self, text + start, end - start, (uint32_t)start, start == 0, out, capacity,
                                  error);
    }
    return lm_encode_byte_level(self, text + start, end - start, (uint32_t)start, out, capacity, error);
}

static temper_status check_utf8(const char *text, size_t length, temper_error *error) {
    for (size_t at = 0; at < length;) {
        size_t size;
        bool valid;
        lm_utf8_next(text, length, at, &size, &valid);
        if (!valid) {
            return temper_fail(error, TEMPER_INVALID, "byte 0x%02X at offset %zu is not UTF-8",
                               (unsigned char)text[at], at);
        }
        at += size;
    }
    return TEMPER_OK;
}

temper_status lm_tokenizer_encode(const lm_tokenizer *self, const char *text, size_t length,
                                  const uint8_t *special_allowed, lm_tokens *out, temper_error *error) {
    size_t capacity = 0, start = 0;
    temper_status status = TEMPER_OK;
    *out = (lm_tokens){0};
    if (length > MAX_TEXT) {
        return temper_fail(error, TEMPER_INVALID, "a text of %zu bytes is over the limit of %d", length,
                           MAX_TEXT);
    }
    if (self->sentence) {
        status = check_utf8(text, length, error);
    }
    for (size_t at = 0; at < length && !status;) {
        int32_t id = added_at(self, text, length, at, special_allowed);
        if (id < 0) {
            at++;
            continue;
        }
        size_t end = at + self->entries[id].length;
        status = encode_run(self, text, start, at, out, &capacity, error);
        if (!status) {
            status = lm_tokens_push(out, &capacity, (lm_token){id, (uint32_t)at, (uint32_t)end}, error);
        }
        start = at = end;
    }
    if (!status && start < length) {
        status = encode_run(self, text, start, length, out, &capacity, error);
    }
    if (status) {
        lm_tokens_free(out);
    }
    return status;
}

int32_t lm_tokenizer_special(const lm_tokenizer *self, const char *text, size_t length) {
    if (length == 0) {
        return -1;
    }
    unsigned char first = (unsigned char)text[0];
    for (uint32_t i = self->added_from[first]; i < self->added_from[first + 1]; i++) {
        const lm_entry *entry = &self->entries[self->added[i]];
        if (entry->length == length && memcmp(entry->bytes, text, length) == 0) {
            return self->added[i];
        }
    }
    return -1;
}

static const lm_entry *entry_of(const lm_tokenizer *self, int32_t id) {
    return id < 0 || (size_t)id >= self->size ? NULL : &self->entries[id];
}

const char *lm_tokenizer_bytes(const lm_tokenizer *self, int32_t id, size_t *length) {
    const lm_entry *entry = entry_of(self, id);
    bool there = entry != NULL && entry->kind != LM_ABSENT;
    *length = there ? entry->length : 0;
    return there ? entry->bytes : "";
}

bool lm_tokenizer_is_special(const lm_tokenizer *self, int32_t id) {
    const lm_entry *entry = entry_of(self, id);
    return entry != NULL && entry->kind == LM_SPECIAL;
}

temper_status lm_tokenizer_decode(const lm_tokenizer *self, const int32_t *ids, size_t count,
                                  bool skip_special, bool at_start, char **text, size_t *length,
                                  temper_error *error) {
    size_t total = 0, used = 0;
    *text = NULL;
    *length = 0;
    for (size_t i = 0; i < count; i++) {
        const lm_entry *entry = entry_of(self, ids[i]);
        if (entry == NULL) {
            return temper_fail(error, TEMPER_INVALID,
                               "token %zu has the id %ld, which is not in the vocabulary of %zu", i,
                               (long)ids[i], self->size);
        }
        if (__builtin_add_overflow(total, entry->length, &total)) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the text of %zu tokens", count);
        }
    }
    *text = malloc(total + 1);
    if (*text == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a text of %zu bytes", total);
    }
    bool drop = at_start && self->sentence && self->space_prefix;
    for (size_t i = 0; i < count; i++) {
        const lm_entry *entry = &self->entries[ids[i]];
        if (entry->length == 0) {
            continue;
        }
        if (entry->kind == LM_SPECIAL) {
            /* Skipped ones (a BOS) leave the next token at the beginning; one that is text does not. */
            if (!skip_special) {
                memcpy(*text + used, entry->bytes, entry->length);
                used += entry->length;
            }
            drop = drop && (skip_special || ids[i] == self->bos);
            continue;
        }
        size_t from = drop && entry->kind == LM_NORMAL && entry->bytes[0] == ' ' ? 1 : 0;
        memcpy(*text + used, entry->bytes + from, entry->length - from);
        used += entry->length - from;
        drop = false;
    }
    (*text)[used] = 0;
    *length = used;
    return TEMPER_OK;
}

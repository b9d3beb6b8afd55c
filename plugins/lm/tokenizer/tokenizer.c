/* tokenizer.c: the room's door: choosing a loader, cutting added tokens out of a text, and decoding.
 *
 * Invariant: added tokens are looked for in the text as it stands; those that their file wants looked for behind its
 * normalizers, in what these make of it. */
#include "../files/internal.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 1 << 30 };

static bool ends_with(const char *name, const char *end) {
    size_t length = strlen(name), size = strlen(end);
    return length >= size && strcmp(name + length - size, end) == 0;
}

/* A .model or .tiktoken file: by the names that are usual, else the only one there is. */
static const lm_file *find_model_file(const lm_file_set *files, const char *const *names, const char *ending,
                                      bool tiktoken) {
    const lm_file *found = NULL;
    for (size_t i = 0; names[i] != NULL; i++) {
        const lm_file *file = lm_file_find_model(files, names[i]);
        if (file != NULL && lm_is_tiktoken(file) == tiktoken) {
            return file;
        }
    }
    for (size_t i = 0; i < files->count; i++) {
        const lm_file *file = &files->files[i];
        bool named = ends_with(file->name, ending) || (strstr(file->name, ".model.v") != NULL && !tiktoken);
        if (named && lm_is_tiktoken(file) == tiktoken) {
            if (found != NULL) {
                return NULL;
            }
            found = file;
        }
    }
    return found;
}

/* A vocabulary of one file, with what the files beside it say of special tokens. */
static temper_status load_beside(const lm_file_set *files, const lm_file *file, lm_load_file *load,
                                 lm_tokenizer **out, temper_error *error) {
    lm_specials *specials = NULL;
    temper_status status = lm_specials_read(files, &specials, error);
    if (!status) {
        status = load(file, specials, out, error);
        status = status ? temper_fail_in(error, status, "%s", file->name) : TEMPER_OK;
    }
    lm_specials_free(specials);
    return status;
}

temper_status lm_tokenizer_open(const lm_file_set *files, lm_tokenizer **out, temper_error *error) {
    static const char *const pieces[] = {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
                                         "spm.model", NULL};
    static const char *const ranks[] = {"tokenizer.model", "tiktoken.model", "qwen.tiktoken", NULL};
    const lm_file *json = lm_file_find_model(files, "tokenizer.json"), *file;
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
    if ((file = find_model_file(files, pieces, ".model", false)) != NULL) {
        return load_beside(files, file, lm_load_sentencepiece, out, error);
    }
    if ((file = find_model_file(files, ranks, ".tiktoken", true)) != NULL) {
        return load_beside(files, file, lm_load_tiktoken, out, error);
    }
    for (size_t i = 0; i < files->count; i++) {
        file = &files->files[i];
        if (strncmp(file->name, "tekken", 6) == 0 && ends_with(file->name, ".json")) {
            return load_beside(files, file, lm_load_tekken, out, error);
        }
    }
    if (files->count == 1 && ends_with(files->files[0].name, ".json")) {
        return lm_load_tokenizer_json(files, &files->files[0], out, error); /* one file, under another name */
    }
    return temper_fail(
        error, TEMPER_UNSUPPORTED,
        "no tokenizer: there is no tokenizer.json, no vocab.json with merges.txt, no SentencePiece "
        ".model, no .tiktoken file and no tekken.json");
}

void lm_tokenizer_close(lm_tokenizer *self) {
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->normalizer_count; i++) {
        lm_normalizer_free(&self->normalizers[i]);
    }
    for (size_t i = 0; i < self->cut_count; i++) {
        lm_regex_free(self->cuts[i].regex);
        free(self->cuts[i].text);
    }
    free(self->entries);
    free(self->arena);
    free(self->by_bytes.slots);
    free(self->merges.slots);
    free(self->added.items);
    free(self->normalized.items);
    free(self->normalized_texts);
    free(self->nodes);
    lm_pool_free(self->pool);
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

const int32_t *lm_tokenizer_before(const lm_tokenizer *self, size_t *count) {
    *count = self->before_count;
    return self->before;
}

const int32_t *lm_tokenizer_after(const lm_tokenizer *self, size_t *count) {
    *count = self->after_count;
    return self->after;
}

void lm_tokens_free(lm_tokens *tokens) {
    free(tokens->items);
    *tokens = (lm_tokens){0};
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

/* Which bytes of a normalised text may be special: those whose own bytes all are. */
static uint8_t *carry_allowed(const lm_aligned *text, const uint8_t *allowed) {
    uint8_t *carried = malloc(text->length + 1);
    for (size_t i = 0; carried != NULL && i < text->length; i++) {
        carried[i] = 1;
        for (uint32_t at = text->start[i]; at < text->end[i]; at++) {
            carried[i] = carried[i] && allowed[at] != 0;
        }
    }
    return carried;
}

/* The normalised text of a run: tokens to be found there, and what lies between. */
static temper_status encode_normalized(lm_work *work, const uint8_t *allowed, temper_error *error) {
    const lm_tokenizer *self = work->tokenizer;
    const lm_aligned *text = &work->aligned;
    temper_status status = TEMPER_OK;
    uint8_t *carried = NULL;
    if (self->normalized.count > 0 && allowed != NULL && (carried = carry_allowed(text, allowed)) == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to encode %zu bytes", text->length);
    }
    for (size_t at = 0; at < text->length && !status;) {
        lm_added_match match = lm_added_next(self, &self->normalized, text->text, text->length, at, carried);
        work->text = text->text + at;
        work->start = text->start + at;
        work->end = text->end + at;
        work->base = text->start[at];
        status = lm_cut_run(work, match.start - at, text->start[at] == 0, error);
        if (!status && match.id >= 0) {
            status = lm_push_token(
                work, (lm_token){match.id, text->start[match.start], text->end[match.end - 1]}, error);
            work->follows_added = self->entries[match.id].kind == LM_ADDED;
        }
        at = match.end;
    }
    free(carried);
    return status;
}

static temper_status encode_run(lm_work *work, const char *text, size_t start, size_t end,
                                const uint8_t *allowed, temper_error *error) {
    const lm_tokenizer *self = work->tokenizer;
    if (start == end) {
        return TEMPER_OK;
    }
    if (self->normalizer_count == 0 ||
        (self->normalized.count == 0 && lm_normalize_keeps(self, text + start, end - start))) {
        work->text = text + start;
        work->start = work->end = NULL;
        work->base = (uint32_t)start;
        return lm_cut_run(work, end - start, start == 0, error);
    }
    temper_status status = lm_normalize_text(self, text + start, end - start, (uint32_t)start, &work->aligned,
                                             &work->spare, error);
    return status ? status : encode_normalized(work, allowed, error);
}

temper_status lm_tokenizer_encode(const lm_tokenizer *self, const char *text, size_t length,
                                  const uint8_t *special_allowed, lm_tokens *out, temper_error *error) {
    temper_status status = TEMPER_OK;
    *out = (lm_tokens){0};
    if (length > MAX_TEXT) {
        return temper_fail(error, TEMPER_INVALID, "a text of %zu bytes is over the limit of %d", length,
                           MAX_TEXT);
    }
    if (self->needs_utf8 && (status = check_utf8(text, length, error)) != TEMPER_OK) {
        return status;
    }
    lm_work *work = lm_pool_take(self->pool);
    if (work == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to encode %zu bytes", length);
    }
    work->tokenizer = self;
    work->out = out;
    work->capacity = 0;
    work->follows_added = false;
    for (size_t at = 0; at < length && !status;) {
        lm_added_match match = lm_added_next(self, &self->added, text, length, at, special_allowed);
        status = encode_run(work, text, at, match.start, special_allowed, error);
        if (!status && match.id >= 0) {
            status =
                lm_push_token(work, (lm_token){match.id, (uint32_t)match.start, (uint32_t)match.end}, error);
            work->follows_added = self->entries[match.id].kind == LM_ADDED;
        }
        at = match.end;
    }
    work->out = NULL;
    lm_pool_give(self->pool, work);
    if (status) {
        lm_tokens_free(out);
    }
    return status;
}

static int32_t find_added(const lm_tokenizer *self, const lm_added_set *set, const char *text,
                          size_t length) {
    for (size_t i = 0; i < set->count; i++) {
        const lm_entry *entry = &self->entries[set->items[i].id];
        if (entry->length == length && memcmp(entry->bytes, text, length) == 0) {
            return set->items[i].id;
        }
    }
    return -1;
}

int32_t lm_tokenizer_special(const lm_tokenizer *self, const char *text, size_t length) {
    int32_t id = length == 0 ? -1 : find_added(self, &self->added, text, length);
    return id >= 0 || length == 0 ? id : find_added(self, &self->normalized, text, length);
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
    bool begins = at_start && self->dropped != LM_PREFIX_NEVER;
    for (size_t i = 0; i < count; i++) {
        const lm_entry *entry = &self->entries[ids[i]];
        bool left_out = entry->kind == LM_SPECIAL && skip_special;
        if (entry->length == 0) {
            continue;
        }
        size_t from =
            begins && (entry->kind == LM_NORMAL || entry->kind == LM_BYTE) && entry->bytes[0] == ' ' ? 1 : 0;
        if (!left_out) {
            memcpy(*text + used, entry->bytes + from, entry->length - from);
            used += entry->length - from;
        }
        /* A space was put where a text begins, or after each added token. A BOS, or one left out, begins nothing. */
        if (entry->kind != LM_ADDED && entry->kind != LM_SPECIAL) {
            begins = false;
        } else if (self->dropped == LM_PREFIX_ALWAYS) {
            begins = entry->kind == LM_SPECIAL || !self->prefix_after_special_only;
        } else {
            begins = begins && (left_out || ids[i] == self->bos);
        }
    }
    (*text)[used] = 0;
    *length = used;
    return TEMPER_OK;
}

/* sentence.c: SentencePiece-style merging by score, with bytes for what the vocabulary lacks.
 *
 * Invariant: the tokens cover the text in order; what no piece covers becomes byte tokens, or the unknown token where
 * the vocabulary has no bytes. A literal U+2581 becomes bytes: as a piece it would come back as a space. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

struct symbol {
    uint32_t at, size;   /* in the marked text; size 0 once merged into its left neighbour */
    uint32_t start, end; /* in the caller's */
    uint32_t previous, next;
};

enum { END = 0xFFFFFFFF };

/* Entries hold a space where the file has U+2581, so the marked text is the text itself, after its prefix. */
struct sentence {
    const lm_tokenizer *tokenizer;
    char *text;
    struct symbol *symbols; /* of the segment at hand */
    size_t count, capacity;
    lm_heap heap;
};

/* Higher scores are better; a heap's lower keys are. Maps floats to integers in reverse order. */
static uint32_t key_of(float score) {
    uint32_t bits;
    score = score == 0.0f ? 0.0f : score; /* one zero */
    memcpy(&bits, &score, sizeof bits);
    bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return ~bits;
}

static bool is_marker(const char *text, size_t size) {
    return size == 3 && memcmp(text, "\xE2\x96\x81", 3) == 0;
}

static bool offer(struct sentence *self, uint32_t left, uint32_t right) {
    if (left == END || right == END) {
        return true;
    }
    const struct symbol *a = &self->symbols[left], *b = &self->symbols[right];
    uint32_t size = a->size + b->size;
    int32_t id = lm_vocabulary_find(self->tokenizer, self->text + a->at, size);
    return id < 0 || lm_heap_push(&self->heap, (lm_candidate){key_of(self->tokenizer->entries[id].score),
                                                              left, right, size, id});
}

static bool merge_all(struct sentence *self) {
    lm_candidate best;
    self->heap.count = 0;
    for (uint32_t i = 0; i + 1 < self->count; i++) {
        if (!offer(self, i, i + 1)) {
            return false;
        }
    }
    while (lm_heap_pop(&self->heap, &best)) {
        struct symbol *left = &self->symbols[best.left], *right = &self->symbols[best.right];
        if (left->size == 0 || right->size == 0 || left->size + right->size != best.size) {
            continue;
        }
        left->size = best.size;
        left->end = right->end;
        left->next = right->next;
        right->size = 0;
        if (left->next != END) {
            self->symbols[left->next].previous = best.left;
        }
        if (!offer(self, left->previous, best.left) || !offer(self, best.left, left->next)) {
            return false;
        }
    }
    return true;
}

static temper_status push_bytes(const struct sentence *self, const struct symbol *symbol, lm_tokens *out,
                                size_t *capacity, temper_error *error) {
    const lm_tokenizer *tokenizer = self->tokenizer;
    for (uint32_t i = 0; i < symbol->size; i++) {
        int32_t id = tokenizer->byte_ids[(unsigned char)self->text[symbol->at + i]];
        uint32_t start = symbol->start + i, end = start + 1;
        bool whole = id < 0; /* one unknown token for the character */
        if (whole) {
            id = tokenizer->unknown;
            start = symbol->start;
            end = symbol->end;
        } else if (symbol->start == symbol->end) {
            start = end = symbol->start; /* the prefix */
        }
        if (id < 0) {
            return temper_fail(
                error, TEMPER_INVALID,
                "the vocabulary has no token for the character at offset %u, nor one for unknowns",
                symbol->start);
        }
        temper_status status = lm_tokens_push(out, capacity, (lm_token){id, start, end}, error);
        if (status || whole) {
            return status;
        }
    }
    return TEMPER_OK;
}

static temper_status push_all(const struct sentence *self, lm_tokens *out, size_t *capacity,
                              temper_error *error) {
    temper_status status = TEMPER_OK;
    for (uint32_t i = self->count == 0 ? END : 0; i != END && !status; i = self->symbols[i].next) {
        const struct symbol *symbol = &self->symbols[i];
        const char *piece = self->text + symbol->at;
        int32_t id =
            is_marker(piece, symbol->size) ? -1 : lm_vocabulary_find(self->tokenizer, piece, symbol->size);
        status = id >= 0 ? lm_tokens_push(out, capacity, (lm_token){id, symbol->start, symbol->end}, error)
                         : push_bytes(self, symbol, out, capacity, error);
    }
    return status;
}

/* One character a symbol, from `from` to `to` in the marked text. */
static bool make_symbols(struct sentence *self, size_t from, size_t to, size_t prefix, uint32_t base) {
    self->count = 0;
    for (size_t at = from; at < to;) {
        size_t size;
        bool valid;
        uint32_t start = base + (uint32_t)(at < prefix ? 0 : at - prefix), number = (uint32_t)self->count;
        lm_utf8_next(self->text, to, at, &size, &valid);
        if (self->count == self->capacity) {
            size_t capacity = self->capacity == 0 ? 64 : self->capacity * 2;
            struct symbol *symbols = realloc(self->symbols, capacity * sizeof *symbols);
            if (symbols == NULL) {
                return false;
            }
            self->symbols = symbols;
            self->capacity = capacity;
        }
        self->symbols[self->count++] = (struct symbol){(uint32_t)at,
                                                       (uint32_t)size,
                                                       start,
                                                       at < prefix ? start : start + (uint32_t)size,
                                                       number == 0 ? END : number - 1,
                                                       number + 1};
        at += size;
    }
    self->symbols[self->count - 1].next = END;
    return true;
}

/* Where merging may stop: before a space that follows something else, if no piece holds such a pair. */
static size_t segment_end(const struct sentence *self, size_t from, size_t length) {
    size_t at = from + 1;
    while (at < length &&
           !(self->tokenizer->words_apart && self->text[at] == ' ' && self->text[at - 1] != ' ')) {
        at++;
    }
    return at;
}

temper_status lm_encode_sentence(const lm_tokenizer *self, const char *text, size_t length, uint32_t base,
                                 bool at_start, lm_tokens *out, size_t *capacity, temper_error *error) {
    size_t prefix = at_start && self->space_prefix ? 1 : 0, whole = length + prefix;
    struct sentence work = {.tokenizer = self};
    temper_status status = TEMPER_OK;
    if (length == 0) {
        return TEMPER_OK;
    }
    work.text = malloc(whole);
    if (work.text == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to encode %zu bytes", length);
    }
    work.text[0] = ' ';
    memcpy(work.text + prefix, text, length);
    for (size_t from = 0, to; from < whole && !status; from = to) {
        to = segment_end(&work, from, whole);
        status = make_symbols(&work, from, to, prefix, base) && merge_all(&work)
                     ? push_all(&work, out, capacity, error)
                     : temper_fail(error, TEMPER_NO_MEMORY, "no memory to encode %zu bytes", length);
    }
    free(work.text);
    free(work.symbols);
    free(work.heap.items);
    return status;
}

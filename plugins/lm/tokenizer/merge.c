/* merge.c: byte-pair encoding: a word's bytes or characters, joined two by two, the best pair first, the leftmost among
 * equals. What makes a pair better is the vocabulary's kind: its place in a list of merges, its rank, or its score.
 *
 * Invariant: the order of joining is the same for short words, by looking through them, and for long ones, by a heap, so
 * that a word of n symbols costs no more than n log n. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { END = 0xFFFFFFFF, SHORT = 48, NONE = 0xFFFFFFFF };

static bool before(const lm_candidate *a, const lm_candidate *b) {
    return a->key != b->key ? a->key < b->key : a->left < b->left;
}

static bool heap_push(lm_heap *heap, lm_candidate candidate) {
    if (heap->count == heap->capacity) {
        size_t capacity = heap->capacity == 0 ? 64 : heap->capacity * 2;
        lm_candidate *items = realloc(heap->items, capacity * sizeof *items);
        if (items == NULL) {
            return false;
        }
        heap->items = items;
        heap->capacity = capacity;
    }
    size_t at = heap->count++;
    while (at > 0 && before(&candidate, &heap->items[(at - 1) / 2])) {
        heap->items[at] = heap->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->items[at] = candidate;
    return true;
}

static bool heap_pop(lm_heap *heap, lm_candidate *out) {
    if (heap->count == 0) {
        return false;
    }
    *out = heap->items[0];
    lm_candidate last = heap->items[--heap->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count && before(&heap->items[child + 1], &heap->items[child])) {
            child++;
        }
        if (!before(&heap->items[child], &last)) {
            break;
        }
        heap->items[at] = heap->items[child];
        at = child;
    }
    heap->items[at] = last;
    return true;
}

/* Higher scores are better; lower keys are. Maps floats to integers in reverse order. */
static uint32_t score_key(float score) {
    uint32_t bits;
    score = score == 0.0f ? 0.0f : score; /* one zero */
    memcpy(&bits, &score, sizeof bits);
    bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return ~bits;
}

/* What two neighbours become and how good that is (lower is better); NONE when they don't join. `bytes` are both's. */
static uint32_t join(const lm_tokenizer *self, int32_t left, int32_t right, const char *bytes, size_t size,
                     int32_t *id) {
    if (self->method != LM_BY_PAIRS) {
        *id = lm_vocabulary_find(self, bytes, size);
        return *id < 0                       ? NONE
               : self->method == LM_BY_SCORE ? score_key((float)self->entries[*id].score)
                                             : (uint32_t)*id;
    }
    if (left < 0 || right < 0 || self->merges.slots == NULL) {
        return NONE;
    }
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    const lm_slot *slots = self->merges.slots;
    for (size_t at = (size_t)lm_mix(key) & self->merges.mask; slots[at].value >= 0;
         at = (at + 1) & self->merges.mask) {
        if (slots[at].key == key) {
            *id = slots[at].value;
            return (uint32_t)slots[at].rank;
        }
    }
    return NONE;
}

/* A word's first symbols: one a byte, or one a character. */
static size_t symbol_at(const lm_tokenizer *self, const char *word, size_t length, size_t at, int32_t *id) {
    unsigned char byte = (unsigned char)word[at];
    if (!self->chars) {
        *id = self->byte_ids[byte];
        return 1;
    }
    if (byte < 128) {
        *id = self->char_ids[byte];
        return 1;
    }
    size_t size;
    bool valid;
    lm_utf8_next(word, length, at, &size, &valid);
    *id = lm_vocabulary_find(self, word + at, size);
    return size;
}

static temper_status push_symbol(lm_work *work, const char *word, int32_t id, size_t at, size_t size,
                                 uint32_t offset, temper_error *error) {
    if (id >= 0) {
        return lm_push_piece(work, id, (uint32_t)size, error);
    }
    if (!work->tokenizer->chars) {
        return temper_fail(error, TEMPER_INVALID,
                           "the vocabulary has no token for the byte 0x%02X at offset %lu",
                           (unsigned char)word[at], (unsigned long)(offset + at));
    }
    return lm_push_unknown(work, word + at, size, offset + (uint32_t)at, error);
}

/* At most SHORT symbols: the best pair is looked for each time. */
static temper_status merge_short(lm_work *work, const char *word, size_t length, uint32_t offset,
                                 temper_error *error) {
    const lm_tokenizer *self = work->tokenizer;
    int32_t ids[SHORT], joined[SHORT];
    uint32_t keys[SHORT]; /* of symbol i with i + 1 */
    uint16_t places[SHORT + 1];
    size_t count = 0;
    for (size_t at = 0; at < length; count++) {
        places[count] = (uint16_t)at;
        at += symbol_at(self, word, length, at, &ids[count]);
    }
    places[count] = (uint16_t)length;
    for (size_t i = 0; i + 1 < count; i++) {
        keys[i] =
            join(self, ids[i], ids[i + 1], word + places[i], (size_t)(places[i + 2] - places[i]), &joined[i]);
    }
    for (;;) {
        size_t best = 0;
        uint32_t key = NONE;
        for (size_t i = 0; i + 1 < count; i++) {
            if (keys[i] < key) {
                key = keys[i];
                best = i;
            }
        }
        if (key == NONE) {
            break;
        }
        ids[best] = joined[best];
        count--;
        for (size_t i = best + 1; i < count; i++) {
            ids[i] = ids[i + 1];
            places[i] = places[i + 1];
            keys[i - 1] = keys[i];
            joined[i - 1] = joined[i];
        }
        places[count] = (uint16_t)length;
        for (size_t i = best == 0 ? 0 : best - 1; i <= best && i + 1 < count; i++) {
            keys[i] = join(self, ids[i], ids[i + 1], word + places[i], (size_t)(places[i + 2] - places[i]),
                           &joined[i]);
        }
    }
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < count && !status; i++) {
        status =
            push_symbol(work, word, ids[i], places[i], (size_t)(places[i + 1] - places[i]), offset, error);
    }
    return status;
}

static bool offer(lm_work *work, const char *word, uint32_t left, uint32_t right) {
    if (left == END || right == END) {
        return true;
    }
    const lm_symbol *a = &work->symbols[left], *b = &work->symbols[right];
    int32_t id = -1;
    uint32_t key = join(work->tokenizer, a->id, b->id, word + a->at, a->size + b->size, &id);
    return key == NONE || heap_push(&work->heap, (lm_candidate){key, left, right, a->size + b->size, id});
}

static bool merge_all(lm_work *work, const char *word, size_t count) {
    lm_candidate best;
    work->heap.count = 0;
    for (uint32_t i = 0; i + 1 < count; i++) {
        if (!offer(work, word, i, i + 1)) {
            return false;
        }
    }
    while (heap_pop(&work->heap, &best)) {
        lm_symbol *left = &work->symbols[best.left], *right = &work->symbols[best.right];
        if (left->size == 0 || right->size == 0 || left->size + right->size != best.size ||
            left->next != best.right) {
            continue; /* one of them has been joined since */
        }
        left->id = best.id;
        left->size = best.size;
        left->next = right->next;
        right->size = 0;
        if (left->next != END) {
            work->symbols[left->next].previous = best.left;
        }
        if (!offer(work, word, left->previous, best.left) || !offer(work, word, best.left, left->next)) {
            return false;
        }
    }
    return true;
}

static temper_status no_memory(size_t length, temper_error *error) {
    return temper_fail(error, TEMPER_NO_MEMORY, "no memory to encode a word of %zu bytes", length);
}

temper_status lm_merge_word(lm_work *work, const char *word, size_t length, uint32_t offset,
                            temper_error *error) {
    size_t count = 0;
    temper_status status = TEMPER_OK;
    if (length <= SHORT) {
        return length == 0 ? TEMPER_OK : merge_short(work, word, length, offset, error);
    }
    if (length > work->symbol_capacity) {
        lm_symbol *symbols = realloc(work->symbols, length * 2 * sizeof *symbols);
        if (symbols == NULL) {
            return no_memory(length, error);
        }
        work->symbols = symbols;
        work->symbol_capacity = length * 2;
    }
    for (size_t at = 0; at < length; count++) {
        int32_t id;
        size_t size = symbol_at(work->tokenizer, word, length, at, &id);
        work->symbols[count] = (lm_symbol){id, (uint32_t)at, (uint32_t)size,
                                           count == 0 ? END : (uint32_t)count - 1, (uint32_t)count + 1};
        at += size;
    }
    work->symbols[count - 1].next = END;
    if (!merge_all(work, word, count)) {
        return no_memory(length, error);
    }
    for (uint32_t i = 0; i != END && !status; i = work->symbols[i].next) {
        const lm_symbol *symbol = &work->symbols[i];
        status = push_symbol(work, word, symbol->id, symbol->at, symbol->size, offset, error);
    }
    return status;
}

/* added.c: looking for added tokens: from the left, the longest first, by first byte.
 *
 * Invariant: a special token is found only where every one of its bytes is allowed to be one; a token that strips takes
 * the white space beside it, never more than lies there. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static int longest_first(const void *left, const void *right) {
    const lm_added_one *a = left, *b = right;
    unsigned char first_a = (unsigned char)a->text[0], first_b = (unsigned char)b->text[0];
    if (first_a != first_b) {
        return first_a < first_b ? -1 : 1;
    }
    if (a->length != b->length) {
        return a->length > b->length ? -1 : 1;
    }
    return (a->id > b->id) - (a->id < b->id);
}

static void group(lm_added_set *set) {
    size_t at = 0;
    if (set->count > 0) {
        qsort(set->items, set->count, sizeof *set->items, longest_first);
    }
    for (unsigned first = 0; first < 256; first++) {
        set->from[first] = (uint32_t)at;
        while (at < set->count && (unsigned char)set->items[at].text[0] == first) {
            at++;
        }
    }
    set->from[256] = (uint32_t)at;
}

/* What the normalizers make of a token's text, kept in normalized_texts from *used on. */
static temper_status normalized_text(lm_tokenizer *self, const lm_entry *entry, size_t *used, size_t *room,
                                     lm_aligned *made, lm_aligned *spare, temper_error *error) {
    temper_status status = lm_normalize_text(self, entry->bytes, entry->length, 0, made, spare, error);
    if (status) {
        return status;
    }
    if (made->length > *room - *used) {
        size_t larger = (*room + made->length) * 2;
        char *texts = realloc(self->normalized_texts, larger);
        if (texts == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the added tokens");
        }
        self->normalized_texts = texts;
        *room = larger;
    }
    if (made->length > 0) {
        memcpy(self->normalized_texts + *used, made->text, made->length);
    }
    *used += made->length;
    return TEMPER_OK;
}

temper_status lm_added_build(lm_tokenizer *self, temper_error *error) {
    size_t count = 0, used = 0, room = 0;
    lm_aligned made = {0}, spare = {0};
    temper_status status = TEMPER_OK;
    for (size_t id = 0; id < self->size; id++) {
        count += self->entries[id].kind >= LM_ADDED;
    }
    self->added.items = calloc(count + 1, sizeof *self->added.items);
    self->normalized.items = calloc(count + 1, sizeof *self->normalized.items);
    if (self->added.items == NULL || self->normalized.items == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the added tokens");
    }
    for (size_t id = 0; id < self->size && !status; id++) {
        const lm_entry *entry = &self->entries[id];
        if (entry->kind < LM_ADDED || entry->length == 0) {
            continue;
        }
        if ((entry->match & LM_NORMALIZED) == 0 || self->normalizer_count == 0) {
            lm_added_one one = {entry->bytes, entry->length, (int32_t)id};
            self->added.items[self->added.count++] = one;
            if ((entry->match & LM_EVERYWHERE) != 0) {
                self->normalized.items[self->normalized.count++] = one;
            }
            continue;
        }
        size_t from = used;
        status = normalized_text(self, entry, &used, &room, &made, &spare, error);
        if (!status && used > from) {
            self->normalized.items[self->normalized.count++] =
                (lm_added_one){NULL, (uint32_t)(used - from), (int32_t)id};
        }
    }
    /* The texts have moved while they grew. */
    for (size_t i = 0, at = 0; i < self->normalized.count && !status; i++) {
        if (self->normalized.items[i].text != NULL) {
            continue;
        }
        self->normalized.items[i].text = self->normalized_texts + at;
        at += self->normalized.items[i].length;
    }
    if (!status) {
        group(&self->added);
        group(&self->normalized);
    }
    lm_aligned_free(&made);
    lm_aligned_free(&spare);
    return status;
}

/* The character that ends before `at`, 0xFFFD when it is broken. */
static uint32_t character_before(const char *text, size_t at, size_t *start) {
    size_t from = at - 1, size;
    bool valid;
    while (from > 0 && at - from < 4 && ((unsigned char)text[from] & 0xC0) == 0x80) {
        from--;
    }
    uint32_t code = lm_utf8_next(text, at, from, &size, &valid);
    *start = from + size == at ? from : at - 1;
    return from + size == at ? code : 0xFFFD;
}

static bool is_word(uint32_t code) {
    lm_class class = lm_class_of(code);
    return class == LM_CLASS_LETTER || class == LM_CLASS_NUMBER || code == '_';
}

static bool stands_alone(const char *text, size_t length, size_t start, size_t end) {
    size_t size;
    bool valid;
    return !(start > 0 && is_word(character_before(text, start, &size))) &&
           !(end < length && is_word(lm_utf8_next(text, length, end, &size, &valid)));
}

static void strip(const lm_entry *entry, const char *text, size_t length, size_t from,
                  lm_added_match *match) {
    size_t place, size;
    bool valid;
    while ((entry->match & LM_LEFT_STRIP) != 0 && match->start > from &&
           lm_class_of(character_before(text, match->start, &place)) == LM_CLASS_SPACE) {
        match->start = place < from ? from : place;
    }
    while ((entry->match & LM_RIGHT_STRIP) != 0 && match->end < length &&
           lm_class_of(lm_utf8_next(text, length, match->end, &size, &valid)) == LM_CLASS_SPACE) {
        match->end += size;
    }
}

static bool is_allowed(const lm_entry *entry, const uint8_t *allowed, size_t at, size_t length) {
    if (entry->kind == LM_ADDED) {
        return true;
    }
    for (size_t i = 0; allowed != NULL && i < length; i++) {
        if (allowed[at + i] == 0) {
            return false;
        }
    }
    return allowed != NULL;
}

lm_added_match lm_added_next(const lm_tokenizer *self, const lm_added_set *set, const char *text,
                             size_t length, size_t at, const uint8_t *allowed) {
    size_t from = at;
    for (; set->count > 0 && at < length; at++) {
        unsigned char first = (unsigned char)text[at];
        for (uint32_t i = set->from[first]; i < set->from[first + 1]; i++) {
            const lm_added_one *one = &set->items[i];
            const lm_entry *entry = &self->entries[one->id];
            if (one->length > length - at || memcmp(one->text, text + at, one->length) != 0 ||
                !is_allowed(entry, allowed, at, one->length) ||
                ((entry->match & LM_SINGLE_WORD) != 0 && !stands_alone(text, length, at, at + one->length))) {
                continue;
            }
            lm_added_match match = {one->id, at, at + one->length};
            strip(entry, text, length, from, &match);
            return match;
        }
    }
    return (lm_added_match){-1, length, length};
}

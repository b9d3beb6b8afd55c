/* words.c: a word to tokens with the places that they cover, by memory or by the model.
 *
 * Invariant: the tokens of a word cover its bytes in order; the space in front that is not in the text covers none. */
#include "internal.h"

#include "remembered.h"

#include <stdlib.h>
#include <string.h>

temper_status lm_push_token(lm_work *work, lm_token token, temper_error *error) {
    if (work->out->count == work->capacity) {
        size_t larger = work->capacity == 0 ? 32 : work->capacity * 2;
        lm_token *items = realloc(work->out->items, larger * sizeof *items);
        if (items == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu tokens", larger);
        }
        work->out->items = items;
        work->capacity = larger;
    }
    work->out->items[work->out->count++] = token;
    return TEMPER_OK;
}

temper_status lm_push_piece(lm_work *work, int32_t id, uint32_t size, temper_error *error) {
    if (work->piece_count == work->piece_capacity) {
        size_t larger = work->piece_capacity == 0 ? 64 : work->piece_capacity * 2;
        lm_piece *pieces = realloc(work->pieces, larger * sizeof *pieces);
        if (pieces == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a word of %zu tokens", larger);
        }
        work->pieces = pieces;
        work->piece_capacity = larger;
    }
    work->pieces[work->piece_count++] = (lm_piece){id, size};
    return TEMPER_OK;
}

temper_status lm_push_unknown(lm_work *work, const char *bytes, size_t size, uint32_t offset,
                              temper_error *error) {
    const lm_tokenizer *self = work->tokenizer;
    bool all = self->byte_fallback;
    for (size_t i = 0; i < size && all; i++) {
        all = self->byte_ids[(unsigned char)bytes[i]] >= 0;
    }
    for (size_t i = 0; i < size && all; i++) {
        temper_status status = lm_push_piece(work, self->byte_ids[(unsigned char)bytes[i]], 1, error);
        if (status) {
            return status;
        }
    }
    if (all) {
        return TEMPER_OK;
    }
    if (self->unknown < 0) {
        return temper_fail(
            error, TEMPER_INVALID,
            "the vocabulary has no token for the character at offset %lu, nor one for unknowns",
            (unsigned long)offset);
    }
    lm_piece *last = work->piece_count > 0 ? &work->pieces[work->piece_count - 1] : NULL;
    if (self->fuses_unknown && last != NULL && last->id == self->unknown) {
        last->size += (uint32_t)size;
        return TEMPER_OK;
    }
    return lm_push_piece(work, self->unknown, (uint32_t)size, error);
}

/* Tokens over text[from, ...): `skip` of the word's bytes stand before it. */
static temper_status emit(lm_work *work, const lm_piece *pieces, size_t count, size_t from, size_t skip,
                          temper_error *error) {
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        size_t first = at < skip ? 0 : at - skip, end = at + pieces[i].size;
        size_t last = end < skip ? 0 : end - skip; /* of the word's bytes that are in the text */
        lm_token token = {pieces[i].id, work->base + (uint32_t)(from + first),
                          work->base + (uint32_t)(from + last)};
        if (work->start != NULL) {
            bool none = last == first;
            token.start = none && from + first > 0 ? work->end[from + first - 1] : work->start[from + first];
            token.end = none ? token.start : work->end[from + last - 1];
        }
        temper_status status = lm_push_token(work, token, error);
        if (status) {
            return status;
        }
        at = end;
    }
    return TEMPER_OK;
}

static temper_status by_model(lm_work *work, const char *word, size_t length, uint32_t offset,
                              temper_error *error) {
    const lm_tokenizer *self = work->tokenizer;
    int32_t id = self->whole_words ? lm_vocabulary_find(self, word, length) : -1;
    work->piece_count = 0;
    if (id >= 0) {
        return lm_push_piece(work, id, (uint32_t)length, error);
    }
    return self->method == LM_UNIGRAM ? lm_unigram_word(work, word, length, offset, error)
                                      : lm_merge_word(work, word, length, offset, error);
}

static temper_status with_prefix(lm_work *work, size_t from, size_t to, temper_error *error) {
    size_t length = to - from + 1;
    if (length > work->word_capacity) {
        char *word = realloc(work->word, length * 2);
        if (word == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory to encode a word of %zu bytes", length);
        }
        work->word = word;
        work->word_capacity = length * 2;
    }
    work->word[0] = ' ';
    memcpy(work->word + 1, work->text + from, length - 1);
    temper_status status = by_model(work, work->word, length, work->base + (uint32_t)from, error);
    return status ? status : emit(work, work->pieces, work->piece_count, from, 1, error);
}

/* The word's bytes as a key; memory is read only where the word lies. */
static void key_of(const char *word, size_t length, uint64_t *low, uint64_t *high) {
    uint64_t key[2] = {0, 0};
    if (length >= 8) {
        memcpy(&key[0], word, 8);
        memcpy(&key[1], word + length - 8, 8); /* overlaps; the upper bytes are those past the first eight */
        key[1] = length == 8 ? 0 : key[1] >> (8 * (16 - length));
    } else {
        unsigned char bytes[8] = {0};
        if (length >= 4) {
            memcpy(bytes, word, 4);
            memcpy(bytes + length - 4, word + length - 4, 4);
        } else {
            bytes[0] = (unsigned char)word[0];
            bytes[length / 2] = (unsigned char)word[length / 2];
            bytes[length - 1] = (unsigned char)word[length - 1];
        }
        memcpy(&key[0], bytes, 8);
    }
    *low = key[0];
    *high = (key[1] & UINT64_C(0x00FFFFFFFFFFFFFF)) | (uint64_t)length << 56;
}

static temper_status remember(lm_work *work, lm_remembered *slot, uint64_t low, uint64_t high, size_t from,
                              size_t to, temper_error *error) {
    temper_status status = by_model(work, work->text + from, to - from, work->base + (uint32_t)from, error);
    if (status) {
        return status;
    }
    if (work->piece_count <= LM_REMEMBERED_TOKENS) {
        slot->low = low;
        slot->high = high;
        slot->count = (uint8_t)work->piece_count;
        for (size_t i = 0; i < work->piece_count; i++) {
            slot->ids[i] = work->pieces[i].id;
            slot->sizes[i] = (uint8_t)work->pieces[i].size;
        }
    }
    return emit(work, work->pieces, work->piece_count, from, 0, error);
}

/* A remembered word of a text that was not changed: the way nearly all words go. */
static temper_status emit_remembered(lm_work *work, const lm_remembered *slot, size_t from,
                                     temper_error *error) {
    if (work->start != NULL) {
        lm_piece pieces[LM_REMEMBERED_TOKENS];
        for (size_t i = 0; i < slot->count; i++) {
            pieces[i] = (lm_piece){slot->ids[i], slot->sizes[i]};
        }
        return emit(work, pieces, slot->count, from, 0, error);
    }
    uint32_t at = work->base + (uint32_t)from;
    for (size_t i = 0; i < slot->count; i++) {
        lm_token token = {slot->ids[i], at, at + slot->sizes[i]};
        if (work->out->count < work->capacity) {
            work->out->items[work->out->count++] = token;
        } else {
            temper_status status = lm_push_token(work, token, error);
            if (status) {
                return status;
            }
        }
        at = token.end;
    }
    return TEMPER_OK;
}

temper_status lm_encode_word(lm_work *work, size_t from, size_t to, bool prefix, temper_error *error) {
    uint64_t low, high;
    if (prefix) {
        return with_prefix(work, from, to, error);
    }
    if (to - from > LM_REMEMBERED_BYTES) {
        temper_status status =
            by_model(work, work->text + from, to - from, work->base + (uint32_t)from, error);
        return status ? status : emit(work, work->pieces, work->piece_count, from, 0, error);
    }
    key_of(work->text + from, to - from, &low, &high);
    uint64_t mixed = (low ^ high * UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xff51afd7ed558ccd);
    lm_remembered *slot = &work->memory[(mixed ^ mixed >> 32) >> 7 & (LM_REMEMBERED - 1)];
    if (slot->low == low && slot->high == high) {
        return emit_remembered(work, slot, from, error);
    }
    return remember(work, slot, low, high, from, to, error);
}

/* byte_level.c: byte-level BPE: words of bytes, merged in the order of the merge list.
 *
 * Invariant: a word's tokens cover its bytes in order and completely, so any bytes come back from decoding. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* GPT-2's table: printable Latin-1 bytes stand for themselves, the others for U+0100 and on, in turn. */
static bool is_printable(unsigned byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

static uint32_t symbol_of(unsigned byte) {
    uint32_t next = 256;
    if (is_printable(byte)) {
        return byte;
    }
    for (unsigned other = 0; other < byte; other++) {
        next += !is_printable(other);
    }
    return next;
}

void lm_byte_level_symbol(uint8_t byte, char out[3]) {
    uint32_t symbol = symbol_of(byte);
    if (symbol < 128) {
        out[0] = (char)symbol;
        out[1] = 0;
    } else {
        out[0] = (char)(0xC0 | symbol >> 6);
        out[1] = (char)(0x80 | (symbol & 63));
    }
    out[2] = 0;
}

size_t lm_byte_level_decode(const char *text, size_t length, char *out) {
    /* U+0100.. to bytes: 0..32, 127..160, 173. */
    size_t used = 0;
    for (size_t at = 0; at < length;) {
        size_t size;
        bool valid;
        uint32_t symbol = lm_utf8_next(text, length, at, &size, &valid);
        at += size;
        if (symbol < 256 && valid && is_printable(symbol)) {
            out[used++] = (char)symbol;
        } else if (symbol >= 256 && symbol <= 256 + 32) {
            out[used++] = (char)(symbol - 256);
        } else if (symbol >= 289 && symbol <= 289 + 33) {
            out[used++] = (char)(symbol - 289 + 127);
        } else if (symbol == 323) {
            out[used++] = (char)173;
        } else {
            return SIZE_MAX;
        }
    }
    return used;
}

struct symbol {
    int32_t id;
    uint32_t size; /* bytes; 0 once merged into its left neighbour */
    uint32_t previous, next;
};

enum { END = 0xFFFFFFFF };

/* Room that is kept from word to word. */
struct scratch {
    struct symbol *symbols;
    size_t capacity;
    lm_heap heap;
};

static const lm_slot *find_merge(const lm_tokenizer *self, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    if (self->merges.slots == NULL) {
        return NULL;
    }
    for (size_t at = (size_t)lm_mix(key) & self->merges.mask; self->merges.slots[at].value >= 0;
         at = (at + 1) & self->merges.mask) {
        if (self->merges.slots[at].key == key) {
            return &self->merges.slots[at];
        }
    }
    return NULL;
}

static bool offer(const lm_tokenizer *self, struct scratch *room, uint32_t left, uint32_t right) {
    if (left == END || right == END) {
        return true;
    }
    const struct symbol *a = &room->symbols[left], *b = &room->symbols[right];
    const lm_slot *merge = find_merge(self, a->id, b->id);
    return merge == NULL || lm_heap_push(&room->heap, (lm_candidate){(uint32_t)merge->rank, left, right,
                                                                     a->size + b->size, merge->value});
}

static bool merge_all(const lm_tokenizer *self, struct scratch *room, size_t count) {
    lm_candidate best;
    room->heap.count = 0;
    for (uint32_t i = 0; i + 1 < count; i++) {
        if (!offer(self, room, i, i + 1)) {
            return false;
        }
    }
    while (lm_heap_pop(&room->heap, &best)) {
        struct symbol *left = &room->symbols[best.left], *right = &room->symbols[best.right];
        if (left->size == 0 || right->size == 0 || left->size + right->size != best.size ||
            left->next != best.right) {
            continue; /* one of them has been merged since */
        }
        left->id = best.id;
        left->size = best.size;
        left->next = right->next;
        right->size = 0;
        if (left->next != END) {
            room->symbols[left->next].previous = best.left;
        }
        if (!offer(self, room, left->previous, best.left) || !offer(self, room, best.left, left->next)) {
            return false;
        }
    }
    return true;
}

static temper_status no_byte(char byte, uint32_t offset, temper_error *error) {
    return temper_fail(error, TEMPER_INVALID, "the vocabulary has no token for the byte 0x%02X at offset %lu",
                       (unsigned char)byte, (unsigned long)offset);
}

static temper_status encode_word(const lm_tokenizer *self, struct scratch *room, const char *word,
                                 size_t length, uint32_t base, lm_tokens *out, size_t *capacity,
                                 temper_error *error) {
    if (self->whole_words) {
        int32_t id = lm_vocabulary_find(self, word, length);
        if (id >= 0) {
            return lm_tokens_push(out, capacity, (lm_token){id, base, base + (uint32_t)length}, error);
        }
    }
    if (length > room->capacity) {
        struct symbol *symbols = realloc(room->symbols, length * 2 * sizeof *symbols);
        if (symbols == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory to encode a word of %zu bytes", length);
        }
        room->symbols = symbols;
        room->capacity = length * 2;
    }
    for (uint32_t i = 0; i < length; i++) {
        int32_t id = self->byte_ids[(unsigned char)word[i]];
        if (id < 0) {
            return no_byte(word[i], base + i, error);
        }
        room->symbols[i] = (struct symbol){id, 1, i == 0 ? END : i - 1, i + 1 == length ? END : i + 1};
    }
    if (!merge_all(self, room, length)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to encode a word of %zu bytes", length);
    }
    uint32_t start = base;
    for (uint32_t i = 0; i != END; i = room->symbols[i].next) {
        uint32_t end = start + room->symbols[i].size;
        temper_status status =
            lm_tokens_push(out, capacity, (lm_token){room->symbols[i].id, start, end}, error);
        if (status) {
            return status;
        }
        start = end;
    }
    return TEMPER_OK;
}

/* A vocabulary without merges: every byte is a token. */
static temper_status encode_bytes(const lm_tokenizer *self, const char *text, size_t length, uint32_t base,
                                  lm_tokens *out, size_t *capacity, temper_error *error) {
    temper_status status = TEMPER_OK;
    for (uint32_t i = 0; i < length && !status; i++) {
        int32_t id = self->byte_ids[(unsigned char)text[i]];
        status = id < 0 ? no_byte(text[i], base + i, error)
                        : lm_tokens_push(out, capacity, (lm_token){id, base + i, base + i + 1}, error);
    }
    return status;
}

temper_status lm_encode_byte_level(const lm_tokenizer *self, const char *text, size_t length, uint32_t base,
                                   lm_tokens *out, size_t *capacity, temper_error *error) {
    struct scratch room = {0};
    temper_status status = TEMPER_OK;
    size_t segment = 0;
    if (self->merges.used == 0 && !self->whole_words) {
        return encode_bytes(self, text, length, base, out, capacity, error);
    }
    for (size_t at = 0; at < length && !status;) {
        size_t end = lm_split_next(self->split, text, length, at, &segment);
        status = encode_word(self, &room, text + at, end - at, base + (uint32_t)at, out, capacity, error);
        at = end;
    }
    free(room.symbols);
    free(room.heap.items);
    return status;
}

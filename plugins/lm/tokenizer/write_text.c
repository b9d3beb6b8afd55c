/* write_text.c: a vocabulary's texts, merges and name of cutting, as files hold them.
 *
 * Invariant: what a loader of this room makes of them is the same vocabulary. */
#include "write_text.h"

#include <stdlib.h>
#include <string.h>

size_t lm_written_size(const lm_tokenizer *self) {
    size_t longest = 16;
    for (size_t id = 0; id < self->size; id++) {
        longest = self->entries[id].length > longest ? self->entries[id].length : longest;
    }
    return 3 * longest + 16;
}

static size_t write_marked(const lm_entry *entry, char *room) {
    size_t used = 0;
    for (uint32_t i = 0; i < entry->length; i++) {
        if (entry->bytes[i] == ' ') {
            memcpy(room + used, "\xE2\x96\x81", 3);
            used += 3;
        } else {
            room[used++] = entry->bytes[i];
        }
    }
    return used;
}

size_t lm_written_token(const lm_tokenizer *self, int32_t id, char *room) {
    const lm_entry *entry = &self->entries[id];
    size_t used = 0;
    if (entry->kind == LM_BYTE) {
        return (size_t)snprintf(room, 16, "<0x%02X>", (unsigned char)entry->bytes[0]);
    }
    if (entry->kind != LM_NORMAL) {
        memcpy(room, entry->bytes, entry->length);
        return entry->length;
    }
    if (self->marked) {
        return write_marked(entry, room);
    }
    for (uint32_t i = 0; i < entry->length; i++) {
        char symbol[3];
        lm_byte_level_symbol((uint8_t)entry->bytes[i], symbol);
        memcpy(room + used, symbol, strlen(symbol));
        used += strlen(symbol);
    }
    return used;
}

static int by_rank(const void *left, const void *right) {
    const lm_written_merge *a = left, *b = right;
    if (a->rank != b->rank) {
        return a->rank < b->rank ? -1 : 1;
    }
    if (a->id != b->id) {
        return a->id < b->id ? -1 : 1;
    }
    return a->left < b->left ? -1 : a->left > b->left;
}

/* Every way to cut an entry in two entries, at a character's end; `out` NULL: only counted. */
static size_t splits(const lm_tokenizer *self, int32_t id, lm_written_merge *out) {
    const lm_entry *entry = &self->entries[id];
    size_t count = 0;
    for (uint32_t at = 1; entry->kind == LM_NORMAL && at < entry->length; at++) {
        if (((unsigned char)entry->bytes[at] & 0xC0) == 0x80) {
            continue;
        }
        int32_t left = lm_vocabulary_find(self, entry->bytes, at);
        int32_t right = lm_vocabulary_find(self, entry->bytes + at, entry->length - at);
        if (left >= 0 && right >= 0 && self->entries[left].kind == LM_NORMAL &&
            self->entries[right].kind == LM_NORMAL) {
            if (out != NULL) {
                out[count] = (lm_written_merge){left, right, id, -(double)entry->score};
            }
            count++;
        }
    }
    return count;
}

temper_status lm_written_merges(const lm_tokenizer *self, lm_written_merge **out, size_t *count,
                                temper_error *error) {
    bool listed = self->method == LM_BY_PAIRS;
    size_t room = listed ? self->merges.used : 0, used = 0;
    for (size_t id = 0; !listed && id < self->size; id++) {
        room += splits(self, (int32_t)id, NULL);
    }
    *out = malloc((room + 1) * sizeof **out);
    if (*out == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu merges", room);
    }
    for (size_t id = 0; !listed && id < self->size; id++) {
        used += splits(self, (int32_t)id, *out + used);
    }
    for (size_t at = 0; listed && self->merges.slots != NULL && at <= self->merges.mask; at++) {
        const lm_slot *slot = &self->merges.slots[at];
        if (slot->value >= 0) {
            (*out)[used++] = (lm_written_merge){(int32_t)(slot->key >> 32), (int32_t)(uint32_t)slot->key,
                                                slot->value, (double)slot->rank};
        }
    }
    qsort(*out, used, sizeof **out, by_rank);
    *count = used;
    return TEMPER_OK;
}

const char *lm_written_family(const lm_tokenizer *self) {
    const lm_cut *cut = self->cut_count == 1 ? &self->cuts[0] : NULL;
    if (self->merges.used == 0 && self->method == LM_BY_PAIRS && !self->chars) {
        return "gpt-2"; /* every byte is a token, however words are cut */
    }
    if (cut == NULL || cut->behaviour != LM_ISOLATED || cut->invert) {
        return NULL;
    }
    switch (cut->kind) {
    case LM_CUT_GPT2: return self->whole_words ? NULL : "gpt-2";
    case LM_CUT_DIGITS_GPT2: return self->whole_words ? NULL : "smollm";
    case LM_CUT_LLAMA3: return self->whole_words ? "llama-bpe" : "dbrx";
    case LM_CUT_QWEN2: return self->whole_words ? NULL : "qwen2";
    default: return NULL;
    }
}

temper_status lm_written_check(const lm_tokenizer *self, temper_error *error) {
    bool bytes = !self->chars && !self->marked && self->method == LM_BY_PAIRS;
    bool marked = self->chars && self->marked && self->byte_fallback &&
                  (self->method == LM_BY_PAIRS || self->method == LM_BY_SCORE);
    if (!bytes && !marked) {
        return temper_fail(
            error, TEMPER_UNSUPPORTED,
            "this kind of tokenizer (%s) cannot be written in that format; byte-level BPE with merges, and "
            "SentencePiece's BPE with byte fallback, can",
            self->method == LM_UNIGRAM   ? "unigram"
            : self->method == LM_BY_RANK ? "ranks without merges"
                                         : "BPE over characters");
    }
    if (bytes && lm_written_family(self) == NULL) {
        return temper_fail(
            error, TEMPER_UNSUPPORTED,
            "this tokenizer cuts words in a way that has no name in a GGUF (GPT-2's, SmolLM's, Llama 3's "
            "and Qwen 2's have one)");
    }
    for (size_t i = 0; bytes && i < self->normalizer_count; i++) {
        /* llama.cpp has no NFC, and Qwen's GGUFs go without it: a text that is in NFC gives the same tokens. */
        if (self->normalizers[i].kind != LM_NFC) {
            return temper_fail(error, TEMPER_UNSUPPORTED,
                               "this tokenizer changes texts before it cuts them, which a GGUF cannot say");
        }
    }
    return TEMPER_OK;
}

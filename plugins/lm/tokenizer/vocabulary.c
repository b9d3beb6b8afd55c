/* vocabulary.c: the table of tokens, the map from bytes to ids, the merges.
 *
 * Invariant: an id has at most one entry; of two normal entries with the same bytes the map holds the last, as the
 * reference implementations do. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TOKENS = 1 << 24 };

bool lm_map_reserve(lm_map *map, size_t count) {
    size_t slots = 16;
    while (slots < count * 2) {
        slots *= 2;
    }
    map->slots = malloc(slots * sizeof *map->slots);
    if (map->slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < slots; i++) {
        map->slots[i] = (lm_slot){0, -1, 0};
    }
    map->mask = slots - 1;
    return true;
}

/* Keys are unique here: the caller knows (merges) or allows duplicates of a hash (bytes), looked through in turn. */
void lm_map_put(lm_map *map, uint64_t key, int32_t value, int32_t rank) {
    size_t at = (size_t)lm_mix(key) & map->mask;
    while (map->slots[at].value >= 0) {
        at = (at + 1) & map->mask;
    }
    map->slots[at] = (lm_slot){key, value, rank};
    map->used++;
}

static uint64_t hash_bytes(const char *bytes, size_t length) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ length;
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static lm_slot *find_slot(const lm_tokenizer *self, const char *bytes, size_t length) {
    uint64_t key = hash_bytes(bytes, length);
    for (size_t at = (size_t)lm_mix(key) & self->by_bytes.mask; self->by_bytes.slots[at].value >= 0;
         at = (at + 1) & self->by_bytes.mask) {
        lm_slot *slot = &self->by_bytes.slots[at];
        const lm_entry *entry = &self->entries[slot->value];
        if (slot->key == key && entry->length == length && memcmp(entry->bytes, bytes, length) == 0) {
            return slot;
        }
    }
    return NULL;
}

int32_t lm_vocabulary_find(const lm_tokenizer *self, const char *bytes, size_t length) {
    if (length > self->longest) {
        return -1;
    }
    const lm_slot *slot = find_slot(self, bytes, length);
    return slot == NULL ? -1 : slot->value;
}

lm_tokenizer *lm_vocabulary_new(size_t size, size_t arena_size) {
    if (size > MAX_TOKENS) {
        return NULL;
    }
    lm_tokenizer *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return NULL;
    }
    self->size = size;
    self->arena_size = arena_size + size; /* a 0 after each */
    self->entries = calloc(size + 1, sizeof *self->entries);
    self->arena = malloc(self->arena_size + 1);
    self->bos = self->eos = self->unknown = -1;
    for (size_t i = 0; i < 256; i++) {
        self->byte_ids[i] = -1;
        self->char_ids[i % 128] = -1;
    }
    if (self->entries == NULL || self->arena == NULL || !lm_map_reserve(&self->by_bytes, size)) {
        lm_tokenizer_close(self);
        return NULL;
    }
    return self;
}

temper_status lm_vocabulary_add(lm_tokenizer *self, int64_t id, const char *bytes, size_t length,
                                lm_token_kind kind, temper_error *error) {
    int shown = length > 60 ? 60 : (int)length; /* the bytes need not be 0-terminated */
    if (id < 0 || (uint64_t)id >= self->size) {
        return temper_fail(error, TEMPER_INVALID, "token \"%.*s\" has the id %lld of %zu", shown, bytes,
                           (long long)id, self->size);
    }
    lm_entry *entry = &self->entries[id];
    if (entry->kind != LM_ABSENT) {
        return temper_fail(error, TEMPER_INVALID, "id %lld is both \"%.60s\" and \"%.*s\"", (long long)id,
                           entry->bytes, shown, bytes);
    }
    if (length > UINT32_MAX || length >= self->arena_size - self->arena_used) {
        return temper_fail(error, TEMPER_INVALID, "token %lld has %zu bytes", (long long)id, length);
    }
    char *copy = self->arena + self->arena_used;
    memcpy(copy, bytes, length);
    copy[length] = 0;
    self->arena_used += length + 1;
    entry->bytes = copy;
    entry->length = (uint32_t)length;
    entry->kind = (uint8_t)kind;
    if (kind == LM_ADDED || kind == LM_SPECIAL) {
        return TEMPER_OK;
    }
    if (kind == LM_BYTE) {
        self->byte_ids[(unsigned char)bytes[0]] = (int32_t)id;
    } else {
        lm_vocabulary_know(self, (int32_t)id);
    }
    return TEMPER_OK;
}

void lm_vocabulary_know(lm_tokenizer *self, int32_t id) {
    const lm_entry *entry = &self->entries[id];
    lm_slot *slot = find_slot(self, entry->bytes, entry->length);
    if (slot != NULL) {
        slot->value = id;
    } else {
        lm_map_put(&self->by_bytes, hash_bytes(entry->bytes, entry->length), id, 0);
    }
    self->longest = entry->length > self->longest ? entry->length : self->longest;
}

temper_status lm_vocabulary_expect_merges(lm_tokenizer *self, size_t count, temper_error *error) {
    if (count > MAX_TOKENS || !lm_map_reserve(&self->merges, count)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu merges", count);
    }
    return TEMPER_OK;
}

temper_status lm_vocabulary_merge(lm_tokenizer *self, const char *left, size_t left_length, const char *right,
                                  size_t right_length, size_t rank, temper_error *error) {
    char both[1024];
    if (left_length + right_length > sizeof both) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "merge %zu makes a token of %zu bytes", rank,
                           left_length + right_length);
    }
    memcpy(both, left, left_length);
    memcpy(both + left_length, right, right_length);
    int32_t left_id = lm_vocabulary_find(self, left, left_length);
    int32_t right_id = lm_vocabulary_find(self, right, right_length);
    int32_t id = lm_vocabulary_find(self, both, left_length + right_length);
    if (left_id < 0 || right_id < 0 || id < 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "merge %zu, of \"%.*s\" and \"%.*s\", needs a token that the "
                           "vocabulary lacks",
                           rank, (int)left_length, left, (int)right_length, right);
    }
    uint64_t key = (uint64_t)(uint32_t)left_id << 32 | (uint32_t)right_id;
    for (size_t at = (size_t)lm_mix(key) & self->merges.mask; self->merges.slots[at].value >= 0;
         at = (at + 1) & self->merges.mask) {
        if (self->merges.slots[at].key == key) {
            return temper_fail(error, TEMPER_INVALID, "merge %zu, of \"%.*s\" and \"%.*s\", is there twice",
                               rank, (int)left_length, left, (int)right_length, right);
        }
    }
    lm_map_put(&self->merges, key, id, (int32_t)rank);
    return TEMPER_OK;
}

static bool has_inner_space(const lm_entry *entry) {
    for (uint32_t i = 1; entry->kind == LM_NORMAL && i < entry->length; i++) {
        if (entry->bytes[i] == ' ' && entry->bytes[i - 1] != ' ') {
            return true;
        }
    }
    return false;
}

temper_status lm_vocabulary_finish(lm_tokenizer *self, temper_error *error) {
    self->words_apart = self->marked && self->method != LM_UNIGRAM; /* whose sums go on from word to word */
    for (size_t id = 0; id < self->size; id++) {
        self->words_apart = self->words_apart && !has_inner_space(&self->entries[id]);
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char one = (char)byte;
        int32_t id = lm_vocabulary_find(self, &one, 1);
        if (!self->chars) {
            self->byte_ids[byte] = id;
        } else if (byte < 128) {
            self->char_ids[byte] = id;
        }
    }
    self->needs_utf8 = self->chars || self->normalizer_count > 0;
    if (self->unknown >= 0 && (size_t)self->unknown >= self->size) {
        self->unknown = -1;
    }
    if ((self->pool = lm_pool_new()) == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a tokenizer");
    }
    temper_status status = self->method == LM_UNIGRAM ? lm_unigram_build(self, error) : TEMPER_OK;
    return status ? status : lm_added_build(self, error);
}

lm_cut *lm_cut_add(lm_tokenizer *self, lm_cut_kind kind, lm_behaviour behaviour) {
    if (self->cut_count == LM_MAX_STEPS) {
        return NULL;
    }
    lm_cut *cut = &self->cuts[self->cut_count++];
    *cut = (lm_cut){.kind = kind, .behaviour = behaviour};
    return cut;
}

lm_normalizer *lm_normalizer_add(lm_tokenizer *self, lm_normalize kind) {
    if (self->normalizer_count == LM_MAX_STEPS) {
        return NULL;
    }
    lm_normalizer *step = &self->normalizers[self->normalizer_count++];
    *step = (lm_normalizer){.kind = kind};
    return step;
}

/* internal.h: a tokenizer's insides, shared by the files that load one and those that use it.
 *
 * Invariant: after loading nothing here changes, so that any number of threads may encode and decode. */
#ifndef LM_TOKENIZER_INTERNAL_H
#define LM_TOKENIZER_INTERNAL_H

#include "tokenizer.h"

#include <jansson.h>
#include <stdbool.h>

/* How text is cut into words before merging. */
typedef enum lm_split {
    LM_SPLIT_NONE,       /* one word */
    LM_SPLIT_GPT2,       /* GPT-2's pattern */
    LM_SPLIT_DIGITS_GPT2 /* each digit alone, then GPT-2's pattern on what lies between */
} lm_split;

typedef enum lm_token_kind {
    LM_ABSENT, /* a hole in the ids */
    LM_NORMAL,
    LM_BYTE,   /* SentencePiece's <0x41>: one byte, never merged */
    LM_ADDED,  /* matched in any text, before anything else */
    LM_SPECIAL /* matched only where the caller allows it */
} lm_token_kind;

typedef struct lm_entry {
    const char *bytes; /* as they stand in a text, in `arena` */
    uint32_t length;
    uint8_t kind;
    float score;
} lm_entry;

/* An open-addressed map; a slot with value < 0 is empty. */
typedef struct lm_slot {
    uint64_t key;
    int32_t value, rank;
} lm_slot;

typedef struct lm_map {
    lm_slot *slots;
    size_t mask, used; /* slots - 1, a power of two less one */
} lm_map;

struct lm_tokenizer {
    lm_entry *entries;
    size_t size;
    char *arena; /* every entry's bytes */
    size_t arena_used, arena_size;
    lm_map by_bytes; /* hash of bytes to id; LM_NORMAL entries only */
    lm_map merges;   /* (left id, right id) to (merged id, rank) */
    int32_t *added;  /* LM_ADDED and LM_SPECIAL ids, grouped by first byte, the longest first */
    size_t added_count;
    uint32_t added_from[257]; /* where a first byte's group begins */
    int32_t byte_ids[256];    /* -1: none */
    size_t longest;           /* bytes of the longest normal entry */
    bool sentence;            /* SentencePiece-style; else byte-level BPE */
    bool space_prefix;        /* sentence: a space is put before text */
    bool words_apart;         /* sentence: no entry holds anything and then a space */
    bool whole_words;         /* a word that is an entry is taken unmerged ("ignore_merges") */
    lm_split split;
    int32_t bos, eos, unknown;
    bool adds_bos;
};

/* --- vocabulary.c: building --- */
lm_tokenizer *lm_vocabulary_new(size_t size, size_t arena_size);
/* Adds an entry; the id must be free and below size, the bytes must fit the arena that was asked for. */
temper_status lm_vocabulary_add(lm_tokenizer *self, int64_t id, const char *bytes, size_t length,
                                lm_token_kind kind, temper_error *error);
/* A merge of two entries; `rank` is its place in the list. */
temper_status lm_vocabulary_merge(lm_tokenizer *self, const char *left, size_t left_length, const char *right,
                                  size_t right_length, size_t rank, temper_error *error);
temper_status lm_vocabulary_finish(lm_tokenizer *self, temper_error *error);
/* Room for `count` merges. */
temper_status lm_vocabulary_expect_merges(lm_tokenizer *self, size_t count, temper_error *error);
/* The LM_NORMAL entry with these bytes, or -1. */
int32_t lm_vocabulary_find(const lm_tokenizer *self, const char *bytes, size_t length);

bool lm_map_reserve(lm_map *map, size_t count);
void lm_map_put(lm_map *map, uint64_t key, int32_t value, int32_t rank);
static inline uint64_t lm_mix(uint64_t key) {
    key ^= key >> 33;
    key *= UINT64_C(0xff51afd7ed558ccd);
    key ^= key >> 33;
    key *= UINT64_C(0xc4ceb9fe1a85ec53);
    return key ^ key >> 33;
}

/* --- encoding of one run of text without added tokens; offsets are counted from `base` --- */
temper_status lm_encode_byte_level(const lm_tokenizer *self, const char *text, size_t length, uint32_t base,
                                   lm_tokens *out, size_t *capacity, temper_error *error);
temper_status lm_encode_sentence(const lm_tokenizer *self, const char *text, size_t length, uint32_t base,
                                 bool at_start, lm_tokens *out, size_t *capacity, temper_error *error);
temper_status lm_tokens_push(lm_tokens *tokens, size_t *capacity, lm_token token, temper_error *error);

/* --- merge_heap.c: candidates, the best first: the lower key, then the leftmost --- */
typedef struct lm_candidate {
    uint32_t key;   /* a rank, or a score turned into one that is lower when better */
    uint32_t left;  /* symbol */
    uint32_t right; /* symbol that must still follow it */
    uint32_t size;  /* bytes of both; if they differ by then, the candidate is stale */
    int32_t id;     /* what they become */
} lm_candidate;
typedef struct lm_heap {
    lm_candidate *items;
    size_t count, capacity;
} lm_heap;
bool lm_heap_push(lm_heap *heap, lm_candidate candidate);
bool lm_heap_pop(lm_heap *heap, lm_candidate *out);

/* --- split.c --- */
/* Where the word that begins at `at` ends (> at). `segment` is the function's own, 0 at the start of a text. */
size_t lm_split_next(lm_split split, const char *text, size_t length, size_t at, size_t *segment);
/* One character; an invalid byte is 0xFFFD of length 1 with *valid false. */
uint32_t lm_utf8_next(const char *text, size_t length, size_t at, size_t *size, bool *valid);

/* --- unicode_classes.c, generated --- */
typedef enum lm_class { LM_CLASS_OTHER, LM_CLASS_LETTER, LM_CLASS_NUMBER, LM_CLASS_SPACE } lm_class;
typedef struct lm_class_range {
    uint32_t first, last_and_class; /* last << 2 | class */
} lm_class_range;
extern const lm_class_range lm_class_ranges[];
extern const size_t lm_class_range_count;

/* --- byte-level symbols: the 256 printable characters that stand for bytes in vocab.json --- */
/* The bytes that a symbol text stands for, into `out` (at least `length`); SIZE_MAX when a character stands for none. */
size_t lm_byte_level_decode(const char *text, size_t length, char *out);
/* The symbol of a byte: 1 or 2 bytes of UTF-8, 0-terminated. */
void lm_byte_level_symbol(uint8_t byte, char out[3]);

/* --- loaders; each returns a finished tokenizer --- */
temper_status lm_load_tokenizer_json(const lm_file_set *files, const lm_file *file, lm_tokenizer **out,
                                     temper_error *error);
temper_status lm_load_merges(const lm_file_set *files, const lm_file *vocab, const lm_file *merges,
                             lm_tokenizer **out, temper_error *error);
temper_status lm_load_gguf(const lm_file *file, lm_tokenizer **out, temper_error *error);

/* --- special.c: which texts are special by the files beside the vocabulary, and which of them are bos and eos --- */
typedef struct lm_specials lm_specials;
temper_status lm_specials_read(const lm_file_set *files, lm_specials **out, temper_error *error);
bool lm_specials_has(const lm_specials *self, const char *text);
/* Fills bos, eos and adds_bos. */
void lm_specials_apply(const lm_specials *self, lm_tokenizer *tokenizer);
void lm_specials_free(lm_specials *self);
/* The set of special texts, an object whose keys they are; a loader may add to it. */
json_t *lm_specials_texts(lm_specials *self);
/* Tokens beside the vocabulary, from added_tokens.json and added_tokens_decoder: an object {text: id}. */
const json_t *lm_specials_added(const lm_specials *self);
/* Does config.json name this id as bos or eos? */
bool lm_specials_has_id(const lm_specials *self, int64_t id);

#endif

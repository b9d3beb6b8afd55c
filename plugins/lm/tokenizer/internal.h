/* internal.h: a tokenizer's insides, shared by the files that load one and those that use it.
 *
 * Invariant: after loading nothing here changes what comes out, so that any number of threads may encode and decode;
 * what threads need while at work, memory of words among it, they take from `pool` and give back.
 *
 * A text's way: added tokens are cut out (added.c), what lies between is normalised (normalize.c), cut into words
 * (cut.c), and each word is encoded by the model (words.c, merge.c, unigram.c).
 *
 * An entry holds what its token stands for in a text: bytes in place of byte-level symbols, a space in place of
 * SentencePiece's mark U+2581 (`marked`). So text needs no translation, and a literal U+2581 is in no entry of a marked
 * vocabulary: it goes through byte tokens and comes back as it was. */
#ifndef LM_TOKENIZER_INTERNAL_H
#define LM_TOKENIZER_INTERNAL_H

#include "regex.h"
#include "tokenizer.h"

#include <jansson.h>
#include <stdbool.h>

typedef enum lm_token_kind {
    LM_ABSENT, /* a hole in the ids */
    LM_NORMAL,
    LM_BYTE,   /* SentencePiece's <0x41>: one byte, never merged */
    LM_ADDED,  /* matched in any text, before anything else */
    LM_SPECIAL /* matched only where the caller allows it */
} lm_token_kind;

/* How an added token is matched. Everywhere: in the text and in what the normalizers make of it. */
enum { LM_LEFT_STRIP = 1, LM_RIGHT_STRIP = 2, LM_SINGLE_WORD = 4, LM_NORMALIZED = 8, LM_EVERYWHERE = 16 };

typedef struct lm_entry {
    const char *bytes; /* as they stand in a text, in `arena` */
    uint32_t length;
    uint8_t kind, match; /* match: the flags above */
    double score;
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

/* Added tokens to look for, grouped by first byte, the longest first. */
typedef struct lm_added_one {
    const char *text; /* an entry's bytes, or what its normalizer makes of them */
    uint32_t length;
    int32_t id;
} lm_added_one;
typedef struct lm_added_set {
    lm_added_one *items;
    size_t count;
    uint32_t from[257]; /* where a first byte's group begins */
} lm_added_set;

/* --- what the loaders say --- */
typedef enum lm_normalize {
    LM_NFC,
    LM_NFD,
    LM_NFKC,
    LM_NFKD,
    LM_LOWERCASE,
    LM_STRIP,         /* flags: LM_LEFT_STRIP, LM_RIGHT_STRIP */
    LM_STRIP_ACCENTS, /* marks are left out */
    LM_REPLACE,       /* regex or text by content */
    LM_PREPEND,       /* content before a text that is not empty */
    LM_NMT,           /* controls left out, every white space a space */
    LM_CHARSMAP,      /* SentencePiece's table of replacements */
    LM_SQUEEZE        /* spaces at both ends left out, several made one */
} lm_normalize;

typedef struct lm_normalizer {
    lm_normalize kind;
    int flags;
    lm_regex *regex; /* LM_REPLACE; NULL: `pattern` is meant literally */
    char *pattern, *content;
    size_t pattern_length, content_length;
    uint32_t *units; /* LM_CHARSMAP: the double array ... */
    size_t unit_count;
    char *values; /* ... and the texts it leads to, 0-terminated */
    size_t values_length;
    bool longest; /* the longest match counts (SentencePiece), else the first (tokenizers) */
} lm_normalizer;

typedef enum lm_behaviour {
    LM_REMOVED,
    LM_ISOLATED,
    LM_MERGED_WITH_PREVIOUS,
    LM_MERGED_WITH_NEXT,
    LM_CONTIGUOUS
} lm_behaviour;

typedef enum lm_cut_kind {
    LM_CUT_GPT2,        /* patterns done by hand (split.c); all isolate */
    LM_CUT_DIGITS_GPT2, /* each digit alone, then GPT-2's pattern on what lies between */
    LM_CUT_LLAMA3,      /* up to three digits together */
    LM_CUT_QWEN2,       /* each digit alone */
    LM_CUT_REGEX,
    LM_CUT_TEXT, /* a literal */
    LM_CUT_DIGITS,
    LM_CUT_PUNCTUATION,
    LM_CUT_SPACE,    /* white space */
    LM_CUT_METASPACE /* `prefix`; cut before each space when `splits` */
} lm_cut_kind;

/* When a space is put before a run of text. */
typedef enum lm_prefix {
    LM_PREFIX_NEVER,
    LM_PREFIX_FIRST, /* before a text's first run only */
    LM_PREFIX_ALWAYS /* after each added token as well */
} lm_prefix;

typedef struct lm_cut {
    lm_cut_kind kind;
    lm_behaviour behaviour;
    bool invert, splits;
    lm_prefix prefix;
    lm_regex *regex;
    char *text;
    size_t length;
} lm_cut;

enum { LM_MAX_STEPS = 16, LM_MAX_FRAME = 8 };

typedef enum lm_method {
    LM_BY_PAIRS, /* a list of merges, the first first */
    LM_BY_RANK,  /* two neighbours that joined are an entry, the lowest id first: tiktoken */
    LM_BY_SCORE, /* the same, the highest score first: SentencePiece */
    LM_UNIGRAM   /* the likeliest way to cut a word up */
} lm_method;

/* A node of the tree of entries: children lie together, in the order of their bytes. */
typedef struct lm_node {
    uint32_t first; /* child */
    int32_t id;     /* -1: no entry ends here */
    uint16_t count;
    uint8_t byte;
} lm_node;

typedef struct lm_pool lm_pool;

struct lm_tokenizer {
    lm_entry *entries;
    size_t size;
    char *arena; /* every entry's bytes */
    size_t arena_used, arena_size;
    lm_map by_bytes;                /* hash of bytes to id; LM_NORMAL entries only */
    lm_map merges;                  /* (left id, right id) to (merged id, rank) */
    lm_added_set added, normalized; /* looked for in the text; in what the normalizers make of it */
    char *normalized_texts;
    int32_t byte_ids[256]; /* -1: none */
    int32_t char_ids[128]; /* of ASCII characters */
    size_t longest;        /* bytes of the longest normal entry */
    lm_method method;
    bool chars;         /* words are made of characters, else of bytes */
    bool marked;        /* entries hold a space for U+2581 */
    bool words_apart;   /* no entry holds anything and then a space: a marked text falls apart there */
    bool whole_words;   /* a word that is an entry is taken unmerged ("ignore_merges") */
    bool byte_fallback; /* what no entry covers becomes byte tokens */
    bool fuses_unknown; /* several unknown characters are one token */
    bool needs_utf8;    /* characters or normalizers */
    lm_prefix prefix;   /* put before a run as it is; a METASPACE cut has its own */
    bool prefix_after_special_only; /* LM_PREFIX_ALWAYS leaves out what follows tokens that are not special */
    lm_prefix dropped;              /* what decoding takes off again */
    double unknown_score;           /* LM_UNIGRAM */
    bool single;                    /* sums of scores are kept in single precision, as SentencePiece does */
    lm_node *nodes;                 /* LM_UNIGRAM */
    lm_normalizer normalizers[LM_MAX_STEPS];
    size_t normalizer_count;
    lm_cut cuts[LM_MAX_STEPS];
    size_t cut_count;
    int32_t bos, eos, unknown;
    bool adds_bos;
    int32_t before[LM_MAX_FRAME], after[LM_MAX_FRAME]; /* what stands around a text */
    size_t before_count, after_count;
    lm_pool *pool;
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
/* Lets lm_vocabulary_find find an entry. Normal ones are known as they are added. */
void lm_vocabulary_know(lm_tokenizer *self, int32_t id);
/* The entry with these bytes that text is made of, or -1. */
int32_t lm_vocabulary_find(const lm_tokenizer *self, const char *bytes, size_t length);
/* One more step; NULL when there are LM_MAX_STEPS already. */
lm_cut *lm_cut_add(lm_tokenizer *self, lm_cut_kind kind, lm_behaviour behaviour);
lm_normalizer *lm_normalizer_add(lm_tokenizer *self, lm_normalize kind);

bool lm_map_reserve(lm_map *map, size_t count);
void lm_map_put(lm_map *map, uint64_t key, int32_t value, int32_t rank);
static inline uint64_t lm_mix(uint64_t key) {
    key ^= key >> 33;
    key *= UINT64_C(0xff51afd7ed558ccd);
    key ^= key >> 33;
    key *= UINT64_C(0xc4ceb9fe1a85ec53);
    return key ^ key >> 33;
}

/* --- added.c --- */
temper_status lm_added_build(lm_tokenizer *self, temper_error *error);
/* The first added token at or after `at`, and what it takes of the text. `allowed`: as in lm_tokenizer_encode. */
typedef struct lm_added_match {
    int32_t id; /* -1: there is none */
    size_t start, end;
} lm_added_match;
lm_added_match lm_added_next(const lm_tokenizer *self, const lm_added_set *set, const char *text,
                             size_t length, size_t at, const uint8_t *allowed);

/* --- normalize.c, charsmap.c: a text that knows which bytes of the caller's each of its own comes from --- */
typedef struct lm_aligned {
    char *text; /* malloc'ed, as all three */
    uint32_t *start, *end;
    size_t length, capacity;
} lm_aligned;
void lm_aligned_free(lm_aligned *text);
/* Does a text stay as it is, seen without changing it? (ASCII, where normal forms are all there is.) */
bool lm_normalize_keeps(const lm_tokenizer *self, const char *text, size_t length);
bool lm_aligned_append(lm_aligned *out, const char *bytes, size_t length, uint32_t start, uint32_t end);
/* charsmap.c: a step of kind LM_CHARSMAP. False: no memory. */
bool lm_charsmap_apply(const lm_normalizer *step, const lm_aligned *in, lm_aligned *out);
/* The end of the grapheme cluster that begins at `at`. */
size_t lm_grapheme_end(const char *text, size_t length, size_t at);
/* `spare` is room for the steps in between; both are kept from call to call. */
temper_status lm_normalize_text(const lm_tokenizer *self, const char *text, size_t length, uint32_t base,
                                lm_aligned *out, lm_aligned *spare, temper_error *error);
void lm_normalizer_free(lm_normalizer *self);
/* A charsmap: 4 bytes that give the array's size in bytes, the array, the texts. */
temper_status lm_charsmap_read(lm_normalizer *self, const unsigned char *bytes, size_t length,
                               temper_error *error);

/* --- what a thread needs while it encodes --- */
typedef struct lm_symbol {
    int32_t id; /* -1: no entry */
    uint32_t at, size;
    uint32_t previous, next;
} lm_symbol;

/* merge.c: candidates, the best first: the lower key, then the leftmost. */
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

/* A word's tokens: ids and how many of its bytes each covers. */
typedef struct lm_piece {
    int32_t id;
    uint32_t size;
} lm_piece;

typedef struct lm_remembered lm_remembered; /* words.c */
typedef struct lm_best lm_best;             /* unigram.c */

typedef struct lm_work {
    lm_symbol *symbols;
    size_t symbol_capacity;
    lm_heap heap;
    lm_piece *pieces; /* of the word at hand */
    size_t piece_count, piece_capacity;
    lm_best *best;
    size_t best_capacity;
    lm_remembered *memory;
    char *word; /* a word with its prefix */
    size_t word_capacity;
    lm_aligned aligned, spare;
    lm_regex_work regex;
    /* the run at hand */
    const lm_tokenizer *tokenizer;
    bool follows_added; /* a token that is not special */
    const char *text;
    const uint32_t *start, *end; /* NULL: byte i of `text` is byte base + i of the caller's */
    uint32_t base;
    lm_tokens *out;
    size_t capacity;
} lm_work;

/* --- pool.c --- */
lm_pool *lm_pool_new(void);
void lm_pool_free(lm_pool *pool);
lm_work *lm_pool_take(lm_pool *pool); /* NULL: no memory */
void lm_pool_give(lm_pool *pool, lm_work *work);

/* --- cut.c, words.c --- */
/* The run `work->text` of `length` bytes into words, each word into tokens. `first`: it begins the caller's text. */
temper_status lm_cut_run(lm_work *work, size_t length, bool first, temper_error *error);
/* The tokens of one word, text[from, to), behind a space that is not in the text when `prefix`. */
temper_status lm_encode_word(lm_work *work, size_t from, size_t to, bool prefix, temper_error *error);
temper_status lm_push_token(lm_work *work, lm_token token, temper_error *error);

/* --- models: word to work->pieces --- */
temper_status lm_merge_word(lm_work *work, const char *word, size_t length, uint32_t offset,
                            temper_error *error);
temper_status lm_unigram_word(lm_work *work, const char *word, size_t length, uint32_t offset,
                              temper_error *error);
temper_status lm_unigram_build(lm_tokenizer *self, temper_error *error);
temper_status lm_push_piece(lm_work *work, int32_t id, uint32_t size, temper_error *error);
/* A character that no entry covers: its bytes, or the unknown token. */
temper_status lm_push_unknown(lm_work *work, const char *bytes, size_t size, uint32_t offset,
                              temper_error *error);

/* --- split.c: the patterns done by hand --- */
/* Where the word that begins at `at` ends (> at). `segment` is the function's own, 0 at the start of a text. */
size_t lm_split_next(lm_cut_kind kind, const char *text, size_t length, size_t at, size_t *segment);
/* The hand-written cut that does what this pattern (as in tokenizer.json) says; LM_CUT_REGEX: none. */
lm_cut_kind lm_split_known(const char *pattern, size_t length);
/* One character; an invalid byte is 0xFFFD of length 1 with *valid false. */
uint32_t lm_utf8_next(const char *text, size_t length, size_t at, size_t *size, bool *valid);

/* --- unicode_classes.c, generated --- */
typedef enum lm_class { LM_CLASS_OTHER, LM_CLASS_LETTER, LM_CLASS_NUMBER, LM_CLASS_SPACE } lm_class;
typedef struct lm_class_range {
    uint32_t first, last_and_class; /* last << 2 | class */
} lm_class_range;
extern const lm_class_range lm_class_ranges[];
extern const size_t lm_class_range_count;
lm_class lm_class_of(uint32_t code);

/* --- symbols.c: the 256 printable characters that stand for bytes in vocab.json --- */
/* The bytes that a symbol text stands for, into `out` (at least `length`); SIZE_MAX when a character stands for none. */
size_t lm_byte_level_decode(const char *text, size_t length, char *out);
/* The symbol of a byte: 1 or 2 bytes of UTF-8, 0-terminated. */
void lm_byte_level_symbol(uint8_t byte, char out[3]);
/* U+2581 to the space that it stands for. */
size_t lm_unmark(const char *text, size_t length, char *out);
/* "<0x41>" to its byte, else -1. */
int lm_byte_of(const char *text, size_t length);

/* --- loaders; each returns a finished tokenizer --- */
typedef struct lm_specials lm_specials;
temper_status lm_load_tokenizer_json(const lm_file_set *files, const lm_file *file, lm_tokenizer **out,
                                     temper_error *error);
temper_status lm_load_merges(const lm_file_set *files, const lm_file *vocab, const lm_file *merges,
                             lm_tokenizer **out, temper_error *error);
temper_status lm_load_gguf(const lm_file *file, lm_tokenizer **out, temper_error *error);
/* From one file; `specials` is what the files beside it say (special.c). The message does not name the file. */
typedef temper_status lm_load_file(const lm_file *file, const lm_specials *specials, lm_tokenizer **out,
                                   temper_error *error);
lm_load_file lm_load_sentencepiece, lm_load_tiktoken, lm_load_tekken;
bool lm_is_tiktoken(const lm_file *file); /* does it look like lines of base64 and a number? */

/* --- special.c: which texts are special by the files beside the vocabulary, and which of them are bos and eos --- */
temper_status lm_specials_read(const lm_file_set *files, lm_specials **out, temper_error *error);
bool lm_specials_has(const lm_specials *self, const char *text);
/* Fills bos, eos and adds_bos. */
void lm_specials_apply(const lm_specials *self, lm_tokenizer *tokenizer);
void lm_specials_free(lm_specials *self);
/* The set of special texts, an object whose keys they are; a loader may add to it. */
json_t *lm_specials_texts(lm_specials *self);
/* Tokens beside the vocabulary, from added_tokens.json and added_tokens_decoder: an object {text: id}. */
const json_t *lm_specials_added(const lm_specials *self);
/* How an added token is matched: LM_LEFT_STRIP and so on; 0 when nothing is said. */
int lm_specials_match(const lm_specials *self, const char *text);
/* The flags of an added token as its file writes them. */
int lm_added_flags(const json_t *token);
/* BOS before a text, unless it stands there already. */
void lm_tokenizer_add_bos(lm_tokenizer *tokenizer);
/* Does config.json name this id as bos or eos? */
bool lm_specials_has_id(const lm_specials *self, int64_t id);
/* tokenizer_config.json's "legacy" (false only when it says so) and "tokenizer_class" ("" when it doesn't). */
bool lm_specials_legacy(const lm_specials *self);
bool lm_specials_denies_bos(const lm_specials *self); /* add_bos_token: false */

#endif

/* evaluations.h: the texts of evaluation sets, and which of them a text gives away.
 *
 * Words are compared folded, so case, typographic quotes and white space make no difference, and punctuation stands between
 * words only. A text of an item is found by its n-grams; one with fewer words than n, by all of its words together. An n-gram in
 * over a thousand places of the sets counts for nothing. */
#ifndef FILTER_EVALUATIONS_H
#define FILTER_EVALUATIONS_H

#include "rows.h"

enum { EVALUATION_SETS = 4, EVALUATION_GRAM = 64 };

typedef struct evaluation_text {
    uint32_t set;
    uint64_t item;     /* the record's number in its set */
    const char *field; /* the member it is of */
    bool answer;       /* what should be said, not what is asked */
    uint32_t words;
    uint64_t records; /* of how many it was found in; counted by whoever looks */
} evaluation_text;

typedef struct evaluation_gram {
    uint64_t hash;
    uint32_t text, place, length;
} evaluation_gram;

typedef struct evaluations {
    const char *names[EVALUATION_SETS];
    evaluation_text *texts;
    size_t count;
    uint64_t items, too_short; /* texts with fewer than `shortest` words are left out, and counted */
    evaluation_gram *grams;    /* by hash */
    size_t gram_count;
    uint32_t *buckets; /* where the hashes with these first bits begin; the last is gram_count */
    uint32_t bucket_bits;
    uint32_t n, shortest;
    bool lengths[EVALUATION_GRAM + 1]; /* which lengths there are */
    temper_buffer text_bytes, gram_bytes, word_bytes;
} evaluations;

/* Reads every text of the set's items, at any depth. */
temper_status evaluations_add(evaluations *all, const temper_host *host, temper_pool *pool, const char *input,
                              uint32_t set, temper_error *error);
/* After the last set. */
temper_status evaluations_index(evaluations *all, temper_pool *pool, temper_error *error);
void evaluations_free(evaluations *all);

/* A word of a text: its folded hash, and where it stands. */
typedef struct evaluation_word {
    uint64_t hash;
    size_t start, length;
} evaluation_word;
/* Appends the words of a text as evaluation_word; false: no memory. */
bool evaluations_words(temper_span text, temper_buffer *out);
uint64_t evaluations_gram(const evaluation_word *words, size_t length);
/* The grams with this hash: [*from, *to) of all->grams. */
void evaluations_find(const evaluations *all, uint64_t hash, size_t *from, size_t *to);

#endif

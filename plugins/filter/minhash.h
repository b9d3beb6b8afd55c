/* minhash.h: how alike two texts are, by the runs of words they share; and a short signature by which the alike are found.
 *
 * A text is the set of its shingles: hashes of each run of `width` words, folded (support/text.h) and without punctuation. The
 * similarity of two is what they share of what they have together (Jaccard). The signature holds, for each of k fixed orders of
 * all hashes, the least one of the set (Broder 1997): two sets agree at a place with the probability of their similarity. */
#ifndef FILTER_MINHASH_H
#define FILTER_MINHASH_H

#include "support/text.h"

enum { FILTER_WIDEST_SHINGLE = 16, FILTER_MOST_MINS = 1024 };

typedef struct filter_shingler {
    temper_buffer *out; /* uint64_t */
    uint32_t width, words;
    uint64_t ring[FILTER_WIDEST_SHINGLE];
} filter_shingler;

/* Texts one after another are one stream of words. */
void filter_shingle_begin(filter_shingler *shingler, temper_buffer *out, uint32_t width);
void filter_shingle_text(filter_shingler *shingler, temper_span text);
/* A text of fewer words than the width is one shingle; one of none has none. How many there are, repeated ones included. */
size_t filter_shingle_end(filter_shingler *shingler);
/* Sorts, and leaves each once; gives how many. */
size_t filter_shingle_set(uint64_t *shingles, size_t count);
double filter_jaccard(const uint64_t *a, size_t a_count, const uint64_t *b, size_t b_count);

/* The least hashes in orders 0 to count - 1, a multiple of 16; the same on every machine. */
void filter_minhash(const uint64_t *shingles, size_t shingle_count, uint32_t *mins, size_t count);
/* One hash of `rows` of them. */
uint64_t filter_band(const uint32_t *mins, size_t rows);

#endif

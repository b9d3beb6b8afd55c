/* support/text.h: UTF-8 as people read it: characters, words, and a folded form to search in.
 *
 * Folding, in one place, so that filters and duplicate checks agree: any run of white space is one space, typographic
 * quotes, apostrophes and hyphens are their plain ones, and with `ignore_case` letters are lower case (ASCII, Latin,
 * Greek, Cyrillic, Armenian: one letter to one letter, no locale). Folded text is never longer than its source. All
 * functions take any bytes: what is no UTF-8 counts as one character a byte, and is never read past the end. */
#ifndef TEMPER_SUPPORT_TEXT_H
#define TEMPER_SUPPORT_TEXT_H

#include "support/memory.h"

temper_span temper_span_of(const char *text); /* of a C string */
bool temper_span_equal(temper_span a, temper_span b);
/* Without white space (ASCII) at both ends. */
temper_span temper_span_trim(temper_span text);

/* One character at `at` < length; its length in bytes goes to *width (at least 1). */
uint32_t temper_text_character(temper_span text, size_t at, size_t *width);
size_t temper_text_count(temper_span text); /* characters */
bool temper_text_is_space(uint32_t character);
bool temper_text_is_word(
    uint32_t character); /* letters, digits, marks, "_": what a word border lies between */

/* Folds into `out`, which has room for text.length bytes; returns the folded length. */
size_t temper_text_fold(temper_span text, bool ignore_case, char *out);
/* Where in the source the folded byte `folded` comes from. */
size_t temper_text_unfold(temper_span text, bool ignore_case, size_t folded);

/* The next word at or after *at (runs of word characters, apostrophes inside them: "don't" is one), moving *at behind
 * it; false when there is none. */
bool temper_text_word(temper_span text, size_t *at, temper_span *out);
size_t temper_text_words(temper_span text);

/* FNV-1a with a final mix: fixed on every machine. For tables, never for identity. */
uint64_t temper_text_hash(temper_span text, uint64_t seed);

/* Does it end as a finished sentence does: . ! ? or their kin in other scripts, an emoji, a closing code fence; closing
 * quotes, brackets and emphasis behind those are allowed. */
bool temper_text_is_finished(temper_span text);

/* Sorted, distinct hashes of the pairs of neighbouring folded words, the ends of the text counting as words; at most
 * words + 1. */
typedef struct temper_shingles {
    const uint64_t *items;
    size_t count;
} temper_shingles;
/* false: no memory. */
bool temper_shingles_make(temper_pool *pool, temper_span text, temper_shingles *out);
/* Shared over all, 0 to 1; two empty sets are alike. */
double temper_shingles_similarity(const temper_shingles *a, const temper_shingles *b);

#endif

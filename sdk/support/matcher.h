/* support/matcher.h: which phrase of a long list occurs in a text, in one pass (Aho and Corasick, 1975).
 *
 * Phrases and texts are compared folded (support/text.h). Cost: one table look-up a byte of text, whatever the number
 * of phrases. Find is pure: one matcher serves any number of threads. */
#ifndef TEMPER_SUPPORT_MATCHER_H
#define TEMPER_SUPPORT_MATCHER_H

#include "support/text.h"

typedef struct temper_matcher temper_matcher;

typedef struct temper_match {
    size_t phrase;        /* which, from 0, in the order of the list */
    size_t line;          /* of the list, from 1 */
    size_t start, length; /* in the text as given */
} temper_match;

/* A list: one phrase a line, white space at its ends left out, lines empty or beginning with # ignored (\# begins a
 * phrase with #). `whole_words`: no letter or digit may touch a phrase at an end that is itself a letter or digit. The
 * list may be empty. Lives in `pool`. */
temper_status temper_matcher_new(const temper_host *host, temper_pool *pool, temper_span list,
                                 bool ignore_case, bool whole_words, temper_matcher **out,
                                 temper_error *error);
size_t temper_matcher_count(const temper_matcher *matcher);
temper_span temper_matcher_phrase(const temper_matcher *matcher, size_t phrase); /* as listed */
/* The match that ends first (of those the longest). `scratch` has room for text.length bytes. */
bool temper_matcher_find(const temper_matcher *matcher, temper_span text, char *scratch, temper_match *out);

#endif

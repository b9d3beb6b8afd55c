/* patterns.h: a phrase list (README.md, "Phrase lists"), and what of it is in a text.
 *
 * What a rule finds is decided by one engine alone: literals by the SDK's matcher, regular expressions by PCRE2. Where
 * Vectorscan is there, it says first, in one pass over the text, which rules could find something: it may name too many and never
 * too few (its patterns find more than the rules'), so it changes how long it takes and nothing else. */
#ifndef FILTER_PATTERNS_H
#define FILTER_PATTERNS_H

#include "support/memory.h"

enum { FILTER_MOST_PHRASE_RULES = 256 };

typedef enum filter_action {
    FILTER_DROP,
    FILTER_STRIP,
    FILTER_STRIP_OPENING,
    FILTER_REPLACE,
    FILTER_MARK
} filter_action;

typedef enum filter_scope { FILTER_ANYWHERE, FILTER_ANSWERS, FILTER_FIRST } filter_scope;

typedef struct filter_rule {
    const char *name;
    size_t line; /* of the list */
    filter_action action;
    filter_scope scope;
    temper_span with;
    bool case_matters, inside;
} filter_rule;

typedef struct filter_hit {
    size_t start, length; /* in the text */
    size_t line;          /* of the list */
} filter_hit;

typedef struct filter_patterns filter_patterns;

/* `ignore_case` and `whole_words` are for a list without directives. `portable`: Vectorscan is not asked. */
temper_status filter_patterns_new(const temper_host *host, temper_pool *pool, temper_span list,
                                  bool ignore_case, bool whole_words, bool portable, filter_patterns **out,
                                  temper_error *error);
void filter_patterns_free(filter_patterns *patterns);
size_t filter_patterns_count(const filter_patterns *patterns); /* rules */
const filter_rule *filter_patterns_rule(const filter_patterns *patterns, size_t rule);
bool filter_patterns_scanned(const filter_patterns *patterns); /* does Vectorscan look first? */

typedef struct filter_candidates {
    uint64_t bits[FILTER_MOST_PHRASE_RULES / 64];
} filter_candidates;

/* Which rules could find something in the text. False: no memory. */
bool filter_patterns_look(const filter_patterns *patterns, uint32_t worker, temper_span text,
                          filter_candidates *out);
/* The leftmost thing the rule finds in text[from, …); of several there the longest literal, else the first listed. *failed: no
 * memory, or a regular expression that takes too long. */
bool filter_patterns_find(const filter_patterns *patterns, uint32_t worker, size_t rule, temper_span text,
                          size_t from, filter_hit *out, bool *failed);

/* The end of the sentence that has the byte at `at` in it, with the white space behind it; and where it begins. */
void filter_sentence(temper_span text, size_t at, size_t *start, size_t *end);

#endif

/* regex.h: the regular expressions of tokenizer files, over PCRE2.
 *
 * Those files are written for Oniguruma (Ruby's syntax), in which some escapes mean something else than PCRE2's: they are
 * translated, and what has no translation is refused by name. A pattern is compiled once (JIT where the machine
 * allows it) and matched by any number of threads, each with an lm_regex_work of its own.
 *
 * Invariant: bytes that are no UTF-8 match nothing, and no pattern runs without limits. */
#ifndef LM_REGEX_H
#define LM_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <temper/status.h>

typedef struct lm_regex lm_regex;
typedef struct lm_regex_work {
    void *data, *context, *stack; /* made when first needed */
} lm_regex_work;

temper_status lm_regex_compile(const char *pattern, size_t length, lm_regex **out, temper_error *error);
void lm_regex_free(lm_regex *self);
void lm_regex_work_free(lm_regex_work *work);
/* The first match that begins at `from` or later and is not empty; *found false when there is none. */
temper_status lm_regex_next(const lm_regex *self, lm_regex_work *work, const char *text, size_t length,
                            size_t from, bool *found, size_t *start, size_t *end, temper_error *error);

#endif

/* language.h: which languages a text is in, by CLD2 (Compact Language Detector 2: quadgrams, 83 languages, no file and no
 * state; its tables are in the library). */
#ifndef FILTER_LANGUAGE_H
#define FILTER_LANGUAGE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct language_guess {
    const char *codes[3]; /* "en", "pt", "zh-Hant"; NULL: no such */
    int percents[3];      /* of the text's letters */
    bool reliable;        /* CLD2 is sure of the first */
} language_guess;

/* Any thread. False: it has no idea. */
bool language_of(const char *text, size_t length, language_guess *out);
bool language_is_known(const char *code);

#ifdef __cplusplus
}
#endif
#endif

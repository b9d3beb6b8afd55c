/* text.h: small help for messages people read. */
#ifndef TM_TEXT_H
#define TM_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* The nearest of `names` to `word` by edit distance (insert, delete, substitute, swap neighbours), or NULL when none
 * is near enough to be meant (distance over a third of the length, at least 2 allowed). Ties: the first. */
const char *tm_text_nearest(const char *word, const char *const *names, size_t count);
/* "1.2 MB", "340 kB" into out[16]; "3m40s", "1.2 s", "45 ms" into out[16]. */
const char *tm_text_bytes(double bytes, char out[16]);
const char *tm_text_duration(double seconds, char out[16]);
bool tm_text_utf8(const char *text, size_t length, size_t *bad_offset);

#endif

/* phrase_list.h: a phrase list read and matched as simply as can be, by PCRE2 alone: what the shipped lists are measured by, and
 * what the stage's engine, which is made for speed, can be held against. */
#ifndef TEMPER_TESTS_PHRASE_LIST_H
#define TEMPER_TESTS_PHRASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct phrase_list phrase_list;

/* Reads a list (plugins/filter/README.md says how one is written). Fails the test at a line that it cannot read. */
phrase_list *phrase_list_read(const char *path);
void phrase_list_free(phrase_list *list);
/* Does any rule find something? *rule: which; may be NULL. */
bool phrase_list_finds(const phrase_list *list, const char *text, const char **rule);
/* Prints each @yes of which its rule finds nothing and each @no in which it finds something, and counts them; *examples: all. */
size_t phrase_list_check(const phrase_list *list, size_t *examples);
/* Rules without an example of either kind. */
size_t phrase_list_bare(const phrase_list *list);

#endif

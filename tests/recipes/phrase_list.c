/* phrase_list.c: see phrase_list.h. A literal is a pattern, too: any white space for white space, any apostrophe for an
 * apostrophe, and no word character beside a word's end. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "../support/cmocka_all.h"
#include "phrase_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RULES = 64, MOST_PATTERNS = 1024, MOST_EXAMPLES = 1024 };

typedef struct entry {
    size_t rule, line;
    pcre2_code *pattern; /* of a pattern */
    char *text;          /* of an example */
    bool yes;
} entry;

struct phrase_list {
    const char *path;
    char *rules[MOST_RULES];
    size_t rule_count;
    bool cased[MOST_RULES], inside[MOST_RULES];
    entry patterns[MOST_PATTERNS], examples[MOST_EXAMPLES];
    size_t pattern_count, example_count;
};

static bool is_word(unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           c >= 0x80;
}

/* A literal as a pattern, into out. */
static void pattern_of(const char *literal, bool inside, char *out, size_t room) {
    size_t at = 0, length = strlen(literal), i;
    at += (size_t)snprintf(out + at, room - at, "%s",
                           !inside && is_word((unsigned char)literal[0]) ? "(?<!\\w)" : "");
    for (i = 0; i < length && at + 16 < room; i++) {
        char c = literal[i];
        if (c == ' ' || c == '\t') {
            at += (size_t)snprintf(out + at, room - at, "\\s+");
        } else if (c == '\'') {
            at += (size_t)snprintf(out + at, room - at, "['\xE2\x80\x99]");
        } else if (is_word((unsigned char)c)) {
            out[at++] = c;
        } else {
            out[at++] = '\\';
            out[at++] = c;
        }
    }
    snprintf(out + at, room - at, "%s",
             !inside && is_word((unsigned char)literal[length - 1]) ? "(?!\\w)" : "");
}

static void add_pattern(phrase_list *list, size_t line, const char *text, bool literal) {
    entry *e = &list->patterns[list->pattern_count++];
    size_t rule = list->rule_count - 1;
    char pattern[4096];
    int error;
    PCRE2_SIZE offset;
    assert_true(list->pattern_count < MOST_PATTERNS);
    if (literal) {
        pattern_of(text, list->inside[rule], pattern, sizeof pattern);
    } else {
        snprintf(pattern, sizeof pattern, "%s", text);
    }
    e->rule = rule;
    e->line = line;
    e->pattern = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_UCP | (list->cased[rule] ? 0 : PCRE2_CASELESS), &error,
                               &offset, NULL);
    if (e->pattern == NULL) {
        fail_msg("%s:%zu: no pattern, at its byte %zu", list->path, line, (size_t)offset);
    }
}

static void begin_rule(phrase_list *list, char *words) {
    char *name = strtok(words, " "), *word;
    assert_non_null(name);
    assert_true(list->rule_count < MOST_RULES);
    list->rules[list->rule_count] = strdup(name);
    while ((word = strtok(NULL, " ")) != NULL) {
        list->cased[list->rule_count] |= strcmp(word, "case") == 0;
        list->inside[list->rule_count] |= strcmp(word, "inside") == 0;
    }
    list->rule_count++;
}

static void read_line(phrase_list *list, size_t number, char *line) {
    bool yes = strncmp(line, "@yes ", 5) == 0;
    if (*line == 0 || *line == '#') {
        return;
    }
    if (strncmp(line, "@rule ", 6) == 0) {
        begin_rule(list, line + 6);
        return;
    }
    if (list->rule_count == 0) { /* a list without directives is one rule */
        char whole[] = "phrase drop";
        begin_rule(list, whole);
    }
    if (yes || strncmp(line, "@no ", 4) == 0) {
        entry *e = &list->examples[list->example_count++];
        assert_true(list->example_count < MOST_EXAMPLES);
        e->rule = list->rule_count - 1;
        e->line = number;
        e->yes = yes;
        e->text = strdup(line + (yes ? 5 : 4));
    } else if (strncmp(line, "@regex ", 7) == 0) {
        add_pattern(list, number, line + 7, false);
    } else if (*line == '@' && strncmp(line, "@with", 5) != 0) {
        fail_msg("%s:%zu: an unknown directive: %s", list->path, number, line);
    } else if (*line != '@') {
        add_pattern(list, number, line + (line[0] == '\\' && (line[1] == '#' || line[1] == '@')), true);
    }
}

phrase_list *phrase_list_read(const char *path) {
    phrase_list *list = calloc(1, sizeof *list);
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0, number = 0;
    ssize_t length;
    assert_non_null(list);
    if (file == NULL) {
        fail_msg("%s is not there", path);
    }
    list->path = path;
    while ((length = getline(&line, &room, file)) >= 0) {
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == ' ')) {
            line[--length] = 0;
        }
        read_line(list, ++number, line + strspn(line, " \t"));
    }
    free(line);
    fclose(file);
    return list;
}

void phrase_list_free(phrase_list *list) {
    size_t i;
    for (i = 0; i < list->rule_count; i++) {
        free(list->rules[i]);
    }
    for (i = 0; i < list->pattern_count; i++) {
        pcre2_code_free(list->patterns[i].pattern);
    }
    for (i = 0; i < list->example_count; i++) {
        free(list->examples[i].text);
    }
    free(list);
}

static bool finds(const phrase_list *list, const char *text, size_t rule, const char **name) {
    size_t i;
    for (i = 0; i < list->pattern_count; i++) {
        const entry *e = &list->patterns[i];
        pcre2_match_data *data;
        int found;
        if (rule != SIZE_MAX && e->rule != rule) {
            continue;
        }
        data = pcre2_match_data_create(1, NULL);
        found = pcre2_match(e->pattern, (PCRE2_SPTR)text, strlen(text), 0, 0, data, NULL);
        pcre2_match_data_free(data);
        if (found >= 0) {
            if (name != NULL) {
                *name = list->rules[e->rule];
            }
            return true;
        }
        assert_int_equal(found, PCRE2_ERROR_NOMATCH);
    }
    return false;
}

bool phrase_list_finds(const phrase_list *list, const char *text, const char **rule) {
    return finds(list, text, SIZE_MAX, rule);
}

size_t phrase_list_check(const phrase_list *list, size_t *examples) {
    size_t i, wrong = 0;
    for (i = 0; i < list->example_count; i++) {
        const entry *e = &list->examples[i];
        if (finds(list, e->text, e->rule, NULL) != e->yes) {
            printf("%s:%zu: %s finds %s in: %s\n", list->path, e->line, list->rules[e->rule],
                   e->yes ? "nothing" : "something", e->text);
            wrong++;
        }
    }
    *examples = list->example_count;
    return wrong;
}

size_t phrase_list_bare(const phrase_list *list) {
    size_t r, i, bare = 0;
    for (r = 0; r < list->rule_count; r++) {
        bool yes = false, no = false;
        for (i = 0; i < list->example_count; i++) {
            yes |= list->examples[i].rule == r && list->examples[i].yes;
            no |= list->examples[i].rule == r && !list->examples[i].yes;
        }
        if (!yes || !no) {
            printf("%s: rule %s has no @%s\n", list->path, list->rules[r], yes ? "no" : "yes");
            bare++;
        }
    }
    return bare;
}

/* regex.c: see regex.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "regex.h"

#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PATTERN = 1 << 16, STACK_SMALL = 32 << 10, STACK_LARGE = 8 << 20, STEPS = 50000000 };

struct lm_regex {
    pcre2_code *code;
    bool jit;
};

/* Escapes whose meaning differs: Oniguruma's \s is White_Space (PCRE2's \h has U+180E as well), its \w letters, marks,
 * numbers and connectors. */
static const struct {
    char letter;
    const char *text, *inside; /* inside a class; NULL: no translation */
} escapes[] = {
    {'s', "\\p{White_Space}", "\\p{White_Space}"},
    {'S', "\\P{White_Space}", "\\P{White_Space}"},
    {'w', "[\\p{L}\\p{M}\\p{N}\\p{Pc}]", "\\p{L}\\p{M}\\p{N}\\p{Pc}"},
    {'W', "[^\\p{L}\\p{M}\\p{N}\\p{Pc}]", NULL},
    {'h', "[0-9a-fA-F]", "0-9a-fA-F"},
    {'H', "[^0-9a-fA-F]", NULL},
};

/* Escapes that mean the same in both. */
static bool is_plain_escape(char letter) {
    bool alphanumeric = (letter >= '0' && letter <= '9') || ((letter | 32) >= 'a' && (letter | 32) <= 'z');
    return !alphanumeric || strchr("pPdDrntfvxAzZ", letter) != NULL;
}

static temper_status put_escape(char *out, size_t *used, char letter, bool inside, temper_error *error) {
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        if (escapes[i].letter != letter) {
            continue;
        }
        const char *text = inside ? escapes[i].inside : escapes[i].text;
        if (text == NULL) {
            break;
        }
        memcpy(out + *used, text, strlen(text));
        *used += strlen(text);
        return TEMPER_OK;
    }
    if (!is_plain_escape(letter)) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "\\%c%s in a pattern is not supported", letter,
                           inside ? " inside brackets" : "");
    }
    out[(*used)++] = '\\';
    out[(*used)++] = letter;
    return TEMPER_OK;
}

/* Into PCRE2's syntax; `out` has room for 32 bytes a byte. */
static temper_status translate(const char *pattern, size_t length, char *out, size_t *used,
                               temper_error *error) {
    size_t depth = 0;
    temper_status status;
    *used = 0;
    for (size_t i = 0; i < length; i++) {
        char c = pattern[i];
        if (c == '\\' && i + 1 < length) {
            status = put_escape(out, used, pattern[++i], depth > 0, error);
            if (status) {
                return status;
            }
            continue;
        }
        if (depth > 0 && (c == '[' || (c == '&' && i + 1 < length && pattern[i + 1] == '&'))) {
            return temper_fail(error, TEMPER_UNSUPPORTED, "%s inside brackets in a pattern is not supported",
                               c == '[' ? "a class" : "&&");
        }
        if (depth == 0 && c == '(' && i + 2 < length && pattern[i + 1] == '?' &&
            strchr(":=!<>i", pattern[i + 2]) == NULL) {
            return temper_fail(error, TEMPER_UNSUPPORTED, "(?%c in a pattern is not supported",
                               pattern[i + 2]);
        }
        if (depth == 0 && c == '(' && i + 1 < length && pattern[i + 1] == '*') {
            return temper_fail(error, TEMPER_UNSUPPORTED, "(* in a pattern is not supported");
        }
        out[(*used)++] = c;
        if (c == '[' && depth == 0) {
            depth = 1;
            if (i + 1 < length && pattern[i + 1] == '^') {
                out[(*used)++] = pattern[++i];
            }
            if (i + 1 < length && pattern[i + 1] == ']') { /* first, it is one of the class */
                out[(*used)++] = pattern[++i];
            }
        } else if (c == ']' && depth > 0) {
            depth = 0;
        }
    }
    return TEMPER_OK;
}

temper_status lm_regex_compile(const char *pattern, size_t length, lm_regex **out, temper_error *error) {
    int number;
    PCRE2_SIZE offset, used = 0;
    temper_status status;
    *out = NULL;
    if (length > MAX_PATTERN) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "a pattern of %zu bytes is over the limit of %d",
                           length, MAX_PATTERN);
    }
    lm_regex *self = calloc(1, sizeof *self);
    char *text = malloc(length * 32 + 1);
    if (self == NULL || text == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for a pattern");
        goto out;
    }
    status = translate(pattern, length, text, &used, error);
    if (status) {
        goto out;
    }
    self->code = pcre2_compile((PCRE2_SPTR)text, used,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_MULTILINE |
                                   PCRE2_NEVER_BACKSLASH_C,
                               &number, &offset, NULL);
    if (self->code == NULL) {
        PCRE2_UCHAR why[200];
        pcre2_get_error_message(number, why, sizeof why);
        status = temper_fail(error, TEMPER_INVALID, "pattern \"%.*s\": %s", length > 60 ? 60 : (int)length,
                             pattern, (const char *)why);
        goto out;
    }
    self->jit = pcre2_jit_compile(self->code, PCRE2_JIT_COMPLETE) == 0;
    *out = self;
    self = NULL;
out:
    free(text);
    lm_regex_free(self);
    return status;
}

void lm_regex_free(lm_regex *self) {
    if (self != NULL) {
        pcre2_code_free(self->code);
        free(self);
    }
}

void lm_regex_work_free(lm_regex_work *work) {
    pcre2_match_data_free(work->data);
    pcre2_match_context_free(work->context);
    pcre2_jit_stack_free(work->stack);
    *work = (lm_regex_work){0};
}

static bool prepare(lm_regex_work *work) {
    if (work->data == NULL) {
        work->data = pcre2_match_data_create(1, NULL);
    }
    if (work->context == NULL && (work->context = pcre2_match_context_create(NULL)) != NULL) {
        pcre2_set_match_limit(work->context, STEPS);
        pcre2_set_heap_limit(work->context, 64 << 10); /* KiB */
        work->stack = pcre2_jit_stack_create(STACK_SMALL, STACK_LARGE, NULL);
        pcre2_jit_stack_assign(work->context, NULL, work->stack);
    }
    return work->data != NULL && work->context != NULL;
}

temper_status lm_regex_next(const lm_regex *self, lm_regex_work *work, const char *text, size_t length,
                            size_t from, bool *found, size_t *start, size_t *end, temper_error *error) {
    *found = false;
    if (!prepare(work)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to match a pattern");
    }
    while (from < length) {
        int result =
            self->jit
                ? pcre2_jit_match(self->code, (PCRE2_SPTR)text, length, from, 0, work->data, work->context)
                : pcre2_match(self->code, (PCRE2_SPTR)text, length, from, 0, work->data, work->context);
        if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
            result = pcre2_match(self->code, (PCRE2_SPTR)text, length, from, PCRE2_NO_JIT, work->data,
                                 work->context);
        }
        if (result == PCRE2_ERROR_NOMATCH) {
            return TEMPER_OK;
        }
        if (result < 0) {
            PCRE2_UCHAR why[200];
            pcre2_get_error_message(result, why, sizeof why);
            return temper_fail(error, TEMPER_INVALID, "matching a pattern at offset %zu: %s", from,
                               (const char *)why);
        }
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(work->data);
        if (range[1] > range[0] && range[1] <= length) {
            *found = true;
            *start = range[0];
            *end = range[1];
            return TEMPER_OK;
        }
        from = range[1] >= from ? range[1] + 1 : from + 1; /* an empty match is none */
        while (from < length && ((unsigned char)text[from] & 0xC0) == 0x80) {
            from++;
        }
    }
    return TEMPER_OK;
}

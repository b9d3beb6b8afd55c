/* scan.c: C text without its comments and strings, and the calls that may not be in it. */
#include "tidy.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

char *code_only(const char *text) {
    enum { CODE, LINE, BLOCK, QUOTED } state = CODE;
    size_t length = strlen(text), i;
    char *code = malloc(length + 1), quote = 0;
    if (code == NULL) {
        return NULL;
    }
    for (i = 0; i < length; i++) {
        char c = text[i], next = text[i + 1], out = ' ';
        switch (state) {
        case CODE:
            if (c == '/' && (next == '/' || next == '*')) {
                state = next == '/' ? LINE : BLOCK;
            } else if (c == '"' || c == '\'') {
                state = QUOTED;
                quote = c;
            } else {
                out = c;
            }
            break;
        case LINE:
            if (c == '\n') {
                state = CODE;
            }
            break;
        case BLOCK:
            if (c == '/' && i > 0 && text[i - 1] == '*') {
                state = CODE;
            }
            break;
        case QUOTED:
            if (c == '\\' && next != 0) {
                code[i++] = ' ';
                c = next;
            } else if (c == quote || c == '\n') {
                state = CODE;
            }
            break;
        }
        code[i] = c == '\n' ? '\n' : out;
    }
    code[length] = 0;
    return code;
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

/* Not exact in IEEE 754, so libm's bits are an implementation's own. With and without f and l at the end. */
static bool is_inexact(const char *name, size_t length) {
    static const char *const functions[] = {
        "exp",    "exp2",   "exp10",  "expm1", "log",  "log2",  "log10", "log1p", "pow",
        "sin",    "cos",    "tan",    "asin",  "acos", "atan",  "atan2", "sinh",  "cosh",
        "tanh",   "asinh",  "acosh",  "atanh", "cbrt", "hypot", "erf",   "erfc",  "gamma",
        "lgamma", "tgamma", "sincos", "j0",    "j1",   "y0",    "y1",    "logb",  "drem",
    };
    size_t i;
    for (i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        size_t own = strlen(functions[i]);
        if (strncmp(name, functions[i], own) == 0 &&
            (own == length || (own + 1 == length && (name[own] == 'f' || name[own] == 'l')))) {
            return true;
        }
    }
    return false;
}

/* "double pow(" declares or defines one of our own; that is no call. */
static bool is_declared(const char *code, const char *before) {
    static const char *const types[] = {"double", "float"};
    size_t i;
    for (i = 0; i < sizeof types / sizeof types[0]; i++) {
        size_t length = strlen(types[i]);
        if ((size_t)(before - code) >= length && strncmp(before - length, types[i], length) == 0) {
            return true;
        }
    }
    return false;
}

void scan_calls(const char *path, const char *code) {
    size_t line = 1;
    const char *at = code;
    while (*at != 0) {
        const char *start = at, *before, *after;
        if (*at == '\n') {
            line++;
        }
        if (!is_word(*at) || isdigit((unsigned char)*at)) {
            at++;
            while (isdigit((unsigned char)*start) && is_word(*at)) { /* 1e3f is no name */
                at++;
            }
            continue;
        }
        while (is_word(*at)) {
            at++;
        }
        for (after = at; *after == ' '; after++) {
        }
        for (before = start; before > code && before[-1] == ' '; before--) {
        }
        if (*after == '(' && is_inexact(start, (size_t)(at - start)) && !is_declared(code, before) &&
            !(before > code &&
              (before[-1] == '.' || before[-1] == '>' || before[-1] == '*'))) { /* a member, a pointer */
            complain(path, line, "%.*s is libm's and has no fixed bits: temper/math.h has one that does",
                     (int)(at - start), start);
        }
    }
}

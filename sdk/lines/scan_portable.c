/* scan_portable.c: the scan without simdjson, a byte at a time; and what both share: UTF-8, and words for a fault. */
#include "lines/scan.h"

#include <stdlib.h>
#include <string.h>

struct temper_scan {
    uint32_t *positions;
    size_t capacity;
};

temper_scan *temper_scan_portable_new(void) {
    return calloc(1, sizeof(temper_scan));
}

void temper_scan_portable_free(temper_scan *scan) {
    if (scan != NULL) {
        free(scan->positions);
        free(scan);
    }
}

/* The length of the character at `at`; 0 when there is none. RFC 3629: no overlong forms, no surrogates. */
static size_t character(const unsigned char *at, size_t left) {
    size_t length, i;
    unsigned char low = 0x80, high = 0xBF;
    if (at[0] < 0x80) {
        return 1;
    }
    if (at[0] < 0xC2 || at[0] > 0xF4) {
        return 0;
    }
    length = at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : 4;
    if (length > left) {
        return 0;
    }
    low = at[0] == 0xE0 ? 0xA0 : at[0] == 0xF0 ? 0x90 : 0x80;
    high = at[0] == 0xED ? 0x9F : at[0] == 0xF4 ? 0x8F : 0xBF;
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    for (i = 2; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return length;
}

bool temper_scan_utf8(const char *text, size_t length) {
    const unsigned char *bytes = (const unsigned char *)text;
    size_t at = 0, width;
    while (at < length) {
        uint64_t eight;
        if (at + 8 <= length) {
            memcpy(&eight, bytes + at, 8);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                at += 8;
                continue;
            }
        }
        width = character(bytes + at, length - at);
        if (width == 0) {
            return false;
        }
        at += width;
    }
    return true;
}

static bool is_space(unsigned char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_operator(unsigned char c) {
    return c == '{' || c == '}' || c == '[' || c == ']' || c == ':' || c == ',';
}

/* Tokens' beginnings go to `out`, when there is one; false with the reason in *fault when a string is wrong. A backslash
 * outside strings takes the byte behind it along, as in simdjson: it is part of a run that no grammar allows. */
static bool find_tokens(const unsigned char *text, size_t length, uint32_t *out, uint32_t *count,
                        const char **fault) {
    size_t at = 0;
    uint32_t found = 0;
    bool in_run = false;
    while (at < length) {
        unsigned char c = text[at];
        if (c == '"') {
            if (out != NULL) {
                out[found] = (uint32_t)at;
            }
            found++;
            in_run = false;
            for (at++; at < length && text[at] != '"'; at++) {
                if (text[at] < 0x20) {
                    *fault = "holds a control byte in a string";
                    return false;
                }
                if (text[at] == '\\' && at + 1 < length && text[at + 1] >= 0x20) {
                    at++;
                }
            }
            if (at >= length) {
                *fault = "ends within a string";
                return false;
            }
            at++;
            continue;
        }
        if (is_space(c)) {
            in_run = false;
        } else if (is_operator(c) || !in_run) {
            if (out != NULL) {
                out[found] = (uint32_t)at;
            }
            found++;
            in_run = !is_operator(c);
        }
        at += c == '\\' && at + 1 < length && text[at + 1] == '"' ? 2 : 1;
    }
    *count = found;
    return true;
}

temper_scan_result temper_scan_portable_text(temper_scan *scan, const char *text, size_t length,
                                             const uint32_t **positions, uint32_t *count) {
    const char *fault;
    *count = 0;
    *positions = scan->positions;
    if (length > scan->capacity) {
        uint32_t *more = realloc(scan->positions, (length + length / 2) * sizeof *more);
        if (more == NULL) {
            return TEMPER_SCAN_NO_MEMORY;
        }
        scan->positions = more;
        scan->capacity = length + length / 2;
    }
    *positions = scan->positions;
    if (!temper_scan_utf8(text, length) ||
        !find_tokens((const unsigned char *)text, length, scan->positions, count, &fault)) {
        return TEMPER_SCAN_BAD;
    }
    return TEMPER_SCAN_OK;
}

const char *temper_scan_fault(const char *text, size_t length) {
    const char *fault = "is no JSON";
    uint32_t count;
    if (!temper_scan_utf8(text, length)) {
        return "is not UTF-8";
    }
    find_tokens((const unsigned char *)text, length, NULL, &count, &fault);
    return fault;
}

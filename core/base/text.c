/* text.c: small help for messages; see text.h. No printf of doubles here: its decimal point follows the locale, which
 * a library somewhere may have changed. */
#include "base/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_WORD = 63 };

static size_t minimum(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Optimal string alignment distance of two words of at most LONGEST_WORD bytes. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    size_t rows[3][LONGEST_WORD + 1];
    size_t *two_ago = rows[0], *last = rows[1], *row = rows[2], *swap;
    size_t i, j;
    for (j = 0; j <= b_length; j++) {
        last[j] = j;
    }
    for (i = 1; i <= a_length; i++) {
        row[0] = i;
        for (j = 1; j <= b_length; j++) {
            size_t cost = a[i - 1] != b[j - 1];
            row[j] = minimum(minimum(last[j] + 1, row[j - 1] + 1), last[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = minimum(row[j], two_ago[j - 2] + 1);
            }
        }
        swap = two_ago;
        two_ago = last;
        last = row;
        row = swap;
    }
    return last[b_length];
}

const char *tm_text_nearest(const char *word, const char *const *names, size_t count) {
    size_t length = strlen(word), best, i;
    const char *nearest = NULL;
    if (length > LONGEST_WORD) {
        return NULL;
    }
    best = (length / 3 < 2 ? 2 : length / 3) + 1;
    for (i = 0; i < count; i++) {
        size_t other = strlen(names[i]), distance;
        if (other > LONGEST_WORD) {
            continue;
        }
        distance = edit_distance(word, length, names[i], other);
        /* A name that shares nothing with the word is no guess, however short both are. */
        if (distance < best && distance < (length > other ? length : other)) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

const char *tm_text_bytes(double bytes, char out[16]) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;
    if (!(bytes >= 0) || bytes > 9e17) {
        snprintf(out, 16, "?");
        return out;
    }
    while (bytes >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
        bytes /= 1000;
        unit++;
    }
    if (unit > 0 && bytes < 9.95) {
        unsigned tenths = (unsigned)(bytes * 10 + 0.5);
        snprintf(out, 16, "%u.%u %s", tenths / 10, tenths % 10, units[unit]);
    } else {
        snprintf(out, 16, "%u %s", (unsigned)(bytes + 0.5), units[unit]);
    }
    return out;
}

const char *tm_text_duration(double seconds, char out[16]) {
    if (!(seconds >= 0) || seconds > 3.6e8) {
        snprintf(out, 16, "?");
    } else if (seconds < 0.0005) {
        snprintf(out, 16, "%u us", (unsigned)(seconds * 1e6 + 0.5));
    } else if (seconds < 0.9995) {
        snprintf(out, 16, "%u ms", (unsigned)(seconds * 1e3 + 0.5));
    } else if (seconds < 9.95) {
        unsigned tenths = (unsigned)(seconds * 10 + 0.5);
        snprintf(out, 16, "%u.%u s", tenths / 10, tenths % 10);
    } else if (seconds < 59.5) {
        snprintf(out, 16, "%u s", (unsigned)(seconds + 0.5));
    } else {
        unsigned whole = (unsigned)(seconds + 0.5);
        if (whole < 3600) {
            snprintf(out, 16, "%um%02us", whole / 60, whole % 60);
        } else {
            snprintf(out, 16, "%uh%02um", whole / 3600, whole / 60 % 60);
        }
    }
    return out;
}

/* RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF. */
static size_t utf8_sequence(const unsigned char *p, size_t left) {
    size_t length, i;
    uint32_t code;
    if (p[0] < 0x80) {
        return 1;
    }
    if (p[0] >= 0xC2 && p[0] <= 0xDF) {
        length = 2, code = p[0] & 0x1Fu;
    } else if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        length = 3, code = p[0] & 0x0Fu;
    } else if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        length = 4, code = p[0] & 0x07u;
    } else {
        return 0;
    }
    if (left < length) {
        return 0;
    }
    for (i = 1; i < length; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
        code = code << 6 | (p[i] & 0x3Fu);
    }
    if ((length == 3 && (code < 0x800 || (code >= 0xD800 && code <= 0xDFFF))) ||
        (length == 4 && (code < 0x10000 || code > 0x10FFFF))) {
        return 0;
    }
    return length;
}

bool tm_text_utf8(const char *text, size_t length, size_t *bad_offset) {
    const unsigned char *bytes = (const unsigned char *)text;
    size_t at = 0;
    while (at < length) {
        size_t step = utf8_sequence(bytes + at, length - at);
        if (step == 0) {
            if (bad_offset != NULL) {
                *bad_offset = at;
            }
            return false;
        }
        at += step;
    }
    return true;
}

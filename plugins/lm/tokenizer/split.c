/* split.c: GPT-2's pattern by hand:
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * and the variant that puts every digit alone first, as SmolLM2's files do.
 *
 * Invariant: every call moves forward, and the words of a text joined are the text. Bytes that are no UTF-8 count as
 * characters of no class. */
#include "internal.h"

#include <string.h>

uint32_t lm_utf8_next(const char *text, size_t length, size_t at, size_t *size, bool *valid) {
    const unsigned char *s = (const unsigned char *)text + at;
    size_t left = length - at, need = s[0] < 0x80   ? 1
                                      : s[0] < 0xC2 ? 0
                                      : s[0] < 0xE0 ? 2
                                      : s[0] < 0xF0 ? 3
                                                    : 4;
    uint32_t code = need == 1 ? s[0] : need == 2 ? s[0] & 31u : need == 3 ? s[0] & 15u : s[0] & 7u;
    bool good = need > 0 && need <= left && s[0] < 0xF5;
    for (size_t i = 1; good && i < need; i++) {
        good = (s[i] & 0xC0) == 0x80;
        code = code << 6 | (s[i] & 63u);
    }
    if (good && ((need == 3 && code < 0x800) || (need == 4 && (code < 0x10000 || code > 0x10FFFF)) ||
                 (code >= 0xD800 && code <= 0xDFFF))) {
        good = false;
    }
    *valid = good;
    *size = good ? need : 1;
    return good ? code : 0xFFFD;
}

static lm_class class_of(uint32_t code) {
    size_t low = 0, high = lm_class_range_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const lm_class_range *range = &lm_class_ranges[middle];
        if (code < range->first) {
            high = middle;
        } else if (code > range->last_and_class >> 2) {
            low = middle + 1;
        } else {
            return (lm_class)(range->last_and_class & 3);
        }
    }
    return LM_CLASS_OTHER;
}

static lm_class class_at(const char *text, size_t length, size_t at, size_t *size) {
    unsigned char byte = (unsigned char)text[at];
    bool valid;
    if (byte < 0x80) {
        *size = 1;
        return (byte | 32) >= 'a' && (byte | 32) <= 'z'        ? LM_CLASS_LETTER
               : byte >= '0' && byte <= '9'                    ? LM_CLASS_NUMBER
               : byte == ' ' || (byte >= '\t' && byte <= '\r') ? LM_CLASS_SPACE
                                                               : LM_CLASS_OTHER;
    }
    return class_of(lm_utf8_next(text, length, at, size, &valid));
}

static size_t run_end(const char *text, size_t length, size_t at, lm_class class) {
    size_t size;
    while (at < length && class_at(text, length, at, &size) == class) {
        at += size;
    }
    return at;
}

static size_t contraction(const char *text, size_t length, size_t at) {
    static const char *const ends[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    for (size_t i = 0; text[at] == '\'' && i < sizeof ends / sizeof *ends; i++) {
        size_t size = strlen(ends[i]);
        if (size <= length - at - 1 && memcmp(text + at + 1, ends[i], size) == 0) {
            return at + 1 + size;
        }
    }
    return at;
}

static size_t gpt2_next(const char *text, size_t length, size_t at) {
    size_t size, end = contraction(text, length, at), body = at;
    if (end > at) {
        return end;
    }
    if (text[at] == ' ' && at + 1 < length) {
        body = at + 1;
    }
    lm_class class = class_at(text, length, body, &size);
    if (class != LM_CLASS_SPACE) {
        return run_end(text, length, body, class);
    }
    /* White space to the end of the text, or all but the last of it, which goes to the next word if it can. */
    size_t last = at;
    for (end = at; end < length && class_at(text, length, end, &size) == LM_CLASS_SPACE; end += size) {
        last = end;
    }
    return end < length && last > at ? last : end;
}

size_t lm_split_next(lm_split split, const char *text, size_t length, size_t at, size_t *segment) {
    size_t size;
    if (split == LM_SPLIT_NONE) {
        return length;
    }
    if (split == LM_SPLIT_GPT2) {
        return gpt2_next(text, length, at);
    }
    if (class_at(text, length, at, &size) == LM_CLASS_NUMBER) {
        return at + size;
    }
    if (at >= *segment) { /* the pattern sees what lies between two digits, and its end as the text's end */
        *segment = at;
        while (*segment < length && class_at(text, length, *segment, &size) != LM_CLASS_NUMBER) {
            *segment += size;
        }
    }
    return gpt2_next(text, *segment, at);
}

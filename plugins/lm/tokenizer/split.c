/* split.c: the patterns that most tokenizers cut words with, by hand:
 *     GPT-2   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *     Llama 3 (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
 *             \s*[\r\n]+|\s+(?!\S)|\s+
 *     Qwen 2  the same with \p{N} for \p{N}{1,3}
 * and GPT-2's after each digit has been put alone, as SmolLM2's files do. A test holds them against PCRE2.
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

lm_class lm_class_of(uint32_t code) {
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

#define O LM_CLASS_OTHER
#define L LM_CLASS_LETTER
#define N LM_CLASS_NUMBER
#define S LM_CLASS_SPACE
static const uint8_t ascii[128] = {
    O, O, O, O, O, O, O, O, O, S, S, S, S, S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
    S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, N, N, N, N, N, N, N, N, N, N, O, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
};
#undef O
#undef L
#undef N
#undef S

static inline lm_class class_at(const char *text, size_t length, size_t at, size_t *size) {
    unsigned char byte = (unsigned char)text[at];
    bool valid;
    if (byte < 0x80) {
        *size = 1;
        return (lm_class)ascii[byte];
    }
    return lm_class_of(lm_utf8_next(text, length, at, size, &valid));
}

static inline size_t run_end(const char *text, size_t length, size_t at, lm_class class) {
    size_t size;
    while (at < length && class_at(text, length, at, &size) == class) {
        at += size;
    }
    return at;
}

static bool is_newline(char c) {
    return c == '\n' || c == '\r';
}

static size_t contraction(const char *text, size_t length, size_t at) {
    static const char *const ends[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t size = strlen(ends[i]);
        if (size <= length - at - 1 && memcmp(text + at + 1, ends[i], size) == 0) {
            return at + 1 + size;
        }
    }
    return at;
}

/* In either case; U+017F is an s as well. */
static size_t contraction_any_case(const char *text, size_t length, size_t at) {
    char low[2] = {0, 0};
    for (size_t i = 0; i < 2 && at + 1 + i < length; i++) {
        low[i] = (char)(text[at + 1 + i] | 32);
        low[i] = low[i] >= 'a' && low[i] <= 'z' && (text[at + 1 + i] & 0x40) != 0 ? low[i] : 0;
    }
    if (low[0] == 's' || low[0] == 't' || low[0] == 'm' || low[0] == 'd') {
        return at + 2;
    }
    if ((low[1] == 'e' && (low[0] == 'r' || low[0] == 'v')) || (low[0] == 'l' && low[1] == 'l')) {
        return at + 3;
    }
    return length - at >= 3 && memcmp(text + at + 1, "\xC5\xBF", 2) == 0 ? at + 3 : at;
}

/* White space to the end of the text, or all but the last of it, which goes to the next word if it can. */
static size_t space_end(const char *text, size_t length, size_t at) {
    size_t size, last = at, end;
    for (end = at; end < length && class_at(text, length, end, &size) == LM_CLASS_SPACE; end += size) {
        last = end;
    }
    return end < length && last > at ? last : end;
}

static size_t gpt2_next(const char *text, size_t length, size_t at) {
    size_t size, body = at;
    if (text[at] == '\'') {
        size_t end = contraction(text, length, at);
        if (end > at) {
            return end;
        }
    }
    if (text[at] == ' ' && at + 1 < length) {
        body = at + 1;
    }
    lm_class class = class_at(text, length, body, &size);
    return class == LM_CLASS_SPACE ? space_end(text, length, at) : run_end(text, length, body + size, class);
}

static size_t numbers_end(const char *text, size_t length, size_t at, size_t most) {
    size_t size;
    while (most > 0 && at < length && class_at(text, length, at, &size) == LM_CLASS_NUMBER) {
        at += size;
        most--;
    }
    return at;
}

/* White space up to its last line end; where it has none, as GPT-2 does. */
static size_t lines_end(const char *text, size_t length, size_t at) {
    size_t size, after = at;
    for (size_t end = at; end < length && class_at(text, length, end, &size) == LM_CLASS_SPACE; end += size) {
        after = is_newline(text[end]) ? end + 1 : after;
    }
    return after > at ? after : space_end(text, length, at);
}

static size_t llama3_next(const char *text, size_t length, size_t at, size_t digits) {
    size_t size, next_size;
    if (text[at] == '\'') {
        size_t end = contraction_any_case(text, length, at);
        if (end > at) {
            return end;
        }
    }
    lm_class class = class_at(text, length, at, &size);
    if (class == LM_CLASS_LETTER) {
        return run_end(text, length, at + size, LM_CLASS_LETTER);
    }
    if (class == LM_CLASS_NUMBER) {
        return numbers_end(text, length, at, digits);
    }
    bool more = at + size < length;
    lm_class next = more ? class_at(text, length, at + size, &next_size) : LM_CLASS_SPACE;
    if (more && next == LM_CLASS_LETTER && !is_newline(text[at])) {
        return run_end(text, length, at + size, LM_CLASS_LETTER);
    }
    if (class == LM_CLASS_SPACE && !(text[at] == ' ' && more && next == LM_CLASS_OTHER)) {
        return lines_end(text, length, at);
    }
    size_t end = run_end(text, length, at + size, LM_CLASS_OTHER);
    while (end < length && is_newline(text[end])) {
        end++;
    }
    return end;
}

size_t lm_split_next(lm_cut_kind kind, const char *text, size_t length, size_t at, size_t *segment) {
    size_t size;
    switch (kind) {
    case LM_CUT_GPT2: return gpt2_next(text, length, at);
    case LM_CUT_LLAMA3: return llama3_next(text, length, at, 3);
    case LM_CUT_QWEN2: return llama3_next(text, length, at, 1);
    case LM_CUT_DIGITS_GPT2: break;
    default: return length;
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

lm_cut_kind lm_split_known(const char *pattern, size_t length) {
    static const struct {
        const char *pattern;
        lm_cut_kind kind;
    } known[] = {
        {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", LM_CUT_GPT2},
        {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", LM_CUT_GPT2},
        {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
         "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
         LM_CUT_LLAMA3},
        {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
         "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
         LM_CUT_QWEN2},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strlen(known[i].pattern) == length && memcmp(known[i].pattern, pattern, length) == 0) {
            return known[i].kind;
        }
    }
    return LM_CUT_REGEX;
}

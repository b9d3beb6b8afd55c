/* text.c: characters, folding, words; see text.h. Everything is a pass over bytes with an index that only grows. */
#include "support/text.h"

#include <stdlib.h>

temper_span temper_span_of(const char *text) {
    temper_span out = {text, strlen(text)};
    return out;
}

bool temper_span_equal(temper_span a, temper_span b) {
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

static bool is_ascii_space(unsigned char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

temper_span temper_span_trim(temper_span text) {
    while (text.length > 0 && is_ascii_space((unsigned char)text.data[0])) {
        text.data++;
        text.length--;
    }
    while (text.length > 0 && is_ascii_space((unsigned char)text.data[text.length - 1])) {
        text.length--;
    }
    return text;
}

uint32_t temper_text_character(temper_span text, size_t at, size_t *width) {
    const unsigned char *p = (const unsigned char *)text.data + at;
    size_t left = text.length - at, need, i;
    uint32_t out;
    *width = 1;
    if (p[0] < 0x80) {
        return p[0];
    }
    if (p[0] >= 0xC2 && p[0] <= 0xDF) {
        need = 2, out = p[0] & 0x1Fu;
    } else if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        need = 3, out = p[0] & 0x0Fu;
    } else if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        need = 4, out = p[0] & 0x07u;
    } else {
        return 0xFFFD;
    }
    if (left < need) {
        return 0xFFFD;
    }
    for (i = 1; i < need; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0xFFFD;
        }
        out = out << 6 | (p[i] & 0x3Fu);
    }
    *width = need;
    return out;
}

size_t temper_text_count(temper_span text) {
    size_t at, width, count = 0;
    for (at = 0; at < text.length; at += width) {
        temper_text_character(text, at, &width);
        count++;
    }
    return count;
}

bool temper_text_is_space(uint32_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

bool temper_text_is_word(uint32_t c) {
    if (c < 0x80) {
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    }
    if (c < 0xC0) {
        return c == 0xAA || c == 0xB5 || c == 0xBA;
    }
    return c != 0xD7 && c != 0xF7 && !(c >= 0x2000 && c <= 0x206F) && !(c >= 0x2190 && c <= 0x2BFF) &&
           !(c >= 0x3000 && c <= 0x303F) && !(c >= 0xFF01 && c <= 0xFF0F) && !(c >= 0xFF1A && c <= 0xFF20) &&
           c != 0x1680 && c != 0xFFFD && !(c >= 0xFE00 && c <= 0xFE0F) && !(c >= 0x1F000 && c <= 0x1FAFF);
}

/* Lower case of letters whose two forms have one length in UTF-8; others stay. */
static uint32_t lower(uint32_t c) {
    if (c < 0x80) {
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    }
    if ((c >= 0xC0 && c <= 0xDE && c != 0xD7) || (c >= 0x391 && c <= 0x3A9 && c != 0x3A2) ||
        (c >= 0x410 && c <= 0x42F)) {
        return c + 32;
    }
    if (c >= 0x400 && c <= 0x40F) {
        return c + 80;
    }
    if (c >= 0x531 && c <= 0x556) {
        return c + 48;
    }
    if (((c >= 0x100 && c <= 0x137 && c != 0x130) || (c >= 0x14A && c <= 0x177) ||
         (c >= 0x460 && c <= 0x481) || (c >= 0x48A && c <= 0x4BF) || (c >= 0x4D0 && c <= 0x52F) ||
         (c >= 0x1E00 && c <= 0x1E95) || (c >= 0x1EA0 && c <= 0x1EFF)) &&
        c % 2 == 0) {
        return c + 1;
    }
    if (((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) && c % 2 == 1) {
        return c + 1;
    }
    return c == 0x178 ? 0xFF : c;
}

static uint32_t plain(uint32_t c) {
    if (c == 0x2018 || c == 0x2019 || c == 0x201B || c == 0x02BC) {
        return '\'';
    }
    if (c == 0x201C || c == 0x201D || c == 0x201F) {
        return '"';
    }
    return c == 0x2010 || c == 0x2011 ? '-' : c;
}

static size_t encode(uint32_t c, char out[4]) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* Folds one character at `at`; returns the folded bytes in `out`, their number in *made, and the bytes used. */
static size_t fold_step(temper_span text, size_t at, bool ignore_case, char out[4], size_t *made) {
    unsigned char byte = (unsigned char)text.data[at];
    size_t width, used;
    uint32_t c, folded;
    if (byte > ' ' && byte < 0x7F) { /* most text is this */
        out[0] = (char)(ignore_case && byte >= 'A' && byte <= 'Z' ? byte + 32 : byte);
        *made = 1;
        return 1;
    }
    c = temper_text_character(text, at, &width);
    if (temper_text_is_space(c)) {
        for (used = width; at + used < text.length; used += width) {
            if (!temper_text_is_space(temper_text_character(text, at + used, &width))) {
                break;
            }
        }
        out[0] = ' ';
        *made = 1;
        return used;
    }
    if (c == 0xFFFD && width == 1) { /* no UTF-8: the byte as it is */
        out[0] = (char)byte;
        *made = 1;
        return 1;
    }
    folded = plain(c);
    *made = encode(ignore_case ? lower(folded) : folded, out);
    return width;
}

size_t temper_text_fold(temper_span text, bool ignore_case, char *out) {
    size_t at = 0, length = 0, made;
    char bytes[4];
    while (at < text.length) {
        at += fold_step(text, at, ignore_case, bytes, &made);
        memcpy(out + length, bytes, made);
        length += made;
    }
    return length;
}

size_t temper_text_unfold(temper_span text, bool ignore_case, size_t folded) {
    size_t at = 0, length = 0, made, used;
    char bytes[4];
    while (at < text.length) {
        used = fold_step(text, at, ignore_case, bytes, &made);
        if (length + made > folded) {
            break;
        }
        length += made;
        at += used;
    }
    return at;
}

static bool is_apostrophe(uint32_t c) {
    return c == '\'' || c == 0x2019;
}

bool temper_text_word(temper_span text, size_t *at, temper_span *out) {
    size_t start, end, width, after;
    uint32_t c;
    for (start = *at; start < text.length; start += width) {
        if (temper_text_is_word(temper_text_character(text, start, &width))) {
            break;
        }
    }
    for (end = start; end < text.length; end += width) {
        c = temper_text_character(text, end, &width);
        if (is_apostrophe(c) && end > start && end + width < text.length &&
            temper_text_is_word(temper_text_character(text, end + width, &after))) {
            continue;
        }
        if (!temper_text_is_word(c)) {
            break;
        }
    }
    *at = end;
    out->data = text.data + start;
    out->length = end - start;
    return end > start;
}

size_t temper_text_words(temper_span text) {
    size_t at = 0, count = 0;
    temper_span word;
    while (temper_text_word(text, &at, &word)) {
        count++;
    }
    return count;
}

uint64_t temper_text_hash(temper_span text, uint64_t seed) {
    uint64_t hash = 0xCBF29CE484222325u ^ seed;
    size_t i;
    for (i = 0; i < text.length; i++) {
        hash = (hash ^ (unsigned char)text.data[i]) * 0x100000001B3u;
    }
    hash ^= hash >> 32;
    hash *= 0xD6E8FEB86659FD93u;
    return hash ^ hash >> 32;
}

/* The start of the last character before `end` > 0. */
static size_t step_back(temper_span text, size_t end) {
    size_t start = end - 1;
    while (start > 0 && end - start < 4 && ((unsigned char)text.data[start] & 0xC0) == 0x80) {
        start--;
    }
    return start;
}

static bool closes(uint32_t c) {
    return c == '"' || c == '\'' || c == ')' || c == ']' || c == '}' || c == '*' || c == '_' || c == '~' ||
           c == '>' || c == 0xBB || c == 0x2019 || c == 0x201D || c == 0x203A || c == 0x300D || c == 0x300F ||
           c == 0xFF09 || c == 0xFE0F;
}

static bool ends_sentence(uint32_t c) {
    return c == '.' || c == '!' || c == '?' || c == 0x2026 || c == 0x203D || c == 0x3002 || c == 0xFF01 ||
           c == 0xFF1F || c == 0xFF0E || c == 0x0964 || c == 0x061F || c == 0x06D4 ||
           (c >= 0x2600 && c <= 0x27BF) || (c >= 0x1F000 && c <= 0x1FAFF);
}

bool temper_text_is_finished(temper_span text) {
    size_t end, start, width;
    uint32_t c;
    text = temper_span_trim(text);
    if (text.length >= 3 && memcmp(text.data + text.length - 3, "```", 3) == 0) {
        return true;
    }
    for (end = text.length; end > 0; end = start) {
        start = step_back(text, end);
        c = temper_text_character(text, start, &width);
        if (ends_sentence(c)) {
            return true;
        }
        if (!closes(c) && !is_ascii_space((unsigned char)text.data[start])) {
            return false;
        }
    }
    return false;
}

static int compare_hashes(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

bool temper_shingles_make(temper_pool *pool, temper_span text, temper_shingles *out) {
    uint64_t *items, previous = 0; /* 0 stands for both ends */
    size_t at = 0, count = 0, kept = 0, i;
    char *folded = temper_pool_take(pool, text.length, 1);
    temper_span plain_text, word;
    if (folded == NULL) {
        return false;
    }
    plain_text.data = folded;
    plain_text.length = temper_text_fold(text, true, folded);
    items = temper_pool_take(pool, temper_text_words(plain_text) + 1, sizeof *items);
    if (items == NULL) {
        return false;
    }
    while (temper_text_word(plain_text, &at, &word)) {
        uint64_t current = temper_text_hash(word, 0);
        items[count++] = previous * 0x9E3779B97F4A7C15u + current;
        previous = current;
    }
    if (count > 0) {
        items[count++] = previous * 0x9E3779B97F4A7C15u;
    }
    qsort(items, count, sizeof *items, compare_hashes);
    for (i = 0; i < count; i++) {
        if (i == 0 || items[i] != items[kept - 1]) {
            items[kept++] = items[i];
        }
    }
    out->items = items;
    out->count = kept;
    return true;
}

double temper_shingles_similarity(const temper_shingles *a, const temper_shingles *b) {
    size_t i = 0, j = 0, shared = 0, all;
    while (i < a->count && j < b->count) {
        if (a->items[i] == b->items[j]) {
            shared++, i++, j++;
        } else if (a->items[i] < b->items[j]) {
            i++;
        } else {
            j++;
        }
    }
    all = a->count + b->count - shared;
    return all == 0 ? 1.0 : (double)shared / (double)all;
}

/* minhash.c: see minhash.h. The inner loop is whole-number arithmetic on 32 bits, so its bits are the same in any width of
 * vector; the compiler makes three of it, and the machine takes the widest it has. */
#include "minhash.h"

#include <stdlib.h>

static uint64_t mix(uint64_t x) { /* the finaliser of MurmurHash3 */
    x ^= x >> 33;
    x *= UINT64_C(0xFF51AFD7ED558CCD);
    x ^= x >> 33;
    x *= UINT64_C(0xC4CEB9FE1A85EC53);
    return x ^ x >> 33;
}

/* --- shingles ---------------------------------------------------------------------------------------------------- */

static const uint64_t prime = UINT64_C(0x9E3779B97F4A7C15);

void filter_shingle_begin(filter_shingler *shingler, temper_buffer *out, uint32_t width) {
    memset(shingler, 0, sizeof *shingler);
    shingler->out = out;
    shingler->width = width;
}

static void add_word(filter_shingler *s, uint64_t word) {
    s->ring[s->words % s->width] = mix(word);
    s->words++;
    if (s->words >= s->width) {
        uint64_t hash = 0;
        uint32_t i;
        for (i = 0; i < s->width; i++) {
            hash = (hash + s->ring[(s->words + i) % s->width]) * prime;
        }
        hash = mix(hash);
        temper_buffer_append(s->out, &hash, sizeof hash);
    }
}

void filter_shingle_text(filter_shingler *s, temper_span text) {
    const uint64_t start = UINT64_C(0xCBF29CE484222325), step = UINT64_C(0x100000001B3);
    uint64_t word = start;
    size_t at = 0, width, i;
    while (at < text.length) {
        unsigned char c = (unsigned char)text.data[at];
        if (c < 0x80) {
            unsigned char lower = (unsigned char)(c | 32);
            if ((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '_') {
                word = (word ^ (c >= 'A' && c <= 'Z' ? lower : c)) * step;
            } else if (c != '\'' && word != start) { /* an apostrophe joins: don't is dont */
                add_word(s, word);
                word = start;
            }
            at++;
        } else {
            char folded[8];
            temper_span one = {text.data + at, 0}, plain = {folded, 0};
            uint32_t character;
            temper_text_character(text, at, &width);
            one.length = width;
            plain.length = temper_text_fold(one, true, folded);
            character = plain.length == 0 ? ' ' : temper_text_character(plain, 0, &i);
            if (temper_text_is_word(character)) {
                for (i = 0; i < plain.length; i++) {
                    word = (word ^ (unsigned char)folded[i]) * step;
                }
            } else if (character != '\'' && word != start) {
                add_word(s, word);
                word = start;
            }
            at += width;
        }
    }
    if (word != start) {
        add_word(s, word);
    }
}

size_t filter_shingle_end(filter_shingler *s) {
    if (s->words > 0 && s->words < s->width) {
        uint64_t hash = 0;
        uint32_t i;
        for (i = 0; i < s->words; i++) {
            hash = (hash + s->ring[i]) * prime;
        }
        hash = mix(hash);
        temper_buffer_append(s->out, &hash, sizeof hash);
    }
    return s->out->length / sizeof(uint64_t);
}

static int by_value(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

size_t filter_shingle_set(uint64_t *shingles, size_t count) {
    size_t i, kept = 0;
    qsort(shingles, count, sizeof *shingles, by_value);
    for (i = 0; i < count; i++) {
        if (kept == 0 || shingles[kept - 1] != shingles[i]) {
            shingles[kept++] = shingles[i];
        }
    }
    return kept;
}

double filter_jaccard(const uint64_t *a, size_t a_count, const uint64_t *b, size_t b_count) {
    size_t i = 0, j = 0, shared = 0;
    while (i < a_count && j < b_count) {
        shared += a[i] == b[j];
        if (a[i] <= b[j]) {
            j += a[i] == b[j];
            i++;
        } else {
            j++;
        }
    }
    return a_count + b_count == 0 ? 1.0 : (double)shared / (double)(a_count + b_count - shared);
}

/* --- signatures -------------------------------------------------------------------------------------------------- */

/* Order k of hashes x: by factor[k] * x + offset[k] modulo 2^32, the factors odd. */
static uint32_t factors[FILTER_MOST_MINS], offsets[FILTER_MOST_MINS];

__attribute__((constructor)) static void make_orders(void) {
    uint64_t state = UINT64_C(0x54656D706572);
    size_t i;
    for (i = 0; i < FILTER_MOST_MINS; i++) {
        state += prime;
        factors[i] = (uint32_t)(mix(state) >> 32) | 1;
        offsets[i] = (uint32_t)mix(state);
    }
}

#define LEAST                                                                                                \
    size_t i, j, k;                                                                                          \
    for (k = 0; k < count; k += 16) {                                                                        \
        uint32_t least[16];                                                                                  \
        memset(least, 0xFF, sizeof least);                                                                   \
        for (i = 0; i < shingle_count; i++) {                                                                \
            uint32_t x = (uint32_t)(shingles[i] >> 32);                                                      \
            for (j = 0; j < 16; j++) {                                                                       \
                uint32_t y = factors[k + j] * x + offsets[k + j];                                            \
                least[j] = y < least[j] ? y : least[j];                                                      \
            }                                                                                                \
        }                                                                                                    \
        memcpy(mins + k, least, sizeof least);                                                               \
    }

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void least_512(const uint64_t *shingles, size_t shingle_count,
                                                         uint32_t *mins, size_t count) {
    LEAST
}

__attribute__((target("avx2"))) static void least_256(const uint64_t *shingles, size_t shingle_count,
                                                      uint32_t *mins, size_t count) {
    LEAST
}
#endif

static void least_any(const uint64_t *shingles, size_t shingle_count, uint32_t *mins, size_t count) {
    LEAST
}

void filter_minhash(const uint64_t *shingles, size_t shingle_count, uint32_t *mins, size_t count) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        least_512(shingles, shingle_count, mins, count);
        return;
    }
    if (__builtin_cpu_supports("avx2")) {
        least_256(shingles, shingle_count, mins, count);
        return;
    }
#endif
    least_any(shingles, shingle_count, mins, count);
}

uint64_t filter_band(const uint32_t *mins, size_t rows) {
    uint64_t hash = rows;
    size_t i;
    for (i = 0; i < rows; i++) {
        hash = mix(hash ^ mins[i] * prime);
    }
    return hash;
}

/* statistics.c: see statistics.h. */
#include "support/statistics.h"
#include <math.h>
#include <stdlib.h>
#include <temper/rng.h>

void temper_wilson(double successes, double trials, double *low, double *high) {
    const double z = 1.959963984540054, square = z * z;
    double share, middle, half, scale;
    *low = 0.0;
    *high = 1.0;
    if (trials <= 0.0) {
        return;
    }
    share = successes / trials;
    scale = 1.0 + square / trials;
    middle = (share + square / (2.0 * trials)) / scale;
    half = z * sqrt(share * (1.0 - share) / trials + square / (4.0 * trials * trials)) / scale;
    *low = middle - half > 0.0 ? middle - half : 0.0;
    *high = middle + half < 1.0 ? middle + half : 1.0;
}

static int compare_hashes(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

bool temper_distinct_2(temper_pool *pool, const temper_span *texts, size_t count, double *out) {
    size_t room = 0, pairs = 0, distinct = 0, i;
    uint64_t *items;
    char *folded;
    for (i = 0; i < count; i++) {
        room += texts[i].length;
    }
    items = temper_pool_take(pool, room, sizeof *items);
    folded = temper_pool_take(pool, room, 1);
    if (items == NULL || folded == NULL) {
        return false;
    }
    for (i = 0; i < count; i++) {
        temper_span text = {folded, temper_text_fold(texts[i], true, folded)}, word;
        uint64_t previous = 0, current;
        size_t at = 0, words = 0;
        for (; temper_text_word(text, &at, &word); previous = current) {
            current = temper_text_hash(word, 0);
            if (words++ > 0) {
                items[pairs++] = previous * 0x9E3779B97F4A7C15u + current;
            }
        }
    }
    qsort(items, pairs, sizeof *items, compare_hashes);
    for (i = 0; i < pairs; i++) {
        distinct += i == 0 || items[i] != items[i - 1];
    }
    *out = pairs == 0 ? 0.0 : (double)distinct / (double)pairs;
    return true;
}

bool temper_permutation(temper_pool *pool, uint64_t key, uint64_t stream, size_t count, const size_t **out) {
    size_t *items = temper_pool_take(pool, count, sizeof *items), i;
    if (items == NULL) {
        return false;
    }
    for (i = 0; i < count; i++) { /* inside out, Fisher and Yates */
        size_t j = (size_t)temper_random_below(key, stream, i, i + 1);
        items[i] = items[j];
        items[j] = i;
    }
    *out = items;
    return true;
}

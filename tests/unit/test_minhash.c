/* test_minhash.c: shingles, Jaccard, and that signatures find what their bands say they find: with b bands of r rows two sets of
 * similarity s share a band with the probability 1 - (1 - s^r)^b. */
#include "minhash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void *plain_reallocate(const temper_host *host, void *block, size_t bytes) {
    (void)host;
    return realloc(block, bytes);
}

static void plain_release(const temper_host *host, void *block) {
    (void)host;
    free(block);
}

static const temper_host plain = {
    .size = sizeof plain, .reallocate = plain_reallocate, .release = plain_release};

static size_t shingles_of(const char *text, uint32_t width, uint64_t *out) {
    temper_span span = {text, strlen(text)};
    filter_shingler shingler;
    temper_buffer buffer;
    size_t count;
    temper_buffer_init(&buffer, &plain);
    filter_shingle_begin(&shingler, &buffer, width);
    filter_shingle_text(&shingler, span);
    count = filter_shingle_end(&shingler);
    memcpy(out, buffer.data == NULL ? "" : buffer.data, count * sizeof *out);
    temper_buffer_free(&buffer);
    return filter_shingle_set(out, count);
}

static double alike(const char *a, const char *b, uint32_t width) {
    uint64_t left[64], right[64];
    size_t left_count = shingles_of(a, width, left), right_count = shingles_of(b, width, right);
    return filter_jaccard(left, left_count, right, right_count);
}

static void shingles_are_of_words(void **state) {
    uint64_t out[64];
    (void)state;
    assert_int_equal(shingles_of("", 5, out), 0);
    assert_int_equal(shingles_of("?!", 5, out), 0);
    assert_int_equal(shingles_of("one two", 5, out), 1);
    assert_int_equal(shingles_of("one two three four five", 5, out), 1);
    assert_int_equal(shingles_of("one two three four five six", 5, out), 2);
    assert_int_equal(shingles_of("a a a a a a a a", 5, out), 1);
    assert_true(alike("One, two -- THREE four!\nFive", "one two three four five", 5) == 1.0);
    assert_true(alike("don't go", "don\xE2\x80\x99t go", 2) == 1.0); /* a typographic apostrophe */
    assert_true(alike("\xC3\x89t\xC3\xA9 bleu", "\xC3\xA9t\xC3\xA9 BLEU", 2) == 1.0); /* É is é */
    assert_true(alike("one two three four five", "one two three four six", 5) == 0.0);
    assert_true(alike("a b c d", "a b c e", 2) == 0.5); /* ab bc of ab bc cd ce */
    assert_true(alike("ab c", "a bc", 1) == 0.0);
}

static uint64_t random_state = 99;
static uint64_t draw(void) {
    uint64_t x = random_state += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

enum { SET = 90, TRIALS = 20000, BANDS = 14, ROWS = 8 };

/* Two sets that share so many of 90 each: similarity shared / (180 - shared). */
static bool found(size_t shared) {
    uint64_t a[SET], b[SET];
    uint32_t left[BANDS * ROWS], right[BANDS * ROWS];
    size_t i;
    for (i = 0; i < SET; i++) {
        a[i] = draw();
        b[i] = i < shared ? a[i] : draw();
    }
    filter_minhash(a, SET, left, BANDS * ROWS);
    filter_minhash(b, SET, right, BANDS * ROWS);
    for (i = 0; i < BANDS; i++) {
        if (filter_band(left + i * ROWS, ROWS) == filter_band(right + i * ROWS, ROWS)) {
            return true;
        }
    }
    return false;
}

static void bands_find_what_they_should(void **state) {
    /* 74, 80 and 85 of 90: similarity 0.698, 0.8 and 0.895; and 0.333, which is hardly ever found. */
    static const size_t shared[] = {74, 80, 85, 45};
    size_t i, trial;
    (void)state;
    for (i = 0; i < sizeof shared / sizeof *shared; i++) {
        double similarity = (double)shared[i] / (2.0 * SET - (double)shared[i]), band = 1.0, none = 1.0,
               expected, share;
        size_t hits = 0, j;
        for (j = 0; j < ROWS; j++) {
            band *= similarity;
        }
        for (j = 0; j < BANDS; j++) {
            none *= 1.0 - band;
        }
        expected = 1.0 - none;
        for (trial = 0; trial < TRIALS; trial++) {
            hits += found(shared[i]);
        }
        share = (double)hits / TRIALS;
        print_message("similarity %.3f: expected %.4f, found %.4f\n", similarity, expected, share);
        assert_true(share > expected - 0.015 &&
                    share < expected + 0.015); /* four deviations, and what the orders lack */
    }
}

/* The places of a signature agree as often as the sets are similar, and any width of vector gives the same. */
static void places_agree_as_often_as_sets_do(void **state) {
    size_t trial, i, same = 0;
    (void)state;
    for (trial = 0; trial < 2000; trial++) {
        uint64_t a[SET], b[SET];
        uint32_t left[BANDS * ROWS], right[BANDS * ROWS];
        for (i = 0; i < SET; i++) {
            a[i] = draw();
            b[i] = i < 60 ? a[i] : draw();
        }
        filter_minhash(a, SET, left, BANDS * ROWS);
        filter_minhash(b, SET, right, BANDS * ROWS);
        for (i = 0; i < BANDS * ROWS; i++) {
            same += left[i] == right[i];
        }
    }
    assert_true(same > 0.49 * 2000 * BANDS * ROWS && same < 0.51 * 2000 * BANDS * ROWS); /* 60 of 120 */
}

/* Fixed: a signature is part of what decides who is dropped, so it may never change by itself. */
static void signatures_are_fixed(void **state) {
    uint64_t shingles[] = {1, UINT64_C(0x123456789ABCDEF0), UINT64_MAX};
    uint32_t mins[16];
    uint64_t band;
    (void)state;
    filter_minhash(shingles, 3, mins, 16);
    band = filter_band(mins, 16);
    assert_true(band == UINT64_C(0x142BC165DB4262F2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shingles_are_of_words), cmocka_unit_test(bands_find_what_they_should),
        cmocka_unit_test(places_agree_as_often_as_sets_do), cmocka_unit_test(signatures_are_fixed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_support.c: sdk/support alone: folding, words, the matcher against a search by hand, similarity, intervals. */
#include "fake_host.h"
#include "support/conversation.h"
#include "support/matcher.h"
#include "support/statistics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <temper/rng.h>

#include <cmocka.h>

/* A host of which only the allocator is used. */
static void *plain_allocate(const temper_host *host, size_t bytes) {
    (void)host;
    return malloc(bytes);
}

static void *plain_reallocate(const temper_host *host, void *block, size_t bytes) {
    (void)host;
    return realloc(block, bytes);
}

static void plain_release(const temper_host *host, void *block) {
    (void)host;
    free(block);
}

static const temper_host host = {
    .size = sizeof host, .allocate = plain_allocate, .reallocate = plain_reallocate, .release = plain_release};

static void fold_is(const char *source, const char *expected) {
    char out[256];
    size_t length = temper_text_fold(temper_span_of(source), true, out);
    assert_true(length <= strlen(source));
    out[length] = 0;
    assert_string_equal(out, expected);
}

static void folding(void **state) {
    (void)state;
    fold_is("", "");
    fold_is("As An AI", "as an ai");
    fold_is("I\xE2\x80\x99m \xE2\x80\x9Cso\xE2\x80\x9D", "i'm \"so\"");
    fold_is("a \t\r\n b\xC2\xA0\xE3\x80\x80 c", "a b c");
    fold_is("\xC3\x84\xC3\x96\xC3\x9C \xC3\x9F", "\xC3\xA4\xC3\xB6\xC3\xBC \xC3\x9F");          /* ÄÖÜ ß */
    fold_is("\xD0\x9F\xD1\x80\xD0\x81 \xCE\xA9", "\xD0\xBF\xD1\x80\xD1\x91 \xCF\x89");          /* ПрЁ Ω */
    fold_is("\xC5\x81\xC5\xBD\xC4\xB0", "\xC5\x82\xC5\xBE\xC4\xB0");                            /* ŁŽİ: İ stays */
    fold_is("\xFF\xC3", "\xFF\xC3");                                                            /* no UTF-8: as it is */
}

static void words_and_borders(void **state) {
    size_t at = 0;
    temper_span word, text = temper_span_of("  Don't stop\xE2\x80\x94" "caf\xC3\xA9s, 'quoted' x_1");
    static const char *const expected[] = {"Don't", "stop", "caf\xC3\xA9s", "quoted", "x_1"};
    size_t i;
    (void)state;
    for (i = 0; i < 5; i++) {
        assert_true(temper_text_word(text, &at, &word));
        assert_true(temper_span_equal(word, temper_span_of(expected[i])));
    }
    assert_false(temper_text_word(text, &at, &word));
    assert_int_equal(temper_text_words(text), 5);
    assert_int_equal(temper_text_count(temper_span_of("\xC3\xA9\xF0\x9F\x99\x82z")), 3);
}

static void finished_ends(void **state) {
    static const char *const yes[] = {"So.", "So?\"", "(So!)", "So.**", "So.  ", "\xE3\x80\x82", "\xF0\x9F\x99\x82",
                                      "\xE2\x80\xA6", "```\nx\n```", "\xE2\x80\x9CSo.\xE2\x80\x9D"};
    static const char *const no[] = {"", "So", "So,", "so because", "\"", "So:", "1) and"};
    size_t i;
    (void)state;
    for (i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (!temper_text_is_finished(temper_span_of(yes[i]))) {
            fail_msg("\"%s\" is finished", yes[i]);
        }
    }
    for (i = 0; i < sizeof no / sizeof *no; i++) {
        if (temper_text_is_finished(temper_span_of(no[i]))) {
            fail_msg("\"%s\" is not finished", no[i]);
        }
    }
}

/* What the matcher must find, by trying every phrase at every place: the match that ends first, of these the longest. */
static bool by_hand(char phrases[][8], size_t count, const char *text, bool whole, size_t *start, size_t *length) {
    size_t n = strlen(text), best_end = SIZE_MAX, p, i;
    for (p = 0; p < count; p++) {
        size_t m = strlen(phrases[p]);
        for (i = 0; i + m <= n; i++) {
            bool before = i > 0 && temper_text_is_word((uint32_t)text[i - 1]) &&
                          temper_text_is_word((uint32_t)phrases[p][0]);
            bool after = i + m < n && temper_text_is_word((uint32_t)text[i + m]) &&
                         temper_text_is_word((uint32_t)phrases[p][m - 1]);
            if (memcmp(text + i, phrases[p], m) != 0 || (whole && (before || after))) {
                continue;
            }
            if (i + m < best_end || (i + m == best_end && m > *length)) {
                best_end = i + m;
                *start = i;
                *length = m;
            }
        }
    }
    return best_end != SIZE_MAX;
}

static void matcher_agrees_with_a_search_by_hand(void **state) {
    static const char letters[] = "aab.b";
    uint64_t draw = 0;
    int round;
    size_t found = 0;
    (void)state;
    for (round = 0; round < 4000; round++) {
        char phrases[6][8], list[64] = "", text[40], scratch[40];
        size_t count = 1 + (size_t)temper_random_below(1, 0, draw++, 6), p, i, start = 0, length = 0;
        bool whole = round % 2 == 0, expected;
        temper_pool *pool = temper_pool_new(&host);
        temper_matcher *matcher;
        temper_match match;
        temper_error error = TEMPER_ERROR_INIT;
        for (p = 0; p < count; p++) {
            size_t m = 1 + (size_t)temper_random_below(1, 0, draw++, 5);
            for (i = 0; i < m; i++) {
                phrases[p][i] = letters[temper_random_below(1, 0, draw++, 5)];
            }
            phrases[p][m] = 0;
            strcat(list, phrases[p]);
            strcat(list, "\n");
        }
        for (i = 0; i < 30; i++) {
            text[i] = "aab.bccc"[temper_random_below(1, 0, draw++, 8)];
        }
        text[30] = 0;
        assert_int_equal(temper_matcher_new(&host, pool, temper_span_of(list), true, whole, &matcher, &error), TEMPER_OK);
        assert_int_equal(temper_matcher_count(matcher), count);
        expected = by_hand(phrases, count, text, whole, &start, &length);
        assert_int_equal(temper_matcher_find(matcher, temper_span_of(text), scratch, &match), expected);
        if (expected) {
            found++;
            assert_int_equal(match.start, start);
            assert_int_equal(match.length, length);
        }
        temper_pool_free(pool);
    }
    assert_in_range(found, 1000, 3900); /* both answers were tried often */
}

static void matcher_with_every_byte(void **state) {
    char list[600], text[300], scratch[300];
    size_t n = 0, i;
    temper_pool *pool = temper_pool_new(&host);
    temper_matcher *matcher;
    temper_match match;
    temper_error error = TEMPER_ERROR_INIT;
    temper_span span = {list, 0};
    (void)state;
    for (i = 1; i < 256; i++) { /* a phrase a byte: all classes in use */
        if (i != '\n' && i != '#' && i != ' ' && !(i >= '\t' && i <= '\r')) {
            list[n++] = (char)i;
            list[n++] = '\n';
        }
    }
    span.length = n;
    assert_int_equal(temper_matcher_new(&host, pool, span, false, false, &matcher, &error), TEMPER_OK);
    for (i = 1; i < 256; i++) {
        bool listed = i != '\n' && i != '#' && i != ' ' && !(i >= '\t' && i <= '\r');
        temper_span one = {text, 1};
        text[0] = (char)i;
        assert_int_equal(temper_matcher_find(matcher, one, scratch, &match), listed);
    }
    temper_pool_free(pool);
}

static void similarity(void **state) {
    temper_pool *pool = temper_pool_new(&host);
    temper_shingles a, b, c, none;
    (void)state;
    assert_true(temper_shingles_make(pool, temper_span_of("Do you like the sea?"), &a));
    assert_true(temper_shingles_make(pool, temper_span_of("do you LIKE  the sea"), &b));
    assert_true(temper_shingles_make(pool, temper_span_of("Do you like the rain?"), &c));
    assert_true(temper_shingles_make(pool, temper_span_of("?!"), &none));
    assert_true(temper_shingles_similarity(&a, &b) == 1.0);
    assert_true(temper_shingles_similarity(&a, &c) == 4.0 / 8.0);
    assert_true(temper_shingles_similarity(&a, &none) == 0.0);
    assert_true(temper_shingles_similarity(&none, &none) == 1.0);
    temper_pool_free(pool);
}

static void intervals(void **state) {
    double low, high;
    (void)state;
    temper_wilson(0, 0, &low, &high);
    assert_true(low == 0.0 && high == 1.0);
    temper_wilson(81, 263, &low, &high); /* Newcombe 1998, table I: 0.2553 to 0.3662 */
    assert_true(fabs(low - 0.2553) < 5e-5 && fabs(high - 0.3662) < 5e-5);
    temper_wilson(0, 20, &low, &high); /* 0 to 0.1611 */
    assert_true(low == 0.0 && fabs(high - 0.1611) < 5e-5);
}

static void variety_and_permutations(void **state) {
    temper_pool *pool = temper_pool_new(&host);
    temper_span texts[2] = {temper_span_of("a b a b"), temper_span_of("A b")};
    const size_t *order, *again, *other;
    double distinct;
    bool seen[50] = {false};
    size_t i, moved = 0;
    (void)state;
    assert_true(temper_distinct_2(pool, texts, 2, &distinct));
    assert_true(distinct == 0.5); /* ab, ba, ab, ab: two kinds of four */
    assert_true(temper_permutation(pool, 7, 3, 50, &order));
    assert_true(temper_permutation(pool, 7, 3, 50, &again));
    assert_true(temper_permutation(pool, 7, 4, 50, &other));
    assert_memory_equal(order, again, 50 * sizeof *order);
    assert_memory_not_equal(order, other, 50 * sizeof *order);
    for (i = 0; i < 50; i++) {
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
        moved += order[i] != i;
    }
    assert_true(moved > 40);
    temper_pool_free(pool);
}

static void pools_refuse_overflow(void **state) {
    temper_pool *pool = temper_pool_new(&host);
    temper_buffer buffer;
    (void)state;
    assert_null(temper_pool_take(pool, SIZE_MAX / 2, 4));
    assert_null(temper_pool_take(pool, SIZE_MAX, 1));
    assert_non_null(temper_pool_take(pool, 0, 8));
    temper_pool_free(pool);
    temper_buffer_init(&buffer, &host);
    assert_false(temper_buffer_reserve(&buffer, SIZE_MAX - 2));
    assert_true(buffer.failed);
    temper_buffer_text(&buffer, "lost");
    assert_int_equal(buffer.length, 0);
    temper_buffer_free(&buffer);
    temper_buffer_format(&buffer, "%d%s", 4, "x");
    assert_string_equal(buffer.data, "4x");
    temper_buffer_free(&buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folding),
        cmocka_unit_test(words_and_borders),
        cmocka_unit_test(finished_ends),
        cmocka_unit_test(matcher_agrees_with_a_search_by_hand),
        cmocka_unit_test(matcher_with_every_byte),
        cmocka_unit_test(similarity),
        cmocka_unit_test(intervals),
        cmocka_unit_test(variety_and_permutations),
        cmocka_unit_test(pools_refuse_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

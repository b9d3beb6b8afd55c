/* test_text.c: nearest names, sizes and times people read, and UTF-8. */
#include "base/text.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_nearest(void **state) {
    static const char *const names[] = {"temperature", "top_p", "top_k", "samples", "seed"};
    static const char *const same[] = {"ab", "ac"};
    const char *none = NULL;
    (void)state;
    assert_string_equal(tm_text_nearest("temprature", names, 5), "temperature");
    assert_string_equal(tm_text_nearest("tempreature", names, 5), "temperature"); /* neighbours swapped */
    assert_string_equal(tm_text_nearest("sample", names, 5), "samples");
    assert_string_equal(tm_text_nearest("topp", names, 5), "top_p");
    assert_string_equal(tm_text_nearest("sede", names, 5), "seed");
    assert_string_equal(tm_text_nearest("a", same, 2), "ab"); /* a tie: the first */
    assert_null(tm_text_nearest("learning_rate", names, 5));
    assert_null(tm_text_nearest("x", names, 5));
    assert_null(tm_text_nearest("", names, 5));
    assert_null(tm_text_nearest("top_p", &none, 0));
    assert_null(tm_text_nearest("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                names, 5));
}

static void test_bytes(void **state) {
    char out[16];
    (void)state;
    assert_string_equal(tm_text_bytes(0, out), "0 B");
    assert_string_equal(tm_text_bytes(999, out), "999 B");
    assert_string_equal(tm_text_bytes(999.6, out), "1.0 kB");
    assert_string_equal(tm_text_bytes(1200000, out), "1.2 MB");
    assert_string_equal(tm_text_bytes(340000, out), "340 kB");
    assert_string_equal(tm_text_bytes(9.96e9, out), "10 GB");
    assert_string_equal(tm_text_bytes(1e15, out), "1.0 PB");
    assert_string_equal(tm_text_bytes(NAN, out), "?");
    assert_string_equal(tm_text_bytes(-1, out), "?");
    assert_string_equal(tm_text_bytes(INFINITY, out), "?");
}

static void test_durations(void **state) {
    char out[16];
    (void)state;
    assert_string_equal(tm_text_duration(0, out), "0 us");
    assert_string_equal(tm_text_duration(0.000052, out), "52 us");
    assert_string_equal(tm_text_duration(0.045, out), "45 ms");
    assert_string_equal(tm_text_duration(0.9996, out), "1.0 s");
    assert_string_equal(tm_text_duration(1.2, out), "1.2 s");
    assert_string_equal(tm_text_duration(12, out), "12 s");
    assert_string_equal(tm_text_duration(59.6, out), "1m00s");
    assert_string_equal(tm_text_duration(220, out), "3m40s");
    assert_string_equal(tm_text_duration(7500, out), "2h05m");
    assert_string_equal(tm_text_duration(3.6e8, out), "100000h00m");
    assert_string_equal(tm_text_duration(INFINITY, out), "?");
    assert_string_equal(tm_text_duration(-1, out), "?");
    assert_string_equal(tm_text_duration(NAN, out), "?");
}

static void test_utf8(void **state) {
    static const struct {
        const char *text;
        size_t length, bad; /* bad == length: valid */
    } cases[] = {
        {"", 0, 0},
        {"abc\0d", 5, 5},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, 9},
        {"a\x80", 2, 1},
        {"a\xc3", 2, 1},
        {"\xc1\xbf", 2, 0},
        {"\xe0\x9f\xbf", 3, 0},
        {"\xed\x9f\xbf\xed\xa0\x80", 6, 3},
        {"\xee\x80\x80", 3, 3},
        {"\xf0\x8f\xbf\xbf", 4, 0},
        {"\xf4\x8f\xbf\xbf", 4, 4},
        {"\xf4\x90\x80\x80", 4, 0},
        {"\xf5\x80\x80\x80", 4, 0},
        {"\xff", 1, 0},
        {"\xe2\x82", 2, 0},
    };
    size_t i;
    (void)state;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t bad = cases[i].length;
        assert_int_equal(tm_text_utf8(cases[i].text, cases[i].length, &bad), cases[i].bad == cases[i].length);
        assert_int_equal(bad, cases[i].bad);
    }
    assert_false(tm_text_utf8("\xff", 1, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nearest), cmocka_unit_test(test_bytes),
                                       cmocka_unit_test(test_durations), cmocka_unit_test(test_utf8)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What an answer's bytes become: valid UTF-8, an unfinished character at the end dropped, broken bytes shown. */
#include "../../plugins/native/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void check(const char *bytes, const char *expected) {
    size_t length = 0;
    char *text = native_valid_text(bytes, strlen(bytes), &length);
    assert_string_equal(text, expected);
    assert_int_equal(length, strlen(expected));
    free(text);
}

#define BROKEN "\xEF\xBF\xBD"

static void texts_become_valid(void **state) {
    (void)state;
    check("", "");
    check("plain", "plain");
    check("\xC3\xA9t\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80",
          "\xC3\xA9t\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80");
    check("a\xC3", "a"); /* cut by the limit */
    check("a\xE2\x82", "a");
    check("a\xF0\x9F\x98", "a");
    check("a\xC3z", "a" BROKEN "z"); /* broken, not cut */
    check("\x80z", BROKEN "z");
    check("\xC0\x80", BROKEN BROKEN); /* overlong */
    check("\xE0\x80\x80", BROKEN BROKEN BROKEN);
    check("\xED\xA0\x80", BROKEN BROKEN BROKEN); /* a surrogate */
    check("\xF4\x90\x80\x80", BROKEN BROKEN BROKEN BROKEN);
    check("\xF5", BROKEN);
    check("\xF4\x8F\xBF\xBF\xED\x9F\xBF", "\xF4\x8F\xBF\xBF\xED\x9F\xBF");
}

static void pieces_end_between_characters(void **state) {
    (void)state;
    assert_int_equal(native_whole_characters("abc", 3), 3);
    assert_int_equal(native_whole_characters("ab\xE2\x82", 4), 2);
    assert_int_equal(native_whole_characters("ab\xE2\x82\xAC", 5), 5);
    assert_int_equal(native_whole_characters("\xF0\x9F", 2), 0);
    assert_int_equal(native_whole_characters("\xFF", 1), 1);
    assert_int_equal(native_whole_characters("\xE2x", 2), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_become_valid),
        cmocka_unit_test(pieces_end_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

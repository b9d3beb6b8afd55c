/* test_buffer.c: bytes that grow: always 0-terminated, and a refused size is remembered. */
#include "base/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_growth(void **state) {
    tm_buffer buffer = TM_BUFFER_INIT;
    size_t i;
    (void)state;
    tm_buffer_text(&buffer, "");
    assert_string_equal(buffer.data, "");
    for (i = 0; i < 10000; i++) {
        tm_buffer_byte(&buffer, (char)('a' + i % 26));
        assert_int_equal(buffer.data[buffer.length], 0);
    }
    assert_int_equal(buffer.length, 10000);
    for (i = 0; i < 10000; i++) {
        assert_int_equal(buffer.data[i], 'a' + i % 26);
    }
    tm_buffer_clear(&buffer);
    assert_string_equal(buffer.data, "");
    tm_buffer_append(&buffer, "a\0b", 3);
    tm_buffer_append(&buffer, NULL, 0);
    assert_int_equal(buffer.length, 3);
    assert_memory_equal(buffer.data, "a\0b", 4);
    tm_buffer_clear(&buffer);
    for (i = 0; i < 100; i++) {
        tm_buffer_format(&buffer, "%zu,%s;", i, "text");
    }
    assert_int_equal(buffer.length, 10 * 7 + 90 * 8);
    assert_int_equal(strncmp(buffer.data, "0,text;1,text;", 14), 0);
    assert_true(tm_buffer_ok(&buffer));
    tm_buffer_free(&buffer);
    assert_null(buffer.data);
}

static void test_failure_is_sticky(void **state) {
    tm_buffer buffer = TM_BUFFER_INIT;
    (void)state;
    tm_buffer_text(&buffer, "kept");
    assert_false(tm_buffer_reserve(&buffer, SIZE_MAX));
    tm_buffer_text(&buffer, "more");
    assert_false(tm_buffer_ok(&buffer));
    assert_string_equal(buffer.data, "kept");
    tm_buffer_clear(&buffer);
    tm_buffer_text(&buffer, "again");
    assert_true(tm_buffer_ok(&buffer));
    assert_string_equal(buffer.data, "again");
    tm_buffer_free(&buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_growth),
                                       cmocka_unit_test(test_failure_is_sticky)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

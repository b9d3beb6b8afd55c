/* test_json.c: the parser's refusals, canonical text, numbers that keep their digits, and building. */
#include "base/file.h"
#include "base/json.h"
#include <temper/rng.h>

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static temper_arena *arena;

static int set_up(void **state) {
    (void)state;
    arena = tm_arena_new();
    return arena == NULL ? -1 : 0;
}

static int tear_down(void **state) {
    (void)state;
    tm_arena_free(arena);
    return 0;
}

static const temper_json *parse(const char *text) {
    temper_error error = TEMPER_ERROR_INIT;
    const temper_json *value = NULL;
    if (tm_json_parse(arena, text, strlen(text), &value, &error) != TEMPER_OK) {
        fail_msg("'%s': %s", text, error.message);
    }
    return value;
}

static const char *canonical(const temper_json *value) {
    size_t length;
    const char *text = tm_json_api.write(arena, value, &length);
    assert_non_null(text);
    return text;
}

static void test_canonical(void **state) {
    static const char *const pairs[][2] = {
        {" { \"b\" : 1 , \"a\" : [ true , false , null ] } ", "{\"a\":[true,false,null],\"b\":1}"},
        {"{\"\\u00e9\":1,\"z\":2,\"e\":3,\"\":4}", "{\"\":4,\"e\":3,\"z\":2,\"\xc3\xa9\":1}"},
        {"\"\\u0041\\/\\u007f\\n\\u001f\\b\\f\\t\\r\\\"\\\\\"", "\"A/\x7f\\n\\u001f\\b\\f\\t\\r\\\"\\\\\""},
        {"\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\""},
        {"[\"a\\u0000b\"]", "[\"a\\u0000b\"]"},
        {"[1.10,1e3,-0,-0.0,12345678901234567890,0.1E+2]", "[1.10,1e3,-0,-0.0,12345678901234567890,0.1E+2]"},
        {"[ ]", "[]"},
        {"{ }", "{}"},
        {"[[],{},[{}]]", "[[],{},[{}]]"},
        {"-1", "-1"},
        {"{\"a,]\\\"}\":[{\"b\\\\\":1.0}, 2.50]}", "{\"a,]\\\"}\":[{\"b\\\\\":1.0},2.50]}"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const char *text = canonical(parse(pairs[i][0]));
        assert_string_equal(text, pairs[i][1]);
        assert_string_equal(canonical(parse(text)), text);
    }
}

static void test_refused(void **state) {
    static const char *const bad[] = {
        "",
        " ",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "'a'",
        "[01]",
        "[+1]",
        "[1.]",
        "[.5]",
        "[NaN]",
        "[1e]",
        "nul",
        "truE",
        "1 2",
        "[1] x",
        "[-]",
        "\"a",
        "\"\\x41\"",
        "\"\t\"",
        "[1",
        "{\"a\"",
        "[1e999]",
        "{\"a\":1,\"a\":1}",
        "{\"a\":{\"b\":1,\"\\u0062\":2}}",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "{\"\\u0000\":1}",
        "\xef\xbb\xbf{}",
        "[1]//",
        "/**/1",
        "\"\\u12\"",
        "{\"a\" 1}",
        "[1 2]",
        "}",
        "]",
    };
    size_t i;
    (void)state;
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        temper_error error = TEMPER_ERROR_INIT;
        const temper_json *value = NULL;
        if (tm_json_parse(arena, bad[i], strlen(bad[i]), &value, &error) != TEMPER_INVALID) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_true(strlen(error.message) > 0);
        assert_null(value);
    }
    { /* a zero byte is no white space */
        const temper_json *value;
        assert_int_equal(tm_json_parse(arena, "1\0", 2, &value, NULL), TEMPER_INVALID);
        assert_int_equal(tm_json_parse(arena, "\"\0\"", 3, &value, NULL), TEMPER_INVALID);
    }
}

static void test_depth(void **state) {
    enum { LIMIT = 512 };
    static char text[200001];
    const temper_json *value;
    temper_json *inner, *outer;
    size_t i;
    (void)state;
    memset(text, '[', LIMIT);
    memset(text + LIMIT, ']', LIMIT);
    assert_int_equal(tm_json_parse(arena, text, 2 * LIMIT, &value, NULL), TEMPER_OK);
    assert_int_equal(strlen(canonical(value)), 2 * LIMIT);
    memset(text, '[', LIMIT + 1);
    memset(text + LIMIT + 1, ']', LIMIT + 1);
    assert_int_equal(tm_json_parse(arena, text, 2 * LIMIT + 2, &value, NULL), TEMPER_INVALID);
    memset(text, '[', 200000);
    assert_int_equal(tm_json_parse(arena, text, 200000, &value, NULL), TEMPER_INVALID);
    text[0] = '"'; /* brackets in a string are text */
    text[199999] = '"';
    assert_int_equal(tm_json_parse(arena, text, 200000, &value, NULL), TEMPER_OK);
    inner = tm_json_array(arena);
    for (i = 0; i < LIMIT; i++) {
        outer = tm_json_array(arena);
        assert_true(tm_json_append(arena, outer, inner));
        inner = outer;
    }
    assert_null(tm_json_api.write(arena, inner, NULL)); /* could not be read back */
    assert_true(tm_json_append(arena, inner, inner));
    assert_null(tm_json_api.write(arena, inner, NULL));
}

static void test_numbers(void **state) {
    static const struct {
        double number;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {0.1, "0.1"},
        {1e-7, "1e-07"},
        {1e15, "1000000000000000"},
        {9007199254740991, "9007199254740991"},
        {9007199254740992, "9007199254740992"},
        {1e21, "1e+21"},
        {0.3, "0.3"},
        {0.1 + 0.2, "0.30000000000000004"},
        {5e-324, "5e-324"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {5.684341886080802e-14,
         "5.684341886080802e-14"}, /* 2^-44: %.16g does not read back, its neighbour does */
        {-123.456, "-123.456"},
        {1e100, "1e+100"},
        {0.0001, "0.0001"},
        {0.00001, "1e-05"},
    };
    char text[32];
    uint64_t i;
    (void)state;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(tm_json_number(cases[i].number, text), strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
    }
    for (i = 0; i < 200000; i++) { /* every bit pattern reads back, with no text of fewer digits that would */
        uint64_t bits = temper_random(7, 0, i), again_bits;
        double number, again;
        char fewer[40];
        int digits = 0;
        const char *at;
        memcpy(&number, &bits, sizeof number);
        if (!isfinite(number)) {
            continue;
        }
        tm_json_number(number, text);
        again = strtod(text, NULL);
        memcpy(&again_bits, &again, sizeof again_bits);
        assert_true(bits == again_bits);
        for (at = text; *at != 0 && *at != 'e'; at++) {
            digits += *at >= '0' && *at <= '9';
        }
        if (digits > 1 && strchr(text, 'e') != NULL) {
            snprintf(fewer, sizeof fewer, "%.*e", digits - 2, number);
            assert_true(strtod(fewer, NULL) != number);
        }
    }
}

static void test_integers(void **state) {
    static const struct {
        const char *text;
        bool integer;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"-9223372036854775808", true, INT64_MIN},
        {"-9223372036854775809", false, 0},
        {"18446744073709551616", false, 0},
        {"99999999999999999999999999", false, 0},
        {"1.0", true, 1},
        {"1e3", true, 1000},
        {"1.5", false, 0},
        {"1e300", false, 0},
        {"9007199254740993.0", true, 9007199254740992},
        {"9007199254740994.0", false, 0},
        {"true", false, 0},
        {"\"1\"", false, 0},
    };
    size_t i;
    (void)state;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t value = 77;
        if (tm_json_integer(parse(cases[i].text), &value) != cases[i].integer) {
            fail_msg("%s", cases[i].text);
        }
        assert_true(value == (cases[i].integer ? cases[i].value : 77));
    }
    {
        double number;
        assert_true(tm_json_double(parse("12345678901234567890"), &number));
        assert_true(number == 12345678901234567890.0);
    }
}

/* A locale with a decimal comma: one that is installed, else one made for this test. */
static bool set_comma_locale(void) {
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "nl_NL.UTF-8", "de_DE"};
    char folder[] = "/tmp/temper-locale-XXXXXX", command[256];
    bool found = false;
    size_t i;
    for (i = 0; i < sizeof names / sizeof names[0] && !found; i++) {
        found = setlocale(LC_ALL, names[i]) != NULL && strcmp(localeconv()->decimal_point, ",") == 0;
    }
    if (!found && mkdtemp(folder) != NULL) {
        snprintf(command, sizeof command, "localedef -c -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1",
                 folder);
        if (system(command) >= 0) {
            setenv("LOCPATH", folder, 1);
            found = setlocale(LC_ALL, "de_DE.UTF-8") != NULL && strcmp(localeconv()->decimal_point, ",") == 0;
            unsetenv("LOCPATH");
        }
        tm_folder_remove(folder, NULL);
    }
    return found;
}

/* A library that sets a locale must not change what numbers look like, or whether they parse. */
static void test_locale(void **state) {
    char text[32];
    double number;
    (void)state;
    if (!set_comma_locale()) {
        print_message("skipped: no locale with a decimal comma, and none can be made\n");
        skip();
    }
    snprintf(text, sizeof text, "%.1f", 1.5);
    assert_string_equal(text, "1,5"); /* so it is for everybody else */
    tm_json_number(1.5, text);
    assert_string_equal(text, "1.5");
    assert_string_equal(canonical(tm_json_new_number(arena, 1e-7)), "1e-07");
    assert_true(tm_json_double(tm_json_element(parse("[2.25]"), 0), &number));
    assert_true(number == 2.25);
    assert_string_equal(canonical(parse("[2.250]")), "[2.250]");
    assert_string_equal(localeconv()->decimal_point, ","); /* and we left it as it was */
    setlocale(LC_ALL, "C");
}

static void test_building(void **state) {
    temper_json *object = tm_json_object(arena), *array = tm_json_array(arena), *copy;
    const temper_json *value;
    int64_t integer;
    bool boolean;
    size_t length, i;
    (void)state;
    assert_true(tm_json_set_string(arena, object, "text", "a"));
    assert_true(tm_json_set_integer(arena, object, "count", INT64_MIN));
    assert_true(tm_json_set_number(arena, object, "rate", 0.25));
    assert_true(tm_json_set_boolean(arena, object, "kept", true));
    assert_true(tm_json_append_string(arena, array, "x"));
    assert_true(tm_json_append(arena, array, tm_json_new_null(arena)));
    assert_true(tm_json_set(arena, object, "list", array));
    assert_true(tm_json_set_string(arena, object, "text", "b")); /* replaces */
    assert_string_equal(canonical(object),
                        "{\"count\":-9223372036854775808,\"kept\":true,\"list\":[\"x\",null],"
                        "\"rate\":0.25,\"text\":\"b\"}");
    copy = tm_json_copy_object(arena, object);
    assert_true(tm_json_set_boolean(arena, copy, "aaa", false));
    assert_int_equal(tm_json_length(copy), tm_json_length(object) + 1);
    assert_null(tm_json_member(object, "aaa"));
    assert_true(tm_json_boolean(tm_json_member(object, "kept"), &boolean) && boolean);
    assert_true(tm_json_integer(tm_json_member(object, "count"), &integer) && integer == INT64_MIN);
    assert_string_equal(tm_json_name(object, 0, &value), "count");
    assert_null(tm_json_name(object, 5, &value));
    assert_null(value);
    assert_string_equal(tm_json_string(tm_json_element(array, 0), &length), "x");
    assert_int_equal(length, 1);
    assert_null(tm_json_element(array, 2));
    /* what is refused */
    assert_false(tm_json_set_number(arena, object, "bad", NAN));
    assert_false(tm_json_set_number(arena, object, "bad", INFINITY));
    assert_false(tm_json_set_string(arena, object, "bad", "\xff"));
    assert_false(tm_json_set_string(arena, object, "\xff", "bad"));
    assert_false(tm_json_set_string(arena, object, "bad", NULL));
    assert_false(tm_json_set(arena, array, "bad", array));
    assert_false(tm_json_append(arena, object, array));
    assert_null(tm_json_copy_object(arena, array));
    assert_null(tm_json_member(object, "bad"));
    /* NULL answers as null */
    assert_int_equal(tm_json_kind(NULL), TEMPER_JSON_NULL);
    assert_null(tm_json_member(NULL, "a"));
    assert_null(tm_json_element(NULL, 0));
    assert_int_equal(tm_json_length(NULL), 0);
    assert_string_equal(tm_json_text(NULL, "fallback"), "fallback");
    assert_false(tm_json_integer(NULL, &integer));
    for (i = 0; i < 1000; i++) { /* in an order that is not that of the bytes */
        char name[16];
        snprintf(name, sizeof name, "n%zu", (i * 617) % 1000);
        assert_true(tm_json_set_integer(arena, copy, name, (int64_t)i));
    }
    for (i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%zu", (i * 617) % 1000);
        assert_true(tm_json_integer(tm_json_member(copy, name), &integer) && integer == (int64_t)i);
    }
    assert_true(tm_json_equal(parse("{\"a\":1,\"b\":2}"), parse("{\"b\":2, \"a\":1}")));
    assert_false(tm_json_equal(parse("1"), parse("1.0"))); /* a number keeps its text */
}

static void test_many_members(void **state) {
    tm_buffer text = TM_BUFFER_INIT;
    const temper_json *value;
    int64_t integer;
    size_t i;
    (void)state;
    tm_buffer_byte(&text, '{');
    for (i = 0; i < 50000; i++) {
        tm_buffer_format(&text, "%s\"t%zu\":%zu", i > 0 ? ", " : "", (i * 7919) % 50000, i);
    }
    tm_buffer_byte(&text, '}');
    assert_true(tm_buffer_ok(&text));
    assert_int_equal(tm_json_parse(arena, text.data, text.length, &value, NULL), TEMPER_OK);
    assert_int_equal(tm_json_length(value), 50000);
    for (i = 0; i < 50000; i += 97) {
        char name[16];
        snprintf(name, sizeof name, "t%zu", (i * 7919) % 50000);
        assert_true(tm_json_integer(tm_json_member(value, name), &integer) && integer == (int64_t)i);
    }
    tm_buffer_free(&text);
}

static void test_arena(void **state) {
    temper_arena *own = tm_arena_new();
    size_t i;
    (void)state;
    for (i = 0; i < 5000; i++) {
        size_t bytes = (size_t)temper_random_below(1, 0, i, i % 100 == 0 ? 300000 : 300);
        char *memory = tm_arena_allocate(own, bytes);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 16, 0);
        memset(memory, (int)i, bytes);
    }
    assert_null(tm_arena_allocate(own, SIZE_MAX));
    assert_null(tm_arena_allocate(own, SIZE_MAX / 2));
    assert_string_equal(tm_arena_format(own, "%d-%s", 5, "x"), "5-x");
    assert_string_equal(tm_arena_copy(own, "abc", 2), "ab");
    tm_arena_free(own);
    tm_arena_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical), cmocka_unit_test(test_refused),      cmocka_unit_test(test_depth),
        cmocka_unit_test(test_numbers),   cmocka_unit_test(test_integers),     cmocka_unit_test(test_locale),
        cmocka_unit_test(test_building),  cmocka_unit_test(test_many_members), cmocka_unit_test(test_arena),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

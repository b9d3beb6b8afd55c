/* test_split.c: the patterns cut by hand against the same patterns in PCRE2, the table of classes against its
 * properties, and translations of Oniguruma's escapes. */
#include "../support/cmocka_all.h"

#include "tokenizer/internal.h"

#include <temper/rng.h>

static const char gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char llama3[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                             "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char qwen2[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                            "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static lm_regex *compile(const char *pattern) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_regex *regex;
    if (lm_regex_compile(pattern, strlen(pattern), &regex, &error)) {
        fail_msg("%s", error.message);
    }
    return regex;
}

static const char *const parts[] = {
    "a",
    "B",
    "\xC3\xA9",
    "\xE4\xB8\xAD",
    "\xD0\x96",
    "1",
    "22",
    "\xC2\xBD",
    "\xD9\xA3",
    "'",
    "'s",
    "'S",
    "'ll",
    "'Re",
    "'\xC5\xBF",
    "'vE",
    "'x",
    " ",
    "  ",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\xC2\xA0",
    "\xE2\x80\xA8",
    "\xE3\x80\x80",
    "\xE1\xA0\x8E",
    "\xC2\x85",
    "!",
    "?!",
    "_",
    "\xF0\x9F\x98\x80",
    "\xCC\x81",
    "\xE2\x80\x8D",
    "\x01",
    "\x7F",
    "/",
    "<|x|>",
    "don't",
    "we'VE",
    " it",
};

static size_t make_text(uint64_t number, char *out) {
    size_t length = 0;
    uint64_t draws = 0, count = temper_random_below(7, number, draws++, 24);
    for (uint64_t i = 0; i < count; i++) {
        const char *part = parts[temper_random_below(7, number, draws++, sizeof parts / sizeof *parts)];
        memcpy(out + length, part, strlen(part));
        length += strlen(part);
    }
    return length;
}

static void check_pattern(const char *pattern, lm_cut_kind kind) {
    enum { TEXTS = 60000 };
    lm_regex *regex = compile(pattern);
    lm_regex_work work = {0};
    temper_error error = TEMPER_ERROR_INIT;
    char text[512];
    assert_int_equal(lm_split_known(pattern, strlen(pattern)), kind);
    for (uint64_t number = 0; number < TEXTS; number++) {
        size_t length = make_text(number, text), segment = 0;
        for (size_t at = 0, start, end; at < length; at = end) {
            bool found;
            assert_int_equal(lm_regex_next(regex, &work, text, length, at, &found, &start, &end, &error),
                             TEMPER_OK);
            size_t hand = lm_split_next(kind, text, length, at, &segment);
            if (!found || start != at || hand != end) {
                fail_msg("text %llu, \"%.*s\", from %zu: by hand to %zu, PCRE2 %zu to %zu",
                         (unsigned long long)number, (int)length, text, at, hand, start, end);
            }
        }
    }
    lm_regex_work_free(&work);
    lm_regex_free(regex);
}

static void test_gpt2(void **state) {
    (void)state;
    check_pattern(gpt2, LM_CUT_GPT2);
}

static void test_llama3(void **state) {
    (void)state;
    check_pattern(llama3, LM_CUT_LLAMA3);
}

static void test_qwen2(void **state) {
    (void)state;
    check_pattern(qwen2, LM_CUT_QWEN2);
}

static size_t encode(uint32_t code, char *out) {
    size_t size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = size; i-- > 1; code >>= 6) {
        out[i] = (char)(0x80 | (code & 63));
    }
    out[0] = (char)(size == 1 ? code : (0xF00u >> size & 0xF0u) | code);
    return size;
}

/* All code points in one text, each class's runs in it. */
static void check_class(const char *pattern, lm_class class) {
    lm_regex *regex = compile(pattern);
    lm_regex_work work = {0};
    temper_error error = TEMPER_ERROR_INIT;
    char *text = malloc(4 * 0x110000);
    uint8_t *is = calloc(1, 4 * 0x110000);
    size_t length = 0, at = 0, start, end;
    bool found = true;
    for (uint32_t code = 1; code < 0x110000; code++) {
        if (code < 0xD800 || code > 0xDFFF) {
            size_t size = encode(code, text + length);
            memset(is + length, lm_class_of(code) == class, size);
            length += size;
        }
    }
    while (found) {
        assert_int_equal(lm_regex_next(regex, &work, text, length, at, &found, &start, &end, &error),
                         TEMPER_OK);
        size_t stop = found ? start : length;
        if (memchr(is + at, 1, stop - at) != NULL) {
            fail_msg("%s: PCRE2 has fewer, near byte %zu", pattern, at);
        }
        if (found && memchr(is + start, 0, end - start) != NULL) {
            fail_msg("%s: PCRE2 has more, near byte %zu", pattern, start);
        }
        at = end;
    }
    free(text);
    free(is);
    lm_regex_work_free(&work);
    lm_regex_free(regex);
}

static void test_classes(void **state) {
    (void)state;
    check_class("\\p{L}+", LM_CLASS_LETTER);
    check_class("\\p{N}+", LM_CLASS_NUMBER);
    check_class("\\s+", LM_CLASS_SPACE);
}

static void check_match(const char *pattern, const char *text, size_t from, size_t to) {
    lm_regex *regex = compile(pattern);
    lm_regex_work work = {0};
    size_t start = 0, end = 0;
    bool found;
    assert_int_equal(lm_regex_next(regex, &work, text, strlen(text), 0, &found, &start, &end, NULL),
                     TEMPER_OK);
    if (!found || start != from || end != to) {
        fail_msg("%s in \"%s\": %d, %zu to %zu", pattern, text, found, start, end);
    }
    lm_regex_work_free(&work);
    lm_regex_free(regex);
}

static void test_translation(void **state) {
    (void)state;
    check_match("\\h+", "xyzAf9", 3, 6);
    check_match("\\w+", "- e\xCC\x81_", 2, 6);
    check_match("[^\\s]+", " \xE1\xA0\x8E ", 1, 4); /* U+180E is no white space */
    check_match("[]a]+", "x]a", 1, 3);
    check_match("x*", "ayxx", 2, 4); /* empty matches are none */
    check_match(".+",
                "\xFF"
                "ab\xFF",
                1, 3);
}

/* A hostile pattern ends in an error or a match, in bounded time. */
static void test_limits(void **state) {
    lm_regex *regex = compile("(?:a|a)+(?:a|a)+(?:a|a)+b");
    lm_regex_work work = {0};
    temper_error error = TEMPER_ERROR_INIT;
    char text[2000];
    size_t start, end;
    bool found;
    (void)state;
    memset(text, 'a', sizeof text);
    temper_status status = lm_regex_next(regex, &work, text, sizeof text, 0, &found, &start, &end, &error);
    assert_true(status == TEMPER_INVALID ? strstr(error.message, "pattern") != NULL : status == TEMPER_OK);
    lm_regex_work_free(&work);
    lm_regex_free(regex);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2),    cmocka_unit_test(test_llama3),      cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_classes), cmocka_unit_test(test_translation), cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

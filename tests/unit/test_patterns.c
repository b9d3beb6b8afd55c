/* test_patterns.c: a phrase list finds the same with Vectorscan looking first as without, whatever the text: words cut and joined,
 * white space and marks of every kind, letters of other scripts and those that fold to ASCII. */
#include "patterns.h"

#include "support/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void *plain_reallocate(const temper_host *host, void *block, size_t bytes) {
    (void)host;
    return realloc(block, bytes);
}

static void *plain_allocate(const temper_host *host, size_t bytes) {
    (void)host;
    return malloc(bytes);
}

static void plain_release(const temper_host *host, void *block) {
    (void)host;
    free(block);
}

static uint32_t workers(const temper_host *host) {
    (void)host;
    return 1;
}

static const temper_host plain = {.size = sizeof plain,
                                  .allocate = plain_allocate,
                                  .reallocate = plain_reallocate,
                                  .release = plain_release,
                                  .workers = workers};

static const char list[] = "@rule one drop\n"
                           "as an AI\n"
                           "don't know\n"
                           "caf\xC3\xA9 noir\n"
                           "\xD0\xBA\xD0\xB0\xD0\xBA \xD0\xB4\xD0\xB5\xD0\xBB\xD0\xB0\n" /* как дела */
                           "well-known\n"
                           "C++\n"
                           "@rule two drop case\n"
                           "I am OK\n"
                           "@rule three drop inside\n"
                           "skiss\n"
                           "@rule four drop\n"
                           "@regex \\bas an? (?:ai|bot)\\b\n"
                           "@rule five drop\n"
                           "@regex ^\\W*sure[!.]\n"
                           "@rule six drop\n"
                           "@regex kiss(?=\\s|$)\n"
                           "@rule seven drop\n"
                           "@regex \\b\\w{4}\\b\\s+noir\n"
                           "@rule eight drop case\n"
                           "@regex [^\\w ]\\bAI\n"
                           "@rule nine drop\n"
                           "@regex (?<!not )known\\b(?! to)\n"
                           "@rule ten drop\n"
                           "@regex an\\b.\\bai\n"
                           "@rule eleven drop\n"
                           "@regex [\\d\\s]{2}ok\n";

static const char *const pieces[] = {"as a bot",
                                     "as an ai",
                                     "caf noir",
                                     "1 ok",
                                     "an ai",
                                     "known",
                                     "as",
                                     "an",
                                     "AI",
                                     "ai",
                                     "a",
                                     "bot",
                                     "don't",
                                     "don\xE2\x80\x99t",
                                     "know",
                                     "known",
                                     "caf\xC3\xA9",
                                     "CAF\xC3\x89",
                                     "noir",
                                     "\xD0\x9A\xD0\xB0\xD0\xBA",
                                     "\xD0\xB4\xD0\xB5\xD0\x9B\xD0\xB0",
                                     "well",
                                     "-",
                                     "\xE2\x80\x91",
                                     "well-known",
                                     "C++",
                                     "I am OK",
                                     "i am ok",
                                     "I am",
                                     "OK",
                                     "ski\xC5\xBFs",
                                     "\xE2\x84\xAAiss",
                                     "kiss",
                                     "skiss",
                                     "Sure!",
                                     "sure.",
                                     "not known to",
                                     "x",
                                     "\xC3\xA9",
                                     "\xE3\x81\x82",
                                     "1",
                                     "\xD9\xA1\xD9\xA2",
                                     "_",
                                     "not"};
static const char *const gaps[] = {
    " ", " ", " ",  " ",        " ", "  ", "\n", "\n\n", "\t", "\xC2\xA0", "\xE2\x80\x83 ",
    "",  ",", ". ", "\r\n  \t "};

static uint64_t random_state = 5;
static uint32_t below(uint32_t bound) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((random_state >> 33) % bound);
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void vectorscan_overlooks_nothing(void **state) {
    temper_pool *pool = temper_pool_new(&plain);
    temper_error error = TEMPER_ERROR_INIT;
    filter_patterns *patterns = NULL;
    size_t found[16] = {0}, named = 0, possible = 0;
    int round;
    (void)state;
    if (filter_patterns_new(&plain, pool, temper_span_of(list), true, true, false, &patterns, &error)) {
        fail_msg("%s", error.message);
    }
    for (round = 0; round < 40000; round++) {
        char text[2048] = "";
        size_t words = 1 + below(round % 10 == 0 ? 60 : 8), i;
        filter_candidates candidates;
        temper_span span = {text, 0};
        for (i = 0; i < words; i++) {
            strcat(text, pieces[below(COUNT(pieces))]);
            strcat(text, gaps[below(COUNT(gaps))]);
        }
        span.length = strlen(text);
        assert_true(filter_patterns_look(patterns, 0, span, &candidates));
        for (i = 0; i < filter_patterns_count(patterns); i++) {
            bool failed = false, candidate = (candidates.bits[i / 64] >> (i % 64) & 1) != 0;
            filter_hit hit;
            if (filter_patterns_find(patterns, 0, i, span, 0, &hit, &failed)) {
                found[i]++;
                assert_true(hit.length > 0 && hit.start + hit.length <= span.length);
                if (!candidate) {
                    fail_msg("rule %s finds \"%.*s\", which was overlooked in \"%s\"",
                             filter_patterns_rule(patterns, i)->name, (int)hit.length, text + hit.start,
                             text);
                }
            }
            named += candidate;
            possible++;
            assert_false(failed);
        }
    }
    for (round = 0; round < (int)filter_patterns_count(patterns); round++) {
        if (found[round] < 20) {
            fail_msg("rule %s was found %zu times only", filter_patterns_rule(patterns, (size_t)round)->name,
                     found[round]);
        }
    }
    if (filter_patterns_scanned(patterns)) {
        assert_true(named < possible / 2); /* or looking first would be for nothing */
    }
    filter_patterns_free(patterns);
    temper_pool_free(pool);
}

static void sentences(void **state) {
    static const struct {
        const char *text;
        size_t at, start, end;
    } cases[] = {{"One. Two! Three", 0, 0, 5},
                 {"One. Two! Three", 6, 5, 10},
                 {"One. Two! Three", 12, 10, 15},
                 {"It is 3.5 m. Yes", 6, 0, 13},
                 {"\"Go!\" he. No", 1, 0, 6},
                 {"a\nb c", 3, 2, 5},
                 {"\xE3\x81\x82\xE3\x80\x82\xE3\x81\x84", 6, 6, 9}};
    size_t i, start, end;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        filter_sentence(temper_span_of(cases[i].text), cases[i].at, &start, &end);
        if (start != cases[i].start || end != cases[i].end) {
            fail_msg("\"%s\" at %zu: %zu to %zu", cases[i].text, cases[i].at, start, end);
        }
    }
}

static void bad_lists_are_refused(void **state) {
    static const struct {
        const char *list, *words;
    } cases[] = {{"", "has no phrases"},
                 {"@rule a\n", "line 1: a rule's action"},
                 {"@rule a drop\n@rule a drop\n", "line 2: a rule of this name"},
                 {"@rule a drop\n@regex (\n", "line 2: at byte 2 of the expression"},
                 {"@rule a drop sideways\n", "line 1: behind the action"},
                 {"x\n@rule a drop\n", "line 1: this phrase belongs to no rule"},
                 {"@rule a drop\nx\n@yes y\n", "line 3: rule a finds nothing in this example"},
                 {"@rule a drop\nx\n@no x\n", "line 3: rule a finds something in this example"},
                 {"@what\n", "line 1"}};
    size_t i;
    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        temper_pool *pool = temper_pool_new(&plain);
        temper_error error = TEMPER_ERROR_INIT;
        filter_patterns *patterns = NULL;
        assert_int_equal(filter_patterns_new(&plain, pool, temper_span_of(cases[i].list), true, true, false,
                                             &patterns, &error),
                         TEMPER_INVALID);
        if (strstr(error.message, cases[i].words) == NULL) {
            fail_msg("\"%s\" lacks \"%s\"", error.message, cases[i].words);
        }
        filter_patterns_free(patterns);
        temper_pool_free(pool);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectorscan_overlooks_nothing),
                                       cmocka_unit_test(sentences), cmocka_unit_test(bad_lists_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_lists.c: the shipped phrase lists: their own examples, their precision and recall on lines labelled by hand
 * (lists/README.md), and what they find where the answer is known. The figures it prints stand in docs/filtering.md. */
#include "../support/assets.h"
#include "../support/cmocka_all.h"
#include "phrase_list.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shipped {
    const char *name;
    double precision, recall; /* floors */
} shipped;

static const shipped lists[] = {
    {"openers", 0.98, 0.85},  {"apologies", 0.95, 0.95}, {"refusals", 0.93, 0.95},
    {"identity", 0.95, 0.93}, {"hedges", 0.95, 0.90},    {"assistant-isms", 0.95, 0.75},
};
enum { LISTS = sizeof lists / sizeof *lists };

static phrase_list *open_list(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "recipes/phrases/%s.txt", name);
    return phrase_list_read(path);
}

static void test_examples(void **state) {
    size_t i, wrong = 0, bare = 0;
    (void)state;
    for (i = 0; i < LISTS; i++) {
        phrase_list *list = open_list(lists[i].name);
        size_t examples;
        wrong += phrase_list_check(list, &examples);
        bare += phrase_list_bare(list);
        assert_true(examples >= 6);
        phrase_list_free(list);
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(bare, 0);
}

static void measure(const shipped *of) {
    phrase_list *list = open_list(of->name);
    size_t found_right = 0, found = 0, labelled = 0, all = 0, room = 0;
    char path[256], *line = NULL;
    double precision, recall;
    FILE *file;
    snprintf(path, sizeof path, "tests/recipes/lists/%s.jsonl", of->name);
    file = fopen(path, "r");
    assert_non_null(file);
    while (getline(&line, &room, file) >= 0) {
        json_t *row = json_loads(line, 0, NULL);
        bool is = json_is_true(json_object_get(row, "is"));
        bool hit = phrase_list_finds(list, json_string_value(json_object_get(row, "response")), NULL);
        labelled += is;
        found += hit;
        found_right += hit && is;
        all++;
        json_decref(row);
    }
    free(line);
    fclose(file);
    phrase_list_free(list);
    assert_true(all >= 200 && labelled >= 100 && all - labelled >= 80);
    precision = (double)found_right / (double)found;
    recall = (double)found_right / (double)labelled;
    printf("%-16s %4zu lines, %3zu of them so: precision %.3f, recall %.3f\n", of->name, all, labelled,
           precision, recall);
    if (precision < of->precision || recall < of->recall) {
        fail_msg("%s: precision %.3f (at least %.3f), recall %.3f (at least %.3f)", of->name, precision,
                 of->precision, recall, of->recall);
    }
}

static void test_precision_and_recall(void **state) {
    size_t i;
    (void)state;
    for (i = 0; i < LISTS; i++) {
        measure(&lists[i]);
    }
}

/* 864 completions of the RLHF book's library: 19 of 432 before and 9 of 432 after begin with Certainly, Sure, Of course or Absolutely. */
static void test_real_openings(void **state) {
    static const char *const words[] = {"Certainly", "Sure", "Of course", "Absolutely"};
    phrase_list *list;
    json_t *library, *pairs, *sides, *completions, *one;
    const char *prompt, *pair, *side;
    size_t index, w, total = 0, begins[2] = {0, 0}, found[2] = {0, 0}, both[2] = {0, 0};
    (void)state;
    if (asset_missing("data/rlhf-book/library.json")) {
        printf("skipped: no assets\n");
        skip();
    }
    library = json_load_file(asset_path("data/rlhf-book/library.json"), 0, NULL);
    assert_non_null(library);
    list = open_list("openers");
    json_object_foreach(json_object_get(library, "completions"), prompt, pairs) {
        json_object_foreach(pairs, pair, sides) {
            json_object_foreach(sides, side, completions) {
                int after = strcmp(side, "rlhf") == 0;
                json_array_foreach(completions, index, one) {
                    const char *text = json_string_value(json_object_get(one, "text")), *rule = NULL;
                    bool starts = false, hit = phrase_list_finds(list, text, &rule);
                    text += strspn(text, " \n\t");
                    for (w = 0; w < 4; w++) {
                        starts = starts || strncmp(text, words[w], strlen(words[w])) == 0;
                    }
                    total++;
                    begins[after] += starts;
                    found[after] += hit;
                    both[after] += starts && hit;
                }
            }
        }
    }
    printf("of %zu completions: %zu and %zu begin so; the list finds %zu and %zu of these, and %zu and %zu "
           "openings in all\n",
           total, begins[0], begins[1], both[0], both[1], found[0], found[1]);
    assert_int_equal(total, 864);
    assert_int_equal(begins[0], 19);
    assert_int_equal(begins[1], 9);
    assert_int_equal(both[0], 19);
    assert_int_equal(both[1], 9);
    phrase_list_free(list);
    json_decref(library);
}

/* Chats of a fish that was never an assistant: what a list finds there, it finds wrongly. */
static void test_no_false_alarms(void **state) {
    char *line = NULL;
    phrase_list *all[LISTS];
    size_t i, j, rows = 0, room = 0, alarms[LISTS] = {0};
    FILE *file;
    (void)state;
    if (asset_missing("data/guppylm/eval_openai.jsonl")) {
        printf("skipped: no assets\n");
        skip();
    }
    for (i = 0; i < LISTS; i++) {
        all[i] = open_list(lists[i].name);
    }
    file = fopen(asset_path("data/guppylm/eval_openai.jsonl"), "r");
    assert_non_null(file);
    while (getline(&line, &room, file) >= 0 && rows < 1000) {
        json_t *row = json_loads(line, 0, NULL), *message;
        json_array_foreach(json_object_get(row, "messages"), j, message) {
            for (i = 0;
                 i < LISTS && strcmp(json_string_value(json_object_get(message, "role")), "assistant") == 0;
                 i++) {
                alarms[i] +=
                    phrase_list_finds(all[i], json_string_value(json_object_get(message, "content")), NULL);
            }
        }
        rows++;
        json_decref(row);
    }
    free(line);
    fclose(file);
    for (i = 0; i < LISTS; i++) {
        printf("%-16s finds %zu in %zu chats of a fish\n", lists[i].name, alarms[i], rows);
        assert_true(alarms[i] * 100 <= rows);
        phrase_list_free(all[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_precision_and_recall),
        cmocka_unit_test(test_real_openings),
        cmocka_unit_test(test_no_false_alarms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

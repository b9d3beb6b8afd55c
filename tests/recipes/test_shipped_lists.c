/* test_shipped_lists.c: the shipped phrase lists, through the stage itself: it finds in each labelled line what the plain reader of
 * the tests finds there (phrase_list.h), so that the precision and recall that test_lists.c measures are the stage's. */
#include "program.h"

#include "phrase_list.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1000 };

/* Marks the rows that an output of the stage names by their number. */
static void take_numbers(program *p, const char *archive, const char *output, bool *found) {
    char command[256], *line;
    snprintf(command, sizeof command, "show %s phrases %s --json -n %d", archive, output, MOST);
    assert_int_equal(program_run(p, command), 0);
    assert_true(strlen(p->out) < sizeof p->out - 1);
    for (line = strtok(p->out, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        json_t *row = json_loads(line, 0, NULL);
        json_int_t number = json_integer_value(json_object_get(row, "number"));
        assert_true(number >= 1 && number <= MOST);
        found[number - 1] = true;
        json_decref(row);
    }
}

static void compare(program *p, const char *name) {
    char path[512], recipe[1024], *line = NULL, *archive;
    bool found[MOST] = {false};
    size_t room = 0, at = 0, hits = 0;
    FILE *file;
    phrase_list *list;
    snprintf(recipe, sizeof recipe,
             "local temper = require \"temper\"\nlocal filter = temper.plugin \"filter\"\n"
             "local out = filter.phrases { records = temper.records \"" TEST_SOURCE_FOLDER
             "/tests/recipes/lists/%s.jsonl\", phrases = temper.text \"" TEST_SOURCE_FOLDER
             "/recipes/phrases/%s.txt\" }\nreturn { kept = out.kept }\n",
             name, name);
    program_write(p, "list.lua", recipe);
    assert_int_equal(program_run(p, "run list.lua"), 0);
    archive = program_word(p, "archive");
    take_numbers(p, archive, "dropped", found);
    take_numbers(p, archive, "changed", found);
    snprintf(path, sizeof path, "recipes/phrases/%s.txt", name);
    list = phrase_list_read(path);
    snprintf(path, sizeof path, "tests/recipes/lists/%s.jsonl", name);
    file = fopen(path, "r");
    assert_non_null(file);
    for (; getline(&line, &room, file) >= 0; at++) {
        json_t *row = json_loads(line, 0, NULL);
        bool expected = phrase_list_finds(list, json_string_value(json_object_get(row, "response")), NULL);
        assert_true(at < MOST);
        hits += expected;
        if (expected != found[at]) {
            fail_msg("%s, line %zu: the stage %s, the reader %s: %s", name, at + 1,
                     found[at] ? "finds" : "does not", expected ? "finds" : "does not", line);
        }
        json_decref(row);
    }
    assert_true(hits >= 80);
    free(line);
    free(archive);
    fclose(file);
    phrase_list_free(list);
}

static void test_lists_in_the_stage(void **state) {
    static const char *const names[] = {"openers",  "apologies", "refusals",
                                        "identity", "hedges",    "assistant-isms"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        compare(*state, names[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lists_in_the_stage, program_setup, program_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

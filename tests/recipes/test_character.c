/* test_character.c: the main job in small, by the built program: a character takes, and a coin's labels do not; a real model
 * with a real constitution runs, verifies and reproduces. */
#include "../support/assets.h"
#include "program.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A command on a file, of this repository when it begins with @. */
static int run(program *p, const char *command, const char *file, const char *rest) {
    char line[4 * PATH_MAX];
    snprintf(line, sizeof line, "%s %s%s %s", command, *file == '@' ? TEST_SOURCE_FOLDER "/" : "",
             *file == '@' ? file + 1 : file, rest);
    return program_run(p, line);
}

/* "NAME number op number ok" or FAILED in what `run` printed: is it there, and did it hold? */
static bool held(const program *p, const char *metric) {
    char wanted[80];
    const char *line, *end;
    snprintf(wanted, sizeof wanted, " %s ", metric);
    line = strstr(p->out, wanted);
    if (line == NULL) {
        fail_msg("no expectation of %s in: %s%s", metric, p->out, p->err);
    }
    end = strchr(line, '\n');
    return strncmp(end - 3, " ok", 3) == 0;
}

static void a_character_takes_and_a_coin_teaches_nothing(void **state) {
    program *p = *state;
    if (run(p, "run", "@tests/recipes/manner.lua", "") != 0) {
        fail_msg("the recipe did not meet its expectations: %s%s", p->out, p->err);
    }
    assert_true(held(p, "trait_win_rate"));
    assert_true(held(p, "manner_rise"));
    assert_true(held(p, "capability_drop"));
    assert_int_equal(run(p, "run", "@tests/recipes/manner.lua", "--set control=shuffled"), 1);
    assert_false(held(p, "manner_rise"));
    assert_false(held(p, "trait_win_rate"));
    assert_true(held(p, "classifier_accuracy"));
    assert_has(p->out, "cached"); /* the same prompts, answers and judge */
}

static char *first_lines(const char *path, int lines) {
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 65536);
    size_t length = 0;
    assert_non_null(file);
    while (lines-- > 0 && length < 60000 && fgets(text + length, (int)(65536 - length), file) != NULL) {
        length += strlen(text + length);
    }
    fclose(file);
    return text;
}

static void a_real_model_with_a_real_constitution(void **state) {
    program *p = *state;
    const char *given = asset_path("");
    char assets[PATH_MAX], path[PATH_MAX + 64], line[2 * PATH_MAX + 512], *text, *archive;
    int code;
    if (asset_missing("README.md") || realpath(given, assets) == NULL) {
        print_message("skipped: no assets\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/models/tinytalk-3m-chat/data/chat_val.messages.jsonl", assets);
    text = first_lines(path, 40);
    program_write(p, "plain.jsonl", text);
    free(text);
    snprintf(line, sizeof line,
             "--set model=%s/models/tinytalk-3m-chat --set "
             "character=%s/data/open-character-training/constitutions/few-shot/sarcasm.jsonl --set "
             "dialogues=plain.jsonl --set per_trait=4 --set held_out=1 --set samples=1 --set max_tokens=24",
             assets, assets);
    /* So little training need not meet the expectations: the run is archived all the same. */
    code = run(p, "run", "@recipes/character.lua", line);
    if (code != 0 && code != 1) {
        fail_msg("exit code %d: %s%s", code, p->out, p->err);
    }
    assert_has(p->out, "trait_win_rate");
    archive = program_word(p, "archive");
    assert_non_null(archive);
    assert_int_equal(run(p, "verify", archive, ""), 0);
    snprintf(line, sizeof line, "--with %s/models/tinytalk-3m-chat", assets);
    if (run(p, "reproduce", archive, line) != 0) {
        fail_msg("not reproduced: %s%s", p->out, p->err);
    }
    assert_has(p->out, "reproduced: all 6 stages bit for bit");
    free(archive);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_character_takes_and_a_coin_teaches_nothing, program_setup,
                                        program_teardown),
        cmocka_unit_test_setup_teardown(a_real_model_with_a_real_constitution, program_setup,
                                        program_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_household.c: the commands that keep house: which runs there are, how two differ, what can go, what the machine has. */
#include "program.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char counting[] =
    "local temper = require \"temper\"\nlocal patient = temper.plugin \"patient\"\n"
    "local steps = temper.int    { \"steps\", default = 5 }\n"
    "local wait = temper.int    { \"wait\", default = 0 }\n"
    "local n = patient.count { steps = steps, pace = { wait = wait } }\n"
    "local m = patient.count { records = n.numbers, steps = 2, label = \"again\" }\n"
    "temper.expect(m, { total = { \"<\", 100 } })\n"
    "return { numbers = m.numbers }\n";

/* Runs it with these settings; the archive's path. More than 100 steps fail its expectation, and it is archived all the same. */
static char *run_counting(program *p, const char *settings) {
    char command[256];
    program_write(p, "counting.lua", counting);
    snprintf(command, sizeof command, "run counting.lua %s", settings);
    assert_int_equal(program_run(p, command), strstr(settings, "steps=200") != NULL ? 1 : 0);
    return program_word(p, "archive");
}

static void test_nothing_yet(void **state) {
    program *p = *state;
    assert_int_equal(program_run(p, ""), 0);
    assert_has(p->out, "begin");
    assert_has(p->out, "recipes/character.lua");
    assert_int_equal(program_run(p, "runs"), 0);
    assert_has(p->out, "no runs yet");
    assert_int_equal(program_run(p, "gc --yes"), 0);
}

static void test_runs(void **state) {
    program *p = *state;
    char *archive = run_counting(p, "--name first"), path[256];
    free(run_counting(p, "--name second --set steps=200 --seed 3"));
    assert_int_equal(program_run(p, "runs"), 0);
    assert_has(p->out, archive); /* relative to where one stands */
    assert_has(p->out, "first");
    assert_has(p->out, "second");
    assert_has(p->out, "FAILED"); /* 202 is no less than 100 */
    assert_int_equal(program_run(p, "runs --json"), 0);
    assert_has(p->out, "\"event\":\"run\"");
    assert_has(p->out, "\"holds\":false");
    assert_int_equal(program_run(p, ""), 0);
    assert_has(p->out, "latest     runs/second-");
    assert_has(p->out, "expectation failed");
    snprintf(path, sizeof path, "%s/%s", p->folder, archive);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(program_run(p, "runs"), 0);
    assert_has(p->out, "gone");
    free(archive);
}

static void test_diff(void **state) {
    program *p = *state;
    char *a = run_counting(p, "--name a"), *b = run_counting(p, "--name b --set steps=6 --seed 1"),
         command[300];
    snprintf(command, sizeof command, "diff %s %s", a, a);
    assert_int_equal(program_run(p, command), 0);
    assert_has(p->out, "the runs agree");
    snprintf(command, sizeof command, "diff %s %s", a, b);
    assert_int_equal(program_run(p, command), 1);
    assert_has(p->out, "seed                                 0 → 1");
    assert_has(p->out, "steps                                5 → 6");
    assert_has(p->out, "count.steps                          5 → 6");
    assert_has(p->out, "count.total                          5 → 6  (+1)");
    assert_has(p->out, "count.numbers"); /* other bytes */
    snprintf(command, sizeof command, "diff %s %s --json", a, b);
    assert_int_equal(program_run(p, command), 1);
    assert_has(p->out,
               "{\"a\":\"0\",\"b\":\"1\",\"event\":\"differs\",\"name\":\"seed\",\"part\":\"setting\"}");
    assert_int_equal(program_run(p, "diff a nothing"), 1);
    assert_has(p->err, "no run 'nothing'");
    free(a);
    free(b);
}

static void test_collect(void **state) {
    program *p = *state;
    char *kept = run_counting(p, "--name kept"), *gone = run_counting(p, "--name gone --seed 1"), path[256];
    snprintf(path, sizeof path, "%s/%s", p->folder, gone);
    assert_int_equal(unlink(path), 0);
    /* Asked of nobody, nothing goes; and stages of the last days stay. */
    assert_int_equal(program_run(p, "gc --days 0"), 0);
    assert_has(p->err, "say --yes");
    assert_has(p->out, "1 run whose archive is gone");
    assert_int_equal(program_run(p, "gc --yes"), 0);
    assert_int_equal(program_run(p, "run counting.lua --seed 1 --name gone"), 0);
    assert_has(p->out, "2 cached");
    assert_int_equal(unlink(path), 0);
    /* All of one run stays, all of the other goes. */
    assert_int_equal(program_run(p, "gc --days 0 --yes"), 0);
    assert_has(p->out, "freed");
    assert_int_equal(program_run(p, "plan counting.lua"), 0);
    assert_has(p->out, "cached");
    assert_lacks(p->out, "will run");
    assert_int_equal(program_run(p, "plan counting.lua --seed 1"), 0);
    assert_has(p->out, "will run");
    assert_int_equal(program_run(p, "runs"), 0);
    assert_lacks(p->out, "gone");
    snprintf(path, sizeof path, "verify %s", kept);
    assert_int_equal(program_run(p, path), 0);
    assert_int_equal(program_run(p, "gc --days 0 --yes"), 0); /* a second time there is nothing */
    assert_has(p->out, "· 0 blobs");
    free(kept);
    free(gone);
}

/* Every moment of a run names blobs that no record names yet. */
static void test_collect_beside_a_run(void **state) {
    program *p = *state, *other = calloc(1, sizeof *other);
    assert_non_null(other);
    program_write(p, "counting.lua", counting);
    memcpy(other, p, sizeof *other);
    program_start(p, "run counting.lua --set wait=20 --set steps=80");
    assert_true(program_await(p, "started", 20));
    assert_int_equal(program_run(other, "gc --days 0 --yes"), 1);
    assert_has(other->err, "another temper is using the store");
    assert_int_equal(program_wait(p), 0);
    assert_int_equal(program_run(other, "gc --days 0 --yes"), 0);
    free(other);
}

static void test_doctor(void **state) {
    program *p = *state;
    assert_int_equal(program_run(p, "doctor"), 0);
    assert_has(p->out, "kernels");
    assert_has(p->out, "patient");
    assert_has(p->out, "left on the disk");
    assert_lacks(p->out, "BAD");
    program_write(p, "more/broken.so", "no library");
    assert_int_equal(program_run(p, "doctor --plugins more"), 1);
    assert_has(p->out, "BAD");
    assert_has(p->out, "broken");
    assert_int_equal(program_run(p, "doctor --plugins more --json"), 1);
    assert_has(p->out, "\"verdict\":\"BAD\"");
}

/* Made from the table of commands: every command and option is in them, and the shell takes what is made for it. */
static void test_manual_and_completion(void **state) {
    program *p = *state;
    char *script;
    assert_int_equal(program_run(p, "manual"), 0);
    assert_has(p->out, ".TH TEMPER 1");
    assert_has(p->out, ".SS temper reproduce");
    assert_has(p->out, "\\-\\-profile");
    assert_int_equal(program_run(p, "manual nothing"), 2);
    assert_int_equal(program_run(p, "completion fish"), 2);
    assert_int_equal(program_run(p, "completion zsh"), 0);
    assert_has(p->out, "#compdef temper");
    assert_int_equal(program_run(p, "completion bash"), 0);
    script = strdup(p->out);
    assert_non_null(script);
    program_write(p, "temper.bash", script);
    program_write(
        p, "try.bash",
        ". ./temper.bash; COMP_WORDS=(temper reproduce --w); COMP_CWORD=2; _temper; "
        "[ \"${COMPREPLY[*]}\" = --with ] || exit 1; COMP_WORDS=(temper rep); COMP_CWORD=1; _temper; "
        "[ \"${COMPREPLY[*]}\" = reproduce ] || exit 2\n");
    snprintf(script, strlen(script), "cd '%s' && bash try.bash", p->folder);
    assert_int_equal(system(script), 0);
    free(script);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_yet, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_runs, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_diff, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_collect, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_collect_beside_a_run, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_doctor, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_manual_and_completion, program_setup, program_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_run.c: run, plan, explain, show and help, by the built program with the plugin `patient`. */
#include "program.h"

#include <stdio.h>

static const char chain[] =
    "local temper = require \"temper\"\n"
    "local patient = temper.plugin \"patient\"\n"
    "local steps = temper.int { \"steps\", default = 3, min = 0, doc = \"how many\" }\n"
    "local rows = temper.records { \"rows\", default = \"rows.jsonl\", doc = \"counted\" }\n"
    "local first = patient.count { records = rows, steps = steps }\n"
    "local second = patient.count { records = first.numbers, steps = 2, label = \"after\" }\n"
    "temper.expect(second, { total = { \">=\", 1 } })\n"
    "return { numbers = second.numbers }\n";

static void write_chain(const program *p) {
    program_write(p, "chain.lua", chain);
    program_write(p, "rows.jsonl", "{\"a\":1}\n{\"a\":2}\n");
}

static void test_run_and_cache(void **state) {
    program *p = *state;
    char *id, *again, *archive;
    write_chain(p);
    assert_int_equal(program_run(p, "plan chain.lua"), 0);
    assert_has(p->out, "2 stages · 0 cached");
    assert_has(p->out, "not run before");
    assert_has(p->out, "count.numbers will be made first");
    assert_int_equal(program_run(p, "run chain.lua"), 0);
    assert_has(p->out, "3/3 numbers");
    assert_has(p->out, "total 5 >= 1 ok");
    assert_has(p->out, "temper reproduce runs/chain-");
    id = program_word(p, "run");
    archive = program_word(p, "archive");
    assert_int_equal(program_run(p, "run chain.lua --threads 1"), 0);
    again = program_word(p, "run");
    assert_string_equal(id, again);
    assert_has(p->out, "2 stages · 2 cached");
    free(again);

    /* A changed parameter: only what depends on it runs again. */
    assert_int_equal(program_run(p, "plan chain.lua --set steps=4"), 0);
    assert_has(p->out, "0 cached");
    assert_has(p->out, "; the stage took ");
    program_write(p, "chain2.lua", chain);
    assert_int_equal(program_run(p, "run chain2.lua"), 0);
    assert_has(p->out, "2 cached"); /* another recipe, the same stages */
    again = program_word(p, "run");
    assert_string_not_equal(id, again);
    free(again);
    free(id);
    free(archive);
}

static void test_cache_is_verified(void **state) {
    program *p = *state;
    write_chain(p);
    assert_int_equal(program_run(p, "run chain.lua"), 0);
    /* An output that is gone, or whose bytes changed, is made again, and the plan says why. */
    {
        char command[256];
        snprintf(command, sizeof command,
                 "cd '%s/home/blobs/sha256' && for f in */*; do chmod u+w $f; printf x >> $f; done",
                 p->folder);
        assert_int_equal(system(command), 0);
    }
    assert_int_equal(program_run(p, "plan chain.lua"), 0);
    assert_has(p->out, "0 cached");
    assert_has(p->out, "no longer whole in the store");
    assert_int_equal(program_run(p, "run chain.lua"), 0);
    assert_int_equal(program_run(p, "plan chain.lua"), 0);
    assert_has(p->out, "2 cached");
}

static void test_failures(void **state) {
    program *p = *state;
    program_write(p, "fail.lua",
                  "local temper = require \"temper\"\nlocal patient = temper.plugin \"patient\"\n"
                  "local crash = temper.flag { \"crash\", default = false }\n"
                  "local a = patient.count { steps = 2 }\n"
                  "local b = patient.count { records = a.numbers, steps = 5, fail_at = 2, crash = crash }\n"
                  "return { n = b.numbers }\n");
    assert_int_equal(program_run(p, "run fail.lua"), 1);
    assert_has(p->err, "stage count-2 (line 5 of the recipe) failed: patient.count: asked to fail at step 2");
    assert_has(p->err, "1 of 2 stages are finished and kept");
    assert_int_equal(program_run(p, "run fail.lua --set crash=true"), 1);
    assert_has(p->err, "patient.count");
    assert_has(p->err, "abort");
    assert_has(p->out, "cached");
    /* Nothing was archived. */
    assert_null(program_read(p, "runs", &(size_t){0}));
}

static void test_expectations(void **state) {
    program *p = *state;
    program_write(
        p, "expect.lua",
        "local temper = require \"temper\"\nlocal patient = temper.plugin \"patient\"\n"
        "local bound = temper.number { \"bound\", default = 0 }\nlocal a = patient.count { steps = 2 }\n"
        "temper.expect(a, { total = { \">\", bound } })\nreturn { n = a.numbers }\n");
    assert_int_equal(program_run(p, "run expect.lua"), 0);
    assert_int_equal(program_run(p, "run expect.lua --set bound=2"), 1);
    assert_has(p->out, "total 2 > 2 FAILED");
    assert_has(p->out, "archive"); /* archived all the same */
    assert_has(p->err, "an expectation failed");
    program_write(p, "expect2.lua",
                  "local temper = require \"temper\"\nlocal patient = temper.plugin \"patient\"\n"
                  "local a = patient.count { steps = 2 }\n"
                  "temper.expect(a, { totl = { \">\", 1 } })\nreturn { n = a.numbers }\n");
    assert_int_equal(program_run(p, "run expect2.lua"), 1);
    assert_has(p->out, "totl absent > 1 FAILED (did you mean total?)");
}

static void test_explain(void **state) {
    program *p = *state;
    char *a, *b, *c, *d, command[1024];
    write_chain(p);
    assert_int_equal(program_run(p, "run chain.lua"), 0);
    a = program_word(p, "archive");
    assert_int_equal(program_run(p, "run chain.lua --set steps=4"), 0);
    b = program_word(p, "archive");
    snprintf(command, sizeof command, "explain %s %s", a, b);
    assert_int_equal(program_run(p, command), 1);
    assert_has(p->out, "the runs part at count (0 before it agree)");
    assert_has(p->out, "steps                    3  |  4");
    snprintf(command, sizeof command, "explain %s %s", a, a);
    assert_int_equal(program_run(p, command), 0);
    assert_has(p->out, "agree in all 2 stages");
    assert_int_equal(program_run(p, "run chain.lua --seed 5"), 0);
    c = program_word(p, "run"); /* by id: the store knows it */
    snprintf(command, sizeof command, "explain %s %s", a, c);
    assert_int_equal(program_run(p, command), 1);
    assert_has(p->out, "seed                     0  |  5");
    program_write(p, "rows.jsonl", "{\"a\":1}\n");
    assert_int_equal(program_run(p, "run chain.lua --profile f32/1"), 0);
    d = program_word(p, "archive");
    snprintf(command, sizeof command, "explain %s %s", a, d);
    assert_int_equal(program_run(p, command), 1);
    assert_has(p->out, "\"bf16/1\"  |  \"f32/1\"");
    assert_has(p->out, "input records");
    assert_int_equal(program_run(p, "explain runs/none.temper x"), 1);
    assert_has(p->err, "no run 'runs/none.temper'");
    free(a);
    free(b);
    free(c);
    free(d);
}

static void test_show(void **state) {
    program *p = *state;
    write_chain(p);
    assert_int_equal(program_run(p, "run chain.lua --name shown"), 0);
    assert_int_equal(program_run(p, "show shown"), 0);
    assert_has(p->out, "stage    count-after  (patient.count 1.0.0)");
    assert_has(p->out, "3 rows");
    assert_has(p->out, "expect   count-after.total 5 >= 1 ok");
    assert_int_equal(program_run(p, "show shown count"), 0);
    assert_has(p->out, "pace.wait                0");
    assert_int_equal(program_run(p, "show shown count numbers -n 2"), 0);
    assert_has(p->out, "--- 2");
    assert_lacks(p->out, "--- 3");
    assert_int_equal(program_run(p, "show shown count metrics"), 0);
    assert_has(p->out, "total");
    assert_int_equal(program_run(p, "show shown cuont"), 1);
    assert_has(p->err, "did you mean 'count'?");
    assert_int_equal(program_run(p, "show shown count numbrs"), 1);
    assert_has(p->err, "did you mean 'numbers'?");
}

/* Side by side each has half of the memory, which is too little; alone each has enough. */
static void test_too_large_side_by_side(void **state) {
    program *p = *state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: a sanitizer's malloc has no bound\n");
    skip();
#endif
    program_write(p, "large.lua",
                  "local temper = require \"temper\"\nlocal patient = temper.plugin \"patient\"\n"
                  "local a = patient.count { steps = 3, needs = 400, label = \"a\" }\n"
                  "local b = patient.count { steps = 3, needs = 400, label = \"b\" }\n"
                  "return { a = a.numbers, b = b.numbers }\n");
    assert_int_equal(program_run(p, "run large.lua --threads 2 --memory 600M"), 0);
    assert_has(p->out, "count-a  3/3 numbers");
    assert_has(p->out, "count-b  3/3 numbers");
    assert_int_equal(program_run(p, "run large.lua --threads 2 --memory 300M --seed 1"), 1);
    assert_has(p->err, "no 400 MB");
    assert_has(p->err, "--memory sets it");
}

static void test_usage(void **state) {
    program *p = *state;
    write_chain(p);
    assert_int_equal(program_run(p, ""), 0); /* says where to begin */
    assert_int_equal(program_run(p, "rnu x"), 2);
    assert_has(p->err, "did you mean 'run'?");
    assert_int_equal(program_run(p, "run chain.lua --thread 4"), 2);
    assert_has(p->err, "there is no option --thread; did you mean --threads?");
    assert_int_equal(program_run(p, "run chain.lua --seed -4"), 2);
    assert_int_equal(program_run(p, "run chain.lua --seed"), 2);
    assert_has(p->err, "--seed needs a value");
    assert_int_equal(program_run(p, "run"), 2);
    assert_has(p->err, "too few arguments");
    assert_int_equal(program_run(p, "run chain.lua --profile f64"), 2);
    assert_int_equal(program_run(p, "verify chain.lua --threads 2"), 2);
    assert_int_equal(program_run(p, "run nowhere.lua"), 1);
    assert_has(p->err, "No such file");
    assert_int_equal(program_run(p, "help"), 0);
    assert_has(p->out, "reproduce ARCHIVE");
    assert_int_equal(program_run(p, "run --help"), 0);
    assert_has(p->out, "--leave-out NAME");
    assert_int_equal(program_run(p, "help patient.count"), 0);
    assert_has(p->out, "integer = 3 steps, from 0 to 100000");
    assert_has(p->out, "one of plain | odd");
    assert_int_equal(program_run(p, "help patient.cuont"), 1);
    assert_has(p->err, "did you mean 'count'?");
    assert_int_equal(program_run(p, "help chain.lua"), 0);
    assert_has(p->out, "integer = 3, at least 0");
    assert_int_equal(program_run(p, "plugin list"), 0);
    assert_has(p->out, "patient          1.0.0");
    assert_int_equal(program_run(p, "run chain.lua --name ../x"), 2);
    assert_int_equal(program_run(p, "generate m"), 2);
    assert_has(p->err, "--prompt TEXT is missing");
    assert_int_equal(program_run(p, "version"), 0);
}

static void test_json_events(void **state) {
    program *p = *state;
    char *line, *save = NULL;
    write_chain(p);
    assert_int_equal(program_run(p, "run chain.lua --json"), 0);
    assert_has(p->out, "\"event\":\"archive\"");
    for (line = strtok_r(p->out, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        assert_memory_equal(line, "{\"", 2);
        assert_int_equal(line[strlen(line) - 1], '}');
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_run_and_cache, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_cache_is_verified, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_failures, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_expectations, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_explain, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_show, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_too_large_side_by_side, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_usage, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_json_events, program_setup, program_teardown),
    };
    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}

/* test_side_by_side.c: stages that do not wait for one another, at once. Small, because the thread sanitizer looks on. */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>

static int unlink_archives(const program *p) {
    char command[128];
    snprintf(command, sizeof command, "rm '%s'/runs/*.temper", p->folder);
    return system(command);
}

/* Two chains that do not wait for one another: both are at work before either has ended, and no bit shows it. */
static void test_side_by_side(void **state) {
    program *p = *state;
    char *id, *first_end, *second_start;
    program_write(p, "two.lua",
                  "local temper = require \"temper\"\nlocal patient = temper.plugin \"patient\"\n"
                  "local a = patient.count { steps = 30, pace = { wait = 20 }, label = \"a\" }\n"
                  "local b = patient.count { steps = 30, pace = { wait = 20 }, label = \"b\" }\n"
                  "local c = patient.count { records = a.numbers, steps = 3, label = \"c\" }\n"
                  "return { b = b.numbers, c = c.numbers }\n");
    assert_int_equal(program_run(p, "run two.lua --threads 2"), 0);
    second_start = strstr(p->out, "count-b    started");
    second_start = second_start != NULL ? second_start : strstr(p->out, "count-b  started");
    first_end = strstr(p->out, "30/30 numbers");
    assert_non_null(second_start);
    assert_non_null(first_end);
    assert_true(second_start < first_end);
    id = program_word(p, "run");
    assert_int_equal(unlink_archives(p), 0);
    assert_int_equal(program_run(p, "gc --days 0 --yes"), 0); /* so that all of it runs again */
    assert_int_equal(program_run(p, "run two.lua --threads 1 --name alone"), 0);
    assert_has(p->out, "0 cached");
    assert_has(p->out, id);
    free(id);
}

/* One fails: the other is asked to end, the failure is what is told, and what had ended before is kept. */
static void test_one_of_two_fails(void **state) {
    program *p = *state;
    program_write(
        p, "bad.lua",
        "local temper = require \"temper\"\nlocal patient = temper.plugin \"patient\"\n"
        "local first = patient.count { steps = 2, label = \"first\" }\n"
        "local a = patient.count { records = first.numbers, steps = 2000, pace = { wait = 20 }, label = "
        "\"a\" }\n"
        "local b = patient.count { records = first.numbers, steps = 40, pace = { wait = 20 }, fail_at = 5, "
        "label = \"b\" }\n"
        "return { a = a.numbers, b = b.numbers }\n");
    assert_int_equal(program_run(p, "run bad.lua --threads 2"), 1);
    assert_has(p->err, "stage count-b (line 5 of the recipe) failed");
    assert_has(p->err, "asked to fail at step 5");
    assert_lacks(p->err, "stopped in");
    assert_has(p->err, "1 of 3 stages are finished and kept");
    assert_int_equal(program_run(p, "plan bad.lua"), 0);
    assert_has(p->out, "cached");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_side_by_side, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_one_of_two_fails, program_setup, program_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_kill.c: a run that is stopped or killed at any moment, and run again, ends in the same bits. */
#include "program.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const char slow[] =
    "local temper = require \"temper\"\nlocal patient = temper.plugin \"patient\"\n"
    "local a = patient.count { steps = 3 }\n"
    "local b = patient.count { records = a.numbers, steps = 14, pace = { wait = 40 } }\n"
    "local c = patient.count { records = b.numbers, steps = 3, label = \"last\" }\n"
    "return { n = c.numbers }\n";

static const char stubborn[] =
    "local temper = require \"temper\"\nlocal patient = temper.plugin \"patient\"\n"
    "local b = patient.count { steps = 600, pace = { wait = 100 }, stubborn = true }\n"
    "return { n = b.numbers }\n";

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The id of the run undisturbed, from a store of its own; made once for all tests. */
static char *undisturbed_id(program *p) {
    static char *id;
    program_write(p, "slow.lua", slow);
    if (id == NULL) {
        strcpy(p->home, "undisturbed");
        assert_int_equal(program_run(p, "run slow.lua"), 0);
        id = program_word(p, "run");
        strcpy(p->home, "home");
    }
    return id;
}

static void finishes_as(program *p, const char *id, const char *cached) {
    char *again;
    assert_int_equal(program_run(p, "run slow.lua"), 0);
    assert_has(p->out, cached);
    again = program_word(p, "run");
    assert_string_equal(id, again);
    free(again);
}

static void wait_gone(pid_t process) {
    double ends = now() + 10;
    while (kill(process, 0) == 0 && now() < ends) {
        usleep(10000);
    }
    assert_int_not_equal(kill(process, 0), 0);
}

static void test_kill_scheduler(void **state) {
    program *p = *state;
    char *id = undisturbed_id(p);
    pid_t worker;
    program_start(p, "run slow.lua");
    assert_true(program_await(p, "count-2    started", 20) || strstr(p->out, "count-2") != NULL);
    worker = program_worker(p);
    assert_true(worker > 0);
    usleep(200000);
    assert_int_equal(kill(p->pid, SIGKILL), 0);
    assert_int_equal(program_wait(p), 128 + SIGKILL);
    wait_gone(worker); /* no worker is left to race the next run */
    finishes_as(p, id, "1 cached");
}

static void test_kill_worker(void **state) {
    program *p = *state;
    char *id = undisturbed_id(p);
    pid_t worker;
    program_start(p, "run slow.lua");
    assert_true(program_await(p, "count-2", 20));
    usleep(200000);
    worker = program_worker(p);
    assert_true(worker > 0);
    assert_int_equal(kill(worker, SIGKILL), 0);
    assert_int_equal(program_wait(p), 1);
    assert_has(p->err, "stage count-2");
    assert_has(p->err, "patient.count");
    assert_has(p->err, "1 of 3 stages are finished and kept");
    finishes_as(p, id, "1 cached");
}

static void test_interrupt(void **state) {
    program *p = *state;
    char *id = undisturbed_id(p);
    double began;
    program_start(p, "run slow.lua");
    assert_true(program_await(p, "count-2", 20));
    usleep(100000);
    began = now();
    assert_int_equal(kill(p->pid, SIGINT), 0);
    assert_int_equal(program_wait(p), 130);
    assert_true(now() - began < 4.8);
    assert_has(p->err, "stopped in count-2; what is finished is kept");
    finishes_as(p, id, "1 cached");
}

static void test_interrupt_twice(void **state) {
    program *p = *state;
    pid_t worker;
    double began;
    program_write(p, "stubborn.lua", stubborn);
    program_start(p, "run stubborn.lua");
    assert_true(program_await(p, "started", 20));
    worker = program_worker(p);
    assert_true(worker > 0);
    began = now();
    assert_int_equal(kill(p->pid, SIGINT), 0);
    usleep(300000);
    assert_int_equal(kill(p->pid, SIGINT), 0);
    assert_int_equal(program_wait(p), 130);
    assert_true(now() - began < 4.8); /* not the five seconds of grace */
    wait_gone(worker);
}

/* Two at once: the second waits for the first's stage and then finds it. */
static void test_two_at_once(void **state) {
    program *p = *state, *other = calloc(1, sizeof *other);
    char *id = undisturbed_id(p), *again;
    assert_non_null(other);
    strcpy(other->folder, p->folder);
    strcpy(other->home, p->home);
    program_start(p, "run slow.lua");
    program_start(other, "run slow.lua --out runs2");
    assert_int_equal(program_wait(p), 0);
    assert_int_equal(program_wait(other), 0);
    again = program_word(other, "run");
    assert_string_equal(id, again);
    free(again);
    free(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kill_scheduler, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_kill_worker, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_interrupt, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_interrupt_twice, program_setup, program_teardown),
        cmocka_unit_test_setup_teardown(test_two_at_once, program_setup, program_teardown),
    };
    return cmocka_run_group_tests_name("kill", tests, NULL, NULL);
}

/* test_rogue.c: every way a stage can go wrong ends as one clear message that names plugin and stage, leaves nothing in
 * the store, and takes nothing else down. */
#include "harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void misbehave(harness *h, const char *how) {
    char parameters[128];
    snprintf(parameters, sizeof parameters, "{\"how\":\"%s\"}", how);
    harness_run(h, "rogue", "misbehave", parameters);
}

typedef struct way {
    const char *how;
    temper_status status;
    const char *part;
} way;

static const way ways[] = {
    {"fail in create", TEMPER_INVALID, "the moon is not full"},
    {"abort", TEMPER_FAILED, "SIGABRT"},
    {"segv", TEMPER_FAILED, "SIGSEGV"},
    {"overflow the stack", TEMPER_FAILED, "SIGSEGV"},
    {"exit", TEMPER_FAILED, "ended its process by exit(0)"},
    {"close everything", TEMPER_FAILED, "the plugin closed descriptors that are not its own"},
    {"say something and abort", TEMPER_FAILED, "its last words: assertion `2 == 3' failed"},
    {"crash in destroy", TEMPER_FAILED, "SIGABRT"},
    {"a NaN and look", TEMPER_INVALID, "member \"score\" could not be put into a record: the number is NaN"},
    {"a NaN and go on", TEMPER_INVALID, "member \"score\""},
    {"an array", TEMPER_INVALID, "output \"out\": record 2 is no object"},
    {"bytes that are not UTF-8", TEMPER_INVALID, "member \"text\""},
    {"nested metrics", TEMPER_INVALID, "metric \"inner\" is no finite number"},
    {"metrics twice", TEMPER_INVALID, "second"},
    {"a bad file name", TEMPER_INVALID, "only a model has files"},
    {"write in parallel", TEMPER_FAILED, "write_record was called inside parallel_for"},
    {"write from a thread", TEMPER_FAILED, "write_record was called on a thread of the plugin's own"},
    {"an unknown output", TEMPER_FAILED, "no output \"oout\"; is \"out\" meant?"},
    {"forget an output", TEMPER_INVALID, "output \"numbers\" was never begun"},
    {"status 99", TEMPER_FAILED, "run gave 99"},
    {"status END", TEMPER_FAILED, "run gave 1"},
    {"fail silently", TEMPER_FAILED, "gave no message"},
    {"lie about a cancel", TEMPER_FAILED, "nobody asked it to stop"},
};

static void each_way_is_said(void **state) {
    harness *h = *state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        misbehave(h, ways[i].how);
        harness_failed(h, ways[i].status, "rogue.misbehave: ", ways[i].part, NULL);
        if (harness_blobs(h) != 0) {
            fail_msg("\"%s\" left something in the store; it said: %s", ways[i].how, h->error.message);
        }
    }
    misbehave(h, "nothing");
    assert_int_equal(h->status, TEMPER_OK);
    assert_string_equal(harness_output(h, "out"), "{\"score\":1}\n");
}

/* What a plugin changed in its process is put back, and said; its outputs stand. */
static void changes_are_said(void **state) {
    static const char *const cases[][2] = {
        {"change the rounding", "warning: rogue changed the floating-point environment when it ran"},
        {"change the rounding in parallel",
         "warning: rogue changed the floating-point environment when it ran in parallel"},
        {"set the locale", "warning: rogue changed the locale when it ran"},
        {"print", "output: to standard output\noutput: to standard error"},
        {"log nonsense", "warning: caf? \x01"}};
    harness *h = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        misbehave(h, cases[i][0]);
        assert_int_equal(h->status, TEMPER_OK);
        if (strstr(h->log.data, cases[i][1]) == NULL) {
            fail_msg("the log lacks \"%s\": %s", cases[i][1], h->log.data);
        }
    }
}

static void a_flood_is_cut(void **state) {
    harness *h = *state;
    misbehave(h, "print without end");
    assert_int_equal(h->status, TEMPER_OK);
    assert_non_null(strstr(h->log.data, "output: line 99 of"));
    assert_true(h->log.length < 3 << 20);
    assert_non_null(strstr(h->log.data, "is left out"));
}

static void a_stage_that_waits_is_asked(void **state) {
    harness *h = *state;
    h->cancel_after = 0.2;
    setenv("TEMPER_CANCEL_GRACE", "5", 1);
    misbehave(h, "wait");
    setenv("TEMPER_CANCEL_GRACE", "0.3", 1);
    harness_failed(h, TEMPER_CANCELLED, "rogue.misbehave: stopped", NULL);
    assert_null(strstr(h->error.message, "killed"));
    assert_int_equal(harness_blobs(h), 0);
}

static void a_stage_that_hangs_is_killed(void **state) {
    harness *h = *state;
    h->cancel_after = 0.2;
    misbehave(h, "hang");
    harness_failed(h, TEMPER_CANCELLED, "rogue.misbehave", "did not end within 0.3 s and was killed", NULL);
    assert_int_equal(harness_blobs(h), 0);
}

static void memory_has_a_bound(void **state) {
    harness *h = *state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: a sanitizer's malloc has no bound\n");
    skip();
#endif
    h->memory = 64 << 20;
    misbehave(h, "allocate without end");
    harness_failed(h, TEMPER_NO_MEMORY, "rogue.misbehave", "no memory for block", "67108864", "--memory",
                   NULL);
    misbehave(h, "malloc without end");
    harness_failed(h, TEMPER_NO_MEMORY, "rogue.misbehave", "SIGSEGV",
                   "refused at the memory limit of 67108864 bytes", NULL);
    assert_int_equal(harness_blobs(h), 0);
    misbehave(h, "nothing");
    assert_int_equal(h->status, TEMPER_OK);
}

static void nothing_outlives_its_stage(void **state) {
    harness *h = *state;
    misbehave(h, "leave a child");
    assert_int_equal(h->status, TEMPER_OK);
    const char *said = strstr(h->log.data, "child ");
    assert_non_null(said);
    pid_t child = (pid_t)atoi(said + 6);
    assert_true(child > 1);
    for (int i = 0; i < 200 && kill(child, 0) == 0; i++) {
        usleep(10000); /* killed already; whoever adopted it may take a moment to reap it */
        char path[64], stat[256] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", (int)child);
        FILE *file = fopen(path, "re");
        if (file == NULL || fgets(stat, sizeof stat, file) == NULL || strstr(stat, ") Z ") != NULL) {
            child = 0;
        }
        if (file != NULL) {
            fclose(file);
        }
        if (child == 0) {
            return;
        }
    }
    assert_int_equal(errno, ESRCH);
}

/* kill -9 of the program that started a worker: the worker goes too, so it never races the next run. */
static void a_worker_follows_its_scheduler(void **state) {
    static const char id[] = "00000000000000000000000000000000000000000000000000000000000000bb";
    harness *h = *state;
    temper_status status = TEMPER_OK;
    int lock = -1;
    h->stage_id = id;
    pid_t scheduler = fork();
    assert_true(scheduler >= 0);
    if (scheduler == 0) {
        misbehave(h, "hang");
        _exit(0);
    }
    for (int i = 0; i < 500 && status == TEMPER_OK;
         i++) { /* until the worker runs: it holds its stage's lock */
        usleep(10000);
        status = tm_store_lock(h->store, id, 0, &lock, &h->error);
        if (status == TEMPER_OK) {
            tm_store_unlock(lock);
        }
    }
    assert_int_not_equal(status, TEMPER_OK);
    assert_int_equal(kill(scheduler, SIGKILL), 0);
    waitpid(scheduler, NULL, 0);
    assert_int_equal(tm_store_lock(h->store, id, 10, &lock, &h->error), TEMPER_OK);
    tm_store_unlock(lock);
    assert_int_equal(harness_blobs(h), 0);
}

/* The message says where in the plugin: an offset that addr2line knows. */
static void a_crash_has_a_place(void **state) {
    static const char *const ways_to_crash[] = {"abort", "segv", "overflow the stack", "crash in destroy"};
    harness *h = *state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: a sanitizer says it\n");
    skip();
#endif
    for (size_t i = 0; i < sizeof ways_to_crash / sizeof *ways_to_crash; i++) {
        misbehave(h, ways_to_crash[i]);
        harness_failed(h, TEMPER_FAILED, "rogue.misbehave: the plugin crashed (SIG", ") at rogue.so+0x",
                       NULL);
    }
}

static void a_provider_that_crashes(void **state) {
    harness *h = *state;
    harness_model(h, "model", "crash");
    h->provider = "parrot";
    harness_run(h, "good", "ask", "{}");
    harness_failed(h, TEMPER_FAILED, "good.ask", "SIGABRT", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_way_is_said, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(changes_are_said, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_flood_is_cut, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_stage_that_waits_is_asked, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_stage_that_hangs_is_killed, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(memory_has_a_bound, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(nothing_outlives_its_stage, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_worker_follows_its_scheduler, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_crash_has_a_place, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_provider_that_crashes, harness_setup, harness_teardown),
    };
    setenv("TEMPER_CANCEL_GRACE", "0.3", 1);
    harness_signals_are_plain();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

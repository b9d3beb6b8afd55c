/* test_check.c: the checker finds each fault that was put into a plugin, and none in one that has none. */
#include "harness.h"

#include "plugin/check.h"
#include <stdlib.h>
#include <string.h>

static void take(void *context, tm_check_verdict verdict, const char *line) {
    static const char *const words[] = {"ok", "BAD", "skipped"};
    harness *h = context;
    tm_buffer_format(&h->log, "%s %s\n", words[verdict], line);
}

static size_t check(harness *h, const char *plugin, const char *const *inputs, size_t count) {
    size_t failures = 0;
    const tm_check_request request = {.worker = TEST_WORKER,
                                      .file = harness_plugin(h, plugin),
                                      .provider = harness_plugin(h, "parrot"),
                                      .store = h->store,
                                      .inputs = inputs,
                                      .input_count = count,
                                      .context = h,
                                      .say = take};
    tm_buffer_clear(&h->log);
    h->status = tm_check_plugin_file(&request, &failures, &h->error);
    return failures;
}

static void expect(const harness *h, const char *line) {
    if (strstr(h->log.data, line) == NULL) {
        fail_msg("the check lacks \"%s\":\n%s", line, h->log.data);
    }
}

static void faults_are_found(void **state) {
    harness *h = *state;
    setenv("TEMPER_CANCEL_GRACE", "0.4", 1);
    assert_true(check(h, "careless", NULL, 0) >= 6);
    unsetenv("TEMPER_CANCEL_GRACE");
    expect(h, "BAD clock gives other output run twice");
    expect(h, "BAD threads gives other output on eight threads");
    expect(h, "BAD clock gives other output with records seven at a time");
    expect(h, "ok threads gives the same bits run twice");
    expect(h, "BAD batches gives other output with records one at a time");
    expect(h, "BAD batches gives other output with records seven at a time");
    expect(h, "ok batches gives the same bits on eight threads");
    expect(h, "BAD memory does not survive that its allocation number 1 is refused: it crashed (SIGSEGV");
    expect(h, "BAD types does not survive a record without fields: it crashed (SIGABRT");
    expect(h, "BAD deaf does not stop when asked to");
}

static void no_fault_in_a_good_one(void **state) {
    harness *h = *state;
    if (check(h, "good", NULL, 0) != 0) {
        fail_msg("%s", h->log.data);
    }
    expect(h, "ok copy survives refused allocations");
    expect(h, "ok copy survives input that is not UTF-8: good.copy: input \"records\", record 1");
    expect(h, "skipped shelf was not run: give its input with --input model=PATH");
}

static void what_cannot_be_checked(void **state) {
    static const char *const inputs[] = {"recrods=/dev/null"};
    harness *h = *state;
    check(h, "good", inputs, 1);
    harness_failed(h, TEMPER_INVALID, "no stage has the input of \"recrods=/dev/null\"", NULL);
    assert_int_equal(check(h, "future", NULL, 0), 1);
    assert_int_equal(h->status, TEMPER_OK);
    expect(h, "future.so speaks major 2");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(faults_are_found, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(no_fault_in_a_good_one, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_checked, harness_setup, harness_teardown),
    };
    harness_signals_are_plain();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

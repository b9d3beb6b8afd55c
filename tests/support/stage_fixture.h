/* stage_fixture.h: a stage of the built plugin STAGE_PLUGIN (a macro the test defines before it includes this), opened in a fake
 * host, run and expected to go well or to fail in so many words. */
#ifndef TEMPER_TESTS_STAGE_FIXTURE_H
#define TEMPER_TESTS_STAGE_FIXTURE_H

#include "cmocka_all.h"
#include "fake_host.h"

typedef struct fixture {
    fake_host *host;
    const temper_stage *stage;
} fixture;

static inline fixture open_stage(const char *name) {
    fixture f = {fake_host_new(), fake_host_stage(STAGE_PLUGIN, name)};
    return f;
}

static inline void run_ok(fixture *f, const char *parameters) {
    temper_error error = TEMPER_ERROR_INIT;
    temper_status status = fake_host_run(f->host, f->stage, parameters, &error);
    if (status) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(fake_host_blocks(f->host), 0);
}

static inline void run_fails(fixture *f, const char *parameters, const char *words) {
    temper_error error = TEMPER_ERROR_INIT;
    assert_int_equal(fake_host_run(f->host, f->stage, parameters, &error), TEMPER_INVALID);
    if (strstr(error.message, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error.message, words);
    }
    assert_int_equal(fake_host_blocks(f->host), 0);
}

#endif

/* harness.h: one stage of one plugin, run through the same door as a run's: tm_job_run, a worker process, a store. Each
 * test has a store of its own in a temporary folder. */
#ifndef TM_TEST_HARNESS_H
#define TM_TEST_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "plugin/catalog.h"
#include "plugin/job.h"

typedef struct harness {
    char folder[64];
    tm_store *store;
    temper_arena *arena;
    temper_json *inputs;
    /* of the last job */
    temper_status status;
    temper_error error;
    const temper_json *outputs;
    temper_json *statistics;
    tm_buffer log;       /* "level: message\n" … */
    tm_buffer progress;  /* "done/total unit detail\n" … */
    int cancel;          /* set: the job is asked to stop */
    double cancel_after; /* seconds: by a thread of the harness; 0: never */
    int threads;
    int64_t memory;
    const char *provider; /* name of a test plugin, or NULL */
    const char *stage_id;
} harness;

int harness_setup(void **state);
int harness_teardown(void **state);

/* Absolute path of a test plugin's file; in the harness's arena. */
const char *harness_plugin(harness *h, const char *name);
void harness_input(harness *h, const char *name, const char *kind, const void *bytes, size_t length);
/* A model of one file "weights" with these bytes, and "config.json". */
void harness_model(harness *h, const char *name, const char *weights);
/* parameters: JSON text, resolved already (every parameter there). */
void harness_run(harness *h, const char *plugin, const char *stage, const char *parameters);
/* Text of a blob output; in the arena. Fails the test when there is none. */
const char *harness_output(harness *h, const char *name);
/* Asserts that the last job failed with `status` and that its message has each of the parts (NULL-terminated). */
void harness_failed(const harness *h, temper_status status, ...);
/* With a sanitizer: a crash in a worker is the signal it is without one. */
void harness_signals_are_plain(void);
/* Number of blobs in the store: what a failed stage must not raise. */
size_t harness_blobs(const harness *h);

#endif

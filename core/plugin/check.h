/* check.h: does a plugin keep the contract? Asked by its author: `temper plugin check my-filter.so`.
 *
 * Each stage is run many times through the same door as in a run: twice, on one thread and on eight, with records given
 * out one at a time and seven at a time, with allocations refused, with input that is empty, broken or of another
 * shape, and with a cancel. Right is: the same digests where the input is the same, a message where it is bad, never a
 * crash, never silence. */
#ifndef TM_CHECK_H
#define TM_CHECK_H

#include "plugin/catalog.h"

typedef enum tm_check_verdict { TM_CHECK_GOOD, TM_CHECK_BAD, TM_CHECK_SKIPPED } tm_check_verdict;

typedef struct tm_check_request {
    const char *worker, *file; /* absolute */
    const char *provider;      /* a plugin that opens models, or NULL */
    tm_store *store;           /* may be a throwaway one */
    /* "NAME=PATH": what an input gets. Inputs without one get made-up records with the fields the port names. */
    const char *const *inputs;
    size_t input_count;
    const temper_json *parameters; /* an object, or NULL: the defaults; required ones are made up */
    const volatile int *cancel;
    void *context;
    void (*say)(void *context, tm_check_verdict verdict, const char *line);
} tm_check_request;

/* TEMPER_OK when it ran, whatever it found; *failures counts what was said as bad. */
temper_status tm_check_plugin_file(const tm_check_request *request, size_t *failures, temper_error *error);

#endif

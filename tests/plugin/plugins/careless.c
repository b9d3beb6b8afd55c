/* careless.c: stages that run well enough in a first try, each with one fault that `temper plugin check` must find. */
#include <stdlib.h>
#include <temper/sdk.h>
#include <time.h>
#include <unistd.h>

#define NO_PARAMETERS(name)                                                                                  \
    typedef struct name##_parameters {                                                                       \
        char none;                                                                                           \
    } name##_parameters;                                                                                     \
    static const temper_parameter *const name##_parameter_table[] = {NULL};
#define STAGE(name)                                                                                          \
    NO_PARAMETERS(name)                                                                                      \
    TEMPER_INPUTS(name, TEMPER_PORT(TEMPER_RECORDS, "records", 0, "text", "texts"))                          \
    TEMPER_OUTPUTS(name, TEMPER_PORT(TEMPER_RECORDS, "out", 0, "number", "numbers"))                         \
    TEMPER_SIMPLE_STAGE(name, 1, "Has a fault.")

static temper_status write_number(const temper_host *host, temper_output *out, int64_t number,
                                  temper_error *error) {
    temper_arena *arena = host->json->arena_new();
    temper_json *record = host->json->new_object(arena);
    temper_set_integer(host, arena, record, "number", number);
    temper_status status = host->write_record(out, record, error);
    host->json->arena_free(arena);
    return status;
}

static temper_status clock_run(void *self, const temper_host *host, temper_error *error) {
    struct timespec now;
    temper_output *out;
    temper_status status = host->output(host, "out", &out, error);
    (void)self;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return status ? status : write_number(host, out, now.tv_sec * 1000000000 + now.tv_nsec, error);
}
STAGE(clock);

static temper_status threads_run(void *self, const temper_host *host, temper_error *error) {
    temper_output *out;
    temper_status status = host->output(host, "out", &out, error);
    (void)self;
    return status ? status : write_number(host, out, host->workers(host), error);
}
STAGE(threads);

static temper_status batches_run(void *self, const temper_host *host, temper_error *error) {
    temper_output *out;
    temper_reader *reader;
    temper_batch *batch;
    temper_status status = host->output(host, "out", &out, error);
    (void)self;
    if (status || (status = host->read_records(host, host->input(host, "records"), &reader, error))) {
        return status;
    }
    while ((status = host->next(reader, 16, &batch, error)) == TEMPER_OK) {
        if ((status = write_number(host, out, (int64_t)host->batch_length(batch), error))) {
            return status;
        }
    }
    return status == TEMPER_END ? TEMPER_OK : status;
}
STAGE(batches);

static temper_status memory_run(void *self, const temper_host *host, temper_error *error) {
    temper_output *out;
    temper_status status = host->output(host, "out", &out, error);
    (void)self;
    if (!status) {
        volatile char *block = host->allocate(host, 100);
        block[0] = 1; /* NULL when memory is short */
        status = write_number(host, out, block[0], error);
    }
    return status;
}
STAGE(memory);

static temper_status each_type(void *context, const temper_json *record, uint64_t number,
                               temper_error *error) {
    const temper_host *host = context;
    size_t length;
    const char *text = host->json->string(host->json->member(record, "text"), &length);
    (void)number, (void)error;
    if (text == NULL) {
        abort(); /* an assertion on what somebody else wrote */
    }
    return TEMPER_OK;
}

static temper_status types_run(void *self, const temper_host *host, temper_error *error) {
    temper_output *out;
    temper_status status = host->output(host, "out", &out, error);
    (void)self;
    return status ? status : temper_each_record(host, "records", each_type, (void *)(uintptr_t)host, error);
}
STAGE(types);

static temper_status deaf_run(void *self, const temper_host *host, temper_error *error) {
    temper_output *out;
    temper_status status = host->output(host, "out", &out, error);
    (void)self;
    for (int i = 0; i < 15 && !host->cancelled(host); i++) {
        usleep(10 * 1000); /* time for a request to stop to arrive */
    }
    if (host->cancelled(host)) {
        sleep(2); /* longer than the test's patience */
    }
    return status;
}
STAGE(deaf);

TEMPER_PLUGIN("careless", "0.1.0", "Temper's tests", "MIT", "Has faults.", &clock_stage, &threads_stage,
              &batches_stage, &memory_stage, &types_stage, &deaf_stage)

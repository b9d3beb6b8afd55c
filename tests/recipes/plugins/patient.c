/* patient.c: a plugin for tests of runs. `count` writes numbers, waiting between them; its bits depend on seed, label and input alone.
 * Built a second time with FORGED, as another version that gives other numbers. */
#include <stdlib.h>
#include <string.h>
#include <temper/plugin.h>
#include <temper/rng.h>
#include <time.h>

#define COUNT(P, S)                                                                                          \
    P(S, integer, steps, "steps", "3", 0, 100000, "steps", "", "how many records", "0.1")                    \
    P(S, integer, wait, "pace.wait", "0", 0, 100000, "ms", "", "pause before each", "0.1")                   \
    P(S, integer, fail_at, "fail_at", "0", 0, 100000, "steps", "", "fail at this step; 0: never", "0.1")     \
    P(S, integer, needs, "needs", "0", 0, 100000, "MB", "", "memory it holds meanwhile", "0.1")              \
    P(S, flag, crash, "crash", "false", 0, 0, "", "", "at fail_at, abort instead", "0.1")                    \
    P(S, flag, stubborn, "stubborn", "false", 0, 0, "", "", "do not look at cancel", "0.1")                  \
    P(S, string, mode, "mode", "\"plain\"", 0, 0, "", "plain|odd", "a choice", "0.1")
TEMPER_PARAMETERS(count, COUNT)

#ifdef FORGED
enum { SHIFT = 13, REVISION = 2 };
#define VERSION "1.1.0"
#else
enum { SHIFT = 12, REVISION = 1 };
#define VERSION "1.0.0"
#endif

typedef struct counter {
    const temper_host *host;
    count_parameters given;
} counter;

static temper_status create(const temper_host *host, const void *parameters, void **out,
                            temper_error *error) {
    counter *self = host->allocate(host, sizeof *self);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory");
    }
    self->host = host;
    self->given = *(const count_parameters *)parameters;
    *out = self;
    return TEMPER_OK;
}

static void destroy(void *context) {
    counter *self = context;
    self->host->release(self->host, self);
}

static void pause_for(int64_t milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static temper_status count_input(const temper_host *host, uint64_t *out, temper_error *error) {
    const temper_input *input = host->input(host, "records");
    temper_reader *reader = NULL;
    temper_batch *batch = NULL;
    temper_status status = TEMPER_OK;
    *out = 0;
    if (input == NULL) {
        return TEMPER_OK;
    }
    status = host->read_records(host, input, &reader, error);
    while (status == TEMPER_OK) {
        status = host->next(reader, 100, &batch, error);
        if (status == TEMPER_OK) {
            *out += host->batch_length(batch);
            host->release_batch(batch);
        }
    }
    if (reader != NULL) {
        host->close_reader(reader);
    }
    return status == TEMPER_END ? TEMPER_OK : status;
}

static temper_status write_number(const temper_host *host, temper_output *output, const char *name,
                                  uint64_t value, bool metrics, temper_error *error) {
    temper_arena *arena = host->json->arena_new();
    temper_json *record = host->json->new_object(arena);
    temper_status status = TEMPER_NO_MEMORY;
    if (host->json->set(arena, record, name, host->json->new_integer(arena, (int64_t)value))) {
        status =
            metrics ? host->write_metrics(output, record, error) : host->write_record(output, record, error);
    }
    host->json->arena_free(arena);
    return status;
}

static temper_status run(void *context, const temper_host *host, temper_error *error) {
    const counter *self = context;
    uint64_t key = host->rng_key(host, "numbers"), read = 0;
    temper_output *numbers = NULL, *metrics = NULL;
    void *held = NULL;
    int64_t i;
    temper_status status = host->output(host, "numbers", &numbers, error);
    status = status ? status : host->output(host, "metrics", &metrics, error);
    status = status ? status : count_input(host, &read, error);
    if (self->given.needs > 0) {
        held = host->allocate(host, (size_t)self->given.needs << 20);
        if (held == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no %lld MB", (long long)self->given.needs);
        }
    }
    for (i = 1; i <= self->given.steps && status == TEMPER_OK; i++) {
        pause_for(self->given.wait);
        if (!self->given.stubborn && host->cancelled(host)) {
            status = TEMPER_CANCELLED;
            break;
        }
        if (i == self->given.fail_at) {
            if (self->given.crash) {
                abort();
            }
            status = temper_fail(error, TEMPER_FAILED, "asked to fail at step %lld", (long long)i);
            break;
        }
        status =
            write_number(host, numbers, "number", temper_random(key, 0, (uint64_t)i) >> SHIFT, false, error);
        host->progress(host, (uint64_t)i, (uint64_t)self->given.steps, "numbers", NULL);
    }
    host->release(host, held);
    return status ? status
                  : write_number(host, metrics, "total", read + (uint64_t)self->given.steps, true, error);
}

static const temper_stage count_stage = {
    .size = sizeof count_stage,
    .revision = REVISION,
    .name = "count",
    .doc = "writes random numbers, slowly",
    .inputs =
        (const temper_port *const[]){TEMPER_PORT(TEMPER_RECORDS, "records", TEMPER_OPTIONAL, "", "counted"),
                                     NULL},
    .outputs =
        (const temper_port *const[]){TEMPER_PORT(TEMPER_RECORDS, "numbers", 0, "number", "the numbers"),
                                     TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "", "total"), NULL},
    .parameters = count_parameter_table,
    .parameters_size = sizeof(count_parameters),
    .create = create,
    .run = run,
    .destroy = destroy,
};

/* page: a model in, a report out: so that archives with models and pages can be tested without an engine. */
static temper_status page_create(const temper_host *host, const void *parameters, void **out,
                                 temper_error *error) {
    (void)parameters;
    (void)error;
    *out = (void *)(uintptr_t)host;
    return TEMPER_OK;
}

static void page_destroy(void *context) {
    (void)context;
}

static temper_status page_run(void *context, const temper_host *host, temper_error *error) {
    const temper_input *model = host->input(host, "model");
    temper_output *page = NULL, *copy = NULL;
    temper_status status = host->output(host, "page", &page, error);
    size_t i;
    (void)context;
    status = status ? status : host->output(host, "copy", &copy, error);
    status = status ? status : host->write_bytes(page, "<!doctype html><title>files</title>", 35, error);
    for (i = 0; status == TEMPER_OK && i < host->file_count(host, model); i++) {
        temper_file file = {.size = sizeof file};
        status = host->file(host, model, i, &file, error);
        status = status ? status : host->write_bytes(page, file.name, strlen(file.name), error);
    }
    status = status ? status : host->begin_file(copy, "note.txt", error);
    status = status ? status : host->write_bytes(copy, "made", 4, error);
    return status ? status : host->link_input(copy, "base", model, error);
}

static const temper_stage page_stage = {
    .size = sizeof page_stage,
    .revision = 1,
    .name = "page",
    .doc = "lists a model's files on a page",
    .inputs = (const temper_port *const[]){TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "what to list"), NULL},
    .outputs =
        (const temper_port *const[]){
            TEMPER_PORT(TEMPER_REPORT, "page", 0, "", "the list"),
            TEMPER_PORT(TEMPER_MODEL, "copy", 0, "", "a note, with the model as base"), NULL},
    .parameters = (const temper_parameter *const[]){NULL},
    .parameters_size = 0,
    .create = page_create,
    .run = page_run,
    .destroy = page_destroy,
};

static const temper_stage *const stages[] = {&count_stage, &page_stage, NULL};
static const temper_plugin plugin = {.size = sizeof plugin,
                                     .name = "patient",
                                     .version = VERSION,
                                     .author = "tests",
                                     .license = "Apache-2.0",
                                     .doc = "waits, fails or counts as asked",
                                     .stages = stages,
                                     .extension = NULL};

temper_status temper_plugin_v1(const temper_hello *hello, const temper_plugin **out) {
    (void)hello;
    *out = &plugin;
    return TEMPER_OK;
}

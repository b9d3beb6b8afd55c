/* selftest.c: the one stage of the provider: does this machine compute the specified bits? Its outputs speak of the machine, so it
 * belongs in no recipe: `temper selftest --kernels` asks for it, uncached and unarchived. */
#include "internal.h"

#include <stdio.h>

#define SELFTEST(P, S)                                                                                       \
    P(S, integer, rounds, "rounds", "200", 1, 100000, "", "",                                                \
      "how often each operation is tried on new random shapes", "0.1")                                       \
    P(S, integer, seed, "seed", "1", 0, 9e15, "", "", "where the random shapes and values come from", "0.1")
TEMPER_PARAMETERS(selftest, SELFTEST)

typedef struct selftest {
    const temper_host *host;
    selftest_parameters given;
    temper_output *report;
    temper_error *error;
    temper_status status;
} selftest;

static void add_line(void *context, const char *line) {
    selftest *self = context;
    /* The kernels' lines may or may not end their line. */
    size_t length = strlen(line);
    const temper_host *host = self->host;
    if (self->status == TEMPER_OK) {
        self->status = host->write_bytes(self->report, line, length, self->error);
    }
    if (self->status == TEMPER_OK && (length == 0 || line[length - 1] != '\n')) {
        self->status = host->write_bytes(self->report, "\n", 1, self->error);
    }
}

static void list_sets(selftest *self, int64_t *usable) {
    const lm_kernels *const *set;
    char line[240];
    *usable = 0;
    for (set = lm_kernels_all(); *set != NULL; set++) {
        const char *reason = "";
        bool can = lm_kernels_usable(*set, &reason);
        *usable += can;
        snprintf(line, sizeof line, "%-12s %s%s", (*set)->name,
                 can ? "here" : "skipped: ", can ? "" : reason);
        add_line(self, line);
    }
}

static temper_status create(const temper_host *host, const void *parameters, void **out,
                            temper_error *error) {
    selftest *self = host->allocate(host, sizeof *self);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the self-test");
    }
    memset(self, 0, sizeof *self);
    self->host = host;
    self->given = *(const selftest_parameters *)parameters;
    *out = self;
    return TEMPER_OK;
}

static temper_status write_numbers(selftest *self, int64_t usable, size_t disagreements,
                                   temper_error *error) {
    const temper_host *host = self->host;
    temper_arena *arena = host->json->arena_new();
    temper_json *numbers = arena != NULL ? host->json->new_object(arena) : NULL;
    temper_output *output = NULL;
    temper_status status =
        numbers != NULL && host->json->set(arena, numbers, "sets", host->json->new_integer(arena, usable)) &&
                host->json->set(arena, numbers, "rounds",
                                host->json->new_integer(arena, self->given.rounds)) &&
                host->json->set(arena, numbers, "disagreements",
                                host->json->new_integer(arena, (int64_t)disagreements))
            ? host->output(host, "metrics", &output, error)
            : temper_fail(error, TEMPER_NO_MEMORY, "no memory for the numbers");
    if (!status) {
        status = host->write_metrics(output, numbers, error);
    }
    if (arena != NULL) {
        host->json->arena_free(arena);
    }
    return status;
}

static temper_status run(void *context, const temper_host *host, temper_error *error) {
    selftest *self = context;
    int64_t usable = 0;
    size_t disagreements;
    char line[160];
    temper_status status = host->output(host, "lines", &self->report, error);
    if (status) {
        return status;
    }
    self->error = error;
    list_sets(self, &usable);
    disagreements =
        lm_kernels_selftest((uint64_t)self->given.seed, (unsigned)self->given.rounds, add_line, self);
    snprintf(line, sizeof line, "%lld sets, %lld rounds from seed %lld: %zu disagreements", (long long)usable,
             (long long)self->given.rounds, (long long)self->given.seed, disagreements);
    add_line(self, line);
    return self->status ? self->status : write_numbers(self, usable, disagreements, error);
}

static void destroy(void *context) {
    selftest *self = context;
    self->host->release(self->host, self);
}

const temper_stage native_selftest_stage = {
    .size = sizeof native_selftest_stage,
    .revision = 1,
    .name = "selftest",
    .doc = "checks every kernel set of this machine against the scalar specification (it tells of the "
           "machine: for no recipe)",
    .inputs = (const temper_port *const[]){NULL},
    .outputs =
        (const temper_port *const[]){
            TEMPER_PORT(TEMPER_TEXT, "lines", 0, "", "what was tried and what disagreed"),
            TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "", "sets, rounds, disagreements"), NULL},
    .parameters = selftest_parameter_table,
    .parameters_size = sizeof(selftest_parameters),
    .create = create,
    .run = run,
    .destroy = destroy,
};

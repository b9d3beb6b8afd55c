/* rogue.c: a plugin that breaks the contract in the way its parameter `how` says. */
#include <fenv.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <temper/plugin.h>
#include <unistd.h>

#define MISBEHAVE(P, S) P(S, string, how, "how", NULL, 0, 0, "", "", "what to do wrong", "0.1")
TEMPER_PARAMETERS(misbehave, MISBEHAVE)

typedef struct rogue {
    const char *how;
    const temper_host *host;
    temper_output *out;
} rogue;

static bool is(const rogue *self, const char *how) {
    return strcmp(self->how, how) == 0;
}

static temper_status create(const temper_host *host, const void *parameters, void **self,
                            temper_error *error) {
    const misbehave_parameters *p = parameters;
    if (strcmp(p->how, "fail in create") == 0) {
        return temper_fail(error, TEMPER_INVALID, "the moon is not full");
    }
    rogue *own = malloc(sizeof *own);
    if (own == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory");
    }
    own->how = p->how;
    own->host = host;
    *self = own;
    return TEMPER_OK;
}

static temper_status write_number(rogue *self, double number, temper_error *error) {
    const temper_json_api *json = self->host->json;
    temper_arena *arena = json->arena_new();
    temper_json *record = json->new_object(arena);
    json->set(arena, record, "score", json->new_number(arena, number));
    temper_status status = self->host->write_record(self->out, record, error);
    json->arena_free(arena);
    return status;
}

static temper_status write_string(rogue *self, const char *text, temper_error *error) {
    const temper_json_api *json = self->host->json;
    temper_arena *arena = json->arena_new();
    temper_json *record = json->new_object(arena);
    json->set(arena, record, "text", json->new_string(arena, text, strlen(text)));
    temper_status status = self->host->write_record(self->out, record, error);
    json->arena_free(arena);
    return status;
}

static temper_status write_array(rogue *self, temper_error *error) {
    const temper_json_api *json = self->host->json;
    temper_arena *arena = json->arena_new();
    temper_status status = self->host->write_record(self->out, json->new_array(arena), error);
    json->arena_free(arena);
    return status;
}

static void write_from_body(void *context, uint64_t index, uint32_t worker) {
    (void)worker;
    write_number(context, (double)index, NULL);
}

static void *write_from_thread(void *context) {
    write_number(context, 1, NULL);
    return NULL;
}

static void round_up(void *context, uint64_t index, uint32_t worker) {
    (void)context, (void)index, (void)worker;
    fesetround(FE_UPWARD);
}

static temper_status metrics(rogue *self, bool nested, temper_error *error) {
    const temper_json_api *json = self->host->json;
    temper_output *numbers;
    temper_status status = self->host->output(self->host, "numbers", &numbers, error);
    temper_arena *arena = json->arena_new();
    temper_json *object = json->new_object(arena);
    json->set(arena, object, "inner", nested ? json->new_object(arena) : json->new_integer(arena, 1));
    if (!status) {
        status = self->host->write_metrics(numbers, object, error);
    }
    json->arena_free(arena);
    return status;
}

/* Deep enough to overflow any stack, in a way no compiler turns into a loop. */
static uint64_t deeper(uint64_t depth) {
    volatile uint64_t frame[512];
    frame[depth % 512] = depth;
    return depth == 0 ? 0 : deeper(depth - 1) + frame[depth % 512];
}

static void crash(const rogue *self) {
    if (is(self, "abort")) {
        abort();
    }
    if (is(self, "segv")) {
        raise(SIGSEGV);
    }
    if (is(self, "overflow the stack")) {
        printf("%llu\n", (unsigned long long)deeper(1 << 20));
    }
    if (is(self, "exit")) {
        exit(0);
    }
    if (is(self, "close everything")) {
        for (int i = 3; i < 1024; i++) {
            close(i);
        }
        self->host->log(self->host, TEMPER_LOG_INFO, "closed");
    }
    if (is(self, "say something and abort")) {
        fprintf(stderr, "assertion `2 == 3' failed\n");
        abort();
    }
}

static temper_status allocate_without_end(const temper_host *host, temper_error *error) {
    for (size_t i = 0;; i++) {
        void *block = host->allocate(host, 1 << 20);
        if (block == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for block %zu", i);
        }
        memset(block, 1, 1 << 20);
        if (host->cancelled(host)) {
            return TEMPER_CANCELLED;
        }
    }
}

static void malloc_without_end(void) {
    for (;;) {
        char *volatile block = malloc(1 << 20); /* volatile: the compiler may not know better */
        block[0] = 1;                           /* crashes at NULL, as programs do */
        memset(block, 1, 1 << 20);
    }
}

static temper_status hang(const rogue *self, bool polite) {
    while (!polite || !self->host->cancelled(self->host)) {
        usleep(1000);
    }
    return TEMPER_CANCELLED;
}

/* A child that would sleep for a minute; its number goes to the log. */
static void leave_a_child(const rogue *self) {
    char message[32];
    pid_t child = fork();
    if (child == 0) {
        sleep(60);
        _exit(0);
    }
    snprintf(message, sizeof message, "child %d", (int)child);
    self->host->log(self->host, TEMPER_LOG_INFO, message);
}

static temper_status misuse(rogue *self, temper_error *error) {
    pthread_t thread;
    temper_output *unknown;
    if (is(self, "write in parallel")) {
        self->host->parallel_for(self->host, 8, write_from_body, self);
    } else if (is(self, "write from a thread")) {
        pthread_create(&thread, NULL, write_from_thread, self);
        pthread_join(thread, NULL);
    } else if (is(self, "an unknown output")) {
        return self->host->output(self->host, "oout", &unknown, error);
    } else if (is(self, "a NaN and look")) {
        return write_number(self, NAN, error);
    } else if (is(self, "a NaN and go on")) {
        write_number(self, NAN, NULL);
    } else if (is(self, "an array")) {
        return write_array(self, error);
    } else if (is(self, "bytes that are not UTF-8")) {
        write_string(self, "caf\xe9", NULL);
    } else if (is(self, "nested metrics")) {
        metrics(self, true, NULL);
    } else if (is(self, "metrics twice")) {
        metrics(self, false, NULL);
        metrics(self, false, NULL);
    } else if (is(self, "a bad file name")) {
        self->host->begin_file(self->out, "../x", NULL);
    }
    return TEMPER_OK;
}

static temper_status change_process(rogue *self) {
    if (is(self, "change the rounding")) {
        fesetround(FE_UPWARD);
    } else if (is(self, "change the rounding in parallel")) {
        self->host->parallel_for(self->host, 64, round_up, NULL);
    } else if (is(self, "set the locale")) {
        setlocale(LC_ALL, "C.UTF-8");
    } else if (is(self, "print")) {
        printf("to standard output\n");
        fflush(stdout);
        fprintf(stderr, "to standard error\n");
    } else if (is(self, "print without end")) {
        for (int i = 0; i < 100000; i++) {
            printf("line %d of what nobody wants to read\n", i);
        }
    } else if (is(self, "leave a child")) {
        leave_a_child(self);
    } else if (is(self, "log nonsense")) {
        self->host->log(self->host, TEMPER_LOG_WARNING, "caf\xe9 \x01");
    }
    return TEMPER_OK;
}

static temper_status fail_badly(const rogue *self, temper_error *error) {
    if (is(self, "status 99")) {
        return (temper_status)99;
    }
    if (is(self, "status END")) {
        return TEMPER_END;
    }
    if (is(self, "fail silently")) {
        return TEMPER_FAILED;
    }
    if (is(self, "lie about a cancel")) {
        return TEMPER_CANCELLED;
    }
    return temper_fail(error, TEMPER_OK, "%s", "");
}

static temper_status run(void *context, const temper_host *host, temper_error *error) {
    rogue *self = context;
    temper_output *numbers;
    temper_status status = host->output(host, "out", &self->out, error);
    if (status || (status = write_number(self, 1, error))) {
        return status;
    }
    crash(self);
    if (is(self, "hang") || is(self, "wait")) {
        return hang(self, is(self, "wait"));
    }
    if (is(self, "allocate without end")) {
        return allocate_without_end(host, error);
    }
    if (is(self, "malloc without end")) {
        malloc_without_end();
    }
    if ((status = misuse(self, error)) || (status = change_process(self)) ||
        (status = fail_badly(self, error))) {
        return status;
    }
    if (!is(self, "forget an output") && !is(self, "nested metrics") && !is(self, "metrics twice")) {
        status = metrics(self, false, error);
    } else if (!is(self, "forget an output")) {
        status = host->output(host, "numbers", &numbers, error);
    }
    return status;
}

static void destroy(void *context) {
    rogue *self = context;
    if (is(self, "crash in destroy")) {
        abort();
    }
    free(self);
}

static const temper_port *const inputs[] = {NULL};
static const temper_port *const outputs[] = {TEMPER_PORT(TEMPER_RECORDS, "out", 0, "score", "numbers"),
                                             TEMPER_PORT(TEMPER_METRICS, "numbers", 0, "", "metrics"), NULL};
static const temper_stage stage = {sizeof stage,
                                   1,
                                   "misbehave",
                                   "Breaks the contract.",
                                   inputs,
                                   outputs,
                                   misbehave_parameter_table,
                                   sizeof(misbehave_parameters),
                                   create,
                                   run,
                                   destroy};
static const temper_stage *const stages[] = {&stage, NULL};
static const temper_plugin plugin = {sizeof plugin, "rogue",       "0.1.0", "Temper's tests",
                                     "MIT",         "Misbehaves.", stages,  NULL};

temper_status temper_plugin_v1(const temper_hello *hello, const temper_plugin **out) {
    (void)hello;
    *out = &plugin;
    return TEMPER_OK;
}

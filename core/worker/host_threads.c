/* host_threads.c: parallel_for, and which thread may call what.
 *
 * The vtable marks each call [run] (only the thread that called the stage) or [any]. The check is one thread-local
 * read, so it is always made: a stage that writes records from a body would write them in an order that threads decide. */
#include "worker/host.h"

#include "worker/foreign.h"

static _Thread_local bool run_thread;
static _Thread_local bool in_body;

void tm_run_thread_begin(void) {
    run_thread = true;
}

bool tm_on_run_thread(const char *call) {
    if (run_thread && !in_body) {
        return true;
    }
    tm_misuse(TEMPER_FAILED,
              "%s was called %s: only the thread that runs the stage may call it (temper/host.h: [run])",
              call, in_body ? "inside parallel_for" : "on a thread of the plugin's own");
    return false;
}

uint32_t tm_host_workers(const temper_host *host) {
    const tm_host *self = host->self;
    return tm_pool_workers(self->worker->pool);
}

typedef struct guarded_body {
    temper_body *body;
    void *context;
    const char *plugin;
} guarded_body;

static void run_guarded(void *context, uint64_t index, uint32_t worker) {
    const guarded_body *guarded = context;
    bool nested = in_body;
    in_body = true;
    guarded->body(guarded->context, index, worker);
    in_body = nested;
    tm_foreign_check_thread(guarded->plugin);
}

/* Nested calls run one index after the other on the thread they are made on; tm_pool_run sees to it. */
void tm_host_parallel_for(const temper_host *host, uint64_t count, temper_body *body, void *context) {
    const tm_host *self = host->self;
    guarded_body guarded = {body, context, self->plugin};
    if (!in_body && !tm_on_run_thread("parallel_for")) {
        for (uint64_t i = 0; i < count; i++) {
            body(context, i, 0);
        }
        return;
    }
    tm_pool_run(self->worker->pool, count, run_guarded, &guarded);
}

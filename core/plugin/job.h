/* job.h: one stage in one worker process, seen from the scheduler.
 *
 * The wire is a Unix stream socket (the worker's descriptor 3) carrying one JSON object a line. To the worker: the job,
 * later {"cancel":true}. From it: {"progress":{done,total,unit,detail}}, {"log":{level,message}}, {"refused":{bytes,limit}} (memory),
 * {"crashed":{"at"}} (from a signal handler), and last either
 * {"done":{"outputs":[{"name","kind","digest"}],"peak_memory":…}} or {"failed":{"status":"invalid|…","message":…}}.
 * The worker reads inputs from the store and commits outputs to it. It has its own process group, holds a lock for its
 * stage id, and exits when the socket closes. A worker that dies says nothing: then the signal or exit code is named.
 *
 * A job is JSON:
 *   {"store":root,"plugin":path,"provider":path,"stage":name,"parameters":{flat, resolved},
 *    "inputs":[{"name","kind","digest"}],"seed_path":"0/respond/","profile":"bf16/1","threads":2,"memory":bytes or 0,
 *    "stage_id":"sha256:…","checkpoint":"sha256:…","batch":0,"refuse_after":0}
 * "checkpoint", when there, names what a killed worker of this stage left behind and this one may go on from. "batch", when not 0, is the most records a reader gives at once, whatever the stage asks for: for checking that batches
 * do not show. "refuse_after", when not 0: that many less one of the allocations a plugin asks of the host are granted. What a plugin prints comes as log lines of level "output"; the others are debug, info, warning. */
#ifndef TM_JOB_H
#define TM_JOB_H

#include "store/store.h"

typedef struct tm_job_events {
    void *context;
    void (*progress)(void *context, double done, double total, const char *unit, const char *detail);
    void (*log)(void *context, const char *level, const char *message);
} tm_job_events;

/* Runs a job to its end. `cancel` is looked at at least five times a second; once it is nonzero the worker is asked to
 * stop, and killed 5 s later: TEMPER_CANCELLED. *outputs is the array of "done", in `arena`:
 * [{"name","kind","digest","bytes","records" (of records)}]. *statistics, for people and volatile.json alone, has seconds,
 * cpu_seconds, peak_memory, peak_resident, notes (temper/machine.h) and, when the worker ended without a last word, "died" with how. */
temper_status tm_job_run(const char *worker, const temper_json *job, const tm_job_events *events,
                         const volatile int *cancel, temper_arena *arena, const temper_json **outputs,
                         temper_json **statistics, temper_error *error);

/* With "serve":"text" a worker keeps a tokenizer or a template open for a script (core/worker/serve_text.c). */
/* A worker that keeps a model open for a person (`temper chat`): the job has "serve":true, "inputs":[model]. Each turn is
 * {"messages":[…],"max_tokens","temperature","top_k","top_p","seed","turn"}; pieces of text come as they are made. */
typedef struct tm_session tm_session;
temper_status tm_session_open(const char *worker, const temper_json *job, tm_session **out,
                              temper_error *error);
temper_status tm_session_ask(tm_session *session, const temper_json *turn,
                             void (*piece)(void *context, const char *text, size_t length), void *context,
                             const volatile int *cancel, temper_error *error);
void tm_session_close(tm_session *session);

#endif

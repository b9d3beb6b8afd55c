/* run.h: running a plan.
 *
 * Invariants: a node runs when all its inputs are known; a cache hit is used only after every byte of its
 * outputs was verified; what is finished stays finished (in the store, under its cache key), whatever happens later. */
#ifndef TM_RUN_H
#define TM_RUN_H

#include "plugin/job.h"
#include "scheduler/graph.h"

typedef struct tm_run_output_blob {
    const char *name;
    tm_kind kind;
    tm_digest digest;
} tm_run_output_blob;

typedef enum tm_node_state {
    TM_NODE_PENDING, /* an input is not made yet */
    TM_NODE_MISSED,  /* will run: `reason` says why it is not cached */
    TM_NODE_CACHED,
    TM_NODE_RAN
} tm_node_state;

typedef struct tm_run_node {
    tm_node_state state;
    char reason[200];
    tm_digest stage_id, cache_key;
    tm_digest *inputs; /* in the order of the node's inputs */
    tm_run_output_blob *outputs;
    size_t output_count;
    const tm_plugin_entry *plugin, *provider; /* provider: NULL when no input is a model */
    double seconds;
    double last_seconds; /* what the stage took the last time here, with whatever inputs; 0: unknown */
    const temper_json *statistics; /* what the worker said of itself: for volatile.json only */
} tm_run_node;

typedef struct tm_verdict {
    bool known;   /* the metric is there */
    double value; /* of the metric */
    bool holds;
    const char *hint; /* when it is not known: the nearest metric there is, or NULL */
} tm_verdict;

typedef struct tm_run tm_run;

typedef enum tm_run_event { TM_RUN_CACHED, TM_RUN_STARTED, TM_RUN_FINISHED, TM_RUN_FAILED } tm_run_event;

typedef struct tm_run_options {
    tm_store *store;
    tm_catalog *catalog;
    uint32_t threads; /* of all workers at work together */
    uint64_t memory;  /* bytes of them together; 0: what the machine has */
    bool fresh;       /* use no cache, check no version: reproduce */
    const volatile int *cancel;
    void *context;
    /* Any may be NULL. */
    void (*event)(void *context, const tm_run *run, size_t node, tm_run_event event);
    void (*progress)(void *context, const tm_run *run, size_t node, double done, double total,
                     const char *unit, const char *detail);
    void (*log)(void *context, const tm_run *run, size_t node, const char *level, const char *message);
} tm_run_options;

struct tm_run {
    tm_run_options options;
    tm_graph *graph; /* sources taken; not owned */
    temper_arena *arena;
    tm_run_node *nodes;
    tm_verdict *verdicts; /* one an expectation, after tm_run_judge */
    size_t cached, ran;
    temper_arena **job_arenas; /* what workers answered */
    size_t job_arena_count;
};

temper_status tm_run_new(tm_graph *graph, const tm_run_options *options, tm_run **out, temper_error *error);
void tm_run_free(tm_run *run);
/* Fills in states as far as the cache knows the way; runs nothing. */
temper_status tm_run_look(tm_run *run, temper_error *error);
/* Runs what is not cached. On failure the message names node, plugin and cause; on Ctrl-C it is TEMPER_CANCELLED. */
temper_status tm_run_execute(tm_run *run, temper_error *error);
/* Callbacks come one at a time, from any thread of the scheduler's. */
/* Compares expectations with metrics; *all_hold. */
temper_status tm_run_judge(tm_run *run, bool *all_hold, temper_error *error);

const tm_run_output_blob *tm_run_find_output(const tm_run *run, size_t node, const char *name);

/* Frees it with the run; false: no memory, and it stays the caller's. */
bool tm_run_keep_arena(tm_run *run, temper_arena *arena);

/* key.c: the cache. */
/* One node's inputs, stage id, cache key; and a verified hit, or why there is none. */
temper_status tm_run_resolve(tm_run *run, size_t node, temper_error *error);
temper_status tm_run_remember(tm_run *run, size_t node, temper_error *error);
/* Reads [{"name","kind","digest"}]. */
temper_status tm_run_outputs_parse(temper_arena *arena, const temper_json *list, tm_run_output_blob **out,
                                   size_t *count, temper_error *error);
const temper_json *tm_run_outputs_json(temper_arena *arena, const tm_run_output_blob *outputs, size_t count);

#endif

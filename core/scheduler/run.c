/* run.c: see run.h. One node at a time: a stage has all threads to itself. */
#include "scheduler/run.h"

#include "base/text.h"

#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

temper_status tm_run_new(tm_graph *graph, const tm_run_options *options, tm_run **out, temper_error *error) {
    temper_arena *arena = tm_arena_new();
    tm_run *run = arena != NULL ? tm_arena_allocate(arena, sizeof *run) : NULL;
    size_t i;
    *out = NULL;
    if (run == NULL) {
        goto no_memory;
    }
    memset(run, 0, sizeof *run);
    run->arena = arena;
    run->graph = graph;
    run->options = *options;
    run->nodes = tm_arena_allocate(arena, (graph->node_count + 1) * sizeof *run->nodes);
    run->verdicts = tm_arena_allocate(arena, (graph->expectation_count + 1) * sizeof *run->verdicts);
    if (run->nodes == NULL || run->verdicts == NULL) {
        goto no_memory;
    }
    memset(run->nodes, 0, (graph->node_count + 1) * sizeof *run->nodes);
    memset(run->verdicts, 0, (graph->expectation_count + 1) * sizeof *run->verdicts);
    for (i = 0; i < graph->node_count; i++) {
        size_t bytes = (graph->nodes[i].input_count + 1) * sizeof *run->nodes[i].inputs;
        run->nodes[i].inputs = tm_arena_allocate(arena, bytes);
        if (run->nodes[i].inputs == NULL) {
            goto no_memory;
        }
        memset(run->nodes[i].inputs, 0, bytes);
    }
    *out = run;
    return TEMPER_OK;
no_memory:
    tm_arena_free(arena);
    return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
}

void tm_run_free(tm_run *run) {
    if (run != NULL) {
        tm_arena_free(run->arena);
    }
}

const tm_run_output_blob *tm_run_find_output(const tm_run *run, size_t node, const char *name) {
    const tm_run_node *state = &run->nodes[node];
    size_t i;
    for (i = 0; i < state->output_count; i++) {
        if (strcmp(state->outputs[i].name, name) == 0) {
            return &state->outputs[i];
        }
    }
    return NULL;
}

temper_status tm_run_look(tm_run *run, temper_error *error) {
    size_t i;
    run->cached = 0;
    for (i = 0; i < run->graph->node_count; i++) {
        temper_status status = tm_run_resolve(run, i, error);
        if (status) {
            return status;
        }
        run->cached += run->nodes[i].state == TM_NODE_CACHED;
    }
    return TEMPER_OK;
}

typedef struct relay {
    tm_run *run;
    size_t node;
} relay;

static void relay_progress(void *context, double done, double total, const char *unit, const char *detail) {
    const relay *to = context;
    if (to->run->options.progress != NULL) {
        to->run->options.progress(to->run->options.context, to->run, to->node, done, total, unit, detail);
    }
}

static void relay_log(void *context, const char *level, const char *message) {
    const relay *to = context;
    if (to->run->options.log != NULL) {
        to->run->options.log(to->run->options.context, to->run, to->node, level, message);
    }
}

static void tell(tm_run *run, size_t node, tm_run_event event) {
    if (run->options.event != NULL) {
        run->options.event(run->options.context, run, node, event);
    }
}

/* The job of core/plugin/job.h. */
static const temper_json *make_job(tm_run *run, temper_arena *arena, size_t index) {
    const tm_node *node = &run->graph->nodes[index];
    const tm_run_node *state = &run->nodes[index];
    temper_json *job = tm_json_object(arena), *inputs = tm_json_array(arena);
    char seed_path[TM_SEED_PATH], text[TM_DIGEST_TEXT];
    bool made = job != NULL && inputs != NULL;
    size_t i;
    for (i = 0; made && i < node->input_count; i++) {
        temper_json *entry = tm_json_object(arena);
        tm_digest_text(&state->inputs[i], text);
        made = entry != NULL && tm_json_set_string(arena, entry, "name", node->inputs[i].name) &&
               tm_json_set_string(arena, entry, "kind", tm_kind_name(node->inputs[i].kind)) &&
               tm_json_set_string(arena, entry, "digest", text) && tm_json_append(arena, inputs, entry);
    }
    tm_digest_text(&state->stage_id, text);
    made = made && tm_json_set_string(arena, job, "store", tm_store_root(run->options.store)) &&
           tm_json_set_string(arena, job, "plugin", state->plugin->path) &&
           (state->provider == NULL || tm_json_set_string(arena, job, "provider", state->provider->path)) &&
           tm_json_set_string(arena, job, "stage", node->stage) &&
           tm_json_set(arena, job, "parameters", node->parameters) &&
           tm_json_set(arena, job, "inputs", inputs) &&
           tm_json_set_string(arena, job, "seed_path", tm_seed_path(run->graph, index, seed_path)) &&
           tm_json_set_string(arena, job, "profile", run->graph->profile) &&
           tm_json_set_integer(arena, job, "threads", run->options.threads) &&
           tm_json_set_integer(arena, job, "memory", (int64_t)run->options.memory) &&
           tm_json_set_string(arena, job, "stage_id", text);
    if (made && !run->options.fresh) { /* a reproduction is made from its beginning */
        tm_digest_text(&state->cache_key, text);
        made = tm_json_set_string(arena, job, "checkpoint", text);
    }
    return made ? job : NULL;
}

static temper_status run_node(tm_run *run, size_t index, temper_error *error) {
    tm_run_node *state = &run->nodes[index];
    relay to = {run, index};
    const tm_job_events events = {&to, relay_progress, relay_log};
    const temper_json *job = make_job(run, run->arena, index), *outputs = NULL;
    temper_json *statistics = NULL;
    double began = now();
    temper_status status;
    if (job == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    status = tm_job_run(tm_catalog_worker(run->options.catalog, NULL), job, &events, run->options.cancel,
                        run->arena, &outputs, &statistics, error);
    if (status) {
        return status;
    }
    state->seconds = now() - began;
    state->statistics = statistics;
    status = tm_run_outputs_parse(run->arena, outputs, &state->outputs, &state->output_count, error);
    if (status) {
        return status;
    }
    status = tm_run_remember(run, index, error);
    if (!status) {
        tm_store_checkpoint_drop(run->options.store, &state->cache_key);
    }
    return status;
}

temper_status tm_run_execute(tm_run *run, temper_error *error) {
    size_t i;
    run->cached = run->ran = 0;
    for (i = 0; i < run->graph->node_count; i++) {
        const tm_node *node = &run->graph->nodes[i];
        tm_run_node *state = &run->nodes[i];
        temper_status status = tm_run_resolve(run, i, error);
        if (status) {
            return status;
        }
        if (run->options.cancel != NULL && *run->options.cancel) {
            return temper_fail(error, TEMPER_CANCELLED, "stopped before %s; what is finished is kept",
                               node->name);
        }
        if (state->state == TM_NODE_CACHED) {
            run->cached++;
            tell(run, i, TM_RUN_CACHED);
            continue;
        }
        tell(run, i, TM_RUN_STARTED);
        status = run_node(run, i, error);
        if (status == TEMPER_CANCELLED) {
            tell(run, i, TM_RUN_FAILED);
            return temper_fail(error, TEMPER_CANCELLED, "stopped in %s; what is finished is kept",
                               node->name);
        }
        if (status) {
            tell(run, i, TM_RUN_FAILED);
            return node->line > 0 ? temper_fail_in(error, status, "stage %s (line %lld of the recipe) failed",
                                                   node->name, (long long)node->line)
                                  : status;
        }
        state->state = TM_NODE_RAN;
        run->ran++;
        tell(run, i, TM_RUN_FINISHED);
    }
    return TEMPER_OK;
}

static const char *nearest_metric(const temper_json *metrics, const char *wanted) {
    const char *names[256];
    size_t i;
    for (i = 0; i < tm_json_length(metrics) && i < 256; i++) {
        names[i] = tm_json_name(metrics, i, NULL);
    }
    return tm_text_nearest(wanted, names, i);
}

static bool compare(double value, const char *op, double bound) {
    if (strcmp(op, ">=") == 0) {
        return value >= bound;
    }
    if (strcmp(op, "<=") == 0) {
        return value <= bound;
    }
    if (strcmp(op, ">") == 0) {
        return value > bound;
    }
    return strcmp(op, "<") == 0 ? value < bound : value == bound;
}

temper_status tm_run_judge(tm_run *run, bool *all_hold, temper_error *error) {
    size_t i;
    *all_hold = true;
    for (i = 0; i < run->graph->expectation_count; i++) {
        const tm_expectation *expectation = &run->graph->expectations[i];
        const tm_run_output_blob *output =
            tm_run_find_output(run, (size_t)expectation->node, expectation->output);
        tm_verdict *verdict = &run->verdicts[i];
        const temper_json *metrics = NULL;
        const void *data;
        size_t size;
        temper_status status;
        if (output == NULL || output->kind != TM_METRICS) {
            return temper_fail(error, TEMPER_INVALID, "expect (line %lld): %s has no metrics '%s'",
                               (long long)expectation->line, run->graph->nodes[expectation->node].name,
                               expectation->output);
        }
        status = tm_store_map(run->options.store, &output->digest, &data, &size, error);
        if (status) {
            return status;
        }
        status = tm_json_parse(run->arena, data, size, &metrics, error);
        tm_store_unmap(run->options.store, data, size);
        if (status) {
            return status;
        }
        verdict->known = tm_json_double(tm_json_member(metrics, expectation->metric), &verdict->value);
        verdict->hint = verdict->known ? NULL : nearest_metric(metrics, expectation->metric);
        verdict->holds = verdict->known && compare(verdict->value, expectation->op, expectation->value);
        *all_hold = *all_hold && verdict->holds;
    }
    return TEMPER_OK;
}

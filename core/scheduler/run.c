/* run.c: a run from its plan to its verdicts; see run.h. Running is in execute.c, the cache in key.c. */
#include "scheduler/run.h"

#include "base/text.h"

#include <stdlib.h>

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
    run->options.threads = options->threads > 0 ? options->threads : 1;
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

bool tm_run_keep_arena(tm_run *run, temper_arena *arena) {
    temper_arena **more = realloc(run->job_arenas, (run->job_arena_count + 1) * sizeof *more);
    if (more == NULL) {
        return false;
    }
    run->job_arenas = more;
    run->job_arenas[run->job_arena_count++] = arena;
    return true;
}

void tm_run_free(tm_run *run) {
    if (run != NULL) {
        for (size_t i = 0; i < run->job_arena_count; i++) {
            tm_arena_free(run->job_arenas[i]);
        }
        free(run->job_arenas);
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

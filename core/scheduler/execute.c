/* execute.c: running what is not cached.
 *
 * A node starts when all it takes is there and threads are left for it; nodes that do not wait for one another run side by side,
 * each in a worker of its own with its share of threads and memory. No share changes a bit. One thread of this process watches
 * one worker; everything else, callbacks included, happens under one lock, so that whoever listens hears one voice at a time.
 *
 * Invariants: the threads and the memory of the workers at work never add up to more than the run was given; two nodes with one
 * stage id never run at once (the second finds the first's outputs in the cache). */
#include "scheduler/run.h"

#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { LOOK_MS = 100 };

typedef struct crew crew;

typedef struct hand {
    crew *crew;
    size_t node;
    uint32_t threads;
    pthread_t thread;
    const temper_json *job, *outputs;
    temper_json *statistics;
    temper_arena *arena; /* job and answers; goes to the run */
    double began;
    temper_status status;
    temper_error error;
    bool working, over, alone, refused; /* refused: memory, while beside others: it is to be tried alone */
} hand;

struct crew {
    tm_run *run;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    hand *hands; /* one a node */
    bool *told;  /* of a node: it was cached, and that was said */
    uint32_t threads_left;
    size_t working;
    volatile int stop; /* Ctrl-C, or a stage that failed: the others are asked to end */
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static bool cancelled(const tm_run *run) {
    return run->options.cancel != NULL && *run->options.cancel;
}

static void tell(tm_run *run, size_t node, tm_run_event event) {
    if (run->options.event != NULL) {
        run->options.event(run->options.context, run, node, event);
    }
}

static void relay_progress(void *context, double done, double total, const char *unit, const char *detail) {
    hand *self = context;
    const tm_run *run = self->crew->run;
    if (run->options.progress != NULL) {
        pthread_mutex_lock(&self->crew->lock);
        run->options.progress(run->options.context, run, self->node, done, total, unit, detail);
        pthread_mutex_unlock(&self->crew->lock);
    }
}

static void relay_log(void *context, const char *level, const char *message) {
    hand *self = context;
    const tm_run *run = self->crew->run;
    if (run->options.log != NULL) {
        pthread_mutex_lock(&self->crew->lock);
        run->options.log(run->options.context, run, self->node, level, message);
        pthread_mutex_unlock(&self->crew->lock);
    }
}

/* What a worker's share of the memory is; 0: as much as it takes. Alone it has all of it. */
static uint64_t memory_share(const tm_run *run, uint32_t threads) {
    uint64_t whole = run->options.memory;
    if (threads >= run->options.threads) {
        return whole;
    }
    whole = whole > 0 ? whole : tm_memory_of_machine();
    return whole / run->options.threads * threads;
}

/* The job of core/plugin/job.h. */
static const temper_json *make_job(tm_run *run, temper_arena *arena, size_t index, uint32_t threads) {
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
           tm_json_set_integer(arena, job, "threads", threads) &&
           tm_json_set_integer(arena, job, "memory", (int64_t)memory_share(run, threads)) &&
           tm_json_set_string(arena, job, "stage_id", text);
    if (made && !run->options.fresh) { /* a reproduction is made from its beginning */
        tm_digest_text(&state->cache_key, text);
        made = tm_json_set_string(arena, job, "checkpoint", text);
    }
    return made ? job : NULL;
}

static void *watch(void *context) {
    hand *self = context;
    const tm_job_events events = {self, relay_progress, relay_log};
    self->status =
        tm_job_run(tm_catalog_worker(self->crew->run->options.catalog, NULL), self->job, &events,
                   &self->crew->stop, self->arena, &self->outputs, &self->statistics, &self->error);
    pthread_mutex_lock(&self->crew->lock);
    self->over = true;
    pthread_cond_signal(&self->crew->changed);
    pthread_mutex_unlock(&self->crew->lock);
    return NULL;
}

static temper_status start(crew *all, size_t index, uint32_t threads, temper_error *error) {
    hand *self = &all->hands[index];
    bool tried = self->refused;
    *self = (hand){.crew = all,
                   .node = index,
                   .threads = threads,
                   .alone = threads >= all->run->options.threads,
                   .refused = tried,
                   .began = now(),
                   .arena = tm_arena_new(),
                   .error = TEMPER_ERROR_INIT};
    if (self->arena != NULL && !tm_run_keep_arena(all->run, self->arena)) {
        tm_arena_free(self->arena);
        self->arena = NULL;
    }
    self->job = self->arena != NULL ? make_job(all->run, self->arena, index, threads) : NULL;
    if (self->job == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    if (!tried) {
        tell(all->run, index, TM_RUN_STARTED);
    }
    if (pthread_create(&self->thread, NULL, watch, self) != 0) {
        return temper_fail(error, TEMPER_FAILED, "%s: no thread to watch its worker",
                           all->run->graph->nodes[index].name);
    }
    self->working = true;
    all->working++;
    all->threads_left -= threads;
    return TEMPER_OK;
}

static bool same_stage_at_work(const crew *all, size_t index) {
    for (size_t i = 0; i < all->run->graph->node_count; i++) {
        if (all->hands[i].working &&
            tm_digest_equal(&all->run->nodes[i].stage_id, &all->run->nodes[index].stage_id)) {
            return true;
        }
    }
    return false;
}

/* Resolves what can be; counts the nodes that could start now. */
static temper_status look(crew *all, size_t *ready, temper_error *error) {
    tm_run *run = all->run;
    *ready = 0;
    for (size_t i = 0; i < run->graph->node_count; i++) {
        tm_run_node *state = &run->nodes[i];
        temper_status status = tm_run_resolve(run, i, error);
        if (status) {
            return status;
        }
        if (state->state == TM_NODE_CACHED && !all->told[i]) {
            all->told[i] = true;
            run->cached++;
            tell(run, i, TM_RUN_CACHED);
        }
        *ready += state->state == TM_NODE_MISSED && !all->hands[i].working && !same_stage_at_work(all, i);
    }
    return TEMPER_OK;
}

/* A node whose twin is done by now: its outputs are in the cache. */
static temper_status look_again(crew *all, size_t index, bool *cached, temper_error *error) {
    tm_run *run = all->run;
    *cached = false;
    for (size_t i = 0; i < run->graph->node_count; i++) {
        if (i != index && run->nodes[i].state == TM_NODE_RAN &&
            tm_digest_equal(&run->nodes[i].stage_id, &run->nodes[index].stage_id) && !run->options.fresh) {
            run->nodes[index].state = TM_NODE_PENDING;
            temper_status status = tm_run_resolve(run, index, error);
            *cached = run->nodes[index].state == TM_NODE_CACHED;
            return status;
        }
    }
    return TEMPER_OK;
}

static temper_status start_ready(crew *all, temper_error *error) {
    tm_run *run = all->run;
    bool again = true;
    while (again) {
        size_t ready;
        temper_status status = look(all, &ready, error);
        again = false;
        for (size_t i = 0; !status && !again && i < run->graph->node_count && all->threads_left > 0; i++) {
            uint32_t share;
            if (run->nodes[i].state != TM_NODE_MISSED || all->hands[i].working ||
                same_stage_at_work(all, i)) {
                continue;
            }
            status = look_again(all, i, &again, error);
            if (status || again) {
                break; /* what waited for this one may be ready */
            }
            share = all->threads_left / (uint32_t)(ready > 0 ? ready : 1);
            share = share > 0 ? share : 1;
            if (all->hands[i].refused) {
                if (all->working > 0) {
                    continue;
                }
                share = run->options.threads;
            }
            status = start(all, i, share, error);
            ready--;
        }
        if (status) {
            return status;
        }
    }
    return TEMPER_OK;
}

static temper_status take_result(crew *all, hand *self, temper_error *error) {
    tm_run *run = all->run;
    const tm_node *node = &run->graph->nodes[self->node];
    tm_run_node *state = &run->nodes[self->node];
    temper_status status = self->status;
    if (status == TEMPER_OK) {
        state->seconds = now() - self->began;
        state->statistics = self->statistics;
        status = tm_run_outputs_parse(run->arena, self->outputs, &state->outputs, &state->output_count,
                                      &self->error);
        status = status ? status : tm_run_remember(run, self->node, &self->error);
    }
    if (status == TEMPER_OK) {
        tm_store_checkpoint_drop(run->options.store, &state->cache_key);
        state->state = TM_NODE_RAN;
        run->ran++;
        tell(run, self->node, TM_RUN_FINISHED);
        return TEMPER_OK;
    }
    if (status == TEMPER_NO_MEMORY && !self->alone && !all->stop) {
        self->refused = true; /* with all of the memory to itself it may do */
        return TEMPER_OK;
    }
    tell(run, self->node, TM_RUN_FAILED);
    if (status == TEMPER_CANCELLED) {
        return temper_fail(error, status, "stopped in %s; what is finished is kept", node->name);
    }
    *error = self->error;
    return node->line > 0 ? temper_fail_in(error, status, "stage %s (line %lld of the recipe) failed",
                                           node->name, (long long)node->line)
                          : status;
}

/* Takes in the workers that ended. The first failure is the one that is told; what it stops is only stopped. */
static void take_results(crew *all, temper_status *status, temper_error *error) {
    for (size_t i = 0; i < all->run->graph->node_count; i++) {
        hand *self = &all->hands[i];
        temper_error other = TEMPER_ERROR_INIT;
        temper_status ended;
        if (!self->working || !self->over) {
            continue;
        }
        pthread_mutex_unlock(&all->lock); /* its last act is to give the lock back */
        pthread_join(self->thread, NULL);
        pthread_mutex_lock(&all->lock);
        self->working = false;
        all->working--;
        all->threads_left += self->threads;
        ended = take_result(all, self, &other);
        if (ended != TEMPER_OK && (*status == TEMPER_OK || *status == TEMPER_CANCELLED)) {
            *status = ended;
            *error = other;
            __atomic_store_n(&all->stop, 1, __ATOMIC_RELAXED);
        }
    }
}

static void wait_a_moment(crew *all) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(&all->changed, &all->lock, &until);
}

static temper_status work(crew *all, temper_error *error) {
    tm_run *run = all->run;
    temper_status status = TEMPER_OK;
    for (;;) {
        if (status == TEMPER_OK && cancelled(run)) {
            __atomic_store_n(&all->stop, 1, __ATOMIC_RELAXED);
            if (all->working == 0) {
                size_t i = 0;
                while (i + 1 < run->graph->node_count &&
                       (run->nodes[i].state == TM_NODE_CACHED || run->nodes[i].state == TM_NODE_RAN)) {
                    i++;
                }
                return temper_fail(error, TEMPER_CANCELLED, "stopped before %s; what is finished is kept",
                                   run->graph->nodes[i].name);
            }
        }
        if (status == TEMPER_OK && !all->stop) {
            status = start_ready(all, error);
            if (status) {
                __atomic_store_n(&all->stop, 1, __ATOMIC_RELAXED);
            }
        }
        if (all->working == 0) {
            return status;
        }
        wait_a_moment(all);
        take_results(all, &status, error);
    }
}

temper_status tm_run_execute(tm_run *run, temper_error *error) {
    size_t count = run->graph->node_count;
    crew all = {.run = run, .threads_left = run->options.threads};
    temper_status status = TEMPER_OK;
    run->cached = run->ran = 0;
    all.hands = calloc(count + 1, sizeof *all.hands);
    all.told = calloc(count + 1, sizeof *all.told);
    if (all.hands == NULL || all.told == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    } else {
        pthread_mutex_init(&all.lock, NULL);
        pthread_cond_init(&all.changed, NULL);
        pthread_mutex_lock(&all.lock);
        status = work(&all, error);
        pthread_mutex_unlock(&all.lock);
        pthread_cond_destroy(&all.changed);
        pthread_mutex_destroy(&all.lock);
    }
    free(all.hands);
    free(all.told);
    return status;
}

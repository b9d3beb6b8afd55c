/* job.c: see job.h. One loop: listen, pass on, look at `cancel`; then one place that says how it ended. */
#include "plugin/job.h"

#include "plugin/child.h"
#include "plugin/words.h"
#include <stdlib.h>
#include <string.h>

enum { POLL_MS = 100, END_SECONDS = 5 };

typedef struct job_state {
    const tm_job_events *events;
    temper_arena *arena;
    const temper_json *done, *failed;
} job_state;

static void pass_on(job_state *state, const temper_json *message) {
    const temper_json *progress = tm_json_member(message, "progress"), *log = tm_json_member(message, "log");
    double done = 0, total = 0;
    if (progress != NULL && state->events != NULL && state->events->progress != NULL) {
        tm_json_double(tm_json_member(progress, "done"), &done);
        tm_json_double(tm_json_member(progress, "total"), &total);
        state->events->progress(state->events->context, done, total,
                                tm_json_text(tm_json_member(progress, "unit"), ""),
                                tm_json_text(tm_json_member(progress, "detail"), ""));
    } else if (log != NULL && state->events != NULL && state->events->log != NULL) {
        state->events->log(state->events->context, tm_json_text(tm_json_member(log, "level"), "info"),
                           tm_json_text(tm_json_member(log, "message"), ""));
    }
}

static void take_refusal(tm_child *child, const temper_json *refused) {
    int64_t bytes = 0, limit = 0;
    if (refused != NULL) {
        tm_json_integer(tm_json_member(refused, "bytes"), &bytes);
        tm_json_integer(tm_json_member(refused, "limit"), &limit);
        child->refused = (uint64_t)bytes;
        child->refused_limit = (uint64_t)limit;
    }
}

/* One line of the wire. The last one is kept in the caller's arena; the others live as long as this call. */
static temper_status take_line(job_state *state, tm_child *child, const char *line, size_t length,
                               temper_error *error) {
    bool last = strncmp(line, "{\"done\"", 7) == 0 || strncmp(line, "{\"failed\"", 9) == 0;
    temper_arena *arena = last ? state->arena : tm_arena_new();
    const temper_json *message = NULL;
    temper_status status = arena == NULL
                               ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for a worker's message")
                               : tm_json_parse(arena, line, length, &message, error);
    if (status) {
        temper_fail_in(error, status, "the worker's message cannot be read");
    } else if (last) {
        state->done = tm_json_member(message, "done");
        state->failed = tm_json_member(message, "failed");
    } else {
        take_refusal(child, tm_json_member(message, "refused"));
        const char *at = tm_json_text(tm_json_member(tm_json_member(message, "crashed"), "at"), NULL);
        if (at != NULL) {
            snprintf(child->crashed_at, sizeof child->crashed_at, "%s", at);
        }
        pass_on(state, message);
    }
    if (!last) {
        tm_arena_free(arena);
    }
    return status;
}

static void pass_words(job_state *state, tm_child *child) {
    const char *line;
    while ((line = tm_child_words(child)) != NULL) {
        if (*line != 0 && state->events != NULL && state->events->log != NULL) {
            state->events->log(state->events->context, "output", line);
        }
    }
}

/* Listens until the last line, the end of the wire, or the end of patience. */
static temper_status listen_to(job_state *state, tm_child *child, const volatile int *cancel, bool *asked,
                               temper_error *error) {
    temper_status status = TEMPER_OK;
    double deadline = 0;
    bool open = true;
    while (!status && open && state->done == NULL && state->failed == NULL) {
        size_t length;
        char *line;
        if (tm_cancel_wanted(cancel) && !*asked) {
            static const char please[] = "{\"cancel\":true}\n";
            *asked = true;
            deadline = tm_seconds_now() + tm_cancel_grace();
            tm_child_send_text(child, please, sizeof please - 1);
        }
        open = tm_child_poll(child, POLL_MS);
        while (!status && state->done == NULL && state->failed == NULL &&
               (line = tm_child_line(child, &length)) != NULL) {
            status = take_line(state, child, line, length, error);
        }
        pass_words(state, child);
        if (*asked && tm_seconds_now() >= deadline) {
            break;
        }
    }
    return status;
}

static temper_status say_died(const tm_child *child, const char *how, temper_error *error) {
    char memory[160] = "", words[320] = "", where[300] = "";
    if (child->crashed_at[0] != 0) {
        snprintf(where, sizeof where, " at %s", child->crashed_at);
    }
    if (child->refused > 0) {
        snprintf(memory, sizeof memory,
                 " after %llu bytes were refused at the memory limit of %llu bytes (--memory)",
                 (unsigned long long)child->refused, (unsigned long long)child->refused_limit);
    }
    if (child->last_words[0] != 0) {
        snprintf(words, sizeof words, "; its last words: %s", child->last_words);
    }
    return temper_fail(error, child->refused > 0 ? TEMPER_NO_MEMORY : TEMPER_FAILED, "the plugin %s%s%s%s",
                       how, where, memory, words);
}

static bool set_statistics(temper_arena *arena, const temper_json *done, double seconds, double cpu_seconds,
                           const char *died, temper_json **out) {
    static const char *const copied[] = {"peak_memory", "peak_resident", "notes"};
    temper_json *statistics = tm_json_object(arena);
    bool ok = statistics != NULL && tm_json_set_number(arena, statistics, "seconds", seconds) &&
              tm_json_set_number(arena, statistics, "cpu_seconds", cpu_seconds);
    for (size_t i = 0; ok && i < sizeof copied / sizeof *copied; i++) {
        const temper_json *value = tm_json_member(done, copied[i]);
        ok = value == NULL || tm_json_set(arena, statistics, copied[i], value);
    }
    ok = ok && (died == NULL || tm_json_set_string(arena, statistics, "died", died));
    *out = statistics;
    return ok;
}

/* "filter.pairs" of the job, for messages. */
static void name_stage(const temper_json *job, char *out, size_t size) {
    const char *path = tm_json_text(tm_json_member(job, "plugin"), "?");
    const char *slash = strrchr(path, '/'), *file = slash != NULL ? slash + 1 : path;
    size_t length = strlen(file);
    if (length > 3 && strcmp(file + length - 3, ".so") == 0) {
        length -= 3;
    }
    snprintf(out, size, "%.*s.%s", (int)length, file, tm_json_text(tm_json_member(job, "stage"), "?"));
}

static temper_status settle(const job_state *state, const tm_child *child, bool asked, bool killed,
                            const char *how, temper_error *error) {
    if (state->done != NULL) {
        return TEMPER_OK; /* finished is finished, also when a cancel came too late */
    }
    if (asked) {
        return killed ? temper_fail(error, TEMPER_CANCELLED,
                                    "stopped: it did not end within %g s and was killed", tm_cancel_grace())
                      : temper_fail(error, TEMPER_CANCELLED, "stopped");
    }
    if (state->failed != NULL) {
        temper_status status = tm_status_parse(tm_json_text(tm_json_member(state->failed, "status"), ""));
        return temper_fail(error, status == TEMPER_OK ? TEMPER_FAILED : status, "%s",
                           tm_json_text(tm_json_member(state->failed, "message"), ""));
    }
    return say_died(child, how, error);
}

temper_status tm_job_run(const char *worker, const temper_json *job, const tm_job_events *events,
                         const volatile int *cancel, temper_arena *arena, const temper_json **outputs,
                         temper_json **statistics, temper_error *error) {
    job_state state = {events, arena, NULL, NULL};
    double start = tm_seconds_now(), cpu_seconds = 0;
    char stage[160], how[160] = "";
    bool asked = false, killed = false;
    tm_child child;
    name_stage(job, stage, sizeof stage);
    temper_status status = tm_child_start(&child, worker, NULL, error);
    if (status) {
        return temper_fail_in(error, status, "%s", stage);
    }
    tm_child_send(&child, job); /* a child that is gone already shows on the wire */
    status = listen_to(&state, &child, cancel, &asked, error);
    bool over = state.done != NULL || state.failed != NULL;
    tm_child_end(&child, status || (asked && !over) ? 0 : END_SECONDS, how, sizeof how, &killed,
                 &cpu_seconds);
    pass_words(&state, &child);
    if (!status) {
        status = settle(&state, &child, asked, killed, how, error);
    }
    tm_buffer_free(&child.words_text);
    if (statistics != NULL &&
        !set_statistics(arena, state.done, tm_seconds_now() - start, cpu_seconds, over ? NULL : how,
                        statistics) &&
        !status) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for its statistics");
    }
    if (status) {
        return temper_fail_in(error, status, "%s", stage);
    }
    *outputs = tm_json_member(state.done, "outputs");
    return TEMPER_OK;
}

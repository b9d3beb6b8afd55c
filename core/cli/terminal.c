/* terminal.c: a run as people see it. On a terminal one line is written over; in a pipe there is a line at the start of a stage, one at
 * its end and one every ten seconds between; with --json each is an event. */
#include "cli/cli.h"

#include "base/text.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PIPE_SECONDS 10.0
#define TERMINAL_SECONDS 0.1

double cli_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

const char *cli_count(double number, char out[32]) {
    char plain[32];
    size_t length, i, at = 0;
    snprintf(plain, sizeof plain, "%.0f", number < 0 || number > 1e15 ? 0 : number);
    length = strlen(plain);
    for (i = 0; i < length && at < 30; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            out[at++] = ' ';
        }
        out[at++] = plain[i];
    }
    out[at] = 0;
    return out;
}

void cli_event(const char *event, ...) {
    temper_arena *arena = tm_arena_new();
    temper_json *object = arena != NULL ? tm_json_object(arena) : NULL;
    tm_buffer line = TM_BUFFER_INIT;
    const char *name;
    va_list arguments;
    bool made = object != NULL && tm_json_set_string(arena, object, "event", event);
    va_start(arguments, event);
    while (made && (name = va_arg(arguments, const char *)) != NULL) {
        const char *value = va_arg(arguments, const char *);
        const temper_json *number = NULL;
        if (value == NULL) {
            continue;
        }
        if (*name == '#') {
            made = tm_json_parse(arena, value, strlen(value), &number, NULL) == TEMPER_OK &&
                   tm_json_set(arena, object, name + 1, number);
        } else {
            made = tm_json_set_string(arena, object, name, value);
        }
    }
    va_end(arguments);
    if (made && tm_json_write(object, &line, NULL) == TEMPER_OK && tm_buffer_ok(&line)) {
        fprintf(stdout, "%s\n", line.data);
        fflush(stdout);
    }
    tm_buffer_free(&line);
    tm_arena_free(arena);
}

void cli_terminal_init(cli_terminal *terminal, const cli_options *options, const tm_graph *graph, FILE *out) {
    const char *kind = getenv("TERM");
    size_t i;
    memset(terminal, 0, sizeof *terminal);
    terminal->options = options;
    terminal->out = out;
    terminal->rewrite = isatty(fileno(out)) && kind != NULL && strcmp(kind, "dumb") != 0;
    terminal->width = 8;
    for (i = 0; i < graph->node_count; i++) {
        int length = (int)strlen(graph->nodes[i].name);
        terminal->width = length > terminal->width && length <= 28 ? length : terminal->width;
    }
}

static void begin_line(const cli_terminal *terminal, const char *name) {
    fprintf(terminal->out, "%s %-*s ", terminal->rewrite ? "\r\033[K" : "", terminal->width, name);
}

void cli_terminal_plan(cli_terminal *terminal, const tm_run *run) {
    char stages[32], cached[32];
    snprintf(stages, sizeof stages, "%zu", run->graph->node_count);
    snprintf(cached, sizeof cached, "%zu", run->cached);
    if (terminal->quiet) {
        return;
    }
    if (terminal->options->json) {
        cli_event("plan", "#stages", stages, "#cached", cached, "profile", run->graph->profile, (char *)NULL);
        return;
    }
    begin_line(terminal, "plan");
    fprintf(terminal->out, "%s stage%s · %s cached · %u thread%s\n", stages,
            run->graph->node_count == 1 ? "" : "s", cached, run->options.threads,
            run->options.threads == 1 ? "" : "s");
    fflush(terminal->out);
}

/* "1 130/2 000 responses", "500 prompts", or "". */
static void progress_text(const cli_terminal *terminal, char out[128]) {
    char done[32], total[32];
    out[0] = 0;
    if (terminal->total > 0) {
        snprintf(out, 128, "%s/%s %s", cli_count(terminal->done, done), cli_count(terminal->total, total),
                 terminal->unit);
    } else if (terminal->done > 0) {
        snprintf(out, 128, "%s %s", cli_count(terminal->done, done), terminal->unit);
    }
}

static void show_progress(cli_terminal *terminal, const tm_run *run, bool finished) {
    double elapsed = cli_now() - terminal->started, rate = elapsed > 0 ? terminal->done / elapsed : 0;
    char text[128], time[16], left[16], counted[40] = "";
    progress_text(terminal, text);
    if (rate > 0 && elapsed >= 1) {
        snprintf(counted, sizeof counted, rate >= 10 ? "%.0f/s" : "%.2g/s", rate);
    }
    begin_line(terminal, run->graph->nodes[terminal->node].name);
    fprintf(terminal->out, "%-28s %7s", text, tm_text_duration(elapsed, time));
    if (!finished && terminal->total > terminal->done && rate > 0) {
        fprintf(terminal->out, "  eta %s", tm_text_duration((terminal->total - terminal->done) / rate, left));
    }
    fprintf(terminal->out, "  %s%s%s%s", counted, terminal->detail[0] != 0 ? "  " : "", terminal->detail,
            finished || !terminal->rewrite ? "\n" : "");
    fflush(terminal->out);
}

static void on_progress(void *context, const tm_run *run, size_t node, double done, double total,
                        const char *unit, const char *detail) {
    cli_terminal *terminal = context;
    double time = cli_now(), pause = terminal->rewrite ? TERMINAL_SECONDS : PIPE_SECONDS;
    terminal->node = node;
    terminal->done = done;
    terminal->total = total;
    snprintf(terminal->unit, sizeof terminal->unit, "%s", unit != NULL ? unit : "");
    snprintf(terminal->detail, sizeof terminal->detail, "%s", detail != NULL ? detail : "");
    if (terminal->quiet || time - terminal->last_shown < pause) {
        return;
    }
    terminal->last_shown = time;
    if (terminal->options->json) {
        char counted[32], whole[32];
        tm_json_number(done, counted);
        tm_json_number(total, whole);
        cli_event("progress", "stage", run->graph->nodes[node].name, "#done", counted, "#total", whole,
                  "unit", terminal->unit, "detail", terminal->detail, (char *)NULL);
        return;
    }
    show_progress(terminal, run, false);
}

static void on_event(void *context, const tm_run *run, size_t node, tm_run_event event) {
    static const char *const names[] = {"cached", "started", "finished", "failed"};
    cli_terminal *terminal = context;
    const char *name = run->graph->nodes[node].name;
    if (event == TM_RUN_STARTED) {
        terminal->node = node;
        terminal->started = terminal->last_shown = cli_now();
        terminal->done = terminal->total = 0;
        terminal->unit[0] = terminal->detail[0] = 0;
    }
    if (terminal->quiet) {
        return;
    }
    if (terminal->options->json) {
        char id[TM_DIGEST_TEXT];
        tm_digest_text(&run->nodes[node].stage_id, id);
        cli_event(names[event], "stage", name, "stage_id", id, (char *)NULL);
        return;
    }
    if (terminal->passing && terminal->rewrite && event != TM_RUN_STARTED) {
        fprintf(terminal->out, "\r\033[K");
    } else if (event == TM_RUN_CACHED) {
        begin_line(terminal, name);
        fprintf(terminal->out, "cached\n");
    } else if (event == TM_RUN_STARTED) {
        begin_line(terminal, name);
        fprintf(terminal->out, terminal->rewrite ? "…" : "started\n");
    } else if (event == TM_RUN_FINISHED) {
        show_progress(terminal, run, true);
    } else if (terminal->rewrite) {
        fprintf(terminal->out, "\n");
    }
    fflush(terminal->out);
}

static void on_log(void *context, const tm_run *run, size_t node, const char *level, const char *message) {
    cli_terminal *terminal = context;
    if (strcmp(level, "debug") == 0) {
        return;
    }
    if (terminal->options->json) {
        cli_event("log", "stage", run->graph->nodes[node].name, "level", level, "message", message,
                  (char *)NULL);
        return;
    }
    if (terminal->quiet && strcmp(level, "warning") != 0) {
        return;
    }
    if (terminal->rewrite) {
        fprintf(terminal->out, "\r\033[K");
        fflush(terminal->out);
    }
    fprintf(terminal->quiet ? stderr : terminal->out, " %-*s %s%s\n", terminal->width,
            run->graph->nodes[node].name, strcmp(level, "warning") == 0 ? "warning: " : "", message);
}

void cli_terminal_options(cli_terminal *terminal, tm_run_options *options) {
    options->context = terminal;
    options->event = on_event;
    options->progress = on_progress;
    options->log = on_log;
}

void cli_terminal_verdicts(cli_terminal *terminal, const tm_run *run) {
    size_t i;
    for (i = 0; i < run->graph->expectation_count; i++) {
        const tm_expectation *expectation = &run->graph->expectations[i];
        const tm_verdict *verdict = &run->verdicts[i];
        char bound[32], value[32] = "absent";
        bool dropped;
        tm_json_number(expectation->value, bound);
        if (verdict->known) {
            snprintf(value, sizeof value, "%.4g", verdict->value);
        }
        if (terminal->options->json) {
            if (verdict->known) {
                tm_json_number(verdict->value, value);
            }
            cli_event("expect", "stage", run->graph->nodes[expectation->node].name, "metric",
                      expectation->metric, "#value", verdict->known ? value : NULL, "op", expectation->op,
                      "#bound", bound, "verdict", verdict->holds ? "ok" : "failed", (char *)NULL);
            continue;
        }
        begin_line(terminal, "expect");
        /* Of several filters each has a dropped_share: whose this one is belongs to it. */
        dropped = strcmp(expectation->metric, "dropped_share") == 0;
        fprintf(terminal->out, "%s%s%s %s %s %s %s%s%s%s\n",
                dropped ? run->graph->nodes[expectation->node].name : "", dropped ? "." : "",
                expectation->metric, value, expectation->op, bound, verdict->holds ? "ok" : "FAILED",
                verdict->hint != NULL ? " (did you mean " : "", verdict->hint != NULL ? verdict->hint : "",
                verdict->hint != NULL ? "?)" : "");
    }
}

/* terminal.c: a run as people see it. On a terminal each stage at work has a line with a bar, written over until it ends; in a pipe
 * there is a line at the start of a stage, one at its end and one every ten seconds between; with --json each is an event.
 *
 * Invariant: on a terminal the lines of what is at work stand below everything else and are the only ones ever written over. */
#include "cli/cli.h"

#include "base/text.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PIPE_SECONDS 10.0
#define TERMINAL_SECONDS 0.1
enum { BAR = 20 };

#define GREEN "\033[32m"
#define RED "\033[1;31m"
#define DIM "\033[2m"
#define CYAN "\033[36m"

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
    const char *kind = getenv("TERM"), *plain = getenv("NO_COLOR");
    size_t i;
    memset(terminal, 0, sizeof *terminal);
    terminal->options = options;
    terminal->out = out;
    terminal->rows = tm_arena_allocate(graph->arena, (graph->node_count + 1) * sizeof *terminal->rows);
    if (terminal->rows != NULL) {
        memset(terminal->rows, 0, (graph->node_count + 1) * sizeof *terminal->rows);
    }
    terminal->rewrite = isatty(fileno(out)) && kind != NULL && strcmp(kind, "dumb") != 0;
    terminal->colour = terminal->rewrite && (plain == NULL || *plain == 0); /* no-color.org */
    terminal->width = 8;
    for (i = 0; i < graph->node_count; i++) {
        int length = (int)strlen(graph->nodes[i].name);
        terminal->width = length > terminal->width && length <= 28 ? length : terminal->width;
    }
}

static int columns(const cli_terminal *terminal) {
    struct winsize size;
    const char *given = getenv("COLUMNS");
    int wide = 0;
    if (ioctl(fileno(terminal->out), TIOCGWINSZ, &size) == 0) {
        wide = size.ws_col;
    }
    if (wide <= 0 && given != NULL) {
        wide = atoi(given);
    }
    return wide > 20 ? wide : 80;
}

/* Text between two colours of a terminal that has any. */
static void paint(const cli_terminal *terminal, const char *colour, const char *text) {
    fprintf(terminal->out, "%s%s%s", terminal->colour ? colour : "", text, terminal->colour ? "\033[0m" : "");
}

/* Takes away the lines of what is at work. */
static void wipe(cli_terminal *terminal) {
    if (terminal->drawn > 0) {
        fputc('\r', terminal->out);
        if (terminal->drawn > 1) {
            fprintf(terminal->out, "\033[%zuA", terminal->drawn - 1);
        }
        fprintf(terminal->out, "\033[J");
        terminal->drawn = 0;
    }
}

static void begin_line(cli_terminal *terminal, const char *name) {
    wipe(terminal);
    fprintf(terminal->out, " %-*s ", terminal->width, name);
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
static void progress_text(const cli_row *row, char out[128]) {
    char done[32], total[32];
    out[0] = 0;
    if (row->total > 0) {
        snprintf(out, 128, "%s/%s %s", cli_count(row->done, done), cli_count(row->total, total), row->unit);
    } else if (row->done > 0) {
        snprintf(out, 128, "%s %s", cli_count(row->done, done), row->unit);
    }
}

/* What is said of a stage beside its name: counts, time, eta, rate, detail. */
static void row_text(const cli_row *row, bool finished, char *out, size_t size) {
    double elapsed = cli_now() - row->started, rate = elapsed > 0 ? row->done / elapsed : 0;
    char text[128], time[16], left[16], eta[32] = "", counted[40] = "";
    progress_text(row, text);
    if (rate > 0 && elapsed >= 1) {
        snprintf(counted, sizeof counted, rate >= 10 ? "%.0f/s" : "%.2g/s", rate);
    }
    if (!finished && row->total > row->done && rate > 0) {
        snprintf(eta, sizeof eta, "  eta %s", tm_text_duration((row->total - row->done) / rate, left));
    }
    snprintf(out, size, "%-28s %7s%s  %s%s%s", text, tm_text_duration(elapsed, time), eta, counted,
             row->detail[0] != 0 ? "  " : "", row->detail);
}

/* How many bytes of a text fit into so many columns; a character that is no single column wide is rare here. */
static int fitting(const char *text, int room) {
    int at = 0;
    while (text[at] != 0 && room > 0) {
        at++;
        while (((unsigned char)text[at] & 0xC0) == 0x80) {
            at++;
        }
        room--;
    }
    return at;
}

static void draw_bar(const cli_terminal *terminal, const cli_row *row) {
    int filled = row->total > 0 ? (int)(BAR * (row->done < row->total ? row->done / row->total : 1.0)) : 0, i;
    fputs(terminal->colour ? CYAN : "", terminal->out);
    for (i = 0; i < BAR; i++) {
        fputs(i < filled ? "█" : "░", terminal->out);
    }
    fprintf(terminal->out, "%s ", terminal->colour ? "\033[0m" : "");
}

static void draw(cli_terminal *terminal, const tm_run *run) {
    int wide = columns(terminal);
    wipe(terminal);
    terminal->last_drawn = cli_now();
    for (size_t i = 0; i < run->graph->node_count; i++) {
        const cli_row *row = &terminal->rows[i];
        char text[320];
        int room = wide - terminal->width - 3;
        if (!row->active) {
            continue;
        }
        fprintf(terminal->out, "%s %-*.*s ", terminal->drawn > 0 ? "\n" : "", terminal->width,
                terminal->width, run->graph->nodes[i].name);
        if (row->total > 0 && room > BAR + 40) {
            draw_bar(terminal, row);
            room -= BAR + 1;
        }
        row_text(row, false, text, sizeof text);
        fprintf(terminal->out, "%.*s", fitting(text, room), text);
        terminal->drawn++;
    }
    fflush(terminal->out);
}

static void print_row(cli_terminal *terminal, const tm_run *run, size_t node, bool finished) {
    char text[320];
    row_text(&terminal->rows[node], finished, text, sizeof text);
    begin_line(terminal, run->graph->nodes[node].name);
    fprintf(terminal->out, "%s\n", text);
    fflush(terminal->out);
}

static void event_progress(const cli_terminal *terminal, const tm_run *run, size_t node) {
    const cli_row *row = &terminal->rows[node];
    char counted[32], whole[32];
    tm_json_number(row->done, counted);
    tm_json_number(row->total, whole);
    cli_event("progress", "stage", run->graph->nodes[node].name, "#done", counted, "#total", whole, "unit",
              row->unit, "detail", row->detail, (char *)NULL);
}

static void on_progress(void *context, const tm_run *run, size_t node, double done, double total,
                        const char *unit, const char *detail) {
    cli_terminal *terminal = context;
    cli_row *row;
    double time = cli_now();
    if (terminal->rows == NULL) {
        return;
    }
    row = &terminal->rows[node];
    row->done = done;
    row->total = total;
    snprintf(row->unit, sizeof row->unit, "%s", unit != NULL ? unit : "");
    snprintf(row->detail, sizeof row->detail, "%s", detail != NULL ? detail : "");
    if (terminal->quiet) {
        return;
    }
    if (terminal->rewrite && !terminal->options->json) {
        if (time - terminal->last_drawn >= TERMINAL_SECONDS) {
            draw(terminal, run);
        }
    } else if (time - row->last_shown >= PIPE_SECONDS) {
        row->last_shown = time;
        if (terminal->options->json) {
            event_progress(terminal, run, node);
        } else {
            print_row(terminal, run, node, false);
        }
    }
}

static void show_event(cli_terminal *terminal, const tm_run *run, size_t node, tm_run_event event) {
    const char *name = run->graph->nodes[node].name;
    if (terminal->passing && terminal->rewrite && event != TM_RUN_STARTED) {
        wipe(terminal);
    } else if (event == TM_RUN_CACHED) {
        begin_line(terminal, name);
        paint(terminal, DIM, "cached");
        fputc('\n', terminal->out);
    } else if (event == TM_RUN_STARTED && !terminal->rewrite) {
        begin_line(terminal, name);
        fprintf(terminal->out, "started\n");
    } else if (event == TM_RUN_FINISHED) {
        print_row(terminal, run, node, true);
    } else if (event == TM_RUN_FAILED && terminal->rewrite) {
        begin_line(terminal, name);
        paint(terminal, RED, "failed");
        fputc('\n', terminal->out);
    }
    if (terminal->rewrite) {
        draw(terminal, run);
    }
    fflush(terminal->out);
}

static void on_event(void *context, const tm_run *run, size_t node, tm_run_event event) {
    static const char *const names[] = {"cached", "started", "finished", "failed"};
    cli_terminal *terminal = context;
    if (terminal->rows == NULL) {
        return;
    }
    if (event == TM_RUN_STARTED) {
        terminal->rows[node] = (cli_row){.active = true, .started = cli_now(), .last_shown = cli_now()};
    } else {
        terminal->rows[node].active = false;
    }
    if (terminal->quiet) {
        return;
    }
    if (terminal->options->json) {
        char id[TM_DIGEST_TEXT];
        tm_digest_text(&run->nodes[node].stage_id, id);
        cli_event(names[event], "stage", run->graph->nodes[node].name, "stage_id", id, (char *)NULL);
        return;
    }
    show_event(terminal, run, node, event);
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
    wipe(terminal);
    fflush(terminal->out);
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
        fprintf(terminal->out, "%s%s%s %s %s %s ", dropped ? run->graph->nodes[expectation->node].name : "",
                dropped ? "." : "", expectation->metric, value, expectation->op, bound);
        paint(terminal, verdict->holds ? GREEN : RED, verdict->holds ? "ok" : "FAILED");
        fprintf(terminal->out, "%s%s%s\n", verdict->hint != NULL ? " (did you mean " : "",
                verdict->hint != NULL ? verdict->hint : "", verdict->hint != NULL ? "?)" : "");
    }
}

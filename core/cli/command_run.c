/* command_run.c: run and plan. */
#include "base/text.h"
#include "cli/cli.h"

#include <ctype.h>
#include <stdlib.h>

static temper_status prepare(cli_context *context, const char *path, tm_recipe *recipe, tm_run **run,
                             cli_terminal *terminal, temper_error *error) {
    tm_run_options options = {.store = context->store, .catalog = context->catalog, .cancel = &cli_cancelled};
    temper_status status = cli_load(context, path, false, recipe, error);
    if (status) {
        return status;
    }
    status = tm_graph_take_sources(recipe->graph, context->store, error);
    if (status) {
        return status;
    }
    options.threads = cli_threads(context->options);
    options.memory = context->options->memory;
    cli_terminal_init(terminal, context->options, recipe->graph, stdout);
    cli_terminal_options(terminal, &options);
    status = tm_run_new(recipe->graph, &options, run, error);
    return status ? status : tm_run_look(*run, error);
}

static bool title_valid(const char *title) {
    const char *byte;
    for (byte = title; *byte != 0; byte++) {
        if (!isalnum((unsigned char)*byte) && strchr("-_.", *byte) == NULL) {
            return false;
        }
    }
    return *title != 0 && *title != '.' && strlen(title) <= 100;
}

/* A title becomes a file's name: what may not stand there becomes '-'. */
static void file_title(const char *title, char out[101]) {
    size_t i;
    snprintf(out, 101, "%s", *title != 0 ? title : "run");
    for (i = 0; out[i] != 0; i++) {
        if (!isalnum((unsigned char)out[i]) && strchr("-_.", out[i]) == NULL) {
            out[i] = '-';
        }
    }
    if (out[0] == '.') {
        out[0] = '-';
    }
}

/* An argument as a shell takes it back. */
static void print_quoted(FILE *out, const char *text) {
    const char *byte;
    bool plain = *text != 0;
    for (byte = text; *byte != 0; byte++) {
        plain = plain && (isalnum((unsigned char)*byte) || strchr("-_./=:@,+%", *byte) != NULL);
    }
    if (plain) {
        fputs(text, out);
        return;
    }
    fputc('\'', out);
    for (byte = text; *byte != 0; byte++) {
        if (*byte == '\'') {
            fputs("'\\''", out);
        } else {
            fputc(*byte, out);
        }
    }
    fputc('\'', out);
}

static void print_reproduce(const cli_options *options, const tm_run *run, const tm_record *record,
                            const char *archive) {
    temper_arena *arena = tm_arena_new();
    const temper_json *json = NULL;
    size_t i;
    print_quoted(stdout, cli_program);
    fprintf(stdout, " reproduce ");
    print_quoted(stdout, archive);
    if (arena != NULL &&
        tm_json_parse(arena, record->run_json.data, record->run_json.length, &json, NULL) == TEMPER_OK &&
        tm_json_length(tm_json_member(json, "left_out")) > 0) {
        /* Which folder: the one the run was given. */
        const temper_json *left_out = tm_json_member(json, "left_out");
        const tm_graph *graph = run->graph;
        for (i = 0; i < graph->source_count; i++) {
            const tm_source *source = &graph->sources[i];
            size_t length = strlen(source->id), j;
            for (j = 0; j < tm_json_length(left_out); j++) {
                const char *name = tm_json_text(tm_json_member(tm_json_element(left_out, j), "name"), "");
                if (strncmp(name, source->id, length) == 0 && name[length] == '/') {
                    fprintf(stdout, " --with ");
                    print_quoted(stdout, source->path != NULL ? source->path : source->name);
                    break;
                }
            }
        }
    }
    for (i = 0; i < options->plugins.count; i++) {
        fprintf(stdout, " --plugins ");
        print_quoted(stdout, options->plugins.items[i]);
    }
    fprintf(stdout, "\n");
    tm_arena_free(arena);
}

static temper_status archive_run(const cli_options *options, tm_run *run, const tm_recipe *recipe,
                                 cli_terminal *terminal, temper_error *error) {
    char title[101], id[TM_DIGEST_TEXT];
    char *archive = NULL, *report = NULL;
    tm_record record;
    temper_status status =
        tm_record_make(run, options->leave_out.items, options->leave_out.count, &record, error);
    if (status) {
        return status;
    }
    file_title(options->name != NULL ? options->name : recipe->title, title);
    status = tm_record_write(run, &record, options->out != NULL ? options->out : "runs", title, &archive,
                             &report, error);
    if (status == TEMPER_OK) {
        tm_digest_text(&record.id, id);
        if (options->json) {
            cli_ledger_events(&record.ledger);
            cli_event("archive", "id", id, "archive", archive, "report", report, (char *)NULL);
        } else {
            cli_print_ledger(&record.ledger, 1, true);
            fprintf(stdout, " %-*s %s\n", terminal->width, "run", id);
            fprintf(stdout, " %-*s %s%s%s\n", terminal->width, "archive", archive,
                    report != NULL ? "   report: " : "", report != NULL ? report : "");
            fprintf(stdout, " %-*s ", terminal->width, "again");
            print_reproduce(options, run, &record, archive);
        }
    }
    free(archive);
    free(report);
    tm_record_free(&record);
    return status;
}

int cli_run(const cli_options *options) {
    cli_context context;
    cli_terminal terminal;
    tm_recipe recipe = {0};
    tm_run *run = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    bool all_hold = true;
    temper_status status;
    int code;
    if (options->name != NULL && !title_valid(options->name)) {
        fprintf(stderr, "temper run: --name %s: letters, digits, - _ and . only\n", options->name);
        return CLI_USAGE;
    }
    cli_watch_signals();
    status = cli_open(options, &context, &error);
    if (status) {
        return cli_report(options, status, &error);
    }
    status = prepare(&context, options->arguments.items[0], &recipe, &run, &terminal, &error);
    if (status == TEMPER_OK) {
        cli_terminal_plan(&terminal, run);
        status = tm_run_execute(run, &error);
    }
    if (status == TEMPER_OK) {
        status = tm_run_judge(run, &all_hold, &error);
    }
    if (status == TEMPER_OK) {
        cli_terminal_verdicts(&terminal, run);
        status = archive_run(options, run, &recipe, &terminal, &error);
    }
    fflush(stdout);
    code = cli_report(options, status, &error);
    if (code != CLI_OK && run != NULL && run->ran + run->cached > 0) {
        fprintf(stderr, "temper: %zu of %zu stages are finished and kept; run it again to go on\n",
                run->ran + run->cached, run->graph->node_count);
    }
    if (code == CLI_OK && !all_hold) {
        fprintf(stderr, "temper: an expectation failed; the run is archived all the same\n");
        code = CLI_FAILED;
    }
    tm_run_free(run);
    tm_recipe_free(&recipe);
    cli_close(&context);
    return code;
}

static void print_plan_node(const cli_options *options, const cli_terminal *terminal, const tm_run *run,
                            size_t index) {
    const tm_node *node = &run->graph->nodes[index];
    const tm_run_node *state = &run->nodes[index];
    const char *what = state->state == TM_NODE_CACHED ? "cached" : "will run";
    size_t i;
    if (options->json) {
        char id[TM_DIGEST_TEXT];
        tm_digest_text(&state->stage_id, id);
        cli_event("node", "stage", node->name, "plugin", node->plugin, "state", what, "reason",
                  state->state == TM_NODE_CACHED ? NULL : state->reason, "stage_id",
                  state->state == TM_NODE_PENDING ? NULL : id, (char *)NULL);
        return;
    }
    printf(" %-*s %-8s  %s.%s", terminal->width, node->name, what, node->plugin, node->stage);
    for (i = 0; i < node->input_count; i++) {
        const tm_edge *edge = &node->inputs[i];
        printf("%s%s: ", i == 0 ? "  ← " : ", ", edge->name);
        if (edge->source >= 0) {
            printf("%s", run->graph->sources[edge->source].name);
        } else {
            printf("%s.%s", run->graph->nodes[edge->node].name, edge->output);
        }
    }
    printf("\n");
    if (state->state != TM_NODE_CACHED) {
        char time[16];
        printf(" %-*s %-8s  (%s", terminal->width, "", "", state->reason);
        if (state->last_seconds > 0) {
            printf("; the stage took %s the last time", tm_text_duration(state->last_seconds, time));
        }
        printf(")\n");
    }
}

int cli_plan(const cli_options *options) {
    cli_context context;
    cli_terminal terminal;
    tm_recipe recipe = {0};
    tm_run *run = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    size_t i;
    temper_status status = cli_open(options, &context, &error);
    if (status) {
        return cli_report(options, status, &error);
    }
    status = prepare(&context, options->arguments.items[0], &recipe, &run, &terminal, &error);
    if (status == TEMPER_OK) {
        cli_terminal_plan(&terminal, run);
        for (i = 0; i < run->graph->node_count; i++) {
            print_plan_node(options, &terminal, run, i);
        }
    }
    tm_run_free(run);
    tm_recipe_free(&recipe);
    cli_close(&context);
    return cli_report(options, status, &error);
}

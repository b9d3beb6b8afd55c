/* one.c: generate, score, selftest and bench: plans of one stage, run through a worker like anything else, not archived. */
#include "cli/cli.h"

#include <stdlib.h>
#include <unistd.h>

static bool set_source(temper_arena *arena, temper_json *sources, temper_json *edges,
                       const char *const input[3], const char *digest) {
    temper_json *source = tm_json_object(arena), *edge = tm_json_object(arena);
    return source != NULL && edge != NULL && tm_json_set_string(arena, source, "id", input[0]) &&
           tm_json_set_string(arena, source, "kind", input[1]) &&
           tm_json_set_string(arena, source, "name", input[0]) &&
           (input[2] != NULL ? tm_json_set_string(arena, source, "path", input[2])
                             : tm_json_set_string(arena, source, "digest", digest)) &&
           tm_json_append(arena, sources, source) && tm_json_set_string(arena, edge, "name", input[0]) &&
           tm_json_set_string(arena, edge, "kind", input[1]) &&
           tm_json_set_string(arena, edge, "source", input[0]) && tm_json_append(arena, edges, edge);
}

static temper_status make_graph(cli_context *context, temper_arena *arena, const cli_one *one, tm_graph **out,
                                temper_error *error) {
    temper_json *plan = tm_json_object(arena), *sources = tm_json_array(arena), *nodes = tm_json_array(arena),
                *node = tm_json_object(arena), *edges = tm_json_array(arena);
    const tm_plugin_entry *plugin = NULL;
    const temper_json *stage, *resolved = NULL;
    tm_buffer text = TM_BUFFER_INIT;
    int64_t revision = 0;
    bool made = plan != NULL && sources != NULL && nodes != NULL && node != NULL && edges != NULL;
    size_t i;
    temper_status status = tm_catalog_find(context->catalog, one->plugin, &plugin, error);
    if (status) {
        return status;
    }
    stage = tm_description_stage(plugin->description, one->stage);
    if (stage == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "plugin %s has no stage '%s'", one->plugin, one->stage);
    }
    status = tm_parameters_resolve(arena, stage, one->parameters, &resolved, error);
    if (status) {
        return temper_fail_in(error, status, "%s.%s", one->plugin, one->stage);
    }
    (void)tm_json_integer(tm_json_member(stage, "revision"), &revision);
    for (i = 0; made && i < one->input_count; i++) {
        made = set_source(arena, sources, edges, one->inputs[i], one->digests[i]);
    }
    made = made && tm_json_set_string(arena, node, "name", one->stage) &&
           tm_json_set_string(arena, node, "plugin", one->plugin) &&
           tm_json_set_string(arena, node, "version",
                              tm_json_text(tm_json_member(plugin->description, "version"), "")) &&
           tm_json_set_string(arena, node, "stage", one->stage) &&
           tm_json_set_integer(arena, node, "revision", revision) &&
           tm_json_set_string(arena, node, "label", "") && tm_json_set(arena, node, "parameters", resolved) &&
           tm_json_set(arena, node, "inputs", edges) && tm_json_append(arena, nodes, node) &&
           tm_json_set_integer(arena, plan, "temper", 1) &&
           tm_json_set_integer(arena, plan, "seed", context->options->seed) &&
           tm_json_set_string(arena, plan, "profile", context->options->profile) &&
           tm_json_set(arena, plan, "sources", sources) && tm_json_set(arena, plan, "nodes", nodes);
    status = made ? tm_json_write(plan, &text, error) : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    if (status == TEMPER_OK) {
        status = tm_graph_parse(text.data, text.length, out, error);
    }
    tm_buffer_free(&text);
    return status;
}

/* A blob output's bytes; nothing when the stage has no such output. */
static temper_status read_output(const cli_context *context, const tm_run *run, const char *name,
                                 tm_buffer *out, temper_error *error) {
    const tm_run_output_blob *made = tm_run_find_output(run, 0, name);
    const void *data;
    size_t size;
    temper_status status;
    if (made == NULL) {
        return TEMPER_OK;
    }
    status = tm_store_map(context->store, &made->digest, &data, &size, error);
    if (status == TEMPER_OK) {
        tm_buffer_append(out, data, size);
        tm_store_unmap(context->store, data, size);
        status = tm_buffer_ok(out) ? TEMPER_OK : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    return status;
}

temper_status cli_run_one(cli_context *context, temper_arena *arena, const cli_one *one, const char *output,
                          tm_buffer *out, tm_buffer *numbers, temper_error *error) {
    tm_run_options options = {.store = context->store, .catalog = context->catalog, .cancel = &cli_cancelled};
    cli_terminal terminal;
    tm_graph *graph = NULL;
    tm_run *run = NULL;
    temper_status status = make_graph(context, arena, one, &graph, error);
    if (status) {
        return status;
    }
    status = tm_graph_take_sources(graph, context->store, error);
    if (status) {
        goto out;
    }
    options.threads = cli_threads(context->options);
    options.memory = context->options->memory;
    options.fresh = one->fresh;
    cli_terminal_init(&terminal, context->options, graph, stderr);
    terminal.quiet =
        !terminal.rewrite || context->options->json; /* standard output carries the answer alone */
    terminal.passing = true;
    cli_terminal_options(&terminal, &options);
    status = tm_run_new(graph, &options, &run, error);
    status = status ? status : tm_run_execute(run, error);
    if (status) {
        goto out;
    }
    if (tm_run_find_output(run, 0, output) == NULL) {
        status = temper_fail(error, TEMPER_UNSUPPORTED, "%s.%s has no output '%s'", one->plugin, one->stage,
                             output);
        goto out;
    }
    if (one->made != NULL) {
        *one->made = tm_run_find_output(run, 0, output)->digest;
    } else {
        status = read_output(context, run, output, out, error);
    }
    status = status ? status : read_output(context, run, "metrics", numbers, error);
out:
    tm_run_free(run);
    tm_graph_free(graph);
    return status;
}

/* Opens, runs, and hands the answer on; the frame of all these commands. */
static int run_and_print(const cli_options *options, temper_arena *arena, const cli_one *one,
                         const char *output,
                         int (*print)(const cli_options *options, const tm_buffer *answer,
                                      const tm_buffer *numbers)) {
    cli_context context;
    temper_error error = TEMPER_ERROR_INIT;
    tm_buffer answer = TM_BUFFER_INIT, numbers = TM_BUFFER_INIT;
    temper_status status;
    int code;
    cli_watch_signals();
    status = cli_open(options, &context, &error);
    if (status) {
        return cli_report(options, status, &error);
    }
    status = cli_run_one(&context, arena, one, output, &answer, &numbers, &error);
    code = status ? cli_report(options, status, &error) : print(options, &answer, &numbers);
    tm_buffer_free(&answer);
    tm_buffer_free(&numbers);
    cli_close(&context);
    return code;
}

static int print_continuation(const cli_options *options, const tm_buffer *answer, const tm_buffer *numbers) {
    temper_arena *arena = tm_arena_new();
    temper_error error = TEMPER_ERROR_INIT;
    (void)numbers;
    temper_status status = arena == NULL ? temper_fail(&error, TEMPER_NO_MEMORY, "out of memory") : TEMPER_OK;
    if (status == TEMPER_OK && options->json) {
        fwrite(answer->data, 1, answer->length, stdout);
    }
    for (size_t at = 0; status == TEMPER_OK && !options->json && at < answer->length;) {
        const char *line = answer->data + at, *end = memchr(line, '\n', answer->length - at);
        size_t size = end != NULL ? (size_t)(end - line) : answer->length - at, length = 0;
        const temper_json *record = NULL;
        status = tm_json_parse(arena, line, size, &record, &error);
        if (status == TEMPER_OK) {
            const char *text = tm_json_string(tm_json_member(record, "response"), &length);
            fwrite(text != NULL ? text : "", 1, length, stdout);
            fputc('\n', stdout);
        }
        at += size + 1;
    }
    tm_arena_free(arena);
    return cli_report(options, status, &error);
}

static bool set_texts(temper_arena *arena, temper_json *parameters, const char *name, const cli_list *list) {
    temper_json *array = list->count > 0 ? tm_json_array(arena) : NULL;
    bool made = list->count == 0 || array != NULL;
    for (size_t i = 0; made && i < list->count; i++) {
        temper_json *text = tm_json_api.new_string(arena, list->items[i], strlen(list->items[i]));
        made = text != NULL && tm_json_append(arena, array, text);
    }
    return made && (list->count == 0 || tm_json_set(arena, parameters, name, array));
}

/* What only eval.complete knows beside the parameters of every sampling stage. */
static bool set_penalties(const cli_options *options, temper_arena *arena, temper_json *parameters) {
    const struct {
        const char *name;
        bool given;
        double value;
    } numbers[] = {
        {"min_p", options->given_min_p, options->min_p},
        {"repetition_penalty", options->given_repetition_penalty, options->repetition_penalty},
        {"presence_penalty", options->given_presence_penalty, options->presence_penalty},
        {"frequency_penalty", options->given_frequency_penalty, options->frequency_penalty},
    };
    bool made = true;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        made = made && (!numbers[i].given ||
                        tm_json_set_number(arena, parameters, numbers[i].name, numbers[i].value));
    }
    made = made &&
           (!options->given_samples || tm_json_set_integer(arena, parameters, "samples", options->samples));
    return made && set_texts(arena, parameters, "bias", &options->biases) &&
           set_texts(arena, parameters, "stop", &options->stops);
}

int cli_generate(const cli_options *options) {
    temper_arena *arena = tm_arena_new();
    temper_json *parameters = arena != NULL ? tm_json_object(arena) : NULL;
    cli_one one = {.plugin = "eval", .stage = "complete", .input_count = 1};
    bool made = parameters != NULL;
    int code;
    if (options->prompt == NULL) {
        fprintf(stderr, "temper generate: --prompt TEXT is missing\n");
        tm_arena_free(arena);
        return CLI_USAGE;
    }
    if (options->greedy && (options->given_temperature || options->given_top_k || options->given_top_p ||
                            options->given_min_p)) {
        fprintf(stderr, "temper generate: --greedy leaves nothing for --temperature, --top-k, --top-p or "
                        "--min-p to choose\n");
        tm_arena_free(arena);
        return CLI_USAGE;
    }
    made = made && tm_json_set_string(arena, parameters, "prompt", options->prompt) &&
           tm_json_set_boolean(arena, parameters, "raw", options->raw);
    if (options->greedy) {
        made = made && tm_json_set_number(arena, parameters, "temperature", 0);
    }
    if (options->given_temperature) {
        made = made && tm_json_set_number(arena, parameters, "temperature", options->temperature);
    }
    if (options->given_top_k) {
        made = made && tm_json_set_integer(arena, parameters, "top_k", options->top_k);
    }
    if (options->given_top_p) {
        made = made && tm_json_set_number(arena, parameters, "top_p", options->top_p);
    }
    if (options->given_max_tokens) {
        made = made && tm_json_set_integer(arena, parameters, "max_tokens", options->max_tokens);
    }
    made = made && set_penalties(options, arena, parameters);
    if (!made) {
        fprintf(stderr, "temper generate: the prompt is not UTF-8, or memory is short\n");
        tm_arena_free(arena);
        return CLI_FAILED;
    }
    one.parameters = parameters;
    one.inputs[0][0] = "model";
    one.inputs[0][1] = "model";
    one.inputs[0][2] = options->arguments.items[0];
    code = run_and_print(options, arena, &one, "responses", print_continuation);
    tm_arena_free(arena);
    return code;
}

static int print_metrics(const cli_options *options, const tm_buffer *answer, const tm_buffer *numbers) {
    temper_arena *arena = tm_arena_new();
    const temper_json *metrics = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    size_t i;
    temper_status status = arena == NULL
                               ? temper_fail(&error, TEMPER_NO_MEMORY, "out of memory")
                               : tm_json_parse(arena, answer->data, answer->length, &metrics, &error);
    (void)numbers;
    if (status == TEMPER_OK && options->json) {
        printf("%s\n", answer->data);
    } else {
        for (i = 0; i < tm_json_length(metrics); i++) {
            const temper_json *value;
            const char *name = tm_json_name(metrics, i, &value);
            double number = 0;
            int64_t whole;
            if (tm_json_integer(value, &whole)) {
                printf("%-16s %lld\n", name, (long long)whole);
            } else if (tm_json_double(value, &number)) {
                printf("%-16s %.6g\n", name, number);
            }
        }
    }
    tm_arena_free(arena);
    return cli_report(options, status, &error);
}

int cli_score(const cli_options *options) {
    temper_arena *arena = tm_arena_new();
    temper_json *parameters = arena != NULL ? tm_json_object(arena) : NULL;
    cli_one one = {.plugin = "eval", .stage = "score", .input_count = 2};
    bool made = parameters != NULL;
    int code;
    if (options->data == NULL) {
        fprintf(stderr, "temper score: --data FILE is missing\n");
        tm_arena_free(arena);
        return CLI_USAGE;
    }
    if (options->given_max_length) {
        made = made && tm_json_set_integer(arena, parameters, "max_length", options->max_length);
    }
    if (!made) {
        fprintf(stderr, "temper score: out of memory\n");
        tm_arena_free(arena);
        return CLI_FAILED;
    }
    one.parameters = parameters;
    one.inputs[0][0] = one.inputs[0][1] = "model";
    one.inputs[0][2] = options->arguments.items[0];
    one.inputs[1][0] = one.inputs[1][1] = "records";
    one.inputs[1][2] = options->data;
    code = run_and_print(options, arena, &one, "metrics", print_metrics);
    tm_arena_free(arena);
    return code;
}

/* The last line says how many disagreements there were; the stage's metrics say it too, as a number. */
static int print_selftest(const cli_options *options, const tm_buffer *answer, const tm_buffer *numbers) {
    temper_arena *arena = tm_arena_new();
    const temper_json *metrics = NULL;
    int64_t disagreements = -1;
    if (arena != NULL && numbers->length > 0 &&
        tm_json_parse(arena, numbers->data, numbers->length, &metrics, NULL) == TEMPER_OK) {
        (void)tm_json_integer(tm_json_member(metrics, "disagreements"), &disagreements);
    }
    if (options->json) {
        printf("%s\n", numbers->length > 0 ? numbers->data : "{}");
    } else {
        fwrite(answer->data != NULL ? answer->data : "", 1, answer->length, stdout);
    }
    tm_arena_free(arena);
    return disagreements == 0 ? CLI_OK : CLI_FAILED;
}

int cli_selftest(const cli_options *options) {
    temper_arena *arena = tm_arena_new();
    cli_one one = {.plugin = "native", .stage = "selftest", .fresh = true};
    temper_json *parameters;
    int code;
    if (!options->kernels) {
        fprintf(stderr, "temper selftest: say what to check: temper selftest --kernels\n");
        tm_arena_free(arena);
        return CLI_USAGE;
    }
    parameters = arena != NULL ? tm_json_object(arena) : NULL;
    if (parameters == NULL ||
        (options->given_seed && !tm_json_set_integer(arena, parameters, "seed", options->seed))) {
        fprintf(stderr, "temper selftest: out of memory\n");
        tm_arena_free(arena);
        return CLI_FAILED;
    }
    one.parameters = parameters;
    code = run_and_print(options, arena, &one, "lines", print_selftest);
    tm_arena_free(arena);
    return code;
}

static int print_bench(const cli_options *options, const tm_buffer *answer, const tm_buffer *numbers) {
    const tm_buffer *shown = options->json ? numbers : answer;
    fwrite(shown->data != NULL ? shown->data : "", 1, shown->length, stdout);
    if (shown->length > 0 && shown->data[shown->length - 1] != '\n') {
        fputc('\n', stdout);
    }
    return CLI_OK;
}

int cli_bench(const cli_options *options) {
    temper_arena *arena = tm_arena_new();
    cli_one one = {.plugin = "native", .stage = "bench", .fresh = true};
    temper_json *parameters = arena != NULL ? tm_json_object(arena) : NULL;
    int code;
    if (parameters == NULL ||
        (options->given_rounds && !tm_json_set_integer(arena, parameters, "rounds", options->rounds)) ||
        (options->full && (!tm_json_set_integer(arena, parameters, "sequences", 64) ||
                           !tm_json_set_integer(arena, parameters, "answers", 2000))) ||
        (options->parts && !tm_json_set_boolean(arena, parameters, "parts", true)) ||
        (options->shape != NULL && !tm_json_set_string(arena, parameters, "shape", options->shape)) ||
        !set_texts(arena, parameters, "only", &options->only)) {
        fprintf(stderr, "temper bench: out of memory\n");
        tm_arena_free(arena);
        return CLI_FAILED;
    }
    one.parameters = parameters;
    if (options->arguments.count > 0) {
        if (strcmp(options->arguments.items[0], "train") != 0) {
            fprintf(
                stderr,
                "temper bench: what is \"%s\"? It measures the machine, or (temper bench train) training\n",
                options->arguments.items[0]);
            tm_arena_free(arena);
            return CLI_USAGE;
        }
        one.plugin = "finetune";
    }
    if (options->model != NULL) {
        one.input_count = 1;
        one.inputs[0][0] = one.inputs[0][1] = "model";
        one.inputs[0][2] = options->model;
    }
    code = run_and_print(options, arena, &one, "lines", print_bench);
    tm_arena_free(arena);
    return code;
}

/* command_train.c: show-batch: which tokens a training stage would learn, in colour, or in brackets where there is none. */
#include "cli/cli.h"

#include <stdlib.h>
#include <unistd.h>

static bool coloured(void) {
    const char *none = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return (none == NULL || *none == 0) && isatty(STDOUT_FILENO) &&
           (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

/* A token's text with what would move the cursor shown instead. */
static void print_text(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '\n') {
            fputs("\xe2\x86\xb5\n", stdout); /* an arrow, and the line */
        } else if (byte < 0x20 || byte == 0x7f) {
            printf("<0x%02X>", byte);
        } else {
            putchar(byte);
        }
    }
}

static void print_row(const temper_json *row, bool colour) {
    const temper_json *tokens = tm_json_member(row, "tokens"), *trained = tm_json_member(row, "trained");
    int64_t record = 0, cut = 0, count = 0, is = 0, was = 0;
    size_t length = tm_json_length(tokens);
    const char *side = tm_json_text(tm_json_member(row, "side"), "");
    (void)tm_json_integer(tm_json_member(row, "record"), &record);
    (void)tm_json_integer(tm_json_member(row, "truncated"), &cut);
    for (size_t i = 0; i < length; i++) {
        count += tm_json_integer(tm_json_element(trained, i), &is) && is != 0;
    }
    printf("record %lld%s%s: %zu tokens, %lld trained", (long long)record, *side != 0 ? ", " : "", side,
           length, (long long)count);
    printf(cut > 0 ? ", %lld cut off\n" : "\n", (long long)cut);
    for (size_t i = 0; i < length; i++) {
        size_t bytes = 0;
        const char *text = tm_json_string(tm_json_element(tokens, i), &bytes);
        is = 0;
        (void)tm_json_integer(tm_json_element(trained, i), &is);
        if (colour) {
            fputs(is ? "\033[30;42m" : "\033[2m", stdout);
        } else if (is != was) {
            fputs(is ? "[" : "]", stdout);
        }
        fputs(i > 0 && (colour || is == was) ? "|" : "", stdout);
        print_text(text != NULL ? text : "", bytes);
        fputs(colour ? "\033[0m" : "", stdout);
        was = is;
    }
    fputs(!colour && was ? "]\n\n" : "\n\n", stdout);
}

int cli_show_batch(const cli_options *options) {
    temper_arena *arena = tm_arena_new();
    temper_json *parameters = arena != NULL ? tm_json_object(arena) : NULL;
    cli_one one = {.plugin = "finetune", .stage = "batch", .input_count = 2, .parameters = parameters};
    cli_context context;
    temper_error error = TEMPER_ERROR_INIT;
    tm_buffer answer = TM_BUFFER_INIT, numbers = TM_BUFFER_INIT;
    bool made = parameters != NULL;
    int code = CLI_USAGE;
    temper_status status;
    if (options->data == NULL) {
        fprintf(stderr, "temper show-batch: --data FILE is missing\n");
        goto out;
    }
    made =
        made &&
        (options->method == NULL || tm_json_set_string(arena, parameters, "method", options->method)) &&
        (options->train_on == NULL || tm_json_set_string(arena, parameters, "train_on", options->train_on)) &&
        (options->rows <= 0 || tm_json_set_integer(arena, parameters, "rows", options->rows)) &&
        (!options->given_max_length ||
         tm_json_set_integer(arena, parameters, "max_length", options->max_length));
    one.inputs[0][0] = one.inputs[0][1] = "model";
    one.inputs[0][2] = options->arguments.items[0];
    one.inputs[1][0] = one.inputs[1][1] = "records";
    one.inputs[1][2] = options->data;
    cli_watch_signals();
    status =
        made ? cli_open(options, &context, &error) : temper_fail(&error, TEMPER_NO_MEMORY, "out of memory");
    if (status) {
        code = cli_report(options, status, &error);
        goto out;
    }
    status = cli_run_one(&context, arena, &one, "tokens", &answer, &numbers, &error);
    if (status == TEMPER_OK && options->json) {
        fwrite(answer.data != NULL ? answer.data : "", 1, answer.length, stdout);
    }
    for (size_t at = 0; status == TEMPER_OK && !options->json && at < answer.length;) {
        const char *end = memchr(answer.data + at, '\n', answer.length - at);
        size_t length = end != NULL ? (size_t)(end - answer.data) - at : answer.length - at;
        const temper_json *row = NULL;
        status = tm_json_parse(arena, answer.data + at, length, &row, &error);
        if (status == TEMPER_OK) {
            print_row(row, coloured());
        }
        at += length + 1;
    }
    code = status ? cli_report(options, status, &error) : CLI_OK;
    cli_close(&context);
out:
    tm_buffer_free(&answer);
    tm_buffer_free(&numbers);
    tm_arena_free(arena);
    return code;
}

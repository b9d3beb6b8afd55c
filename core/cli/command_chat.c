/* command_chat.c: talking with a model, or with a base and what a run made of it, side by side. */
#include "cli/cli.h"
#include "scheduler/sources.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct talker {
    const char *label;
    tm_session *session;
    temper_json *messages; /* its own history */
    tm_buffer answer;
} talker;

static void take_piece(void *context, const char *text, size_t length) {
    talker *self = context;
    tm_buffer_append(&self->answer, text, length);
    fwrite(text, 1, length, stdout);
    fflush(stdout);
}

static bool add_message(temper_arena *arena, temper_json *messages, const char *role, const char *text,
                        size_t length) {
    temper_json *message = tm_json_object(arena);
    return message != NULL && tm_json_set_string(arena, message, "role", role) &&
           tm_json_set(arena, message, "content", tm_json_new_string(arena, text, length)) &&
           tm_json_append(arena, messages, message);
}

static bool forget(const cli_options *options, temper_arena *arena, talker *self) {
    self->messages = tm_json_array(arena);
    return self->messages != NULL &&
           (options->system == NULL ||
            add_message(arena, self->messages, "system", options->system, strlen(options->system)));
}

static temper_status open_talker(cli_context *context, temper_arena *arena, const char *model,
                                 const char *label, talker *out, temper_error *error) {
    const tm_plugin_entry *provider = NULL;
    temper_json *job = tm_json_object(arena), *inputs = tm_json_array(arena), *input = tm_json_object(arena);
    char text[TM_DIGEST_TEXT];
    tm_digest digest;
    temper_status status = tm_source_take(context->store, TM_MODEL, model, &digest, error);
    status = status ? status : tm_catalog_provider(context->catalog, &provider, error);
    if (status) {
        return status;
    }
    out->label = label;
    tm_digest_text(&digest, text);
    if (job == NULL || inputs == NULL || input == NULL || !tm_json_set_boolean(arena, job, "serve", true) ||
        !tm_json_set_string(arena, job, "store", tm_store_root(context->store)) ||
        !tm_json_set_string(arena, job, "provider", provider->path) ||
        !tm_json_set_string(arena, input, "name", "model") ||
        !tm_json_set_string(arena, input, "kind", "model") ||
        !tm_json_set_string(arena, input, "digest", text) || !tm_json_append(arena, inputs, input) ||
        !tm_json_set(arena, job, "inputs", inputs) ||
        !tm_json_set_string(arena, job, "profile", context->options->profile) ||
        !tm_json_set_integer(arena, job, "threads", cli_threads(context->options)) ||
        !tm_json_set_integer(arena, job, "memory", (int64_t)context->options->memory) ||
        !forget(context->options, arena, out)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory, or a text that is not UTF-8");
    }
    return tm_session_open(tm_catalog_worker(context->catalog, NULL), job, &out->session, error);
}

static temper_status ask(const cli_options *options, temper_arena *arena, talker *self, const char *question,
                         size_t length, int64_t turn_number, temper_error *error) {
    temper_json *turn = tm_json_object(arena);
    temper_status status;
    tm_buffer_clear(&self->answer);
    if (turn == NULL || !add_message(arena, self->messages, "user", question, length) ||
        !tm_json_set(arena, turn, "messages", self->messages) ||
        !tm_json_set_integer(arena, turn, "max_tokens",
                             options->given_max_tokens ? options->max_tokens : 256) ||
        !tm_json_set_number(arena, turn, "temperature",
                            options->given_temperature ? options->temperature : 0.7) ||
        !tm_json_set_integer(arena, turn, "top_k", options->top_k) ||
        !tm_json_set_number(arena, turn, "top_p", options->given_top_p ? options->top_p : 1) ||
        !tm_json_set_integer(arena, turn, "seed", options->seed) ||
        !tm_json_set_integer(arena, turn, "turn", turn_number)) {
        return temper_fail(error, TEMPER_INVALID, "that line is not UTF-8");
    }
    if (self->label != NULL) {
        printf("%s> ", self->label);
        fflush(stdout);
    }
    status = tm_session_ask(self->session, turn, take_piece, self, &cli_cancelled, error);
    printf("\n");
    if (status == TEMPER_OK &&
        !add_message(arena, self->messages, "assistant", self->answer.data != NULL ? self->answer.data : "",
                     self->answer.length)) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    return status;
}

static temper_status talk(const cli_options *options, temper_arena *arena, talker *talkers, size_t count,
                          temper_error *error) {
    bool person = isatty(STDIN_FILENO);
    char *line = NULL;
    size_t capacity = 0, i;
    int64_t turn = 0;
    temper_status status = TEMPER_OK;
    if (person) {
        fprintf(stderr, "/reset forgets, /quit or Ctrl-D ends\n");
    }
    while (status == TEMPER_OK && !cli_cancelled) {
        ssize_t length;
        if (person) {
            printf("you> ");
            fflush(stdout);
        }
        errno = 0;
        length = getline(&line, &capacity, stdin);
        if (length < 0) {
            break;
        }
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r')) {
            line[--length] = 0;
        }
        if (length == 0) {
            continue;
        }
        if (strcmp(line, "/quit") == 0) {
            break;
        }
        if (strcmp(line, "/reset") == 0) {
            for (i = 0; i < count; i++) {
                (void)forget(options, arena, &talkers[i]);
            }
            continue;
        }
        for (i = 0; i < count && status == TEMPER_OK; i++) {
            status = ask(options, arena, &talkers[i], line, (size_t)length, turn, error);
        }
        turn++;
        if (person &&
            status == TEMPER_INVALID) { /* say it and go on: a question too long, bytes that are no text */
            fprintf(stderr, "temper: %s\n", error->message);
            status = TEMPER_OK;
        }
    }
    free(line);
    return status;
}

int cli_chat(const cli_options *options) {
    cli_context context;
    talker talkers[2];
    temper_arena *arena = tm_arena_new();
    temper_error error = TEMPER_ERROR_INIT;
    size_t count = options->adapter != NULL ? 2 : 1, i;
    const char *models[2] = {options->arguments.items[0], options->adapter};
    static const char *const labels[2] = {"base", "tuned"};
    temper_status status;
    memset(talkers, 0, sizeof talkers);
    cli_watch_signals();
    status = arena == NULL ? temper_fail(&error, TEMPER_NO_MEMORY, "out of memory")
                           : cli_open(options, &context, &error);
    if (status) {
        tm_arena_free(arena);
        return cli_report(options, status, &error);
    }
    for (i = 0; i < count && status == TEMPER_OK; i++) {
        status = open_talker(&context, arena, models[i], count == 2 ? labels[i] : NULL, &talkers[i], &error);
    }
    if (status == TEMPER_OK) {
        status = talk(options, arena, talkers, count, &error);
    }
    for (i = 0; i < count; i++) {
        if (talkers[i].session != NULL) {
            tm_session_close(talkers[i].session);
        }
        tm_buffer_free(&talkers[i].answer);
    }
    cli_close(&context);
    tm_arena_free(arena);
    return cli_report(options, status, &error);
}

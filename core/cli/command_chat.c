/* command_chat.c: talking with a model, or with a base and adapters on it, side by side. */
#include "cli/stack.h"

#include <temper/model.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct talker {
    const char *label;
    tm_session *session; /* several talkers may share one */
    bool owner, chooses; /* chooses: an adapter of the session's model */
    int64_t adapter;
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

static temper_status open_session(cli_context *context, temper_arena *arena, const tm_digest *digest,
                                  tm_session **out, temper_error *error) {
    const tm_plugin_entry *provider = NULL;
    temper_json *job = tm_json_object(arena), *inputs = tm_json_array(arena), *input = tm_json_object(arena);
    char text[TM_DIGEST_TEXT];
    temper_status status = tm_catalog_provider(context->catalog, &provider, error);
    if (status) {
        return status;
    }
    tm_digest_text(digest, text);
    if (job == NULL || inputs == NULL || input == NULL || !tm_json_set_boolean(arena, job, "serve", true) ||
        !tm_json_set_string(arena, job, "store", tm_store_root(context->store)) ||
        !tm_json_set_string(arena, job, "provider", provider->path) ||
        !tm_json_set_string(arena, input, "name", "model") ||
        !tm_json_set_string(arena, input, "kind", "model") ||
        !tm_json_set_string(arena, input, "digest", text) || !tm_json_append(arena, inputs, input) ||
        !tm_json_set(arena, job, "inputs", inputs) ||
        !tm_json_set_string(arena, job, "profile", context->options->profile) ||
        !tm_json_set_integer(arena, job, "threads", cli_threads(context->options)) ||
        !tm_json_set_integer(arena, job, "memory", (int64_t)context->options->memory)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory, or a text that is not UTF-8");
    }
    return tm_session_open(tm_catalog_worker(context->catalog, NULL), job, out, error);
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
        (self->chooses && !tm_json_set_integer(arena, turn, "adapter", self->adapter)) ||
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

/* A file's name without its folder and ending. */
static const char *short_name(temper_arena *arena, const char *name) {
    const char *slash = strrchr(name, '/'), *start = slash != NULL && slash[1] != 0 ? slash + 1 : name;
    size_t length = strlen(start);
    const char *dot = strrchr(start, '.');
    if (dot != NULL && dot != start) {
        length = (size_t)(dot - start);
    }
    char *copy = tm_arena_allocate(arena, length + 1);
    if (copy != NULL) {
        memcpy(copy, start, length);
        copy[length] = 0;
    }
    return copy != NULL ? copy : "?";
}

typedef struct company {
    talker *talkers;
    size_t count;
    cli_model base, *others;
    size_t other_count;
    const cli_model **adapters;
    size_t adapter_count;
} company;

/* The base answers first; then the others in the order they were named. Adapters share the base's session. */
static temper_status open_all(cli_context *context, temper_arena *arena, company *self, temper_error *error) {
    const cli_list *names = &context->options->adapters;
    tm_digest digest;
    temper_status status =
        cli_stack_take(context->store, context->options->arguments.items[0], &self->base, error);
    for (; status == TEMPER_OK && self->other_count < names->count; self->other_count++) {
        cli_model *other = &self->others[self->other_count];
        status = cli_stack_take(context->store, names->items[self->other_count], other, error);
        if (status == TEMPER_OK && other->adapter) {
            self->adapters[self->adapter_count++] = other;
        }
    }
    if (status == TEMPER_OK && self->adapter_count > 0 && self->base.adapter) {
        status = temper_fail(error, TEMPER_INVALID,
                             "%s is an adapter itself: name its base, and this with --adapter like the other",
                             self->base.name);
    }
    digest = self->base.digest;
    if (status == TEMPER_OK && self->adapter_count > 0) {
        status =
            cli_stack_make(context->store, &self->base, self->adapters, self->adapter_count, &digest, error);
    }
    talker *base = &self->talkers[self->count++];
    base->owner = true;
    base->chooses = self->adapter_count > 0;
    base->adapter = TEMPER_NO_ADAPTER;
    base->label = names->count > 0 ? "base" : NULL;
    status = status ? status : open_session(context, arena, &digest, &base->session, error);
    for (size_t i = 0, adapter = 0; i < names->count && status == TEMPER_OK; i++) {
        talker *one = &self->talkers[self->count++];
        one->label = names->count == 1 ? "tuned" : short_name(arena, names->items[i]);
        if (self->others[i].adapter) {
            one->session = base->session;
            one->chooses = true;
            one->adapter = (int64_t)adapter++;
        } else {
            one->owner = true;
            status = open_session(context, arena, &self->others[i].digest, &one->session, error);
        }
    }
    for (size_t i = 0; i < self->count && status == TEMPER_OK; i++) {
        if (!forget(context->options, arena, &self->talkers[i])) {
            status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory, or a text that is not UTF-8");
        }
    }
    return status;
}

static void close_all(company *self) {
    for (size_t i = 0; i < self->count; i++) {
        if (self->talkers[i].owner && self->talkers[i].session != NULL) {
            tm_session_close(self->talkers[i].session);
        }
        tm_buffer_free(&self->talkers[i].answer);
    }
    cli_stack_release(&self->base);
    for (size_t i = 0; i < self->other_count; i++) {
        cli_stack_release(&self->others[i]);
    }
}

int cli_chat(const cli_options *options) {
    cli_context context;
    company all;
    temper_arena *arena = tm_arena_new();
    temper_error error = TEMPER_ERROR_INIT;
    size_t most = options->adapters.count + 1;
    temper_status status;
    memset(&all, 0, sizeof all);
    cli_watch_signals();
    all.talkers = calloc(most, sizeof *all.talkers);
    all.others = calloc(most, sizeof *all.others);
    all.adapters = calloc(most, sizeof *all.adapters);
    status = arena == NULL || all.talkers == NULL || all.others == NULL || all.adapters == NULL
                 ? temper_fail(&error, TEMPER_NO_MEMORY, "out of memory")
                 : cli_open(options, &context, &error);
    if (status == TEMPER_OK) {
        status = open_all(&context, arena, &all, &error);
        status = status ? status : talk(options, arena, all.talkers, all.count, &error);
        close_all(&all);
        cli_close(&context);
    }
    free(all.talkers);
    free(all.others);
    free(all.adapters);
    tm_arena_free(arena);
    return cli_report(options, status, &error);
}

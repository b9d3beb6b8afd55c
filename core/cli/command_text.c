/* command_text.c: tokenize and render: JSON lines in, JSON lines out, by a worker that keeps the tokenizer or the template
 * open. A bad record is answered in its place and remembered for the exit code.
 *
 * Invariant: what has been read is answered before more is waited for, so the commands can stand in a pipe. */
#include "base/text.h"
#include "cli/cli.h"
#include "plugin/job.h"
#include "scheduler/sources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { READ_SIZE = 1 << 18 };
static const char error_mark[] = "{\"error\":";

typedef struct stream {
    const cli_options *options;
    const char *work;
    tm_session *session;
    temper_arena *arena; /* of the turn at hand */
    temper_json *records;
    bool failed; /* some record was */
} stream;

static temper_status open_stream(cli_context *context, temper_arena *arena, stream *out,
                                 temper_error *error) {
    const tm_plugin_entry *provider = NULL;
    temper_json *job = tm_json_object(arena), *inputs = tm_json_array(arena), *input = tm_json_object(arena);
    char text[TM_DIGEST_TEXT];
    tm_digest digest;
    temper_status status =
        tm_source_take(context->store, TM_MODEL, out->options->arguments.items[0], &digest, error);
    status = status ? status : tm_catalog_provider(context->catalog, &provider, error);
    if (status) {
        return status;
    }
    tm_digest_text(&digest, text);
    if (job == NULL || inputs == NULL || input == NULL || !tm_json_set_string(arena, job, "serve", "text") ||
        !tm_json_set_string(arena, job, "store", tm_store_root(context->store)) ||
        !tm_json_set_string(arena, job, "provider", provider->path) ||
        !tm_json_set_string(arena, input, "name", "model") ||
        !tm_json_set_string(arena, input, "kind", "model") ||
        !tm_json_set_string(arena, input, "digest", text) || !tm_json_append(arena, inputs, input) ||
        !tm_json_set(arena, job, "inputs", inputs) || !tm_json_set_integer(arena, job, "threads", 1)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    return tm_session_open(tm_catalog_worker(context->catalog, NULL), job, &out->session, error);
}

/* Whole lines, as they came. */
static void take_lines(void *context, const char *text, size_t length) {
    stream *self = context;
    fwrite(text, 1, length, stdout);
    for (size_t at = 0; at < length && !self->failed;) {
        const char *end = memchr(text + at, '\n', length - at);
        self->failed =
            length - at > sizeof error_mark - 1 && memcmp(text + at, error_mark, sizeof error_mark - 1) == 0;
        at = end == NULL ? length : (size_t)(end - text) + 1;
    }
}

static temper_status flush(stream *self, temper_error *error) {
    temper_json *turn = tm_json_length(self->records) > 0 ? tm_json_object(self->arena) : NULL;
    temper_status status = TEMPER_OK;
    if (tm_json_length(self->records) > 0) {
        bool made = turn != NULL && tm_json_set_string(self->arena, turn, "work", self->work) &&
                    tm_json_set_boolean(self->arena, turn, "special", self->options->special) &&
                    tm_json_set_boolean(self->arena, turn, "bare", self->options->bare) &&
                    tm_json_set(self->arena, turn, "records", self->records);
        status = made ? tm_session_ask(self->session, turn, take_lines, self, &cli_cancelled, error)
                      : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    fflush(stdout);
    tm_arena_free(self->arena);
    self->arena = tm_arena_new();
    self->records = self->arena == NULL ? NULL : tm_json_array(self->arena);
    return status                  ? status
           : cli_cancelled         ? temper_fail(error, TEMPER_CANCELLED, "stopped")
           : self->records == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "out of memory")
                                   : TEMPER_OK;
}

/* One line; a blank one is none. Bytes that are no UTF-8 cannot go to the worker: they are answered here. */
static temper_status add_line(stream *self, const char *line, size_t length, temper_error *error) {
    size_t bad = 0;
    while (length > 0 && (line[length - 1] == '\r' || line[length - 1] == ' ' || line[length - 1] == '\t')) {
        length--;
    }
    if (length == 0) {
        return TEMPER_OK;
    }
    if (!tm_text_utf8(line, length, &bad)) {
        temper_status status = flush(self, error);
        printf("%s\"the record is not UTF-8 at byte %zu\"}\n", error_mark, bad + 1);
        self->failed = true;
        return status;
    }
    temper_json *text = tm_json_new_string(self->arena, line, length);
    return text != NULL && tm_json_append(self->arena, self->records, text)
               ? TEMPER_OK
               : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
}

/* Reads what there is, answers the lines in it, keeps the beginning of the next one. */
static temper_status answer_all(stream *self, int input, temper_error *error) {
    tm_buffer text = TM_BUFFER_INIT;
    temper_status status = TEMPER_OK;
    ssize_t got = 1;
    while (!status && got != 0) {
        size_t at = 0;
        if (!tm_buffer_reserve(&text, READ_SIZE)) {
            status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
            break;
        }
        got = read(input, text.data + text.length, READ_SIZE);
        if (got < 0) {
            status = errno == EINTR
                         ? TEMPER_OK
                         : temper_fail(error, TEMPER_FAILED, "reading the records: %s", strerror(errno));
            status = cli_cancelled ? temper_fail(error, TEMPER_CANCELLED, "stopped") : status;
            got = 1;
            continue;
        }
        text.length += (size_t)got;
        while (!status && at < text.length) {
            const char *line = text.data + at, *end = memchr(line, '\n', text.length - at);
            if (end == NULL && got != 0) {
                break;
            }
            size_t length = end == NULL ? text.length - at : (size_t)(end - line);
            status = add_line(self, line, length, error);
            at += length + (end != NULL);
        }
        memmove(text.data, text.data + at, text.length - at);
        text.length -= at;
        status = status ? status : flush(self, error);
    }
    tm_buffer_free(&text);
    return status;
}

static int run_stream(const cli_options *options, const char *work) {
    const char *path = options->arguments.count > 1 ? options->arguments.items[1] : "-";
    int input = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    stream self = {.options = options, .work = work, .arena = tm_arena_new()};
    temper_arena *arena = tm_arena_new();
    cli_context context;
    temper_error error = TEMPER_ERROR_INIT;
    temper_status status = TEMPER_OK;
    self.records = self.arena == NULL ? NULL : tm_json_array(self.arena);
    cli_watch_signals();
    if (input < 0) {
        status = temper_fail(&error, TEMPER_INVALID, "%s: %s", path, strerror(errno));
    } else if (arena == NULL || self.records == NULL) {
        status = temper_fail(&error, TEMPER_NO_MEMORY, "out of memory");
    }
    if (!status && (status = cli_open(options, &context, &error)) == TEMPER_OK) {
        status = open_stream(&context, arena, &self, &error);
        status = status ? status : answer_all(&self, input, &error);
        tm_session_close(self.session);
        cli_close(&context);
    }
    if (input > STDIN_FILENO) {
        close(input);
    }
    tm_arena_free(self.arena);
    tm_arena_free(arena);
    return status ? cli_report(options, status, &error) : self.failed ? CLI_FAILED : CLI_OK;
}

int cli_tokenize(const cli_options *options) {
    return run_stream(options, options->decode ? "decode" : "tokenize");
}

int cli_render(const cli_options *options) {
    return run_stream(options, "render");
}

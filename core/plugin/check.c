/* check.c: see check.h. A table of trials a stage; the first, with nothing odd about it, is what the others are held to. */
#include "plugin/check.h"

#include "base/file.h"
#include "plugin/child.h"
#include "plugin/job.h"
#include <stdlib.h>
#include <string.h>

enum { RECORDS_MADE = 40, LARGEST_INPUT = 1 << 30, MOST_ALLOCATIONS = 100000 };
static const double slow_description = 1.0; /* seconds: every `temper help` waits for it once */

typedef struct checker {
    const tm_check_request *request;
    temper_arena *arena;
    const temper_json *stage; /* described */
    const char *stage_name;
    const temper_json *parameters;
    bool made_up;     /* some input was: then a refusal is no fault */
    bool has_records; /* some input is records */
    bool unsteady;    /* its bits differ without cause: said once is enough */
    size_t failures;
} checker;

/* One way to run a stage. */
typedef struct check_trial {
    int64_t threads, batch, refuse_after;
    const char *spoil; /* JSONL that stands in for every records input, or NULL */
    bool cancel;
} check_trial;

typedef struct outcome {
    temper_status status;
    temper_error error;
    const char *digests; /* of all outputs, in order; NULL when it failed */
    const char *died;    /* NULL: it spoke to the end */
    double seconds;
} outcome;

__attribute__((format(printf, 3, 4))) static void say(checker *c, tm_check_verdict verdict,
                                                      const char *format, ...) {
    char line[1400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    c->failures += verdict == TM_CHECK_BAD;
    c->request->say(c->request->context, verdict, line);
}

static const char *text_of(const temper_json *object, const char *name) {
    return tm_json_text(tm_json_member(object, name), "");
}

/* --- made-up input ---------------------------------------------------------------------------------------------- */

static bool set_messages(temper_arena *arena, temper_json *record, const char *name, int number) {
    static const char *const roles[] = {"user", "assistant"};
    temper_json *list = tm_json_array(arena);
    bool ok = list != NULL;
    for (int i = 0; ok && i < 2; i++) {
        temper_json *message = tm_json_object(arena);
        char *text =
            tm_arena_format(arena, "%s number %d.", i == 0 ? "Question" : "An answer to question", number);
        ok = message != NULL && text != NULL && tm_json_set_string(arena, message, "role", roles[i]) &&
             tm_json_set_string(arena, message, "content", text) && tm_json_append(arena, list, message);
    }
    return ok && tm_json_set(arena, record, name, list);
}

/* A record with each of the fields "a, b, c" that a port names; any word that is no name is left out. */
static temper_json *make_record(temper_arena *arena, const char *fields, int number) {
    temper_json *record = tm_json_object(arena);
    bool ok = record != NULL;
    while (ok && *fields != 0) {
        size_t length = strspn(fields, "abcdefghijklmnopqrstuvwxyz0123456789_");
        char *name = tm_arena_copy(arena, fields, length);
        if (length == 0) {
            fields++;
        } else if (strcmp(name, "messages") == 0) {
            ok = set_messages(arena, record, name, number);
        } else {
            ok = tm_json_set_string(arena, record, name,
                                    tm_arena_format(arena, "The %s of number %d.", name, number));
        }
        fields += length;
    }
    return ok ? record : NULL;
}

static bool make_records(temper_arena *arena, const char *fields, tm_buffer *out) {
    bool ok = true;
    for (int i = 0; ok && i < RECORDS_MADE; i++) {
        temper_json *record =
            make_record(arena, *fields != 0 ? fields : "text", i % (RECORDS_MADE - 8)); /* some twice */
        ok = record != NULL && tm_json_write(record, out, NULL) == TEMPER_OK;
        tm_buffer_byte(out, '\n');
    }
    return ok && tm_buffer_ok(out);
}

/* Made-up bytes for a port; false for a kind that cannot be made up. */
static bool make_input(temper_arena *arena, const temper_json *port, tm_buffer *out) {
    const char *kind = text_of(port, "kind");
    if (strcmp(kind, "records") == 0) {
        return make_records(arena, text_of(port, "fields"), out);
    }
    if (strcmp(kind, "character") == 0) {
        tm_buffer_text(out, "{\"additional_questions\":[],\"questions\":[\"What "
                            "now?\",\"Why?\"],\"trait\":\"I am calm.\"}\n");
    } else if (strcmp(kind, "text") == 0) {
        tm_buffer_text(out, "as an example\nof a text\n");
    } else if (strcmp(kind, "metrics") == 0) {
        tm_buffer_text(out, "{\"score\":0.5}");
    } else if (strcmp(kind, "report") == 0) {
        tm_buffer_text(out, "<!doctype html><p>A page.</p>\n");
    } else {
        return false;
    }
    return tm_buffer_ok(out);
}

/* The path that the author gave for an input, or NULL. */
static const char *given_path(const tm_check_request *request, const char *name) {
    size_t length = strlen(name);
    for (size_t i = 0; i < request->input_count; i++) {
        if (strncmp(request->inputs[i], name, length) == 0 && request->inputs[i][length] == '=') {
            return request->inputs[i] + length + 1;
        }
    }
    return NULL;
}

/* People keep records as one JSON list, too; a run takes such a file into the store as lines (a text alone is a trait). */
static temper_status list_to_lines(temper_arena *arena, tm_buffer *bytes, temper_error *error) {
    const temper_json *list = NULL;
    size_t start = bytes->length > 0 ? strspn(bytes->data, " \t\r\n") : 0;
    if (start >= bytes->length || bytes->data[start] != '[') {
        return TEMPER_OK;
    }
    temper_status status = tm_json_parse(arena, bytes->data, bytes->length, &list, error);
    tm_buffer_clear(bytes);
    for (size_t i = 0; i < tm_json_length(list) && !status; i++) {
        const temper_json *item = tm_json_element(list, i);
        temper_json *record = tm_json_kind(item) == TEMPER_JSON_STRING ? tm_json_object(arena) : NULL;
        if (record != NULL && !tm_json_set(arena, record, "trait", item)) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory to check a plugin");
        }
        status = tm_json_write(record != NULL ? record : item, bytes, error);
        tm_buffer_byte(bytes, '\n');
    }
    return status;
}

static temper_status take_given(checker *c, const temper_json *port, const char *path, tm_digest *digest,
                                temper_error *error) {
    if (strcmp(text_of(port, "kind"), "model") == 0) {
        return tm_store_put_folder(c->request->store, path, digest, error);
    }
    tm_buffer bytes = TM_BUFFER_INIT;
    const char *kind = text_of(port, "kind");
    temper_status status = tm_file_read(path, LARGEST_INPUT, &bytes, error);
    if (!status && (strcmp(kind, "records") == 0 || strcmp(kind, "character") == 0)) {
        status = list_to_lines(c->arena, &bytes, error);
    }
    if (!status) {
        status = tm_store_put(c->request->store, bytes.data, bytes.length, digest, error);
    }
    tm_buffer_free(&bytes);
    return status;
}

/* TEMPER_END: nothing to be had for this input. */
static temper_status take_input(checker *c, const temper_json *port, const char *spoil, tm_digest *digest,
                                temper_error *error) {
    const char *path = given_path(c->request, text_of(port, "name"));
    bool records = strcmp(text_of(port, "kind"), "records") == 0;
    tm_buffer bytes = TM_BUFFER_INIT;
    c->has_records = c->has_records || records;
    if (records && spoil != NULL) {
        return tm_store_put(c->request->store, spoil, strlen(spoil), digest, error);
    }
    if (path != NULL) {
        return take_given(c, port, path, digest, error);
    }
    c->made_up = true;
    temper_status status = make_input(c->arena, port, &bytes)
                               ? tm_store_put(c->request->store, bytes.data, bytes.length, digest, error)
                               : TEMPER_END;
    tm_buffer_free(&bytes);
    return status;
}

static temper_status make_inputs(checker *c, const char *spoil, temper_json *list, const char **missing,
                                 temper_error *error) {
    const temper_json *ports = tm_json_member(c->stage, "inputs");
    for (size_t i = 0; i < tm_json_length(ports); i++) {
        const temper_json *port = tm_json_element(ports, i);
        temper_json *entry = tm_json_object(c->arena);
        char text[TM_DIGEST_TEXT];
        tm_digest digest;
        bool optional = false;
        tm_json_boolean(tm_json_member(port, "optional"), &optional);
        if (optional && given_path(c->request, text_of(port, "name")) == NULL) {
            continue;
        }
        temper_status status = take_input(c, port, spoil, &digest, error);
        if (status) {
            *missing = text_of(port, "name");
            return status;
        }
        tm_digest_text(&digest, text);
        if (entry == NULL || !tm_json_set_string(c->arena, entry, "name", text_of(port, "name")) ||
            !tm_json_set_string(c->arena, entry, "kind", text_of(port, "kind")) ||
            !tm_json_set_string(c->arena, entry, "digest", text) || !tm_json_append(c->arena, list, entry)) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory to check a plugin");
        }
    }
    return TEMPER_OK;
}

/* A value for a required parameter that nobody gave. */
static const temper_json *make_value(temper_arena *arena, const temper_json *row) {
    const char *type = text_of(row, "type");
    const temper_json *least = tm_json_member(row, "minimum"),
                      *choice = tm_json_element(tm_json_member(row, "choices"), 0);
    if (strcmp(type, "integer") == 0 || strcmp(type, "number") == 0) {
        return least != NULL ? least : tm_json_api.new_integer(arena, 1);
    }
    if (strcmp(type, "flag") == 0) {
        return tm_json_api.new_boolean(arena, false);
    }
    if (strcmp(type, "strings") == 0) {
        return tm_json_array(arena);
    }
    return choice != NULL ? choice : tm_json_api.new_string(arena, "example", 7);
}

/* What the author gave for this stage's parameters, and something for each required one that is left. */
static temper_status make_parameters(checker *c, temper_error *error) {
    const temper_json *rows = tm_json_member(c->stage, "parameters");
    temper_json *given = tm_json_object(c->arena);
    for (size_t i = 0; i < tm_json_length(rows); i++) {
        const temper_json *row = tm_json_element(rows, i);
        const char *name = text_of(row, "name");
        const temper_json *value = tm_json_member(c->request->parameters, name);
        if (value == NULL && tm_json_member(row, "default") == NULL) {
            value = make_value(c->arena, row);
        }
        if (given == NULL || (value != NULL && !tm_json_set(c->arena, given, name, value))) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory to check a plugin");
        }
    }
    return tm_parameters_resolve(c->arena, c->stage, given, &c->parameters, error);
}

/* --- trials ----------------------------------------------------------------------------------------------------- */

static temper_json *make_job(checker *c, const check_trial *trial, const temper_json *inputs) {
    temper_arena *a = c->arena;
    temper_json *job = tm_json_object(a);
    bool ok =
        job != NULL && tm_json_set_string(a, job, "store", tm_store_root(c->request->store)) &&
        tm_json_set_string(a, job, "plugin", c->request->file) &&
        (c->request->provider == NULL || tm_json_set_string(a, job, "provider", c->request->provider)) &&
        tm_json_set_string(a, job, "stage", c->stage_name) &&
        tm_json_set_string(a, job, "seed_path", "0/check/") &&
        tm_json_set_string(a, job, "profile", "bf16/1") &&
        tm_json_set_integer(a, job, "threads", trial->threads) &&
        tm_json_set_integer(a, job, "refuse_after", trial->refuse_after) &&
        tm_json_set_integer(a, job, "batch", trial->batch) &&
        tm_json_set(a, job, "parameters", c->parameters) && tm_json_set(a, job, "inputs", inputs);
    return ok ? job : NULL;
}

static const char *join_digests(temper_arena *arena, const temper_json *outputs) {
    tm_buffer text = TM_BUFFER_INIT;
    for (size_t i = 0; i < tm_json_length(outputs); i++) {
        tm_buffer_format(&text, "%s ", text_of(tm_json_element(outputs, i), "digest"));
    }
    const char *joined =
        tm_buffer_ok(&text) ? tm_arena_copy(arena, text.length > 0 ? text.data : "", text.length) : NULL;
    tm_buffer_free(&text);
    return joined;
}

static temper_status run_trial(checker *c, const check_trial *trial, outcome *out, const char **missing,
                               temper_error *error) {
    static const volatile int now = 1;
    temper_json *inputs = tm_json_array(c->arena), *statistics = NULL;
    const temper_json *outputs = NULL;
    memset(out, 0, sizeof *out);
    out->error.size = sizeof out->error;
    *missing = NULL;
    temper_status status =
        inputs == NULL ? TEMPER_NO_MEMORY : make_inputs(c, trial->spoil, inputs, missing, error);
    temper_json *job = status ? NULL : make_job(c, trial, inputs);
    if (status) {
        return status;
    }
    if (job == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to check a plugin");
    }
    out->status = tm_job_run(c->request->worker, job, NULL, trial->cancel ? &now : c->request->cancel,
                             c->arena, &outputs, &statistics, &out->error);
    out->digests = out->status == TEMPER_OK ? join_digests(c->arena, outputs) : NULL;
    out->died = tm_json_text(tm_json_member(statistics, "died"), NULL);
    tm_json_double(tm_json_member(statistics, "seconds"), &out->seconds);
    if (tm_cancel_wanted(c->request->cancel)) {
        return temper_fail(error, TEMPER_CANCELLED, "stopped");
    }
    return TEMPER_OK;
}

/* The same bits as the first time, or what differs. */
static temper_status same_again(checker *c, const outcome *first, check_trial trial, const char *when,
                                temper_error *error) {
    const char *missing;
    outcome again;
    temper_status status = run_trial(c, &trial, &again, &missing, error);
    if (status) {
        return status;
    }
    if (again.status != TEMPER_OK) {
        say(c, TM_CHECK_BAD, "%s fails %s: %s", c->stage_name, when, again.error.message);
    } else if (strcmp(again.digests, first->digests) != 0) {
        c->unsteady = true;
        say(c, TM_CHECK_BAD,
            "%s gives other output %s: something beside inputs, parameters and seed decides its bits",
            c->stage_name, when);
    } else {
        say(c, TM_CHECK_GOOD, "%s gives the same bits %s", c->stage_name, when);
    }
    return TEMPER_OK;
}

/* Success or a message are both right; a crash or a kill is not. */
static temper_status survives(checker *c, check_trial trial, const char *what, temper_error *error) {
    const char *missing;
    outcome end;
    temper_status status = run_trial(c, &trial, &end, &missing, error);
    if (status) {
        return status;
    }
    if (trial.cancel && end.died != NULL) {
        say(c, TM_CHECK_BAD, "%s does not stop when asked to: look at cancelled() more often (%s)",
            c->stage_name, end.error.message);
    } else if (end.died != NULL) {
        say(c, TM_CHECK_BAD, "%s does not survive %s: it %s", c->stage_name, what, end.died);
    } else {
        const bool said = end.status != TEMPER_OK && !trial.cancel;
        say(c, TM_CHECK_GOOD, "%s survives %s%s%.200s", c->stage_name, what, said ? ": " : "",
            said ? end.error.message : "");
    }
    return TEMPER_OK;
}

static temper_status check_bits(checker *c, const outcome *first, temper_error *error) {
    temper_status status = same_again(c, first, (check_trial){1, 0, 0, NULL, false}, "run twice", error);
    if (!status) {
        status = same_again(c, first, (check_trial){8, 0, 0, NULL, false}, "on eight threads", error);
    }
    if (!status && c->has_records) {
        status =
            same_again(c, first, (check_trial){1, 1, 0, NULL, false}, "with records one at a time", error);
    }
    if (!status && c->has_records) {
        status =
            same_again(c, first, (check_trial){3, 7, 0, NULL, false}, "with records seven at a time", error);
    }
    return status;
}

/* Each allocation in turn is the first that is refused, with growing steps, until the stage needs no more. */
static temper_status check_refusals(checker *c, const outcome *first, temper_error *error) {
    const char *missing;
    outcome end;
    int64_t at = 1;
    for (; at < MOST_ALLOCATIONS; at += 1 + at / 4) {
        const check_trial trial = {1, 0, at, NULL, false};
        temper_status status = run_trial(c, &trial, &end, &missing, error);
        if (status) {
            return status;
        }
        if (end.died != NULL) {
            say(c, TM_CHECK_BAD, "%s does not survive that its allocation number %lld is refused: it %s",
                c->stage_name, (long long)at, end.died);
            return TEMPER_OK;
        }
        if (end.status == TEMPER_OK && !c->unsteady && strcmp(end.digests, first->digests) != 0) {
            say(c, TM_CHECK_BAD,
                "%s gives other output, and no failure, when its allocation number %lld is refused",
                c->stage_name, (long long)at);
            return TEMPER_OK;
        }
        if (end.status == TEMPER_OK) {
            break;
        }
    }
    say(c, TM_CHECK_GOOD, "%s survives refused allocations", c->stage_name);
    return TEMPER_OK;
}

static temper_status check_hardship(checker *c, const outcome *first, temper_error *error) {
    static const struct {
        const char *text, *what;
    } inputs[] = {
        {"", "empty input"},
        {"{}\n", "a record without fields"},
        {"{\"text\":1,\"messages\":\"x\",\"prompt\":[],\"chosen\":{},\"rejected\":null,\"completion\":[1]}\n",
         "fields of another type"},
        {"{\"text\":\"caf\xe9\"}\n", "input that is not UTF-8"},
        {"{\"text\":\"x\"}\n{\"text\":", "a line that ends too early"}};
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs && !status && c->has_records; i++) {
        status = survives(c, (check_trial){1, 0, 0, inputs[i].text, false}, inputs[i].what, error);
    }
    if (!status && first->status == TEMPER_OK) {
        status = check_refusals(c, first, error);
    }
    return status ? status : survives(c, (check_trial){1, 0, 0, NULL, true}, "a request to stop", error);
}

static temper_status check_stage(checker *c, temper_error *error) {
    const char *missing = NULL;
    outcome first;
    c->made_up = c->has_records = c->unsteady = false;
    c->stage_name = text_of(c->stage, "name");
    temper_status status = make_parameters(c, error);
    if (!status) {
        status = run_trial(c, &(check_trial){1, 0, 0, NULL, false}, &first, &missing, error);
    }
    if (status == TEMPER_END) {
        say(c, TM_CHECK_SKIPPED, "%s was not run: give its input with --input %s=PATH", c->stage_name,
            missing);
        return TEMPER_OK;
    }
    if (status) {
        return status;
    }
    if (first.status == TEMPER_OK) {
        say(c, TM_CHECK_GOOD, "%s runs in %.3g s", c->stage_name, first.seconds);
        status = check_bits(c, &first, error);
    } else if (first.died != NULL || !c->made_up) {
        say(c, TM_CHECK_BAD, "%s", first.error.message);
    } else {
        say(c, TM_CHECK_SKIPPED, "%s refuses made-up input (give it real one with --input): %s",
            c->stage_name, first.error.message);
    }
    return status ? status : check_hardship(c, &first, error);
}

/* Every --input must be some stage's. */
static temper_status check_given(const tm_check_request *request, const temper_json *stages,
                                 temper_error *error) {
    for (size_t i = 0; i < request->input_count; i++) {
        bool known = false;
        for (size_t j = 0; j < tm_json_length(stages); j++) {
            const temper_json *ports = tm_json_member(tm_json_element(stages, j), "inputs");
            for (size_t k = 0; k < tm_json_length(ports); k++) {
                const char *name = text_of(tm_json_element(ports, k), "name");
                known = known || (strncmp(request->inputs[i], name, strlen(name)) == 0 &&
                                  request->inputs[i][strlen(name)] == '=');
            }
        }
        if (!known) {
            return temper_fail(error, TEMPER_INVALID, "no stage has the input of \"%s\" (NAME=PATH)",
                               request->inputs[i]);
        }
    }
    return TEMPER_OK;
}

temper_status tm_check_plugin_file(const tm_check_request *request, size_t *failures, temper_error *error) {
    checker c = {.request = request, .arena = tm_arena_new()};
    const temper_json *description = NULL;
    double start = tm_seconds_now();
    if (c.arena == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to check a plugin");
    }
    temper_status status = tm_describe(request->worker, request->file, c.arena, &description, error);
    if (status) {
        say(&c, TM_CHECK_BAD, "%s", error->message);
    } else {
        double seconds = tm_seconds_now() - start;
        say(&c, seconds < slow_description ? TM_CHECK_GOOD : TM_CHECK_BAD,
            "%s %s describes itself, in %.0f ms", text_of(description, "name"),
            text_of(description, "version"), seconds * 1000);
    }
    const temper_json *stages = tm_json_member(description, "stages");
    status = description != NULL ? check_given(request, stages, error) : TEMPER_OK;
    for (size_t i = 0; i < tm_json_length(stages) && !status; i++) {
        c.stage = tm_json_element(stages, i);
        status = check_stage(&c, error);
    }
    tm_arena_free(c.arena);
    *failures = c.failures;
    return status;
}

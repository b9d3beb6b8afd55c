/* serve.c: a model that stays open for a person.
 *
 * The job's first input is the model. Each line from the wire is a turn; the answer goes back as {"piece":"…"} lines and one
 * {"end":{"tokens":…}} or {"failed":…}. Pieces are whole UTF-8 characters: bytes of a cut one wait for the rest. */
#include "worker/modes.h"

#include "base/text.h"
#include "plugin/words.h"
#include "worker/wire.h"
#include <stddef.h>
#include <stdlib.h>

typedef struct turn_answer {
    tm_buffer text; /* not sent yet: at most the bytes of a cut character */
    uint64_t pieces;
} turn_answer;

static void send_piece(const char *text, size_t length) {
    temper_arena *arena = tm_arena_new();
    if (arena != NULL) {
        tm_wire_say(arena, "piece", tm_json_api.new_string(arena, text, length));
        tm_arena_free(arena);
    }
}

static int take_piece(void *context, const char *text, size_t length) {
    turn_answer *answer = context;
    size_t whole = 0;
    tm_buffer_append(&answer->text, text, length);
    if (tm_buffer_ok(&answer->text) && tm_text_utf8(answer->text.data, answer->text.length, &whole)) {
        whole = answer->text.length;
    }
    if (tm_buffer_ok(&answer->text) && whole > 0) {
        send_piece(answer->text.data, whole);
        memmove(answer->text.data, answer->text.data + whole, answer->text.length - whole);
        answer->text.length -= whole;
        answer->text.data[answer->text.length] = 0;
        answer->pieces++;
    }
    return tm_wire_cancelled();
}

/* The turn's messages, in `arena`; NULL when one is malformed. */
static const temper_message *const *read_messages(temper_arena *arena, const temper_json *turn, size_t *count,
                                                  temper_error *error) {
    const temper_json *list = tm_json_member(turn, "messages");
    *count = tm_json_length(list);
    temper_message *messages = tm_arena_allocate(arena, (*count + 1) * sizeof *messages);
    const temper_message **pointers = tm_arena_allocate(arena, (*count + 1) * sizeof *pointers);
    if (messages == NULL || pointers == NULL) {
        temper_fail(error, TEMPER_NO_MEMORY, "no memory for a turn");
        return NULL;
    }
    for (size_t i = 0; i < *count; i++) {
        const temper_json *entry = tm_json_element(list, i);
        messages[i].size = sizeof *messages;
        messages[i].role = tm_json_string(tm_json_member(entry, "role"), NULL);
        messages[i].content = tm_json_string(tm_json_member(entry, "content"), &messages[i].length);
        if (messages[i].role == NULL || messages[i].content == NULL) {
            temper_fail(error, TEMPER_INVALID, "message %zu needs a role and a content", i + 1);
            return NULL;
        }
        pointers[i] = &messages[i];
    }
    return pointers;
}

static double number_of(const temper_json *turn, const char *name, double fallback) {
    double number;
    return tm_json_double(tm_json_member(turn, name), &number) ? number : fallback;
}

/* The draws of turn n of a conversation with a seed: a key from the seed, a stream of its own for the turn. */
static void set_chance(tm_worker *worker, const temper_json *turn, temper_generate_request *request) {
    int64_t seed = 0, number = 0;
    char path[64];
    tm_json_integer(tm_json_member(turn, "seed"), &seed);
    tm_json_integer(tm_json_member(turn, "turn"), &number);
    snprintf(path, sizeof path, "%lld/chat/", (long long)seed);
    worker->seed_path = path;
    request->key = worker->host.vtable.rng_key(&worker->host.vtable, "sampling");
    request->stream = (uint64_t)number;
    worker->seed_path = "";
}

/* Which adapter of the model answers: a turn that names none leaves it as it is. */
static temper_status select_adapter(const temper_model_service *service, temper_model *model,
                                    const temper_json *turn, temper_error *error) {
    int64_t adapter;
    if (!tm_json_integer(tm_json_member(turn, "adapter"), &adapter)) {
        return TEMPER_OK;
    }
    if (service->size < offsetof(temper_model_service, select_adapter) + sizeof service->select_adapter ||
        service->select_adapter == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "this provider of models knows no adapters");
    }
    return service->select_adapter(model, (int32_t)adapter, error);
}

static temper_status answer_turn(tm_worker *worker, temper_arena *arena, const temper_model_service *service,
                                 temper_model *model, const char *line, temper_error *error) {
    turn_answer answer = {TM_BUFFER_INIT, 0};
    const temper_json *turn;
    temper_status status = tm_json_parse(arena, line, strlen(line), &turn, error);
    if (status) {
        return temper_fail_in(error, status, "the turn");
    }
    temper_generate_request request = {.size = sizeof request};
    request.messages = read_messages(arena, turn, &request.message_count, error);
    if (request.messages == NULL) {
        return TEMPER_INVALID;
    }
    request.text = tm_json_string(tm_json_member(turn, "text"), &request.text_length);
    request.max_tokens = (uint32_t)number_of(turn, "max_tokens", 256);
    request.temperature = number_of(turn, "temperature", 0);
    request.top_k = (uint32_t)number_of(turn, "top_k", 0);
    request.top_p = number_of(turn, "top_p", 1);
    set_chance(worker, turn, &request);
    status = select_adapter(service, model, turn, error);
    if (status) {
        return status;
    }
    status = service->stream(model, &request, take_piece, &answer, error);
    service->release_results(model);
    tm_buffer_free(&answer.text);
    return tm_wire_cancelled() ? TEMPER_OK : status;
}

void tm_serve_failed(temper_arena *arena, temper_status status, const temper_error *error) {
    temper_json *failed = tm_json_object(arena);
    if (failed != NULL && tm_json_set_string(arena, failed, "status", tm_status_name(status)) &&
        tm_json_set_string(arena, failed, "message", tm_wire_text(arena, error->message))) {
        tm_wire_say(arena, "failed", failed);
    }
}

temper_status tm_serve(tm_worker *worker, temper_error *error) {
    const temper_model_service *service;
    temper_model *model;
    temper_status status = tm_host_start(&worker->host, worker, "temper", error);
    if (!status) {
        status = tm_inputs_start(worker, NULL, error);
    }
    if (!status) {
        status = worker->input_count > 0
                     ? tm_host_open_model(&worker->host.vtable, &worker->inputs[0], &service, &model, error)
                     : temper_fail(error, TEMPER_INVALID, "the job names no model");
    }
    if (status) {
        return status;
    }
    temper_arena *ready = tm_arena_new();
    tm_wire_say(ready, "ready", tm_json_object(ready));
    tm_arena_free(ready);
    for (;;) {
        temper_error failure = TEMPER_ERROR_INIT;
        char *line = tm_wire_wait();
        temper_arena *arena = tm_arena_new();
        if (arena == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a turn");
        }
        status = answer_turn(worker, arena, service, model, line, &failure);
        if (status) {
            tm_serve_failed(arena, status, &failure);
        } else {
            tm_wire_say(arena, "end", tm_json_object(arena));
        }
        tm_arena_free(arena);
        free(line);
    }
}

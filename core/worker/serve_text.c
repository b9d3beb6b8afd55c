/* serve_text.c: a tokenizer or a chat template that stays open for a script.
 *
 * The job's first input is the model, "serve" is "text". A turn is {"work":"tokenize"|"decode"|"render","special","bare",
 * "records":[texts of JSON]}; the answers go back in order as pieces of whole lines, then {"end":{}}. */
#include "worker/modes.h"

#include "plugin/words.h"
#include "worker/foreign.h"
#include "worker/wire.h"
#include <stdlib.h>
#include <temper/text.h>

enum { PIECE = 1 << 16 };

static void send_lines(tm_buffer *lines) {
    temper_arena *arena = tm_arena_new();
    if (arena != NULL && lines->length > 0) {
        tm_wire_say(arena, "piece", tm_json_api.new_string(arena, lines->data, lines->length));
    }
    tm_arena_free(arena);
    tm_buffer_clear(lines);
}

static temper_text_work work_of(const temper_json *turn) {
    const char *name = tm_json_text(tm_json_member(turn, "work"), "");
    return strcmp(name, "decode") == 0   ? TEMPER_TEXT_DECODE
           : strcmp(name, "render") == 0 ? TEMPER_TEXT_RENDER
                                         : TEMPER_TEXT_TOKENIZE;
}

static temper_status answer_turn(const temper_text_service *service, temper_text *text, temper_arena *arena,
                                 const char *line, temper_error *error) {
    tm_buffer lines = TM_BUFFER_INIT;
    const temper_json *turn, *records;
    bool special = false, bare = false;
    temper_status status = tm_json_parse(arena, line, strlen(line), &turn, error);
    if (status) {
        return temper_fail_in(error, status, "the turn");
    }
    tm_json_boolean(tm_json_member(turn, "special"), &special);
    tm_json_boolean(tm_json_member(turn, "bare"), &bare);
    records = tm_json_member(turn, "records");
    for (size_t i = 0; !status && i < tm_json_length(records) && !tm_wire_cancelled(); i++) {
        temper_text_request request = {
            .size = sizeof request, .work = work_of(turn), .special = special, .bare = bare};
        const char *answer = NULL;
        size_t length = 0;
        request.record = tm_json_string(tm_json_element(records, i), &request.length);
        status = request.record == NULL ? temper_fail(error, TEMPER_INVALID, "record %zu is no text", i + 1)
                                        : service->answer(text, &request, &answer, &length, error);
        if (!status) {
            tm_buffer_append(&lines, answer, length);
            tm_buffer_byte(&lines, '\n');
            status = tm_buffer_ok(&lines) ? TEMPER_OK
                                          : temper_fail(error, TEMPER_NO_MEMORY, "no memory for a turn");
        }
        if (!status && lines.length >= PIECE) {
            send_lines(&lines);
        }
    }
    if (!status) {
        send_lines(&lines);
    }
    tm_buffer_free(&lines);
    return status;
}

static temper_status open_text(tm_worker *worker, const temper_text_service **service, temper_text **text,
                               temper_error *error) {
    const temper_plugin *plugin;
    temper_status status = tm_host_start(&worker->host, worker, "temper", error);
    status = status ? status : tm_inputs_start(worker, NULL, error);
    status = status ? status : tm_host_provider(worker, &plugin, error);
    if (status) {
        return status;
    }
    *service = plugin->extension != NULL ? plugin->extension(TEMPER_TEXT_SERVICE) : NULL;
    if (*service == NULL || (*service)->size < sizeof **service) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s does not offer " TEMPER_TEXT_SERVICE,
                           worker->provider_path);
    }
    if (worker->input_count == 0) {
        return temper_fail(error, TEMPER_INVALID, "the job names no model");
    }
    status = (*service)->open(&worker->provider_host.vtable, &worker->inputs[0], text, error);
    tm_foreign_check(worker->provider_host.plugin, "opened a tokenizer");
    return status;
}

temper_status tm_serve_text(tm_worker *worker, temper_error *error) {
    const temper_text_service *service;
    temper_text *text;
    temper_status status = open_text(worker, &service, &text, error);
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
        status = answer_turn(service, text, arena, line, &failure);
        if (status) {
            tm_serve_failed(arena, status, &failure);
        } else {
            tm_wire_say(arena, "end", tm_json_object(arena));
        }
        tm_arena_free(arena);
        free(line);
    }
}

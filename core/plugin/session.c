/* session.c: a worker that keeps a model open, one question at a time. */
#include "plugin/child.h"
#include "plugin/job.h"
#include "plugin/words.h"
#include <stdlib.h>
#include <string.h>

enum { POLL_MS = 50 };

struct tm_session {
    tm_child child;
};

typedef struct turn_listener {
    void (*piece)(void *context, const char *text, size_t length);
    void *context;
    bool over;
} turn_listener;

static temper_status take_line(turn_listener *listener, const char *line, size_t length,
                               temper_error *error) {
    temper_arena *arena = tm_arena_new();
    const temper_json *message = NULL;
    temper_status status = arena == NULL
                               ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for a worker's message")
                               : tm_json_parse(arena, line, length, &message, error);
    const temper_json *failed = tm_json_member(message, "failed");
    size_t size;
    const char *text = tm_json_string(tm_json_member(message, "piece"), &size);
    if (text != NULL && listener->piece != NULL) {
        listener->piece(listener->context, text, size);
    }
    if (failed != NULL) {
        status = tm_status_parse(tm_json_text(tm_json_member(failed, "status"), ""));
        temper_fail(error, status, "%s", tm_json_text(tm_json_member(failed, "message"), ""));
    }
    listener->over =
        failed != NULL || tm_json_member(message, "end") != NULL || tm_json_member(message, "ready") != NULL;
    tm_arena_free(arena);
    return status;
}

/* Listens until the worker is ready, or the turn has ended. When the worker died, the session has no child any more. */
static temper_status listen_to(tm_session *session, turn_listener *listener, const volatile int *cancel,
                               temper_error *error) {
    tm_child *child = &session->child;
    temper_status status = TEMPER_OK;
    bool asked = false, open = true;
    double deadline = 0;
    while (!status && open && !listener->over) {
        size_t length;
        char *line;
        open = tm_child_poll(child, POLL_MS);
        while (!status && !listener->over && (line = tm_child_line(child, &length)) != NULL) {
            status = take_line(listener, line, length, error);
        }
        while (tm_child_words(child) != NULL) {
        }
        if (tm_cancel_wanted(cancel) && !asked) {
            static const char please[] = "{\"cancel\":true}\n";
            asked = true;
            deadline = tm_seconds_now() + tm_cancel_grace();
            tm_child_send_text(child, please, sizeof please - 1);
        }
        if (asked && !listener->over && tm_seconds_now() >= deadline) {
            break;
        }
    }
    if (!status && !listener->over) {
        char how[160];
        bool killed;
        tm_child_end(child, 0.5, how, sizeof how, &killed, NULL);
        while (tm_child_words(child) != NULL) {
        }
        tm_buffer_free(&child->words_text);
        child->pid = 0;
        status = asked
                     ? temper_fail(error, TEMPER_CANCELLED,
                                   "stopped: the model did not end its answer and was closed")
                     : temper_fail(error, TEMPER_FAILED, "the model's process %s%s%s", how,
                                   child->last_words[0] != 0 ? "; its last words: " : "", child->last_words);
    }
    return status;
}

temper_status tm_session_open(const char *worker, const temper_json *job, tm_session **out,
                              temper_error *error) {
    turn_listener listener = {NULL, NULL, false};
    tm_session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a session");
    }
    temper_status status = tm_child_start(&session->child, worker, NULL, error);
    if (status) {
        free(session);
        return status;
    }
    tm_child_send(&session->child, job);
    status = listen_to(session, &listener, NULL, error);
    if (status) {
        tm_session_close(session);
        return status;
    }
    *out = session;
    return TEMPER_OK;
}

temper_status tm_session_ask(tm_session *session, const temper_json *turn,
                             void (*piece)(void *context, const char *text, size_t length), void *context,
                             const volatile int *cancel, temper_error *error) {
    turn_listener listener = {piece, context, false};
    if (session->child.pid == 0 || !tm_child_send(&session->child, turn)) {
        return temper_fail(error, TEMPER_FAILED, "the model's process has ended");
    }
    return listen_to(session, &listener, cancel, error);
}

void tm_session_close(tm_session *session) {
    if (session == NULL) {
        return;
    }
    if (session->child.pid != 0) {
        tm_child_end(&session->child, 0, NULL, 0, NULL, NULL);
        tm_buffer_free(&session->child.words_text);
    }
    free(session);
}

/* test_session.c: a model that stays open: turns, cut characters put together, stopping, and a crash. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

typedef struct heard {
    tm_buffer text;
    int pieces, stop_after;
    int stop;
} heard;

static void take_piece(void *context, const char *text, size_t length) {
    heard *h = context;
    tm_buffer_append(&h->text, text, length);
    h->pieces++;
    if (h->stop_after > 0 && h->pieces >= h->stop_after) {
        h->stop = 1;
    }
}

static temper_status open_session(harness *h, const char *weights, tm_session **out) {
    temper_arena *a = h->arena;
    temper_json *job = tm_json_object(a);
    harness_model(h, "model", weights);
    tm_json_set_string(a, job, "store", tm_store_root(h->store));
    tm_json_set_string(a, job, "provider", harness_plugin(h, "parrot"));
    tm_json_set_string(a, job, "profile", "f32/1");
    tm_json_set_boolean(a, job, "serve", true);
    tm_json_set_integer(a, job, "threads", 1);
    assert_true(tm_json_set(a, job, "inputs", h->inputs));
    return tm_session_open(TEST_WORKER, job, out, &h->error);
}

static temper_status ask(harness *h, tm_session *session, const char *turn, heard *out) {
    const temper_json *value;
    assert_int_equal(tm_json_parse(h->arena, turn, strlen(turn), &value, &h->error), 0);
    tm_buffer_clear(&out->text);
    out->pieces = 0;
    h->error.message[0] = 0;
    h->status = tm_session_ask(session, value, take_piece, out, &out->stop, &h->error);
    return h->status;
}

static void turns(void **state) {
    harness *h = *state;
    heard out = {TM_BUFFER_INIT, 0, 0, 0};
    tm_session *session;
    if (open_session(h, "h\xc3\xa9 ", &session)) {
        fail_msg("%s", h->error.message);
    }
    assert_int_equal(ask(h, session,
                         "{\"messages\":[{\"role\":\"user\",\"content\":\"one\"}],\"seed\":3,\"turn\":1}",
                         &out),
                     0);
    assert_string_equal(out.text.data, "h\xc3\xa9 one");
    assert_int_equal(out.pieces, 4); /* h, é, space, one */
    ask(h, session, "{\"messages\":[{\"role\":\"user\"}]}", &out);
    harness_failed(h, TEMPER_INVALID, "message 1 needs a role and a content", NULL);
    assert_int_equal(ask(h, session, "{\"messages\":[{\"role\":\"user\",\"content\":\"two\"}]}", &out), 0);
    assert_string_equal(out.text.data, "h\xc3\xa9 two");
    tm_session_close(session);
    tm_buffer_free(&out.text);
}

static void stopping_an_answer(void **state) {
    harness *h = *state;
    heard out = {TM_BUFFER_INIT, 0, 50, 0};
    tm_session *session;
    assert_int_equal(open_session(h, "wait", &session), 0);
    for (int i = 0; i < 3; i++) {
        out.stop = 0;
        assert_int_equal(ask(h, session, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", &out), 0);
        assert_true(out.pieces >= 50);
    }
    tm_session_close(session);
    tm_buffer_free(&out.text);
}

static void a_crash(void **state) {
    harness *h = *state;
    heard out = {TM_BUFFER_INIT, 0, 0, 0};
    tm_session *session;
    assert_int_equal(open_session(h, "crash", &session), 0);
    ask(h, session,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"user\",\"content\":\"y\"}]}", &out);
    harness_failed(h, TEMPER_FAILED, "SIGABRT", NULL);
    ask(h, session, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", &out);
    harness_failed(h, TEMPER_FAILED, "has ended", NULL);
    tm_session_close(session);
    tm_buffer_free(&out.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(turns, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(stopping_an_answer, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_crash, harness_setup, harness_teardown),
    };
    harness_signals_are_plain();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

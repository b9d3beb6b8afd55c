/* test_stage.c: what the host gives a stage that behaves: records, text, models, metrics, threads, chance. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

#define COPY_PARAMETERS(batch)                                                                               \
    "{\"batch\":" batch                                                                                      \
    ",\"loud\":true,\"mode\":\"fancy\",\"must\":\"é\",\"scale.factor\":0.25,\"words\":[\"a\",\"b\"]}"

static const char three[] = "{\"text\":\"one\",\"keep\":12345678901234567890}\n{\"text\":\"two\",\"price\":1."
                            "10}\r\n{\"text\":\"three\"}";

static void records_go_through(void **state) {
    harness *h = *state;
    harness_input(h, "records", "records", three, sizeof three - 1);
    harness_run(h, "good", "copy", COPY_PARAMETERS("2"));
    const char *copies = harness_output(h, "copies");
    assert_non_null(strstr(copies, "{\"draw\":0."));
    assert_non_null(strstr(copies,
                           "\"factor\":0.25,\"keep\":12345678901234567890,\"loud\":true,\"mode\":\"fancy\","
                           "\"must\":\"é\",\"number\":1,\"text\":\"one\",\"words\":[\"a\",\"b\"]}\n"));
    assert_non_null(strstr(copies, "\"number\":2,\"price\":1.10,\"text\":\"two\""));
    assert_non_null(strstr(copies, "\"number\":3,\"text\":\"three\""));
    assert_null(strstr(copies, "absent"));
    assert_non_null(strstr(h->log.data, "info: all copied\n"));
    assert_non_null(strstr(h->progress.data, "2/0 records fancy\n"));
    int64_t records = 0;
    assert_true(tm_json_integer(tm_json_member(tm_json_element(h->outputs, 0), "records"), &records));
    assert_int_equal(records, 3);
    double seconds = 0, copied = 0;
    assert_true(tm_json_double(tm_json_member(h->statistics, "seconds"), &seconds) && seconds > 0);
    const temper_json *notes = tm_json_member(h->statistics, "notes");
    assert_true(tm_json_double(tm_json_member(notes, "good.copied"), &copied) && copied == 3);
}

/* Neither the batch nor the threads show. */
static void same_bits(void **state) {
    static const char *const parameters[] = {COPY_PARAMETERS("1"), COPY_PARAMETERS("7"),
                                             COPY_PARAMETERS("500")};
    harness *h = *state;
    const char *first = NULL;
    tm_buffer text = TM_BUFFER_INIT;
    for (int i = 0; i < 400; i++) {
        tm_buffer_format(&text, "{\"text\":\"record %d\"}\n", i);
    }
    harness_input(h, "records", "records", text.data, text.length);
    for (int i = 0; i < 3; i++) {
        h->threads = i == 0 ? 1 : i == 1 ? 3 : 8;
        harness_run(h, "good", "copy", parameters[i]);
        const char *copies = harness_output(h, "copies");
        if (first == NULL) {
            first = copies;
        }
        assert_string_equal(first, copies);
    }
    tm_buffer_free(&text);
}

static void no_records(void **state) {
    harness *h = *state;
    harness_input(h, "records", "records", "", 0);
    harness_run(h, "good", "copy", COPY_PARAMETERS("2"));
    assert_string_equal(harness_output(h, "copies"), "");
}

static void broken_records(void **state) {
    static const struct {
        const char *text, *part;
    } cases[] = {{"{\"a\":1}\n{\"a\":\n", "record 2"},
                 {"{\"a\":1}\n\n{\"a\":2}\n", "the line is empty"},
                 {"{\"a\":1,\"a\":2}\n", "record 1"},
                 {"{\"a\":\"\xff\"}\n", "not UTF-8"},
                 {"[1]\n", "no object"},
                 {"{\"a\":NaN}\n", "record 1"},
                 {"\xef\xbb\xbf{\"a\":1}\n", "byte order mark"},
                 {"{\"a\":1} {\"b\":2}\n", "record 1"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        harness *h;
        void *fresh;
        (void)state;
        harness_setup(&fresh);
        h = fresh;
        harness_input(h, "records", "records", cases[i].text, strlen(cases[i].text));
        harness_run(h, "good", "copy", COPY_PARAMETERS("2"));
        harness_failed(h, TEMPER_INVALID, "good.copy", "input \"records\"", cases[i].part, NULL);
        assert_int_equal(harness_blobs(h), 1);
        harness_teardown(&fresh);
    }
}

static void every_kind(void **state) {
    harness *h = *state;
    harness_model(h, "model", "some weights");
    harness_run(h, "good", "shelf", "{}");
    assert_string_equal(harness_output(h, "report"), "<p>é");
    assert_string_equal(harness_output(h, "metrics"), "{\"bytes\":14,\"notes\":0}");
    const char *tree = harness_output(h, "made");
    assert_non_null(strstr(tree, "\"adapter.bin\""));
    assert_non_null(strstr(tree, "\"base/config.json\""));
    assert_non_null(strstr(tree, "\"base/weights\""));
    /* an optional input, of exactly one page: the text still ends in 0 */
    char page[4097];
    memset(page, 'x', sizeof page);
    page[4096] = 0;
    harness_input(h, "notes", "text", page, 4096);
    harness_run(h, "good", "shelf", "{}");
    assert_string_equal(harness_output(h, "metrics"), "{\"bytes\":14,\"notes\":4096}");
    assert_int_equal(strlen(harness_output(h, "report")), 5 + 4096);
}

static void the_model_service(void **state) {
    harness *h = *state;
    harness_model(h, "model", "polly");
    harness_run(h, "good", "ask", "{}");
    harness_failed(h, TEMPER_UNSUPPORTED, "good.ask", "temper.model/1", NULL);
    h->provider = "parrot";
    harness_run(h, "good", "ask", "{}");
    assert_string_equal(harness_output(h, "answers"),
                        "{\"one_model\":true,\"text\":\"polly\"}\n{\"one_model\":true,\"text\":\"polly\"}\n");
    assert_non_null(strstr(h->progress.data, "2/2 answers"));
    h->provider = "good";
    harness_run(h, "good", "ask", "{}");
    harness_failed(h, TEMPER_UNSUPPORTED, "good.so does not offer temper.model/1", NULL);
}

static void wrong_jobs(void **state) {
    harness *h = *state;
    harness_run(h, "good", "copy", COPY_PARAMETERS("2"));
    harness_failed(h, TEMPER_INVALID, "input \"records\" is missing", NULL);
    harness_run(h, "good", "cpy", "{}");
    harness_failed(h, TEMPER_INVALID, "good.cpy", "no stage \"cpy\"", NULL);
    harness_input(h, "records", "text", "{}", 2);
    harness_run(h, "good", "copy", COPY_PARAMETERS("2"));
    harness_failed(h, TEMPER_INVALID, "is text, the stage wants records", NULL);
    harness_run(h, "nowhere", "copy", "{}");
    harness_failed(h, TEMPER_INVALID, "there is no plugin file", NULL);
}

static void wrong_parameters(void **state) {
    harness *h = *state;
    harness_input(h, "records", "records", "", 0);
    harness_run(h, "good", "copy", "{\"batch\":2}");
    harness_failed(h, TEMPER_INVALID, "parameter \"scale.factor\" is missing", NULL);
    harness_run(h, "good", "copy",
                "{\"batch\":2,\"loud\":true,\"mode\":\"plain\",\"must\":3,\"scale.factor\":0,\"words\":[]}");
    harness_failed(h, TEMPER_INVALID, "parameter \"must\" is of the wrong type", NULL);
}

/* Two workers with one stage id never run at the same time. */
static void one_at_a_time(void **state) {
    harness *h = *state;
    int lock;
    static const char id[] = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";
    harness_input(h, "records", "records", "", 0);
    assert_int_equal(tm_store_lock(h->store, id + 7, 1, &lock, &h->error), 0);
    h->stage_id = id;
    h->cancel_after = 0.3;
    harness_run(h, "good", "copy", COPY_PARAMETERS("2"));
    harness_failed(h, TEMPER_CANCELLED, "good.copy", NULL);
    tm_store_unlock(lock);
    harness_run(h, "good", "copy", COPY_PARAMETERS("2"));
    assert_string_equal(harness_output(h, "copies"), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_go_through, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(same_bits, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(no_records, harness_setup, harness_teardown),
        cmocka_unit_test(broken_records),
        cmocka_unit_test_setup_teardown(every_kind, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(the_model_service, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(wrong_jobs, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(wrong_parameters, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(one_at_a_time, harness_setup, harness_teardown),
    };
    setenv("TEMPER_CANCEL_GRACE", "0.3", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

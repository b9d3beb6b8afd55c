/* test_stage_constitution.c: ask and respond, through the built plugin, with a model that says what the test wants. */
#include "fake_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const char character[] =
    "{\"trait\":\"You talk like a pirate.\",\"questions\":[\"Where is the treasure?\",\"where is the "
    "TREASURE\","
    "\"What do you drink?\"],\"additional_questions\":[\"Do you like the sea?\",\"Who is the captain?\"]}\n"
    "{\"trait\":\"I count everything.\",\"instruction\":\"You count everything.\",\"questions\":[\"How many "
    "are we?\","
    "\"Do you like the sea?\"]}\n";

typedef struct fixture {
    fake_host *host;
    const temper_stage *stage;
    fake_model model;
} fixture;

static void open_stage(fixture *f, const char *name) {
    memset(f, 0, sizeof *f);
    f->host = fake_host_new();
    f->stage = fake_host_stage(CONSTITUTION_PLUGIN, name);
    fake_host_model(f->host, "model", &f->model);
    fake_host_character(f->host, "character", character);
}

static void run_ok(fixture *f, const char *parameters) {
    temper_error error = TEMPER_ERROR_INIT;
    temper_status status = fake_host_run(f->host, f->stage, parameters, &error);
    if (status) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(fake_host_blocks(f->host), 0);
}

static void run_fails(fixture *f, const char *parameters, temper_status expected, const char *words) {
    temper_error error = TEMPER_ERROR_INIT;
    assert_int_equal(fake_host_run(f->host, f->stage, parameters, &error), expected);
    if (strstr(error.message, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error.message, words);
    }
    assert_int_equal(fake_host_blocks(f->host), 0);
}

static void ask_takes_the_files_questions_first(void **state) {
    fixture f;
    (void)state;
    open_stage(&f, "ask");
    fake_host_character(f.host, "character", character);
    run_ok(&f, "{\"per_trait\":1,\"held_out\":0}");
    assert_int_equal(fake_host_count(f.host, "prompts"), 2);
    assert_int_equal(fake_host_count(f.host, "held_out"), 0);
    assert_string_equal(fake_host_string(f.host, "prompts", 0, "prompt"), "Where is the treasure?");
    assert_string_equal(fake_host_string(f.host, "prompts", 0, "trait"), "You talk like a pirate.");
    assert_string_equal(fake_host_string(f.host, "prompts", 1, "prompt"), "How many are we?");
    assert_true(fake_host_number(f.host, "prompts", 1, "trait_index") == 1);
    assert_int_equal(f.model.generated, 0); /* nothing was missing: the model was not asked */
    assert_true(fake_host_number(f.host, "metrics", 0, "refused_surplus") ==
                (double)fake_host_count(f.host, "refused"));
    assert_string_equal(fake_host_string(f.host, "refused", 0, "rule"), "surplus");
    fake_host_free(f.host);
}

/* New questions: every second request gets one unlike the others, the rest get a copy, a line cut off, or nothing. */
static temper_finish make_up(void *context, const temper_generate_request *request, char *out, size_t room) {
    int *calls = context;
    int n = (*calls)++;
    static const char *const subjects[] = {"rum",    "parrots", "maps",  "storms",
                                           "whales", "gold",    "ropes", "flags"};
    assert_non_null(request->text);
    assert_non_null(strstr(request->text, "Questions people ask:\n1. "));
    switch (n % 4) {
    case 0: snprintf(out, room, " Tell me of %s number %d!\n9. Another?", subjects[n / 4 % 8], n / 4); break;
    case 1: snprintf(out, room, " Where is the treasure?\n"); break;
    case 2: snprintf(out, room, " And then she said that"); return TEMPER_FINISH_LENGTH;
    default: snprintf(out, room, " ...\n"); break;
    }
    return TEMPER_FINISH_STOP;
}

static void ask_generates_only_the_shortfall(void **state) {
    fixture f;
    int calls = 0;
    (void)state;
    open_stage(&f, "ask");
    f.model.answer = make_up;
    f.model.context = &calls;
    run_ok(&f, "{\"per_trait\":5,\"held_out\":2}");
    assert_int_equal(fake_host_count(f.host, "prompts"), 6);
    assert_int_equal(fake_host_count(f.host, "held_out"), 4);
    assert_true(fake_host_number(f.host, "metrics", 0, "from_questions") == 3); /* one near-duplicate */
    assert_true(fake_host_number(f.host, "metrics", 0, "from_additional_questions") ==
                2); /* the other is taken */
    assert_true(fake_host_number(f.host, "metrics", 0, "generated") == 5);
    assert_true(fake_host_number(f.host, "metrics", 0, "refused_near_duplicate") >= 3);
    assert_true(fake_host_number(f.host, "metrics", 0, "refused_unfinished") >= 1);
    assert_true(fake_host_number(f.host, "metrics", 0, "refused_unusable") >= 1);
    assert_true(fake_host_number(f.host, "metrics", 0, "attempts") == (double)f.model.generated);
    assert_null(strstr(fake_host_output(f.host, "prompts"), "Another?"));
    /* what was not taken is on file, each with its reason */
    assert_int_equal(fake_host_count(f.host, "refused") + 10,
                     f.model.generated + 7); /* the file has 7 questions */
    assert_string_equal(fake_host_string(f.host, "refused", 0, "rule"), "near_duplicate");
    assert_string_equal(fake_host_string(f.host, "refused", 0, "source"), "questions");
    assert_true(fake_host_string(f.host, "refused", 0, "like")[0] != 0);
    assert_non_null(strstr(fake_host_output(f.host, "refused"), "And then she said that"));
    fake_host_free(f.host);
}

static void ask_holds_out_what_it_does_not_train_on(void **state) {
    fixture f;
    size_t i, j;
    (void)state;
    open_stage(&f, "ask");
    f.model.answer = make_up;
    f.model.context = &(int){0};
    run_ok(&f, "{\"per_trait\":8,\"held_out\":3}");
    assert_int_equal(fake_host_count(f.host, "held_out"), 6);
    for (i = 0; i < 6; i++) {
        for (j = 0; j < fake_host_count(f.host, "prompts"); j++) {
            assert_string_not_equal(fake_host_string(f.host, "held_out", i, "prompt"),
                                    fake_host_string(f.host, "prompts", j, "prompt"));
        }
    }
    run_fails(&f, "{\"per_trait\":3,\"held_out\":3}", TEMPER_INVALID, "nothing is left to train on");
    fake_host_free(f.host);
}

static temper_finish same_again(void *context, const temper_generate_request *request, char *out,
                                size_t room) {
    (void)context, (void)request;
    snprintf(out, room, "Where is the treasure?\n");
    return TEMPER_FINISH_STOP;
}

static void ask_fails_with_the_count_it_reached(void **state) {
    fixture f;
    (void)state;
    open_stage(&f, "ask");
    f.model.answer = same_again;
    run_fails(&f, "{\"per_trait\":5,\"held_out\":1,\"attempts\":2}", TEMPER_FAILED,
              "5 of 10 prompts are missing after 2 rounds");
    run_fails(&f, "{\"per_trait\":5,\"held_out\":1,\"attempts\":2}", TEMPER_FAILED, "reached 4 of 5");
    f.model.no_chat_template = 1;
    run_fails(&f, "{\"per_trait\":5,\"held_out\":1,\"method\":\"chat\"}", TEMPER_UNSUPPORTED,
              "no chat template");
    fake_host_free(f.host);
}

static void ask_refuses_a_broken_character(void **state) {
    fixture f;
    (void)state;
    open_stage(&f, "ask");
    fake_host_character(f.host, "character", "{\"trait\":\"x\",\"questions\":\"What?\"}\n");
    run_fails(&f, "{}", TEMPER_INVALID, "\"questions\" must be an array");
    fake_host_character(f.host, "character", "{\"trait\":\"x\"}\n{\"questions\":[]}\n");
    run_fails(&f, "{}", TEMPER_INVALID, "trait 2");
    fake_host_character(f.host, "character", "");
    run_fails(&f, "{}", TEMPER_INVALID, "no traits");
    fake_host_free(f.host);
}

/* Answers with what it was told, so the test sees the request: "system|user #stream". */
static temper_finish mirror(void *context, const temper_generate_request *request, char *out, size_t room) {
    (void)context;
    snprintf(out, room, " [%s] (%s) #%llu\n",
             fake_message(request->messages, request->message_count, "system", NULL),
             fake_message(request->messages, request->message_count, "user", NULL),
             (unsigned long long)request->stream);
    return request->stream == 0 ? TEMPER_FINISH_LENGTH : TEMPER_FINISH_STOP;
}

static const char prompts[] = "{\"prompt\":\"How many are we?\",\"trait_index\":1}\n"
                              "{\"prompt\":\"Ahoy?\",\"trait_index\":0}\n";

static void respond_in_character_and_plain(void **state) {
    fixture f;
    (void)state;
    open_stage(&f, "respond");
    f.model.answer = mirror;
    fake_host_records(f.host, "prompts", prompts);
    run_ok(&f, "{\"samples\":2}");
    assert_int_equal(fake_host_count(f.host, "responses"), 8);
    assert_string_equal(fake_host_string(f.host, "responses", 0, "response"),
                        "[You count everything. You talk like a pirate.] (How many are we?) #0");
    assert_string_equal(fake_host_string(f.host, "responses", 0, "finish"), "length");
    assert_string_equal(fake_host_string(f.host, "responses", 1, "condition"), "in_character");
    assert_true(fake_host_number(f.host, "responses", 1, "sample") == 1);
    assert_string_equal(fake_host_string(f.host, "responses", 2, "response"), "[] (How many are we?) #2");
    assert_string_equal(fake_host_string(f.host, "responses", 2, "condition"), "plain");
    assert_string_equal(fake_host_string(f.host, "responses", 2, "instruction"),
                        "You count everything. You talk like a pirate.");
    assert_string_equal(fake_host_string(f.host, "responses", 2, "instruction_place"), "system");
    assert_string_equal(fake_host_string(f.host, "responses", 4, "response"),
                        "[You talk like a pirate. You count everything.] (Ahoy?) #4");
    assert_true(fake_host_number(f.host, "metrics", 0, "responses") == 8);
    assert_true(fake_host_number(f.host, "metrics", 0, "cut") == 1);
    assert_true(fake_host_number(f.host, "metrics", 0, "system_role") == 1);
    fake_host_free(f.host);
}

static void respond_without_a_system_role_in_a_small_context(void **state) {
    fixture f;
    (void)state;
    open_stage(&f, "respond");
    f.model.answer = mirror;
    f.model.no_system = 1;
    f.model.size_of_context = 28; /* words: a quarter holds one sentence of 5, not both */
    fake_host_records(f.host, "prompts", prompts);
    run_ok(&f, "{\"samples\":1,\"instruction\":\"Remember: {traits}\"}");
    assert_string_equal(fake_host_string(f.host, "responses", 2, "response"),
                        "[] (Remember: You talk like a pirate.\n\nAhoy?) #2");
    assert_string_equal(fake_host_string(f.host, "responses", 2, "instruction_place"), "user");
    assert_true(fake_host_number(f.host, "responses", 2, "traits_left_out") == 1);
    assert_true(fake_host_number(f.host, "metrics", 0, "most_traits_left_out") == 1);
    f.model.size_of_context = 0;
    run_ok(&f, "{\"samples\":1,\"most_traits\":1}");
    assert_true(fake_host_number(f.host, "responses", 2, "traits_left_out") == 1);
    run_fails(&f, "{\"instruction\":\"Be good.\"}", TEMPER_INVALID, "{traits}");
    fake_host_records(f.host, "prompts", "{\"prompt\":\"Ahoy?\",\"trait_index\":2}\n");
    run_fails(&f, "{}", TEMPER_INVALID, "prompts, record 1: \"trait_index\" must be 0 to 1");
    fake_host_free(f.host);
}

static void both_stand_refused_allocations(void **state) {
    fixture f;
    (void)state;
    open_stage(&f, "ask");
    f.model.answer = make_up;
    f.model.context = &(int){0};
    fake_host_try_allocations(f.host, f.stage, "{\"per_trait\":5,\"held_out\":2}");
    fake_host_free(f.host);
    open_stage(&f, "respond");
    fake_host_records(f.host, "prompts", prompts);
    fake_host_try_allocations(f.host, f.stage, "{}");
    fake_host_try_backwards(f.host, f.stage, "{}");
    fake_host_free(f.host);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ask_takes_the_files_questions_first),
        cmocka_unit_test(ask_generates_only_the_shortfall),
        cmocka_unit_test(ask_holds_out_what_it_does_not_train_on),
        cmocka_unit_test(ask_fails_with_the_count_it_reached),
        cmocka_unit_test(ask_refuses_a_broken_character),
        cmocka_unit_test(respond_in_character_and_plain),
        cmocka_unit_test(respond_without_a_system_role_in_a_small_context),
        cmocka_unit_test(both_stand_refused_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_stage_rank.c: likelihood as the judge, pairs, ties and the shuffled control, with a scripted model. */
#include "fake_host.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const char character[] = "{\"trait\":\"You talk like a pirate.\",\"questions\":[\"Ahoy?\"]}\n"
                                "{\"trait\":\"You count.\"}\n";

/* -2 a token; told the character, a response gains half a nat for every "arr" in it. */
static double pirate_likelihood(void *context, const temper_score_request *request) {
    size_t length;
    const char *text = fake_message(request->messages, request->message_count, "assistant", &length);
    bool told =
        *fake_message(request->messages, request->message_count, "system", NULL) != 0 ||
        strstr(fake_message(request->messages, request->message_count, "user", NULL), "pirate") != NULL;
    double words = 1, arrs = 0;
    size_t i;
    (void)context;
    assert_int_equal(request->last_only, 1);
    for (i = 0; i < length; i++) {
        words += text[i] == ' ' || i == 0;
        arrs += length - i >= 3 && memcmp(text + i, "arr", 3) == 0;
    }
    return -2.0 * words + (told ? 0.5 * arrs : 0.0);
}

typedef struct fixture {
    fake_host *host;
    const temper_stage *stage;
    fake_model model;
} fixture;

static void open_stage(fixture *f, const char *candidates) {
    memset(f, 0, sizeof *f);
    f->host = fake_host_new();
    f->stage = fake_host_stage(RANK_PLUGIN, "by_character");
    f->model.score = pirate_likelihood;
    fake_host_model(f->host, "model", &f->model);
    fake_host_character(f->host, "character", character);
    fake_host_records(f->host, "candidates", candidates);
}

static void run_ok(fixture *f, const char *parameters) {
    temper_error error = TEMPER_ERROR_INIT;
    temper_status status = fake_host_run(f->host, f->stage, parameters, &error);
    if (status) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(fake_host_blocks(f->host), 0);
}

#define CANDIDATE(prompt, trait, condition, response, finish)                                                \
    "{\"prompt\":\"" prompt "\",\"trait_index\":" trait ",\"condition\":\"" condition                        \
    "\",\"response\":\"" response "\",\"finish\":\"" finish "\",\"extra\":7}\n"

static const char candidates[] =
    CANDIDATE("Ahoy?", "0", "in_character", "arr matey", "stop")     /* 1/3 arr a token */
    CANDIDATE("Ahoy?", "0", "in_character", "arr arr arr", "length") /* the best, but cut */
    CANDIDATE("Zeal?", "1", "plain", "seven", "stop")                /* another prompt between */
    CANDIDATE("Ahoy?", "0", "plain", "hello there", "stop")          /* 0 */
    CANDIDATE("Ahoy?", "0", "plain", "", "stop")                     /* empty */
    CANDIDATE("Ahoy?", "0", "plain", "arr you there", "stop")        /* 1/4 */
    CANDIDATE("Zeal?", "1", "plain", "eight", "stop")                /* a tie with seven */
    CANDIDATE("Ahoy?", "1", "plain", "alone", "stop");               /* the same prompt for another trait */

static void best_against_worst(void **state) {
    fixture f;
    (void)state;
    open_stage(&f, candidates);
    run_ok(&f, "{}");
    assert_int_equal(fake_host_count(f.host, "pairs"), 1);
    assert_string_equal(fake_host_string(f.host, "pairs", 0, "chosen"), "arr matey");
    assert_string_equal(fake_host_string(f.host, "pairs", 0, "rejected"), "hello there");
    assert_string_equal(fake_host_string(f.host, "pairs", 0, "chosen_condition"), "in_character");
    assert_true(fabs(fake_host_number(f.host, "pairs", 0, "chosen_score") - 0.5 / 3) < 1e-12);
    assert_true(fake_host_number(f.host, "pairs", 0, "rejected_score") == 0.0);
    assert_int_equal(fake_host_count(f.host, "ties"), 1);
    assert_string_equal(fake_host_string(f.host, "ties", 0, "prompt"), "Zeal?");
    assert_int_equal(fake_host_count(f.host, "scored"), 8);
    assert_true(fake_host_number(f.host, "scored", 0, "extra") == 7);
    assert_true(fake_host_number(f.host, "scored", 1, "score") >
                fake_host_number(f.host, "scored", 0, "score"));
    assert_true(fake_host_number(f.host, "metrics", 0, "cut") == 1);
    assert_true(fake_host_number(f.host, "metrics", 0, "empty") == 1);
    assert_true(fake_host_number(f.host, "metrics", 0, "lone") == 1);
    assert_true(fake_host_number(f.host, "metrics", 0, "prompts") == 3);
    assert_true(fake_host_number(f.host, "metrics", 0, "chosen_in_character") == 1);
    fake_host_free(f.host);
}

static void margins_and_more_pairs(void **state) {
    fixture f;
    (void)state;
    open_stage(&f, candidates);
    run_ok(&f, "{\"margin\":0.2}");
    assert_int_equal(fake_host_count(f.host, "pairs"), 0);
    assert_int_equal(fake_host_count(f.host, "ties"), 2);
    run_ok(&f, "{\"finished\":false,\"pairs_per_prompt\":4}");
    assert_int_equal(fake_host_count(f.host, "pairs"),
                     2); /* of four usable ones, two pairs that share nothing */
    assert_string_equal(fake_host_string(f.host, "pairs", 0, "chosen"), "arr arr arr");
    assert_string_equal(fake_host_string(f.host, "pairs", 1, "chosen"), "arr matey");
    assert_string_equal(fake_host_string(f.host, "pairs", 1, "rejected"), "arr you there");
    fake_host_free(f.host);
}

static void an_unchanged_order_whatever_the_model_knows(void **state) {
    fixture f;
    (void)state;
    open_stage(&f, candidates);
    f.model.no_system = 1; /* the description then stands in the user's message */
    run_ok(&f, "{}");
    assert_string_equal(fake_host_string(f.host, "pairs", 0, "chosen"), "arr matey");
    assert_true(fabs(fake_host_number(f.host, "pairs", 0, "chosen_score") - 0.5 / 3) < 1e-12);
    fake_host_free(f.host);
}

static void shuffled_labels_are_a_coin(void **state) {
    fixture f;
    char lines[64 * 256] = "", *end = lines;
    size_t i, swapped = 0;
    (void)state;
    for (i = 0; i < 64; i++) {
        end += sprintf(end, "{\"prompt\":\"p%zu\",\"trait_index\":0,\"response\":\"arr\"}\n", i);
        end += sprintf(end, "{\"prompt\":\"p%zu\",\"trait_index\":0,\"response\":\"no\"}\n", i);
    }
    open_stage(&f, lines);
    run_ok(&f, "{\"control\":\"shuffled\"}");
    assert_int_equal(fake_host_count(f.host, "pairs"), 64);
    for (i = 0; i < 64; i++) {
        swapped += strcmp(fake_host_string(f.host, "pairs", i, "chosen"), "no") == 0;
    }
    assert_in_range(swapped, 20, 44);
    run_ok(&f, "{}");
    for (i = 0; i < 64; i++) {
        assert_string_equal(fake_host_string(f.host, "pairs", i, "chosen"), "arr");
    }
    fake_host_free(f.host);
}

static double not_finite(void *context, const temper_score_request *request) {
    (void)context, (void)request;
    return NAN;
}

static void it_refuses_what_it_cannot_rank(void **state) {
    fixture f;
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    open_stage(&f, "{\"prompt\":\"p\",\"trait_index\":0}\n");
    assert_int_equal(fake_host_run(f.host, f.stage, "{}", &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "candidates, record 1: \"response\""));
    fake_host_records(f.host, "candidates", candidates);
    f.model.score = not_finite;
    assert_int_equal(fake_host_run(f.host, f.stage, "{}", &error), TEMPER_FAILED);
    assert_non_null(strstr(error.message, "not finite"));
    assert_int_equal(fake_host_blocks(f.host), 0);
    fake_host_free(f.host);
}

static void it_stands_refused_allocations(void **state) {
    fixture f;
    (void)state;
    open_stage(&f, candidates);
    fake_host_try_allocations(f.host, f.stage, "{}");
    fake_host_try_backwards(f.host, f.stage, "{}");
    fake_host_free(f.host);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_against_worst),
        cmocka_unit_test(margins_and_more_pairs),
        cmocka_unit_test(an_unchanged_order_whatever_the_model_knows),
        cmocka_unit_test(shuffled_labels_are_a_coin),
        cmocka_unit_test(it_refuses_what_it_cannot_rank),
        cmocka_unit_test(it_stands_refused_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

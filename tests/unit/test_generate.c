/* Generation and scoring: a request's answer is its own, whatever shares its batch, slots, workers or kernel set; and
 * what generation says a text is worth, scoring says too. */
#include "../../plugins/lm/generate/generate.h"
#include "../support/tiny.h"
#include "../support/workers.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { REQUESTS = 37, CONTEXT = 60 };

static int32_t prompts[REQUESTS][CONTEXT];
static lm_request requests[REQUESTS];
static const int32_t stops[] = {3, 40};

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        temper_error must_error = TEMPER_ERROR_INIT;                                                         \
        temper_error *error = &must_error;                                                                   \
        if ((call) != TEMPER_OK) {                                                                           \
            fail_msg("%s", must_error.message);                                                              \
        }                                                                                                    \
    } while (0)

/* Short and long prompts, all kinds of settings. */
static void make_requests(void) {
    static const lm_sampling settings[] = {
        {0, 0, 1, 0}, {1, 0, 1, 0}, {0.7, 10, 1, 0.1}, {1.3, 0, 0.8, 0}, {0.9, 20, 0.5, 0}};
    for (size_t i = 0; i < REQUESTS; i++) {
        size_t count = 1 + i * 7 % (CONTEXT - 1);
        tiny_ids(prompts[i], count, 77, (uint32_t)i);
        requests[i] = (lm_request){.prompt = prompts[i],
                                   .prompt_count = count,
                                   .max_tokens = i * 5 % 30,
                                   .sampling = settings[i % 5],
                                   .key = 99,
                                   .stream = i,
                                   .stop = stops,
                                   .stop_count = i % 3};
    }
}

static void same_answer(const lm_answer *a, const lm_answer *b, size_t index) {
    if (a->count != b->count || a->finish != b->finish ||
        memcmp(&a->logprob, &b->logprob, sizeof a->logprob) != 0 ||
        memcmp(a->ids, b->ids, a->count * sizeof *a->ids) != 0) {
        fail_msg("answer %zu differs: %zu and %zu tokens", index, a->count, b->count);
    }
}

static void free_answers(lm_answer *answers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(answers[i].ids);
    }
}

static void compare(const lm_context *context, const lm_model *model, const lm_answer *reference,
                    size_t slots, bool reversed) {
    lm_request order[REQUESTS];
    lm_answer answers[REQUESTS];
    for (size_t i = 0; i < REQUESTS; i++) {
        order[i] = requests[reversed ? REQUESTS - 1 - i : i];
    }
    MUST(lm_generate(context, model, order, REQUESTS, slots, NULL, NULL, answers, error));
    for (size_t i = 0; i < REQUESTS; i++) {
        same_answer(&answers[i], &reference[reversed ? REQUESTS - 1 - i : i], i);
    }
    free_answers(answers, REQUESTS);
}

static lm_model *new_model(const lm_context *context) {
    lm_config config = tiny_llama(CONTEXT);
    lm_model *model = NULL;
    MUST(lm_model_init(context, &config, 5, 0.25, &model, error));
    return model;
}

static void answers_are_a_requests_own(const char *profile) {
    const lm_kernels *const *sets = lm_kernels_all();
    lm_answer reference[REQUESTS];
    bool first = true;
    const char *reason;
    make_requests();
    for (size_t set = 0; sets[set] != NULL; set++) {
        if (!lm_kernels_usable(sets[set], &reason)) {
            continue;
        }
        lm_context context;
        MUST(lm_context_init(&context, sets[set], profile, lm_serial(), error));
        lm_model *model = new_model(&context);
        if (first) {
            for (size_t i = 0; i < REQUESTS; i++) { /* one by one */
                MUST(lm_generate(&context, model, &requests[i], 1, 1, NULL, NULL, &reference[i], error));
            }
            first = false;
        }
        compare(&context, model, reference, 16, false);
        compare(&context, model, reference, 0, true);
        lm_context_free(&context);
        for (uint32_t workers = 2; workers <= 4; workers += 2) {
            tm_pool *pool = NULL;
            MUST(tm_pool_new(workers, &pool, error));
            MUST(lm_context_init(&context, sets[set], profile, workers_of(pool), error));
            compare(&context, model, reference, 7, workers == 4);
            lm_context_free(&context);
            tm_pool_free(pool);
        }
        lm_model_close(model);
    }
    free_answers(reference, REQUESTS);
}

static void answers_are_their_own_f32(void **state) {
    (void)state;
    answers_are_a_requests_own("f32/1");
}

static void answers_are_their_own_bf16(void **state) {
    (void)state;
    answers_are_a_requests_own("bf16/1");
}

static void answers_are_their_own_q8(void **state) {
    (void)state;
    answers_are_a_requests_own("q8/1");
}

static const lm_kernels *best(void) {
    const char *reason;
    return lm_kernels_choose(NULL, &reason);
}

static void scoring_agrees_with_generation(void **state) {
    static int32_t texts[REQUESTS][CONTEXT + 1];
    static float logprobs[REQUESTS][CONTEXT + 1];
    static uint8_t wanted[REQUESTS][CONTEXT + 1];
    lm_scored scored[REQUESTS];
    lm_answer answers[REQUESTS];
    lm_context context;
    (void)state;
    make_requests();
    MUST(lm_context_init(&context, best(), "bf16/1", lm_serial(), error));
    lm_model *model = new_model(&context);
    for (size_t i = 0; i < REQUESTS; i++) {
        requests[i].stop_count = 0;
    }
    MUST(lm_generate(&context, model, requests, REQUESTS, 8, NULL, NULL, answers, error));
    for (size_t i = 0; i < REQUESTS; i++) {
        size_t prompt = requests[i].prompt_count;
        memcpy(texts[i], prompts[i], prompt * sizeof **texts);
        memcpy(texts[i] + prompt, answers[i].ids, answers[i].count * sizeof **texts);
        memset(wanted[i] + prompt, 1, answers[i].count);
        scored[i] =
            (lm_scored){texts[i], prompt + answers[i].count, logprobs[i], i % 2 == 0 ? wanted[i] : NULL};
    }
    MUST(lm_score(&context, model, scored, REQUESTS, NULL, NULL, error));
    for (size_t i = 0; i < REQUESTS; i++) {
        double sum = 0;
        for (size_t j = requests[i].prompt_count; j < scored[i].count; j++) {
            sum += (double)logprobs[i][j];
        }
        assert_memory_equal(&sum, &answers[i].logprob, sizeof sum);
        assert_true(logprobs[i][0] == 0);
        if (i % 2 == 0) {
            assert_true(requests[i].prompt_count < 2 || logprobs[i][1] == 0);
        }
    }
    free_answers(answers, REQUESTS);
    lm_model_close(model);
    lm_context_free(&context);
}

static int stop_at(void *context, size_t finished, size_t tokens) {
    (void)finished;
    return tokens >= *(size_t *)context;
}

static int count_tokens(void *context, int32_t id) {
    (void)id;
    return ++*(size_t *)context == 4;
}

static void limits_cancelling_and_refusals(void **state) {
    lm_context context;
    lm_answer answers[REQUESTS];
    temper_error refusal = TEMPER_ERROR_INIT;
    size_t limit = 20, tokens = 0;
    (void)state;
    make_requests();
    MUST(lm_context_init(&context, best(), "f32/1", lm_serial(), error));
    lm_model *model = new_model(&context);
    assert_int_equal(lm_generate(&context, model, requests, REQUESTS, 4, stop_at, &limit, answers, &refusal),
                     TEMPER_CANCELLED);
    assert_null(answers[0].ids);

    lm_request request = {
        .prompt = prompts[0], .prompt_count = CONTEXT, .max_tokens = 5, .sampling = {0, 0, 1, 0}};
    assert_int_equal(lm_generate(&context, model, &request, 1, 0, NULL, NULL, answers, &refusal),
                     TEMPER_INVALID);
    assert_non_null(strstr(refusal.message, "prompt 1 has 60 tokens; the model's context holds 60"));
    request.prompt_count = 0;
    assert_int_equal(lm_generate(&context, model, &request, 1, 0, NULL, NULL, answers, &refusal),
                     TEMPER_INVALID);
    request.prompt_count = CONTEXT - 3; /* the context ends the answer */
    MUST(lm_generate(&context, model, &request, 1, 0, NULL, NULL, answers, error));
    assert_int_equal(answers[0].count, 3);
    assert_int_equal(answers[0].finish, LM_FINISH_LENGTH);
    free(answers[0].ids);
    request.prompt_count = 5, request.max_tokens = 20;
    MUST(lm_generate_stream(&context, model, &request, NULL, count_tokens, &tokens, answers, error));
    assert_int_equal(answers[0].count, 4);
    free(answers[0].ids);

    size_t count = 0;
    lm_real *values = lm_model_values(model, LM_FINAL_NORM, 0, &count);
    assert_int_equal(count, model->config.hidden);
    values[0] = (lm_real)NAN;
    assert_int_equal(lm_generate(&context, model, &request, 1, 0, NULL, NULL, answers, &refusal),
                     TEMPER_FAILED);
    assert_non_null(strstr(refusal.message, "not finite"));
    lm_model_close(model);
    lm_context_free(&context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_their_own_f32),      cmocka_unit_test(answers_are_their_own_bf16),
        cmocka_unit_test(answers_are_their_own_q8),       cmocka_unit_test(scoring_agrees_with_generation),
        cmocka_unit_test(limits_cancelling_and_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

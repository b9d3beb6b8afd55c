/* Prompts that begin alike: what they have in common is computed once, and no bit shows it: not beside sharing switched
 * off, alone, in another order, with other slots, blocks, workers or kernel sets, nor with what an earlier call left. And
 * memory: what fits is let in, what cannot fit is refused with the numbers. */
#include "../../plugins/lm/generate/generate.h"
#include "../support/tiny.h"
#include "../support/workers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CONTEXT = 160, SYSTEM = 45, QUESTIONS = 5, SAMPLES = 3, EXTRA = 4, VOCABULARY = 77 };
enum { REQUESTS = QUESTIONS * SAMPLES + EXTRA };

static int32_t prompts[QUESTIONS + EXTRA][CONTEXT];
static lm_request requests[REQUESTS];
static size_t once; /* tokens of all prompts, common beginnings counted once */

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        temper_error must_error = TEMPER_ERROR_INIT;                                                         \
        temper_error *error = &must_error;                                                                   \
        if ((call) != TEMPER_OK) {                                                                           \
            fail_msg("%s", must_error.message);                                                              \
        }                                                                                                    \
    } while (0)

static lm_request request_for(const int32_t *prompt, size_t count, size_t i) {
    static const lm_sampling settings[] = {{1, 0, 1, 0}, {0, 0, 1, 0}, {0.8, 20, 0.9, 0}};
    return (lm_request){.prompt = prompt,
                        .prompt_count = count,
                        .max_tokens = i % 7 == 6 ? 0 : 3 + i * 5 % 30,
                        .sampling = settings[i % 3],
                        .key = 99,
                        .stream = i,
                        .penalties = {.repetition = i % 4 == 3 ? 1.3 : 0}};
}

/* Three samples each of questions behind one system prompt; then the system prompt alone, a question that goes on, one
 * that has nothing in common, and one of a single token. */
static void make_requests(void) {
    size_t n = 0;
    once = SYSTEM;
    for (size_t i = 0; i < QUESTIONS + EXTRA; i++) {
        tiny_ids(prompts[i], CONTEXT, VOCABULARY, 3);
        tiny_ids(prompts[i] + SYSTEM, CONTEXT - SYSTEM, VOCABULARY, (uint32_t)(100 + i));
        prompts[i][SYSTEM] = (int32_t)i; /* they part here at the latest */
    }
    for (size_t i = 0; i < QUESTIONS; i++) {
        size_t count = SYSTEM + 9 + i * 11;
        once += count - SYSTEM;
        for (size_t j = 0; j < SAMPLES; j++, n++) {
            requests[n] = request_for(prompts[i], count, n);
        }
    }
    requests[n] = request_for(prompts[QUESTIONS], SYSTEM, n), n++;
    memcpy(prompts[QUESTIONS + 1], prompts[1], sizeof *prompts);
    requests[n] = request_for(prompts[QUESTIONS + 1], SYSTEM + 40, n), n++;
    once += 40 - 9 - 11;
    tiny_ids(prompts[QUESTIONS + 2], CONTEXT, VOCABULARY, 55);
    prompts[QUESTIONS + 2][0] = (prompts[0][0] + 1) % VOCABULARY;
    requests[n] = request_for(prompts[QUESTIONS + 2], 70, n), n++;
    once += 70;
    prompts[QUESTIONS + 3][0] = (prompts[0][0] + 2) % VOCABULARY;
    requests[n] = request_for(prompts[QUESTIONS + 3], 1, n), n++;
    once += 1;
    requests[6].max_tokens = 0; /* two that want no answer compute nothing */
    assert_int_equal(n, REQUESTS);
}

static size_t asked(void) {
    size_t sum = 0;
    for (size_t i = 0; i < REQUESTS; i++) {
        sum += requests[i].max_tokens > 0 ? requests[i].prompt_count : 0;
    }
    return sum;
}

static void same_answers(const lm_answer *a, const lm_answer *b, bool reversed, const char *what) {
    for (size_t i = 0; i < REQUESTS; i++) {
        const lm_answer *x = &a[reversed ? REQUESTS - 1 - i : i], *y = &b[i];
        if (x->count != y->count || x->finish != y->finish ||
            memcmp(&x->logprob, &y->logprob, sizeof x->logprob) != 0 ||
            memcmp(x->ids, y->ids, x->count * sizeof *x->ids) != 0) {
            fail_msg("%s: answer %zu differs: %zu and %zu tokens", what, i, x->count, y->count);
        }
    }
}

static void free_answers(lm_answer *answers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(answers[i].ids);
    }
}

static lm_counts compare(const lm_context *context, const lm_model *model, const lm_answer *reference,
                         lm_generation how, bool reversed, const char *what) {
    lm_request order[REQUESTS];
    lm_answer answers[REQUESTS];
    lm_counts counts = {0};
    for (size_t i = 0; i < REQUESTS; i++) {
        order[i] = requests[reversed ? REQUESTS - 1 - i : i];
    }
    how.counts = &counts;
    MUST(lm_generate_with(context, model, order, REQUESTS, &how, answers, error));
    same_answers(answers, reference, reversed, what);
    free_answers(answers, REQUESTS);
    assert_int_equal(counts.prompt_tokens, asked());
    return counts;
}

static lm_model *new_model(const lm_context *context) {
    lm_config config = tiny_llama(CONTEXT);
    lm_model *model = NULL;
    MUST(lm_model_init(context, &config, 5, 0.25, &model, error));
    return model;
}

/* One kernel set, one worker: what is computed can be counted. */
static void check_counts(const lm_context *context, const lm_model *model, const lm_answer *reference) {
    lm_counts counts =
        compare(context, model, reference, (lm_generation){.unshared = true}, false, "unshared");
    assert_int_equal(counts.prompt_computed, asked());
    counts = compare(context, model, reference, (lm_generation){.block = 32}, false, "shared");
    assert_int_equal(counts.prompt_computed, once);
    counts =
        compare(context, model, reference, (lm_generation){.slots = 3, .block = 64}, true, "three slots");
    assert_int_equal(counts.prompt_computed, once);
    assert_int_equal(counts.streams, 3);
    counts = compare(context, model, reference, (lm_generation){.slots = 1}, false, "one slot");
    assert_int_equal(counts.prompt_computed, once);
    assert_int_equal(counts.streams, 1);

    lm_prefixes *prefixes = NULL;
    MUST(lm_prefixes_new(1, &prefixes, error));
    counts = compare(context, model, reference, (lm_generation){.block = 32, .prefixes = prefixes}, false,
                     "first");
    assert_int_equal(counts.prompt_computed, once);
    counts = compare(context, model, reference, (lm_generation){.block = 32, .prefixes = prefixes}, true,
                     "second");
    assert_int_equal(counts.prompt_computed, 0);
    lm_prefixes_free(prefixes);
}

static void sharing_never_shows(const char *profile) {
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
            lm_generation alone = {.unshared = true, .slots = 1};
            for (size_t i = 0; i < REQUESTS; i++) {
                MUST(lm_generate_with(&context, model, &requests[i], 1, &alone, &reference[i], error));
            }
            check_counts(&context, model, reference);
            first = false;
        }
        compare(&context, model, reference, (lm_generation){.slots = 7, .block = 32}, false, sets[set]->name);
        lm_context_free(&context);
        for (uint32_t workers = 2; workers <= 4; workers += 2) {
            tm_pool *pool = NULL;
            MUST(tm_pool_new(workers, &pool, error));
            MUST(lm_context_init(&context, sets[set], profile, workers_of(pool), error));
            lm_counts counts = compare(&context, model, reference, (lm_generation){.block = 32}, workers == 4,
                                       sets[set]->name);
            assert_in_range(counts.prompt_computed, once, once * workers);
            lm_context_free(&context);
            tm_pool_free(pool);
        }
        lm_model_close(model);
    }
    free_answers(reference, REQUESTS);
}

static void sharing_never_shows_f32(void **state) {
    (void)state;
    sharing_never_shows("f32/1");
}

static void sharing_never_shows_bf16(void **state) {
    (void)state;
    sharing_never_shows("bf16/1");
}

static void sharing_never_shows_q8(void **state) {
    (void)state;
    sharing_never_shows("q8/1");
}

static const lm_kernels *best(void) {
    const char *reason;
    return lm_kernels_choose(NULL, &reason);
}

static void memory_decides_how_many_at_a_time(void **state) {
    lm_context context;
    lm_answer reference[REQUESTS], answer;
    temper_error refusal = TEMPER_ERROR_INIT;
    (void)state;
    make_requests();
    MUST(lm_context_init(&context, best(), "bf16/1", lm_serial(), error));
    lm_model *model = new_model(&context);
    lm_generation how = {.block = 32};
    MUST(lm_generate_with(&context, model, requests, REQUESTS, &how, reference, error));

    size_t least = 0, streams = 0;
    for (size_t memory = 100000; memory < 4000000; memory += 3000) {
        how.memory = memory;
        temper_status status = lm_generate_with(&context, model, requests, 1, &how, &answer, &refusal);
        if (status == TEMPER_OK) {
            free(answer.ids);
            least = memory;
            break;
        }
        assert_int_equal(status, TEMPER_NO_MEMORY);
        assert_non_null(strstr(refusal.message, "prompt 1 has 54 tokens, its answer up to 3 more"));
        assert_non_null(strstr(refusal.message, "fit"));
    }
    assert_int_not_equal(least, 0);
    assert_non_null(strstr(refusal.message, "32 tokens of prompt and answer together would fit"));
    for (size_t memory = least; streams < REQUESTS - 3 && memory < 20 * least; memory += least / 4) {
        lm_answer answers[REQUESTS];
        lm_counts counts = {0};
        how.memory = memory;
        how.counts = &counts;
        temper_status status = lm_generate_with(&context, model, requests, REQUESTS, &how, answers, &refusal);
        if (status != TEMPER_OK) { /* the longest of them */
            assert_int_equal(status, TEMPER_NO_MEMORY);
            assert_int_equal(streams, 0);
            continue;
        }
        same_answers(answers, reference, false, "little memory");
        free_answers(answers, REQUESTS);
        assert_true(counts.streams >= streams);
        assert_true(counts.cache_bytes < memory);
        streams = counts.streams;
    }
    assert_true(streams >= REQUESTS - 3);
    free_answers(reference, REQUESTS);
    lm_model_close(model);
    lm_context_free(&context);
}

/* Several completions of a prompt, prompts behind one system prompt: computed once, and the same bits as alone. */
static void scoring_shares_too(void **state) {
    static int32_t texts[REQUESTS][CONTEXT];
    static float alone[REQUESTS][CONTEXT], together[REQUESTS][CONTEXT];
    static uint8_t wanted[REQUESTS][CONTEXT], nothing[CONTEXT];
    lm_scored list[REQUESTS];
    size_t sum = 0, expected = SYSTEM;
    (void)state;
    make_requests();
    for (size_t i = 0; i < REQUESTS; i++) {
        size_t prompt = requests[i].prompt_count, answer = 5 + i % 4;
        memcpy(texts[i], requests[i].prompt, prompt * sizeof **texts);
        tiny_ids(texts[i] + prompt, answer, VOCABULARY, (uint32_t)(1000 + i));
        memset(wanted[i] + prompt, 1, answer);
        wanted[i][prompt + 1] = 0;
        list[i] = (lm_scored){texts[i], prompt + answer, together[i], i % 6 == 5 ? NULL : wanted[i]};
        sum += prompt + answer;
    }
    list[3].wanted = nothing;
    for (int p = 0; p < 3; p++) {
        static const char *const profiles[] = {"f32/1", "bf16/1", "q8/1"};
        for (uint32_t workers = 1; workers <= 4; workers *= 2) {
            tm_pool *pool = NULL;
            lm_context context;
            lm_prefixes *prefixes = NULL;
            lm_counts counts = {0};
            MUST(tm_pool_new(workers, &pool, error));
            MUST(lm_context_init(&context, best(), profiles[p], workers_of(pool), error));
            lm_model *model = new_model(&context);
            MUST(lm_prefixes_new(workers, &prefixes, error));
            for (size_t i = 0; workers == 1 && i < REQUESTS; i++) {
                lm_scored one = list[i];
                lm_generation how = {.unshared = true};
                one.logprobs = alone[i];
                MUST(lm_score_with(&context, model, &one, 1, &how, error));
            }
            lm_generation how = {.block = 32, .prefixes = prefixes, .counts = &counts};
            lm_answer answers[REQUESTS]; /* what generation keeps serves as well */
            MUST(lm_generate_with(&context, model, requests, REQUESTS, &how, answers, error));
            free_answers(answers, REQUESTS);
            for (int turn = 0; turn < 2; turn++) {
                memset(together, 0xff, sizeof together);
                MUST(lm_score_with(&context, model, list, REQUESTS, &how, error));
                for (size_t i = 0; i < REQUESTS; i++) {
                    assert_memory_equal(together[i], alone[i], list[i].count * sizeof **alone);
                }
            }
            assert_int_equal(counts.score_tokens, 2 * sum);
            if (workers == 1 && p == 0) {
                expected = counts.score_computed;
                assert_true(counts.score_computed < sum * 6 / 5); /* of twice as many */
            }
            assert_true(workers > 1 || counts.score_computed == expected);
            how.memory = 30000;
            temper_error refusal = TEMPER_ERROR_INIT;
            assert_int_equal(lm_score_with(&context, model, list, REQUESTS, &how, &refusal),
                             TEMPER_NO_MEMORY);
            assert_non_null(strstr(refusal.message, "their keys and values take"));
            lm_prefixes_free(prefixes);
            lm_model_close(model);
            lm_context_free(&context);
            tm_pool_free(pool);
        }
    }
}

/* Longer than a pass: piece by piece, with the bits of the whole. */
static void long_texts_go_piece_by_piece(void **state) {
    enum { LONG = 1100, HIDDEN = 48 };
    static int32_t ids[LONG];
    static float logprobs[LONG], mean[HIDDEN];
    static lm_real normed[LONG * HIDDEN], logits[LONG * VOCABULARY];
    lm_config config = tiny_llama(LONG);
    lm_context context;
    lm_model *model = NULL;
    lm_counts counts = {0};
    (void)state;
    MUST(lm_context_init(&context, best(), "bf16/1", lm_serial(), error));
    MUST(lm_model_init(&context, &config, 5, 0.25, &model, error));
    tiny_ids(ids, LONG, VOCABULARY, 4);
    lm_sequence sequence = {NULL, ids, LONG};
    MUST(lm_model_forward(&context, model, &sequence, 1, normed, NULL, error));
    MUST(lm_model_logits(&context, model, normed, NULL, LONG, logits, error));
    lm_scored scored = {ids, LONG, logprobs, NULL};
    lm_generation how = {.counts = &counts};
    MUST(lm_score_with(&context, model, &scored, 1, &how, error));
    for (size_t j = 1; j < LONG; j++) {
        const lm_real *row = logits + (j - 1) * VOCABULARY;
        lm_real maximum, log_sum;
        context.kernels->log_sum_exp(&maximum, &log_sum, row, VOCABULARY);
        assert_true(logprobs[j] == (float)((row[ids[j]] - maximum) - log_sum));
    }
    assert_int_equal(counts.score_computed, LONG - 1);
    assert_true(counts.steps > 1);
    lm_embedded embedded = {ids, LONG, mean};
    MUST(lm_embed(&context, model, &embedded, 1, error));
    for (size_t d = 0; d < HIDDEN; d++) {
        double sum = 0;
        for (size_t j = 0; j < LONG; j++) {
            sum += (double)normed[j * HIDDEN + d];
        }
        assert_true(mean[d] == (float)(sum / LONG));
    }
    temper_error refusal = TEMPER_ERROR_INIT;
    ids[7] = VOCABULARY;
    assert_int_equal(lm_score(&context, model, &scored, 1, NULL, NULL, &refusal), TEMPER_INVALID);
    assert_non_null(strstr(refusal.message, "text 1: token id 77 is outside the vocabulary of 77"));
    lm_model_close(model);
    lm_context_free(&context);
}

static int any_token(void *context, int32_t id) {
    (void)context;
    (void)id;
    return 0;
}

/* The next question of a conversation begins with the last one and its answer. */
static void a_conversation_goes_on(void **state) {
    lm_context context;
    lm_answer first, second, alone;
    lm_prefixes *prefixes = NULL;
    lm_counts counts = {0};
    int32_t ids[CONTEXT];
    (void)state;
    make_requests();
    MUST(lm_context_init(&context, best(), "bf16/1", lm_serial(), error));
    lm_model *model = new_model(&context);
    MUST(lm_prefixes_new(1, &prefixes, error));
    lm_generation how = {.prefixes = prefixes, .counts = &counts};
    lm_request request = request_for(prompts[0], 50, 5);
    MUST(lm_generate_stream(&context, model, &request, &how, any_token, NULL, &first, error));
    assert_int_equal(counts.prompt_computed, 50);
    assert_int_equal(first.count, request.max_tokens);
    memcpy(ids, prompts[0], 50 * sizeof *ids);
    memcpy(ids + 50, first.ids, first.count * sizeof *ids);
    memcpy(ids + 50 + first.count, prompts[1], 10 * sizeof *ids);
    request.prompt = ids;
    request.prompt_count = 60 + first.count;
    MUST(lm_generate_stream(&context, model, &request, &how, any_token, NULL, &second, error));
    assert_int_equal(counts.prompt_computed, 50 + 11); /* the last token of the answer was never fed */
    MUST(lm_generate_stream(&context, model, &request, NULL, any_token, NULL, &alone, error));
    assert_int_equal(second.count, alone.count);
    assert_memory_equal(second.ids, alone.ids, alone.count * sizeof *alone.ids);
    assert_memory_equal(&second.logprob, &alone.logprob, sizeof alone.logprob);
    free(first.ids);
    free(second.ids);
    free(alone.ids);
    lm_prefixes_free(prefixes);
    lm_model_close(model);
    lm_context_free(&context);
}

/* Blocks: shared by reference, copied when somebody goes on inside one, counted, bounded. */
static void blocks_are_shared_and_copied(void **state) {
    lm_context context;
    lm_cache_pool *pool = NULL;
    lm_cache *a = NULL, *b = NULL;
    temper_error refusal = TEMPER_ERROR_INIT;
    lm_config config = tiny_llama(CONTEXT);
    (void)state;
    MUST(lm_context_init(&context, best(), "bf16/1", lm_serial(), error));
    lm_model *model = new_model(&context);
    MUST(lm_cache_pool_new(&context, &config, 32, 5, &pool, error));
    MUST(lm_cache_open(pool, CONTEXT, &a, error));
    MUST(lm_cache_open(pool, CONTEXT, &b, error));
    MUST(lm_cache_reserve(a, 70, error));
    assert_int_equal(pool->used, 3);
    make_requests();
    static lm_real normed[CONTEXT * 48];
    lm_sequence sequence = {a, prompts[0], 70};
    MUST(lm_model_forward(&context, model, &sequence, 1, normed, NULL, error));
    lm_cache_share(b, a, 66);
    assert_int_equal(pool->used, 3);
    assert_int_equal(lm_cache_alone(a), 0);
    assert_int_equal(lm_cache_wanted(b, 66), 0);
    assert_int_equal(lm_cache_wanted(b, 96), 1);
    assert_int_equal(lm_cache_wanted(b, 97), 2);
    MUST(lm_cache_reserve(b, 67, error));
    assert_int_equal(pool->used, 4);
    assert_ptr_equal(a->blocks[1], b->blocks[1]);
    assert_ptr_not_equal(a->blocks[2], b->blocks[2]);
    assert_int_equal(lm_cache_alone(a), 1);
    MUST(lm_cache_reserve(a, 97, error));
    assert_int_equal(lm_cache_reserve(b, 128, &refusal), TEMPER_NO_MEMORY);
    assert_non_null(strstr(refusal.message, "5 of them in use"));
    lm_cache_cut(a, 64);
    assert_int_equal(pool->used, 3);
    MUST(lm_cache_reserve(b, 128, error));
    assert_int_equal(pool->most, 5);
    assert_int_equal(pool->made, 5);
    lm_cache_free(a);
    lm_cache_free(b);
    assert_int_equal(pool->used, 0);
    lm_cache_pool_trim(pool);
    assert_int_equal(pool->made, 0);
    lm_cache_pool_free(pool);
    lm_model_close(model);
    lm_context_free(&context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sharing_never_shows_f32), cmocka_unit_test(sharing_never_shows_bf16),
        cmocka_unit_test(sharing_never_shows_q8),  cmocka_unit_test(memory_decides_how_many_at_a_time),
        cmocka_unit_test(scoring_shares_too),      cmocka_unit_test(long_texts_go_piece_by_piece),
        cmocka_unit_test(a_conversation_goes_on),  cmocka_unit_test(blocks_are_shared_and_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

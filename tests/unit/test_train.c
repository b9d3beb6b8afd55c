/* Training in float: AdamW and schedule by hand, DPO's first and last values, and one digest for every number of
 * workers, kernel set, group and chunk. */
#include "../../plugins/lm/generate/generate.h"
#include "train_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static lm_context open_context(const lm_kernels *kernels, const char *profile, lm_parallel parallel) {
    lm_context context;
    temper_error error = TEMPER_ERROR_INIT;
    if (lm_context_init(&context, kernels, profile, parallel, &error)) {
        fail_msg("%s", error.message);
    }
    return context;
}

/* FNV-1a over every trained value's bits. */
static uint64_t digest(const lm_trainer *trainer) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < lm_trainer_count(trainer); i++) {
        const lm_trained *trained = lm_trainer_at(trainer, i);
        const unsigned char *bytes = (const unsigned char *)trained->values;
        for (size_t b = 0; b < trained->count * sizeof *trained->values; b++) {
            hash = (hash ^ bytes[b]) * 1099511628211u;
        }
    }
    return hash;
}

typedef struct run {
    const lm_kernels *kernels;
    const char *profile, *architecture;
    size_t workers, group_rows, chunk_rows;
    bool adapters;
} run;

/* Three SFT steps (full weights) or DPO steps (adapters) on a tiny model. */
static uint64_t train(run how, size_t batch_rows) {
    lm_context context = open_context(how.kernels, how.profile, tiny_parallel(&how.workers));
    lm_config config = tiny_config(how.architecture, true);
    lm_model *model = tiny_model(&context, &config);
    static tiny_batch batch;
    tiny_fill(&batch, config.vocabulary, TINY_LONGEST);
    if (how.adapters) {
        lm_adapter_config adapter = tiny_adapter();
        assert_int_equal(lm_lora_attach(&context, model, &adapter, 31, NULL), TEMPER_OK);
    }
    lm_train_options options = lm_train_defaults();
    options.group_rows = how.group_rows;
    options.chunk_rows = how.chunk_rows;
    options.weight_decay = 0.01;
    options.gradient_shards = 5;
    lm_trainer *trainer;
    assert_int_equal(lm_trainer_new(&context, model, &options, &trainer, NULL), TEMPER_OK);
    for (size_t step = 0; step < 3; step++) {
        double norm;
        temper_error error = TEMPER_ERROR_INIT;
        temper_status status;
        if (how.adapters) {
            lm_prefer_result result;
            lm_loss_options dpo = {.beta = 0.1, .nll_weight = 0.1};
            status = lm_trainer_prefer(trainer, batch.pair_rows, TINY_EXAMPLES / 2,
                                       lm_loss_find("dpo", "sigmoid"), &dpo, 0, &result, &error);
        } else {
            lm_sft_result result;
            status = lm_trainer_sft(trainer, batch.rows, batch_rows, &result, &error);
        }
        if (status || lm_trainer_apply(trainer, 1e-2, &norm, &error)) {
            fail_msg("%s", error.message);
        }
    }
    uint64_t hash = digest(trainer);
    lm_trainer_free(trainer);
    lm_model_close(model);
    lm_context_free(&context);
    return hash;
}

static void one_digest(const char *profile, const char *architecture, bool adapters) {
    const lm_kernels *const *sets = lm_kernels_all();
    run first = {sets[0], profile, architecture, 1, 512, 512, adapters};
    const char *reason;
    for (size_t i = 0; !lm_kernels_usable(first.kernels, &reason); i++) {
        first.kernels = sets[i];
    }
    uint64_t wanted = train(first, TINY_EXAMPLES);
    static const size_t workers[] = {2, 3, 8};
    for (size_t i = 0; i < sizeof workers / sizeof *workers; i++) {
        run other = first;
        other.workers = workers[i];
        assert_int_equal(train(other, TINY_EXAMPLES), wanted);
    }
    static const size_t groups[] = {1, 9, 30}, chunks[] = {2, 6, 64};
    for (size_t i = 0; i < 3; i++) {
        run other = first;
        other.group_rows = groups[i];
        other.chunk_rows = chunks[i];
        assert_int_equal(train(other, TINY_EXAMPLES), wanted);
    }
    for (size_t i = 0; sets[i] != NULL; i++) {
        run other = first;
        other.kernels = sets[i];
        other.workers = 2;
        if (!lm_kernels_usable(sets[i], &reason)) {
            print_message("skipped: kernel set %s: %s\n", sets[i]->name, reason);
            continue;
        }
        if (train(other, TINY_EXAMPLES) != wanted) {
            fail_msg("%s, %s: kernel set %s trains other weights", profile, architecture, sets[i]->name);
        }
    }
    if (!adapters) { /* it is a digest of what was trained on */
        assert_int_not_equal(train(first, TINY_EXAMPLES - 1), wanted);
    }
}

static void digest_llama_bf16(void **state) {
    (void)state;
    one_digest("bf16/1", "llama", false);
}

static void digest_llama_f32(void **state) {
    (void)state;
    one_digest("f32/1", "llama", false);
}

static void digest_gpt_neo_bf16(void **state) {
    (void)state;
    one_digest("bf16/1", "gpt_neo", false);
}

static void digest_dpo(void **state) {
    (void)state;
    one_digest("bf16/1", "llama", true);
    one_digest("f32/1", "gpt_neo", true);
}

/* --- AdamW against the textbook in double --- */

static void adamw(void **state) {
    (void)state;
    size_t one = 1;
    lm_context context = open_context(lm_kernels_choose(NULL, NULL), "f32/1", tiny_parallel(&one));
    lm_config config = tiny_config("llama", true);
    lm_model *model = tiny_model(&context, &config);
    static tiny_batch batch;
    tiny_fill(&batch, config.vocabulary, TINY_LONGEST);
    lm_train_options options = lm_train_defaults();
    options.weight_decay = 0.1;
    options.beta2 = 0.98;
    options.clip = 0.05; /* always reached */
    lm_trainer *trainer;
    assert_int_equal(lm_trainer_new(&context, model, &options, &trainer, NULL), TEMPER_OK);
    size_t count = lm_trainer_parameters(trainer);
    double *w = calloc(count, sizeof *w), *m = calloc(count, sizeof *m), *v = calloc(count, sizeof *v);
    lm_real *gradient = lm_allocate(count, sizeof *gradient);
    for (size_t step = 1; step <= 4; step++) {
        lm_sft_result result;
        double norm, rate = 0.01 * (double)step, squares = 0;
        assert_int_equal(lm_trainer_sft(trainer, batch.rows, TINY_EXAMPLES, &result, NULL), TEMPER_OK);
        lm_trainer_gradient(trainer, gradient);
        for (size_t i = 0; i < count; i++) {
            squares += (double)gradient[i] * (double)gradient[i];
        }
        for (size_t i = 0; i < lm_trainer_count(trainer); i++) {
            const lm_trained *trained = lm_trainer_at(trainer, i);
            bool norms = trained->role == LM_FINAL_NORM || trained->role == LM_ATTENTION_NORM ||
                         trained->role == LM_FEED_NORM;
            for (size_t j = 0; j < trained->count; j++) {
                size_t at = trained->offset + j;
                double g = (double)gradient[at] * fmin(1, options.clip / (sqrt(squares) + 1e-6));
                w[at] = step == 1 ? (double)trained->values[j] : w[at];
                m[at] = 0.9 * m[at] + (1 - 0.9) * g;
                v[at] = 0.98 * v[at] + (1 - 0.98) * g * g;
                w[at] -= rate * (m[at] / (1 - pow(0.9, (double)step)) /
                                     (sqrt(v[at] / (1 - pow(0.98, (double)step))) + 1e-8) +
                                 (norms ? 0 : 0.1) * w[at]);
            }
        }
        assert_int_equal(lm_trainer_apply(trainer, rate, &norm, NULL), TEMPER_OK);
        assert_true(fabs(norm - sqrt(squares)) < 1e-6 * norm);
        for (size_t i = 0; i < lm_trainer_count(trainer); i++) {
            const lm_trained *trained = lm_trainer_at(trainer, i);
            for (size_t j = 0; j < trained->count; j++) {
                double off = fabs((double)trained->values[j] - w[trained->offset + j]);
                /* a gradient near zero makes its own sign uncertain: those move by rate at most */
                double g = fabs((double)gradient[trained->offset + j]);
                assert_true(off < (g > 1e-6 ? 2e-5 : 2 * rate));
            }
        }
    }
    free(w);
    free(m);
    free(v);
    free(gradient);
    lm_trainer_free(trainer);
    lm_model_close(model);
    lm_context_free(&context);
}

/* The first step moves a weight by the rate, whatever the gradient's size and however long the memory. */
static void first_step(void **state) {
    static const double betas[] = {0, 0.9, 0.999, 0.99999, 0.999999};
    (void)state;
    for (size_t i = 0; i < sizeof betas / sizeof *betas; i++) {
        size_t one = 1;
        lm_context context = open_context(lm_kernels_choose(NULL, NULL), "f32/1", tiny_parallel(&one));
        lm_config config = tiny_config("llama", true);
        lm_model *model = tiny_model(&context, &config);
        static tiny_batch batch;
        tiny_fill(&batch, config.vocabulary, TINY_LONGEST);
        lm_train_options options = lm_train_defaults();
        options.beta2 = betas[i];
        lm_trainer *trainer;
        lm_sft_result result;
        double norm;
        size_t seen = 0;
        assert_int_equal(lm_trainer_new(&context, model, &options, &trainer, NULL), TEMPER_OK);
        size_t count = lm_trainer_parameters(trainer);
        lm_real *gradient = lm_allocate(count, sizeof *gradient),
                *before = lm_allocate(count, sizeof *before);
        for (size_t t = 0; t < lm_trainer_count(trainer); t++) {
            const lm_trained *trained = lm_trainer_at(trainer, t);
            memcpy(before + trained->offset, trained->values, trained->count * sizeof *before);
        }
        assert_int_equal(lm_trainer_sft(trainer, batch.rows, TINY_EXAMPLES, &result, NULL), TEMPER_OK);
        lm_trainer_gradient(trainer, gradient);
        assert_int_equal(lm_trainer_apply(trainer, 0.5, &norm, NULL), TEMPER_OK);
        for (size_t t = 0; t < lm_trainer_count(trainer); t++) {
            const lm_trained *trained = lm_trainer_at(trainer, t);
            for (size_t j = 0; j < trained->count; j++) {
                double g = (double)gradient[trained->offset + j];
                double moved = (double)before[trained->offset + j] - (double)trained->values[j];
                if (fabs(g) > 1e-3) {
                    seen++;
                    assert_true(fabs(moved - (g > 0 ? 0.5 : -0.5)) < 2e-5);
                }
            }
        }
        assert_true(seen > 100);
        free(gradient);
        free(before);
        lm_trainer_free(trainer);
        lm_model_close(model);
        lm_context_free(&context);
    }
}

static void schedule(void **state) {
    (void)state;
    assert_true(lm_schedule_rate(LM_COSINE, 2, 0, 0, 4, 10) == 0.5);
    assert_true(lm_schedule_rate(LM_COSINE, 2, 0, 3, 4, 10) == 2);
    assert_true(lm_schedule_rate(LM_COSINE, 2, 0, 4, 4, 10) == 2);
    assert_true(fabs(lm_schedule_rate(LM_COSINE, 2, 0, 7, 4, 10) - 1) < 1e-15);
    assert_true(fabs(lm_schedule_rate(LM_COSINE, 2, 0.1, 9, 4, 10) -
                     2 * (0.1 + 0.9 * 0.5 * (1 + cos(3.14159265358979 * 5 / 6)))) < 1e-12);
    assert_true(lm_schedule_rate(LM_LINEAR, 2, 0, 7, 4, 10) == 1);
    assert_true(lm_schedule_rate(LM_CONSTANT, 2, 0, 9, 0, 10) == 2);
    size_t order[100], seen[100] = {0}, moved = 0;
    lm_shuffle(5, 1, order, 100);
    for (size_t i = 0; i < 100; i++) {
        seen[order[i]]++;
        moved += order[i] != i;
    }
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(seen[i], 1);
    }
    assert_true(moved > 80);
}

/* --- DPO: ln 2 at the beginning, and one batch learnt by heart --- */

static void dpo_overfits(const char *profile) {
    size_t one = 1;
    lm_context context = open_context(lm_kernels_choose(NULL, NULL), profile, tiny_parallel(&one));
    lm_config config = tiny_config("llama", true);
    lm_model *model = tiny_model(&context, &config);
    static tiny_batch batch;
    tiny_fill(&batch, config.vocabulary, TINY_LONGEST);
    double before[TINY_EXAMPLES], after[TINY_EXAMPLES];
    lm_adapter_config adapter = tiny_adapter();
    lm_train_options options = lm_train_defaults();
    lm_loss_options dpo = {.beta = 0.1};
    const lm_loss *loss = lm_loss_find("dpo", "sigmoid");
    lm_prefer_result result;
    lm_trainer *trainer;
    double norm;
    /* the reference is the model without an adapter, scored by the provider's function */
    lm_scored scored[TINY_EXAMPLES];
    float logprobs[TINY_EXAMPLES][TINY_LONGEST];
    for (size_t i = 0; i < TINY_EXAMPLES; i++) {
        scored[i] =
            (lm_scored){.ids = batch.ids[i], .count = batch.examples[i].count, .logprobs = logprobs[i]};
    }
    assert_int_equal(lm_score(&context, model, scored, TINY_EXAMPLES, NULL, NULL, NULL), TEMPER_OK);
    assert_int_equal(lm_lora_attach(&context, model, &adapter, 31, NULL), TEMPER_OK);
    assert_int_equal(lm_trainer_new(&context, model, &options, &trainer, NULL), TEMPER_OK);
    assert_int_equal(lm_trainer_score(trainer, batch.rows, TINY_EXAMPLES, before, NULL, NULL), TEMPER_OK);
    for (size_t i = 0; i < TINY_EXAMPLES; i++) { /* bit for bit: one forward pass, and B is zero */
        double sum = 0;
        for (size_t t = 1; t < batch.examples[i].count; t++) {
            sum += batch.trained[i][t] ? (double)logprobs[i][t] : 0;
        }
        assert_true(sum == before[i]);
    }
    for (size_t i = 0; i < TINY_EXAMPLES / 2; i++) {
        batch.pairs[i].reference_chosen = before[2 * i];
        batch.pairs[i].reference_rejected = before[2 * i + 1];
    }
    for (size_t step = 0; step < 150; step++) {
        assert_int_equal(
            lm_trainer_prefer(trainer, batch.pair_rows, TINY_EXAMPLES / 2, loss, &dpo, 0, &result, NULL),
            TEMPER_OK);
        if (step == 0) {
            assert_true(result.loss == 0.69314718055994530942);
            assert_true(result.margin == 0 && result.reward_chosen == 0);
        }
        assert_int_equal(lm_trainer_apply(trainer, 2e-2, &norm, NULL), TEMPER_OK);
    }
    assert_true(result.loss < 0.1);
    assert_true(result.accuracy == 1);
    assert_true(result.margin > 2);
    assert_int_equal(lm_trainer_score(trainer, batch.rows, TINY_EXAMPLES, after, NULL, NULL), TEMPER_OK);
    for (size_t i = 0; i < TINY_EXAMPLES / 2; i++) {
        assert_true(after[2 * i] - before[2 * i] > after[2 * i + 1] - before[2 * i + 1]);
    }
    lm_trainer_free(trainer);
    lm_model_close(model);
    lm_context_free(&context);
}

static void dpo_f32(void **state) {
    (void)state;
    dpo_overfits("f32/1");
}

static void dpo_bf16(void **state) {
    (void)state;
    dpo_overfits("bf16/1");
}

/* What cannot be trained is said. */
static void refusals(void **state) {
    (void)state;
    size_t one = 1;
    lm_context context = open_context(lm_kernels_choose(NULL, NULL), "f32/1", tiny_parallel(&one));
    lm_config config = tiny_config("llama", true);
    lm_model *model = tiny_model(&context, &config);
    lm_train_options options = lm_train_defaults();
    lm_trainer *trainer;
    temper_error error = TEMPER_ERROR_INIT;
    options.beta2 = 0.99999999; /* 1, as an f32: squares would never be remembered */
    assert_int_equal(lm_trainer_new(&context, model, &options, &trainer, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "beta2"));
    options = lm_train_defaults();
    assert_int_equal(lm_trainer_new(&context, model, &options, &trainer, NULL), TEMPER_OK);
    int32_t ids[97] = {1, 2, 3};
    uint8_t none[97] = {1, 0, 0}, some[97] = {0, 1, 1};
    lm_example silent = {ids, none, 3, NULL}, wild = {(const int32_t[]){1, 99, 3}, some, 3, NULL},
               endless = {ids, some, 97, NULL};
    const lm_example *rows[] = {&silent};
    lm_sft_result result;
    double norm;
    assert_int_equal(lm_trainer_apply(trainer, 1, &norm, &error), TEMPER_FAILED);
    assert_int_equal(lm_trainer_sft(trainer, rows, 1, &result, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "row 0 trains no token"));
    rows[0] = &wild;
    assert_int_equal(lm_trainer_sft(trainer, rows, 1, &result, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "99"));
    rows[0] = &endless;
    assert_int_equal(lm_trainer_sft(trainer, rows, 1, &result, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "97"));
    lm_adapter_config nothing = {.rank = 2, .alpha = 1};
    assert_int_equal(lm_lora_attach(&context, model, &nothing, 1, &error), TEMPER_INVALID);
    lm_trainer_free(trainer);
    lm_model_close(model);
    lm_context_free(&context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(digest_llama_bf16),
                                       cmocka_unit_test(digest_llama_f32),
                                       cmocka_unit_test(digest_gpt_neo_bf16),
                                       cmocka_unit_test(digest_dpo),
                                       cmocka_unit_test(adamw),
                                       cmocka_unit_test(first_step),
                                       cmocka_unit_test(schedule),
                                       cmocka_unit_test(dpo_f32),
                                       cmocka_unit_test(dpo_bf16),
                                       cmocka_unit_test(refusals)};
    return cmocka_run_group_tests_name("train", tests, NULL, NULL);
}

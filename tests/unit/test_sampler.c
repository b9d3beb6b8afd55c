/* The sampler: edges of top-k and top-p, ties, temperatures, and that it draws what the distribution says. */
#include "../../plugins/lm/generate/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <temper/rng.h>

#include <cmocka.h>

static lm_sampler sampler_for(size_t vocabulary) {
    lm_sampler sampler;
    const char *reason;
    assert_int_equal(lm_sampler_open(&sampler, lm_kernels_choose(NULL, &reason), vocabulary, NULL),
                     TEMPER_OK);
    return sampler;
}

/* Every id that some draw of 4096 gives, as a bit set. */
static unsigned support(lm_sampler *sampler, const lm_real *logits, lm_sampling sampling) {
    unsigned seen = 0;
    double logprob;
    for (int i = 0; i < 4096; i++) {
        int32_t id = lm_sampler_pick(sampler, logits, &sampling, i / 4096.0, &logprob);
        assert_in_range(id, 0, sampler->vocabulary - 1);
        seen |= 1u << id;
    }
    return seen;
}

/* e^logit: 1, 8, 1, 4, 2 of 16 */
static const lm_real five[] = {0, 2.0794415f, 0, 1.3862944f, 0.6931472f};

static void greedy_takes_the_lowest_of_equals(void **state) {
    lm_sampler sampler = sampler_for(5);
    double logprob;
    (void)state;
    assert_int_equal(lm_sampler_pick(&sampler, five, &(lm_sampling){0, 0, 1, 0}, 0.99, &logprob), 1);
    assert_true(fabs(logprob - log(0.5)) < 1e-6);
    assert_int_equal(
        lm_sampler_pick(&sampler, (const lm_real[]){3, 5, 5, 5, 1}, &(lm_sampling){0, 0, 1, 0}, 0, &logprob),
        1);
    lm_sampler_close(&sampler);
}

static void top_k_and_top_p_keep_what_they_say(void **state) {
    lm_sampler sampler = sampler_for(5);
    (void)state;
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 0, 1, 0}), 0x1f);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 1, 1, 0}), 1u << 1);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 3, 1, 0}), 1u << 1 | 1u << 3 | 1u << 4);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 4, 1, 0}),
                     0x1b); /* of ids 0 and 2, equal, the lower */
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 5, 1, 0}), 0x1f);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 4000000000u, 1, 0}), 0x1f);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 0, 0, 0}), 1u << 1);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 0, 0.49, 0}), 1u << 1);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 0, 0.51, 0}), 1u << 1 | 1u << 3);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 0, 0.76, 0}), 1u << 1 | 1u << 3 | 1u << 4);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 0, 0.9, 0}), 0x1b);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 0, 0.999999, 0}), 0x1f);
    /* top_p of what top_k left: 8 of 12 */
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 2, 0.66, 0}), 1u << 1);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 2, 0.67, 0}), 1u << 1 | 1u << 3);
    lm_sampler_close(&sampler);
}

static void min_p_keeps_what_is_near_the_likeliest(void **state) {
    lm_sampler sampler = sampler_for(5);
    (void)state;
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 0, 1, 0.1}), 0x1f); /* an eighth is enough */
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 0, 1, 0.2}), 1u << 1 | 1u << 3 | 1u << 4);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 0, 1, 0.3}), 1u << 1 | 1u << 3);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 0, 1, 1}), 1u << 1);
    assert_int_equal(support(&sampler, five, (lm_sampling){2, 0, 1, 0.3}), 0x1f); /* after temperature */
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 0, 0.51, 0.2}), 1u << 1 | 1u << 3);
    assert_int_equal(support(&sampler, five, (lm_sampling){1, 2, 1, 0.2}), 1u << 1 | 1u << 3);
    assert_int_equal(support(&sampler, (const lm_real[]){3, 3, 3, 1, 3}, (lm_sampling){1, 0, 1, 1}), 0x17);
    lm_sampler_close(&sampler);
}

static const lm_real *adjust(lm_sampler *sampler, const lm_real *logits, lm_penalties penalties) {
    static const int32_t prompt[] = {4, 1}, answer[] = {3, 1, 3};
    lm_request request = {.prompt = prompt, .prompt_count = 2, .penalties = penalties};
    const lm_real *row = lm_sampler_adjust(sampler, logits, &request, answer, 3);
    assert_non_null(row);
    return row;
}

static void penalties_change_the_logits_they_should(void **state) {
    static const lm_real row[] = {1, 2, -3, 4, -8};
    static const lm_bias bias[] = {{0, 1.5}, {3, -100}, {0, 1}};
    lm_sampler sampler = sampler_for(5);
    (void)state;
    assert_ptr_equal(adjust(&sampler, row, (lm_penalties){0}), row);
    assert_ptr_equal(adjust(&sampler, row, (lm_penalties){.repetition = 1}), row);
    for (int round = 0; round < 2; round++) { /* nothing is remembered */
        assert_memory_equal(adjust(&sampler, row, (lm_penalties){.repetition = 2}),
                            ((const lm_real[]){1, 1, -3, 2, -16}), sizeof row);
        assert_memory_equal(adjust(&sampler, row, (lm_penalties){.presence = 0.5}),
                            ((const lm_real[]){1, 1.5, -3, 3.5, -8}), sizeof row);
        assert_memory_equal(adjust(&sampler, row, (lm_penalties){.presence = 0.5, .frequency = 0.25}),
                            ((const lm_real[]){1, 1.25, -3, 3, -8}), sizeof row);
        assert_memory_equal(adjust(&sampler, row, (lm_penalties){.bias = bias, .bias_count = 3}),
                            ((const lm_real[]){3.5, 2, -3, -96, -8}), sizeof row);
    }
    double logprob;
    const lm_real *banned = adjust(&sampler, row, (lm_penalties){.bias = bias, .bias_count = 3});
    assert_int_equal(lm_sampler_pick_adjusted(&sampler, row, banned, &(lm_sampling){0, 0, 1, 0}, 0, &logprob),
                     0);
    double sum = exp(1) + exp(2) + exp(-3) + exp(4) + exp(-8);
    assert_true(fabs(logprob - (1 - log(sum))) < 1e-6); /* the model's own */
    assert_int_equal(lm_penalties_check(&(lm_penalties){.bias = bias, .bias_count = 3}, 5, NULL), TEMPER_OK);
    assert_int_equal(lm_penalties_check(&(lm_penalties){.bias = bias, .bias_count = 3}, 3, NULL),
                     TEMPER_INVALID);
    assert_int_equal(lm_penalties_check(&(lm_penalties){.repetition = -1}, 5, NULL), TEMPER_INVALID);
    assert_int_equal(lm_penalties_check(&(lm_penalties){.presence = NAN}, 5, NULL), TEMPER_INVALID);
    assert_int_equal(lm_penalties_check(&(lm_penalties){.frequency = INFINITY}, 5, NULL), TEMPER_INVALID);
    lm_sampler_close(&sampler);
}

static void impossible_tokens_are_never_drawn(void **state) {
    lm_sampler sampler = sampler_for(4);
    const lm_real logits[] = {-INFINITY, 1, -INFINITY, 1};
    (void)state;
    assert_int_equal(support(&sampler, logits, (lm_sampling){1, 0, 1, 0}), 1u << 1 | 1u << 3);
    assert_int_equal(support(&sampler, logits, (lm_sampling){1, 3, 1, 0}), 1u << 1 | 1u << 3);
    assert_int_equal(support(&sampler, logits, (lm_sampling){1, 0, 0.9999, 0}), 1u << 1 | 1u << 3);
    assert_int_equal(support(&sampler, (const lm_real[]){1, 2, 3, 2}, (lm_sampling){1e-30, 0, 1, 0}),
                     1u << 2);
    assert_int_equal(support(&sampler, (const lm_real[]){1, 3, 3, 2}, (lm_sampling){5e-324, 0, 1, 0}),
                     1u << 1);
    lm_sampler_close(&sampler);
}

static void broken_rows_and_settings_are_refused(void **state) {
    lm_sampler sampler = sampler_for(3);
    double logprob;
    lm_sampling sampling = {1, 0, 1, 0};
    (void)state;
    assert_int_equal(lm_sampler_pick(&sampler, (const lm_real[]){1, NAN, 2}, &sampling, 0, &logprob), -1);
    assert_int_equal(lm_sampler_pick(&sampler, (const lm_real[]){1, INFINITY, 2}, &sampling, 0, &logprob),
                     -1);
    assert_int_equal(
        lm_sampler_pick(&sampler, (const lm_real[]){-INFINITY, -INFINITY, -INFINITY}, &sampling, 0, &logprob),
        -1);
    assert_int_equal(lm_sampling_check(&(lm_sampling){-1, 0, 1, 0}, NULL), TEMPER_INVALID);
    assert_int_equal(lm_sampling_check(&(lm_sampling){NAN, 0, 1, 0}, NULL), TEMPER_INVALID);
    assert_int_equal(lm_sampling_check(&(lm_sampling){INFINITY, 0, 1, 0}, NULL), TEMPER_INVALID);
    assert_int_equal(lm_sampling_check(&(lm_sampling){1, 0, 1.5, 0}, NULL), TEMPER_INVALID);
    assert_int_equal(lm_sampling_check(&(lm_sampling){1, 0, NAN, 0}, NULL), TEMPER_INVALID);
    assert_int_equal(lm_sampling_check(&(lm_sampling){1, 0, 1, 1.5}, NULL), TEMPER_INVALID);
    assert_int_equal(lm_sampling_check(&(lm_sampling){1, 0, 1, NAN}, NULL), TEMPER_INVALID);
    assert_int_equal(lm_sampling_check(&(lm_sampling){0.7, 40, 0.9, 0}, NULL), TEMPER_OK);
    lm_sampler_close(&sampler);
}

/* Pearson's statistic of 100 000 draws against the softmax computed in double by libm. */
static double chi_squared(lm_sampler *sampler, const lm_real *logits, lm_sampling sampling,
                          const double *expected) {
    enum { DRAWS = 100000 };
    size_t n = sampler->vocabulary, counts[64] = {0};
    double sum = 0, logprob;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double unit = temper_random_unit(11, 5, i);
        counts[lm_sampler_pick(sampler, logits, &sampling, unit, &logprob)]++;
    }
    for (size_t i = 0; i < n; i++) {
        double mean = expected[i] * DRAWS;
        if (mean == 0) {
            assert_int_equal(counts[i], 0);
        } else {
            sum += ((double)counts[i] - mean) * ((double)counts[i] - mean) / mean;
        }
    }
    return sum;
}

static void draws_follow_the_distribution(void **state) {
    enum { N = 50 };
    lm_sampler sampler = sampler_for(N);
    lm_real logits[N];
    double p[N], sum = 0, mass = 0;
    (void)state;
    for (size_t i = 0; i < N; i++) {
        logits[i] = (lm_real)(2 * sin((double)i * 1.3));
        sum += p[i] = exp((double)logits[i] / 0.8);
    }
    for (size_t i = 0; i < N; i++) {
        p[i] /= sum;
    }
    /* 49 degrees of freedom: above 85.4 once in a thousand; the draws are fixed, so this never flickers */
    assert_true(chi_squared(&sampler, logits, (lm_sampling){0.8, 0, 1, 0}, p) < 85.4);

    double top[N] = {0};
    for (size_t rank = 0; rank < 10; rank++) {
        size_t best = N;
        for (size_t i = 0; i < N; i++) {
            best = top[i] == 0 && (best == N || p[i] > p[best]) ? i : best;
        }
        top[best] = p[best];
        mass += p[best];
    }
    for (size_t i = 0; i < N; i++) {
        top[i] /= mass;
    }
    assert_true(chi_squared(&sampler, logits, (lm_sampling){0.8, 10, 1, 0}, top) < 27.9); /* 9 degrees */

    double greatest = 0;
    size_t kept = 0;
    for (size_t i = 0; i < N; i++) {
        greatest = p[i] > greatest ? p[i] : greatest;
    }
    mass = 0;
    for (size_t i = 0; i < N; i++) {
        top[i] = p[i] >= 0.25 * greatest ? p[i] : 0;
        kept += top[i] > 0;
        mass += top[i];
    }
    for (size_t i = 0; i < N; i++) {
        top[i] /= mass;
    }
    assert_in_range(kept, 5, 30);
    assert_true(chi_squared(&sampler, logits, (lm_sampling){0.8, 0, 1, 0.25}, top) < 59.7); /* at most 29 */
    lm_sampler_close(&sampler);
}

/* Draws through penalties and biases follow the softmax of the changed logits; what is reported is the model's own. */
static void penalised_draws_follow_theirs(void **state) {
    enum { N = 40, DRAWS = 100000 };
    static const int32_t prompt[] = {4, 1, 9}, answer[] = {3, 1, 3, 17};
    static const lm_bias bias[] = {{0, 1.5}, {12, -2}, {30, 3}};
    lm_sampler sampler = sampler_for(N);
    lm_request request = {.prompt = prompt, .prompt_count = 3, .penalties = {1.4, 0.7, 0.3, bias, 3}};
    lm_sampling sampling = {0.9, 0, 1, 0};
    lm_real logits[N];
    double p[N], sum = 0, own = 0, statistic = 0;
    size_t counts[N] = {0};
    (void)state;
    for (size_t i = 0; i < N; i++) {
        double logit = logits[i] = (lm_real)(1.5 * sin((double)i * 0.7));
        own += exp((double)logits[i]);
        bool there = i == 4 || i == 1 || i == 9 || i == 3 || i == 17;
        logit = there ? logit > 0 ? logit / 1.4 : logit * 1.4 : logit;
        logit -= i == 3 ? 0.7 + 2 * 0.3 : i == 1 || i == 17 ? 0.7 + 0.3 : 0;
        logit += i == 0 ? 1.5 : i == 12 ? -2 : i == 30 ? 3 : 0;
        sum += p[i] = exp(logit / 0.9);
    }
    for (uint64_t i = 0; i < DRAWS; i++) {
        double logprob;
        const lm_real *adjusted = lm_sampler_adjust(&sampler, logits, &request, answer, 4);
        int32_t id = lm_sampler_pick_adjusted(&sampler, logits, adjusted, &sampling,
                                              temper_random_unit(3, 1, i), &logprob);
        counts[id]++;
        assert_true(i > 1000 || fabs(logprob - ((double)logits[id] - log(own))) < 1e-5);
    }
    for (size_t i = 0; i < N; i++) {
        double mean = p[i] / sum * DRAWS;
        statistic += ((double)counts[i] - mean) * ((double)counts[i] - mean) / mean;
    }
    assert_true(statistic < 72.1); /* 39 degrees of freedom, once in a thousand */
    lm_sampler_close(&sampler);
}

/* Top-p draws follow the distribution of the shortest beginning that holds p, whatever way it was found: beside a plain
 * sort, over a vocabulary as large as any. Different streams are different draws. */
static void top_p_over_a_large_vocabulary(void **state) {
    enum { N = 151936, DRAWS = 300 };
    lm_sampler sampler = sampler_for(N);
    lm_real *logits = malloc(N * sizeof *logits);
    double total = 0, kept = 0;
    size_t within = 0, different = 0;
    (void)state;
    assert_non_null(logits);
    for (size_t i = 0; i < N; i++) { /* a few heavy ones in a long tail, each another logit */
        logits[i] = (lm_real)(i % 1519 == 7 ? 12 + (double)(i / 1519) * 0.02 : -(double)(i % 9973) * 1e-3);
        total += exp((double)logits[i] - 14);
    }
    /* the heaviest, in order of id from the end, until they hold 0.6 */
    size_t last = 100;
    while (kept < 0.6 * total) {
        last--;
        kept += exp((double)logits[last * 1519 + 7] - 14);
    }
    for (uint64_t i = 0; i < DRAWS; i++) {
        double logprob, other;
        lm_sampling sampling = {1, 0, 0.6, 0};
        int32_t id = lm_sampler_pick(&sampler, logits, &sampling, temper_random_unit(5, 1, i), &logprob);
        within += id % 1519 == 7 && (size_t)id / 1519 >= last;
        different += id != lm_sampler_pick(&sampler, logits, &sampling, temper_random_unit(5, 2, i), &other);
    }
    assert_int_equal(within, DRAWS);
    assert_true(different > DRAWS / 2);
    free(logits);
    lm_sampler_close(&sampler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(top_k_and_top_p_keep_what_they_say),
        cmocka_unit_test(min_p_keeps_what_is_near_the_likeliest),
        cmocka_unit_test(penalties_change_the_logits_they_should),
        cmocka_unit_test(impossible_tokens_are_never_drawn),
        cmocka_unit_test(broken_rows_and_settings_are_refused),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(penalised_draws_follow_theirs),
        cmocka_unit_test(top_p_over_a_large_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

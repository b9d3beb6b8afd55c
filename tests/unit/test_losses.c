/* test_losses.c: every loss of the table, in double: its value against its formula in libm, its derivatives and a whole
 * model's gradient against central differences; then the state of a trainer, given to another. */
#include "train_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static double ls(double x) { /* log of the logistic function */
    return -log1p(exp(-x));
}

static double sg(double x) {
    return 1 / (1 + exp(-x));
}

/* TRL 1.16's formulas as they stand there. a: options; c, r: log-ratios, or log-probabilities. */
static double formula(const lm_loss *loss, const lm_loss_options *a, const lm_loss_case *of) {
    double c = of->chosen, r = of->rejected, b = a->beta, e = a->label_smoothing, d = c - r;
    const char *name = loss->name;
    if (strncmp(name, "sigmoid", 7) == 0) {
        return -ls(b * d) * (1 - e) - ls(-b * d) * e;
    } else if (strcmp(name, "robust") == 0) {
        return (-(1 - e) * ls(b * d) + e * ls(-b * d)) / (1 - 2 * e);
    } else if (strcmp(name, "hinge") == 0) {
        return fmax(0, 1 - b * d);
    } else if (strcmp(name, "ipo") == 0) {
        return pow(d - 1 / (2 * b), 2);
    } else if (strcmp(name, "apo_zero") == 0) {
        return 1 - sg(b * c) + sg(b * r);
    } else if (strcmp(name, "apo_down") == 0) {
        return sg(b * c) + 1 - sg(b * d);
    } else if (strcmp(name, "sppo_hard") == 0) {
        return pow(c - 0.5 / b, 2) + pow(r + 0.5 / b, 2);
    } else if (strcmp(name, "nca_pair") == 0) {
        return -ls(b * c) - 0.5 * ls(-b * c) - 0.5 * ls(-b * r);
    } else if (strcmp(name, "simpo") == 0) {
        d -= a->gamma / b;
        return -ls(b * d) * (1 - e) - ls(-b * d) * e;
    } else if (strcmp(name, "orpo") == 0) {
        return -b * ls(d - (log1p(-exp(c)) - log1p(-exp(r))));
    } else if (strcmp(name, "kto") == 0) {
        return of->desirable ? a->desirable * (1 - sg(b * (c - of->kl)))
                             : a->undesirable * (1 - sg(b * (of->kl - c)));
    } else if (strcmp(name, "apo_zero_unpaired") == 0) {
        return of->desirable ? a->desirable * (1 - sg(b * c)) : a->undesirable * sg(b * c);
    }
    assert_string_equal(name, "bradley_terry");
    return -ls(d - of->margin) + a->centre * (c + r) * (c + r);
}

static const lm_loss_options all_options = {.beta = 0.3,
                                            .label_smoothing = 0.1,
                                            .gamma = 0.5,
                                            .nll_weight = 0.2,
                                            .kl_weight = 0.05,
                                            .desirable = 1.5,
                                            .undesirable = 0.7,
                                            .centre = 0.01,
                                            .length_normalised = true};

static void values(void **state) {
    (void)state;
    size_t seen = 0;
    for (const lm_loss *loss = lm_losses(); loss->method != NULL; loss++, seen++) {
        for (size_t i = 0; i < 200; i++) {
            double scale = i % 3 == 0 ? 30 : 2, sign = loss->method[0] == 'o' ? -1 : 1;
            lm_loss_case of = {.chosen = scale * (temper_random_unit(1, 0, i) - 0.5 * (1 + sign)),
                               .rejected = scale * (temper_random_unit(1, 1, i) - 0.5 * (1 + sign)),
                               .margin = 0.2,
                               .kl = 0.3,
                               .desirable = i % 2 == 0};
            if (sign < 0) { /* log-probabilities */
                of.chosen = -fabs(of.chosen) - 1e-3;
                of.rejected = -fabs(of.rejected) - 1e-3;
            }
            lm_loss_value found = loss->value(&all_options, &of);
            double wanted = formula(loss, &all_options, &of);
            if (fabs(found.loss - wanted) > 1e-10 * (1 + fabs(wanted))) {
                fail_msg("%s.%s: %.15g, %.15g wanted", loss->method, loss->name, found.loss, wanted);
            }
            for (int side = 0; side < 2; side++) {
                const double step = 1e-5;
                lm_loss_case up = of, down = of;
                *(side ? &up.rejected : &up.chosen) += step;
                *(side ? &down.rejected : &down.chosen) -= step;
                double slope = (loss->value(&all_options, &up).loss - loss->value(&all_options, &down).loss) /
                               (2 * step);
                double given = side ? found.d_rejected : found.d_chosen;
                bool kink = strcmp(loss->name, "hinge") == 0 &&
                            fabs(1 - all_options.beta * (of.chosen - of.rejected)) < 1e-4;
                if (!kink && fabs(slope - given) > 1e-6 * (1 + fabs(given))) {
                    fail_msg("%s.%s: slope %.12g, %.12g wanted", loss->method, loss->name, given, slope);
                }
            }
        }
    }
    assert_int_equal(seen, 18);
    assert_null(lm_loss_find("dpo", "orpo"));
    assert_non_null(lm_loss_find("cpo", "simpo"));
}

/* An answer that is certain, or hopeless, still has a loss and a slope. */
static void extremes(void **state) {
    (void)state;
    for (const lm_loss *loss = lm_losses(); loss->method != NULL; loss++) {
        static const double ends[] = {-3000, -800, 0, 0, 800};
        for (size_t i = 0; i < 25; i++) {
            lm_loss_case of = {.chosen = ends[i / 5], .rejected = ends[i % 5], .desirable = true};
            if (loss->method[0] == 'o' && (of.chosen > 0 || of.rejected > 0)) {
                continue;
            }
            lm_loss_value found = loss->value(&all_options, &of);
            assert_true(isfinite(found.loss) && isfinite(found.d_chosen) && isfinite(found.d_rejected));
        }
    }
}

typedef struct whole {
    lm_context context;
    lm_model *model;
    lm_trainer *trainer;
    tiny_batch batch;
    float reference[TINY_EXAMPLES][TINY_LONGEST];
} whole;

static size_t one = 1;

static void open_with(whole *self, const char *architecture, bool adapters, bool score_head,
                      lm_optimiser optimiser, double decay) {
    lm_config config = tiny_config(architecture, true);
    assert_int_equal(lm_context_init(&self->context, lm_kernels_choose("scalar", NULL), "f32/1",
                                     tiny_parallel(&one), NULL),
                     TEMPER_OK);
    self->model = tiny_model(&self->context, &config);
    tiny_fill(&self->batch, config.vocabulary, 17);
    for (size_t i = 0; i < TINY_EXAMPLES; i++) {
        for (size_t t = 0; t < TINY_LONGEST; t++) {
            self->reference[i][t] = -2 - (float)temper_random_unit(5, i, t);
            if (i % 2 == 0 && t > 0 && self->batch.trained[i][t] == 0) {
                self->batch.trained[i][t] = LM_LIKELIHOOD;
            }
        }
    }
    for (size_t i = 0; i < TINY_EXAMPLES / 2; i++) {
        lm_pair *pair = &self->batch.pairs[i];
        pair->chosen.reference = self->reference[2 * i];
        pair->rejected.reference = self->reference[2 * i + 1];
        pair->desirable = i % 2 == 0;
        pair->margin = 0.1 * (double)i;
        pair->reference_chosen += i == 0 ? 20 : 0; /* one pair the wrong way round, for hinge */
    }
    if (adapters) {
        lm_adapter_config adapter = tiny_adapter();
        assert_int_equal(lm_lora_attach(&self->context, self->model, &adapter, 31, NULL), TEMPER_OK);
    }
    lm_train_options options = lm_train_defaults();
    options.gradient_shards = 3;
    options.group_rows = 20;
    options.chunk_rows = 10;
    options.score_head = score_head;
    options.optimiser = optimiser;
    options.weight_decay = decay;
    options.clip = 0;
    options.beta2 = 0.99;
    assert_int_equal(lm_trainer_new(&self->context, self->model, &options, &self->trainer, NULL), TEMPER_OK);
    for (size_t i = 0; i < lm_trainer_count(self->trainer); i++) { /* a B, a score head that are not zero */
        const lm_trained *trained = lm_trainer_at(self->trainer, i);
        for (size_t j = 0; (trained->which == 'B' || trained->which == 'S') && j < trained->count; j++) {
            trained->values[j] = 0.3 * (temper_random_unit(40 + i, 0, j) - 0.5);
        }
    }
}

static void open_whole(whole *self, const char *architecture, bool adapters, bool score_head) {
    open_with(self, architecture, adapters, score_head, LM_ADAMW, 0);
}

static void close_whole(whole *self) {
    lm_trainer_free(self->trainer);
    lm_model_close(self->model);
    lm_context_free(&self->context);
}

static double loss_of(whole *self, const lm_loss *loss, const lm_loss_options *options) {
    lm_prefer_result result;
    temper_error error = TEMPER_ERROR_INIT;
    if (lm_trainer_pack(self->trainer, &error) ||
        lm_trainer_prefer(self->trainer, self->batch.pair_rows, TINY_EXAMPLES / 2, loss, options, 0.2,
                          &result, &error)) {
        fail_msg("%s.%s: %s", loss->method, loss->name, error.message);
    }
    return result.loss;
}

/* The gradient along three random directions over every value at once. */
static void check_gradient(whole *self, const lm_loss *loss, const lm_loss_options *options) {
    size_t count = lm_trainer_parameters(self->trainer);
    lm_real *gradient = lm_allocate(count, sizeof *gradient), *kept = lm_allocate(count, sizeof *kept);
    loss_of(self, loss, options);
    lm_trainer_gradient(self->trainer, gradient);
    for (size_t round = 0; round < 3; round++) {
        static const double steps[4] = {1, -1, 2, -2};
        const double step = 1e-4;
        double along = 0, size = 0, at[4];
        for (size_t s = 0; s < 4; s++) {
            for (size_t i = 0; i < lm_trainer_count(self->trainer); i++) {
                const lm_trained *trained = lm_trainer_at(self->trainer, i);
                for (size_t j = 0; j < trained->count; j++) {
                    double to = temper_random_unit(70 + round, i, j) - 0.5;
                    lm_real *before = &kept[trained->offset + j];
                    *before = s == 0 ? trained->values[j] : *before;
                    trained->values[j] = *before + step * steps[s] * to;
                    if (s == 0) {
                        along += to * gradient[trained->offset + j];
                        size += gradient[trained->offset + j] * gradient[trained->offset + j];
                    }
                }
            }
            at[s] = loss_of(self, loss, options);
        }
        for (size_t i = 0; i < lm_trainer_count(self->trainer); i++) {
            const lm_trained *trained = lm_trainer_at(self->trainer, i);
            memcpy(trained->values, kept + trained->offset, trained->count * sizeof *kept);
        }
        double wanted = (8 * (at[0] - at[1]) - (at[2] - at[3])) / (12 * step);
        if (!(fabs(wanted - along) <= 1e-6 * sqrt(size)) || size == 0) {
            fail_msg("%s.%s: %.12g along a direction, %.12g wanted", loss->method, loss->name, along, wanted);
        }
    }
    free(gradient);
    free(kept);
}

static void gradients(void **state) {
    (void)state;
    static whole adapters, full, reward;
    open_whole(&adapters, "llama", true, false);
    open_whole(&full, "gpt_neo", false, false);
    open_whole(&reward, "llama", false, true);
    for (const lm_loss *loss = lm_losses(); loss->method != NULL; loss++) {
        if (strcmp(loss->method, "reward") == 0) {
            check_gradient(&reward, loss, &all_options);
            continue;
        }
        lm_loss_options bare = all_options;
        bare.nll_weight = bare.kl_weight = 0;
        bare.length_normalised = false;
        lm_loss_options some = all_options;
        if (strcmp(loss->name, "hinge") == 0) { /* on this side of the kink */
            some.beta = bare.beta = 0.01;
        }
        check_gradient(&adapters, loss, &some);
        check_gradient(&full, loss, &bare);
    }
    close_whole(&adapters);
    close_whole(&full);
    close_whole(&reward);
}

/* A trainer's state given to a fresh one: from there both take the same steps. */
static void states(void **state) {
    static whole first, second;
    (void)state;
    for (int optimiser = LM_ADAMW; optimiser <= LM_SGD; optimiser++) {
        open_with(&first, "llama", optimiser != LM_LION, false, (lm_optimiser)optimiser, 0.1);
        open_with(&second, "llama", optimiser != LM_LION, false, (lm_optimiser)optimiser, 0.1);
        lm_trainer *trainers[] = {first.trainer, second.trainer};
        const lm_loss *loss = lm_loss_find("dpo", "sigmoid");
        double norm;
        for (size_t i = 0; i < 2; i++) {
            loss_of(&first, loss, &all_options);
            assert_int_equal(lm_trainer_apply(first.trainer, 0.01, &norm, NULL), TEMPER_OK);
        }
        lm_bytes pieces[200];
        char *bytes = NULL;
        size_t length = 0, count = lm_trainer_state(first.trainer, pieces);
        assert_true(count <= lm_trainer_count(first.trainer) + 3);
        for (size_t i = 0; i < count; i++) {
            bytes = realloc(bytes, length + pieces[i].length);
            memcpy(bytes + length, pieces[i].data, pieces[i].length);
            length += pieces[i].length;
        }
        temper_error error = TEMPER_ERROR_INIT;
        assert_int_equal(lm_trainer_restore(second.trainer, bytes, length - 1, &error), TEMPER_INVALID);
        assert_int_equal(lm_trainer_restore(second.trainer, bytes, 10, &error), TEMPER_INVALID);
        if (lm_trainer_restore(second.trainer, bytes, length, &error)) {
            fail_msg("%s", error.message);
        }
        assert_int_equal(lm_trainer_steps(second.trainer), 2);
        for (size_t i = 0; i < 2; i++) {
            loss_of(i ? &second : &first, loss, &all_options);
            assert_int_equal(lm_trainer_apply(trainers[i], 0.01, &norm, NULL), TEMPER_OK);
        }
        for (size_t i = 0; i < lm_trainer_count(first.trainer); i++) {
            const lm_trained *a = lm_trainer_at(first.trainer, i), *b = lm_trainer_at(second.trainer, i);
            assert_memory_equal(a->values, b->values, a->count * sizeof *a->values);
        }
        free(bytes);
        close_whole(&first);
        close_whole(&second);
    }
}

/* Lion and SGD by their definitions. */
static void optimisers(void **state) {
    (void)state;
    for (int optimiser = LM_LION; optimiser <= LM_SGD; optimiser++) {
        static whole self;
        open_with(&self, "llama", false, false, (lm_optimiser)optimiser, 0.1);
        size_t count = lm_trainer_parameters(self.trainer);
        double *m = calloc(count, sizeof *m), norm;
        lm_real *gradient = lm_allocate(count, sizeof *gradient),
                *before = lm_allocate(count, sizeof *before);
        for (size_t step = 0; step < 3; step++) {
            lm_sft_result result;
            assert_int_equal(lm_trainer_sft(self.trainer, self.batch.rows, TINY_EXAMPLES, &result, NULL),
                             TEMPER_OK);
            lm_trainer_gradient(self.trainer, gradient);
            for (size_t i = 0; i < lm_trainer_count(self.trainer); i++) {
                const lm_trained *trained = lm_trainer_at(self.trainer, i);
                memcpy(before + trained->offset, trained->values, trained->count * sizeof *before);
            }
            assert_int_equal(lm_trainer_apply(self.trainer, 0.01, &norm, NULL), TEMPER_OK);
            for (size_t i = 0; i < lm_trainer_count(self.trainer); i++) {
                const lm_trained *trained = lm_trainer_at(self.trainer, i);
                for (size_t j = 0; j < trained->count; j++) {
                    size_t at = trained->offset + j;
                    double g = gradient[at], w = before[at], decay = trained->decays ? 0.1 : 0;
                    if (optimiser == LM_LION) {
                        double c = 0.9 * m[at] + (1 - 0.9) * g;
                        w -= 0.01 * ((c > 0) - (c < 0) + decay * w);
                        m[at] = 0.99 * m[at] + (1 - 0.99) * g;
                    } else {
                        m[at] = 0.9 * m[at] + (g + decay * w);
                        w -= 0.01 * m[at];
                    }
                    assert_true(fabs(w - trained->values[j]) < 1e-12 ||
                                (optimiser == LM_LION && fabs(g) < 1e-9));
                }
            }
        }
        free(m);
        free(gradient);
        free(before);
        close_whole(&self);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(values), cmocka_unit_test(extremes),
                                       cmocka_unit_test(gradients), cmocka_unit_test(states),
                                       cmocka_unit_test(optimisers)};
    return cmocka_run_group_tests_name("losses", tests, NULL, NULL);
}

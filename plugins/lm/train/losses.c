/* losses.c: the table. z = beta (chosen - rejected), s the logistic function; softplus(x) = log(1 + exp x) = -log s(-x). */
#include "losses.h"

#include <string.h>
#include <temper/math.h>

static double softplus(double x) {
    return x > 0 ? x + temper_log(1 + temper_exp(-x)) : temper_log(1 + temper_exp(x));
}

static double logistic(double x) {
    return x >= 0 ? 1 / (1 + temper_exp(-x)) : temper_exp(x) / (1 + temper_exp(x));
}

/* s'(x) */
static double bump(double x) {
    return logistic(x) * logistic(-x);
}

/* A loss of z alone. */
static lm_loss_value of_gap(double loss, double slope, double beta) {
    return (lm_loss_value){loss, beta * slope, -beta * slope};
}

static lm_loss_value smoothed(double z, double smoothing, double beta) {
    return of_gap((1 - smoothing) * softplus(-z) + smoothing * softplus(z),
                  smoothing * logistic(z) - (1 - smoothing) * logistic(-z), beta);
}

/* DPO (Rafailov et al. 2023), conservative with label smoothing (Mitchell 2023). */
static lm_loss_value sigmoid(const lm_loss_options *o, const lm_loss_case *of) {
    return smoothed(o->beta * (of->chosen - of->rejected), o->label_smoothing, o->beta);
}

/* Unbiased under flipped labels (Chowdhury et al. 2024). */
static lm_loss_value robust(const lm_loss_options *o, const lm_loss_case *of) {
    double z = o->beta * (of->chosen - of->rejected), e = o->label_smoothing;
    return of_gap(((1 - e) * softplus(-z) - e * softplus(z)) / (1 - 2 * e),
                  (-(1 - e) * logistic(-z) - e * logistic(z)) / (1 - 2 * e), o->beta);
}

/* SLiC (Zhao et al. 2023). */
static lm_loss_value hinge(const lm_loss_options *o, const lm_loss_case *of) {
    double z = o->beta * (of->chosen - of->rejected);
    return z < 1 ? of_gap(1 - z, -1, o->beta) : of_gap(0, 0, o->beta);
}

/* IPO (Azar et al. 2023), equation 17. */
static lm_loss_value ipo(const lm_loss_options *o, const lm_loss_case *of) {
    double off = of->chosen - of->rejected - 1 / (2 * o->beta);
    return of_gap(off * off, 2 * off, 1);
}

/* APO (D'Oosterlinck et al. 2024), equations 7 and 8. */
static lm_loss_value apo_zero(const lm_loss_options *o, const lm_loss_case *of) {
    double c = o->beta * of->chosen, r = o->beta * of->rejected;
    return (lm_loss_value){logistic(-c) + logistic(r), -o->beta * bump(c), o->beta * bump(r)};
}

static lm_loss_value apo_down(const lm_loss_options *o, const lm_loss_case *of) {
    double c = o->beta * of->chosen, z = o->beta * (of->chosen - of->rejected);
    return (lm_loss_value){logistic(c) + logistic(-z), o->beta * (bump(c) - bump(z)), o->beta * bump(z)};
}

/* SPPO (Wu et al. 2024), equation 4.7 with certain labels. */
static lm_loss_value sppo_hard(const lm_loss_options *o, const lm_loss_case *of) {
    double c = of->chosen - 0.5 / o->beta, r = of->rejected + 0.5 / o->beta;
    return (lm_loss_value){c * c + r * r, 2 * c, 2 * r};
}

/* NCA (Chen et al. 2024) for a pair. */
static lm_loss_value nca_pair(const lm_loss_options *o, const lm_loss_case *of) {
    double c = o->beta * of->chosen, r = o->beta * of->rejected;
    return (lm_loss_value){softplus(-c) + 0.5 * softplus(c) + 0.5 * softplus(r),
                           o->beta * (0.5 * logistic(c) - logistic(-c)), o->beta * 0.5 * logistic(r)};
}

/* SimPO (Meng et al. 2024): the mean log-probability, no reference, a margin. */
static lm_loss_value simpo(const lm_loss_options *o, const lm_loss_case *of) {
    return smoothed(o->beta * (of->chosen - of->rejected) - o->gamma, o->label_smoothing, o->beta);
}

/* 1 - exp(x) for x < 0, also where exp(x) is nearly 1; an answer that is certain counts as one that nearly is. */
static double left_over(double x) {
    x = x < -1e-12 ? x : -1e-12;
    return x > -1e-4 ? -x * (1 + x / 2 * (1 + x / 3)) : 1 - temper_exp(x);
}

/* ORPO (Hong et al. 2024): the odds ratio of the mean log-probabilities. */
static lm_loss_value orpo(const lm_loss_options *o, const lm_loss_case *of) {
    double c = left_over(of->chosen), r = left_over(of->rejected);
    double odds = (of->chosen - of->rejected) - (temper_log(c) - temper_log(r)), slope = -logistic(-odds);
    return (lm_loss_value){o->beta * softplus(-odds), o->beta * slope / c, -o->beta * slope / r};
}

/* KTO (Ethayarajh et al. 2024): better than the batch's divergence, or worse. */
static lm_loss_value kto(const lm_loss_options *o, const lm_loss_case *of) {
    double x = o->beta * (of->chosen - of->kl), weight = of->desirable ? o->desirable : o->undesirable;
    double sign = of->desirable ? -1 : 1;
    return (lm_loss_value){weight * logistic(sign * x), sign * weight * o->beta * bump(x), 0};
}

static lm_loss_value apo_zero_unpaired(const lm_loss_options *o, const lm_loss_case *of) {
    lm_loss_case without = *of;
    without.kl = 0;
    return kto(o, &without);
}

/* Bradley and Terry 1952, on rewards; the centre keeps their sum near zero (Eisenstein et al. 2023). */
static lm_loss_value bradley_terry(const lm_loss_options *o, const lm_loss_case *of) {
    double z = of->chosen - of->rejected - of->margin, sum = of->chosen + of->rejected;
    double slope = -logistic(-z), pull = 2 * o->centre * sum;
    return (lm_loss_value){softplus(-z) + o->centre * sum * sum, slope + pull, pull - slope};
}

static const lm_loss losses[] = {
    {"dpo", "sigmoid", 2, true, false, false, LM_LOSS_SMOOTHING | LM_LOSS_LENGTH, sigmoid},
    {"dpo", "sigmoid_norm", 2, true, true, false, LM_LOSS_SMOOTHING, sigmoid},
    {"dpo", "ipo", 2, true, true, false, 0, ipo},
    {"dpo", "hinge", 2, true, false, false, LM_LOSS_LENGTH, hinge},
    {"dpo", "robust", 2, true, false, false, LM_LOSS_SMOOTHING | LM_LOSS_LENGTH, robust},
    {"dpo", "apo_zero", 2, true, false, false, LM_LOSS_LENGTH, apo_zero},
    {"dpo", "apo_down", 2, true, false, false, LM_LOSS_LENGTH, apo_down},
    {"dpo", "sppo_hard", 2, true, false, false, LM_LOSS_LENGTH, sppo_hard},
    {"dpo", "nca_pair", 2, true, false, false, LM_LOSS_LENGTH, nca_pair},
    {"cpo", "sigmoid", 2, false, false, false, LM_LOSS_SMOOTHING | LM_LOSS_LENGTH, sigmoid},
    {"cpo", "hinge", 2, false, false, false, LM_LOSS_LENGTH, hinge},
    {"cpo", "ipo", 2, false, true, false, 0, ipo},
    {"cpo", "simpo", 2, false, true, false, LM_LOSS_SMOOTHING | LM_LOSS_GAMMA, simpo},
    {"simpo", "simpo", 2, false, true, false, LM_LOSS_SMOOTHING | LM_LOSS_GAMMA, simpo},
    {"orpo", "orpo", 2, false, true, true, 0, orpo},
    {"kto", "kto", 1, true, false, false, LM_LOSS_WEIGHTS, kto},
    {"kto", "apo_zero_unpaired", 1, true, false, false, LM_LOSS_WEIGHTS, apo_zero_unpaired},
    {"reward", "bradley_terry", 2, false, false, false, LM_LOSS_CENTRE, bradley_terry},
    {NULL, NULL, 0, false, false, false, 0, NULL}};

const lm_loss *lm_losses(void) {
    return losses;
}

const lm_loss *lm_loss_find(const char *method, const char *name) {
    for (const lm_loss *loss = losses; loss->method != NULL; loss++) {
        if (strcmp(loss->method, method) == 0 && strcmp(loss->name, name) == 0) {
            return loss;
        }
    }
    return NULL;
}

/* losses.h: what is learnt from preferences, as data: a loss is a function of an answer's log-probabilities to a value
 * and its derivatives. Names and definitions are TRL's (1.16), checked against them in tests/interop.
 *
 * Invariant: scalar double arithmetic with temper/math.h alone: the same bits on every machine. */
#ifndef LM_LOSSES_H
#define LM_LOSSES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct lm_loss_options {
    double beta;            /* how strongly to hold to the reference; a temperature where there is none */
    double label_smoothing; /* share of labels taken to be flipped */
    double gamma;           /* simpo: the margin wanted */
    double nll_weight;      /* of the chosen answers' mean token loss over the batch (rpo_alpha, cpo_alpha) */
    double kl_weight;       /* of the mean of exp(ref - p) - (ref - p) - 1 over the trained tokens */
    double desirable, undesirable; /* kto: weights of the two kinds of answers */
    double centre;                 /* reward: weight of the mean squared sum of the two rewards */
    bool length_normalised;        /* log-ratios per token where the loss leaves the choice */
} lm_loss_options;

/* Which of them a loss reads. */
enum {
    LM_LOSS_SMOOTHING = 1,
    LM_LOSS_GAMMA = 2,
    LM_LOSS_WEIGHTS = 4,
    LM_LOSS_LENGTH = 8, /* length_normalised may be chosen */
    LM_LOSS_CENTRE = 16
};

/* What a loss is told: log-probability sums, less the reference's where it has one, per token where it is normalised. One
 * answer: in `chosen`. */
typedef struct lm_loss_case {
    double chosen, rejected;
    double margin;  /* reward: how much better chosen is said to be */
    double kl;      /* kto: the batch's estimate */
    bool desirable; /* kto */
} lm_loss_case;
typedef struct lm_loss_value {
    double loss, d_chosen, d_rejected;
} lm_loss_value;

typedef struct lm_loss {
    const char *method, *name; /* "dpo", "sigmoid" */
    unsigned sides;            /* 2: pairs; 1: single answers */
    bool reference;            /* log-ratios to a reference model */
    bool normalised;           /* always per token */
    bool whole_likelihood;     /* the chosen answer's loss counts its prompt, too (orpo) */
    unsigned options;
    lm_loss_value (*value)(const lm_loss_options *options, const lm_loss_case *of);
} lm_loss;

/* All of them, ended by a NULL method. */
const lm_loss *lm_losses(void);
const lm_loss *lm_loss_find(const char *method, const char *name); /* NULL: there is none */

#endif

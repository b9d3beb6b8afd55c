/* sampler.h: one token from a row of logits.
 *
 * Invariant: the choice is a function of the row, the settings and one uniform number: exp is the kernel set's (the same
 * bits in every set), sums are in double in a fixed order, ties go to the lowest id. */
#ifndef LM_SAMPLER_H
#define LM_SAMPLER_H

#include "generate.h"

typedef struct lm_candidate {
    lm_real logit, weight;
    int32_t id;
} lm_candidate;

/* Working memory for rows of one length. */
typedef struct lm_sampler {
    const lm_kernels *kernels;
    size_t vocabulary;
    lm_real *weights;
    lm_candidate *candidates;
} lm_sampler;

temper_status lm_sampler_open(lm_sampler *self, const lm_kernels *kernels, size_t vocabulary,
                              temper_error *error);
void lm_sampler_close(lm_sampler *self);

/* Finite settings in their ranges? */
temper_status lm_sampling_check(const lm_sampling *sampling, temper_error *error);

/* An id, or -1 when the row holds NaN or +infinity. `unit` in [0, 1) decides; greedy ignores it. *logprob: its natural
 * log-probability, untempered. */
int32_t lm_sampler_pick(lm_sampler *self, const lm_real *logits, const lm_sampling *sampling, double unit,
                        double *logprob);

#endif

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
    lm_real *adjusted; /* logits with penalties; made when first wanted, as ... */
    uint32_t *counts;  /* ... how often a token is there: all 0 between calls */
} lm_sampler;

temper_status lm_sampler_open(lm_sampler *self, const lm_kernels *kernels, size_t vocabulary,
                              temper_error *error);
void lm_sampler_close(lm_sampler *self);

/* Finite settings in their ranges, ids inside the vocabulary? */
temper_status lm_sampling_check(const lm_sampling *sampling, temper_error *error);
temper_status lm_penalties_check(const lm_penalties *penalties, size_t vocabulary, temper_error *error);

/* The row with the request's penalties for what stands before the token: `logits` itself when there are none; NULL: no
 * memory. Valid until the next call. */
const lm_real *lm_sampler_adjust(lm_sampler *self, const lm_real *logits, const lm_request *request,
                                 const int32_t *answer, size_t count);

/* An id, or -1 when the row holds NaN or +infinity. `unit` in [0, 1) decides; greedy ignores it. *logprob: its natural
 * log-probability in this row, untempered. */
int32_t lm_sampler_pick(lm_sampler *self, const lm_real *logits, const lm_sampling *sampling, double unit,
                        double *logprob);
/* The same from a row with penalties; *logprob is that of `logits`. */
int32_t lm_sampler_pick_adjusted(lm_sampler *self, const lm_real *logits, const lm_real *adjusted,
                                 const lm_sampling *sampling, double unit, double *logprob);

#endif

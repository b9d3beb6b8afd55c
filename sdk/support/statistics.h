/* support/statistics.h: numbers a report needs, with fixed bits: no libm, sums in the order given. */
#ifndef TEMPER_SUPPORT_STATISTICS_H
#define TEMPER_SUPPORT_STATISTICS_H

#include "support/text.h"

/* Wilson's score interval at 95% for `successes` (ties counted one half) of `trials`; [0, 1] for no trials. */
void temper_wilson(double successes, double trials, double *low, double *high);

/* Distinct pairs of neighbouring words over all pairs, of all the texts; 0 when there is none. false: no memory. */
bool temper_distinct_2(temper_pool *pool, const temper_span *texts, size_t count, double *out);

/* A permutation of 0 … count-1 that depends on key and stream alone. false: no memory. */
bool temper_permutation(temper_pool *pool, uint64_t key, uint64_t stream, size_t count, const size_t **out);

#endif

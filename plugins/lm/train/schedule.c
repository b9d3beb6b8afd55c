/* schedule.c: what depends on the step's number alone: learning rates, in double by temper/math.h, and the order of
 * rows in an epoch, by Philox. */
#include "train.h"

#include <temper/math.h>
#include <temper/rng.h>

double lm_schedule_rate(lm_schedule schedule, double peak, double final, size_t step, size_t warmup,
                        size_t total) {
    if (step < warmup) {
        return peak * (double)(step + 1) / (double)warmup;
    }
    if (schedule == LM_CONSTANT || total <= warmup + 1) {
        return peak;
    }
    double done = (double)(step - warmup) / (double)(total - warmup);
    done = done > 1 ? 1 : done;
    double left = schedule == LM_LINEAR ? 1 - done : 0.5 * (1 + temper_cos(3.14159265358979323846 * done));
    return peak * (final + (1 - final) * left);
}

void lm_shuffle(uint64_t key, uint64_t epoch, size_t *order, size_t count) {
    for (size_t i = 0; i < count; i++) {
        order[i] = i;
    }
    for (size_t i = 0; i + 1 < count; i++) {
        size_t j = i + (size_t)temper_random_below(key, epoch, i, count - i);
        size_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

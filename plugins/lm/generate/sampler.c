/* sampler.c: see sampler.h.
 *
 * top-k keeps the k greatest logits, then top-p the shortest beginning (greatest first) of what is left whose weight
 * reaches top_p of it, then min-p those whose weight is no less than min_p of the first's (which is 1). The order (logit down, id up) is total, so any way of finding those gives the same ones. */
#include "sampler.h"

#include <math.h>
#include <stdlib.h>

temper_status lm_sampler_open(lm_sampler *self, const lm_kernels *kernels, size_t vocabulary,
                              temper_error *error) {
    *self = (lm_sampler){.kernels = kernels,
                         .vocabulary = vocabulary,
                         .weights = lm_allocate(vocabulary, sizeof *self->weights),
                         .candidates = lm_allocate(vocabulary, sizeof *self->candidates)};
    if (self->weights == NULL || self->candidates == NULL) {
        lm_sampler_close(self);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to sample from %zu tokens", vocabulary);
    }
    return TEMPER_OK;
}

void lm_sampler_close(lm_sampler *self) {
    free(self->weights);
    free(self->candidates);
    free(self->adjusted);
    free(self->counts);
    *self = (lm_sampler){0};
}

temper_status lm_sampling_check(const lm_sampling *sampling, temper_error *error) {
    if (!(sampling->temperature >= 0) || !isfinite(sampling->temperature)) {
        return temper_fail(error, TEMPER_INVALID, "temperature %g: it is 0 (greedy) or above",
                           sampling->temperature);
    }
    if (!(sampling->top_p >= 0 && sampling->top_p <= 1)) {
        return temper_fail(error, TEMPER_INVALID, "top_p %g: it lies between 0 and 1 (all)", sampling->top_p);
    }
    if (!(sampling->min_p >= 0 && sampling->min_p <= 1)) {
        return temper_fail(error, TEMPER_INVALID, "min_p %g: it lies between 0 (all) and 1", sampling->min_p);
    }
    return TEMPER_OK;
}

/* Beyond this no logit is left that a sum could tell from another. */
#define LARGEST_PENALTY 1e6

static temper_status check_penalty(const char *name, double value, double least, temper_error *error) {
    return value >= least && value <= LARGEST_PENALTY
               ? TEMPER_OK
               : temper_fail(error, TEMPER_INVALID, "%s %g: it lies between %g and %g", name, value, least,
                             LARGEST_PENALTY);
}

temper_status lm_penalties_check(const lm_penalties *penalties, size_t vocabulary, temper_error *error) {
    temper_status status = check_penalty("repetition_penalty", penalties->repetition, 0, error);
    if (!status) {
        status = check_penalty("presence_penalty", penalties->presence, -LARGEST_PENALTY, error);
    }
    if (!status) {
        status = check_penalty("frequency_penalty", penalties->frequency, -LARGEST_PENALTY, error);
    }
    for (size_t i = 0; !status && i < penalties->bias_count; i++) {
        const lm_bias *bias = &penalties->bias[i];
        status = bias->id >= 0 && (size_t)bias->id < vocabulary
                     ? check_penalty("a logit bias", bias->value, -LARGEST_PENALTY, error)
                     : temper_fail(error, TEMPER_INVALID, "a bias for token %d: there are %zu", (int)bias->id,
                                   vocabulary);
    }
    return status;
}

static bool ready_to_adjust(lm_sampler *self) {
    if (self->adjusted == NULL) {
        self->adjusted = lm_allocate(self->vocabulary, sizeof *self->adjusted);
    }
    if (self->counts == NULL) {
        self->counts = calloc(self->vocabulary, sizeof *self->counts);
    }
    return self->adjusted != NULL && self->counts != NULL;
}

/* Once for each token that is in the prompt or the answer, however often. */
static void adjust_repeated(lm_sampler *self, double repetition, const int32_t *ids, size_t count) {
    for (size_t i = 0; i < count; i++) {
        lm_real *logit = &self->adjusted[ids[i]];
        if (self->counts[ids[i]]++ == 0) {
            *logit = (lm_real)(*logit > 0 ? (double)*logit / repetition : (double)*logit * repetition);
        }
    }
}

static void forget(lm_sampler *self, const int32_t *ids, size_t count) {
    for (size_t i = 0; i < count; i++) {
        self->counts[ids[i]] = 0;
    }
}

const lm_real *lm_sampler_adjust(lm_sampler *self, const lm_real *logits, const lm_request *request,
                                 const int32_t *answer, size_t count) {
    const lm_penalties *penalties = &request->penalties;
    bool repeats = penalties->repetition != 0 && penalties->repetition != 1;
    bool counts = penalties->presence != 0 || penalties->frequency != 0;
    if (!repeats && !counts && penalties->bias_count == 0) {
        return logits;
    }
    if (!ready_to_adjust(self)) {
        return NULL;
    }
    memcpy(self->adjusted, logits, self->vocabulary * sizeof *self->adjusted);
    if (repeats) {
        adjust_repeated(self, penalties->repetition, request->prompt, request->prompt_count);
        adjust_repeated(self, penalties->repetition, answer, count);
        forget(self, request->prompt, request->prompt_count);
        forget(self, answer, count);
    }
    for (size_t i = 0; counts && i < count; i++) {
        self->counts[answer[i]]++;
    }
    for (size_t i = 0; counts && i < count; i++) {
        uint32_t times = self->counts[answer[i]];
        if (times > 0) {
            double off = penalties->presence + penalties->frequency * times;
            self->adjusted[answer[i]] = (lm_real)((double)self->adjusted[answer[i]] - off);
            self->counts[answer[i]] = 0;
        }
    }
    for (size_t i = 0; i < penalties->bias_count; i++) {
        lm_real *logit = &self->adjusted[penalties->bias[i].id];
        *logit = (lm_real)((double)*logit + penalties->bias[i].value);
    }
    return self->adjusted;
}

static bool better(const lm_candidate *a, const lm_candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

/* A heap with the best (or, `worst`, the worst) at its root: restores it below `root`. */
static void sift(lm_candidate *heap, size_t count, size_t root, bool worst) {
    lm_candidate moved = heap[root];
    for (;;) {
        size_t child = 2 * root + 1;
        if (child >= count) {
            break;
        }
        if (child + 1 < count && better(&heap[child + 1], &heap[child]) != worst) {
            child++;
        }
        if (better(&heap[child], &moved) == worst) {
            break;
        }
        heap[root] = heap[child];
        root = child;
    }
    heap[root] = moved;
}

static void build(lm_candidate *heap, size_t count, bool worst) {
    for (size_t i = count / 2; i-- > 0;) {
        sift(heap, count, i, worst);
    }
}

static lm_candidate candidate(const lm_sampler *self, const lm_real *logits, size_t id) {
    return (lm_candidate){logits[id], self->weights[id], (int32_t)id};
}

/* The k best into candidates, in no order. */
static size_t collect_best(lm_sampler *self, const lm_real *logits, size_t k) {
    lm_candidate *heap = self->candidates;
    for (size_t id = 0; id < k; id++) {
        heap[id] = candidate(self, logits, id);
    }
    build(heap, k, true);
    for (size_t id = k; id < self->vocabulary; id++) {
        if (logits[id] > heap[0].logit) { /* an equal one with a higher id loses */
            heap[0] = candidate(self, logits, id);
            sift(heap, k, 0, true);
        }
    }
    return k;
}

/* Those that can be among the top p: what lies below (1 - p) / V of the total makes up less than 1 - p together. */
static size_t collect_heavy(lm_sampler *self, const lm_real *logits, double total,
                            const lm_sampling *sampling) {
    double least = (1 - sampling->top_p) * total / (double)self->vocabulary * 0.999;
    least = least < sampling->min_p ? sampling->min_p : least;
    size_t count = 0;
    for (size_t id = 0; id < self->vocabulary; id++) {
        if ((double)self->weights[id] >= least) {
            self->candidates[count++] = candidate(self, logits, id);
        }
    }
    return count;
}

/* Takes the best out of a heap of `count`, to its end. */
static const lm_candidate *pop(lm_candidate *heap, size_t count) {
    lm_candidate best = heap[0];
    heap[0] = heap[count - 1];
    heap[count - 1] = best;
    sift(heap, count - 1, 0, false);
    return &heap[count - 1];
}

static int32_t pick_filtered(lm_sampler *self, const lm_real *logits, const lm_sampling *sampling,
                             double total, double unit) {
    bool limited = sampling->top_k > 0 && sampling->top_k < self->vocabulary;
    size_t count =
        limited ? collect_best(self, logits, sampling->top_k) : collect_heavy(self, logits, total, sampling);
    lm_candidate *heap = self->candidates;
    build(heap, count, false);
    size_t popped = 0;
    double kept = 0;
    if (limited) { /* the k sorted, and their total */
        for (total = 0; popped < count; popped++) {
            total += (double)pop(heap, count - popped)->weight;
        }
    }
    size_t used = 0;
    while (used < count) {
        if (used == popped) {
            pop(heap, count - popped);
            popped++;
        }
        if (used > 0 && (double)heap[count - 1 - used].weight < sampling->min_p) {
            break;
        }
        kept += (double)heap[count - 1 - used].weight;
        used++;
        if (sampling->top_p < 1 && kept >= sampling->top_p * total) {
            break;
        }
    }
    double target = unit * kept, sum = 0;
    for (size_t i = 0; i < used; i++) {
        sum += (double)heap[count - 1 - i].weight;
        if (sum > target) {
            return heap[count - 1 - i].id;
        }
    }
    return heap[count - 1].id; /* only rounding leads here: the best */
}

static int32_t pick_any(const lm_sampler *self, double total, double unit) {
    double target = unit * total, sum = 0;
    size_t last = 0;
    for (size_t id = 0; id < self->vocabulary; id++) {
        if (self->weights[id] > 0) {
            last = id;
            sum += (double)self->weights[id];
            if (sum > target) {
                break;
            }
        }
    }
    return (int32_t)last;
}

int32_t lm_sampler_pick_adjusted(lm_sampler *self, const lm_real *logits, const lm_real *adjusted,
                                 const lm_sampling *sampling, double unit, double *logprob) {
    lm_real maximum, log_sum, greatest, ignored;
    size_t n = self->vocabulary;
    self->kernels->log_sum_exp(&maximum, &log_sum, logits, n);
    greatest = maximum;
    if (adjusted != logits) {
        self->kernels->log_sum_exp(&greatest, &ignored, adjusted, n);
    }
    if (!isfinite(maximum) || !isfinite(log_sum) || !isfinite(greatest)) {
        return -1;
    }
    int32_t id;
    double inverse = 1 / sampling->temperature;
    if (sampling->temperature == 0 || !isfinite(inverse)) {
        id = (int32_t)self->kernels->argmax(adjusted, n);
    } else {
        double total = 0;
        for (size_t i = 0; i < n; i++) {
            self->weights[i] = (lm_real)(((double)adjusted[i] - (double)greatest) * inverse);
        }
        self->kernels->exp(self->weights, self->weights, n);
        for (size_t i = 0; i < n; i++) {
            total += (double)self->weights[i];
        }
        bool all =
            (sampling->top_k == 0 || sampling->top_k >= n) && sampling->top_p >= 1 && !(sampling->min_p > 0);
        id = all ? pick_any(self, total, unit) : pick_filtered(self, adjusted, sampling, total, unit);
    }
    *logprob = (double)((logits[id] - maximum) - log_sum);
    return id;
}

int32_t lm_sampler_pick(lm_sampler *self, const lm_real *logits, const lm_sampling *sampling, double unit,
                        double *logprob) {
    return lm_sampler_pick_adjusted(self, logits, logits, sampling, unit, logprob);
}

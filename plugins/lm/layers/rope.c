/* rope.c: rotary positions: the tables, and their use on rows of heads.
 *
 * The angles are computed in double with temper/math.h, so the tables have the same bits everywhere. A pair i of n turns
 * by position * f(i), f(i) = theta^(-2i/n), stretched for longer contexts:
 *   linear   f / factor (Chen et al. 2023)
 *   llama3   w = 2 pi / f: short waves (w < original / high) as they are, long ones (w > original / low) f / factor,
 *            between s f + (1 - s) f / factor, s = (original / w - low) / (high - low)
 *   yarn     r = clamp((i - from) / (to - from)): (1 - r) f + r f / factor, from and to the pairs that turn `high` and
 *            `low` times over the original context (Peng et al. 2023)
 *   longrope f / short_factors[i] (Ding et al. 2024)
 * yarn's and longrope's magnitude multiplies queries and keys, and so stands in the tables. */
#include "layers.h"

#include <math.h>
#include <stdlib.h>
#include <temper/math.h>

static const double two_pi = 6.283185307179586;

static double llama3(const lm_rope_scaling *scaling, double frequency) {
    double wave = two_pi / frequency;
    if (wave < scaling->original / scaling->high) {
        return frequency;
    }
    if (wave > scaling->original / scaling->low) {
        return frequency / scaling->factor;
    }
    double smooth = (scaling->original / wave - scaling->low) / (scaling->high - scaling->low);
    return (1 - smooth) * frequency / scaling->factor + smooth * frequency;
}

/* The pair (a real number) that turns so many times over the original context. */
static double yarn_pair(const lm_rope_scaling *scaling, double theta, double rotated, double turns) {
    return rotated * temper_log(scaling->original / (turns * two_pi)) / (2 * temper_log(theta));
}

static double yarn(const lm_rope_scaling *scaling, double theta, size_t rotated, size_t pair,
                   double frequency) {
    double from = yarn_pair(scaling, theta, (double)rotated, scaling->high);
    double to = yarn_pair(scaling, theta, (double)rotated, scaling->low);
    if (scaling->whole) {
        from = floor(from);
        to = ceil(to);
    }
    from = from < 0 ? 0 : from;
    to = to > (double)rotated - 1 ? (double)rotated - 1 : to;
    to = from == to ? to + 0.001 : to;
    double ramp = ((double)pair - from) / (to - from);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    return frequency / scaling->factor * ramp + frequency * (1 - ramp);
}

static double frequency_of(double theta, const lm_rope_scaling *scaling, size_t rotated, size_t pair) {
    double frequency = temper_pow(theta, -2.0 * (double)pair / (double)rotated);
    switch (scaling->kind) {
    case LM_ROPE_LINEAR: return frequency / scaling->factor;
    case LM_ROPE_LLAMA3: return llama3(scaling, frequency);
    case LM_ROPE_YARN: return yarn(scaling, theta, rotated, pair, frequency);
    case LM_ROPE_LONG: return frequency / scaling->short_factors[pair];
    default: return frequency;
    }
}

temper_status lm_rope_open(lm_rope *self, double theta, const lm_rope_scaling *scaling, size_t rotated,
                           size_t positions, temper_error *error) {
    size_t half = rotated / 2;
    double magnitude = scaling->magnitude > 0 ? scaling->magnitude : 1.0;
    *self = (lm_rope){.rotated = rotated,
                      .cosine = lm_allocate(positions, half * sizeof *self->cosine),
                      .sine = lm_allocate(positions, half * sizeof *self->sine)};
    if (self->cosine == NULL || self->sine == NULL) {
        lm_rope_close(self);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for rotary tables of %zu positions",
                           positions);
    }
    for (size_t i = 0; i < half; i++) {
        double frequency = frequency_of(theta, scaling, rotated, i);
        for (size_t position = 0; position < positions; position++) {
            double angle = (double)position * frequency;
            self->cosine[position * half + i] = (lm_real)(temper_cos(angle) * magnitude);
            self->sine[position * half + i] = (lm_real)(temper_sin(angle) * magnitude);
        }
    }
    return TEMPER_OK;
}

void lm_rope_close(lm_rope *self) {
    free(self->cosine);
    free(self->sine);
    *self = (lm_rope){0};
}

typedef struct rope_job {
    const lm_context *context;
    const lm_rope *self;
    lm_real *x;
    size_t heads, head_size;
    const size_t *positions;
    bool inverse;
} rope_job;

static void rope_range(void *argument, size_t begin, size_t end, size_t worker) {
    const rope_job *job = argument;
    size_t half = job->self->rotated / 2;
    (void)worker;
    for (size_t row = begin; row < end; row++) {
        const lm_real *cosine = job->self->cosine + job->positions[row] * half;
        const lm_real *sine = job->self->sine + job->positions[row] * half;
        lm_real *x = job->x + row * job->heads * job->head_size;
        for (size_t head = 0; head < job->heads; head++) {
            job->context->kernels->rope(x + head * job->head_size, cosine, sine, job->self->rotated,
                                        job->inverse);
        }
    }
}

void lm_rope_rows(const lm_context *context, const lm_rope *self, lm_real *x, size_t rows, size_t heads,
                  size_t head_size, const size_t *row_positions, bool inverse) {
    rope_job job = {context, self, x, heads, head_size, row_positions, inverse};
    lm_context_ranges(context, rows * heads * self->rotated * LM_VALUE_WORK, rows, 1, rope_range, &job);
}

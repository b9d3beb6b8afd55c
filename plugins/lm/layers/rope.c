/* rope.c: rotary positions: the tables, and their use on rows of heads.
 *
 * The angles are computed in double with temper/math.h, so the tables have the same bits everywhere. */
#include "layers.h"

#include <temper/math.h>

void lm_rope_tables(double theta, size_t head_size, size_t positions, lm_real *cosine, lm_real *sine) {
    size_t half = head_size / 2;
    for (size_t i = 0; i < half; i++) {
        double frequency = temper_pow(theta, -2.0 * (double)i / (double)head_size);
        for (size_t position = 0; position < positions; position++) {
            double angle = (double)position * frequency;
            cosine[position * half + i] = (lm_real)temper_cos(angle);
            sine[position * half + i] = (lm_real)temper_sin(angle);
        }
    }
}

typedef struct rope_job {
    const lm_context *context;
    lm_real *x;
    size_t heads, head_size;
    const size_t *positions;
    const lm_real *cosine, *sine;
    bool inverse;
} rope_job;

static void rope_range(void *argument, size_t begin, size_t end, size_t worker) {
    const rope_job *job = argument;
    size_t half = job->head_size / 2;
    (void)worker;
    for (size_t row = begin; row < end; row++) {
        const lm_real *cosine = job->cosine + job->positions[row] * half;
        const lm_real *sine = job->sine + job->positions[row] * half;
        lm_real *x = job->x + row * job->heads * job->head_size;
        for (size_t head = 0; head < job->heads; head++) {
            job->context->kernels->rope(x + head * job->head_size, cosine, sine, job->head_size,
                                        job->inverse);
        }
    }
}

void lm_rope_rows(const lm_context *context, lm_real *x, size_t rows, size_t heads, size_t head_size,
                  const size_t *row_positions, const lm_real *cosine, const lm_real *sine, bool inverse) {
    rope_job job = {context, x, heads, head_size, row_positions, cosine, sine, inverse};
    lm_context_ranges(context, rows * heads * head_size * 2, rows, 1, rope_range, &job);
}

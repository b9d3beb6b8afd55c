/* norm.c: RMSNorm and LayerNorm over rows; the formulas are in kernels.h. */
#include "layers.h"

void lm_norm_pack(const lm_norm_weights *self, size_t n) {
    for (size_t i = 0; self->plus_one != NULL && i < n; i++) {
        self->plus_one[i] = 1 + self->w[i];
    }
}

static const lm_real *weights_of(const lm_norm_weights *self) {
    return self->plus_one != NULL ? self->plus_one : self->w;
}

typedef struct norm_job {
    const lm_context *context;
    const lm_norm_weights *self;
    const lm_real *x;
    size_t n;
    lm_real *y, *statistics;
} norm_job;

static void norm_rows(void *argument, size_t begin, size_t end, size_t worker) {
    const norm_job *job = argument;
    const lm_kernels *kernels = job->context->kernels;
    const lm_norm_weights *self = job->self;
    size_t n = job->n;
    (void)worker;
    for (size_t row = begin; row < end; row++) {
        lm_real mean = 0, inverse;
        const lm_real *x = job->x + row * n;
        lm_real *y = job->y + row * n;
        if (self->kind == LM_RMS_NORM) {
            kernels->rms_norm(y, &inverse, x, weights_of(self), self->epsilon, n);
        } else {
            kernels->layer_norm(y, &mean, &inverse, x, weights_of(self), self->b, self->epsilon, n);
        }
        if (job->statistics != NULL) {
            job->statistics[2 * row] = mean;
            job->statistics[2 * row + 1] = inverse;
        }
    }
}

void lm_norm_forward(const lm_context *context, const lm_norm_weights *self, const lm_real *x, size_t rows,
                     size_t n, lm_real *y, lm_real *statistics) {
    norm_job job = {context, self, x, n, y, statistics};
    lm_context_ranges(context, rows * n * 2 * LM_VALUE_WORK, rows, 1, norm_rows, &job);
}

void lm_norm_backward(const lm_context *context, const lm_norm_weights *self, const lm_real *x,
                      const lm_real *statistics, const lm_real *dy, size_t rows, size_t n, lm_real *dx,
                      lm_real *dw, lm_real *db) {
    const lm_kernels *kernels = context->kernels;
    for (size_t row = 0; row < rows; row++) { /* in order: dw and db are chains over rows */
        lm_real mean = statistics[2 * row], inverse = statistics[2 * row + 1];
        const lm_real *dy_row = dy + row * n, *x_row = x + row * n;
        if (self->kind == LM_RMS_NORM) {
            kernels->rms_norm_backward(dx + row * n, dw, dy_row, x_row, weights_of(self), inverse, n);
        } else {
            kernels->layer_norm_backward(dx + row * n, dw, db, dy_row, x_row, self->w, mean, inverse, n);
        }
    }
}

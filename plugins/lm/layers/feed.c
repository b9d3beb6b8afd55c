/* feed.c: the activation between the feed-forward products: of a gate, times `up`; or of `up` alone.
 *
 * GEGLU (Shazeer 2020) is gelu_new of the gate by its kernel, then one rounded product; its backward pass makes the
 * activation again. */
#include "layers.h"

typedef struct activation_job {
    const lm_context *context;
    lm_activation kind;
    const lm_real *gate, *up;
    size_t n;
    lm_real *y;
} activation_job;

static void activation_rows(void *argument, size_t begin, size_t end, size_t worker) {
    const activation_job *job = argument;
    const lm_kernels *kernels = job->context->kernels;
    size_t from = begin * job->n, count = (end - begin) * job->n;
    const lm_real *up = job->up + from;
    lm_real *y = job->y + from;
    (void)worker;
    switch (job->kind) {
    case LM_SWIGLU: kernels->swiglu(y, job->gate + from, up, count); break;
    case LM_GELU_NEW: kernels->gelu_new(y, up, count); break;
    case LM_GELU: kernels->gelu(y, up, count); break;
    case LM_GEGLU:
        kernels->gelu_new(y, job->gate + from, count);
        for (size_t i = 0; i < count; i++) {
            y[i] *= up[i];
        }
        break;
    }
}

void lm_activation_forward(const lm_context *context, lm_activation kind, const lm_real *gate,
                           const lm_real *up, size_t rows, size_t n, lm_real *y) {
    activation_job job = {context, kind, gate, up, n, y};
    lm_context_ranges(context, rows * n * LM_EXP_WORK, rows, 1, activation_rows, &job);
}

void lm_activation_backward(const lm_context *context, lm_activation kind, const lm_real *gate,
                            const lm_real *up, const lm_real *dy, size_t rows, size_t n, lm_real *dgate,
                            lm_real *dup) {
    const lm_kernels *kernels = context->kernels;
    size_t count = rows * n;
    switch (kind) {
    case LM_SWIGLU: kernels->swiglu_backward(dgate, dup, dy, gate, up, count); break;
    case LM_GELU_NEW: kernels->gelu_new_backward(dup, dy, up, count); break;
    case LM_GELU: kernels->gelu_backward(dup, dy, up, count); break;
    case LM_GEGLU:
        kernels->gelu_new(dup, gate, count);
        for (size_t i = 0; i < count; i++) {
            dup[i] *= dy[i];
            dgate[i] = dy[i] * up[i];
        }
        kernels->gelu_new_backward(dgate, dgate, gate, count);
        break;
    }
}

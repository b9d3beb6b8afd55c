/* feed.c: the activation between the feed-forward products: SwiGLU, or gelu_new of `up` alone. */
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
    size_t from = begin * job->n, count = (end - begin) * job->n;
    (void)worker;
    if (job->kind == LM_SWIGLU) {
        job->context->kernels->swiglu(job->y + from, job->gate + from, job->up + from, count);
    } else {
        job->context->kernels->gelu_new(job->y + from, job->up + from, count);
    }
}

void lm_activation_forward(const lm_context *context, lm_activation kind, const lm_real *gate,
                           const lm_real *up, size_t rows, size_t n, lm_real *y) {
    activation_job job = {context, kind, gate, up, n, y};
    lm_context_ranges(context, rows * n * 8, rows, 1, activation_rows, &job);
}

void lm_activation_backward(const lm_context *context, lm_activation kind, const lm_real *gate,
                            const lm_real *up, const lm_real *dy, size_t rows, size_t n, lm_real *dgate,
                            lm_real *dup) {
    if (kind == LM_SWIGLU) {
        context->kernels->swiglu_backward(dgate, dup, dy, gate, up, rows * n);
    } else {
        context->kernels->gelu_new_backward(dup, dy, up, rows * n);
    }
}

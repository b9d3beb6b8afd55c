/* cap.c: soft caps (Gemma 2, 2024): large scores and logits are bent towards +-cap instead of cut.
 *
 * y = cap * t, t = tanh(x * (scale / cap)), each step rounded once; the slope is 1 - t^2. */
#include "layers.h"

void lm_soft_cap(const lm_context *context, lm_real *x, lm_real scale, lm_real cap, size_t n) {
    const lm_kernels *kernels = context->kernels;
    kernels->scale(x, scale / cap, n);
    kernels->tanh(x, x, n);
    kernels->scale(x, cap, n);
}

void lm_soft_cap_backward(const lm_real *y, lm_real cap, lm_real *dy, size_t n) {
    for (size_t i = 0; i < n; i++) {
        lm_real t = y[i] / cap;
        dy[i] *= 1 - t * t;
    }
}

/* kernels.h: one arithmetic, several kernel sets.
 *
 * Invariant (docs/numerics.md): an output element has one owner and one order. It is accumulated by one
 * thread over its reduction index in ascending order in one chain of fused multiply-adds; vector lanes
 * run across outputs, never along a reduction. So every set gives the same bits, and M, N, blocking and
 * threads never show. `scalar` is the specification: read it first.
 *
 * Activations are lm_real everywhere: float, or double in the build that checks gradients (LM_REAL=double:
 * scalar set and the f32/1 profile only). In bf16/1 the operands of a product are rounded to bf16 (nearest
 * even; magnitudes below 2^-62 to zero of the same sign; NaN to 0x7fc0) when they are packed, never before.
 *
 * Nothing here allocates, locks or starts a thread, and nothing uses libm's functions. */
#ifndef LM_KERNELS_H
#define LM_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef LM_REAL
#define LM_REAL float
#endif
typedef LM_REAL lm_real;

/* Columns of a packed panel of B. */
enum { LM_PANEL = 32 };

/* How matrix products are done in one profile. A packed B holds K x N values in panels of LM_PANEL columns,
 * the last one padded with zeros; panel p starts at byte p * panel_bytes(K). Inside a panel:
 *   f32/1   [k][32] float
 *   bf16/1  [ceil(k/2)][32][2] uint16_t: the pair (2j, 2j+1) of a column side by side. When K is odd the
 *           last odd partner is stored as 0 and is never used.
 *   q8/1    for each group of 32 indices (the last may have fewer: `count`) [32] uint16_t scales in f16, then
 *           [ceil(count/4)][32][4] uint8_t: q + 128, q within +-127. q8.h has its numbers. A group is a whole:
 *           nothing can be appended to it, so keep a KV cache in bf16/1.
 * The layout is public because the KV cache is kept in it (layers/attention.c appends to panels). */
typedef struct lm_product {
    const char *profile; /* "f32/1", "bf16/1" or "q8/1" */
    bool pairs;          /* true for bf16/1: reduction index in pairs, odd element first */
    size_t element_size; /* 4, 2 or 1 (8 in the double build) */

    size_t (*panel_bytes)(size_t k);

    /* Packs B (K x N). Not transposed: element (k, n) is b[k * stride + n]. Transposed: b[n * stride + k]
     * (the rows of a weight matrix [N outputs][K inputs]). Writes ceil(n / 32) panels. */
    void (*pack)(void *packed, const lm_real *b, size_t k, size_t n, size_t stride, bool transposed);

    /* C[M x N] = A[M x K] . B, or C += A . B when `accumulate` (the chain starts from C's value; else from
     * +0). Element (m, k) of A is a[m * a_stride + k], or a[k * a_stride + m] when a_transposed. C is
     * row-major with c_stride. `packed` begins at the panel of C's first column
     * (or, when all n columns lie in one panel, at that column in its first line; a kernel may read, not use, up to 64
     * bytes past the last). Spec of one element:
     *   f32/1   for k ascending: acc = fma(a[k], b[k], acc), gradual underflow
     *   bf16/1  for j ascending: acc = fma(a[2j+1], b[2j+1], acc); acc = fma(a[2j], b[2j], acc) on operands
     *           rounded to bf16 and widened, under FTZ and DAZ; K odd: last acc = fma(a[K-1], b[K-1], acc).
     *           The caller's MXCSR is restored.
     *   q8/1    for groups of 32 indices ascending: acc = fma(sa * sb, dot, acc), dot the exact sum over the group
     *           of qa qb. A's group, made when it is packed: t = max |a|, sa = t / 127, qa = rint(a * (127 / t));
     *           t below 2^-100 counts as 0. B's, made by `pack`: sb = t / 127 rounded to f16, qb = rint(b * (1 / sb))
     *           within +-127; weights that are whole multiples of an f16, up to 127 of them, stay exact, as those
     *           of Q8_0 files are. A NaN, an infinity or a weight beyond f16's range makes its group's scale NaN.
     *           Every operation in f32, rounded once, to nearest even, gradual underflow.
     * `scratch` has at least scratch_bytes(k) bytes, 64-byte aligned, for packing A; one a thread. */
    void (*multiply)(size_t m, size_t n, size_t k, const lm_real *a, size_t a_stride, bool a_transposed,
                     const void *packed, lm_real *c, size_t c_stride, bool accumulate, void *scratch);
    size_t (*scratch_bytes)(size_t k);

    /* The same with A (not transposed) packed before, once for several B: left_bytes(m, k) bytes, 64-byte aligned, whose
     * layout is the set's own. Panels of B may lie apart: panel p is at byte p * panel_bytes. */
    size_t (*left_bytes)(size_t m, size_t k);
    void (*pack_left)(void *left, size_t m, size_t k, const lm_real *a, size_t a_stride);
    void (*multiply_left)(size_t m, size_t n, size_t k, const void *left, const void *packed,
                          size_t panel_bytes, lm_real *c, size_t c_stride, bool accumulate);

    /* Row i of C over the first k + i indices alone (m + k - 1 of them in B): what a row does not see takes part in
     * nothing. Panels lie apart, as above. NULL in q8/1, whose groups are no shorter. */
    void (*multiply_causal)(size_t m, size_t n, size_t k, const lm_real *a, size_t a_stride,
                            const void *packed, size_t panel_bytes, lm_real *c, size_t c_stride,
                            bool accumulate, void *scratch);

    /* Rounds to the operand type and back (identity in f32/1): what a product sees of x, a row of A. */
    void (*round)(lm_real *out, const lm_real *x, size_t n);
} lm_product;

/* A kernel set. All row reductions (sums of squares, softmax sums, log-sum-exp) go over sixteen stripes by
 * index modulo 16, each a chain in ascending order, then one fixed tree: stripe s += stripe s+8, then +4,
 * +2, +1. Maxima are compare-and-select. Elementwise functions follow one formula in every set. */
typedef struct lm_kernels {
    const char *name; /* scalar, avx2, avx512, avx512-vnni, avx512-bf16, neon */
    lm_product f32;
    lm_product bf16;
    lm_product q8; /* 8-bit weights, for inference: multiply is NULL in the double build */

    /* elementary functions, elementwise; in == out allowed */
    void (*exp)(lm_real *out, const lm_real *x, size_t n);
    void (*log)(lm_real *out, const lm_real *x, size_t n);
    void (*tanh)(lm_real *out, const lm_real *x, size_t n);

    /* y[i] += x[i];  y[i] = fma(scale, x[i], y[i]);  y[i] *= scale */
    void (*add)(lm_real *y, const lm_real *x, size_t n);
    void (*add_scaled)(lm_real *y, const lm_real *x, lm_real scale, size_t n);
    void (*scale)(lm_real *y, lm_real scale, size_t n);

    /* RMSNorm (Zhang and Sennrich 2019): y = x * r * w, r = 1 / sqrt(mean(x^2) + eps). *inverse = r.
     * Backward adds to dx, and to dw one row's share (dw may be NULL for frozen weights). */
    void (*rms_norm)(lm_real *y, lm_real *inverse, const lm_real *x, const lm_real *w, lm_real eps, size_t n);
    void (*rms_norm_backward)(lm_real *dx, lm_real *dw, const lm_real *dy, const lm_real *x, const lm_real *w,
                              lm_real inverse, size_t n);
    /* LayerNorm (Ba et al. 2016): y = (x - mean) * r * w + b. *mean and *inverse are kept for backward. */
    void (*layer_norm)(lm_real *y, lm_real *mean, lm_real *inverse, const lm_real *x, const lm_real *w,
                       const lm_real *b, lm_real eps, size_t n);
    void (*layer_norm_backward)(lm_real *dx, lm_real *dw, lm_real *db, const lm_real *dy, const lm_real *x,
                                const lm_real *w, lm_real mean, lm_real inverse, size_t n);

    /* SwiGLU (Shazeer 2020): y = silu(gate) * up, silu(x) = x / (1 + exp(-x)). Backward overwrites
     * dgate and dup. */
    void (*swiglu)(lm_real *y, const lm_real *gate, const lm_real *up, size_t n);
    void (*swiglu_backward)(lm_real *dgate, lm_real *dup, const lm_real *dy, const lm_real *gate,
                            const lm_real *up, size_t n);
    /* gelu_new: y = x/2 * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). Backward overwrites dx. */
    void (*gelu_new)(lm_real *y, const lm_real *x, size_t n);
    void (*gelu_new_backward)(lm_real *dx, const lm_real *dy, const lm_real *x, size_t n);
    /* gelu (Hendrycks and Gimpel 2016): y = x/2 * (1 + erf(x / sqrt(2))). Backward overwrites dx. */
    void (*gelu)(lm_real *y, const lm_real *x, size_t n);
    void (*gelu_backward)(lm_real *dx, const lm_real *dy, const lm_real *x, size_t n);

    /* Rotary positions (Su et al. 2021), half-split as Hugging Face's llama: for i < n/2
     *   (x[i], x[i+n/2]) -> (x[i] c[i] - x[i+n/2] s[i], x[i+n/2] c[i] + x[i] s[i]), in place.
     * inverse = true rotates back (the backward pass). */
    void (*rope)(lm_real *x, const lm_real *cosine, const lm_real *sine, size_t n, bool inverse);

    /* Softmax without its division: p[i] = exp(scale * x[i] - max), max over scale * x[i]; returns the
     * stripe sum of p; *max_out is kept for backward (may be NULL). in == out allowed. Attention divides
     * after P.V. */
    lm_real (*softmax_numerators)(lm_real *p, lm_real *max_out, const lm_real *x, lm_real scale, size_t n);
    /* Log-sum-exp of a row: *max = max x, *log_sum = log(sum exp(x - max));
     * log p(i) = (x[i] - max) - log_sum */
    void (*log_sum_exp)(lm_real *max, lm_real *log_sum, const lm_real *x, size_t n);
    /* Stripe sum of x[i] * y[i] (fma chains), for row reductions in backward passes. */
    lm_real (*dot_striped)(const lm_real *x, const lm_real *y, size_t n);
    /* Index of the greatest element, the lowest on ties; a NaN never wins. */
    size_t (*argmax)(const lm_real *x, size_t n);

    /* One AdamW step (Loshchilov and Hutter 2019) over n weights, f32 state:
     *   g = gradient * gradient_scale;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
     *   w -= rate * ((m * correction1) / (sqrt(v * correction2) + eps) + decay * w)
     * correction = 1 / (1 - beta^step), computed by the caller in double from beta as an lm_real. */
    void (*adamw)(lm_real *w, lm_real *m, lm_real *v, const lm_real *gradient, lm_real gradient_scale,
                  lm_real rate, lm_real beta1, lm_real beta2, lm_real eps, lm_real decay, lm_real correction1,
                  lm_real correction2, size_t n);
} lm_kernels;

/* bf16 <-> f32, the rounding of the profile (see the head of this file). */
uint16_t lm_bf16_from_f32(float x);
float lm_bf16_to_f32(uint16_t x);

/* The sets compiled in, best first, NULL-terminated; `scalar` is always last. */
const lm_kernels *const *lm_kernels_all(void);
/* Can this CPU (and operating system) run the set? avx512-bf16 also runs its self-test once. On false *reason
 * says why ("this CPU has no avx512_bf16"). */
bool lm_kernels_usable(const lm_kernels *set, const char **reason);
/* The set for this process: the best usable, or the one named by `name` / the environment TEMPER_KERNELS.
 * NULL (with *reason) when the one named is unknown or not usable: never a silent fallback. Thread-safe. */
const lm_kernels *lm_kernels_choose(const char *name, const char **reason);
/* Finds a profile's products in a set: "f32/1", "bf16/1" or "q8/1", NULL for another name. */
const lm_product *lm_kernels_product(const lm_kernels *set, const char *profile);

/* Cross-checks all usable sets against scalar over random shapes, tails and edge values (denormals,
 * infinities, NaN, -0), `rounds` times from `seed`; 0 when all agree, else the number of disagreements, each
 * printed to `report` with what repeats it. `temper selftest --kernels`. */
typedef void lm_report(void *context, const char *line);
size_t lm_kernels_selftest(uint64_t seed, unsigned rounds, lm_report *report, void *context);
/* One number for the results of a fixed set of products and row operations: the same for every set on every
 * machine, so that machines can be compared. 0 when there is no memory. */
uint64_t lm_kernels_digest(const lm_kernels *set, uint64_t seed, unsigned rounds);

/* Scalar double functions for what is not a row: schedules, rope tables, bias corrections: temper/math.h. */

#endif

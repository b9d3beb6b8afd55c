/* scalar.c: the specification of the arithmetic, and the kernel set every other is compared with.
 *
 * Each function says exactly which operations are done, in which order, each rounded once. `fma` is one
 * fused multiply-add; nothing else is fused (-ffp-contract=off). A new set may compute outputs side by
 * side but must do these operations on each. The same source is compiled with LM_REAL=double to check
 * gradients: then the products are f32/1's formula in double, and exp, log and tanh come from
 * temper/math.h. */
#include "bf16.h"
#include "elementary.h"
#include "sets.h"
#include <temper/math.h>

#include <math.h>

enum { STRIPES = 16 };

#if LM_REAL_IS_DOUBLE
#define FMA __builtin_fma
#define SQRT __builtin_sqrt
#define ABSOLUTE __builtin_fabs
#else
#define FMA __builtin_fmaf
#define SQRT __builtin_sqrtf
#define ABSOLUTE __builtin_fabsf
#endif

/* --- elementary functions --- */

#if LM_REAL_IS_DOUBLE

static lm_real exponential(lm_real x) {
    return temper_exp(x);
}
static lm_real logarithm(lm_real x) {
    return temper_log(x);
}
static lm_real tangent(lm_real x) {
    return temper_tanh(x);
}

/* 1 + erf(x / sqrt(2)) by its series about 0, all of one sign (Marsaglia 2004). */
static lm_real twice_normal(lm_real x) {
    double term = x, sum = x;
    if (x > 12 || x < -12) {
        return x > 0 ? 2 : 0;
    }
    for (int i = 3; i < 400; i += 2) {
        term *= x * x / i;
        sum += term;
    }
    return 1 + 2 * sum * LM_GELU_INVERSE_ROOT * temper_exp(-x * x / 2);
}

#else

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Worst error 1.01 ulp. 2^n is multiplied in two halves, so that results in the denormal range are
 * rounded once there and overflow gives infinity. NaN passes both comparisons and stays NaN. */
static float exponential(float x) {
    float shifted, n, r, p;
    uint32_t whole, half;
    x = x > LM_EXP_HIGHEST ? LM_EXP_HIGHEST : x;
    x = x < LM_EXP_LOWEST ? LM_EXP_LOWEST : x;
    shifted = FMA(x, LM_EXP_LOG2E, LM_EXP_MAGIC);
    n = shifted - LM_EXP_MAGIC;
    r = FMA(n, -LM_LN2_HIGH, x);
    r = FMA(n, -LM_LN2_LOW, r);
    p = FMA(LM_EXP_P4, r, LM_EXP_P3);
    p = FMA(p, r, LM_EXP_P2);
    p = FMA(p, r, LM_EXP_P1);
    p = FMA(p, r, LM_EXP_P0);
    p = FMA(p, r * r, r);
    p = 1.0f + p;
    whole = bits_of(shifted) - bits_of(LM_EXP_MAGIC);
    half = (uint32_t)((int32_t)whole >> 1); /* arithmetic shift: floor(n / 2) */
    return p * float_of((half + 127u) << 23) * float_of((whole - half + 127u) << 23);
}

/* Worst error 0.85 ulp. log(+-0) = -inf, log(x < 0) = NaN, log(inf) = inf. */
static float logarithm(float x) {
    uint32_t bits, offset;
    float tiny =
        x < 0x1p-126f ? 1.0f : 0.0f; /* denormals are scaled up first; so are x <= 0, replaced below */
    float scaled = tiny != 0.0f ? x * 0x1p23f : x;
    float e, f, z, p, y;
    bits = bits_of(scaled);
    offset = bits - LM_LOG_ORIGIN;
    e = (float)((int32_t)offset >> 23);
    e = e - tiny * 23.0f;
    f = float_of((offset & 0x007fffffu) + LM_LOG_ORIGIN) - 1.0f;
    p = FMA(LM_LOG_P8, f, LM_LOG_P7);
    p = FMA(p, f, LM_LOG_P6);
    p = FMA(p, f, LM_LOG_P5);
    p = FMA(p, f, LM_LOG_P4);
    p = FMA(p, f, LM_LOG_P3);
    p = FMA(p, f, LM_LOG_P2);
    p = FMA(p, f, LM_LOG_P1);
    p = FMA(p, f, LM_LOG_P0);
    z = f * f;
    y = FMA(p, f * z, z * -0.5f);
    y = FMA(e, LM_LN2_LOW, y);
    y = f + y;
    y = FMA(e, LM_LN2_HIGH, y);
    y = x == 0.0f ? float_of(0xff800000u) : y;
    y = x < 0.0f ? float_of(0x7fc00000u) : y;
    /* +inf and NaN: x + x keeps the one and quiets the other */
    return x < float_of(0x7f800000u) ? y : x + x;
}

/* 1 + erf(x / sqrt(2)). Far out on either side it is the tail itself, or 2 less the tail. */
static float twice_normal(float x) {
    float z = (float)LM_GELU_HALF_ROOT * x, magnitude = ABSOLUTE(z), square = z * z, p, q, tail;
    p = FMA(LM_ERF_P7, square, LM_ERF_P6);
    p = FMA(p, square, LM_ERF_P5);
    p = FMA(p, square, LM_ERF_P4);
    p = FMA(p, square, LM_ERF_P3);
    p = FMA(p, square, LM_ERF_P2);
    p = FMA(p, square, LM_ERF_P1);
    p = FMA(p, square, LM_ERF_P0);
    if (magnitude < LM_ERF_BORDER) {
        return FMA(z, p, 1.0f);
    }
    magnitude = LM_ERF_HIGHEST < magnitude ? LM_ERF_HIGHEST : magnitude;
    q = FMA(LM_ERF_Q10, magnitude, LM_ERF_Q9);
    q = FMA(q, magnitude, LM_ERF_Q8);
    q = FMA(q, magnitude, LM_ERF_Q7);
    q = FMA(q, magnitude, LM_ERF_Q6);
    q = FMA(q, magnitude, LM_ERF_Q5);
    q = FMA(q, magnitude, LM_ERF_Q4);
    q = FMA(q, magnitude, LM_ERF_Q3);
    q = FMA(q, magnitude, LM_ERF_Q2);
    q = FMA(q, magnitude, LM_ERF_Q1);
    q = FMA(q, magnitude, LM_ERF_Q0);
    tail = exponential(-q);
    return z < 0.0f ? tail : 2.0f - tail;
}

/* Worst error 1.3 ulp. Odd by construction: the sign is put back at the end, so tanh(-0) = -0. */
static float tangent(float x) {
    float magnitude = ABSOLUTE(x), z = x * x, p, small, large;
    p = FMA(LM_TANH_P4, z, LM_TANH_P3);
    p = FMA(p, z, LM_TANH_P2);
    p = FMA(p, z, LM_TANH_P1);
    p = FMA(p, z, LM_TANH_P0);
    small = FMA(p * z, magnitude, magnitude);
    large = 1.0f - 2.0f / (exponential(magnitude + magnitude) + 1.0f);
    small = magnitude < LM_TANH_BORDER ? small : large;
    return float_of(bits_of(small) | (bits_of(x) & 0x80000000u));
}

#endif

static void scalar_exp(lm_real *out, const lm_real *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        out[i] = exponential(x[i]);
    }
}

static void scalar_log(lm_real *out, const lm_real *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        out[i] = logarithm(x[i]);
    }
}

static void scalar_tanh(lm_real *out, const lm_real *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        out[i] = tangent(x[i]);
    }
}

/* --- row reductions --- */

/* The fixed tree over sixteen stripes. */
static lm_real tree(lm_real stripes[STRIPES]) {
    for (size_t half = STRIPES / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++) {
            stripes[i] = stripes[i] + stripes[i + half];
        }
    }
    return stripes[0];
}

/* Stripe i mod 16 starts at +0; stripe = fma(x[i], y[i], stripe). */
static lm_real scalar_dot_striped(const lm_real *x, const lm_real *y, size_t n) {
    lm_real stripes[STRIPES] = {0};
    for (size_t i = 0; i < n; i++) {
        stripes[i % STRIPES] = FMA(x[i], y[i], stripes[i % STRIPES]);
    }
    return tree(stripes);
}

/* The greatest element, a NaN never winning, -infinity when there is none. A zero is +0, so that which of
 * two equal zeros came first cannot show. */
static lm_real greatest(const lm_real *x, size_t n, lm_real scale) {
    lm_real max = -(lm_real)INFINITY;
    for (size_t i = 0; i < n; i++) {
        lm_real t = scale * x[i];
        max = t > max ? t : max;
    }
    return max + (lm_real)0;
}

/* --- elementwise --- */

static void scalar_add(lm_real *y, const lm_real *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = y[i] + x[i];
    }
}

static void scalar_add_scaled(lm_real *y, const lm_real *x, lm_real scale, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = FMA(scale, x[i], y[i]);
    }
}

static void scalar_scale(lm_real *y, lm_real scale, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = y[i] * scale;
    }
}

/* --- norms --- */

static void scalar_rms_norm(lm_real *y, lm_real *inverse, const lm_real *x, const lm_real *w, lm_real eps,
                            size_t n) {
    lm_real mean = scalar_dot_striped(x, x, n) / (lm_real)n;
    lm_real r = (lm_real)1 / SQRT(mean + eps);
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] * r * w[i];
    }
    *inverse = r;
}

/* With t = dy w: dx += r (t - x c), c = r^2 mean(t x). */
static void scalar_rms_norm_backward(lm_real *dx, lm_real *dw, const lm_real *dy, const lm_real *x,
                                     const lm_real *w, lm_real inverse, size_t n) {
    lm_real stripes[STRIPES] = {0}, c;
    for (size_t i = 0; i < n; i++) {
        stripes[i % STRIPES] = FMA(dy[i] * w[i], x[i], stripes[i % STRIPES]);
    }
    c = tree(stripes) / (lm_real)n * (inverse * inverse);
    for (size_t i = 0; i < n; i++) {
        lm_real t = FMA(-x[i], c, dy[i] * w[i]);
        dx[i] = FMA(inverse, t, dx[i]);
        if (dw != NULL) {
            dw[i] = FMA(dy[i], x[i] * inverse, dw[i]);
        }
    }
}

static void scalar_layer_norm(lm_real *y, lm_real *mean, lm_real *inverse, const lm_real *x, const lm_real *w,
                              const lm_real *b, lm_real eps, size_t n) {
    lm_real sums[STRIPES] = {0}, squares[STRIPES] = {0}, centre, r;
    for (size_t i = 0; i < n; i++) {
        sums[i % STRIPES] = sums[i % STRIPES] + x[i];
    }
    centre = tree(sums) / (lm_real)n;
    for (size_t i = 0; i < n; i++) {
        lm_real t = x[i] - centre;
        squares[i % STRIPES] = FMA(t, t, squares[i % STRIPES]);
    }
    r = (lm_real)1 / SQRT(tree(squares) / (lm_real)n + eps);
    for (size_t i = 0; i < n; i++) {
        y[i] = FMA((x[i] - centre) * r, w[i], b[i]);
    }
    *mean = centre;
    *inverse = r;
}

/* With t = dy w and h = (x - mean) r: dx += r (t - mean(t) - h mean(t h)). */
static void scalar_layer_norm_backward(lm_real *dx, lm_real *dw, lm_real *db, const lm_real *dy,
                                       const lm_real *x, const lm_real *w, lm_real mean, lm_real inverse,
                                       size_t n) {
    lm_real sums[STRIPES] = {0}, products[STRIPES] = {0}, a, c;
    for (size_t i = 0; i < n; i++) {
        lm_real t = dy[i] * w[i], h = (x[i] - mean) * inverse;
        sums[i % STRIPES] = sums[i % STRIPES] + t;
        products[i % STRIPES] = FMA(t, h, products[i % STRIPES]);
    }
    a = tree(sums) / (lm_real)n;
    c = tree(products) / (lm_real)n;
    for (size_t i = 0; i < n; i++) {
        lm_real t = dy[i] * w[i], h = (x[i] - mean) * inverse;
        dx[i] = FMA(inverse, FMA(-h, c, t - a), dx[i]);
        if (dw != NULL) {
            dw[i] = FMA(dy[i], h, dw[i]);
        }
        if (db != NULL) {
            db[i] = db[i] + dy[i];
        }
    }
}

/* --- activations --- */

static void scalar_swiglu(lm_real *y, const lm_real *gate, const lm_real *up, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = gate[i] / ((lm_real)1 + exponential(-gate[i])) * up[i];
    }
}

/* With s = 1 / (1 + exp(-g)): silu'(g) = s (1 + g (1 - s)). dgate and dup may be gate and up. */
static void scalar_swiglu_backward(lm_real *dgate, lm_real *dup, const lm_real *dy, const lm_real *gate,
                                   const lm_real *up, size_t n) {
    for (size_t i = 0; i < n; i++) {
        lm_real g = gate[i], u = up[i], d = dy[i];
        lm_real denominator = (lm_real)1 + exponential(-g);
        lm_real s = (lm_real)1 / denominator;
        lm_real slope = s * FMA(g, (lm_real)1 - s, (lm_real)1);
        dgate[i] = d * u * slope;
        dup[i] = d * (g / denominator);
    }
}

static void scalar_gelu_new(lm_real *y, const lm_real *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        lm_real v = x[i];
        lm_real inner = (lm_real)LM_GELU_SCALE * FMA((lm_real)LM_GELU_CUBIC * v, v * v, v);
        y[i] = (lm_real)0.5 * v * ((lm_real)1 + tangent(inner));
    }
}

/* With t = tanh(u): dy/dx = (1 + t) / 2 + x / 2 (1 - t^2) u', u' = scale (1 + 3 cubic x^2). */
static void scalar_gelu_new_backward(lm_real *dx, const lm_real *dy, const lm_real *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        lm_real v = x[i], square = v * v;
        lm_real inner = (lm_real)LM_GELU_SCALE * FMA((lm_real)LM_GELU_CUBIC * v, square, v);
        lm_real t = tangent(inner), half = (lm_real)0.5 * v;
        lm_real slope = (lm_real)LM_GELU_SCALE * FMA((lm_real)(3 * LM_GELU_CUBIC), square, (lm_real)1);
        lm_real rest = FMA(-t, t, (lm_real)1) * slope;
        dx[i] = dy[i] * FMA(half, rest, FMA((lm_real)0.5, t, (lm_real)0.5));
    }
}

static void scalar_gelu(lm_real *y, const lm_real *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = (lm_real)0.5 * x[i] * twice_normal(x[i]);
    }
}

/* dy/dx = (1 + erf(x / sqrt(2))) / 2 + x exp(-x^2 / 2) / sqrt(2 pi) */
static void scalar_gelu_backward(lm_real *dx, const lm_real *dy, const lm_real *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        lm_real v = x[i], density = exponential((lm_real)-0.5 * (v * v));
        lm_real slope = FMA((lm_real)LM_GELU_INVERSE_ROOT * v, density, (lm_real)0.5 * twice_normal(v));
        dx[i] = dy[i] * slope;
    }
}

/* --- rotary positions --- */

/* Of two products the one with the sine is rounded first, the one with the cosine is fused. */
static void scalar_rope(lm_real *x, const lm_real *cosine, const lm_real *sine, size_t n, bool inverse) {
    size_t half = n / 2;
    for (size_t i = 0; i < half; i++) {
        lm_real a = x[i], b = x[i + half], c = cosine[i], s = inverse ? -sine[i] : sine[i];
        x[i] = FMA(a, c, -(b * s));
        x[i + half] = FMA(b, c, a * s);
    }
}

/* --- softmax and its kin --- */

static lm_real scalar_softmax_numerators(lm_real *p, lm_real *max_out, const lm_real *x, lm_real scale,
                                         size_t n) {
    lm_real stripes[STRIPES] = {0}, max = greatest(x, n, scale);
    for (size_t i = 0; i < n; i++) {
        lm_real numerator = exponential(scale * x[i] - max);
        p[i] = numerator;
        stripes[i % STRIPES] = stripes[i % STRIPES] + numerator;
    }
    if (max_out != NULL) {
        *max_out = max;
    }
    return tree(stripes);
}

static void scalar_log_sum_exp(lm_real *max, lm_real *log_sum, const lm_real *x, size_t n) {
    lm_real stripes[STRIPES] = {0}, top = greatest(x, n, (lm_real)1);
    for (size_t i = 0; i < n; i++) {
        stripes[i % STRIPES] = stripes[i % STRIPES] + exponential(x[i] - top);
    }
    *max = top;
    *log_sum = logarithm(tree(stripes));
}

/* 0 when there is no number at all. */
static size_t scalar_argmax(const lm_real *x, size_t n) {
    size_t best = 0;
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        if (x[i] == x[i] && (!found || x[i] > x[best])) {
            best = i;
            found = true;
        }
    }
    return best;
}

/* --- AdamW --- */

static void scalar_adamw(lm_real *w, lm_real *m, lm_real *v, const lm_real *gradient, lm_real gradient_scale,
                         lm_real rate, lm_real beta1, lm_real beta2, lm_real eps, lm_real decay,
                         lm_real correction1, lm_real correction2, size_t n) {
    lm_real rest1 = (lm_real)1 - beta1, rest2 = (lm_real)1 - beta2;
    for (size_t i = 0; i < n; i++) {
        lm_real g = gradient[i] * gradient_scale, step;
        m[i] = FMA(beta1, m[i], rest1 * g);
        v[i] = FMA(beta2, v[i], rest2 * (g * g));
        step = m[i] * correction1 / (SQRT(v[i] * correction2) + eps);
        step = FMA(decay, w[i], step);
        w[i] = FMA(-rate, step, w[i]);
    }
}

/* --- products --- */

static size_t f32_panel_bytes(size_t k) {
    return k * LM_PANEL * sizeof(lm_real);
}

static size_t scalar_scratch_bytes(size_t k) {
    (void)k;
    return 64; /* unused; never 0, so that a caller need not ask */
}

static void f32_pack(void *packed, const lm_real *b, size_t k, size_t n, size_t stride, bool transposed) {
    lm_real *out = packed;
    for (size_t first = 0; first < n; first += LM_PANEL) {
        for (size_t i = 0; i < k; i++) {
            for (size_t j = 0; j < LM_PANEL; j++, out++) {
                size_t column = first + j;
                *out = column >= n  ? (lm_real)0
                       : transposed ? b[column * stride + i]
                                    : b[i * stride + column];
            }
        }
    }
}

/* A as it is: the specification packs it when it multiplies. */
static size_t scalar_left_bytes(size_t m, size_t k) {
    return (m * k + 1) * sizeof(lm_real);
}

static void scalar_pack_left(void *left, size_t m, size_t k, const lm_real *a, size_t a_stride) {
    for (size_t i = 0; i < m && k > 0; i++) {
        memcpy((lm_real *)left + i * k, a + i * a_stride, k * sizeof *a);
    }
}

/* Panels that lie apart, one after the other. */
#define SCALAR_LEFT(name)                                                                                    \
    static void name##_multiply_left(size_t m, size_t n, size_t k, const void *left, const void *packed,     \
                                     size_t panel_bytes, lm_real *c, size_t c_stride, bool accumulate) {     \
        for (size_t j = 0; j < n; j += LM_PANEL) {                                                           \
            name##_multiply(m, n - j < LM_PANEL ? n - j : LM_PANEL, k, left, k, false,                       \
                            (const char *)packed + j / LM_PANEL * panel_bytes, c + j, c_stride, accumulate,  \
                            NULL);                                                                           \
        }                                                                                                    \
    }
#define SCALAR_CAUSAL(name)                                                                                  \
    static void name##_multiply_causal(size_t m, size_t n, size_t k, const lm_real *a, size_t a_stride,      \
                                       const void *packed, size_t panel_bytes, lm_real *c, size_t c_stride,  \
                                       bool accumulate, void *scratch) {                                     \
        (void)scratch;                                                                                       \
        for (size_t i = 0; i < m; i++) {                                                                     \
            name##_multiply_left(1, n, k + i, a + i * a_stride, packed, panel_bytes, c + i * c_stride,       \
                                 c_stride, accumulate);                                                      \
        }                                                                                                    \
    }

static void f32_multiply(size_t m, size_t n, size_t k, const lm_real *a, size_t a_stride, bool a_transposed,
                         const void *packed, lm_real *c, size_t c_stride, bool accumulate, void *scratch) {
    size_t step = a_transposed ? a_stride : 1, row = a_transposed ? 1 : a_stride;
    (void)scratch;
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            const lm_real *column = (const lm_real *)packed + j / LM_PANEL * k * LM_PANEL + j % LM_PANEL;
            lm_real sum = accumulate ? c[i * c_stride + j] : (lm_real)0;
            for (size_t l = 0; l < k; l++) {
                sum = FMA(a[i * row + l * step], column[l * LM_PANEL], sum);
            }
            c[i * c_stride + j] = sum;
        }
    }
}

SCALAR_LEFT(f32)
SCALAR_CAUSAL(f32)

static void f32_round(lm_real *out, const lm_real *x, size_t n) {
    if (n > 0 && out != x) {
        memmove(out, x, n * sizeof *x);
    }
}

#if !LM_REAL_IS_DOUBLE

static size_t bf16_panel_bytes(size_t k) {
    return (k / 2 + k % 2) * LM_PANEL * 2 * sizeof(uint16_t);
}

static void bf16_pack(void *packed, const float *b, size_t k, size_t n, size_t stride, bool transposed) {
    uint16_t *out = packed;
    for (size_t first = 0; first < n; first += LM_PANEL) {
        for (size_t pair = 0; pair < k; pair += 2) {
            for (size_t j = 0; j < LM_PANEL; j++) {
                for (size_t i = pair; i < pair + 2; i++, out++) {
                    size_t column = first + j;
                    bool absent = column >= n || i >= k;
                    *out = absent
                               ? 0
                               : lm_bf16_round(transposed ? b[column * stride + i] : b[i * stride + column]);
                }
            }
        }
    }
}

/* Flush-to-zero on a result and denormals-are-zero on an operand: zero of the same sign. */
static float flush(float x) {
    return ABSOLUTE(x) < 0x1p-126f ? x * 0.0f : x;
}

/* One multiply-add under FTZ and DAZ. a and b are widened bf16, never denormal (bf16.h). */
static float flushed_fma(float a, float b, float sum) {
    return flush(FMA(a, b, flush(sum)));
}

static void bf16_multiply(size_t m, size_t n, size_t k, const float *a, size_t a_stride, bool a_transposed,
                          const void *packed, float *c, size_t c_stride, bool accumulate, void *scratch) {
    size_t step = a_transposed ? a_stride : 1, row = a_transposed ? 1 : a_stride;
    (void)scratch;
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            const uint16_t *column =
                (const uint16_t *)((const char *)packed + j / LM_PANEL * bf16_panel_bytes(k));
            const float *left = a + i * row;
            float sum = accumulate ? c[i * c_stride + j] : 0.0f;
            for (size_t pair = 0; pair < k; pair += 2) {
                const uint16_t *right = column + (pair / 2 * LM_PANEL + j % LM_PANEL) * 2;
                for (size_t l = pair + 1 < k ? 2 : 1; l-- > 0;) { /* the odd element first */
                    float x = lm_bf16_widen(lm_bf16_round(left[(pair + l) * step]));
                    sum = flushed_fma(x, lm_bf16_widen(right[l]), sum);
                }
            }
            c[i * c_stride + j] = sum;
        }
    }
}

SCALAR_LEFT(bf16)
SCALAR_CAUSAL(bf16)

static void bf16_round(float *out, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        out[i] = lm_bf16_widen(lm_bf16_round(x[i]));
    }
}

#include "scalar_q8.h"
SCALAR_LEFT(q8)

#endif

const lm_kernels lm_kernels_scalar = {
    .name = "scalar",
    .f32 = {.profile = "f32/1",
            .pairs = false,
            .element_size = sizeof(lm_real),
            .panel_bytes = f32_panel_bytes,
            .pack = f32_pack,
            .multiply = f32_multiply,
            .left_bytes = scalar_left_bytes,
            .pack_left = scalar_pack_left,
            .multiply_left = f32_multiply_left,
            .multiply_causal = f32_multiply_causal,
            .scratch_bytes = scalar_scratch_bytes,
            .round = f32_round},
#if LM_REAL_IS_DOUBLE
    /* no such profiles in double */
    .bf16 = {.profile = "bf16/1", .pairs = true, .element_size = 2},
    .q8 = {.profile = "q8/1", .element_size = 1},
#else
    .bf16 = {.profile = "bf16/1",
             .pairs = true,
             .element_size = 2,
             .panel_bytes = bf16_panel_bytes,
             .pack = bf16_pack,
             .multiply = bf16_multiply,
             .left_bytes = scalar_left_bytes,
             .pack_left = scalar_pack_left,
             .multiply_left = bf16_multiply_left,
             .multiply_causal = bf16_multiply_causal,
             .scratch_bytes = scalar_scratch_bytes,
             .round = bf16_round},
    .q8 = {.profile = "q8/1",
           .pairs = false,
           .element_size = 1,
           .panel_bytes = lm_q8_panel_bytes,
           .pack = q8_pack,
           .multiply = q8_multiply,
           .left_bytes = scalar_left_bytes,
           .pack_left = scalar_pack_left,
           .multiply_left = q8_multiply_left,
           .scratch_bytes = scalar_scratch_bytes,
           .round = q8_round},
#endif
    .exp = scalar_exp,
    .log = scalar_log,
    .tanh = scalar_tanh,
    .add = scalar_add,
    .add_scaled = scalar_add_scaled,
    .scale = scalar_scale,
    .rms_norm = scalar_rms_norm,
    .rms_norm_backward = scalar_rms_norm_backward,
    .layer_norm = scalar_layer_norm,
    .layer_norm_backward = scalar_layer_norm_backward,
    .swiglu = scalar_swiglu,
    .swiglu_backward = scalar_swiglu_backward,
    .gelu_new = scalar_gelu_new,
    .gelu_new_backward = scalar_gelu_new_backward,
    .gelu = scalar_gelu,
    .gelu_backward = scalar_gelu_backward,
    .rope = scalar_rope,
    .softmax_numerators = scalar_softmax_numerators,
    .log_sum_exp = scalar_log_sum_exp,
    .dot_striped = scalar_dot_striped,
    .argmax = scalar_argmax,
    .adamw = scalar_adamw,
};

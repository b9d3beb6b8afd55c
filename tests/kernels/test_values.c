/* Right values: elementary functions against long double, a sweep of bit patterns between sets, bf16
 * rounding, and each row operation and product of `scalar` against its formula in double. The other sets
 * have scalar's bits (test_agree). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels.h"
#include <temper/rng.h>

enum { N = 83 }; /* five blocks and a tail */

typedef void elementwise(float *out, const float *x, size_t n);
typedef long double reference(long double x);

static const lm_kernels *scalar(void) {
    return lm_kernels_choose("scalar", NULL);
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t canonical(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x == x ? bits : 0x7fc00000u;
}

static double error_in_ulp(float got, long double want) {
    int exponent;
    if (isnan(got) && isnan(want)) {
        return 0.0;
    }
    if (isinf(got) && isinf((float)want)) {
        return (got > 0) == (want > 0) ? 0.0 : INFINITY;
    }
    frexpl(want, &exponent);
    return (double)fabsl(((long double)got - want) / ldexpl(1.0L, (exponent < -125 ? -125 : exponent) - 24));
}

/* Every 4099th of all bit patterns. */
static void check_accuracy(const char *name, elementwise *f, reference *r, double bound) {
    enum { BLOCK = 1024, STEP = 4099 };
    static float x[BLOCK], y[BLOCK];
    double worst = 0.0;
    float where = 0.0f;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += (uint64_t)STEP * BLOCK) {
        for (size_t i = 0; i < BLOCK; i++) {
            x[i] = float_of((uint32_t)(bits + i * STEP));
        }
        f(y, x, BLOCK);
        for (size_t i = 0; i < BLOCK; i++) {
            double e = error_in_ulp(y[i], r((long double)x[i]));
            if (!(e <= worst)) {
                worst = e;
                where = x[i];
            }
        }
    }
    print_message("%s: worst error %.3f ulp at %a\n", name, worst, where);
    assert_true(worst <= bound);
}

static void test_accuracy(void **state) {
    (void)state;
    check_accuracy("exp", scalar()->exp, expl, 1.02);
    check_accuracy("log", scalar()->log, logl, 0.86);
    check_accuracy("tanh", scalar()->tanh, tanhl, 1.35);
}

/* The argument ranges where these functions do anything, finer. */
static void test_accuracy_in_range(void **state) {
    static const struct { float low, high; } ranges[] = {{-1.0f, 1.0f}, {-104.0f, 89.0f}, {-10.0f, 10.0f}};
    double worst[3] = {0};
    float x, y;
    (void)state;
    for (uint64_t i = 0; i < 300000; i++) {
        double e;
        x = ranges[i % 3].low + (ranges[i % 3].high - ranges[i % 3].low) * (float)temper_random_unit(1, 0, i);
        scalar()->exp(&y, &x, 1);
        e = error_in_ulp(y, expl(x));
        worst[0] = e > worst[0] ? e : worst[0];
        scalar()->tanh(&y, &x, 1);
        e = error_in_ulp(y, tanhl(x));
        worst[1] = e > worst[1] ? e : worst[1];
        x = 0.25f + fabsf(x);
        scalar()->log(&y, &x, 1);
        e = error_in_ulp(y, logl(x));
        worst[2] = e > worst[2] ? e : worst[2];
    }
    print_message("in range: exp %.3f, tanh %.3f, log %.3f ulp\n", worst[0], worst[1], worst[2]);
    assert_true(worst[0] <= 1.02 && worst[1] <= 1.35 && worst[2] <= 0.86);
}

static float one(elementwise *f, float x) {
    float y;
    f(&y, &x, 1);
    return y;
}

static void test_edges(void **state) {
    const lm_kernels *s = scalar();
    (void)state;
    assert_true(one(s->exp, 0.0f) == 1.0f && one(s->exp, -0.0f) == 1.0f);
    assert_true(one(s->exp, INFINITY) == INFINITY && canonical(one(s->exp, -INFINITY)) == 0);
    assert_true(one(s->exp, 88.72284f) == INFINITY && one(s->exp, 88.72283f) < INFINITY);
    assert_true(one(s->exp, -103.9f) == 0x1p-149f && canonical(one(s->exp, -104.0f)) == 0);
    assert_true(isnan(one(s->exp, NAN)) && isnan(one(s->log, NAN)) && isnan(one(s->tanh, NAN)));
    assert_true(canonical(one(s->log, 1.0f)) == 0 && one(s->log, INFINITY) == INFINITY);
    assert_true(one(s->log, 0.0f) == -INFINITY && one(s->log, -0.0f) == -INFINITY);
    assert_true(isnan(one(s->log, -1.0f)) && isnan(one(s->log, -0x1p-149f)) && isnan(one(s->log, -INFINITY)));
    assert_true(canonical(one(s->tanh, 0.0f)) == 0 && canonical(one(s->tanh, -0.0f)) == 0x80000000u);
    assert_true(one(s->tanh, INFINITY) == 1.0f && one(s->tanh, -INFINITY) == -1.0f);
    assert_true(one(s->tanh, 0x1p-149f) == 0x1p-149f);
}

/* All sets, every 1021st bit pattern. */
static void test_sweep(void **state) {
    enum { BLOCK = 4096, STEP = 1021, FUNCTIONS = 3 };
    static float x[BLOCK], expected[BLOCK], got[BLOCK];
    (void)state;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += (uint64_t)STEP * BLOCK) {
        for (size_t i = 0; i < BLOCK; i++) {
            x[i] = float_of((uint32_t)(bits + i * STEP));
        }
        for (size_t f = 0; f < FUNCTIONS; f++) {
            elementwise *right = f == 0 ? scalar()->exp : f == 1 ? scalar()->log : scalar()->tanh;
            right(expected, x, BLOCK);
            for (const lm_kernels *const *set = lm_kernels_all(); *set != scalar(); set++) {
                elementwise *other = f == 0 ? (*set)->exp : f == 1 ? (*set)->log : (*set)->tanh;
                if (!lm_kernels_usable(*set, NULL)) {
                    continue;
                }
                other(got, x, BLOCK);
                for (size_t i = 0; i < BLOCK; i++) {
                    if (canonical(got[i]) != canonical(expected[i])) {
                        fail_msg("%s: function %zu of %a is %a, scalar has %a", (*set)->name, f, x[i], got[i],
                                 expected[i]);
                    }
                }
            }
        }
    }
}

/* Round to nearest even by arithmetic: among the two neighbours the nearer, the even one on a tie. */
static void test_bf16_rounding(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 200000; i++) {
        uint32_t bits = (uint32_t)temper_random(3, 0, i);
        float x = float_of(i % 5 == 0 ? bits & 0xffff8000u : bits), y = lm_bf16_to_f32(lm_bf16_from_f32(x));
        uint32_t below = canonical(x) & 0xffff0000u, above = below + 0x10000u;
        if (isnan(x)) {
            assert_int_equal(lm_bf16_from_f32(x), 0x7fc0);
        } else if (fabsf(x) < 0x1p-62f) {
            assert_int_equal(canonical(y), canonical(x) & 0x80000000u);
        } else if (isfinite(float_of(above))) {
            double down = fabs((double)x - (double)float_of(below)),
                   up = fabs((double)float_of(above) - (double)x);
            uint32_t nearest = down < up || (down == up && (below & 0x10000u) == 0) ? below : above;
            assert_int_equal(canonical(y), nearest);
        }
    }
    assert_int_equal(lm_bf16_from_f32(INFINITY), 0x7f80);
    assert_int_equal(lm_bf16_from_f32(0x1.fffffep127f), 0x7f80); /* past the largest: infinity */
    assert_int_equal(lm_bf16_from_f32(0x1.fep127f), 0x7f7f);
    assert_int_equal(lm_bf16_from_f32(0x1p-62f), 0x2080);
    assert_int_equal(lm_bf16_from_f32(0x1.fffffep-63f), 0x0000); /* floored before it is rounded */
    assert_int_equal(lm_bf16_from_f32(-0x1.fffffep-63f), 0x8000);
    assert_int_equal(lm_bf16_from_f32(0x1.01p0f), 0x3f80); /* a tie, to even */
    assert_int_equal(lm_bf16_from_f32(0x1.03p0f), 0x3f82);
}

/* --- against formulas in double --- */

static void random_row(float *x, uint64_t stream) {
    for (size_t i = 0; i < N; i++) {
        x[i] = (float)(temper_random_unit(5, stream, i) * 4.0 - 2.0);
    }
}

static void near(double got, double want) {
    if (!(fabs(got - want) <= 2e-6 * (1.0 + fabs(want)))) {
        fail_msg("%.9g is not near %.9g", got, want);
    }
}

static void test_norms(void **state) {
    float x[N], w[N], b[N], y[N], mean, inverse;
    double sum = 0.0, squares = 0.0, variance = 0.0;
    (void)state;
    random_row(x, 0), random_row(w, 1), random_row(b, 2);
    for (size_t i = 0; i < N; i++) {
        sum += x[i];
        squares += (double)x[i] * x[i];
    }
    for (size_t i = 0; i < N; i++) {
        variance += (x[i] - sum / N) * (x[i] - sum / N);
    }
    scalar()->rms_norm(y, &inverse, x, w, 1e-5f, N);
    near(inverse, 1.0 / sqrt(squares / N + 1e-5));
    for (size_t i = 0; i < N; i++) {
        near(y[i], x[i] / sqrt(squares / N + 1e-5) * w[i]);
    }
    scalar()->layer_norm(y, &mean, &inverse, x, w, b, 1e-5f, N);
    near(mean, sum / N);
    near(inverse, 1.0 / sqrt(variance / N + 1e-5));
    for (size_t i = 0; i < N; i++) {
        near(y[i], (x[i] - sum / N) / sqrt(variance / N + 1e-5) * w[i] + b[i]);
    }
}

static void test_activations(void **state) {
    float x[N], up[N], y[N], c[N], s[N];
    (void)state;
    random_row(x, 3), random_row(up, 4);
    scalar()->swiglu(y, x, up, N);
    for (size_t i = 0; i < N; i++) {
        near(y[i], x[i] / (1.0 + exp(-(double)x[i])) * up[i]);
    }
    scalar()->gelu_new(y, x, N);
    for (size_t i = 0; i < N; i++) {
        double v = x[i];
        near(y[i], 0.5 * v * (1.0 + tanh(sqrt(2.0 / 3.14159265358979323846) * (v + 0.044715 * v * v * v))));
    }
    scalar()->gelu(y, x, N);
    for (size_t i = 0; i < N; i++) {
        near(y[i], 0.5 * (double)x[i] * erfc(-(double)x[i] / sqrt(2.0)));
    }
    for (int i = -800; i <= 800; i++) { /* every region, both tails */
        float at = (float)i / 100, got;
        double wanted = 0.5 * (double)at * erfc(-(double)at / sqrt(2.0));
        scalar()->gelu(&got, &at, 1);
        assert_true(fabs((double)got - wanted) <= 2e-7 * fabs((double)at) &&
                    fabs((double)got - wanted) <= 1e-5 * fabs(wanted));
    }
    for (size_t i = 0; i < N / 2; i++) {
        c[i] = (float)cos((double)i), s[i] = (float)sin((double)i);
    }
    memcpy(y, x, sizeof y);
    scalar()->rope(y, c, s, N - 1, false);
    for (size_t i = 0; i < N / 2; i++) {
        near(y[i], x[i] * cos((double)i) - x[i + N / 2] * sin((double)i));
        near(y[i + N / 2], x[i + N / 2] * cos((double)i) + x[i] * sin((double)i));
    }
    scalar()->rope(y, c, s, N - 1, true);
    for (size_t i = 0; i < N; i++) {
        near(y[i], x[i]);
    }
}

static void test_softmax(void **state) {
    float x[N], p[N], max, sum, log_sum;
    double greatest = -INFINITY, total = 0.0;
    (void)state;
    random_row(x, 6);
    for (size_t i = 0; i < N; i++) {
        greatest = x[i] > greatest ? x[i] : greatest;
    }
    sum = scalar()->softmax_numerators(p, &max, x, 0.5f, N);
    near(max, 0.5 * greatest);
    for (size_t i = 0; i < N; i++) {
        near(p[i], exp(0.5 * (x[i] - greatest)));
        total += exp(0.5 * (x[i] - greatest));
    }
    near(sum, total);
    scalar()->log_sum_exp(&max, &log_sum, x, N);
    total = 0.0;
    for (size_t i = 0; i < N; i++) {
        total += exp(x[i] - greatest);
    }
    assert_true(max == (float)greatest);
    near(log_sum, log(total));
}

static void test_argmax(void **state) {
    const float nan_first[] = {NAN, -INFINITY, -INFINITY}, ties[] = {0.0f, -0.0f, 0.0f},
                only_nan[] = {NAN, NAN};
    float long_row[40];
    (void)state;
    for (size_t i = 0; i < 40; i++) {
        long_row[i] = i == 21 || i == 36 || i == 37 ? 5.0f : -(float)i;
    }
    for (const lm_kernels *const *set = lm_kernels_all(); *set != NULL; set++) {
        if (lm_kernels_usable(*set, NULL)) {
            assert_int_equal((*set)->argmax(nan_first, 3), 1);
            assert_int_equal((*set)->argmax(ties, 3), 0);
            assert_int_equal((*set)->argmax(only_nan, 2), 0);
            assert_int_equal((*set)->argmax(long_row, 40), 21);
            assert_int_equal((*set)->argmax(long_row, 0), 0);
        }
    }
}

static void test_adamw(void **state) {
    float w[N], m[N] = {0}, v[N] = {0}, g[N], start[N];
    /* the betas are what f32 makes of them, in the corrections too */
    double rest1 = 1.0 - (double)0.9f, rest2 = 1.0 - (double)0.999f, c1 = 1.0 / rest1, c2 = 1.0 / rest2;
    (void)state;
    random_row(w, 7), random_row(g, 8);
    memcpy(start, w, sizeof w);
    scalar()->adamw(w, m, v, g, 0.5f, 1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, (float)c1, (float)c2, N);
    for (size_t i = 0; i < N; i++) {
        double half = 0.5 * g[i], first = rest1 * half, second = rest2 * half * half;
        near(m[i], first);
        near(v[i] * 1000.0, second * 1000.0);
        near(w[i], start[i] - 1e-2 * (first * c1 / (sqrt(second * c2) + 1e-8) + 0.1 * start[i]));
    }
}

static void test_products(void **state) {
    enum { M = 5, K = 33 };
    static float a[M * K], b[K * N], c[M * N], transposed[K * N];
    static _Alignas(64) uint32_t packed[((N + 31) / 32) * 32 * K];
    static _Alignas(64) unsigned char scratch[1 << 16];
    (void)state;
    for (size_t i = 0; i < M * K; i++) {
        a[i] = lm_bf16_to_f32(lm_bf16_from_f32((float)temper_random_unit(9, 0, i) - 0.5f));
    }
    for (size_t i = 0; i < K * N; i++) {
        b[i] = lm_bf16_to_f32(lm_bf16_from_f32((float)temper_random_unit(9, 1, i) - 0.5f));
        transposed[i % N * K + i / N] = b[i];
    }
    for (int profile = 0; profile < 2; profile++) {
        for (int flip = 0; flip < 2; flip++) {
            const lm_product *product = profile == 0 ? &scalar()->f32 : &scalar()->bf16;
            assert_true(product->scratch_bytes(K) <= sizeof scratch);
            product->pack(packed, flip ? transposed : b, K, N, flip ? K : N, flip);
            product->multiply(M, N, K, a, K, false, packed, c, N, false, scratch);
            for (size_t i = 0; i < M * N; i++) {
                double sum = 0.0;
                for (size_t k = 0; k < K; k++) {
                    sum += (double)a[i / N * K + k] * b[k * N + i % N];
                }
                near(c[i], sum);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accuracy),      cmocka_unit_test(test_accuracy_in_range),
        cmocka_unit_test(test_edges),         cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_bf16_rounding), cmocka_unit_test(test_norms),
        cmocka_unit_test(test_activations),   cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_argmax),        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

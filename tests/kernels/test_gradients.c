/* Each backward row operation against central differences of its forward one, in double (relative error
 * below 1e-6). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels.h"
#include <temper/rng.h>

enum { N = 37, INPUTS = 3 };

/* sum of weight[i] * output[i] for the inputs in[0..INPUTS-1]: a loss whose gradient with respect to the
 * output is `weight`. */
typedef double loss(double in[INPUTS][N], const double *weight);

static const lm_kernels *set(void) {
    return lm_kernels_choose("scalar", NULL);
}

static void random_row(double *x, uint64_t stream) {
    for (size_t i = 0; i < N; i++) {
        x[i] = temper_random_unit(2, stream, i) * 3.0 - 1.5;
    }
}

static double weighted(const double *y, const double *weight) {
    double sum = 0.0;
    for (size_t i = 0; i < N; i++) {
        sum += weight[i] * y[i];
    }
    return sum;
}

/* `gradient` began at 1 everywhere when `adds`, and was overwritten otherwise. */
static void check(const char *name, loss *f, double in[INPUTS][N], size_t which, const double *weight,
                  const double *gradient, bool adds) {
    const double step = 1e-5;
    for (size_t i = 0; i < N; i++) {
        double at = in[which][i], up, down, numeric, analytic = gradient[i] - (adds ? 1.0 : 0.0), scale;
        in[which][i] = at + step;
        up = f(in, weight);
        in[which][i] = at - step;
        down = f(in, weight);
        in[which][i] = at;
        numeric = (up - down) / (2.0 * step);
        scale = __builtin_fabs(numeric) + 1e-2;
        if (!(__builtin_fabs(numeric - analytic) <= 1e-6 * scale)) {
            fail_msg("%s, input %zu, value %zu: %.12g, differences give %.12g", name, which, i, analytic,
                     numeric);
        }
    }
}

static void ones(double *x) {
    for (size_t i = 0; i < N; i++) {
        x[i] = 1.0;
    }
}

static double rms_norm_loss(double in[INPUTS][N], const double *weight) {
    double y[N], inverse;
    set()->rms_norm(y, &inverse, in[0], in[1], 1e-3, N);
    return weighted(y, weight);
}

static void test_rms_norm(void **state) {
    double in[INPUTS][N], weight[N], y[N], inverse, dx[N], dw[N], frozen[N];
    (void)state;
    random_row(in[0], 0), random_row(in[1], 1), random_row(in[2], 2), random_row(weight, 3);
    set()->rms_norm(y, &inverse, in[0], in[1], 1e-3, N);
    ones(dx), ones(dw), ones(frozen);
    set()->rms_norm_backward(dx, dw, weight, in[0], in[1], inverse, N);
    set()->rms_norm_backward(frozen, NULL, weight, in[0], in[1], inverse, N);
    check("rms_norm", rms_norm_loss, in, 0, weight, dx, true);
    check("rms_norm", rms_norm_loss, in, 1, weight, dw, true);
    assert_memory_equal(dx, frozen, sizeof dx);
}

static double layer_norm_loss(double in[INPUTS][N], const double *weight) {
    double y[N], mean, inverse;
    set()->layer_norm(y, &mean, &inverse, in[0], in[1], in[2], 1e-3, N);
    return weighted(y, weight);
}

static void test_layer_norm(void **state) {
    double in[INPUTS][N], weight[N], y[N], mean, inverse, dx[N], dw[N], db[N], frozen[N];
    (void)state;
    random_row(in[0], 4), random_row(in[1], 5), random_row(in[2], 6), random_row(weight, 7);
    set()->layer_norm(y, &mean, &inverse, in[0], in[1], in[2], 1e-3, N);
    ones(dx), ones(dw), ones(db), ones(frozen);
    set()->layer_norm_backward(dx, dw, db, weight, in[0], in[1], mean, inverse, N);
    set()->layer_norm_backward(frozen, NULL, NULL, weight, in[0], in[1], mean, inverse, N);
    check("layer_norm", layer_norm_loss, in, 0, weight, dx, true);
    check("layer_norm", layer_norm_loss, in, 1, weight, dw, true);
    check("layer_norm", layer_norm_loss, in, 2, weight, db, true);
    assert_memory_equal(dx, frozen, sizeof dx);
}

static double swiglu_loss(double in[INPUTS][N], const double *weight) {
    double y[N];
    set()->swiglu(y, in[0], in[1], N);
    return weighted(y, weight);
}

static void test_swiglu(void **state) {
    double in[INPUTS][N], weight[N], dgate[N], dup[N];
    (void)state;
    random_row(in[0], 8), random_row(in[1], 9), random_row(in[2], 10), random_row(weight, 11);
    set()->swiglu_backward(dgate, dup, weight, in[0], in[1], N);
    check("swiglu", swiglu_loss, in, 0, weight, dgate, false);
    check("swiglu", swiglu_loss, in, 1, weight, dup, false);
}

static double gelu_new_loss(double in[INPUTS][N], const double *weight) {
    double y[N];
    set()->gelu_new(y, in[0], N);
    return weighted(y, weight);
}

static void test_gelu_new(void **state) {
    double in[INPUTS][N], weight[N], dx[N];
    (void)state;
    random_row(in[0], 12), random_row(in[1], 13), random_row(in[2], 14), random_row(weight, 15);
    set()->gelu_new_backward(dx, weight, in[0], N);
    check("gelu_new", gelu_new_loss, in, 0, weight, dx, false);
}

static double gelu_loss(double in[INPUTS][N], const double *weight) {
    double y[N];
    set()->gelu(y, in[0], N);
    return weighted(y, weight);
}

static void test_gelu(void **state) {
    double in[INPUTS][N], weight[N], dx[N];
    (void)state;
    random_row(in[0], 12), random_row(in[1], 13), random_row(in[2], 14), random_row(weight, 15);
    set()->gelu_backward(dx, weight, in[0], N);
    check("gelu", gelu_loss, in, 0, weight, dx, false);
}

static double rope_loss(double in[INPUTS][N], const double *weight) {
    double y[N];
    memcpy(y, in[0], sizeof y);
    set()->rope(y, in[1], in[2], N - 1, false);
    return weighted(y, weight);
}

/* Rotating back is the transpose, whatever the table holds: the backward pass. */
static void test_rope(void **state) {
    double in[INPUTS][N], weight[N], dx[N];
    (void)state;
    random_row(in[0], 16), random_row(in[1], 17), random_row(in[2], 18), random_row(weight, 19);
    memcpy(dx, weight, sizeof dx);
    set()->rope(dx, in[1], in[2], N - 1, true);
    check("rope", rope_loss, in, 0, weight, dx, false);
}

/* The double build has f32/1's formula only, and scalar only. */
static void test_double_build(void **state) {
    (void)state;
    assert_int_equal(sizeof(lm_real), sizeof(double));
    assert_null(lm_kernels_all()[1]);
    assert_null(lm_kernels_product(set(), "bf16/1"));
    assert_int_equal(lm_kernels_product(set(), "f32/1")->element_size, sizeof(double));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rms_norm),     cmocka_unit_test(test_layer_norm), cmocka_unit_test(test_swiglu),
        cmocka_unit_test(test_gelu_new),     cmocka_unit_test(test_gelu),       cmocka_unit_test(test_rope),
        cmocka_unit_test(test_double_build),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

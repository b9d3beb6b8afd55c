/* temper/math.h against the C library's long double functions, whose 64-bit mantissas serve as the reference:
 * worst errors in units of the last place of a double, special cases, and fixed bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <temper/math.h>
#include <temper/rng.h>

enum { SAMPLES = 100000 };

typedef double function(double x);
typedef long double reference(long double x);

static double error_in_ulp(double got, long double want) {
    int exponent;
    long double unit;
    if (isnan(got) && isnan(want)) {
        return 0.0;
    }
    if (isinf(got) && (isinf((double)want))) {
        return (got > 0) == (want > 0) ? 0.0 : INFINITY;
    }
    frexpl(want, &exponent);
    unit = ldexpl(1.0L, (exponent < -1021 ? -1021 : exponent) - 53);
    return (double)fabsl(((long double)got - want) / unit);
}

static double uniform(uint64_t stream, uint64_t i, double low, double high) {
    return low + (high - low) * temper_random_unit(1, stream, i);
}

/* Any finite double, by its bits. */
static double any(uint64_t stream, uint64_t i) {
    uint64_t bits = temper_random(2, stream, i);
    double x;
    memcpy(&x, &bits, sizeof x);
    return isfinite(x) ? x : 0.5;
}

static void check(const char *name, function *f, reference *r, double low, double high, double bound) {
    double worst = 0.0, where = 0.0;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        double x = uniform(3, i, low, high), e;
        e = error_in_ulp(f(x), r(x));
        if (!(e <= worst)) {
            worst = e;
            where = x;
        }
    }
    printf("%-8s [%g, %g]: worst error %.4f ulp at %a\n", name, low, high, worst, where);
    assert_true(worst <= bound);
}

static void check_any(const char *name, function *f, reference *r, double bound) {
    double worst = 0.0, where = 0.0;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        double x = any(4, i), e;
        e = error_in_ulp(f(x), r(x));
        if (!(e <= worst)) {
            worst = e;
            where = x;
        }
    }
    printf("%-8s any double: worst error %.4f ulp at %a\n", name, worst, where);
    assert_true(worst <= bound);
}

static void test_accuracy(void **state) {
    (void)state;
    check("exp", temper_exp, expl, -1.0, 1.0, 0.54);
    check("exp", temper_exp, expl, -708.0, 709.7, 0.54);
    check("exp", temper_exp, expl, -746.0, -708.0, 1.0); /* denormal results are rounded twice */
    check("log", temper_log, logl, 0.5, 2.0, 0.51);
    check("log", temper_log, logl, 0.999, 1.001, 0.51);
    check_any("log", temper_log, logl, 0.51);
    check("log2", temper_log2, log2l, 0.5, 2.0, 0.51);
    check_any("log2", temper_log2, log2l, 0.51);
    check("log10", temper_log10, log10l, 0.5, 2.0, 0.51);
    check_any("log10", temper_log10, log10l, 0.51);
    check("tanh", temper_tanh, tanhl, -0.2, 0.2, 0.60);
    check("tanh", temper_tanh, tanhl, -23.0, 23.0, 0.60);
    check_any("tanh", temper_tanh, tanhl, 0.60);
    check("sin", temper_sin, sinl, -0.8, 0.8, 0.75);
    check("sin", temper_sin, sinl, -100000.0, 100000.0, 0.75);
    check("cos", temper_cos, cosl, -0.8, 0.8, 0.75);
    check("cos", temper_cos, cosl, -100000.0, 100000.0, 0.75);
    check("tan", temper_tan, tanl, -100.0, 100.0, 0.95);
    check("asin", temper_asin, asinl, -1.0, 1.0, 0.54);
    check("acos", temper_acos, acosl, -1.0, 1.0, 0.54);
    check("atan", temper_atan, atanl, -2.0, 2.0, 0.54);
    check("atan", temper_atan, atanl, -100.0, 100.0, 0.54);
    check_any("atan", temper_atan, atanl, 0.54);
}

static void test_pow_accuracy(void **state) {
    double worst = 0.0;
    (void)state;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        double x = temper_exp(uniform(5, i, -20.0, 20.0)), y = uniform(6, i, -34.0, 34.0);
        double e = error_in_ulp(temper_pow(x, y), powl(x, y));
        worst = e > worst ? e : worst;
    }
    printf("pow: worst error %.4f ulp\n", worst);
    assert_true(worst <= 0.55);
    for (int x = 2; x <= 10; x++) { /* exact powers are exact */
        double power = 1.0;
        for (int y = 0; power < 0x1p53; y++, power *= x) {
            assert_true(temper_pow(x, y) == power);
        }
    }
    for (int k = -1074; k <= 1023; k++) {
        assert_true(temper_log2(ldexp(1.0, k)) == k);
        assert_true(temper_pow(2.0, k) == ldexp(1.0, k));
    }
    for (int k = 0; k <= 22; k++) {
        assert_true(temper_log10(temper_pow(10.0, k)) == k);
    }
}

static void test_atan2_accuracy(void **state) {
    double worst = 0.0;
    (void)state;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        double y = uniform(7, i, -1.0, 1.0), x = uniform(8, i, -1.0, 1.0), e;
        e = error_in_ulp(temper_atan2(y, x), atan2l(y, x));
        worst = e > worst ? e : worst;
        y = any(9, i), x = any(10, i);
        e = error_in_ulp(temper_atan2(y, x), atan2l(y, x));
        worst = e > worst ? e : worst;
    }
    printf("atan2: worst error %.4f ulp\n", worst);
    assert_true(worst <= 0.54);
}

/* sin and cos of the double that lies nearest to a multiple of pi/2, and of a very large one: exact
 * reduction. */
static void test_hard_arguments(void **state) {
    (void)state;
    assert_true(error_in_ulp(temper_cos(0x1.6ac5b262ca1ffp+849), -1.0L) >
                0.0); /* the sine is the large one */
    assert_true(temper_sin(0x1.6ac5b262ca1ffp+849) == 1.0);
    assert_true(fabs(temper_cos(0x1.6ac5b262ca1ffp+849)) < 0x1p-60);
    assert_true(temper_cos(0x1.6ac5b262ca1ffp+849) != 0.0);
    assert_true(error_in_ulp(temper_sin(1e22), -0.8522008497671888017727L) < 0.51);
    assert_true(error_in_ulp(temper_cos(1e22), 0.5232147853951389454975L) < 0.51);
    assert_true(error_in_ulp(temper_sin(1e300), -0.8178819121159085493247L) < 0.51);
}

static bool same(double a, double b) {
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static void test_special_cases(void **state) {
    static const double values[] = {0.0, -0.0, 1.0,      -1.0,      0.5,       -0.5, 2.0,    -2.0,   3.0,
                                    -3., 2.5,  INFINITY, -INFINITY, 0x1p-1074, NAN,  0x1p60, -0x1p60};
    const size_t count = sizeof values / sizeof values[0];
    (void)state;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            double x = values[i], y = values[j], ours = temper_pow(x, y), theirs = pow(x, y);
            double angle = temper_atan2(x, y);
            if (!same(ours, theirs) && !(fabs(ours - theirs) <= fabs(theirs) * 0x1p-52)) {
                fail_msg("pow(%a, %a) = %a, C says %a", x, y, ours, theirs);
            }
            if (!same(angle, atan2(x, y)) && !(fabs(angle - atan2(x, y)) <= 0x1p-51)) {
                fail_msg("atan2(%a, %a) = %a, C says %a", x, y, angle, atan2(x, y));
            }
        }
    }
    assert_true(temper_exp(0.0) == 1.0 && temper_exp(INFINITY) == INFINITY && temper_exp(1e308) == INFINITY);
    assert_true(same(temper_exp(-INFINITY), 0.0) && same(temper_exp(-1e308), 0.0));
    assert_true(temper_exp(-745.0) > 0.0 && temper_exp(709.0) < INFINITY);
    assert_true(same(temper_log(1.0), 0.0) && temper_log(0.0) == -INFINITY && temper_log(-0.0) == -INFINITY);
    assert_true(isnan(temper_log(-1.0)) && temper_log(INFINITY) == INFINITY && isnan(temper_log(NAN)));
    assert_true(same(temper_tanh(-0.0), -0.0) && temper_tanh(INFINITY) == 1.0 &&
                temper_tanh(-INFINITY) == -1.0);
    assert_true(same(temper_sin(-0.0), -0.0) && temper_cos(0.0) == 1.0 && same(temper_tan(-0.0), -0.0));
    assert_true(isnan(temper_sin(INFINITY)) && isnan(temper_cos(-INFINITY)) && isnan(temper_tan(NAN)));
    assert_true(same(temper_asin(-0.0), -0.0) && same(temper_acos(1.0), 0.0) && isnan(temper_asin(1.5)));
    assert_true(temper_acos(-1.0) == 0x1.921fb54442d18p+1 && temper_asin(1.0) == 0x1.921fb54442d18p+0);
    assert_true(isnan(temper_exp(NAN)) && isnan(temper_tanh(NAN)) && isnan(temper_acos(NAN)));
    assert_true(same(temper_atan(-0.0), -0.0) && temper_atan(INFINITY) == 0x1.921fb54442d18p+0);
}

/* The bits themselves, over many arguments: another compiler, another CPU, the same number. */
static void test_fixed_bits(void **state) {
    static function *const all[] = {temper_exp,  temper_log,  temper_tanh, temper_sin,
                                    temper_cos,  temper_tan,  temper_asin, temper_acos,
                                    temper_atan, temper_log2, temper_log10};
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    (void)state;
    for (size_t f = 0; f < sizeof all / sizeof all[0]; f++) {
        for (uint64_t i = 0; i < 20000; i++) {
            double x = i % 2 == 0 ? uniform(11, i, -1.0, 1.0) : any(12, i), y = all[f](x);
            uint64_t bits = UINT64_C(0x7ff8000000000000);
            if (!isnan(y)) {
                memcpy(&bits, &y, sizeof bits);
            }
            hash = (hash ^ bits) * UINT64_C(0x100000001b3);
        }
    }
    for (uint64_t i = 0; i < 20000; i++) {
        double y = temper_pow(uniform(13, i, 0.0, 10.0), uniform(14, i, -50.0, 50.0));
        uint64_t bits;
        memcpy(&bits, &y, sizeof bits);
        hash = (hash ^ bits) * UINT64_C(0x100000001b3);
    }
    printf("hash %016llx\n", (unsigned long long)hash);
    assert_true(hash == UINT64_C(0x78a78f676e08ff0d));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accuracy),       cmocka_unit_test(test_pow_accuracy),
        cmocka_unit_test(test_atan2_accuracy), cmocka_unit_test(test_hard_arguments),
        cmocka_unit_test(test_special_cases),  cmocka_unit_test(test_fixed_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

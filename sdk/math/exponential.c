/* exponential.c: exp, pow and tanh of temper/math.h. */
#include "exact.h"
#include <temper/math.h>

#define INFINITE double_of(UINT64_C(0x7ff0000000000000))
#define NOT_A_NUMBER double_of(UINT64_C(0x7ff8000000000000))

#define LOG2E 0x1.71547652b82fep+0
#define LN2_HIGH 0x1.62e42fefa38p-1 /* 42 bits: times an integer below 2^11 it is exact */
#define LN2_MIDDLE 0x1.ef35793c7673p-45
#define LN2_LOW 0x1.f97b57a079a19p-103

/* exp(r) - 1 for |r| <= 0.35: r + r^2/2 exactly, the rest of the series to r^13 in double. */
static pair exp_minus_one(pair r) {
    double x = r.high, series;
    pair half_square = product_of(x, 0.5 * x), sum = sum_of(x, half_square.high);
    series = 1.0 / 6227020800.0;
    series = __builtin_fma(series, x, 1.0 / 479001600.0);
    series = __builtin_fma(series, x, 1.0 / 39916800.0);
    series = __builtin_fma(series, x, 1.0 / 3628800.0);
    series = __builtin_fma(series, x, 1.0 / 362880.0);
    series = __builtin_fma(series, x, 1.0 / 40320.0);
    series = __builtin_fma(series, x, 1.0 / 5040.0);
    series = __builtin_fma(series, x, 1.0 / 720.0);
    series = __builtin_fma(series, x, 1.0 / 120.0);
    series = __builtin_fma(series, x, 1.0 / 24.0);
    series = __builtin_fma(series, x, 1.0 / 6.0);
    series = series * (x * x * x) + (half_square.low + __builtin_fma(r.low, x, r.low));
    return ordered_sum(sum.high, sum.low + series);
}

pair temper_math_exp_pair(pair x, int *n) {
    double whole = nearest(x.high * LOG2E);
    double rest = __builtin_fma(-whole, LN2_HIGH, x.high); /* exact */
    pair middle = product_of(whole, LN2_MIDDLE), r = sum_of(rest, -middle.high);
    r = ordered_sum(r.high, r.low + (x.low - (middle.low + whole * LN2_LOW)));
    *n = (int)whole;
    return exp_minus_one(r);
}

static double exp_of_pair(pair x) {
    int n;
    pair rest, sum;
    if (x.high > 709.8) {
        return INFINITE;
    }
    if (x.high < -745.2) {
        return 0.0;
    }
    rest = temper_math_exp_pair(x, &n);
    sum = ordered_sum(1.0, rest.high);
    return scaled(sum.high + (sum.low + rest.low), n);
}

double temper_exp(double x) {
    return x != x ? x + x : exp_of_pair((pair){x, 0.0});
}

/* 0: not an integer, 1: odd, 2: even. */
static int parity(double y) {
    double magnitude = __builtin_fabs(y);
    if (magnitude >= 0x1p53) {
        return 2;
    }
    if (magnitude != (double)(int64_t)magnitude) {
        return 0;
    }
    return (int64_t)magnitude % 2 != 0 ? 1 : 2;
}

/* x^y for finite x > 0 and finite y. */
static double positive_power(double x, double y) {
    pair log = temper_math_log_pair(x), exponent;
    double estimate = y * log.high;
    if (estimate > 710.0) {
        return INFINITE;
    }
    if (estimate < -746.0) {
        return 0.0;
    }
    exponent = product_of(y, log.high);
    return exp_of_pair(ordered_sum(exponent.high, __builtin_fma(y, log.low, exponent.low)));
}

/* |x|^y where one of them is infinite or x is zero. */
static double extreme_power(double magnitude, double y) {
    if (magnitude == 1.0) {
        return 1.0;
    }
    return (magnitude > 1.0) == (y > 0.0) ? INFINITE : 0.0;
}

double temper_pow(double x, double y) {
    double magnitude = __builtin_fabs(x), power;
    int whole;
    if (y == 0.0 || x == 1.0) {
        return 1.0;
    }
    if (x != x || y != y) {
        return x + y;
    }
    whole = parity(y);
    if (magnitude == 0.0 || magnitude == INFINITE || __builtin_fabs(y) == INFINITE) {
        power = extreme_power(magnitude, y);
    } else if (x < 0.0 && whole == 0) {
        return NOT_A_NUMBER;
    } else {
        power = positive_power(magnitude, y);
    }
    return whole == 1 ? with_sign_of(power, x) : power;
}

double temper_tanh(double x) {
    double magnitude = __builtin_fabs(x);
    int n;
    pair rest, quotient;
    if (x != x || magnitude < 0x1p-28) {
        return x + 0.0 * x;
    }
    if (magnitude > 22.0) {
        return with_sign_of(1.0, x);
    }
    rest = temper_math_exp_pair((pair){2.0 * magnitude, 0.0}, &n); /* exp(2|x|) = 2^n (1 + rest) */
    if (n == 0) {
        quotient = pair_divide(rest, pair_add((pair){2.0, 0.0}, rest));
    } else {
        double scale = power_of_two(n);
        pair whole = pair_add((pair){scale, 0.0}, (pair){rest.high * scale, rest.low * scale});
        quotient = pair_divide(pair_add(whole, (pair){-1.0, 0.0}), pair_add(whole, (pair){1.0, 0.0}));
    }
    return with_sign_of(quotient.high + quotient.low, x);
}

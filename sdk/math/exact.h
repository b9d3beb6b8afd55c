/* exact.h: a number as the unevaluated sum of two doubles, high + low with |low| <= ulp(high) / 2: about
 * 106 bits.
 *
 * Invariant: only IEEE + - * / and fma, each rounded once, in the order written. So temper/math.h has the
 * same bits wherever there is IEEE arithmetic. Internal to sdk/math. */
#ifndef TEMPER_MATH_EXACT_H
#define TEMPER_MATH_EXACT_H

#include <stdint.h>
#include <string.h>

typedef struct pair {
    double high, low;
} pair;

static inline uint64_t bits_of(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double double_of(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline double with_sign_of(double magnitude, double x) {
    return double_of((bits_of(magnitude) & ~(UINT64_C(1) << 63)) | (bits_of(x) & UINT64_C(1) << 63));
}

/* 2^n for a normal result: -1022 <= n <= 1023. */
static inline double power_of_two(int n) {
    return double_of((uint64_t)(n + 1023) << 52);
}

/* x 2^n for |n| <= 2046: overflow gives infinity, and a denormal is rounded once (from x's 53 bits). */
static inline double scaled(double x, int n) {
    int half = n / 2;
    return x * power_of_two(half) * power_of_two(n - half);
}

/* Nearest integer of |x| < 2^51, ties to even. */
static inline double nearest(double x) {
    return (x + 0x1.8p52) - 0x1.8p52;
}

static inline pair sum_of(double a, double b) {
    double sum = a + b, b_part = sum - a;
    return (pair){sum, (a - (sum - b_part)) + (b - b_part)};
}

/* For |a| >= |b|, or a = 0. */
static inline pair ordered_sum(double a, double b) {
    double sum = a + b;
    return (pair){sum, b - (sum - a)};
}

static inline pair product_of(double a, double b) {
    double product = a * b;
    return (pair){product, __builtin_fma(a, b, -product)};
}

static inline pair pair_add(pair a, pair b) {
    pair sum = sum_of(a.high, b.high);
    return ordered_sum(sum.high, sum.low + (a.low + b.low));
}

static inline pair pair_negate(pair a) {
    return (pair){-a.high, -a.low};
}

static inline pair pair_multiply(pair a, pair b) {
    pair product = product_of(a.high, b.high);
    return ordered_sum(product.high, product.low + __builtin_fma(a.high, b.low, a.low * b.high));
}

static inline pair pair_divide(pair a, pair b) {
    double quotient = a.high / b.high;
    double rest = __builtin_fma(-quotient, b.high, a.high) + __builtin_fma(-quotient, b.low, a.low);
    return ordered_sum(quotient, rest / b.high);
}

/* log(x) for finite x > 0, relative error below 2^-66 (logarithm.c). */
pair temper_math_log_pair(double x);
/* 2^n (1 + result) = exp(x.high + x.low) for |x| < 1100 (exponential.c). */
pair temper_math_exp_pair(pair x, int *n);

#endif

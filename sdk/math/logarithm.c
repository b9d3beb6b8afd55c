/* logarithm.c: log, log2 and log10 of temper/math.h. */
#include "exact.h"
#include <temper/math.h>

#define LN2_HIGH 0x1.62e42fefa38p-1 /* 42 bits: times an exponent it is exact */
#define LN2_REST                                                                                             \
    (pair) {                                                                                                 \
        0x1.ef35793c7673p-45, 0x1.f97b57a079a19p-103                                                         \
    }
#define LOG2_OF_E                                                                                            \
    (pair) {                                                                                                 \
        0x1.71547652b82fep+0, 0x1.777d0ffda0d24p-56                                                          \
    }
#define LOG10_OF_E                                                                                           \
    (pair) {                                                                                                 \
        0x1.bcb7b1526e50ep-2, 0x1.95355baaafad3p-57                                                          \
    }

/* x = 2^e m with m in [sqrt(1/2), sqrt(2)), for finite x > 0. */
static double split(double x, int *e) {
    uint64_t bits, offset;
    const uint64_t origin = UINT64_C(0x3fe6a09e667f3bcd); /* sqrt(1/2) */
    int less = 0;
    if (x < 0x1p-1022) {
        x = x * 0x1p54;
        less = 54;
    }
    bits = bits_of(x);
    offset = bits - origin;
    *e = (int)((int64_t)offset >> 52) - less;
    return double_of((offset & UINT64_C(0x000fffffffffffff)) + origin);
}

/* log(m): with s = (m - 1) / (m + 1) and z = s^2 it is 2 s (1 + z/3 + z^2/5 + ...), z below 0.0295. Terms
 * from z^3/7 on are small enough for double. */
static pair log_of_mantissa(double m) {
    const pair third = {0x1.5555555555555p-2, 0x1.5555555555555p-56};
    const pair fifth = {0x1.999999999999ap-3, -0x1.999999999999ap-57};
    pair s = pair_divide((pair){m - 1.0, 0.0}, sum_of(m, 1.0));
    pair z = pair_multiply(s, s), sum;
    double series = 1.0 / 29.0;
    for (int k = 27; k >= 7; k -= 2) {
        series = __builtin_fma(series, z.high, 1.0 / k);
    }
    sum = pair_add(fifth, pair_multiply(z, (pair){series, 0.0}));
    sum = pair_add(third, pair_multiply(z, sum));
    sum = pair_multiply(pair_multiply(z, sum), s);
    sum = pair_add(s, sum);
    return (pair){2.0 * sum.high, 2.0 * sum.low};
}

pair temper_math_log_pair(double x) {
    int e;
    double m = split(x, &e);
    pair log = log_of_mantissa(m);
    if (e != 0) {
        log = pair_add(log, pair_multiply((pair){e, 0.0}, LN2_REST));
        log = pair_add((pair){e * LN2_HIGH, 0.0}, log);
    }
    return log;
}

/* What a logarithm is where there is none to compute: true with *value set. */
static int special(double x, double *value) {
    const double infinity = double_of(UINT64_C(0x7ff0000000000000));
    if (x != x || x == infinity) {
        *value = x + x;
    } else if (x == 0.0) {
        *value = -infinity;
    } else if (x < 0.0) {
        *value = double_of(UINT64_C(0x7ff8000000000000));
    } else {
        return 0;
    }
    return 1;
}

double temper_log(double x) {
    double value;
    pair log;
    if (special(x, &value)) {
        return value;
    }
    log = temper_math_log_pair(x);
    return log.high + log.low;
}

double temper_log2(double x) {
    double value;
    int e;
    pair log;
    if (special(x, &value)) {
        return value;
    }
    log = log_of_mantissa(split(x, &e));
    log = pair_add((pair){e, 0.0}, pair_multiply(log, LOG2_OF_E));
    return log.high + log.low;
}

double temper_log10(double x) {
    double value;
    pair log;
    if (special(x, &value)) {
        return value;
    }
    log = pair_multiply(temper_math_log_pair(x), LOG10_OF_E);
    return log.high + log.low;
}

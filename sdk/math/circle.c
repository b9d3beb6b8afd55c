/* circle.c: sin, cos, tan and their inverses of temper/math.h.
 *
 * Any finite argument is reduced exactly: its product with 2/pi is formed in 192-bit integers from the
 * bits that matter (Payne and Hanek 1983), so sin(1e300) is as good as sin(1). */
#include "exact.h"
#include <temper/math.h>

#define HALF_PI                                                                                              \
    (pair) {                                                                                                 \
        0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54                                                          \
    }
#define PI                                                                                                   \
    (pair) {                                                                                                 \
        0x1.921fb54442d18p+1, 0x1.1a62633145c07p-53                                                          \
    }
#define QUARTER_PI 0x1.921fb54442d18p-1

/* 64 zero bits, then 2/pi after its binary point. */
static const uint64_t two_over_pi[21] = {
    0,
    UINT64_C(0xa2f9836e4e441529),
    UINT64_C(0xfc2757d1f534ddc0),
    UINT64_C(0xdb6295993c439041),
    UINT64_C(0xfe5163abdebbc561),
    UINT64_C(0xb7246e3a424dd2e0),
    UINT64_C(0x06492eea09d1921c),
    UINT64_C(0xfe1deb1cb129a73e),
    UINT64_C(0xe88235f52ebb4484),
    UINT64_C(0xe99c7026b45f7e41),
    UINT64_C(0x3991d639835339f4),
    UINT64_C(0x9c845f8bbdf9283b),
    UINT64_C(0x1ff897ffde05980f),
    UINT64_C(0xef2f118b5a0a6d1f),
    UINT64_C(0x6d367ecf27cb09b7),
    UINT64_C(0x4f463f669e5fea2d),
    UINT64_C(0x7527bac7ebe5f17b),
    UINT64_C(0x3d0739f78a5292ea),
    UINT64_C(0x6bfb5fb11f8d5d08),
    UINT64_C(0x56033046fc7b6bab),
    UINT64_C(0xf0cfbc209af4361d),
};

/* 64 bits of the table from bit `position`. */
static uint64_t window(unsigned position) {
    unsigned word = position / 64, shift = position % 64;
    return shift == 0 ? two_over_pi[word]
                      : two_over_pi[word] << shift | two_over_pi[word + 1] >> (64 - shift);
}

/* The 192-bit fraction f[0] f[1] f[2] (f[0] highest, units of 2^-192, below 1/2 and not 0) as a pair. */
static pair pair_of_fraction(const uint64_t f[3]) {
    uint64_t high = f[0], low = f[1], last = f[2];
    int zeros = 0, shift;
    if (high == 0) {
        high = low, low = last, last = 0, zeros = 64;
    }
    shift = __builtin_clzll(high); /* no double comes within 2^-64 of a multiple of pi/2 */
    if (shift > 0) {
        high = high << shift | low >> (64 - shift);
        low = low << shift | last >> (64 - shift);
    }
    zeros += shift;
    return ordered_sum((double)(high >> 11) * power_of_two(-53 - zeros),
                       (double)((high & 0x7ff) << 42 | low >> 22) * power_of_two(-106 - zeros));
}

/* x = quadrant pi/2 + *rest (mod 2 pi) with |*rest| <= pi/4, for finite x. */
static unsigned reduce(double x, pair *rest) {
    uint64_t bits = bits_of(x), mantissa = (bits & UINT64_C(0x000fffffffffffff)) | UINT64_C(1) << 52;
    uint64_t f[3], quadrant;
    unsigned __int128 product;
    /* |x| = mantissa 2^exponent; bits of 2/pi whose product with it is a multiple of 4 are left out */
    int exponent = (int)(bits >> 52 & 0x7ff) - 1075;
    unsigned position;
    int negative = (bits >> 63) != 0, above;
    if (__builtin_fabs(x) <= QUARTER_PI) {
        *rest = (pair){x, 0.0};
        return 0;
    }
    position = (unsigned)(exponent + 62);
    product = (unsigned __int128)mantissa * window(position + 128);
    f[2] = (uint64_t)product;
    product = (unsigned __int128)mantissa * window(position + 64) + (uint64_t)(product >> 64);
    f[1] = (uint64_t)product;
    f[0] = mantissa * window(position) + (uint64_t)(product >> 64);
    quadrant = f[0] >> 62;
    f[0] = f[0] << 2 | f[1] >> 62, f[1] = f[1] << 2 | f[2] >> 62, f[2] = f[2] << 2;
    above = f[0] >> 63 != 0;
    if (above) { /* the nearest multiple is the next one */
        quadrant++;
        f[2] = ~f[2] + 1, f[1] = ~f[1] + (f[2] == 0), f[0] = ~f[0] + (f[2] == 0 && f[1] == 0);
    }
    *rest = pair_multiply(pair_of_fraction(f), HALF_PI);
    if (above != negative) {
        *rest = pair_negate(*rest);
    }
    return (unsigned)(negative ? 4 - quadrant : quadrant) & 3;
}

static pair sine(pair r) {
    double x = r.high, z = x * x, series;
    series = 1.0 / 355687428096000.0;
    series = __builtin_fma(series, z, -1.0 / 1307674368000.0);
    series = __builtin_fma(series, z, 1.0 / 6227020800.0);
    series = __builtin_fma(series, z, -1.0 / 39916800.0);
    series = __builtin_fma(series, z, 1.0 / 362880.0);
    series = __builtin_fma(series, z, -1.0 / 5040.0);
    series = __builtin_fma(series, z, 1.0 / 120.0);
    series = __builtin_fma(series, z, -1.0 / 6.0);
    return ordered_sum(x, __builtin_fma(series, z * x, r.low * __builtin_fma(-0.5, z, 1.0)));
}

static pair cosine(pair r) {
    double x = r.high, series;
    pair half_square = product_of(x, 0.5 * x), sum = ordered_sum(1.0, -half_square.high);
    double z = x * x;
    series = -1.0 / 6402373705728000.0;
    series = __builtin_fma(series, z, 1.0 / 20922789888000.0);
    series = __builtin_fma(series, z, -1.0 / 87178291200.0);
    series = __builtin_fma(series, z, 1.0 / 479001600.0);
    series = __builtin_fma(series, z, -1.0 / 3628800.0);
    series = __builtin_fma(series, z, 1.0 / 40320.0);
    series = __builtin_fma(series, z, -1.0 / 720.0);
    series = __builtin_fma(series, z, 1.0 / 24.0);
    series = __builtin_fma(series, z * z, (sum.low - half_square.low) - x * r.low);
    return ordered_sum(sum.high, series);
}

static double value_of(pair a) {
    return a.high + a.low;
}

static int is_finite(double x) {
    return (bits_of(x) >> 52 & 0x7ff) != 0x7ff;
}

double temper_sin(double x) {
    pair r;
    unsigned quadrant;
    if (!is_finite(x)) {
        return x - x;
    }
    if (__builtin_fabs(x) < 0x1p-27) {
        return x;
    }
    quadrant = reduce(x, &r);
    r = quadrant % 2 == 0 ? sine(r) : cosine(r);
    return quadrant >= 2 ? -value_of(r) : value_of(r);
}

double temper_cos(double x) {
    pair r;
    unsigned quadrant;
    if (!is_finite(x)) {
        return x - x;
    }
    quadrant = reduce(x, &r);
    r = quadrant % 2 == 0 ? cosine(r) : sine(r);
    return quadrant == 1 || quadrant == 2 ? -value_of(r) : value_of(r);
}

double temper_tan(double x) {
    pair r;
    if (!is_finite(x)) {
        return x - x;
    }
    if (__builtin_fabs(x) < 0x1p-27) {
        return x;
    }
    if (reduce(x, &r) % 2 == 0) {
        return value_of(pair_divide(sine(r), cosine(r)));
    }
    return value_of(pair_divide(pair_negate(cosine(r)), sine(r)));
}

/* atan(i / 16) */
static const pair arctangents[17] = {
    {0x0.0p+0, 0x0.0p+0},
    {0x1.ff55bb72cfdeap-5, -0x1.c934d86d23f1dp-60},
    {0x1.fd5ba9aac2f6ep-4, -0x1.cd37686760c17p-59},
    {0x1.7b97b4bce5b02p-3, 0x1.347b0b4f881cap-58},
    {0x1.f5b75f92c80ddp-3, 0x1.8ab6e3cf7afbdp-57},
    {0x1.362773707ebccp-2, -0x1.963a544b672d8p-57},
    {0x1.6f61941e4def1p-2, -0x1.c63aae6f6e918p-56},
    {0x1.a64eec3cc23fdp-2, -0x1.24dec1b50b7ffp-56},
    {0x1.dac670561bb4fp-2, 0x1.a2b7f222f65e2p-56},
    {0x1.0657e94db30d0p-1, -0x1.d5b495f6349e6p-56},
    {0x1.1e00babdefeb4p-1, -0x1.928df287a668fp-58},
    {0x1.345f01cce37bbp-1, 0x1.1021137c71102p-55},
    {0x1.4978fa3269ee1p-1, 0x1.2419a87f2a458p-56},
    {0x1.5d58987169b18p-1, 0x1.0028e4bc5e7cap-57},
    {0x1.700a7c5784634p-1, -0x1.8c34d25aadef6p-56},
    {0x1.819d0b7158a4dp-1, -0x1.bf76229d3b917p-56},
    {0x1.921fb54442d18p-1, 0x1.1a62633145c07p-55},
};

/* atan(y / x) for 0 <= y <= x, x > 0: the nearest sixteenth c is taken off, t = (y - c x) / (x + c y). */
static pair arctangent_of_ratio(pair y, pair x) {
    unsigned sixteenths = (unsigned)(y.high / x.high * 16.0 + 0.5);
    pair c = {sixteenths / 16.0, 0.0}, t;
    double z, series;
    t = pair_divide(pair_add(y, pair_negate(pair_multiply(c, x))), pair_add(x, pair_multiply(c, y)));
    z = t.high * t.high;
    series = 1.0 / 13.0;
    series = __builtin_fma(series, z, -1.0 / 11.0);
    series = __builtin_fma(series, z, 1.0 / 9.0);
    series = __builtin_fma(series, z, -1.0 / 7.0);
    series = __builtin_fma(series, z, 1.0 / 5.0);
    series = __builtin_fma(series, z, -1.0 / 3.0);
    t = ordered_sum(t.high, __builtin_fma(series, z * t.high, t.low));
    return sixteenths == 0 ? t : pair_add(arctangents[sixteenths], t);
}

/* The angle of (x, y), both >= 0 and not both 0, in [0, pi/2]. */
static pair first_quadrant(pair y, pair x) {
    if (y.high > x.high) {
        return pair_add(HALF_PI, pair_negate(arctangent_of_ratio(x, y)));
    }
    return arctangent_of_ratio(y, x);
}

/* The angle of (magnitude of x, sign kept apart; y): folded into the half plane of `x_sign`. */
static pair folded(pair angle, double x_sign) {
    return bits_of(x_sign) >> 63 != 0 ? pair_add(PI, pair_negate(angle)) : angle;
}

static int exponent_of(double x) {
    int exponent = (int)(bits_of(x) >> 52 & 0x7ff);
    return exponent != 0 ? exponent - 1023 : -1022;
}

/* The angle of finite (x, y) > 0, with ratios outside [2^-64, 2^64] answered without dividing. */
static pair angle_of(double y, double x) {
    int apart = exponent_of(y) - exponent_of(x), shift = -exponent_of(y > x ? y : x);
    if (apart > 64 + 54) {
        return HALF_PI;
    }
    if (apart < -64) {
        return (pair){y / x, 0.0};
    }
    return first_quadrant((pair){scaled(y, shift), 0.0}, (pair){scaled(x, shift), 0.0});
}

double temper_atan2(double y, double x) {
    double up = __builtin_fabs(y), along = __builtin_fabs(x);
    pair angle;
    if (x != x || y != y) {
        return x + y;
    }
    if (up == 0.0) {
        angle = (pair){0.0, 0.0};
    } else if (along == 0.0 || (!is_finite(y) && is_finite(x))) {
        angle = HALF_PI;
    } else if (!is_finite(x)) {
        angle = is_finite(y) ? (pair){0.0, 0.0} : arctangents[16];
    } else {
        angle = angle_of(up, along);
    }
    return with_sign_of(value_of(folded(angle, x)), y);
}

double temper_atan(double x) {
    return __builtin_fabs(x) < 0x1p-27 ? x : temper_atan2(x, 1.0);
}

/* sqrt(1 - x^2) for |x| <= 1. */
static pair opposite(double x) {
    pair square = product_of(x, x), rest = pair_add((pair){1.0, 0.0}, pair_negate(square));
    double root = __builtin_sqrt(rest.high), error;
    if (root == 0.0) {
        return (pair){0.0, 0.0};
    }
    error = __builtin_fma(-root, root, rest.high) + rest.low;
    return ordered_sum(root, error / (2.0 * root));
}

double temper_asin(double x) {
    double magnitude = __builtin_fabs(x);
    if (!(magnitude <= 1.0)) {
        return (x - x) / (x - x);
    }
    if (magnitude < 0x1p-27) {
        return x;
    }
    return with_sign_of(value_of(first_quadrant((pair){magnitude, 0.0}, opposite(x))), x);
}

double temper_acos(double x) {
    double magnitude = __builtin_fabs(x);
    if (!(magnitude <= 1.0)) {
        return (x - x) / (x - x);
    }
    return value_of(folded(first_quadrant(opposite(x), (pair){magnitude, 0.0}), x));
}

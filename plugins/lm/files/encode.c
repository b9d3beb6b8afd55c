/* encode.c: f32 to what files store.
 *
 * Invariant: F16 and BF16 are the nearest value, ties to even. Q8_0 is the format's reference quantiser, byte for
 * byte: the scale is the block's greatest magnitude over 127, each value times one over it (before the scale is
 * rounded to F16) goes to the nearest integer, halves away from zero. A value that the type cannot hold is refused. */
#include "internal.h"

#include <string.h>

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Rounds the low `drop` bits off, to nearest even. */
static uint32_t shorten(uint32_t bits, unsigned drop) {
    uint32_t half = 1u << (drop - 1), rest = bits & ((1u << drop) - 1), kept = bits >> drop;
    return kept + (rest > half || (rest == half && (kept & 1u) != 0));
}

uint16_t lm_f16_from_f32(float value) {
    uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu, sign = bits >> 16 & 0x8000u;
    if (magnitude >= 0x7f800000u) {
        return (uint16_t)(sign | (magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u));
    }
    if (magnitude >= 0x477ff000u) { /* 65520 and more round past the greatest */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (magnitude >= 0x38800000u) { /* 2^-14: normal */
        return (uint16_t)(sign | shorten(magnitude - (112u << 23), 13));
    }
    unsigned drop = 126 - (magnitude >> 23); /* a multiple of 2^-24 */
    if (drop > 24) {
        return (uint16_t)sign;
    }
    return (uint16_t)(sign | shorten((magnitude & 0x7fffffu) | 0x800000u, drop));
}

static uint16_t bf16_from_f32(float value) {
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(bits >> 16 | 0x40u);
    }
    return (uint16_t)shorten(bits, 16);
}

/* Halves away from zero; exact for |x| < 2^22. */
static int nearest(float x) {
    float magnitude = x < 0.0f ? -x : x;
    int whole = (int)magnitude;
    whole += magnitude - (float)whole >= 0.5f;
    return x < 0.0f ? -whole : whole;
}

static bool encode_q8_0(const float *values, unsigned char *out) {
    float greatest = 0.0f;
    for (size_t i = 0; i < 32; i++) {
        float magnitude = values[i] < 0.0f ? -values[i] : values[i];
        greatest = magnitude > greatest ? magnitude : greatest;
    }
    float scale = greatest / 127.0f, inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    uint16_t half = lm_f16_from_f32(scale);
    if (half >= 0x7c00u || !(inverse <= 0x1.fffffep127f)) {
        return false;
    }
    memcpy(out, &half, sizeof half);
    for (size_t i = 0; i < 32; i++) {
        int q = nearest(values[i] * inverse);
        out[2 + i] = (unsigned char)(q < 0 ? q + 256 : q);
    }
    return true;
}

static bool all_finite(const float *values, size_t count) {
    bool all = true;
    for (size_t i = 0; i < count; i++) {
        all = all && (bits_of(values[i]) & 0x7f800000u) != 0x7f800000u;
    }
    return all;
}

bool lm_encode(lm_dtype dtype, const float *values, size_t count, void *out) {
    size_t elements, bytes = lm_dtype_block(dtype, &elements);
    unsigned char *at = out;
    if (count % elements != 0 || !all_finite(values, count)) {
        return false;
    }
    for (size_t i = 0; i < count; i += elements, at += bytes) {
        uint16_t narrow;
        switch (dtype) {
        case LM_F32: memcpy(at, &values[i], sizeof(float)); break;
        case LM_F16:
        case LM_BF16:
            narrow = dtype == LM_F16 ? lm_f16_from_f32(values[i]) : bf16_from_f32(values[i]);
            if ((narrow & 0x7fffu) >= (dtype == LM_F16 ? 0x7c00u : 0x7f80u)) {
                return false;
            }
            memcpy(at, &narrow, sizeof narrow);
            break;
        case LM_Q8_0:
            if (!encode_q8_0(values + i, at)) {
                return false;
            }
            break;
        default: return false;
        }
    }
    return true;
}

static double larger(double a, double b) {
    return a > b ? a : b;
}

double lm_encode_error(lm_dtype dtype, const float *values, size_t count) {
    double greatest = 0.0;
    for (size_t i = 0; i < count; i++) {
        greatest = larger(greatest, values[i] < 0.0f ? -(double)values[i] : (double)values[i]);
    }
    switch (dtype) {
    case LM_F16: return larger(greatest * 0x1p-11, 0x1p-25);
    case LM_BF16: return larger(greatest * 0x1p-8, 0x1p-134);
    case LM_Q8_0:
        /* Half a step and the f32 roundings on the way to it; and 127 times what F16 moved the scale by. */
        return greatest / 127.0 * (0.5 + 0x1p-14) + 127.0 * larger(greatest / 127.0 * 0x1p-11, 0x1p-25);
    default: return 0.0;
    }
}

/* q8.h: what q8/1 is made of, for every kernel set: groups, their layout in a packed B, and f16 scales.
 *
 * Invariant: a stored weight is q + 128, q within +-127. One unsigned operand is what vpdpbusd takes and what widens to
 * 16 bits without a sign; the 128 leaves the sum again by -128 times the sum of A's group, an exact integer. */
#ifndef LM_KERNELS_Q8_H
#define LM_KERNELS_Q8_H

#include "kernels.h"

#include <string.h>

enum {
    LM_Q8_GROUP = 32,   /* indices of the reduction that share a scale; the last group may have fewer */
    LM_Q8_OFFSET = 128, /* what is added to a stored weight */
    LM_Q8_SCALES = LM_PANEL * sizeof(uint16_t), /* bytes of a group's scales: they come first */
    LM_Q8_QUAD = LM_PANEL * 4,                  /* bytes of four indices of all columns */
    LM_Q8_GROUP_BYTES = LM_Q8_SCALES + LM_Q8_GROUP / 4 * LM_Q8_QUAD
};
#define LM_Q8_SMALLEST 0x1p-100f /* a group of A whose greatest magnitude is below is all zero */
#define LM_F16_NAN 0x7e00u

static inline size_t lm_q8_quads(size_t count) {
    return (count + 3) / 4;
}

/* Bytes of a panel; group g begins at g * LM_Q8_GROUP_BYTES. */
static inline size_t lm_q8_panel_bytes(size_t k) {
    size_t tail = k % LM_Q8_GROUP;
    return k / LM_Q8_GROUP * LM_Q8_GROUP_BYTES +
           (tail > 0 ? LM_Q8_SCALES + lm_q8_quads(tail) * LM_Q8_QUAD : 0);
}

/* Rounds x >= 0 to f16, nearest, ties to even; NaN becomes the one NaN. */
static inline uint16_t lm_f16_round(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (bits > 0x7f800000u) {
        return LM_F16_NAN;
    }
    if (bits >= 0x477ff000u) { /* half way between the greatest f16 and the next */
        return 0x7c00u;
    }
    if (bits < 0x38800000u) { /* denormal: a multiple of 2^-24; adding 2^23 rounds to a whole one */
        float steps = x * 0x1p24f + 0x1p23f;
        memcpy(&bits, &steps, sizeof bits);
        return (uint16_t)bits;
    }
    return (uint16_t)((bits + 0xfffu + (bits >> 13 & 1u) - 0x38000000u) >> 13);
}

/* Widens what lm_f16_round gives; exact. */
static inline float lm_f16_widen(uint16_t x) {
    uint32_t bits = ((uint32_t)x << 13) + 0x38000000u;
    float wide;
    if (x < 0x0400u) {
        return (float)x * 0x1p-24f;
    }
    if (x >= 0x7c00u) {
        bits = (uint32_t)x << 13 | 0x7f800000u;
    }
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

/* The scale of a group of weights, from the bits of its greatest magnitude. *inverse is 0 where all are stored as 0: a
 * group with an infinity, a NaN, or beyond f16 has the scale NaN. */
static inline uint16_t lm_q8_weight_scale(uint32_t greatest, float *inverse) {
    float top;
    uint16_t scale;
    memcpy(&top, &greatest, sizeof top);
    scale = greatest < 0x7f800000u ? lm_f16_round(top / 127.0f) : LM_F16_NAN;
    scale = scale < 0x7c00u ? scale : LM_F16_NAN;
    *inverse = scale > 0 && scale < 0x7c00u ? 1.0f / lm_f16_widen(scale) : 0.0f;
    return scale;
}

/* The scale of a group of activations, likewise, in f32. */
static inline float lm_q8_activation_scale(uint32_t greatest, float *inverse) {
    const uint32_t nan_bits = 0x7fc00000u;
    float top;
    *inverse = 0.0f;
    if (greatest >= 0x7f800000u) {
        memcpy(&top, &nan_bits, sizeof top);
        return top;
    }
    memcpy(&top, &greatest, sizeof top);
    if (top < LM_Q8_SMALLEST) {
        return 0.0f;
    }
    *inverse = 127.0f / top;
    return top / 127.0f;
}

#endif

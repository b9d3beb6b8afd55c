/* scalar_q8.h: the specification of q8/1, a part of scalar.c. */
#ifndef LM_KERNELS_SCALAR_Q8_H
#define LM_KERNELS_SCALAR_Q8_H

#include "q8.h"

/* Bits of the greatest magnitude: infinity is above all numbers, NaN above infinity. */
static uint32_t q8_greatest(const float *x, size_t step, size_t count) {
    uint32_t greatest_bits = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t magnitude = bits_of(x[i * step]) & 0x7fffffffu;
        greatest_bits = magnitude > greatest_bits ? magnitude : greatest_bits;
    }
    return greatest_bits;
}

/* x times inverse, rounded, to the nearest whole number (ties to even), within +-127. An inverse of 0 gives 0 whatever
 * x is. |x inverse| is below 2^22, where adding the magic number leaves the whole number in the low bits. */
static int32_t q8_whole(float x, float inverse) {
    const float magic = 0x1.8p23f;
    int32_t whole = inverse == 0.0f ? 0 : (int32_t)(bits_of(x * inverse + magic) - bits_of(magic));
    return whole > 127 ? 127 : whole < -127 ? -127 : whole;
}

static void q8_pack(void *packed, const float *b, size_t k, size_t n, size_t stride, bool transposed) {
    size_t step = transposed ? 1 : stride, across = transposed ? stride : 1;
    for (size_t first = 0; first < n; first += LM_PANEL) {
        uint8_t *panel = (uint8_t *)packed + first / LM_PANEL * lm_q8_panel_bytes(k);
        for (size_t start = 0; start < k; start += LM_Q8_GROUP) {
            size_t count = k - start < LM_Q8_GROUP ? k - start : LM_Q8_GROUP;
            uint16_t *scales = (uint16_t *)(void *)(panel + start / LM_Q8_GROUP * LM_Q8_GROUP_BYTES);
            uint8_t *weights = (uint8_t *)scales + LM_Q8_SCALES;
            memset(scales, 0, LM_Q8_SCALES);
            memset(weights, LM_Q8_OFFSET, lm_q8_quads(count) * LM_Q8_QUAD);
            for (size_t j = 0; j < LM_PANEL && first + j < n; j++) {
                const float *x = b + (first + j) * across + start * step;
                float inverse;
                scales[j] = lm_q8_weight_scale(q8_greatest(x, step, count), &inverse);
                for (size_t i = 0; i < count; i++) {
                    weights[i / 4 * LM_Q8_QUAD + 4 * j + i % 4] =
                        (uint8_t)(q8_whole(x[i * step], inverse) + LM_Q8_OFFSET);
                }
            }
        }
    }
}

/* acc = fma(scale of A * scale of B, dot, acc), group after group. */
static void q8_multiply(size_t m, size_t n, size_t k, const float *a, size_t a_stride, bool a_transposed,
                        const void *packed, float *c, size_t c_stride, bool accumulate, void *scratch) {
    size_t step = a_transposed ? a_stride : 1, row = a_transposed ? 1 : a_stride;
    (void)scratch;
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n && !accumulate; j++) {
            c[i * c_stride + j] = 0.0f;
        }
        for (size_t start = 0; start < k; start += LM_Q8_GROUP) {
            const float *x = a + i * row + start * step;
            size_t count = k - start < LM_Q8_GROUP ? k - start : LM_Q8_GROUP;
            int32_t left[LM_Q8_GROUP];
            float inverse, scale = lm_q8_activation_scale(q8_greatest(x, step, count), &inverse);
            for (size_t l = 0; l < count; l++) {
                left[l] = q8_whole(x[l * step], inverse);
            }
            for (size_t j = 0; j < n; j++) {
                const uint8_t *group = (const uint8_t *)packed + j / LM_PANEL * lm_q8_panel_bytes(k) +
                                       start / LM_Q8_GROUP * LM_Q8_GROUP_BYTES;
                const uint16_t *scales = (const uint16_t *)(const void *)group;
                const uint8_t *column = group + LM_Q8_SCALES + j % LM_PANEL * 4;
                float both = scale * lm_f16_widen(scales[j % LM_PANEL]);
                int32_t dot = 0;
                for (size_t l = 0; l < count; l++) {
                    dot += left[l] * (column[l / 4 * LM_Q8_QUAD + l % 4] - LM_Q8_OFFSET);
                }
                c[i * c_stride + j] = FMA(both, (float)dot, c[i * c_stride + j]);
            }
        }
    }
}

static void q8_round(float *out, const float *x, size_t n) {
    for (size_t start = 0; start < n; start += LM_Q8_GROUP) {
        size_t count = n - start < LM_Q8_GROUP ? n - start : LM_Q8_GROUP;
        float inverse, scale = lm_q8_activation_scale(q8_greatest(x + start, 1, count), &inverse);
        for (size_t i = start; i < start + count; i++) {
            out[i] = scale * (float)q8_whole(x[i], inverse);
        }
    }
}

#endif

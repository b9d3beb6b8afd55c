/* bf16.h: the rounding of bf16/1's operands, for every kernel set.
 *
 * Nearest, ties to even; NaN becomes 0x7fc0; a magnitude below 2^-62 becomes zero of the same sign. With
 * that floor every product is a multiple of 2^-138, so no sum in the denormal range is ever rounded, and
 * it does not matter whether a machine looks for underflow before or after rounding. */
#ifndef LM_KERNELS_BF16_H
#define LM_KERNELS_BF16_H

#include <stdint.h>
#include <string.h>

#define LM_BF16_NAN 0x7fc0u
#define LM_BF16_SMALLEST 0x20800000u /* the bits of 2^-62 in f32 */

static inline uint16_t lm_bf16_round(float x) {
    uint32_t bits, magnitude;
    memcpy(&bits, &x, sizeof bits);
    magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return LM_BF16_NAN;
    }
    if (magnitude < LM_BF16_SMALLEST) {
        return (uint16_t)(bits >> 16 & 0x8000u);
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline float lm_bf16_widen(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

#endif

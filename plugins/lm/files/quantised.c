/* quantised.c: GGUF's blocks of small integers as f32.
 *
 * Invariant: the values are those the format defines, to the last bit, and in whatever order a reader multiplies: a
 * scale of 11 bits times a scale of 6 or 8 times a weight of at most 6 has at most 24, so every product is exact in
 * f32, and the one subtraction (of a block's minimum) is the only rounding there is. Bytes need no alignment.
 *
 * Layouts (a block, little-endian; the sizes stand in tensor.c):
 *   Q8_0  d f16, 32 x i8                                            w = d q
 *   Q4_0  d f16, 16 bytes: low halves are values 0..15, high 16..31  w = d (q - 8)
 *   Q4_K  d, m f16, 12 bytes of 8 scales and 8 minima in 6 bits, 128 bytes of 4-bit values
 *                                                                   w = (d s) q - (m n)
 *   Q5_K  the same, with 32 bytes of fifth bits before the values
 *   Q6_K  128 bytes of low 4 bits, 64 bytes of high 2 bits, 16 x i8 scales, d f16
 *                                                                   w = (d s) (q - 32) */
#include "internal.h"

#include <string.h>

static float half_at(const unsigned char *bytes) {
    uint16_t half;
    memcpy(&half, bytes, sizeof half);
    return lm_f32_from_f16(half);
}

static int signed_byte(unsigned char byte) {
    return byte < 128 ? byte : (int)byte - 256;
}

static void read_q8_0(const unsigned char *block, float *out) {
    float scale = half_at(block);
    for (size_t i = 0; i < 32; i++) {
        out[i] = scale * (float)signed_byte(block[2 + i]);
    }
}

static void read_q4_0(const unsigned char *block, float *out) {
    float scale = half_at(block);
    for (size_t i = 0; i < 16; i++) {
        out[i] = scale * (float)((int)(block[2 + i] & 15) - 8);
        out[16 + i] = scale * (float)((int)(block[2 + i] >> 4) - 8);
    }
}

/* Scale and minimum of group g (of 32 values): the first four lie in the low 6 bits of bytes 0..3 and 4..7; the low
 * 4 bits of the others in bytes 8..11, their high 2 bits on top of the first four. */
static void group_scales(const unsigned char *packed, size_t g, unsigned *scale, unsigned *minimum) {
    if (g < 4) {
        *scale = packed[g] & 63u;
        *minimum = packed[g + 4] & 63u;
    } else {
        *scale = (packed[g + 4] & 15u) | (unsigned)(packed[g - 4] >> 6) << 4;
        *minimum = (unsigned)(packed[g + 4] >> 4) | (unsigned)(packed[g] >> 6) << 4;
    }
}

/* Q4_K, and Q5_K with `fifth` bits: byte i of pair p of groups has the values i of group 2p (low) and 2p + 1 (high). */
static void read_k(const unsigned char *block, const unsigned char *fifth, const unsigned char *values,
                   float *out) {
    float scale = half_at(block), minimum = half_at(block + 2);
    for (size_t g = 0; g < 8; g++) {
        unsigned s, n;
        group_scales(block + 4, g, &s, &n);
        float step = scale * (float)s, floor_of = minimum * (float)n;
        for (size_t i = 0; i < 32; i++) {
            unsigned byte = values[g / 2 * 32 + i], q = g % 2 == 0 ? byte & 15u : byte >> 4;
            q += fifth != NULL && (fifth[i] >> g & 1u) != 0 ? 16u : 0u;
            out[g * 32 + i] = step * (float)q - floor_of;
        }
    }
}

/* Two halves of 128 values; in each, four runs of 32: low bits in the low halves of 64 bytes, then in the high ones. */
static void read_q6_k(const unsigned char *block, float *out) {
    const unsigned char *low = block, *high = block + 128, *scales = block + 192;
    float scale = half_at(block + 208);
    for (size_t i = 0; i < 256; i++) {
        size_t half = i / 128, run = i % 128 / 32, at = i % 32;
        unsigned byte = low[half * 64 + run % 2 * 32 + at];
        unsigned q = (run < 2 ? byte & 15u : byte >> 4) | (high[half * 32 + at] >> (2 * run) & 3u) << 4;
        out[i] = scale * (float)signed_byte(scales[i / 16]) * (float)((int)q - 32);
    }
}

void lm_quantised_read(lm_dtype dtype, const unsigned char *block, float *out) {
    switch (dtype) {
    case LM_Q8_0: read_q8_0(block, out); break;
    case LM_Q4_0: read_q4_0(block, out); break;
    case LM_Q4_K: read_k(block, NULL, block + 16, out); break;
    case LM_Q5_K: read_k(block, block + 16, block + 48, out); break;
    default: read_q6_k(block, out); break;
    }
}

/* tensor.c: elements of a tensor as f32.
 *
 * Invariant: widening is exact (every f16 and bf16 value, subnormal, infinite or NaN, is an f32 value), and reads
 * need no alignment: files promise none. Blocks are widened by quantised.c. */
#include "files.h"
#include "internal.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "model files are little-endian and are read as they lie; this machine is not"
#endif

static const struct {
    const char *name;
    size_t elements, bytes; /* of a block */
} dtypes[LM_DTYPE_COUNT] = {
    [LM_F32] = {"F32", 1, 4},       [LM_F16] = {"F16", 1, 2},       [LM_BF16] = {"BF16", 1, 2},
    [LM_Q8_0] = {"Q8_0", 32, 34},   [LM_Q4_0] = {"Q4_0", 32, 18},   [LM_Q4_K] = {"Q4_K", 256, 144},
    [LM_Q5_K] = {"Q5_K", 256, 176}, [LM_Q6_K] = {"Q6_K", 256, 210},
};

size_t lm_dtype_block(lm_dtype dtype, size_t *elements) {
    *elements = dtypes[dtype].elements;
    return dtypes[dtype].bytes;
}

size_t lm_dtype_size(lm_dtype dtype) {
    return dtypes[dtype].elements == 1 ? dtypes[dtype].bytes : 0;
}

const char *lm_dtype_name(lm_dtype dtype) {
    return dtypes[dtype].name;
}

size_t lm_tensor_elements(const lm_tensor *tensor) {
    size_t elements = 1;
    for (unsigned i = 0; i < tensor->rank; i++) {
        elements *= tensor->shape[i];
    }
    return elements;
}

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float lm_f32_from_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 31u;
    uint32_t fraction = half & 1023u;
    if (exponent == 31) {
        return from_bits(sign | 0x7f800000u | fraction << 13);
    }
    if (exponent != 0) {
        return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    }
    /* Zero and subnormals: fraction * 2^-24, a product that is exact in f32. */
    float magnitude = (float)fraction * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
}

/* Whole blocks go straight out; the first and the last may be wanted in part. */
static void read_blocks(const lm_tensor *tensor, size_t first, size_t count, float *out) {
    size_t elements, bytes = lm_dtype_block(tensor->dtype, &elements);
    const unsigned char *block = (const unsigned char *)tensor->data + first / elements * bytes;
    size_t skip = first % elements;
    float values[LM_MAX_BLOCK];
    while (count > 0) {
        size_t wanted = elements - skip < count ? elements - skip : count;
        if (wanted == elements) {
            lm_quantised_read(tensor->dtype, block, out);
        } else {
            lm_quantised_read(tensor->dtype, block, values);
            memcpy(out, values + skip, wanted * sizeof *out);
        }
        out += wanted;
        count -= wanted;
        block += bytes;
        skip = 0;
    }
}

void lm_tensor_read(const lm_tensor *tensor, size_t first, size_t count, float *out) {
    const unsigned char *bytes = tensor->data;
    size_t size = lm_dtype_size(tensor->dtype);
    if (count == 0) {
        return;
    }
    if (size == 0) {
        read_blocks(tensor, first, count, out);
        return;
    }
    bytes += first * size;
    if (tensor->dtype == LM_F32) {
        memcpy(out, bytes, count * sizeof *out);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t narrow;
        memcpy(&narrow, bytes + 2 * i, sizeof narrow);
        out[i] = tensor->dtype == LM_F16 ? lm_f32_from_f16(narrow) : from_bits((uint32_t)narrow << 16);
    }
}

/* tensor.c: elements of a tensor as f32.
 *
 * Invariant: widening is exact (every f16 and bf16 value, subnormal, infinite or NaN, is an f32 value), and reads
 * need no alignment: files promise none. */
#include "files.h"
#include "internal.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "model files are little-endian and are read as they lie; this machine is not"
#endif

size_t lm_dtype_size(lm_dtype dtype) {
    return dtype == LM_F32 ? 4 : 2;
}

const char *lm_dtype_name(lm_dtype dtype) {
    return dtype == LM_F32 ? "F32" : dtype == LM_F16 ? "F16" : "BF16";
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

static float from_half(uint16_t half) {
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

void lm_tensor_read(const lm_tensor *tensor, size_t first, size_t count, float *out) {
    const unsigned char *bytes = tensor->data;
    if (count == 0) {
        return;
    }
    bytes += first * lm_dtype_size(tensor->dtype);
    if (tensor->dtype == LM_F32) {
        memcpy(out, bytes, count * sizeof *out);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t narrow;
        memcpy(&narrow, bytes + 2 * i, sizeof narrow);
        out[i] = tensor->dtype == LM_F16 ? from_half(narrow) : from_bits((uint32_t)narrow << 16);
    }
}

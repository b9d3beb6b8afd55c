/* vector_neon.h: sixteen f32 lanes in four registers of Advanced SIMD on AArch64. The names are those that rows.h
 * and pack.h are written in; vector_avx512.h has the same. Each is one IEEE operation a lane, or bits. */
#ifndef LM_KERNELS_VECTOR_H
#define LM_KERNELS_VECTOR_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct v16 { /* 16 f32 */
    float32x4_t quarter[4];
} v16;
typedef struct i16 { /* 16 int32 or uint32 */
    uint32x4_t quarter[4];
} i16;
typedef i16 m16; /* a truth value a lane: all bits or none */

#define V_UNARY(name, operation)                                                                             \
    static inline v16 name(v16 a) {                                                                          \
        return (v16){{operation(a.quarter[0]), operation(a.quarter[1]), operation(a.quarter[2]),             \
                      operation(a.quarter[3])}};                                                             \
    }
#define V_BINARY(result, name, type, operation)                                                              \
    static inline result name(type a, type b) {                                                              \
        return (result){{operation(a.quarter[0], b.quarter[0]), operation(a.quarter[1], b.quarter[1]),       \
                         operation(a.quarter[2], b.quarter[2]), operation(a.quarter[3], b.quarter[3])}};     \
    }
#define V_TERNARY(result, name, first, type, operation)                                                      \
    static inline result name(first a, type b, type c) {                                                     \
        return (result){{operation(a.quarter[0], b.quarter[0], c.quarter[0]),                                \
                         operation(a.quarter[1], b.quarter[1], c.quarter[1]),                                \
                         operation(a.quarter[2], b.quarter[2], c.quarter[2]),                                \
                         operation(a.quarter[3], b.quarter[3], c.quarter[3])}};                              \
    }

static inline float32x4_t quarter_fma(float32x4_t a, float32x4_t b, float32x4_t c) {
    return vfmaq_f32(c, a, b);
}
static inline float32x4_t quarter_fnma(float32x4_t a, float32x4_t b, float32x4_t c) {
    return vfmsq_f32(c, a, b);
}
static inline float32x4_t quarter_fms(float32x4_t a, float32x4_t b, float32x4_t c) {
    return vfmaq_f32(vnegq_f32(c), a, b); /* a change of sign is not a rounding */
}
/* The instructions for a maximum let a NaN win: compare and select instead. */
static inline float32x4_t quarter_greater(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
static inline float32x4_t quarter_lesser(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcltq_f32(a, b), a, b);
}
static inline uint32x4_t quarter_above(uint32x4_t a, uint32x4_t b) {
    return vcgtq_s32(vreinterpretq_s32_u32(a), vreinterpretq_s32_u32(b));
}

static inline v16 v_set(float x) {
    float32x4_t quarter = vdupq_n_f32(x);
    return (v16){{quarter, quarter, quarter, quarter}};
}
static inline i16 i_set(uint32_t x) {
    uint32x4_t quarter = vdupq_n_u32(x);
    return (i16){{quarter, quarter, quarter, quarter}};
}
static inline m16 v_first(size_t n) { /* the first n lanes, n <= 16 */
    static const uint32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    uint32x4_t count = vdupq_n_u32((uint32_t)n);
    return (m16){{vcgtq_u32(count, vld1q_u32(lane)), vcgtq_u32(count, vld1q_u32(lane + 4)),
                  vcgtq_u32(count, vld1q_u32(lane + 8)), vcgtq_u32(count, vld1q_u32(lane + 12))}};
}
static inline v16 v_load(const float *p) {
    return (v16){{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}};
}
static inline void v_store(float *p, v16 x) {
    vst1q_f32(p, x.quarter[0]);
    vst1q_f32(p + 4, x.quarter[1]);
    vst1q_f32(p + 8, x.quarter[2]);
    vst1q_f32(p + 12, x.quarter[3]);
}
static inline void i_store(void *p, i16 x) {
    uint32_t *out = p;
    vst1q_u32(out, x.quarter[0]);
    vst1q_u32(out + 4, x.quarter[1]);
    vst1q_u32(out + 8, x.quarter[2]);
    vst1q_u32(out + 12, x.quarter[3]);
}
static inline v16 v_load_first(const float *p, size_t n) { /* other lanes are 0 and not read */
    float lanes[16] = {0};
    memcpy(lanes, p, n * sizeof *p);
    return v_load(lanes);
}
static inline void v_store_first(float *p, v16 x, size_t n) {
    float lanes[16];
    v_store(lanes, x);
    memcpy(p, lanes, n * sizeof *p);
}
V_BINARY(v16, v_add, v16, vaddq_f32)
V_BINARY(v16, v_sub, v16, vsubq_f32)
V_BINARY(v16, v_mul, v16, vmulq_f32)
V_BINARY(v16, v_div, v16, vdivq_f32)
V_UNARY(v_sqrt, vsqrtq_f32)
V_TERNARY(v16, v_fma, v16, v16, quarter_fma)      /* a b + c */
V_TERNARY(v16, v_fnma, v16, v16, quarter_fnma)    /* -(a b) + c */
V_TERNARY(v16, v_fms, v16, v16, quarter_fms)      /* a b - c */
V_BINARY(v16, v_greater_of, v16, quarter_greater) /* a > b ? a : b */
V_BINARY(v16, v_lesser_of, v16, quarter_lesser)   /* a < b ? a : b */
V_BINARY(m16, v_less, v16, vcltq_f32)
V_BINARY(m16, v_equal, v16, vceqq_f32)
V_TERNARY(v16, v_choose, m16, v16, vbslq_f32)
V_TERNARY(i16, i_choose, m16, i16, vbslq_u32)
static inline i16 v_bits(v16 x) {
    return (i16){{vreinterpretq_u32_f32(x.quarter[0]), vreinterpretq_u32_f32(x.quarter[1]),
                  vreinterpretq_u32_f32(x.quarter[2]), vreinterpretq_u32_f32(x.quarter[3])}};
}
static inline v16 i_float_of(i16 bits) { /* the same bits */
    return (v16){{vreinterpretq_f32_u32(bits.quarter[0]), vreinterpretq_f32_u32(bits.quarter[1]),
                  vreinterpretq_f32_u32(bits.quarter[2]), vreinterpretq_f32_u32(bits.quarter[3])}};
}
static inline float32x4_t quarter_convert(uint32x4_t x) {
    return vcvtq_f32_s32(vreinterpretq_s32_u32(x));
}
static inline v16 i_convert(i16 x) { /* int32 to f32 */
    return (v16){{quarter_convert(x.quarter[0]), quarter_convert(x.quarter[1]), quarter_convert(x.quarter[2]),
                  quarter_convert(x.quarter[3])}};
}
V_BINARY(i16, i_add, i16, vaddq_u32)
V_BINARY(i16, i_sub, i16, vsubq_u32)
V_BINARY(i16, i_and, i16, vandq_u32)
V_BINARY(i16, i_or, i16, vorrq_u32)
V_BINARY(m16, i_greater, i16, quarter_above) /* signed */
static inline uint32_t i_greatest(i16 x) {   /* of all lanes, signed */
    int32x4_t four =
        vmaxq_s32(vmaxq_s32(vreinterpretq_s32_u32(x.quarter[0]), vreinterpretq_s32_u32(x.quarter[1])),
                  vmaxq_s32(vreinterpretq_s32_u32(x.quarter[2]), vreinterpretq_s32_u32(x.quarter[3])));
    return (uint32_t)vmaxvq_s32(four);
}
static inline uint32_t i_total(i16 x) { /* of all lanes */
    return vaddvq_u32(
        vaddq_u32(vaddq_u32(x.quarter[0], x.quarter[1]), vaddq_u32(x.quarter[2], x.quarter[3])));
}
static inline void i_store_bytes(void *p, i16 x) { /* the low byte of each lane */
    uint16x8_t low = vcombine_u16(vmovn_u32(x.quarter[0]), vmovn_u32(x.quarter[1]));
    uint16x8_t high = vcombine_u16(vmovn_u32(x.quarter[2]), vmovn_u32(x.quarter[3]));
    vst1q_u8(p, vcombine_u8(vmovn_u16(low), vmovn_u16(high)));
}
static inline i16 i_shift_left(i16 x, int count) {
    return (i16){
        {x.quarter[0] << count, x.quarter[1] << count, x.quarter[2] << count, x.quarter[3] << count}};
}
static inline i16 i_shift_right(i16 x, int count) {
    return (i16){
        {x.quarter[0] >> count, x.quarter[1] >> count, x.quarter[2] >> count, x.quarter[3] >> count}};
}
static inline uint32x4_t quarter_shift_signed(uint32x4_t x, int count) {
    return vreinterpretq_u32_s32(vreinterpretq_s32_u32(x) >> count);
}
static inline i16 i_shift_right_signed(i16 x, int count) {
    return (i16){{quarter_shift_signed(x.quarter[0], count), quarter_shift_signed(x.quarter[1], count),
                  quarter_shift_signed(x.quarter[2], count), quarter_shift_signed(x.quarter[3], count)}};
}

/* Stripe s += stripe s + 8, then + 4, + 2, + 1. */
static inline float v_tree(v16 x) {
    float32x4_t four =
        vaddq_f32(vaddq_f32(x.quarter[0], x.quarter[2]), vaddq_f32(x.quarter[1], x.quarter[3]));
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

/* Thirty-two neighbours, in order: those at even places and those at odd ones. */
static inline void v_deinterleave(v16 first, v16 second, v16 *even, v16 *odd) {
    for (int i = 0; i < 2; i++) {
        even->quarter[i] = vuzp1q_f32(first.quarter[2 * i], first.quarter[2 * i + 1]);
        odd->quarter[i] = vuzp2q_f32(first.quarter[2 * i], first.quarter[2 * i + 1]);
        even->quarter[2 + i] = vuzp1q_f32(second.quarter[2 * i], second.quarter[2 * i + 1]);
        odd->quarter[2 + i] = vuzp2q_f32(second.quarter[2 * i], second.quarter[2 * i + 1]);
    }
}

/* Four rows of four: row i lane j becomes row j lane i. */
static inline void transpose_four(float32x4_t row[4]) {
    float64x2_t low[2], high[2];
    for (int i = 0; i < 2; i++) { /* lanes 0 and 2 of two rows side by side, then 1 and 3 */
        low[i] = vreinterpretq_f64_f32(vtrn1q_f32(row[2 * i], row[2 * i + 1]));
        high[i] = vreinterpretq_f64_f32(vtrn2q_f32(row[2 * i], row[2 * i + 1]));
    }
    row[0] = vreinterpretq_f32_f64(vtrn1q_f64(low[0], low[1]));
    row[1] = vreinterpretq_f32_f64(vtrn1q_f64(high[0], high[1]));
    row[2] = vreinterpretq_f32_f64(vtrn2q_f64(low[0], low[1]));
    row[3] = vreinterpretq_f32_f64(vtrn2q_f64(high[0], high[1]));
}

/* rows[i] lane j becomes rows[j] lane i. */
static inline void v_transpose(v16 rows[16]) {
    v16 turned[16];
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
            float32x4_t square[4];
            for (int r = 0; r < 4; r++) {
                square[r] = rows[4 * i + r].quarter[j];
            }
            transpose_four(square);
            for (int r = 0; r < 4; r++) {
                turned[4 * j + r].quarter[i] = square[r];
            }
        }
    }
    memcpy(rows, turned, sizeof turned);
}

#endif

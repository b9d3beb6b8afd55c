/* vector_avx2.h: sixteen f32 lanes in two AVX2 registers. The names are those that rows.h and pack.h are
 * written in; vector_avx512.h has the same. Each is one IEEE operation a lane, or bits. */
#ifndef LM_KERNELS_VECTOR_H
#define LM_KERNELS_VECTOR_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

typedef struct v16 { /* 16 f32 */
    __m256 low, high;
} v16;
typedef struct i16 { /* 16 int32 or uint32 */
    __m256i low, high;
} i16;
typedef struct m16 { /* a truth value a lane: all bits or none */
    __m256 low, high;
} m16;

#define V_UNARY(name, operation)                                                                             \
    static inline v16 name(v16 a) {                                                                          \
        return (v16){operation(a.low), operation(a.high)};                                                   \
    }
#define V_BINARY(name, operation)                                                                            \
    static inline v16 name(v16 a, v16 b) {                                                                   \
        return (v16){operation(a.low, b.low), operation(a.high, b.high)};                                    \
    }
#define V_TERNARY(name, operation)                                                                           \
    static inline v16 name(v16 a, v16 b, v16 c) {                                                            \
        return (v16){operation(a.low, b.low, c.low), operation(a.high, b.high, c.high)};                     \
    }
#define I_BINARY(name, operation)                                                                            \
    static inline i16 name(i16 a, i16 b) {                                                                   \
        return (i16){operation(a.low, b.low), operation(a.high, b.high)};                                    \
    }

static inline i16 i_set(uint32_t x) {
    return (i16){_mm256_set1_epi32((int)x), _mm256_set1_epi32((int)x)};
}
static inline m16 v_first(size_t n) { /* the first n lanes, n <= 16 */
    __m256i count = _mm256_set1_epi32((int)n);
    return (m16){
        _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))),
        _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)))};
}
static inline v16 v_load(const float *p) {
    return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static inline void v_store(float *p, v16 x) {
    _mm256_storeu_ps(p, x.low);
    _mm256_storeu_ps(p + 8, x.high);
}
static inline v16 v_load_first(const float *p, size_t n) { /* other lanes are 0 and not read */
    m16 m = v_first(n);
    return (v16){_mm256_maskload_ps(p, _mm256_castps_si256(m.low)),
                 _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.high))};
}
static inline void v_store_first(float *p, v16 x, size_t n) {
    m16 m = v_first(n);
    _mm256_maskstore_ps(p, _mm256_castps_si256(m.low), x.low);
    _mm256_maskstore_ps(p + 8, _mm256_castps_si256(m.high), x.high);
}
static inline void i_store(void *p, i16 x) {
    _mm256_storeu_si256((__m256i *)p, x.low);
    _mm256_storeu_si256((__m256i *)p + 1, x.high);
}
static inline v16 v_set(float x) {
    return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
V_BINARY(v_add, _mm256_add_ps)
V_BINARY(v_sub, _mm256_sub_ps)
V_BINARY(v_mul, _mm256_mul_ps)
V_BINARY(v_div, _mm256_div_ps)
V_UNARY(v_sqrt, _mm256_sqrt_ps)
V_TERNARY(v_fma, _mm256_fmadd_ps)     /* a b + c */
V_TERNARY(v_fnma, _mm256_fnmadd_ps)   /* -(a b) + c */
V_TERNARY(v_fms, _mm256_fmsub_ps)     /* a b - c */
V_BINARY(v_greater_of, _mm256_max_ps) /* a > b ? a : b */
V_BINARY(v_lesser_of, _mm256_min_ps)  /* a < b ? a : b */
static inline m16 v_less(v16 a, v16 b) {
    return (m16){_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ)};
}
static inline m16 v_equal(v16 a, v16 b) {
    return (m16){_mm256_cmp_ps(a.low, b.low, _CMP_EQ_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_EQ_OQ)};
}
static inline v16 v_choose(m16 m, v16 yes, v16 no) {
    return (v16){_mm256_blendv_ps(no.low, yes.low, m.low), _mm256_blendv_ps(no.high, yes.high, m.high)};
}
static inline i16 v_bits(v16 x) {
    return (i16){_mm256_castps_si256(x.low), _mm256_castps_si256(x.high)};
}
static inline v16 i_float_of(i16 bits) { /* the same bits */
    return (v16){_mm256_castsi256_ps(bits.low), _mm256_castsi256_ps(bits.high)};
}
static inline i16 i_choose(m16 m, i16 yes, i16 no) {
    return v_bits(v_choose(m, i_float_of(yes), i_float_of(no)));
}
static inline void i_store_first(void *p, i16 x, size_t n) {
    v_store_first(p, i_float_of(x), n);
}
static inline v16 i_convert(i16 x) { /* int32 to f32 */
    return (v16){_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)};
}
I_BINARY(i_add, _mm256_add_epi32)
I_BINARY(i_sub, _mm256_sub_epi32)
I_BINARY(i_and, _mm256_and_si256)
I_BINARY(i_or, _mm256_or_si256)
static inline m16 i_greater(i16 a, i16 b) { /* signed */
    return (m16){_mm256_castsi256_ps(_mm256_cmpgt_epi32(a.low, b.low)),
                 _mm256_castsi256_ps(_mm256_cmpgt_epi32(a.high, b.high))};
}
static inline uint32_t i_greatest(i16 x) { /* of all lanes, signed */
    __m256i eight = _mm256_max_epi32(x.low, x.high);
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}
static inline uint32_t i_total(i16 x) { /* of all lanes */
    __m256i eight = _mm256_add_epi32(x.low, x.high);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}
static inline void i_store_bytes(void *p, i16 x) { /* the low byte of each lane */
    const __m256i bytes = _mm256_set1_epi32(0x0c080400);
    __m256i low = _mm256_shuffle_epi8(x.low, bytes), high = _mm256_shuffle_epi8(x.high, bytes);
    __m128i halves = _mm_unpacklo_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    __m128i others = _mm_unpacklo_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
    _mm_storeu_si128(p, _mm_unpacklo_epi64(halves, others));
}
static inline i16 i_shift_left(i16 x, int count) {
    return (i16){_mm256_slli_epi32(x.low, count), _mm256_slli_epi32(x.high, count)};
}
static inline i16 i_shift_right(i16 x, int count) {
    return (i16){_mm256_srli_epi32(x.low, count), _mm256_srli_epi32(x.high, count)};
}
static inline i16 i_shift_right_signed(i16 x, int count) {
    return (i16){_mm256_srai_epi32(x.low, count), _mm256_srai_epi32(x.high, count)};
}

/* Stripe s += stripe s + 8, then + 4, + 2, + 1. */
static inline float v_tree(v16 x) {
    __m256 eight = _mm256_add_ps(x.low, x.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline void transpose_eight(__m256 r[8]) {
    __m256 t[8], u[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        u[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(t[i]), _mm256_castps_pd(t[i + 2])));
        u[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(t[i]), _mm256_castps_pd(t[i + 2])));
        u[i + 2] =
            _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(t[i + 1]), _mm256_castps_pd(t[i + 3])));
        u[i + 3] =
            _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(t[i + 1]), _mm256_castps_pd(t[i + 3])));
    }
    for (int c = 0; c < 4; c++) {
        r[c] = _mm256_permute2f128_ps(u[c], u[4 + c], 0x20);
        r[4 + c] = _mm256_permute2f128_ps(u[c], u[4 + c], 0x31);
    }
}

static inline __m256 in_order(__m256 x) { /* 64-bit quarters 0 2 1 3 */
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), 0xd8));
}

/* Thirty-two neighbours, in order: those at even places and those at odd ones. */
static inline void v_deinterleave(v16 first, v16 second, v16 *even, v16 *odd) {
    *even = (v16){in_order(_mm256_shuffle_ps(first.low, first.high, 0x88)),
                  in_order(_mm256_shuffle_ps(second.low, second.high, 0x88))};
    *odd = (v16){in_order(_mm256_shuffle_ps(first.low, first.high, 0xdd)),
                 in_order(_mm256_shuffle_ps(second.low, second.high, 0xdd))};
}

/* rows[i] lane j becomes rows[j] lane i. */
static inline void v_transpose(v16 rows[16]) {
    __m256 quarter[4][8]; /* [lanes 8 half][rows 8 half] */
    for (int i = 0; i < 8; i++) {
        quarter[0][i] = rows[i].low, quarter[1][i] = rows[8 + i].low;
        quarter[2][i] = rows[i].high, quarter[3][i] = rows[8 + i].high;
    }
    for (int i = 0; i < 4; i++) {
        transpose_eight(quarter[i]);
    }
    for (int i = 0; i < 8; i++) {
        rows[i] = (v16){quarter[0][i], quarter[1][i]};
        rows[8 + i] = (v16){quarter[2][i], quarter[3][i]};
    }
}

#endif

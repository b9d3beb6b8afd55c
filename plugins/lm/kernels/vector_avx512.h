/* vector_avx512.h: sixteen f32 lanes in one AVX-512 register. The names are those that rows.h and pack.h are
 * written in; vector_avx2.h has the same. Each is one IEEE operation a lane, or bits. */
#ifndef LM_KERNELS_VECTOR_H
#define LM_KERNELS_VECTOR_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

typedef __m512 v16;    /* 16 f32 */
typedef __m512i i16;   /* 16 int32 or uint32 */
typedef __mmask16 m16; /* a truth value a lane */

static inline m16 v_first(size_t n) { /* the first n lanes, n <= 16 */
    return (m16)((1u << n) - 1u);
}
static inline v16 v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline void v_store(float *p, v16 x) {
    _mm512_storeu_ps(p, x);
}
static inline v16 v_load_first(const float *p, size_t n) { /* other lanes are 0 and not read */
    return _mm512_maskz_loadu_ps(v_first(n), p);
}
static inline void v_store_first(float *p, v16 x, size_t n) {
    _mm512_mask_storeu_ps(p, v_first(n), x);
}
static inline void i_store(void *p, i16 x) {
    _mm512_storeu_si512(p, x);
}
static inline void i_store_first(void *p, i16 x, size_t n) {
    _mm512_mask_storeu_epi32(p, v_first(n), x);
}
static inline v16 v_set(float x) {
    return _mm512_set1_ps(x);
}
static inline i16 i_set(uint32_t x) {
    return _mm512_set1_epi32((int)x);
}
static inline v16 v_add(v16 a, v16 b) {
    return _mm512_add_ps(a, b);
}
static inline v16 v_sub(v16 a, v16 b) {
    return _mm512_sub_ps(a, b);
}
static inline v16 v_mul(v16 a, v16 b) {
    return _mm512_mul_ps(a, b);
}
static inline v16 v_div(v16 a, v16 b) {
    return _mm512_div_ps(a, b);
}
static inline v16 v_sqrt(v16 a) {
    return _mm512_sqrt_ps(a);
}
static inline v16 v_fma(v16 a, v16 b, v16 c) { /* a b + c */
    return _mm512_fmadd_ps(a, b, c);
}
static inline v16 v_fnma(v16 a, v16 b, v16 c) { /* -(a b) + c */
    return _mm512_fnmadd_ps(a, b, c);
}
static inline v16 v_fms(v16 a, v16 b, v16 c) { /* a b - c */
    return _mm512_fmsub_ps(a, b, c);
}
static inline v16 v_greater_of(v16 a, v16 b) { /* a > b ? a : b */
    return _mm512_max_ps(a, b);
}
static inline v16 v_lesser_of(v16 a, v16 b) { /* a < b ? a : b */
    return _mm512_min_ps(a, b);
}
static inline m16 v_less(v16 a, v16 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
static inline m16 v_equal(v16 a, v16 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
static inline v16 v_choose(m16 m, v16 yes, v16 no) {
    return _mm512_mask_blend_ps(m, no, yes);
}
static inline i16 i_choose(m16 m, i16 yes, i16 no) {
    return _mm512_mask_blend_epi32(m, no, yes);
}
static inline i16 v_bits(v16 x) {
    return _mm512_castps_si512(x);
}
static inline v16 i_float_of(i16 bits) { /* the same bits */
    return _mm512_castsi512_ps(bits);
}
static inline v16 i_convert(i16 x) { /* int32 to f32 */
    return _mm512_cvtepi32_ps(x);
}
static inline i16 i_add(i16 a, i16 b) {
    return _mm512_add_epi32(a, b);
}
static inline i16 i_sub(i16 a, i16 b) {
    return _mm512_sub_epi32(a, b);
}
static inline i16 i_and(i16 a, i16 b) {
    return _mm512_and_si512(a, b);
}
static inline i16 i_or(i16 a, i16 b) {
    return _mm512_or_si512(a, b);
}
static inline m16 i_greater(i16 a, i16 b) { /* signed */
    return _mm512_cmpgt_epi32_mask(a, b);
}
static inline uint32_t i_greatest(i16 x) { /* of all lanes, signed */
    return (uint32_t)_mm512_reduce_max_epi32(x);
}
static inline uint32_t i_total(i16 x) { /* of all lanes */
    return (uint32_t)_mm512_reduce_add_epi32(x);
}
static inline void i_store_bytes(void *p, i16 x) { /* the low byte of each lane */
    _mm_storeu_si128(p, _mm512_cvtepi32_epi8(x));
}
#define i_shift_left(x, count) _mm512_slli_epi32(x, count)
#define i_shift_right(x, count) _mm512_srli_epi32(x, count)
#define i_shift_right_signed(x, count) _mm512_srai_epi32(x, count)

/* Stripe s += stripe s + 8, then + 4, + 2, + 1. */
static inline float v_tree(v16 x) {
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Thirty-two neighbours, in order: those at even places and those at odd ones. */
static inline void v_deinterleave(v16 first, v16 second, v16 *even, v16 *odd) {
    const __m512i places = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *even = _mm512_permutex2var_ps(first, places, second);
    *odd = _mm512_permutex2var_ps(first, _mm512_add_epi32(places, _mm512_set1_epi32(1)), second);
}

/* rows[i] lane j becomes rows[j] lane i. */
static inline void v_transpose(v16 rows[16]) {
    __m512 t[16], u[16];
    for (int i = 0; i < 16; i += 2) { /* pairs of rows: lanes 0 1 of each group of four, then 2 3 */
        t[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { /* u[i + c]: column c of each group of four lanes, rows i .. i + 3 */
        u[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
        u[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
        u[i + 2] =
            _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
        u[i + 3] =
            _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
    }
    for (int c = 0; c < 4; c++) { /* gather the 128-bit groups: column 4 g + c from group g */
        __m512 even_low = _mm512_shuffle_f32x4(u[c], u[4 + c], 0x88);
        __m512 odd_low = _mm512_shuffle_f32x4(u[c], u[4 + c], 0xdd);
        __m512 even_high = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0x88);
        __m512 odd_high = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0xdd);
        rows[c] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
        rows[4 + c] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
        rows[8 + c] = _mm512_shuffle_f32x4(even_low, even_high, 0xdd);
        rows[12 + c] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd);
    }
}

#endif

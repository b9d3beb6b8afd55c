/* q8/1 against its definition: what is stored, what is lost, what is exact, what becomes NaN. Read from the layout that
 * kernels.h promises, in double. All sets have scalar's bits (test_agree), so each is tried here too. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels.h"
#include "q8.h"
#include <temper/rng.h>

enum { M = 5, N = 41, K = 107 }; /* two panels, three groups and a tail that fills no quad */

static _Alignas(64) unsigned char packed[1 << 16], scratch[1 << 20];
static float a[M * K], b[N * K], c[M * N];

static double unit(uint64_t stream, uint64_t index) {
    return temper_random_unit(11, stream, index) * 2.0 - 1.0;
}

static void draw(void) {
    for (size_t i = 0; i < M * K; i++) {
        a[i] = (float)(unit(0, i) * (i % 7 == 0 ? 20.0 : 1.0));
    }
    for (size_t i = 0; i < N * K; i++) {
        b[i] = (float)(unit(1, i) * 0.05);
    }
}

static void product(const lm_kernels *set, bool accumulate) {
    assert_true(set->q8.scratch_bytes(K) <= sizeof scratch);
    assert_true(2 * set->q8.panel_bytes(K) <= sizeof packed);
    set->q8.pack(packed, b, K, N, K, true);
    set->q8.multiply(M, N, K, a, K, false, packed, c, N, accumulate, scratch);
}

#define FOR_SETS(set)                                                                                        \
    for (const lm_kernels *const *place = lm_kernels_all(), *set; (set = *place) != NULL; place++)           \
        if (lm_kernels_usable(set, NULL))

/* The weight of row k and column n that is stored, read from the layout. */
static double stored(size_t k, size_t n) {
    const unsigned char *panel = packed + n / LM_PANEL * lm_q8_panel_bytes(K);
    const unsigned char *group = panel + k / 32 * (64 + 1024);
    uint16_t scale;
    memcpy(&scale, group + 2 * (n % LM_PANEL), sizeof scale);
    int q = group[64 + k % 32 / 4 * 128 + 4 * (n % LM_PANEL) + k % 4] - 128;
    assert_in_range(q + 127, 0, 254);
    return (double)lm_f16_widen(scale) * q;
}

static void test_product_is_that_of_the_stored_values(void **state) {
    float seen[M * K];
    (void)state;
    FOR_SETS(set) {
        draw();
        for (size_t i = 0; i < M * N; i++) {
            c[i] = 0.25f;
        }
        product(set, true);
        for (size_t i = 0; i < M; i++) {
            set->q8.round(seen + i * K, a + i * K, K);
            for (size_t j = 0; j < N; j++) {
                double sum = 0.25, size = 0.25;
                for (size_t k = 0; k < K; k++) {
                    double term = (double)seen[i * K + k] * stored(k, j);
                    sum += term;
                    size += fabs(term);
                }
                assert_true(fabs(sum - (double)c[i * N + j]) <= size * 0x1p-21);
            }
        }
    }
}

/* Half a step of the group's scale, and nothing more, is lost. */
static void test_rounding_loses_half_a_step(void **state) {
    (void)state;
    FOR_SETS(set) {
        float seen[K];
        draw();
        product(set, false);
        set->q8.round(seen, a, K);
        for (size_t start = 0; start < K; start += 32) {
            size_t end = start + 32 < K ? start + 32 : K;
            double top = 0.0;
            for (size_t k = start; k < end; k++) {
                top = fmax(top, fabs((double)a[k]));
            }
            for (size_t k = start; k < end; k++) {
                assert_true(fabs((double)a[k] - (double)seen[k]) <= top / 254.0 * 1.00001);
            }
            for (size_t j = 0; j < N; j++) {
                top = 0.0;
                for (size_t k = start; k < end; k++) {
                    top = fmax(top, fabs((double)b[j * K + k]));
                }
                for (size_t k = start; k < end; k++) { /* an f16 scale may be a 2048th off */
                    assert_true(fabs((double)b[j * K + k] - stored(k, j)) <= top / 254.0 * 1.001);
                }
            }
        }
    }
}

/* Whole multiples of an f16, as a Q8_0 file has them, are kept as they are; with scales of 1 all sums are exact. */
static void test_whole_multiples_are_exact(void **state) {
    (void)state;
    FOR_SETS(set) {
        for (size_t i = 0; i < M * K; i++) {
            a[i] = i % K % 32 == 0 ? 127.0f : (float)(int)(unit(2, i) * 127.0);
        }
        for (size_t j = 0; j < N; j++) {
            for (size_t k = 0; k < K; k++) {
                float scale = lm_f16_widen(lm_f16_round((float)fabs(unit(3, j * K + k / 32)) * 0.01f));
                int q = k % 32 == 5 || k + 1 == K ? -127 : (int)(unit(4, j * K + k) * 127.0);
                b[j * K + k] = (j % 2 == 0 ? 1.0f : scale) * (float)q;
            }
        }
        product(set, false);
        for (size_t j = 0; j < N; j++) {
            for (size_t k = 0; k < K; k++) {
                assert_true(stored(k, j) == (double)b[j * K + k]);
            }
            for (size_t i = 0; i < M && j % 2 == 0; i++) {
                double sum = 0.0;
                for (size_t k = 0; k < K; k++) {
                    sum += (double)a[i * K + k] * (double)b[j * K + k];
                }
                assert_true((double)c[i * N + j] == sum);
            }
        }
    }
}

/* What cannot be said is NaN, in its own row or column and nowhere else. */
static void test_what_is_not_finite_is_nan_where_it_is(void **state) {
    (void)state;
    FOR_SETS(set) {
        draw();
        a[1 * K + 100] = NAN;
        a[2 * K + 3] = -INFINITY;
        b[7 * K + 40] = INFINITY;
        b[33 * K + 106] = NAN;
        b[40 * K] = 0x1p24f; /* a 127th of it is beyond f16 */
        product(set, false);
        for (size_t i = 0; i < M; i++) {
            for (size_t j = 0; j < N; j++) {
                bool expected = i == 1 || i == 2 || j == 7 || j == 33 || j == 40;
                assert_int_equal(isnan(c[i * N + j]) != 0, expected);
            }
        }
    }
}

static void test_small_groups_are_zero(void **state) {
    (void)state;
    FOR_SETS(set) {
        draw();
        for (size_t k = 0; k < 32; k++) { /* a group of A below 2^-100, and one of B below f16 */
            a[k] = 0x1p-101f;
            b[32 + k] = 0x1p-20f;
        }
        b[32] = 0x1p-19f;
        product(set, false);
        set->q8.round(c, a, 64);
        for (size_t k = 0; k < 32; k++) {
            assert_true(c[k] == 0.0f);
            assert_true(stored(32 + k, 0) == 0.0);
        }
        assert_true(c[32] != 0.0f);
    }
}

static void test_nothing_to_sum(void **state) {
    (void)state;
    FOR_SETS(set) {
        c[0] = 3.0f;
        c[1] = 4.0f;
        set->q8.multiply(1, 2, 0, a, 1, false, packed, c, 2, true, scratch);
        assert_true(c[0] == 3.0f && c[1] == 4.0f);
        set->q8.multiply(1, 2, 0, a, 1, false, packed, c, 2, false, scratch);
        assert_true(c[0] == 0.0f && c[1] == 0.0f);
        set->q8.multiply(0, 2, 7, a, 1, false, packed, c, 2, false, scratch);
    }
}

/* Every f16 from 0 up, and what lies half way between two and beside it. */
static void test_f16(void **state) {
    (void)state;
    for (uint16_t half = 0; half < 0x7c00u; half++) {
        float x = lm_f16_widen(half);
        float next = half + 1 < 0x7c00 ? lm_f16_widen((uint16_t)(half + 1)) : 65536.0f;
        float middle = (x + next) / 2.0f;
        double exact =
            ldexp(half < 0x400 ? half : (half & 0x3ff) + 1024, half < 0x400 ? -24 : (half >> 10) - 25);
        assert_true((double)x == exact);
        assert_int_equal(lm_f16_round(x), half);
        assert_int_equal(lm_f16_round(middle), half % 2 == 0 ? half : half + 1);
        assert_int_equal(lm_f16_round(nextafterf(middle, 0.0f)), half);
        assert_int_equal(lm_f16_round(nextafterf(middle, INFINITY)), half + 1);
    }
    assert_int_equal(lm_f16_round(INFINITY), 0x7c00);
    assert_int_equal(lm_f16_round(NAN), LM_F16_NAN);
    assert_true(isinf(lm_f16_widen(0x7c00)));
    assert_true(isnan(lm_f16_widen(LM_F16_NAN)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product_is_that_of_the_stored_values),
        cmocka_unit_test(test_rounding_loses_half_a_step),
        cmocka_unit_test(test_whole_multiples_are_exact),
        cmocka_unit_test(test_what_is_not_finite_is_nan_where_it_is),
        cmocka_unit_test(test_small_groups_are_zero),
        cmocka_unit_test(test_nothing_to_sum),
        cmocka_unit_test(test_f16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

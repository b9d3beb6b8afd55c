/* Every kernel set this CPU can run gives scalar's bits; the set that runs is the one asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels.h"

static void print_line(void *context, const char *line) {
    size_t *lines = context;
    if ((*lines)++ < 40) {
        print_message("%s\n", line);
    }
}

static void test_selftest(void **state) {
    const char *rounds = getenv("TEMPER_SELFTEST_ROUNDS");
    size_t lines = 0;
    (void)state;
    for (const lm_kernels *const *set = lm_kernels_all(); *set != NULL; set++) {
        const char *reason = "";
        bool can = lm_kernels_usable(*set, &reason);
        print_message("%s: %s%s\n", (*set)->name, can ? "usable" : "not usable: ", reason);
    }
    assert_int_equal(
        lm_kernels_selftest(1, rounds != NULL ? (unsigned)atoi(rounds) : 1500, print_line, &lines), 0);
    assert_int_equal(lines, 0);
}

static void test_scalar_is_last_and_always_usable(void **state) {
    const lm_kernels *const *set = lm_kernels_all();
    (void)state;
    while (set[1] != NULL) {
        set++;
    }
    assert_string_equal((*set)->name, "scalar");
    assert_true(lm_kernels_usable(*set, NULL));
}

static void test_choice_by_name(void **state) {
    (void)state;
    unsetenv("TEMPER_KERNELS");
    for (const lm_kernels *const *set = lm_kernels_all(); *set != NULL; set++) {
        const char *reason = NULL;
        const lm_kernels *chosen = lm_kernels_choose((*set)->name, &reason);
        if (lm_kernels_usable(*set, NULL)) {
            assert_ptr_equal(chosen, *set);
            assert_null(reason);
        } else { /* refused, never replaced */
            assert_null(chosen);
            assert_non_null(reason);
        }
    }
}

static void test_choice_is_the_first_usable(void **state) {
    const lm_kernels *const *set = lm_kernels_all();
    (void)state;
    unsetenv("TEMPER_KERNELS");
    while (!lm_kernels_usable(*set, NULL)) {
        set++;
    }
    assert_ptr_equal(lm_kernels_choose(NULL, NULL), *set);
    setenv("TEMPER_KERNELS", "", 1);
    assert_ptr_equal(lm_kernels_choose(NULL, NULL), *set);
}

static void test_environment_forces_a_set(void **state) {
    const char *reason = NULL;
    (void)state;
    setenv("TEMPER_KERNELS", "scalar", 1);
    assert_string_equal(lm_kernels_choose(NULL, NULL)->name, "scalar");
    setenv("TEMPER_KERNELS", "avx1024", 1);
    assert_null(lm_kernels_choose(NULL, &reason));
    assert_non_null(strstr(reason, "avx1024"));
    assert_non_null(strstr(reason, "scalar")); /* it says what there is */
    unsetenv("TEMPER_KERNELS");
}

static void test_profiles(void **state) {
    const lm_kernels *set = lm_kernels_choose("scalar", NULL);
    (void)state;
    assert_ptr_equal(lm_kernels_product(set, "f32/1"), &set->f32);
    assert_ptr_equal(lm_kernels_product(set, "bf16/1"), &set->bf16);
    assert_ptr_equal(lm_kernels_product(set, "q8/1"), &set->q8);
    assert_null(lm_kernels_product(set, "bf16/2"));
    assert_null(lm_kernels_product(set, ""));
}

/* After a bf16 product denormals are denormals again. */
static void test_floating_point_environment_is_restored(void **state) {
    static _Alignas(64) unsigned char scratch[1 << 20];
    float a[4] = {1, 2, 3, 4}, b[4] = {1, 1, 1, 1}, c[1];
    uint16_t packed[2 * LM_PANEL * 2];
    volatile float smallest = 0x1p-126f;
    (void)state;
    for (const lm_kernels *const *set = lm_kernels_all(); *set != NULL; set++) {
        const lm_product *product = &(*set)->bf16;
        if (!lm_kernels_usable(*set, NULL)) {
            continue;
        }
        assert_true(product->scratch_bytes(4) <= sizeof scratch);
        product->pack(packed, b, 4, 1, 1, false);
        product->multiply(1, 1, 4, a, 4, false, packed, c, 1, false, scratch);
        assert_true(c[0] == 10.0f);
        assert_true(smallest * 0.5f != 0.0f);
        assert_true(smallest * 0.5f * 2.0f == smallest);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selftest),
        cmocka_unit_test(test_scalar_is_last_and_always_usable),
        cmocka_unit_test(test_choice_by_name),
        cmocka_unit_test(test_choice_is_the_first_usable),
        cmocka_unit_test(test_environment_forces_a_set),
        cmocka_unit_test(test_profiles),
        cmocka_unit_test(test_floating_point_environment_is_restored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

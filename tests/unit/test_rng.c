/* temper/rng.h: Philox 4x32-10 against Random123's known answers, and the draws made from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <temper/rng.h>

static void test_known_answers(void **state) {
    /* kat_vectors of Random123 1.14: philox4x32 10, counter, key, answer */
    static const struct {
        uint32_t counter[4], key[2], answer[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        uint32_t out[4];
        temper_philox((uint64_t)known[i].key[1] << 32 | known[i].key[0], known[i].counter, out);
        assert_memory_equal(out, known[i].answer, sizeof out);
    }
}

static void test_draws(void **state) {
    (void)state;
    assert_true(temper_random(0, 0, 0) == UINT64_C(0xe169c58d6627e8d5));
    assert_true(temper_random(0, 1, 0) != temper_random(0, 0, 1));
    for (uint64_t i = 0; i < 10000; i++) {
        double unit = temper_random_unit(7, 1, i);
        uint64_t bound = 1 + temper_random(7, 2, i) % 1000;
        assert_true(unit >= 0.0 && unit < 1.0);
        assert_true(temper_random_below(7, 3, i, bound) < bound);
        assert_true(temper_random_below(7, 3, i, 1) == 0);
        assert_true(temper_random_below(7, 3, i, UINT64_MAX) < UINT64_MAX);
    }
}

/* temper_random_below is floor(x bound / 2^64): compared with 128-bit arithmetic. */
static void test_below_is_exact(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 10000; i++) {
        uint64_t bound = temper_random(9, 0, i) >> temper_random_below(9, 1, i, 64),
                 x = temper_random(9, 2, i);
        bound = bound == 0 ? 1 : bound;
        assert_true(temper_random_below(9, 2, i, bound) == (uint64_t)((unsigned __int128)x * bound >> 64));
    }
}

/* Chi-square over 64 cells: fixed draws, so this never flickers. */
static void test_uniform(void **state) {
    double cells[64] = {0}, chi = 0.0;
    (void)state;
    for (uint64_t i = 0; i < 64000; i++) {
        cells[temper_random_below(11, 5, i, 64)] += 1.0;
    }
    for (size_t i = 0; i < 64; i++) {
        chi += (cells[i] - 1000.0) * (cells[i] - 1000.0) / 1000.0;
    }
    assert_true(chi > 30.0 && chi < 110.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_below_is_exact),
        cmocka_unit_test(test_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Every f32 bit pattern through exp, log and tanh: all usable sets give scalar's bits. Minutes: LABELS
 * long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels.h"

typedef void elementwise(float *out, const float *x, size_t n);

static uint32_t canonical(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x == x ? bits : 0x7fc00000u;
}

static elementwise *function_of(const lm_kernels *set, size_t f) {
    return f == 0 ? set->exp : f == 1 ? set->log : set->tanh;
}

static void test_every_pattern(void **state) {
    enum { BLOCK = 1 << 16 };
    static float x[BLOCK], expected[BLOCK], got[BLOCK];
    const lm_kernels *scalar = lm_kernels_choose("scalar", NULL);
    (void)state;
    for (uint64_t first = 0; first <= UINT32_MAX; first += BLOCK) {
        for (size_t i = 0; i < BLOCK; i++) {
            uint32_t bits = (uint32_t)(first + i);
            memcpy(&x[i], &bits, sizeof bits);
        }
        for (size_t f = 0; f < 3; f++) {
            function_of(scalar, f)(expected, x, BLOCK);
            for (const lm_kernels *const *set = lm_kernels_all(); *set != scalar; set++) {
                if (!lm_kernels_usable(*set, NULL)) {
                    continue;
                }
                function_of(*set, f)(got, x, BLOCK);
                for (size_t i = 0; i < BLOCK; i++) {
                    if (canonical(got[i]) != canonical(expected[i])) {
                        fail_msg("%s: function %zu of %a is %a, scalar has %a", (*set)->name, f, x[i], got[i],
                                 expected[i]);
                    }
                }
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Every kernel set this CPU can run gives scalar's bits; which set runs is what was asked for. */
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
    size_t lines = 0, usable = 0;
    (void)state;
    for (const lm_kernels *const *set = lm_kernels_all(); *set != NULL; set++) {
        const char *reason = "";
        bool can = lm_kernels_usable(*set, &reason);
        print_message("%s: %s%s\n", (*set)->name, can ? "usable" : "not usable: ", reason);
        usable += can;
    }
    assert_true(usable >= 1);
    assert_int_equal(
        lm_kernels_selftest(1, rounds != NULL ? (unsigned)atoi(rounds) : 400, print_line, &lines), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selftest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

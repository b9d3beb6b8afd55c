/* probe: the kernel sets of the machine it runs on, checked against scalar, and what they compute as a number
 * that must be the same on every machine. Needs nothing but the kernels and temper-math, so that it can be built for
 * another machine and run under an emulator (other_machines.sh).
 * Usage: probe [rounds, 100]. Prints "SET DIGEST" a line, then "chosen SET". Exit status 1 when sets disagree. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include <temper/math.h>

static void print_line(void *context, const char *line) {
    (void)context;
    fprintf(stderr, "%s\n", line);
}

/* temper-math's functions over a fixed sweep, folded into one number. */
static uint64_t digest_of_math(void) {
    uint64_t digest = 0;
    for (int i = -300; i <= 300; i++) {
        double x = i / 16.0 + 0x1p-20 * i * i, y = x * x + 0.125;
        double values[] = {temper_exp(x),  temper_log(y),      temper_pow(y, x), temper_tanh(x),
                           temper_sin(x),  temper_cos(x),      temper_tan(x),    temper_asin(x / 40),
                           temper_atan(x), temper_atan2(x, y), temper_log2(y),   temper_acos(x / 40)};
        for (size_t j = 0; j < sizeof values / sizeof values[0]; j++) {
            uint64_t bits;
            memcpy(&bits, &values[j], sizeof bits);
            digest = (digest ^ (values[j] == values[j] ? bits : 1)) * UINT64_C(0x100000001b3);
            digest ^= digest >> 29;
        }
    }
    return digest;
}

int main(int count, char **arguments) {
    unsigned rounds = count > 1 ? (unsigned)atoi(arguments[1]) : 100;
    size_t disagreements = lm_kernels_selftest(7, rounds, print_line, NULL);
    const char *reason = "";
    const lm_kernels *chosen;
    for (const lm_kernels *const *set = lm_kernels_all(); *set != NULL; set++) {
        if (lm_kernels_usable(*set, &reason)) {
            printf("%s %016" PRIx64 "\n", (*set)->name, lm_kernels_digest(*set, 1, rounds));
        } else {
            fprintf(stderr, "%s: %s\n", (*set)->name, reason);
        }
    }
    printf("math %016" PRIx64 "\n", digest_of_math());
    chosen = lm_kernels_choose(NULL, &reason);
    printf("chosen %s\n", chosen != NULL ? chosen->name : reason);
    return disagreements == 0 ? 0 : 1;
}

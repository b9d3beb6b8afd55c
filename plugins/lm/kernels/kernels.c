/* kernels.c: which kernel sets there are, which this CPU can run, and which one this process uses.
 *
 * Invariant: a set that was asked for by name is used or refused with a reason; never another in its
 * place. */
#include "bf16.h"
#include "sets.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const lm_kernels *const all[] = {
#if LM_HAVE_X86_SETS
    &lm_kernels_avx512_bf16, &lm_kernels_avx512_vnni,
    &lm_kernels_avx512,      &lm_kernels_avx2,
#endif
#if LM_HAVE_NEON
    &lm_kernels_neon,
#endif
    &lm_kernels_scalar,      NULL,
};

const lm_kernels *const *lm_kernels_all(void) {
    return all;
}

uint16_t lm_bf16_from_f32(float x) {
    return lm_bf16_round(x);
}

float lm_bf16_to_f32(uint16_t x) {
    return lm_bf16_widen(x);
}

#if LM_HAVE_X86_SETS

#include <cpuid.h>

static bool bf16_holds;

static void check_bf16(void) {
    bf16_holds = lm_avx512_bf16_holds();
}

/* Not every compiler's __builtin_cpu_supports knows it. Whether the system saves its registers is avx2's matter. */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

/* NULL when the CPU and the operating system have all that the set's code uses, else what is missing. */
static const char *missing(const lm_kernels *set) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    __builtin_cpu_init();
    if (set == &lm_kernels_scalar) {
        return NULL;
    }
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) {
        return "this CPU has no avx2, fma and f16c";
    }
    if (set == &lm_kernels_avx2) {
        return NULL;
    }
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
        return "this CPU has no avx512 (f, bw, dq and vl)";
    }
    if (set == &lm_kernels_avx512) {
        return NULL;
    }
    if (!__builtin_cpu_supports("avx512vnni")) {
        return "this CPU has no avx512_vnni";
    }
    if (set == &lm_kernels_avx512_vnni) {
        return NULL;
    }
    if (!__builtin_cpu_supports("avx512bf16")) {
        return "this CPU has no avx512_bf16";
    }
    pthread_once(&once, check_bf16);
    return bf16_holds ? NULL : "this CPU's vdpbf16ps rounds differently from the rule in docs/numerics.md";
}

#else

/* Every AArch64 CPU has what `neon` uses, every CPU what `scalar` does. */
static const char *missing(const lm_kernels *set) {
    (void)set;
    return NULL;
}

#endif

bool lm_kernels_usable(const lm_kernels *set, const char **reason) {
    const char *why = missing(set);
    if (why != NULL && reason != NULL) {
        *reason = why;
    }
    return why == NULL;
}

/* The sentence for a name that no set has; it lists those that could be meant. */
static const char *unknown(const char *name) {
    static _Thread_local char sentence[256];
    int used = snprintf(sentence, sizeof sentence, "no kernel set is called '%.64s'; there are", name);
    for (size_t i = 0; all[i] != NULL && used > 0 && (size_t)used < sizeof sentence; i++) {
        used += snprintf(sentence + used, sizeof sentence - (size_t)used, "%s %s", i > 0 ? "," : "",
                         all[i]->name);
    }
    return sentence;
}

const lm_kernels *lm_kernels_choose(const char *name, const char **reason) {
    if (name == NULL) {
        name = getenv("TEMPER_KERNELS");
    }
    if (name == NULL || name[0] == '\0') {
        for (size_t i = 0;; i++) {
            if (lm_kernels_usable(all[i], NULL)) { /* scalar, the last, always is */
                return all[i];
            }
        }
    }
    for (size_t i = 0; all[i] != NULL; i++) {
        if (strcmp(all[i]->name, name) == 0) {
            return lm_kernels_usable(all[i], reason) ? all[i] : NULL;
        }
    }
    if (reason != NULL) {
        *reason = unknown(name);
    }
    return NULL;
}

const lm_product *lm_kernels_product(const lm_kernels *set, const char *profile) {
    const lm_product *found = strcmp(profile, set->f32.profile) == 0    ? &set->f32
                              : strcmp(profile, set->bf16.profile) == 0 ? &set->bf16
                              : strcmp(profile, set->q8.profile) == 0   ? &set->q8
                                                                        : NULL;
    return found != NULL && found->multiply != NULL ? found : NULL;
}

/* Gradients in float against the same sources in double: f32/1 within 1e-4, bf16/1 by direction (cosine above 0.999).
 * argv[1], argv[2]: the two modules of gradient_case.c. */
#include "gradient_case.h"

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CAPACITY = 1 << 16 };
typedef size_t case_function(const char *, const char *, int, double *, size_t, double *);
static case_function *in_float, *in_double;

static void compare(const char *architecture, int pairs) {
    double *exact = calloc(CAPACITY, sizeof *exact), *found = calloc(CAPACITY, sizeof *found), loss, wanted;
    size_t count = in_double(architecture, "f32/1", pairs, exact, CAPACITY, &wanted);
    double size = 0, difference = 0, along = 0, found_size = 0;
    assert_true(count > 1000);
    assert_int_equal(in_float(architecture, "f32/1", pairs, found, CAPACITY, &loss), count);
    assert_true(fabs(loss - wanted) < 1e-5 * fabs(wanted));
    for (size_t i = 0; i < count; i++) {
        size += exact[i] * exact[i];
        difference += (exact[i] - found[i]) * (exact[i] - found[i]);
    }
    print_message("%s%s f32/1: relative difference %.3g\n", architecture, pairs ? " dpo" : "",
                  sqrt(difference / size));
    assert_true(sqrt(difference) < 1e-4 * sqrt(size));
    assert_int_equal(in_float(architecture, "bf16/1", pairs, found, CAPACITY, &loss), count);
    assert_true(fabs(loss - wanted) < 2e-2 * fabs(wanted));
    for (size_t i = 0; i < count; i++) {
        along += exact[i] * found[i];
        found_size += found[i] * found[i];
    }
    print_message("%s%s bf16/1: cosine %.6f\n", architecture, pairs ? " dpo" : "",
                  along / sqrt(size * found_size));
    assert_true(along > 0.999 * sqrt(size * found_size));
    assert_true(found_size > 0.98 * size && found_size < 1.02 * size);
    free(exact);
    free(found);
}

static void llama(void **state) {
    (void)state;
    compare("llama", 0);
}

static void gpt_neo(void **state) {
    (void)state;
    compare("gpt_neo", 0);
}

static void llama_dpo(void **state) {
    (void)state;
    compare("llama", 1);
}

static void gpt_neo_dpo(void **state) {
    (void)state;
    compare("gpt_neo", 1);
}

static void architectures(void **state) {
    static const char *const names[] = {"llama-biased", "qwen3", "gemma2", "gemma3",
                                        "phi3",         "olmo2", "gpt2",   "gpt_neox"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        compare(names[i], 0);
    }
}

static case_function *load(const char *path) {
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = module == NULL ? NULL : dlsym(module, "gradient_case");
    case_function *function = NULL;
    if (symbol == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    memcpy(&function, &symbol, sizeof function);
    return function;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(llama), cmocka_unit_test(gpt_neo),
                                       cmocka_unit_test(llama_dpo), cmocka_unit_test(gpt_neo_dpo),
                                       cmocka_unit_test(architectures)};
    if (argc != 3) {
        fprintf(stderr, "usage: %s FLOAT_MODULE DOUBLE_MODULE\n", argv[0]);
        return 2;
    }
    in_float = load(argv[1]);
    in_double = load(argv[2]);
    return cmocka_run_group_tests_name("precision", tests, NULL, NULL);
}

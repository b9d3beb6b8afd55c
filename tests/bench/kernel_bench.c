/* kernel_bench: rates of the products and ns a value of the row operations, one thread, every usable set, each
 * product beside what the core can do at all, measured in the same run (machine_limits.h). Not a test: it
 * asserts nothing. Usage: kernel_bench [seconds a measurement, 0.2]; TEMPER_KERNELS names one set. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "kernels.h"
#include "machine_limits.h"
#include <temper/rng.h>

enum { HUGE_PAGE = 2 << 20 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* others on the machine take time, not ours */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *values(size_t n) {
    float *x = aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64);
    if (x == NULL) {
        fprintf(stderr, "no memory for %zu values\n", n);
        exit(1);
    }
    for (size_t i = 0; i < n;
         i++) { /* drawn for a while, then again: a vocabulary's matrix takes seconds to draw */
        x[i] = i < 1 << 18 ? (float)(temper_random_unit(1, 0, i) * 2.0 - 1.0) : x[i - (1 << 18)];
    }
    return x;
}

static void bench_product(const lm_kernels *set, const lm_product *product, double limit, double read,
                          size_t m, size_t n, size_t k, bool a_transposed, double seconds) {
    float *a = values(m * k), *b = values(k * n), *c = values(m * n);
    size_t bytes = (n + LM_PANEL - 1) / LM_PANEL * product->panel_bytes(k);
    void *packed = aligned_alloc(HUGE_PAGE, (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    void *scratch = aligned_alloc(64, (product->scratch_bytes(k) + 63) / 64 * 64);
    double start, elapsed, packing, work = 2.0 * (double)m * (double)n * (double)k;
    size_t rounds = 0, batch = 1 + 10000000 / (m * n * k + 1); /* reading the clock takes time, too */
    if (packed == NULL || scratch == NULL) {
        exit(1);
    }
    madvise(packed, bytes,
            MADV_HUGEPAGE); /* as the walk of machine_limits has them: else it is half as fast */
    for (start = now(); (elapsed = now() - start) < seconds / 4; rounds++) {
        product->pack(packed, b, k, n, k, true);
    }
    packing = elapsed / (double)rounds;
    rounds = 0;
    for (start = now(); (elapsed = now() - start) < seconds; rounds += batch) {
        for (size_t i = 0; i < batch; i++) {
            product->multiply(m, n, k, a, a_transposed ? m : k, a_transposed, packed, c, n, false, scratch);
        }
    }
    elapsed /= (double)rounds;
    printf("%-12s %-6s %5zu x %6zu x %5zu%s %8.1f Gop/s %3.0f%% of %s's  %8.2f us  packing B %.2f us",
           set->name, product->profile, m, n, k, a_transposed ? " At" : "   ", work * 1e-9 / elapsed,
           100.0 * work / elapsed / limit, product->profile, elapsed * 1e6, packing * 1e6);
    if (m == 1) {
        printf("  %.1f GB/s of weights", (double)bytes / elapsed * 1e-9);
        if (bytes > (size_t)64 << 20) { /* from memory, not from a cache */
            printf(", %.0f%% of the read limit", 100.0 * (double)bytes / elapsed / read);
        }
    }
    puts("");
    free(a);
    free(b);
    free(c);
    free(packed);
    free(scratch);
}

static void bench_rows(const lm_kernels *set, double seconds) {
    enum { N = 1536, KINDS = 9 };
    static const char *const names[KINDS] = {
        "exp", "log", "tanh", "rms_norm", "swiglu", "softmax_numerators", "adamw", "argmax", "log_sum_exp"};
    float *x = values(N), *y = values(N), *z = values(N), *w = values(N), one = 0.0f, two = 0.0f;
    for (int kind = 0; kind < KINDS; kind++) {
        double start, elapsed;
        size_t rounds = 0;
        for (start = now(); (elapsed = now() - start) < seconds / 4; rounds += 50) {
            for (int i = 0; i < 50; i++) {
                switch (kind) {
                case 0: set->exp(y, x, N); break;
                case 1: set->log(y, x, N); break;
                case 2: set->tanh(y, x, N); break;
                case 3: set->rms_norm(y, &one, x, z, 1e-5f, N); break;
                case 4: set->swiglu(y, x, z, N); break;
                case 5: one = set->softmax_numerators(y, &two, x, 1.0f, N); break;
                case 6: set->adamw(w, y, z, x, 1.0f, 1e-6f, 0.9f, 0.999f, 1e-8f, 0.0f, 1.0f, 1.0f, N); break;
                case 7: one += (float)set->argmax(x, N); break;
                default: set->log_sum_exp(&one, &two, x, N); break;
                }
            }
        }
        printf("%-12s %-20s %6.3f ns a value\n", set->name, names[kind], elapsed / (double)rounds / N * 1e9);
        memcpy(z, x, N * sizeof *z);
        for (size_t i = 0; i < N; i++) {
            z[i] = z[i] * z[i];
        }
    }
    free(x);
    free(y);
    free(z);
    free(w);
}

int main(int count, char **arguments) {
    static const struct {
        size_t m, n, k;
        bool a_transposed;
    } shapes[] = {
        {512, 576, 1536, false}, {512, 1536, 576, false}, {576, 1536, 512, true}, {64, 128, 128, false},
        {64, 384, 128, false},   {128, 512, 128, false},  {512, 128, 128, false}, {512, 128, 384, false},
        {128, 384, 512, true},   {64, 64, 8, false},      {64, 8, 64, false},     {64, 64, 64, false},
        {1, 128, 128, false},    {1, 576, 576, false},    {1, 1536, 576, false},  {4, 1536, 576, false},
        {16, 1536, 576, false},  {32, 1536, 576, false},  {32, 576, 1536, false}, {1, 151936, 896, false},
    };
    double seconds = count > 1 ? atof(arguments[1]) : 0.2;
    machine_limits limits = machine_limits_measure(1, seconds);
    printf("this core at most: f32/1 %.1f Gop/s (%s), bf16/1 %.1f (%s), q8/1 %.1f (%s), read %.1f GB/s\n",
           limits.f32.rate * 1e-9, limits.f32.instruction, limits.bf16.rate * 1e-9, limits.bf16.instruction,
           limits.q8.rate * 1e-9, limits.q8.instruction, limits.read.rate * 1e-9);
    for (const lm_kernels *const *set = lm_kernels_all(); *set != NULL; set++) {
        const char *only = getenv("TEMPER_KERNELS");
        if (!lm_kernels_usable(*set, NULL) || (only != NULL && strcmp(only, (*set)->name) != 0) ||
            (only == NULL && set[1] == NULL)) {
            continue; /* scalar only when asked for: it takes long */
        }
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            const lm_product *const products[] = {&(*set)->f32, &(*set)->bf16, &(*set)->q8};
            const double rates[] = {limits.f32.rate, limits.bf16.rate, limits.q8.rate};
            for (size_t j = 0; j < sizeof products / sizeof products[0]; j++) {
                bench_product(*set, products[j], rates[j], limits.read.rate, shapes[i].m, shapes[i].n,
                              shapes[i].k, shapes[i].a_transposed, seconds);
            }
        }
        bench_rows(*set, seconds);
    }
    return 0;
}

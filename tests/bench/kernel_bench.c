/* kernel_bench: GFLOP/s of the products and ns a value of the row operations, one thread, every usable
 * set, beside what the core can do at all (chains of multiply-adds in registers, measured in the same
 * run). Not a test: it asserts nothing. Usage: kernel_bench [seconds a measurement, 0.2] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels.h"
#include <temper/rng.h>

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
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(temper_random_unit(1, 0, i) * 2.0 - 1.0);
    }
    return x;
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Operations a second of independent chains in registers: the ceiling of the core. */
__attribute__((target("avx512f,avx512bf16"))) static double ceiling_512(bool pairs, double seconds) {
    __m512 chain[16], x = _mm512_set1_ps(0.5f);
    __m512i y = _mm512_set1_epi32(0x3f003f00);
    double start, elapsed;
    size_t rounds = 0;
    float sink[16];
    for (int i = 0; i < 16; i++) {
        chain[i] = _mm512_set1_ps((float)i);
    }
    for (start = now(); (elapsed = now() - start) < seconds; rounds++) {
        for (int j = 0; j < 10000; j++) {
#ifdef __clang__
#pragma unroll
#else
#pragma GCC unroll 16
#endif
            for (int i = 0; i < 16; i++) {
                if (pairs) {
                    chain[i] = _mm512_dpbf16_ps(chain[i], (__m512bh)y, (__m512bh)y);
                } else {
                    chain[i] = _mm512_fmadd_ps(chain[i], x, x);
                }
            }
        }
    }
    for (int i = 1; i < 16; i++) {
        chain[0] = _mm512_add_ps(chain[0], chain[i]);
    }
    _mm512_storeu_ps(sink, chain[0]);
    if (sink[0] == 12345.0f) {
        puts("");
    }
    return (double)rounds * 10000 * 16 * 16 * (pairs ? 4 : 2) / elapsed;
}
#endif

static void bench_product(const lm_kernels *set, const lm_product *product, size_t m, size_t n, size_t k,
                          bool a_transposed, double seconds) {
    float *a = values(m * k), *b = values(k * n), *c = values(m * n);
    size_t bytes = (n + LM_PANEL - 1) / LM_PANEL * product->panel_bytes(k);
    void *packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
    void *scratch = aligned_alloc(64, (product->scratch_bytes(k) + 63) / 64 * 64);
    double start, elapsed, packing;
    size_t rounds = 0, batch = 1 + 10000000 / (m * n * k + 1); /* reading the clock takes time, too */
    if (packed == NULL || scratch == NULL) {
        exit(1);
    }
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
    printf("%-12s %-6s %5zu x %5zu x %5zu%s %8.1f GFLOP/s  %8.2f us  packing B %.2f us", set->name,
           product->profile, m, n, k, a_transposed ? " At" : "   ",
           2e-9 * (double)m * (double)n * (double)k / elapsed, elapsed * 1e6, packing * 1e6);
    if (m == 1) {
        printf("  %.1f GB/s of weights", (double)bytes / elapsed * 1e-9);
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
        {16, 1536, 576, false},  {1, 49152, 576, false},
    };
    double seconds = count > 1 ? atof(arguments[1]) : 0.2;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bf16")) {
        printf("this core at most: f32 %.1f GFLOP/s, bf16 %.1f GFLOP/s\n", ceiling_512(false, seconds) * 1e-9,
               ceiling_512(true, seconds) * 1e-9);
    }
#endif
    for (const lm_kernels *const *set = lm_kernels_all(); *set != NULL; set++) {
        const char *only = getenv("TEMPER_KERNELS");
        if (!lm_kernels_usable(*set, NULL) || (only != NULL && strcmp(only, (*set)->name) != 0) ||
            (only == NULL && set[1] == NULL)) {
            continue; /* scalar only when asked for: it takes long */
        }
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            bench_product(*set, &(*set)->f32, shapes[i].m, shapes[i].n, shapes[i].k, shapes[i].a_transposed,
                          seconds);
            bench_product(*set, &(*set)->bf16, shapes[i].m, shapes[i].n, shapes[i].k, shapes[i].a_transposed,
                          seconds);
            bench_product(*set, &(*set)->q8, shapes[i].m, shapes[i].n, shapes[i].k, shapes[i].a_transposed,
                          seconds);
        }
        bench_rows(*set, seconds);
    }
    return 0;
}

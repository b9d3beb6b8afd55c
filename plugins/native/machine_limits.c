/* machine_limits.c: bursts of one instruction over independent chains, by what the CPU has (machine_limits.h). */
#include "machine_limits.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { CHAINS = 12, ROUNDS = 4096, SLICES = 7 };

/* More than the caches of any machine of today share out to one thread. */
enum { READ_BYTES = 256 << 20 };

/* Does a fixed amount of work on `memory` (READ_BYTES of it; only the walk looks) and returns how much. */
typedef double burst(const void *memory);

static volatile float sink; /* so that no result is unused */

/* Twelve chains of `type`, each taking `step` of itself (x) in turn; what they hold in the end goes to the sink. Written
 * out by hand: an array in a loop may be kept in memory. */
#define EACH(one, f) one(f, 0) one(f, 1) one(f, 2) one(f, 3) one(f, 4) one(f, 5) EACH_MORE(one, f)
#define EACH_MORE(one, f) one(f, 6) one(f, 7) one(f, 8) one(f, 9) one(f, 10) one(f, 11)
#define BEGIN(f, i) f##_type chain##i = f##_start();
#define STEP(f, i)                                                                                           \
    chain##i = f##_step(chain##i);                                                                           \
    KEEP(chain##i);
#define END(f, i)                                                                                            \
    memcpy(&last, &chain##i, sizeof last);                                                                   \
    sink = last;

#define BURST(name, attributes, type, start, step, operations)                                               \
    typedef type name##_type;                                                                                \
    attributes static inline type name##_start(void) {                                                       \
        return (start);                                                                                      \
    }                                                                                                        \
    attributes static inline type name##_step(type x) {                                                      \
        return (step);                                                                                       \
    }                                                                                                        \
    attributes static double name(const void *memory) {                                                      \
        float last;                                                                                          \
        EACH(BEGIN, name)                                                                                    \
        (void)memory;                                                                                        \
        for (int round = 0; round < ROUNDS; round++) {                                                       \
            EACH(STEP, name)                                                                                 \
        }                                                                                                    \
        EACH(END, name)                                                                                      \
        return (double)ROUNDS * CHAINS * (operations);                                                       \
    }

#if defined(__x86_64__)
#include <immintrin.h>

#define KEEP(x) __asm__ volatile("" : "+v"(x)) /* one by one: nothing is folded or reordered */
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx512bw")))
#define AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512bf16")))
#define AVX512_VNNI __attribute__((target("avx512f,avx512bw,avx512vnni")))

#define ONES _mm256_set1_ps(0.5f)
BURST(f32_avx2, AVX2, __m256, ONES, _mm256_fmadd_ps(x, ONES, ONES), 16)
#undef ONES
#define ONES _mm256_set1_epi16(1)
BURST(q8_avx2, AVX2, __m256i, ONES, _mm256_add_epi32(x, _mm256_madd_epi16(x, ONES)), 32)
#undef ONES
#define ONES _mm512_set1_ps(0.5f)
BURST(f32_avx512, AVX512, __m512, ONES, _mm512_fmadd_ps(x, ONES, ONES), 32)
#undef ONES
#define ONES _mm512_set1_epi16(1)
BURST(q8_avx512, AVX512, __m512i, ONES, _mm512_add_epi32(x, _mm512_madd_epi16(x, ONES)), 64)
#undef ONES
#define ONES ((__m512bh)_mm512_set1_epi32(0x3f003f00))
BURST(bf16_pairs, AVX512_BF16, __m512, _mm512_set1_ps(0.5f), _mm512_dpbf16_ps(x, ONES, ONES), 64)
#undef ONES
#define ONES _mm512_set1_epi8(1)
BURST(q8_vnni, AVX512_VNNI, __m512i, ONES, _mm512_dpbusd_epi32(x, ONES, ONES), 128)
#undef ONES

#elif defined(__aarch64__)
#include <arm_neon.h>

#define KEEP(x) __asm__ volatile("" : "+w"(x))
#define HALVES vdupq_n_f32(0.5f)
BURST(f32_neon, , float32x4_t, HALVES, vfmaq_f32(HALVES, x, HALVES), 8)
#define BYTES vdup_n_s8(1)
BURST(q8_neon, , int32x4_t, vdupq_n_s32(0),
      vpadalq_s16(x, vmlal_s8(vmull_s8(BYTES, vmovn_s16(vreinterpretq_s16_s32(x))), BYTES, BYTES)), 32)
#endif

#ifndef KEEP
#define KEEP(x) __asm__ volatile("" : "+m"(x))
#endif
BURST(f32_scalar, , float, 0.5f, __builtin_fmaf(x, 0.5f, 0.5f), 2)
BURST(q8_scalar, , int32_t, 1, x + (int8_t)x * 3, 2)

typedef uint64_t line __attribute__((vector_size(64)));

/* In order, as it comes: the processor sees what will be wanted. */
static double walk(const void *memory) {
    const line *lines = memory;
    line sums[4] = {{0}};
    if (memory == NULL) { /* there was none to be had */
        return 0.0;
    }
    for (size_t i = 0; i < READ_BYTES / sizeof(line); i += 4) {
        for (size_t j = 0; j < 4; j++) {
            sums[j] |= lines[i + j];
        }
    }
    sink = (float)((sums[0] | sums[1] | sums[2] | sums[3])[0] & 1);
    return (double)READ_BYTES;
}

/* Four places at once, each asked for ahead: on some machines faster. */
static double walk_four(const void *memory) {
    enum { PART = READ_BYTES / sizeof(line) / 4, AHEAD = 2048 / sizeof(line) };
    const line *lines = memory;
    line sums[4] = {{0}};
    if (memory == NULL) {
        return 0.0;
    }
    for (size_t i = 0; i < PART; i += 4) {
        for (size_t part = 0; part < 4; part++) {
            for (size_t j = 0; j < 4; j++) {
                __builtin_prefetch(lines + part * PART + i + j + AHEAD);
                sums[j] |= lines[part * PART + i + j];
            }
        }
    }
    sink = (float)((sums[0] | sums[1] | sums[2] | sums[3])[0] & 1);
    return (double)READ_BYTES;
}

/* --- which instruction for what --- */

typedef struct choice {
    burst *run;
    const char *instruction;
} choice;

typedef struct choices {
    choice f32, bf16, q8;
} choices;

static choices choose(void) {
    choices best = {{f32_scalar, "fmaf"}, {f32_scalar, "fmaf"}, {q8_scalar, "scalar integers"}};
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        best.f32 = best.bf16 = (choice){f32_avx2, "vfmadd, 256 bits"};
        best.q8 = (choice){q8_avx2, "vpmaddwd and vpaddd, 256 bits"};
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) {
        best.f32 = best.bf16 = (choice){f32_avx512, "vfmadd, 512 bits"};
        best.q8 = (choice){q8_avx512, "vpmaddwd and vpaddd, 512 bits"};
        if (__builtin_cpu_supports("avx512vnni")) {
            best.q8 = (choice){q8_vnni, "vpdpbusd, 512 bits"};
        }
        if (__builtin_cpu_supports("avx512bf16")) {
            best.bf16 = (choice){bf16_pairs, "vdpbf16ps, 512 bits"};
        }
    }
#elif defined(__aarch64__)
    best.f32 = best.bf16 = (choice){f32_neon, "fmla, 128 bits"};
    best.q8 = (choice){q8_neon, "smlal and sadalp, 128 bits"};
#endif
    return best;
}

/* --- threads --- */

typedef struct crowd {
    pthread_mutex_t door; /* shut until all are there: then `together` knows how many */
    pthread_barrier_t together;
    choices chosen;
    double seconds;
} crowd;

typedef struct member {
    crowd *crowd;
    void *memory;
    double f32, bf16, q8, read, read_four; /* the median of the slices' rates */
} member;

/* Of the wall, as all figures are that stand beside a limit. */
static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* All threads begin at once: they share the power budget and the memory. */
static double usual_rate(const member *self, burst *run) {
    double rates[SLICES];
    pthread_barrier_wait(&self->crowd->together);
    for (int slice = 0; slice < SLICES; slice++) {
        double start = seconds_now(), elapsed, work = 0.0;
        do {
            work += run(self->memory);
            elapsed = seconds_now() - start;
        } while (elapsed < self->crowd->seconds / SLICES);
        rates[slice] = work / elapsed;
    }
    qsort(rates, SLICES, sizeof *rates, ascending);
    return rates[SLICES / 2];
}

static void *measure(void *argument) {
    member *self = argument;
    pthread_mutex_lock(&self->crowd->door);
    pthread_mutex_unlock(&self->crowd->door);
    self->memory = aligned_alloc((size_t)2 << 20, READ_BYTES);
    if (self->memory != NULL) {
        madvise(self->memory, READ_BYTES,
                MADV_HUGEPAGE);              /* fewer walks of page tables, where the system can */
        memset(self->memory, 1, READ_BYTES); /* pages never written are all one page */
    }
    self->f32 = usual_rate(self, self->crowd->chosen.f32.run);
    self->bf16 = usual_rate(self, self->crowd->chosen.bf16.run);
    self->q8 = usual_rate(self, self->crowd->chosen.q8.run);
    self->read = usual_rate(self, walk);
    self->read_four = usual_rate(self, walk_four);
    free(self->memory);
    return NULL;
}

machine_limits machine_limits_measure(unsigned threads, double seconds) {
    crowd all = {.door = PTHREAD_MUTEX_INITIALIZER, .chosen = choose(), .seconds = seconds};
    machine_limits result = {.f32.instruction = all.chosen.f32.instruction,
                             .bf16.instruction = all.chosen.bf16.instruction,
                             .q8.instruction = all.chosen.q8.instruction};
    double read = 0.0, read_four = 0.0;
    pthread_t *handles = calloc(threads, sizeof *handles);
    member *members = calloc(threads, sizeof *members);
    pthread_mutex_lock(&all.door);
    while (handles != NULL && members != NULL && result.threads < threads) {
        members[result.threads].crowd = &all;
        if (pthread_create(&handles[result.threads], NULL, measure, &members[result.threads]) != 0) {
            break;
        }
        result.threads++;
    }
    if (result.threads > 0 && pthread_barrier_init(&all.together, NULL, result.threads) != 0) {
        abort(); /* a count above 0 and a barrier of our own: it cannot fail */
    }
    pthread_mutex_unlock(&all.door);
    for (unsigned i = 0; i < result.threads; i++) {
        pthread_join(handles[i], NULL);
        result.f32.rate += members[i].f32;
        result.bf16.rate += members[i].bf16;
        result.q8.rate += members[i].q8;
        read += members[i].read;
        read_four += members[i].read_four;
    }
    result.read.rate = read > read_four ? read : read_four;
    result.read.instruction = read > read_four ? "loads in order" : "loads in order, four places at once";
    if (result.threads > 0) {
        pthread_barrier_destroy(&all.together);
    }
    free(handles);
    free(members);
    return result;
}

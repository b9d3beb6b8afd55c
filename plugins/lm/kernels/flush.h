/* flush.h: flush-to-zero and denormals-are-zero for the time of a bf16/1 product (docs/numerics.md), one thread's
 * floating-point environment at a time. Arithmetic between the two calls is done through pointers to functions, so that
 * no compiler moves it across them. */
#ifndef LM_KERNELS_FLUSH_H
#define LM_KERNELS_FLUSH_H

#include <stdint.h>

#if defined(__x86_64__)

#include <immintrin.h>

enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x0040 };

/* Returns what flush_end restores. */
static inline uint64_t flush_begin(void) {
    unsigned saved = _mm_getcsr();
    _mm_setcsr(saved | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
    return saved;
}

static inline void flush_end(uint64_t saved) {
    _mm_setcsr((unsigned)saved);
}

#elif defined(__aarch64__)

/* FPCR.FZ does both, to operands and results. It finds a result tiny before rounding, x86 after: bf16.h says why
 * that cannot be seen. */
#define LM_FPCR_FZ (UINT64_C(1) << 24)

static inline uint64_t flush_begin(void) {
    uint64_t saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved)::"memory");
    __asm__ volatile("msr fpcr, %0" ::"r"(saved | LM_FPCR_FZ) : "memory");
    return saved;
}

static inline void flush_end(uint64_t saved) {
    __asm__ volatile("msr fpcr, %0" ::"r"(saved) : "memory");
}

#endif
#endif

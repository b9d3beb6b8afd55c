/* machine_limits.h: what this machine can do at all, so that a benchmark can print each figure beside its limit.
 *
 * Limits are measured, never looked up: chains of multiply-adds that live in registers, and a walk through more memory
 * than any cache holds. Time is the wall's and the median of several slices counts, as for the figures beside them. */
#ifndef MACHINE_LIMITS_H
#define MACHINE_LIMITS_H

typedef struct machine_limit {
    double rate;             /* a second, all threads together */
    const char *instruction; /* by which it was reached */
} machine_limit;

typedef struct machine_limits {
    unsigned threads;   /* that ran: fewer than asked for when the system had no more */
    machine_limit f32;  /* operations: a multiply and an add are two */
    machine_limit bf16; /* products of bf16 added in f32 */
    machine_limit q8;   /* products of 8 bits added in 32 */
    machine_limit read; /* bytes from memory */
} machine_limits;

/* Measures with `threads` threads at once (at least 1), about `seconds` for each of the four. A rate is 0
 * when there was no memory for it. */
machine_limits machine_limits_measure(unsigned threads, double seconds);

#endif

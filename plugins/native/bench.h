/* bench.h: what the parts of the benchmark share. */
#ifndef NATIVE_BENCH_H
#define NATIVE_BENCH_H

#include "internal.h"
#include "machine_limits.h"

typedef struct bench_model {
    char *config, *weights;
    lm_file files[2];
    lm_file_set set;
} bench_model;
temper_status bench_model_make(bench_model *self, temper_error *error);
void bench_model_free(bench_model *self);

/* One kind of work, measured several times. */
typedef enum bench_unit { BENCH_TOKENS, BENCH_SECONDS } bench_unit;
typedef struct bench_figure {
    const char *name; /* in the numbers, with the profile behind: prefill_bf16 */
    const char *doc, *profile;
    bench_unit unit;
    double
        busy; /* the part of the processors' time that the median's turn had: below 1 others were at work too */
    double median, limit; /* the limit in the same unit; 0: there is none */
    const char *bound;    /* by what: "arithmetic", "memory" */
} bench_figure;

enum { BENCH_FIGURES = 16 };
typedef struct bench {
    const temper_host *host;
    const lm_file_set *files;
    const lm_kernels *kernels;
    lm_parallel parallel;
    size_t rounds, sequences;
    machine_limits limits;
    bench_figure figures[BENCH_FIGURES];
    size_t count;
    uint64_t weights; /* of the model */
} bench;

/* All figures in one profile. */
temper_status bench_profile(bench *self, const char *profile, temper_error *error);

#endif

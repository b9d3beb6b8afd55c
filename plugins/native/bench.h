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
/* Random weights in a known model's shape: "SmolLM2-135M", "Qwen2.5-0.5B" (its biases left out) or "stories260K". */
temper_status bench_model_make(bench_model *self, const char *shape, temper_error *error);
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

enum { BENCH_FIGURES = 24, BENCH_PARTS = 16, BENCH_WORKS = 4 };

/* Where the time of one work goes (bench_parts.c): of all threads together, by what it is spent on. */
typedef struct bench_parts {
    const char *work;
    double seconds[BENCH_PARTS]; /* of bench_part_names */
} bench_parts;
extern const char *const bench_part_names[]; /* up to NULL */

typedef struct bench {
    const temper_host *host;
    const temper_machine *machine; /* NULL: unknown */
    const lm_file_set *files;
    const lm_kernels *kernels;
    lm_parallel parallel;
    size_t rounds, sequences, answers;
    const temper_strings *only; /* names of works; none: all */
    bool parted;
    machine_limits limits;
    bench_figure figures[BENCH_FIGURES];
    size_t count;
    uint64_t weights; /* of the model */
    /* of the answers behind one system prompt */
    lm_counts shared;
    size_t prompts, system_tokens;
    double prefill_rate; /* of the same profile */
    bench_parts parts[BENCH_WORKS];
    size_t part_count;
} bench;

/* All figures in one profile. */
temper_status bench_profile(bench *self, const char *profile, temper_error *error);
/* Is every name of `only` a work? */
temper_status bench_check_wanted(const bench *self, temper_error *error);
bool bench_wants(const bench *self, const char *name);

/* --- bench_parts.c: kernels that look at the clock. One at a time in a process. --- */
/* The same set, timed; NULL: no memory. Threads that use it are told apart by themselves. */
const lm_kernels *bench_parts_begin(const lm_kernels *kernels);
/* Which packed weights are whose. */
void bench_parts_model(lm_model *model);
/* From here on, and what was spent since, of `threads` threads in `elapsed` seconds of the wall. */
void bench_parts_reset(void);
void bench_parts_read(bench_parts *out, double elapsed, size_t threads);
void bench_parts_end(void);

#endif

/* fused.c: rows of one product that are several things: queries, keys and values; gates and ups. Copies only, so a
 * fused projection gives the bits that its parts would. */
#include "layers.h"

typedef struct split_job {
    const lm_config *config;
    const lm_real *fused;
    lm_real *q, *k, *v; /* or gate, up */
    size_t n;
} split_job;

/* Pieces of a row in the order in which they are stored: whose they are, and how long. */
typedef struct layout {
    size_t rounds, queries, keys; /* values are as long as keys */
} layout;

static layout layout_of(const lm_config *config) {
    size_t size = config->head_size;
    return config->query_key_value_by_head ? (layout){config->heads, size, size}
                                           : (layout){1, config->heads * size, config->kv_heads * size};
}

static void split_rows(void *argument, size_t begin, size_t end, size_t worker) {
    const split_job *job = argument;
    layout pieces = layout_of(job->config);
    size_t width = pieces.rounds * (pieces.queries + 2 * pieces.keys);
    (void)worker;
    for (size_t row = begin; row < end; row++) {
        const lm_real *from = job->fused + row * width;
        for (size_t round = 0; round < pieces.rounds; round++) {
            size_t at = row * pieces.rounds + round;
            memcpy(job->q + at * pieces.queries, from, pieces.queries * sizeof *from);
            from += pieces.queries;
            memcpy(job->k + at * pieces.keys, from, pieces.keys * sizeof *from);
            from += pieces.keys;
            memcpy(job->v + at * pieces.keys, from, pieces.keys * sizeof *from);
            from += pieces.keys;
        }
    }
}

void lm_split_queries(const lm_context *context, const lm_config *config, const lm_real *fused, size_t rows,
                      lm_real *q, lm_real *k, lm_real *v) {
    split_job job = {config, fused, q, k, v, 0};
    lm_context_ranges(context, rows * config->head_size * (config->heads + 2 * config->kv_heads), rows, 1,
                      split_rows, &job);
}

void lm_join_queries(const lm_config *config, lm_real *fused, size_t rows, const lm_real *q, const lm_real *k,
                     const lm_real *v) {
    layout pieces = layout_of(config);
    for (size_t at = 0; at < rows * pieces.rounds; at++) {
        memcpy(fused, q + at * pieces.queries, pieces.queries * sizeof *fused);
        fused += pieces.queries;
        memcpy(fused, k + at * pieces.keys, pieces.keys * sizeof *fused);
        fused += pieces.keys;
        memcpy(fused, v + at * pieces.keys, pieces.keys * sizeof *fused);
        fused += pieces.keys;
    }
}

static void split_gate_rows(void *argument, size_t begin, size_t end, size_t worker) {
    const split_job *job = argument;
    size_t n = job->n;
    (void)worker;
    for (size_t row = begin; row < end; row++) {
        memcpy(job->q + row * n, job->fused + row * 2 * n, n * sizeof *job->fused);
        memcpy(job->k + row * n, job->fused + row * 2 * n + n, n * sizeof *job->fused);
    }
}

void lm_split_gate(const lm_context *context, const lm_real *fused, size_t rows, size_t n, lm_real *gate,
                   lm_real *up) {
    split_job job = {NULL, fused, gate, up, NULL, n};
    lm_context_ranges(context, rows * n * 2, rows, 1, split_gate_rows, &job);
}

void lm_join_gate(lm_real *fused, size_t rows, size_t n, const lm_real *gate, const lm_real *up) {
    for (size_t row = 0; row < rows; row++) {
        memcpy(fused + row * 2 * n, gate + row * n, n * sizeof *fused);
        memcpy(fused + row * 2 * n + n, up + row * n, n * sizeof *fused);
    }
}

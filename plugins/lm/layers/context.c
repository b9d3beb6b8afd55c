/* context.c: kernel set, profile, threads and working memory of a caller.
 *
 * Invariant: work is cut only into parts that own their outputs, so neither the number of workers nor the decision
 * to stay on the caller's thread can show in a result. */
#include "layers.h"
#include "team.h"

#include <stdlib.h>
#include <sys/mman.h>

/* Below so many multiply-adds a hand-off to other threads costs more than it gives: to threads that may sleep, and to a
 * team that stands by. */
enum { WORTH_CALLING = 1 << 18, WORTH_SHARING = 1 << 16 };

void *lm_allocate(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX - 128) {
        return NULL;
    }
    bytes = (bytes + 127) / 64 * 64;
    void *block = aligned_alloc(64, bytes);
    if (block != NULL) {
        memset(block, 0, bytes);
    }
    return block;
}

void *lm_allocate_large(size_t bytes) {
    const size_t page = (size_t)2 << 20;
    if (bytes < page) {
        return aligned_alloc(64, (bytes + 127) / 64 * 64);
    }
    if (bytes > PTRDIFF_MAX - 2 * page) {
        return NULL;
    }
    bytes = (bytes + page - 1) / page * page;
    void *block = aligned_alloc(page, bytes);
    if (block != NULL) {
        (void)madvise(block, bytes, MADV_HUGEPAGE); /* a wish: without huge pages it is memory all the same */
    }
    return block;
}

temper_status lm_context_init(lm_context *self, const lm_kernels *kernels, const char *profile,
                              lm_parallel parallel, temper_error *error) {
    const lm_product *product = lm_kernels_product(kernels, profile);
    if (product == NULL || product->multiply == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "profile \"%s\": the profiles are bf16/1, f32/1 and q8/1", profile);
    }
    lm_scratch *scratch = calloc(1, sizeof *scratch);
    if (scratch != NULL) {
        scratch->buffers = calloc(parallel.workers, sizeof *scratch->buffers);
        scratch->team = parallel.workers > 1 ? lm_team_new(parallel.workers) : NULL;
    }
    if (scratch == NULL || scratch->buffers == NULL || (parallel.workers > 1 && scratch->team == NULL)) {
        if (scratch != NULL) {
            free(scratch->buffers);
            lm_team_free(scratch->team);
        }
        free(scratch);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu workers", parallel.workers);
    }
    /* The KV cache appends to panels, and a group of q8/1 cannot grow; adapters are too small to gain. */
    const lm_product *between = product == &kernels->q8 ? &kernels->bf16 : product;
    *self = (lm_context){kernels, product, between, parallel, scratch};
    return TEMPER_OK;
}

temper_status lm_context_reserve(const lm_context *self, size_t bytes, temper_error *error) {
    lm_scratch *scratch = self->scratch;
    if (bytes <= scratch->size) {
        return TEMPER_OK;
    }
    scratch->size = 0;
    for (size_t worker = 0; worker < self->parallel.workers; worker++) {
        free(scratch->buffers[worker]);
        scratch->buffers[worker] = lm_allocate(bytes, 1);
        if (scratch->buffers[worker] == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY,
                               "no memory: %zu bytes of scratch for each of %zu workers", bytes,
                               self->parallel.workers);
        }
    }
    scratch->size = bytes;
    return TEMPER_OK;
}

temper_status lm_context_rows(const lm_context *self, size_t bytes, void **out, temper_error *error) {
    lm_scratch *scratch = self->scratch;
    if (bytes > scratch->rows_size) {
        free(scratch->rows);
        scratch->rows_size = 0;
        scratch->rows = lm_allocate(bytes, 1);
        if (scratch->rows == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory: %zu bytes for the rows of a batch",
                               bytes);
        }
        scratch->rows_size = bytes;
    }
    *out = scratch->rows;
    return TEMPER_OK;
}

void lm_context_free(lm_context *self) {
    if (self->scratch == NULL) {
        return;
    }
    for (size_t worker = 0; worker < self->parallel.workers; worker++) {
        free(self->scratch->buffers[worker]);
    }
    free(self->scratch->buffers);
    free(self->scratch->rows);
    lm_team_free(self->scratch->team);
    free(self->scratch);
    self->scratch = NULL;
}

static bool worth(const lm_context *self, size_t work) {
    return self->parallel.workers > 1 &&
           work >= (lm_team_active(self->scratch->team) ? WORTH_SHARING : WORTH_CALLING);
}

typedef struct indices {
    lm_body *body;
    void *argument;
} indices;

static void run_indices(void *argument, size_t begin, size_t end, size_t worker) {
    const indices *job = argument;
    for (size_t index = begin; index < end; index++) {
        job->body(job->argument, index, worker);
    }
}

void lm_context_run(const lm_context *self, size_t work, size_t count, lm_body *body, void *argument) {
    lm_team *team = self->scratch->team;
    if (count < 2 || !worth(self, work)) {
        lm_serial_run(NULL, count, body, argument);
    } else if (lm_team_active(team)) {
        indices job = {body, argument};
        lm_team_run(team, count, 1, true, run_indices, &job);
    } else {
        self->parallel.run(self->parallel.self, count, body, argument);
    }
}

typedef struct ranges {
    lm_range_body *body;
    void *argument;
    size_t count, length;
} ranges;

static void run_range(void *argument, size_t index, size_t worker) {
    const ranges *job = argument;
    size_t begin = index * job->length;
    size_t end = job->count - begin < job->length ? job->count : begin + job->length;
    job->body(job->argument, begin, end, worker);
}

void lm_context_ranges(const lm_context *self, size_t work, size_t count, size_t step, lm_range_body *body,
                       void *argument) {
    lm_team *team = self->scratch->team;
    if (count == 0) {
        return;
    }
    if (!worth(self, work)) {
        body(argument, 0, count, 0);
    } else if (lm_team_active(team)) {
        lm_team_run(team, count, step, false, body, argument);
    } else {
        /* Two ranges a worker: the second half evens out a worker that was late. */
        size_t steps = (count + step - 1) / step, parts = 2 * self->parallel.workers;
        ranges job = {body, argument, count, (steps + parts - 1) / parts * step};
        self->parallel.run(self->parallel.self, (count + job.length - 1) / job.length, run_range, &job);
    }
}

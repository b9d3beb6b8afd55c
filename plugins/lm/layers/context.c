/* context.c: kernel set, profile, threads and working memory of a caller.
 *
 * Invariant: work is cut only into parts that own their outputs, so neither the number of workers nor the decision
 * to stay on the caller's thread can show in a result. */
#include "layers.h"

#include <stdlib.h>
#include <sys/mman.h>

/* Below this many multiply-adds a hand-off to other threads costs more than it gives. */
enum { LM_WORTH_HANDING_OUT = 1 << 18 };

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
    }
    if (scratch == NULL || scratch->buffers == NULL) {
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
    free(self->scratch);
    self->scratch = NULL;
}

void lm_context_run(const lm_context *self, size_t work, size_t count, lm_body *body, void *argument) {
    if (self->parallel.workers < 2 || count < 2 || work < LM_WORTH_HANDING_OUT) {
        lm_serial_run(NULL, count, body, argument);
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
    size_t workers = self->parallel.workers;
    if (count == 0) {
        return;
    }
    if (workers < 2 || work < LM_WORTH_HANDING_OUT) {
        body(argument, 0, count, 0);
        return;
    }
    /* Two ranges a worker: the second half evens out a worker that was late. */
    size_t steps = (count + step - 1) / step, parts = 2 * workers;
    ranges job = {body, argument, count, (steps + parts - 1) / parts * step};
    self->parallel.run(self->parallel.self, (count + job.length - 1) / job.length, run_range, &job);
}

/* workers.h: the core's thread pool as the threads of an lm_context. */
#ifndef TEST_WORKERS_H
#define TEST_WORKERS_H

#include "../../plugins/lm/parallel.h"
#include "base/pool.h"

typedef struct workers_job {
    lm_body *body;
    void *context;
} workers_job;

static inline void workers_body(void *context, uint64_t index, uint32_t worker) {
    const workers_job *job = context;
    job->body(job->context, (size_t)index, worker);
}

static inline void workers_run(void *self, size_t count, lm_body *body, void *context) {
    workers_job job = {body, context};
    tm_pool_run(self, count, workers_body, &job);
}

static inline lm_parallel workers_of(tm_pool *pool) {
    return (lm_parallel){tm_pool_workers(pool), pool, workers_run};
}

#endif

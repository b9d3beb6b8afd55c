/* parallel.h: how lm uses threads it does not own.
 *
 * Invariant: `run` calls body(context, index, worker) exactly once for each index below count and returns when all
 * are done. Which worker takes which index, and when, never shows in a result: an index owns its outputs. `worker`
 * is below `workers` and no two calls share one at the same time: it selects a scratch buffer. Not re-entrant. */
#ifndef LM_PARALLEL_H
#define LM_PARALLEL_H

#include <stddef.h>

typedef void lm_body(void *context, size_t index, size_t worker);

typedef struct lm_parallel {
    size_t workers; /* at least 1 */
    void *self;
    void (*run)(void *self, size_t count, lm_body *body, void *context);
} lm_parallel;

static inline void lm_serial_run(void *self, size_t count, lm_body *body, void *context) {
    (void)self;
    for (size_t index = 0; index < count; index++) {
        body(context, index, 0);
    }
}

/* The caller's own thread. */
static inline lm_parallel lm_serial(void) {
    lm_parallel serial = {1, NULL, lm_serial_run};
    return serial;
}

#endif

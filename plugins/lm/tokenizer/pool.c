/* pool.c: rooms that threads work in, kept from text to text.
 *
 * Invariant: a room is with one thread at a time. What it remembers are words and their tokens, which are the same
 * whoever asks, so nothing that comes out depends on who had it before. */
#include "internal.h"

#include "remembered.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { ROOMS = 64 };

struct lm_pool {
    _Atomic(lm_work *) rooms[ROOMS];
};

static void free_work(lm_work *work) {
    if (work == NULL) {
        return;
    }
    free(work->symbols);
    free(work->heap.items);
    free(work->pieces);
    free(work->best);
    free(work->memory);
    free(work->word);
    lm_aligned_free(&work->aligned);
    lm_aligned_free(&work->spare);
    lm_regex_work_free(&work->regex);
    free(work);
}

lm_pool *lm_pool_new(void) {
    return calloc(1, sizeof(lm_pool));
}

void lm_pool_free(lm_pool *pool) {
    for (size_t i = 0; pool != NULL && i < ROOMS; i++) {
        free_work(atomic_load(&pool->rooms[i]));
    }
    free(pool);
}

lm_work *lm_pool_take(lm_pool *pool) {
    for (size_t i = 0; i < ROOMS; i++) {
        if (atomic_load_explicit(&pool->rooms[i], memory_order_relaxed) != NULL) {
            lm_work *work = atomic_exchange(&pool->rooms[i], NULL);
            if (work != NULL) {
                return work;
            }
        }
    }
    lm_work *work = calloc(1, sizeof *work);
    if (work != NULL && (work->memory = calloc(LM_REMEMBERED, sizeof *work->memory)) == NULL) {
        free(work);
        return NULL;
    }
    return work;
}

void lm_pool_give(lm_pool *pool, lm_work *work) {
    for (size_t i = 0; i < ROOMS; i++) {
        lm_work *none = NULL;
        if (atomic_compare_exchange_strong(&pool->rooms[i], &none, work)) {
            return;
        }
    }
    free_work(work);
}

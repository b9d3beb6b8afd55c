/* pool.c: worker threads for parallel_for, with a hand-off of well under a microsecond when they are awake.
 *
 * One atomic word says all: the job's number, whether it may be joined, and how many workers are inside it. A worker joins
 * by adding itself to the word, so one that wakes too late finds the job closed and costs nobody anything; the caller
 * returns when it has closed the job and nobody is inside, and only then do the job's fields change. Who waits spins for
 * some microseconds, then sleeps on a condition. */
#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    SPINS = 2000 /* some 20 to 80 µs, by the CPU's pause */
};
#define INSIDE UINT64_C(0x7fffffff) /* workers in the job */
#define OPEN UINT64_C(0x80000000)   /* more may join */
#define JOB(word) ((word) >> 32)    /* the job's number */

typedef struct worker_start {
    struct tm_pool *pool;
    uint32_t index;
    pthread_t thread;
} worker_start;

struct tm_pool {
    uint32_t workers; /* with the caller */
    unsigned spins;
    worker_start *started;
    uint32_t started_count;

    /* the job: written by the caller while nobody is inside */
    uint64_t count;
    tm_pool_body *body;
    void *context;

    _Alignas(64) _Atomic uint64_t next; /* the first index nobody has taken */
    _Alignas(64) _Atomic uint64_t word;
    _Atomic uint32_t sleepers;   /* workers on `work` */
    _Atomic bool caller_waiting; /* the caller on `done` */
    _Atomic bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
};

/* The worker this thread is, and the pool it works in; so a call from inside a body knows itself. */
static __thread const tm_pool *current_pool;
static __thread uint32_t current_worker;

static void spin_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void work_on(tm_pool *pool, uint32_t worker) {
    uint64_t count = pool->count, index;
    tm_pool_body *body = pool->body;
    void *context = pool->context;
    while ((index = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed)) < count) {
        tm_fpenv_reset(); /* whatever the index before left behind, on whichever thread it ran */
        body(context, index, worker);
    }
}

static bool may_join(uint64_t word, uint64_t last) {
    return (word & OPEN) != 0 && JOB(word) != last;
}

/* Waits for a job that is open and not number `last`; false when the pool ends. */
static bool wait_for_work(tm_pool *pool, uint64_t last) {
    unsigned spin;
    for (spin = 0; spin < pool->spins; spin++) {
        if (may_join(atomic_load_explicit(&pool->word, memory_order_relaxed), last)) {
            return true;
        }
        spin_pause();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1); /* before the look: the caller opens, then looks for sleepers */
    while (!atomic_load(&pool->stop) && !may_join(atomic_load(&pool->word), last)) {
        pthread_cond_wait(&pool->work, &pool->mutex);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
    return !atomic_load(&pool->stop);
}

static void *worker_main(void *argument) {
    worker_start *start = argument;
    tm_pool *pool = start->pool;
    uint64_t last = 0, word;
    current_pool = pool;
    current_worker = start->index;
    while (wait_for_work(pool, last)) {
        word = atomic_load(&pool->word);
        while (may_join(word, last) && !atomic_compare_exchange_weak(&pool->word, &word, word + 1)) {
        }
        if (!may_join(word, last)) {
            continue;
        }
        last = JOB(word);
        work_on(pool, start->index);
        word = atomic_fetch_sub(&pool->word, 1) - 1; /* before the look, as above */
        if ((word & INSIDE) == 0 && atomic_load(&pool->caller_waiting)) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
    return NULL;
}

temper_status tm_pool_new(uint32_t workers, tm_pool **out, temper_error *error) {
    temper_status status = TEMPER_OK;
    cpu_set_t cpus;
    tm_pool *pool = NULL;
    uint32_t i;
    if (workers == 0 || workers > 1024) {
        return temper_fail(error, TEMPER_INVALID, "a pool has 1 to 1024 workers, not %u", workers);
    }
    if (posix_memalign((void **)&pool, 64, sizeof *pool) != 0) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory for %u workers", workers);
    }
    memset(pool, 0, sizeof *pool);
    pool->workers = workers;
    /* With more workers than CPUs, one that spins keeps another from working. */
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0 || (uint32_t)CPU_COUNT(&cpus) >= workers) {
        pool->spins = SPINS;
    }
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->started = calloc(workers, sizeof *pool->started);
    if (pool->started == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory for %u workers", workers);
        goto out;
    }
    for (i = 1; i < workers; i++) {
        worker_start *start = &pool->started[pool->started_count];
        int failure;
        start->pool = pool;
        start->index = i;
        failure = pthread_create(&start->thread, NULL, worker_main, start);
        if (failure != 0) {
            status =
                temper_fail(error, TEMPER_FAILED, "cannot start thread %u of %u: %s; try fewer --threads",
                            i + 1, workers, strerror(failure));
            goto out;
        }
        pool->started_count++;
    }
    *out = pool;
out:
    if (status) {
        tm_pool_free(pool);
    }
    return status;
}

uint32_t tm_pool_workers(const tm_pool *pool) {
    return pool->workers;
}

/* Closes the job and waits until nobody is inside. */
static void finish(tm_pool *pool) {
    uint64_t word = atomic_fetch_and(&pool->word, ~OPEN);
    unsigned spin;
    for (spin = 0; (word & INSIDE) != 0 && spin < pool->spins; spin++) {
        spin_pause();
        word = atomic_load_explicit(&pool->word, memory_order_acquire);
    }
    if ((word & INSIDE) == 0) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_waiting, true);
    while ((atomic_load(&pool->word) & INSIDE) != 0) {
        pthread_cond_wait(&pool->done, &pool->mutex);
    }
    atomic_store(&pool->caller_waiting, false);
    pthread_mutex_unlock(&pool->mutex);
}

void tm_pool_run(tm_pool *pool, uint64_t count, tm_pool_body *body, void *context) {
    bool inside = current_pool == pool;
    uint64_t index, job;
    if (inside || pool->workers == 1 || count <= 1) {
        uint32_t worker = inside ? current_worker : 0;
        for (index = 0; index < count; index++) {
            tm_fpenv_reset();
            body(context, index, worker);
        }
        tm_fpenv_reset();
        return;
    }
    pool->count = count;
    pool->body = body;
    pool->context = context;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    job = JOB(atomic_load_explicit(&pool->word, memory_order_relaxed)) + 1;
    atomic_store(&pool->word, job << 32 | OPEN);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->work);
        pthread_mutex_unlock(&pool->mutex);
    }
    {
        const tm_pool *outer = current_pool; /* another pool's body may call this one */
        uint32_t outer_worker = current_worker;
        current_pool = pool;
        current_worker = 0;
        work_on(pool, 0);
        current_pool = outer;
        current_worker = outer_worker;
    }
    finish(pool);
    tm_fpenv_reset();
}

void tm_pool_free(tm_pool *pool) {
    uint32_t i;
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (i = 0; i < pool->started_count; i++) {
        pthread_join(pool->started[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->started);
    free(pool);
}

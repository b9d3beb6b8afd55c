/* test_pool.c: each index once, from any number of workers, however often; run under -DTEMPER_SANITIZE=thread, too. The
 * counters are plain on purpose where the pool promises an order, so that the sanitizer sees a broken promise. */
#include "base/pool.h"

#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#if defined(__SANITIZE_THREAD__)
enum { ROUNDS = 2000 };
#else
enum { ROUNDS = 20000 };
#endif

typedef struct job {
    tm_pool *pool;
    uint32_t *times; /* an index is one worker's alone */
    uint32_t workers;
    _Atomic uint64_t total;
    _Atomic bool bad_worker;
} job;

static void count_one(void *context, uint64_t index, uint32_t worker) {
    job *j = context;
    j->times[index]++;
    atomic_fetch_add_explicit(&j->total, index, memory_order_relaxed);
    if (worker >= j->workers) {
        j->bad_worker = true;
    }
}

static void test_each_once(void **state) {
    static const uint32_t workers[] = {1, 2, 3, 8};
    static const uint64_t counts[] = {0, 1, 2, 3, 7, 100, 1000};
    size_t w, c, i;
    (void)state;
    for (w = 0; w < 4; w++) {
        job j = {NULL, calloc(1000, sizeof(uint32_t)), workers[w], 0, false};
        assert_int_equal(tm_pool_new(workers[w], &j.pool, NULL), TEMPER_OK);
        assert_int_equal(tm_pool_workers(j.pool), workers[w]);
        for (c = 0; c < 7; c++) {
            memset(j.times, 0, 1000 * sizeof *j.times);
            tm_pool_run(j.pool, counts[c], count_one, &j);
            for (i = 0; i < 1000; i++) {
                assert_int_equal(j.times[i], i < counts[c]);
            }
        }
        assert_false(j.bad_worker);
        tm_pool_free(j.pool);
        free(j.times);
    }
}

/* Many short jobs, one after the other, with pauses in which workers go to sleep. */
static void test_many_jobs(void **state) {
    job j = {NULL, calloc(8, sizeof(uint32_t)), 4, 0, false};
    struct timespec pause = {0, 200 * 1000};
    uint32_t round, i;
    (void)state;
    assert_int_equal(tm_pool_new(4, &j.pool, NULL), TEMPER_OK);
    for (round = 0; round < ROUNDS; round++) {
        tm_pool_run(j.pool, 8, count_one, &j);
        if (round % 100 == 0) {
            nanosleep(&pause, NULL);
        }
    }
    for (i = 0; i < 8; i++) {
        assert_int_equal(j.times[i], ROUNDS);
    }
    assert_true(j.total == (uint64_t)ROUNDS * 28);
    tm_pool_free(j.pool);
    free(j.times);
}

static void nested(void *context, uint64_t index, uint32_t worker) {
    job *outer = context, inner = {outer->pool, calloc(5, sizeof(uint32_t)), outer->workers, 0, false};
    size_t i;
    (void)index;
    tm_pool_run(outer->pool, 5, count_one, &inner);
    for (i = 0; i < 5; i++) {
        atomic_fetch_add(&outer->total, inner.times[i]);
    }
    if (inner.bad_worker || worker >= outer->workers) {
        outer->bad_worker = true;
    }
    free(inner.times);
}

static void test_nested(void **state) {
    uint32_t workers;
    (void)state;
    for (workers = 1; workers <= 3; workers++) {
        job j = {NULL, NULL, workers, 0, false};
        assert_int_equal(tm_pool_new(workers, &j.pool, NULL), TEMPER_OK);
        tm_pool_run(j.pool, 50, nested, &j);
        assert_true(j.total == 250);
        assert_false(j.bad_worker);
        tm_pool_free(j.pool);
    }
}

static void check_rounding(void *context, uint64_t index, uint32_t worker) {
    job *j = context;
    (void)index;
    (void)worker;
    if (fegetround() != FE_TONEAREST) {
        j->bad_worker = true;
    }
    fesetround(FE_UPWARD); /* as a careless library would */
}

static void test_floating_point(void **state) {
    job j = {NULL, NULL, 2, 0, false};
    uint32_t round;
    (void)state;
    fesetround(FE_DOWNWARD);
    assert_false(tm_fpenv_reset());
    assert_int_equal(fegetround(), FE_TONEAREST);
    assert_true(tm_fpenv_reset());
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040); /* flush to zero, denormals are zero */
    assert_false(tm_fpenv_reset());
    assert_int_equal(__builtin_ia32_stmxcsr() & 0x8040, 0);
#endif
    fesetround(FE_UPWARD);
    assert_int_equal(tm_pool_new(2, &j.pool, NULL), TEMPER_OK); /* its thread inherits that */
    tm_fpenv_reset();
    for (round = 0; round < 100; round++) {
        tm_pool_run(j.pool, round % 5, check_rounding, &j);
        assert_int_equal(fegetround(), FE_TONEAREST);
    }
    assert_false(j.bad_worker);
    tm_pool_free(j.pool);
    tm_fpenv_reset();
}

static void test_refused(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    tm_pool *pool;
    (void)state;
    assert_int_equal(tm_pool_new(0, &pool, &error), TEMPER_INVALID);
    assert_int_equal(tm_pool_new(100000, &pool, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "100000"));
    tm_pool_free(NULL);
}

static void some_work(void *context, uint64_t index, uint32_t worker) {
    volatile uint32_t *sum = (volatile uint32_t *)context + index * 64;
    uint32_t i;
    (void)worker;
    for (i = 0; i < 5000; i++) {
        *sum = *sum * 3 + i;
    }
}

static double time_jobs(uint32_t workers) {
    static uint32_t sums[2 * 64];
    struct timespec start, end;
    tm_pool *pool;
    uint32_t round;
    assert_int_equal(tm_pool_new(workers, &pool, NULL), TEMPER_OK);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (round = 0; round < ROUNDS / 20; round++) {
        tm_pool_run(pool, 2, some_work, sums);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    tm_pool_free(pool);
    return ((double)(end.tv_sec - start.tv_sec) * 1e6 + (double)(end.tv_nsec - start.tv_nsec) * 1e-3) /
           (ROUNDS / 20);
}

/* Not a check of time, which a loaded machine would fail: a number for the curious. */
static void test_handing_over(void **state) {
    double one, two;
    (void)state;
    one = time_jobs(1);
    two = time_jobs(2);
    print_message("two pieces of work: %.2f us with one worker, %.2f us with two\n", one, two);
    assert_true(one > 0 && two > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_once), cmocka_unit_test(test_many_jobs),
        cmocka_unit_test(test_nested),    cmocka_unit_test(test_floating_point),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_handing_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

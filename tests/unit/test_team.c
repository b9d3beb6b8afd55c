/* test_team.c: workers that stay together do every index exactly once, whoever comes and in whatever order a host deals. */
#include "../../plugins/lm/layers/layers.h"
#include "../support/cmocka_all.h"
#include "../support/workers.h"

enum { COUNT = 1001, JOBS = 300, WORKERS = 4 };

typedef struct round {
    lm_context *context;
    unsigned char done[COUNT];
    unsigned conducted, wrong;
} round;

static void mark(void *argument, size_t index, size_t worker) {
    round *self = argument;
    self->done[index]++;
    if (worker >= WORKERS) { /* no test fails on another thread */
        self->wrong++;
    }
}

static void mark_range(void *argument, size_t begin, size_t end, size_t worker) {
    for (size_t i = begin; i < end; i++) {
        mark(argument, i, worker);
    }
}

/* Ranges of whole steps: one that begins elsewhere is marked wrong. */
static void mark_steps(void *argument, size_t begin, size_t end, size_t worker) {
    round *self = argument;
    if (begin % 7 != 0 || (end % 7 != 0 && end != COUNT)) {
        self->wrong++;
    }
    mark_range(argument, begin, end, worker);
}

static void conduct(void *argument) {
    round *self = argument;
    self->conducted++;
    for (size_t job = 0; job < JOBS; job++) {
        size_t work = job % 5 == 4 ? 1 : (size_t)1 << 30; /* now and then too little to share */
        switch (job % 3) {
        case 0: lm_context_run(self->context, work, COUNT, mark, self); break;
        case 1: lm_context_ranges(self->context, work, COUNT, 1, mark_range, self); break;
        default: lm_context_ranges(self->context, work, COUNT, 7, mark_steps, self); break;
        }
        for (size_t i = 0; i < COUNT; i++) {
            self->wrong += self->done[i] != 1;
            self->done[i] = 0;
        }
    }
}

/* Indices backwards, on one thread: a host may. */
static void run_backwards(void *self, size_t count, lm_body *body, void *context) {
    (void)self;
    for (size_t i = count; i-- > 0;) {
        body(context, i, (i + 1) % WORKERS);
    }
}

/* How much went wrong. */
static unsigned run_all(lm_parallel parallel) {
    const char *reason;
    temper_error error = TEMPER_ERROR_INIT;
    lm_context context;
    if (lm_context_init(&context, lm_kernels_choose(NULL, &reason), "f32/1", parallel, &error)) {
        return 1;
    }
    round self = {.context = &context};
    for (int pass = 0; pass < 5; pass++) {
        lm_context_together(&context, conduct, &self);
    }
    lm_context_free(&context);
    return self.wrong + (self.conducted != 5);
}

static void in_a_pool(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    for (uint32_t workers = 1; workers <= WORKERS; workers++) {
        tm_pool *pool = NULL;
        assert_int_equal(tm_pool_new(workers, &pool, &error), 0);
        assert_int_equal(run_all(workers_of(pool)), 0);
        tm_pool_free(pool);
    }
}

static void dealt_backwards(void **state) {
    (void)state;
    assert_int_equal(run_all((lm_parallel){WORKERS, NULL, run_backwards}), 0);
}

/* Called from inside a body, a pool runs serially: the team has one member then. */
typedef struct nested {
    lm_parallel parallel;
    unsigned wrong;
} nested;

static void nested_body(void *argument, size_t index, size_t worker) {
    nested *self = argument;
    (void)worker;
    if (index == 0) {
        self->wrong = run_all(self->parallel);
    }
}

static void from_inside_a_body(void **state) {
    temper_error error = TEMPER_ERROR_INIT;
    tm_pool *pool = NULL;
    (void)state;
    assert_int_equal(tm_pool_new(WORKERS, &pool, &error), 0);
    nested self = {workers_of(pool), 1};
    self.parallel.run(self.parallel.self, 2, nested_body, &self);
    tm_pool_free(pool);
    assert_int_equal(self.wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_a_pool),
        cmocka_unit_test(dealt_backwards),
        cmocka_unit_test(from_inside_a_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

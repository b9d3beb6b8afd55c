/* team.c: workers that stay together for many small jobs: the products of one forward pass, some hundred of them, each of
 * a few microseconds.
 *
 * Invariant: one member conducts and is the only one to hand out jobs; the others stand by. Nobody waits for a member
 * that has not joined a job: a member joins by adding itself to the word, and the conductor, done with all that is left,
 * closes the job and waits for those inside alone. So a worker that comes late, or never, costs nothing but its help. An
 * index is done once, by whoever takes it; a member takes from its own share first (neighbours in memory), then from
 * what others have left.
 *
 * On a machine with more to do than processors, a member may be put aside in the middle of a job, and the conductor can
 * but wait. When that took long it works alone for a while, longer each time; and who stands by for long in vain leaves. */
#include "team.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define INSIDE UINT64_C(0x7fffffff)
#define OPEN UINT64_C(0x80000000)
#define JOB(word) ((word) >> 32)
enum { SPINS_BEFORE_YIELDING = 4096, FEW_ALONE = 64, MOST_ALONE = 4096 };
#define LONG_WAIT 1e-3 /* seconds, beyond what the conductor's own part took */
#define VAIN_WAIT 50e-3

typedef struct share {
    _Alignas(64) _Atomic size_t next;
    size_t end;
} share;

struct lm_team {
    size_t workers;
    bool active;                /* somebody conducts; read and written by the conductor alone */
    size_t leader;              /* the conductor's worker */
    unsigned alone, next_alone; /* jobs to do alone yet; how many the next long wait costs */
    share *shares;              /* [workers] */

    /* the job: written by the conductor while nobody is inside */
    lm_range_body *body;
    void *argument;
    size_t count, step;
    bool one_by_one;

    _Alignas(64) _Atomic uint64_t word; /* the job's number, whether it may be joined, how many are inside */
    _Alignas(64) _Atomic bool over;
};

lm_team *lm_team_new(size_t workers) {
    lm_team *self = aligned_alloc(64, (sizeof *self + 63) / 64 * 64);
    share *shares =
        workers > SIZE_MAX / 2 / sizeof *shares ? NULL : aligned_alloc(64, workers * sizeof *shares);
    if (self == NULL || shares == NULL) {
        free(self);
        free(shares);
        return NULL;
    }
    memset(self, 0, sizeof *self);
    memset(shares, 0, workers * sizeof *shares);
    self->workers = workers;
    self->shares = shares;
    self->next_alone = FEW_ALONE;
    return self;
}

void lm_team_free(lm_team *self) {
    if (self != NULL) {
        free(self->shares);
        free(self);
    }
}

bool lm_team_active(const lm_team *self) {
    return self != NULL && self->active;
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Waits a little: longer each time, and before long with a word to the scheduler. */
static void wait_a_little(unsigned *spins) {
    if (++*spins > SPINS_BEFORE_YIELDING) {
        sched_yield();
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Takes some of a share, a quarter of what is left; false when there is nothing. */
static bool take(share *from, bool one_by_one, size_t *begin, size_t *end) {
    size_t next = atomic_load_explicit(&from->next, memory_order_relaxed);
    for (;;) {
        if (next >= from->end) {
            return false;
        }
        size_t part = one_by_one ? 1 : (from->end - next + 3) / 4;
        if (atomic_compare_exchange_weak_explicit(&from->next, &next, next + part, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            *begin = next;
            *end = next + part;
            return true;
        }
    }
}

static void work(lm_team *self, size_t worker) {
    size_t begin, end;
    for (size_t i = 0; i < self->workers; i++) {
        size_t whose = worker + i < self->workers ? worker + i : worker + i - self->workers;
        while (take(&self->shares[whose], self->one_by_one, &begin, &end)) {
            end = end * self->step < self->count ? end * self->step : self->count;
            self->body(self->argument, begin * self->step, end, worker);
        }
    }
}

static void body_alone(const lm_team *self, size_t count, lm_range_body *body, void *argument,
                       bool one_by_one) {
    for (size_t i = 0; one_by_one && i < count; i++) {
        body(argument, i, i + 1, self->leader);
    }
    if (!one_by_one) {
        body(argument, 0, count, self->leader);
    }
}

void lm_team_run(lm_team *self, size_t count, size_t step, bool one_by_one, lm_range_body *body,
                 void *argument) {
    size_t steps = (count + step - 1) / step, each = steps / self->workers, more = steps % self->workers,
           begin = 0;
    unsigned spins = 0;
    if (self->alone > 0) {
        self->alone--;
        body_alone(self, count, body, argument, one_by_one);
        return;
    }
    self->body = body;
    self->argument = argument;
    self->count = count;
    self->step = step;
    self->one_by_one = one_by_one;
    for (size_t i = 0; i < self->workers; i++) {
        self->shares[i].end = begin + each + (i < more);
        atomic_store_explicit(&self->shares[i].next, begin, memory_order_relaxed);
        begin = self->shares[i].end;
    }
    uint64_t job = JOB(atomic_load_explicit(&self->word, memory_order_relaxed)) + 1;
    atomic_store_explicit(&self->word, job << 32 | OPEN, memory_order_release);
    double begun = seconds_now();
    work(self, self->leader);
    double done = seconds_now();
    uint64_t word = atomic_fetch_and_explicit(&self->word, ~OPEN, memory_order_acq_rel);
    while ((word & INSIDE) != 0) {
        wait_a_little(&spins);
        word = atomic_load_explicit(&self->word, memory_order_acquire);
    }
    if (spins > SPINS_BEFORE_YIELDING && seconds_now() - done > done - begun + LONG_WAIT) {
        self->alone = self->next_alone;
        self->next_alone = self->next_alone < MOST_ALONE ? 2 * self->next_alone : MOST_ALONE;
    } else if (self->next_alone > FEW_ALONE) {
        self->next_alone--;
    }
}

static bool may_join(uint64_t word, uint64_t last) {
    return (word & OPEN) != 0 && JOB(word) != last;
}

static void stand_by(lm_team *self, size_t worker) {
    uint64_t last = 0;
    unsigned spins = 0;
    double since = 0;
    while (!atomic_load_explicit(&self->over, memory_order_acquire)) {
        uint64_t word = atomic_load_explicit(&self->word, memory_order_relaxed);
        while (may_join(word, last) &&
               !atomic_compare_exchange_weak_explicit(&self->word, &word, word + 1, memory_order_acquire,
                                                      memory_order_relaxed)) {
        }
        if (!may_join(word, last)) {
            if (spins == SPINS_BEFORE_YIELDING) {
                since = seconds_now();
            } else if (spins > SPINS_BEFORE_YIELDING && seconds_now() - since > VAIN_WAIT) {
                return;
            }
            wait_a_little(&spins);
            continue;
        }
        last = JOB(word);
        work(self, worker);
        atomic_fetch_sub_explicit(&self->word, 1, memory_order_release);
        spins = 0;
    }
}

typedef struct together {
    lm_team *team;
    void (*conduct)(void *);
    void *argument;
    _Atomic bool begun;
} together;

/* The first to come conducts, whatever its index: so whoever stands by knows that somebody conducts, or has. */
static void member(void *argument, size_t index, size_t worker) {
    together *job = argument;
    (void)index;
    if (atomic_exchange_explicit(&job->begun, true, memory_order_relaxed)) {
        stand_by(job->team, worker);
        return;
    }
    job->team->leader = worker;
    job->team->active = true;
    job->conduct(job->argument);
    job->team->active = false;
    atomic_store_explicit(&job->team->over, true, memory_order_release);
}

void lm_context_together(const lm_context *self, void (*conduct)(void *), void *argument) {
    lm_team *team = self->scratch->team;
    if (team == NULL || team->active) {
        conduct(argument);
        return;
    }
    together job = {team, conduct, argument, false};
    atomic_store_explicit(&team->over, false, memory_order_relaxed);
    self->parallel.run(self->parallel.self, self->parallel.workers, member, &job);
}

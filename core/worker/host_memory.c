/* host_memory.c: memory, and its bound.
 *
 * A plugin's allocations come from a jemalloc arena of its own. The bound is the whole process's, since a library a
 * plugin links calls malloc itself: extent hooks on every arena count what is mapped and refuse past the limit, so both
 * malloc and the host's calls give NULL there. `retain` is off and decay is short, so that what was freed counts for
 * little. A refusal is told to the scheduler at once: a plugin that does not look at malloc's answer crashes next.
 *
 * With sanitizers malloc is theirs, and so is this one: they see overruns, and there is no bound. */
#include "base/memory.h"
#include "worker/host.h"

#include "worker/wire.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static uint64_t limit;
static _Atomic int64_t peak; /* of what is mapped */
static _Atomic uint64_t refused;

static _Atomic uint64_t allowed; /* 0: all; else how many more, plus one */

void tm_memory_refuse_after(uint64_t count) {
    atomic_store(&allowed, count);
}

bool tm_memory_refuses(void) {
    uint64_t left = atomic_load_explicit(&allowed, memory_order_relaxed);
    while (left > 1 && !atomic_compare_exchange_weak(&allowed, &left, left - 1)) {
    }
    return left == 1;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

temper_status tm_memory_start(uint64_t bytes, temper_error *error) {
    (void)error;
    limit = bytes > 0
                ? bytes
                : tm_memory_of_machine(); /* told, and not held to: the sanitizer's malloc has no bound */
    return TEMPER_OK;
}

temper_status tm_memory_arena(unsigned *out, temper_error *error) {
    (void)error;
    *out = 0;
    return TEMPER_OK;
}

void *tm_host_allocate(const temper_host *host, size_t bytes) {
    (void)host;
    return tm_memory_refuses() ? NULL : malloc(bytes > 0 ? bytes : 1);
}

void *tm_host_reallocate(const temper_host *host, void *block, size_t bytes) {
    (void)host;
    return tm_memory_refuses() ? NULL : realloc(block, bytes > 0 ? bytes : 1);
}

void tm_host_release(const temper_host *host, void *block) {
    (void)host;
    free(block);
}

static int64_t memory_now(void) {
    return 0;
}

#else

#include <jemalloc/jemalloc.h>

enum { ALIGNMENT = 16, ALL_ARENAS = 4096 /* jemalloc's MALLCTL_ARENAS_ALL */ };

/* Read by jemalloc before main. Four arenas are enough for the pool's threads and keep what each hoards small. */
__attribute__((visibility("default"))) extern const char *malloc_conf;
const char *malloc_conf = "retain:false,dirty_decay_ms:1000,muzzy_decay_ms:0,oversize_threshold:0,narenas:4";

static extent_hooks_t *system_hooks, bounded_hooks;
static _Atomic int64_t mapped;

static void say_refused(size_t bytes) {
    char line[96];
    uint64_t none = 0;
    if (atomic_compare_exchange_strong(&refused, &none, bytes)) {
        int length = snprintf(line, sizeof line, "{\"refused\":{\"bytes\":%zu,\"limit\":%llu}}\n", bytes,
                              (unsigned long long)limit);
        tm_wire_send(line, (size_t)length);
    }
}

static void *bounded_alloc(extent_hooks_t *hooks, void *address, size_t size, size_t alignment, bool *zero,
                           bool *commit, unsigned arena) {
    (void)hooks;
    int64_t now = atomic_fetch_add(&mapped, (int64_t)size) + (int64_t)size;
    void *extent = now > 0 && (uint64_t)now > limit
                       ? NULL
                       : system_hooks->alloc(system_hooks, address, size, alignment, zero, commit, arena);
    if (extent == NULL) {
        atomic_fetch_sub(&mapped, (int64_t)size);
        if (now > 0 && (uint64_t)now > limit) {
            say_refused(size);
        }
        return NULL;
    }
    int64_t highest = atomic_load(&peak);
    while (now > highest && !atomic_compare_exchange_weak(&peak, &highest, now)) {
    }
    return extent;
}

static bool bounded_dalloc(extent_hooks_t *hooks, void *address, size_t size, bool committed,
                           unsigned arena) {
    (void)hooks;
    bool kept = system_hooks->dalloc(system_hooks, address, size, committed, arena);
    if (!kept) {
        atomic_fetch_sub(&mapped, (int64_t)size);
    }
    return kept;
}

static void bounded_destroy(extent_hooks_t *hooks, void *address, size_t size, bool committed,
                            unsigned arena) {
    (void)hooks;
    system_hooks->destroy(system_hooks, address, size, committed, arena);
    atomic_fetch_sub(&mapped, (int64_t)size);
}

temper_status tm_memory_start(uint64_t bytes, temper_error *error) {
    size_t size = sizeof system_hooks, count_size = sizeof(unsigned);
    extent_hooks_t *hooks = &bounded_hooks;
    unsigned count = 0;
    limit = bytes > 0 ? bytes : tm_memory_of_machine();
    if (mallctl("arena.0.extent_hooks", &system_hooks, &size, NULL, 0) != 0 ||
        mallctl("opt.narenas", &count, &count_size, NULL, 0) != 0) {
        return temper_fail(error, TEMPER_FAILED,
                           "this jemalloc has no extent hooks: the memory bound cannot be kept");
    }
    bounded_hooks = *system_hooks;
    bounded_hooks.alloc = bounded_alloc;
    bounded_hooks.dalloc = bounded_dalloc;
    bounded_hooks.destroy = bounded_destroy;
    for (unsigned i = 0; i < count; i++) {
        char name[48];
        snprintf(name, sizeof name, "arena.%u.extent_hooks", i);
        if (mallctl(name, NULL, NULL, &hooks, sizeof hooks) != 0) {
            return temper_fail(error, TEMPER_FAILED, "jemalloc refuses extent hooks on arena %u", i);
        }
    }
    return TEMPER_OK;
}

temper_status tm_memory_arena(unsigned *out, temper_error *error) {
    extent_hooks_t *hooks = &bounded_hooks;
    size_t size = sizeof *out;
    if (mallctl("arenas.create", out, &size, &hooks, sizeof hooks) != 0) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a plugin's arena");
    }
    return TEMPER_OK;
}

/* What was freed but not yet given back may be what is missing. */
static void give_back(void) {
    char name[32];
    snprintf(name, sizeof name, "arena.%d.purge", ALL_ARENAS);
    mallctl(name, NULL, NULL, NULL, 0);
}

static int64_t memory_now(void) {
    give_back();
    return atomic_load(&mapped);
}

/* No size passes PTRDIFF_MAX: jemalloc's behaviour is undefined beyond its largest class. */
void *tm_host_allocate(const temper_host *host, size_t bytes) {
    const tm_host *self = host->self;
    int flags = MALLOCX_ARENA(self->arena) | MALLOCX_TCACHE_NONE | MALLOCX_ALIGN(ALIGNMENT);
    if (tm_memory_refuses()) {
        return NULL;
    }
    if (bytes > PTRDIFF_MAX / 2) {
        say_refused(bytes);
        return NULL;
    }
    void *block = mallocx(bytes > 0 ? bytes : 1, flags);
    if (block == NULL) {
        give_back();
        block = mallocx(bytes > 0 ? bytes : 1, flags);
    }
    return block;
}

void *tm_host_reallocate(const temper_host *host, void *block, size_t bytes) {
    const tm_host *self = host->self;
    int flags = MALLOCX_ARENA(self->arena) | MALLOCX_TCACHE_NONE | MALLOCX_ALIGN(ALIGNMENT);
    if (block == NULL) {
        return tm_host_allocate(host, bytes);
    }
    if (tm_memory_refuses()) {
        return NULL;
    }
    if (bytes > PTRDIFF_MAX / 2) {
        say_refused(bytes);
        return NULL;
    }
    void *moved = rallocx(block, bytes > 0 ? bytes : 1, flags);
    if (moved == NULL) {
        give_back();
        moved = rallocx(block, bytes > 0 ? bytes : 1, flags);
    }
    return moved;
}

void tm_host_release(const temper_host *host, void *block) {
    (void)host;
    if (block != NULL) {
        dallocx(block, MALLOCX_TCACHE_NONE);
    }
}

#endif

uint64_t tm_memory_limit(void) {
    return limit;
}

uint64_t tm_memory_left(void) {
    int64_t now = memory_now();
    return limit == 0                          ? UINT64_MAX
           : now > 0 && (uint64_t)now >= limit ? 0
                                               : limit - (uint64_t)(now > 0 ? now : 0);
}

uint64_t tm_memory_peak(void) {
    return (uint64_t)atomic_load(&peak);
}

bool tm_memory_refused(uint64_t *bytes) {
    *bytes = atomic_load(&refused);
    return *bytes > 0;
}

/* host_talk.c: log, progress, cancel. Progress may be called for every token: at most ten a second go out. */
#include "worker/host.h"

#include "worker/wire.h"
#include <stdatomic.h>
#include <time.h>

enum { PROGRESS_INTERVAL_MS = 100 };

void tm_log(const char *level, const char *message) {
    temper_arena *arena = tm_arena_new();
    temper_json *entry = arena != NULL ? tm_json_object(arena) : NULL;
    char *text = entry != NULL ? tm_wire_text(arena, message) : NULL;
    if (text != NULL && tm_json_set_string(arena, entry, "level", level) &&
        tm_json_set_string(arena, entry, "message", text)) {
        tm_wire_say(arena, "log", entry);
    }
    tm_arena_free(arena);
}

void tm_host_log(const temper_host *host, temper_log_level level, const char *message) {
    (void)host;
    tm_log(level == TEMPER_LOG_DEBUG  ? "debug"
           : level == TEMPER_LOG_INFO ? "info"
                                      : "warning",
           message != NULL ? message : "");
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void tm_host_progress(const temper_host *host, uint64_t done, uint64_t total, const char *unit,
                      const char *detail) {
    static _Atomic int64_t last_time = -PROGRESS_INTERVAL_MS;
    static _Atomic uint64_t last_done = UINT64_MAX;
    int64_t now = now_ms(), last = atomic_load(&last_time);
    bool complete = done == total && atomic_load(&last_done) != done;
    (void)host;
    if ((now - last < PROGRESS_INTERVAL_MS && !complete) ||
        !atomic_compare_exchange_strong(&last_time, &last, now)) {
        return;
    }
    atomic_store(&last_done, done);
    temper_arena *arena = tm_arena_new();
    temper_json *entry = arena != NULL ? tm_json_object(arena) : NULL;
    char *unit_text = entry != NULL ? tm_wire_text(arena, unit != NULL ? unit : "") : NULL;
    char *detail_text = entry != NULL ? tm_wire_text(arena, detail != NULL ? detail : "") : NULL;
    if (unit_text != NULL && detail_text != NULL &&
        tm_json_set_integer(arena, entry, "done", (int64_t)done) &&
        tm_json_set_integer(arena, entry, "total", (int64_t)total) &&
        tm_json_set_string(arena, entry, "unit", unit_text) &&
        tm_json_set_string(arena, entry, "detail", detail_text)) {
        tm_wire_say(arena, "progress", entry);
    }
    tm_arena_free(arena);
}

bool tm_host_cancelled(const temper_host *host) {
    (void)host;
    return tm_wire_cancelled();
}

/* child.h: a worker process, from its start to the words for how it died. Private to core/plugin.
 *
 * Invariants: the process leads a process group of its own, and ending a child ends the whole group, so nothing a plugin
 * started outlives its stage. What it prints never reaches the terminal: it comes as lines. */
#ifndef TM_CHILD_H
#define TM_CHILD_H

#include "base/buffer.h"
#include "base/json.h"
#include <sys/types.h>

typedef struct tm_child {
    pid_t pid;
    int wire;            /* the socket, or the pipe its answer comes from (describing); -1 once closed */
    int words;           /* what it prints; -1 once closed */
    tm_buffer wire_text; /* read, and not yet taken as lines */
    size_t wire_at;
    tm_buffer words_text;
    size_t words_at, words_total;
    char last_words[256];            /* the last line it printed: an assertion's text, often the best clue */
    char crashed_at[256];            /* the worker said where: "my-filter.so+0x12f0" */
    uint64_t refused, refused_limit; /* the worker said that memory was refused */
} tm_child;

/* With `describe` a file to describe: its answer comes on `wire`. Else a job: `wire` is the socket, both ways. */
temper_status tm_child_start(tm_child *child, const char *worker, const char *describe, temper_error *error);
/* Waits up to `milliseconds` for something to read, and reads it. False when the wire has closed. */
bool tm_child_poll(tm_child *child, int milliseconds);
/* The next whole line of the wire (0-terminated, valid until the next call), or NULL. */
char *tm_child_line(tm_child *child, size_t *length);
/* The next line of what it printed, or NULL. */
char *tm_child_words(tm_child *child);
/* Sends a JSON value as a line; false when the child is gone. */
bool tm_child_send(const tm_child *child, const temper_json *value);
bool tm_child_send_text(const tm_child *child, const char *line, size_t length);
/* Waits up to `seconds` for it to end by itself, then kills the group; reaps, closes, frees. `how` (may be NULL) gets words:
 * "crashed (SIGSEGV: …)", "left by exit(0)". `killed`: it did not end by itself. */
void tm_child_end(tm_child *child, double seconds, char *how, size_t how_size, bool *killed,
                  double *cpu_seconds);

/* Is the flag of a signal handler or another thread set? NULL: never. */
static inline bool tm_cancel_wanted(const volatile int *cancel) {
    return cancel != NULL && __atomic_load_n(cancel, __ATOMIC_RELAXED) != 0;
}

double tm_seconds_now(void);
/* How long a stage has to stop before it is killed: 5 s, or $TEMPER_CANCEL_GRACE. */
double tm_cancel_grace(void);

#endif

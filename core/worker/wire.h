/* wire.h: the worker's side of the socket to the program that started it (core/plugin/job.h has the words).
 *
 * Invariant: a line goes out whole, under one lock, and nothing is allocated while the lock is held; so the memory hooks
 * may speak from inside malloc. When the other side is gone there is nobody to work for: the process ends at once. */
#ifndef TM_WIRE_H
#define TM_WIRE_H

#include "base/buffer.h"
#include "base/json.h"

enum { TM_WORKER_DESCRIPTOR = 3, TM_WORKER_LOST = 4 /* exit code: the other side is gone */ };

/* Takes over descriptor 3: moved where a plugin does not stumble over it, closed in processes a plugin starts. */
temper_status tm_wire_open(temper_error *error);
/* Reads one line (without its end) before tm_wire_listen. */
temper_status tm_wire_read(tm_buffer *line, temper_error *error);
/* From now on a thread reads: {"cancel":true} sets the flag, any other line
 * (a turn, which clears it) waits for tm_wire_wait. */
temper_status tm_wire_listen(temper_error *error);
bool tm_wire_cancelled(void);
/* The next line (serve mode); malloc'ed, 0-terminated. Blocks. */
char *tm_wire_wait(void);

/* `line` ends in '\n'. Any thread; also from inside an allocation. */
void tm_wire_send(const char *line, size_t length);
/* The same from a signal handler: when somebody holds the lock, nothing is said. */
void tm_wire_last_words(const char *line, size_t length);
/* {"name": value} */
void tm_wire_say(temper_arena *arena, const char *name, const temper_json *value);
/* Text as JSON can hold it: bytes that are not UTF-8 become '?'. */
char *tm_wire_text(temper_arena *arena, const char *text);

#endif

/* wire.c: see wire.h. One socket a process, hence the file's own state. */
#include "worker/wire.h"

#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HIGH_DESCRIPTOR = 200, LONGEST_LINE = 64 << 20 };

static int wire = -1;
static pthread_mutex_t sending = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool cancelled;

/* Lines read and not yet asked for. */
typedef struct waiting_line {
    struct waiting_line *next;
    char text[];
} waiting_line;
static waiting_line *first_line, **last_line = &first_line;
static pthread_mutex_t waiting = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrived = PTHREAD_COND_INITIALIZER;

/* Bytes read beyond the last line. */
static char pending[65536];
static size_t pending_start, pending_end;

temper_status tm_wire_open(temper_error *error) {
    wire = fcntl(TM_WORKER_DESCRIPTOR, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
    if (wire < 0) {
        return temper_fail(error, TEMPER_IO,
                           "descriptor 3 is not a socket: temper-worker is started by temper");
    }
    close(TM_WORKER_DESCRIPTOR);
    return TEMPER_OK;
}

/* One line into `line`; TEMPER_END when the socket has closed. */
static temper_status read_line(tm_buffer *line, temper_error *error) {
    tm_buffer_clear(line);
    for (;;) {
        if (pending_start < pending_end) {
            char *start = pending + pending_start;
            char *end = memchr(start, '\n', pending_end - pending_start);
            size_t count = end != NULL ? (size_t)(end - start) : pending_end - pending_start;
            tm_buffer_append(line, start, count);
            pending_start += count + (end != NULL);
            if (!tm_buffer_ok(line)) {
                return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a line of the wire");
            }
            if (end != NULL) {
                return TEMPER_OK;
            }
            if (line->length > LONGEST_LINE) {
                return temper_fail(error, TEMPER_INVALID, "a line of the wire is longer than %d bytes",
                                   LONGEST_LINE);
            }
        }
        ssize_t got = read(wire, pending, sizeof pending);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return TEMPER_END;
        }
        pending_start = 0;
        pending_end = (size_t)got;
    }
}

temper_status tm_wire_read(tm_buffer *line, temper_error *error) {
    temper_status status = read_line(line, error);
    return status == TEMPER_END ? temper_fail(error, TEMPER_IO, "the socket closed before a job came")
                                : status;
}

static void keep_line(const tm_buffer *line) {
    waiting_line *kept = malloc(sizeof *kept + line->length + 1);
    if (kept == NULL) {
        _exit(TM_WORKER_LOST);
    }
    kept->next = NULL;
    memcpy(kept->text, line->data, line->length + 1);
    pthread_mutex_lock(&waiting);
    *last_line = kept;
    last_line = &kept->next;
    pthread_cond_signal(&arrived);
    pthread_mutex_unlock(&waiting);
}

static void *listen_to_wire(void *unused) {
    tm_buffer line = TM_BUFFER_INIT;
    (void)unused;
    /* The whole process goes when the other side has: a killed scheduler leaves no worker to race the next run. */
    while (read_line(&line, NULL) == TEMPER_OK) {
        if (strcmp(line.data, "{\"cancel\":true}") == 0) {
            atomic_store(&cancelled, true);
        } else {
            atomic_store(&cancelled, false); /* a new turn: a cancel sent before it was the last turn's */
            keep_line(&line);
        }
    }
    _exit(TM_WORKER_LOST);
}

temper_status tm_wire_listen(temper_error *error) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int failed = pthread_create(&thread, &attributes, listen_to_wire, NULL);
    pthread_attr_destroy(&attributes);
    return failed ? temper_fail(error, TEMPER_FAILED, "cannot start a thread: %s", strerror(failed))
                  : TEMPER_OK;
}

bool tm_wire_cancelled(void) {
    return atomic_load_explicit(&cancelled, memory_order_relaxed);
}

char *tm_wire_wait(void) {
    pthread_mutex_lock(&waiting);
    while (first_line == NULL) {
        pthread_cond_wait(&arrived, &waiting);
    }
    waiting_line *line = first_line;
    first_line = line->next;
    if (first_line == NULL) {
        last_line = &first_line;
    }
    pthread_mutex_unlock(&waiting);
    memmove(line, line->text, strlen(line->text) + 1);
    return (char *)line;
}

static bool send_whole(const char *line, size_t length) {
    while (length > 0) {
        ssize_t sent = send(wire, line, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent <= 0) {
            return false;
        }
        line += sent;
        length -= (size_t)sent;
    }
    return true;
}

void tm_wire_send(const char *line, size_t length) {
    if (wire < 0) {
        return; /* describing: there is no wire */
    }
    pthread_mutex_lock(&sending);
    if (!send_whole(line, length)) {
        _exit(TM_WORKER_LOST);
    }
    pthread_mutex_unlock(&sending);
}

void tm_wire_last_words(const char *line, size_t length) {
    if (wire >= 0 && pthread_mutex_trylock(&sending) == 0) {
        send_whole(line, length);
        pthread_mutex_unlock(&sending);
    }
}

void tm_wire_say(temper_arena *arena, const char *name, const temper_json *value) {
    tm_buffer line = TM_BUFFER_INIT;
    temper_json *object = tm_json_object(arena);
    if (object != NULL && tm_json_set(arena, object, name, value) &&
        tm_json_write(object, &line, NULL) == TEMPER_OK) {
        tm_buffer_byte(&line, '\n');
        if (tm_buffer_ok(&line)) {
            tm_wire_send(line.data, line.length);
        }
    }
    tm_buffer_free(&line);
}

char *tm_wire_text(temper_arena *arena, const char *text) {
    size_t length = strlen(text), start = 0, bad;
    char *copy = tm_arena_copy(arena, text, length);
    while (copy != NULL && !tm_text_utf8(copy + start, length - start, &bad)) {
        copy[start + bad] = '?';
        start += bad;
    }
    return copy;
}

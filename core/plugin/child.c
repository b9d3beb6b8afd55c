/* child.c: see child.h. posix_spawn, since the scheduler has threads. */
#include "plugin/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    WORKER_WIRE = 3,
    WIRE_LOST = 4 /* the worker's exit code: it cannot reach us, while we still listen */,
    LONGEST_LINE = 64 << 20,
    LONGEST_WORDS = 4096,
    MOST_WORDS = 1 << 20
};

extern char **environ;

double tm_seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double tm_cancel_grace(void) {
    const char *text = getenv("TEMPER_CANCEL_GRACE");
    char *end;
    double seconds = text != NULL ? strtod(text, &end) : 5;
    return text != NULL && (end == text || !(seconds >= 0) || seconds > 3600) ? 5 : seconds;
}

static void close_if(int *descriptor) {
    if (*descriptor >= 0) {
        close(*descriptor);
        *descriptor = -1;
    }
}

/* Default signals, none blocked, a process group of its own: the terminal's Ctrl-C is for the scheduler alone. */
static int spawn(pid_t *pid, const char *worker, const char *describe, int wire, int words) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    char name[] = "temper-worker", option[] = "--describe";
    char *file = describe != NULL ? strdup(describe) : NULL;
    char *arguments[] = {name, file != NULL ? option : NULL, file, NULL};
    sigemptyset(&none);
    sigfillset(&all);
    sigdelset(&all, SIGKILL);
    sigdelset(&all, SIGSTOP);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int failed = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    failed |= posix_spawn_file_actions_adddup2(&actions, describe != NULL ? wire : words, STDOUT_FILENO);
    failed |= posix_spawn_file_actions_adddup2(&actions, words, STDERR_FILENO);
    if (describe == NULL) {
        failed |= posix_spawn_file_actions_adddup2(&actions, wire, WORKER_WIRE);
    }
    if (!failed) {
        failed = posix_spawn(pid, worker, &actions, &attributes, arguments, environ);
    }
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    free(file);
    return failed;
}

/* Descriptors 0 to 3 are written over in the child while it starts; so ours are moved above them. */
static int above_standard(int descriptor) {
    int moved = fcntl(descriptor, F_DUPFD_CLOEXEC, 10);
    close(descriptor);
    return moved;
}

temper_status tm_child_start(tm_child *child, const char *worker, const char *describe, temper_error *error) {
    int wire[2] = {-1, -1}, words[2] = {-1, -1};
    memset(child, 0, sizeof *child);
    child->wire = child->words = -1;
    int failed =
        describe != NULL ? pipe2(wire, O_CLOEXEC) : socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wire);
    if (failed || pipe2(words, O_CLOEXEC) != 0) {
        temper_fail(error, TEMPER_IO, "cannot make a channel to a worker: %s", strerror(errno));
        close_if(&wire[0]);
        close_if(&wire[1]);
        return TEMPER_IO;
    }
    wire[1] = above_standard(wire[1]);
    words[1] = above_standard(words[1]);
    failed = wire[1] < 0 || words[1] < 0 ? EMFILE : spawn(&child->pid, worker, describe, wire[1], words[1]);
    close_if(&wire[1]);
    close_if(&words[1]);
    if (failed) {
        close_if(&wire[0]);
        close_if(&words[0]);
        return temper_fail(error, TEMPER_IO, "cannot start %s: %s", worker, strerror(failed));
    }
    child->wire = wire[0];
    child->words = words[0];
    fcntl(child->words, F_SETFL, O_NONBLOCK);
    return TEMPER_OK;
}

/* Reads once what is there; false at the end. */
static bool take(int descriptor, tm_buffer *text, size_t *at, size_t longest) {
    char bytes[65536];
    ssize_t got = read(descriptor, bytes, sizeof bytes);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return true;
    }
    if (got <= 0) {
        return false;
    }
    if (*at > 0) {
        memmove(text->data, text->data + *at, text->length - *at);
        text->length -= *at;
        text->data[text->length] = 0;
        *at = 0;
    }
    tm_buffer_append(text, bytes, (size_t)got);
    return tm_buffer_ok(text) && text->length <= longest;
}

/* Words are for people: beyond a megabyte a stage's are thrown away, and that is said once. */
static bool take_words(tm_child *child) {
    size_t before = child->words_text.length - child->words_at;
    if (child->words_total > MOST_WORDS) {
        char bytes[65536];
        ssize_t got = read(child->words, bytes, sizeof bytes);
        return got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN));
    }
    bool more = take(child->words, &child->words_text, &child->words_at, MOST_WORDS * 2);
    child->words_total += child->words_text.length - child->words_at - before;
    if (child->words_total > MOST_WORDS) {
        tm_buffer_text(&child->words_text, "\n(what the plugin prints beyond this is left out)\n");
    }
    return more;
}

bool tm_child_poll(tm_child *child, int milliseconds) {
    struct pollfd files[2] = {{child->wire, POLLIN, 0}, {child->words, POLLIN, 0}};
    if (poll(files, 2, milliseconds) <= 0) {
        return true; /* nothing, or a signal: the caller looks at its own flags */
    }
    if (child->words >= 0 && files[1].revents != 0 && !take_words(child)) {
        close_if(&child->words);
    }
    if (child->wire >= 0 && files[0].revents != 0) {
        return take(child->wire, &child->wire_text, &child->wire_at, LONGEST_LINE);
    }
    return child->wire >= 0;
}

static char *next_line(tm_buffer *text, size_t *at, size_t *length) {
    char *start = text->data + *at;
    char *end = *at < text->length ? memchr(start, '\n', text->length - *at) : NULL;
    if (end == NULL) {
        return NULL;
    }
    *end = 0;
    *length = (size_t)(end - start);
    *at += *length + 1;
    return start;
}

char *tm_child_line(tm_child *child, size_t *length) {
    return next_line(&child->wire_text, &child->wire_at, length);
}

char *tm_child_words(tm_child *child) {
    size_t length;
    char *line = next_line(&child->words_text, &child->words_at, &length);
    if (line == NULL && child->words_text.length - child->words_at > LONGEST_WORDS) {
        line = child->words_text.data + child->words_at; /* no end in sight: give what there is */
        child->words_at = child->words_text.length;
    }
    if (line != NULL && *line != 0) {
        snprintf(child->last_words, sizeof child->last_words, "%s", line);
    }
    return line;
}

bool tm_child_send_text(const tm_child *child, const char *line, size_t length) {
    while (length > 0) {
        ssize_t sent = send(child->wire, line, length, MSG_NOSIGNAL);
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

bool tm_child_send(const tm_child *child, const temper_json *value) {
    tm_buffer line = TM_BUFFER_INIT;
    bool ok = tm_json_write(value, &line, NULL) == TEMPER_OK;
    tm_buffer_byte(&line, '\n');
    ok = ok && tm_buffer_ok(&line) && tm_child_send_text(child, line.data, line.length);
    tm_buffer_free(&line);
    return ok;
}

static const char *signal_words(int number) {
    switch (number) {
    case SIGABRT: return "SIGABRT: it called abort(), or an assertion failed";
    case SIGSEGV: return "SIGSEGV: it touched memory that is not its own";
    case SIGBUS: return "SIGBUS: a bad memory access, or a file that shrank";
    case SIGFPE: return "SIGFPE: a division by zero of integers";
    case SIGILL: return "SIGILL: an instruction this CPU does not have, or a compiler's trap";
    case SIGKILL: return "SIGKILL: killed from outside, perhaps because the machine ran out of memory";
    case SIGXCPU: return "SIGXCPU: the CPU time limit was reached";
    default: return NULL;
    }
}

static void say_how(const siginfo_t *info, char *how, size_t size) {
    if (info->si_code == CLD_EXITED && info->si_status == WIRE_LOST) {
        snprintf(how, size, "closed descriptors that are not its own, the worker's socket among them");
    } else if (info->si_code == CLD_EXITED) {
        snprintf(how, size, "ended its process by exit(%d)", info->si_status);
    } else if (signal_words(info->si_status) != NULL) {
        snprintf(how, size, "crashed (%s)", signal_words(info->si_status));
    } else {
        snprintf(how, size, "was ended by signal %d (%s)", info->si_status, strsignal(info->si_status));
    }
}

void tm_child_end(tm_child *child, double seconds, char *how, size_t how_size, bool *killed,
                  double *cpu_seconds) {
    double deadline = tm_seconds_now() + seconds;
    siginfo_t info;
    struct rusage usage;
    bool kill_sent = false;
    /* WNOWAIT: the group is killed while its leader is not yet reaped, so its number is still its own. */
    for (;;) {
        memset(&info, 0, sizeof info);
        if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno != EINTR) {
            break;
        }
        if (info.si_pid == child->pid) {
            break;
        }
        if (!kill_sent && tm_seconds_now() >= deadline) {
            kill(-child->pid, SIGKILL);
            kill_sent = true;
        }
        tm_child_poll(child, child->words >= 0 ? 2 : 0);
        if (child->words < 0) {
            nanosleep(&(struct timespec){0, 1000000}, NULL);
        }
    }
    kill(-child->pid, SIGKILL);
    while (wait4(child->pid, NULL, 0, &usage) < 0 && errno == EINTR) {
    }
    while (child->words >= 0 && take_words(child) &&
           poll(&(struct pollfd){child->words, POLLIN, 0}, 1, 0) > 0) {
    }
    if (how != NULL) {
        say_how(&info, how, how_size);
    }
    if (killed != NULL) {
        *killed = kill_sent;
    }
    if (cpu_seconds != NULL) {
        *cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
    }
    close_if(&child->wire);
    close_if(&child->words);
    tm_buffer_free(&child->wire_text);
}

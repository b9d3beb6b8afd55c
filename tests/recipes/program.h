/* program.h: the built `temper`, run in a folder of its own with a store of its own. */
#ifndef TEMPER_TESTS_PROGRAM_H
#define TEMPER_TESTS_PROGRAM_H

#include "../support/cmocka_all.h"

#include <sys/types.h>

typedef struct program {
    char folder[64]; /* working directory */
    char home[32];   /* $TEMPER_HOME, in it */
    char out[65536], err[16384];
    int code; /* exit code, or 128 + signal */
    pid_t pid;
    int pipes[2];
} program;

int program_setup(void **state);
int program_teardown(void **state);
/* A file in the folder; folders are made. */
void program_write(const program *p, const char *name, const char *text);
char *program_read(const program *p, const char *name, size_t *length); /* malloc'ed; NULL when absent */
/* Runs `temper` with these arguments to its end (200 s at most: a machine may be busy). `arguments` is split at blanks; \001 in it stands for a blank
 * inside an argument. */
int program_run(program *p, const char *arguments);
/* The same with standard input. */
int program_run_with(program *p, const char *arguments, const char *input);
/* Starts it and comes back; program_wait collects. */
void program_start(program *p, const char *arguments);
int program_wait(program *p);
/* Waits until standard output holds `text`; false after `seconds`. */
bool program_await(program *p, const char *text, double seconds);
/* The value after `label` in the last output ("run", "archive"): malloc'ed word. */
char *program_word(const program *p, const char *label);
/* A running temper-worker of this program: its process, or 0 when the program ended or none came in 10 s. */
pid_t program_worker(const program *p);

#define assert_has(text, part)                                                                               \
    do {                                                                                                     \
        if (strstr((text), (part)) == NULL) {                                                                \
            fail_msg("'%s' is not in: %s", (part), (text));                                                  \
        }                                                                                                    \
    } while (0)
#define assert_lacks(text, part)                                                                             \
    do {                                                                                                     \
        if (strstr((text), (part)) != NULL) {                                                                \
            fail_msg("'%s' is in: %s", (part), (text));                                                      \
        }                                                                                                    \
    } while (0)

#endif

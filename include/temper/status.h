/* temper/status.h: how every function of Temper says that it failed.
 *
 * A function that can fail returns a temper_status and takes, last, a temper_error that the caller
 * owns (on its stack, usually). TEMPER_OK is 0, so `if (status)` reads "if it failed". The message is
 * written once, where the cause is known, and passed up unchanged or with a prefix saying where:
 * what was wrong, where (file, line, record), and what would be right. A NULL error is allowed.
 *
 * After any failure the call has had no effect, unless its comment says otherwise. */
#ifndef TEMPER_STATUS_H
#define TEMPER_STATUS_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum temper_status {
    TEMPER_OK = 0,
    TEMPER_END = 1,         /* no failure: there is nothing more to read */
    TEMPER_INVALID = 2,     /* the input, the recipe or a parameter is wrong; trying again will not help */
    TEMPER_UNSUPPORTED = 3, /* well formed, but this build or this model cannot do it */
    TEMPER_NO_MEMORY = 4,   /* an allocation was refused, by the system or by --memory */
    TEMPER_IO = 5,          /* the disk, a pipe or a file failed */
    TEMPER_CANCELLED = 6,   /* the user asked to stop; clean up and return this */
    TEMPER_FAILED = 7       /* anything else: the stage could not do what was asked */
} temper_status;

enum { TEMPER_MESSAGE_SIZE = 1024 };

/* Where a message goes. Set `message[0] = 0` or use TEMPER_ERROR_INIT before the first call. */
typedef struct temper_error {
    uint32_t size; /* sizeof(temper_error) of whoever made it */
    char message[TEMPER_MESSAGE_SIZE];
} temper_error;

#define TEMPER_ERROR_INIT {sizeof(temper_error), {0}}

/* Writes the message (printf style, cut at the end of the buffer, never overflowing) and returns
 * `status`, so that a failure is one statement: return temper_fail(error, TEMPER_INVALID, "…", …); */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline temper_status
temper_fail(temper_error *error, temper_status status, const char *format, ...) {
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

/* Puts "prefix: " before a message that is already there: each level adds what it alone knows. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline temper_status
temper_fail_in(temper_error *error, temper_status status, const char *format, ...) {
    if (error != NULL) {
        char cause[TEMPER_MESSAGE_SIZE];
        int written;
        va_list arguments;
        memcpy(cause, error->message, sizeof cause);
        va_start(arguments, format);
        written = vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        if (written >= 0 && (size_t)written + 2 < sizeof error->message) {
            snprintf(error->message + written, sizeof error->message - (size_t)written, ": %s", cause);
        }
    }
    return status;
}

#ifdef __clang_analyzer__
/* The analyzer does not look into variadic functions; this tells it that a failure is one. */
#define temper_fail(error, status, ...) ((void)(temper_fail)((error), (status), __VA_ARGS__), (status))
#define temper_fail_in(error, status, ...) ((void)(temper_fail_in)((error), (status), __VA_ARGS__), (status))
#endif

#ifdef __cplusplus
}
#endif
#endif

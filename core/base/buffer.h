/* buffer.h: bytes that grow. Invariant: data[length] is 0, so text in a buffer is a C string. `failed` is sticky: after
 * a refused allocation every append is a no-op, and one check at the end suffices (tm_buffer_ok). */
#ifndef TM_BUFFER_H
#define TM_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tm_buffer {
    char *data;
    size_t length, capacity;
    bool failed;
} tm_buffer;

#define TM_BUFFER_INIT                                                                                       \
    { NULL, 0, 0, false }

void tm_buffer_append(tm_buffer *buffer, const void *bytes, size_t count);
void tm_buffer_text(tm_buffer *buffer, const char *text);
void tm_buffer_byte(tm_buffer *buffer, char byte);
void tm_buffer_format(tm_buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool tm_buffer_reserve(tm_buffer *buffer, size_t more);
void tm_buffer_clear(tm_buffer *buffer); /* keeps the memory */
void tm_buffer_free(tm_buffer *buffer);
bool tm_buffer_ok(const tm_buffer *buffer);

#endif

/* buffer.c: bytes that grow; see buffer.h. Growth doubles, so appending n bytes costs O(n). */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool tm_buffer_reserve(tm_buffer *buffer, size_t more) {
    size_t needed, capacity;
    char *grown;
    if (buffer->failed) {
        return false;
    }
    if (more > SIZE_MAX / 2 || buffer->length > SIZE_MAX / 2 - more) {
        buffer->failed = true;
        return false;
    }
    needed = buffer->length + more + 1;
    if (needed <= buffer->capacity) {
        return true;
    }
    capacity = buffer->capacity < 64 ? 64 : buffer->capacity;
    while (capacity < needed) {
        capacity *= 2;
    }
    grown = realloc(buffer->data, capacity);
    if (grown == NULL) {
        buffer->failed = true;
        return false;
    }
    grown[buffer->length] = 0;
    buffer->data = grown;
    buffer->capacity = capacity;
    return true;
}

void tm_buffer_append(tm_buffer *buffer, const void *bytes, size_t count) {
    if (!tm_buffer_reserve(buffer, count)) {
        return;
    }
    if (count > 0) {
        memcpy(buffer->data + buffer->length, bytes, count);
    }
    buffer->length += count;
    buffer->data[buffer->length] = 0;
}

void tm_buffer_text(tm_buffer *buffer, const char *text) {
    tm_buffer_append(buffer, text, strlen(text));
}

void tm_buffer_byte(tm_buffer *buffer, char byte) {
    tm_buffer_append(buffer, &byte, 1);
}

void tm_buffer_format(tm_buffer *buffer, const char *format, ...) {
    va_list arguments, again;
    int length;
    va_start(arguments, format);
    va_copy(again, arguments);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        buffer->failed = true;
    } else if (tm_buffer_reserve(buffer, (size_t)length)) {
        vsnprintf(buffer->data + buffer->length, (size_t)length + 1, format, again);
        buffer->length += (size_t)length;
    }
    va_end(again);
}

void tm_buffer_clear(tm_buffer *buffer) {
    buffer->length = 0;
    buffer->failed = false;
    if (buffer->data != NULL) {
        buffer->data[0] = 0;
    }
}

void tm_buffer_free(tm_buffer *buffer) {
    free(buffer->data);
    *buffer = (tm_buffer)TM_BUFFER_INIT;
}

bool tm_buffer_ok(const tm_buffer *buffer) {
    return !buffer->failed;
}

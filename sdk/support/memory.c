/* memory.c: pools and buffers on the host's allocator; see memory.h. */
#include "support/memory.h"

enum { FIRST_BLOCK = 16 * 1024, LARGEST_BLOCK = 1024 * 1024, ALIGNMENT = 16 };

typedef struct block {
    struct block *next;
    size_t capacity, used; /* bytes after the header */
} block;

struct temper_pool {
    const temper_host *host;
    block *blocks; /* the newest, in which small requests are served */
    size_t next_capacity;
};

enum { HEADER = (sizeof(block) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT };

temper_pool *temper_pool_new(const temper_host *host) {
    temper_pool *pool = host->allocate(host, sizeof *pool);
    if (pool != NULL) {
        pool->host = host;
        pool->blocks = NULL;
        pool->next_capacity = FIRST_BLOCK;
    }
    return pool;
}

static block *add_block(temper_pool *pool, size_t bytes) {
    size_t capacity = bytes > pool->next_capacity ? bytes : pool->next_capacity;
    block *fresh;
    if (capacity > SIZE_MAX - HEADER) {
        return NULL;
    }
    fresh = pool->host->allocate(pool->host, HEADER + capacity);
    if (fresh == NULL) {
        return NULL;
    }
    fresh->capacity = capacity;
    fresh->used = 0;
    fresh->next = pool->blocks;
    pool->blocks = fresh;
    if (pool->next_capacity < LARGEST_BLOCK) {
        pool->next_capacity *= 2;
    }
    return fresh;
}

void *temper_pool_take(temper_pool *pool, size_t count, size_t size) {
    block *home = pool->blocks;
    size_t bytes;
    char *out;
    if (size != 0 && count > (SIZE_MAX - ALIGNMENT) / size) {
        return NULL;
    }
    bytes = count * size == 0 ? ALIGNMENT : (count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (home == NULL || home->capacity - home->used < bytes) {
        home = add_block(pool, bytes);
        if (home == NULL) {
            return NULL;
        }
    }
    out = (char *)home + HEADER + home->used;
    home->used += bytes;
    memset(out, 0, bytes);
    return out;
}

char *temper_pool_copy(temper_pool *pool, const char *text, size_t length) {
    char *out = length == SIZE_MAX ? NULL : temper_pool_take(pool, length + 1, 1);
    if (out != NULL && length > 0) {
        memcpy(out, text, length);
    }
    return out;
}

void temper_pool_free(temper_pool *pool) {
    const temper_host *host;
    block *next;
    if (pool == NULL) {
        return;
    }
    host = pool->host;
    for (; pool->blocks != NULL; pool->blocks = next) {
        next = pool->blocks->next;
        host->release(host, pool->blocks);
    }
    host->release(host, pool);
}

void temper_buffer_init(temper_buffer *buffer, const temper_host *host) {
    memset(buffer, 0, sizeof *buffer);
    buffer->host = host;
}

bool temper_buffer_reserve(temper_buffer *buffer, size_t more) {
    size_t capacity = buffer->capacity < 128 ? 128 : buffer->capacity, needed;
    char *data;
    if (buffer->failed || more > SIZE_MAX / 4 - buffer->length) {
        buffer->failed = true;
        return false;
    }
    needed = buffer->length + more + 1;
    if (needed <= buffer->capacity) {
        return true;
    }
    while (capacity < needed) {
        capacity *= 2;
    }
    data = buffer->host->reallocate(buffer->host, buffer->data, capacity);
    if (data == NULL) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

void temper_buffer_append(temper_buffer *buffer, const void *bytes, size_t count) {
    if (!temper_buffer_reserve(buffer, count)) {
        return;
    }
    if (count > 0) {
        memcpy(buffer->data + buffer->length, bytes, count);
    }
    buffer->length += count;
    buffer->data[buffer->length] = 0;
}

void temper_buffer_text(temper_buffer *buffer, const char *text) {
    temper_buffer_append(buffer, text, strlen(text));
}

void temper_buffer_span(temper_buffer *buffer, temper_span span) {
    temper_buffer_append(buffer, span.data, span.length);
}

void temper_buffer_format(temper_buffer *buffer, const char *format, ...) {
    va_list arguments, again;
    int length;
    va_start(arguments, format);
    va_copy(again, arguments);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        buffer->failed = true;
    } else if (temper_buffer_reserve(buffer, (size_t)length)) {
        vsnprintf(buffer->data + buffer->length, (size_t)length + 1, format, again);
        buffer->length += (size_t)length;
    }
    va_end(again);
}

void temper_buffer_clear(temper_buffer *buffer) {
    buffer->length = 0;
    if (buffer->data != NULL) {
        buffer->data[0] = 0;
    }
}

void temper_buffer_free(temper_buffer *buffer) {
    if (buffer->data != NULL) {
        buffer->host->release(buffer->host, buffer->data);
    }
    temper_buffer_init(buffer, buffer->host);
}

temper_status temper_no_memory(temper_error *error) {
    return temper_fail(error, TEMPER_NO_MEMORY, "out of memory (the limit is --memory)");
}

/* support/memory.h: memory of a stage, through the host, without a free for each block.
 *
 * Invariants: a pool's blocks live until temper_pool_free and come zeroed, aligned to 16; a buffer's data[length] is 0
 * once anything was appended, and `failed` is sticky, so one check at the end suffices. Every count times size is
 * checked for overflow. A pool or buffer is for one thread at a time. */
#ifndef TEMPER_SUPPORT_MEMORY_H
#define TEMPER_SUPPORT_MEMORY_H

#include <stdbool.h>
#include <temper/host.h>

/* Some bytes of somebody else's, not 0-terminated as such. */
typedef struct temper_span {
    const char *data;
    size_t length;
} temper_span;

typedef struct temper_pool temper_pool;
temper_pool *temper_pool_new(const temper_host *host);                /* NULL: refused */
void *temper_pool_take(temper_pool *pool, size_t count, size_t size); /* NULL: refused; never NULL for 0 */
char *temper_pool_copy(temper_pool *pool, const char *text, size_t length); /* 0-terminated */
void temper_pool_free(temper_pool *pool);                                   /* NULL is allowed */

typedef struct temper_buffer {
    const temper_host *host;
    char *data;
    size_t length, capacity;
    bool failed;
} temper_buffer;

void temper_buffer_init(temper_buffer *buffer, const temper_host *host);
bool temper_buffer_reserve(temper_buffer *buffer, size_t more);
void temper_buffer_append(temper_buffer *buffer, const void *bytes, size_t count);
void temper_buffer_text(temper_buffer *buffer, const char *text);
void temper_buffer_span(temper_buffer *buffer, temper_span span);
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void temper_buffer_format(temper_buffer *buffer, const char *format, ...);
void temper_buffer_clear(temper_buffer *buffer); /* keeps the memory */
void temper_buffer_free(temper_buffer *buffer);

/* The one message for a refused allocation. */
temper_status temper_no_memory(temper_error *error);

#endif

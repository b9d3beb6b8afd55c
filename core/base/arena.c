/* arena.c: memory that is freed at once. A list of chunks, each twice the last up to a megabyte; the first one holds the
 * arena itself, so that a record's arena is one malloc. A request larger than a chunk gets a chunk of its own. */
#include "base/json.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 16, FIRST_CHUNK = 4096, LAST_CHUNK = 1 << 20 };

typedef struct arena_chunk {
    struct arena_chunk *next;
    size_t padding; /* keeps what follows aligned */
} arena_chunk;

#define LARGEST ((size_t)1 << 39) /* nobody means more; and no sum below can overflow */

struct temper_arena {
    char *cursor;
    size_t left;
    size_t next_size;
    arena_chunk *chunks; /* besides the first */
};

_Static_assert(sizeof(arena_chunk) % ALIGNMENT == 0, "what follows a chunk's head is aligned");
_Static_assert(sizeof(temper_arena) % ALIGNMENT == 0, "what follows the arena is aligned");

temper_arena *tm_arena_new(void) {
    temper_arena *arena = malloc(FIRST_CHUNK);
    if (arena != NULL) {
        arena->cursor = (char *)arena + sizeof *arena;
        arena->left = FIRST_CHUNK - sizeof *arena;
        arena->next_size = (size_t)FIRST_CHUNK * 2;
        arena->chunks = NULL;
    }
    return arena;
}

void *tm_arena_allocate(temper_arena *arena, size_t bytes) {
    arena_chunk *chunk;
    void *result;
    size_t size;
    if (bytes > LARGEST) {
        return NULL;
    }
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes > arena->left) {
        bool own = bytes > arena->next_size / 2;
        size = own ? bytes : arena->next_size;
        chunk = malloc(sizeof *chunk + size);
        if (chunk == NULL) {
            return NULL;
        }
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        if (own) {
            return chunk + 1; /* the rest of the current chunk stays in use */
        }
        arena->cursor = (char *)(chunk + 1);
        arena->left = size;
        if (arena->next_size < LAST_CHUNK) {
            arena->next_size *= 2;
        }
    }
    result = arena->cursor;
    arena->cursor += bytes;
    arena->left -= bytes;
    return result;
}

char *tm_arena_copy(temper_arena *arena, const char *text, size_t length) {
    char *copy = length < SIZE_MAX ? tm_arena_allocate(arena, length + 1) : NULL;
    if (copy != NULL) {
        if (length > 0) {
            memcpy(copy, text, length);
        }
        copy[length] = 0;
    }
    return copy;
}

char *tm_arena_format(temper_arena *arena, const char *format, ...) {
    va_list arguments, again;
    char *text = NULL;
    int length;
    va_start(arguments, format);
    va_copy(again, arguments);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length >= 0) {
        text = tm_arena_allocate(arena, (size_t)length + 1);
        if (text != NULL) {
            vsnprintf(text, (size_t)length + 1, format, again);
        }
    }
    va_end(again);
    return text;
}

void tm_arena_free(temper_arena *arena) {
    arena_chunk *chunk, *next;
    if (arena == NULL) {
        return;
    }
    for (chunk = arena->chunks; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(arena);
}

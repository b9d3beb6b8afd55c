/* arena.c: memory freed all at once. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

struct lm_block {
    struct lm_block *next;
    size_t used, size;
    max_align_t data[];
};

void *lm_arena_get(lm_arena *arena, size_t size) {
    const size_t align = sizeof(max_align_t);
    struct lm_block *block = arena->blocks;
    if (size > arena->limit || arena->limit - size < arena->used) {
        return NULL;
    }
    size = (size + align - 1) / align * align;
    if (block == NULL || size > block->size - block->used) {
        size_t room = size > 4096 ? size : 4096;
        struct lm_block *fresh = malloc(sizeof *fresh + room);
        if (fresh == NULL) {
            return NULL;
        }
        *fresh = (struct lm_block){block, 0, room};
        arena->blocks = block = fresh;
    }
    void *memory = (char *)block->data + block->used;
    block->used += size;
    arena->used += size;
    return memset(memory, 0, size);
}

char *lm_arena_copy(lm_arena *arena, const char *text, size_t length) {
    char *copy = lm_arena_get(arena, length + 1);
    if (copy != NULL) {
        memcpy(copy, text, length);
    }
    return copy;
}

void lm_arena_free(lm_arena *arena) {
    while (arena->blocks != NULL) {
        struct lm_block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
    arena->used = 0;
}

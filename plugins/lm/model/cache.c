/* cache.c: keys and values in blocks that sequences share.
 *
 * Invariant: a block holds LM_CACHE_BLOCK positions (or as many as the pool was made for) of all layers, and counts the
 * caches that use it. What was filled by several sequences' common beginning is never written again: a cache that is to
 * append to a block that others use copies it first. A key or value depends on the tokens up to its own position alone,
 * so a shared one is the one that a sequence would have made itself, bit for bit. One thread at a time a pool. */
#include "internal.h"

#include <stdlib.h>

/* In front of a block's bytes, which begin 64 bytes behind it. */
typedef struct block {
    struct block *next; /* free ones */
    size_t users;
} block;
enum { HEADER = 64 };

static block *header_of(char *bytes) {
    return (block *)(void *)(bytes - HEADER);
}

temper_status lm_cache_pool_new(const lm_context *context, const lm_config *config, size_t positions,
                                size_t limit, lm_cache_pool **out, temper_error *error) {
    lm_cache_pool *self = calloc(1, sizeof *self);
    size_t layer = 0, bytes = 0;
    if (positions == 0) {
        positions = LM_CACHE_BLOCK;
    }
    positions = (positions + LM_PANEL - 1) / LM_PANEL * LM_PANEL;
    layer = (lm_cache_layer_bytes(context, config, positions) + 63) / 64 * 64;
    if (self == NULL || __builtin_mul_overflow(layer, config->layers, &bytes) || bytes > PTRDIFF_MAX / 2) {
        free(self);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for blocks of %zu positions", positions);
    }
    *self = (lm_cache_pool){.block = positions,
                            .layers = config->layers,
                            .layer_bytes = layer,
                            .block_bytes = bytes,
                            .limit = limit};
    *out = self;
    return TEMPER_OK;
}

static void forget_free(lm_cache_pool *self) {
    while (self->unused != NULL) {
        block *next = ((block *)self->unused)->next;
        free(self->unused);
        self->unused = next;
        self->made--;
    }
}

void lm_cache_pool_free(lm_cache_pool *self) {
    if (self != NULL) {
        forget_free(self);
        free(self);
    }
}

void lm_cache_pool_trim(lm_cache_pool *self) {
    forget_free(self);
}

static char *take_block(lm_cache_pool *self) {
    block *taken = self->unused;
    if (taken != NULL) {
        self->unused = taken->next;
    } else if (self->limit == 0 || self->made < self->limit) {
        taken = aligned_alloc(64, (self->block_bytes + HEADER + 63) / 64 * 64);
        self->made += taken != NULL;
    }
    if (taken == NULL) {
        return NULL;
    }
    taken->users = 1;
    self->used++;
    self->most = self->used > self->most ? self->used : self->most;
    return (char *)taken + HEADER;
}

static void release_block(lm_cache_pool *self, char *bytes) {
    block *given = header_of(bytes);
    if (--given->users == 0) {
        given->next = self->unused;
        self->unused = given;
        self->used--;
    }
}

/* --- one sequence's --- */

size_t lm_cache_blocks(const lm_cache_pool *pool, size_t positions) {
    return (positions + pool->block - 1) / pool->block;
}

temper_status lm_cache_open(lm_cache_pool *pool, size_t capacity, lm_cache **out, temper_error *error) {
    size_t blocks = lm_cache_blocks(pool, capacity), list = 0, layers = pool->layers * sizeof(lm_cache_layer);
    lm_cache *self = NULL;
    if (!__builtin_mul_overflow(blocks + 1, sizeof(char *), &list) && list < PTRDIFF_MAX / 2) {
        self = calloc(1, sizeof *self + layers + list);
    }
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a cache of %zu positions", capacity);
    }
    self->pool = pool;
    self->capacity = capacity;
    self->count = pool->layers;
    self->layers = (lm_cache_layer *)(void *)(self + 1);
    self->blocks = (char **)(void *)((char *)self->layers + layers);
    for (size_t layer = 0; layer < self->count; layer++) {
        self->layers[layer] = (lm_cache_layer){.block = pool->block,
                                               .capacity = blocks * pool->block,
                                               .blocks = self->blocks,
                                               .offset = layer * pool->layer_bytes};
    }
    *out = self;
    return TEMPER_OK;
}

temper_status lm_cache_new(const lm_context *context, const lm_config *config, size_t capacity,
                           lm_cache **out, temper_error *error) {
    lm_cache_pool *pool = NULL;
    size_t positions = capacity < LM_CACHE_BLOCK ? capacity : LM_CACHE_BLOCK;
    temper_status status = lm_cache_pool_new(context, config, positions, 0, &pool, error);
    if (!status) {
        status = lm_cache_open(pool, capacity, out, error);
    }
    if (status) {
        lm_cache_pool_free(pool);
        return status;
    }
    (*out)->owns_pool = true;
    return TEMPER_OK;
}

static void set_length(lm_cache *self, size_t length) {
    self->length = length;
    for (size_t layer = 0; layer < self->count; layer++) {
        self->layers[layer].length = length;
    }
}

void lm_cache_cut(lm_cache *self, size_t length) {
    size_t keep = lm_cache_blocks(self->pool, length);
    while (self->used > keep) {
        release_block(self->pool, self->blocks[--self->used]);
    }
    set_length(self, length);
}

void lm_cache_clear(lm_cache *self) {
    lm_cache_cut(self, 0);
}

void lm_cache_free(lm_cache *self) {
    if (self == NULL) {
        return;
    }
    lm_cache_clear(self);
    if (self->owns_pool) {
        lm_cache_pool_free(self->pool);
    }
    free(self);
}

void lm_cache_share(lm_cache *self, const lm_cache *from, size_t length) {
    size_t blocks = lm_cache_blocks(self->pool, length);
    lm_cache_clear(self);
    for (size_t i = 0; i < blocks; i++) {
        self->blocks[i] = from->blocks[i];
        header_of(self->blocks[i])->users++;
    }
    self->used = blocks;
    set_length(self, length);
}

size_t lm_cache_wanted(const lm_cache *self, size_t length) {
    size_t blocks = lm_cache_blocks(self->pool, length);
    size_t wanted = blocks > self->used ? blocks - self->used : 0;
    bool begun = self->length < length && self->length % self->pool->block != 0;
    return wanted + (begun && header_of(self->blocks[self->used - 1])->users > 1);
}

size_t lm_cache_alone(const lm_cache *self) {
    size_t alone = 0;
    for (size_t i = 0; i < self->used; i++) {
        alone += header_of(self->blocks[i])->users == 1;
    }
    return alone;
}

temper_status lm_cache_reserve(lm_cache *self, size_t length, temper_error *error) {
    lm_cache_pool *pool = self->pool;
    size_t blocks = lm_cache_blocks(pool, length);
    if (self->length < length && self->length % pool->block != 0) {
        char **last = &self->blocks[self->length / pool->block];
        if (header_of(*last)->users > 1) { /* others go on from here, too */
            char *copy = take_block(pool);
            if (copy == NULL) {
                goto out;
            }
            memcpy(copy, *last, pool->block_bytes);
            release_block(pool, *last);
            *last = copy;
        }
    }
    while (self->used < blocks) {
        char *more = take_block(pool);
        if (more == NULL) {
            goto out;
        }
        self->blocks[self->used++] = more;
    }
    return TEMPER_OK;
out:
    return temper_fail(error, TEMPER_NO_MEMORY,
                       "no memory for keys and values: blocks of %zu bytes, %zu of them in use",
                       pool->block_bytes, pool->used);
}

/* prefixes.c: see prefixes.h. */
#include "prefixes.h"

#include <stdlib.h>

/* What kept sequences may hold beside those at work. */
#define KEPT_BYTES ((size_t)256 << 20)

static size_t common(const int32_t *a, size_t a_count, const int32_t *b, size_t b_count) {
    size_t count = a_count < b_count ? a_count : b_count, i = 0;
    while (i < count && a[i] == b[i]) {
        i++;
    }
    return i;
}

static size_t usable(const lm_prefix *self, size_t length, size_t count) {
    if (count == 0) {
        return 0;
    }
    if (length == count && !(self->row != NULL && self->row_at == count)) {
        length--;
    }
    return length == count || length >= LM_LEAST_SHARED ? length : 0;
}

void lm_prefix_match(const lm_prefix *self, const int32_t *prompt, size_t count, size_t *now, size_t *later) {
    size_t length = common(self->ids, self->count, prompt, count);
    bool ends = length == count && self->count == count; /* its row is still to come */
    *now = usable(self, length < self->made ? length : self->made, count);
    *later = ends ? count : usable(self, length, count);
}

lm_kept *lm_prefix_store_find(lm_prefix_store *self, const int32_t *prompt, size_t count, size_t *now) {
    lm_kept *best = NULL;
    *now = 0;
    for (size_t i = 0; i < self->count; i++) {
        size_t length, later;
        lm_prefix_match(&self->items[i].prefix, prompt, count, &length, &later);
        if (length > *now) {
            *now = length;
            best = &self->items[i];
        }
    }
    return best;
}

static void drop(lm_prefix_store *self, size_t index) {
    lm_kept *item = &self->items[index];
    lm_cache_free(item->cache);
    free(item->ids);
    free(item->row);
    *item = self->items[--self->count];
}

bool lm_prefix_store_drop(lm_prefix_store *self) {
    size_t oldest = 0;
    if (self->count == 0) {
        return false;
    }
    for (size_t i = 1; i < self->count; i++) {
        oldest = self->items[i].touched < self->items[oldest].touched ? i : oldest;
    }
    drop(self, oldest);
    return true;
}

/* Is all of it the beginning of what comes? Then it gives nothing more. */
static void drop_covered(lm_prefix_store *self, const int32_t *ids, size_t count, size_t row_at) {
    for (size_t i = self->count; i-- > 0;) {
        const lm_prefix *old = &self->items[i].prefix;
        bool rowed = old->row == NULL || old->row_at == row_at;
        if (rowed && old->count <= count && common(old->ids, old->count, ids, count) == old->count) {
            drop(self, i);
        }
    }
}

void lm_prefix_store_keep(lm_prefix_store *self, lm_cache *cache, const int32_t *ids, size_t count,
                          lm_real *row, size_t row_at) {
    int32_t *copy = malloc((count + 1) * sizeof *copy);
    size_t held = 0;
    if (copy == NULL) { /* then it is not kept */
        lm_cache_free(cache);
        free(row);
        return;
    }
    drop_covered(self, ids, count, row_at);
    if (self->count == LM_PREFIXES) {
        lm_prefix_store_drop(self);
    }
    memcpy(copy, ids, count * sizeof *copy);
    lm_cache_cut(cache, count);
    self->items[self->count++] = (lm_kept){.prefix = {cache, copy, count, count, row, row_at},
                                           .cache = cache,
                                           .ids = copy,
                                           .row = row,
                                           .touched = ++self->clock};
    for (size_t i = 0; i < self->count; i++) {
        held += lm_cache_alone(self->items[i].cache);
    }
    while (held > KEPT_BYTES / self->pool->block_bytes && self->count > 1) {
        lm_prefix_store_drop(self);
        held = 0;
        for (size_t i = 0; i < self->count; i++) {
            held += lm_cache_alone(self->items[i].cache);
        }
    }
}

temper_status lm_prefix_store_open(lm_prefix_store *self, const lm_context *context, const lm_config *config,
                                   size_t block, size_t limit, temper_error *error) {
    if (self->pool != NULL && self->pool->block != block) {
        lm_prefix_store_close(self);
    }
    temper_status status =
        self->pool == NULL ? lm_cache_pool_new(context, config, block, limit, &self->pool, error) : TEMPER_OK;
    if (!status) {
        self->pool->limit = limit;
        self->pool->most = self->pool->used;
    }
    return status;
}

void lm_prefix_store_close(lm_prefix_store *self) {
    while (lm_prefix_store_drop(self)) {
    }
    lm_cache_pool_free(self->pool);
    self->pool = NULL;
}

temper_status lm_prefixes_new(size_t workers, lm_prefixes **out, temper_error *error) {
    lm_prefixes *self = calloc(1, sizeof *self + workers * sizeof *self->stores);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the beginnings of prompts");
    }
    self->count = workers;
    *out = self;
    return TEMPER_OK;
}

void lm_prefixes_free(lm_prefixes *self) {
    for (size_t i = 0; self != NULL && i < self->count; i++) {
        lm_prefix_store_close(&self->stores[i]);
    }
    free(self);
}

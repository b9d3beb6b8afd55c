/* prefixes.h: what of earlier sequences later ones can begin with.
 *
 * Invariant: a shared key or value is the one that the sequence would have computed itself, so sharing never shows but in
 * time and memory. A store belongs to one lane, its caches to one pool; it keeps the sequences used last. */
#ifndef LM_PREFIXES_H
#define LM_PREFIXES_H

#include "generate.h"

enum {
    LM_PREFIXES = 16,   /* that a store keeps */
    LM_LEAST_SHARED = 8 /* tokens: below, a block's copy costs more than it saves */
};

/* Tokens of one sequence and their keys and values. */
typedef struct lm_prefix {
    const lm_cache *cache;
    const int32_t *ids;
    size_t count;       /* of them all */
    size_t made;        /* that are through the model */
    const lm_real *row; /* the last hidden state (after the final norm) of token row_at - 1; NULL: not kept */
    size_t row_at;
} lm_prefix;

/* With how many tokens of another sequence can a prompt begin, now and once all of the other's tokens are through? All
 * of a prompt only with the row behind it, from which its answer goes on; else one is left to compute. */
void lm_prefix_match(const lm_prefix *self, const int32_t *prompt, size_t count, size_t *now, size_t *later);

typedef struct lm_kept {
    lm_prefix prefix;
    lm_cache *cache; /* these three are owned */
    int32_t *ids;
    lm_real *row;
    uint64_t touched;
} lm_kept;

typedef struct lm_prefix_store {
    lm_cache_pool *pool; /* NULL: not yet */
    lm_kept items[LM_PREFIXES];
    size_t count;
    uint64_t clock;
} lm_prefix_store;

struct lm_prefixes {
    size_t count;
    lm_prefix_store stores[]; /* one a lane */
};

/* The kept sequence that gives most, NULL when none gives enough. */
lm_kept *lm_prefix_store_find(lm_prefix_store *self, const int32_t *prompt, size_t count, size_t *now);
/* Takes the cache, cut to `count` tokens, and the row (which may be NULL); the ids are copied. What was used longest ago
 * makes room. */
void lm_prefix_store_keep(lm_prefix_store *self, lm_cache *cache, const int32_t *ids, size_t count,
                          lm_real *row, size_t row_at);
/* Drops the one used longest ago; false when there is none. */
bool lm_prefix_store_drop(lm_prefix_store *self);
/* A pool of such blocks, of at most `limit` (0: any number); what was kept in others goes. */
temper_status lm_prefix_store_open(lm_prefix_store *self, const lm_context *context, const lm_config *config,
                                   size_t block, size_t limit, temper_error *error);
void lm_prefix_store_close(lm_prefix_store *self);

#endif

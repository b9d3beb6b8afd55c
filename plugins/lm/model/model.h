/* model.h: a model in compute form, and its one forward pass.
 *
 * Invariant: there is one forward pass. Prefill, decode with a cache, scoring and training run the same layers in the
 * same order on rows, so a token's logits have one bit pattern however they were asked for. Training only keeps what
 * backward needs (lm_activations). A tied head shares the embedding's values. */
#ifndef LM_MODEL_H
#define LM_MODEL_H

#include "../layers/layers.h"

typedef struct lm_block {
    /* A norm without values and a layer without outputs are not there: which of them are is the architecture's. */
    lm_norm_weights attention_norm, feed_norm, query_norm, key_norm, attention_post_norm, feed_post_norm;
    lm_linear query, key, value, output, gate, up, down, query_key_value, gate_up;
} lm_block;
/* Linear layers of a block, in the order of lm_block_linears (roles.c) and of lm_block_activations.lora_hidden. */
enum {
    LM_AT_QUERY,
    LM_AT_KEY,
    LM_AT_VALUE,
    LM_AT_OUTPUT,
    LM_AT_GATE,
    LM_AT_UP,
    LM_AT_DOWN,
    LM_AT_QUERY_KEY_VALUE,
    LM_AT_GATE_UP,
    LM_BLOCK_LINEARS
};

typedef struct lm_model {
    lm_config config;
    lm_real *embedding;          /* [V][H] */
    lm_real *position_embedding; /* [context][H] or NULL */
    lm_block *blocks;            /* [layers] */
    lm_norm_weights final_norm;
    lm_linear head;           /* head.w == embedding when tied */
    lm_rope rope, local_rope; /* empty: none; local: of layers with a window, when they have their own */
    size_t lora_rank;         /* the greatest there is; 0: no adapter */
    size_t adapters;          /* how many were read; lm_model_select says which are at work */
    lm_lora **pairs;          /* [adapters, + 1 for all together when there are several][role][layer] */
    void *packed;             /* every linear layer's packed weights, in the order they are used */
} lm_model;

/* Loads a checkpoint, and the adapters that the file set has (base under "base/"): each by itself, and, of several,
 * their sum (ranks one after another: adding deltas one by one into weights and factors would make cross terms). */
temper_status lm_model_open(const lm_context *context, const lm_file_set *files, lm_model **out,
                            temper_error *error);
/* The same, each adapter's delta times its weight (NULL: 1 each), the base's values changed as they are read (NULL: not). */
typedef void lm_change(void *context, lm_role role, size_t layer, float *values);
temper_status lm_model_open_weighted(const lm_context *context, const lm_file_set *files,
                                     const double *weights, lm_change *change, void *change_context,
                                     lm_model **out, temper_error *error);
/* Which adapter is at work from now on: its index, LM_NO_ADAPTER, or LM_ALL_ADAPTERS (so after opening). Keys and values
 * that were cached before are of another model. */
enum { LM_NO_ADAPTER = -1, LM_ALL_ADAPTERS = -2 };
temper_status lm_model_select(lm_model *self, int adapter, temper_error *error);
/* The same, but every linear layer keeps its values (lm_linear.w) beside the packed form: training starts here. */
temper_status lm_model_open_training(const lm_context *context, const lm_file_set *files, lm_model **out,
                                     temper_error *error);
/* Random weights, all values kept: normal(0, std) from Philox(key; role, layer, index) by Box-Muller with
 * temper/math.h; norms 1, biases 0; output and down projections scaled by 1/sqrt(2 layers). */
temper_status lm_model_init(const lm_context *context, const lm_config *config, uint64_t key, double std,
                            lm_model **out, temper_error *error);
void lm_model_close(lm_model *self);

/* Bytes that the weights of a model will take, known before they are read. */
uint64_t lm_model_bytes(const lm_product *product, const lm_config *config);
/* Weights in all, an adapter's left out. */
uint64_t lm_model_parameters(const lm_model *self);
/* Packs every linear layer again after values changed (the head, tied or not, too); `training`: for backward as well. */
temper_status lm_model_pack(const lm_context *context, lm_model *self, bool training, temper_error *error);
/* After a norm's values changed: its 1 + w, where it has one; nothing for other roles. */
void lm_model_pack_norm(lm_model *self, lm_role role, size_t layer);
/* Scratch of a context for this model's linear layers, backward over `rows` rows included (0: forward only). Forward
 * does it itself; call it before lm_linear_forward or _backward with a context that has not run this model. */
temper_status lm_model_reserve(const lm_context *context, const lm_model *self, size_t rows,
                               temper_error *error);

/* The linear layer of a role (LM_QUERY .. LM_DOWN, LM_HEAD), NULL when this architecture has none. */
lm_linear *lm_model_linear(lm_model *self, lm_role role, size_t layer);
/* The values of any role with their count (also norms, biases, embeddings), NULL when there is none. */
lm_real *lm_model_values(lm_model *self, lm_role role, size_t layer, size_t *count);

/* The rotary table of a layer; NULL: positions are not turned. */
const lm_rope *lm_model_rope(const lm_model *self, size_t layer);

/* --- sequences and caches --- */
/* Positions of a block, when nothing else is asked for: copying one is cheap beside computing it, and a product over
 * its keys is long enough to be fast. */
enum { LM_CACHE_BLOCK = 128 };

/* Where caches of one model and profile take their blocks from: allocated when first wanted, kept for the next. */
typedef struct lm_cache_pool {
    size_t block, layers; /* positions of a block */
    size_t layer_bytes, block_bytes;
    size_t limit;            /* blocks it may have; 0: as many as memory gives */
    size_t made, used, most; /* blocks there are; in use, now and at most so far */
    void *unused;
} lm_cache_pool;
temper_status lm_cache_pool_new(const lm_context *context, const lm_config *config, size_t positions,
                                size_t limit, lm_cache_pool **out, temper_error *error);
/* Gives back what no cache uses. */
void lm_cache_pool_trim(lm_cache_pool *self);
void lm_cache_pool_free(lm_cache_pool *self); /* after its caches */

typedef struct lm_cache {
    size_t capacity, length; /* positions */
    size_t count;            /* of layers */
    lm_cache_layer *layers;
    lm_cache_pool *pool;
    bool owns_pool;
    char **blocks;
    size_t used; /* blocks */
} lm_cache;
/* With a pool of its own, or in one. */
temper_status lm_cache_new(const lm_context *context, const lm_config *config, size_t capacity,
                           lm_cache **out, temper_error *error);
temper_status lm_cache_open(lm_cache_pool *pool, size_t capacity, lm_cache **out, temper_error *error);
void lm_cache_clear(lm_cache *self);
void lm_cache_free(lm_cache *self);
/* Begins with the first `length` positions of another cache of this pool, without a copy: `from` has at least so many,
 * `self` room for them. Both may go on from there. */
void lm_cache_share(lm_cache *self, const lm_cache *from, size_t length);
/* Forgets what lies behind. */
void lm_cache_cut(lm_cache *self, size_t length);
/* Blocks for `length` positions, the last one its own to append to. lm_model_forward does it itself. */
temper_status lm_cache_reserve(lm_cache *self, size_t length, temper_error *error);
/* How many blocks that would take; how many of those in use would come free with this cache; blocks of positions. */
size_t lm_cache_wanted(const lm_cache *self, size_t length);
size_t lm_cache_alone(const lm_cache *self);
size_t lm_cache_blocks(const lm_cache_pool *pool, size_t positions);

/* New tokens of one sequence, continuing its cache. Ids below the vocabulary, cache->length + count <= context: else
 * TEMPER_INVALID. cache NULL: a whole sequence from position 0 whose keys nobody wants afterwards (scoring, training). */
typedef struct lm_sequence {
    lm_cache *cache;
    const int32_t *ids;
    size_t count;
} lm_sequence;

/* What backward needs of one forward pass over R rows; see train/. Allocated for (layers, R) at once. */
typedef struct lm_activations lm_activations;
struct lm_activations {
    size_t rows, layers;
    struct lm_block_activations {
        lm_real *input; /* [R][H] residual stream entering the block */
        lm_real *normed, *norm_statistics;
        lm_real *raw_q, *raw_k;                     /* before their norms; q and k when there are none */
        lm_real *query_statistics, *key_statistics; /* [R or R*A][2], [R or R*G][2] */
        lm_real *q, *k, *v;                         /* rotated */
        lm_real *attended;                          /* [R][A*D] */
        lm_real *attention_added, *attention_post_statistics; /* [R][H] before the norm after attention */
        lm_real *middle;                                      /* [R][H] residual stream after attention */
        lm_real *feed_normed, *feed_statistics;
        lm_real *gate, *up, *activated;             /* [R][F] */
        lm_real *feed_added, *feed_post_statistics; /* [R][H] before the norm after the feed-forward */
        lm_real *lora_hidden[LM_BLOCK_LINEARS];     /* [R][rank], scaled; or NULL */
    } * blocks;
    lm_real *last, *last_statistics, *final_normed; /* [R][H] */
    void *memory;
};
temper_status lm_activations_new(const lm_model *model, size_t rows, lm_activations **out,
                                 temper_error *error);
void lm_activations_free(lm_activations *self);

/* Runs the blocks and the final norm over the new rows of all sequences (in order): final_normed [R][H]. With
 * `keep`, also fills it (final_normed may then be NULL). Caches advance. On failure caches are as before. */
temper_status lm_model_forward(const lm_context *context, const lm_model *self, const lm_sequence *sequences,
                               size_t count, lm_real *final_normed, lm_activations *keep,
                               temper_error *error);
/* What such a pass allocates in the context when it keeps nothing: `rows` new rows of `count` sequences with caches, the
 * longest of `positions`. */
size_t lm_model_forward_bytes(const lm_context *context, const lm_model *self, size_t rows, size_t count,
                              size_t positions);
/* logits [rows][V] of chosen rows of final_normed (row_index NULL: all of them). */
temper_status lm_model_logits(const lm_context *context, const lm_model *self, const lm_real *final_normed,
                              const size_t *row_index, size_t rows, lm_real *logits, temper_error *error);

#endif

/* layers.h: the layers of a transformer, each forward and backward, on rows.
 *
 * A batch is R rows (tokens of all its sequences one after another), row-major, lm_real. Every forward result of a row
 * depends on that row (and, in attention, on earlier rows of its sequence) alone: batch, prefill, decode and training
 * share these functions, so they share their bits. Backward functions add into gradients of weights in row order and
 * say for each input gradient whether they add or overwrite.
 *
 * Shapes: R rows, H hidden, F intermediate, A heads, G kv heads, D head size, V vocabulary, T keys of a sequence. */
#ifndef LM_LAYERS_H
#define LM_LAYERS_H

#include "../files/config.h"
#include "../kernels/kernels.h"
#include "../parallel.h"

/* What every layer works with. One a caller; `scratch[worker]` belongs to that worker during a parallel run. */
typedef struct lm_context {
    const lm_kernels *kernels;
    const lm_product *product; /* the profile */
    lm_parallel parallel;
    void **scratch; /* workers buffers of scratch_size bytes, 64-byte aligned, grown by lm_context_reserve */
    size_t scratch_size;
} lm_context;

temper_status lm_context_init(lm_context *self, const lm_kernels *kernels, const char *profile,
                              lm_parallel parallel, temper_error *error);
temper_status lm_context_reserve(lm_context *self, size_t bytes, temper_error *error);
void lm_context_free(lm_context *self);

/* --- linear: y = x W^T (+ b) (+ scale * (x A^T) B^T) --- */

/* A LoRA pair (Hu et al. 2021): A [rank][inputs], B [outputs][rank]. Applied, never merged. */
typedef struct lm_lora {
    size_t rank;
    lm_real scale;
    lm_real *a, *b;           /* values, owned */
    void *a_forward, *b_forward;   /* packed for forward: x A^T, (x A^T) B^T */
    void *a_backward, *b_backward; /* packed for dx; NULL until training */
    lm_real *da, *db;         /* gradients; NULL outside training */
} lm_lora;

typedef struct lm_linear {
    size_t outputs, inputs;
    lm_real *w;      /* [outputs][inputs]; kept where training or tying needs it, else NULL after packing */
    lm_real *bias;   /* [outputs] or NULL */
    void *forward;   /* W^T packed: reduction over inputs */
    void *backward;  /* W packed: reduction over outputs; NULL until training */
    lm_lora *lora;   /* NULL: none */
} lm_linear;

/* (Re)packs after the values changed; `training` also packs for backward. */
temper_status lm_linear_pack(const lm_context *context, lm_linear *self, bool training, temper_error *error);
temper_status lm_lora_pack(const lm_context *context, const lm_linear *linear, lm_lora *self, bool training,
                           temper_error *error);
void lm_linear_free(lm_linear *self);

/* y [R][outputs] from x [R][inputs]. `lora_hidden` [R][rank] receives x A^T when there is an adapter (backward wants
 * it; may be NULL). y must not overlap x. */
void lm_linear_forward(const lm_context *context, const lm_linear *self, const lm_real *x, size_t rows, lm_real *y,
                       lm_real *lora_hidden);

/* Rows of several sequences: weight gradients in bf16 pad each sequence to an even token count, so that a pair of
 * the reduction never crosses sequences. offsets[sequences + 1] in rows. */
typedef struct lm_rows {
    size_t sequences;
    const size_t *offsets;
} lm_rows;

/* dx [R][inputs] (NULL: not wanted) is overwritten, or added to when add_dx; dw [outputs][inputs] and dbias [outputs]
 * (NULL: frozen) and the adapter's da, db are added to. */
void lm_linear_backward(const lm_context *context, const lm_linear *self, const lm_real *x, const lm_real *lora_hidden,
                        const lm_real *dy, lm_rows rows, lm_real *dx, bool add_dx, lm_real *dw, lm_real *dbias,
                        lm_real *da, lm_real *db);

/* --- norms over rows: see kernels.h for the formulas --- */
typedef struct lm_norm_weights {
    lm_norm kind;
    lm_real epsilon;
    lm_real *w, *b; /* [H]; b NULL for RMSNorm */
} lm_norm_weights;
/* statistics: [R][2] (mean, inverse) kept for backward, may be NULL. */
void lm_norm_forward(const lm_context *context, const lm_norm_weights *self, const lm_real *x, size_t rows, size_t n,
                     lm_real *y, lm_real *statistics);
/* dx is added to. dw, db may be NULL. */
void lm_norm_backward(const lm_context *context, const lm_norm_weights *self, const lm_real *x,
                      const lm_real *statistics, const lm_real *dy, size_t rows, size_t n, lm_real *dx, lm_real *dw,
                      lm_real *db);

/* --- attention over one sequence's keys --- */

/* Keys and values of one layer of one sequence, grown as it goes, in the packed layout of kernels.h per kv head:
 * keys as B of Q.K^T (reduction over D, columns = positions), values as B of P.V (reduction over positions, columns
 * = D). Rounded to the profile's operand type when appended. */
typedef struct lm_cache_layer {
    size_t capacity, length; /* positions */
    void *keys, *values;     /* G runs each; see attention.c */
} lm_cache_layer;
size_t lm_cache_layer_bytes(const lm_context *context, const lm_config *config, size_t capacity);

/* q [n][A*D], k, v [n][G*D] are the new rows at positions cache->length .. +n, rotated already. Appends k and v, then
 * out [n][A*D]: softmax(scale * q.K over keys max(0, pos-window+1) .. pos) . V, divided last. For backward
 * (may be NULL) statistics [n][A][2]: max of the scaled scores and sum of numerators. */
temper_status lm_attention_forward(const lm_context *context, const lm_config *config, size_t window,
                                   lm_cache_layer *cache, const lm_real *q, const lm_real *k, const lm_real *v,
                                   size_t n, lm_real *out, lm_real *statistics, temper_error *error);
/* One whole sequence of n rows from position 0. dq, dk, dv are overwritten. The bf16 rounding of q, k, v and the
 * probabilities is passed straight through (the usual straight-through gradient). */
temper_status lm_attention_backward(const lm_context *context, const lm_config *config, size_t window,
                                    const lm_real *q, const lm_real *k, const lm_real *v, const lm_real *out,
                                    const lm_real *statistics, const lm_real *dout, size_t n, lm_real *dq,
                                    lm_real *dk, lm_real *dv, temper_error *error);

/* --- rope tables: cosine, sine [positions][D/2], computed with temper/math.h --- */
void lm_rope_tables(double theta, size_t head_size, size_t positions, lm_real *cosine, lm_real *sine);
void lm_rope_rows(const lm_context *context, lm_real *x, size_t rows, size_t heads, size_t head_size,
                  const size_t *row_positions, const lm_real *cosine, const lm_real *sine, bool inverse);

#endif

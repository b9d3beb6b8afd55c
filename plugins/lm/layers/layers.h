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

/* Workers that stay together for many jobs (team.c). */
typedef struct lm_team lm_team;

/* Memory that layers work in, grown and never shrunk. */
typedef struct lm_scratch {
    void **buffers; /* one a worker, each of `size` bytes, 64-byte aligned */
    size_t size;
    void *rows; /* lm_context_rows */
    size_t rows_size;
    lm_team *team; /* NULL: of one worker */
} lm_scratch;

/* What every layer works with. One a caller: two threads never use one context at a time. */
typedef struct lm_context {
    const lm_kernels *kernels;
    const lm_product *product; /* the profile's, for weights */
    const lm_product
        *between; /* for what is no weight: attention, and adapters. bf16/1's in q8/1, else the same */
    lm_parallel parallel;
    lm_scratch *scratch;
} lm_context;

/* profile: "f32/1", "bf16/1" or (not for training) "q8/1"; another name is refused. */
temper_status lm_context_init(lm_context *self, const lm_kernels *kernels, const char *profile,
                              lm_parallel parallel, temper_error *error);
/* Every worker's buffer gets at least so many bytes. Layers that cannot fail (linear, norms) need
 * lm_linear_scratch bytes reserved before; never call it inside a parallel run. */
temper_status lm_context_reserve(const lm_context *self, size_t bytes, temper_error *error);
static inline void *lm_context_scratch(const lm_context *self, size_t worker) {
    return self->scratch->buffers[worker];
}
/* One block of working rows, 64-byte aligned, valid until the next call: for lm_model_forward, lm_model_logits and
 * the backward pass, each for its own duration. */
temper_status lm_context_rows(const lm_context *self, size_t bytes, void **out, temper_error *error);
void lm_context_free(lm_context *self);

/* Runs body for each index below count: on the workers when `work` is worth handing out, else on the caller. Which of the
 * two never shows. Work is counted in a product's multiply-adds, some hundred of which go by in a nanosecond: beside them
 * a value of a row operation counts as LM_VALUE_WORK, one with an exp as LM_EXP_WORK. */
enum { LM_VALUE_WORK = 16, LM_EXP_WORK = 64 };
void lm_context_run(const lm_context *self, size_t work, size_t count, lm_body *body, void *argument);

/* The same, for rows one after another cut into a few equal ranges (of a multiple of `step` rows). */
typedef void lm_range_body(void *argument, size_t begin, size_t end, size_t worker);
void lm_context_ranges(const lm_context *self, size_t work, size_t count, size_t step, lm_range_body *body,
                       void *argument);

/* Calls `conduct` once, on one of the workers, while the others stand by for what it hands out through the functions
 * above: for a forward pass, whose jobs are too many and too small to call workers for each. No host may be called
 * inside. */
void lm_context_together(const lm_context *self, void (*conduct)(void *), void *argument);

/* Zeroed memory aligned to 64 bytes, for packed values and rows (free with free). NULL: refused, or count * size
 * overflows. */
void *lm_allocate(size_t count, size_t size);
/* For what is read again and again in order, packed weights above all: in huge pages where the system has them, so that
 * memory is not waited for twice (an address costs a walk of page tables). Not cleared; free with free. */
void *lm_allocate_large(size_t bytes);

/* --- linear: y = x W^T (+ b) (+ scale * (x A^T) B^T) --- */

/* A LoRA pair (Hu et al. 2021): A [rank][inputs], B [outputs][rank]. Applied, never merged. */
typedef struct lm_lora {
    size_t rank;
    lm_real scale;
    lm_real *a, *b;                /* values, owned */
    void *a_forward, *b_forward;   /* packed for forward: x A^T, (x A^T) B^T */
    void *a_backward, *b_backward; /* packed for dx; NULL until training */
} lm_lora;

typedef struct lm_linear {
    size_t outputs, inputs;
    lm_real *w;     /* [outputs][inputs]; kept where training or tying needs it, else NULL after packing */
    lm_real *bias;  /* [outputs] or NULL */
    void *forward;  /* W^T packed: reduction over inputs */
    bool placed;    /* `forward` lies in memory of somebody else, who frees it */
    void *backward; /* W packed: reduction over outputs; NULL until training */
    lm_lora *lora;  /* NULL: none */
} lm_linear;

/* (Re)packs after the values changed; `training` also packs for backward. */
temper_status lm_linear_pack(const lm_context *context, lm_linear *self, bool training, temper_error *error);
temper_status lm_lora_pack(const lm_context *context, const lm_linear *linear, lm_lora *self, bool training,
                           temper_error *error);
void lm_linear_free(lm_linear *self);
void lm_lora_free(lm_lora *self);

/* Bytes of `forward`, a multiple of 64; 0 when there are too many. */
size_t lm_linear_packed_bytes(const lm_context *context, const lm_linear *self);

/* Bytes of scratch a worker needs for these layers, forward or backward over at most `rows` rows. */
size_t lm_linear_scratch(const lm_context *context, const lm_linear *self, size_t rows);

/* y [R][outputs] from x [R][inputs]: product, then bias, then the adapter's product on top. With an adapter
 * `lora_hidden` [R][rank] must be given and receives scale * (x A^T): backward wants it, scaled. y must not overlap
 * x. lm_linear_scratch(…, 0) must be reserved. */
void lm_linear_forward(const lm_context *context, const lm_linear *self, const lm_real *x, size_t rows,
                       lm_real *y, lm_real *lora_hidden);

/* The same for several layers of one input, which is packed once and whose panels of outputs are dealt in one go. */
typedef struct lm_linear_output {
    const lm_linear *linear;
    lm_real *y, *lora_hidden;
} lm_linear_output;
void lm_linear_forward_all(const lm_context *context, const lm_linear_output *outputs, size_t count,
                           const lm_real *x, size_t rows);

/* Rows of several sequences: a weight gradient reduces over tokens sequence by sequence (an odd last token alone), so
 * that a pair of bf16/1 never crosses sequences. offsets[sequences + 1] in rows, the first 0. */
typedef struct lm_rows {
    size_t sequences;
    const size_t *offsets;
} lm_rows;

/* dx [R][inputs] (NULL: not wanted) is overwritten, or added to when add_dx; dw [outputs][inputs] and dbias [outputs]
 * (NULL: frozen) and the adapter's da, db are added to. */
void lm_linear_backward(const lm_context *context, const lm_linear *self, const lm_real *x,
                        const lm_real *lora_hidden, const lm_real *dy, lm_rows rows, lm_real *dx, bool add_dx,
                        lm_real *dw, lm_real *dbias, lm_real *da, lm_real *db);

/* --- norms over rows: see kernels.h for the formulas --- */
typedef struct lm_norm_weights {
    lm_norm kind;
    lm_real epsilon;
    lm_real *w, *b;    /* [H]; b NULL for RMSNorm; w NULL: there is no such norm */
    lm_real *plus_one; /* [H] 1 + w, which then counts instead of w; NULL: w does */
} lm_norm_weights;
/* Makes plus_one again after w changed; nothing without one. */
void lm_norm_pack(const lm_norm_weights *self, size_t n);
/* statistics: [R][2] (mean, inverse) kept for backward, may be NULL. y may be x. */
void lm_norm_forward(const lm_context *context, const lm_norm_weights *self, const lm_real *x, size_t rows,
                     size_t n, lm_real *y, lm_real *statistics);
/* dx is added to. dw, db may be NULL. */
void lm_norm_backward(const lm_context *context, const lm_norm_weights *self, const lm_real *x,
                      const lm_real *statistics, const lm_real *dy, size_t rows, size_t n, lm_real *dx,
                      lm_real *dw, lm_real *db);

/* --- the feed-forward activation: y [R][F] = silu(gate) * up, gelu_new(gate) * up; or gelu_new(up), gelu(up) (gate
 * NULL) --- */
void lm_activation_forward(const lm_context *context, lm_activation kind, const lm_real *gate,
                           const lm_real *up, size_t rows, size_t n, lm_real *y);
/* dgate (NULL without a gate) and dup are overwritten. */
void lm_activation_backward(const lm_context *context, lm_activation kind, const lm_real *gate,
                            const lm_real *up, const lm_real *dy, size_t rows, size_t n, lm_real *dgate,
                            lm_real *dup);

/* --- attention over one sequence's keys --- */

/* Keys and values of one layer of one sequence, grown as it goes, in the packed layout of kernels.h per kv head:
 * keys as B of Q.K^T (reduction over D, columns = positions), values as B of P.V (reduction over positions, columns
 * = D). Rounded to the profile's operand type when appended. They lie in blocks; attention.c has the layout of one, and
 * whose blocks they are is the caller's to know. */
typedef struct lm_cache_layer {
    size_t block;            /* positions of a block, a multiple of LM_PANEL */
    size_t capacity, length; /* positions that the blocks have; that are filled */
    char *const *blocks;     /* [capacity / block], each 64-byte aligned ... */
    size_t offset;           /* ... with this layer's part here */
    char *single[1];         /* lm_cache_layer_open's */
} lm_cache_layer;
/* Of one layer in a block of so many positions. */
size_t lm_cache_layer_bytes(const lm_context *context, const lm_config *config, size_t positions);
/* One block for all positions, the layer's own. It must stay where it is. */
temper_status lm_cache_layer_open(const lm_context *context, const lm_config *config, size_t capacity,
                                  lm_cache_layer *out, temper_error *error);
void lm_cache_layer_close(lm_cache_layer *self);

/* New rows of one sequence: q [n][A*D], k, v [n][G*D] at positions cache->length .. +n, rotated already. Appends k and
 * v (cache->length advances), then out [n][A*D]: softmax(scale * q.K over keys max(0, pos-window+1) .. pos) . V, divided
 * last (times 1 / sum); with config->attention_cap the scores are capped first. Backward makes the probabilities
 * again. */
typedef struct lm_attention_rows {
    lm_cache_layer *cache;
    const lm_real *q, *k, *v;
    size_t n;
    lm_real *out;
} lm_attention_rows;
/* Several sequences at once, each with its own cache. Fails before anything is changed. */
temper_status lm_attention_forward(const lm_context *context, const lm_config *config, size_t window,
                                   const lm_attention_rows *sequences, size_t count, temper_error *error);
/* Scratch a worker needs for that, with the longest sequence of `keys` positions afterwards. */
size_t lm_attention_scratch(const lm_context *context, const lm_config *config, size_t keys);
/* One whole sequence of n rows from position 0. dq, dk, dv are overwritten. The bf16 rounding of q, k, v and the
 * probabilities is passed straight through (the usual straight-through gradient). */
temper_status lm_attention_backward(const lm_context *context, const lm_config *config, size_t window,
                                    const lm_real *q, const lm_real *k, const lm_real *v, const lm_real *out,
                                    const lm_real *dout, size_t n, lm_real *dq, lm_real *dk, lm_real *dv,
                                    temper_error *error);

/* --- soft caps: x[i] = cap * tanh(scale * x[i] / cap), in place --- */
void lm_soft_cap(const lm_context *context, lm_real *x, lm_real scale, lm_real cap, size_t n);
/* dy[i] *= 1 - (y[i] / cap)^2, y as lm_soft_cap left it (a scale of 1). */
void lm_soft_cap_backward(const lm_real *y, lm_real cap, lm_real *dy, size_t n);

/* --- rotary positions: of a head the first `rotated` elements turn, the first half of them against the second --- */
typedef struct lm_rope {
    size_t rotated;
    lm_real *cosine,
        *sine; /* [positions][rotated / 2], computed with temper/math.h; times the scaling's magnitude */
} lm_rope;
/* theta and scaling: rope.c has the formulas. */
temper_status lm_rope_open(lm_rope *self, double theta, const lm_rope_scaling *scaling, size_t rotated,
                           size_t positions, temper_error *error);
void lm_rope_close(lm_rope *self);
/* inverse: turns back, which is the backward pass (the magnitude multiplies there, too). */
void lm_rope_rows(const lm_context *context, const lm_rope *self, lm_real *x, size_t rows, size_t heads,
                  size_t head_size, const size_t *row_positions, bool inverse);

/* --- fused projections: rows of one product to rows of several, and back --- */

/* fused [R][A*D + 2*G*D] to q [R][A*D], k and v [R][G*D]; by head (config->query_key_value_by_head) or by kind. */
void lm_split_queries(const lm_context *context, const lm_config *config, const lm_real *fused, size_t rows,
                      lm_real *q, lm_real *k, lm_real *v);
void lm_join_queries(const lm_config *config, lm_real *fused, size_t rows, const lm_real *q, const lm_real *k,
                     const lm_real *v);
/* fused [R][2F] to gate and up [R][F]. */
void lm_split_gate(const lm_context *context, const lm_real *fused, size_t rows, size_t n, lm_real *gate,
                   lm_real *up);
void lm_join_gate(lm_real *fused, size_t rows, size_t n, const lm_real *gate, const lm_real *up);

#endif

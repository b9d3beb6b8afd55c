/* config.h: what a model is: an architecture described as data, and its weights by role.
 *
 * A new architecture is a row of the table in architectures.c (what differs: norms, positions, activation, biases,
 * tying, scaling; and the names its tensors go by), not a loader. Roles are ours; names are the files'. */
#ifndef LM_CONFIG_H
#define LM_CONFIG_H

#include "files.h"

typedef enum lm_norm { LM_RMS_NORM, LM_LAYER_NORM } lm_norm;
typedef enum lm_positions { LM_ROPE, LM_LEARNED_POSITIONS } lm_positions;
/* Gated: silu(gate) * up, gelu(gate) * up; or of `up` alone. GELU_NEW and GEGLU have tanh's approximation, GELU has erf. */
typedef enum lm_activation { LM_SWIGLU, LM_GELU_NEW, LM_GEGLU, LM_GELU } lm_activation;
static inline bool lm_activation_gated(lm_activation kind) {
    return kind == LM_SWIGLU || kind == LM_GEGLU;
}
/* Norms of queries and keys, before they are rotated: over each head, or over all heads of a row at once. */
typedef enum lm_head_norm { LM_HEAD_NORM_NONE, LM_HEAD_NORM_EACH, LM_HEAD_NORM_WHOLE } lm_head_norm;

enum { LM_MAX_LAYERS = 512, LM_MAX_FACTORS = 128 };

/* How rotary frequencies are stretched for contexts longer than the first training's; rope.c has the formulas. */
typedef enum lm_rope_kind {
    LM_ROPE_PLAIN,
    LM_ROPE_LINEAR,
    LM_ROPE_LLAMA3,
    LM_ROPE_YARN,
    LM_ROPE_LONG /* by the factors for short texts; the context ends where those for long ones would begin */
} lm_rope_kind;
typedef struct lm_rope_scaling {
    lm_rope_kind kind;
    double factor;    /* linear, llama3, yarn; longrope: longest over original context */
    double original;  /* positions of the first training */
    double low, high; /* llama3: low_freq_factor, high_freq_factor; yarn: beta_slow, beta_fast */
    double magnitude; /* cosines and sines are multiplied by it; 0: 1 */
    bool whole;       /* yarn: its bounds are rounded outwards ("truncate") */
    double short_factors[LM_MAX_FACTORS], long_factors[LM_MAX_FACTORS]; /* longrope, one a pair */
} lm_rope_scaling;

/* A config set to zero is a plain llama; lm_config_start sets what an architecture has of its own. */
typedef struct lm_config {
    char architecture[32]; /* Hugging Face's model_type: "llama", "gpt_neo" */
    size_t vocabulary, hidden, intermediate, layers, heads, kv_heads, head_size, context;
    lm_norm norm;
    lm_positions positions;
    lm_activation activation;
    double norm_epsilon, rope_theta;
    double attention_scale;       /* 1/sqrt(head_size), or 1 for gpt_neo */
    bool tied;                    /* the output head is the embedding */
    size_t window[LM_MAX_LAYERS]; /* keys a query may see, itself included; 0: all before it */
    int64_t bos, eos;             /* -1: none. From config.json / generation_config.json / GGUF */

    bool attention_bias, feed_bias; /* where an architecture leaves them to the config */
    bool norm_plus_one;             /* RMSNorm's weights are stored less 1 */
    bool parallel;                  /* attention and feed-forward both from the block's input */
    bool
        query_key_value_by_head; /* a fused projection's rows: each head's q, k, v; else all q, all k, all v */
    lm_head_norm head_norm;
    size_t rotated;     /* elements of a head that turn with its position; 0: all */
    double local_theta; /* rope_theta of layers with a window, unscaled; 0: as all layers */
    lm_rope_scaling scaling;
    double embedding_scale;          /* of looked-up rows; 0: 1 */
    double attention_cap, final_cap; /* x becomes cap * tanh(x / cap): scores, logits; 0: none */
} lm_config;
/* Elements of a head that rope turns. */
static inline size_t lm_config_rotated(const lm_config *config) {
    return config->rotated == 0 ? config->head_size : config->rotated;
}
/* Clears `out` and sets what `architecture` has of its own; false: there is no such architecture. */
bool lm_config_start(lm_config *out, const char *architecture);

typedef enum lm_role {
    LM_EMBEDDING,
    LM_POSITION_EMBEDDING,
    LM_FINAL_NORM,
    LM_FINAL_NORM_BIAS,
    LM_HEAD, /* whole model */
    LM_ATTENTION_NORM,
    LM_ATTENTION_NORM_BIAS,
    LM_QUERY,
    LM_KEY,
    LM_VALUE,
    LM_OUTPUT, /* a layer */
    LM_QUERY_BIAS,
    LM_KEY_BIAS,
    LM_VALUE_BIAS,
    LM_OUTPUT_BIAS,
    LM_FEED_NORM,
    LM_FEED_NORM_BIAS,
    LM_GATE,
    LM_UP,
    LM_DOWN,
    LM_UP_BIAS,
    LM_DOWN_BIAS,
    /* Later ones come last: a role's number is part of every draw for its values. All of a layer. */
    LM_GATE_BIAS,
    LM_QUERY_NORM,
    LM_KEY_NORM,
    LM_ATTENTION_POST_NORM, /* of what attention adds to the stream */
    LM_FEED_POST_NORM,
    LM_QUERY_KEY_VALUE, /* instead of LM_QUERY, LM_KEY, LM_VALUE */
    LM_QUERY_KEY_VALUE_BIAS,
    LM_GATE_UP, /* instead of LM_GATE, LM_UP: all gates, then all ups */
    LM_ROLE_COUNT
} lm_role;

/* Expected shape of a role under a config: rank 0 when this architecture has no such tensor. Matrices are
 * [outputs][inputs]. LM_UP / LM_DOWN are also gpt_neo's c_fc / c_proj (no LM_GATE there). */
void lm_role_shape(const lm_config *config, lm_role role, unsigned *rank, size_t shape[2]);
bool lm_role_per_layer(lm_role role);
/* Hugging Face's files have this matrix as [inputs][outputs] (gpt2's Conv1D). */
bool lm_role_transposed(const lm_config *config, lm_role role);
/* The Hugging Face name ("model.layers.3.self_attn.q_proj.weight"), as files and PEFT adapters use it. */
void lm_role_name(const lm_config *config, lm_role role, size_t layer, char *out, size_t size);
/* The module part for PEFT target_modules: "q_proj" .. "down_proj", "c_fc"; NULL for what is not a linear layer. */
const char *lm_role_module(const lm_config *config, lm_role role);

/* config.json's text to a config and back. Unknown model_type, or a key that would change results and is not
 * understood (rope_scaling, attention_bias, another activation): refused by name. */
temper_status lm_config_parse(const char *json, size_t length, lm_config *out, temper_error *error);
/* A config.json that transformers reads; caller frees. */
char *lm_config_write(const lm_config *config, lm_dtype dtype);

/* A model's weights: a config and a tensor for each role that it has, each of the right shape. From a Hugging
 * Face folder (model.safetensors, or shards with model.safetensors.index.json) or a .gguf file. */
typedef struct lm_checkpoint lm_checkpoint;
temper_status lm_checkpoint_open(const lm_file_set *files, lm_checkpoint **out, temper_error *error);
const lm_config *lm_checkpoint_config(const lm_checkpoint *self);
lm_dtype lm_checkpoint_dtype(const lm_checkpoint *self); /* of its layers' matrices */
/* Reads the whole tensor as f32, row-major (rows of Q and K in Hugging Face's order, GGUF's permutation undone). */
temper_status lm_checkpoint_read(const lm_checkpoint *self, lm_role role, size_t layer, float *out,
                                 temper_error *error);
void lm_checkpoint_close(lm_checkpoint *self);

/* The ids that end a generation: generation_config.json's and config.json's eos_token_id, each a number or a list, or
 * a GGUF's eos, eot and eom. At most `room` go to `ids`, each once; all are below `vocabulary`. Returns how many. */
size_t lm_end_tokens(const lm_file_set *files, size_t vocabulary, int32_t *ids, size_t room);

/* A LoRA adapter: PEFT's adapter_config.json + adapter_model.safetensors, or a GGUF. A set may hold several for one base:
 * its own at the top, then adapters/0/, adapters/1/, ... */
typedef struct lm_adapter_config {
    size_t rank; /* of modules without one of their own */
    double alpha;
    bool rank_stabilised;        /* use_rslora: scale = alpha / sqrt(r), else alpha / r */
    bool targets[LM_ROLE_COUNT]; /* by role */
} lm_adapter_config;
typedef struct lm_adapter_file lm_adapter_file;
size_t lm_adapter_count(const lm_file_set *files);
/* Checks every tensor against the base's config. Without an index: the first. */
temper_status lm_adapter_open_at(const lm_file_set *files, size_t index, const lm_config *base,
                                 lm_adapter_file **out, temper_error *error);
temper_status lm_adapter_open(const lm_file_set *files, const lm_config *base, lm_adapter_file **out,
                              temper_error *error);
const lm_adapter_config *lm_adapter_file_config(const lm_adapter_file *self);
/* Rank and scale of this layer's pair (each may have its own): the layer's output gets scale * (x A^T) B^T. */
bool lm_adapter_pair(const lm_adapter_file *self, lm_role role, size_t layer, size_t *rank, double *scale);
size_t lm_adapter_greatest_rank(const lm_adapter_file *self);
/* a: [rank][inputs], b: [outputs][rank], f32; false when this layer's role has no adapter. */
bool lm_adapter_read(const lm_adapter_file *self, lm_role role, size_t layer, float *a, float *b);
void lm_adapter_close(lm_adapter_file *self);
/* The names PEFT gives: "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" (which: 'A' or 'B'). */
void lm_adapter_name(const lm_config *base, lm_role role, size_t layer, char which, char *out, size_t size);
char *lm_adapter_config_write(const lm_config *base, const lm_adapter_config *adapter, const char *base_name);

#endif

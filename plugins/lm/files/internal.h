/* internal.h: what the files, tokenizer and template rooms share beyond their contracts: JSON with this project's
 * rules (duplicate keys refused, big integers survived, depth bounded), and finding a model's files. */
#ifndef LM_FILES_INTERNAL_H
#define LM_FILES_INTERNAL_H

#include "config.h"
#include "files.h"

#include <jansson.h>

/* Parses a whole file; the message names it and the line. An integer beyond 64 bits turns the document's integers
 * into reals (tokenizer_config.json says model_max_length 1e30), which lm_json_integer below reads as well. */
temper_status lm_json_parse(const void *text, size_t length, const char *file, json_t **out,
                            temper_error *error);
/* An integer, or a real that is one and lies within 2^53. */
bool lm_json_integer(const json_t *value, int64_t *out);
/* "true", "a list", "\"text\"": a value in a message, cut short. */
const char *lm_json_describe(const json_t *value, char *out, size_t size);

/* A file of the model itself: by this name, or, for an adapter's folder, under base/. */
const lm_file *lm_file_find_model(const lm_file_set *set, const char *name);
/* The first .gguf file (by name or by its first four bytes). */
const lm_file *lm_file_find_gguf(const lm_file_set *set);

/* One block to its LM_MAX_BLOCK or fewer values. */
void lm_quantised_read(lm_dtype dtype, const unsigned char *block, float *out);
float lm_f32_from_f16(uint16_t half);
uint16_t lm_f16_from_f32(float value);
/* What a weight can be stored as, to end a message with. */
#define LM_READABLE_TYPES "F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q4_K and Q4_0"
/* "[512, 64]" */
const char *lm_shape_text(unsigned rank, const size_t *shape, char *out, size_t size);

/* Why `name` cannot be found although the file has it: the dtype or rank that this library does not read; NULL when
 * the file has no such tensor. */
const char *lm_safetensors_unread(const lm_safetensors *self, const char *name);
const char *lm_gguf_unread(const lm_gguf *self, const char *name);
/* Metadata keys in turn, to refuse those not understood; not 0-terminated. */
size_t lm_gguf_key_count(const lm_gguf *self);
const char *lm_gguf_key_at(const lm_gguf *self, size_t index, size_t *length);
uint32_t lm_gguf_type(lm_dtype dtype); /* ggml's number */
/* A pair as it stands in the file, from its type on. */
const void *lm_gguf_raw(const lm_gguf *self, const char *key, size_t *size);
bool lm_gguf_bool(const lm_gguf *self, const char *key, bool *out);

/* --- architectures.c: an architecture is a row of its table --- */

/* Which layers have a window. */
typedef enum lm_windows {
    LM_WINDOWS_NONE,
    LM_WINDOWS_ALL,     /* sliding_window, when it is set */
    LM_WINDOWS_LATER,   /* layer_types, or from layer max_window_layers on; when use_sliding_window says so */
    LM_WINDOWS_PATTERN, /* layer_types, or all layers but every `pattern`th */
    LM_WINDOWS_TYPES    /* gpt_neo's attention_types */
} lm_windows;

/* The keys of config.json under which the sizes are; NULL: there is no such key. */
typedef struct lm_config_names {
    const char *hidden, *intermediate, *layers, *heads, *kv_heads, *head_size, *context, *activation,
        *epsilon, *theta, *partial;
} lm_config_names;

struct lm_tensor_name;
typedef struct lm_architecture {
    const char *model_type;
    const char *class_name;    /* as "architectures" has it */
    const char *base_prefix;   /* in front of all but the head: "model." */
    const char *layer_stem;    /* "layers." */
    const char *head_names[2]; /* "lm_head.weight"; another that files may have */
    const struct lm_tensor_name *names;
    const lm_config_names *keys;
    const char *gguf; /* general.architecture; NULL: not known */
    bool gguf_pairs;  /* there, rows of queries and keys lie in pairs to rotate */

    lm_norm norm;
    lm_positions positions;
    lm_activation activation;
    lm_head_norm head_norm;
    lm_windows windows;
    size_t pattern;
    bool transposed; /* matrices of a layer are stored as [inputs][outputs] */
    bool norm_plus_one, parallel, query_key_value_by_head, unscaled, embedding_scaled, partial;

    /* what config.json may leave out */
    bool tied, attention_bias, wide; /* wide: a feed-forward of four times the hidden size */
    bool pads;          /* transformers has a padding token for it, maybe beyond the vocabulary */
    size_t head_size;   /* 0: hidden / heads */
    size_t query_scale; /* of gemma: instead of head_size in the scale of scores */
    double epsilon, theta, local_theta, part, attention_cap, final_cap;
} lm_architecture;
const lm_architecture *lm_architecture_find(const char *model_type);
const lm_architecture *lm_architecture_find_gguf(const char *name, size_t length);
/* "llama, mistral, ...": those that are supported. */
const char *lm_architecture_names(bool in_gguf, char *out, size_t size);
/* Every key of config.json is read, free, or switched off: or refused by name (config_keys.c). */
temper_status lm_config_check_keys(const json_t *root, const lm_architecture *row, temper_error *error);
/* Rotary positions: theta, the part of a head, scaling (config_rope.c); and back. */
temper_status lm_config_read_rope(const json_t *root, const lm_architecture *row, lm_config *out,
                                  temper_error *error);
double lm_yarn_magnitude(double factor); /* of cosines and sines, when nothing else is said */
void lm_config_write_rope(json_t *root, const lm_architecture *row, const lm_config *config);
/* Windows by layer (config_windows.c); and back. */
temper_status lm_config_read_windows(const json_t *root, const lm_architecture *row, lm_config *out,
                                     temper_error *error);
void lm_config_write_windows(json_t *root, const lm_architecture *row, const lm_config *config);
/* A value of config.json; absent (or null) gives the default, and one below zero makes the key required. `key` NULL:
 * absent. */
temper_status lm_config_count(const json_t *root, const char *key, int64_t absent, size_t *out,
                              temper_error *error);
temper_status lm_config_real(const json_t *root, const char *key, double absent, double *out,
                             temper_error *error);
temper_status lm_config_flag(const json_t *root, const char *key, bool absent, bool *out,
                             temper_error *error);
/* GGUF's name for a role; false when the format has none. */
bool lm_role_gguf_name(lm_role role, size_t layer, char *out, size_t size);

/* adapter_config.c: the file's root to a config (its targets are the caller's), one module's rank and scale, and
 * whether target_modules names what has tensors. */
temper_status lm_adapter_config_read(const json_t *root, lm_adapter_config *out, temper_error *error);
void lm_adapter_config_of(const json_t *root, const lm_adapter_config *config, const char *module,
                          size_t *rank, double *scale);
temper_status lm_adapter_config_targets(const json_t *root, const lm_config *base,
                                        const lm_adapter_config *config, temper_error *error);
/* general.type is "adapter". */
bool lm_gguf_is_adapter(const lm_gguf *gguf);
/* The architecture's name in a GGUF; NULL: none is known. */
const char *lm_config_gguf_name(const lm_config *config);
/* Where a GGUF has row `row` (in Hugging Face's order) of this role's matrix or bias: in some architectures queries and
 * keys lie in pairs to rotate there (0, half, 1, half + 1, ...), in some the fused q, k and v of all heads are apart. */
size_t lm_gguf_row(const lm_config *config, lm_role role, size_t row);
/* A GGUF has 1 added to this norm's weights. */
bool lm_gguf_plus_one(const lm_config *config, lm_role role);
/* The size whose root divides scores in gemma's GGUFs, where no key says it. */
size_t lm_gguf_query_scale(const lm_config *config);
/* What llama3's and longrope's scaling divide a pair's frequency by. */
double lm_config_rope_divisor(const lm_config *config, size_t pair);
temper_status lm_config_write_gguf(const lm_config *config, lm_gguf_writer *out, temper_error *error);

/* Everything that config.json and GGUF have in common: ranges, divisibility, ids. `file` for messages. */
temper_status lm_config_check(const lm_config *config, const char *file, temper_error *error);
temper_status lm_config_from_gguf(const lm_gguf *gguf, const char *file, lm_config *out, temper_error *error);
double lm_inverse_square_root(size_t value);
/* What follows from sizes and row: the scales of attention and embedding. query_scale: gemma's query_pre_attn_scalar. */
void lm_config_derive(lm_config *config, const lm_architecture *row, size_t query_scale);
const char *lm_activation_name(lm_activation kind); /* as config.json names it */

#endif

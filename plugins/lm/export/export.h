/* export.h: a model, its adapters with it, as the files that other programs load.
 *
 * Invariant: what is written is a function of the files given and of the options. A tensor is made, written and
 * forgotten: memory is the largest one's. */
#ifndef LM_EXPORT_H
#define LM_EXPORT_H

#include "../files/config.h"
#include "../parallel.h"

/* A base's weights with what the adapters of its set add. `weights`: one an adapter; NULL: 1 each. */
typedef struct lm_merged lm_merged;
temper_status lm_merged_open(const lm_file_set *files, const double *weights, lm_parallel parallel,
                             lm_merged **out, temper_error *error);
const lm_config *lm_merged_config(const lm_merged *self);
size_t lm_merged_adapters(const lm_merged *self);
/* A whole tensor in Hugging Face's order: the nearest f32 of W + sum of weight * scale * B A. */
temper_status lm_merged_read(const lm_merged *self, lm_role role, size_t layer, float *out,
                             temper_error *error);
/* What the base's matrices are stored as; F16 for blocks that are not written (all but Q8_0). */
lm_dtype lm_merged_dtype(const lm_merged *self);
void lm_merged_close(lm_merged *self);

/* The adapters of a set as one: a pair for each layer that any of them has one for. Its scale is alpha / rank. */
typedef struct lm_joined {
    size_t rank; /* the greatest */
    double alpha;
    bool targets[LM_ROLE_COUNT];
    const lm_merged *of;
} lm_joined;
temper_status lm_joined_open(const lm_merged *of, lm_joined *out, temper_error *error);
size_t lm_joined_rank(const lm_joined *self, lm_role role, size_t layer); /* 0: no pair */
/* a: [rank][inputs], b: [outputs][rank], scaled so that alpha / rank is the pair's scale. */
temper_status lm_joined_read(const lm_joined *self, lm_role role, size_t layer, float *a, float *b,
                             temper_error *error);

typedef enum lm_export_format {
    LM_EXPORT_HF,
    LM_EXPORT_PEFT,
    LM_EXPORT_GGUF,
    LM_EXPORT_GGUF_LORA
} lm_export_format;

/* Where files go: begin(name), then its bytes. */
typedef struct lm_export_sink {
    void *context;
    temper_status (*begin)(void *context, const char *name, temper_error *error);
    lm_write *write;
} lm_export_sink;

typedef struct lm_export_options {
    lm_export_format format;
    bool typed;    /* else the type of the base's weights (of adapters: F32) */
    lm_dtype type; /* F32, F16, BF16; GGUF: Q8_0 */
} lm_export_options;

/* "hf", "peft", "gguf", "gguf-lora"; "f32", "f16", "bf16", "q8_0". */
bool lm_export_format_parse(const char *text, lm_export_format *out);
bool lm_export_type_parse(const char *text, lm_dtype *out);
/* The type asked for, or the one that the model's own gives. */
lm_dtype lm_export_chosen(const lm_export_options *options, const lm_merged *merged);
/* The type that a tensor of this shape is written in, when `type` is asked for. */
lm_dtype lm_export_type_of(lm_export_format format, lm_dtype type, unsigned rank, const size_t *shape);
temper_status lm_export(const lm_file_set *files, const double *weights, const lm_export_options *options,
                        lm_parallel parallel, const lm_export_sink *sink, temper_error *error);

#endif

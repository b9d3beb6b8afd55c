/* internal.h: what the files of export/ share. */
#ifndef LM_EXPORT_INTERNAL_H
#define LM_EXPORT_INTERNAL_H

#include "../files/internal.h"
#include "export.h"

#include <stdlib.h>
#include <string.h>

struct lm_merged {
    lm_checkpoint *base;
    lm_parallel parallel;
    lm_adapter_file **adapters;
    double *weights;
    size_t count;
};

/* What an export works with. */
typedef struct lm_exporting {
    const lm_file_set *files;
    const lm_merged *merged;
    const lm_export_options *options;
    lm_dtype type;
    const lm_export_sink *sink;
} lm_exporting;

temper_status lm_export_hf(const lm_exporting *self, temper_error *error);
temper_status lm_export_gguf(const lm_exporting *self, temper_error *error);
temper_status lm_export_peft(const lm_exporting *self, temper_error *error);
temper_status lm_export_gguf_lora(const lm_exporting *self, temper_error *error);

/* begin(name), then all of it. */
temper_status lm_export_file(const lm_export_sink *sink, const char *name, const void *data, size_t size,
                             temper_error *error);
/* lm_encode, or the refusal that names the tensor. */
temper_status lm_export_encode(const char *name, lm_dtype type, const float *values, size_t count, void *out,
                               temper_error *error);
/* Elements of a model's largest tensor. */
size_t lm_export_largest(const lm_config *config);
/* general.file_type of a GGUF whose matrices are of this type. */
uint32_t lm_export_file_type(lm_dtype type);
/* Bytes of a tensor of this type. */
size_t lm_export_bytes(lm_dtype type, unsigned rank, const size_t *shape);

#endif

/* export.c: which form an export has, and what it can be made of. */
#include "internal.h"

static const char *const formats[] = {[LM_EXPORT_HF] = "hf",
                                      [LM_EXPORT_PEFT] = "peft",
                                      [LM_EXPORT_GGUF] = "gguf",
                                      [LM_EXPORT_GGUF_LORA] = "gguf-lora"};

bool lm_export_format_parse(const char *text, lm_export_format *out) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(formats[i], text) == 0) {
            *out = (lm_export_format)i;
            return true;
        }
    }
    return false;
}

bool lm_export_type_parse(const char *text, lm_dtype *out) {
    static const struct {
        const char *name;
        lm_dtype type;
    } types[] = {{"f32", LM_F32}, {"f16", LM_F16}, {"bf16", LM_BF16}, {"q8_0", LM_Q8_0}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, text) == 0) {
            *out = types[i].type;
            return true;
        }
    }
    return false;
}

lm_dtype lm_export_type_of(lm_export_format format, lm_dtype type, unsigned rank, const size_t *shape) {
    size_t elements;
    (void)lm_dtype_block(type, &elements);
    if (rank < 2 && (format == LM_EXPORT_GGUF || type == LM_Q8_0)) {
        return LM_F32;
    }
    return rank == 2 && shape[1] % elements != 0 ? LM_F16 : type;
}

size_t lm_export_bytes(lm_dtype type, unsigned rank, const size_t *shape) {
    size_t elements, bytes = lm_dtype_block(type, &elements);
    return shape[0] * (rank == 2 ? shape[1] : 1) / elements * bytes;
}

temper_status lm_export_file(const lm_export_sink *sink, const char *name, const void *data, size_t size,
                             temper_error *error) {
    temper_status status = sink->begin(sink->context, name, error);
    return status || size == 0 ? status : sink->write(sink->context, data, size, error);
}

temper_status lm_export_encode(const char *name, lm_dtype type, const float *values, size_t count, void *out,
                               temper_error *error) {
    return lm_encode(type, values, count, out)
               ? TEMPER_OK
               : temper_fail(
                     error, TEMPER_INVALID,
                     "tensor \"%s\" holds a value that %s cannot (not finite, or too large: F16 ends at "
                     "65504): take --type bf16 or f32",
                     name, lm_dtype_name(type));
}

lm_dtype lm_export_chosen(const lm_export_options *options, const lm_merged *merged) {
    bool adapter = options->format == LM_EXPORT_PEFT || options->format == LM_EXPORT_GGUF_LORA;
    if (options->typed) {
        return options->type;
    }
    lm_dtype type = adapter ? LM_F32 : lm_merged_dtype(merged);
    return options->format == LM_EXPORT_HF && type == LM_Q8_0 ? LM_F16 : type;
}

temper_status lm_export(const lm_file_set *files, const double *weights, const lm_export_options *options,
                        lm_parallel parallel, const lm_export_sink *sink, temper_error *error) {
    static temper_status (*const writers[])(const lm_exporting *,
                                            temper_error *) = {[LM_EXPORT_HF] = lm_export_hf,
                                                               [LM_EXPORT_PEFT] = lm_export_peft,
                                                               [LM_EXPORT_GGUF] = lm_export_gguf,
                                                               [LM_EXPORT_GGUF_LORA] = lm_export_gguf_lora};
    bool folder = options->format == LM_EXPORT_HF || options->format == LM_EXPORT_PEFT;
    lm_merged *merged = NULL;
    temper_status status = lm_merged_open(files, weights, parallel, &merged, error);
    if (status) {
        return status;
    }
    lm_exporting self = {files, merged, options, lm_export_chosen(options, merged), sink};
    if (folder && lm_dtype_size(self.type) == 0) {
        status = temper_fail(error, TEMPER_UNSUPPORTED,
                             "a folder of safetensors has no %s: take f32, f16 or bf16, or --format gguf",
                             lm_dtype_name(self.type));
    } else {
        status = writers[options->format](&self, error);
    }
    lm_merged_close(merged);
    return status;
}

/* export.c: the stage behind `temper export`: a model, its adapters with it, in another form. */
#include "internal.h"

#include "../lm/export/export.h"
#include "export.h"

#include <stdlib.h>

#define EXPORT(P, S)                                                                                         \
    P(S, string, format, "format", "\"hf\"", 1, 0, "", "hf|peft|gguf|gguf-lora", "the form to write", "0.1") \
    P(S, string, type, "type", "\"same\"", 1, 0, "", "same|f32|f16|bf16|q8_0",                               \
      "the type of its matrices; same: as the model has them (an adapter: f32)", "0.1")                      \
    P(S, strings, weights, "weights", "[]", 1, 0, "", "",                                                    \
      "how much of each adapter counts: 1 where nothing is said", "0.1")
TEMPER_PARAMETERS(export, EXPORT)

typedef struct exporting {
    const temper_host *host;
    export_parameters given;
    temper_output *output;
} exporting;

temper_status native_export_weights(const temper_strings *texts, const lm_file_set *files, double **out,
                                    temper_error *error) {
    size_t count = lm_adapter_count(files);
    double *weights = malloc((count + 1) * sizeof *weights);
    *out = NULL;
    if (weights == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for weights");
    }
    if (texts->count > count) {
        free(weights);
        return temper_fail(error, TEMPER_INVALID, "%zu weights for %zu adapters", texts->count, count);
    }
    for (size_t i = 0; i < count; i++) {
        char *end = NULL;
        weights[i] = i < texts->count ? strtod(texts->items[i], &end) : 1.0;
        if (i < texts->count &&
            (end == texts->items[i] || *end != 0 || !(weights[i] >= -1e6 && weights[i] <= 1e6))) {
            free(weights);
            return temper_fail(error, TEMPER_INVALID, "the weight \"%.40s\" is no number within a million",
                               texts->items[i]);
        }
    }
    *out = weights;
    return TEMPER_OK;
}

lm_export_options native_export_options(const char *format, const char *type) {
    lm_export_options options = {.format = LM_EXPORT_HF};
    (void)lm_export_format_parse(format, &options.format); /* one of the choices */
    options.typed = lm_export_type_parse(type, &options.type);
    return options;
}

static temper_status begin(void *context, const char *name, temper_error *error) {
    const exporting *self = context;
    return self->host->begin_file(self->output, name, error);
}

static temper_status pour(void *context, const void *bytes, size_t count, temper_error *error) {
    const exporting *self = context;
    return self->host->write_bytes(self->output, bytes, count, error);
}

static temper_status create(const temper_host *host, const void *parameters, void **out,
                            temper_error *error) {
    exporting *self = host->allocate(host, sizeof *self);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for an export");
    }
    *self = (exporting){.host = host, .given = *(const export_parameters *)parameters};
    *out = self;
    return TEMPER_OK;
}

static temper_status run(void *context, const temper_host *host, temper_error *error) {
    exporting *self = context;
    lm_export_options options = native_export_options(self->given.format, self->given.type);
    lm_export_sink sink = {self, begin, pour};
    lm_file_set files = {0};
    double *weights = NULL;
    temper_status status = native_files(host, host->input(host, "model"), &files, error);
    status = status ? status : native_export_weights(&self->given.weights, &files, &weights, error);
    status = status ? status : host->output(host, "model", &self->output, error);
    status = status ? status : lm_export(&files, weights, &options, native_parallel(host), &sink, error);
    free(weights);
    free((void *)(uintptr_t)files.files);
    return status;
}

static void destroy(void *context) {
    exporting *self = context;
    self->host->release(self->host, self);
}

const temper_stage native_export_stage = {
    .size = sizeof native_export_stage,
    .revision = 1,
    .name = "export",
    .doc = "writes a model, its adapters merged into it, as a Hugging Face folder or a GGUF; or its adapters "
           "as one",
    .inputs = (const temper_port *const[]){TEMPER_PORT(TEMPER_MODEL, "model", 0, "",
                                                       "a model; or an adapter, or several, with their base"),
                                           NULL},
    .outputs =
        (const temper_port *const[]){TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "what was written"), NULL},
    .parameters = export_parameter_table,
    .parameters_size = sizeof(export_parameters),
    .create = create,
    .run = run,
    .destroy = destroy,
};

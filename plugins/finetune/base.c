/* base.c: an input of kind model, opened for training on the host's threads. */
#include "finetune.h"

#include <stdlib.h>

/* The host's threads as lm sees them. */
typedef struct bridge {
    lm_body *body;
    void *context;
} bridge;

static void cross(void *context, uint64_t index, uint32_t worker) {
    bridge *self = context;
    self->body(self->context, (size_t)index, worker);
}

static void run_on_host(void *self, size_t count, lm_body *body, void *context) {
    const temper_host *host = self;
    bridge over = {body, context};
    host->parallel_for(host, count, cross, &over);
}

temper_status base_context(const temper_host *host, lm_context *out, temper_error *error) {
    const char *reason = NULL;
    if (strcmp(host->profile, "q8/1") == 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "profile q8/1 is for generating and scoring: 8-bit weights cannot be trained; use "
                           "bf16/1 or f32/1");
    }
    const lm_kernels *kernels = lm_kernels_choose(NULL, &reason);
    if (kernels == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s", reason);
    }
    lm_parallel parallel = {host->workers(host), (void *)(uintptr_t)host, run_on_host};
    return lm_context_init(out, kernels, host->profile, parallel, error);
}

static temper_status gather(const temper_host *host, temper_pool *pool, const temper_input *input,
                            lm_file_set *out, temper_error *error) {
    size_t count = host->file_count(host, input);
    lm_file *files = temper_pool_take(pool, count, sizeof *files);
    if (files == NULL) {
        return temper_no_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        temper_file file = {.size = sizeof file};
        temper_status status = host->file(host, input, i, &file, error);
        if (status) {
            return status;
        }
        files[i] =
            (lm_file){temper_pool_copy(pool, file.name, strlen(file.name)), file.data, (size_t)file.length};
        if (files[i].name == NULL) {
            return temper_no_memory(error);
        }
    }
    *out = (lm_file_set){files, count};
    return TEMPER_OK;
}

static temper_status open_template(base_model *self, temper_error *error) {
    char *source = NULL;
    size_t length = 0;
    temper_error absent = TEMPER_ERROR_INIT;
    temper_status status = lm_template_find(&self->files, &source, &length, &absent);
    if (status == TEMPER_UNSUPPORTED) {
        return TEMPER_OK; /* raw text can still be trained on; rows.c says so when a chat is asked for */
    }
    if (status) {
        return temper_fail(error, status, "%s", absent.message);
    }
    status = lm_template_compile(source, length, &self->chat, error);
    free(source);
    return status;
}

temper_status base_open(const temper_host *host, temper_pool *pool, const temper_input *input,
                        base_model *out, temper_error *error) {
    *out = (base_model){.host = host, .input = input};
    temper_status status = base_context(host, &out->context, error);
    if (!status) {
        status = gather(host, pool, input, &out->files, error);
    }
    if (!status && lm_file_find(&out->files, "adapter_config.json") != NULL) {
        status =
            temper_fail(error, TEMPER_UNSUPPORTED,
                        "the model to train is an adapter on a base: train the base, or merge the two first");
    }
    if (!status) {
        status = lm_tokenizer_open(&out->files, &out->tokenizer, error);
    }
    if (!status) {
        status = open_template(out, error);
    }
    if (!status) {
        status = lm_model_open_training(&out->context, &out->files, &out->model, error);
    }
    if (!status && lm_tokenizer_size(out->tokenizer) > out->model->config.vocabulary) {
        status = temper_fail(error, TEMPER_INVALID, "the tokenizer has %zu tokens, the model %zu",
                             lm_tokenizer_size(out->tokenizer), out->model->config.vocabulary);
    }
    if (status) {
        base_close(out);
    }
    return status;
}

void base_close(base_model *self) {
    lm_model_close(self->model);
    if (self->tokenizer != NULL) {
        lm_tokenizer_close(self->tokenizer);
    }
    if (self->chat != NULL) {
        lm_template_free(self->chat);
    }
    lm_context_free(&self->context);
    *self = (base_model){0};
}

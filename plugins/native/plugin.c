/* plugin.c: what `native` is to the host: one extension, and the stages of `temper selftest` and `temper bench`. */
#include "internal.h"

#include <stdlib.h>
#include <temper/plugin.h>

static void info(const temper_model *model, temper_model_info *out) {
    out->architecture = model->model->config.architecture;
    out->parameters = lm_model_parameters(model->model);
    out->context = model->model->config.context;
    out->has_chat_template = model->chat != NULL;
    out->knows_system = model->chat != NULL && lm_template_mentions_system(model->chat);
}

/* 0-terminated text of a special token, NULL when there is none. */
static char *special_text(const temper_model *model, int32_t id) {
    size_t length = 0;
    const char *bytes = id < 0 ? NULL : lm_tokenizer_bytes(model->tokenizer, id, &length);
    return bytes == NULL ? NULL : strndup(bytes, length);
}

static temper_status render(temper_model *model, const temper_message *const *messages, size_t count,
                            int32_t add_generation_prompt, const char **text, size_t *length,
                            temper_error *error) {
    lm_message *list = NULL;
    lm_rendering rendering = {0};
    temper_status status = native_need_chat(model, error);
    if (!status) {
        status = native_messages(messages, count, &list, error);
    }
    if (!status) {
        char *bos = special_text(model, lm_tokenizer_bos(model->tokenizer));
        char *eos = special_text(model, lm_tokenizer_eos(model->tokenizer));
        status = lm_template_render(model->chat, list, count, add_generation_prompt != 0, bos, eos,
                                    &rendering, error);
        free(bos);
        free(eos);
    }
    if (!status) {
        free(model->rendered);
        model->rendered = rendering.text;
        rendering.text = NULL;
        *text = model->rendered;
        *length = rendering.length;
    }
    lm_rendering_free(&rendering);
    free(list);
    return status;
}

/* Special tokens written out count as one each, as in a rendered conversation. */
static temper_status count_tokens(temper_model *model, const char *text, size_t length, uint64_t *out,
                                  temper_error *error) {
    lm_tokens tokens = {0};
    uint8_t *special = malloc(length + 1);
    if (special == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a text of %zu bytes", length);
    }
    memset(special, 1, length + 1);
    temper_status status = lm_tokenizer_encode(model->tokenizer, text, length, special, &tokens, error);
    if (!status) {
        int32_t bos = lm_tokenizer_bos(model->tokenizer);
        bool added = bos >= 0 && lm_tokenizer_adds_bos(model->tokenizer) &&
                     (tokens.count == 0 || tokens.items[0].id != bos);
        *out = tokens.count + added;
    }
    lm_tokens_free(&tokens);
    free(special);
    return status;
}

static uint64_t hidden_size(const temper_model *model) {
    return model->model->config.hidden;
}

static const temper_model_service service = {
    .size = sizeof service,
    .open = native_open,
    .close = native_close,
    .info = info,
    .render = render,
    .count_tokens = count_tokens,
    .generate = native_generate,
    .score = native_score,
    .release_results = native_release_results,
    .hidden_size = hidden_size,
    .embed = native_embed,
    .stream = native_stream,
    .select_adapter = native_select,
};

static const void *extension(const char *id) {
    return strcmp(id, TEMPER_MODEL_SERVICE) == 0  ? (const void *)&service
           : strcmp(id, TEMPER_TEXT_SERVICE) == 0 ? (const void *)&native_text_service
                                                  : NULL;
}

static const temper_stage *const stages[] = {&native_selftest_stage, &native_bench_stage,
                                             &native_export_stage, &native_compare_stage, NULL};

static const temper_plugin plugin = {
    .size = sizeof plugin,
    .name = "native",
    .version = "0.1.0",
    .author = "Temper",
    .license = "Apache-2.0",
    .doc = "The model provider that runs models on this machine's processors.",
    .stages = stages,
    .extension = extension,
};

temper_status temper_plugin_v1(const temper_hello *hello, const temper_plugin **out) {
    (void)hello;
    *out = &plugin;
    return TEMPER_OK;
}

/* find.c: where a model keeps its chat template. */
#include "../files/internal.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static temper_status copy_out(const char *text, size_t size, char **source, size_t *length,
                              temper_error *error) {
    *source = malloc(size + 1);
    if (*source == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a chat template of %zu bytes", size);
    }
    memcpy(*source, text, size);
    (*source)[size] = 0;
    *length = size;
    return TEMPER_OK;
}

/* A string, or a list of {name, template} of which "default" is meant. */
static const json_t *pick(const json_t *value) {
    size_t i;
    json_t *item;
    if (json_is_string(value)) {
        return value;
    }
    json_array_foreach((json_t *)(uintptr_t)value, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        const json_t *text = json_object_get(item, "template");
        if (name != NULL && strcmp(name, "default") == 0 && json_is_string(text)) {
            return text;
        }
    }
    return NULL;
}

static temper_status from_config(const lm_file *file, char **source, size_t *length, temper_error *error) {
    json_t *root;
    temper_status status = lm_json_parse(file->data, file->size, file->name, &root, error);
    if (status) {
        return status;
    }
    const json_t *value = json_object_get(root, "chat_template"), *text = pick(value);
    if (text != NULL) {
        status = copy_out(json_string_value(text), json_string_length(text), source, length, error);
    } else if (value != NULL && !json_is_null(value)) {
        status = temper_fail(error, TEMPER_UNSUPPORTED,
                             "%s: chat_template is neither a text nor a list with one named \"default\"",
                             file->name);
    }
    json_decref(root);
    return status;
}

static temper_status from_gguf(const lm_file *file, char **source, size_t *length, temper_error *error) {
    lm_gguf *gguf;
    const char *text;
    size_t size;
    temper_status status = lm_gguf_open(file, &gguf, error);
    if (status) {
        return status;
    }
    if (lm_gguf_string(gguf, "tokenizer.chat_template", &text, &size)) {
        status = copy_out(text, size, source, length, error);
    }
    lm_gguf_close(gguf);
    return status;
}

temper_status lm_template_find(const lm_file_set *files, char **source, size_t *length, temper_error *error) {
    static const char *const configs[] = {"tokenizer_config.json", "chat_template.json"};
    const lm_file *file = lm_file_find_model(files, "chat_template.jinja");
    temper_status status = TEMPER_OK;
    *source = NULL;
    *length = 0;
    if (file != NULL) {
        return copy_out(file->data, file->size, source, length, error);
    }
    for (size_t i = 0; i < 2 && !status && *source == NULL; i++) {
        file = lm_file_find_model(files, configs[i]);
        status = file == NULL ? TEMPER_OK : from_config(file, source, length, error);
    }
    file = lm_file_find_gguf(files);
    if (!status && *source == NULL && file != NULL) {
        status = from_gguf(file, source, length, error);
    }
    if (!status && *source == NULL) {
        status = temper_fail(
            error, TEMPER_UNSUPPORTED,
            "the model has no chat template (chat_template.jinja, tokenizer_config.json or a GGUF's "
            "tokenizer.chat_template)");
    }
    return status;
}

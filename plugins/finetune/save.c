/* save.c: what a trainer leaves behind, as folders that others read: an adapter in PEFT's form on its base, or the
 * base's folder with new weights in Hugging Face's. */
#include "finetune.h"

#include <stdlib.h>

temper_status save_dtype(const char *name, lm_dtype *out, temper_error *error) {
    *out = strcmp(name, "bf16") == 0 ? LM_BF16 : LM_F32;
    if (*out == LM_F32 && strcmp(name, "f32") != 0) {
        return temper_fail(error, TEMPER_INVALID, "dtype is f32 or bf16, not \"%s\"", name);
    }
    return TEMPER_OK;
}

typedef struct sink {
    const temper_host *host;
    temper_output *output;
} sink;

static temper_status pour(void *context, const void *bytes, size_t count, temper_error *error) {
    const sink *self = context;
    return self->host->write_bytes(self->output, bytes, count, error);
}

temper_status save_file(const temper_host *host, temper_output *output, const char *name, const void *data,
                        size_t length, temper_error *error) {
    temper_status status = host->begin_file(output, name, error);
    return status ? status : host->write_bytes(output, data, length, error);
}

temper_status save_weights(const temper_host *host, temper_output *output, lm_model *model,
                           const lm_real *score_head, lm_dtype dtype, temper_error *error) {
    sink sink_of_file = {host, output};
    temper_status status = host->begin_file(output, "model.safetensors", error);
    return status ? status : lm_model_write(model, score_head, dtype, pour, &sink_of_file, error);
}

/* A reward model's adapter has a head of its own beside it. */
static temper_status save_adapter_config(const training *self, temper_output *output, const char *text,
                                         temper_error *error) {
    const temper_json_api *json = self->host->json;
    const char *written = text;
    size_t length = strlen(text);
    temper_arena *arena = json->arena_new();
    const temper_json *value = NULL;
    temper_status status = arena == NULL ? temper_no_memory(error) : TEMPER_OK;
    if (!status && lm_trainer_score_head(self->trainer) != NULL) {
        status = json->parse(arena, text, length, &value, error);
        temper_json *config = status ? NULL : json->copy_object(arena, value);
        temper_json *modules = json->new_array(arena);
        if (!status) {
            bool made = config != NULL && modules != NULL &&
                        json->append(arena, modules, json->new_string(arena, "score", 5)) &&
                        json->set(arena, config, "task_type", json->new_string(arena, "SEQ_CLS", 7)) &&
                        json->set(arena, config, "modules_to_save", modules);
            written = made ? json->write(arena, config, &length) : NULL;
            status = written == NULL ? temper_no_memory(error) : TEMPER_OK;
        }
    }
    if (!status) {
        status = save_file(self->host, output, "adapter_config.json", written, length, error);
    }
    json->arena_free(arena);
    return status;
}

static temper_status save_adapter(const training *self, temper_output *output, temper_error *error) {
    const temper_host *host = self->host;
    sink sink_of_file = {host, output};
    char *config = lm_adapter_config_write(&self->base->model->config, &self->adapter, "base");
    if (config == NULL) {
        return temper_no_memory(error);
    }
    temper_status status = save_adapter_config(self, output, config, error);
    free(config);
    if (!status) {
        status = host->begin_file(output, "adapter_model.safetensors", error);
    }
    if (!status) {
        status = lm_adapter_write(self->base->model, lm_trainer_score_head(self->trainer), pour,
                                  &sink_of_file, error);
    }
    return status ? status : host->link_input(output, "base", self->base->input, error);
}

/* Files that hold or index the old weights: not for the new folder. */
static bool holds_weights(const char *name) {
    static const char *const endings[] = {".safetensors", ".safetensors.index.json",
                                          ".bin",         ".bin.index.json",
                                          ".pt",          ".pth",
                                          ".gguf",        ".h5",
                                          ".msgpack",     ".onnx"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t ending = strlen(endings[i]);
        if (length >= ending && strcmp(name + length - ending, endings[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* "LlamaForCausalLM" becomes "LlamaForSequenceClassification" of one label. */
static bool name_reward_model(const temper_json_api *json, temper_arena *arena, temper_json *config) {
    size_t length = 0;
    const char *old = json->string(json->element(json->member(config, "architectures"), 0), &length);
    const char *end = old == NULL ? NULL : strstr(old, "For");
    end = old != NULL && end == NULL ? strstr(old, "LMHead") : end;
    char name[160];
    int written =
        snprintf(name, sizeof name, "%.*sForSequenceClassification",
                 end == NULL ? 0 : (int)(end - old < 100 ? end - old : 100), old == NULL ? "" : old);
    temper_json *list = json->new_array(arena);
    return list != NULL && json->append(arena, list, json->new_string(arena, name, (size_t)written)) &&
           json->set(arena, config, "architectures", list) &&
           json->set(arena, config, "num_labels", json->new_integer(arena, 1));
}

/* config.json as it was, saying the new element type. */
static temper_status save_config(const training *self, temper_output *output, const lm_file *old,
                                 lm_dtype dtype, temper_error *error) {
    const temper_json_api *json = self->host->json;
    temper_arena *arena = json->arena_new();
    const temper_json *value = NULL;
    const char *type = dtype == LM_BF16 ? "bfloat16" : "float32";
    if (arena == NULL) {
        return temper_no_memory(error);
    }
    temper_status status = json->parse(arena, old->data, old->size, &value, error);
    if (!status) {
        temper_json *config = json->copy_object(arena, value);
        bool newer = json->member(value, "dtype") != NULL && json->member(value, "torch_dtype") == NULL;
        size_t length = 0;
        const char *text = NULL;
        if (config != NULL &&
            json->set(arena, config, newer ? "dtype" : "torch_dtype",
                      json->new_string(arena, type, strlen(type))) &&
            (lm_trainer_score_head(self->trainer) == NULL || name_reward_model(json, arena, config))) {
            text = json->write(arena, config, &length);
        }
        status = text == NULL ? temper_no_memory(error)
                              : save_file(self->host, output, old->name, text, length, error);
    }
    json->arena_free(arena);
    return status;
}

static temper_status save_folder(const training *self, temper_output *output, lm_dtype dtype,
                                 temper_error *error) {
    const lm_file_set *files = &self->base->files;
    temper_status status = TEMPER_OK;
    for (size_t i = 0; !status && i < files->count; i++) {
        const lm_file *file = &files->files[i];
        if (strcmp(file->name, "config.json") == 0) {
            status = save_config(self, output, file, dtype, error);
        } else if (!holds_weights(file->name)) {
            status = save_file(self->host, output, file->name, file->data, file->size, error);
        }
    }
    return status ? status
                  : save_weights(self->host, output, self->base->model, lm_trainer_score_head(self->trainer),
                                 dtype, error);
}

temper_status save_model(const training *self, const char *name, lm_dtype dtype, temper_error *error) {
    temper_output *output = NULL;
    temper_status status = self->host->output(self->host, name, &output, error);
    if (status) {
        return status;
    }
    return self->adapter.rank > 0 ? save_adapter(self, output, error)
                                  : save_folder(self, output, dtype, error);
}

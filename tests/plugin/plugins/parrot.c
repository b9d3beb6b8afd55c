/* parrot.c: a model provider for tests. Its model repeats the file "weights"; "crash" in it makes it crash. */
#include <stdlib.h>
#include <string.h>
#include <temper/model.h>
#include <temper/plugin.h>

typedef struct parrot {
    const temper_host *host;
    char text[256];
    temper_generated results[8];
    const temper_generated *pointers[8];
} parrot;

static temper_status open_parrot(const temper_host *host, const temper_input *input, temper_model **out,
                                 temper_error *error) {
    temper_file file = {.size = sizeof file};
    for (size_t i = 0; i < host->file_count(host, input); i++) {
        temper_status status = host->file(host, input, i, &file, error);
        if (status) {
            return status;
        }
        if (strcmp(file.name, "weights") == 0) {
            parrot *model = host->allocate(host, sizeof *model);
            if (model == NULL) {
                return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a parrot");
            }
            memset(model, 0, sizeof *model);
            model->host = host;
            memcpy(model->text, file.data, file.length < 255 ? (size_t)file.length : 255);
            *out = (temper_model *)model;
            return TEMPER_OK;
        }
    }
    return temper_fail(error, TEMPER_UNSUPPORTED, "there is no file \"weights\"");
}

static void close_parrot(temper_model *model) {
    parrot *self = (parrot *)model;
    self->host->release(self->host, self);
}

static void info(const temper_model *model, temper_model_info *out) {
    (void)model;
    out->architecture = "parrot";
    out->context = 128;
}

static temper_status render(temper_model *model, const temper_message *const *messages, size_t count,
                            int32_t add, const char **text, size_t *length, temper_error *error) {
    (void)model, (void)messages, (void)count, (void)add, (void)text, (void)length;
    return temper_fail(error, TEMPER_UNSUPPORTED, "a parrot has no template");
}

static temper_status count_tokens(temper_model *model, const char *text, size_t length, uint64_t *out,
                                  temper_error *error) {
    (void)model, (void)text, (void)error;
    *out = length;
    return TEMPER_OK;
}

static temper_status generate(temper_model *model, const temper_generate_request *const *requests,
                              size_t count, const char *unit, const temper_generated *const **out,
                              temper_error *error) {
    parrot *self = (parrot *)model;
    (void)requests;
    if (count > 8) {
        return temper_fail(error, TEMPER_INVALID, "a parrot answers eight requests at once");
    }
    if (strcmp(self->text, "crash") == 0) {
        abort();
    }
    for (size_t i = 0; i < count; i++) {
        self->results[i] = (temper_generated){.size = sizeof(temper_generated),
                                              .text = self->text,
                                              .length = strlen(self->text),
                                              .finish = TEMPER_FINISH_STOP};
        self->pointers[i] = &self->results[i];
    }
    self->host->progress(self->host, count, count, unit, NULL);
    *out = self->pointers;
    return TEMPER_OK;
}

static temper_status score(temper_model *model, const temper_score_request *const *requests, size_t count,
                           const char *unit, const temper_scored *const **out, temper_error *error) {
    (void)model, (void)requests, (void)count, (void)unit, (void)out;
    return temper_fail(error, TEMPER_UNSUPPORTED, "a parrot does not judge");
}

static void release_results(temper_model *model) {
    (void)model;
}

static uint64_t hidden_size(const temper_model *model) {
    (void)model;
    return 0;
}

static temper_status embed(temper_model *model, const char *const *texts, const size_t *lengths, size_t count,
                           float *out, temper_error *error) {
    (void)model, (void)texts, (void)lengths, (void)count, (void)out;
    return temper_fail(error, TEMPER_UNSUPPORTED, "a parrot has no hidden states");
}

/* Byte by byte, so that characters are cut; with "wait" it goes on until it is stopped. */
static temper_status stream(temper_model *model, const temper_generate_request *request,
                            int (*piece)(void *context, const char *text, size_t length), void *context,
                            temper_error *error) {
    parrot *self = (parrot *)model;
    (void)error;
    if (strcmp(self->text, "crash") == 0 && request->message_count > 1) {
        abort();
    }
    do {
        for (size_t i = 0; self->text[i] != 0; i++) {
            if (piece(context, self->text + i, 1)) {
                return TEMPER_OK;
            }
        }
    } while (strcmp(self->text, "wait") == 0);
    const temper_message *last = request->messages[request->message_count - 1];
    piece(context, last->content, last->length);
    return TEMPER_OK;
}

static const temper_model_service service = {
    sizeof service, open_parrot,     close_parrot, info,  render, count_tokens, generate,
    score,          release_results, hidden_size,  embed, stream, NULL};

static const void *extension(const char *id) {
    return strcmp(id, TEMPER_MODEL_SERVICE) == 0 ? &service : NULL;
}

static const temper_stage *const stages[] = {NULL};
static const temper_plugin plugin = {sizeof plugin, "parrot",   "0.1.0", "Temper's tests",
                                     "MIT",         "Repeats.", stages,  extension};

temper_status temper_plugin_v1(const temper_hello *hello, const temper_plugin **out) {
    (void)hello;
    *out = &plugin;
    return TEMPER_OK;
}

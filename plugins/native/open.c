/* open.c: from an input's files to an open model.
 *
 * Invariant: what an answer's content is follows from the chat template alone. Two renderings at opening show which
 * bytes the template writes between its generation prompt and a content (left off an answer's beginning: the template
 * will write them again) and which special token it writes after one (a stop token beside the files' own). */
#include "internal.h"

#include <stdlib.h>

static void parallel_run(void *self, size_t count, lm_body *body, void *context);

typedef struct handed_out {
    lm_body *body;
    void *context;
} handed_out;

static void handed_body(void *context, uint64_t index, uint32_t worker) {
    const handed_out *job = context;
    job->body(job->context, (size_t)index, worker);
}

static void parallel_run(void *self, size_t count, lm_body *body, void *context) {
    const temper_host *host = self;
    handed_out job = {body, context};
    host->parallel_for(host, count, handed_body, &job);
}

lm_parallel native_parallel(const temper_host *host) {
    return (lm_parallel){host->workers(host), (void *)(uintptr_t)host, parallel_run};
}

temper_status native_files(const temper_host *host, const temper_input *input, lm_file_set *out,
                           temper_error *error) {
    size_t count = host->file_count(host, input);
    lm_file *files = calloc(count + 1, sizeof *files);
    if (files == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a list of %zu files", count);
    }
    for (size_t i = 0; i < count; i++) {
        temper_file file = {.size = sizeof file};
        temper_status status = host->file(host, input, i, &file, error);
        if (status) {
            free(files);
            return status;
        }
        files[i] = (lm_file){file.name, file.data, (size_t)file.length};
    }
    *out = (lm_file_set){files, count};
    return TEMPER_OK;
}

static bool is_ours(const lm_file_set *files) {
    if (lm_file_find(files, "config.json") != NULL || lm_file_find(files, "base/config.json") != NULL ||
        lm_file_find(files, "adapter_config.json") != NULL) {
        return true;
    }
    for (size_t i = 0; i < files->count; i++) {
        if (files->files[i].size >= 4 && memcmp(files->files[i].data, "GGUF", 4) == 0) {
            return true;
        }
    }
    return false;
}

static void add_stop(temper_model *self, int64_t id) {
    for (size_t i = 0; i < self->stop_count; i++) {
        if (self->stop[i] == id) {
            return;
        }
    }
    if (id >= 0 && (uint64_t)id < self->model->config.vocabulary && self->stop_count < NATIVE_STOPS) {
        self->stop[self->stop_count++] = (int32_t)id;
    }
}

/* 0-terminated text of a special token; NULL when there is none or no memory. */
static char *special_text(const lm_tokenizer *tokenizer, int32_t id) {
    size_t length = 0;
    const char *bytes = id < 0 ? NULL : lm_tokenizer_bytes(tokenizer, id, &length);
    return bytes == NULL ? NULL : strndup(bytes, length);
}

/* The bytes of `whole` from the end of `prompt` to the assistant's content, when `whole` begins with `prompt`. */
static void find_lead(temper_model *self, const lm_rendering *prompt, const lm_rendering *whole) {
    size_t start = 0;
    while (start < whole->length && whole->author[start] != LM_BY_ASSISTANT) {
        start++;
    }
    if (start == whole->length || start <= prompt->length ||
        memcmp(prompt->text, whole->text, prompt->length) != 0) {
        return;
    }
    self->lead = strndup(whole->text + prompt->length, start - prompt->length);
    self->lead_length = self->lead == NULL ? 0 : start - prompt->length;
}

/* The special token that the template writes right after the content. */
static void find_end(temper_model *self, const lm_rendering *whole) {
    size_t end = whole->length;
    while (end > 0 && whole->author[end - 1] != LM_BY_ASSISTANT) {
        end--;
    }
    lm_tokens tokens = {0};
    uint8_t *special = malloc(whole->length + 1);
    if (special == NULL || end == 0) {
        free(special);
        return;
    }
    memset(special, 1, whole->length + 1);
    if (!lm_tokenizer_encode(self->tokenizer, whole->text + end, whole->length - end, special, &tokens,
                             NULL)) {
        for (size_t i = 0; i < tokens.count; i++) {
            if (lm_tokenizer_is_special(self->tokenizer, tokens.items[i].id)) {
                add_stop(self, tokens.items[i].id);
                break;
            }
        }
    }
    lm_tokens_free(&tokens);
    free(special);
}

/* Some templates refuse such a conversation; then nothing is learnt from it, and nothing is lost. */
static void probe_template(temper_model *self) {
    static const lm_message messages[] = {{"user", "x", 1}, {"assistant", "y", 1}};
    lm_rendering prompt = {0}, whole = {0};
    char *bos = special_text(self->tokenizer, lm_tokenizer_bos(self->tokenizer));
    char *eos = special_text(self->tokenizer, lm_tokenizer_eos(self->tokenizer));
    if (!lm_template_render(self->chat, messages, 1, true, bos, eos, &prompt, NULL) &&
        !lm_template_render(self->chat, messages, 2, false, bos, eos, &whole, NULL)) {
        find_lead(self, &prompt, &whole);
        find_end(self, &whole);
    }
    lm_rendering_free(&prompt);
    lm_rendering_free(&whole);
    free(bos);
    free(eos);
}

static temper_status open_template(temper_model *self, const lm_file_set *files, temper_error *error) {
    char *source = NULL;
    size_t length = 0;
    temper_error cause = TEMPER_ERROR_INIT;
    temper_status status = lm_template_find(files, &source, &length, &cause);
    if (!status) {
        status = lm_template_compile(source, length, &self->chat, &cause);
    }
    free(source);
    if (status == TEMPER_NO_MEMORY) {
        return temper_fail(error, status, "%s", cause.message);
    }
    if (status) { /* raw text still works; messages are refused with this reason */
        snprintf(self->missing_chat, sizeof self->missing_chat, "%s", cause.message);
        return TEMPER_OK;
    }
    probe_template(self);
    return TEMPER_OK;
}

static temper_status open_files(temper_model *self, const lm_file_set *files, temper_error *error) {
    const temper_host *host = self->host;
    const char *reason = NULL;
    if (!is_ours(files)) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "native reads a Hugging Face folder (config.json), a .gguf file or an adapter "
                           "(adapter_config.json); none is among these %zu files",
                           files->count);
    }
    const lm_kernels *kernels = lm_kernels_choose(NULL, &reason);
    if (kernels == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s", reason);
    }
    temper_status status =
        lm_context_init(&self->context, kernels, host->profile, native_parallel(host), error);
    if (!status) {
        status = native_check_weights(self, files, error);
    }
    if (!status) {
        status = lm_model_open(&self->context, files, &self->model, error);
    }
    if (!status) {
        self->kept_count = self->model->adapters + 2;
        self->kept = calloc(self->kept_count, sizeof *self->kept);
        status = self->kept == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for a model")
                                    : native_select(self, TEMPER_ALL_ADAPTERS, error);
    }
    if (!status) {
        status = lm_tokenizer_open(files, &self->tokenizer, error);
    }
    if (!status && lm_tokenizer_size(self->tokenizer) > self->model->config.vocabulary) {
        status =
            temper_fail(error, TEMPER_INVALID, "the tokenizer has %zu tokens, the model's vocabulary %zu",
                        lm_tokenizer_size(self->tokenizer), self->model->config.vocabulary);
    }
    if (!status) {
        /* Models name several: the end of a text, the end of a turn. Room is left for the two found below. */
        self->stop_count = lm_end_tokens(files, self->model->config.vocabulary, self->stop, NATIVE_STOPS - 2);
        add_stop(self, lm_tokenizer_eos(self->tokenizer));
        status = open_template(self, files, error);
    }
    return status;
}

/* Keys and values are of one adapter's model: each has memory of its own for them. */
temper_status native_select(temper_model *model, int32_t adapter, temper_error *error) {
    temper_status status = lm_model_select(model->model, adapter, error);
    lm_prefixes **kept = status ? NULL : &model->kept[adapter - TEMPER_ALL_ADAPTERS];
    if (!status && *kept == NULL) {
        status = lm_prefixes_new(model->context.parallel.workers, kept, error);
    }
    if (!status) {
        model->prefixes = *kept;
    }
    return status;
}

temper_status native_open(const temper_host *host, const temper_input *input, temper_model **out,
                          temper_error *error) {
    lm_file_set files = {0};
    temper_model *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a model");
    }
    self->host = host;
    self->machine = host->extension == NULL ? NULL : host->extension(host, TEMPER_MACHINE);
    temper_status status = native_files(host, input, &files, error);
    if (!status) {
        status = open_files(self, &files, error);
    }
    free((void *)(uintptr_t)files.files);
    if (status) {
        native_close(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

void native_close(temper_model *model) {
    if (model == NULL) {
        return;
    }
    native_release_results(model);
    lm_template_free(model->chat);
    lm_tokenizer_close(model->tokenizer);
    for (size_t i = 0; model->kept != NULL && i < model->kept_count; i++) {
        lm_prefixes_free(model->kept[i]);
    }
    free(model->kept);
    lm_model_close(model->model);
    lm_context_free(&model->context);
    free(model->lead);
    free(model->rendered);
    free(model);
}

void native_release_results(temper_model *model) {
    for (size_t i = 0; i < model->text_count; i++) {
        free(model->texts[i]);
    }
    free(model->texts);
    free(model->results);
    model->texts = NULL;
    model->results = NULL;
    model->text_count = 0;
}

temper_status native_need_chat(const temper_model *model, temper_error *error) {
    return model->chat != NULL
               ? TEMPER_OK
               : temper_fail(error, TEMPER_UNSUPPORTED, "this model cannot take messages, only raw text: %s",
                             model->missing_chat);
}

temper_status native_messages(const temper_message *const *messages, size_t count, lm_message **out,
                              temper_error *error) {
    lm_message *list = calloc(count + 1, sizeof *list);
    if (list == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu messages", count);
    }
    for (size_t i = 0; i < count; i++) {
        const temper_message *message = messages[i];
        if (message->role == NULL || message->role[0] == 0 ||
            (message->content == NULL && message->length > 0)) {
            free(list);
            return temper_fail(error, TEMPER_INVALID, "message %zu has no %s", i + 1,
                               message->content == NULL ? "content" : "role");
        }
        list[i] =
            (lm_message){message->role, message->content == NULL ? "" : message->content, message->length};
    }
    *out = list;
    return TEMPER_OK;
}

int native_report(void *context, size_t finished, size_t tokens) {
    const native_reporter *self = context;
    (void)tokens;
    if (self->unit != NULL) {
        self->host->progress(self->host, finished, self->total, self->unit, NULL);
    }
    return self->host->cancelled(self->host);
}

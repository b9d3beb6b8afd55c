/* generate.c: requests to prompts, answers to texts. */
#include "internal.h"

#include <stdlib.h>

static temper_status encode_request(const temper_model *model, const temper_generate_request *request,
                                    lm_dialogue *out, temper_error *error) {
    if (request->text != NULL) {
        return lm_dialogue_encode_text(model->tokenizer, request->text, request->text_length, "", 0, false, 0,
                                       out, error);
    }
    lm_message *messages = NULL;
    temper_status status = native_need_chat(model, error);
    if (!status) {
        status = native_messages(request->messages, request->message_count, &messages, error);
    }
    if (!status) {
        status = lm_dialogue_encode_prompt(model->tokenizer, model->chat, messages, request->message_count,
                                           out, error);
    }
    free(messages);
    return status;
}

static lm_request request_of(const temper_model *model, const temper_generate_request *request,
                             const lm_dialogue *prompt) {
    return (lm_request){.prompt = prompt->ids,
                        .prompt_count = prompt->count,
                        .max_tokens = request->max_tokens,
                        .sampling = {request->temperature, request->top_k, request->top_p},
                        .key = request->key,
                        .stream = request->stream,
                        .stop = model->stop,
                        .stop_count = model->stop_count};
}

/* The bytes of an answer to messages begin after what the template itself writes there. */
static size_t lead_of(const temper_model *model, const temper_generate_request *request, const char *text,
                      size_t length) {
    bool has_lead = request->text == NULL && model->lead_length > 0 && length >= model->lead_length &&
                    memcmp(text, model->lead, model->lead_length) == 0;
    return has_lead ? model->lead_length : 0;
}

static temper_status text_of(const temper_model *model, const temper_generate_request *request,
                             const lm_answer *answer, char **text, size_t *length, temper_error *error) {
    char *bytes = NULL;
    size_t count = 0;
    temper_status status =
        lm_tokenizer_decode(model->tokenizer, answer->ids, answer->count, true, false, &bytes, &count, error);
    if (status) {
        return status;
    }
    size_t lead = lead_of(model, request, bytes, count);
    *text = native_valid_text(bytes + lead, count - lead, length);
    free(bytes);
    return *text == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for an answer of %zu bytes", count)
                         : TEMPER_OK;
}

/* The structs and the pointers to them in one block. */
static temper_status give(temper_model *model, const temper_generate_request *const *requests, size_t count,
                          const lm_dialogue *prompts, const lm_answer *answers,
                          const temper_generated *const **out, temper_error *error) {
    temper_generated *results = calloc(count + 1, sizeof *results + sizeof results);
    const temper_generated **pointers = (const temper_generated **)(void *)(results + count);
    char **texts = calloc(count + 1, sizeof *texts);
    temper_status status = TEMPER_OK;
    native_release_results(model);
    model->results = results;
    model->texts = texts;
    if (results == NULL || texts == NULL) {
        native_release_results(model);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu answers", count);
    }
    for (size_t i = 0; !status && i < count; i++) {
        size_t length = 0;
        status = text_of(model, requests[i], &answers[i], &texts[i], &length, error);
        model->text_count = i + 1;
        results[i] = (temper_generated){.size = sizeof *results,
                                        .text = texts[i],
                                        .length = length,
                                        .prompt_tokens = (uint32_t)prompts[i].count,
                                        .tokens = (uint32_t)answers[i].count,
                                        .logprob = answers[i].logprob,
                                        .finish = answers[i].finish == LM_FINISH_STOP ? TEMPER_FINISH_STOP
                                                                                      : TEMPER_FINISH_LENGTH};
        pointers[i] = &results[i];
    }
    if (status) {
        native_release_results(model);
        return status;
    }
    *out = pointers;
    return TEMPER_OK;
}

temper_status native_generate(temper_model *model, const temper_generate_request *const *requests,
                              size_t count, const char *unit, const temper_generated *const **out,
                              temper_error *error) {
    lm_dialogue *prompts = calloc(count + 1, sizeof *prompts);
    lm_request *list = calloc(count + 1, sizeof *list);
    lm_answer *answers = calloc(count + 1, sizeof *answers);
    native_reporter reporter = {model->host, unit, count};
    temper_status status = prompts == NULL || list == NULL || answers == NULL
                               ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu requests", count)
                               : TEMPER_OK;
    for (size_t i = 0; !status && i < count; i++) {
        status = encode_request(model, requests[i], &prompts[i], error);
        if (status) {
            status = temper_fail_in(error, status, "request %zu", i + 1);
        } else {
            list[i] = request_of(model, requests[i], &prompts[i]);
        }
    }
    if (!status) {
        status = lm_generate(&model->context, model->model, list, count, 0, native_report, &reporter, answers,
                             error);
    }
    if (!status) {
        status = give(model, requests, count, prompts, answers, out, error);
    }
    for (size_t i = 0; i < count; i++) {
        if (prompts != NULL) {
            lm_dialogue_free(&prompts[i]);
        }
        if (answers != NULL) {
            free(answers[i].ids);
        }
    }
    free(prompts);
    free(list);
    free(answers);
    return status;
}

/* Tokens in, whole characters out. */
typedef struct pieces {
    temper_model *model;
    int (*piece)(void *context, const char *text, size_t length);
    void *context;
    const char *lead; /* still to be left out, while the answer follows it */
    size_t lead_length;
    char *bytes; /* not given out yet */
    size_t count, room;
    bool failed;
} pieces;

static bool keep(pieces *self, const char *bytes, size_t count) {
    if (self->room - self->count < count + 1) {
        size_t room = self->count + count + 64;
        char *larger = realloc(self->bytes, room);
        if (larger == NULL) {
            return false;
        }
        self->bytes = larger;
        self->room = room;
    }
    memcpy(self->bytes + self->count, bytes, count);
    self->count += count;
    return true;
}

/* Gives out the first `count` bytes as valid text. */
static int give_piece(pieces *self, size_t count) {
    size_t length = 0;
    char *text = native_valid_text(self->bytes, count, &length);
    if (text == NULL) {
        self->failed = true;
        return 1;
    }
    int stop = length == 0 ? 0 : self->piece(self->context, text, length);
    free(text);
    memmove(self->bytes, self->bytes + count, self->count - count);
    self->count -= count;
    return stop;
}

static int on_token(void *context, int32_t id) {
    pieces *self = context;
    size_t length = 0;
    if (self->model->host->cancelled(self->model->host)) {
        return 1;
    }
    const char *bytes = lm_tokenizer_bytes(self->model->tokenizer, id, &length);
    if (bytes == NULL || lm_tokenizer_is_special(self->model->tokenizer, id)) {
        return 0;
    }
    if (!keep(self, bytes, length)) {
        self->failed = true;
        return 1;
    }
    if (self->lead_length > 0) {
        size_t known = self->count < self->lead_length ? self->count : self->lead_length;
        if (memcmp(self->bytes, self->lead, known) == 0) {
            if (known < self->lead_length) {
                return 0;
            }
            memmove(self->bytes, self->bytes + known, self->count - known);
            self->count -= known;
        }
        self->lead_length = 0;
    }
    return give_piece(self, native_whole_characters(self->bytes, self->count));
}

temper_status native_stream(temper_model *model, const temper_generate_request *request,
                            int (*piece)(void *context, const char *text, size_t length), void *context,
                            temper_error *error) {
    lm_dialogue prompt = {0};
    lm_answer answer = {0};
    pieces state = {.model = model, .piece = piece, .context = context};
    if (request->text == NULL) {
        state.lead = model->lead;
        state.lead_length = model->lead_length;
    }
    temper_status status = encode_request(model, request, &prompt, error);
    if (!status) {
        lm_request one = request_of(model, request, &prompt);
        status = lm_generate_stream(&model->context, model->model, &one, on_token, &state, &answer, error);
    }
    if (!status && state.failed) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for an answer's text");
    }
    if (!status && model->host->cancelled(model->host)) {
        status = temper_fail(error, TEMPER_CANCELLED, "cancelled");
    }
    free(state.bytes);
    free(answer.ids);
    lm_dialogue_free(&prompt);
    return status;
}

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

/* A request with all of today's fields: those that an older caller's does not have are 0. */
static temper_generate_request whole_request(const temper_generate_request *request) {
    temper_generate_request whole = {0};
    memcpy(&whole, request, request->size < sizeof whole ? request->size : sizeof whole);
    return whole;
}

/* All that a request in work owns. */
typedef struct working {
    temper_generate_request request;
    lm_dialogue prompt;
    lm_bias *bias;
    native_stopping stopping;
} working;

static void close_working(working *self) {
    lm_dialogue_free(&self->prompt);
    free(self->bias);
    free(self->stopping.bytes.items);
}

static temper_status open_working(const temper_model *model, const temper_generate_request *request,
                                  working *self, lm_request *out, temper_error *error) {
    self->request = whole_request(request);
    request = &self->request;
    temper_status status = native_check_stop(request, error);
    if (!status) {
        status = native_bias(model, request, &self->bias, error);
    }
    if (!status) {
        status = encode_request(model, request, &self->prompt, error);
    }
    self->stopping = (native_stopping){.tokenizer = model->tokenizer,
                                       .stop = request->stop,
                                       .count = request->stop_count,
                                       .lead = model->lead,
                                       .lead_length = request->text == NULL ? model->lead_length : 0};
    *out = (lm_request){.prompt = self->prompt.ids,
                        .prompt_count = self->prompt.count,
                        .max_tokens = request->max_tokens,
                        .sampling = {request->temperature, request->top_k, request->top_p, request->min_p},
                        .key = request->key,
                        .stream = request->stream,
                        .stop = model->stop,
                        .stop_count = model->stop_count,
                        .penalties = {.repetition = request->repetition_penalty,
                                      .presence = request->presence_penalty,
                                      .frequency = request->frequency_penalty,
                                      .bias = self->bias,
                                      .bias_count = request->bias_count}};
    return status;
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
    size_t end = native_find_stop(bytes + lead, count - lead, request->stop, request->stop_count);
    *text = native_valid_text(bytes + lead, end, length);
    free(bytes);
    return *text == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for an answer of %zu bytes", count)
                         : TEMPER_OK;
}

/* The structs and the pointers to them in one block. */
static temper_status give(temper_model *model, const working *work, size_t count, const lm_answer *answers,
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
        status = text_of(model, &work[i].request, &answers[i], &texts[i], &length, error);
        model->text_count = i + 1;
        results[i] = (temper_generated){.size = sizeof *results,
                                        .text = texts[i],
                                        .length = length,
                                        .prompt_tokens = (uint32_t)work[i].prompt.count,
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
    working *work = calloc(count + 1, sizeof *work);
    lm_request *list = calloc(count + 1, sizeof *list);
    lm_answer *answers = calloc(count + 1, sizeof *answers);
    native_reporter reporter = {model->host, unit, count};
    temper_status status = work == NULL || list == NULL || answers == NULL
                               ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu requests", count)
                               : TEMPER_OK;
    for (size_t i = 0; !status && i < count; i++) {
        status = open_working(model, requests[i], &work[i], &list[i], error);
        if (status) {
            status = temper_fail_in(error, status, "request %zu", i + 1);
        } else if (work[i].request.stop_count > 0) {
            list[i].ended = native_stopped;
            list[i].ended_context = &work[i].stopping;
        }
    }
    if (!status) {
        status = lm_generate(&model->context, model->model, list, count, 0, native_report, &reporter, answers,
                             error);
    }
    for (size_t i = 0; !status && i < count; i++) {
        if (work[i].stopping.failed) {
            status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for an answer's text");
        }
    }
    if (!status) {
        status = give(model, work, count, answers, out, error);
    }
    for (size_t i = 0; i < count; i++) {
        if (work != NULL) {
            close_working(&work[i]);
        }
        if (answers != NULL) {
            free(answers[i].ids);
        }
    }
    free(work);
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
    const char *const *stop;
    size_t stop_count;
    native_bytes bytes; /* not given out yet */
    bool failed, ended; /* ended: nothing more is to be given out */
} pieces;

/* Gives out the first `count` bytes as valid text. */
static int give_piece(pieces *self, size_t count) {
    size_t length = 0;
    char *text = native_valid_text(self->bytes.items, count, &length);
    if (text == NULL) {
        self->failed = self->ended = true;
        return 1;
    }
    int stop = length == 0 ? 0 : self->piece(self->context, text, length);
    free(text);
    memmove(self->bytes.items, self->bytes.items + count, self->bytes.count - count);
    self->bytes.count -= count;
    self->ended = self->ended || stop != 0;
    return stop;
}

/* Leaves the lead out; false while it is open whether this is one. */
static bool past_lead(pieces *self) {
    if (self->lead_length == 0) {
        return true;
    }
    size_t known = self->bytes.count < self->lead_length ? self->bytes.count : self->lead_length;
    if (memcmp(self->bytes.items, self->lead, known) == 0) {
        if (known < self->lead_length) {
            return false;
        }
        memmove(self->bytes.items, self->bytes.items + known, self->bytes.count - known);
        self->bytes.count -= known;
    }
    self->lead_length = 0;
    return true;
}

static int on_token(void *context, int32_t id) {
    pieces *self = context;
    size_t length = 0;
    if (self->model->host->cancelled(self->model->host)) {
        self->ended = true;
        return 1;
    }
    const char *bytes = lm_tokenizer_bytes(self->model->tokenizer, id, &length);
    if (bytes == NULL || lm_tokenizer_is_special(self->model->tokenizer, id)) {
        return 0;
    }
    if (!native_bytes_add(&self->bytes, bytes, length)) {
        self->failed = self->ended = true;
        return 1;
    }
    if (!past_lead(self)) {
        return 0;
    }
    const char *waiting = self->bytes.items;
    size_t count = self->bytes.count, end = native_find_stop(waiting, count, self->stop, self->stop_count);
    if (end < count) {
        give_piece(self, end);
        self->ended = true;
        return 1;
    }
    count -= native_may_stop(waiting, count, self->stop, self->stop_count);
    return give_piece(self, native_whole_characters(waiting, count));
}

temper_status native_stream(temper_model *model, const temper_generate_request *request,
                            int (*piece)(void *context, const char *text, size_t length), void *context,
                            temper_error *error) {
    working work = {0};
    lm_request one;
    lm_answer answer = {0};
    temper_status status = open_working(model, request, &work, &one, error);
    pieces state = {.model = model,
                    .piece = piece,
                    .context = context,
                    .lead = work.stopping.lead,
                    .lead_length = work.stopping.lead_length,
                    .stop = work.request.stop,
                    .stop_count = work.request.stop_count};
    if (!status) {
        status =
            lm_generate_stream(&model->context, model->model, &one, NULL, on_token, &state, &answer, error);
    }
    if (!status && !state.ended && state.bytes.count > 0) { /* what might have become a stop text */
        give_piece(&state, native_whole_characters(state.bytes.items, state.bytes.count));
    }
    if (!status && state.failed) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for an answer's text");
    }
    if (!status && model->host->cancelled(model->host)) {
        status = temper_fail(error, TEMPER_CANCELLED, "cancelled");
    }
    free(state.bytes.items);
    free(answer.ids);
    close_working(&work);
    return status;
}

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
    size_t first, count; /* its answers */
} working;

static void close_working(working *self) {
    lm_dialogue_free(&self->prompt);
    free(self->bias);
}

static native_stopping stopping_of(const temper_model *model, const temper_generate_request *request) {
    return (native_stopping){.tokenizer = model->tokenizer,
                             .stop = request->stop,
                             .count = request->stop_count,
                             .lead = model->lead,
                             .lead_length = request->text == NULL ? model->lead_length : 0};
}

static temper_status open_working(const temper_model *model, working *self, lm_request *out,
                                  temper_error *error) {
    const temper_generate_request *request = &self->request;
    temper_status status = native_check_stop(request, error);
    if (!status) {
        status = native_bias(model, request, &self->bias, error);
    }
    if (!status) {
        status = encode_request(model, request, &self->prompt, error);
    }
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

/* All that a call works on: requests, and the answers of all of them one after another. */
typedef struct batch {
    temper_model *model;
    size_t count, total;
    working *work;    /* [count] */
    lm_request *list; /* [total], as are ... */
    lm_answer *answers;
    native_stopping *stopping;
} batch;

static temper_status open_batch(batch *self, const temper_generate_request *const *requests,
                                temper_error *error) {
    self->work = calloc(self->count + 1, sizeof *self->work);
    if (self->work == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu requests", self->count);
    }
    for (size_t i = 0; i < self->count; i++) {
        working *work = &self->work[i];
        work->request = whole_request(requests[i]);
        work->first = self->total;
        work->count = work->request.n == 0 ? 1 : work->request.n;
        self->total += work->count;
    }
    self->list = calloc(self->total + 1, sizeof *self->list);
    self->answers = calloc(self->total + 1, sizeof *self->answers);
    self->stopping = calloc(self->total + 1, sizeof *self->stopping);
    return self->list == NULL || self->answers == NULL || self->stopping == NULL
               ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu answers", self->total)
               : TEMPER_OK;
}

static void close_batch(batch *self) {
    for (size_t i = 0; self->work != NULL && i < self->count; i++) {
        close_working(&self->work[i]);
    }
    for (size_t i = 0; i < self->total; i++) {
        if (self->answers != NULL) {
            free(self->answers[i].ids);
        }
        if (self->stopping != NULL) {
            free(self->stopping[i].bytes.items);
        }
    }
    free(self->work);
    free(self->list);
    free(self->answers);
    free(self->stopping);
}

/* One lm_request a sample. */
static temper_status prepare(batch *self, size_t index, temper_error *error) {
    working *work = &self->work[index];
    lm_request first;
    temper_status status = open_working(self->model, work, &first, error);
    if (status) {
        return temper_fail_in(error, status, "request %zu", index + 1);
    }
    for (size_t j = 0; j < work->count; j++) {
        lm_request *sample = &self->list[work->first + j];
        *sample = first;
        sample->stream += j;
        if (work->request.stop_count > 0) {
            self->stopping[work->first + j] = stopping_of(self->model, &work->request);
            sample->ended = native_stopped;
            sample->ended_context = &self->stopping[work->first + j];
        }
    }
    return TEMPER_OK;
}

/* The structs and the pointers to them in one block: a request's first answer stands for it, all are its samples. */
static temper_status give(const batch *self, const temper_generated *const **out, temper_error *error) {
    temper_model *model = self->model;
    size_t total = self->total;
    temper_generated *results = calloc(total + 1, sizeof *results + 2 * sizeof results);
    const temper_generated **firsts = (const temper_generated **)(void *)(results + total),
                           **all = firsts + total;
    char **texts = calloc(total + 1, sizeof *texts);
    temper_status status = TEMPER_OK;
    native_release_results(model);
    model->results = results;
    model->texts = texts;
    if (results == NULL || texts == NULL) {
        native_release_results(model);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu answers", total);
    }
    for (size_t i = 0; !status && i < self->count; i++) {
        const working *work = &self->work[i];
        for (size_t k = work->first; !status && k < work->first + work->count; k++) {
            const lm_answer *answer = &self->answers[k];
            size_t length = 0;
            status = text_of(model, &work->request, answer, &texts[k], &length, error);
            model->text_count = k + 1;
            results[k] = (temper_generated){
                .size = sizeof *results,
                .text = texts[k],
                .length = length,
                .prompt_tokens = (uint32_t)work->prompt.count,
                .tokens = (uint32_t)answer->count,
                .logprob = answer->logprob,
                .finish = answer->finish == LM_FINISH_STOP ? TEMPER_FINISH_STOP : TEMPER_FINISH_LENGTH};
            all[k] = &results[k];
        }
        if (work->count > 1) {
            results[work->first].samples = all + work->first;
            results[work->first].sample_count = (uint32_t)work->count;
        }
        firsts[i] = &results[work->first];
    }
    if (status) {
        native_release_results(model);
        return status;
    }
    *out = firsts;
    return TEMPER_OK;
}

temper_status native_generate(temper_model *model, const temper_generate_request *const *requests,
                              size_t count, const char *unit, const temper_generated *const **out,
                              temper_error *error) {
    batch self = {.model = model, .count = count};
    temper_status status = open_batch(&self, requests, error);
    native_reporter reporter = {model->host, unit, self.total};
    lm_generation how = {.memory = native_memory(model),
                         .prefixes = model->prefixes,
                         .counts = &model->counts,
                         .progress = native_report,
                         .progress_context = &reporter};
    for (size_t i = 0; !status && i < count; i++) {
        status = prepare(&self, i, error);
    }
    if (!status) {
        status =
            lm_generate_with(&model->context, model->model, self.list, self.total, &how, self.answers, error);
        status = native_memory_refusal(model, status, error);
        native_note_counts(model);
    }
    for (size_t i = 0; !status && i < self.total; i++) {
        if (self.stopping[i].failed) {
            status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for an answer's text");
        }
    }
    if (!status) {
        status = give(&self, out, error);
    }
    close_batch(&self);
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
    working work = {.request = whole_request(request)};
    lm_request one;
    lm_answer answer = {0};
    lm_generation how = {
        .memory = native_memory(model), .prefixes = model->prefixes, .counts = &model->counts};
    temper_status status = open_working(model, &work, &one, error);
    pieces state = {.model = model,
                    .piece = piece,
                    .context = context,
                    .lead = model->lead,
                    .lead_length = request->text == NULL ? model->lead_length : 0,
                    .stop = work.request.stop,
                    .stop_count = work.request.stop_count};
    if (!status) {
        status =
            lm_generate_stream(&model->context, model->model, &one, &how, on_token, &state, &answer, error);
        status = native_memory_refusal(model, status, error);
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

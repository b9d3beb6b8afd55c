/* score.c: log-probabilities of conversations and texts, and mean hidden states. */
#include "internal.h"

#include <stdlib.h>

static temper_status encode_request(const temper_model *model, const temper_score_request *request,
                                    lm_dialogue *out, temper_error *error) {
    size_t limit = model->model->config.context;
    if (request->max_tokens > 0 && request->max_tokens < limit) {
        limit = request->max_tokens;
    }
    if (request->text != NULL) {
        return lm_dialogue_encode_text(model->tokenizer, request->prefix, request->prefix_length,
                                       request->text, request->text_length, false, limit, out, error);
    }
    lm_message *messages = NULL;
    temper_status status = native_need_chat(model, error);
    if (!status) {
        status = native_messages(request->messages, request->message_count, &messages, error);
    }
    if (!status) {
        status = lm_dialogue_encode(model->tokenizer, model->chat, messages, request->message_count,
                                    request->last_only ? LM_SPAN_LAST : LM_SPAN_ASSISTANT, limit, out, error);
    }
    free(messages);
    return status;
}

static temper_status give(temper_model *model, size_t count, const lm_dialogue *texts,
                          const lm_scored *scored, const temper_scored *const **out, temper_error *error) {
    temper_scored *results = calloc(count + 1, sizeof *results + sizeof results);
    const temper_scored **pointers = (const temper_scored **)(void *)(results + count);
    native_release_results(model);
    model->results = results;
    if (results == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu scores", count);
    }
    for (size_t i = 0; i < count; i++) {
        results[i] = (temper_scored){.size = sizeof *results,
                                     .tokens = (uint32_t)texts[i].trained_count,
                                     .truncated = (uint32_t)texts[i].truncated};
        for (size_t j = 0; j < texts[i].count; j++) {
            if (texts[i].trained[j]) {
                results[i].logprob += (double)scored[i].logprobs[j];
            }
        }
        pointers[i] = &results[i];
    }
    *out = pointers;
    return TEMPER_OK;
}

temper_status native_score(temper_model *model, const temper_score_request *const *requests, size_t count,
                           const char *unit, const temper_scored *const **out, temper_error *error) {
    lm_dialogue *texts = calloc(count + 1, sizeof *texts);
    lm_scored *scored = calloc(count + 1, sizeof *scored);
    native_reporter reporter = {model->host, unit, count};
    temper_status status = texts == NULL || scored == NULL
                               ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu requests", count)
                               : TEMPER_OK;
    for (size_t i = 0; !status && i < count; i++) {
        status = encode_request(model, requests[i], &texts[i], error);
        if (status) {
            status = temper_fail_in(error, status, "request %zu", i + 1);
            break;
        }
        scored[i] = (lm_scored){texts[i].ids, texts[i].count, calloc(texts[i].count + 1, sizeof(float)),
                                texts[i].trained};
        if (scored[i].logprobs == NULL) {
            status = temper_fail(error, TEMPER_NO_MEMORY, "no memory to score %zu tokens", texts[i].count);
        }
    }
    if (!status) {
        lm_generation how = {.memory = native_memory(model),
                             .prefixes = model->prefixes,
                             .counts = &model->counts,
                             .progress = native_report,
                             .progress_context = &reporter};
        status = lm_score_with(&model->context, model->model, scored, count, &how, error);
        status = native_memory_refusal(model, status, error);
        native_note_counts(model);
    }
    if (!status) {
        status = give(model, count, texts, scored, out, error);
    }
    for (size_t i = 0; texts != NULL && scored != NULL && i < count; i++) {
        lm_dialogue_free(&texts[i]);
        free(scored[i].logprobs);
    }
    free(texts);
    free(scored);
    return status;
}

temper_status native_embed(temper_model *model, const char *const *texts, const size_t *lengths, size_t count,
                           float *out, temper_error *error) {
    size_t hidden = model->model->config.hidden;
    lm_dialogue *encoded = calloc(count + 1, sizeof *encoded);
    lm_embedded *list = calloc(count + 1, sizeof *list);
    temper_status status = encoded == NULL || list == NULL
                               ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu texts", count)
                               : TEMPER_OK;
    for (size_t i = 0; !status && i < count; i++) {
        status = lm_dialogue_encode_text(model->tokenizer, texts[i], lengths[i], "", 0, false,
                                         model->model->config.context, &encoded[i], error);
        status = status ? temper_fail_in(error, status, "text %zu", i + 1) : TEMPER_OK;
        list[i] = (lm_embedded){encoded[i].ids, encoded[i].count, out + i * hidden};
    }
    if (!status) {
        status = lm_embed(&model->context, model->model, list, count, error);
    }
    for (size_t i = 0; encoded != NULL && i < count; i++) {
        lm_dialogue_free(&encoded[i]);
    }
    free(encoded);
    free(list);
    return status;
}

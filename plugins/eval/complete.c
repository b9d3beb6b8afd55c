/* complete.c: one prompt, one continuation, nothing trimmed: what `temper generate` runs. */
#include "eval.h"

#include <stdlib.h>

#define COMPLETE(P, S)                                                                                       \
    P(S, string, prompt, "prompt", NULL, 1, 0, "", "", "what to go on from, or the user's message", "0.1")   \
    P(S, flag, raw, "raw", "false", 0, 1, "", "", "continue the text itself, without a chat template",       \
      "0.1")                                                                                                 \
    P(S, integer, samples, "samples", "1", 1, 100000, "responses", "", "how many continuations", "0.1")      \
    TEMPER_SAMPLING_PARAMETERS(P, S, "256")                                                                  \
    P(S, number, min_p, "min_p", "0", 0, 1, "", "",                                                          \
      "leave out tokens less likely than this part of the likeliest", "0.2")                                 \
    P(S, number, repetition_penalty, "repetition_penalty", "1", 0, 1000, "", "",                             \
      "divides the logits of tokens that were there, in prompt or response; 1: off", "0.2")                  \
    P(S, number, presence_penalty, "presence_penalty", "0", -1000, 1000, "", "",                             \
      "taken off the logits of tokens that are in the response", "0.2")                                      \
    P(S, number, frequency_penalty, "frequency_penalty", "0", -1000, 1000, "", "",                           \
      "the same, as often as each is there", "0.2")                                                          \
    P(S, strings, bias, "bias", "[]", 1, 0, "", "",                                                          \
      "TEXT=NUMBER each: added to the logit of the token that is exactly TEXT", "0.2")                       \
    P(S, strings, stop, "stop", "[]", 1, 0, "", "", "texts that end a response, which is cut before them",   \
      "0.2")
TEMPER_PARAMETERS(complete, COMPLETE)

typedef struct completing {
    const temper_host *host;
    const complete_parameters *p;
    temper_output *output;
} completing;

static temper_status take(void *context, size_t index, const temper_generated *answer, temper_error *error) {
    completing *c = context;
    temper_span text = {answer->text, answer->length};
    temper_row row;
    temper_row_begin(&row, c->host);
    temper_row_string(&row, "prompt", c->p->prompt);
    temper_row_integer(&row, "sample", index);
    temper_row_text(&row, "response", text);
    temper_row_integer(&row, "prompt_tokens", answer->prompt_tokens);
    temper_row_integer(&row, "tokens", answer->tokens);
    temper_row_number(&row, "logprob", answer->logprob);
    temper_row_string(&row, "finish", answer->finish == TEMPER_FINISH_STOP ? "stop" : "length");
    return temper_row_write(&row, c->output, c->host, error);
}

/* "TEXT=NUMBER", cut at the last '='. */
static temper_status read_biases(const temper_strings *list, temper_pool *pool,
                                 const temper_logit_bias *const **out, temper_error *error) {
    temper_logit_bias *biases = temper_pool_take(pool, list->count + 1, sizeof *biases);
    const temper_logit_bias **pointers = temper_pool_take(pool, list->count + 1, sizeof *pointers);
    size_t i;
    if (biases == NULL || pointers == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < list->count; i++) {
        const char *text = list->items[i], *equals = strrchr(text, '=');
        char *end = NULL;
        double value = equals == NULL ? 0 : strtod(equals + 1, &end);
        if (equals == NULL || equals == text || end == equals + 1 || *end != 0) {
            return temper_fail(error, TEMPER_INVALID, "bias \"%s\": it is TEXT=NUMBER, as in \" sad=-5\"",
                               text);
        }
        biases[i] = (temper_logit_bias){
            .size = sizeof biases[i], .text = text, .length = (size_t)(equals - text), .bias = value};
        pointers[i] = &biases[i];
    }
    *out = pointers;
    return TEMPER_OK;
}

static void set_sampling(const complete_parameters *p, const temper_logit_bias *const *biases,
                         temper_generate_request *request) {
    request->max_tokens = (uint32_t)p->max_tokens;
    request->temperature = p->temperature;
    request->top_k = (uint32_t)p->top_k;
    request->top_p = p->top_p;
    request->min_p = p->min_p;
    request->repetition_penalty = p->repetition_penalty;
    request->presence_penalty = p->presence_penalty;
    request->frequency_penalty = p->frequency_penalty;
    request->bias = biases;
    request->bias_count = p->bias.count;
    request->stop = p->stop.items;
    request->stop_count = p->stop.count;
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    static const temper_span none = {"", 0};
    completing c = {host, self, NULL};
    temper_pool *pool = temper_pool_new(host);
    const temper_model_service *service;
    temper_model *model;
    temper_conversation talk = {NULL, 0};
    temper_generate_request *requests;
    const temper_logit_bias *const *biases = NULL;
    size_t count = (size_t)c.p->samples, i;
    temper_status status;
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    if ((status = read_biases(&c.p->bias, pool, &biases, error)) ||
        (status = host->open_model(host, host->input(host, "model"), &service, &model, error)) ||
        (status = host->output(host, "responses", &c.output, error))) {
        goto out;
    }
    requests = temper_pool_take(pool, count, sizeof *requests);
    talk = temper_conversation_make(pool, true, none, temper_span_of(c.p->prompt), NULL);
    if (requests == NULL || talk.messages == NULL) {
        status = temper_no_memory(error);
        goto out;
    }
    for (i = 0; i < count; i++) {
        requests[i].size = sizeof requests[i];
        if (c.p->raw) {
            requests[i].text = c.p->prompt;
            requests[i].text_length = strlen(c.p->prompt);
        } else {
            requests[i].messages = talk.messages;
            requests[i].message_count = talk.count;
        }
        set_sampling(c.p, biases, &requests[i]);
        requests[i].key = host->rng_key(host, "sampling");
        requests[i].stream = i;
    }
    status = temper_generate_all(host, service, model, requests, count, "responses", take, &c, error);
out:
    temper_pool_free(pool);
    return status;
}

static const temper_port *const inputs[] = {TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "the model to ask"),
                                            NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "responses", 0,
                "prompt, sample, response, prompt_tokens, tokens, logprob, finish",
                "the continuations, as they came"),
    NULL};

const temper_stage eval_complete_stage = {
    .size = sizeof(temper_stage),
    .revision = 2,
    .name = "complete",
    .doc = "continuations of one prompt",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = complete_parameter_table,
    .parameters_size = sizeof(complete_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

/* complete.c: one prompt, one continuation, nothing trimmed: what `temper generate` runs. */
#include "eval.h"

#define COMPLETE(P, S)                                                                                       \
    P(S, string, prompt, "prompt", NULL, 1, 0, "", "", "what to go on from, or the user's message", "0.1")   \
    P(S, flag, raw, "raw", "false", 0, 1, "", "", "continue the text itself, without a chat template",       \
      "0.1")                                                                                                 \
    P(S, integer, samples, "samples", "1", 1, 100000, "responses", "", "how many continuations", "0.1")      \
    TEMPER_SAMPLING_PARAMETERS(P, S, "256")
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

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    static const temper_span none = {"", 0};
    completing c = {host, self, NULL};
    temper_pool *pool = temper_pool_new(host);
    const temper_model_service *service;
    temper_model *model;
    temper_conversation talk = {NULL, 0};
    temper_generate_request *requests;
    size_t count = (size_t)c.p->samples, i;
    temper_status status;
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    if ((status = host->open_model(host, host->input(host, "model"), &service, &model, error)) ||
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
        requests[i].max_tokens = (uint32_t)c.p->max_tokens;
        requests[i].temperature = c.p->temperature;
        requests[i].top_k = (uint32_t)c.p->top_k;
        requests[i].top_p = c.p->top_p;
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
    .revision = 1,
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

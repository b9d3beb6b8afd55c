/* score.c: perplexity of given records: content of assistant messages and their end tokens, or plain text. */
#include "eval.h"

#include <temper/math.h>

#define SCORE(P, S)                                                                                          \
    P(S, integer, max_length, "max_length", "0", 0, 1e9, "tokens", "",                                       \
      "a record is cut to this many tokens; 0: the model's context", "0.1")
TEMPER_PARAMETERS(score, SCORE)

static temper_status write_scored(const temper_host *host, const temper_scored *each, size_t count,
                                  temper_error *error) {
    temper_output *output = NULL;
    size_t i;
    temper_status status = host->output(host, "scored", &output, error);
    for (i = 0; i < count && status == TEMPER_OK; i++) {
        temper_row row;
        temper_row_begin(&row, host);
        temper_row_integer(&row, "number", i + 1);
        temper_row_integer(&row, "tokens", each[i].tokens);
        temper_row_integer(&row, "truncated", each[i].truncated);
        temper_row_number(&row, "logprob", each[i].logprob);
        status = temper_row_write(&row, output, host, error);
    }
    return status;
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const score_parameters *p = self;
    temper_pool *pool = temper_pool_new(host);
    const temper_model_service *service;
    temper_model *model;
    temper_records records;
    temper_scored *each;
    temper_output *metrics = NULL;
    likelihood total;
    temper_row row;
    temper_status status;
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    if ((status = temper_records_all(host, pool, host->input(host, "records"), &records, error)) ||
        (status = host->open_model(host, host->input(host, "model"), &service, &model, error))) {
        goto out;
    }
    each = temper_pool_take(pool, records.count, sizeof *each);
    if (each == NULL) {
        status = temper_no_memory(error);
        goto out;
    }
    if ((status = likelihood_of_records(host, pool, service, model, &records, "records",
                                        (uint32_t)p->max_length, each, &total, error)) ||
        (status = write_scored(host, each, records.count, error)) ||
        (status = host->output(host, "metrics", &metrics, error))) {
        goto out;
    }
    temper_row_begin(&row, host);
    temper_row_integer(&row, "records", total.records);
    temper_row_integer(&row, "tokens", total.tokens);
    temper_row_integer(&row, "truncated", total.truncated_records);
    temper_row_integer(&row, "truncated_tokens", total.truncated_tokens);
    temper_row_number(&row, "nll_per_token", likelihood_nll(&total));
    temper_row_number(&row, "perplexity", temper_exp(likelihood_nll(&total)));
    status = temper_row_metrics(&row, metrics, host, error);
out:
    temper_pool_free(pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "the model to ask"),
    TEMPER_PORT(TEMPER_RECORDS, "records", 0,
                "messages, or system, prompt and completion, response or chosen, or text", "what to score"),
    NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "scored", 0, "number, tokens, truncated, logprob", "a line for every record"),
    TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "",
                "records, tokens, truncated (records), truncated_tokens, nll_per_token (nats), perplexity"),
    NULL};

const temper_stage eval_score_stage = {
    .size = sizeof(temper_stage),
    .revision = 2,
    .name = "score",
    .doc = "how likely a model finds given dialogues or texts",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = score_parameter_table,
    .parameters_size = sizeof(score_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

/* likelihood.c: how likely a model finds given dialogues; see eval.h. */
#include "eval.h"

double likelihood_nll(const likelihood *l) {
    return l->tokens == 0 ? 0.0 : -l->logprob / (double)l->tokens;
}

temper_status likelihood_of_records(const temper_host *host, temper_pool *pool,
                                    const temper_model_service *service, temper_model *model,
                                    const temper_records *records, const char *input, uint32_t max_tokens,
                                    temper_scored *each, likelihood *out, temper_error *error) {
    temper_score_request *requests = temper_pool_take(pool, records->count, sizeof *requests);
    temper_model_info info = {.size = sizeof info};
    temper_conversation talk;
    temper_status status;
    size_t i;
    if (each == NULL) {
        each = temper_pool_take(pool, records->count, sizeof *each);
    }
    if (requests == NULL || each == NULL) {
        return temper_no_memory(error);
    }
    service->info(model, &info);
    for (i = 0; i < records->count; i++) {
        const temper_json *record = records->items[i];
        temper_span text;
        requests[i].size = sizeof requests[i];
        requests[i].max_tokens = max_tokens;
        if (host->json->member(record, "messages") == NULL && host->json->member(record, "prompt") == NULL &&
            temper_record_string(host->json, record, "text", &text)) {
            requests[i].prefix = "";
            requests[i].text = text.data;
            requests[i].text_length = text.length;
            continue;
        }
        status = temper_conversation_of_record(host->json, pool, info.knows_system != 0, record, input, i + 1,
                                               &talk, error);
        if (status) {
            return status;
        }
        requests[i].messages = talk.messages;
        requests[i].message_count = talk.count;
        /* Of a prompt and its answer the answer counts, also when the prompt is a conversation: what training learns. */
        requests[i].last_only = host->json->member(record, "messages") == NULL;
    }
    status = temper_score_all(host, service, model, requests, records->count, "dialogues", each, error);
    memset(out, 0, sizeof *out);
    for (i = 0; i < records->count && status == TEMPER_OK; i++) {
        out->records++;
        out->tokens += each[i].tokens;
        out->truncated_records += each[i].truncated > 0;
        out->truncated_tokens += each[i].truncated;
        out->logprob += each[i].logprob;
    }
    if (status == TEMPER_OK && out->tokens == 0) {
        status = temper_fail(
            error, TEMPER_INVALID,
            "%s: not one token of %zu records can be scored: they need assistant messages, or text", input,
            records->count);
    }
    return status;
}

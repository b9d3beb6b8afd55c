/* conversation.c: see conversation.h. */
#include "support/conversation.h"

enum { REQUESTS_A_CALL = 8192 }; /* bounds the results held at once; never shows in a result */

const char *temper_conversation_place(bool knows_system) {
    return knows_system ? "system" : "user";
}

static void set_message(temper_message *message, const char *role, temper_span content) {
    message->size = sizeof *message;
    message->role = role;
    message->content = content.data == NULL ? "" : content.data;
    message->length = content.length;
}

/* "instruction\n\nprompt"; NULL data: no memory. */
static temper_span instructed(temper_pool *pool, temper_span instruction, temper_span prompt) {
    temper_span out = {NULL, instruction.length + 2 + prompt.length};
    char *text = temper_pool_take(pool, out.length + 1, 1);
    if (text != NULL) {
        memcpy(text, instruction.data, instruction.length);
        memcpy(text + instruction.length, "\n\n", 2);
        memcpy(text + instruction.length + 2, prompt.data, prompt.length);
        out.data = text;
    }
    return out;
}

temper_conversation temper_conversation_make(temper_pool *pool, bool knows_system, temper_span instruction,
                                             temper_span prompt, const temper_span *response) {
    temper_conversation out = {NULL, 0};
    temper_message *messages = temper_pool_take(pool, 3, sizeof *messages);
    const temper_message **list = temper_pool_take(pool, 3, sizeof *list);
    size_t i;
    if (messages == NULL || list == NULL) {
        return out;
    }
    if (instruction.length > 0 && knows_system) {
        set_message(&messages[out.count++], "system", instruction);
    } else if (instruction.length > 0) {
        prompt = instructed(pool, instruction, prompt);
        if (prompt.data == NULL) {
            return out;
        }
    }
    set_message(&messages[out.count++], "user", prompt);
    if (response != NULL) {
        set_message(&messages[out.count++], "assistant", *response);
    }
    for (i = 0; i < out.count; i++) {
        list[i] = &messages[i];
    }
    out.messages = list;
    return out;
}

/* Appends the messages of a JSON array. */
static temper_status add_messages(const temper_json_api *json, const temper_json *array, const char *input,
                                  uint64_t number, temper_message *messages, size_t *count,
                                  temper_error *error) {
    size_t i;
    for (i = 0; i < json->length(array); i++) {
        const temper_json *message = json->element(array, i);
        const char *role = json->string(json->member(message, "role"), NULL);
        temper_span content;
        if (role == NULL || !temper_record_string(json, message, "content", &content)) {
            return temper_fail(
                error, TEMPER_INVALID,
                "%s, record %llu: message %zu must have \"role\" and \"content\", both strings", input,
                (unsigned long long)number, i + 1);
        }
        set_message(&messages[(*count)++], role, content);
    }
    return TEMPER_OK;
}

static temper_status add_part(const temper_json_api *json, const temper_json *value, const char *role,
                              const char *input, uint64_t number, temper_message *messages, size_t *count,
                              temper_error *error) {
    temper_span text;
    if (json->kind(value) == TEMPER_JSON_ARRAY) {
        return add_messages(json, value, input, number, messages, count, error);
    }
    text.data = json->string(value, &text.length);
    if (text.data == NULL) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s, record %llu: the %s's part must be a string or messages", input,
                           (unsigned long long)number, role);
    }
    set_message(&messages[(*count)++], role, text);
    return TEMPER_OK;
}

/* Puts a system message at the beginning before the first user message. Without one it stays, and the template says
 * what it makes of it. False: no memory. */
static bool merge_system(temper_pool *pool, temper_message *messages, size_t *count) {
    size_t user = 1;
    temper_span whole;
    while (user < *count && strcmp(messages[user].role, "user") != 0) {
        user++;
    }
    if (*count == 0 || strcmp(messages[0].role, "system") != 0 || user >= *count) {
        return true;
    }
    whole = instructed(pool, (temper_span){messages[0].content, messages[0].length},
                       (temper_span){messages[user].content, messages[user].length});
    if (whole.data == NULL) {
        return false;
    }
    set_message(&messages[user], "user", whole);
    memmove(messages, messages + 1, --*count * sizeof *messages);
    return true;
}

temper_status temper_conversation_of_record(const temper_json_api *json, temper_pool *pool, bool knows_system,
                                            const temper_json *record, const char *input, uint64_t number,
                                            temper_conversation *out, temper_error *error) {
    static const char *const answers[] = {"completion", "response", "chosen"};
    const temper_json *messages = json->member(record, "messages"), *prompt = json->member(record, "prompt");
    const temper_json *answer = NULL, *system = json->member(record, "system");
    temper_message *made;
    temper_span instruction;
    const temper_message **list;
    size_t room, i;
    temper_status status;
    for (i = 0; i < 3 && answer == NULL; i++) {
        answer = json->member(record, answers[i]);
    }
    if (messages == NULL && prompt == NULL) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s, record %llu: it has neither \"messages\" nor \"prompt\"", input,
                           (unsigned long long)number);
    }
    if (messages != NULL && json->kind(messages) != TEMPER_JSON_ARRAY) {
        return temper_fail(error, TEMPER_INVALID, "%s, record %llu: \"messages\" must be an array", input,
                           (unsigned long long)number);
    }
    room = messages != NULL ? json->length(messages) : json->length(prompt) + json->length(answer) + 3;
    made = temper_pool_take(pool, room, sizeof *made);
    list = temper_pool_take(pool, room, sizeof *list);
    if (made == NULL || list == NULL) {
        return temper_no_memory(error);
    }
    out->count = 0;
    if (messages != NULL) {
        status = add_messages(json, messages, input, number, made, &out->count, error);
    } else {
        if (temper_record_string(json, record, "system", &instruction)) {
            set_message(&made[out->count++], "system", instruction);
        } else if (json->kind(system) != TEMPER_JSON_NULL) {
            return temper_fail(error, TEMPER_INVALID, "%s, record %llu: \"system\" must be a string", input,
                               (unsigned long long)number);
        }
        status = add_part(json, prompt, "user", input, number, made, &out->count, error);
        if (status == TEMPER_OK && answer != NULL) {
            status = add_part(json, answer, "assistant", input, number, made, &out->count, error);
        }
    }
    if (status == TEMPER_OK && !knows_system && !merge_system(pool, made, &out->count)) {
        return temper_no_memory(error);
    }
    for (i = 0; i < out->count; i++) {
        list[i] = &made[i];
    }
    out->messages = list;
    return status;
}

temper_status temper_generate_all(const temper_host *host, const temper_model_service *service,
                                  temper_model *model, const temper_generate_request *requests, size_t count,
                                  const char *unit,
                                  temper_status (*take)(void *context, size_t index,
                                                        const temper_generated *result, temper_error *error),
                                  void *context, temper_error *error) {
    const temper_generate_request *list[256], **pointers = list;
    const temper_generated *const *results;
    size_t at, n, i, most = count < REQUESTS_A_CALL ? count : REQUESTS_A_CALL;
    temper_status status = TEMPER_OK;
    if (most > sizeof list / sizeof *list) {
        pointers = host->allocate(host, most * sizeof *pointers);
        if (pointers == NULL) {
            return temper_no_memory(error);
        }
    }
    for (at = 0; at < count && status == TEMPER_OK; at += n) {
        n = count - at < most ? count - at : most;
        for (i = 0; i < n; i++) {
            pointers[i] = &requests[at + i];
        }
        status = service->generate(model, pointers, n, unit, &results, error);
        for (i = 0; i < n && status == TEMPER_OK; i++) {
            status = take(context, at + i, results[i], error);
        }
        service->release_results(model);
    }
    if (pointers != list) {
        host->release(host, pointers);
    }
    return status;
}

temper_status temper_score_all(const temper_host *host, const temper_model_service *service,
                               temper_model *model, const temper_score_request *requests, size_t count,
                               const char *unit, temper_scored *out, temper_error *error) {
    const temper_score_request *list[256], **pointers = list;
    const temper_scored *const *results;
    size_t at, n, i, most = count < REQUESTS_A_CALL ? count : REQUESTS_A_CALL;
    temper_status status = TEMPER_OK;
    if (most > sizeof list / sizeof *list) {
        pointers = host->allocate(host, most * sizeof *pointers);
        if (pointers == NULL) {
            return temper_no_memory(error);
        }
    }
    for (at = 0; at < count && status == TEMPER_OK; at += n) {
        n = count - at < most ? count - at : most;
        for (i = 0; i < n; i++) {
            pointers[i] = &requests[at + i];
        }
        status = service->score(model, pointers, n, unit, &results, error);
        for (i = 0; i < n && status == TEMPER_OK; i++) {
            out[at + i] = *results[i];
        }
        service->release_results(model);
    }
    if (pointers != list) {
        host->release(host, pointers);
    }
    return status;
}

temper_status temper_judge_all(const temper_host *host, temper_pool *pool,
                               const temper_model_service *service, temper_model *model,
                               const temper_judge_item *items, size_t count, const char *unit,
                               temper_judged *out, temper_error *error) {
    temper_model_info info = {.size = sizeof info};
    temper_score_request *requests = temper_pool_take(pool, count, 2 * sizeof *requests);
    temper_scored *scored = temper_pool_take(pool, count, 2 * sizeof *scored);
    static const temper_span none = {"", 0};
    size_t i;
    temper_status status;
    if (requests == NULL || scored == NULL) {
        return temper_no_memory(error);
    }
    service->info(model, &info);
    for (i = 0; i < 2 * count; i++) {
        const temper_judge_item *item = &items[i / 2];
        temper_conversation talk =
            temper_conversation_make(pool, info.knows_system != 0, i % 2 == 0 ? item->instruction : none,
                                     item->prompt, &item->response);
        if (talk.messages == NULL) {
            return temper_no_memory(error);
        }
        requests[i].size = sizeof requests[i];
        requests[i].messages = talk.messages;
        requests[i].message_count = talk.count;
        requests[i].last_only = 1;
    }
    status = temper_score_all(host, service, model, requests, 2 * count, unit, scored, error);
    for (i = 0; i < count && status == TEMPER_OK; i++) {
        const temper_scored *with = &scored[2 * i], *without = &scored[2 * i + 1];
        double difference = with->logprob - without->logprob;
        out[i].with = with->logprob;
        out[i].without = without->logprob;
        out[i].tokens = without->tokens;
        out[i].usable = with->truncated == 0 && without->truncated == 0 && with->tokens == without->tokens &&
                        without->tokens > 0;
        out[i].score = out[i].usable ? difference / (double)without->tokens : 0.0;
        if (!(difference - difference == 0.0)) {
            status = temper_fail(error, TEMPER_FAILED,
                                 "the model's log-probability of response %zu is not finite", i + 1);
        }
    }
    return status;
}

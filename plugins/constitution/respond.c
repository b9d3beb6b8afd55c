/* respond.c: for every prompt, `samples` answers of the model in character and as many plain.
 *
 * The instruction stands in every record, also the plain ones: `condition` says whether the model saw it. A draw
 * depends on the prompt's number, the condition and the sample's number, and on nothing else. */
#include "constitution.h"

#define RESPOND(P, S)                                                                                        \
    P(S, integer, samples, "samples", "4", 1, 1000, "responses", "",                                         \
      "answers a prompt in character, and as many plain", "0.1")                                             \
    TEMPER_INSTRUCTION_PARAMETERS(P, S)                                                                      \
    TEMPER_SAMPLING_PARAMETERS(P, S, "128")
TEMPER_PARAMETERS(respond, RESPOND)

typedef struct responding {
    const temper_host *host;
    const respond_parameters *p;
    temper_pool *pool;
    temper_character character;
    const temper_instruction *instructions;
    temper_records prompts;
    const size_t *traits; /* of each prompt */
    temper_model_info info;
    temper_output *output;
    uint64_t finished, empty, tokens;
} responding;

/* Request n: prompt n / (2 samples); first the samples in character, then the plain ones. */
static size_t prompt_of(const responding *r, size_t n) {
    return n / (2 * (size_t)r->p->samples);
}

static bool in_character(const responding *r, size_t n) {
    return n % (2 * (size_t)r->p->samples) < (size_t)r->p->samples;
}

static temper_status take(void *context, size_t n, const temper_generated *answer, temper_error *error) {
    responding *r = context;
    const temper_json *record = r->prompts.items[prompt_of(r, n)];
    size_t trait = r->traits[prompt_of(r, n)];
    temper_span prompt, raw = {answer->text, answer->length}, text = temper_span_trim(raw);
    temper_row row;
    temper_record_string(r->host->json, record, "prompt", &prompt);
    r->finished += answer->finish == TEMPER_FINISH_STOP;
    r->empty += text.length == 0;
    r->tokens += answer->tokens;
    temper_row_begin(&row, r->host);
    temper_row_text(&row, "prompt", prompt);
    temper_row_text(&row, "trait", r->character.traits[trait].trait);
    temper_row_integer(&row, "trait_index", trait);
    temper_row_string(&row, "condition", in_character(r, n) ? "in_character" : "plain");
    temper_row_integer(&row, "sample", n % (size_t)r->p->samples);
    temper_row_text(&row, "response", text);
    temper_row_string(&row, "finish", answer->finish == TEMPER_FINISH_STOP ? "stop" : "length");
    temper_row_integer(&row, "tokens", answer->tokens);
    temper_row_text(&row, "instruction", r->instructions[trait].text);
    temper_row_string(&row, "instruction_place", temper_conversation_place(r->info.knows_system != 0));
    temper_row_integer(&row, "traits_left_out", r->instructions[trait].left_out);
    return temper_row_write(&row, r->output, r->host, error);
}

/* Checks every prompt and finds its trait. */
static temper_status read_prompts(responding *r, temper_error *error) {
    size_t *traits, i;
    temper_span prompt;
    int64_t index;
    temper_status status =
        temper_records_all(r->host, r->pool, r->host->input(r->host, "prompts"), &r->prompts, error);
    if (status) {
        return status;
    }
    if (r->prompts.count == 0) {
        return temper_fail(error, TEMPER_INVALID, "prompts: there are none");
    }
    traits = temper_pool_take(r->pool, r->prompts.count, sizeof *traits);
    if (traits == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < r->prompts.count; i++) {
        const temper_json *record = r->prompts.items[i];
        status = temper_record_need(r->host->json, record, "prompts", i + 1, "prompt", &prompt, error);
        if (status) {
            return status;
        }
        if (!r->host->json->integer(r->host->json->member(record, "trait_index"), &index) || index < 0 ||
            (uint64_t)index >= r->character.count) {
            return temper_fail(
                error, TEMPER_INVALID,
                "prompts, record %zu: \"trait_index\" must be 0 to %zu, a trait of the character", i + 1,
                r->character.count - 1);
        }
        traits[i] = (size_t)index;
    }
    r->traits = traits;
    return TEMPER_OK;
}

static temper_status make_requests(const responding *r, size_t count, temper_generate_request *requests,
                                   temper_error *error) {
    static const temper_span none = {"", 0};
    uint64_t key = r->host->rng_key(r->host, "sampling");
    temper_conversation talk = {NULL, 0};
    temper_span prompt;
    size_t n;
    for (n = 0; n < count; n++) {
        temper_generate_request *request = &requests[n];
        if (n % (size_t)r->p->samples == 0) { /* another condition or prompt */
            temper_record_string(r->host->json, r->prompts.items[prompt_of(r, n)], "prompt", &prompt);
            talk = temper_conversation_make(
                r->pool, r->info.knows_system != 0,
                in_character(r, n) ? r->instructions[r->traits[prompt_of(r, n)]].text : none, prompt, NULL);
            if (talk.messages == NULL) {
                return temper_no_memory(error);
            }
        }
        request->size = sizeof *request;
        request->messages = talk.messages;
        request->message_count = talk.count;
        request->max_tokens = (uint32_t)r->p->max_tokens;
        request->temperature = r->p->temperature;
        request->top_k = (uint32_t)r->p->top_k;
        request->top_p = r->p->top_p;
        request->key = key;
        request->stream = n;
    }
    return TEMPER_OK;
}

static temper_status write_metrics(const responding *r, size_t count, temper_error *error) {
    temper_output *output = NULL;
    uint64_t left_out = 0;
    temper_row row;
    size_t t;
    temper_status status = r->host->output(r->host, "metrics", &output, error);
    if (status) {
        return status;
    }
    for (t = 0; t < r->character.count; t++) {
        left_out = r->instructions[t].left_out > left_out ? r->instructions[t].left_out : left_out;
    }
    temper_row_begin(&row, r->host);
    temper_row_integer(&row, "prompts", r->prompts.count);
    temper_row_integer(&row, "responses", count);
    temper_row_integer(&row, "finished", r->finished);
    temper_row_integer(&row, "cut", count - r->finished);
    temper_row_integer(&row, "empty", r->empty);
    temper_row_integer(&row, "tokens", r->tokens);
    temper_row_number(&row, "mean_tokens", (double)r->tokens / (double)count);
    temper_row_integer(&row, "most_traits_left_out", left_out);
    temper_row_integer(&row, "system_role", r->info.knows_system != 0);
    return temper_row_metrics(&row, output, r->host, error);
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    responding r = {.host = host, .p = self, .pool = temper_pool_new(host), .info = {.size = sizeof r.info}};
    const temper_model_service *service;
    temper_model *model;
    temper_generate_request *requests;
    size_t count = 0;
    temper_status status;
    if (r.pool == NULL) {
        return temper_no_memory(error);
    }
    if ((status = temper_character_read(host, r.pool, host->input(host, "character"), &r.character, error)) ||
        (status = read_prompts(&r, error)) ||
        (status = host->open_model(host, host->input(host, "model"), &service, &model, error)) ||
        (status = temper_character_instructions(r.pool, &r.character, service, model, r.p->instruction,
                                                (uint64_t)r.p->most_traits, &r.instructions, error)) ||
        (status = host->output(host, "responses", &r.output, error))) {
        goto out;
    }
    service->info(model, &r.info);
    count = r.prompts.count * 2 * (size_t)r.p->samples;
    requests = temper_pool_take(r.pool, count, sizeof *requests);
    if (requests == NULL) {
        status = temper_no_memory(error);
        goto out;
    }
    if ((status = make_requests(&r, count, requests, error)) ||
        (status = temper_generate_all(host, service, model, requests, count, "responses", take, &r, error))) {
        goto out;
    }
    status = write_metrics(&r, count, error);
out:
    temper_pool_free(r.pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "the model that answers"),
    TEMPER_PORT(TEMPER_CHARACTER, "character", 0, "trait", "the character it is told to be"),
    TEMPER_PORT(TEMPER_RECORDS, "prompts", 0, "prompt, trait_index", "of constitution.ask"), NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "responses", 0,
                "prompt, trait, trait_index, condition, sample, response, finish, tokens, instruction, "
                "instruction_place, traits_left_out",
                "the answers, prompt after prompt: those in character, then the plain ones"),
    TEMPER_PORT(
        TEMPER_METRICS, "metrics", 0, "",
        "prompts, responses, finished, cut, empty, tokens, mean_tokens, most_traits_left_out, system_role"),
    NULL};

const temper_stage constitution_respond_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "respond",
    .doc = "answers of the model in character and plain, for every prompt",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = respond_parameter_table,
    .parameters_size = sizeof(respond_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

/* character.c: did the character take, and what did it cost.
 *
 * Every prompt is answered three ways: by the base, by the base told to be the character, and by the tuned model told
 * nothing. All three draw with the same random numbers, so a model that was not changed answers the same and ties: the
 * noise floor of the win rate is exactly one half. The frozen base judges, by the same likelihood score that ranked the
 * training pairs. An empty answer loses to any other; where the judge could not read one whole, the two tie. */
#include "eval.h"

#define CHARACTER(P, S)                                                                                      \
    P(S, integer, samples, "samples", "1", 1, 1000, "answers", "", "answers a prompt and model", "0.1")      \
    P(S, integer, limit, "limit", "0", 0, 1000000, "prompts", "",                                            \
      "ask this many prompts at most, spread evenly; 0: all", "0.1")                                         \
    P(S, number, margin, "margin", "0", 0, 1e6, "nats a token", "",                                          \
      "scores that differ by no more are a tie", "0.1")                                                      \
    P(S, integer, max_length, "max_length", "0", 0, 1e9, "tokens", "",                                       \
      "a dialogue of the capability check is cut to this many tokens; 0: the context", "0.1")                \
    P(S, integer, shown, "shown", "120", 0, 100000, "prompts", "",                                           \
      "rows of answers in the report, spread evenly", "0.1")                                                 \
    TEMPER_INSTRUCTION_PARAMETERS(P, S)                                                                      \
    TEMPER_SAMPLING_PARAMETERS(P, S, "128")
TEMPER_PARAMETERS(character, CHARACTER)

const char *const voice_names[VOICES] = {"base", "prompted", "tuned"};

typedef struct trial_prompt {
    temper_span text;
    size_t trait;
} trial_prompt;

typedef struct evaluation {
    const temper_host *host;
    const character_parameters *p;
    temper_pool *pool;
    temper_character character;
    const temper_instruction *instructions;
    const temper_model_service *base_service, *tuned_service;
    temper_model *base, *tuned;
    trial_prompt *prompts;
    size_t prompt_count;
    bool own_questions;
    trial *trials;
    size_t trial_count;
    voice asking; /* while answers come */
} evaluation;

/* --- prompts --- */

static temper_status prompts_from_records(evaluation *e, const temper_input *input, temper_error *error) {
    temper_records records;
    size_t i;
    int64_t trait;
    temper_status status = temper_records_all(e->host, e->pool, input, &records, error);
    if (status) {
        return status;
    }
    e->prompts = temper_pool_take(e->pool, records.count, sizeof *e->prompts);
    if (e->prompts == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < records.count; i++) {
        status = temper_record_need(e->host->json, records.items[i], "prompts", i + 1, "prompt",
                                    &e->prompts[i].text, error);
        if (status) {
            return status;
        }
        if (!e->host->json->integer(e->host->json->member(records.items[i], "trait_index"), &trait) ||
            trait < 0 || (uint64_t)trait >= e->character.count) {
            return temper_fail(
                error, TEMPER_INVALID,
                "prompts, record %zu: \"trait_index\" must be 0 to %zu, a trait of the character", i + 1,
                e->character.count - 1);
        }
        e->prompts[i].trait = (size_t)trait;
    }
    e->prompt_count = records.count;
    return TEMPER_OK;
}

static temper_status prompts_from_character(evaluation *e, temper_error *error) {
    size_t total = 0, t, i;
    for (t = 0; t < e->character.count; t++) {
        total += e->character.traits[t].question_count;
    }
    e->own_questions = true;
    e->prompts = temper_pool_take(e->pool, total, sizeof *e->prompts);
    if (e->prompts == NULL) {
        return temper_no_memory(error);
    }
    for (t = 0; t < e->character.count; t++) {
        for (i = 0; i < e->character.traits[t].question_count; i++) {
            e->prompts[e->prompt_count].text = e->character.traits[t].questions[i];
            e->prompts[e->prompt_count++].trait = t;
        }
    }
    return TEMPER_OK;
}

static temper_status read_prompts(evaluation *e, temper_error *error) {
    const temper_input *input = e->host->input(e->host, "prompts");
    size_t limit = (size_t)e->p->limit, samples = (size_t)e->p->samples, i, s;
    temper_status status =
        input != NULL ? prompts_from_records(e, input, error) : prompts_from_character(e, error);
    if (status) {
        return status;
    }
    if (e->prompt_count == 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "there is no prompt to ask: give `prompts`, or questions in the character");
    }
    if (limit > 0 && limit < e->prompt_count) {
        for (i = 0; i < limit; i++) {
            e->prompts[i] = e->prompts[i * e->prompt_count / limit];
        }
        e->prompt_count = limit;
    }
    e->trial_count = e->prompt_count * samples;
    e->trials = temper_pool_take(e->pool, e->trial_count, sizeof *e->trials);
    if (e->trials == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < e->prompt_count; i++) {
        for (s = 0; s < samples; s++) {
            trial *one = &e->trials[i * samples + s];
            one->prompt = e->prompts[i].text;
            one->trait = e->prompts[i].trait;
            one->sample = s;
            one->group = i;
        }
    }
    return TEMPER_OK;
}

/* --- answers and their scores --- */

static temper_status take(void *context, size_t index, const temper_generated *generated,
                          temper_error *error) {
    evaluation *e = context;
    reply *a = &e->trials[index].answers[e->asking];
    temper_span raw = {generated->text, generated->length}, text = temper_span_trim(raw);
    a->text.data = temper_pool_copy(e->pool, text.data, text.length);
    if (a->text.data == NULL) {
        return temper_no_memory(error);
    }
    a->text.length = text.length;
    a->tokens = generated->tokens;
    a->cut = generated->finish == TEMPER_FINISH_LENGTH;
    return TEMPER_OK;
}

static temper_status ask(evaluation *e, voice who, const temper_model_service *service, temper_model *model,
                         temper_error *error) {
    static const temper_span none = {"", 0};
    temper_generate_request *requests = temper_pool_take(e->pool, e->trial_count, sizeof *requests);
    temper_model_info info = {.size = sizeof info};
    uint64_t key = e->host->rng_key(e->host, "sampling");
    size_t i;
    if (requests == NULL) {
        return temper_no_memory(error);
    }
    service->info(model, &info);
    for (i = 0; i < e->trial_count; i++) {
        const trial *one = &e->trials[i];
        temper_conversation talk = temper_conversation_make(
            e->pool, info.knows_system != 0, who == PROMPTED ? e->instructions[one->trait].text : none,
            one->prompt, NULL);
        if (talk.messages == NULL) {
            return temper_no_memory(error);
        }
        requests[i].size = sizeof requests[i];
        requests[i].messages = talk.messages;
        requests[i].message_count = talk.count;
        requests[i].max_tokens = (uint32_t)e->p->max_tokens;
        requests[i].temperature = e->p->temperature;
        requests[i].top_k = (uint32_t)e->p->top_k;
        requests[i].top_p = e->p->top_p;
        requests[i].key = key;
        requests[i].stream = i; /* the same for all three voices */
    }
    e->asking = who;
    return temper_generate_all(e->host, service, model, requests, e->trial_count, "answers", take, e, error);
}

/* 1 a win over the base, 0 a tie, -1 a loss. */
static int outcome(const evaluation *e, const trial *one, voice who) {
    const reply *mine = &one->answers[who], *base = &one->answers[BASE];
    double difference = mine->score - base->score;
    if (mine->text.length == 0 || base->text.length == 0) {
        return (mine->text.length > 0) - (base->text.length > 0);
    }
    if (!mine->usable || !base->usable || (difference <= e->p->margin && difference >= -e->p->margin)) {
        return 0;
    }
    return difference > 0.0 ? 1 : -1;
}

static temper_status judge(evaluation *e, temper_error *error) {
    size_t count = e->trial_count * VOICES, i;
    temper_judge_item *items = temper_pool_take(e->pool, count, sizeof *items);
    temper_judged *judged = temper_pool_take(e->pool, count, sizeof *judged);
    temper_status status;
    if (items == NULL || judged == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < count; i++) {
        const trial *one = &e->trials[i / VOICES];
        items[i].instruction = e->instructions[one->trait].text;
        items[i].prompt = one->prompt;
        items[i].response = one->answers[i % VOICES].text;
    }
    status =
        temper_judge_all(e->host, e->pool, e->base_service, e->base, items, count, "scores", judged, error);
    for (i = 0; i < count && status == TEMPER_OK; i++) {
        reply *a = &e->trials[i / VOICES].answers[i % VOICES];
        a->score = judged[i].score;
        a->usable = judged[i].usable;
    }
    for (i = 0; i < e->trial_count && status == TEMPER_OK; i++) {
        e->trials[i].outcome = outcome(e, &e->trials[i], TUNED);
        e->trials[i].prompted_outcome = outcome(e, &e->trials[i], PROMPTED);
    }
    return status;
}

/* Over the prompts of one trait, or of all (SIZE_MAX). A prompt's samples average to one value: they are not
 * independent, so the prompts, not the samples, are what the interval counts. */
static win_rate rate_of(const evaluation *e, voice who, size_t trait) {
    win_rate out = {0.5, 0.0, 1.0, 0, 0, 0};
    double points = 0.0, prompts = 0.0;
    size_t i;
    for (i = 0; i < e->trial_count; i++) {
        const trial *one = &e->trials[i];
        int result;
        if (trait != SIZE_MAX && one->trait != trait) {
            continue;
        }
        result = who == TUNED ? one->outcome : one->prompted_outcome;
        out.wins += result > 0;
        out.ties += result == 0;
        out.losses += result < 0;
    }
    prompts = (double)(out.wins + out.ties + out.losses) / (double)e->p->samples;
    points = ((double)out.wins + 0.5 * (double)out.ties) / (double)e->p->samples;
    if (prompts > 0.0) {
        out.rate = points / prompts;
    }
    temper_wilson(points, prompts, &out.low, &out.high);
    return out;
}

static bool numbers_of(const evaluation *e, voice who, voice_numbers *out) {
    temper_span *texts = temper_pool_take(e->pool, e->trial_count, sizeof *texts);
    double characters = 0.0, tokens = 0.0, score = 0.0, judged = 0.0;
    size_t i;
    if (texts == NULL) {
        return false;
    }
    memset(out, 0, sizeof *out);
    for (i = 0; i < e->trial_count; i++) {
        const reply *a = &e->trials[i].answers[who];
        texts[i] = a->text;
        characters += (double)temper_text_count(a->text);
        tokens += (double)a->tokens;
        score += a->usable ? a->score : 0.0;
        judged += a->usable;
        out->cut += a->cut;
        out->empty += a->text.length == 0;
        out->unjudged += !a->usable;
    }
    out->mean_characters = characters / (double)e->trial_count;
    out->mean_tokens = tokens / (double)e->trial_count;
    out->mean_score = judged > 0.0 ? score / judged : 0.0;
    return temper_distinct_2(e->pool, texts, e->trial_count, &out->distinct_2);
}

static temper_status measure_capability(evaluation *e, card *c, temper_error *error) {
    const temper_input *input = e->host->input(e->host, "dialogues");
    uint32_t longest = (uint32_t)e->p->max_length;
    temper_records records;
    temper_status status;
    if (input == NULL) {
        return TEMPER_OK;
    }
    c->has_capability = true;
    if ((status = temper_records_all(e->host, e->pool, input, &records, error)) ||
        (status = likelihood_of_records(e->host, e->pool, e->base_service, e->base, &records, "dialogues",
                                        longest, NULL, &c->before, error))) {
        return status;
    }
    return likelihood_of_records(e->host, e->pool, e->tuned_service, e->tuned, &records, "dialogues", longest,
                                 NULL, &c->after, error);
}

/* --- outputs --- */

static temper_status write_completions(const evaluation *e, temper_error *error) {
    static const char *const outcomes[] = {"loss", "tie", "win"};
    temper_output *output = NULL;
    char name[32];
    size_t i;
    int v;
    temper_status status = e->host->output(e->host, "completions", &output, error);
    for (i = 0; i < e->trial_count && status == TEMPER_OK; i++) {
        const trial *one = &e->trials[i];
        temper_row row;
        temper_row_begin(&row, e->host);
        temper_row_text(&row, "prompt", one->prompt);
        temper_row_text(&row, "trait", e->character.traits[one->trait].trait);
        temper_row_integer(&row, "trait_index", one->trait);
        temper_row_integer(&row, "sample", one->sample);
        for (v = 0; v < VOICES; v++) {
            temper_row_text(&row, voice_names[v], one->answers[v].text);
            snprintf(name, sizeof name, "%s_score", voice_names[v]);
            temper_row_number(&row, name, one->answers[v].score);
            snprintf(name, sizeof name, "%s_finish", voice_names[v]);
            temper_row_string(&row, name, one->answers[v].cut ? "length" : "stop");
        }
        temper_row_string(&row, "outcome", outcomes[one->outcome + 1]);
        temper_row_string(&row, "prompted_outcome", outcomes[one->prompted_outcome + 1]);
        status = temper_row_write(&row, output, e->host, error);
    }
    return status;
}

static void add_rate(temper_row *row, const char *prefix, const win_rate *rate) {
    static const char *const names[] = {"win_rate", "win_rate_low", "win_rate_high",
                                        "wins",     "ties",         "losses"};
    char name[64];
    size_t i;
    for (i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "%s_%s", prefix, names[i]);
        if (i < 3) {
            temper_row_number(row, name, i == 0 ? rate->rate : i == 1 ? rate->low : rate->high);
        } else {
            temper_row_integer(row, name, i == 3 ? rate->wins : i == 4 ? rate->ties : rate->losses);
        }
    }
}

static void add_voices(temper_row *row, const card *c) {
    static const char *const when[VOICES] = {"before", "prompted", "after"};
    char name[64];
    int v;
    for (v = 0; v < VOICES; v++) {
        const voice_numbers *n = &c->voices[v];
        snprintf(name, sizeof name, "distinct_2_%s", when[v]);
        temper_row_number(row, name, n->distinct_2);
        snprintf(name, sizeof name, "mean_characters_%s", when[v]);
        temper_row_number(row, name, n->mean_characters);
        snprintf(name, sizeof name, "mean_tokens_%s", when[v]);
        temper_row_number(row, name, n->mean_tokens);
        snprintf(name, sizeof name, "mean_score_%s", when[v]);
        temper_row_number(row, name, n->mean_score);
        snprintf(name, sizeof name, "cut_%s", when[v]);
        temper_row_integer(row, name, n->cut);
        snprintf(name, sizeof name, "empty_%s", when[v]);
        temper_row_integer(row, name, n->empty);
        snprintf(name, sizeof name, "unjudged_%s", when[v]);
        temper_row_integer(row, name, n->unjudged);
    }
    temper_row_number(
        row, "distinct_2_ratio",
        c->voices[BASE].distinct_2 > 0.0 ? c->voices[TUNED].distinct_2 / c->voices[BASE].distinct_2 : 1.0);
}

static temper_status write_metrics(const evaluation *e, const card *c, temper_error *error) {
    temper_output *output = NULL;
    temper_row row;
    temper_status status = e->host->output(e->host, "metrics", &output, error);
    if (status) {
        return status;
    }
    temper_row_begin(&row, e->host);
    temper_row_integer(&row, "prompts", e->prompt_count);
    temper_row_integer(&row, "prompts_held_out", !e->own_questions);
    add_rate(&row, "trait", &c->tuned);
    add_rate(&row, "prompted", &c->prompted);
    add_voices(&row, c);
    if (c->has_capability) {
        double before = likelihood_nll(&c->before), after = likelihood_nll(&c->after);
        temper_row_number(&row, "capability_nll_before", before);
        temper_row_number(&row, "capability_nll_after", after);
        temper_row_integer(&row, "capability_tokens", c->before.tokens);
        temper_row_integer(&row, "capability_truncated", c->before.truncated_records);
        if (before > 0.0) {
            temper_row_number(&row, "capability_drop", (after - before) / before);
        }
    }
    return temper_row_metrics(&row, output, e->host, error);
}

static temper_status summarise(evaluation *e, card *c, temper_error *error) {
    temper_model_info info = {.size = sizeof info};
    size_t t;
    int v;
    e->base_service->info(e->base, &info);
    c->character = &e->character;
    c->instructions = e->instructions;
    c->trials = e->trials;
    c->trial_count = e->trial_count;
    c->prompt_count = e->prompt_count;
    c->own_questions = e->own_questions;
    c->knows_system = info.knows_system != 0;
    c->tuned = rate_of(e, TUNED, SIZE_MAX);
    c->prompted = rate_of(e, PROMPTED, SIZE_MAX);
    c->tuned_by_trait = temper_pool_take(e->pool, e->character.count, sizeof *c->tuned_by_trait);
    if (c->tuned_by_trait == NULL) {
        return temper_no_memory(error);
    }
    for (t = 0; t < e->character.count; t++) {
        c->tuned_by_trait[t] = rate_of(e, TUNED, t);
    }
    for (v = 0; v < VOICES; v++) {
        if (!numbers_of(e, (voice)v, &c->voices[v])) {
            return temper_no_memory(error);
        }
    }
    return TEMPER_OK;
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    evaluation e = {.host = host, .p = self, .pool = temper_pool_new(host)};
    card c;
    temper_status status;
    if (e.pool == NULL) {
        return temper_no_memory(error);
    }
    memset(&c, 0, sizeof c);
    if ((status = temper_character_read(host, e.pool, host->input(host, "character"), &e.character, error)) ||
        (status = read_prompts(&e, error)) ||
        (status = host->open_model(host, host->input(host, "against"), &e.base_service, &e.base, error)) ||
        (status = host->open_model(host, host->input(host, "model"), &e.tuned_service, &e.tuned, error)) ||
        (status =
             temper_character_instructions(e.pool, &e.character, e.base_service, e.base, e.p->instruction,
                                           (uint64_t)e.p->most_traits, &e.instructions, error)) ||
        (status = ask(&e, BASE, e.base_service, e.base, error)) ||
        (status = ask(&e, PROMPTED, e.base_service, e.base, error)) ||
        (status = ask(&e, TUNED, e.tuned_service, e.tuned, error)) || (status = judge(&e, error)) ||
        (status = measure_capability(&e, &c, error)) || (status = summarise(&e, &c, error)) ||
        (status = write_completions(&e, error)) || (status = write_metrics(&e, &c, error))) {
        goto out;
    }
    c.shown = (size_t)e.p->shown;
    status = report_write(host, &c, error);
out:
    temper_pool_free(e.pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "the tuned model"),
    TEMPER_PORT(TEMPER_MODEL, "against", 0, "", "the base it was tuned from: it answers too, and judges"),
    TEMPER_PORT(TEMPER_CHARACTER, "character", 0, "trait", "the character"),
    TEMPER_PORT(
        TEMPER_RECORDS, "prompts", TEMPER_OPTIONAL, "prompt, trait_index",
        "prompts that were not trained on (constitution.ask, held_out); none: the character's own questions"),
    TEMPER_PORT(TEMPER_RECORDS, "dialogues", TEMPER_OPTIONAL,
                "messages, or system, prompt and completion, or text",
                "plain dialogues that were not trained on, for the capability check"),
    NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "",
                "trait_win_rate, _low, _high, trait_wins, _ties, _losses; the same of prompted; "
                "capability_nll_before, "
                "_after, capability_drop, capability_tokens, capability_truncated (dialogues); "
                "distinct_2_before, _prompted, _after, distinct_2_ratio; mean_characters, "
                "mean_tokens, mean_score, cut, empty, unjudged of each; prompts, prompts_held_out (0: the "
                "character's own)"),
    TEMPER_PORT(TEMPER_REPORT, "report", 0, "", "one page: the numbers, and the answers side by side"),
    TEMPER_PORT(TEMPER_RECORDS, "completions", 0,
                "prompt, trait, trait_index, sample, base, prompted, tuned, outcome, prompted_outcome; score "
                "and finish "
                "of each",
                "the answers"),
    NULL};

const temper_stage eval_character_stage = {
    .size = sizeof(temper_stage),
    .revision = 2,
    .name = "character",
    .doc = "whether a tuned model has the character, beside its base and its base told to have it, and what "
           "that cost",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = character_parameter_table,
    .parameters_size = sizeof(character_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

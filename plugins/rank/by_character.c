/* by_character.c: the model's own likelihood as the judge.
 *
 * A response is the more in character, the more the character's description raises its log-probability, per token
 * (support/conversation.h, temper_judge_all). No words are parsed, no position can bias it, and it works for models far
 * too small to judge in words. What it cannot see is whether the answer is any good: filter.pairs and the held-out
 * likelihood of eval.character are there for that. */
#include "rank.h"

#define BY_CHARACTER(P, S)                                                                                   \
    P(S, number, margin, "margin", "0.02", 0, 1e6, "nats a token", "",                                       \
      "pairs whose scores differ by less are ties", "0.1")                                                   \
    P(S, integer, pairs_per_prompt, "pairs_per_prompt", "1", 1, 1000, "pairs", "",                           \
      "best against worst, then second best against second worst, and so on", "0.1")                         \
    P(S, flag, finished, "finished", "true", 0, 1, "", "",                                                   \
      "leave candidates that their length limit cut out of pairs", "0.1")                                    \
    P(S, string, control, "control", "\"none\"", 1, 0, "", "none|shuffled",                                  \
      "shuffled: a coin says which side is chosen; a run that still meets its expectations then shows "      \
      "nothing",                                                                                             \
      "0.1")                                                                                                 \
    TEMPER_INSTRUCTION_PARAMETERS(P, S)
TEMPER_PARAMETERS(by_character, BY_CHARACTER)

typedef struct ranking {
    const temper_host *host;
    const by_character_parameters *p;
    temper_pool *pool;
    temper_character character;
    candidate *candidates;
    size_t count;
    uint64_t cut, empty, too_long;
} ranking;

static temper_status read_candidate(ranking *r, const temper_json *record, size_t number, candidate *c,
                                    temper_error *error) {
    const temper_json_api *json = r->host->json;
    int64_t trait;
    temper_status status;
    if ((status = temper_record_need(json, record, "candidates", number, "prompt", &c->prompt, error)) ||
        (status = temper_record_need(json, record, "candidates", number, "response", &c->response, error))) {
        return status;
    }
    if (!json->integer(json->member(record, "trait_index"), &trait) || trait < 0 ||
        (uint64_t)trait >= r->character.count) {
        return temper_fail(
            error, TEMPER_INVALID,
            "candidates, record %zu: \"trait_index\" must be 0 to %zu, a trait of the character", number,
            r->character.count - 1);
    }
    c->record = record;
    c->trait = (size_t)trait;
    temper_record_string(json, record, "condition", &c->condition);
    temper_record_string(json, record, "finish", &c->finish);
    temper_record_string(json, record, "instruction", &c->instruction); /* absent: made below */
    return TEMPER_OK;
}

static temper_status read_candidates(ranking *r, temper_error *error) {
    temper_records records;
    size_t i;
    temper_status status =
        temper_records_all(r->host, r->pool, r->host->input(r->host, "candidates"), &records, error);
    if (status) {
        return status;
    }
    r->count = records.count;
    r->candidates = temper_pool_take(r->pool, r->count, sizeof *r->candidates);
    if (r->candidates == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < r->count && status == TEMPER_OK; i++) {
        status = read_candidate(r, records.items[i], i + 1, &r->candidates[i], error);
    }
    return status;
}

static temper_status judge(ranking *r, const temper_model_service *service, temper_model *model,
                           temper_error *error) {
    temper_judge_item *items = temper_pool_take(r->pool, r->count, sizeof *items);
    temper_judged *judged = temper_pool_take(r->pool, r->count, sizeof *judged);
    const temper_instruction *instructions;
    size_t i;
    temper_status status;
    if (items == NULL || judged == NULL) {
        return temper_no_memory(error);
    }
    status = temper_character_instructions(r->pool, &r->character, service, model, r->p->instruction,
                                           (uint64_t)r->p->most_traits, &instructions, error);
    if (status) {
        return status;
    }
    for (i = 0; i < r->count; i++) {
        candidate *c = &r->candidates[i];
        if (c->instruction.data == NULL) {
            c->instruction = instructions[c->trait].text;
        }
        items[i].instruction = c->instruction;
        items[i].prompt = c->prompt;
        items[i].response = c->response;
    }
    status = temper_judge_all(r->host, r->pool, service, model, items, r->count, "scores", judged, error);
    for (i = 0; i < r->count && status == TEMPER_OK; i++) {
        candidate *c = &r->candidates[i];
        bool cut = r->p->finished && temper_span_equal(c->finish, temper_span_of("length"));
        bool empty = temper_span_trim(c->response).length == 0;
        c->score = judged[i].score;
        c->tokens = judged[i].tokens;
        c->usable = judged[i].usable && !cut && !empty;
        r->cut += cut;
        r->empty += empty;
        r->too_long += !judged[i].usable;
    }
    return status;
}

static temper_status write_scored(ranking *r, temper_error *error) {
    const temper_json_api *json = r->host->json;
    temper_output *output = NULL;
    size_t i;
    temper_status status = r->host->output(r->host, "scored", &output, error);
    for (i = 0; i < r->count && status == TEMPER_OK; i++) {
        const candidate *c = &r->candidates[i];
        temper_row row;
        temper_row_begin(&row, r->host);
        if (!row.failed) {
            row.object = json->copy_object(row.arena, c->record);
            row.failed = row.object == NULL;
        }
        temper_row_number(&row, "score", c->score);
        temper_row_integer(&row, "scored_tokens", c->tokens);
        temper_row_flag(&row, "usable", c->usable);
        status = temper_row_write(&row, output, r->host, error);
    }
    return status;
}

static double mean_score(const ranking *r, const char *condition) {
    double sum = 0.0;
    size_t n = 0, i;
    for (i = 0; i < r->count; i++) {
        if (r->candidates[i].usable &&
            temper_span_equal(r->candidates[i].condition, temper_span_of(condition))) {
            sum += r->candidates[i].score;
            n++;
        }
    }
    return n == 0 ? 0.0 : sum / (double)n;
}

static temper_status write_metrics(const ranking *r, const pairing_counts *counts, temper_error *error) {
    temper_output *output = NULL;
    temper_row row;
    temper_status status = r->host->output(r->host, "metrics", &output, error);
    if (status) {
        return status;
    }
    temper_row_begin(&row, r->host);
    temper_row_integer(&row, "candidates", r->count);
    temper_row_integer(&row, "cut", r->cut);
    temper_row_integer(&row, "empty", r->empty);
    temper_row_integer(&row, "too_long", r->too_long);
    temper_row_integer(&row, "prompts", counts->prompts);
    temper_row_integer(&row, "lone", counts->lone);
    temper_row_integer(&row, "pairs", counts->pairs);
    temper_row_integer(&row, "ties", counts->ties);
    temper_row_integer(&row, "chosen_in_character", counts->chosen_in_character);
    temper_row_number(&row, "mean_margin",
                      counts->pairs == 0 ? 0.0 : counts->margin_sum / (double)counts->pairs);
    temper_row_number(&row, "mean_score_in_character", mean_score(r, "in_character"));
    temper_row_number(&row, "mean_score_plain", mean_score(r, "plain"));
    return temper_row_metrics(&row, output, r->host, error);
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    ranking r = {.host = host, .p = self, .pool = temper_pool_new(host)};
    pairing_options options = {r.p->margin, (uint64_t)r.p->pairs_per_prompt, false, 0};
    pairing_counts counts = {0, 0, 0, 0, 0, 0.0};
    const temper_model_service *service;
    temper_model *model;
    temper_status status;
    if (r.pool == NULL) {
        return temper_no_memory(error);
    }
    options.shuffled = strcmp(r.p->control, "shuffled") == 0;
    options.key = host->rng_key(host, "control");
    if ((status = temper_character_read(host, r.pool, host->input(host, "character"), &r.character, error)) ||
        (status = read_candidates(&r, error)) ||
        (status = host->open_model(host, host->input(host, "model"), &service, &model, error)) ||
        (status = judge(&r, service, model, error)) || (status = write_scored(&r, error)) ||
        (status =
             rank_write_pairs(host, r.pool, &r.character, r.candidates, r.count, &options, &counts, error))) {
        goto out;
    }
    status = write_metrics(&r, &counts, error);
out:
    temper_pool_free(r.pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "the judge: usually the model that answered, untuned"),
    TEMPER_PORT(TEMPER_CHARACTER, "character", 0, "trait", "the character"),
    TEMPER_PORT(TEMPER_RECORDS, "candidates", 0,
                "prompt, response, trait_index, condition, finish, instruction", "of constitution.respond"),
    NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "pairs", 0,
                "prompt, chosen, rejected, chosen_score, rejected_score, margin, trait, trait_index, "
                "chosen_condition, rejected_condition, chosen_finish, rejected_finish",
                "preference pairs"),
    TEMPER_PORT(TEMPER_RECORDS, "ties", 0, "as pairs", "pairs nearer than the margin"),
    TEMPER_PORT(TEMPER_RECORDS, "scored", 0, "score, scored_tokens, usable",
                "every candidate with its score; usable: it could stand in a pair"),
    TEMPER_PORT(
        TEMPER_METRICS, "metrics", 0, "",
        "candidates, cut, empty, too_long, prompts, lone, pairs, ties, chosen_in_character, mean_margin, "
        "mean_score_in_character, mean_score_plain"),
    NULL};

const temper_stage rank_by_character_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "by_character",
    .doc = "preference pairs by how much the character's description makes the model expect each response",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = by_character_parameter_table,
    .parameters_size = sizeof(by_character_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

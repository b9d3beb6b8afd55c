/* reference.c: what a frozen model says of each pair, computed once: a stage that writes it as records, and the reading of
 * them. The numbers are doubles and floats written so that reading gives the same bits, so training from them ends in the
 * bits of training that asked the base itself. */
#include "finetune.h"

#define REFERENCE(P, S)                                                                                      \
    P(S, flag, per_token, "per_token", "false", 1, 0, "", "",                                                \
      "also each token's log-probability, which dpo's kl_alpha needs", "0.2")                                \
    P(S, integer, max_length, "max_length", "0", 0, 1e9, "tokens", "",                                       \
      "longer rows are cut at their end; 0: the model's context", "0.2")                                     \
    P(S, string, format, "format", "\"auto\"", 1, 0, "", "auto|chat|raw",                                    \
      "are strings turns of a chat or raw text; auto: a chat if the model has a template", "0.2")            \
    P(S, flag, allow_untrained, "allow_untrained", "false", 1, 0, "", "",                                    \
      "leave out rows in which no token is trained, instead of failing", "0.2")                              \
    P(S, flag, allow_unterminated, "allow_unterminated", "false", 1, 0, "", "",                              \
      "accept answers that the chat template does not end with a special token", "0.2")
TEMPER_PARAMETERS(reference, REFERENCE)

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "the reference"),
    TEMPER_PORT(TEMPER_RECORDS, "pairs", TEMPER_OPTIONAL, "prompt, chosen, rejected, system",
                "preference pairs"),
    TEMPER_PORT(TEMPER_RECORDS, "records", TEMPER_OPTIONAL, "prompt, completion, system",
                "or labelled answers, for kto"),
    NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "reference", 0,
                "ref_chosen_logps, ref_rejected_logps, ref_logps, ref_KL_logps",
                "a record a pair, in its order"),
    NULL};

/* Of pairs, and of labelled answers: under TRL's names. */
static const char *const sums_of[2][2] = {{"ref_chosen_logps", "ref_rejected_logps"},
                                          {"ref_logps", "ref_KL_logps"}};
static const char *const tokens_of[2] = {"ref_chosen_token_logps", "ref_rejected_token_logps"};

typedef struct writing {
    const temper_host *host;
    temper_output *output;
    const row_set *rows;
    bool labelled, per_token;
    double *sums;
    float **tokens;
} writing;

static const temper_json *token_list(const temper_row *row, const lm_example *example, const float *values) {
    temper_json *list = row->json->new_array(row->arena);
    for (size_t t = 1; list != NULL && t < example->count; t++) {
        temper_json *number = (example->trained[t] & LM_TRAINED)
                                  ? row->json->new_number(row->arena, (double)values[t])
                                  : row->json->new_null(row->arena);
        if (number == NULL || !row->json->append(row->arena, list, number)) {
            return NULL;
        }
    }
    return list;
}

static temper_status write_all(const writing *self, temper_error *error) {
    temper_status status = TEMPER_OK;
    for (size_t i = 0; !status && i < self->rows->count; i += 2) {
        temper_row row;
        temper_row_begin(&row, self->host);
        for (size_t s = 0; s < 2; s++) {
            const lm_example *example = &self->rows->examples[i + s];
            if (example->count == 0) {
                continue; /* left out: an empty record keeps the place */
            }
            temper_row_number(&row, sums_of[self->labelled][s], self->sums[i + s]);
            if (self->per_token && !self->labelled) {
                const temper_json *list = token_list(&row, example, self->tokens[i + s]);
                row.failed = row.failed || list == NULL;
                temper_row_json(&row, tokens_of[s], list);
            }
        }
        status = temper_row_write(&row, self->output, self->host, error);
    }
    return status;
}

static temper_status score_all(writing *self, lm_trainer *trainer, temper_pool *pool, temper_error *error) {
    size_t count = self->rows->count, n = 0;
    const lm_example **examples = temper_pool_take(pool, count, sizeof *examples);
    double *sums = temper_pool_take(pool, count, sizeof *sums);
    float **tokens = temper_pool_take(pool, count, sizeof *tokens);
    self->sums = temper_pool_take(pool, count, sizeof *self->sums);
    self->tokens = temper_pool_take(pool, count, sizeof *self->tokens);
    if (examples == NULL || sums == NULL || tokens == NULL || self->sums == NULL || self->tokens == NULL) {
        return temper_no_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        const lm_example *example = &self->rows->examples[i];
        if (example->count == 0) {
            continue;
        }
        if (self->per_token) {
            tokens[n] = temper_pool_take(pool, example->count, sizeof **tokens);
            if (tokens[n] == NULL) {
                return temper_no_memory(error);
            }
            self->tokens[i] = tokens[n];
        }
        examples[n++] = example;
    }
    temper_status status = training_score(self->host, trainer, examples, n, "reference answers", sums,
                                          self->per_token ? tokens : NULL, error);
    for (size_t i = 0, at = 0; !status && i < count; i++) {
        if (self->rows->examples[i].count > 0) {
            self->sums[i] = sums[at++];
        }
    }
    return status;
}

static temper_status run(void *parameters, const temper_host *host, temper_error *error) {
    const reference_parameters *given = parameters;
    const temper_input *pairs = host->input(host, "pairs"), *records = host->input(host, "records");
    row_options options = {.span = LM_SPAN_ASSISTANT,
                           .format = given->format,
                           .limit = (size_t)given->max_length,
                           .allow_untrained = given->allow_untrained != 0,
                           .allow_unterminated = given->allow_unterminated != 0};
    writing self = {.host = host, .labelled = records != NULL, .per_token = given->per_token != 0};
    base_model base = {0};
    row_set rows = {0};
    row_counts counts;
    lm_trainer *trainer = NULL;
    lm_train_options train = lm_train_defaults();
    if ((pairs == NULL) == (records == NULL)) {
        return temper_fail(error, TEMPER_INVALID, "reference needs one of the inputs pairs and records");
    }
    temper_pool *pool = temper_pool_new(host);
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    temper_status status = base_open(host, pool, host->input(host, "model"), &base, error);
    if (!status) {
        status = rows_read(&base, pool, pairs != NULL ? pairs : records, pairs != NULL ? "pairs" : "records",
                           pairs != NULL ? ROW_PAIRS : ROW_LABELLED, &options, &rows, &counts, error);
    }
    if (!status) {
        self.rows = &rows;
        status = lm_trainer_new(&base.context, base.model, &train, &trainer, error);
    }
    if (!status) {
        status = score_all(&self, trainer, pool, error);
    }
    if (!status) {
        status = host->output(host, "reference", &self.output, error);
    }
    if (!status) {
        status = write_all(&self, error);
    }
    lm_trainer_free(trainer);
    rows_free(&rows);
    base_close(&base);
    temper_pool_free(pool);
    return status;
}

/* --- reading --- */

static temper_status read_tokens(const temper_json_api *json, const temper_json *record, const char *field,
                                 lm_example *example, const char *input, size_t index, temper_error *error) {
    const temper_json *list = json->member(record, field);
    float *values = (float *)(uintptr_t)example->reference;
    if (json->kind(list) != TEMPER_JSON_ARRAY || json->length(list) + 1 != example->count) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s, record %zu: \"%s\" must be a list of %zu numbers (finetune.reference with "
                           "per_token = true writes it)",
                           input, index + 1, field, example->count - 1);
    }
    for (size_t t = 1; t < example->count; t++) {
        double value = 0;
        if ((example->trained[t] & LM_TRAINED) && !json->number(json->element(list, t - 1), &value)) {
            return temper_fail(error, TEMPER_INVALID, "%s, record %zu: token %zu of \"%s\" is no number",
                               input, index + 1, t, field);
        }
        values[t] = (float)value;
    }
    return TEMPER_OK;
}

temper_status reference_read(const base_model *base, temper_pool *pool, const temper_input *input,
                             const char *name, bool per_token, lm_pair *pairs, double *references,
                             size_t count, unsigned sides, temper_error *error) {
    const temper_json_api *json = base->host->json;
    temper_records records;
    temper_status status = temper_records_all(base->host, pool, input, &records, error);
    if (!status && records.count != count) {
        status =
            temper_fail(error, TEMPER_INVALID, "%s has %zu records for %zu rows: it belongs to other data",
                        name, records.count, count);
    }
    for (size_t i = 0; !status && i < count; i++) {
        lm_example *examples[] = {&pairs[i].chosen, &pairs[i].rejected};
        if (pairs[i].chosen.count == 0) {
            continue;
        }
        for (size_t s = 0; !status && s < 2; s++) {
            const char *field = sums_of[sides == 1][s];
            if (!json->number(json->member(records.items[i], field), &references[2 * i + s])) {
                status = temper_fail(error, TEMPER_INVALID, "%s, record %zu has no number \"%s\"", name,
                                     i + 1, field);
            } else if (per_token && sides == 2) {
                status = read_tokens(json, records.items[i], tokens_of[s], examples[s], name, i, error);
            }
        }
    }
    return status;
}

const temper_stage finetune_reference_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "reference",
    .doc = "what a frozen model says of preference data, computed once",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = reference_parameter_table,
    .parameters_size = sizeof(reference_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

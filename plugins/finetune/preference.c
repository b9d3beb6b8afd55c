/* preference.c: what dpo, cpo, simpo, orpo, kto and reward share: reading pairs or labelled answers, what the reference
 * says of them, steps, held-out measures and metrics. Losses are lm/train's table; names of the log are TRL's.
 *
 * The reference is the model that training starts from, scored before the first step (an adapter's B is zero then, so it is
 * scored as itself), or records of `finetune.reference`: the same bits, computed once. No second model is in memory. */
#include "finetune.h"

#include <temper/math.h>

typedef struct side {
    row_set
        rows; /* chosen, rejected, chosen, ..; of labelled answers: the answer, and kto's mismatched one */
    row_counts counts;
    lm_pair *pairs;
    lm_example *mismatched; /* kto */
    double *references;     /* [2 * pairs]: what is carried in a checkpoint */
    float *tokens;          /* the reference of each token, for the divergence */
    size_t token_count;
    size_t count; /* pairs, those left out included */
    size_t *units, unit_count;
} side;

typedef struct preference {
    const temper_host *host;
    temper_pool *pool;
    const preference_options *given;
    const lm_loss *loss;
    side train, held_out;
    const lm_pair **batch;
    lm_prefer_result first, last;
    double begun, last_kl;
} preference;

static bool is(const preference *self, const char *method) {
    return strcmp(self->given->method, method) == 0;
}

static bool labelled(const preference *self) {
    return self->loss->sides == 1;
}

/* --- scoring --- */

/* Log-probability sums of the units' two sides (or the answers and their mismatches), or rewards. */
static temper_status score(const preference *self, lm_trainer *trainer, const side *of, const size_t *units,
                           size_t count, const char *what, double *sums, float *const *tokens,
                           temper_error *error) {
    const lm_example **examples = temper_pool_take(self->pool, 2 * count, sizeof *examples);
    if (examples == NULL) {
        return temper_no_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        const lm_pair *pair = &of->pairs[units[i]];
        examples[2 * i] = &pair->chosen;
        examples[2 * i + 1] = labelled(self) ? &of->mismatched[units[i]] : &pair->rejected;
    }
    return is(self, "reward")
               ? lm_trainer_rewards(trainer, examples, 2 * count, sums, error)
               : training_score(self->host, trainer, examples, 2 * count, what, sums, tokens, error);
}

static bool per_token(const preference *self) {
    return self->given->options.kl_weight > 0;
}

static void settle_references(const preference *self, side *of) {
    for (size_t i = 0; i < of->count; i++) {
        of->pairs[i].reference_chosen = of->references[2 * i];
        of->pairs[i].reference_rejected = labelled(self) ? 0 : of->references[2 * i + 1];
    }
}

/* What the reference says of every pair, by the model as it is now. */
static temper_status refer(const preference *self, lm_trainer *trainer, side *of, temper_error *error) {
    double *sums = temper_pool_take(self->pool, 2 * of->unit_count, sizeof *sums);
    float **tokens = temper_pool_take(self->pool, 2 * of->unit_count, sizeof *tokens);
    if (sums == NULL || tokens == NULL) {
        return temper_no_memory(error);
    }
    for (size_t i = 0; per_token(self) && i < of->unit_count; i++) {
        lm_example *examples[] = {&of->pairs[of->units[i]].chosen, &of->pairs[of->units[i]].rejected};
        for (size_t s = 0; s < 2; s++) {
            tokens[2 * i + s] = (float *)(uintptr_t)examples[s]->reference;
        }
    }
    temper_status status = score(self, trainer, of, of->units, of->unit_count, "reference answers", sums,
                                 per_token(self) ? tokens : NULL, error);
    for (size_t i = 0; !status && i < of->unit_count; i++) {
        of->references[2 * of->units[i]] = sums[2 * i];
        of->references[2 * of->units[i] + 1] = sums[2 * i + 1];
    }
    return status;
}

/* --- the loop --- */

/* kto: how far the policy is from the reference on answers to other prompts; never below zero. */
static temper_status estimate_kl(preference *self, lm_trainer *trainer, const size_t *units, size_t count,
                                 double *kl, temper_error *error) {
    const side *of = &self->train;
    const lm_example **examples = temper_pool_take(self->pool, count, sizeof *examples);
    double *sums = temper_pool_take(self->pool, count, sizeof *sums), total = 0;
    if (examples == NULL || sums == NULL) {
        return temper_no_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        examples[i] = &of->mismatched[units[i]];
    }
    temper_status status = lm_trainer_score(trainer, examples, count, sums, NULL, error);
    for (size_t i = 0; !status && i < count; i++) {
        total += sums[i] - of->references[2 * units[i] + 1];
    }
    *kl = total > 0 ? total / (double)count : 0;
    return status;
}

static void put_numbers(const preference *self, temper_row *row, const lm_prefer_result *of,
                        const char *prefix) {
    const struct {
        const char *name;
        double value;
        bool there;
    } numbers[] = {{"rewards/chosen", of->reward_chosen, true},
                   {"rewards/rejected", of->reward_rejected, true},
                   {"rewards/accuracies", of->accuracy, !labelled(self)},
                   {"rewards/margins", of->margin, true},
                   {"logps/chosen", of->logp_chosen, !is(self, "reward")},
                   {"logps/rejected", of->logp_rejected, !is(self, "reward")}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char name[48];
        snprintf(name, sizeof name, "%s%s", prefix, numbers[i].name);
        if (numbers[i].there) {
            temper_row_number(row, name, numbers[i].value);
        }
    }
}

static temper_status step(void *context, lm_trainer *trainer, const size_t *units, size_t count, double *loss,
                          size_t *tokens, temper_row *row, temper_error *error) {
    preference *self = context;
    lm_prefer_result result;
    double kl = 0;
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < count; i++) {
        self->batch[i] = &self->train.pairs[units[i]];
    }
    if (labelled(self) && strcmp(self->loss->name, "kto") == 0) {
        status = estimate_kl(self, trainer, units, count, &kl, error);
    }
    if (!status) {
        status = lm_trainer_prefer(trainer, self->batch, count, self->loss, &self->given->options, kl,
                                   &result, error);
    }
    if (status) {
        return status;
    }
    *loss = result.loss;
    *tokens = result.tokens;
    put_numbers(self, row, &result, "");
    if (self->given->options.nll_weight > 0) {
        temper_row_number(row, "nll_loss", result.nll);
    }
    if (labelled(self)) {
        temper_row_number(row, "kl", kl);
    } else if (self->given->options.kl_weight > 0) {
        temper_row_number(row, "kl", result.divergence);
    }
    if (self->begun == 0) {
        self->first = result;
        self->begun = 1;
    }
    self->last = result;
    self->last_kl = kl;
    return TEMPER_OK;
}

/* The loss and the rewards of these units now, by forward passes alone: the likelihood and divergence terms left out. */
static temper_status judge(preference *self, lm_trainer *trainer, const side *of, const char *what,
                           lm_prefer_result *out, temper_error *error) {
    const lm_loss_options *options = &self->given->options;
    double *sums = temper_pool_take(self->pool, 2 * of->unit_count, sizeof *sums);
    double n = (double)of->unit_count, beta = is(self, "reward") ? 1 : options->beta, kinds[2] = {0};
    double kl = 0;
    *out = (lm_prefer_result){0};
    if (sums == NULL) {
        return temper_no_memory(error);
    }
    temper_status status = score(self, trainer, of, of->units, of->unit_count, what, sums, NULL, error);
    if (status) {
        return status;
    }
    for (size_t i = 0; labelled(self) && i < of->unit_count; i++) {
        kl += sums[2 * i + 1] - of->references[2 * of->units[i] + 1];
    }
    kl = kl > 0 ? kl / n : 0;
    bool each =
        self->loss->normalised || ((self->loss->options & LM_LOSS_LENGTH) != 0 && options->length_normalised);
    for (size_t i = 0; i < of->unit_count; i++) {
        const lm_pair *pair = &of->pairs[of->units[i]];
        double tokens[2] = {1, 1}, gap[2], logp[2];
        for (size_t s = 0; s < self->loss->sides; s++) {
            const lm_example *example = s ? &pair->rejected : &pair->chosen;
            double counted = 0;
            for (size_t t = 1; t < example->count; t++) {
                counted += (example->trained[t] & LM_TRAINED) != 0;
            }
            tokens[s] = each ? counted : 1;
        }
        for (size_t s = 0; s < 2; s++) {
            bool ratio = self->loss->reference;
            double reference = s ? pair->reference_rejected : pair->reference_chosen;
            double raw = s < self->loss->sides ? sums[2 * i + s] : 0;
            gap[s] = ratio ? raw - reference : raw / tokens[s];
            logp[s] = ratio ? raw : raw / tokens[s];
        }
        bool ratio = self->loss->reference;
        lm_loss_case seen = {ratio ? gap[0] / tokens[0] : gap[0], ratio ? gap[1] / tokens[1] : gap[1],
                             pair->margin, kl, pair->desirable};
        out->loss += self->loss->value(options, &seen).loss;
        out->accuracy += gap[0] > gap[1];
        if (labelled(self)) {
            *(pair->desirable ? &out->reward_chosen : &out->reward_rejected) += beta * gap[0];
            *(pair->desirable ? &out->logp_chosen : &out->logp_rejected) += logp[0];
            kinds[!pair->desirable]++;
        } else {
            out->reward_chosen += beta * gap[0];
            out->reward_rejected += beta * gap[1];
            out->logp_chosen += logp[0];
            out->logp_rejected += logp[1];
            kinds[0] = kinds[1] = n;
        }
    }
    double *ends[][2] = {{&out->reward_chosen, &out->reward_rejected},
                         {&out->logp_chosen, &out->logp_rejected}};
    for (size_t i = 0; i < 2; i++) {
        for (size_t s = 0; s < 2; s++) {
            *ends[i][s] /= kinds[s] > 0 ? kinds[s] : 1;
        }
    }
    out->loss /= n;
    out->accuracy /= n;
    out->margin = out->reward_chosen - out->reward_rejected;
    return TEMPER_OK;
}

static temper_status evaluate(void *context, lm_trainer *trainer, double *loss, temper_row *row,
                              temper_error *error) {
    preference *self = context;
    lm_prefer_result result;
    temper_status status = judge(self, trainer, &self->held_out, "held-out answers", &result, error);
    if (!status && row != NULL) {
        put_numbers(self, row, &result, "eval_");
    }
    *loss = result.loss;
    return status;
}

/* --- reading --- */

static temper_status read_label(const preference *self, const temper_json *record, const char *name,
                                size_t index, lm_pair *pair, temper_error *error) {
    const temper_json_api *json = self->host->json;
    const temper_json *label = json->member(record, "label"), *margin = json->member(record, "margin");
    bool desirable = false;
    if (labelled(self)) {
        if (!json->boolean(label, &desirable)) {
            return temper_fail(error, TEMPER_INVALID, "%s, record %zu: \"label\" must be true or false", name,
                               index + 1);
        }
        pair->desirable = desirable;
    }
    if (is(self, "reward") && margin != NULL && !json->number(margin, &pair->margin)) {
        return temper_fail(error, TEMPER_INVALID, "%s, record %zu: \"margin\" must be a number", name,
                           index + 1);
    }
    return TEMPER_OK;
}

/* orpo's likelihood term speaks of the chosen answer with its prompt. */
static void mark_whole(const side *of) {
    for (size_t i = 0; i < of->rows.count; i += 2) {
        for (size_t t = 1; t < of->rows.examples[i].count; t++) {
            uint8_t *mark = &of->rows.dialogues[i].trained[t];
            *mark = *mark ? *mark : LM_LIKELIHOOD;
        }
    }
}

/* Room for the reference of each token. */
static temper_status reserve_references(const preference *self, side *of, temper_error *error) {
    for (size_t i = 0; i < of->rows.count; i++) {
        of->token_count += of->rows.examples[i].count;
    }
    of->tokens = temper_pool_take(self->pool, of->token_count, sizeof *of->tokens);
    if (of->tokens == NULL) {
        return temper_no_memory(error);
    }
    memset(of->tokens, 0, of->token_count * sizeof *of->tokens);
    for (size_t i = 0, at = 0; i < of->rows.count; i++) {
        lm_pair *pair = &of->pairs[i / 2];
        lm_example *example = i % 2 ? &pair->rejected : &pair->chosen;
        example->reference = of->tokens + at;
        at += example->count;
    }
    return TEMPER_OK;
}

static temper_status read_side(const preference *self, const base_model *base, const char *name,
                               const row_options *options, side *out, temper_error *error) {
    const temper_input *input = self->host->input(self->host, name);
    temper_records records;
    if (input == NULL) {
        return TEMPER_OK;
    }
    temper_status status = rows_read(base, self->pool, input, name, labelled(self) ? ROW_LABELLED : ROW_PAIRS,
                                     options, &out->rows, &out->counts, error);
    if (!status) {
        status = temper_records_all(self->host, self->pool, input, &records, error);
    }
    if (status) {
        return status;
    }
    out->count = out->rows.count / 2;
    out->pairs = temper_pool_take(self->pool, out->count, sizeof *out->pairs);
    out->mismatched = temper_pool_take(self->pool, out->count, sizeof *out->mismatched);
    out->references = temper_pool_take(self->pool, 2 * out->count, sizeof *out->references);
    out->units = temper_pool_take(self->pool, out->count, sizeof *out->units);
    if (out->pairs == NULL || out->mismatched == NULL || out->references == NULL || out->units == NULL) {
        return temper_no_memory(error);
    }
    if (self->loss->whole_likelihood) {
        mark_whole(out);
    }
    for (size_t i = 0; !status && i < out->count; i++) {
        const lm_example none = {NULL, NULL, 0, NULL};
        out->references[2 * i] = out->references[2 * i + 1] = 0;
        out->pairs[i] = (lm_pair){.chosen = out->rows.examples[2 * i],
                                  .rejected = labelled(self) ? none : out->rows.examples[2 * i + 1]};
        out->mismatched[i] = out->rows.examples[2 * i + 1];
        if (out->pairs[i].chosen.count > 0) {
            out->units[out->unit_count++] = i;
        }
        status = read_label(self, records.items[i], name, i, &out->pairs[i], error);
    }
    if (!status && out->unit_count == 0) {
        status = temper_fail(error, TEMPER_INVALID, "%s: every row was left out", name);
    }
    if (!status && per_token(self)) {
        status = reserve_references(self, out, error);
    }
    return status;
}

/* --- the stage --- */

static temper_status report(preference *self, const training *run, temper_error *error) {
    temper_output *output = NULL;
    temper_row row;
    lm_prefer_result after;
    temper_status status = judge(self, run->trainer, &self->train, "trained answers", &after, error);
    if (!status) {
        status = run->host->output(run->host, "metrics", &output, error);
    }
    if (status) {
        return status;
    }
    const row_counts *counts = &self->train.counts;
    temper_row_begin(&row, run->host);
    training_report(run, &row);
    temper_row_integer(&row, labelled(self) ? "rows" : "pairs", counts->rows);
    temper_row_integer(&row, labelled(self) ? "rows_untrained" : "pairs_untrained", counts->untrained);
    temper_row_integer(&row, "answers_truncated", counts->truncated);
    temper_row_integer(&row, "tokens_truncated", counts->truncated_tokens);
    temper_row_number(&row, "margin_last", self->last.margin);
    temper_row_number(&row, "margin", after.margin);
    if (!labelled(self)) {
        temper_row_number(&row, "accuracy_last", self->last.accuracy);
        temper_row_number(&row, "accuracy", after.accuracy);
    }
    if (!is(self, "reward")) {
        temper_row_number(&row, "logps_chosen_first", self->first.logp_chosen);
        temper_row_number(&row, "logps_chosen_last", self->last.logp_chosen);
    }
    if (self->held_out.unit_count > 0) {
        lm_prefer_result unseen;
        status = judge(self, run->trainer, &self->held_out, "held-out answers", &unseen, error);
        temper_row_number(&row, "held_out_loss_before", run->at.eval_before);
        temper_row_number(&row, "held_out_loss_after", unseen.loss);
        temper_row_number(&row, "held_out_margin", unseen.margin);
        if (!labelled(self)) {
            temper_row_number(&row, "held_out_accuracy", unseen.accuracy);
        }
    }
    if (status) {
        temper_row_drop(&row);
        return status;
    }
    return temper_row_metrics(&row, output, run->host, error);
}

/* References of both sides, from records or from the model as it is; a checkpoint has them already. */
static temper_status find_references(preference *self, training *run, base_model *base, temper_error *error) {
    side *sides[] = {&self->train, &self->held_out};
    static const char *const names[] = {"reference", "held_out_reference"};
    bool resumed = run->at.step > 0;
    temper_status status = TEMPER_OK;
    for (size_t i = 0; !status && self->loss->reference && i < 2; i++) {
        const temper_input *input = self->host->input(self->host, names[i]);
        if (sides[i]->unit_count == 0) {
            continue;
        }
        if (input != NULL) {
            status = reference_read(base, self->pool, input, names[i], per_token(self), sides[i]->pairs,
                                    sides[i]->references, sides[i]->count, self->loss->sides, error);
        } else if (!resumed) {
            status = refer(self, run->trainer, sides[i], error);
        }
        settle_references(self, sides[i]);
    }
    return status;
}

static void carry(preference *self, training *run) {
    side *sides[] = {&self->train, &self->held_out};
    training_carry(run, &self->first, sizeof self->first);
    training_carry(run, &self->last, sizeof self->last);
    training_carry(run, &self->begun, sizeof self->begun);
    for (size_t i = 0; i < 2; i++) {
        training_carry(run, sides[i]->references, 2 * sides[i]->count * sizeof *sides[i]->references);
        training_carry(run, sides[i]->tokens, sides[i]->token_count * sizeof *sides[i]->tokens);
    }
}

static temper_status train(preference *self, training *run, base_model *base, const run_options *options,
                           temper_error *error) {
    const training_method method = {.step = step,
                                    .evaluate = evaluate,
                                    .held_out = self->held_out.unit_count > 0,
                                    .detail = "rewards/margins"};
    self->batch = temper_pool_take(self->pool, options->batch, sizeof *self->batch);
    if (self->batch == NULL) {
        return temper_no_memory(error);
    }
    temper_status status =
        training_open(self->host, options, base, self->train.units, self->train.unit_count, run, error);
    if (status) {
        return status;
    }
    carry(self, run);
    (void)training_resume(run);
    status = find_references(self, run, base, error);
    if (!status) {
        status = training_run(run, self->pool, &method, self, error);
    }
    if (!status) {
        status = save_model(run, "model", LM_F32, error);
    }
    return status ? status : report(self, run, error);
}

temper_status preference_run(const temper_host *host, const preference_options *given, run_options *options,
                             temper_error *error) {
    preference self = {.host = host, .given = given, .loss = lm_loss_find(given->method, given->loss)};
    base_model base = {0};
    training run_of = {0};
    const lm_loss_options *asked = &given->options;
    if (self.loss == NULL) {
        return temper_fail(error, TEMPER_INVALID, "%s has no loss \"%s\"", given->method, given->loss);
    }
    if (asked->label_smoothing > 0 && (self.loss->options & LM_LOSS_SMOOTHING) == 0) {
        return temper_fail(error, TEMPER_INVALID, "label_smoothing has no meaning for loss_type \"%s\"",
                           given->loss);
    }
    if (asked->label_smoothing >= 0.5 && strcmp(given->loss, "robust") == 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "loss_type \"robust\" needs label_smoothing below 0.5, not %g",
                           asked->label_smoothing);
    }
    if (asked->length_normalised && !self.loss->normalised && (self.loss->options & LM_LOSS_LENGTH) == 0) {
        return temper_fail(error, TEMPER_INVALID, "length_normalized has no meaning for loss_type \"%s\"",
                           given->loss);
    }
    self.pool = temper_pool_new(host);
    if (self.pool == NULL) {
        return temper_no_memory(error);
    }
    options->train.score_head = strcmp(given->method, "reward") == 0;
    temper_status status = base_open(host, self.pool, host->input(host, "model"), &base, error);
    if (!status && options->lora_rank == 0 && lm_file_find(&base.files, "config.json") == NULL) {
        status = temper_fail(
            error, TEMPER_UNSUPPORTED,
            "all weights of a GGUF model cannot be written: train an adapter (lora = { rank = 16 })");
    }
    if (!status) {
        status = read_side(&self, &base, labelled(&self) ? "records" : "pairs", &options->rows, &self.train,
                           error);
    }
    if (!status) {
        status = read_side(&self, &base, "held_out", &options->rows, &self.held_out, error);
    }
    if (!status) {
        status = train(&self, &run_of, &base, options, error);
    }
    training_close(&run_of);
    rows_free(&self.train.rows);
    rows_free(&self.held_out.rows);
    base_close(&base);
    temper_pool_free(self.pool);
    return status;
}

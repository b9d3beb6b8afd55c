/* dpo.c: direct preference optimisation (Rafailov et al. 2023) of an adapter; the reference is the base without it.
 *
 * The adapter's B is zero at first, so the model then is its own reference: the reference's log-probabilities are what
 * the trainer scores before its first step, and the first loss is ln 2. Names of the log are TRL's. */
#include "finetune.h"

#define DPO(P, S)                                                                                            \
    P(S, number, beta, "beta", "0.1", 1e-6, 100, "", "", "how strongly to hold to the reference", "0.1")     \
    P(S, number, rpo_alpha, "rpo_alpha", "0", 0, 100, "", "",                                                \
      "weight of the chosen answer's mean token loss, added to DPO's", "0.1")                                \
    FINETUNE_RUN_PARAMETERS(P, S, "0.00005", "8", "16")
TEMPER_PARAMETERS(dpo, DPO)

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "the base: what is trained on, and the reference"),
    TEMPER_PORT(TEMPER_RECORDS, "pairs", 0, "prompt, chosen, rejected, system",
                "preference pairs: strings, or lists of messages"),
    NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "the adapter, with its base"),
    TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "", "losses, rewards and counts"),
    TEMPER_PORT(
        TEMPER_RECORDS, "log", 0,
        "step, loss, rewards/chosen, rewards/rejected, rewards/accuracies, rewards/margins, logps/chosen, "
        "logps/rejected, grad_norm, learning_rate",
        "a record a step"),
    NULL};

typedef struct dpo {
    const dpo_parameters *parameters;
    row_set rows; /* chosen, rejected, chosen, .. */
    row_counts counts;
    lm_pair *pairs;
    const lm_pair **batch;
    lm_dpo_options options;
    lm_dpo_result first, last;
    bool begun;
} dpo;

static temper_status step(void *context, lm_trainer *trainer, const size_t *units, size_t count, double *loss,
                          temper_row *row, temper_error *error) {
    dpo *self = context;
    lm_dpo_result result;
    for (size_t i = 0; i < count; i++) {
        self->batch[i] = &self->pairs[units[i]];
    }
    temper_status status = lm_trainer_dpo(trainer, self->batch, count, &self->options, &result, error);
    if (status) {
        return status;
    }
    *loss = result.loss;
    temper_row_number(row, "rewards/chosen", result.reward_chosen);
    temper_row_number(row, "rewards/rejected", result.reward_rejected);
    temper_row_number(row, "rewards/accuracies", result.accuracy);
    temper_row_number(row, "rewards/margins", result.margin);
    temper_row_number(row, "logps/chosen", result.logp_chosen);
    temper_row_number(row, "logps/rejected", result.logp_rejected);
    if (!self->begun) {
        self->first = result;
        self->begun = true;
    }
    self->last = result;
    return TEMPER_OK;
}

/* What the reference says of every pair, before the first step. */
static temper_status refer(dpo *self, const temper_host *host, lm_trainer *trainer, temper_pool *pool,
                           const size_t *units, size_t unit_count, temper_error *error) {
    const lm_example **examples = temper_pool_take(pool, 2 * unit_count, sizeof *examples);
    double *sums = temper_pool_take(pool, 2 * unit_count, sizeof *sums);
    if (examples == NULL || sums == NULL) {
        return temper_no_memory(error);
    }
    for (size_t i = 0; i < unit_count; i++) {
        examples[2 * i] = &self->pairs[units[i]].chosen;
        examples[2 * i + 1] = &self->pairs[units[i]].rejected;
    }
    temper_status status =
        training_score(host, trainer, examples, 2 * unit_count, "reference answers", sums, error);
    for (size_t i = 0; !status && i < unit_count; i++) {
        self->pairs[units[i]].reference_chosen = sums[2 * i];
        self->pairs[units[i]].reference_rejected = sums[2 * i + 1];
    }
    return status;
}

/* Mean rewards over every pair, after the last step: what a batch's numbers only hint at. */
static temper_status judge(const dpo *self, const training *run, temper_pool *pool, double *accuracy,
                           double *margin, temper_error *error) {
    const lm_example **examples = temper_pool_take(pool, 2 * run->unit_count, sizeof *examples);
    double *sums = temper_pool_take(pool, 2 * run->unit_count, sizeof *sums), right = 0, total = 0;
    if (examples == NULL || sums == NULL) {
        return temper_no_memory(error);
    }
    for (size_t i = 0; i < run->unit_count; i++) {
        examples[2 * i] = &self->pairs[run->units[i]].chosen;
        examples[2 * i + 1] = &self->pairs[run->units[i]].rejected;
    }
    temper_status status = training_score(run->host, run->trainer, examples, 2 * run->unit_count,
                                          "trained answers", sums, error);
    for (size_t i = 0; !status && i < run->unit_count; i++) {
        const lm_pair *pair = &self->pairs[run->units[i]];
        double gap = self->options.beta *
                     ((sums[2 * i] - pair->reference_chosen) - (sums[2 * i + 1] - pair->reference_rejected));
        right += gap > 0;
        total += gap;
    }
    *accuracy = right / (double)run->unit_count;
    *margin = total / (double)run->unit_count;
    return status;
}

static temper_status report(const dpo *self, const training *run, temper_pool *pool, temper_error *error) {
    temper_output *output = NULL;
    temper_row row;
    double accuracy = 0, margin = 0;
    temper_status status = judge(self, run, pool, &accuracy, &margin, error);
    if (!status) {
        status = run->host->output(run->host, "metrics", &output, error);
    }
    if (status) {
        return status;
    }
    temper_row_begin(&row, run->host);
    temper_row_integer(&row, "steps", run->steps);
    temper_row_integer(&row, "pairs", self->counts.rows);
    temper_row_integer(&row, "pairs_untrained", self->counts.untrained);
    temper_row_integer(&row, "answers_truncated", self->counts.truncated);
    temper_row_integer(&row, "tokens_truncated", self->counts.truncated_tokens);
    temper_row_integer(&row, "tokens_trained", self->counts.trained_tokens);
    temper_row_integer(&row, "parameters_trained", lm_trainer_parameters(run->trainer));
    temper_row_number(&row, "loss_first", run->loss_first);
    temper_row_number(&row, "loss_last", run->loss_last);
    temper_row_number(&row, "accuracy_last", self->last.accuracy);
    temper_row_number(&row, "margin_last", self->last.margin);
    temper_row_number(&row, "logps_chosen_first", self->first.logp_chosen);
    temper_row_number(&row, "logps_chosen_last", self->last.logp_chosen);
    temper_row_number(&row, "accuracy", accuracy);
    temper_row_number(&row, "margin", margin);
    return temper_row_metrics(&row, output, run->host, error);
}

static temper_status prepare(dpo *self, const temper_host *host, const base_model *base, temper_pool *pool,
                             const run_options *options, size_t **units, size_t *unit_count,
                             temper_error *error) {
    temper_status status = rows_read_pairs(base, pool, host->input(host, "pairs"), "pairs", &options->rows,
                                           &self->rows, &self->counts, error);
    if (status) {
        return status;
    }
    size_t count = self->rows.count / 2;
    self->pairs = temper_pool_take(pool, count, sizeof *self->pairs);
    self->batch = temper_pool_take(pool, options->batch, sizeof *self->batch);
    *units = temper_pool_take(pool, count, sizeof **units);
    if (self->pairs == NULL || self->batch == NULL || *units == NULL) {
        return temper_no_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        self->pairs[i] =
            (lm_pair){.chosen = self->rows.examples[2 * i], .rejected = self->rows.examples[2 * i + 1]};
        if (self->pairs[i].chosen.count > 0) {
            (*units)[(*unit_count)++] = i;
        }
    }
    return TEMPER_OK;
}

static temper_status run(void *parameters, const temper_host *host, temper_error *error) {
    dpo self = {.parameters = parameters};
    run_options options = FINETUNE_RUN_OPTIONS(self.parameters);
    base_model base = {0};
    training run_of = {0};
    size_t *units = NULL, unit_count = 0;
    if (options.lora_rank == 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "dpo trains an adapter: lora.rank is at least 1");
    }
    temper_pool *pool = temper_pool_new(host);
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    self.options = (lm_dpo_options){self.parameters->beta, self.parameters->rpo_alpha};
    temper_status status = base_open(host, pool, host->input(host, "model"), &base, error);
    if (!status) {
        status = prepare(&self, host, &base, pool, &options, &units, &unit_count, error);
    }
    if (!status) {
        status = training_open(host, &options, &base, units, unit_count, &run_of, error);
    }
    if (!status) {
        status = refer(&self, host, run_of.trainer, pool, units, unit_count, error);
    }
    if (!status) {
        status = training_run(&run_of, pool, step, &self, error);
    }
    if (!status) {
        status = save_model(&run_of, "model", LM_F32, error);
    }
    if (!status) {
        status = report(&self, &run_of, pool, error);
    }
    training_close(&run_of);
    rows_free(&self.rows);
    base_close(&base);
    temper_pool_free(pool);
    return status;
}

const temper_stage finetune_dpo_stage = {
    .size = sizeof(temper_stage),
    .revision = 2,
    .name = "dpo",
    .doc = "trains an adapter to prefer chosen answers over rejected ones",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = dpo_parameter_table,
    .parameters_size = sizeof(dpo_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

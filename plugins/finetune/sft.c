/* sft.c: supervised fine-tuning: the mean negative log-likelihood of the trained tokens, over LoRA or all weights. */
#include "finetune.h"

#define SFT(P, S)                                                                                            \
    P(S, string, train_on, "train_on", "\"assistant\"", 1, 0, "", "assistant|all",                           \
      "which tokens are learnt: answers with their end token, or every token", "0.1")                        \
    P(S, string, dtype, "dtype", "\"f32\"", 1, 0, "", "f32|bf16",                                            \
      "how full weights are written; adapters are f32", "0.1")                                               \
    FINETUNE_RUN_PARAMETERS(P, S, "0.0002", "16", "0")
TEMPER_PARAMETERS(sft, SFT)

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "",
                "what to train: a Hugging Face folder, or for LoRA a GGUF file too"),
    TEMPER_PORT(TEMPER_RECORDS, "records", 0, "messages, prompt, completion, system, text",
                "rows: messages; or prompt and completion; or text"),
    TEMPER_PORT(TEMPER_RECORDS, "held_out", TEMPER_OPTIONAL, "messages, prompt, completion, system, text",
                "rows that are never trained on: their loss is measured before and after"),
    NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "",
                "the trained model: a full folder, or an adapter with its base"),
    TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "", "losses and counts"),
    TEMPER_PORT(TEMPER_RECORDS, "log", 0, "step, loss, grad_norm, learning_rate, tokens", "a record a step"),
    NULL};

typedef struct sft {
    const sft_parameters *parameters;
    row_set rows, held_out;
    row_counts counts, held_out_counts;
    const lm_example **batch;
    uint64_t trained_tokens;
} sft;

static temper_status step(void *context, lm_trainer *trainer, const size_t *units, size_t count, double *loss,
                          temper_row *row, temper_error *error) {
    sft *self = context;
    lm_sft_result result;
    for (size_t i = 0; i < count; i++) {
        self->batch[i] = &self->rows.examples[units[i]];
    }
    temper_status status = lm_trainer_sft(trainer, self->batch, count, &result, error);
    if (status) {
        return status;
    }
    *loss = result.loss;
    self->trained_tokens += result.tokens;
    temper_row_integer(row, "tokens", result.tokens);
    return TEMPER_OK;
}

/* Mean loss of a held-out token. */
static temper_status measure(const sft *self, const temper_host *host, lm_trainer *trainer, temper_pool *pool,
                             double *loss, temper_error *error) {
    const row_set *rows = &self->held_out;
    const lm_example **examples = temper_pool_take(pool, rows->count, sizeof *examples);
    double *sums = temper_pool_take(pool, rows->count, sizeof *sums), total = 0;
    size_t count = 0;
    if (examples == NULL || sums == NULL) {
        return temper_no_memory(error);
    }
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->examples[i].count > 0) {
            examples[count++] = &rows->examples[i];
        }
    }
    temper_status status = training_score(host, trainer, examples, count, "held-out rows", sums, error);
    for (size_t i = 0; !status && i < count; i++) {
        total -= sums[i];
    }
    *loss = total / (double)self->held_out_counts.trained_tokens;
    return status;
}

static temper_status read_rows(sft *self, const temper_host *host, const base_model *base, temper_pool *pool,
                               row_options options, temper_error *error) {
    const temper_input *held_out = host->input(host, "held_out");
    options.all = strcmp(self->parameters->train_on, "all") == 0;
    temper_status status = rows_read(base, pool, host->input(host, "records"), "records", &options,
                                     &self->rows, &self->counts, error);
    if (!status && held_out != NULL) {
        status = rows_read(base, pool, held_out, "held_out", &options, &self->held_out,
                           &self->held_out_counts, error);
    }
    if (!status && held_out != NULL && self->held_out_counts.trained_tokens == 0) {
        status = temper_fail(error, TEMPER_INVALID, "held_out: every row was left out");
    }
    return status;
}

static temper_status report(const sft *self, const training *run, const double *before, const double *after,
                            temper_error *error) {
    temper_output *output = NULL;
    temper_row row;
    temper_status status = run->host->output(run->host, "metrics", &output, error);
    if (status) {
        return status;
    }
    temper_row_begin(&row, run->host);
    temper_row_integer(&row, "steps", run->steps);
    temper_row_number(&row, "loss_first", run->loss_first);
    temper_row_number(&row, "loss_last", run->loss_last);
    temper_row_integer(&row, "rows", self->counts.rows);
    temper_row_integer(&row, "rows_untrained", self->counts.untrained);
    temper_row_integer(&row, "rows_truncated", self->counts.truncated);
    temper_row_integer(&row, "tokens_truncated", self->counts.truncated_tokens);
    temper_row_integer(&row, "tokens_trained", self->trained_tokens);
    temper_row_integer(&row, "parameters_trained", lm_trainer_parameters(run->trainer));
    if (before != NULL) {
        temper_row_number(&row, "held_out_loss_before", *before);
        temper_row_number(&row, "held_out_loss_after", *after);
        temper_row_integer(&row, "held_out_tokens", self->held_out_counts.trained_tokens);
    }
    return temper_row_metrics(&row, output, run->host, error);
}

static temper_status run(void *parameters, const temper_host *host, temper_error *error) {
    sft self = {.parameters = parameters};
    run_options options = FINETUNE_RUN_OPTIONS(self.parameters);
    base_model base = {0};
    training run_of = {0};
    lm_dtype dtype = LM_F32;
    double before = 0, after = 0;
    size_t *units = NULL, unit_count = 0;
    temper_pool *pool = temper_pool_new(host);
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    temper_status status = save_dtype(self.parameters->dtype, &dtype, error);
    if (!status) {
        status = base_open(host, pool, host->input(host, "model"), &base, error);
    }
    if (!status && options.lora_rank == 0 && lm_file_find(&base.files, "config.json") == NULL) {
        status = temper_fail(
            error, TEMPER_UNSUPPORTED,
            "all weights of a GGUF model cannot be written: train an adapter (lora = { rank = 16 })");
    }
    if (!status) {
        status = read_rows(&self, host, &base, pool, options.rows, error);
    }
    if (status) {
        goto out;
    }
    units = temper_pool_take(pool, self.rows.count, sizeof *units);
    self.batch = temper_pool_take(pool, options.batch, sizeof *self.batch);
    if (units == NULL || self.batch == NULL) {
        status = temper_no_memory(error);
        goto out;
    }
    for (size_t i = 0; i < self.rows.count; i++) {
        if (self.rows.examples[i].count > 0) {
            units[unit_count++] = i;
        }
    }
    status = training_open(host, &options, &base, units, unit_count, &run_of, error);
    if (!status && self.held_out.count > 0) {
        status = measure(&self, host, run_of.trainer, pool, &before, error);
    }
    if (!status) {
        status = training_run(&run_of, pool, step, &self, error);
    }
    if (!status && self.held_out.count > 0) {
        status = measure(&self, host, run_of.trainer, pool, &after, error);
    }
    if (!status) {
        status = save_model(&run_of, "model", dtype, error);
    }
    if (!status) {
        status = report(&self, &run_of, self.held_out.count > 0 ? &before : NULL, &after, error);
    }
out:
    training_close(&run_of);
    rows_free(&self.rows);
    rows_free(&self.held_out);
    base_close(&base);
    temper_pool_free(pool);
    return status;
}

const temper_stage finetune_sft_stage = {
    .size = sizeof(temper_stage),
    .revision = 2,
    .name = "sft",
    .doc = "trains a model on texts and conversations",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = sft_parameter_table,
    .parameters_size = sizeof(sft_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

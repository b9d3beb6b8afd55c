/* sft.c: supervised fine-tuning and further pretraining: the mean negative log-likelihood of the trained tokens of a step,
 * over LoRA or all weights. The two differ in what a row is. A unit of a step is a row, or, packed, several: rows packed
 * together share a unit and nothing else, since every row is a sequence of its own to the model. */
#include "finetune.h"

#define SFT(P, S)                                                                                            \
    P(S, string, train_on, "train_on", "\"assistant\"", 1, 0, "", "assistant|last|all",                      \
      "which tokens are learnt: answers with their end token, the last answer, or every token", "0.1")       \
    P(S, flag, packing, "packing", "false", 1, 0, "", "",                                                    \
      "put short rows together, up to max_length tokens, without attention from one to another", "0.2")      \
    P(S, string, dtype, "dtype", "\"f32\"", 1, 0, "", "f32|bf16",                                            \
      "how full weights are written; adapters are f32", "0.1")                                               \
    FINETUNE_RUN_PARAMETERS(P, S, "0.0002", "16", "0")
TEMPER_PARAMETERS(sft, SFT)

#define PRETRAIN(P, S)                                                                                       \
    P(S, integer, block, "block", "0", 0, 1e9, "tokens", "",                                                 \
      "longer documents are cut into blocks of so many tokens; 0: the model's context", "0.2")               \
    P(S, flag, packing, "packing", "true", 1, 0, "", "",                                                     \
      "put short documents together, up to block tokens, without attention from one to another", "0.2")      \
    P(S, string, dtype, "dtype", "\"f32\"", 1, 0, "", "f32|bf16",                                            \
      "how full weights are written; adapters are f32", "0.2")                                               \
    FINETUNE_RUN_PARAMETERS(P, S, "0.0003", "16", "0")
TEMPER_PARAMETERS(pretrain, PRETRAIN)

#define LOG_FIELDS                                                                                           \
    "step, epoch, loss, mean_token_accuracy, grad_norm, learning_rate, tokens, num_tokens, eval_loss"
static const temper_port *const sft_inputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "",
                "what to train: a Hugging Face folder, or for LoRA a GGUF file too"),
    TEMPER_PORT(TEMPER_RECORDS, "records", 0, "messages, prompt, completion, system, text",
                "rows: messages; or prompt and completion; or text"),
    TEMPER_PORT(TEMPER_RECORDS, "held_out", TEMPER_OPTIONAL, "messages, prompt, completion, system, text",
                "rows that are never trained on: their loss is measured before and after"),
    NULL};
static const temper_port *const pretrain_inputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "",
                "what to train: a Hugging Face folder, or for LoRA a GGUF file too"),
    TEMPER_PORT(TEMPER_TEXT, "text", 0, "", "one plain text"),
    TEMPER_PORT(TEMPER_TEXT, "held_out", TEMPER_OPTIONAL, "",
                "a text that is never trained on: its loss is measured before and after"),
    NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "model", 0, "",
                "the trained model: a full folder, or an adapter with its base"),
    TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "", "losses and counts"),
    TEMPER_PORT(TEMPER_RECORDS, "log", 0, LOG_FIELDS, "a record a step"), NULL};

typedef struct sft {
    const char *dtype;
    bool packing, texts;
    size_t capacity; /* tokens of a packed unit */
    const temper_host *host;
    temper_pool *pool;
    row_set rows, held_out;
    row_counts counts, held_out_counts;
    size_t *first, units; /* unit u is the trained rows members[first[u] .. first[u + 1]) */
    size_t *members;
    const lm_example **batch;
} sft;

static temper_status step(void *context, lm_trainer *trainer, const size_t *units, size_t count, double *loss,
                          size_t *tokens, temper_row *row, temper_error *error) {
    sft *self = context;
    lm_sft_result result;
    size_t rows = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t m = self->first[units[i]]; m < self->first[units[i] + 1]; m++) {
            self->batch[rows++] = &self->rows.examples[self->members[m]];
        }
    }
    temper_status status = lm_trainer_sft(trainer, self->batch, rows, &result, error);
    if (status) {
        return status;
    }
    *loss = result.loss;
    *tokens = result.tokens;
    temper_row_integer(row, "tokens", result.tokens);
    temper_row_number(row, "mean_token_accuracy", result.accuracy);
    return TEMPER_OK;
}

/* Mean loss of a held-out token. */
static temper_status evaluate(void *context, lm_trainer *trainer, double *loss, temper_row *row,
                              temper_error *error) {
    sft *self = context;
    const row_set *rows = &self->held_out;
    const lm_example **examples = temper_pool_take(self->pool, rows->count, sizeof *examples);
    double *sums = temper_pool_take(self->pool, rows->count, sizeof *sums), total = 0;
    size_t count = 0;
    (void)row;
    if (examples == NULL || sums == NULL) {
        return temper_no_memory(error);
    }
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->examples[i].count > 0) {
            examples[count++] = &rows->examples[i];
        }
    }
    temper_status status =
        training_score(self->host, trainer, examples, count, "held-out rows", sums, NULL, error);
    for (size_t i = 0; !status && i < count; i++) {
        total -= sums[i];
    }
    *loss = total / (double)self->held_out_counts.trained_tokens;
    return status;
}

static temper_status read_some(const sft *self, const base_model *base, const char *name,
                               const row_options *options, row_set *out, row_counts *counts,
                               temper_error *error) {
    const temper_input *input = self->host->input(self->host, name);
    if (input == NULL) {
        return TEMPER_OK;
    }
    temper_status status =
        self->texts ? rows_read_text(base, self->pool, input, self->capacity, out, counts, error)
                    : rows_read(base, self->pool, input, name, ROW_TEXTS, options, out, counts, error);
    if (!status && counts->trained_tokens == 0) {
        status = temper_fail(error, TEMPER_INVALID, "%s: every row was left out", name);
    }
    return status;
}

/* Rows to units, in their order: each by itself, or packed while they fit. */
static temper_status make_units(sft *self, temper_error *error) {
    size_t used = 0, kept = 0, count = self->rows.count;
    self->first = temper_pool_take(self->pool, count + 1, sizeof *self->first);
    self->members = temper_pool_take(self->pool, count, sizeof *self->members);
    if (self->first == NULL || self->members == NULL) {
        return temper_no_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        size_t length = self->rows.examples[i].count;
        if (length == 0) {
            continue;
        }
        if (!self->packing || self->units == 0 || used + length > self->capacity) {
            self->first[self->units++] = kept;
            used = 0;
        }
        used += length;
        self->members[kept++] = i;
    }
    self->first[self->units] = kept;
    return TEMPER_OK;
}

static temper_status report(const sft *self, const training *run, temper_error *error) {
    temper_output *output = NULL;
    temper_row row;
    temper_status status = run->host->output(run->host, "metrics", &output, error);
    if (status) {
        return status;
    }
    temper_row_begin(&row, run->host);
    training_report(run, &row);
    temper_row_integer(&row, "rows", self->counts.rows);
    temper_row_integer(&row, "rows_untrained", self->counts.untrained);
    temper_row_integer(&row, "rows_truncated", self->counts.truncated);
    temper_row_integer(&row, "tokens_truncated", self->counts.truncated_tokens);
    if (self->packing) {
        temper_row_integer(&row, "rows_packed", self->units);
    }
    if (self->held_out.count > 0) {
        temper_row_number(&row, "held_out_loss_before", run->at.eval_before);
        temper_row_number(&row, "held_out_loss_after", run->at.eval_last);
        temper_row_integer(&row, "held_out_tokens", self->held_out_counts.trained_tokens);
    }
    return temper_row_metrics(&row, output, run->host, error);
}

static temper_status train(sft *self, training *run, base_model *base, const run_options *options,
                           lm_dtype dtype, temper_error *error) {
    size_t *units = temper_pool_take(self->pool, self->units, sizeof *units);
    const training_method method = {
        .step = step, .evaluate = evaluate, .held_out = self->held_out.count > 0, .detail = NULL};
    self->batch = temper_pool_take(self->pool, self->rows.count, sizeof *self->batch);
    if (units == NULL || self->batch == NULL) {
        return temper_no_memory(error);
    }
    for (size_t i = 0; i < self->units; i++) {
        units[i] = i;
    }
    temper_status status = training_open(self->host, options, base, units, self->units, run, error);
    if (!status) {
        (void)training_resume(run);
        status = training_run(run, self->pool, &method, self, error);
    }
    if (!status && dtype == LM_BF16 && run->adapter.rank == 0) {
        /* what is written is what is measured */
        status = lm_trainer_round(run->trainer, dtype, error);
        if (!status && method.held_out) {
            status = evaluate(self, run->trainer, &run->at.eval_last, NULL, error);
        }
    }
    if (!status) {
        status = save_model(run, "model", dtype, error);
    }
    return status ? status : report(self, run, error);
}

static temper_status begin(sft *self, const temper_host *host, run_options *options, temper_error *error) {
    base_model base = {0};
    training run_of = {0};
    lm_dtype dtype = LM_F32;
    self->host = host;
    self->pool = temper_pool_new(host);
    if (self->pool == NULL) {
        return temper_no_memory(error);
    }
    temper_status status = save_dtype(self->dtype, &dtype, error);
    if (!status) {
        status = base_open(host, self->pool, host->input(host, "model"), &base, error);
    }
    if (!status && options->lora_rank == 0 && lm_file_find(&base.files, "config.json") == NULL) {
        status = temper_fail(
            error, TEMPER_UNSUPPORTED,
            "all weights of a GGUF model cannot be written: train an adapter (lora = { rank = 16 })");
    }
    if (!status) {
        size_t context = base.model->config.context, wanted = options->rows.limit;
        self->capacity = wanted == 0 || wanted > context ? context : wanted;
        status = read_some(self, &base, self->texts ? "text" : "records", &options->rows, &self->rows,
                           &self->counts, error);
    }
    if (!status) {
        status = read_some(self, &base, "held_out", &options->rows, &self->held_out, &self->held_out_counts,
                           error);
    }
    if (!status) {
        status = make_units(self, error);
    }
    if (!status) {
        status = train(self, &run_of, &base, options, dtype, error);
    }
    training_close(&run_of);
    rows_free(&self->rows);
    rows_free(&self->held_out);
    base_close(&base);
    temper_pool_free(self->pool);
    return status;
}

static temper_status run_sft(void *parameters, const temper_host *host, temper_error *error) {
    const sft_parameters *given = parameters;
    sft self = {.dtype = given->dtype, .packing = given->packing != 0};
    run_options options = FINETUNE_RUN_OPTIONS(given);
    options.rows.all = strcmp(given->train_on, "all") == 0;
    options.rows.span = strcmp(given->train_on, "last") == 0 ? LM_SPAN_LAST : LM_SPAN_ASSISTANT;
    return begin(&self, host, &options, error);
}

static temper_status run_pretrain(void *parameters, const temper_host *host, temper_error *error) {
    const pretrain_parameters *given = parameters;
    sft self = {.dtype = given->dtype, .packing = given->packing != 0, .texts = true};
    run_options options = FINETUNE_RUN_OPTIONS(given);
    options.rows.limit = given->block > 0 ? (size_t)given->block : options.rows.limit;
    return begin(&self, host, &options, error);
}

const temper_stage finetune_sft_stage = {
    .size = sizeof(temper_stage),
    .revision = 3,
    .name = "sft",
    .doc = "trains a model on texts and conversations",
    .inputs = sft_inputs,
    .outputs = outputs,
    .parameters = sft_parameter_table,
    .parameters_size = sizeof(sft_parameters),
    .create = temper_stage_keep_parameters,
    .run = run_sft,
    .destroy = temper_stage_nothing,
};

const temper_stage finetune_pretrain_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "pretrain",
    .doc = "trains a model on plain text, from scratch or further",
    .inputs = pretrain_inputs,
    .outputs = outputs,
    .parameters = pretrain_parameter_table,
    .parameters_size = sizeof(pretrain_parameters),
    .create = temper_stage_keep_parameters,
    .run = run_pretrain,
    .destroy = temper_stage_nothing,
};

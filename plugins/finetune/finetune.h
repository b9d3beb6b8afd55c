/* finetune.h: what the training stages share: a base model opened for training, rows as token sequences, the
 * parameters of a run and its loop, and the writing of results. */
#ifndef FINETUNE_H
#define FINETUNE_H

#include "../lm/dialogue/dialogue.h"
#include "../lm/train/train.h"
#include "support/records.h"
#include <temper/checkpoint.h>

extern const temper_stage finetune_init_stage, finetune_sft_stage, finetune_pretrain_stage,
    finetune_dpo_stage, finetune_cpo_stage, finetune_simpo_stage, finetune_orpo_stage, finetune_kto_stage,
    finetune_reward_stage, finetune_reference_stage, finetune_batch_stage, finetune_bench_stage;

/* --- base.c: the model a stage starts from --- */

typedef struct base_model {
    const temper_host *host;
    const temper_input *input;
    lm_file_set files;
    lm_context context; /* on the host's threads */
    lm_model *model;    /* its values kept */
    lm_tokenizer *tokenizer;
    lm_template *chat; /* NULL: the model has no chat template */
} base_model;

/* Kernel set, profile and threads of this host, as a context. The host must outlive it. */
temper_status base_context(const temper_host *host, lm_context *out, temper_error *error);
/* An adapter as a base is refused: adapters are applied, never trained through. */
temper_status base_open(const temper_host *host, temper_pool *pool, const temper_input *input,
                        base_model *out, temper_error *error);
void base_close(base_model *self);

/* --- rows.c: records to token sequences --- */

typedef struct row_options {
    lm_span span;            /* of conversations: which tokens are trained */
    bool all;                /* train every token, whatever the row is */
    const char *format;      /* auto, chat, raw */
    size_t limit;            /* tokens; 0: the model's context */
    bool allow_untrained;    /* leave out rows that train nothing, instead of failing */
    bool allow_unterminated; /* accept answers after which no end token stands */
} row_options;

typedef struct row_counts {
    size_t rows, untrained, truncated, truncated_tokens, trained_tokens, tokens;
} row_counts;

/* Rows in the order of the records; `examples` point into `dialogues`. A row left out has count 0. */
typedef struct row_set {
    lm_dialogue *dialogues; /* [dialogue_count] freed by rows_free */
    size_t dialogue_count;
    lm_example *examples; /* [count] in the pool */
    size_t count;
} row_set;
void rows_free(row_set *self);

/* What a record is read as, and how many rows it makes. */
typedef enum row_shape {
    ROW_TEXTS, /* 1: messages; or prompt and completion (strings or messages), system; or text */
    ROW_PAIRS, /* 2: chosen, rejected: of prompt (string or messages; absent: it is in both), chosen, rejected, system.
                  * Only the last answer is trained. When one side is left out, so is the other. */
    ROW_LABELLED /* 2: prompt and completion; the same prompt with the completion of the record before it (the first
                  * has the last's): kto's mismatched answers */
} row_shape;
temper_status rows_read(const base_model *base, temper_pool *pool, const temper_input *input,
                        const char *name, row_shape shape, const row_options *options, row_set *out,
                        row_counts *counts, temper_error *error);
/* One text, cut into blocks of `limit` tokens, every token trained. The end token stands after it. */
temper_status rows_read_text(const base_model *base, temper_pool *pool, const temper_input *input,
                             size_t limit, row_set *out, row_counts *counts, temper_error *error);

/* --- training.c --- */

#define FINETUNE_RUN_PARAMETERS(P, S, rate_json, batch_json, rank_json)                                      \
    P(S, integer, epochs, "epochs", "1", 1, 100000, "", "", "passes over the rows", "0.1")                   \
    P(S, integer, steps, "steps", "0", 0, 1e9, "", "", "steps to take, whatever the epochs; 0: by epochs",   \
      "0.1")                                                                                                 \
    P(S, integer, batch, "batch", batch_json, 1, 65536, "rows", "",                                          \
      "rows of one step, however many fit into memory at once", "0.1")                                       \
    P(S, integer, micro_batch, "micro_batch", "0", 0, 1e7, "tokens", "",                                     \
      "tokens of one forward pass: memory and speed, never the result; 0: 512", "0.2")                       \
    P(S, string, optimizer, "optimizer", "\"adamw\"", 1, 0, "", "adamw|lion|sgd",                            \
      "what a gradient is made a step by; weight_decay is added to sgd's gradient, and decoupled in the "    \
      "others",                                                                                              \
      "0.2")                                                                                                 \
    P(S, number, learning_rate, "learning_rate", rate_json, 0, 10, "", "", "highest learning rate", "0.1")   \
    P(S, integer, warmup, "warmup", "0", 0, 1e9, "steps", "", "steps over which the learning rate rises",    \
      "0.1")                                                                                                 \
    P(S, string, schedule, "schedule", "\"cosine\"", 1, 0, "", "constant|linear|cosine",                     \
      "how the learning rate falls after its peak", "0.1")                                                   \
    P(S, number, final_rate, "final_rate", "0", 0, 1, "", "",                                                \
      "what the schedule falls to, of learning_rate", "0.1")                                                 \
    P(S, number, weight_decay, "weight_decay", "0", 0, 10, "", "", "decay of matrices", "0.1")               \
    P(S, number, beta1, "beta1", "0.9", 0, 0.999999, "", "", "decay of the mean gradient; sgd's momentum",   \
      "0.1")                                                                                                 \
    P(S, number, beta2, "beta2", "0.999", 0, 0.999999, "", "",                                               \
      "decay of the mean square; of lion's mean gradient", "0.1")                                            \
    P(S, number, eps, "eps", "1e-8", 1e-30, 1, "", "", "AdamW's epsilon", "0.1")                             \
    P(S, number, clip, "clip", "1", 0, 1e9, "", "", "highest norm of a step's gradient; 0: any", "0.1")      \
    P(S, integer, eval_steps, "eval_steps", "0", 0, 1e9, "steps", "",                                        \
      "measure held_out after every so many steps; 0: before and after alone", "0.2")                        \
    P(S, integer, patience, "patience", "0", 0, 1e6, "measurements", "",                                     \
      "stop when held_out's loss has not fallen for so many measurements; 0: never", "0.2")                  \
    P(S, string, keep, "keep", "\"last\"", 1, 0, "", "last|best",                                            \
      "which weights are the result: the last, or those of the lowest held-out loss", "0.2")                 \
    P(S, integer, max_length, "max_length", "0", 0, 1e9, "tokens", "",                                       \
      "longer rows are cut at their end, and counted; 0: the model's context", "0.1")                        \
    P(S, string, format, "format", "\"auto\"", 1, 0, "", "auto|chat|raw",                                    \
      "are strings turns of a chat or raw text; auto: a chat if the model has a template", "0.1")            \
    P(S, flag, allow_untrained, "allow_untrained", "false", 1, 0, "", "",                                    \
      "leave out rows in which no token is trained, instead of failing", "0.1")                              \
    P(S, flag, allow_unterminated, "allow_unterminated", "false", 1, 0, "", "",                              \
      "accept answers that the chat template does not end with a special token", "0.1")                      \
    P(S, integer, gradient_shards, "gradient_shards", "8", 1, 4096, "", "",                                  \
      "parts in which a step's gradient is summed: at most so many threads are used", "0.1")                 \
    P(S, integer, lora_rank, "lora.rank", rank_json, 0, 4096, "", "",                                        \
      "rank of the adapter; 0: all weights are trained", "0.1")                                              \
    P(S, number, lora_alpha, "lora.alpha", "0", 0, 1e6, "", "",                                              \
      "the adapter's scale times its rank; 0: twice the rank", "0.1")                                        \
    P(S, flag, lora_rslora, "lora.rslora", "false", 1, 0, "", "", "divide by the rank's square root", "0.1") \
    P(S, strings, lora_targets, "lora.targets", "[]", 1, 0, "", "",                                          \
      "layers with an adapter (q_proj, down_proj …); none named: every linear layer but the head", "0.1")

/* The parameters above, whatever stage they are of. */
typedef struct run_options {
    size_t epochs, steps, batch, warmup, lora_rank, eval_steps, patience;
    double learning_rate, final_rate, lora_alpha;
    lm_schedule schedule;
    bool lora_rslora, keep_best;
    temper_strings lora_targets;
    lm_train_options train;
    row_options rows;
} run_options;
#define FINETUNE_RUN_OPTIONS(p)                                                                              \
    ((run_options){.epochs = (size_t)(p)->epochs,                                                            \
                   .steps = (size_t)(p)->steps,                                                              \
                   .batch = (size_t)(p)->batch,                                                              \
                   .warmup = (size_t)(p)->warmup,                                                            \
                   .eval_steps = (size_t)(p)->eval_steps,                                                    \
                   .patience = (size_t)(p)->patience,                                                        \
                   .keep_best = strcmp((p)->keep, "best") == 0,                                              \
                   .lora_rank = (size_t)(p)->lora_rank,                                                      \
                   .learning_rate = (p)->learning_rate,                                                      \
                   .final_rate = (p)->final_rate,                                                            \
                   .lora_alpha = (p)->lora_alpha,                                                            \
                   .schedule = training_schedule((p)->schedule),                                             \
                   .lora_rslora = (p)->lora_rslora != 0,                                                     \
                   .lora_targets = (p)->lora_targets,                                                        \
                   .train = {.gradient_shards = (size_t)(p)->gradient_shards,                                \
                             .optimiser = training_optimiser((p)->optimizer),                                \
                             .group_rows = (size_t)(p)->micro_batch,                                         \
                             .beta1 = (p)->beta1,                                                            \
                             .beta2 = (p)->beta2,                                                            \
                             .epsilon = (p)->eps,                                                            \
                             .weight_decay = (p)->weight_decay,                                              \
                             .clip = (p)->clip},                                                             \
                   .rows = {.span = LM_SPAN_ASSISTANT,                                                       \
                            .format = (p)->format,                                                           \
                            .limit = (size_t)(p)->max_length,                                                \
                            .allow_untrained = (p)->allow_untrained != 0,                                    \
                            .allow_unterminated = (p)->allow_unterminated != 0}})
lm_schedule training_schedule(const char *name);
lm_optimiser training_optimiser(const char *name);

/* What a stage does in the loop. */
typedef struct training_method {
    /* One step on these units: loss and gradient, tokens trained, and the stage's own numbers into `row`. */
    temper_status (*step)(void *context, lm_trainer *trainer, const size_t *units, size_t count, double *loss,
                          size_t *tokens, temper_row *row, temper_error *error);
    /* The held-out rows' loss and, into `row` (NULL: not wanted), what else is known of them as eval_…. */
    temper_status (*evaluate)(void *context, lm_trainer *trainer, double *loss, temper_row *row,
                              temper_error *error);
    bool held_out; /* there are such rows */
    const char
        *detail; /* a number of the row that a person wants beside the loss, or NULL: "rewards/margins" */
} training_method;

enum { TRAINING_CARRIED = 8 };

/* How far a run is: what a checkpoint holds beside the weights, and the numbers of the loop. */
typedef struct training_cursor {
    char magic[8];
    uint64_t step, tokens, log_length, carried_length;
    uint64_t has_best, best_step, since_best, stopped, lengths;
    double loss_first, loss_last, best_loss, eval_before, eval_last;
} training_cursor;

/* A run: which unit (row or pair) each step takes, at which rate. */
typedef struct training {
    const temper_host *host;
    const run_options *options;
    base_model *base;
    lm_trainer *trainer;
    lm_adapter_config adapter; /* rank 0: full weights */
    const size_t *units;       /* those that are trained */
    size_t unit_count, steps;  /* steps planned */
    temper_output *log;
    const training_method *method;
    void *context;
    training_cursor at;
    lm_bytes carried[TRAINING_CARRIED];
    size_t carried_count;
    lm_real *best;  /* the trained values of the lowest held-out loss */
    char *log_text; /* its records so far: for checkpoints */
    size_t log_capacity;
    double began; /* seconds, for people alone */
    uint64_t began_tokens;
} training;

/* Attaches the adapter and makes the trainer. `units` index the rows (or pairs) that are not left out. */
temper_status training_open(const temper_host *host, const run_options *options, base_model *base,
                            const size_t *units, size_t unit_count, training *out, temper_error *error);
void training_close(training *self);
/* Memory of the stage's that a checkpoint keeps, too: filled before the first step, or changing with each. */
void training_carry(training *self, void *data, size_t length);
/* Goes on from a checkpoint when there is one: true. Call after training_carry, before anything else is computed. */
bool training_resume(training *self);
/* All steps, each a record in the output "log"; then the weights to keep are in the trainer. */
temper_status training_run(training *self, temper_pool *pool, const training_method *method, void *context,
                           temper_error *error);
/* What the loop knows, for the output "metrics". */
void training_report(const training *self, temper_row *row);

/* lm_trainer_score with progress in `unit`, and an ear for cancelling. */
temper_status training_score(const temper_host *host, lm_trainer *trainer, const lm_example *const *examples,
                             size_t count, const char *unit, double *sums, float *const *tokens,
                             temper_error *error);

/* --- checkpoint.c --- */

/* Saves how far the run is, when the host says that it is due. */
temper_status training_checkpoint(training *self, temper_error *error);
/* A record of the log, written and remembered. */
temper_status training_log(training *self, temper_row *row, temper_error *error);
/* The records of a log that was gone on from, written again. */
temper_status training_log_again(training *self, temper_error *error);

/* --- preference.c: dpo, cpo, simpo, orpo, kto, reward --- */

typedef struct preference_options {
    const char *method, *loss;
    lm_loss_options options;
} preference_options;
temper_status preference_run(const temper_host *host, const preference_options *preference,
                             run_options *options, temper_error *error);

/* --- reference.c: what a frozen model says of each pair, as records --- */

/* Fills references[2 * count] from the records of `input`, one a pair in the same order. per_token: also what each
 * example's reference points to. */
temper_status reference_read(const base_model *base, temper_pool *pool, const temper_input *input,
                             const char *name, bool per_token, lm_pair *pairs, double *references,
                             size_t count, unsigned sides, temper_error *error);

/* --- save.c --- */

/* The trained model: its adapter beside the base (under base/), or the whole folder with new weights. */
temper_status save_model(const training *self, const char *output, lm_dtype dtype, temper_error *error);
temper_status save_dtype(const char *name, lm_dtype *out, temper_error *error);
/* One file of an output from memory, and the weights of a model as model.safetensors. */
temper_status save_file(const temper_host *host, temper_output *output, const char *name, const void *data,
                        size_t length, temper_error *error);
temper_status save_weights(const temper_host *host, temper_output *output, lm_model *model,
                           const lm_real *score_head, lm_dtype dtype, temper_error *error);

#endif

/* finetune.h: what the training stages share: a base model opened for training, rows as token sequences, the
 * parameters of a run and its loop, and the writing of results. */
#ifndef FINETUNE_H
#define FINETUNE_H

#include "../lm/dialogue/dialogue.h"
#include "../lm/train/train.h"
#include "support/records.h"

extern const temper_stage finetune_init_stage, finetune_sft_stage, finetune_dpo_stage;

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
    bool all;                /* train every token, not only assistants' */
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
    lm_dialogue *dialogues; /* [count] freed by rows_free */
    lm_example *examples;   /* [count] in the pool */
    size_t count;
} row_set;
void rows_free(row_set *self);

/* messages; or prompt and completion (strings or messages), system; or text. */
temper_status rows_read(const base_model *base, temper_pool *pool, const temper_input *input,
                        const char *name, const row_options *options, row_set *out, row_counts *counts,
                        temper_error *error);
/* Pairs: two rows a record, chosen then rejected, from prompt (string or messages; absent: it is in both), chosen and
 * rejected (strings or messages), system. Only the last answer is trained. When one side is left out, so is the other. */
temper_status rows_read_pairs(const base_model *base, temper_pool *pool, const temper_input *input,
                              const char *name, const row_options *options, row_set *out, row_counts *counts,
                              temper_error *error);

/* --- training.c --- */

#define FINETUNE_RUN_PARAMETERS(P, S, rate_json, batch_json, rank_json)                                      \
    P(S, integer, epochs, "epochs", "1", 1, 100000, "", "", "passes over the rows", "0.1")                   \
    P(S, integer, steps, "steps", "0", 0, 1e9, "", "", "steps to take, whatever the epochs; 0: by epochs",   \
      "0.1")                                                                                                 \
    P(S, integer, batch, "batch", batch_json, 1, 65536, "rows", "", "rows of one step", "0.1")               \
    P(S, number, learning_rate, "learning_rate", rate_json, 0, 10, "", "", "highest learning rate", "0.1")   \
    P(S, integer, warmup, "warmup", "0", 0, 1e9, "steps", "", "steps over which the learning rate rises",    \
      "0.1")                                                                                                 \
    P(S, string, schedule, "schedule", "\"cosine\"", 1, 0, "", "constant|linear|cosine",                     \
      "how the learning rate falls after its peak", "0.1")                                                   \
    P(S, number, final_rate, "final_rate", "0", 0, 1, "", "",                                                \
      "what the schedule falls to, of learning_rate", "0.1")                                                 \
    P(S, number, weight_decay, "weight_decay", "0", 0, 10, "", "", "AdamW's decay of matrices", "0.1")       \
    P(S, number, beta1, "beta1", "0.9", 0, 0.999999, "", "", "AdamW's decay of the mean gradient", "0.1")    \
    P(S, number, beta2, "beta2", "0.999", 0, 0.999999, "", "", "AdamW's decay of the mean square", "0.1")    \
    P(S, number, eps, "eps", "1e-8", 1e-30, 1, "", "", "AdamW's epsilon", "0.1")                             \
    P(S, number, clip, "clip", "1", 0, 1e9, "", "", "highest norm of a step's gradient; 0: any", "0.1")      \
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
    P(S, integer, lora_rank, "lora.rank", rank_json, 0, 4096, "", "", "rank of the adapter", "0.1")          \
    P(S, number, lora_alpha, "lora.alpha", "0", 0, 1e6, "", "",                                              \
      "the adapter's scale times its rank; 0: twice the rank", "0.1")                                        \
    P(S, flag, lora_rslora, "lora.rslora", "false", 1, 0, "", "", "divide by the rank's square root", "0.1") \
    P(S, strings, lora_targets, "lora.targets", "[]", 1, 0, "", "",                                          \
      "layers with an adapter (q_proj, down_proj …); none named: every linear layer but the head", "0.1")

/* The parameters above, whatever stage they are of. */
typedef struct run_options {
    size_t epochs, steps, batch, warmup, lora_rank;
    double learning_rate, final_rate, lora_alpha;
    lm_schedule schedule;
    bool lora_rslora;
    temper_strings lora_targets;
    lm_train_options train;
    row_options rows;
} run_options;
#define FINETUNE_RUN_OPTIONS(p)                                                                              \
    ((run_options){.epochs = (size_t)(p)->epochs,                                                            \
                   .steps = (size_t)(p)->steps,                                                              \
                   .batch = (size_t)(p)->batch,                                                              \
                   .warmup = (size_t)(p)->warmup,                                                            \
                   .lora_rank = (size_t)(p)->lora_rank,                                                      \
                   .learning_rate = (p)->learning_rate,                                                      \
                   .final_rate = (p)->final_rate,                                                            \
                   .lora_alpha = (p)->lora_alpha,                                                            \
                   .schedule = training_schedule((p)->schedule),                                             \
                   .lora_rslora = (p)->lora_rslora != 0,                                                     \
                   .lora_targets = (p)->lora_targets,                                                        \
                   .train = {.gradient_shards = (size_t)(p)->gradient_shards,                                \
                             .beta1 = (p)->beta1,                                                            \
                             .beta2 = (p)->beta2,                                                            \
                             .epsilon = (p)->eps,                                                            \
                             .weight_decay = (p)->weight_decay,                                              \
                             .clip = (p)->clip},                                                             \
                   .rows = {.format = (p)->format,                                                           \
                            .limit = (size_t)(p)->max_length,                                                \
                            .allow_untrained = (p)->allow_untrained != 0,                                    \
                            .allow_unterminated = (p)->allow_unterminated != 0}})
lm_schedule training_schedule(const char *name);

/* A run: which unit (row or pair) each step takes, at which rate. */
typedef struct training {
    const temper_host *host;
    const run_options *options;
    base_model *base;
    lm_trainer *trainer;
    lm_adapter_config adapter; /* rank 0: full weights */
    const size_t *units;       /* those that are trained */
    size_t unit_count, steps;
    temper_output *log;
    double loss_first, loss_last;
} training;

/* Attaches the adapter and makes the trainer. `units` index the rows (or pairs) that are not left out. */
temper_status training_open(const temper_host *host, const run_options *options, base_model *base,
                            const size_t *units, size_t unit_count, training *out, temper_error *error);
void training_close(training *self);

/* One step on these units: loss and gradient, and the stage's own numbers into `row`. */
typedef temper_status training_step(void *context, lm_trainer *trainer, const size_t *units, size_t count,
                                    double *loss, temper_row *row, temper_error *error);
/* All steps, each a record in the output "log". */
temper_status training_run(training *self, temper_pool *pool, training_step *step, void *context,
                           temper_error *error);

/* lm_trainer_score with progress in `unit`, and an ear for cancelling. */
temper_status training_score(const temper_host *host, lm_trainer *trainer, const lm_example *const *examples,
                             size_t count, const char *unit, double *sums, temper_error *error);

/* --- save.c --- */

/* The trained model: its adapter beside the base (under base/), or the whole folder with new weights. */
temper_status save_model(const training *self, const char *output, lm_dtype dtype, temper_error *error);
temper_status save_dtype(const char *name, lm_dtype *out, temper_error *error);
/* One file of an output from memory, and the weights of a model as model.safetensors. */
temper_status save_file(const temper_host *host, temper_output *output, const char *name, const void *data,
                        size_t length, temper_error *error);
temper_status save_weights(const temper_host *host, temper_output *output, lm_model *model, lm_dtype dtype,
                           temper_error *error);

#endif

/* train.h: gradients of a model's weights or adapters, and what is done with them.
 *
 * Invariant (docs/numerics.md): a step's result depends on the weights, its rows in their order, the number of gradient
 * shards and the profile; not on threads, the kernel set, or how a shard's rows are grouped for the forward pass. Rows
 * go to shards contiguously; a shard is computed by one worker from its first row to its last, and shards are summed in
 * one fixed binary tree. The forward pass is the model's own, so a training log-probability is a scoring one.
 *
 * In bf16/1 a weight gradient reduces over tokens in pairs. Each sequence is a segment of its own in the chain (the
 * product is accumulated sequence by sequence, an odd last token alone), so a pair never crosses sequences and neither
 * padding nor grouping can show. */
#ifndef LM_TRAIN_H
#define LM_TRAIN_H

#include "../model/model.h"
#include "losses.h"

/* --- what is trained --- */

/* Gives every layer named by `adapter` a LoRA pair: A uniform in +-1/sqrt(inputs) as PEFT draws it (Philox: key; role,
 * layer, index), B zero. The model computes what it computed before. */
temper_status lm_lora_attach(const lm_context *context, lm_model *model, const lm_adapter_config *adapter,
                             uint64_t key, temper_error *error);

/* A trained tensor and its place in the flat vector of all of them (gradients, moments). */
typedef struct lm_trained {
    lm_role role;
    size_t layer;
    char
        which; /* 'W': the tensor itself; 'A', 'B': its layer's adapter; 'S': the score head (role LM_HEAD) */
    lm_real *values;
    size_t count, offset;
    bool decays; /* matrices do; norms and biases do not */
} lm_trained;

/* --- a trainer: a model, its optimiser's state, and a work space for each worker --- */

/* AdamW (Loshchilov and Hutter 2019). Lion (Chen et al. 2023): beta1, beta2, no epsilon. SGD as PyTorch's, beta1 its
 * momentum. The decay is decoupled in the first two, added to the gradient in SGD. */
typedef enum lm_optimiser { LM_ADAMW, LM_LION, LM_SGD } lm_optimiser;

typedef struct lm_train_options {
    size_t gradient_shards; /* part of the result; 8 */
    lm_optimiser optimiser;
    double beta1, beta2, epsilon, weight_decay;
    double clip;           /* bound of the global gradient norm; 0: none */
    bool score_head;       /* a reward model: one number a sequence; starts at zero */
    bool train_embeddings; /* beside adapters: the embeddings and an untied head, whole */
    size_t group_rows;     /* tokens of a forward pass, not part of the result; 0: 512 */
    size_t chunk_rows;     /* rows of logits at once, even, not part of the result; 0: by the vocabulary */
} lm_train_options;
lm_train_options lm_train_defaults(void); /* 8, 0.9, 0.999, 1e-8, 0, 1 */

/* The model's values must be kept (lm_model_open_training, lm_model_init). With adapters attached only they are
 * trained, and the frozen layers' values are released once packed; without, every tensor is trained. `outer` and `model` must outlive the trainer. */
typedef struct lm_trainer lm_trainer;
temper_status lm_trainer_new(const lm_context *outer, lm_model *model, const lm_train_options *options,
                             lm_trainer **out, temper_error *error);
void lm_trainer_free(lm_trainer *self);
size_t lm_trainer_count(const lm_trainer *self); /* trained tensors */
const lm_trained *lm_trainer_at(const lm_trainer *self, size_t index);
size_t lm_trainer_parameters(const lm_trainer *self); /* trained values */

/* A sequence; trained[i] nonzero: ids[i] is a target, predicted from ids[0..i). trained[0] is ignored. A target that is
 * LM_LIKELIHOOD alone counts in a preference's likelihood term (nll_weight) and in nothing else. */
enum { LM_TRAINED = 1, LM_LIKELIHOOD = 2 };
typedef struct lm_example {
    const int32_t *ids;
    const uint8_t *trained;
    size_t count;
    const float *reference; /* NULL, or [count]: the reference model's log-probability of each target */
} lm_example;

/* A pair with what the frozen reference model says of it (sums over trained tokens). Of losses of one side the answer is
 * `chosen`, and `rejected` is empty. */
typedef struct lm_pair {
    lm_example chosen, rejected;
    double reference_chosen, reference_rejected;
    double margin;  /* reward */
    bool desirable; /* kto */
} lm_pair;

typedef struct lm_sft_result {
    double loss;     /* mean negative log-likelihood of a trained token */
    double accuracy; /* share of trained tokens that are the likeliest */
    size_t tokens;
} lm_sft_result;

/* Means over pairs, as TRL names them. */
typedef struct lm_prefer_result {
    double loss;
    double reward_chosen, reward_rejected, accuracy, margin; /* rewards: beta (logp - reference) */
    double logp_chosen, logp_rejected;
    double nll, divergence; /* where they have a weight: means over tokens */
    size_t tokens;
} lm_prefer_result;

/* Loss and gradient of a batch; the gradient stays in the trainer until apply. A row without a trained token is an
 * error naming its index. */
temper_status lm_trainer_sft(lm_trainer *self, const lm_example *const *rows, size_t count,
                             lm_sft_result *result, temper_error *error);
/* kl: the batch's estimate, for kto. On failure the last batch's gradient is gone. */
temper_status lm_trainer_prefer(lm_trainer *self, const lm_pair *const *pairs, size_t count,
                                const lm_loss *loss, const lm_loss_options *options, double kl,
                                lm_prefer_result *result, temper_error *error);
/* Copies the gradient of the mean loss, before clipping, to out[lm_trainer_parameters]. */
void lm_trainer_gradient(const lm_trainer *self, lm_real *out);
/* Clips, takes one step of the optimiser at `rate` and packs the changed weights. *norm: before clipping. A norm that is not
 * finite is TEMPER_FAILED and changes nothing. */
temper_status lm_trainer_apply(lm_trainer *self, double rate, double *norm, temper_error *error);

/* Rounds matrices to what a file in `dtype` will hold, and packs. */
temper_status lm_trainer_round(lm_trainer *self, lm_dtype dtype, temper_error *error);
/* Packs the trained weights again after they were changed from outside (apply does it itself). */
temper_status lm_trainer_pack(lm_trainer *self, temper_error *error);

/* Sum of the log-probabilities of each example's trained tokens, in token order, in double; `tokens` (NULL: not wanted)
 * has for each example room for its count: targets' log-probabilities are put at their positions. */
temper_status lm_trainer_score(lm_trainer *self, const lm_example *const *examples, size_t count,
                               double *sums, float *const *tokens, temper_error *error);
/* What the score head says of each example. */
temper_status lm_trainer_rewards(lm_trainer *self, const lm_example *const *examples, size_t count,
                                 double *rewards, temper_error *error);
lm_real *lm_trainer_score_head(lm_trainer *self); /* [H], or NULL */

/* --- going on later: weights as trained, moments, steps taken --- */
typedef struct lm_bytes {
    const void *data;
    size_t length;
} lm_bytes;
/* The state's pieces, one after another: at most lm_trainer_count + 3. Valid until the next call. */
size_t lm_trainer_state(lm_trainer *self, lm_bytes *out);
/* From those bytes; TEMPER_INVALID, and nothing changed, when they are another trainer's. Packs. */
temper_status lm_trainer_restore(lm_trainer *self, const void *data, size_t length, temper_error *error);
size_t lm_trainer_steps(const lm_trainer *self);

/* --- schedule: the learning rate of step 0 .. total-1 --- */
typedef enum lm_schedule { LM_CONSTANT, LM_LINEAR, LM_COSINE } lm_schedule;
/* Rises over `warmup` steps to `peak` (reached at step warmup-1), then falls to `peak * final` by the schedule. */
double lm_schedule_rate(lm_schedule schedule, double peak, double final, size_t step, size_t warmup,
                        size_t total);

/* --- order: a permutation of 0..count-1 for an epoch, by Philox --- */
void lm_shuffle(uint64_t key, uint64_t epoch, size_t *order, size_t count);

/* --- writing the result --- */

/* All weights under their Hugging Face names: matrices in `dtype` (f32 or bf16), vectors in f32. */
temper_status lm_model_write(lm_model *model, const lm_real *score_head, lm_dtype dtype, lm_write *write,
                             void *write_context, temper_error *error);
/* The adapters under PEFT's names, f32. score_head: of a reward model, which then has no other head; or NULL. */
temper_status lm_adapter_write(lm_model *model, const lm_real *score_head, lm_write *write,
                               void *write_context, temper_error *error);

#endif

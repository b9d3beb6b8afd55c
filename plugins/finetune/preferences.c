/* preferences.c: the preference stages' descriptions: which parameters each method has, under TRL's names. */
#include "finetune.h"

#define BETA(P, S, json, doc) P(S, number, beta, "beta", json, 1e-6, 100, "", "", doc, "0.1")
#define SMOOTHING(P, S)                                                                                      \
    P(S, number, label_smoothing, "label_smoothing", "0", 0, 0.5, "", "",                                    \
      "the share of pairs whose label is taken to be wrong", "0.2")
#define NORMALIZED(P, S)                                                                                     \
    P(S, flag, length_normalized, "length_normalized", "false", 1, 0, "", "",                                \
      "log-probabilities per token instead of their sums", "0.2")
#define HOLD "how strongly to hold to the reference"

#define DPO(P, S)                                                                                            \
    BETA(P, S, "0.1", HOLD)                                                                                  \
    P(S, string, loss_type, "loss_type", "\"sigmoid\"", 1, 0, "",                                            \
      "sigmoid|sigmoid_norm|ipo|hinge|robust|apo_zero|apo_down|sppo_hard|nca_pair",                          \
      "the loss of a pair's two log-ratios", "0.2")                                                          \
    SMOOTHING(P, S)                                                                                          \
    NORMALIZED(P, S)                                                                                         \
    P(S, number, rpo_alpha, "rpo_alpha", "0", 0, 100, "", "",                                                \
      "weight of the chosen answers' mean token loss, over the batch", "0.1")                                \
    P(S, number, kl_alpha, "kl_alpha", "0", 0, 100, "", "",                                                  \
      "weight of the mean of exp(ref - p) - (ref - p) - 1 over the answers' tokens, p and ref "              \
      "log-probabilities",                                                                                   \
      "0.2")                                                                                                 \
    FINETUNE_RUN_PARAMETERS(P, S, "0.00005", "8", "16")
TEMPER_PARAMETERS(dpo, DPO)

#define CPO(P, S)                                                                                            \
    BETA(P, S, "0.1", "temperature of the preference")                                                       \
    P(S, string, loss_type, "loss_type", "\"sigmoid\"", 1, 0, "", "sigmoid|hinge|ipo|simpo",                 \
      "the loss of a pair's two log-probabilities", "0.2")                                                   \
    SMOOTHING(P, S)                                                                                          \
    NORMALIZED(P, S)                                                                                         \
    P(S, number, cpo_alpha, "cpo_alpha", "1", 0, 100, "", "",                                                \
      "weight of the chosen answers' mean token loss, over the batch", "0.2")                                \
    P(S, number, simpo_gamma, "simpo_gamma", "0.5", 0, 100, "", "", "the margin that simpo wants", "0.2")    \
    FINETUNE_RUN_PARAMETERS(P, S, "0.00005", "8", "16")
TEMPER_PARAMETERS(cpo, CPO)

#define SIMPO(P, S)                                                                                          \
    BETA(P, S, "2", "temperature of the preference")                                                         \
    SMOOTHING(P, S)                                                                                          \
    P(S, number, simpo_gamma, "simpo_gamma", "1", 0, 100, "", "", "the margin wanted", "0.2")                \
    P(S, number, cpo_alpha, "cpo_alpha", "0", 0, 100, "", "",                                                \
      "weight of the chosen answers' mean token loss, over the batch", "0.2")                                \
    FINETUNE_RUN_PARAMETERS(P, S, "0.00005", "8", "16")
TEMPER_PARAMETERS(simpo, SIMPO)

#define ORPO(P, S)                                                                                           \
    BETA(P, S, "0.1", "weight of the odds ratio beside the likelihood")                                      \
    FINETUNE_RUN_PARAMETERS(P, S, "0.00005", "8", "16")
TEMPER_PARAMETERS(orpo, ORPO)

#define KTO(P, S)                                                                                            \
    BETA(P, S, "0.1", HOLD)                                                                                  \
    P(S, string, loss_type, "loss_type", "\"kto\"", 1, 0, "", "kto|apo_zero_unpaired",                       \
      "kto measures against the batch's divergence, the other against the reference alone", "0.2")           \
    P(S, number, desirable_weight, "desirable_weight", "1", 0, 100, "", "",                                  \
      "weight of answers labelled true", "0.2")                                                              \
    P(S, number, undesirable_weight, "undesirable_weight", "1", 0, 100, "", "",                              \
      "weight of answers labelled false", "0.2")                                                             \
    FINETUNE_RUN_PARAMETERS(P, S, "0.00005", "16", "16")
TEMPER_PARAMETERS(kto, KTO)

#define REWARD(P, S)                                                                                         \
    P(S, number, center_rewards_coefficient, "center_rewards_coefficient", "0", 0, 100, "", "",              \
      "weight of the mean squared sum of a pair's rewards", "0.2")                                           \
    FINETUNE_RUN_PARAMETERS(P, S, "0.0001", "8", "16")
TEMPER_PARAMETERS(reward, REWARD)

#define MODEL_PORT(doc) TEMPER_PORT(TEMPER_MODEL, "model", 0, "", doc)
#define PAIR_FIELDS "prompt, chosen, rejected, system"
#define PAIRS_PORT                                                                                           \
    TEMPER_PORT(TEMPER_RECORDS, "pairs", 0, PAIR_FIELDS, "preference pairs: strings, or lists of messages")
#define HELD_OUT_PORT(fields)                                                                                \
    TEMPER_PORT(TEMPER_RECORDS, "held_out", TEMPER_OPTIONAL, fields,                                         \
                "the same, never trained on: measured before and after")
#define REFERENCE_FIELDS "ref_chosen_logps, ref_rejected_logps"
#define REFERENCE_PORTS(fields)                                                                              \
    TEMPER_PORT(TEMPER_RECORDS, "reference", TEMPER_OPTIONAL, fields,                                        \
                "what finetune.reference says of them; absent: the base is asked first"),                    \
        TEMPER_PORT(TEMPER_RECORDS, "held_out_reference", TEMPER_OPTIONAL, fields, "the same of held_out")

static const temper_port *const dpo_inputs[] = {MODEL_PORT("the base: what is trained on, and the reference"),
                                                PAIRS_PORT, HELD_OUT_PORT(PAIR_FIELDS),
                                                REFERENCE_PORTS(REFERENCE_FIELDS), NULL};
static const temper_port *const pair_inputs[] = {MODEL_PORT("what is trained on"), PAIRS_PORT,
                                                 HELD_OUT_PORT(PAIR_FIELDS), NULL};
#define KTO_FIELDS "prompt, completion, label, system"
static const temper_port *const kto_inputs[] = {
    MODEL_PORT("the base: what is trained on, and the reference"),
    TEMPER_PORT(TEMPER_RECORDS, "records", 0, KTO_FIELDS, "answers, each labelled true or false"),
    HELD_OUT_PORT(KTO_FIELDS), REFERENCE_PORTS("ref_logps, ref_KL_logps"), NULL};
#define REWARD_FIELDS "prompt, chosen, rejected, system, margin"
static const temper_port *const reward_inputs[] = {
    MODEL_PORT("what the reward model is made from"),
    TEMPER_PORT(TEMPER_RECORDS, "pairs", 0, REWARD_FIELDS, "preference pairs: strings, or lists of messages"),
    HELD_OUT_PORT(REWARD_FIELDS), NULL};

#define OUTPUTS(name, fields)                                                                                \
    static const temper_port *const name[] = {                                                               \
        TEMPER_PORT(TEMPER_MODEL, "model", 0, "", "the adapter with its base, or a full folder"),            \
        TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "", "losses, rewards and counts"),                         \
        TEMPER_PORT(TEMPER_RECORDS, "log", 0,                                                                \
                    "step, epoch, loss, rewards/chosen, rewards/rejected, "                                  \
                    "rewards/margins, " fields "grad_norm, learning_rate, num_tokens, eval_loss",            \
                    "a record a step"),                                                                      \
        NULL}
OUTPUTS(pair_outputs, "rewards/accuracies, logps/chosen, logps/rejected, nll_loss, kl, ");
OUTPUTS(kto_outputs, "logps/chosen, logps/rejected, kl, ");
OUTPUTS(reward_outputs, "rewards/accuracies, ");

#define RUN(method, loss_name, ...)                                                                          \
    static temper_status run_##method(void *parameters, const temper_host *host, temper_error *error) {      \
        const method##_parameters *p = parameters;                                                           \
        run_options options = FINETUNE_RUN_OPTIONS(p);                                                       \
        const preference_options given = {#method, loss_name, {__VA_ARGS__}};                                \
        return preference_run(host, &given, &options, error);                                                \
    }
RUN(dpo, p->loss_type, .beta = p->beta, .label_smoothing = p->label_smoothing, .nll_weight = p->rpo_alpha,
    .kl_weight = p->kl_alpha, .length_normalised = p->length_normalized != 0)
RUN(cpo, p->loss_type, .beta = p->beta, .label_smoothing = p->label_smoothing, .nll_weight = p->cpo_alpha,
    .gamma = p->simpo_gamma, .length_normalised = p->length_normalized != 0)
RUN(simpo, "simpo", .beta = p->beta, .label_smoothing = p->label_smoothing, .nll_weight = p->cpo_alpha,
    .gamma = p->simpo_gamma)
RUN(orpo, "orpo", .beta = p->beta, .nll_weight = 1)
RUN(kto, p->loss_type, .beta = p->beta, .desirable = p->desirable_weight,
    .undesirable = p->undesirable_weight)
RUN(reward, "bradley_terry", .beta = 1, .centre = p->center_rewards_coefficient)

#define STAGE(method, number, ins, outs, what)                                                               \
    const temper_stage finetune_##method##_stage = {                                                         \
        .size = sizeof(temper_stage),                                                                        \
        .revision = number,                                                                                  \
        .name = #method,                                                                                     \
        .doc = what,                                                                                         \
        .inputs = ins,                                                                                       \
        .outputs = outs,                                                                                     \
        .parameters = method##_parameter_table,                                                              \
        .parameters_size = sizeof(method##_parameters),                                                      \
        .create = temper_stage_keep_parameters,                                                              \
        .run = run_##method,                                                                                 \
        .destroy = temper_stage_nothing,                                                                     \
    }
STAGE(dpo, 3, dpo_inputs, pair_outputs,
      "trains a model to prefer chosen answers over rejected ones (DPO and its kin)");
STAGE(cpo, 1, pair_inputs, pair_outputs, "prefers chosen answers without a reference (CPO)");
STAGE(simpo, 1, pair_inputs, pair_outputs,
      "prefers chosen answers by their mean log-probability and a margin (SimPO)");
STAGE(orpo, 1, pair_inputs, pair_outputs,
      "learns chosen answers and the odds against rejected ones in one (ORPO)");
STAGE(kto, 1, kto_inputs, kto_outputs, "learns from single answers labelled good or bad (KTO)");
STAGE(reward, 1, reward_inputs, reward_outputs, "makes a reward model of preference pairs (Bradley-Terry)");

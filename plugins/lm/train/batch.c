/* batch.c: a batch's loss and gradient: rows to shards, a shard's rows in groups, groups forward and back.
 *
 * A unit is what goes to a shard whole: a row, or a pair. Every number that a weight depends on (tokens of the batch, units)
 * is counted before the first forward pass, so a row's gradient never depends on when its neighbours were computed. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <temper/math.h>

temper_status lm_example_check(const lm_model *model, const lm_example *example, size_t index,
                               const char *what, temper_error *error) {
    bool trains = false;
    if (example->count > model->config.context) {
        return temper_fail(error, TEMPER_INVALID, "%s %zu has %zu tokens: the model's context is %zu", what,
                           index, example->count, model->config.context);
    }
    for (size_t i = 1; i < example->count; i++) {
        trains = trains || (example->trained[i] & LM_TRAINED) != 0;
    }
    return trains ? TEMPER_OK : temper_fail(error, TEMPER_INVALID, "%s %zu trains no token", what, index);
}

size_t lm_group_size(const lm_trainer *self, const lm_example *const *examples, size_t first, size_t end,
                     size_t stride) {
    size_t rows = 0, units = 0;
    while (first + units < end) {
        size_t unit = 0;
        for (size_t i = 0; i < stride; i++) {
            unit += examples[(first + units) * stride + i]->count;
        }
        if (units > 0 && rows + unit > self->options.group_rows) {
            break;
        }
        rows += unit;
        units++;
    }
    return units;
}

/* The gradient of targets with their weights, from the loss to the embedding. */
static temper_status descend(lm_trainer *trainer, lm_work *work, size_t sequences, lm_real *gradient,
                             temper_error *error) {
    size_t head =
        trainer->places
            .weight[lm_place(trainer->model, trainer->model->config.tied ? LM_EMBEDDING : LM_HEAD, 0)];
    temper_status status = lm_loss_backward(work, trainer->model, sequences, work->offsets[sequences],
                                            head == SIZE_MAX ? NULL : gradient + head, error);
    return status ? status : lm_group_backward(work, trainer, sequences, gradient, error);
}

static void begin_shard(lm_trainer *trainer, lm_work *work) {
    if (work->scatter != NULL) {
        memset(work->scatter, 0,
               trainer->model->config.vocabulary * trainer->model->config.hidden * sizeof(lm_real));
    }
}

/* A tied embedding: the head's gradient, then the embedding's on top. */
static void end_shard(lm_trainer *trainer, lm_work *work, lm_real *gradient) {
    if (work->scatter != NULL) {
        size_t place = trainer->places.weight[lm_place(trainer->model, LM_EMBEDDING, 0)];
        work->context.kernels->add(gradient + place, work->scatter,
                                   trainer->model->config.vocabulary * trainer->model->config.hidden);
    }
}

/* What a unit adds to the batch's numbers. */
typedef struct outcome {
    double loss, chosen, rejected; /* of pairs: log-probabilities, or rewards */
    double likelihood, divergence; /* negative log-likelihood; sum of KL estimates */
    size_t correct;
} outcome;

typedef struct batch {
    lm_trainer *trainer;
    const lm_example *const *examples; /* for pairs: chosen, rejected, chosen, .. */
    size_t count, shards, sides;       /* units: rows or pairs; examples of each */
    outcome *outcomes;                 /* [count] */
    const lm_pair *const *pairs;
    const lm_loss *loss;
    const lm_loss_options *options;
    double kl;
    double token_weight, divergence_weight; /* of a token of the likelihood and of the divergence */
    size_t likelihood_tokens, tokens;
} batch;

static void shard_range(const batch *self, size_t index, size_t *first, size_t *end) {
    *first = index * self->count / self->shards;
    *end = (index + 1) * self->count / self->shards;
}

double lm_sequence_logprob(const lm_work *work, size_t sequence) {
    double sum = 0;
    for (size_t i = work->target_offsets[sequence]; i < work->target_offsets[sequence + 1]; i++) {
        if (work->targets[i].use & LM_TRAINED) {
            sum += (double)work->targets[i].logprob;
        }
    }
    return sum;
}

static size_t count_correct(const lm_work *work, size_t sequence) {
    size_t correct = 0;
    for (size_t i = work->target_offsets[sequence]; i < work->target_offsets[sequence + 1]; i++) {
        correct += (work->targets[i].use & LM_TRAINED) != 0 && work->targets[i].correct;
    }
    return correct;
}

static temper_status sft_shard(void *context, size_t index, lm_work *work, lm_real *gradient,
                               temper_error *error) {
    batch *self = context;
    size_t first, end;
    shard_range(self, index, &first, &end);
    begin_shard(self->trainer, work);
    while (first < end) {
        size_t n = lm_group_size(self->trainer, self->examples, first, end, 1);
        temper_status status = lm_group_forward(work, self->trainer, self->examples + first, n, true, error);
        if (!status) {
            status = descend(self->trainer, work, n, gradient, error);
        }
        if (status) {
            return status;
        }
        for (size_t i = 0; i < n; i++) {
            self->outcomes[first + i].loss = -lm_sequence_logprob(work, i);
            self->outcomes[first + i].correct = count_correct(work, i);
        }
        first += n;
    }
    end_shard(self->trainer, work, gradient);
    return TEMPER_OK;
}

static size_t count_use(const lm_example *example, unsigned use) {
    size_t count = 0;
    for (size_t t = 1; t < example->count; t++) {
        count += (example->trained[t] & use) != 0;
    }
    return count;
}

temper_status lm_trainer_sft(lm_trainer *self, const lm_example *const *rows, size_t count,
                             lm_sft_result *result, temper_error *error) {
    size_t tokens = 0, correct = 0;
    if (count == 0) {
        return temper_fail(error, TEMPER_INVALID, "a batch without rows");
    }
    for (size_t i = 0; i < count; i++) {
        temper_status status = lm_example_check(self->model, rows[i], i, "row", error);
        if (status) {
            return status;
        }
        tokens += count_use(rows[i], LM_TRAINED);
    }
    size_t shards = self->options.gradient_shards < count ? self->options.gradient_shards : count;
    batch job = {.trainer = self, .examples = rows, .count = count, .shards = shards, .sides = 1};
    job.outcomes = calloc(count, sizeof *job.outcomes);
    if (job.outcomes == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a batch of %zu rows", count);
    }
    temper_status status = lm_shards_run(self, shards, sft_shard, &job, error);
    double loss = 0;
    for (size_t i = 0; i < count; i++) {
        loss += job.outcomes[i].loss;
        correct += job.outcomes[i].correct;
    }
    self->gradient_scale = 1 / (double)tokens;
    *result = (lm_sft_result){loss / (double)tokens, (double)correct / (double)tokens, tokens};
    free(job.outcomes);
    return status;
}

/* --- preferences --- */

/* Every target of a sequence gets its weight: the loss's slope, the likelihood's share, the divergence's.
 * d/dp of exp(r - p) - (r - p) - 1 is 1 - exp(r - p). */
static void weigh(const batch *self, lm_work *work, size_t sequence, double slope, bool chosen,
                  outcome *out) {
    for (size_t i = work->target_offsets[sequence]; i < work->target_offsets[sequence + 1]; i++) {
        lm_target *target = &work->targets[i];
        bool trained = (target->use & LM_TRAINED) != 0;
        double weight = trained ? slope : 0;
        if (chosen && self->token_weight > 0) {
            weight += self->token_weight;
            out->likelihood -= (double)target->logprob;
        }
        if (trained && self->divergence_weight > 0) {
            double off = (double)target->reference - (double)target->logprob, ratio = temper_exp(off);
            out->divergence += ratio - off - 1;
            weight += self->divergence_weight * (ratio - 1);
        }
        target->weight = (lm_real)weight;
    }
}

static size_t trained_targets(const lm_work *work, size_t sequence) {
    size_t count = 0;
    for (size_t i = work->target_offsets[sequence]; i < work->target_offsets[sequence + 1]; i++) {
        count += (work->targets[i].use & LM_TRAINED) != 0;
    }
    return count;
}

static bool normalised(const batch *self) {
    return self->loss->normalised ||
           ((self->loss->options & LM_LOSS_LENGTH) != 0 && self->options->length_normalised);
}

/* The weights of dlogits = weight (softmax - one hot) are minus the slopes of the log-probabilities. */
static void weigh_unit(batch *self, lm_work *work, size_t unit, size_t sequence) {
    const lm_pair *of = self->pairs[unit];
    const lm_loss *loss = self->loss;
    outcome *out = &self->outcomes[unit];
    bool both = loss->sides == 2;
    double chosen = lm_sequence_logprob(work, sequence),
           rejected = both ? lm_sequence_logprob(work, sequence + 1) : 0;
    double per_chosen = 1, per_rejected = 1;
    if (normalised(self)) {
        per_chosen = (double)trained_targets(work, sequence);
        per_rejected = both ? (double)trained_targets(work, sequence + 1) : 1;
    }
    out->chosen = chosen;
    out->rejected = rejected;
    if (loss->reference) {
        chosen -= of->reference_chosen;
        rejected -= of->reference_rejected;
    } else {
        out->chosen /= per_chosen;
        out->rejected /= per_rejected;
    }
    lm_loss_case seen = {chosen / per_chosen, rejected / per_rejected, of->margin, self->kl, of->desirable};
    lm_loss_value value = loss->value(self->options, &seen);
    out->loss = value.loss;
    weigh(self, work, sequence, -value.d_chosen / per_chosen, true, out);
    if (both) {
        weigh(self, work, sequence + 1, -value.d_rejected / per_rejected, false, out);
    }
}

static temper_status prefer_shard(void *context, size_t index, lm_work *work, lm_real *gradient,
                                  temper_error *error) {
    batch *self = context;
    size_t first, end, sides = self->sides;
    shard_range(self, index, &first, &end);
    begin_shard(self->trainer, work);
    while (first < end) {
        size_t n = lm_group_size(self->trainer, self->examples, first, end, sides);
        temper_status status =
            lm_group_forward(work, self->trainer, self->examples + sides * first, sides * n, true, error);
        if (!status) {
            status = lm_loss_logprobs(work, self->trainer->model, sides * n, error);
        }
        if (status) {
            return status;
        }
        for (size_t i = 0; i < n; i++) {
            weigh_unit(self, work, first + i, sides * i);
        }
        status = descend(self->trainer, work, sides * n, gradient, error);
        if (status) {
            return status;
        }
        first += n;
    }
    end_shard(self->trainer, work, gradient);
    return TEMPER_OK;
}

/* --- rewards: one number a sequence, from its last token --- */

double lm_sequence_reward(const lm_work *work, const lm_trainer *trainer, size_t sequence) {
    size_t hidden = trainer->model->config.hidden, last = work->offsets[sequence + 1] - 1;
    return (double)work->context.kernels->dot_striped(trainer->score_head, work->final_normed + last * hidden,
                                                      hidden);
}

static void reward_slope(const batch *self, lm_work *work, size_t sequence, double slope, lm_real *gradient) {
    const lm_trainer *trainer = self->trainer;
    const lm_kernels *kernels = work->context.kernels;
    size_t hidden = trainer->model->config.hidden, last = work->offsets[sequence + 1] - 1;
    kernels->add_scaled(work->d_final + last * hidden, trainer->score_head, (lm_real)slope, hidden);
    kernels->add_scaled(gradient + trainer->score_place, work->final_normed + last * hidden, (lm_real)slope,
                        hidden);
}

static temper_status reward_shard(void *context, size_t index, lm_work *work, lm_real *gradient,
                                  temper_error *error) {
    batch *self = context;
    size_t first, end, hidden = self->trainer->model->config.hidden;
    shard_range(self, index, &first, &end);
    begin_shard(self->trainer, work);
    while (first < end) {
        size_t n = lm_group_size(self->trainer, self->examples, first, end, 2);
        temper_status status =
            lm_group_forward(work, self->trainer, self->examples + 2 * first, 2 * n, true, error);
        if (status) {
            return status;
        }
        memset(work->d_final, 0, work->offsets[2 * n] * hidden * sizeof(lm_real));
        for (size_t i = 0; i < n; i++) {
            outcome *out = &self->outcomes[first + i];
            out->chosen = lm_sequence_reward(work, self->trainer, 2 * i);
            out->rejected = lm_sequence_reward(work, self->trainer, 2 * i + 1);
            lm_loss_case seen = {
                .chosen = out->chosen, .rejected = out->rejected, .margin = self->pairs[first + i]->margin};
            lm_loss_value value = self->loss->value(self->options, &seen);
            out->loss = value.loss;
            reward_slope(self, work, 2 * i, value.d_chosen, gradient);
            reward_slope(self, work, 2 * i + 1, value.d_rejected, gradient);
        }
        status = lm_group_backward(work, self->trainer, 2 * n, gradient, error);
        if (status) {
            return status;
        }
        first += n;
    }
    end_shard(self->trainer, work, gradient);
    return TEMPER_OK;
}

/* --- the batch --- */

static lm_prefer_result means(const batch *self, bool rewards) {
    lm_prefer_result sum = {0};
    double beta = rewards ? 1 : self->options->beta, n = (double)self->count, desired = 0, other = 0;
    double likelihood = 0, divergence = 0;
    for (size_t i = 0; i < self->count; i++) {
        const outcome *of = &self->outcomes[i];
        const lm_pair *pair = self->pairs[i];
        bool ratio = self->loss->reference;
        double chosen = beta * (of->chosen - (ratio ? pair->reference_chosen : 0));
        double rejected = beta * (of->rejected - (ratio ? pair->reference_rejected : 0));
        sum.loss += of->loss;
        likelihood += of->likelihood;
        divergence += of->divergence;
        if (self->sides == 2) {
            sum.reward_chosen += chosen;
            sum.reward_rejected += rejected;
            sum.accuracy += chosen > rejected;
            sum.logp_chosen += of->chosen;
            sum.logp_rejected += of->rejected;
        } else { /* of single answers, those wanted are called chosen */
            *(pair->desirable ? &sum.reward_chosen : &sum.reward_rejected) += chosen;
            *(pair->desirable ? &sum.logp_chosen : &sum.logp_rejected) += of->chosen;
            *(pair->desirable ? &desired : &other) += 1;
        }
    }
    double chosen_count = self->sides == 2 ? n
                          : desired > 0    ? desired
                                           : 1,
           rejected_count = self->sides == 2 ? n
                            : other > 0      ? other
                                             : 1;
    sum.loss /= n;
    sum.accuracy /= n;
    sum.reward_chosen /= chosen_count;
    sum.reward_rejected /= rejected_count;
    sum.logp_chosen /= chosen_count;
    sum.logp_rejected /= rejected_count;
    sum.margin = sum.reward_chosen - sum.reward_rejected;
    if (self->token_weight > 0) {
        sum.nll = likelihood / (double)self->likelihood_tokens;
        sum.loss += self->options->nll_weight * sum.nll;
    }
    if (self->divergence_weight > 0) {
        sum.divergence = divergence / (double)self->tokens;
        sum.loss += self->options->kl_weight * sum.divergence;
    }
    sum.tokens = self->tokens;
    return sum;
}

/* Fills examples and the counts that weights are made of. */
static temper_status gather(batch *self, const lm_example **examples, temper_error *error) {
    const char *const what[] = {self->sides == 2 ? "the chosen answer of pair" : "answer",
                                "the rejected answer of pair"};
    for (size_t i = 0; i < self->count; i++) {
        const lm_example *sides[] = {&self->pairs[i]->chosen, &self->pairs[i]->rejected};
        for (size_t s = 0; s < self->sides; s++) {
            temper_status status = lm_example_check(self->trainer->model, sides[s], i, what[s], error);
            if (!status && self->options->kl_weight > 0 && sides[s]->reference == NULL) {
                status =
                    temper_fail(error, TEMPER_INVALID,
                                "%s %zu has no reference for each token: kl_weight needs it", what[s], i);
            }
            if (status) {
                return status;
            }
            examples[self->sides * i + s] = sides[s];
            self->tokens += count_use(sides[s], LM_TRAINED);
        }
        self->likelihood_tokens += count_use(sides[0], LM_TRAINED | LM_LIKELIHOOD);
    }
    double n = (double)self->count;
    self->token_weight = self->options->nll_weight * n / (double)self->likelihood_tokens;
    self->divergence_weight = self->options->kl_weight * n / (double)self->tokens;
    return TEMPER_OK;
}

temper_status lm_trainer_prefer(lm_trainer *self, const lm_pair *const *pairs, size_t count,
                                const lm_loss *loss, const lm_loss_options *options, double kl,
                                lm_prefer_result *result, temper_error *error) {
    bool rewards = strcmp(loss->method, "reward") == 0;
    if (count == 0) {
        return temper_fail(error, TEMPER_INVALID, "a batch without pairs");
    }
    if (rewards != (self->score_head != NULL)) {
        return temper_fail(error, TEMPER_INVALID, "a reward loss and a score head need each other");
    }
    size_t shards = self->options.gradient_shards < count ? self->options.gradient_shards : count;
    batch job = {.trainer = self,
                 .count = count,
                 .shards = shards,
                 .sides = loss->sides,
                 .pairs = pairs,
                 .loss = loss,
                 .options = options,
                 .kl = kl};
    const lm_example **examples = calloc(2 * count, sizeof *examples);
    job.outcomes = calloc(count, sizeof *job.outcomes);
    temper_status status = TEMPER_OK;
    if (examples == NULL || job.outcomes == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for a batch of %zu pairs", count);
        goto out;
    }
    job.examples = examples;
    status = gather(&job, examples, error);
    if (!status) {
        status = lm_shards_run(self, shards, rewards ? reward_shard : prefer_shard, &job, error);
    }
    if (!status) {
        self->gradient_scale = 1 / (double)count;
        *result = means(&job, rewards);
    }
out:
    free(examples);
    free(job.outcomes);
    return status;
}

/* trainer.c: a batch's loss and gradient: rows to shards, a shard's rows in groups, groups forward and back. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <temper/math.h>

lm_train_options lm_train_defaults(void) {
    return (lm_train_options){
        .gradient_shards = 8, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0, .clip = 1};
}

/* Packed for both directions, frozen layers need their values no more. */
static void release_frozen(lm_model *model) {
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? model->config.layers : 1;
        for (size_t layer = 0; layer < layers; layer++) {
            lm_linear *linear = lm_model_linear(model, (lm_role)role, layer);
            if (linear != NULL && linear->w != model->embedding) {
                free(linear->w);
                linear->w = NULL;
            }
        }
    }
}

temper_status lm_trainer_new(const lm_context *outer, lm_model *model, const lm_train_options *options,
                             lm_trainer **out, temper_error *error) {
    *out = NULL;
    if (options->gradient_shards == 0) {
        return temper_fail(error, TEMPER_INVALID, "gradient_shards is at least 1");
    }
    if (!((lm_real)options->beta1 >= 0 && (lm_real)options->beta1 < 1 && (lm_real)options->beta2 >= 0 &&
          (lm_real)options->beta2 < 1)) {
        return temper_fail(error, TEMPER_INVALID,
                           "beta1 %.17g and beta2 %.17g must be below 1, also rounded to f32", options->beta1,
                           options->beta2);
    }
    lm_trainer *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a trainer");
    }
    *self = (lm_trainer){.outer = outer, .model = model, .options = *options};
    self->options.group_rows = options->group_rows > 0 ? options->group_rows : 512;
    pthread_mutex_init(&self->lock, NULL);
    size_t workers = outer->parallel.workers;
    temper_status status = lm_parameters_collect(self, error);
    if (!status) {
        self->works = calloc(workers, sizeof *self->works);
        self->spare_capacity = options->gradient_shards + workers;
        self->spare = calloc(self->spare_capacity, sizeof *self->spare);
        if (self->works == NULL || self->spare == NULL) {
            status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu workers", workers);
        }
    }
    for (size_t i = 0; !status && i < workers; i++) {
        status = lm_work_init(&self->works[i], self, error);
    }
    if (!status) {
        status = lm_optimiser_init(self, error);
    }
    if (!status) {
        status = lm_model_pack(outer, model, true, error);
    }
    if (!status && self->adapters_only) {
        release_frozen(model);
    }
    if (status) {
        lm_trainer_free(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

void lm_trainer_free(lm_trainer *self) {
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; self->works != NULL && i < self->outer->parallel.workers; i++) {
        lm_work_free(&self->works[i]);
    }
    for (size_t i = 0; i < self->spare_count; i++) {
        free(self->spare[i]);
    }
    free(self->works);
    free(self->spare);
    free(self->gradient);
    free(self->trained);
    free(self->places.weight);
    free(self->places.a);
    free(self->places.b);
    free(self->moment1);
    free(self->moment2);
    free(self->pieces);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

size_t lm_trainer_count(const lm_trainer *self) {
    return self->trained_count;
}

const lm_trained *lm_trainer_at(const lm_trainer *self, size_t index) {
    return &self->trained[index];
}

size_t lm_trainer_parameters(const lm_trainer *self) {
    return self->parameters;
}

void lm_trainer_gradient(const lm_trainer *self, lm_real *out) {
    for (size_t i = 0; i < self->parameters; i++) {
        out[i] = (lm_real)((double)self->gradient[i] * self->gradient_scale);
    }
}

static temper_status check(const lm_model *model, const lm_example *example, size_t index, const char *what,
                           temper_error *error) {
    bool trains = false;
    if (example->count > model->config.context) {
        return temper_fail(error, TEMPER_INVALID, "%s %zu has %zu tokens: the model's context is %zu", what,
                           index, example->count, model->config.context);
    }
    for (size_t i = 1; i < example->count; i++) {
        trains = trains || example->trained[i];
    }
    return trains ? TEMPER_OK : temper_fail(error, TEMPER_INVALID, "%s %zu trains no token", what, index);
}

/* How many of the units (of `stride` examples each) beginning at `first` make one group. */
static size_t group_size(const lm_trainer *self, const lm_example *const *examples, size_t first, size_t end,
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

typedef struct batch {
    lm_trainer *trainer;
    const lm_example *const *examples; /* for pairs: chosen, rejected, chosen, .. */
    size_t count, shards;              /* units: rows or pairs */
    double *losses;                    /* [count] */
    /* pairs */
    const lm_pair *const *pairs;
    const lm_dpo_options *options;
    double *chosen, *rejected; /* [count] log-probabilities */
} batch;

static void shard_range(const batch *self, size_t index, size_t *first, size_t *end) {
    *first = index * self->count / self->shards;
    *end = (index + 1) * self->count / self->shards;
}

/* Log-probability of a sequence of the group: its targets' in order, in double. */
static double sequence_logprob(const lm_work *work, size_t sequence) {
    double sum = 0;
    for (size_t i = work->target_offsets[sequence]; i < work->target_offsets[sequence + 1]; i++) {
        sum += (double)work->targets[i].logprob;
    }
    return sum;
}

static temper_status sft_shard(void *context, size_t index, lm_work *work, lm_real *gradient,
                               temper_error *error) {
    batch *self = context;
    size_t first, end;
    shard_range(self, index, &first, &end);
    begin_shard(self->trainer, work);
    while (first < end) {
        size_t n = group_size(self->trainer, self->examples, first, end, 1);
        temper_status status = lm_group_forward(work, self->trainer, self->examples + first, n, true, error);
        if (!status) {
            status = descend(self->trainer, work, n, gradient, error);
        }
        if (status) {
            return status;
        }
        for (size_t i = 0; i < n; i++) {
            self->losses[first + i] = -sequence_logprob(work, i);
        }
        first += n;
    }
    end_shard(self->trainer, work, gradient);
    return TEMPER_OK;
}

temper_status lm_trainer_sft(lm_trainer *self, const lm_example *const *rows, size_t count,
                             lm_sft_result *result, temper_error *error) {
    size_t tokens = 0;
    if (count == 0) {
        return temper_fail(error, TEMPER_INVALID, "a batch without rows");
    }
    for (size_t i = 0; i < count; i++) {
        temper_status status = check(self->model, rows[i], i, "row", error);
        if (status) {
            return status;
        }
        for (size_t t = 1; t < rows[i]->count; t++) {
            tokens += rows[i]->trained[t] != 0;
        }
    }
    size_t shards = self->options.gradient_shards < count ? self->options.gradient_shards : count;
    batch job = {.trainer = self, .examples = rows, .count = count, .shards = shards};
    job.losses = calloc(count, sizeof *job.losses);
    if (job.losses == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a batch of %zu rows", count);
    }
    temper_status status = lm_shards_run(self, shards, sft_shard, &job, error);
    double loss = 0;
    for (size_t i = 0; i < count; i++) {
        loss += job.losses[i];
    }
    self->gradient_scale = 1 / (double)tokens;
    *result = (lm_sft_result){loss / (double)tokens, tokens};
    free(job.losses);
    return status;
}

/* log(1 + exp(x)), without overflow. */
static double softplus(double x) {
    return x > 0 ? x + temper_log(1 + temper_exp(-x)) : temper_log(1 + temper_exp(x));
}

static double sigmoid(double x) {
    return x >= 0 ? 1 / (1 + temper_exp(-x)) : temper_exp(x) / (1 + temper_exp(x));
}

static void weigh(lm_work *work, size_t sequence, double weight) {
    for (size_t i = work->target_offsets[sequence]; i < work->target_offsets[sequence + 1]; i++) {
        work->targets[i].weight = (lm_real)weight;
    }
}

/* L = -log sigmoid(z) - alpha / tokens * logp(chosen), z = beta ((chosen - its reference) - (rejected - its)). */
static void weigh_pair(batch *self, lm_work *work, size_t pair, size_t sequence) {
    const lm_pair *of = self->pairs[pair];
    double chosen = sequence_logprob(work, sequence), rejected = sequence_logprob(work, sequence + 1);
    double z = self->options->beta * ((chosen - of->reference_chosen) - (rejected - of->reference_rejected));
    double tokens = (double)(work->target_offsets[sequence + 1] - work->target_offsets[sequence]);
    double nll = self->options->rpo_alpha / tokens, slope = self->options->beta * sigmoid(-z);
    self->losses[pair] = softplus(-z) - nll * chosen;
    self->chosen[pair] = chosen;
    self->rejected[pair] = rejected;
    weigh(work, sequence, slope + nll);
    weigh(work, sequence + 1, -slope);
}

static temper_status dpo_shard(void *context, size_t index, lm_work *work, lm_real *gradient,
                               temper_error *error) {
    batch *self = context;
    size_t first, end;
    shard_range(self, index, &first, &end);
    begin_shard(self->trainer, work);
    while (first < end) {
        size_t n = group_size(self->trainer, self->examples, first, end, 2);
        temper_status status =
            lm_group_forward(work, self->trainer, self->examples + 2 * first, 2 * n, true, error);
        if (!status) {
            status = lm_loss_logprobs(work, self->trainer->model, 2 * n, error);
        }
        if (status) {
            return status;
        }
        for (size_t i = 0; i < n; i++) {
            weigh_pair(self, work, first + i, 2 * i);
        }
        status = descend(self->trainer, work, 2 * n, gradient, error);
        if (status) {
            return status;
        }
        first += n;
    }
    end_shard(self->trainer, work, gradient);
    return TEMPER_OK;
}

static void dpo_means(const batch *self, lm_dpo_result *result) {
    lm_dpo_result sum = {0};
    double beta = self->options->beta, n = (double)self->count;
    for (size_t i = 0; i < self->count; i++) {
        double chosen = beta * (self->chosen[i] - self->pairs[i]->reference_chosen);
        double rejected = beta * (self->rejected[i] - self->pairs[i]->reference_rejected);
        sum.loss += self->losses[i];
        sum.reward_chosen += chosen;
        sum.reward_rejected += rejected;
        sum.accuracy += chosen > rejected;
        sum.margin += chosen - rejected;
        sum.logp_chosen += self->chosen[i];
        sum.logp_rejected += self->rejected[i];
    }
    *result =
        (lm_dpo_result){sum.loss / n,   sum.reward_chosen / n, sum.reward_rejected / n, sum.accuracy / n,
                        sum.margin / n, sum.logp_chosen / n,   sum.logp_rejected / n};
}

temper_status lm_trainer_dpo(lm_trainer *self, const lm_pair *const *pairs, size_t count,
                             const lm_dpo_options *options, lm_dpo_result *result, temper_error *error) {
    if (count == 0) {
        return temper_fail(error, TEMPER_INVALID, "a batch without pairs");
    }
    size_t shards = self->options.gradient_shards < count ? self->options.gradient_shards : count;
    batch job = {.trainer = self, .count = count, .shards = shards, .pairs = pairs, .options = options};
    const lm_example **examples = calloc(2 * count, sizeof *examples);
    job.losses = calloc(3 * count, sizeof *job.losses);
    temper_status status = TEMPER_OK;
    if (examples == NULL || job.losses == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for a batch of %zu pairs", count);
        goto out;
    }
    job.examples = examples;
    job.chosen = job.losses + count;
    job.rejected = job.losses + 2 * count;
    for (size_t i = 0; i < count; i++) {
        examples[2 * i] = &pairs[i]->chosen;
        examples[2 * i + 1] = &pairs[i]->rejected;
        status = check(self->model, &pairs[i]->chosen, i, "the chosen answer of pair", error);
        if (!status) {
            status = check(self->model, &pairs[i]->rejected, i, "the rejected answer of pair", error);
        }
        if (status) {
            goto out;
        }
    }
    status = lm_shards_run(self, shards, dpo_shard, &job, error);
    self->gradient_scale = 1 / (double)count;
    dpo_means(&job, result);
out:
    free(examples);
    free(job.losses);
    return status;
}

/* --- scoring: examples in groups, a group a worker --- */

typedef struct scoring {
    lm_trainer *trainer;
    const lm_example *const *examples;
    const size_t *starts; /* of each group, and the end */
    double *sums;
    atomic_bool failed;
    temper_status status;
    temper_error *error;
} scoring;

static void score_group(void *context, size_t index, size_t worker) {
    scoring *self = context;
    lm_work *work = &self->trainer->works[worker];
    size_t first = self->starts[index], n = self->starts[index + 1] - first;
    temper_error error = TEMPER_ERROR_INIT;
    if (atomic_load(&self->failed)) {
        return;
    }
    temper_status status = lm_group_forward(work, self->trainer, self->examples + first, n, false, &error);
    if (!status) {
        status = lm_loss_logprobs(work, self->trainer->model, n, &error);
    }
    if (status) {
        pthread_mutex_lock(&self->trainer->lock);
        if (!atomic_exchange(&self->failed, true)) {
            self->status = status;
            if (self->error != NULL) {
                memcpy(self->error->message, error.message, sizeof error.message);
            }
        }
        pthread_mutex_unlock(&self->trainer->lock);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        self->sums[first + i] = sequence_logprob(work, i);
    }
}

temper_status lm_trainer_score(lm_trainer *self, const lm_example *const *examples, size_t count,
                               double *sums, temper_error *error) {
    size_t *starts = calloc(count + 1, sizeof *starts), groups = 0;
    temper_status status = TEMPER_OK;
    if (starts == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu examples", count);
    }
    for (size_t i = 0; i < count && !status; i++) {
        status = check(self->model, examples[i], i, "example", error);
    }
    for (size_t first = 0; first < count;) {
        starts[groups++] = first;
        first += group_size(self, examples, first, count, 1);
        starts[groups] = first;
    }
    if (!status) {
        scoring job = {.trainer = self, .examples = examples, .starts = starts, .sums = sums, .error = error};
        atomic_init(&job.failed, false);
        self->outer->parallel.run(self->outer->parallel.self, groups, score_group, &job);
        status = job.status;
    }
    free(starts);
    return status;
}

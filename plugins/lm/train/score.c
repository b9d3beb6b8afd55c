/* score.c: log-probabilities without gradients: examples in groups, a group a worker. The forward pass is the model's own,
 * so a sum here has the bits of a training one, and of a scoring one by the provider. */
#include "internal.h"

#include <stdlib.h>

typedef struct scoring {
    lm_trainer *trainer;
    const lm_example *const *examples;
    const size_t *starts; /* of each group, and the end */
    double *sums;
    float *const *tokens; /* NULL, or each example's log-probabilities at its targets' positions */
    bool rewards;
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
    if (!status && !self->rewards) {
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
        self->sums[first + i] =
            self->rewards ? lm_sequence_reward(work, self->trainer, i) : lm_sequence_logprob(work, i);
        for (size_t t = work->target_offsets[i]; self->tokens != NULL && t < work->target_offsets[i + 1];
             t++) {
            self->tokens[first + i][work->targets[t].row + 1 - work->offsets[i]] =
                (float)work->targets[t].logprob;
        }
    }
}

static temper_status score(lm_trainer *self, const lm_example *const *examples, size_t count, double *sums,
                           float *const *tokens, bool rewards, temper_error *error) {
    size_t *starts = calloc(count + 1, sizeof *starts), groups = 0;
    temper_status status = TEMPER_OK;
    if (starts == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu examples", count);
    }
    for (size_t i = 0; i < count && !status; i++) {
        status = lm_example_check(self->model, examples[i], i, "example", error);
    }
    for (size_t first = 0; first < count;) {
        starts[groups++] = first;
        first += lm_group_size(self, examples, first, count, 1);
        starts[groups] = first;
    }
    if (!status) {
        scoring job = {.trainer = self,
                       .examples = examples,
                       .starts = starts,
                       .sums = sums,
                       .tokens = tokens,
                       .rewards = rewards,
                       .error = error};
        atomic_init(&job.failed, false);
        self->outer->parallel.run(self->outer->parallel.self, groups, score_group, &job);
        status = job.status;
    }
    free(starts);
    return status;
}

temper_status lm_trainer_score(lm_trainer *self, const lm_example *const *examples, size_t count,
                               double *sums, float *const *tokens, temper_error *error) {
    return score(self, examples, count, sums, tokens, false, error);
}

temper_status lm_trainer_rewards(lm_trainer *self, const lm_example *const *examples, size_t count,
                                 double *rewards, temper_error *error) {
    return self->score_head == NULL ? temper_fail(error, TEMPER_INVALID, "this trainer has no score head")
                                    : score(self, examples, count, rewards, NULL, true, error);
}

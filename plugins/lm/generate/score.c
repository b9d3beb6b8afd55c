/* score.c: log-probabilities of given tokens, and mean hidden states: the forward pass over whole sequences.
 *
 * Invariant: sequences share a pass (up to GROUP_ROWS rows) and rows share a vocabulary product, but each result is of
 * one row: grouping never shows. */
#include "generate.h"

#include "lanes.h"

#include <math.h>
#include <stdlib.h>

enum { GROUP_ROWS = 512 };
#define LOGIT_BYTES ((size_t)4 << 20)

typedef struct target {
    size_t row;
    int32_t id;
    float *logprob;
} target;

typedef struct scoring {
    const lm_model *model;
    const lm_scored *scored; /* or */
    const lm_embedded *embedded;
    size_t *groups;                   /* first sequence of each group, and the end */
    size_t most_rows, most_sequences; /* of a group */
    lm_lanes lanes;
} scoring;

/* One lane's memory; sized for the largest group. */
typedef struct lane {
    scoring *shared;
    const lm_context *context;
    lm_sequence *sequences;
    lm_real *normed, *logits;
    target *targets;
    size_t *rows;
    size_t chunk;
} lane;

static size_t count_of(const scoring *self, size_t index) {
    return self->scored != NULL ? self->scored[index].count : self->embedded[index].count;
}

/* Consecutive sequences together while they stay within GROUP_ROWS. */
static temper_status group(scoring *self, size_t count, size_t *groups, temper_error *error) {
    self->groups = calloc(count + 1, sizeof *self->groups);
    if (self->groups == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to group %zu sequences", count);
    }
    *groups = 0;
    for (size_t i = 0; i < count;) {
        size_t rows = 0, first = i;
        do {
            rows += count_of(self, i++);
        } while (i < count && rows < GROUP_ROWS && count_of(self, i) <= GROUP_ROWS - rows);
        self->groups[(*groups)++] = first;
        self->most_rows = rows > self->most_rows ? rows : self->most_rows;
        self->most_sequences = i - first > self->most_sequences ? i - first : self->most_sequences;
    }
    self->groups[*groups] = count;
    return TEMPER_OK;
}

/* The rows whose next token is wanted; other log-probabilities become 0. */
static size_t list_targets(const lane *self, size_t first, size_t last) {
    size_t used = 0, row = 0;
    for (size_t i = first; i < last; i++) {
        const lm_scored *scored = &self->shared->scored[i];
        for (size_t j = 0; j < scored->count; j++) {
            scored->logprobs[j] = 0;
            if (j > 0 && (scored->wanted == NULL || scored->wanted[j])) {
                self->targets[used++] = (target){row + j - 1, scored->ids[j], &scored->logprobs[j]};
            }
        }
        row += scored->count;
    }
    return used;
}

typedef struct reading {
    const lm_kernels *kernels;
    const lm_real *logits;
    const target *targets;
    size_t n;
} reading;

static void read_range(void *argument, size_t begin, size_t end, size_t worker) {
    const reading *job = argument;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        const lm_real *logits = job->logits + i * job->n;
        lm_real maximum, log_sum;
        job->kernels->log_sum_exp(&maximum, &log_sum, logits, job->n);
        *job->targets[i].logprob = (float)((logits[job->targets[i].id] - maximum) - log_sum);
    }
}

static temper_status score_rows(const lane *self, size_t count, size_t job, temper_error *error) {
    const lm_model *model = self->shared->model;
    size_t n = model->config.vocabulary;
    for (size_t i = 0; i < count; i += self->chunk) {
        size_t rows = count - i < self->chunk ? count - i : self->chunk;
        for (size_t r = 0; r < rows; r++) {
            self->rows[r] = self->targets[i + r].row;
        }
        temper_status status =
            lm_model_logits(self->context, model, self->normed, self->rows, rows, self->logits, error);
        if (status) {
            return status;
        }
        reading values = {self->context->kernels, self->logits, self->targets + i, n};
        lm_context_ranges(self->context, rows * n * 8, rows, 1, read_range, &values);
        for (size_t r = 0; r < rows; r++) {
            if (!isfinite(*self->targets[i + r].logprob)) {
                return temper_fail(error, TEMPER_FAILED,
                                   "a log-probability in text %zu or soon after is not finite",
                                   self->shared->groups[job] + 1);
            }
        }
    }
    return TEMPER_OK;
}

static void average(const lane *self, size_t first, size_t last) {
    size_t n = self->shared->model->config.hidden, row = 0;
    for (size_t i = first; i < last; i++) {
        const lm_embedded *embedded = &self->shared->embedded[i];
        for (size_t d = 0; d < n; d++) {
            double sum = 0;
            for (size_t j = 0; j < embedded->count; j++) {
                sum += (double)self->normed[(row + j) * n + d];
            }
            embedded->mean[d] = (float)(sum / (double)embedded->count);
        }
        row += embedded->count;
    }
}

static temper_status run_group(const lane *self, size_t job, temper_error *error) {
    scoring *shared = self->shared;
    size_t first = shared->groups[job], last = shared->groups[job + 1];
    for (size_t i = first; i < last; i++) {
        const int32_t *ids = shared->scored != NULL ? shared->scored[i].ids : shared->embedded[i].ids;
        self->sequences[i - first] = (lm_sequence){NULL, ids, count_of(shared, i)};
    }
    temper_status status = lm_model_forward(self->context, shared->model, self->sequences, last - first,
                                            self->normed, NULL, error);
    if (status) {
        return status;
    }
    if (shared->scored == NULL) {
        average(self, first, last);
        return TEMPER_OK;
    }
    return score_rows(self, list_targets(self, first, last), job, error);
}

static void lane_close(lane *self) {
    free(self->sequences);
    free(self->normed);
    free(self->logits);
    free(self->targets);
    free(self->rows);
}

static temper_status lane_open(lane *self, scoring *shared, size_t index, temper_error *error) {
    const lm_config *config = &shared->model->config;
    *self = (lane){.shared = shared, .context = &shared->lanes.contexts[index]};
    self->chunk = LOGIT_BYTES / sizeof(lm_real) / config->vocabulary / 12 * 12;
    self->chunk = self->chunk < 12 ? 12 : self->chunk;
    self->sequences = calloc(shared->most_sequences + 1, sizeof *self->sequences);
    self->normed = lm_allocate(shared->most_rows + 1, config->hidden * sizeof *self->normed);
    self->targets = calloc(shared->most_rows + 1, sizeof *self->targets);
    self->rows = calloc(self->chunk, sizeof *self->rows);
    self->logits = lm_allocate(self->chunk, config->vocabulary * sizeof *self->logits);
    if (self->sequences == NULL || self->normed == NULL || self->targets == NULL || self->rows == NULL ||
        self->logits == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu rows of a batch", shared->most_rows);
    }
    return TEMPER_OK;
}

static void run_lane(void *argument, size_t index, size_t worker) {
    scoring *shared = argument;
    lane self;
    size_t job = 0;
    temper_error error = TEMPER_ERROR_INIT;
    (void)worker;
    temper_status status = lane_open(&self, shared, index, &error);
    while (!status && lm_lanes_take(&shared->lanes, &job)) {
        status = run_group(&self, job, &error);
        size_t sequences = shared->groups[job + 1] - shared->groups[job], tokens = 0;
        for (size_t i = 0; i < sequences; i++) {
            tokens += self.sequences[i].count;
        }
        if (!status && !lm_lanes_report(&shared->lanes, sequences, tokens)) {
            break;
        }
    }
    if (status) {
        lm_lanes_fail(&shared->lanes, status, &error, job);
    }
    lane_close(&self);
}

static temper_status run(const lm_context *context, scoring *self, size_t count, lm_progress *progress,
                         void *progress_context, temper_error *error) {
    size_t groups = 0;
    temper_status status = group(self, count, &groups, error);
    if (!status) {
        status = lm_lanes_open(&self->lanes, context, self->model, groups, progress, progress_context, error);
    }
    if (!status) {
        status = lm_lanes_run(&self->lanes, run_lane, self, error);
        lm_lanes_close(&self->lanes);
    }
    free(self->groups);
    return status;
}

temper_status lm_score(const lm_context *context, const lm_model *model, const lm_scored *sequences,
                       size_t count, lm_progress *progress, void *progress_context, temper_error *error) {
    scoring self = {.model = model, .scored = sequences};
    return run(context, &self, count, progress, progress_context, error);
}

temper_status lm_embed(const lm_context *context, const lm_model *model, const lm_embedded *sequences,
                       size_t count, temper_error *error) {
    scoring self = {.model = model, .embedded = sequences};
    for (size_t i = 0; i < count; i++) {
        if (sequences[i].count == 0) {
            return temper_fail(error, TEMPER_INVALID, "text %zu has no tokens: it has no mean", i + 1);
        }
    }
    return run(context, &self, count, NULL, NULL, error);
}

/* lanes.c: see lanes.h. */
#include "lanes.h"

#include <stdlib.h>

/* Packed weights up to here stay in the caches while every worker streams them for itself. */
#define SMALL_MODEL_BYTES ((uint64_t)48 << 20)

temper_status lm_lanes_open(lm_lanes *self, const lm_context *outer, const lm_model *model, size_t jobs,
                            lm_progress *progress, void *progress_context, temper_error *error) {
    bool small = lm_model_parameters(model) * outer->product->element_size <= SMALL_MODEL_BYTES;
    size_t workers = outer->parallel.workers;
    *self =
        (lm_lanes){.outer = outer, .jobs = jobs, .progress = progress, .progress_context = progress_context};
    self->count = small && jobs < workers ? jobs : small ? workers : 1;
    self->count = self->count == 0 ? 1 : self->count;
    self->error = (temper_error)TEMPER_ERROR_INIT;
    self->contexts = calloc(self->count, sizeof *self->contexts);
    if (self->contexts == NULL || pthread_mutex_init(&self->lock, NULL) != 0) {
        free(self->contexts);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu lanes", self->count);
    }
    if (self->count == 1) {
        self->contexts[0] = *outer;
        return TEMPER_OK;
    }
    for (size_t lane = 0; lane < self->count; lane++) {
        temper_status status = lm_context_init(&self->contexts[lane], outer->kernels, outer->product->profile,
                                               lm_serial(), error);
        if (status) {
            lm_lanes_close(self);
            return status;
        }
    }
    return TEMPER_OK;
}

temper_status lm_lanes_run(lm_lanes *self, lm_body *body, void *argument, temper_error *error) {
    if (self->count == 1) {
        body(argument, 0, 0);
    } else {
        self->outer->parallel.run(self->outer->parallel.self, self->count, body, argument);
    }
    return self->status == TEMPER_OK ? TEMPER_OK
                                     : temper_fail(error, self->status, "%s", self->error.message);
}

void lm_lanes_close(lm_lanes *self) {
    for (size_t lane = 0; self->count > 1 && lane < self->count; lane++) {
        lm_context_free(&self->contexts[lane]);
    }
    free(self->contexts);
    pthread_mutex_destroy(&self->lock);
}

bool lm_lanes_take(lm_lanes *self, size_t *job) {
    pthread_mutex_lock(&self->lock);
    bool taken = self->status == TEMPER_OK && self->next < self->jobs;
    if (taken) {
        *job = self->next++;
    }
    pthread_mutex_unlock(&self->lock);
    return taken;
}

bool lm_lanes_report(lm_lanes *self, size_t finished, size_t tokens) {
    pthread_mutex_lock(&self->lock);
    self->finished += finished;
    self->tokens += tokens;
    if (self->status == TEMPER_OK && self->progress != NULL &&
        self->progress(self->progress_context, self->finished, self->tokens) != 0) {
        self->status = temper_fail(&self->error, TEMPER_CANCELLED, "cancelled");
        self->failed_job = 0;
    }
    bool go_on = self->status == TEMPER_OK;
    pthread_mutex_unlock(&self->lock);
    return go_on;
}

void lm_lanes_fail(lm_lanes *self, temper_status status, const temper_error *error, size_t job) {
    pthread_mutex_lock(&self->lock);
    if (self->status == TEMPER_OK || job < self->failed_job) {
        self->status = status;
        self->error = *error;
        self->failed_job = job;
    }
    pthread_mutex_unlock(&self->lock);
}

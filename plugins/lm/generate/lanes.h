/* lanes.h: how a batch of sequences uses the workers.
 *
 * A large model: one lane, whose products are shared by all workers, so that its weights are read once a step. A small
 * one (it fits a cache): a lane for each worker, each with whole sequences and no hand-offs inside. Results are a
 * sequence's own either way, so the choice never shows. */
#ifndef LM_LANES_H
#define LM_LANES_H

#include "generate.h"

#include <pthread.h>

typedef struct lm_lanes {
    const lm_context *outer;
    size_t count;
    lm_context *contexts; /* one a lane */

    /* what lanes share */
    pthread_mutex_t lock;
    size_t next; /* the first job nobody took yet */
    size_t jobs;
    size_t finished, tokens;
    lm_progress *progress;
    void *progress_context;
    temper_status status; /* the first failure; the others stop at their next step */
    size_t failed_job;
    temper_error error;
} lm_lanes;

temper_status lm_lanes_open(lm_lanes *self, const lm_context *outer, const lm_model *model, size_t jobs,
                            lm_progress *progress, void *progress_context, temper_error *error);
/* body(argument, lane, worker) once a lane; returns the shared status and message. */
temper_status lm_lanes_run(lm_lanes *self, lm_body *body, void *argument, temper_error *error);
void lm_lanes_close(lm_lanes *self);

/* Takes the next job; false when there is none, or a lane failed. */
bool lm_lanes_take(lm_lanes *self, size_t *job);
/* Counts and reports; false when the work is to stop (cancelled, or another lane failed). */
bool lm_lanes_report(lm_lanes *self, size_t finished, size_t tokens);
/* A failure at a job: the one with the lowest number is kept. */
void lm_lanes_fail(lm_lanes *self, temper_status status, const temper_error *error, size_t job);

#endif

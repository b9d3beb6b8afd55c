/* internal.h: what the files of train/ share. */
#ifndef LM_TRAIN_INTERNAL_H
#define LM_TRAIN_INTERNAL_H

#include "train.h"

#include <pthread.h>
#include <stdatomic.h>

/* Where each tensor's gradient lies in the flat vector; SIZE_MAX: not trained. By [role][layer]. */
typedef struct lm_places {
    size_t *weight, *a, *b; /* [LM_ROLE_COUNT * layers] */
} lm_places;

static inline size_t lm_place(const lm_model *model, lm_role role, size_t layer) {
    return (size_t)role * model->config.layers + layer;
}

/* A row of logits that counts: predicted from row `row` of the forward pass. */
typedef struct lm_target {
    size_t row;
    int32_t id;
    uint8_t use;     /* LM_TRAINED, LM_LIKELIHOOD */
    bool correct;    /* the likeliest token is this one */
    float reference; /* the reference model's log-probability, where there is one */
    lm_real logprob; /* found by lm_loss_logprobs or lm_loss_backward */
    lm_real weight;  /* dlogits = weight * (softmax - one hot) */
} lm_target;

/* What one worker computes with: allocated once, grown when a longer sequence comes. */
typedef struct lm_work {
    lm_context context; /* serial; the trainer's own while a shard runs alone (shards.c) */
    bool alone;
    size_t rows; /* capacity in rows */
    lm_activations *activations;
    lm_real *final_normed, *d_final, *d_stream, *d_normed; /* [rows][H] */
    lm_real *d_query, *d_attended;                         /* [rows][A*D] */
    lm_real *d_key, *d_value;                              /* [rows][G*D] */
    lm_real *d_gate, *d_up, *d_activated;                  /* [rows][F] */
    lm_real *d_fused;                                      /* [rows] of a fused projection */
    lm_real *d_branch;      /* [rows][H], when norms follow branches or lie side by side */
    lm_real *scatter;       /* [V][H] of a tied embedding, or NULL */
    size_t *positions;      /* [rows] 0, 1, 2 .. */
    lm_target *targets;     /* [rows] */
    size_t group;           /* capacity in sequences */
    lm_sequence *sequences; /* [group] */
    size_t *offsets;        /* [group + 1] rows of each sequence */
    size_t *target_offsets; /* [group + 1] targets of each sequence */
    /* logits */
    size_t chunk;
    lm_real *logits, *chunk_input, *d_chunk; /* [chunk][V], [chunk][H] */
    lm_real *capped;                         /* [V]: a row of logits, when they are capped; or NULL */
    size_t *chunk_offsets;                   /* [chunk + 1] */
    size_t
        loaded; /* number of targets whose logits are in `logits` since the last forward, all of them or 0 */
} lm_work;

struct lm_trainer {
    const lm_context *outer;
    lm_context wide; /* as outer: for a shard that has all workers to itself */
    lm_model *model;
    lm_train_options options;
    lm_trained *trained;
    size_t trained_count, parameters;
    lm_places places;
    bool adapters_only, embedding_trained;
    lm_real *moment1, *moment2; /* made at the first step */
    lm_real *score_head;        /* [H] of a reward model, or NULL */
    size_t score_place;
    uint64_t header[8]; /* lm_trainer_state */
    size_t step;
    lm_work *works; /* [outer->parallel.workers] */
    /* the gradient of the last batch: root of the tree of shards, and what makes a mean of it */
    lm_real *gradient;
    double gradient_scale;
    /* fixed pieces of the flat vector: who owns which value in the optimiser never shows */
    struct lm_piece {
        size_t tensor, start, count;
        double squares;
    } * pieces;
    size_t piece_count;
    /* gradient buffers between shards */
    pthread_mutex_t lock;
    lm_real **spare;
    size_t spare_count, spare_capacity;
};

/* rows * columns values, zeroed; NULL when that overflows or memory is short. Freed with free. */
static inline lm_real *lm_train_allocate(size_t rows, size_t columns) {
    size_t count;
    return __builtin_mul_overflow(rows, columns, &count) ? NULL : lm_allocate(count, sizeof(lm_real));
}

/* work.c */
temper_status lm_work_init(lm_work *self, const lm_trainer *trainer, temper_error *error);
void lm_work_free(lm_work *self);
/* Room for a group of `count` examples. */
temper_status lm_work_reserve(lm_work *self, const lm_trainer *trainer, size_t rows, size_t count,
                              temper_error *error);

/* forward.c: the group's forward pass and its targets (row, id, weight 1). With `keep`, ready for backward. */
temper_status lm_group_forward(lm_work *work, const lm_trainer *trainer, const lm_example *const *examples,
                               size_t count, bool keep, temper_error *error);

/* batch.c */
temper_status lm_example_check(const lm_model *model, const lm_example *example, size_t index,
                               const char *what, temper_error *error);
/* How many of the units (of `stride` examples each) beginning at `first` make one group. */
size_t lm_group_size(const lm_trainer *self, const lm_example *const *examples, size_t first, size_t end,
                     size_t stride);
/* Log-probability of a sequence of the group: its trained targets' in order, in double. */
double lm_sequence_logprob(const lm_work *work, size_t sequence);
double lm_sequence_reward(const lm_work *work, const lm_trainer *trainer, size_t sequence);

/* loss.c */
temper_status lm_loss_logprobs(lm_work *work, const lm_model *model, size_t sequences, temper_error *error);
/* Fills d_final (all rows) from the targets' weights; adds to d_head ([V][H], or NULL: frozen). Also logprobs. */
temper_status lm_loss_backward(lm_work *work, const lm_model *model, size_t sequences, size_t rows,
                               lm_real *d_head, temper_error *error);

/* backward.c: from d_final down to the embedding; adds to the flat gradient. */
temper_status lm_group_backward(lm_work *work, const lm_trainer *trainer, size_t sequences, lm_real *gradient,
                                temper_error *error);

/* shards.c: calls shard(context, index, work, gradient) for index < count, each on one worker with a zeroed gradient,
 * and leaves their sum over the fixed tree in trainer->gradient. */
typedef temper_status lm_shard(void *context, size_t index, lm_work *work, lm_real *gradient,
                               temper_error *error);
temper_status lm_shards_run(lm_trainer *trainer, size_t count, lm_shard *shard, void *context,
                            temper_error *error);

/* optimiser.c */
temper_status lm_pieces_init(lm_trainer *self, temper_error *error);
temper_status lm_moments_reserve(lm_trainer *self, temper_error *error);

/* parameters.c */
temper_status lm_parameters_collect(lm_trainer *self, temper_error *error);

#endif

/* shards.c: gradient shards, computed in any order and summed in one.
 *
 * The tree is that of a binary counter: at level l, node i is the sum of nodes 2i and 2i+1 of the level below, the left
 * one first; a node without a right neighbour is passed up as it is. Workers take shards in ascending order, so about
 * log2(shards) + workers gradients exist at a time. Who adds two finished nodes does not show: the tree is fixed. */
#include "internal.h"

#include <stdlib.h>

typedef struct running {
    lm_trainer *trainer;
    lm_shard *shard;
    void *context;
    size_t count, levels;
    lm_real **nodes; /* [levels][count]: finished, waiting for a neighbour */
    atomic_size_t next;
    atomic_bool failed;
    temper_status status;
    temper_error *error;
} running;

static void give_up(running *self, temper_status status, const temper_error *cause) {
    pthread_mutex_lock(&self->trainer->lock);
    if (!atomic_exchange(&self->failed, true)) {
        self->status = status;
        if (self->error != NULL) {
            memcpy(self->error->message, cause->message, sizeof cause->message);
        }
    }
    pthread_mutex_unlock(&self->trainer->lock);
}

static lm_real *take_buffer(lm_trainer *trainer) {
    lm_real *buffer = NULL;
    pthread_mutex_lock(&trainer->lock);
    if (trainer->spare_count > 0) {
        buffer = trainer->spare[--trainer->spare_count];
    }
    pthread_mutex_unlock(&trainer->lock);
    if (buffer != NULL) {
        memset(buffer, 0, trainer->parameters * sizeof *buffer);
        return buffer;
    }
    return lm_train_allocate(trainer->parameters, 1);
}

/* Keeps a buffer for the next shard; `spare` has room for every buffer that can exist. */
static void give_buffer(lm_trainer *trainer, lm_real *buffer) {
    pthread_mutex_lock(&trainer->lock);
    if (trainer->spare_count < trainer->spare_capacity) {
        trainer->spare[trainer->spare_count++] = buffer;
        buffer = NULL;
    }
    pthread_mutex_unlock(&trainer->lock);
    free(buffer);
}

/* Carries a finished node up as far as its neighbours are there. */
static void carry(running *self, size_t index, lm_real *sum, const lm_kernels *kernels) {
    size_t width = self->count;
    for (size_t level = 0; width > 1; level++) {
        lm_real *other = NULL;
        if ((index ^ 1) < width) {
            lm_real **slot = &self->nodes[level * self->count + (index ^ 1)];
            pthread_mutex_lock(&self->trainer->lock);
            other = *slot;
            *slot = NULL;
            if (other == NULL) {
                self->nodes[level * self->count + index] = sum;
            }
            pthread_mutex_unlock(&self->trainer->lock);
            if (other == NULL) {
                return; /* whoever brings the neighbour goes on */
            }
            lm_real *left = index & 1 ? other : sum, *right = index & 1 ? sum : other;
            kernels->add(left, right, self->trainer->parameters);
            give_buffer(self->trainer, right);
            sum = left;
        }
        index /= 2;
        width = (width + 1) / 2;
    }
    self->trainer->gradient = sum;
}

static void body(void *context, size_t unused, size_t worker) {
    running *self = context;
    (void)unused; /* shards are taken in ascending order, whatever order the workers are started in */
    size_t index = atomic_fetch_add(&self->next, 1);
    if (atomic_load(&self->failed)) {
        return;
    }
    lm_work *work = &self->trainer->works[worker];
    temper_error error = TEMPER_ERROR_INIT;
    lm_real *gradient = take_buffer(self->trainer);
    if (gradient == NULL) {
        temper_status status = temper_fail(&error, TEMPER_NO_MEMORY, "no memory for a gradient of %zu values",
                                           self->trainer->parameters);
        give_up(self, status, &error);
        return;
    }
    temper_status status = self->shard(self->context, index, work, gradient, &error);
    if (status) {
        give_buffer(self->trainer, gradient);
        give_up(self, status, &error);
        return;
    }
    carry(self, index, gradient, work->context.kernels);
}

temper_status lm_shards_run(lm_trainer *trainer, size_t count, lm_shard *shard, void *context,
                            temper_error *error) {
    running self = {.trainer = trainer, .shard = shard, .context = context, .count = count, .error = error};
    for (size_t width = count; width > 1; width = (width + 1) / 2) {
        self.levels++;
    }
    if (trainer->gradient != NULL) {
        give_buffer(trainer, trainer->gradient);
        trainer->gradient = NULL;
    }
    self.nodes = calloc((self.levels + 1) * count, sizeof *self.nodes);
    if (self.nodes == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a tree of %zu shards", count);
    }
    atomic_init(&self.next, 0);
    atomic_init(&self.failed, false);
    /* Shards that do not fill the workers run one after another, each with every worker inside its layers. */
    size_t workers = trainer->outer->parallel.workers, together = count / workers * workers;
    if (together > 0) {
        trainer->outer->parallel.run(trainer->outer->parallel.self, together, body, &self);
    }
    for (size_t i = together; i < count; i++) {
        lm_work *work = &trainer->works[0];
        lm_context serial = work->context;
        work->context = trainer->wide;
        work->alone = true;
        body(&self, i, 0);
        work->context = serial;
        work->alone = false;
    }
    for (size_t i = 0; i < (self.levels + 1) * count; i++) {
        if (self.nodes[i] != NULL) {
            give_buffer(trainer, self.nodes[i]);
        }
    }
    free(self.nodes);
    return self.status;
}

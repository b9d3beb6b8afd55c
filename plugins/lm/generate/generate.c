/* generate.c: requests through slots.
 *
 * Invariant: each step runs the new tokens of all slots through one forward pass (a prompt's next piece, or the token
 * sampled last), and then samples one token for each slot whose prompt is through. A slot is one request's from its
 * first token to its last; draw i of a request makes its i-th token, whenever that is. */
#include "generate.h"

#include "lanes.h"
#include "sampler.h"

#include <stdlib.h>
#include <temper/rng.h>

enum { PROMPT_ROWS = 256, SLOTS_A_LANE = 32 };
#define CACHE_BYTES ((size_t)1 << 30) /* of all slots together, when the caller leaves their number open */

typedef struct lane_slot {
    lm_cache *cache;
    const lm_request *request; /* NULL: free */
    lm_answer *answer;
    size_t job, fed, limit; /* prompt tokens through the model; tokens it may have */
    int32_t last;           /* sampled, not yet through the model */
} lane_slot;

typedef struct generation {
    const lm_model *model;
    const lm_request *requests;
    lm_answer *answers;
    size_t capacity; /* positions of a cache */
    size_t slots;    /* of a lane */
    lm_on_token *token;
    void *token_context;
    lm_lanes lanes;
} generation;

typedef struct lane {
    generation *shared;
    const lm_context *context;
    lane_slot *slots;
    lm_sequence *sequences;
    size_t *slot_of, *row_of; /* [slots]: of sequences; of those to be sampled */
    lm_real *normed, *logits; /* [slots + PROMPT_ROWS][H], [slots][V] */
    lm_sampler sampler;
    size_t job; /* the one at work, for messages */
    size_t finished, tokens;
} lane;

static void lane_close(lane *self) {
    for (size_t i = 0; self->slots != NULL && i < self->shared->slots; i++) {
        lm_cache_free(self->slots[i].cache);
    }
    free(self->slots);
    free(self->sequences);
    free(self->slot_of);
    free(self->row_of);
    free(self->normed);
    free(self->logits);
    lm_sampler_close(&self->sampler);
}

static temper_status lane_open(lane *self, generation *shared, size_t index, temper_error *error) {
    const lm_config *config = &shared->model->config;
    size_t slots = shared->slots;
    *self = (lane){.shared = shared, .context = &shared->lanes.contexts[index]};
    self->slots = calloc(slots, sizeof *self->slots);
    self->sequences = calloc(slots, sizeof *self->sequences);
    self->slot_of = calloc(slots, sizeof *self->slot_of);
    self->row_of = calloc(slots, sizeof *self->row_of);
    self->normed = lm_allocate(slots + PROMPT_ROWS, config->hidden * sizeof *self->normed);
    self->logits = lm_allocate(slots, config->vocabulary * sizeof *self->logits);
    if (self->slots == NULL || self->sequences == NULL || self->slot_of == NULL || self->row_of == NULL ||
        self->normed == NULL || self->logits == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu sequences at once", slots);
    }
    return lm_sampler_open(&self->sampler, self->context->kernels, config->vocabulary, error);
}

static void leave(lane *self, lane_slot *slot, lm_finish finish) {
    slot->answer->finish = finish;
    slot->request = NULL;
    self->finished++;
}

/* Gives free slots waiting requests. */
static temper_status enter(lane *self, temper_error *error) {
    generation *shared = self->shared;
    for (size_t i = 0; i < shared->slots; i++) {
        lane_slot *slot = &self->slots[i];
        size_t room;
        if (slot->request != NULL || !lm_lanes_take(&shared->lanes, &slot->job)) {
            continue;
        }
        self->job = slot->job;
        slot->request = &shared->requests[slot->job];
        slot->answer = &shared->answers[slot->job];
        slot->fed = 0;
        room = shared->model->config.context - slot->request->prompt_count;
        slot->limit = slot->request->max_tokens < room ? slot->request->max_tokens : room;
        slot->answer->ids = malloc((slot->limit + 1) * sizeof *slot->answer->ids);
        if (slot->answer->ids == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for an answer of %zu tokens", slot->limit);
        }
        if (slot->limit == 0) {
            leave(self, slot, LM_FINISH_LENGTH);
            i--;
            continue;
        }
        if (slot->cache == NULL) {
            temper_status status =
                lm_cache_new(self->context, &shared->model->config, shared->capacity, &slot->cache, error);
            if (status) {
                return status;
            }
        }
        lm_cache_clear(slot->cache);
    }
    return TEMPER_OK;
}

/* The new tokens of this step; *chosen of them (self->row_of) end in a token to sample. */
static size_t gather(lane *self, size_t *chosen) {
    size_t budget = PROMPT_ROWS, used = 0, rows = 0;
    *chosen = 0;
    for (size_t i = 0; i < self->shared->slots; i++) {
        lane_slot *slot = &self->slots[i];
        if (slot->request == NULL) {
            continue;
        }
        size_t waiting = slot->request->prompt_count - slot->fed;
        lm_sequence *sequence = &self->sequences[used];
        if (waiting > 0) {
            size_t piece = waiting < budget ? waiting : budget;
            if (piece == 0) {
                continue;
            }
            *sequence = (lm_sequence){slot->cache, slot->request->prompt + slot->fed, piece};
            slot->fed += piece;
            budget -= piece;
        } else {
            *sequence = (lm_sequence){slot->cache, &slot->last, 1};
        }
        rows += sequence->count;
        used++;
        if (slot->fed == slot->request->prompt_count) {
            self->slot_of[*chosen] = i;
            self->row_of[(*chosen)++] = rows - 1;
        }
    }
    return used;
}

static bool is_stop(const lm_request *request, int32_t id) {
    for (size_t i = 0; i < request->stop_count; i++) {
        if (request->stop[i] == id) {
            return true;
        }
    }
    return false;
}

static temper_status sample(lane *self, lane_slot *slot, const lm_real *logits, temper_error *error) {
    const lm_request *request = slot->request;
    lm_answer *answer = slot->answer;
    double unit = temper_random_unit(request->key, request->stream, answer->count), logprob;
    const lm_real *adjusted = lm_sampler_adjust(&self->sampler, logits, request, answer->ids, answer->count);
    if (adjusted == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for penalties on %zu tokens",
                           self->sampler.vocabulary);
    }
    int32_t id =
        lm_sampler_pick_adjusted(&self->sampler, logits, adjusted, &request->sampling, unit, &logprob);
    if (id < 0) {
        self->job = slot->job;
        return temper_fail(error, TEMPER_FAILED,
                           "the model's logits are not finite at token %zu of answer %zu", answer->count + 1,
                           slot->job + 1);
    }
    answer->logprob += logprob;
    if (is_stop(request, id)) {
        leave(self, slot, LM_FINISH_STOP);
        return TEMPER_OK;
    }
    answer->ids[answer->count++] = slot->last = id;
    self->tokens++;
    if (self->shared->token != NULL && self->shared->token(self->shared->token_context, id) != 0) {
        leave(self, slot, LM_FINISH_STOP);
    } else if (request->ended != NULL && request->ended(request->ended_context, answer->ids, answer->count)) {
        leave(self, slot, LM_FINISH_STOP);
    } else if (answer->count == slot->limit) {
        leave(self, slot, LM_FINISH_LENGTH);
    }
    return TEMPER_OK;
}

/* One step; *busy false when there was nothing to do. */
static temper_status step(lane *self, bool *busy, temper_error *error) {
    const lm_model *model = self->shared->model;
    size_t chosen;
    temper_status status = enter(self, error);
    if (status) {
        return status;
    }
    size_t used = gather(self, &chosen);
    *busy = used > 0;
    if (used == 0) {
        return TEMPER_OK;
    }
    status = lm_model_forward(self->context, model, self->sequences, used, self->normed, NULL, error);
    if (!status) {
        status =
            lm_model_logits(self->context, model, self->normed, self->row_of, chosen, self->logits, error);
    }
    for (size_t i = 0; !status && i < chosen; i++) {
        status =
            sample(self, &self->slots[self->slot_of[i]], self->logits + i * model->config.vocabulary, error);
    }
    return status;
}

static void run_lane(void *argument, size_t index, size_t worker) {
    generation *shared = argument;
    lane self;
    temper_error error = TEMPER_ERROR_INIT;
    bool busy = true;
    (void)worker;
    temper_status status = lane_open(&self, shared, index, &error);
    while (!status && busy) {
        status = step(&self, &busy, &error);
        if (!status && !lm_lanes_report(&shared->lanes, self.finished, self.tokens)) {
            break;
        }
        self.finished = self.tokens = 0;
    }
    if (status) {
        lm_lanes_fail(&shared->lanes, status, &error, self.job);
    }
    lane_close(&self);
}

static temper_status check(const lm_model *model, const lm_request *requests, size_t count, size_t *capacity,
                           temper_error *error) {
    *capacity = 1;
    for (size_t i = 0; i < count; i++) {
        const lm_request *request = &requests[i];
        size_t context = model->config.context;
        if (request->prompt_count == 0) {
            return temper_fail(error, TEMPER_INVALID,
                               "prompt %zu is empty: a model continues at least one token", i + 1);
        }
        if (request->prompt_count >= context) {
            return temper_fail(error, TEMPER_INVALID,
                               "prompt %zu has %zu tokens; the model's context holds %zu, and "
                               "the answer needs room in it",
                               i + 1, request->prompt_count, context);
        }
        temper_status status = lm_sampling_check(&request->sampling, error);
        if (!status) {
            status = lm_penalties_check(&request->penalties, model->config.vocabulary, error);
        }
        for (size_t j = 0; !status && j < request->prompt_count; j++) {
            if (request->prompt[j] < 0 || (size_t)request->prompt[j] >= model->config.vocabulary) {
                status = temper_fail(error, TEMPER_INVALID,
                                     "prompt %zu: token id %d is outside the vocabulary of %zu", i + 1,
                                     (int)request->prompt[j], model->config.vocabulary);
            }
        }
        if (status) {
            return status;
        }
        size_t room = context - request->prompt_count;
        size_t positions = request->prompt_count + (request->max_tokens < room ? request->max_tokens : room);
        *capacity = positions > *capacity ? positions : *capacity;
    }
    return TEMPER_OK;
}

static size_t choose_slots(const generation *self, const lm_context *context, size_t wanted, size_t count) {
    const lm_config *config = &self->model->config;
    size_t lanes = self->lanes.count,
           bytes = config->layers * lm_cache_layer_bytes(context, config, self->capacity);
    if (wanted == 0) {
        wanted = CACHE_BYTES / (bytes + 1);
        wanted = wanted > SLOTS_A_LANE * lanes ? SLOTS_A_LANE * lanes : wanted;
    }
    wanted = wanted < count ? wanted : count;
    wanted = (wanted + lanes - 1) / lanes;
    return wanted == 0 ? 1 : wanted;
}

static temper_status generate(const lm_context *context, generation *self, size_t count, size_t slots,
                              lm_progress *progress, void *progress_context, temper_error *error) {
    temper_status status = check(self->model, self->requests, count, &self->capacity, error);
    if (!status) {
        status = lm_lanes_open(&self->lanes, context, self->model, count, progress, progress_context, error);
    }
    if (status) {
        return status;
    }
    memset(self->answers, 0, count * sizeof *self->answers);
    self->slots = choose_slots(self, context, slots, count);
    status = lm_lanes_run(&self->lanes, run_lane, self, error);
    lm_lanes_close(&self->lanes);
    for (size_t i = 0; status && i < count; i++) {
        free(self->answers[i].ids);
        self->answers[i].ids = NULL;
    }
    return status;
}

temper_status lm_generate(const lm_context *context, const lm_model *model, const lm_request *requests,
                          size_t count, size_t slots, lm_progress *progress, void *progress_context,
                          lm_answer *answers, temper_error *error) {
    generation self = {.model = model, .requests = requests, .answers = answers};
    return generate(context, &self, count, slots, progress, progress_context, error);
}

temper_status lm_generate_stream(const lm_context *context, const lm_model *model, const lm_request *request,
                                 lm_on_token *token, void *token_context, lm_answer *answer,
                                 temper_error *error) {
    generation self = {.model = model,
                       .requests = request,
                       .answers = answer,
                       .token = token,
                       .token_context = token_context};
    return generate(context, &self, 1, 1, NULL, NULL, error);
}

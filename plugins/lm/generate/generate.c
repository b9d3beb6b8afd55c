/* generate.c: requests through slots.
 *
 * Invariant: each step runs the new tokens of all slots through one forward pass (a prompt's next piece, or the token
 * sampled last), and then samples one token for each slot whose prompt is through. A slot is one request's from its
 * first token to its last; draw i of a request makes its i-th token, whenever that is.
 *
 * Requests enter in the order of their prompts, so that those that begin alike are neighbours: the first computes what
 * they have in common, the others wait for that, share its blocks of keys and values and go on from there. */
#include "generate.h"

#include "lanes.h"
#include "plan.h"
#include "prefixes.h"
#include "sampler.h"

#include <stdlib.h>
#include <temper/rng.h>

typedef struct lane_slot {
    const lm_request *request; /* NULL: free */
    lm_cache *cache;           /* NULL: waits for a beginning that another one computes, or for memory */
    lm_answer *answer;
    size_t job, fed, limit; /* prompt tokens through the model; tokens it may have */
    int32_t last;           /* sampled, not yet through the model */
    lm_real *row;           /* hidden state of the prompt's last token, when that is through ... */
    bool ready;             /* ... and this slot has not yet gone on from it */
} lane_slot;

typedef struct generation {
    const lm_model *model;
    const lm_request *requests;
    lm_answer *answers;
    const lm_generation *how;
    lm_plan plan;
    size_t *order; /* requests by their prompts */
    size_t count, chunk;
    lm_prefixes *prefixes;
    lm_on_token *token;
    void *token_context;
    lm_lanes lanes;
    lm_counts counts; /* under lanes.lock */
} generation;

/* What was chosen for a slot. */
typedef struct choice {
    int32_t id; /* -1: the logits are not finite; -2: no memory */
    double logprob;
} choice;

typedef struct lane {
    generation *shared;
    const lm_context *context;
    lm_prefix_store *store;
    lane_slot *slots;
    lm_sequence *sequences;
    size_t *slot_of, *row_of; /* [slots]: of sequences; of those to be sampled */
    lm_real *normed, *logits; /* [2 slots + LM_PROMPT_ROWS][H], [slots][V] */
    lm_sampler *samplers;     /* one a worker */
    struct choice *choices;   /* [slots] */
    size_t next, end;         /* requests of its own, in shared->order */
    size_t job;               /* the one at work, for messages */
    size_t finished, tokens;
    lm_counts counts;
} lane;

static void close_slot(lane_slot *slot) {
    lm_cache_free(slot->cache);
    free(slot->row);
    *slot = (lane_slot){0};
}

static void lane_close(lane *self) {
    generation *shared = self->shared;
    lm_counts *all = &shared->counts;
    for (size_t i = 0; self->slots != NULL && i < shared->plan.slots; i++) {
        close_slot(&self->slots[i]);
    }
    pthread_mutex_lock(&shared->lanes.lock);
    all->prompt_tokens += self->counts.prompt_tokens;
    all->prompt_computed += self->counts.prompt_computed;
    all->answer_tokens += self->counts.answer_tokens;
    all->steps += self->counts.steps;
    all->streams += self->counts.streams;
    all->cache_bytes +=
        self->store->pool == NULL ? 0 : self->store->pool->most * self->store->pool->block_bytes;
    pthread_mutex_unlock(&shared->lanes.lock);
    if (self->store->pool != NULL) {
        lm_cache_pool_trim(self->store->pool);
    }
    free(self->slots);
    free(self->sequences);
    free(self->slot_of);
    free(self->row_of);
    free(self->normed);
    free(self->logits);
    for (size_t i = 0; self->samplers != NULL && i < self->context->parallel.workers; i++) {
        lm_sampler_close(&self->samplers[i]);
    }
    free(self->samplers);
    free(self->choices);
}

static temper_status lane_open(lane *self, generation *shared, size_t index, temper_error *error) {
    const lm_config *config = &shared->model->config;
    size_t slots = shared->plan.slots;
    *self = (lane){.shared = shared,
                   .context = &shared->lanes.contexts[index],
                   .store = &shared->prefixes->stores[index]};
    self->slots = calloc(slots, sizeof *self->slots);
    self->sequences = calloc(slots, sizeof *self->sequences);
    self->slot_of = calloc(slots, sizeof *self->slot_of);
    self->row_of = calloc(slots, sizeof *self->row_of);
    self->samplers = calloc(self->context->parallel.workers, sizeof *self->samplers);
    self->choices = calloc(slots, sizeof *self->choices);
    self->normed = lm_allocate(2 * slots + LM_PROMPT_ROWS, config->hidden * sizeof *self->normed);
    self->logits = lm_allocate(slots, config->vocabulary * sizeof *self->logits);
    if (self->slots == NULL || self->sequences == NULL || self->slot_of == NULL || self->row_of == NULL ||
        self->normed == NULL || self->logits == NULL || self->samplers == NULL || self->choices == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu sequences at once", slots);
    }
    temper_status status = lm_prefix_store_open(self->store, self->context, config, shared->plan.block,
                                                shared->plan.blocks, error);
    for (size_t i = 0; !status && i < self->context->parallel.workers; i++) {
        status = lm_sampler_open(&self->samplers[i], self->context->kernels, config->vocabulary, error);
    }
    return status;
}

/* What it computed stays for others: its prompt, or, for a conversation, the answer as well. */
static void keep_prefix(lane *self, lane_slot *slot) {
    const lm_request *request = slot->request;
    size_t made = slot->cache->length, prompt = request->prompt_count;
    int32_t *all = NULL;
    const int32_t *ids = request->prompt;
    if (self->shared->token != NULL && made > prompt) {
        all = malloc(made * sizeof *all);
        if (all != NULL) {
            memcpy(all, ids, prompt * sizeof *all);
            memcpy(all + prompt, slot->answer->ids, (made - prompt) * sizeof *all);
            ids = all;
        }
    }
    made = ids == request->prompt && made > prompt ? prompt : made;
    lm_prefix_store_keep(self->store, slot->cache, ids, made, slot->row, slot->row == NULL ? 0 : prompt);
    slot->cache = NULL;
    slot->row = NULL;
    free(all);
}

static void leave(lane *self, lane_slot *slot, lm_finish finish) {
    slot->answer->finish = finish;
    self->finished++;
    if (slot->cache != NULL && !self->shared->how->unshared) {
        keep_prefix(self, slot);
    }
    close_slot(slot);
}

/* The next request that nobody took: its place in shared->order. */
static bool take(lane *self, size_t *place) {
    generation *shared = self->shared;
    size_t chunk;
    if (self->next == self->end) {
        if (!lm_lanes_take(&shared->lanes, &chunk)) {
            return false;
        }
        self->next = chunk * shared->chunk;
        self->end = shared->count - self->next < shared->chunk ? shared->count : self->next + shared->chunk;
    }
    *place = self->next++;
    return true;
}

/* Gives free slots waiting requests. */
static temper_status seat(lane *self, temper_error *error) {
    generation *shared = self->shared;
    for (size_t i = 0; i < shared->plan.slots; i++) {
        lane_slot *slot = &self->slots[i];
        size_t room, place;
        if (slot->request != NULL || !take(self, &place)) {
            continue;
        }
        *slot = (lane_slot){.job = shared->order[place]};
        self->job = slot->job;
        slot->request = &shared->requests[slot->job];
        slot->answer = &shared->answers[slot->job];
        room = shared->model->config.context - slot->request->prompt_count;
        slot->limit = slot->request->max_tokens < room ? slot->request->max_tokens : room;
        slot->answer->ids = malloc((slot->limit + 1) * sizeof *slot->answer->ids);
        if (slot->answer->ids == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for an answer of %zu tokens", slot->limit);
        }
        if (slot->limit == 0) {
            leave(self, slot, LM_FINISH_LENGTH);
            i--;
        }
    }
    return TEMPER_OK;
}

/* Positions that a request's keys and values take: its last token never goes through the model. */
static size_t positions_of(const lane_slot *slot) {
    return slot->request->prompt_count + slot->limit - 1;
}

/* Blocks that sequences at work may still come to want. */
static size_t promised(const lane *self) {
    size_t blocks = 0;
    for (size_t i = 0; i < self->shared->plan.slots; i++) {
        const lane_slot *slot = &self->slots[i];
        if (slot->request != NULL && slot->cache != NULL) {
            blocks += lm_cache_wanted(slot->cache, positions_of(slot));
        }
    }
    return blocks;
}

/* The best beginning there is now; *wait: a better one is on its way. */
static lm_prefix find_prefix(lane *self, const lane_slot *slot, size_t *length, bool *wait) {
    const lm_request *request = slot->request;
    lm_prefix best = {0};
    *wait = false;
    *length = 0;
    if (self->shared->how->unshared) {
        return best;
    }
    lm_kept *kept = lm_prefix_store_find(self->store, request->prompt, request->prompt_count, length);
    if (kept != NULL) {
        best = kept->prefix;
    }
    size_t coming = 0;
    for (size_t i = 0; i < self->shared->plan.slots; i++) {
        const lane_slot *other = &self->slots[i];
        if (other->request == NULL || other->cache == NULL) {
            continue;
        }
        lm_prefix prefix = {
            other->cache, other->request->prompt,      other->request->prompt_count, other->fed,
            other->row,   other->request->prompt_count};
        size_t now, later;
        lm_prefix_match(&prefix, request->prompt, request->prompt_count, &now, &later);
        if (now > *length) {
            *length = now;
            best = prefix;
            kept = NULL;
        }
        coming = later > coming ? later : coming;
    }
    if (kept != NULL) {
        kept->touched = ++self->store->clock;
    }
    *wait = coming >= *length + LM_LEAST_SHARED ||
            (coming == request->prompt_count && *length < request->prompt_count);
    return best;
}

/* Is there room for all that this sequence and those at work may come to want? What is kept makes room. */
static bool admit(lane *self) {
    const lm_cache_pool *pool = self->store->pool;
    while (pool->limit != 0 && pool->used + promised(self) > pool->limit) {
        if (!lm_prefix_store_drop(self->store)) {
            return false;
        }
    }
    return true;
}

static temper_status begin(lane *self, lane_slot *slot, bool *begun, temper_error *error) {
    const lm_request *request = slot->request;
    size_t hidden = self->shared->model->config.hidden, length;
    bool wait;
    lm_cache *cache = NULL;
    lm_prefix prefix = find_prefix(self, slot, &length, &wait);
    *begun = false;
    if (wait) {
        return TEMPER_OK;
    }
    temper_status status = lm_cache_open(self->store->pool, positions_of(slot) + 1, &cache, error);
    lm_real *row = malloc(hidden * sizeof *row);
    if (!status && row == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for a prompt's last row");
    }
    if (status) {
        goto out;
    }
    bool whole = length == request->prompt_count;
    if (length > 0) {
        lm_cache_share(cache, prefix.cache, length);
    }
    if (whole) {
        memcpy(row, prefix.row, hidden * sizeof *row);
    }
    slot->cache = cache;
    bool admitted = admit(self);
    slot->cache = NULL;
    if (!admitted) {
        goto out;
    }
    slot->cache = cache;
    slot->fed = length;
    slot->row = whole ? row : NULL;
    slot->ready = whole;
    cache = NULL;
    row = whole ? NULL : row;
    *begun = true;
    self->counts.prompt_tokens += request->prompt_count;
    self->counts.prompt_computed += request->prompt_count - length;
out:
    lm_cache_free(cache);
    free(row);
    return status;
}

/* Sequences begin while there is room for them. */
static temper_status enter(lane *self, temper_error *error) {
    size_t active = 0;
    temper_status status = seat(self, error);
    for (size_t i = 0; i < self->shared->plan.slots; i++) {
        active += self->slots[i].cache != NULL;
    }
    for (size_t i = 0; !status && i < self->shared->plan.slots; i++) {
        lane_slot *slot = &self->slots[i];
        bool begun = false;
        if (slot->request == NULL || slot->cache != NULL) {
            continue;
        }
        self->job = slot->job;
        status = begin(self, slot, &begun, error);
        active += begun;
        if (!status && !begun && active == 0) { /* nobody is left who could make room: the plan was wrong */
            status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for the keys and values of request %zu",
                                 slot->job + 1);
        }
    }
    self->counts.streams = active > self->counts.streams ? active : self->counts.streams;
    return status;
}

/* The new tokens of this step; *chosen rows (self->row_of) end in a token to sample. */
static size_t gather(lane *self, size_t *chosen) {
    size_t budget = LM_PROMPT_ROWS, used = 0, rows = 0, hidden = self->shared->model->config.hidden;
    *chosen = 0;
    for (size_t i = 0; i < self->shared->plan.slots; i++) {
        lane_slot *slot = &self->slots[i];
        if (slot->request == NULL || slot->cache == NULL || slot->ready) {
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
    for (size_t i = 0; i < self->shared->plan.slots; i++) { /* those whose whole prompt was there */
        lane_slot *slot = &self->slots[i];
        if (slot->request != NULL && slot->ready) {
            memcpy(self->normed + rows * hidden, slot->row, hidden * sizeof *slot->row);
            slot->ready = false;
            self->slot_of[*chosen] = i;
            self->row_of[(*chosen)++] = rows++;
        }
    }
    return used;
}

/* A prompt's last row, for others with the same prompt. */
static temper_status keep_rows(lane *self, size_t chosen, temper_error *error) {
    size_t hidden = self->shared->model->config.hidden;
    for (size_t i = 0; i < chosen; i++) {
        lane_slot *slot = &self->slots[self->slot_of[i]];
        if (slot->row == NULL && !self->shared->how->unshared) {
            slot->row = malloc(hidden * sizeof *slot->row);
            if (slot->row == NULL) {
                return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a prompt's last row");
            }
            memcpy(slot->row, self->normed + self->row_of[i] * hidden, hidden * sizeof *slot->row);
        }
    }
    return TEMPER_OK;
}

static bool is_stop(const lm_request *request, int32_t id) {
    for (size_t i = 0; i < request->stop_count; i++) {
        if (request->stop[i] == id) {
            return true;
        }
    }
    return false;
}

/* A row's token depends on the row and the request alone, so workers may share the rows. */
static void choose(void *argument, size_t index, size_t worker) {
    lane *self = argument;
    const lane_slot *slot = &self->slots[self->slot_of[index]];
    const lm_request *request = slot->request;
    const lm_answer *answer = slot->answer;
    const lm_real *logits = self->logits + index * self->shared->model->config.vocabulary;
    lm_sampler *sampler = &self->samplers[worker];
    choice *made = &self->choices[index];
    double unit = temper_random_unit(request->key, request->stream, answer->count);
    const lm_real *adjusted = lm_sampler_adjust(sampler, logits, request, answer->ids, answer->count);
    made->id = adjusted == NULL ? -2
                                : lm_sampler_pick_adjusted(sampler, logits, adjusted, &request->sampling,
                                                           unit, &made->logprob);
}

static temper_status take_choice(lane *self, lane_slot *slot, const choice *made, temper_error *error) {
    const lm_request *request = slot->request;
    lm_answer *answer = slot->answer;
    int32_t id = made->id;
    double logprob = made->logprob;
    if (id == -2) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for penalties on %zu tokens",
                           self->shared->model->config.vocabulary);
    }
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
    self->counts.answer_tokens++;
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
    size_t chosen = 0;
    temper_status status = enter(self, error);
    if (status) {
        return status;
    }
    size_t used = gather(self, &chosen);
    *busy = used > 0 || chosen > 0;
    if (used > 0) {
        self->counts.steps++;
        status = lm_model_forward(self->context, model, self->sequences, used, self->normed, NULL, error);
    }
    if (!status) {
        status = keep_rows(self, chosen, error);
    }
    if (!status && chosen > 0) {
        status =
            lm_model_logits(self->context, model, self->normed, self->row_of, chosen, self->logits, error);
    }
    if (!status) { /* an exp counts as 8 */
        lm_context_run(self->context, chosen * model->config.vocabulary * 8, chosen, choose, self);
    }
    for (size_t i = 0; !status && i < chosen; i++) {
        status = take_choice(self, &self->slots[self->slot_of[i]], &self->choices[i], error);
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

/* A few requests at a time for each of several lanes: neighbours share most. */
static size_t chunk_of(size_t count, size_t lanes) {
    size_t chunk = lanes == 1 ? 1 : count / (4 * lanes);
    return chunk == 0 ? 1 : chunk > 16 ? 16 : chunk;
}

void lm_counts_add(lm_counts *to, const lm_counts *from) {
    if (to != NULL) {
        to->prompt_tokens += from->prompt_tokens;
        to->prompt_computed += from->prompt_computed;
        to->score_tokens += from->score_tokens;
        to->score_computed += from->score_computed;
        to->answer_tokens += from->answer_tokens;
        to->steps += from->steps;
        to->streams = from->streams > to->streams ? from->streams : to->streams;
        to->cache_bytes = from->cache_bytes > to->cache_bytes ? from->cache_bytes : to->cache_bytes;
    }
}

static temper_status open_prefixes(generation *self, lm_prefixes **own, temper_error *error) {
    self->prefixes = self->how->prefixes;
    if (self->prefixes != NULL && self->prefixes->count >= self->lanes.count) {
        return TEMPER_OK;
    }
    temper_status status = lm_prefixes_new(self->lanes.count, own, error);
    self->prefixes = *own;
    return status;
}

static temper_status generate(const lm_context *context, generation *self, temper_error *error) {
    const lm_generation *how = self->how;
    lm_prefixes *own = NULL;
    temper_status status = lm_plan_check(self->model, self->requests, self->count, error);
    if (!status) {
        status = lm_lanes_open(&self->lanes, context, self->model, self->count, how->progress,
                               how->progress_context, error);
    }
    if (status) {
        return status;
    }
    memset(self->answers, 0, self->count * sizeof *self->answers);
    self->chunk = chunk_of(self->count, self->lanes.count);
    self->lanes.jobs = (self->count + self->chunk - 1) / self->chunk;
    status = lm_plan_order(self->requests, self->count, how->unshared, &self->order, error);
    if (!status) {
        status = open_prefixes(self, &own, error);
    }
    if (!status) {
        status = lm_plan_make(context, self->model, self->requests, self->count, how, self->lanes.count,
                              &self->plan, error);
    }
    if (!status) {
        status = lm_lanes_run(&self->lanes, run_lane, self, error);
        lm_counts_add(how->counts, &self->counts);
    }
    lm_lanes_close(&self->lanes);
    lm_prefixes_free(own);
    free(self->order);
    for (size_t i = 0; status && i < self->count; i++) {
        free(self->answers[i].ids);
        self->answers[i].ids = NULL;
    }
    return status;
}

temper_status lm_generate_with(const lm_context *context, const lm_model *model, const lm_request *requests,
                               size_t count, const lm_generation *how, lm_answer *answers,
                               temper_error *error) {
    generation self = {.model = model, .requests = requests, .count = count, .answers = answers, .how = how};
    return generate(context, &self, error);
}

temper_status lm_generate(const lm_context *context, const lm_model *model, const lm_request *requests,
                          size_t count, size_t slots, lm_progress *progress, void *progress_context,
                          lm_answer *answers, temper_error *error) {
    lm_generation how = {.slots = slots, .progress = progress, .progress_context = progress_context};
    return lm_generate_with(context, model, requests, count, &how, answers, error);
}

temper_status lm_generate_stream(const lm_context *context, const lm_model *model, const lm_request *request,
                                 const lm_generation *how, lm_on_token *token, void *token_context,
                                 lm_answer *answer, temper_error *error) {
    static const lm_generation plain = {0};
    generation self = {.model = model,
                       .requests = request,
                       .count = 1,
                       .answers = answer,
                       .how = how == NULL ? &plain : how,
                       .token = token,
                       .token_context = token_context};
    return generate(context, &self, error);
}

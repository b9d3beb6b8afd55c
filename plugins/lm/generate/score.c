/* score.c: log-probabilities of given tokens, and mean hidden states.
 *
 * Invariant: sequences share a pass (up to PASS_ROWS rows of them, a long one piece by piece) and rows share a vocabulary
 * product, but each result is of one row: grouping never shows. Sequences are taken in the order of their tokens, so that
 * those that begin alike are neighbours; what they have in common before the first token that is asked for is computed
 * once. Nothing behind the last one asked for is computed at all. */
#include "generate.h"

#include "lanes.h"
#include "plan.h"
#include "prefixes.h"

#include <math.h>
#include <stdlib.h>

enum { GROUP_ROWS = 1024, PASS_ROWS = 512 };
#define LOGIT_BYTES ((size_t)4 << 20)

typedef struct target {
    size_t row; /* of the pass */
    int32_t id;
    float *logprob;
    size_t index; /* of the sequence, for messages */
} target;

typedef struct scoring {
    const lm_model *model;
    const lm_scored *scored; /* or */
    const lm_embedded *embedded;
    const lm_generation *how;
    size_t count;
    size_t *order;       /* sequences by their tokens */
    size_t *groups;      /* the place in `order` where each begins, and the end */
    size_t most;         /* sequences of a group */
    size_t block, limit; /* positions; blocks that a lane's caches may have, 0: any number */
    lm_prefixes *prefixes;
    lm_lanes lanes;
    lm_counts counts; /* under lanes.lock */
} scoring;

/* A sequence at work. */
typedef struct item {
    size_t index;
    const int32_t *ids;
    size_t needed;   /* tokens that go through the model */
    size_t sharable; /* of them, before the first row that is asked for */
    size_t fed;
    lm_cache *cache; /* NULL: waits */
    double *sums;    /* [hidden], of an embedding */
} item;

/* One lane's memory. */
typedef struct lane {
    scoring *shared;
    const lm_context *context;
    lm_prefix_store *store;
    item *items; /* of a group */
    size_t count;
    lm_sequence *sequences;
    size_t *item_of; /* of each of them */
    lm_real *normed, *logits;
    target *targets;
    size_t *rows;
    size_t chunk;
    lm_counts counts;
} lane;

static item item_of(const scoring *self, size_t index) {
    if (self->scored == NULL) {
        const lm_embedded *embedded = &self->embedded[index];
        return (item){.index = index, .ids = embedded->ids, .needed = embedded->count};
    }
    const lm_scored *scored = &self->scored[index];
    size_t first = 1, last = scored->count;
    while (scored->wanted != NULL && first < last && !scored->wanted[first]) {
        first++;
    }
    while (scored->wanted != NULL && last > first && !scored->wanted[last - 1]) {
        last--;
    }
    bool nothing = first >= last; /* row j - 1 tells of token j */
    return (item){.index = index,
                  .ids = scored->ids,
                  .needed = nothing ? 0 : last - 1,
                  .sharable = nothing || self->how->unshared ? 0 : first - 1};
}

/* Groups of neighbours of about `rows` rows, and no more blocks than there may be. */
static temper_status group(scoring *self, size_t rows, size_t *groups, temper_error *error) {
    self->groups = calloc(self->count + 1, sizeof *self->groups);
    if (self->groups == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to group %zu sequences", self->count);
    }
    *groups = 0;
    for (size_t i = 0; i < self->count;) {
        size_t used = 0, blocks = 0, first = i;
        item before = {0};
        while (i < self->count) {
            item next = item_of(self, self->order[i]);
            lm_prefix prefix = {.ids = before.ids, .count = before.needed, .made = before.needed};
            size_t now = 0, later = 0, more = next.needed / self->block + 1;
            lm_prefix_match(&prefix, next.ids, next.sharable + 1, &now, &later);
            if (i > first &&
                (used + next.needed - now > rows || (self->limit != 0 && blocks + more > self->limit))) {
                break;
            }
            used += next.needed - now;
            blocks += more;
            before = next;
            i++;
        }
        self->groups[(*groups)++] = first;
        self->most = i - first > self->most ? i - first : self->most;
    }
    self->groups[*groups] = self->count;
    return TEMPER_OK;
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

static temper_status score_rows(const lane *self, size_t count, temper_error *error) {
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
                return temper_fail(error, TEMPER_FAILED, "a log-probability in text %zu is not finite",
                                   self->targets[i + r].index + 1);
            }
        }
    }
    return TEMPER_OK;
}

static void add_rows(const lane *self, item *at, size_t row, size_t count) {
    size_t n = self->shared->model->config.hidden;
    for (size_t j = 0; j < count; j++) {
        for (size_t d = 0; d < n; d++) {
            at->sums[d] += (double)self->normed[(row + j) * n + d];
        }
    }
}

/* --- one group --- */

/* Can it begin, and with what? Something better may be on its way: then it waits. (One more token than may be shared is
 * asked for: a row to go on from is always left to compute.) */
static temper_status begin(lane *self, item *at, temper_error *error) {
    size_t length = 0;
    bool wait = false;
    const lm_cache *from = NULL;
    lm_kept *kept = lm_prefix_store_find(self->store, at->ids, at->sharable + 1, &length);
    if (kept != NULL) {
        from = kept->cache;
        kept->touched = ++self->store->clock;
        length =
            length < at->sharable ? length : at->sharable; /* a row that is kept for answers is no use here */
    }
    for (const item *other = self->items; other < at; other++) {
        lm_prefix prefix = {.ids = other->ids, .count = other->needed, .made = other->fed};
        size_t now, later;
        lm_prefix_match(&prefix, at->ids, at->sharable + 1, &now, &later);
        if (now > length) {
            length = now;
            from = other->cache;
        }
        wait = wait || (other->fed < other->needed && later >= length + LM_LEAST_SHARED);
    }
    if (wait) {
        return TEMPER_OK;
    }
    temper_status status = lm_cache_open(self->store->pool, at->needed, &at->cache, error);
    if (!status && length > 0) {
        lm_cache_share(at->cache, from, length);
    }
    at->fed = length;
    return status;
}

static void list_targets(lane *self, const item *at, size_t row, size_t count, size_t *used) {
    const lm_scored *scored = &self->shared->scored[at->index];
    for (size_t j = at->fed + 1; j <= at->fed + count; j++, row++) {
        if (scored->wanted == NULL || scored->wanted[j]) {
            self->targets[(*used)++] = (target){row, scored->ids[j], &scored->logprobs[j], at->index};
        }
    }
}

/* Some rows of those that have begun; *busy false when all is done. */
static temper_status pass(lane *self, bool *busy, temper_error *error) {
    size_t used = 0, rows = 0, wanted = 0;
    temper_status status = TEMPER_OK;
    for (size_t i = 0; !status && i < self->count && rows < PASS_ROWS; i++) {
        item *at = &self->items[i];
        if (at->fed == at->needed) {
            continue;
        }
        if (at->cache == NULL) {
            status = begin(self, at, error);
        }
        if (status || at->cache == NULL) {
            continue;
        }
        size_t left = at->needed - at->fed, piece = left < PASS_ROWS - rows ? left : PASS_ROWS - rows;
        self->sequences[used] = (lm_sequence){at->cache, at->ids + at->fed, piece};
        self->item_of[used++] = i;
        if (self->shared->scored != NULL) {
            list_targets(self, at, rows, piece, &wanted);
        }
        rows += piece;
    }
    *busy = used > 0;
    if (status || used == 0) {
        return status;
    }
    self->counts.score_computed += rows;
    self->counts.steps++;
    status = lm_model_forward(self->context, self->shared->model, self->sequences, used, self->normed, NULL,
                              error);
    if (!status && wanted > 0) {
        status = score_rows(self, wanted, error);
    }
    rows = 0;
    for (size_t k = 0; !status && k < used; k++) {
        item *at = &self->items[self->item_of[k]];
        size_t count = self->sequences[k].count;
        if (at->sums != NULL) {
            add_rows(self, at, rows, count);
        }
        at->fed += count;
        rows += count;
    }
    return status;
}

static temper_status open_group(lane *self, size_t job, temper_error *error) {
    const scoring *shared = self->shared;
    size_t hidden = shared->model->config.hidden, blocks = 0;
    self->count = shared->groups[job + 1] - shared->groups[job];
    memset(self->items, 0, self->count * sizeof *self->items);
    for (size_t i = 0; i < self->count; i++) {
        item *at = &self->items[i];
        *at = item_of(shared, shared->order[shared->groups[job] + i]);
        blocks += at->needed / shared->block + 1;
        if (shared->scored == NULL) {
            self->counts.score_tokens += at->needed;
            at->sums = calloc(hidden, sizeof *at->sums);
            if (at->sums == NULL) {
                return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a mean of %zu", hidden);
            }
            continue;
        }
        const lm_scored *scored = &shared->scored[at->index];
        memset(scored->logprobs, 0, scored->count * sizeof *scored->logprobs);
        self->counts.score_tokens += scored->count;
    }
    while (shared->limit != 0 && self->store->pool->used + blocks > shared->limit &&
           lm_prefix_store_drop(self->store)) {
    }
    return TEMPER_OK;
}

/* The last one's beginning is the next group's, more often than not. */
static void close_group(lane *self, bool keep) {
    const scoring *shared = self->shared;
    for (size_t i = 0; i < self->count; i++) {
        item *at = &self->items[i];
        if (at->sums != NULL) {
            const lm_embedded *embedded = &shared->embedded[at->index];
            for (size_t d = 0; d < shared->model->config.hidden; d++) {
                embedded->mean[d] = (float)(at->sums[d] / (double)at->needed);
            }
        }
        if (keep && i + 1 == self->count && at->cache != NULL && at->sharable >= LM_LEAST_SHARED) {
            size_t length = at->sharable < at->fed ? at->sharable : at->fed;
            lm_prefix_store_keep(self->store, at->cache, at->ids, length, NULL, 0);
        } else {
            lm_cache_free(at->cache);
        }
        free(at->sums);
        *at = (item){0};
    }
    self->count = 0;
}

static temper_status run_group(lane *self, size_t job, temper_error *error) {
    size_t finished = self->shared->groups[job + 1] - self->shared->groups[job], tokens = 0;
    bool busy = true;
    temper_status status = open_group(self, job, error);
    for (size_t i = 0; i < self->count; i++) {
        tokens += self->items[i].needed;
    }
    while (!status && busy) {
        status = pass(self, &busy, error);
        if (!status && busy && !lm_lanes_report(&self->shared->lanes, 0, 0)) {
            break; /* cancelled, or another lane failed: the lanes know */
        }
    }
    close_group(self, !status);
    if (!status && !busy) {
        lm_lanes_report(&self->shared->lanes, finished, tokens);
    }
    return status;
}

/* --- lanes --- */

static void lane_close(lane *self) {
    lm_counts *all = &self->shared->counts;
    pthread_mutex_lock(&self->shared->lanes.lock);
    all->score_tokens += self->counts.score_tokens;
    all->score_computed += self->counts.score_computed;
    all->steps += self->counts.steps;
    if (self->store->pool != NULL) {
        all->cache_bytes += self->store->pool->most * self->store->pool->block_bytes;
    }
    pthread_mutex_unlock(&self->shared->lanes.lock);
    if (self->store->pool != NULL) {
        lm_cache_pool_trim(self->store->pool);
    }
    free(self->items);
    free(self->item_of);
    free(self->sequences);
    free(self->normed);
    free(self->logits);
    free(self->targets);
    free(self->rows);
}

static size_t chunk_of(const lm_config *config) {
    size_t chunk = LOGIT_BYTES / sizeof(lm_real) / config->vocabulary / 12 * 12;
    return chunk < 12 ? 12 : chunk;
}

static temper_status lane_open(lane *self, scoring *shared, size_t index, temper_error *error) {
    const lm_config *config = &shared->model->config;
    *self = (lane){.shared = shared,
                   .context = &shared->lanes.contexts[index],
                   .store = &shared->prefixes->stores[index],
                   .chunk = chunk_of(config)};
    self->items = calloc(shared->most + 1, sizeof *self->items);
    self->item_of = calloc(shared->most + 1, sizeof *self->item_of);
    self->sequences = calloc(shared->most + 1, sizeof *self->sequences);
    self->normed = lm_allocate(PASS_ROWS, config->hidden * sizeof *self->normed);
    self->targets = calloc(PASS_ROWS, sizeof *self->targets);
    self->rows = calloc(self->chunk, sizeof *self->rows);
    self->logits = lm_allocate(self->chunk, config->vocabulary * sizeof *self->logits);
    if (self->items == NULL || self->item_of == NULL || self->sequences == NULL || self->normed == NULL ||
        self->targets == NULL || self->rows == NULL || self->logits == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %d rows of a batch", PASS_ROWS);
    }
    return lm_prefix_store_open(self->store, self->context, config, shared->block, shared->limit, error);
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
    }
    if (status) {
        lm_lanes_fail(&shared->lanes, status, &error, job);
    }
    lane_close(&self);
}

/* --- the whole --- */

/* Keys and values of the longest must fit, beside what is worked in. */
static temper_status plan(const lm_context *context, scoring *self, temper_error *error) {
    const lm_config *config = &self->model->config;
    size_t longest = 1, at = 0, lanes = self->lanes.count, memory = self->how->memory;
    self->block = self->how->block > 0 ? self->how->block : LM_CACHE_BLOCK;
    self->block = (self->block + LM_PANEL - 1) / LM_PANEL * LM_PANEL;
    for (size_t i = 0; i < self->count; i++) {
        size_t needed = item_of(self, i).needed;
        at = needed > longest ? i : at;
        longest = needed > longest ? needed : longest;
    }
    if (memory == 0) {
        return TEMPER_OK;
    }
    lm_cache_pool *pool = NULL;
    temper_status status = lm_cache_pool_new(context, config, self->block, 0, &pool, error);
    if (status) {
        return status;
    }
    size_t block_bytes = pool->block_bytes, blocks = longest / self->block + 1;
    lm_cache_pool_free(pool);
    size_t working = lanes * (lm_model_forward_bytes(context, self->model, PASS_ROWS, PASS_ROWS, longest) +
                              PASS_ROWS * config->hidden * sizeof(lm_real) +
                              chunk_of(config) * config->vocabulary * sizeof(lm_real));
    self->limit = memory > working ? (memory - working) / block_bytes / lanes : 0;
    if (self->limit < blocks) {
        return temper_fail(
            error, TEMPER_NO_MEMORY,
            "text %zu has %zu tokens: their keys and values take %.1f MB, and %.1f MB more are worked in; "
            "%.1f MB are left; up to %zu tokens would fit",
            at + 1, longest, (double)(blocks * block_bytes) / 1e6, (double)working / 1e6,
            (double)memory / 1e6, self->limit * self->block);
    }
    return TEMPER_OK;
}

static temper_status order(scoring *self, temper_error *error) {
    lm_request *requests = calloc(self->count + 1, sizeof *requests);
    if (requests == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to order %zu texts", self->count);
    }
    for (size_t i = 0; i < self->count; i++) {
        item at = item_of(self, i);
        requests[i].prompt = at.ids;
        requests[i].prompt_count = at.needed;
    }
    temper_status status = lm_plan_order(requests, self->count, self->how->unshared || self->scored == NULL,
                                         &self->order, error);
    free(requests);
    return status;
}

/* A text outside the vocabulary, or longer than the context, is refused before anything is computed. */
static temper_status check(const scoring *self, temper_error *error) {
    const lm_config *config = &self->model->config;
    for (size_t i = 0; i < self->count; i++) {
        const int32_t *ids = self->scored != NULL ? self->scored[i].ids : self->embedded[i].ids;
        size_t count = self->scored != NULL ? self->scored[i].count : self->embedded[i].count;
        if (count > config->context) {
            return temper_fail(error, TEMPER_INVALID,
                               "text %zu has %zu tokens; the model's context holds %zu", i + 1, count,
                               config->context);
        }
        for (size_t j = 0; j < count; j++) {
            if (ids[j] < 0 || (size_t)ids[j] >= config->vocabulary) {
                return temper_fail(error, TEMPER_INVALID,
                                   "text %zu: token id %d is outside the vocabulary of %zu", i + 1,
                                   (int)ids[j], config->vocabulary);
            }
        }
    }
    return TEMPER_OK;
}

static temper_status prepare(const lm_context *context, scoring *self, lm_prefixes **own,
                             temper_error *error) {
    size_t rows = 0, groups = 0, lanes = self->lanes.count;
    self->prefixes = self->how->prefixes;
    temper_status status = plan(context, self, error);
    if (!status && (self->prefixes == NULL || self->prefixes->count < lanes)) {
        status = lm_prefixes_new(lanes, own, error);
        self->prefixes = *own;
    }
    if (!status) {
        status = order(self, error);
    }
    for (size_t i = 0; !status && i < self->count; i++) {
        rows += item_of(self, i).needed;
    }
    rows = lanes == 1 ? GROUP_ROWS : rows / (4 * lanes);
    if (!status) {
        status = group(self, rows < GROUP_ROWS ? rows : GROUP_ROWS, &groups, error);
    }
    self->lanes.jobs = groups;
    return status;
}

static temper_status run(const lm_context *context, scoring *self, temper_error *error) {
    lm_prefixes *own = NULL;
    temper_status status = check(self, error);
    if (!status) {
        status = lm_lanes_open(&self->lanes, context, self->model, self->count, self->how->progress,
                               self->how->progress_context, error);
    }
    if (status) {
        return status;
    }
    status = prepare(context, self, &own, error);
    if (!status) {
        status = lm_lanes_run(&self->lanes, run_lane, self, error);
        lm_counts_add(self->how->counts, &self->counts);
    }
    lm_lanes_close(&self->lanes);
    lm_prefixes_free(own);
    free(self->groups);
    free(self->order);
    return status;
}

temper_status lm_score_with(const lm_context *context, const lm_model *model, const lm_scored *sequences,
                            size_t count, const lm_generation *how, temper_error *error) {
    scoring self = {.model = model, .scored = sequences, .count = count, .how = how};
    return run(context, &self, error);
}

temper_status lm_score(const lm_context *context, const lm_model *model, const lm_scored *sequences,
                       size_t count, lm_progress *progress, void *progress_context, temper_error *error) {
    lm_generation how = {.progress = progress, .progress_context = progress_context};
    return lm_score_with(context, model, sequences, count, &how, error);
}

temper_status lm_embed(const lm_context *context, const lm_model *model, const lm_embedded *sequences,
                       size_t count, temper_error *error) {
    static const lm_generation plain = {0};
    scoring self = {.model = model, .embedded = sequences, .count = count, .how = &plain};
    for (size_t i = 0; i < count; i++) {
        if (sequences[i].count == 0) {
            return temper_fail(error, TEMPER_INVALID, "text %zu has no tokens: it has no mean", i + 1);
        }
    }
    return run(context, &self, error);
}

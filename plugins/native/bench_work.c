/* bench_work.c: the work that is measured, and what the machine's limits allow for it.
 *
 * A limit counts the multiply-adds of weights alone (2 for each weight and token), and for decoding the bytes of packed
 * weights: attention, norms and sampling are ours to make cheap. Times are of the wall. */
#include "bench.h"

#include <stdlib.h>
#include <time.h>

enum { PREFILL = 512, SCORED = 256, PROMPT = 8, ANSWER = 48, STREAMS = 32, MOST_ROUNDS = 101 };
/* Answers behind one system prompt: so many tokens, and samples of a prompt. */
enum { SYSTEM = 300, QUESTION = 24, SAMPLE = 64, SAMPLES = 4 };

#define CACHED_BYTES 16e6

typedef struct work {
    bench *bench;
    const char *profile;
    lm_context context;
    lm_model *model;
    int32_t *ids;        /* PREFILL of them */
    double head, blocks; /* weights */
    double arithmetic;   /* operations a second */
    double weight_bytes; /* packed */
} work;

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(void) {
    return seconds(CLOCK_MONOTONIC);
}

typedef struct turn {
    double result, busy;
} turn;

static int ascending(const void *a, const void *b) {
    double x = ((const turn *)a)->result, y = ((const turn *)b)->result;
    return (x > y) - (x < y);
}

/* Runs it `rounds` times; `once` returns seconds or tokens a second. */
typedef temper_status measured(work *self, double *result, temper_error *error);

static temper_status median(work *self, measured *once, const bench_figure *figure, temper_error *error) {
    turn turns[MOST_ROUNDS];
    bench *all = self->bench;
    for (size_t i = 0; i < all->rounds; i++) {
        double start = now(), worked = seconds(CLOCK_PROCESS_CPUTIME_ID);
        temper_status status = once(self, &turns[i].result, error);
        worked = seconds(CLOCK_PROCESS_CPUTIME_ID) - worked;
        turns[i].busy = worked / ((now() - start) * (double)self->context.parallel.workers);
        if (!status && all->host->cancelled(all->host)) {
            status = temper_fail(error, TEMPER_CANCELLED, "cancelled");
        }
        if (status) {
            return status;
        }
    }
    qsort(turns, all->rounds, sizeof *turns, ascending);
    if (all->count < BENCH_FIGURES) {
        bench_figure *made = &all->figures[all->count++];
        *made = *figure;
        made->median = turns[all->rounds / 2].result;
        made->busy = turns[all->rounds / 2].busy;
    }
    all->host->progress(all->host, all->count, 0, "figures", NULL);
    return TEMPER_OK;
}

static temper_status prefill_tokens(work *self, size_t tokens, temper_error *error) {
    lm_cache *cache = NULL;
    size_t hidden = self->model->config.hidden, last = tokens - 1;
    lm_real *normed = lm_allocate(tokens, hidden * sizeof *normed),
            *logits = lm_allocate(self->model->config.vocabulary, sizeof *logits);
    temper_status status = normed == NULL || logits == NULL
                               ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu tokens", tokens)
                               : lm_cache_new(&self->context, &self->model->config, tokens, &cache, error);
    if (!status) {
        lm_sequence sequence = {cache, self->ids, tokens};
        status = lm_model_forward(&self->context, self->model, &sequence, 1, normed, NULL, error);
    }
    if (!status) {
        status = lm_model_logits(&self->context, self->model, normed, &last, 1, logits, error);
    }
    lm_cache_free(cache);
    free(normed);
    free(logits);
    return status;
}

static temper_status prefill(work *self, double *result, temper_error *error) {
    size_t context = self->model->config.context, tokens = PREFILL < context ? PREFILL : context;
    double start = now();
    temper_status status = prefill_tokens(self, tokens, error);
    *result = (double)tokens / (now() - start);
    return status;
}

static temper_status score(work *self, double *result, temper_error *error) {
    size_t context = self->model->config.context, length = SCORED < context ? SCORED : context;
    size_t count = self->bench->sequences;
    lm_scored *scored = calloc(count, sizeof *scored);
    float *logprobs = lm_allocate(count, length * sizeof *logprobs);
    temper_status status = TEMPER_OK;
    if (scored == NULL || logprobs == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu sequences", count);
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        scored[i] = (lm_scored){self->ids + i % (PREFILL - length + 1), length, logprobs + i * length, NULL};
    }
    double start = now();
    status = lm_score(&self->context, self->model, scored, count, NULL, NULL, error);
    *result = (double)(count * length) / (now() - start);
out:
    free(scored);
    free(logprobs);
    return status;
}

/* From the first token of all streams to the last. */
typedef struct watch {
    double first, last;
    size_t tokens_first, tokens;
} watch;

static int look(void *context, size_t finished, size_t tokens) {
    watch *self = context;
    (void)finished;
    self->last = now();
    self->tokens = tokens;
    if (self->tokens_first == 0 && tokens > 0) {
        self->first = self->last;
        self->tokens_first = tokens;
    }
    return 0;
}

static temper_status decode(work *self, size_t streams, double *result, temper_error *error) {
    lm_request requests[STREAMS];
    lm_answer answers[STREAMS] = {{0}};
    watch times = {0};
    for (size_t i = 0; i < streams; i++) {
        requests[i] = (lm_request){.prompt = self->ids + i,
                                   .prompt_count = PROMPT,
                                   .max_tokens = ANSWER,
                                   .sampling = {.temperature = 0, .top_p = 1}};
    }
    temper_status status =
        lm_generate(&self->context, self->model, requests, streams, streams, look, &times, answers, error);
    for (size_t i = 0; i < streams; i++) {
        free(answers[i].ids);
    }
    double elapsed = times.last - times.first;
    *result = elapsed > 0 ? (double)(times.tokens - times.tokens_first) / elapsed : 0;
    return status;
}

static temper_status decode_one(work *self, double *result, temper_error *error) {
    return decode(self, 1, result, error);
}

static temper_status decode_many(work *self, double *result, temper_error *error) {
    return decode(self, STREAMS, result, error);
}

/* The files lie in memory already (mapped, or made there): what is measured is reading, packing and one token. */
static temper_status load(work *self, double *result, temper_error *error) {
    double start = now();
    lm_model_close(self->model);
    self->model = NULL;
    temper_status status = lm_model_open(&self->context, self->bench->files, &self->model, error);
    if (!status) {
        status = prefill_tokens(self, PROMPT, error);
    }
    *result = now() - start;
    return status;
}

/* Prompts of a system prompt and a question of its own each, four answers to each. */
static temper_status answer(work *self, double *result, temper_error *error) {
    bench *all = self->bench;
    size_t count = all->answers, prompts = (count + SAMPLES - 1) / SAMPLES;
    size_t vocabulary = self->model->config.vocabulary, context = self->model->config.context;
    size_t room = context > QUESTION + SAMPLE ? context - QUESTION - SAMPLE : 1,
           system = SYSTEM < room ? SYSTEM : room;
    int32_t *ids = calloc(prompts, (SYSTEM + QUESTION) * sizeof *ids);
    lm_request *requests = calloc(count, sizeof *requests);
    lm_answer *answers = calloc(count, sizeof *answers);
    lm_counts counts = {0};
    lm_generation how = {.memory =
                             all->machine == NULL ? 0 : (size_t)all->machine->available(all->host) / 16 * 15,
                         .counts = &counts};
    temper_status status = TEMPER_OK;
    if (ids == NULL || requests == NULL || answers == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu answers", count);
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        int32_t *prompt = ids + i / SAMPLES * (SYSTEM + QUESTION);
        memcpy(prompt, self->ids, system * sizeof *prompt);
        for (size_t j = 0; j < QUESTION; j++) {
            prompt[system + j] = (int32_t)((i / SAMPLES * 7919 + j * 104729 + 1) % vocabulary);
        }
        requests[i] = (lm_request){.prompt = prompt,
                                   .prompt_count = system + QUESTION,
                                   .max_tokens = SAMPLE,
                                   .sampling = {.temperature = 1, .top_p = 1},
                                   .key = 1,
                                   .stream = i};
    }
    double start = now();
    status = lm_generate_with(&self->context, self->model, requests, count, &how, answers, error);
    double elapsed = now() - start;
    *result = (double)counts.answer_tokens / elapsed;
    all->shared = counts;
    all->prompts = prompts;
    all->system_tokens = system;
out:
    for (size_t i = 0; answers != NULL && i < count; i++) {
        free(answers[i].ids);
    }
    free(answers);
    free(requests);
    free(ids);
    return status;
}

static double packed_bytes(const lm_context *context, const lm_linear *linear) {
    return (double)((linear->outputs + LM_PANEL - 1) / LM_PANEL) *
           (double)context->product->panel_bytes(linear->inputs);
}

static void count_weights(work *self) {
    static const lm_role roles[] = {LM_QUERY, LM_KEY, LM_VALUE, LM_OUTPUT, LM_GATE, LM_UP, LM_DOWN};
    const lm_linear *head = lm_model_linear(self->model, LM_HEAD, 0);
    self->head = (double)head->outputs * (double)head->inputs;
    self->weight_bytes = packed_bytes(&self->context, head);
    for (size_t layer = 0; layer < self->model->config.layers; layer++) {
        for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
            const lm_linear *linear = lm_model_linear(self->model, roles[i], layer);
            if (linear != NULL) {
                self->blocks += (double)linear->outputs * (double)linear->inputs;
                self->weight_bytes += packed_bytes(&self->context, linear);
            }
        }
    }
}

static double lesser(double a, double b) {
    return a < b ? a : b;
}

temper_status bench_check_wanted(const bench *self, temper_error *error) {
    static const char *const names[] = {"load", "prefill", "score", "decode_1", "decode_32", "answers"};
    for (size_t i = 0; i < self->only->count; i++) {
        bool known = false;
        for (size_t j = 0; j < sizeof names / sizeof *names; j++) {
            known = known || strcmp(self->only->items[i], names[j]) == 0;
        }
        if (!known) {
            return temper_fail(
                error, TEMPER_INVALID,
                "there is no work '%s'; there are load, prefill, score, decode_1, decode_32 and answers",
                self->only->items[i]);
        }
    }
    return TEMPER_OK;
}

bool bench_wants(const bench *self, const char *name) {
    for (size_t i = 0; i < self->only->count; i++) {
        if (strcmp(self->only->items[i], name) == 0) {
            return true;
        }
    }
    return self->only->count == 0;
}

/* Answers a second if every product ran at the limit: each answer's tokens through all weights, and the prompts' own
 * tokens, once, through the blocks. */
static double answers_limit(const work *self) {
    double answers = (double)self->bench->answers, prompts = (answers + SAMPLES - 1) / SAMPLES;
    double each = 2 * (self->blocks + self->head) * SAMPLE * answers;
    double once = 2 * self->blocks * (SYSTEM + prompts * QUESTION);
    return SAMPLE * answers / ((each + once) / self->arithmetic);
}

static temper_status measure(work *self, bool bf16, bool f32, temper_error *error) {
    bench *all = self->bench;
    double in_blocks = self->arithmetic / (2 * self->blocks);
    double in_all = self->arithmetic / (2 * (self->blocks + self->head));
    /* Weights that stay in the caches are not read from memory. */
    bool small = self->weight_bytes < CACHED_BYTES;
    double read = small ? in_all : all->limits.read.rate / self->weight_bytes;
    const char *bound = small ? "arithmetic" : "memory";
    const struct {
        bool wanted;
        measured *once;
        bench_figure figure;
    } list[] = {
        {bf16, load, {"load", "load to first token", NULL, BENCH_SECONDS, 0, 0, 0, ""}},
        {true,
         prefill,
         {"prefill", "prefill, up to 512 tokens", NULL, BENCH_TOKENS, 0, 0, in_blocks, "arithmetic"}},
        {bf16, score, {"score", "scoring, sequences of 256", NULL, BENCH_TOKENS, 0, 0, in_all, "arithmetic"}},
        {!f32,
         decode_one,
         {"decode_1", "decoding, 1 stream", NULL, BENCH_TOKENS, 0, 0, lesser(read, in_all), bound}},
        {!f32,
         decode_many,
         {"decode_32", "decoding, 32 streams", NULL, BENCH_TOKENS, 0, 0, lesser(32 * read, in_all),
          "arithmetic"}},
        {bf16,
         answer,
         {"answers", "answers of 64, one system", NULL, BENCH_TOKENS, 0, 0, answers_limit(self),
          "arithmetic"}},
    };
    temper_status status = TEMPER_OK;
    for (size_t i = 0; !status && i < sizeof list / sizeof *list; i++) {
        if (list[i].wanted && bench_wants(all, list[i].figure.name)) {
            bench_figure figure = list[i].figure;
            figure.profile = self->profile;
            status = median(self, list[i].once, &figure, error);
            if (!status && bf16 && list[i].once == prefill) {
                all->prefill_rate = all->figures[all->count - 1].median;
            }
        }
    }
    return status;
}

/* Once more, with kernels that look at the clock: after the figures, which it would slow down a little. */
static temper_status part(bench *all, work *self, temper_error *error) {
    static const struct {
        const char *name;
        measured *once;
    } works[BENCH_WORKS] = {
        {"prefill", prefill}, {"score", score}, {"decode_1", decode_one}, {"decode_32", decode_many}};
    temper_status status = TEMPER_OK;
    lm_model_close(self->model);
    lm_context_free(&self->context);
    self->model = NULL;
    const lm_kernels *timed = bench_parts_begin(all->kernels);
    if (timed == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to look at the clock");
    }
    status = lm_context_init(&self->context, timed, self->profile, all->parallel, error);
    if (!status) {
        status = lm_model_open(&self->context, all->files, &self->model, error);
    }
    for (size_t i = 0; !status && i < BENCH_WORKS; i++) {
        double ignored;
        if (!bench_wants(all, works[i].name)) {
            continue;
        }
        bench_parts_model(self->model);
        status = works[i].once(self, &ignored, error); /* once for nothing: memory is there afterwards */
        bench_parts_reset();
        double start = now();
        status = status ? status : works[i].once(self, &ignored, error);
        all->parts[all->part_count].work = works[i].name;
        bench_parts_read(&all->parts[all->part_count++], now() - start, all->parallel.workers);
    }
    return status;
}

temper_status bench_profile(bench *all, const char *profile, temper_error *error) {
    work self = {.bench = all, .profile = profile};
    bool bf16 = strcmp(profile, "bf16/1") == 0, f32 = strcmp(profile, "f32/1") == 0;
    self.arithmetic = bf16 ? all->limits.bf16.rate : f32 ? all->limits.f32.rate : all->limits.q8.rate;
    temper_status status = lm_context_init(&self.context, all->kernels, profile, all->parallel, error);
    if (!status) {
        self.ids = malloc((PREFILL + STREAMS) * sizeof *self.ids);
        status =
            self.ids == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for a benchmark") : TEMPER_OK;
    }
    if (!status) {
        status = lm_model_open(&self.context, all->files, &self.model, error);
    }
    if (!status) {
        uint32_t state = 7;
        for (size_t i = 0; i < PREFILL + STREAMS; i++) {
            state = state * 1664525u + 1013904223u;
            self.ids[i] = (int32_t)((state >> 8) % self.model->config.vocabulary);
        }
        all->weights = lm_model_parameters(self.model);
        count_weights(&self);
        status = measure(&self, bf16, f32, error);
    }
    if (!status && all->parted && bf16) {
        status = part(all, &self, error);
    }
    free(self.ids);
    lm_model_close(self.model);
    lm_context_free(&self.context);
    bench_parts_end();
    return status;
}

/* engine_bench: what the engine makes of the machine, on the shapes of real models with random weights. By hand:
 *   engine_bench [smollm2|qwen2.5 [PROFILE [ROUNDS [WHAT...]]]]      WHAT: load prefill score one many walk
 * `walk` is what decoding one stream could reach at most: nothing but reading the same packed weights, in the same order,
 * dealt to the same workers product by product. Limits are measured before and after, all times are of the wall. */
#include "../../plugins/lm/generate/generate.h"
#include "../support/workers.h"
#include "machine_limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PREFILL = 512, SCORED = 256, SEQUENCES = 16, STREAMS = 32, MOST_ROUNDS = 64 };

typedef struct bench {
    lm_config config;
    lm_file files[2];
    lm_file_set set;
    lm_context context;
    lm_model *model;
    int32_t ids[PREFILL + SCORED];
    double head, blocks, weight_bytes;
} bench;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(temper_status status, const temper_error *error) {
    if (status) {
        fprintf(stderr, "%s\n", error->message);
        exit(1);
    }
}

static void *have(void *memory) {
    if (memory == NULL) {
        fprintf(stderr, "no memory\n");
        exit(1);
    }
    return memory;
}

static lm_config shape_of(const char *name) {
    lm_config config = {.architecture = "llama",
                        .vocabulary = 49152,
                        .hidden = 576,
                        .intermediate = 1536,
                        .layers = 30,
                        .heads = 9,
                        .kv_heads = 3,
                        .head_size = 64,
                        .context = 2048,
                        .norm = LM_RMS_NORM,
                        .positions = LM_ROPE,
                        .activation = LM_SWIGLU,
                        .norm_epsilon = 1e-5,
                        .rope_theta = 10000,
                        .attention_scale = 0.125,
                        .tied = true,
                        .bos = -1,
                        .eos = -1};
    if (strcmp(name, "qwen2.5") == 0) {
        config.vocabulary = 151936, config.hidden = 896, config.intermediate = 4864, config.layers = 24;
        config.heads = 14, config.kv_heads = 2;
    } else if (strcmp(name, "smollm2") != 0) {
        fprintf(stderr, "shapes: smollm2, qwen2.5\n");
        exit(1);
    }
    return config;
}

/* --- a checkpoint in memory: all tensors share their values, which have no meaning --- */

typedef struct bytes {
    char *data;
    size_t count, room;
} bytes;

static temper_status append(void *context, const void *data, size_t count, temper_error *error) {
    bytes *self = context;
    if (count > self->room - self->count) {
        return temper_fail(error, TEMPER_FAILED, "the checkpoint is larger than was expected");
    }
    memcpy(self->data + self->count, data, count);
    self->count += count;
    return TEMPER_OK;
}

static void make_files(bench *self) {
    const lm_config *config = &self->config;
    size_t largest = config->vocabulary * config->hidden, most = LM_ROLE_COUNT * (config->layers + 1),
           count = 0;
    uint16_t *values = have(malloc(largest * sizeof *values)), *ones = have(malloc(largest * sizeof *ones));
    lm_tensor *tensors = have(calloc(most, sizeof *tensors));
    char(*names)[128] = have(calloc(most, sizeof *names));
    bytes file = {.room = 1 << 20};
    temper_error error = TEMPER_ERROR_INIT;
    uint32_t state = 1;
    for (size_t i = 0; i < largest; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = lm_bf16_from_f32(((float)(state >> 8) / 8388608.0f - 1.0f) * 0.05f);
        ones[i] = 0x3f80;
    }
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        for (size_t layer = 0; layer < (lm_role_per_layer((lm_role)role) ? config->layers : 1); layer++) {
            unsigned rank;
            size_t sides[2];
            lm_role_shape(config, (lm_role)role, &rank, sides);
            if (rank > 0) {
                size_t bytes_of_one = sides[0] * (rank == 2 ? sides[1] : 1) * sizeof *values;
                lm_role_name(config, (lm_role)role, layer, names[count], sizeof *names);
                tensors[count] = (lm_tensor){.name = names[count],
                                             .dtype = LM_BF16,
                                             .rank = rank,
                                             .shape = {sides[0], rank == 2 ? sides[1] : 0},
                                             .data = rank == 2 ? values : ones,
                                             .bytes = bytes_of_one};
                count++;
                file.room += bytes_of_one;
            }
        }
    }
    file.data = have(malloc(file.room));
    must(lm_safetensors_write(tensors, count, NULL, 0, append, &file, &error), &error);
    char *json = have(lm_config_write(config, LM_BF16));
    self->files[0] = (lm_file){"config.json", json, strlen(json)};
    self->files[1] = (lm_file){"model.safetensors", file.data, file.count};
    self->set = (lm_file_set){self->files, 2};
    free(values);
    free(ones);
    free(tensors);
    free(names);
}

/* --- the work; each returns seconds --- */

static double load(bench *self) {
    temper_error error = TEMPER_ERROR_INIT;
    double start = now();
    must(lm_model_open(&self->context, &self->set, &self->model, &error), &error);
    return now() - start;
}

static void forward(const bench *self, const lm_sequence *sequences, size_t count, lm_real *normed) {
    temper_error error = TEMPER_ERROR_INIT;
    must(lm_model_forward(&self->context, self->model, sequences, count, normed, NULL, &error), &error);
}

static double prefill(bench *self) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_cache *cache = NULL;
    lm_real *normed = have(lm_allocate(PREFILL, self->config.hidden * sizeof *normed)),
            *logits = have(lm_allocate(self->config.vocabulary, sizeof *logits));
    size_t last = PREFILL - 1;
    double start = now();
    must(lm_cache_new(&self->context, &self->config, PREFILL, &cache, &error), &error);
    lm_sequence sequence = {cache, self->ids, PREFILL};
    forward(self, &sequence, 1, normed);
    must(lm_model_logits(&self->context, self->model, normed, &last, 1, logits, &error), &error);
    double spent = now() - start;
    lm_cache_free(cache);
    free(normed);
    free(logits);
    return spent;
}

static double score(bench *self) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_scored scored[SEQUENCES];
    float *logprobs = have(lm_allocate(SEQUENCES, SCORED * sizeof *logprobs));
    for (size_t i = 0; i < SEQUENCES; i++) {
        scored[i] = (lm_scored){self->ids + i, SCORED, logprobs + i * SCORED, NULL};
    }
    double start = now();
    must(lm_score(&self->context, self->model, scored, SEQUENCES, NULL, NULL, &error), &error);
    double spent = now() - start;
    free(logprobs);
    return spent;
}

/* Of one step of `streams` sequences, each after a prompt of eight: the median of many. */
static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double decode(bench *self, size_t streams) {
    enum { STEPS = 40, PROMPT = 8 };
    temper_error error = TEMPER_ERROR_INIT;
    const lm_kernels *kernels = self->context.kernels;
    size_t hidden = self->config.hidden, vocabulary = self->config.vocabulary;
    lm_real *normed = have(lm_allocate(streams * PROMPT, hidden * sizeof *normed)),
            *logits = have(lm_allocate(streams, vocabulary * sizeof *logits));
    lm_cache *caches[STREAMS];
    lm_sequence sequences[STREAMS];
    int32_t next[STREAMS];
    double times[STEPS];
    for (size_t i = 0; i < streams; i++) {
        must(lm_cache_new(&self->context, &self->config, PROMPT + STEPS, &caches[i], &error), &error);
        sequences[i] = (lm_sequence){caches[i], self->ids + i, PROMPT};
        next[i] = self->ids[i + PROMPT];
    }
    forward(self, sequences, streams, normed);
    for (int step = 0; step < STEPS; step++) {
        double start = now();
        for (size_t i = 0; i < streams; i++) {
            sequences[i] = (lm_sequence){caches[i], &next[i], 1};
        }
        forward(self, sequences, streams, normed);
        must(lm_model_logits(&self->context, self->model, normed, NULL, streams, logits, &error), &error);
        for (size_t i = 0; i < streams; i++) {
            next[i] = (int32_t)kernels->argmax(logits + i * vocabulary, vocabulary);
        }
        times[step] = now() - start;
    }
    for (size_t i = 0; i < streams; i++) {
        lm_cache_free(caches[i]);
    }
    free(normed);
    free(logits);
    qsort(times, STEPS, sizeof *times, by_size);
    return times[STEPS / 2];
}

static double one(bench *self) {
    return decode(self, 1);
}

static double many(bench *self) {
    return decode(self, STREAMS);
}

typedef struct reading {
    const char *data;
    size_t panel;
} reading;

static volatile unsigned sink;

static void read_panels(void *argument, size_t begin, size_t end, size_t worker) {
    typedef uint64_t line __attribute__((vector_size(64)));
    const reading *job = argument;
    const line *lines = (const line *)(const void *)(job->data + begin * job->panel);
    size_t count = (end - begin) * job->panel / sizeof *lines;
    line sums[4] = {{0}};
    (void)worker;
    for (size_t i = 0; i + 4 <= count; i += 4) {
        for (size_t j = 0; j < 4; j++) {
            __builtin_prefetch(lines + i + j + 16);
            sums[j] |= lines[i + j];
        }
    }
    sink = (unsigned)(sums[0] | sums[1] | sums[2] | sums[3])[0];
}

static void read_linear(const bench *self, const lm_linear *linear) {
    reading job = {linear->forward, self->context.product->panel_bytes(linear->inputs)};
    lm_context_ranges(&self->context, linear->outputs * linear->inputs,
                      (linear->outputs + LM_PANEL - 1) / LM_PANEL, 1, read_panels, &job);
}

static const lm_role roles[] = {LM_QUERY, LM_KEY, LM_VALUE, LM_OUTPUT, LM_GATE, LM_UP, LM_DOWN};
enum { ROLES = sizeof roles / sizeof *roles };

static double walk(bench *self) {
    double start = now();
    for (size_t layer = 0; layer < self->config.layers; layer++) {
        for (size_t i = 0; i < ROLES; i++) {
            read_linear(self, lm_model_linear(self->model, roles[i], layer));
        }
    }
    read_linear(self, lm_model_linear(self->model, LM_HEAD, 0));
    return now() - start;
}

static double packed_bytes(const bench *self, const lm_linear *linear) {
    return (double)((linear->outputs + LM_PANEL - 1) / LM_PANEL) *
           (double)self->context.product->panel_bytes(linear->inputs);
}

static void count_weights(bench *self) {
    const lm_linear *head = lm_model_linear(self->model, LM_HEAD, 0);
    self->head = (double)head->outputs * (double)head->inputs;
    self->blocks = 0;
    self->weight_bytes = packed_bytes(self, head);
    for (size_t layer = 0; layer < self->config.layers; layer++) {
        for (size_t i = 0; i < ROLES; i++) {
            const lm_linear *linear = lm_model_linear(self->model, roles[i], layer);
            self->blocks += (double)linear->outputs * (double)linear->inputs;
            self->weight_bytes += packed_bytes(self, linear);
        }
    }
}

static double rate_of(const machine_limits *limits, const char *profile) {
    return profile[0] == 'b' ? limits->bf16.rate : profile[0] == 'f' ? limits->f32.rate : limits->q8.rate;
}

static machine_limits limits_now(const bench *self, const char *profile) {
    machine_limits limits = machine_limits_measure((unsigned)self->context.parallel.workers, 0.3);
    printf("limits: %.1f Gop/s, %.1f GB/s\n", rate_of(&limits, profile) * 1e-9, limits.read.rate * 1e-9);
    return limits;
}

/* `operations` and `bytes` of one turn; the limit is the slower of the two. */
static void report(const char *name, double *turns, int rounds, double tokens, double operations,
                   double bytes_read, const machine_limits *limits, const char *profile) {
    qsort(turns, (size_t)rounds, sizeof *turns, by_size);
    double median = turns[rounds / 2];
    double compute = operations / rate_of(limits, profile), reading_time = bytes_read / limits->read.rate;
    double least = compute > reading_time ? compute : reading_time;
    printf("  %-8s %9.3f ms (best %.3f) %9.1f tokens/s  %8.1f Gop/s %6.1f GB/s  %5.1f%% of the %s limit\n",
           name, median * 1e3, turns[0] * 1e3, tokens / median, operations / median * 1e-9,
           bytes_read / median * 1e-9, 100 * least / median, compute > reading_time ? "arithmetic" : "read");
}

int main(int argc, char **argv) {
    static const char *const everything[] = {"load", "prefill", "score", "one", "walk", "many"};
    const char *profile = argc > 2 ? argv[2] : "bf16/1", *reason;
    int rounds = argc > 3 ? atoi(argv[3]) : 5;
    const char *const *what = argc > 4 ? (const char *const *)argv + 4 : everything;
    int count = argc > 4 ? argc - 4 : (int)(sizeof everything / sizeof *everything);
    const char *threads = getenv("THREADS");
    temper_error error = TEMPER_ERROR_INIT;
    const lm_kernels *kernels = lm_kernels_choose(NULL, &reason);
    tm_pool *pool = NULL;
    bench self = {.config = shape_of(argc > 1 ? argv[1] : "smollm2")};
    rounds = rounds < 1 ? 1 : rounds > MOST_ROUNDS ? MOST_ROUNDS : rounds;
    if (kernels == NULL) {
        fprintf(stderr, "%s\n", reason);
        return 1;
    }
    must(tm_pool_new(threads == NULL ? 2 : (uint32_t)atoi(threads), &pool, &error), &error);
    must(lm_context_init(&self.context, kernels, profile, workers_of(pool), &error), &error);
    for (size_t i = 0; i < PREFILL + SCORED; i++) {
        self.ids[i] = (int32_t)(i * 7919 % self.config.vocabulary);
    }
    make_files(&self);
    printf("%s, %s, %s, %zu threads\n", argc > 1 ? argv[1] : "smollm2", profile, kernels->name,
           self.context.parallel.workers);
    machine_limits limits = limits_now(&self, profile);
    printf("  opened in %.3f s\n", load(&self));
    count_weights(&self);
    printf("  %.1f million weights, %.1f MB packed\n", (self.head + self.blocks) * 1e-6,
           self.weight_bytes * 1e-6);
    const struct {
        const char *name;
        double (*run)(bench *);
        double tokens, operations, bytes_read;
    } works[] = {
        {"load", load, 1, 0, self.weight_bytes},
        {"prefill", prefill, PREFILL, 2 * PREFILL * self.blocks, self.weight_bytes},
        {"score", score, SEQUENCES * SCORED, 2 * SEQUENCES * SCORED * (self.blocks + self.head),
         self.weight_bytes},
        {"one", one, 1, 2 * (self.blocks + self.head), self.weight_bytes},
        {"many", many, STREAMS, 2 * STREAMS * (self.blocks + self.head), self.weight_bytes},
        {"walk", walk, 1, 0, self.weight_bytes},
    };
    for (int i = 0; i < count; i++) {
        for (size_t j = 0; j < sizeof works / sizeof *works; j++) {
            double turns[MOST_ROUNDS];
            if (strcmp(what[i], works[j].name) != 0) {
                continue;
            }
            for (int round = 0; round < rounds; round++) {
                if (works[j].run == load) {
                    lm_model_close(self.model);
                }
                turns[round] = works[j].run(&self);
            }
            report(works[j].name, turns, rounds, works[j].tokens, works[j].operations, works[j].bytes_read,
                   &limits, profile);
        }
    }
    limits_now(&self, profile);
    lm_model_close(self.model);
    lm_context_free(&self.context);
    tm_pool_free(pool);
    free((void *)(uintptr_t)self.files[0].data);
    free((void *)(uintptr_t)self.files[1].data);
    return 0;
}

/* bench.c: what this machine can do, and what we make of it: `temper bench` asks for it, uncached and unarchived. Its outputs
 * speak of the machine and the hour, so it belongs in no recipe. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define BENCH(P, S)                                                                                          \
    P(S, integer, rounds, "rounds", "3", 1, 101, "", "", "how often each work is done; the median counts",   \
      "0.2")                                                                                                 \
    P(S, integer, sequences, "sequences", "16", 1, 4096, "", "", "sequences of 256 tokens to score", "0.2")  \
    P(S, integer, answers, "answers", "128", 1, 100000, "", "",                                              \
      "answers of 64 tokens, four to a prompt, all behind one system prompt of 300", "0.2")                  \
    P(S, string, shape, "shape", "\"SmolLM2-135M\"", 1, 0, "", "SmolLM2-135M|Qwen2.5-0.5B|stories260K",      \
      "the shape of random weights, without a model", "0.2")                                                 \
    P(S, strings, only, "only", "[]", 1, 0, "", "",                                                          \
      "works to measure: load, prefill, score, decode_1, decode_32, answers; none: all", "0.2")              \
    P(S, flag, parts, "parts", "false", 0, 1, "", "", "also where the time goes, by part of the model", "0.2")
TEMPER_PARAMETERS(bench, BENCH)

typedef struct benching {
    const temper_host *host;
    bench_parameters given;
} benching;

/* The peak from here on: measuring the machine needs memory that the engine does not. */
static void forget_peak(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file != NULL) {
        (void)fputs("5", file);
        (void)fclose(file);
    }
}

static double peak_memory(void) {
    struct rusage usage;
    FILE *file = fopen("/proc/self/status", "r");
    char line[128];
    unsigned long kilobytes = 0;
    while (file != NULL && kilobytes == 0 && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "VmHWM:", 6) == 0) {
            kilobytes = strtoul(line + 6, NULL, 10);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    if (kilobytes > 0) {
        return (double)kilobytes * 1024;
    }
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (double)usage.ru_maxrss * 1024 : 0;
}

static void suffix_of(const char *profile, char out[8]) {
    size_t length = strcspn(profile, "/");
    length = length < 7 ? length : 7;
    memcpy(out, profile, length);
    out[length] = 0;
}

static void print_limits(const bench *self, FILE *out) {
    const machine_limits *limits = &self->limits;
    fprintf(out, "this machine, %u threads\n", limits->threads);
    fprintf(out, "  f32 products    %8.1f GFLOP/s  %s\n", limits->f32.rate / 1e9, limits->f32.instruction);
    fprintf(out, "  bf16 products   %8.1f GFLOP/s  %s\n", limits->bf16.rate / 1e9, limits->bf16.instruction);
    fprintf(out, "  8-bit products  %8.1f GOP/s    %s\n", limits->q8.rate / 1e9, limits->q8.instruction);
    fprintf(out, "  memory read     %8.1f GB/s     %s\n", limits->read.rate / 1e9, limits->read.instruction);
}

/* What the answers had in common. */
static void print_sharing(const bench *self, FILE *out) {
    const lm_counts *counts = &self->shared;
    double saved = (double)(counts->prompt_tokens - counts->prompt_computed);
    if (counts->prompt_tokens == 0) {
        return;
    }
    fprintf(out,
            "%zu answers to %zu prompts behind one system prompt of %zu tokens, %zu at a time: of %.0f "
            "prompt tokens "
            "%.0f were computed;",
            self->answers, self->prompts, self->system_tokens, counts->streams, (double)counts->prompt_tokens,
            (double)counts->prompt_computed);
    if (self->prefill_rate > 0) {
        fprintf(out, " the rest would have taken %.1f s more", saved / self->prefill_rate);
    }
    fprintf(out, "\n  keys and values took %.0f MB\n", (double)counts->cache_bytes / 1e6);
}

static void print_parts(const bench *self, FILE *out) {
    double totals[BENCH_WORKS] = {0};
    if (self->part_count == 0) {
        return;
    }
    fprintf(out, "where the time of all threads goes, bf16/1\n  %-24s", "");
    for (size_t i = 0; i < self->part_count; i++) {
        fprintf(out, " %10s", self->parts[i].work);
        for (size_t j = 0; bench_part_names[j] != NULL; j++) {
            totals[i] += self->parts[i].seconds[j];
        }
    }
    for (size_t j = 0; bench_part_names[j] != NULL; j++) {
        fprintf(out, "\n  %-24s", bench_part_names[j]);
        for (size_t i = 0; i < self->part_count; i++) {
            fprintf(out, " %9.1f%%", 100 * self->parts[i].seconds[j] / totals[i]);
        }
    }
    fprintf(out, "\n");
}

static void print_figures(const bench *self, FILE *out) {
    fprintf(out, "kernels %s, %.1f million weights, medians of %zu\n", self->kernels->name,
            (double)self->weights / 1e6, self->rounds);
    for (size_t i = 0; i < self->count; i++) {
        const bench_figure *figure = &self->figures[i];
        fprintf(out, "  %-6s %-26s", figure->profile, figure->doc);
        if (figure->unit == BENCH_SECONDS) {
            fprintf(out, " %8.2f seconds %31.0f%%\n", figure->median, 100 * figure->busy);
        } else {
            fprintf(out, " %8.1f tokens/s of %8.1f (%s): %3.0f%% %5.0f%%\n", figure->median, figure->limit,
                    figure->bound, 100 * figure->median / figure->limit, 100 * figure->busy);
        }
    }
    fprintf(out,
            "(last column: the part of the processors' time it had; a quiet machine gives nearly all)\n");
    print_sharing(self, out);
    fprintf(out, "peak memory %.0f MB, the model's file among it\n", peak_memory() / 1e6);
    print_parts(self, out);
}

static temper_status write_lines(const bench *self, temper_error *error) {
    const temper_host *host = self->host;
    temper_output *output = NULL;
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (out == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the lines");
    }
    print_limits(self, out);
    print_figures(self, out);
    bool written = fclose(out) == 0;
    temper_status status = written ? host->output(host, "lines", &output, error)
                                   : temper_fail(error, TEMPER_NO_MEMORY, "no memory for the lines");
    if (!status) {
        status = host->write_bytes(output, text, length, error);
    }
    free(text);
    return status;
}

typedef struct numbers {
    const temper_json_api *json;
    temper_arena *arena;
    temper_json *object;
    bool good;
} numbers;

static void set(numbers *self, const char *name, double value) {
    self->good = self->good &&
                 self->json->set(self->arena, self->object, name, self->json->new_number(self->arena, value));
}

static temper_status write_numbers(const bench *self, temper_error *error) {
    const temper_host *host = self->host;
    temper_arena *arena = host->json->arena_new();
    numbers all = {host->json, arena, arena == NULL ? NULL : host->json->new_object(arena), arena != NULL};
    temper_output *output = NULL;
    if (all.good) {
        set(&all, "threads", self->limits.threads);
        set(&all, "limit_f32_flops", self->limits.f32.rate);
        set(&all, "limit_bf16_flops", self->limits.bf16.rate);
        set(&all, "limit_q8_ops", self->limits.q8.rate);
        set(&all, "limit_read_bytes", self->limits.read.rate);
        set(&all, "weights", (double)self->weights);
        set(&all, "peak_memory_bytes", peak_memory());
    }
    for (size_t i = 0; all.good && i < self->count; i++) {
        const bench_figure *figure = &self->figures[i];
        char name[96], profile[8];
        suffix_of(figure->profile, profile);
        snprintf(name, sizeof name, "%s_%s_%s", figure->name, profile,
                 figure->unit == BENCH_SECONDS ? "seconds" : "tokens_per_second");
        set(&all, name, figure->median);
        snprintf(name, sizeof name, "%s_%s_busy", figure->name, profile);
        set(&all, name, figure->busy);
        if (figure->unit == BENCH_TOKENS) {
            snprintf(name, sizeof name, "%s_%s_limit", figure->name, profile);
            set(&all, name, figure->limit);
        }
    }
    if (all.good && self->shared.prompt_tokens > 0) {
        set(&all, "answers", (double)self->answers);
        set(&all, "answers_prompt_tokens", (double)self->shared.prompt_tokens);
        set(&all, "answers_prompt_tokens_computed", (double)self->shared.prompt_computed);
        set(&all, "answers_streams", (double)self->shared.streams);
        set(&all, "answers_cache_bytes", (double)self->shared.cache_bytes);
    }
    for (size_t i = 0; all.good && i < self->part_count; i++) {
        for (size_t j = 0; bench_part_names[j] != NULL; j++) {
            char name[96];
            snprintf(name, sizeof name, "part_%s_%s_seconds", self->parts[i].work, bench_part_names[j]);
            for (char *byte = name; *byte != 0; byte++) {
                *byte = *byte == ' ' || *byte == ',' ? '_' : *byte;
            }
            set(&all, name, self->parts[i].seconds[j]);
        }
    }
    temper_status status = all.good ? host->output(host, "metrics", &output, error)
                                    : temper_fail(error, TEMPER_NO_MEMORY, "no memory for the numbers");
    if (!status) {
        status = host->write_metrics(output, all.object, error);
    }
    if (arena != NULL) {
        host->json->arena_free(arena);
    }
    return status;
}

static temper_status run(void *given, const temper_host *host, temper_error *error) {
    static const char *const profiles[] = {"bf16/1", "f32/1", "q8/1"};
    const bench_parameters *parameters = &((const benching *)given)->given;
    const char *reason = NULL;
    const temper_input *input = host->input(host, "model");
    bench_model made = {0};
    lm_file_set files = {0};
    bench self = {.host = host,
                  .kernels = lm_kernels_choose(NULL, &reason),
                  .parallel = native_parallel(host),
                  .rounds = (size_t)parameters->rounds,
                  .sequences = (size_t)parameters->sequences,
                  .answers = (size_t)parameters->answers,
                  .only = &parameters->only,
                  .parted = parameters->parts != 0,
                  .machine = host->extension == NULL ? NULL : host->extension(host, TEMPER_MACHINE)};
    temper_status status =
        self.kernels != NULL ? TEMPER_OK : temper_fail(error, TEMPER_UNSUPPORTED, "%s", reason);
    status = status ? status : bench_check_wanted(&self, error);
    if (!status) {
        self.limits = machine_limits_measure((unsigned)self.parallel.workers, 0.25);
        forget_peak();
        status = input != NULL ? native_files(host, input, &files, error)
                               : bench_model_make(&made, parameters->shape, error);
        self.files = input != NULL ? &files : &made.set;
    }
    for (size_t i = 0; !status && i < sizeof profiles / sizeof *profiles; i++) {
        status = bench_profile(&self, profiles[i], error);
    }
    if (!status) {
        status = write_lines(&self, error);
    }
    if (!status) {
        status = write_numbers(&self, error);
    }
    free((void *)(uintptr_t)files.files);
    bench_model_free(&made);
    return status;
}

static temper_status create(const temper_host *host, const void *parameters, void **out,
                            temper_error *error) {
    benching *kept = host->allocate(host, sizeof *kept);
    if (kept == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a benchmark");
    }
    *kept = (benching){host, *(const bench_parameters *)parameters};
    *out = kept;
    return TEMPER_OK;
}

static void destroy(void *context) {
    benching *kept = context;
    kept->host->release(kept->host, kept);
}

const temper_stage native_bench_stage = {
    .size = sizeof native_bench_stage,
    .revision = 1,
    .name = "bench",
    .doc = "measures this machine and what the engine makes of it (it tells of the machine: for no recipe)",
    .inputs = (const temper_port *const[]){TEMPER_PORT(TEMPER_MODEL, "model", TEMPER_OPTIONAL, "",
                                                       "the model to measure; without it one of random "
                                                       "weights in a known shape"),
                                           NULL},
    .outputs =
        (const temper_port *const[]){TEMPER_PORT(TEMPER_TEXT, "lines", 0, "", "each figure beside its limit"),
                                     TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "", "the same"), NULL},
    .parameters = bench_parameter_table,
    .parameters_size = sizeof(bench_parameters),
    .create = create,
    .run = run,
    .destroy = destroy,
};

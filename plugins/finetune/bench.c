/* bench.c: training on the shape of SmolLM2-135M with random weights, for `temper bench train`: tokens a second, memory, and
 * what part of the machine that is. Its outputs speak of the machine and the hour, so it belongs in no recipe.
 *
 * A step is gradient and optimiser over 4 rows of 512 tokens (DPO: 2 pairs of such rows, references known). The limit is
 * one product of 512 x 512 x 512, repeated on every thread at once, after the steps. The share counts 4 operations a weight
 * and token for an adapter (forward, and back to the rows), 6 for all weights, and attention's products three times. */
#include "finetune.h"

#include <math.h>
#include <stdlib.h>
#include <temper/rng.h>
#include <time.h>

#define BENCH(P, S)                                                                                          \
    P(S, integer, rounds, "rounds", "3", 1, 101, "", "", "steps timed of each kind; the median counts", "0.2")
TEMPER_PARAMETERS(bench, BENCH)

static const temper_port *const inputs[] = {NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_TEXT, "lines", 0, "", "the figures, for people"),
    TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "", "the same as numbers"), NULL};

enum { ROWS = 4, LENGTH = 512, SIDE = 512, PRODUCTS = 60, MOST_ROUNDS = 101 };

typedef enum bench_kind { LORA, THIN, FULL, PAIRS, KINDS } bench_kind;
static const char *const names[KINDS] = {"lora", "lora_q", "full", "dpo"};
static const char *const titles[KINDS] = {"LoRA r=16, every linear layer", "LoRA r=16, q_proj alone",
                                          "all weights", "DPO, LoRA r=16, cached reference"};

typedef struct figures {
    double step, tokens, peak; /* seconds, a second, bytes */
    double share_work;         /* operations a second */
} figures;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void forget_peak(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file != NULL) {
        (void)fputs("5", file);
        (void)fclose(file);
    }
}

static double peak_memory(void) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[128];
    double bytes = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "VmHWM:", 6) == 0) {
            bytes = strtod(line + 6, NULL) * 1024;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return bytes;
}

static lm_config shape(void) {
    lm_config config = {.vocabulary = 49152,
                        .hidden = 576,
                        .intermediate = 1536,
                        .layers = 30,
                        .heads = 9,
                        .kv_heads = 3,
                        .head_size = 64,
                        .context = 1024,
                        .norm_epsilon = 1e-5,
                        .rope_theta = 10000,
                        .attention_scale = 0.125,
                        .tied = true,
                        .bos = -1,
                        .eos = 0};
    memcpy(config.architecture, "llama", 6);
    return config;
}

typedef struct rows {
    int32_t ids[ROWS][LENGTH];
    uint8_t trained[ROWS][LENGTH];
    lm_example examples[ROWS];
    const lm_example *all[ROWS];
    lm_pair pairs[ROWS / 2];
    const lm_pair *all_pairs[ROWS / 2];
} rows;

static void fill(rows *self, size_t vocabulary) {
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t t = 0; t < LENGTH; t++) {
            self->ids[i][t] = (int32_t)temper_random_below(3, i, t, vocabulary);
            self->trained[i][t] = LM_TRAINED;
        }
        self->examples[i] = (lm_example){self->ids[i], self->trained[i], LENGTH, NULL};
        self->all[i] = &self->examples[i];
    }
    for (size_t i = 0; i < ROWS / 2; i++) {
        self->pairs[i] = (lm_pair){.chosen = self->examples[2 * i],
                                   .rejected = self->examples[2 * i + 1],
                                   .reference_chosen = -5000,
                                   .reference_rejected = -5000};
        self->all_pairs[i] = &self->pairs[i];
    }
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static temper_status one_step(lm_trainer *trainer, bench_kind kind, const rows *data, double *spent,
                              temper_error *error) {
    const lm_loss_options options = {.beta = 0.1};
    lm_sft_result sft;
    lm_prefer_result prefer;
    double norm, began = seconds();
    temper_status status =
        kind == PAIRS ? lm_trainer_prefer(trainer, data->all_pairs, ROWS / 2, lm_loss_find("dpo", "sigmoid"),
                                          &options, 0, &prefer, error)
                      : lm_trainer_sft(trainer, data->all, ROWS, &sft, error);
    if (!status) {
        status = lm_trainer_apply(trainer, 1e-4, &norm, error);
    }
    *spent = seconds() - began;
    return status;
}

static temper_status measure(const temper_host *host, const lm_context *context, bench_kind kind,
                             size_t rounds, const rows *data, figures *out, temper_error *error) {
    lm_config config = shape();
    lm_model *model = NULL;
    lm_trainer *trainer = NULL;
    lm_adapter_config adapter = {.rank = 16, .alpha = 32};
    lm_train_options options = lm_train_defaults();
    double spent[MOST_ROUNDS], first;
    forget_peak();
    temper_status status = lm_model_init(context, &config, 1, 0.02, &model, error);
    for (int role = LM_QUERY; role <= LM_DOWN; role++) {
        adapter.targets[role] =
            kind == THIN ? role == LM_QUERY : lm_role_module(&config, (lm_role)role) != NULL;
    }
    if (!status && kind != FULL) {
        status = lm_lora_attach(context, model, &adapter, 1, error);
    }
    if (!status) {
        status = lm_trainer_new(context, model, &options, &trainer, error);
    }
    if (!status) {
        status = one_step(trainer, kind, data, &first, error);
    }
    for (size_t i = 0; !status && i < rounds; i++) {
        host->progress(host, i, rounds, "steps", titles[kind]);
        status = host->cancelled(host) ? temper_fail(error, TEMPER_CANCELLED, "stopped")
                                       : one_step(trainer, kind, data, &spent[i], error);
    }
    if (!status) {
        double weights = (double)lm_model_parameters(model) * (kind == FULL ? 6 : 4);
        double attention =
            3 * 4 * (LENGTH + 1) / 2.0 * (double)(config.heads * config.head_size * config.layers);
        qsort(spent, rounds, sizeof *spent, ascending);
        out->step = spent[rounds / 2];
        out->tokens = ROWS * LENGTH / out->step;
        out->share_work = (weights + attention) * out->tokens;
        out->peak = peak_memory();
    }
    lm_trainer_free(trainer);
    lm_model_close(model);
    return status;
}

/* --- the limit --- */

typedef struct limit {
    const lm_context *context;
    lm_real *values, *out;
    void *packed;
} limit;

static void multiply(void *argument, size_t index, size_t worker) {
    const limit *self = argument;
    const lm_product *product = self->context->product;
    for (size_t i = 0; i < PRODUCTS; i++) {
        product->multiply(SIDE, SIDE, SIDE, self->values, SIDE, false, self->packed,
                          self->out + index * SIDE * SIDE, SIDE, false,
                          lm_context_scratch(self->context, worker));
    }
}

static temper_status measure_limit(const lm_context *context, double *rate, temper_error *error) {
    const lm_product *product = context->product;
    size_t workers = context->parallel.workers;
    limit self = {context, lm_allocate((size_t)SIDE * SIDE, sizeof(lm_real)),
                  lm_allocate(workers * SIDE * SIDE, sizeof(lm_real)),
                  lm_allocate(SIDE / LM_PANEL, product->panel_bytes(SIDE))};
    temper_status status = lm_context_reserve(context, product->scratch_bytes(SIDE), error);
    if (!status && (self.values == NULL || self.out == NULL || self.packed == NULL)) {
        status = temper_no_memory(error);
    }
    *rate = 0;
    if (!status) {
        for (size_t i = 0; i < (size_t)SIDE * SIDE; i++) {
            self.values[i] = (lm_real)(temper_random_unit(1, 2, i) - 0.5);
        }
        product->pack(self.packed, self.values, SIDE, SIDE, SIDE, true);
    }
    for (size_t i = 0; !status && i < 5; i++) {
        double began = seconds();
        context->parallel.run(context->parallel.self, workers, multiply, &self);
        double found = 2.0 * SIDE * SIDE * SIDE * PRODUCTS * (double)workers / (seconds() - began);
        *rate = found > *rate ? found : *rate;
    }
    free(self.values);
    free(self.out);
    free(self.packed);
    return status;
}

static temper_status report(const temper_host *host, const figures *found, double rate, temper_error *error) {
    temper_output *lines = NULL, *metrics = NULL;
    temper_row row;
    char line[200];
    temper_status status = host->output(host, "lines", &lines, error);
    if (!status) {
        status = host->output(host, "metrics", &metrics, error);
    }
    if (status) {
        return status;
    }
    temper_row_begin(&row, host);
    int length = snprintf(line, sizeof line,
                          "training, shape of SmolLM2-135M, 4 x 512 tokens a step, %s, %u threads\n"
                          "  products alone reach %.0f GFLOP/s\n",
                          host->profile, (unsigned)host->workers(host), rate / 1e9);
    status = host->write_bytes(lines, line, (size_t)length, error);
    temper_row_number(&row, "limit", rate);
    for (size_t k = 0; !status && k < KINDS; k++) {
        char name[48];
        length = snprintf(line, sizeof line,
                          "  %-34s %6.0f tokens/s  %5.2f s a step  %3.0f%% of that  %5.2f GiB\n", titles[k],
                          found[k].tokens, found[k].step, 100 * found[k].share_work / rate,
                          found[k].peak / (1 << 30));
        status = host->write_bytes(lines, line, (size_t)length, error);
        snprintf(name, sizeof name, "%s_tokens_per_second", names[k]);
        temper_row_number(&row, name, found[k].tokens);
        snprintf(name, sizeof name, "%s_share", names[k]);
        temper_row_number(&row, name, found[k].share_work / rate);
        snprintf(name, sizeof name, "%s_peak_memory", names[k]);
        temper_row_number(&row, name, found[k].peak);
    }
    double thin = (found[LORA].step - found[THIN].step) * 7 / 6 / found[LORA].step;
    length = snprintf(line, sizeof line, "  thin products (rank 16)            %6.1f%% of a LoRA step\n",
                      100 * thin);
    if (!status) {
        status = host->write_bytes(lines, line, (size_t)length, error);
    }
    temper_row_number(&row, "thin_share", thin);
    if (status) {
        temper_row_drop(&row);
        return status;
    }
    return temper_row_metrics(&row, metrics, host, error);
}

static temper_status run(void *parameters, const temper_host *host, temper_error *error) {
    const bench_parameters *given = parameters;
    lm_context context = {0};
    figures found[KINDS] = {0};
    double rate = 0;
    rows *data = calloc(1, sizeof *data);
    temper_status status = data == NULL ? temper_no_memory(error) : base_context(host, &context, error);
    if (status) {
        free(data);
        return status;
    }
    fill(data, shape().vocabulary);
    for (int kind = 0; !status && kind < KINDS; kind++) {
        status = measure(host, &context, (bench_kind)kind, (size_t)given->rounds, data, &found[kind], error);
    }
    if (!status) {
        status = measure_limit(&context, &rate, error);
    }
    if (!status) {
        status = report(host, found, rate, error);
    }
    lm_context_free(&context);
    free(data);
    return status;
}

const temper_stage finetune_bench_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "bench",
    .doc = "how fast this machine trains",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = bench_parameter_table,
    .parameters_size = sizeof(bench_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

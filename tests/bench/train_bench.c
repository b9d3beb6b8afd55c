/* train_bench.c: tokens a second of training, beside what the same products reach alone in the same run.
 *
 * usage: train_bench [tiny|talk|smollm] [full|lora|dpo] [bf16/1|f32/1] [threads] [steps]
 * tiny: the builtin model's shape; talk: a small chat model with a large vocabulary; smollm: SmolLM2-135M. Weights and
 * tokens are random. The ceiling is a 512 x 512 x 512 product on every thread at once; the share counts the weights'
 * multiply-adds alone (attention left out). */
#include "../unit/train_support.h"

#include <time.h>

typedef struct shape {
    const char *name;
    size_t layers, hidden, intermediate, heads, kv_heads, vocabulary, rows, length;
} shape;

static const shape shapes[] = {{"tiny", 4, 96, 256, 3, 3, 260, 32, 160},
                               {"talk", 8, 128, 512, 8, 8, 14000, 16, 100},
                               {"smollm", 30, 576, 1536, 9, 3, 49152, 4, 512}};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void check(temper_status status, const temper_error *error) {
    if (status) {
        fprintf(stderr, "%s\n", error->message);
        exit(1);
    }
}

/* --- the ceiling --- */

enum { SIDE = 512, ROUNDS = 40 };
typedef struct ceiling {
    const lm_context *context;
    float *values;
    void *packed;
} ceiling;

static void multiply(void *argument, size_t index, size_t worker) {
    const ceiling *self = argument;
    float *out = lm_allocate(SIDE * SIDE, sizeof *out);
    (void)index;
    for (size_t i = 0; i < ROUNDS; i++) {
        self->context->product->multiply(SIDE, SIDE, SIDE, self->values, SIDE, false, self->packed, out, SIDE,
                                         false, lm_context_scratch(self->context, worker));
    }
    free(out);
}

static double measure_ceiling(const lm_context *context) {
    ceiling self = {context, lm_allocate(SIDE * SIDE, sizeof(float)),
                    lm_allocate(SIDE / LM_PANEL, context->product->panel_bytes(SIDE))};
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        self.values[i] = (float)(temper_random_unit(1, 2, i) - 0.5);
    }
    temper_error error = TEMPER_ERROR_INIT;
    check(lm_context_reserve(context, context->product->scratch_bytes(SIDE), &error), &error);
    context->product->pack(self.packed, self.values, SIDE, SIDE, SIDE, true);
    size_t workers = context->parallel.workers;
    double start = now();
    context->parallel.run(context->parallel.self, workers, multiply, &self);
    double seconds = now() - start;
    free(self.values);
    free(self.packed);
    return 2.0 * SIDE * SIDE * SIDE * ROUNDS * (double)workers / seconds;
}

/* --- training --- */

static lm_model *make_model(const lm_context *context, const shape *from) {
    lm_config config = {.vocabulary = from->vocabulary,
                        .hidden = from->hidden,
                        .intermediate = from->intermediate,
                        .layers = from->layers,
                        .heads = from->heads,
                        .kv_heads = from->kv_heads,
                        .head_size = from->hidden / from->heads,
                        .context = 1024,
                        .norm_epsilon = 1e-5,
                        .rope_theta = 10000,
                        .attention_scale = 1 / sqrt((double)(from->hidden / from->heads)),
                        .tied = true,
                        .bos = -1,
                        .eos = 0};
    lm_model *model = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    strcpy(config.architecture, "llama");
    check(lm_model_init(context, &config, 1, 0.02, &model, &error), &error);
    return model;
}

static lm_example make_row(size_t index, size_t length, size_t vocabulary) {
    int32_t *ids = calloc(length, sizeof *ids);
    uint8_t *trained = calloc(length, 1);
    for (size_t i = 0; i < length; i++) {
        ids[i] = (int32_t)temper_random_below(3, index, i, vocabulary);
        trained[i] = 1;
    }
    return (lm_example){ids, trained, length, NULL};
}

int main(int argc, char **argv) {
    const shape *of = &shapes[0];
    const char *mode = argc > 2 ? argv[2] : "full", *profile = argc > 3 ? argv[3] : "bf16/1";
    size_t threads = argc > 4 ? (size_t)atoi(argv[4]) : 2, steps = argc > 5 ? (size_t)atoi(argv[5]) : 5;
    bool pairs = strcmp(mode, "dpo") == 0, adapters = pairs || strcmp(mode, "lora") == 0;
    for (size_t i = 0; argc > 1 && i < sizeof shapes / sizeof *shapes; i++) {
        of = strcmp(shapes[i].name, argv[1]) == 0 ? &shapes[i] : of;
    }
    temper_error error = TEMPER_ERROR_INIT;
    const char *reason = "";
    const lm_kernels *kernels = lm_kernels_choose(NULL, &reason);
    lm_context context;
    if (kernels == NULL) {
        fprintf(stderr, "%s\n", reason);
        return 1;
    }
    check(lm_context_init(&context, kernels, profile, tiny_parallel(&threads), &error), &error);
    lm_model *model = make_model(&context, of);
    if (adapters) {
        lm_adapter_config adapter = tiny_adapter();
        adapter.rank = 16;
        adapter.alpha = 32;
        check(lm_lora_attach(&context, model, &adapter, 1, &error), &error);
    }
    lm_train_options options = lm_train_defaults();
    lm_trainer *trainer;
    check(lm_trainer_new(&context, model, &options, &trainer, &error), &error);
    lm_example *rows = calloc(of->rows, sizeof *rows);
    const lm_example **examples = calloc(of->rows, sizeof *examples);
    lm_pair *all = calloc(of->rows / 2, sizeof *all);
    const lm_pair **chosen = calloc(of->rows / 2, sizeof *chosen);
    for (size_t i = 0; i < of->rows; i++) {
        rows[i] = make_row(i, of->length, of->vocabulary);
        examples[i] = &rows[i];
    }
    for (size_t i = 0; i < of->rows / 2; i++) {
        all[i] = (lm_pair){.chosen = rows[2 * i], .rejected = rows[2 * i + 1]};
        chosen[i] = &all[i];
    }
    double gradient = 0, apply = 0;
    for (size_t step = 0; step <= steps; step++) {
        lm_sft_result sft;
        lm_prefer_result dpo;
        lm_loss_options dpo_options = {.beta = 0.1};
        double norm, start = now();
        check(pairs ? lm_trainer_prefer(trainer, chosen, of->rows / 2, lm_loss_find("dpo", "sigmoid"),
                                        &dpo_options, 0, &dpo, &error)
                    : lm_trainer_sft(trainer, examples, of->rows, &sft, &error),
              &error);
        double middle = now();
        check(lm_trainer_apply(trainer, 1e-4, &norm, &error), &error);
        gradient += step > 0 ? middle - start : 0;
        apply += step > 0 ? now() - middle : 0;
    }
    double tokens = (double)(of->rows * of->length * steps), rate = tokens / (gradient + apply);
    double weights = (double)lm_model_parameters(model), ceiling_rate = measure_ceiling(&context);
    double work = (adapters ? 4 : 6) * weights * rate;
    printf("%s %s %s, %s, %zu threads: %.0f tokens/s (gradient %.1f ms, apply %.1f ms a step); "
           "%.0f of %.0f GFLOP/s\n",
           of->name, mode, profile, kernels->name, threads, rate, 1e3 * gradient / (double)steps,
           1e3 * apply / (double)steps, work / 1e9, ceiling_rate / 1e9);
    return 0;
}

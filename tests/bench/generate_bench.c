/* Tokens a second: prefill, decode alone, decode in a batch, sampling, scoring. By hand:
 *   generate_bench [MODEL_FOLDER|smollm2 [THREADS [PROFILE]]]
 * Without a model: a random llama of about half a million weights; smollm2: random weights in SmolLM2-135M's shape. */
#include "../../plugins/lm/generate/generate.h"
#include "../support/tiny.h"
#include "../support/workers.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Of the wall, or of the processors: on a busy machine the second is the one to look at. */
static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void must(temper_status status, const temper_error *error) {
    if (status) {
        fprintf(stderr, "%s\n", error->message);
        exit(1);
    }
}

static void generate(const lm_context *context, const lm_model *model, const char *what, size_t count,
                     size_t prompt, size_t tokens, double temperature) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_request *requests = calloc(count, sizeof *requests);
    lm_answer *answers = calloc(count, sizeof *answers);
    int32_t *ids = calloc(prompt, sizeof *ids);
    double best = 1e9, cpu = 1e9;
    size_t made = 0;
    tiny_ids(ids, prompt, model->config.vocabulary, 1);
    for (size_t i = 0; i < count; i++) {
        requests[i] = (lm_request){.prompt = ids,
                                   .prompt_count = prompt,
                                   .max_tokens = tokens,
                                   .sampling = {temperature, 0, 1, 0},
                                   .stream = i};
    }
    for (int turn = 0; turn < 3; turn++) {
        double start = seconds(CLOCK_MONOTONIC), cpu_start = seconds(CLOCK_PROCESS_CPUTIME_ID);
        must(lm_generate(context, model, requests, count, 0, NULL, NULL, answers, &error), &error);
        double spent = seconds(CLOCK_MONOTONIC) - start,
               cpu_spent = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_start;
        best = spent < best ? spent : best;
        cpu = cpu_spent < cpu ? cpu_spent : cpu;
        made = 0;
        for (size_t i = 0; i < count; i++) {
            made += prompt > 16 ? prompt : answers[i].count;
            free(answers[i].ids);
        }
    }
    printf("  %-34s %9.0f tokens/s, %9.0f a second of one core\n", what, (double)made / best,
           (double)made / cpu);
    free(requests);
    free(answers);
    free(ids);
}

static void score(const lm_context *context, const lm_model *model, size_t count, size_t length) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_scored *scored = calloc(count, sizeof *scored);
    int32_t *ids = calloc(length, sizeof *ids);
    float *logprobs = calloc(length * count, sizeof *logprobs);
    tiny_ids(ids, length, model->config.vocabulary, 1);
    for (size_t i = 0; i < count; i++) {
        scored[i] = (lm_scored){ids, length, logprobs + i * length, NULL};
    }
    double start = seconds(CLOCK_MONOTONIC), cpu_start = seconds(CLOCK_PROCESS_CPUTIME_ID);
    must(lm_score(context, model, scored, count, NULL, NULL, &error), &error);
    printf("  %-34s %9.0f tokens/s, %9.0f a second of one core\n", "scoring",
           (double)(count * length) / (seconds(CLOCK_MONOTONIC) - start),
           (double)(count * length) / (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_start));
    free(scored);
    free(ids);
    free(logprobs);
}

int main(int argc, char **argv) {
    temper_error error = TEMPER_ERROR_INIT;
    const char *reason;
    const lm_kernels *kernels = lm_kernels_choose(NULL, &reason);
    tm_pool *pool = NULL;
    lm_folder *folder = NULL;
    if (kernels == NULL) {
        fprintf(stderr, "%s\n", reason);
        return 1;
    }
    must(tm_pool_new(argc > 2 ? (uint32_t)atoi(argv[2]) : 2, &pool, &error), &error);
    for (int p = 0; p < 2; p++) {
        const char *profile = p == 0 ? "f32/1" : "bf16/1";
        bool large = argc > 1 && strcmp(argv[1], "smollm2") == 0;
        if (argc > 3 && strcmp(argv[3], profile) != 0) {
            continue;
        }
        lm_context context;
        lm_model *model = NULL;
        must(lm_context_init(&context, kernels, profile, workers_of(pool), &error), &error);
        if (argc > 1 && !large) {
            must(lm_folder_open(argv[1], &folder, &error), &error);
            must(lm_model_open(&context, lm_folder_files(folder), &model, &error), &error);
            lm_folder_close(folder);
        } else {
            lm_config config = tiny_llama(512);
            config.vocabulary = 260, config.hidden = 128, config.intermediate = 256, config.layers = 3;
            config.heads = 4, config.kv_heads = 2, config.head_size = 32;
            if (large) {
                config.vocabulary = 49152, config.hidden = 576, config.intermediate = 1536,
                config.layers = 30;
                config.heads = 9, config.kv_heads = 3, config.head_size = 64, config.tied = true;
            }
            must(lm_model_init(&context, &config, 1, 0.05, &model, &error), &error);
        }
        printf("%s, %s, %u threads, %llu weights\n", kernels->name, profile, tm_pool_workers(pool),
               (unsigned long long)lm_model_parameters(model));
        size_t less = large ? 8 : 1;
        generate(&context, model, "decode, 1 sequence, greedy", 1, 8, 200 / less, 0);
        generate(&context, model, "decode, a batch, greedy", 64 / less, 8, 200 / less, 0);
        generate(&context, model, "decode, a batch, sampled", 64 / less, 8, 200 / less, 1);
        generate(&context, model, "prefill, prompts of 200", 32 / less, 200, 1, 0);
        score(&context, model, 64 / less, 200);
        lm_model_close(model);
        lm_context_free(&context);
    }
    tm_pool_free(pool);
    return 0;
}

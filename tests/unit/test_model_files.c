/* A model written and opened again is the same model: the same bits from the same ids, with and without an adapter; and
 * an adapter does what adding its product to the weights would do. */
#include "../../plugins/lm/train/train.h"
#include "../support/tiny.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <temper/rng.h>

#include <cmocka.h>

#include "../support/memory_files.h"

enum { ROWS = 20, BYTES = 1 << 21 };

static temper_error cause = TEMPER_ERROR_INIT;

static void must(temper_status status) {
    if (status) {
        fail_msg("%s", cause.message);
    }
}

typedef struct bytes {
    char *data;
    size_t count;
} bytes;

static temper_status append(void *context, const void *data, size_t count, temper_error *error) {
    bytes *self = context;
    (void)error;
    assert_true(count <= BYTES - self->count);
    memcpy(self->data + self->count, data, count);
    self->count += count;
    return TEMPER_OK;
}

static void put_config(memory_files *files, const char *name, const lm_config *config) {
    char *text = lm_config_write(config, LM_F32);
    memory_put_text(files, name, text);
    free(text);
}

static void run(const lm_context *context, const lm_model *model, lm_real *logits) {
    static lm_real normed[ROWS * 96];
    int32_t ids[ROWS];
    tiny_ids(ids, ROWS, model->config.vocabulary, 3);
    lm_sequence sequence = {NULL, ids, ROWS};
    must(lm_model_forward(context, model, &sequence, 1, normed, NULL, &cause));
    must(lm_model_logits(context, model, normed, NULL, ROWS, logits, &cause));
}

/* A pair whose B is not zero. */
static void attach(const lm_context *context, lm_model *model) {
    lm_adapter_config adapter = {.rank = 3, .alpha = 6};
    adapter.targets[LM_QUERY] = adapter.targets[LM_VALUE] = adapter.targets[LM_UP] =
        adapter.targets[LM_DOWN] = true;
    must(lm_lora_attach(context, model, &adapter, 17, &cause));
    for (size_t layer = 0; layer < model->config.layers; layer++) {
        for (int role = 0; role < LM_ROLE_COUNT; role++) {
            lm_linear *linear = lm_model_linear(model, (lm_role)role, layer);
            if (linear == NULL || linear->lora == NULL) {
                continue;
            }
            for (size_t i = 0; i < linear->outputs * 3; i++) {
                linear->lora->b[i] = (lm_real)(0.2 * sin((double)(i + layer)));
            }
            must(lm_lora_pack(context, linear, linear->lora, false, &cause));
        }
    }
}

/* W + scale * B A, in double. */
static void merge(const lm_context *context, lm_model *model) {
    for (size_t layer = 0; layer < model->config.layers; layer++) {
        for (int role = 0; role < LM_ROLE_COUNT; role++) {
            lm_linear *linear = lm_model_linear(model, (lm_role)role, layer);
            if (linear == NULL || linear->lora == NULL) {
                continue;
            }
            lm_lora *lora = linear->lora;
            for (size_t i = 0; i < linear->outputs; i++) {
                for (size_t j = 0; j < linear->inputs; j++) {
                    double sum = 0;
                    for (size_t r = 0; r < lora->rank; r++) {
                        sum += (double)lora->b[i * lora->rank + r] * (double)lora->a[r * linear->inputs + j];
                    }
                    linear->w[i * linear->inputs + j] += (lm_real)((double)lora->scale * sum);
                }
            }
            memset(lora->b, 0, linear->outputs * lora->rank * sizeof *lora->b);
        }
    }
    must(lm_model_pack(context, model, false, &cause));
}

static void written_and_opened(const lm_config *config, const char *profile) {
    static lm_real before[ROWS * 80], after[ROWS * 80], base[ROWS * 80];
    size_t values = ROWS * config->vocabulary;
    memory_files files = {0}, folder = {0};
    bytes weights = {malloc(BYTES), 0}, adapter = {malloc(BYTES), 0};
    lm_context context;
    lm_model *model = NULL, *opened = NULL;
    const char *reason;
    must(lm_context_init(&context, lm_kernels_choose(NULL, &reason), profile, lm_serial(), &cause));
    must(lm_model_init(&context, config, 8, 0.2, &model, &cause));
    run(&context, model, base);
    must(lm_model_write(model, NULL, LM_F32, append, &weights, &cause));
    put_config(&files, "config.json", config);
    memory_put(&files, "model.safetensors", weights.data, weights.count);
    must(lm_model_open(&context, &files.set, &opened, &cause));
    assert_null(opened->blocks[0].query.w); /* only the packed form is kept */
    run(&context, opened, after);
    assert_memory_equal(after, base, values * sizeof *after);
    lm_model_close(opened);

    attach(&context, model);
    run(&context, model, before);
    assert_memory_not_equal(before, base, values * sizeof *before);
    must(lm_adapter_write(model, NULL, append, &adapter, &cause));
    lm_adapter_config settings = {.rank = 3, .alpha = 6};
    settings.targets[LM_QUERY] = settings.targets[LM_VALUE] = settings.targets[LM_UP] =
        settings.targets[LM_DOWN] = true;
    char *text = lm_adapter_config_write(config, &settings, "base");
    memory_put_text(&folder, "adapter_config.json", text);
    free(text);
    memory_put(&folder, "adapter_model.safetensors", adapter.data, adapter.count);
    put_config(&folder, "base/config.json", config);
    memory_put(&folder, "base/model.safetensors", weights.data, weights.count);
    must(lm_model_open_training(&context, &folder.set, &opened, &cause));
    assert_int_equal(opened->lora_rank, 3);
    run(&context, opened, after);
    assert_memory_equal(after, before, values * sizeof *after);

    merge(&context, opened);
    run(&context, opened, after);
    double worst = 0, size = 0;
    for (size_t i = 0; i < values; i++) {
        worst = fmax(worst, fabs((double)after[i] - (double)before[i]));
        size = fmax(size, fabs((double)before[i]));
    }
    assert_true(worst < size * (strcmp(profile, "f32/1") == 0 ? 1e-4 : 0.1));
    lm_model_close(opened);

    memory_put_text(&folder, "base/adapter_config.json", "{}");
    assert_int_equal(lm_model_open(&context, &folder.set, &opened, &cause), TEMPER_UNSUPPORTED);
    lm_model_close(model);
    lm_context_free(&context);
    memory_free(&files);
    memory_free(&folder);
    free(weights.data);
    free(adapter.data);
}

/* --- several adapters on one base --- */

static float drawn(uint64_t stream, size_t i) {
    return (float)(0.4 * (temper_random_unit(77, stream, i) - 0.5));
}

/* An adapter under adapters/N/: queries and downs of every layer; `which` decides values and rank. */
static void put_adapter(memory_files *folder, const lm_config *config, size_t place, size_t rank,
                        uint64_t which) {
    static const lm_role targets[] = {LM_QUERY, LM_DOWN};
    lm_adapter_config settings = {.rank = rank, .alpha = 2.0 * (double)rank};
    lm_tensor tensors[16];
    char names[16][160];
    static const char *const paths[2][2] = {
        {"adapters/0/adapter_model.safetensors", "adapters/0/adapter_config.json"},
        {"adapters/1/adapter_model.safetensors", "adapters/1/adapter_config.json"}};
    size_t count = 0;
    bytes data = {malloc(BYTES), 0};
    for (size_t t = 0; t < 2; t++) {
        settings.targets[targets[t]] = true;
        for (size_t layer = 0; layer < config->layers; layer++) {
            unsigned sides;
            size_t shape[2];
            lm_role_shape(config, targets[t], &sides, shape);
            for (int second = 0; second < 2; second++) {
                size_t rows = second ? shape[0] : rank, columns = second ? rank : shape[1];
                float *values = malloc(rows * columns * sizeof *values);
                for (size_t i = 0; i < rows * columns; i++) {
                    values[i] = drawn(which * 1000 + t * 100 + layer * 10 + (size_t)second, i);
                }
                lm_adapter_name(config, targets[t], layer, second ? 'B' : 'A', names[count],
                                sizeof names[count]);
                tensors[count] = (lm_tensor){.name = names[count],
                                             .dtype = LM_F32,
                                             .rank = 2,
                                             .shape = {rows, columns},
                                             .data = values,
                                             .bytes = rows * columns * sizeof *values};
                count++;
            }
        }
    }
    must(lm_safetensors_write(tensors, count, NULL, 0, append, &data, &cause));
    memory_put(folder, paths[place][0], data.data, data.count);
    char *text = lm_adapter_config_write(config, &settings, "base");
    memory_put_text(folder, paths[place][1], text);
    free(text);
    free(data.data);
    for (size_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)tensors[i].data);
    }
}

static double apart(const lm_real *a, const lm_real *b, size_t count) {
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    }
    return worst;
}

/* W + sum of weight * 2 B A over the two adapters, or, `crossed`, W + 2 (w1 B1 + w2 B2)(A1 + A2). */
static void add_deltas(lm_model *model, const double *weights, bool crossed) {
    static const lm_role targets[] = {LM_QUERY, LM_DOWN};
    for (size_t t = 0; t < 2; t++) {
        for (size_t layer = 0; layer < model->config.layers; layer++) {
            lm_linear *linear = lm_model_linear(model, targets[t], layer);
            for (size_t i = 0; i < linear->outputs; i++) {
                for (size_t j = 0; j < linear->inputs; j++) {
                    double sum = 0;
                    for (size_t r = 0; r < 2; r++) {
                        double a[2], b[2];
                        for (size_t which = 0; which < 2; which++) {
                            uint64_t stream = (which + 1) * 1000 + t * 100 + layer * 10;
                            a[which] = (double)drawn(stream, r * linear->inputs + j);
                            b[which] = weights[which] * (double)drawn(stream + 1, i * 2 + r);
                        }
                        sum += crossed ? (a[0] + a[1]) * (b[0] + b[1]) : a[0] * b[0] + a[1] * b[1];
                    }
                    linear->w[i * linear->inputs + j] += (lm_real)(2.0 * sum);
                }
            }
        }
    }
}

static void several_adapters(void **state) {
    static lm_real base[ROWS * 80], first[ROWS * 80], alone[ROWS * 80], both[ROWS * 80], wanted[ROWS * 80];
    static const double weights[] = {1.0, -0.5};
    lm_config config = tiny_llama(32);
    size_t values = ROWS * config.vocabulary;
    memory_files folder = {0}, single = {0}, plain = {0};
    bytes data = {malloc(BYTES), 0};
    lm_context context;
    lm_model *model = NULL, *opened = NULL;
    const char *reason;
    (void)state;
    must(lm_context_init(&context, lm_kernels_choose(NULL, &reason), "f32/1", lm_serial(), &cause));
    must(lm_model_init(&context, &config, 8, 0.2, &model, &cause));
    must(lm_model_write(model, NULL, LM_F32, append, &data, &cause));
    lm_model_close(model);
    put_config(&folder, "base/config.json", &config);
    memory_put(&folder, "base/model.safetensors", data.data, data.count);
    put_config(&single, "base/config.json", &config);
    memory_put(&single, "base/model.safetensors", data.data, data.count);
    put_config(&plain, "config.json", &config);
    memory_put(&plain, "model.safetensors", data.data, data.count);
    put_adapter(&folder, &config, 0, 2, 1);
    put_adapter(&folder, &config, 1, 2, 2);
    put_adapter(&single, &config, 0, 2, 1);
    assert_int_equal(lm_adapter_count(&folder.set), 2);

    must(lm_model_open_weighted(&context, &folder.set, weights, NULL, NULL, &opened, &cause));
    assert_int_equal(opened->adapters, 2);
    run(&context, opened, both);
    must(lm_model_select(opened, LM_NO_ADAPTER, &cause));
    run(&context, opened, base);
    must(lm_model_select(opened, 0, &cause));
    run(&context, opened, first);
    must(lm_model_select(opened, LM_ALL_ADAPTERS, &cause));
    run(&context, opened, wanted);
    assert_memory_equal(wanted, both, values * sizeof *both); /* and back */
    assert_int_equal(lm_model_select(opened, 2, &cause), TEMPER_INVALID);
    lm_model_close(opened);

    /* One of several is what it is by itself; none is the base: to the bit. */
    must(lm_model_open(&context, &single.set, &opened, &cause));
    run(&context, opened, alone);
    assert_memory_equal(first, alone, values * sizeof *first);
    lm_model_close(opened);
    must(lm_model_open_training(&context, &plain.set, &opened, &cause));
    run(&context, opened, wanted);
    assert_memory_equal(base, wanted, values * sizeof *base);

    /* Together they are the sum of what each adds ... */
    add_deltas(opened, weights, false);
    must(lm_model_pack(&context, opened, false, &cause));
    run(&context, opened, wanted);
    double size = apart(both, base, values);
    assert_true(size > 0.01);
    assert_true(apart(both, wanted, values) < 1e-4 * size + 1e-5);
    lm_model_close(opened);
    /* ... and not the product of sums, which has every A times every B. */
    must(lm_model_open_training(&context, &plain.set, &opened, &cause));
    add_deltas(opened, weights, true);
    must(lm_model_pack(&context, opened, false, &cause));
    run(&context, opened, wanted);
    assert_true(apart(both, wanted, values) > 0.05 * size);
    lm_model_close(opened);
    lm_context_free(&context);
    memory_free(&folder);
    memory_free(&single);
    memory_free(&plain);
    free(data.data);
}

static void llama(void **state) {
    lm_config config = tiny_llama(32);
    (void)state;
    written_and_opened(&config, "f32/1");
    written_and_opened(&config, "bf16/1");
}

static void gpt_neo(void **state) {
    lm_config config = tiny_gpt_neo(32);
    (void)state;
    config.window[1] = 256; /* as config.json says it */
    written_and_opened(&config, "f32/1");
    written_and_opened(&config, "bf16/1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_adapters),
        cmocka_unit_test(llama),
        cmocka_unit_test(gpt_neo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

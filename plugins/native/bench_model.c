/* bench_model.c: a model to measure when none is given: a checkpoint in SmolLM2-135M's shape, made in memory as a Hugging
 * Face folder's bytes, so that loading it is what loading a real one is. All tensors of a kind share their values, which
 * are cheap and of no meaning; the bytes are written out for each, as a file has them. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>

typedef struct shape {
    const char *name;
    size_t vocabulary, hidden, intermediate, layers, heads, kv_heads, head_size, context;
    double rope_theta;
} shape;

static const shape shapes[] = {
    {"SmolLM2-135M", 49152, 576, 1536, 30, 9, 3, 64, 2048, 10000},
    {"Qwen2.5-0.5B", 151936, 896, 4864, 24, 14, 2, 64, 4096, 1000000},
    {"stories260K", 512, 64, 172, 5, 8, 4, 8, 512, 10000},
};

static lm_config config_of(const shape *of) {
    return (lm_config){.architecture = "llama",
                       .vocabulary = of->vocabulary,
                       .hidden = of->hidden,
                       .intermediate = of->intermediate,
                       .layers = of->layers,
                       .heads = of->heads,
                       .kv_heads = of->kv_heads,
                       .head_size = of->head_size,
                       .context = of->context,
                       .norm = LM_RMS_NORM,
                       .positions = LM_ROPE,
                       .activation = LM_SWIGLU,
                       .norm_epsilon = 1e-5,
                       .rope_theta = of->rope_theta,
                       .attention_scale = 1 / sqrt((double)of->head_size),
                       .tied = true,
                       .bos = -1,
                       .eos = -1};
}

static const shape *find_shape(const char *name) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (strcmp(shapes[i].name, name) == 0) {
            return &shapes[i];
        }
    }
    return NULL;
}

typedef struct sink {
    char *bytes;
    size_t count, room;
} sink;

static temper_status append(void *context, const void *bytes, size_t count, temper_error *error) {
    sink *self = context;
    if (count > self->room - self->count) {
        return temper_fail(error, TEMPER_FAILED, "a model for the benchmark is larger than was expected");
    }
    memcpy(self->bytes + self->count, bytes, count);
    self->count += count;
    return TEMPER_OK;
}

/* Uniform in +-0.05, as bf16. */
static uint16_t *some_values(size_t count) {
    uint16_t *values = lm_allocate(count, sizeof *values);
    uint32_t state = 1;
    for (size_t i = 0; values != NULL && i < count; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = lm_bf16_from_f32(((float)(state >> 8) / 8388608.0f - 1.0f) * 0.05f);
    }
    return values;
}

typedef struct tensors {
    lm_tensor *items;
    char (*names)[128];
    size_t count, bytes;
} tensors;

static void add(tensors *self, const lm_config *config, lm_role role, size_t layer, const uint16_t *values,
                const uint16_t *ones) {
    unsigned rank;
    size_t sides[2];
    lm_role_shape(config, role, &rank, sides);
    if (rank == 0) {
        return;
    }
    size_t bytes = sides[0] * (rank == 2 ? sides[1] : 1) * sizeof *values;
    lm_role_name(config, role, layer, self->names[self->count], sizeof *self->names);
    self->items[self->count] = (lm_tensor){.name = self->names[self->count],
                                           .dtype = LM_BF16,
                                           .rank = rank,
                                           .shape = {sides[0], rank == 2 ? sides[1] : 0},
                                           .data = rank == 2 ? values : ones,
                                           .bytes = bytes};
    self->count++;
    self->bytes += bytes;
}

temper_status bench_model_make(bench_model *self, const char *name, temper_error *error) {
    const shape *chosen = find_shape(name);
    *self = (bench_model){0};
    if (chosen == NULL) {
        return temper_fail(error, TEMPER_INVALID, "there is no shape \"%s\"", name);
    }
    lm_config config = config_of(chosen);
    size_t largest = config.vocabulary * config.hidden, most = LM_ROLE_COUNT * (config.layers + 1);
    uint16_t *values = some_values(largest), *ones = lm_allocate(config.vocabulary, sizeof *ones);
    tensors all = {calloc(most, sizeof *all.items), calloc(most, sizeof *all.names), 0, 0};
    sink file = {0};
    temper_status status = TEMPER_OK;
    if (values == NULL || ones == NULL || all.items == NULL || all.names == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for a model to measure");
        goto out;
    }
    for (size_t i = 0; i < config.vocabulary; i++) {
        ones[i] = lm_bf16_from_f32(1);
    }
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? config.layers : 1;
        for (size_t layer = 0; layer < layers; layer++) {
            add(&all, &config, (lm_role)role, layer, values, ones);
        }
    }
    file.room = all.bytes + ((size_t)1 << 20);
    file.bytes = malloc(file.room);
    self->config = lm_config_write(&config, LM_BF16);
    self->weights = file.bytes;
    if (file.bytes == NULL || self->config == NULL) {
        status =
            temper_fail(error, TEMPER_NO_MEMORY, "no memory for a model to measure: %zu bytes", file.room);
        goto out;
    }
    status = lm_safetensors_write(all.items, all.count, NULL, 0, append, &file, error);
    self->files[0] = (lm_file){"config.json", self->config, strlen(self->config)};
    self->files[1] = (lm_file){"model.safetensors", file.bytes, file.count};
    self->set = (lm_file_set){self->files, 2};
out:
    free(values);
    free(ones);
    free(all.items);
    free(all.names);
    return status;
}

void bench_model_free(bench_model *self) {
    free(self->config);
    free(self->weights);
    *self = (bench_model){0};
}

/* Every architecture, from a folder as transformers saves it to logits as torch has them, and every way to them gives
 * the same bits.
 *
 * tests/golden/architectures/NAME.json: a config.json, the ids of a prompt, and some rows of its logits, written by
 * tests/interop/compare_transformers.py --write. Weights are drawn from their Hugging Face names here as there, so a wrong
 * name, shape or order makes another model. */
#include "../support/cmocka_all.h"

#include "../support/memory_files.h"
#include "train/train.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>

enum { MOST_IDS = 96, MOST_CASES = 64 };

static const char folder[] = "tests/golden/architectures";

typedef struct golden {
    json_t *root;
    memory_files files;
    lm_config config;
    int32_t ids[MOST_IDS];
    size_t count;
} golden;

static void must(temper_status status, const char *name, const temper_error *error) {
    if (status) {
        fail_msg("%s: %s", name, error->message);
    }
}

/* Uniform in +-1/2, from the name and the place alone; compare_transformers.py makes the same. */
static float value_of(const char *name, size_t i) {
    uint32_t state = 2166136261u;
    for (; *name != 0; name++) {
        state = (state ^ (unsigned char)*name) * 16777619u;
    }
    uint32_t mixed = (uint32_t)i * 2654435761u + state;
    mixed = (mixed ^ mixed >> 15) * 2246822519u;
    mixed = (mixed ^ mixed >> 13) * 3266489917u;
    mixed ^= mixed >> 16;
    return (float)((double)(mixed >> 8) / 16777216.0 - 0.5);
}

/* The tensors of a folder, in the order and shape of its files. */
static void draw_tensors(const lm_config *config, memory_tensors *out) {
    memory_make_tensors(out, config);
    size_t used = 0;
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        size_t layers = lm_role_per_layer((lm_role)role) ? config->layers : 1;
        unsigned rank;
        size_t shape[2];
        lm_role_shape(config, (lm_role)role, &rank, shape);
        for (size_t layer = 0; rank != 0 && layer < layers; layer++, used++) {
            lm_tensor *tensor = &out->items[used];
            const char *name = role == LM_HEAD ? "head" : tensor->name;
            size_t length = strlen(name);
            bool norm = rank == 1 && length > 6 && strcmp(name + length - 6, "weight") == 0;
            float *values = (float *)(uintptr_t)tensor->data, centre = norm && !config->norm_plus_one ? 1 : 0;
            if (lm_role_transposed(config, (lm_role)role)) {
                tensor->shape[0] = shape[1];
                tensor->shape[1] = shape[0];
            }
            for (size_t i = 0; i < lm_tensor_elements(tensor); i++) {
                values[i] = value_of(name, i) * (norm ? 0.6f : 0.7f) + centre;
            }
        }
    }
}

static void golden_open(golden *self, const char *name) {
    char path[512];
    temper_error error = TEMPER_ERROR_INIT;
    static memory_tensors tensors;
    *self = (golden){0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    self->root = json_load_file(path, 0, NULL);
    json_t *config = json_object_get(self->root, "config"), *ids = json_object_get(self->root, "ids");
    if (!json_is_object(config) || json_array_size(ids) == 0 || json_array_size(ids) > MOST_IDS) {
        fail_msg("%s is no case", path);
    }
    self->count = json_array_size(ids);
    for (size_t i = 0; i < self->count; i++) {
        self->ids[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    }
    char *text = json_dumps(config, 0);
    memory_put_text(&self->files, "config.json", text);
    must(lm_config_parse(text, strlen(text), &self->config, &error), name, &error);
    free(text);
    draw_tensors(&self->config, &tensors);
    memory_put_tensors(&self->files, "model.safetensors", &tensors);
    memory_free_tensors(&tensors);
}

static void golden_close(golden *self) {
    json_decref(self->root);
    memory_free(&self->files);
}

/* Runs check for every case of the folder, in the order of their names. */
static void each_case(void (*check)(const char *name, golden *self)) {
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort), cases = 0;
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        static golden self;
        if (strlen(name) > 5 && strcmp(name + strlen(name) - 5, ".json") == 0) {
            golden_open(&self, name);
            check(name, &self);
            golden_close(&self);
            cases++;
        }
        free(entries[i]);
    }
    free(entries);
    assert_true(cases >= 20);
}

static lm_model *open_model(const lm_context *context, const memory_files *files, bool training,
                            const char *name) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_model *model = NULL;
    must(training ? lm_model_open_training(context, &files->set, &model, &error)
                  : lm_model_open(context, &files->set, &model, &error),
         name, &error);
    return model;
}

/* Logits of every row, through a cache in pieces of these sizes over and over (none: at once, without one). */
static lm_real *logits_of(const lm_context *context, const lm_model *model, const golden *self,
                          const size_t *sizes, size_t count, const char *name) {
    size_t hidden = model->config.hidden, done = 0;
    lm_real *normed = lm_allocate(self->count * hidden, sizeof *normed);
    lm_real *logits = lm_allocate(self->count * model->config.vocabulary, sizeof *logits);
    temper_error error = TEMPER_ERROR_INIT;
    lm_cache *cache = NULL;
    if (count > 0) {
        must(lm_cache_new(context, &model->config, self->count, &cache, &error), name, &error);
    }
    for (size_t turn = 0; done < self->count; turn++) {
        size_t rest = self->count - done, size = count == 0 ? rest : sizes[turn % count];
        lm_sequence piece = {cache, self->ids + done, size < rest ? size : rest};
        must(lm_model_forward(context, model, &piece, 1, normed + done * hidden, NULL, &error), name, &error);
        done += piece.count;
    }
    lm_cache_free(cache);
    must(lm_model_logits(context, model, normed, NULL, self->count, logits, &error), name, &error);
    free(normed);
    return logits;
}

static void check_golden(const char *name, golden *self) {
    lm_context context;
    assert_int_equal(lm_context_init(&context, lm_kernels_choose(NULL, NULL), "f32/1", lm_serial(), NULL),
                     TEMPER_OK);
    lm_model *model = open_model(&context, &self->files, false, name);
    lm_real *logits = logits_of(&context, model, self, NULL, 0, name);
    json_t *rows = json_object_get(self->root, "rows"), *wanted = json_object_get(self->root, "logits");
    double greatest = 0, off = 0;
    for (size_t r = 0; r < json_array_size(rows); r++) {
        size_t row = (size_t)json_integer_value(json_array_get(rows, r));
        assert_true(row < self->count);
        assert_int_equal(json_array_size(json_array_get(wanted, r)), self->config.vocabulary);
        for (size_t i = 0; i < self->config.vocabulary; i++) {
            double value = json_number_value(json_array_get(json_array_get(wanted, r), i));
            greatest = fmax(greatest, fabs(value));
            off = fmax(off, fabs((double)logits[row * self->config.vocabulary + i] - value));
        }
    }
    if (!(off <= 2e-5 * greatest) || greatest == 0) {
        fail_msg("%s: logits are off by %.3g of %.3g", name, off, greatest);
    }
    free(logits);
    lm_model_close(model);
    lm_context_free(&context);
}

static void logits_are_torchs(void **state) {
    (void)state;
    each_case(check_golden);
}

static void same(const lm_real *found, const lm_real *wanted, size_t count, const char *name,
                 const char *how) {
    if (memcmp(found, wanted, count * sizeof *found) != 0) {
        fail_msg("%s: %s gives other bits", name, how);
    }
}

/* A pass that keeps what training needs. */
static lm_real *kept_logits(const lm_context *context, const lm_model *model, const golden *self,
                            const char *name) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_activations *kept = NULL;
    lm_sequence sequence = {NULL, self->ids, self->count};
    lm_real *logits = lm_allocate(self->count * model->config.vocabulary, sizeof *logits);
    must(lm_activations_new(model, self->count, &kept, &error), name, &error);
    must(lm_model_forward(context, model, &sequence, 1, NULL, kept, &error), name, &error);
    must(lm_model_logits(context, model, kept->final_normed, NULL, self->count, logits, &error), name,
         &error);
    lm_activations_free(kept);
    return logits;
}

static void check_ways(const char *name, golden *self) {
    static const char *const profiles[] = {"f32/1", "bf16/1", "q8/1"};
    static const size_t ones[] = {1}, mixed[] = {13, 1, 2, 7};
    size_t count = self->count * self->config.vocabulary;
    for (size_t p = 0; p < sizeof profiles / sizeof *profiles; p++) {
        lm_real *first = NULL;
        for (const lm_kernels *const *set = lm_kernels_all(); *set != NULL; set++) {
            lm_context context;
            if (!lm_kernels_usable(*set, NULL)) {
                continue;
            }
            assert_int_equal(lm_context_init(&context, *set, profiles[p], lm_serial(), NULL), TEMPER_OK);
            lm_model *model = open_model(&context, &self->files, false, name);
            lm_real *whole = logits_of(&context, model, self, NULL, 0, name);
            if (first == NULL) { /* the fastest set; every way in it, the others against it */
                lm_real *ways[] = {logits_of(&context, model, self, ones, 1, name),
                                   logits_of(&context, model, self, mixed, 4, name),
                                   kept_logits(&context, model, self, name)};
                same(ways[0], whole, count, name, "token by token");
                same(ways[1], whole, count, name, "in pieces");
                same(ways[2], whole, count, name, "a training pass");
                free(ways[0]);
                free(ways[1]);
                free(ways[2]);
                first = whole;
            } else {
                same(whole, first, count, name, (*set)->name);
                free(whole);
            }
            lm_model_close(model);
            lm_context_free(&context);
        }
        free(first);
    }
}

static void every_way_gives_the_same_bits(void **state) {
    (void)state;
    each_case(check_ways);
}

/* What is written is read as the same config and the same weights, in the files' order. */
static void check_written(const char *name, golden *self) {
    lm_context context;
    temper_error error = TEMPER_ERROR_INIT;
    lm_config again;
    memory_files files = {0};
    memory_bytes bytes = {0};
    assert_int_equal(lm_context_init(&context, lm_kernels_choose(NULL, NULL), "f32/1", lm_serial(), NULL),
                     TEMPER_OK);
    lm_model *model = open_model(&context, &self->files, true, name);
    char *text = lm_config_write(&self->config, LM_F32);
    must(lm_config_parse(text, strlen(text), &again, &error), name, &error);
    if (memcmp(&again, &self->config, sizeof again) != 0) {
        fail_msg("%s: its config is not what is written of it: %s", name, text);
    }
    must(lm_model_write(model, NULL, LM_F32, memory_write, &bytes, &error), name, &error);
    memory_put_text(&files, "config.json", text);
    memory_put(&files, "model.safetensors", bytes.data, bytes.size);
    lm_model *other = open_model(&context, &files, false, name);
    lm_real *found = logits_of(&context, other, self, NULL, 0, name),
            *wanted = logits_of(&context, model, self, NULL, 0, name);
    same(found, wanted, self->count * self->config.vocabulary, name, "the model as it is written");
    free(found);
    free(wanted);
    free(text);
    free(bytes.data);
    memory_free(&files);
    lm_model_close(other);
    lm_model_close(model);
    lm_context_free(&context);
}

static void written_models_are_the_same(void **state) {
    (void)state;
    each_case(check_written);
}

/* A key that nobody knows, and for some architectures one that is known and not supported. */
static void check_refusals(const char *name, golden *self) {
    static const struct {
        const char *architecture, *key, *value;
    } edits[] = {{NULL, "a_new_feature", "3"},
                 {NULL, "num_experts", "8"},
                 {NULL, "quantization_config", "{\"bits\": 4}"},
                 {"gpt2", "scale_attn_by_inverse_layer_idx", "true"},
                 {"gpt2", "scale_attn_weights", "false"},
                 {"gpt2", "activation_function", "\"relu\""},
                 {"gemma2", "use_bidirectional_attention", "true"},
                 {"gemma3_text", "layer_types", "[\"chunked_attention\"]"},
                 {"gemma3_text", "hidden_activation", "\"gelu\""},
                 {"mistral", "layer_types", "[\"full_attention\"]"},
                 {"mistral", "attention_bias", "true"},
                 {"qwen2", "use_mrope", "true"},
                 {"qwen3", "layer_types", "[\"full_attention\"]"},
                 {"phi3", "lm_head_bias", "true"},
                 {"phi3", "rope_parameters", "{\"rope_type\": \"dynamic\"}"},
                 {"olmo2", "clip_qkv", "8.0"},
                 {"gpt_neox", "rope_scaling", "{\"type\": \"dynamic\", \"factor\": 2}"}};
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        temper_error error = TEMPER_ERROR_INIT;
        lm_config config;
        if (edits[i].architecture != NULL && strcmp(edits[i].architecture, self->config.architecture) != 0) {
            continue;
        }
        json_t *edited = json_copy(json_object_get(self->root, "config"));
        json_object_set_new(edited, edits[i].key, json_loads(edits[i].value, JSON_DECODE_ANY, NULL));
        char *text = json_dumps(edited, 0);
        if (lm_config_parse(text, strlen(text), &config, &error) == TEMPER_OK ||
            strstr(error.message, edits[i].key) == NULL) {
            fail_msg("%s: %s %s: \"%s\"", name, edits[i].key, edits[i].value, error.message);
        }
        free(text);
        json_decref(edited);
    }
}

static void refused_by_name(void **state) {
    lm_config config;
    temper_error error = TEMPER_ERROR_INIT;
    static const char unknown[] = "{\"model_type\": \"mamba\"}", images[] = "{\"model_type\": \"gemma3\"}";
    (void)state;
    each_case(check_refusals);
    assert_int_equal(lm_config_parse(unknown, sizeof unknown - 1, &config, &error), TEMPER_UNSUPPORTED);
    assert_non_null(strstr(error.message, "\"mamba\" is not supported"));
    assert_non_null(strstr(error.message, "gpt_neox are supported"));
    assert_int_equal(lm_config_parse(images, sizeof images - 1, &config, &error), TEMPER_UNSUPPORTED);
    assert_non_null(strstr(error.message, "gemma3_text"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_torchs), cmocka_unit_test(every_way_gives_the_same_bits),
        cmocka_unit_test(written_models_are_the_same), cmocka_unit_test(refused_by_name)};
    return cmocka_run_group_tests_name("architectures", tests, NULL, NULL);
}

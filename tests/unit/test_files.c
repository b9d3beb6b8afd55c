/* test_files.c: configs, safetensors, checkpoints and adapters on models made here. */
#include "../support/cmocka_all.h"

#include "files/config.h"

#include "../support/smollm.h"
#include <unistd.h>

/* --- tensors --- */

static void test_widening(void **state) {
    static const uint16_t halves[] = {0x0000, 0x8000, 0x3C00, 0xC000, 0x7BFF,
                                      0x0001, 0x83FF, 0x0400, 0x7C00, 0xFC00};
    static const float wide[] = {0.0f,
                                 -0.0f,
                                 1.0f,
                                 -2.0f,
                                 65504.0f,
                                 0x1p-24f,
                                 -0x1.ff8p-15f,
                                 0x1p-14f,
                                 __builtin_inff(),
                                 -__builtin_inff()};
    static const uint16_t brains[] = {0x3F80, 0xC000, 0x0001, 0x7F80};
    static const uint32_t bits[] = {0x3F800000, 0xC0000000, 0x00010000, 0x7F800000};
    lm_tensor half = {"h", LM_F16, 1, {10}, halves, sizeof halves};
    lm_tensor brain = {"b", LM_BF16, 2, {2, 2}, brains, sizeof brains};
    float out[10];
    (void)state;
    lm_tensor_read(&half, 0, 10, out);
    assert_memory_equal(out, wide, sizeof wide);
    lm_tensor_read(&half, 3, 2, out);
    assert_memory_equal(out, wide + 3, 2 * sizeof *wide);
    lm_tensor_read(&brain, 0, 4, out);
    assert_memory_equal(out, bits, sizeof bits);
    assert_int_equal(lm_tensor_elements(&brain), 4);
    static const uint16_t nan = 0x7E01;
    half = (lm_tensor){"n", LM_F16, 0, {0}, &nan, 2};
    lm_tensor_read(&half, 0, 1, out);
    assert_true(out[0] != out[0]);
}

static void test_safetensors_round_trip(void **state) {
    static const float a[] = {1, 2, 3, 4, 5, 6};
    static const uint16_t b[] = {0x3C00, 0x4000, 0x4200};
    const lm_tensor tensors[] = {{"z.narrow", LM_F16, 1, {3}, b, sizeof b},
                                 {"b\"quote", LM_F32, 2, {2, 3}, a, sizeof a},
                                 {"a.empty", LM_F32, 2, {0, 7}, a, 0},
                                 {"c", LM_BF16, 1, {1}, b, 2}};
    const lm_tensor shuffled[] = {tensors[3], tensors[2], tensors[0], tensors[1]};
    static const char *const metadata[] = {"format", "pt"};
    memory_bytes first = {0}, second = {0};
    temper_error error = TEMPER_ERROR_INIT;
    lm_safetensors *read;
    float out[6];
    (void)state;
    assert_int_equal(lm_safetensors_write(tensors, 4, metadata, 1, memory_write, &first, &error), TEMPER_OK);
    assert_int_equal(lm_safetensors_write(shuffled, 4, metadata, 1, memory_write, &second, &error),
                     TEMPER_OK);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    lm_file file = {"model.safetensors", first.data, first.size};
    if (lm_safetensors_open(&file, &read, &error)) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(lm_safetensors_count(read), 4);
    assert_string_equal(lm_safetensors_at(read, 0)->name, "a.empty");
    assert_null(lm_safetensors_at(read, 4));
    const lm_tensor *found = lm_safetensors_find(read, "b\"quote");
    assert_non_null(found);
    assert_int_equal(found->shape[1], 3);
    lm_tensor_read(found, 0, 6, out);
    assert_memory_equal(out, a, sizeof a);
    assert_null(lm_safetensors_find(read, "nothing"));
    lm_safetensors_close(read);

    const lm_tensor twice[] = {tensors[0], tensors[0]};
    assert_int_equal(lm_safetensors_write(twice, 2, NULL, 0, memory_write, &first, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "twice"));
    const lm_tensor short_one[] = {{"s", LM_F32, 1, {9}, a, sizeof a}};
    assert_int_equal(lm_safetensors_write(short_one, 1, NULL, 0, memory_write, &first, &error),
                     TEMPER_INVALID);
    free(first.data);
    free(second.data);
}

/* --- config.json --- */

static lm_config parsed(const char *text) {
    lm_config config;
    temper_error error = TEMPER_ERROR_INIT;
    if (lm_config_parse(text, strlen(text), &config, &error)) {
        fail_msg("%s", error.message);
    }
    return config;
}

static void test_config_of_smollm(void **state) {
    lm_config config = parsed(smollm_config);
    (void)state;
    assert_string_equal(config.architecture, "llama");
    assert_int_equal(config.head_size, 4);
    assert_int_equal(config.kv_heads, 1);
    assert_int_equal(config.context, 8192);
    assert_true(config.rope_theta == 100000.0);
    assert_true(config.norm_epsilon == 1e-5);
    assert_true(config.attention_scale == 0.5);
    assert_true(config.tied);
    assert_int_equal(config.bos, 1);
    assert_int_equal(config.eos, 2);
    assert_int_equal(config.norm, LM_RMS_NORM);
}

/* Edits one key of smollm's config; NULL removes it. */
static temper_status parse_edited(const char *key, const char *json, lm_config *out, temper_error *error) {
    json_t *root = json_loads(smollm_config, 0, NULL);
    if (json == NULL) {
        json_object_del(root, key);
        json = "";
    } else {
        json_object_set_new(root, key, json_string("@"));
    }
    char *text = json_dumps(root, 0), *at = strstr(text, "\"@\"");
    if (at != NULL) { /* put in as text: jansson would not hold every number */
        char *whole = NULL;
        assert_true(asprintf(&whole, "%.*s%s%s", (int)(at - text), text, json, at + 3) > 0);
        free(text);
        text = whole;
    }
    temper_status status = lm_config_parse(text, strlen(text), out, error);
    free(text);
    json_decref(root);
    return status;
}

static void test_config_refuses_by_name(void **state) {
    static const struct {
        const char *key, *value;
    } edits[] = {
        {"rope_scaling", "{\"type\": \"dynamic\", \"factor\": 2.0}"},
        {"rope_scaling", "{\"type\": \"linear\"}"},
        {"rope_scaling", "{\"type\": \"linear\", \"factor\": 0}"},
        {"rope_scaling", "{\"type\": \"linear\", \"factor\": 2.0, \"mscale\": 1.0}"},
        {"rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8.0}"},
        {"rope_scaling", "3"},
        {"rope_parameters", "{\"rope_type\": \"longrope\", \"short_factor\": [1], \"long_factor\": [1]}"},
        {"attention_bias", "1"},
        {"mlp_bias", "\"yes\""},
        {"layer_types", "[\"full_attention\"]"},
        {"hidden_act", "\"gelu\""},
        {"rope_interleaved", "true"},
        {"model_type", "\"mamba\""},
        {"sliding_window", "4096"},
        {"quantization_config", "{\"bits\": 4}"},
        {"auto_map", "{\"AutoModel\": \"x.Y\"}"},
        {"attn_logit_softcapping", "50.0"},
        {"partial_rotary_factor", "0.5"},
        {"num_hidden_layers", "0"},
        {"num_hidden_layers", "100000"},
        {"hidden_size", "\"576\""},
        {"hidden_size", "-3"},
        {"vocab_size", "1e40"},
        {"vocab_size", "99999999999999999999999"},
        {"num_attention_heads", "5"},
        {"head_dim", "3"},
        {"eos_token_id", "277"},
        {"bos_token_id", "-2"},
        {"rms_norm_eps", "0"},
        {"rope_theta", "-1"},
        {"tie_word_embeddings", "1"}};
    lm_config config;
    (void)state;
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        temper_error error = TEMPER_ERROR_INIT;
        if (parse_edited(edits[i].key, edits[i].value, &config, &error) == TEMPER_OK) {
            fail_msg("%s: %s was accepted", edits[i].key, edits[i].value);
        }
        assert_non_null(strstr(error.message, "config.json"));
        bool named = strstr(error.message, edits[i].key) != NULL || strstr(error.message, "layers") != NULL ||
                     strstr(error.message, "head") != NULL || strstr(error.message, "bos") != NULL;
        if (!named) {
            fail_msg("%s: %s: %s", edits[i].key, edits[i].value, error.message);
        }
    }
    static const char *const required[] = {"hidden_size",       "vocab_size",
                                           "model_type",        "num_hidden_layers",
                                           "intermediate_size", "max_position_embeddings"};
    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        temper_error error = TEMPER_ERROR_INIT;
        assert_int_equal(parse_edited(required[i], NULL, &config, &error), TEMPER_INVALID);
        assert_non_null(strstr(error.message, required[i]));
    }
}

static void test_config_accepts(void **state) {
    lm_config config;
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    assert_int_equal(parse_edited("eos_token_id", "[2, 0]", &config, &error), TEMPER_OK);
    assert_int_equal(config.eos, 2);
    assert_int_equal(parse_edited("eos_token_id", NULL, &config, &error), TEMPER_OK);
    assert_int_equal(config.eos, -1);
    assert_int_equal(parse_edited("rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": 5000.0}",
                                  &config, &error),
                     TEMPER_OK);
    assert_true(config.rope_theta == 5000.0);
    assert_int_equal(parse_edited("model_max_length", "null", &config, &error), TEMPER_OK);
    assert_int_equal(parse_edited("pretraining_tp", "99999999999999999999999", &config, &error), TEMPER_OK);
    assert_int_equal(config.hidden, 12);
    assert_int_equal(parse_edited("head_dim", "8", &config, &error), TEMPER_OK);
    assert_int_equal(config.head_size, 8);
}

static void test_config_round_trip(void **state) {
    static const char neo[] =
        "{\"model_type\": \"gpt_neo\", \"attention_types\": [[[\"global\", \"local\"], 1], "
        "[[\"local\"], 1]], \"hidden_size\": 16, \"num_layers\": 3, \"num_heads\": 2, "
        "\"max_position_embeddings\": 64, \"vocab_size\": 300, \"window_size\": 32, "
        "\"intermediate_size\": null, \"bos_token_id\": 7}";
    const char *const texts[] = {smollm_config, neo};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        lm_config config = parsed(texts[i]);
        char *text = lm_config_write(&config, LM_BF16);
        assert_non_null(strstr(text, "bfloat16"));
        lm_config again = parsed(text);
        assert_memory_equal(&config, &again, sizeof config);
        free(text);
    }
    lm_config config = parsed(neo);
    assert_int_equal(config.intermediate, 64);
    assert_int_equal(config.window[0], 0);
    assert_int_equal(config.window[1], 32);
    assert_int_equal(config.window[2], 32);
    assert_int_equal(config.eos, -1);
}

/* --- roles --- */

static void test_roles(void **state) {
    lm_config config = parsed(smollm_config);
    char name[160];
    unsigned rank;
    size_t shape[2];
    (void)state;
    lm_role_name(&config, LM_QUERY, 3, name, sizeof name);
    assert_string_equal(name, "model.layers.3.self_attn.q_proj.weight");
    lm_role_name(&config, LM_EMBEDDING, 0, name, sizeof name);
    assert_string_equal(name, "model.embed_tokens.weight");
    lm_role_name(&config, LM_HEAD, 0, name, sizeof name);
    assert_string_equal(name, "lm_head.weight");
    lm_role_shape(&config, LM_HEAD, &rank, shape);
    assert_int_equal(rank, 0); /* tied */
    lm_role_shape(&config, LM_KEY, &rank, shape);
    assert_int_equal(rank, 2);
    assert_int_equal(shape[0], 4);
    assert_int_equal(shape[1], 12);
    lm_role_shape(&config, LM_QUERY_BIAS, &rank, shape);
    assert_int_equal(rank, 0);
    assert_string_equal(lm_role_module(&config, LM_DOWN), "down_proj");
    assert_null(lm_role_module(&config, LM_EMBEDDING));
    lm_adapter_name(&config, LM_QUERY, 0, 'A', name, sizeof name);
    assert_string_equal(name, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
}

/* --- checkpoints --- */

static void check_values(const lm_checkpoint *checkpoint, lm_role role, size_t layer) {
    unsigned rank;
    size_t shape[2];
    float values[8192];
    lm_role_shape(lm_checkpoint_config(checkpoint), role, &rank, shape);
    size_t count = shape[0] * (rank == 2 ? shape[1] : 1);
    assert_true(count <= 8192);
    assert_int_equal(lm_checkpoint_read(checkpoint, role, layer, values, NULL), TEMPER_OK);
    for (size_t i = 0; i < count; i++) {
        assert_true(values[i] == memory_value(role, layer, i));
    }
}

static void check_checkpoint(const memory_files *files) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_checkpoint *checkpoint;
    if (lm_checkpoint_open(&files->set, &checkpoint, &error)) {
        fail_msg("%s", error.message);
    }
    check_values(checkpoint, LM_EMBEDDING, 0);
    check_values(checkpoint, LM_QUERY, 1);
    check_values(checkpoint, LM_DOWN, 0);
    assert_int_equal(lm_checkpoint_read(checkpoint, LM_HEAD, 0, NULL, &error), TEMPER_INVALID);
    lm_checkpoint_close(checkpoint);
}

static void test_checkpoint_of_smollm(void **state) {
    memory_files files = {0};
    int32_t ends[4];
    (void)state;
    smollm_make(&files);
    check_checkpoint(&files);
    assert_int_equal(lm_end_tokens(&files.set, 277, ends, 4), 1);
    assert_int_equal(ends[0], 2);
    memory_put_text(&files, "generation_config.json", "{\"eos_token_id\": [0, 2, 400, \"x\"]}");
    assert_int_equal(lm_end_tokens(&files.set, 277, ends, 4), 2);
    assert_int_equal(ends[0], 0);
    assert_int_equal(ends[1], 2);
    memory_free(&files);
}

static void test_checkpoint_in_shards(void **state) {
    memory_files files = {0};
    memory_tensors tensors, part;
    lm_config config = parsed(smollm_config);
    temper_error error = TEMPER_ERROR_INIT;
    lm_checkpoint *checkpoint;
    json_t *map = json_object();
    (void)state;
    memory_put_text(&files, "config.json", smollm_config);
    memory_make_tensors(&tensors, &config);
    part = tensors;
    part.count = 5;
    memory_put_tensors(&files, "model-00001-of-00002.safetensors", &part);
    part.count = tensors.count - 5;
    memmove(part.items, tensors.items + 5, part.count * sizeof *part.items);
    memory_put_tensors(&files, "model-00002-of-00002.safetensors", &part);
    for (size_t i = 0; i < tensors.count; i++) {
        json_object_set_new(
            map, tensors.names[i],
            json_string(i < 5 ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors"));
    }
    memory_put_json(&files, "model.safetensors.index.json",
                    json_pack("{s:{}, s:o}", "metadata", "weight_map", map));
    check_checkpoint(&files);
    memory_remove(&files, "model-00002-of-00002.safetensors");
    assert_int_equal(lm_checkpoint_open(&files.set, &checkpoint, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "model-00002-of-00002.safetensors is missing"));
    memory_free_tensors(&tensors);
    memory_free(&files);
}

/* Base models are saved without "model."; older files carry a buffer; a tied head may be there twice. */
static void test_checkpoint_names(void **state) {
    memory_files files = {0};
    memory_tensors tensors;
    lm_config config = parsed(smollm_config);
    lm_checkpoint *checkpoint;
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    memory_put_text(&files, "config.json", smollm_config);
    memory_make_tensors(&tensors, &config);
    for (size_t i = 0; i < tensors.count; i++) {
        tensors.items[i].name += strlen("model.");
    }
    memory_put_tensors(&files, "model.safetensors", &tensors);
    check_checkpoint(&files);
    static const float buffer[2] = {1, 2};
    size_t count = tensors.count;
    tensors.items[count] =
        (lm_tensor){"model.layers.0.self_attn.rotary_emb.inv_freq", LM_F32, 1, {2}, buffer, sizeof buffer};
    tensors.items[count + 1] = (lm_tensor){"lm_head.weight", LM_F32, 1, {2}, buffer, sizeof buffer};
    tensors.count += 2;
    memory_put_tensors(&files, "model.safetensors", &tensors);
    check_checkpoint(&files);
    tensors.items[count].name = "model.layers.0.self_attn.q_proj.bias";
    memory_put_tensors(&files, "model.safetensors", &tensors);
    assert_int_equal(lm_checkpoint_open(&files.set, &checkpoint, &error), TEMPER_UNSUPPORTED);
    assert_non_null(strstr(error.message, "q_proj.bias"));
    tensors.count = count;
    memory_free_tensors(&tensors);
    memory_free(&files);
}

/* --- adapters --- */

static void make_adapter(memory_files *files, const lm_config *base, const lm_adapter_config *adapter,
                         lm_role extra) {
    memory_tensors tensors = {.count = 0};
    for (size_t role = 0; role < LM_ROLE_COUNT; role++) {
        for (size_t layer = 0; layer < base->layers; layer++) {
            unsigned rank;
            size_t shape[2];
            lm_role_shape(base, (lm_role)role, &rank, shape);
            for (char which = 'A'; (adapter->targets[role] || role == extra) && which <= 'B'; which++) {
                size_t rows = which == 'A' ? adapter->rank : shape[0],
                       columns = which == 'A' ? shape[1] : adapter->rank;
                float *values = malloc(rows * columns * sizeof *values);
                for (size_t i = 0; i < rows * columns; i++) {
                    values[i] = memory_value(role + (which == 'B'), layer, i);
                }
                size_t at = tensors.count++;
                lm_adapter_name(base, (lm_role)role, layer, which, tensors.names[at],
                                sizeof tensors.names[at]);
                tensors.items[at] = (lm_tensor){tensors.names[at], LM_F32, 2,
                                                {rows, columns},   values, rows * columns * sizeof *values};
            }
        }
    }
    memory_put_tensors(files, "adapter_model.safetensors", &tensors);
    memory_free_tensors(&tensors);
    char *text = lm_adapter_config_write(base, adapter, "base");
    memory_put_text(files, "adapter_config.json", text);
    free(text);
}

static void test_adapter(void **state) {
    memory_files files = {0};
    lm_config base = parsed(smollm_config);
    lm_adapter_config config = {.rank = 3, .alpha = 6.5, .rank_stabilised = true};
    temper_error error = TEMPER_ERROR_INIT;
    lm_adapter_file *adapter;
    float a[36], b[36];
    (void)state;
    config.targets[LM_QUERY] = config.targets[LM_DOWN] = true;
    make_adapter(&files, &base, &config, LM_ROLE_COUNT);
    if (lm_adapter_open(&files.set, &base, &adapter, &error)) {
        fail_msg("%s", error.message);
    }
    assert_memory_equal(lm_adapter_file_config(adapter), &config, sizeof config);
    assert_true(lm_adapter_read(adapter, LM_QUERY, 1, a, b));
    assert_true(a[35] == memory_value(LM_QUERY, 1, 35));
    assert_true(b[35] == memory_value(LM_QUERY + 1, 1, 35));
    assert_false(lm_adapter_read(adapter, LM_KEY, 0, a, b));
    assert_false(lm_adapter_read(adapter, LM_QUERY, 2, a, b));
    lm_adapter_close(adapter);

    lm_config other = base;
    other.hidden = 16;
    assert_int_equal(lm_adapter_open(&files.set, &other, &adapter, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "[3, 12]"));
    assert_non_null(strstr(error.message, "[3, 16]"));
    other = base;
    other.layers = 1;
    assert_int_equal(lm_adapter_open(&files.set, &other, &adapter, &error), TEMPER_UNSUPPORTED);
    assert_non_null(strstr(error.message, "layers.1."));
    make_adapter(&files, &base, &config, LM_KEY);
    assert_int_equal(lm_adapter_open(&files.set, &base, &adapter, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "k_proj"));
    memory_free(&files);
}

static void test_adapter_refuses_by_name(void **state) {
    static const struct {
        const char *key, *value;
    } edits[] = {{"use_dora", "true"},
                 {"peft_type", "\"IA3\""},
                 {"bias", "\"all\""},
                 {"rank_pattern", "{\"v_pro.*\": 4}"},
                 {"rank_pattern", "{\"v_proj\": 0}"},
                 {"rank_pattern", "[\"v_proj\"]"},
                 {"alpha_pattern", "{\"v_proj\": \"a\"}"},
                 {"modules_to_save", "[\"lm_head\"]"},
                 {"r", "0"},
                 {"lora_alpha", "\"a\""}};
    memory_files files = {0};
    lm_config base = parsed(smollm_config);
    lm_adapter_config config = {.rank = 2, .alpha = 4};
    lm_adapter_file *adapter;
    (void)state;
    config.targets[LM_VALUE] = true;
    make_adapter(&files, &base, &config, LM_ROLE_COUNT);
    char *text = lm_adapter_config_write(&base, &config, NULL);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        temper_error error = TEMPER_ERROR_INIT;
        json_t *root = json_loads(text, 0, NULL);
        json_object_set_new(root, edits[i].key, json_loads(edits[i].value, JSON_DECODE_ANY, NULL));
        memory_put_json(&files, "adapter_config.json", root);
        assert_int_not_equal(lm_adapter_open(&files.set, &base, &adapter, &error), TEMPER_OK);
        assert_non_null(strstr(error.message, edits[i].key));
    }
    free(text);
    memory_free(&files);
}

static void open_edited(memory_files *files, const char *text, const char *edits, const lm_config *base,
                        temper_status expected, const char *word, lm_adapter_file **out) {
    temper_error error = TEMPER_ERROR_INIT;
    json_t *root = json_loads(text, 0, NULL), *edit = json_loads(edits, 0, NULL);
    json_object_update(root, edit);
    json_decref(edit);
    memory_put_json(files, "adapter_config.json", root);
    temper_status status = lm_adapter_open(&files->set, base, out, &error);
    if (status != expected || (word != NULL && strstr(error.message, word) == NULL)) {
        fail_msg("%d: %s", status, error.message);
    }
}

/* Ranks and alphas by module, and what says nothing of the result. */
static void test_adapter_patterns(void **state) {
    memory_files files = {0};
    lm_config base = parsed(smollm_config);
    lm_adapter_config config = {.rank = 2, .alpha = 4};
    lm_adapter_file *adapter;
    size_t rank;
    double scale;
    (void)state;
    config.targets[LM_QUERY] = config.targets[LM_VALUE] = true;
    make_adapter(&files, &base, &config, LM_ROLE_COUNT);
    char *text = lm_adapter_config_write(&base, &config, NULL);
    open_edited(
        &files, text,
        "{\"alpha_pattern\": {\"layers.1.self_attn.q_proj\": 8, \"v_proj\": 3}, \"r\": 5, "
        "\"rank_pattern\": {\"model.layers.0.self_attn.v_proj\": 2, \"attn.v_proj\": 7, \"v_proj\": 2, "
        "\"q_proj\": 2}, \"layers_to_transform\": [0, 1], \"fan_in_fan_out\": true}",
        &base, TEMPER_OK, NULL, &adapter);
    assert_true(lm_adapter_pair(adapter, LM_QUERY, 0, &rank, &scale) && rank == 2 && scale == 2.0);
    assert_true(lm_adapter_pair(adapter, LM_QUERY, 1, &rank, &scale) && rank == 2 && scale == 4.0);
    assert_true(lm_adapter_pair(adapter, LM_VALUE, 1, &rank, &scale) && rank == 2 && scale == 1.5);
    assert_false(lm_adapter_pair(adapter, LM_KEY, 0, &rank, &scale));
    assert_int_equal(lm_adapter_greatest_rank(adapter), 2);
    lm_adapter_close(adapter);
    open_edited(&files, text, "{\"use_rslora\": true, \"alpha_pattern\": {\"v_proj\": 3}}", &base, TEMPER_OK,
                NULL, &adapter);
    assert_true(lm_adapter_pair(adapter, LM_VALUE, 0, &rank, &scale) && scale == 3.0 / __builtin_sqrt(2.0));
    lm_adapter_close(adapter);
    open_edited(&files, text, "{\"rank_pattern\": {\"v_proj\": 4}}", &base, TEMPER_INVALID, "[4, 12]",
                &adapter);

    /* MLX: by its config, and by its file. */
    memory_put_text(&files, "adapter_config.json",
                    "{\"fine_tune_type\": \"lora\", \"num_layers\": 16, \"lora_parameters\": {\"rank\": 8}}");
    temper_error error = TEMPER_ERROR_INIT;
    assert_int_equal(lm_adapter_open(&files.set, &base, &adapter, &error), TEMPER_UNSUPPORTED);
    assert_non_null(strstr(error.message, "MLX"));
    assert_non_null(strstr(error.message, "mlx_lm.fuse"));
    memory_free(&files);
    memory_put_text(&files, "adapter_config.json", text);
    memory_put_text(&files, "adapters.safetensors", "");
    assert_int_equal(lm_adapter_open(&files.set, &base, &adapter, &error), TEMPER_UNSUPPORTED);
    assert_non_null(strstr(error.message, "MLX"));
    memory_free(&files);
    memory_put_text(&files, "adapter_config.json", text);
    memory_put_text(&files, "adapter_model.bin", "");
    assert_int_equal(lm_adapter_open(&files.set, &base, &adapter, &error), TEMPER_UNSUPPORTED);
    assert_non_null(strstr(error.message, "pickle"));
    memory_free(&files);
    free(text);
}

/* --- folders --- */

static void test_folder(void **state) {
    char path[] = "/tmp/temper-files-XXXXXX", name[128];
    lm_folder *folder;
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    assert_non_null(mkdtemp(path));
    assert_int_equal(lm_folder_open(path, &folder, &error), TEMPER_INVALID); /* nothing in it */
    snprintf(name, sizeof name, "%s/a.json", path);
    FILE *file = fopen(name, "w");
    fputs("{}", file);
    fclose(file);
    snprintf(name, sizeof name, "%s/empty", path);
    fclose(fopen(name, "w"));
    snprintf(name, sizeof name, "%s/link.json", path);
    assert_int_equal(symlink("a.json", name), 0);
    snprintf(name, sizeof name, "%s/dangling", path);
    assert_int_equal(symlink("nowhere", name), 0);
    assert_int_equal(lm_folder_open(path, &folder, &error), TEMPER_OK);
    assert_int_equal(lm_folder_files(folder)->count, 3);
    assert_int_equal(lm_file_find(lm_folder_files(folder), "link.json")->size, 2);
    assert_int_equal(lm_file_find(lm_folder_files(folder), "empty")->size, 0);
    lm_folder_close(folder);
    static const char *const names[] = {"a.json", "empty", "link.json", "dangling"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s/%s", path, names[i]);
        unlink(name);
    }
    rmdir(path);
    assert_int_equal(lm_folder_open(path, &folder, &error), TEMPER_IO);
    assert_non_null(strstr(error.message, path));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_widening),
        cmocka_unit_test(test_safetensors_round_trip),
        cmocka_unit_test(test_config_of_smollm),
        cmocka_unit_test(test_config_refuses_by_name),
        cmocka_unit_test(test_config_accepts),
        cmocka_unit_test(test_config_round_trip),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_checkpoint_of_smollm),
        cmocka_unit_test(test_checkpoint_in_shards),
        cmocka_unit_test(test_checkpoint_names),
        cmocka_unit_test(test_adapter),
        cmocka_unit_test(test_adapter_refuses_by_name),
        cmocka_unit_test(test_adapter_patterns),
        cmocka_unit_test(test_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

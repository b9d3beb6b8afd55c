/* test_model_files.c: model files that are cut short, forged or at odds with each other: an error that says what is
 * wrong, and never a crash. Each file is a block of exactly its size, so that the sanitizers see a read too far. */
#include "../support/cmocka_all.h"

#include "files/config.h"
#include "template/chat_template.h"
#include "tokenizer/tokenizer.h"

#include "../support/smollm.h"

/* --- safetensors --- */

static temper_status open_safetensors(const void *data, size_t size, temper_error *error) {
    lm_safetensors *self;
    void *copy = malloc(size == 0 ? 1 : size);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    lm_file file = {"model.safetensors", copy, size};
    temper_status status = lm_safetensors_open(&file, &self, error);
    for (size_t i = 0; !status && i < lm_safetensors_count(self); i++) {
        const lm_tensor *tensor = lm_safetensors_at(self, i);
        float *values = malloc((lm_tensor_elements(tensor) + 1) * sizeof *values);
        lm_tensor_read(tensor, 0, lm_tensor_elements(tensor), values);
        free(values);
    }
    if (!status) {
        lm_safetensors_close(self);
    }
    free(copy);
    return status;
}

/* A file from a header's text and `size` bytes of data. */
static temper_status open_header(const char *header, size_t size, temper_error *error) {
    uint64_t length = strlen(header);
    unsigned char *data = calloc(1, sizeof length + (size_t)length + size);
    memcpy(data, &length, sizeof length);
    memcpy(data + sizeof length, header, (size_t)length);
    temper_status status = open_safetensors(data, sizeof length + (size_t)length + size, error);
    free(data);
    return status;
}

static void test_safetensors_cut_at_every_length(void **state) {
    static const float values[] = {1, 2, 3, 4};
    const lm_tensor tensors[] = {{"a", LM_F32, 2, {2, 2}, values, 16}, {"b", LM_F16, 1, {3}, values, 6}};
    memory_bytes bytes = {0};
    (void)state;
    assert_int_equal(lm_safetensors_write(tensors, 2, NULL, 0, memory_write, &bytes, NULL), TEMPER_OK);
    assert_int_equal(open_safetensors(bytes.data, bytes.size, NULL), TEMPER_OK);
    for (size_t size = 0; size < bytes.size; size++) {
        temper_error error = TEMPER_ERROR_INIT;
        assert_int_equal(open_safetensors(bytes.data, size, &error), TEMPER_INVALID);
        assert_non_null(strstr(error.message, "model.safetensors"));
    }
    /* Any one byte changed: no crash, whatever it makes of it. */
    for (size_t at = 0; at < bytes.size; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes.data[at] ^= (unsigned char)(1u << bit);
            open_safetensors(bytes.data, bytes.size, NULL);
            bytes.data[at] ^= (unsigned char)(1u << bit);
        }
    }
    free(bytes.data);
}

static void test_safetensors_forged(void **state) {
    static const struct {
        const char *header;
        size_t size;
        const char *word; /* of the message */
    } forged[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "cut short"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "8..0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":"
         "[1],"
         "\"data_offsets\":[2,6]}}",
         6, "inside"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":"
         "[1],"
         "\"data_offsets\":[8,12]}}",
         12, "hole"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "hole"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, "belong to none"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "3 elements"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}", 4, "elements"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         "overflow"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999999],\"data_offsets\":[0,4]}}", 4,
         "no size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "no size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,18446744073709551615]}}", 4, "no size"},
        {"{\"a\":{\"dtype\":\"Q4\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "Q4"},
        {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "needs dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":{},\"data_offsets\":[0,4]}}", 4, "needs dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "needs dtype"},
        {"{\"a\":[]}", 0, "needs dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":"
         "[1],"
         "\"data_offsets\":[0,4]}}",
         4, "duplicate"},
        {"[]", 0, "not a JSON object"},
        {"{", 0, "line 1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        temper_error error = TEMPER_ERROR_INIT;
        if (open_header(forged[i].header, forged[i].size, &error) == TEMPER_OK) {
            fail_msg("accepted: %s", forged[i].header);
        }
        if (strstr(error.message, forged[i].word) == NULL) {
            fail_msg("%s: %s", forged[i].word, error.message);
        }
    }
    /* What the format allows. */
    assert_int_equal(open_header("{}", 0, NULL), TEMPER_OK);
    assert_int_equal(
        open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}   ", 4, NULL),
        TEMPER_OK);
    assert_int_equal(
        open_header("{\"a\":{\"dtype\":\"BOOL\",\"shape\":[1,1,1,1,2,2],\"data_offsets\":[0,4]}}", 4, NULL),
        TEMPER_OK);
}

static void test_safetensors_lengths(void **state) {
    static const uint64_t lengths[] = {1, 100, 100000001, UINT64_C(1) << 60, UINT64_MAX, UINT64_MAX - 7};
    unsigned char data[16] = {0};
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memcpy(data, &lengths[i], 8);
        assert_int_equal(open_safetensors(data, sizeof data, NULL), TEMPER_INVALID);
    }
}

/* --- JSON --- */

static void test_deep_json(void **state) {
    static const char *const names[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                        "model.safetensors.index.json"};
    enum { DEPTH = 1000000 };
    char *deep = malloc(DEPTH + 1);
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        memory_files files = {0};
        lm_checkpoint *checkpoint = NULL;
        lm_tokenizer *tokenizer = NULL;
        char *source;
        size_t length;
        smollm_make(&files);
        memset(deep, '[', DEPTH);
        memory_put(&files, names[i], deep, DEPTH);
        if (i == 3) {
            memory_remove(&files, "model.safetensors");
        }
        bool weights = i == 0 || i == 3;
        temper_error error = TEMPER_ERROR_INIT;
        assert_int_equal(weights ? lm_checkpoint_open(&files.set, &checkpoint, &error)
                                 : lm_tokenizer_open(&files.set, &tokenizer, &error),
                         TEMPER_INVALID);
        assert_non_null(strstr(error.message, "depth"));
        if (i == 2) {
            assert_int_equal(lm_template_find(&files.set, &source, &length, &error), TEMPER_INVALID);
        }
        memory_free(&files);
    }
    free(deep);
}

/* --- config against weights --- */

static void test_config_disagrees_with_weights(void **state) {
    static const struct {
        const char *from, *to, *tensor, *has, *expected;
    } edits[] = {
        {"\"hidden_size\": 12", "\"hidden_size\": 24", "model.embed_tokens.weight", "[277, 12]", "[277, 24]"},
        {"\"vocab_size\": 277", "\"vocab_size\": 300", "model.embed_tokens.weight", "[277, 12]", "[300, 12]"},
        {"\"intermediate_size\": 20", "\"intermediate_size\": 21", "mlp.gate_proj.weight", "[20, 12]",
         "[21, 12]"},
        {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3", "k_proj.weight", "[4, 12]", "[12, 12]"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "model.layers.2.input_layernorm.weight",
         "missing", "[12]"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "model.layers.1.", "no place", "1 layers"},
        {"\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", "lm_head.weight", "missing",
         "[277, 12]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        memory_files files = {0};
        lm_checkpoint *checkpoint;
        temper_error error = TEMPER_ERROR_INIT;
        char text[2048];
        const char *at = strstr(smollm_config, edits[i].from);
        assert_non_null(at);
        smollm_make(&files);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - smollm_config), smollm_config, edits[i].to,
                 at + strlen(edits[i].from));
        memory_put_text(&files, "config.json", text);
        assert_int_not_equal(lm_checkpoint_open(&files.set, &checkpoint, &error), TEMPER_OK);
        if (strstr(error.message, edits[i].tensor) == NULL || strstr(error.message, edits[i].has) == NULL ||
            strstr(error.message, edits[i].expected) == NULL) {
            fail_msg("%s: %s", edits[i].to, error.message);
        }
        memory_free(&files);
    }
}

static void test_missing_files(void **state) {
    memory_files files = {0};
    lm_checkpoint *checkpoint;
    lm_tokenizer *tokenizer;
    lm_adapter_file *adapter;
    lm_config config;
    char *source;
    size_t length;
    temper_error error = TEMPER_ERROR_INIT;
    (void)state;
    memory_put_text(&files, "README.md", "hello");
    assert_int_equal(lm_checkpoint_open(&files.set, &checkpoint, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "config.json"));
    assert_int_equal(lm_tokenizer_open(&files.set, &tokenizer, &error), TEMPER_UNSUPPORTED);
    assert_int_equal(lm_template_find(&files.set, &source, &length, &error), TEMPER_UNSUPPORTED);
    memory_put_text(&files, "config.json", smollm_config);
    memory_put_text(&files, "pytorch_model.bin", "PK");
    assert_int_equal(lm_checkpoint_open(&files.set, &checkpoint, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "pytorch_model.bin"));
    assert_int_equal(lm_config_parse(smollm_config, sizeof smollm_config - 1, &config, &error), TEMPER_OK);
    assert_int_equal(lm_adapter_open(&files.set, &config, &adapter, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "adapter_config.json"));
    memory_put_text(&files, "model.safetensors.index.json",
                    "{\"weight_map\": {\"a\": \"../../etc/passwd\"}}");
    assert_int_equal(lm_checkpoint_open(&files.set, &checkpoint, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "../../etc/passwd is missing"));
    memory_free(&files);
}

/* --- every file of a model cut short, and with bytes changed --- */

static void use_all(const memory_files *files) {
    lm_checkpoint *checkpoint;
    lm_tokenizer *tokenizer;
    lm_template *template;
    char *source;
    size_t length;
    if (!lm_checkpoint_open(&files->set, &checkpoint, NULL)) {
        lm_checkpoint_close(checkpoint);
    }
    if (!lm_tokenizer_open(&files->set, &tokenizer, NULL)) {
        lm_tokens tokens;
        if (!lm_tokenizer_encode(tokenizer, "he said 12 <|im_end|>", 21, NULL, &tokens, NULL)) {
            lm_tokens_free(&tokens);
        }
        lm_tokenizer_close(tokenizer);
    }
    if (!lm_template_find(&files->set, &source, &length, NULL)) {
        if (!lm_template_compile(source, length, &template, NULL)) {
            lm_template_free(template);
        }
        free(source);
    }
}

static void test_any_file_damaged(void **state) {
    memory_files files = {0};
    uint32_t random = 1;
    (void)state;
    smollm_make(&files);
    for (size_t f = 0; f < files.set.count; f++) {
        const char *name = files.files[f].name;
        size_t size = files.files[f].size;
        unsigned char *whole = malloc(size), *part = malloc(size);
        memcpy(whole, files.files[f].data, size);
        for (size_t step = 0; step < 60; step++) {
            memory_put(&files, name, whole, size * step / 60);
            use_all(&files);
            memcpy(part, whole, size);
            for (size_t i = 0; i < 1 + step / 20; i++) {
                random = random * 1664525u + 1013904223u;
                part[(random >> 8) % (size < 4096 ? size : 4096)] = (unsigned char)random;
            }
            memory_put(&files, name, part, size);
            use_all(&files);
        }
        memory_put(&files, name, whole, size);
        free(whole);
        free(part);
    }
    memory_free(&files);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors_cut_at_every_length),
        cmocka_unit_test(test_safetensors_forged),
        cmocka_unit_test(test_safetensors_lengths),
        cmocka_unit_test(test_deep_json),
        cmocka_unit_test(test_config_disagrees_with_weights),
        cmocka_unit_test(test_missing_files),
        cmocka_unit_test(test_any_file_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

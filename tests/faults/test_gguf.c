/* test_gguf.c: GGUF files, right and forged. */
#include "../support/cmocka_all.h"

#include "files/config.h"
#include "template/chat_template.h"
#include "tokenizer/tokenizer.h"

#include "../support/gguf_make.h"

static temper_status open_gguf(const memory_bytes *bytes, size_t size, lm_gguf **out, void **copy,
                               temper_error *error) {
    *copy = malloc(size == 0 ? 1 : size);
    memcpy(*copy, bytes->data, size);
    lm_file file = {"model.gguf", *copy, size};
    return lm_gguf_open(&file, out, error);
}

/* Opens, closes, gives back the status; frees `bytes`. */
static temper_status try_gguf(memory_bytes *bytes, temper_error *error) {
    lm_gguf *gguf;
    void *copy;
    temper_status status = open_gguf(bytes, bytes->size, &gguf, &copy, error);
    if (!status) {
        lm_gguf_close(gguf);
    }
    free(copy);
    free(bytes->data);
    *bytes = (memory_bytes){0};
    return status;
}

static void refuse(memory_bytes *bytes, const char *word) {
    temper_error error = TEMPER_ERROR_INIT;
    if (try_gguf(bytes, &error) == TEMPER_OK) {
        fail_msg("accepted: %s", word);
    }
    if (strstr(error.message, word) == NULL || strstr(error.message, "model.gguf") == NULL) {
        fail_msg("%s: %s", word, error.message);
    }
}

/* A small llama whose every kind of metadata and tensor is used; SentencePiece-style vocabulary of bytes. */
static void make_llama(memory_bytes *bytes) {
    static const struct {
        const char *name;
        uint32_t rank;
        uint64_t sides[2];
    } tensors[] = {{"token_embd.weight", 2, {8, 260}},      {"output_norm.weight", 1, {8}},
                   {"blk.0.attn_norm.weight", 1, {8}},      {"blk.0.attn_q.weight", 2, {8, 8}},
                   {"blk.0.attn_k.weight", 2, {8, 4}},      {"blk.0.attn_v.weight", 2, {8, 4}},
                   {"blk.0.attn_output.weight", 2, {8, 8}}, {"blk.0.ffn_norm.weight", 1, {8}},
                   {"blk.0.ffn_gate.weight", 2, {8, 16}},   {"blk.0.ffn_up.weight", 2, {8, 16}},
                   {"blk.0.ffn_down.weight", 2, {16, 8}}};
    enum { TENSORS = sizeof tensors / sizeof *tensors };
    gguf_header(bytes, 3, TENSORS, 19);
    gguf_pair_text(bytes, "general.architecture", "llama");
    gguf_pair_u32(bytes, "general.alignment", 64);
    gguf_pair_u32(bytes, "llama.context_length", 32);
    gguf_pair_u32(bytes, "llama.embedding_length", 8);
    gguf_pair_u32(bytes, "llama.feed_forward_length", 16);
    gguf_pair_u32(bytes, "llama.block_count", 1);
    gguf_pair_u32(bytes, "llama.attention.head_count", 2);
    gguf_pair_u32(bytes, "llama.attention.head_count_kv", 1);
    gguf_pair_u32(bytes, "llama.rope.dimension_count", 4);
    gguf_pair_f32(bytes, "llama.rope.freq_base", 500.0f);
    gguf_pair_f32(bytes, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_pair_text(bytes, "tokenizer.ggml.model", "llama");
    gguf_pair_text(bytes, "tokenizer.chat_template", "{{ messages[0].content }}");
    gguf_pair_u32(bytes, "tokenizer.ggml.bos_token_id", 1);
    gguf_pair_u32(bytes, "tokenizer.ggml.eos_token_id", 2);
    gguf_pair_u32(bytes, "tokenizer.ggml.padding_token_id", UINT32_MAX);
    gguf_pair_array(bytes, "tokenizer.ggml.tokens", 8, 260);
    gguf_text(bytes, "<unk>");
    gguf_text(bytes, "<s>");
    gguf_text(bytes, "</s>");
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        gguf_text(bytes, text);
    }
    gguf_text(bytes, "\xE2\x96\x81hi");
    gguf_pair_array(bytes, "tokenizer.ggml.scores", 6, 260);
    for (unsigned i = 0; i < 260; i++) {
        float score = -(float)i;
        gguf_bytes(bytes, &score, sizeof score);
    }
    gguf_pair_array(bytes, "tokenizer.ggml.token_type", 5, 260);
    for (unsigned i = 0; i < 260; i++) {
        gguf_u32(bytes, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
    }
    uint64_t offset = 0;
    for (size_t i = 0; i < TENSORS; i++) {
        gguf_record(bytes, tensors[i].name, tensors[i].rank, tensors[i].sides, 0, offset);
        uint64_t size = 4 * tensors[i].sides[0] * (tensors[i].rank == 2 ? tensors[i].sides[1] : 1);
        offset += (size + 63) / 64 * 64;
    }
    gguf_align(bytes, 64);
    for (uint64_t i = 0; i < offset / 4; i++) {
        float value = (float)i;
        gguf_bytes(bytes, &value, sizeof value);
    }
}

static void test_llama(void **state) {
    memory_bytes bytes = {0};
    memory_files files = {0};
    temper_error error = TEMPER_ERROR_INIT;
    lm_checkpoint *checkpoint;
    lm_tokenizer *tokenizer;
    lm_tokens tokens;
    float values[64];
    char *source;
    size_t length;
    (void)state;
    make_llama(&bytes);
    memory_put(&files, "model.gguf", bytes.data, bytes.size);
    if (lm_checkpoint_open(&files.set, &checkpoint, &error)) {
        fail_msg("%s", error.message);
    }
    const lm_config *config = lm_checkpoint_config(checkpoint);
    assert_true(config->tied);
    assert_true(config->rope_theta == 500.0);
    assert_int_equal(config->kv_heads, 1);
    assert_int_equal(lm_checkpoint_read(checkpoint, LM_QUERY, 0, values, &error), TEMPER_OK);
    assert_true(values[8] == values[0] + 16.0f); /* row 1 was row 2: the other pair's first */
    assert_true(values[16] == values[0] + 8.0f);
    lm_checkpoint_close(checkpoint);
    if (lm_tokenizer_open(&files.set, &tokenizer, &error)) {
        fail_msg("%s", error.message);
    }
    /* No piece for a space or a letter alone: the prefix and all else are bytes, and 0xFF is not UTF-8. */
    assert_int_equal(lm_tokenizer_encode(tokenizer, "ho", 2, NULL, &tokens, &error), TEMPER_OK);
    assert_int_equal(tokens.count, 3);
    assert_int_equal(tokens.items[0].id, 3 + ' ');
    assert_int_equal(tokens.items[0].end, 0);
    assert_int_equal(tokens.items[1].id, 3 + 'h');
    lm_tokens_free(&tokens);
    assert_int_equal(lm_tokenizer_encode(tokenizer, "ab\xFF", 3, NULL, &tokens, &error), TEMPER_INVALID);
    assert_non_null(strstr(error.message, "offset 2"));
    lm_tokenizer_close(tokenizer);
    assert_int_equal(lm_template_find(&files.set, &source, &length, &error), TEMPER_OK);
    assert_string_equal(source, "{{ messages[0].content }}");
    free(source);
    int32_t ends[2];
    assert_int_equal(lm_end_tokens(&files.set, 260, ends, 2), 1);
    assert_int_equal(ends[0], 2);
    memory_free(&files);
    free(bytes.data);
}

static void test_cut_and_changed(void **state) {
    memory_bytes bytes = {0};
    (void)state;
    make_llama(&bytes);
    for (size_t size = 0; size < bytes.size; size += size < 12000 ? 1 : 97) {
        lm_gguf *gguf;
        void *copy;
        temper_error error = TEMPER_ERROR_INIT;
        assert_int_not_equal(open_gguf(&bytes, size, &gguf, &copy, &error), TEMPER_OK);
        assert_true(strlen(error.message) > 10);
        free(copy);
    }
    for (size_t at = 0; at < 10000 && at < bytes.size; at++) {
        memory_files files = {0};
        lm_checkpoint *checkpoint;
        lm_tokenizer *tokenizer;
        unsigned char kept = bytes.data[at];
        bytes.data[at] = (unsigned char)(at % 3 == 0 ? 0xFF : at % 3 == 1 ? 0 : kept ^ 0x80);
        memory_put(&files, "model.gguf", bytes.data, at % 4 == 0 ? bytes.size : 12000);
        if (!lm_checkpoint_open(&files.set, &checkpoint, NULL)) {
            lm_checkpoint_close(checkpoint);
        }
        if (!lm_tokenizer_open(&files.set, &tokenizer, NULL)) {
            lm_tokenizer_close(tokenizer);
        }
        memory_free(&files);
        bytes.data[at] = kept;
    }
    free(bytes.data);
}

static void test_counts(void **state) {
    memory_bytes bytes = {0};
    (void)state;
    gguf_header(&bytes, 3, UINT64_C(1) << 60, 0);
    refuse(&bytes, "tensors; the file is not that long");
    gguf_header(&bytes, 3, 0, UINT64_C(1) << 60);
    refuse(&bytes, "metadata pairs; the file is not that long");
    gguf_header(&bytes, 3, UINT64_MAX, UINT64_MAX);
    refuse(&bytes, "not that long");
    gguf_header(&bytes, 3, 0, 1);
    gguf_pair_array(&bytes, "a.list", 8, UINT64_C(1) << 60);
    refuse(&bytes, "a.list");
    gguf_header(&bytes, 3, 0, 1);
    gguf_pair_array(&bytes, "a.list", 10, UINT64_C(1) << 61);
    refuse(&bytes, "a.list");
    gguf_header(&bytes, 3, 0, 1);
    gguf_pair_array(&bytes, "a.list", 8, 1);
    gguf_u64(&bytes, 1000);
    refuse(&bytes, "past the end");
    gguf_header(&bytes, 3, 0, 1);
    gguf_u64(&bytes, UINT64_MAX);
    gguf_bytes(&bytes, "0123456789", 10);
    refuse(&bytes, "past the end");
    gguf_header(&bytes, 3, 0, 1);
    gguf_pair_array(&bytes, "nested", 9, 1);
    gguf_u64(&bytes, 1);
    refuse(&bytes, "nested");
    gguf_header(&bytes, 3, 0, 1);
    gguf_text(&bytes, "odd");
    gguf_u32(&bytes, 13);
    gguf_u64(&bytes, 0);
    refuse(&bytes, "unknown type 13");
    gguf_header(&bytes, 3, 0, 2);
    gguf_pair_u32(&bytes, "twin", 1);
    gguf_pair_u32(&bytes, "twin", 2);
    refuse(&bytes, "\"twin\" is there twice");
}

/* Every width and sign of number, as it is and in a list. */
static void test_numbers(void **state) {
    static const struct {
        uint32_t type, size;
        uint64_t bits;
        int64_t integer;
    } numbers[] = {{0, 1, 0xFE, 254},
                   {1, 1, 0xFE, -2},
                   {2, 2, 0xFFFE, 65534},
                   {3, 2, 0xFFFE, -2},
                   {4, 4, 0xFFFFFFFE, 4294967294},
                   {5, 4, 0xFFFFFFFE, -2},
                   {10, 8, 7, 7},
                   {11, 8, UINT64_MAX - 1, -2}};
    enum { COUNT = sizeof numbers / sizeof *numbers };
    memory_bytes bytes = {0};
    lm_gguf *gguf;
    void *copy;
    char key[16];
    double number, minus = -0.5;
    int64_t integer;
    (void)state;
    gguf_header(&bytes, 3, 0, 2 * COUNT + 3);
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "n.%zu", i);
        gguf_text(&bytes, key);
        gguf_u32(&bytes, numbers[i].type);
        gguf_bytes(&bytes, &numbers[i].bits, numbers[i].size);
        key[0] = 'l';
        gguf_pair_array(&bytes, key, numbers[i].type, 2);
        gguf_bytes(&bytes, "\0\0\0\0\0\0\0\0", numbers[i].size);
        gguf_bytes(&bytes, &numbers[i].bits, numbers[i].size);
    }
    gguf_pair_f32(&bytes, "f.32", 0.25f);
    gguf_text(&bytes, "f.64");
    gguf_u32(&bytes, 12);
    gguf_bytes(&bytes, &minus, sizeof minus);
    gguf_text(&bytes, "u.64");
    gguf_u32(&bytes, 10);
    gguf_u64(&bytes, UINT64_MAX);
    assert_int_equal(open_gguf(&bytes, bytes.size, &gguf, &copy, NULL), TEMPER_OK);
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "n.%zu", i);
        assert_true(lm_gguf_integer(gguf, key, &integer) && integer == numbers[i].integer);
        assert_true(lm_gguf_number(gguf, key, &number) && number == (double)numbers[i].integer);
        key[0] = 'l';
        assert_int_equal(lm_gguf_array_length(gguf, key), 2);
        assert_true(lm_gguf_array_number(gguf, key, 1, &number) && number == (double)numbers[i].integer);
        assert_false(lm_gguf_array_number(gguf, key, 2, &number));
    }
    assert_true(lm_gguf_number(gguf, "f.32", &number) && number == 0.25);
    assert_true(lm_gguf_number(gguf, "f.64", &number) && number == -0.5);
    assert_false(lm_gguf_integer(gguf, "f.32", &integer));
    assert_false(lm_gguf_integer(gguf, "u.64", &integer));
    assert_false(lm_gguf_integer(gguf, "nothing", &integer));
    lm_gguf_close(gguf);
    free(copy);
    free(bytes.data);
}

static void test_versions(void **state) {
    memory_bytes bytes = {0};
    (void)state;
    gguf_header(&bytes, 1, 0, 0);
    refuse(&bytes, "version 1");
    gguf_header(&bytes, 0x03000000, 0, 0);
    refuse(&bytes, "big-endian");
    gguf_header(&bytes, 2, 0, 0);
    assert_int_equal(try_gguf(&bytes, NULL), TEMPER_OK);
    gguf_bytes(&bytes, "GGML....................", 24);
    refuse(&bytes, "GGUF");
}

static void test_alignment(void **state) {
    static const uint32_t wrong[] = {0, 3, 48, UINT32_MAX, 0x80000000u};
    memory_bytes bytes = {0};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        gguf_header(&bytes, 3, 0, 1);
        gguf_pair_u32(&bytes, "general.alignment", wrong[i]);
        refuse(&bytes, "power of two");
    }
}

static void one_tensor(memory_bytes *bytes, uint32_t rank, const uint64_t *sides, uint64_t offset,
                       size_t size) {
    gguf_header(bytes, 3, 1, 0);
    gguf_record(bytes, "t", rank, sides, 0, offset);
    gguf_align(bytes, 32);
    for (size_t i = 0; i < size; i++) {
        gguf_bytes(bytes, "", 1);
    }
}

static void test_tensors(void **state) {
    memory_bytes bytes = {0};
    static const uint64_t two[] = {2, 2, 2, 2, 2}, huge[] = {UINT64_C(1) << 32, UINT64_C(1) << 32};
    static const uint64_t wide[] = {UINT64_MAX / 4 + 1};
    (void)state;
    one_tensor(&bytes, 2, two, 0, 16);
    assert_int_equal(try_gguf(&bytes, NULL), TEMPER_OK);
    one_tensor(&bytes, 2, two, 0, 15);
    refuse(&bytes, "not within");
    one_tensor(&bytes, 2, two, 32, 16);
    refuse(&bytes, "not within");
    one_tensor(&bytes, 2, two, UINT64_MAX - 31, 16);
    refuse(&bytes, "not within");
    one_tensor(&bytes, 2, two, 4, 64);
    refuse(&bytes, "multiple of 32");
    one_tensor(&bytes, 2, huge, 0, 16);
    refuse(&bytes, "overflow");
    one_tensor(&bytes, 1, wide, 0, 16);
    refuse(&bytes, "overflow");
    one_tensor(&bytes, 5, two, 0, 16);
    refuse(&bytes, "rank 5");
    one_tensor(&bytes, 0, two, 0, 16);
    refuse(&bytes, "rank 0");
    gguf_header(&bytes, 3, 2, 0);
    gguf_record(&bytes, "a", 2, two, 0, 0);
    gguf_record(&bytes, "b", 2, two, 0, 0);
    gguf_align(&bytes, 32);
    gguf_bytes(&bytes, "0123456789012345", 16);
    refuse(&bytes, "inside another");
    gguf_header(&bytes, 3, 2, 0);
    gguf_record(&bytes, "a", 2, two, 0, 0);
    gguf_record(&bytes, "a", 2, two, 0, 32);
    gguf_align(&bytes, 32);
    gguf_bytes(&bytes, "012345678901234501234567890123450123456789012345", 48);
    refuse(&bytes, "\"a\" is there twice");
}

/* A whole model with one thing wrong, by what the loaders of models say. */
static void test_models(void **state) {
    static const struct {
        const char *from, *to, *word;
    } edits[] = {{"llama.context_length", "llama.context_lengtx", "llama.context_lengtx"},
                 {"llama.block_count", "gamma.block_count", "llama.block_count"},
                 {"blk.0.ffn_up.weight", "blk.0.ffn_xx.weight", "blk.0.ffn_up.weight"},
                 {"general.architecture", "general.architecturf", "general.architecture"}};
    (void)state;
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        memory_bytes bytes = {0};
        memory_files files = {0};
        lm_checkpoint *checkpoint;
        temper_error error = TEMPER_ERROR_INIT;
        make_llama(&bytes);
        unsigned char *at = memmem(bytes.data, bytes.size, edits[i].from, strlen(edits[i].from));
        assert_non_null(at);
        memcpy(at, edits[i].to, strlen(edits[i].to));
        memory_put(&files, "model.gguf", bytes.data, bytes.size);
        assert_int_not_equal(lm_checkpoint_open(&files.set, &checkpoint, &error), TEMPER_OK);
        if (strstr(error.message, edits[i].word) == NULL) {
            fail_msg("%s: %s", edits[i].word, error.message);
        }
        memory_free(&files);
        free(bytes.data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),    cmocka_unit_test(test_cut_and_changed),
        cmocka_unit_test(test_counts),   cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_versions), cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_tensors),  cmocka_unit_test(test_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_tokenizer_vectors.c: encodings against the reference implementations' own, and back again. */
#include "../support/cmocka_all.h"

#include "tokenizer/tokenizer.h"
#include <jansson.h>

#include "../support/assets.h"

struct source {
    const char *model, *vectors;
};

/* Each line's text gives its ids, the offsets cover the text in order, and the ids give the text back. */
static void check_line(const lm_tokenizer *tokenizer, const char *line, size_t number) {
    temper_error error = TEMPER_ERROR_INIT;
    json_t *vector = json_loads(line, 0, NULL), *ids = json_object_get(vector, "ids");
    const char *text = json_string_value(json_object_get(vector, "text"));
    size_t length = json_string_length(json_object_get(vector, "text")), at = 0, back_length;
    lm_tokens tokens;
    char *back;
    assert_non_null(text);
    assert_int_equal(lm_tokenizer_encode(tokenizer, text, length, NULL, &tokens, &error), TEMPER_OK);
    if (tokens.count != json_array_size(ids)) {
        fail_msg("line %zu: %zu tokens, not %zu: %s", number, tokens.count, json_array_size(ids), text);
    }
    int32_t *list = calloc(tokens.count + 1, sizeof *list);
    for (size_t i = 0; i < tokens.count; i++) {
        list[i] = tokens.items[i].id;
        if (list[i] != json_integer_value(json_array_get(ids, i))) {
            fail_msg("line %zu, token %zu: %ld, not %lld: %s", number, i, (long)list[i],
                     (long long)json_integer_value(json_array_get(ids, i)), text);
        }
        assert_int_equal(tokens.items[i].start, at);
        at = tokens.items[i].end;
    }
    assert_int_equal(at, length);
    assert_int_equal(
        lm_tokenizer_decode(tokenizer, list, tokens.count, false, true, &back, &back_length, &error),
        TEMPER_OK);
    assert_int_equal(back_length, length);
    assert_memory_equal(back, text, length);
    free(back);
    free(list);
    lm_tokens_free(&tokens);
    json_decref(vector);
}

static void check_source(const struct source *source) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_folder *folder;
    lm_tokenizer *tokenizer;
    char *line = NULL;
    size_t room = 0, count = 0;
    if (lm_folder_open(asset_path(source->model), &folder, &error) ||
        lm_tokenizer_open(lm_folder_files(folder), &tokenizer, &error)) {
        fail_msg("%s", error.message);
    }
    FILE *vectors = fopen(asset_path(source->vectors), "r");
    assert_non_null(vectors);
    while (getline(&line, &room, vectors) > 0) {
        check_line(tokenizer, line, ++count);
    }
    assert_true(count > 30);
    fclose(vectors);
    free(line);
    lm_tokenizer_close(tokenizer);
    lm_folder_close(folder);
}

static void test_gpt2_gguf(void **state) {
    (void)state;
    check_source(&(struct source){"tokenizers/gpt-2.vocab.gguf", "tokenizers/gpt-2.vectors.jsonl"});
}

static void test_gpt2_tokenizer_json(void **state) {
    (void)state;
    check_source(&(struct source){"tokenizers/gpt2-hf", "tokenizers/gpt-2.vectors.jsonl"});
}

static void test_mpt(void **state) {
    (void)state;
    check_source(&(struct source){"tokenizers/mpt.vocab.gguf", "tokenizers/mpt.vectors.jsonl"});
}

/* The same way of cutting words as SmolLM2's: every digit alone, then GPT-2's pattern. */
static void test_refact(void **state) {
    (void)state;
    check_source(&(struct source){"tokenizers/refact.vocab.gguf", "tokenizers/refact.vectors.jsonl"});
}

static void test_deepseek_coder(void **state) {
    (void)state;
    check_source(
        &(struct source){"tokenizers/deepseek-coder.vocab.gguf", "tokenizers/deepseek-coder.vectors.jsonl"});
}

/* Ranks alone: how many there are says how words are cut. */
static void test_llama3_tiktoken(void **state) {
    (void)state;
    check_source(&(struct source){"tokenizers/llama-bpe.tiktoken", "tokenizers/llama-bpe.vectors.jsonl"});
}

static void test_qwen2_tiktoken(void **state) {
    (void)state;
    check_source(&(struct source){"tokenizers/qwen2.tiktoken", "tokenizers/qwen2.vectors.jsonl"});
}

static void test_llama_sentencepiece(void **state) {
    (void)state;
    check_source(&(struct source){"tokenizers/llama-spm.vocab.gguf", "tokenizers/llama-spm.vectors.jsonl"});
}

/* A word of a megabyte costs n log n, and comes back. */
static void test_long_word_by_scores(void **state) {
    enum { SIZE = 1 << 20 };
    temper_error error = TEMPER_ERROR_INIT;
    lm_folder *folder;
    lm_tokenizer *tokenizer;
    lm_tokens tokens;
    char *text = malloc(SIZE);
    (void)state;
    memset(text, 'a', SIZE);
    assert_int_equal(lm_folder_open(asset_path("tokenizers/llama-spm.vocab.gguf"), &folder, &error),
                     TEMPER_OK);
    assert_int_equal(lm_tokenizer_open(lm_folder_files(folder), &tokenizer, &error), TEMPER_OK);
    assert_int_equal(lm_tokenizer_encode(tokenizer, text, SIZE, NULL, &tokens, &error), TEMPER_OK);
    assert_true(tokens.count < SIZE / 2);
    assert_int_equal(tokens.items[tokens.count - 1].end, SIZE);
    lm_tokens_free(&tokens);
    lm_tokenizer_close(tokenizer);
    lm_folder_close(folder);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2_gguf),
        cmocka_unit_test(test_gpt2_tokenizer_json),
        cmocka_unit_test(test_mpt),
        cmocka_unit_test(test_refact),
        cmocka_unit_test(test_deepseek_coder),
        cmocka_unit_test(test_llama3_tiktoken),
        cmocka_unit_test(test_qwen2_tiktoken),
        cmocka_unit_test(test_llama_sentencepiece),
        cmocka_unit_test(test_long_word_by_scores),
    };
    return assets_skip() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_model_files.c: the real models' files: configs, tensors by role, tokenizers, templates. */
#include "../support/cmocka_all.h"

#include "files/config.h"
#include "template/chat_template.h"
#include "tokenizer/tokenizer.h"

#include "../support/assets.h"

static lm_folder *open_folder(const char *name) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_folder *folder;
    if (lm_folder_open(asset_path(name), &folder, &error)) {
        fail_msg("%s", error.message);
    }
    return folder;
}

static lm_checkpoint *open_checkpoint(const lm_folder *folder) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_checkpoint *checkpoint;
    if (lm_checkpoint_open(lm_folder_files(folder), &checkpoint, &error)) {
        fail_msg("%s", error.message);
    }
    return checkpoint;
}

static float *read_role(const lm_checkpoint *checkpoint, lm_role role, size_t layer, size_t *count) {
    unsigned rank;
    size_t shape[2];
    lm_role_shape(lm_checkpoint_config(checkpoint), role, &rank, shape);
    *count = rank == 2 ? shape[0] * shape[1] : shape[0];
    float *values = malloc(*count * sizeof *values);
    assert_int_equal(lm_checkpoint_read(checkpoint, role, layer, values, NULL), TEMPER_OK);
    return values;
}

/* llama2.c's .bin holds the same weights after 7 integers, in the order below; its queries and keys are in the
 * rotated-pairs order that GGUF has, so undoing it must give: out[h][half * 4 + i] = bin[h][2 * i + half]. */
static void test_stories260k(void **state) {
    lm_folder *folder = open_folder("models/stories260K/stories260Ktok512.gguf");
    lm_folder *bin = open_folder("models/stories260K/stories260K.bin");
    lm_checkpoint *checkpoint = open_checkpoint(folder);
    const lm_config *config = lm_checkpoint_config(checkpoint);
    const float *weights = (const float *)lm_folder_files(bin)->files[0].data + 7;
    size_t count;
    (void)state;
    assert_int_equal(config->vocabulary, 512);
    assert_int_equal(config->layers, 5);
    assert_int_equal(config->kv_heads, 4);
    assert_int_equal(config->head_size, 8);
    assert_int_equal(config->bos, 1);
    assert_int_equal(config->eos, 2);
    assert_false(config->tied);
    float *embedding = read_role(checkpoint, LM_EMBEDDING, 0, &count);
    assert_memory_equal(embedding, weights, count * sizeof *weights);
    free(embedding);
    weights += 512 * 64 + 5 * 64; /* to wq */
    for (size_t layer = 0; layer < 5; layer++) {
        float *query = read_role(checkpoint, LM_QUERY, layer, &count);
        assert_int_equal(count, 64 * 64);
        for (size_t row = 0; row < 64; row++) {
            size_t source = row / 8 * 8 + row % 4 * 2 + row % 8 / 4;
            assert_memory_equal(query + row * 64, weights + (layer * 64 + source) * 64, 64 * sizeof *weights);
        }
        free(query);
    }
    weights += 5 * 64 * 64; /* to wk */
    for (size_t layer = 0; layer < 5; layer++) {
        float *key = read_role(checkpoint, LM_KEY, layer, &count);
        assert_int_equal(count, 32 * 64);
        for (size_t row = 0; row < 32; row++) {
            size_t source = row / 8 * 8 + row % 4 * 2 + row % 8 / 4;
            assert_memory_equal(key + row * 64, weights + (layer * 32 + source) * 64, 64 * sizeof *weights);
        }
        free(key);
    }
    weights += 5 * 32 * 64; /* to wv, as it is */
    float *value = read_role(checkpoint, LM_VALUE, 0, &count);
    assert_memory_equal(value, weights, count * sizeof *weights);
    free(value);
    lm_checkpoint_close(checkpoint);
    lm_folder_close(bin);
    lm_folder_close(folder);
}

static void test_stories260k_tokenizer(void **state) {
    static const char text[] = "Once upon a time, there was a little girl.\n\xC3\xA9 \xE2\x96\x81 end";
    static const int32_t start[] = {403, 407, 261, 378};
    lm_folder *folder = open_folder("models/stories260K/stories260Ktok512.gguf");
    temper_error error = TEMPER_ERROR_INIT;
    lm_tokenizer *tokenizer;
    lm_tokens tokens;
    char *back;
    size_t length;
    (void)state;
    assert_int_equal(lm_tokenizer_open(lm_folder_files(folder), &tokenizer, &error), TEMPER_OK);
    assert_int_equal(lm_tokenizer_size(tokenizer), 512);
    assert_int_equal(lm_tokenizer_bos(tokenizer), 1);
    assert_int_equal(lm_tokenizer_eos(tokenizer), 2);
    assert_true(lm_tokenizer_adds_bos(tokenizer));
    assert_int_equal(lm_tokenizer_encode(tokenizer, text, sizeof text - 1, NULL, &tokens, &error), TEMPER_OK);
    int32_t *ids = malloc(tokens.count * sizeof *ids);
    for (size_t i = 0; i < tokens.count; i++) {
        ids[i] = tokens.items[i].id;
    }
    for (size_t i = 0; i < sizeof start / sizeof *start; i++) {
        assert_int_equal(ids[i], start[i]);
    }
    assert_int_equal(lm_tokenizer_decode(tokenizer, ids, tokens.count, true, true, &back, &length, &error),
                     TEMPER_OK);
    assert_int_equal(length, sizeof text - 1);
    assert_memory_equal(back, text, length);
    free(back);
    free(ids);
    lm_tokens_free(&tokens);
    lm_tokenizer_close(tokenizer);
    lm_folder_close(folder);
}

static void test_tinytalk(void **state) {
    lm_folder *folder = open_folder("models/tinytalk-3m-chat");
    lm_checkpoint *checkpoint = open_checkpoint(folder);
    const lm_config *config = lm_checkpoint_config(checkpoint);
    temper_error error = TEMPER_ERROR_INIT;
    lm_tokenizer *tokenizer;
    lm_tokens tokens;
    size_t count;
    (void)state;
    assert_string_equal(config->architecture, "gpt_neo");
    assert_int_equal(config->layers, 8);
    assert_int_equal(config->head_size, 8);
    assert_int_equal(config->window[0], 0);
    assert_int_equal(config->window[7], 256);
    assert_true(config->attention_scale == 1.0);
    assert_true(config->tied);
    assert_int_equal(config->eos, 14018);
    free(read_role(checkpoint, LM_POSITION_EMBEDDING, 0, &count));
    assert_int_equal(count, 256 * 128);
    free(read_role(checkpoint, LM_DOWN_BIAS, 7, &count));
    assert_int_equal(count, 128);
    assert_int_equal(lm_checkpoint_read(checkpoint, LM_GATE, 0, NULL, &error), TEMPER_INVALID);

    assert_int_equal(lm_tokenizer_open(lm_folder_files(folder), &tokenizer, &error), TEMPER_OK);
    assert_int_equal(lm_tokenizer_eos(tokenizer), 14018);
    assert_int_equal(lm_tokenizer_bos(tokenizer), 14018);
    assert_true(lm_tokenizer_is_special(tokenizer, 14018));
    assert_false(lm_tokenizer_adds_bos(tokenizer));
    /* What a user writes is text; what a template writes may be special. */
    static const char end[] = "hi<|endoftext|>";
    uint8_t allowed[sizeof end];
    memset(allowed, 1, sizeof allowed);
    assert_int_equal(lm_tokenizer_encode(tokenizer, end, sizeof end - 1, NULL, &tokens, &error), TEMPER_OK);
    assert_true(tokens.count > 3);
    for (size_t i = 0; i < tokens.count; i++) {
        assert_false(lm_tokenizer_is_special(tokenizer, tokens.items[i].id));
    }
    lm_tokens_free(&tokens);
    assert_int_equal(lm_tokenizer_encode(tokenizer, end, sizeof end - 1, allowed, &tokens, &error),
                     TEMPER_OK);
    assert_int_equal(tokens.items[tokens.count - 1].id, 14018);
    assert_int_equal(tokens.items[tokens.count - 1].start, 2);
    lm_tokens_free(&tokens);
    allowed[5] = 0;
    assert_int_equal(lm_tokenizer_encode(tokenizer, end, sizeof end - 1, allowed, &tokens, &error),
                     TEMPER_OK);
    assert_int_not_equal(tokens.items[tokens.count - 1].id, 14018);
    lm_tokens_free(&tokens);
    lm_tokenizer_close(tokenizer);
    lm_checkpoint_close(checkpoint);
    lm_folder_close(folder);
}

static void test_tinytalk_template(void **state) {
    static const lm_message messages[] = {
        {"user", "I feel sad today.", 17}, {"assistant", "What's wrong?", 13}, {"user", "<|endoftext|>", 13}};
    static const char expected[] =
        "User: I feel sad today.\nBot: What's wrong?<|endoftext|>\nUser: <|endoftext|>\nBot:";
    lm_folder *folder = open_folder("models/tinytalk-3m-chat");
    temper_error error = TEMPER_ERROR_INIT;
    char *source;
    size_t length;
    lm_template *template;
    lm_rendering rendering;
    (void)state;
    assert_int_equal(lm_template_find(lm_folder_files(folder), &source, &length, &error), TEMPER_OK);
    assert_int_equal(lm_template_compile(source, length, &template, &error), TEMPER_OK);
    assert_false(lm_template_mentions_system(template));
    assert_int_equal(lm_template_render(template, messages, 3, true, NULL, NULL, &rendering, &error),
                     TEMPER_OK);
    assert_string_equal(rendering.text, expected);
    const char *answer = strstr(rendering.text, "What's"), *end = strstr(rendering.text, "<|end");
    for (size_t i = 0; i < rendering.length; i++) {
        const char *at = rendering.text + i;
        bool by_assistant = at >= answer && at < end;
        assert_int_equal(rendering.author[i] == LM_BY_ASSISTANT, by_assistant);
        assert_int_equal(rendering.message[i] == 1, by_assistant);
    }
    assert_int_equal(rendering.author[end - rendering.text], LM_BY_TEMPLATE);
    assert_int_equal(rendering.author[strrchr(rendering.text, '>') - rendering.text], LM_BY_CONTENT);
    lm_rendering_free(&rendering);
    lm_template_free(template);
    free(source);
    lm_folder_close(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories260k),
        cmocka_unit_test(test_stories260k_tokenizer),
        cmocka_unit_test(test_tinytalk),
        cmocka_unit_test(test_tinytalk_template),
    };
    return assets_skip() ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_tokenizer.c: tokenizers made here: SmolLM2's form, the byte vocabulary, what is refused, and speed. */
#include "../support/cmocka_all.h"

#include "template/chat_template.h"
#include "tokenizer/tokenizer.h"

#include "../support/smollm.h"
#include <time.h>

static lm_tokenizer *open_set(const memory_files *files) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_tokenizer *tokenizer;
    if (lm_tokenizer_open(&files->set, &tokenizer, &error)) {
        fail_msg("%s", error.message);
    }
    return tokenizer;
}

static lm_tokens encode(const lm_tokenizer *tokenizer, const char *text, size_t length,
                        const uint8_t *allowed) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_tokens tokens;
    if (lm_tokenizer_encode(tokenizer, text, length, allowed, &tokens, &error)) {
        fail_msg("%s", error.message);
    }
    return tokens;
}

static void check_ids(const lm_tokenizer *tokenizer, const char *text, const uint8_t *allowed,
                      const int32_t *ids, size_t count) {
    lm_tokens tokens = encode(tokenizer, text, strlen(text), allowed);
    assert_int_equal(tokens.count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(tokens.items[i].id, ids[i]);
    }
    lm_tokens_free(&tokens);
}

static void check_round_trip(const lm_tokenizer *tokenizer, const char *text, size_t length) {
    lm_tokens tokens = encode(tokenizer, text, length, NULL);
    int32_t *ids = malloc((tokens.count + 1) * sizeof *ids);
    size_t back_length, at = 0;
    char *back;
    for (size_t i = 0; i < tokens.count; i++) {
        size_t size;
        const char *bytes = lm_tokenizer_bytes(tokenizer, tokens.items[i].id, &size);
        ids[i] = tokens.items[i].id;
        assert_int_equal(tokens.items[i].start, at);
        assert_int_equal(tokens.items[i].end - at, size);
        assert_memory_equal(bytes, text + at, size);
        at += size;
    }
    assert_int_equal(at, length);
    assert_int_equal(
        lm_tokenizer_decode(tokenizer, ids, tokens.count, false, true, &back, &back_length, NULL), TEMPER_OK);
    assert_int_equal(back_length, length);
    assert_memory_equal(back, text, length);
    free(back);
    free(ids);
    lm_tokens_free(&tokens);
}

/* Bytes in no order: text, broken UTF-8, zeros. */
static void check_any_bytes(const lm_tokenizer *tokenizer) {
    static char noise[4096];
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof noise; i++) {
        state = state * 1664525u + 1013904223u;
        noise[i] = (char)((state >> 24) % (i % 512 < 256 ? 256 : 128));
    }
    check_round_trip(tokenizer, noise, sizeof noise);
    check_round_trip(tokenizer, "", 0);
    check_round_trip(tokenizer, "\xE2\x96", 2);
}

/* h=88 in GPT-2's order of symbols after the 17 specials: '!' is 17, so 'h' is 17 + 'h' - '!'. */
static void test_smollm(void **state) {
    enum {
        FIRST = 17,
        H = FIRST + 'h' - '!',
        E = FIRST + 'e' - '!',
        O = FIRST + 'o' - '!',
        SPACE = FIRST + 188 + 32,
        HE = 273,
        LL,
        HELL,
        SPACE_W
    };
    memory_files files = {0};
    (void)state;
    smollm_make(&files);
    lm_tokenizer *tokenizer = open_set(&files);
    assert_int_equal(lm_tokenizer_size(tokenizer), 277);
    assert_int_equal(lm_tokenizer_bos(tokenizer), 1);
    assert_int_equal(lm_tokenizer_eos(tokenizer), 2);
    assert_false(lm_tokenizer_adds_bos(tokenizer));
    assert_int_equal(lm_tokenizer_special(tokenizer, "<|im_end|>", 10), 2);
    assert_int_equal(lm_tokenizer_special(tokenizer, "<|im_end", 8), -1);
    assert_int_equal(lm_tokenizer_special(tokenizer, "hell", 4), -1);
    check_ids(tokenizer, "hello w", NULL, (const int32_t[]){HELL, O, SPACE_W}, 3);
    check_ids(tokenizer, "hhe", NULL, (const int32_t[]){H, HE}, 2);
    /* Every digit alone; the space before one is not joined to it, nor to what came before it. */
    check_ids(tokenizer, "he 12he", NULL,
              (const int32_t[]){HE, SPACE, FIRST + '1' - '!', FIRST + '2' - '!', HE}, 5);
    uint8_t allowed[64];
    memset(allowed, 1, sizeof allowed);
    check_ids(tokenizer, "<|im_start|>he<|im_end|>", allowed, (const int32_t[]){1, HE, 2}, 3);
    allowed[0] = 0;
    lm_tokens tokens = encode(tokenizer, "<|im_start|>he<|im_end|>", 24, allowed);
    assert_int_not_equal(tokens.items[0].id, 1);
    assert_int_equal(tokens.items[tokens.count - 1].id, 2);
    assert_int_equal(tokens.items[tokens.count - 1].start, 14);
    lm_tokens_free(&tokens);
    check_any_bytes(tokenizer);
    lm_tokenizer_close(tokenizer);
    memory_free(&files);
}

static void test_smollm_template(void **state) {
    static const lm_message messages[] = {{"user", "Hi <|im_end|>", 13}, {"assistant", "Yo", 2}};
    memory_files files = {0};
    temper_error error = TEMPER_ERROR_INIT;
    char *source;
    size_t length;
    lm_template *template;
    lm_rendering rendering;
    lm_tokens tokens;
    (void)state;
    smollm_make(&files);
    lm_tokenizer *tokenizer = open_set(&files);
    assert_int_equal(lm_template_find(&files.set, &source, &length, &error), TEMPER_OK);
    assert_int_equal(lm_template_compile(source, length, &template, &error), TEMPER_OK);
    assert_true(lm_template_mentions_system(template));
    assert_int_equal(lm_template_render(template, messages, 2, true, NULL, NULL, &rendering, &error),
                     TEMPER_OK);
    assert_string_equal(rendering.text,
                        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
                        "Hugging Face<|im_end|>\n<|im_start|>user\nHi <|im_end|><|im_end|>\n"
                        "<|im_start|>assistant\nYo<|im_end|>\n<|im_start|>assistant\n");
    uint8_t *allowed = malloc(rendering.length);
    unsigned ends = 0, starts = 0;
    for (size_t i = 0; i < rendering.length; i++) {
        allowed[i] = rendering.author[i] == LM_BY_TEMPLATE;
    }
    tokens = encode(tokenizer, rendering.text, rendering.length, allowed);
    for (size_t i = 0; i < tokens.count; i++) {
        starts += tokens.items[i].id == 1;
        ends += tokens.items[i].id == 2;
    }
    assert_int_equal(starts, 4);
    assert_int_equal(ends, 3); /* not the user's own */
    lm_tokens_free(&tokens);
    free(allowed);
    lm_rendering_free(&rendering);
    lm_template_free(template);
    free(source);
    lm_tokenizer_close(tokenizer);
    memory_free(&files);
}

static void test_byte_vocabulary(void **state) {
    static const char *const specials[] = {"<|end|>", "<|user|>", "<|bot|>"};
    memory_files files = {0};
    (void)state;
    char *text = lm_tokenizer_write_bytes(specials, 3), *again = lm_tokenizer_write_bytes(specials, 3);
    assert_string_equal(text, again);
    memory_put_text(&files, "tokenizer.json", text);
    free(text);
    free(again);
    text = lm_tokenizer_config_write(NULL, "<|end|>", "{{ messages[0].content }}", 128);
    memory_put_text(&files, "tokenizer_config.json", text);
    free(text);
    lm_tokenizer *tokenizer = open_set(&files);
    assert_int_equal(lm_tokenizer_size(tokenizer), 259);
    assert_int_equal(lm_tokenizer_eos(tokenizer), 256);
    assert_int_equal(lm_tokenizer_bos(tokenizer), -1);
    for (int byte = 0; byte < 256; byte++) {
        size_t length;
        const char *bytes = lm_tokenizer_bytes(tokenizer, byte, &length);
        assert_int_equal(length, 1);
        assert_int_equal((unsigned char)bytes[0], byte);
    }
    check_ids(tokenizer, "a\xC3\xA9<", NULL, (const int32_t[]){'a', 0xC3, 0xA9, '<'}, 4);
    assert_int_equal(lm_tokenizer_special(tokenizer, "<|bot|>", 7), 258);
    check_any_bytes(tokenizer);
    const int32_t ids[] = {257, 'h', 'i', 256};
    char *back;
    size_t length;
    assert_int_equal(lm_tokenizer_decode(tokenizer, ids, 4, true, true, &back, &length, NULL), TEMPER_OK);
    assert_string_equal(back, "hi");
    free(back);
    const int32_t out_of_range[] = {259};
    temper_error error = TEMPER_ERROR_INIT;
    assert_int_equal(lm_tokenizer_decode(tokenizer, out_of_range, 1, true, true, &back, &length, &error),
                     TEMPER_INVALID);
    assert_non_null(strstr(error.message, "259"));
    lm_tokenizer_close(tokenizer);
    memory_free(&files);
}

/* Edits a path of tokenizer.json and expects a refusal that names `word`. */
static void refuse(const char *parent, const char *key, const char *json, const char *word) {
    memory_files files = {0};
    lm_tokenizer *tokenizer;
    temper_error error = TEMPER_ERROR_INIT;
    json_t *root = smollm_tokenizer(), *value = json_loads(json, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    json_object_set_new(parent == NULL ? root : json_object_get(root, parent), key, value);
    memory_put_json(&files, "tokenizer.json", root);
    if (lm_tokenizer_open(&files.set, &tokenizer, &error) == TEMPER_OK) {
        fail_msg("%s: %s was accepted", key, json);
    }
    if (strstr(error.message, word) == NULL) {
        fail_msg("%s: %s", word, error.message);
    }
    memory_free(&files);
}

static void test_refusals(void **state) {
    (void)state;
    refuse("model", "type", "\"WordPiece\"", "WordPiece");
    refuse("model", "type", "\"Unigram\"", "vocab");
    refuse("model", "byte_fallback", "true", "byte_fallback");
    refuse("model", "dropout", "0.1", "dropout");
    refuse("model", "end_of_word_suffix", "\"</w>\"", "end_of_word_suffix");
    refuse("model", "vocab", "[]", "vocab");
    refuse("model", "merges", "[\"h e\", \"h e\"]", "twice");
    refuse("model", "merges", "[\"h e\", \"he\"]", "merge 1");
    refuse("model", "merges", "[\"h e\", \"he o\"]", "lacks");
    refuse("model", "merges", "[[\"h\", 3]]", "merge 0");
    refuse("model", "vocab", "{\"a\": -1}", "\"a\"");
    refuse("model", "vocab", "{\"a\": 4000000000}", "\"a\"");
    refuse("model", "vocab", "{\"a\": 20, \"b\": 20}", "both");
    refuse("model", "vocab", "{\"<|im_end|>\": 40}", "<|im_end|>");
    refuse("model", "vocab", "{\"\xE2\x96\x81the\": 40}", "byte-level");
    refuse(NULL, "normalizer", "{\"type\": \"BertNormalizer\"}", "BertNormalizer");
    refuse(NULL, "decoder", "{\"type\": \"WordPiece\"}", "WordPiece");
    refuse(NULL, "pre_tokenizer", "{\"type\": \"UnicodeScripts\"}", "UnicodeScripts");
    refuse(NULL, "pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"_\"}", "Metaspace");
    refuse(NULL, "pre_tokenizer", "null", "decoder");
    refuse(NULL, "pre_tokenizer", "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}",
           "add_prefix_space");
    refuse(NULL, "pre_tokenizer",
           "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\"}, {\"type\": "
           "\"ByteLevel\"}]}",
           "Split");
    refuse(NULL, "pre_tokenizer",
           "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": "
           "\"a(\"}}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false}]}",
           "\"a(\"");
    refuse(NULL, "pre_tokenizer",
           "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": "
           "\"[a-z&&[b]]\"}}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false}]}",
           "&&");
    refuse(NULL, "pre_tokenizer",
           "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": "
           "\"\\\\bword\"}}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false}]}",
           "\\b");
    refuse(NULL, "post_processor", "{\"type\": \"CTCProcessing\"}", "CTCProcessing");
    refuse(NULL, "post_processor", "{\"type\": \"BertProcessing\"}", "post_processor");
    refuse(NULL, "added_tokens", "[{\"id\": \"0\", \"content\": \"<mask>\"}]", "added_tokens[0]");
}

/* Added tokens that are not special are found in any text, the longest first. */
static void test_added_tokens(void **state) {
    memory_files files = {0};
    json_t *root = smollm_tokenizer(), *added = json_object_get(root, "added_tokens");
    (void)state;
    json_array_append_new(added, json_pack("{s:i, s:s, s:b}", "id", 300, "content", "<tool", "special", 0));
    json_array_append_new(added,
                          json_pack("{s:i, s:s, s:b}", "id", 301, "content", "<tool_call>", "special", 0));
    memory_put_json(&files, "tokenizer.json", root);
    lm_tokenizer *tokenizer = open_set(&files);
    assert_int_equal(lm_tokenizer_size(tokenizer), 302);
    check_ids(tokenizer, "he<tool_call>he<tool", NULL, (const int32_t[]){273, 301, 273, 300}, 4);
    assert_false(lm_tokenizer_is_special(tokenizer, 301));
    assert_true(lm_tokenizer_is_special(tokenizer, 0));
    const int32_t hole[] = {280, 301};
    char *back;
    size_t length;
    assert_int_equal(lm_tokenizer_decode(tokenizer, hole, 2, true, true, &back, &length, NULL), TEMPER_OK);
    assert_string_equal(back, "<tool_call>");
    free(back);
    lm_tokenizer_close(tokenizer);
    memory_free(&files);
}

static void test_bos_by_post_processor(void **state) {
    memory_files files = {0};
    json_t *root = smollm_tokenizer();
    (void)state;
    json_object_set_new(
        root, "post_processor",
        json_loads("{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": "
                   "\"<|im_start|>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": "
                   "0}}], \"pair\": [], \"special_tokens\": {}}",
                   0, NULL));
    memory_put_json(&files, "tokenizer.json", root);
    memory_put_text(
        &files, "tokenizer_config.json",
        "{\"bos_token\": \"<|im_start|>\", \"model_max_length\": 1000000000000000019884624838656}");
    lm_tokenizer *tokenizer = open_set(&files);
    assert_true(lm_tokenizer_adds_bos(tokenizer));
    assert_int_equal(lm_tokenizer_bos(tokenizer), 1);
    assert_int_equal(lm_tokenizer_eos(tokenizer), -1);
    lm_tokenizer_close(tokenizer);
    memory_free(&files);
}

/* A word of a megabyte: no more than a second or so, where n^2 would be hours. */
static void test_long_words(void **state) {
    enum { SIZE = 1 << 20 };
    memory_files files = {0};
    struct timespec begin, end;
    (void)state;
    smollm_make(&files);
    json_t *root = smollm_tokenizer(), *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
    for (int i = 1; i <= 128; i *= 2) { /* a a, aa aa, ... */
        char line[300], half[129] = {0}, whole[257] = {0};
        memset(half, 'a', (size_t)i);
        memset(whole, 'a', (size_t)i * 2);
        snprintf(line, sizeof line, "%s %s", half, half);
        json_object_set_new(vocab, whole, json_integer(400 + i));
        json_array_append_new(merges, json_string(line));
    }
    memory_put_json(&files, "tokenizer.json", root);
    lm_tokenizer *tokenizer = open_set(&files);
    char *text = malloc(SIZE);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    memset(text, 'a', SIZE);
    lm_tokens tokens = encode(tokenizer, text, SIZE, NULL);
    assert_int_equal(tokens.count, SIZE / 256);
    lm_tokens_free(&tokens);
    memset(text, ' ', SIZE);
    check_round_trip(tokenizer, text, SIZE);
    memset(text, '!', SIZE);
    check_round_trip(tokenizer, text, SIZE);
    memset(text, '7', SIZE);
    check_round_trip(tokenizer, text, SIZE);
    memset(text, '<', SIZE);
    check_round_trip(tokenizer, text, SIZE);
    clock_gettime(CLOCK_MONOTONIC, &end);
    print_message("five megabytes: %.2f s\n",
                  (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    assert_true(end.tv_sec - begin.tv_sec < 60);
    free(text);
    lm_tokenizer_close(tokenizer);
    memory_free(&files);
}

/* Added tokens that take spaces with them, and one that must stand alone. */
static void test_added_token_manners(void **state) {
    memory_files files = {0};
    json_t *root = smollm_tokenizer(), *added = json_object_get(root, "added_tokens");
    (void)state;
    json_array_append_new(added, json_pack("{s:i, s:s, s:b, s:b, s:b}", "id", 300, "content", "<l>",
                                           "special", 0, "lstrip", 1, "rstrip", 1));
    json_array_append_new(added, json_pack("{s:i, s:s, s:b, s:b}", "id", 301, "content", "alone", "special",
                                           0, "single_word", 1));
    memory_put_json(&files, "tokenizer.json", root);
    lm_tokenizer *tokenizer = open_set(&files);
    check_ids(tokenizer, "he \n<l>\t he", NULL, (const int32_t[]){273, 300, 273}, 3);
    lm_tokens tokens = encode(tokenizer, "he  <l> he", 10, NULL);
    assert_int_equal(tokens.items[1].start, 2);
    assert_int_equal(tokens.items[1].end, 8);
    lm_tokens_free(&tokens);
    tokens = encode(tokenizer, "-alone-alones alone", 19, NULL);
    assert_int_equal(tokens.items[1].id, 301);
    assert_int_not_equal(tokens.items[3].id, 301);
    assert_int_equal(tokens.items[tokens.count - 1].id, 301);
    lm_tokens_free(&tokens);
    lm_tokenizer_close(tokenizer);
    memory_free(&files);
}

/* A vocabulary of characters, written with U+2581 for spaces. */
static json_t *marked_tokenizer(const char *model) {
    json_t *root = json_loads(
        "{\"added_tokens\": [{\"id\": 0, \"content\": \"<unk>\", \"special\": true}, {\"id\": 1, "
        "\"content\": "
        "\"<s>\", \"special\": true}], \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": "
        "\"Prepend\", \"prepend\": \"\\u2581\"}, {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, "
        "\"content\": \"\\u2581\"}]}, \"pre_tokenizer\": null, \"post_processor\": {\"type\": "
        "\"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}, {\"Sequence\": {\"id\": "
        "\"A\"}}], \"special_tokens\": {\"<s>\": {\"ids\": [1]}}}, \"decoder\": {\"type\": \"Sequence\", "
        "\"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": \"\\u2581\"}, \"content\": \" \"}, "
        "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \", "
        "\"start\": 1, \"stop\": 0}]}}",
        0, NULL);
    json_t *made = json_loads(model, 0, NULL);
    assert_non_null(root);
    assert_non_null(made);
    json_object_set_new(root, "model", made);
    return root;
}

static void add_byte_tokens(json_t *vocab, int first) {
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        if (json_is_array(vocab)) {
            json_array_append_new(vocab, json_pack("[s, f]", text, 0.0));
        } else {
            json_object_set_new(vocab, text, json_integer(first + byte));
        }
    }
}

static void check_decoded(const lm_tokenizer *tokenizer, const char *text) {
    lm_tokens tokens = encode(tokenizer, text, strlen(text), NULL);
    int32_t *ids = malloc((tokens.count + 1) * sizeof *ids);
    char *back;
    size_t length;
    for (size_t i = 0; i < tokens.count; i++) {
        ids[i] = tokens.items[i].id;
    }
    assert_int_equal(lm_tokenizer_decode(tokenizer, ids, tokens.count, false, true, &back, &length, NULL),
                     TEMPER_OK);
    assert_string_equal(back, text);
    free(back);
    free(ids);
    lm_tokens_free(&tokens);
}

/* Characters merged by a list, bytes for what has no entry, a space put before each run of text. */
static void test_marked_merges(void **state) {
    memory_files files = {0};
    json_t *root = marked_tokenizer(
        "{\"type\": \"BPE\", \"byte_fallback\": true, \"unk_token\": \"<unk>\", \"fuse_unk\": true, "
        "\"vocab\": "
        "{\"<unk>\": 0, \"<s>\": 1, \"\\u2581\": 2, \"h\": 3, \"e\": 4, \"\\u2581h\": 5, \"\\u2581he\": 6}, "
        "\"merges\": [\"\\u2581 h\", \"\\u2581h e\"]}");
    (void)state;
    add_byte_tokens(json_object_get(json_object_get(root, "model"), "vocab"), 10);
    memory_put_json(&files, "tokenizer.json", root);
    memory_put_text(&files, "tokenizer_config.json", "{\"bos_token\": \"<s>\"}");
    lm_tokenizer *tokenizer = open_set(&files);
    check_ids(tokenizer, "he he  hh", NULL, (const int32_t[]){6, 6, 2, 5, 3}, 5);
    check_ids(tokenizer, "\xC3\xA9", NULL, (const int32_t[]){2, 10 + 0xC3, 10 + 0xA9}, 3);
    check_ids(tokenizer, "<s>", NULL, (const int32_t[]){2, 10 + '<', 10 + 's', 10 + '>'}, 4);
    check_ids(tokenizer, "he<s>he", (const uint8_t *)"1111111", (const int32_t[]){6, 1, 6}, 3);
    check_decoded(tokenizer, "he \xE2\x96\x81 h\xC3\xA9");
    check_decoded(tokenizer, "  he");
    assert_true(lm_tokenizer_adds_bos(tokenizer));
    size_t count;
    assert_int_equal(*lm_tokenizer_before(tokenizer, &count), 1);
    assert_int_equal(count, 1);
    lm_tokenizer_close(tokenizer);
    memory_free(&files);
}

/* The likeliest way to cut a word, over the way that takes the longest entry first. */
static void test_unigram(void **state) {
    memory_files files = {0};
    json_t *root = marked_tokenizer("{\"type\": \"Unigram\", \"unk_id\": 0, \"byte_fallback\": false, "
                                    "\"vocab\": [[\"<unk>\", 0], [\"<s>\", "
                                    "0], [\"\\u2581\", -2], [\"a\", -3], [\"b\", -3], [\"\\u2581a\", -4], "
                                    "[\"ab\", -1.5], [\"\\u2581ab\", "
                                    "-9]]}");
    (void)state;
    memory_put_json(&files, "tokenizer.json", root);
    lm_tokenizer *tokenizer = open_set(&files);
    check_ids(tokenizer, "ab", NULL, (const int32_t[]){2, 6}, 2);
    check_ids(tokenizer, "a b", NULL, (const int32_t[]){5, 2, 4}, 3);
    check_ids(tokenizer, "b\xC3\xA9xa", NULL, (const int32_t[]){2, 4, 0, 3}, 4);
    lm_tokens tokens = encode(tokenizer, "b\xC3\xA9xa", 5, NULL);
    assert_int_equal(tokens.items[2].start, 1);
    assert_int_equal(tokens.items[2].end, 4);
    lm_tokens_free(&tokens);
    lm_tokenizer_close(tokenizer);
    memory_free(&files);
}

/* What normalizers do, and that places stay the caller's. */
static void test_normalizers(void **state) {
    static const struct {
        const char *normalizer, *text, *same_as;
    } cases[] = {
        {"{\"type\": \"NFC\"}", "he\xCC\x81he", "h\xC3\xA9he"},
        {"{\"type\": \"NFD\"}", "h\xC3\xA9he", "he\xCC\x81he"},
        {"{\"type\": \"NFKC\"}", "\xEF\xBC\xA8\xEF\xAC\x81 \xEA\xB0\x80\xE1\x86\xA8", "Hfi \xEA\xB0\x81"},
        {"{\"type\": \"NFKD\"}", "\xEF\xAC\x81\xC3\xA9", "fie\xCC\x81"},
        {"{\"type\": \"Lowercase\"}", "HE\xC3\x89", "he\xC3\xA9"},
        {"{\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": true}", " \t he \n", "he"},
        {"{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFD\"}, {\"type\": \"StripAccents\"}]}",
         "h\xC3\xA9", "he"},
        {"{\"type\": \"Replace\", \"pattern\": {\"String\": \"ll\"}, \"content\": \"e\"}", "hll", "he"},
        {"{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"x+\"}, \"content\": \"e\"}", "hxxxhx", "hehe"},
        {"{\"type\": \"Prepend\", \"prepend\": \"h\"}", "e", "he"},
        {"{\"type\": \"Nmt\"}",
         "h\x01"
         "e\xE2\x80\x8Bhe",
         "he he"},
    };
    memory_files plain = {0};
    (void)state;
    smollm_make(&plain);
    lm_tokenizer *reference = open_set(&plain);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memory_files files = {0};
        json_t *root = smollm_tokenizer(), *step = json_loads(cases[i].normalizer, 0, NULL);
        assert_non_null(step);
        json_object_set_new(root, "normalizer", step);
        memory_put_json(&files, "tokenizer.json", root);
        lm_tokenizer *tokenizer = open_set(&files);
        lm_tokens got = encode(tokenizer, cases[i].text, strlen(cases[i].text), NULL);
        lm_tokens wanted = encode(reference, cases[i].same_as, strlen(cases[i].same_as), NULL);
        size_t at = 0;
        assert_int_equal(got.count, wanted.count);
        for (size_t j = 0; j < got.count; j++) {
            assert_int_equal(got.items[j].id, wanted.items[j].id);
            assert_true(got.items[j].start <= got.items[j].end && got.items[j].end >= at);
            at = got.items[j].end;
        }
        assert_true(at <= strlen(cases[i].text));
        lm_tokens_free(&got);
        lm_tokens_free(&wanted);
        lm_tokenizer_close(tokenizer);
        memory_free(&files);
    }
    lm_tokenizer_close(reference);
    memory_free(&plain);
}

/* Pre-tokenizers, seen through a vocabulary that has "he" and no merge across a cut. */
static void test_cuts(void **state) {
    static const struct {
        const char *step, *text;
        int32_t ids[8];
        size_t count;
    } cases[] = {
        {"{\"type\": \"Split\", \"pattern\": {\"String\": \"h\"}, \"behavior\": \"Isolated\"}",
         "hehe",
         {88, 85, 88, 85},
         4},
        {"{\"type\": \"Split\", \"pattern\": {\"String\": \"h\"}, \"behavior\": \"MergedWithNext\"}",
         "hehhe",
         {273, 88, 273},
         3},
        {"{\"type\": \"Split\", \"pattern\": {\"String\": \"h\"}, \"behavior\": \"MergedWithPrevious\"}",
         "ehe",
         {85, 88, 85},
         3},
        {"{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[xy]\"}, \"behavior\": \"Removed\"}",
         "hexyhxe",
         {273, 88, 85},
         3},
        {"{\"type\": \"Split\", \"pattern\": {\"Regex\": \"he|x\"}, \"behavior\": \"Removed\", \"invert\": "
         "true}",
         "yyhezzx",
         {273, 104},
         2},
        {"{\"type\": \"WhitespaceSplit\"}", " he\t\nh e ", {273, 88, 85}, 3},
        {"{\"type\": \"Whitespace\"}", " he  h!!e", {273, 88, 17, 17, 85}, 5},
        {"{\"type\": \"Punctuation\"}", "he!h", {273, 17, 88}, 3},
        {"{\"type\": \"Digits\", \"individual_digits\": false}", "he11he", {273, 33, 33, 273}, 4},
        {"{\"type\": \"CharDelimiterSplit\", \"delimiter\": \"-\"}", "h-e-he", {88, 85, 273}, 3},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memory_files files = {0};
        json_t *root = smollm_tokenizer(), *step = json_loads(cases[i].step, 0, NULL);
        assert_non_null(step);
        json_object_set_new(root, "pre_tokenizer",
                            json_pack("{s:s, s:[o, {s:s, s:b, s:b}]}", "type", "Sequence", "pretokenizers",
                                      step, "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 0));
        memory_put_json(&files, "tokenizer.json", root);
        lm_tokenizer *tokenizer = open_set(&files);
        check_ids(tokenizer, cases[i].text, NULL, cases[i].ids, cases[i].count);
        lm_tokenizer_close(tokenizer);
        memory_free(&files);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smollm),
        cmocka_unit_test(test_smollm_template),
        cmocka_unit_test(test_byte_vocabulary),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_bos_by_post_processor),
        cmocka_unit_test(test_added_token_manners),
        cmocka_unit_test(test_marked_merges),
        cmocka_unit_test(test_unigram),
        cmocka_unit_test(test_normalizers),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_long_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

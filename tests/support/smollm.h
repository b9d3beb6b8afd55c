/* smollm.h: a small model in the very form of SmolLM2-135M-Instruct's release: the same keys in config.json,
 * generation_config.json, tokenizer.json, tokenizer_config.json and special_tokens_map.json, with fewer layers and a
 * vocabulary of the 17 special tokens, the 256 bytes and a few merges. */
#ifndef TEMPER_TESTS_SMOLLM_H
#define TEMPER_TESTS_SMOLLM_H

#include "memory_files.h"

#include <jansson.h>

static const char smollm_config[] =
    "{\n"
    "  \"architectures\": [\"LlamaForCausalLM\"],\n"
    "  \"attention_bias\": false,\n"
    "  \"attention_dropout\": 0.0,\n"
    "  \"bos_token_id\": 1,\n"
    "  \"eos_token_id\": 2,\n"
    "  \"hidden_act\": \"silu\",\n"
    "  \"hidden_size\": 12,\n"
    "  \"initializer_range\": 0.041666666666666664,\n"
    "  \"intermediate_size\": 20,\n"
    "  \"is_llama_config\": true,\n"
    "  \"max_position_embeddings\": 8192,\n"
    "  \"mlp_bias\": false,\n"
    "  \"model_type\": \"llama\",\n"
    "  \"num_attention_heads\": 3,\n"
    "  \"num_hidden_layers\": 2,\n"
    "  \"num_key_value_heads\": 1,\n"
    "  \"pad_token_id\": 2,\n"
    "  \"pretraining_tp\": 1,\n"
    "  \"rms_norm_eps\": 1e-05,\n"
    "  \"rope_interleaved\": false,\n"
    "  \"rope_scaling\": null,\n"
    "  \"rope_theta\": 100000,\n"
    "  \"tie_word_embeddings\": true,\n"
    "  \"torch_dtype\": \"bfloat16\",\n"
    "  \"transformers_version\": \"4.42.3\",\n"
    "  \"transformers.js_config\": {\n"
    "    \"kv_cache_dtype\": {\"q4f16\": \"float16\", \"fp16\": \"float16\"}\n"
    "  },\n"
    "  \"use_cache\": true,\n"
    "  \"vocab_size\": 277\n"
    "}\n";

static const char smollm_generation[] =
    "{\"_from_model_config\": true, \"bos_token_id\": 1, \"eos_token_id\": 2, \"pad_token_id\": 2, "
    "\"transformers_version\": \"4.42.3\"}";

static const char *const smollm_specials[] = {
    "<|endoftext|>",    "<|im_start|>",    "<|im_end|>",     "<repo_name>",    "<reponame>",
    "<file_sep>",       "<filename>",      "<gh_stars>",     "<issue_start>",  "<issue_comment>",
    "<issue_closed>",   "<jupyter_start>", "<jupyter_text>", "<jupyter_code>", "<jupyter_output>",
    "<jupyter_script>", "<empty_output>"};

static const char smollm_template[] = "{% for message in messages %}{% if loop.first and messages[0]['role'] "
                                      "!= 'system' %}{{ '<|im_start|>system\\nYou "
                                      "are a helpful AI assistant named SmolLM, trained by Hugging "
                                      "Face<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + "
                                      "message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
                                      "'\\n'}}{% endfor %}{% if add_generation_prompt "
                                      "%}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/* Symbols of GPT-2's byte-level alphabet in the order of its vocabulary: printable bytes first. */
static inline void smollm_alphabet(char symbols[256][3]) {
    unsigned next = 0, shifted = 256;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            int printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
            if (printable == (pass == 0)) {
                unsigned code = printable ? byte : shifted++;
                symbols[next][0] = (char)(code < 128 ? code : 0xC0 | code >> 6);
                symbols[next][1] = (char)(code < 128 ? 0 : 0x80 | (code & 63));
                symbols[next++][2] = 0;
            }
        }
    }
}

static inline json_t *smollm_tokenizer(void) {
    static const char *const merges[][2] = {{"h", "e"}, {"l", "l"}, {"he", "ll"}, {"\xC4\xA0", "w"}};
    static const char *const merged[] = {"he", "ll", "hell", "\xC4\xA0w"};
    json_t *vocab = json_object(), *added = json_array(), *list = json_array();
    char symbols[256][3];
    json_int_t id = 0;
    for (size_t i = 0; i < 17; i++, id++) {
        json_object_set_new(vocab, smollm_specials[i], json_integer(id));
        json_array_append_new(added, json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content",
                                               smollm_specials[i], "single_word", 0, "lstrip", 0, "rstrip", 0,
                                               "normalized", 0, "special", 1));
    }
    smollm_alphabet(symbols);
    for (size_t i = 0; i < 256; i++, id++) {
        json_object_set_new(vocab, symbols[i], json_integer(id));
    }
    for (size_t i = 0; i < 4; i++, id++) {
        char line[16];
        snprintf(line, sizeof line, "%s %s", merges[i][0], merges[i][1]);
        json_object_set_new(vocab, merged[i], json_integer(id));
        json_array_append_new(list, json_string(line));
    }
    json_t *model = json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                              "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                              "byte_fallback", 0, "ignore_merges", 0, "vocab", vocab, "merges", list);
    json_t *split = json_pack("{s:s, s:[{s:s, s:b}, {s:s, s:b, s:b, s:b}]}", "type", "Sequence",
                              "pretokenizers", "type", "Digits", "individual_digits", 1, "type", "ByteLevel",
                              "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1);
    return json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:n, s:{s:s, s:b, s:b, s:b}, s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", added, "normalizer", "pre_tokenizer", split,
                     "post_processor", "decoder", "type", "ByteLevel", "add_prefix_space", 1, "trim_offsets",
                     1, "use_regex", 1, "model", model);
}

static inline json_t *smollm_tokenizer_config(void) {
    json_t *decoder = json_object();
    for (size_t i = 0; i < 17; i++) {
        char id[8];
        snprintf(id, sizeof id, "%zu", i);
        json_object_set_new(decoder, id,
                            json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "content", smollm_specials[i],
                                      "lstrip", 0, "normalized", 0, "rstrip", 0, "single_word", 0, "special",
                                      1));
    }
    return json_pack("{s:b, s:o, s:[s,s], s:s, s:s, s:b, s:s, s:i, s:s, s:s, s:s, s:i}", "add_prefix_space",
                     0, "added_tokens_decoder", decoder, "additional_special_tokens", "<|im_start|>",
                     "<|im_end|>", "bos_token", "<|im_start|>", "chat_template", smollm_template,
                     "clean_up_tokenization_spaces", 0, "eos_token", "<|im_end|>", "model_max_length", 8192,
                     "pad_token", "<|im_end|>", "tokenizer_class", "GPT2Tokenizer", "unk_token",
                     "<|endoftext|>", "vocab_size", 277);
}

static inline void memory_put_json(memory_files *files, const char *name, json_t *root) {
    char *text = json_dumps(root, JSON_INDENT(2));
    assert_non_null(text);
    memory_put_text(files, name, text);
    free(text);
    json_decref(root);
}

/* The whole folder; weights in F32. */
static inline void smollm_make(memory_files *files) {
    lm_config config;
    memory_tensors tensors;
    assert_int_equal(lm_config_parse(smollm_config, sizeof smollm_config - 1, &config, NULL), TEMPER_OK);
    memory_put_text(files, "config.json", smollm_config);
    memory_put_text(files, "generation_config.json", smollm_generation);
    memory_put_json(files, "tokenizer.json", smollm_tokenizer());
    memory_put_json(files, "tokenizer_config.json", smollm_tokenizer_config());
    memory_put_text(
        files, "special_tokens_map.json",
        "{\"additional_special_tokens\": [\"<|im_start|>\", \"<|im_end|>\"], \"bos_token\": {\"content\": "
        "\"<|im_start|>\", \"lstrip\": false}, \"eos_token\": {\"content\": \"<|im_end|>\"}, "
        "\"unk_token\": {\"content\": \"<|endoftext|>\"}}");
    memory_make_tensors(&tensors, &config);
    memory_put_tensors(files, "model.safetensors", &tensors);
    memory_free_tensors(&tensors);
}

#endif

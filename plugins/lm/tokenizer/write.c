/* write.c: the tokenizer files of a model with the byte vocabulary.
 *
 * Invariant: the text is a function of the arguments alone, and lm_tokenizer_open reads it back. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static json_t *byte_level(bool use_regex) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                     "use_regex", (int)use_regex);
}

static json_t *added_token(const char *text, size_t id) {
    return json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id, "content", text,
                     "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
}

char *lm_tokenizer_write_bytes(const char *const *specials, size_t count) {
    json_t *vocab = json_object(), *added = json_array();
    char *text = NULL;
    for (unsigned byte = 0; byte < 256; byte++) {
        char symbol[3];
        lm_byte_level_symbol((uint8_t)byte, symbol);
        json_object_set_new(vocab, symbol, json_integer(byte));
    }
    for (size_t i = 0; i < count; i++) {
        if (json_array_append_new(added, added_token(specials[i], 256 + i)) ||
            json_object_set_new(vocab, specials[i], json_integer(256 + (json_int_t)i))) {
            json_decref(vocab);
            json_decref(added);
            return NULL;
        }
    }
    json_t *model = json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                              "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                              "byte_fallback", 0, "ignore_merges", 0, "vocab", vocab, "merges", json_array());
    json_t *root =
        json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:n, s:o, s:o}", "version", "1.0", "truncation", "padding",
                  "added_tokens", added, "normalizer", "pre_tokenizer", byte_level(false), "post_processor",
                  "decoder", byte_level(false), "model", model);
    if (root != NULL) {
        text = json_dumps(root, JSON_INDENT(2));
    }
    json_decref(root);
    return text;
}

char *lm_tokenizer_config_write(const char *bos, const char *eos, const char *chat_template, size_t context) {
    json_t *root = json_object();
    char *text = NULL;
    bool failed = json_object_set_new(root, "tokenizer_class", json_string("PreTrainedTokenizerFast")) != 0;
    failed = failed || json_object_set_new(root, "clean_up_tokenization_spaces", json_false()) != 0;
    failed = failed || json_object_set_new(root, "add_bos_token", json_false()) != 0;
    failed = failed || json_object_set_new(root, "model_max_length", json_integer((json_int_t)context)) != 0;
    failed = failed || (bos != NULL && json_object_set_new(root, "bos_token", json_string(bos)) != 0);
    failed = failed || (eos != NULL && json_object_set_new(root, "eos_token", json_string(eos)) != 0);
    failed = failed || (chat_template != NULL &&
                        json_object_set_new(root, "chat_template", json_string(chat_template)) != 0);
    if (!failed) {
        text = json_dumps(root, JSON_INDENT(2));
    }
    json_decref(root);
    return text;
}

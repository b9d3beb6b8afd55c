/* load_json.c: tokenizer.json (Hugging Face tokenizers) of the byte-level BPE kind.
 *
 * Invariant: every part of the file that could change tokens is understood, or refused by name. */
#include "../files/internal.h"
#include "internal.h"
#include "load.h"

#include <stdlib.h>
#include <string.h>

static const char *type_of(const json_t *part) {
    const char *type = json_string_value(json_object_get(part, "type"));
    return type == NULL ? "(none)" : type;
}

static bool is_empty(const json_t *value) {
    return value == NULL || json_is_null(value) || json_is_false(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_number(value) && json_number_value(value) == 0.0);
}

static temper_status check_byte_level(const json_t *part, const char *file, temper_error *error) {
    if (strcmp(type_of(part), "ByteLevel") != 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "%s: pre_tokenizer: \"%.60s\" is not supported; ByteLevel, or "
                           "Digits and then ByteLevel, is",
                           file, type_of(part));
    }
    if (json_is_true(json_object_get(part, "add_prefix_space"))) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "%s: pre_tokenizer: add_prefix_space is true, so text would not "
                           "come back as it was",
                           file);
    }
    return TEMPER_OK;
}

static temper_status read_split(const json_t *part, const char *file, lm_split *out, temper_error *error) {
    temper_status status;
    if (strcmp(type_of(part), "Sequence") != 0) {
        status = check_byte_level(part, file, error);
        *out = json_is_false(json_object_get(part, "use_regex")) ? LM_SPLIT_NONE : LM_SPLIT_GPT2;
        return status;
    }
    const json_t *list = json_object_get(part, "pretokenizers");
    const json_t *digits = json_array_get(list, 0), *bytes = json_array_get(list, json_array_size(list) - 1);
    if (json_array_size(list) == 1) {
        return read_split(bytes, file, out, error);
    }
    if (json_array_size(list) != 2 || strcmp(type_of(digits), "Digits") != 0 ||
        !json_is_true(json_object_get(digits, "individual_digits")) ||
        json_is_false(json_object_get(bytes, "use_regex"))) {
        return temper_fail(
            error, TEMPER_UNSUPPORTED,
            "%s: pre_tokenizer: a Sequence of %zu beginning with \"%.60s\" is not supported; Digits "
            "(individual_digits) and then ByteLevel is",
            file, json_array_size(list), type_of(digits));
    }
    *out = LM_SPLIT_DIGITS_GPT2;
    return check_byte_level(bytes, file, error);
}

/* What is put around a text: nothing, or bos before it. */
static temper_status read_post_processor(const json_t *part, const char *file, bool *adds_bos,
                                         temper_error *error) {
    if (part == NULL || json_is_null(part) || strcmp(type_of(part), "ByteLevel") == 0) {
        return TEMPER_OK;
    }
    if (strcmp(type_of(part), "Sequence") == 0) {
        size_t i;
        json_t *inner;
        json_array_foreach(json_object_get(part, "processors"), i, inner) {
            temper_status status =
                strcmp(type_of(inner), "Sequence") == 0
                    ? temper_fail(error, TEMPER_UNSUPPORTED, "%s: post_processor: nested", file)
                    : read_post_processor(inner, file, adds_bos, error);
            if (status) {
                return status;
            }
        }
        return TEMPER_OK;
    }
    const json_t *single = json_object_get(part, "single");
    size_t last = json_array_size(single) - 1;
    if (strcmp(type_of(part), "TemplateProcessing") != 0 || json_array_size(single) < 1 || last > 1 ||
        json_object_get(json_array_get(single, last), "Sequence") == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "%s: post_processor: \"%.60s\" that adds more than one token before a text", file,
                           type_of(part));
    }
    *adds_bos = last == 1;
    return TEMPER_OK;
}

/* added_tokens to {text: id}; the special ones are noted among `texts`. */
static temper_status read_added(const json_t *list, const char *file, json_t *added, json_t *special,
                                temper_error *error) {
    size_t i;
    json_t *token;
    json_array_foreach((json_t *)(uintptr_t)list, i, token) {
        const json_t *text = json_object_get(token, "content");
        int64_t id;
        if (!json_is_string(text) || !lm_json_integer(json_object_get(token, "id"), &id) || id < 0) {
            return temper_fail(error, TEMPER_INVALID, "%s: added_tokens[%zu] needs a content and an id", file,
                               i);
        }
        if (json_is_true(json_object_get(token, "lstrip")) ||
            json_is_true(json_object_get(token, "rstrip")) ||
            json_is_true(json_object_get(token, "single_word"))) {
            return temper_fail(
                error, TEMPER_UNSUPPORTED,
                "%s: token \"%.60s\" has lstrip, rstrip or single_word, which are not supported", file,
                json_string_value(text));
        }
        json_object_set_new(added, json_string_value(text), json_integer(id));
        if (json_is_true(json_object_get(token, "special"))) {
            json_object_set_new(special, json_string_value(text), json_true());
        }
    }
    return TEMPER_OK;
}

static temper_status check_model(const json_t *model, const char *file, temper_error *error) {
    static const char *const off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
                                      "byte_fallback"};
    if (strcmp(type_of(model), "BPE") != 0 && json_object_get(model, "type") != NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s: model: type \"%.60s\" is not supported; BPE is",
                           file, type_of(model));
    }
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        if (!is_empty(json_object_get(model, off[i]))) {
            return temper_fail(error, TEMPER_UNSUPPORTED, "%s: model: %s is set, which is not supported",
                               file, off[i]);
        }
    }
    if (!json_is_object(json_object_get(model, "vocab")) ||
        !json_is_array(json_object_get(model, "merges"))) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s: model: vocab (an object) or merges (a list) is missing", file);
    }
    return TEMPER_OK;
}

static temper_status check_frame(const json_t *root, const char *file, temper_error *error) {
    const json_t *normalizer = json_object_get(root, "normalizer"),
                 *decoder = json_object_get(root, "decoder");
    if (normalizer != NULL && !json_is_null(normalizer)) {
        return temper_fail(
            error, TEMPER_UNSUPPORTED,
            "%s: normalizer: \"%.60s\" is not supported (text would be changed before it is encoded)", file,
            type_of(normalizer));
    }
    if (strcmp(type_of(decoder), "ByteLevel") != 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s: decoder: \"%.60s\" is not supported; ByteLevel is",
                           file, type_of(decoder));
    }
    return TEMPER_OK;
}

/* Merges are "left right", or [left, right] since a token may hold a space. */
static temper_status read_merges(lm_tokenizer *self, const json_t *merges, const char *file,
                                 temper_error *error) {
    size_t rank;
    json_t *merge;
    temper_status status = lm_vocabulary_expect_merges(self, json_array_size(merges), error);
    json_array_foreach((json_t *)(uintptr_t)merges, rank, merge) {
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        if (json_is_string(merge)) {
            status =
                lm_load_merge_line(self, json_string_value(merge), json_string_length(merge), rank, error);
        } else if (json_array_size(merge) == 2 && json_is_string(left) && json_is_string(right)) {
            status = lm_load_merge(self, json_string_value(left), json_string_length(left),
                                   json_string_value(right), json_string_length(right), rank, error);
        } else {
            status = temper_fail(error, TEMPER_INVALID, "merge %zu is not two texts", rank);
        }
        if (status) {
            return temper_fail_in(error, status, "%s", file);
        }
    }
    return status;
}

static temper_status load(const json_t *root, lm_specials *specials, const char *file, lm_tokenizer **out,
                          temper_error *error) {
    const json_t *model = json_object_get(root, "model");
    json_t *added = json_object();
    lm_tokenizer *self = NULL;
    lm_split split = LM_SPLIT_GPT2;
    bool adds_bos = false;
    temper_status status;
    if ((status = check_frame(root, file, error)) || (status = check_model(model, file, error)) ||
        (status = read_split(json_object_get(root, "pre_tokenizer"), file, &split, error)) ||
        (status = read_post_processor(json_object_get(root, "post_processor"), file, &adds_bos, error)) ||
        (status = read_added(json_object_get(root, "added_tokens"), file, added, lm_specials_texts(specials),
                             error)) ||
        (status = lm_load_vocab(json_object_get(model, "vocab"), added, specials, file, &self, error)) ||
        (status = read_merges(self, json_object_get(model, "merges"), file, error)) ||
        (status = lm_vocabulary_finish(self, error))) {
        goto out;
    }
    self->split = split;
    self->adds_bos = adds_bos;
    self->whole_words = json_is_true(json_object_get(model, "ignore_merges"));
    lm_specials_apply(specials, self);
    *out = self;
    self = NULL;
out:
    lm_tokenizer_close(self);
    json_decref(added);
    return status;
}

temper_status lm_load_tokenizer_json(const lm_file_set *files, const lm_file *file, lm_tokenizer **out,
                                     temper_error *error) {
    lm_specials *specials = NULL;
    json_t *root = NULL;
    temper_status status = lm_specials_read(files, &specials, error);
    *out = NULL;
    if (!status) {
        status = lm_json_parse(file->data, file->size, file->name, &root, error);
    }
    if (!status) {
        status = load(root, specials, file->name, out, error);
    }
    json_decref(root);
    lm_specials_free(specials);
    return status;
}

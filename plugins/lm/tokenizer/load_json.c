/* load_json.c: tokenizer.json (Hugging Face tokenizers): its added tokens and its model; the steps are load_steps.c's.
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

/* added_tokens to {text: id}; the special ones are noted among `texts`. */
static temper_status read_added(const json_t *list, const char *file, json_t *added, json_t *match,
                                json_t *special, temper_error *error) {
    size_t i;
    json_t *token;
    json_array_foreach((json_t *)(uintptr_t)list, i, token) {
        const json_t *text = json_object_get(token, "content");
        int64_t id;
        if (!json_is_string(text) || !lm_json_integer(json_object_get(token, "id"), &id) || id < 0) {
            return temper_fail(error, TEMPER_INVALID, "%s: added_tokens[%zu] needs a content and an id", file,
                               i);
        }
        json_object_set_new(match, json_string_value(text), json_integer(lm_added_flags(token)));
        json_object_set_new(added, json_string_value(text), json_integer(id));
        if (json_is_true(json_object_get(token, "special"))) {
            json_object_set_new(special, json_string_value(text), json_true());
        }
    }
    return TEMPER_OK;
}

static temper_status check_model(const json_t *model, const char *file, temper_error *error) {
    static const char *const off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    const char *type = json_object_get(model, "type") != NULL     ? type_of(model)
                       : json_object_get(model, "merges") != NULL ? "BPE"
                                                                  : "Unigram";
    const json_t *vocab = json_object_get(model, "vocab");
    if (strcmp(type, "Unigram") == 0) {
        return json_is_array(vocab)
                   ? TEMPER_OK
                   : temper_fail(error, TEMPER_INVALID,
                                 "%s: model: vocab (a list of [text, score]) is missing", file);
    }
    if (strcmp(type, "BPE") != 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "%s: model: type \"%.60s\" is not supported; BPE and Unigram are", file, type);
    }
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        if (!is_empty(json_object_get(model, off[i]))) {
            return temper_fail(error, TEMPER_UNSUPPORTED, "%s: model: %s is set, which is not supported",
                               file, off[i]);
        }
    }
    return json_is_object(vocab) && json_is_array(json_object_get(model, "merges"))
               ? TEMPER_OK
               : temper_fail(error, TEMPER_INVALID,
                             "%s: model: vocab (an object) or merges (a list) is missing", file);
}

/* Merges are "left right", or [left, right] since a token may hold a space. */
static temper_status read_merges(lm_tokenizer *self, lm_writing writing, const json_t *merges,
                                 const char *file, temper_error *error) {
    size_t rank;
    json_t *merge;
    temper_status status = lm_vocabulary_expect_merges(self, json_array_size(merges), error);
    json_array_foreach((json_t *)(uintptr_t)merges, rank, merge) {
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        if (json_is_string(merge)) {
            status = lm_load_merge_line(self, writing, json_string_value(merge), json_string_length(merge),
                                        rank, error);
        } else if (json_array_size(merge) == 2 && json_is_string(left) && json_is_string(right)) {
            status = lm_load_merge(self, writing, json_string_value(left), json_string_length(left),
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

/* The token for what no other covers. */
static temper_status read_unknown(lm_tokenizer *self, const json_t *model, const char *file,
                                  temper_error *error) {
    const json_t *text = json_object_get(model, "unk_token"), *id = json_object_get(model, "unk_id");
    int64_t number = -1;
    if (json_is_string(text)) {
        for (size_t i = 0; i < self->size && number < 0; i++) {
            const lm_entry *entry = &self->entries[i];
            number = entry->kind != LM_ABSENT && entry->length == json_string_length(text) &&
                             memcmp(entry->bytes, json_string_value(text), entry->length) == 0
                         ? (int64_t)i
                         : -1;
        }
    } else if (id != NULL && !json_is_null(id)) {
        lm_json_integer(id, &number);
        if (number < 0 || (uint64_t)number >= self->size) {
            return temper_fail(error, TEMPER_INVALID, "%s: model: unk_id is no id of the vocabulary", file);
        }
    }
    self->unknown = (int32_t)number;
    return TEMPER_OK;
}

static temper_status load_model(lm_tokenizer *self, const json_t *model, lm_writing writing, const char *file,
                                temper_error *error) {
    temper_status status = read_unknown(self, model, file, error);
    if (status) {
        return status;
    }
    if (json_is_array(json_object_get(model, "vocab"))) {
        self->method = LM_UNIGRAM;
        self->fuses_unknown = true;
        return TEMPER_OK;
    }
    self->whole_words = json_is_true(json_object_get(model, "ignore_merges"));
    self->fuses_unknown = json_is_true(json_object_get(model, "fuse_unk"));
    return read_merges(self, writing, json_object_get(model, "merges"), file, error);
}

static temper_status load(const json_t *root, lm_specials *specials, const char *file, lm_tokenizer **out,
                          temper_error *error) {
    const json_t *model = json_object_get(root, "model");
    json_t *added = json_object(), *match = json_object();
    lm_tokenizer *self = NULL;
    lm_steps steps = lm_steps_survey(root);
    lm_vocab_source source = {.file = file,
                              .writing = steps.byte_level ? LM_WRITES_BYTES
                                         : steps.marked   ? LM_WRITES_MARKED
                                                          : LM_WRITES_PLAIN,
                              .byte_fallback = json_is_true(json_object_get(model, "byte_fallback")),
                              .added = added,
                              .match = match,
                              .specials = specials};
    temper_status status = check_model(model, file, error);
    if (!status && source.byte_fallback && steps.byte_level) {
        status =
            temper_fail(error, TEMPER_UNSUPPORTED,
                        "%s: model: byte_fallback and byte-level symbols together are not supported", file);
    }
    if (!status && steps.byte_level && json_is_array(json_object_get(model, "vocab"))) {
        status = temper_fail(error, TEMPER_UNSUPPORTED,
                             "%s: model: Unigram over byte-level symbols is not supported", file);
    }
    if (status ||
        (status = read_added(json_object_get(root, "added_tokens"), file, added, match,
                             lm_specials_texts(specials), error)) ||
        (status = lm_load_vocab(json_object_get(model, "vocab"), &source, &self, error)) ||
        (status = load_model(self, model, source.writing, file, error)) ||
        (status = lm_load_steps(root, steps, self, file, error)) ||
        (status = lm_vocabulary_finish(self, error)) ||
        (status = lm_load_frame(json_object_get(root, "post_processor"), self, file, error))) {
        goto out;
    }
    lm_specials_apply(specials, self);
    *out = self;
    self = NULL;
out:
    lm_tokenizer_close(self);
    json_decref(added);
    json_decref(match);
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

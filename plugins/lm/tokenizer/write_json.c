/* write_json.c: a vocabulary, read from a GGUF as a rule, as a tokenizer.json.
 *
 * Invariant: load_json.c, and Hugging Face's tokenizers, make the same tokens of a text as the vocabulary that was
 * written. */
#include "families.h"
#include "write_text.h"

#include <stdlib.h>
#include <string.h>

static json_t *written(const lm_tokenizer *self, int32_t id, char *room) {
    return json_stringn(room, lm_written_token(self, id, room));
}

static bool add_tokens(const lm_tokenizer *self, char *room, json_t *vocab, json_t *added) {
    bool made = true;
    for (size_t id = 0; made && id < self->size; id++) {
        int kind = self->entries[id].kind;
        size_t length = kind == LM_ABSENT ? 0 : lm_written_token(self, (int32_t)id, room);
        if (kind == LM_ABSENT) {
            continue;
        }
        room[length] = 0;
        made = strlen(room) == length && json_object_get(vocab, room) == NULL &&
               json_object_set_new(vocab, room, json_integer((json_int_t)id)) == 0;
        if (made && (kind == LM_ADDED || kind == LM_SPECIAL)) {
            made = json_array_append_new(added, json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id",
                                                          (json_int_t)id, "content", room, "single_word", 0,
                                                          "lstrip", 0, "rstrip", 0, "normalized", 0,
                                                          "special", kind == LM_SPECIAL)) == 0;
        }
    }
    return made;
}

static json_t *byte_level(void) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                     "use_regex", 0);
}

static json_t *split(const char *pattern) {
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", pattern, "behavior",
                     "Isolated", "invert", 0);
}

/* The family's patterns in turn, then bytes to symbols. */
static json_t *pre_tokenizer(const lm_tokenizer *self) {
    const char *name = lm_written_family(self);
    const lm_family *family = lm_family_find(name, strlen(name));
    if (self->merges.used == 0 || family == NULL) {
        return byte_level();
    }
    json_t *steps = json_array();
    for (size_t i = 0; i < LM_FAMILY_PATTERNS && family->patterns[i] != NULL; i++) {
        json_array_append_new(steps, split(family->patterns[i]));
    }
    json_array_append_new(steps, byte_level());
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
}

/* Llama's: a mark before a text, marks for spaces; and the way back. */
static json_t *mark_normalizer(bool prefix) {
    json_t *steps = json_array();
    if (prefix) {
        json_array_append_new(steps, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", "\xE2\x96\x81"));
    }
    json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ",
                                           "content", "\xE2\x96\x81"));
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", steps);
}

static json_t *mark_decoder(bool prefix) {
    json_t *steps = json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String",
                              "\xE2\x96\x81", "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (prefix) {
        json_array_append_new(
            steps, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    }
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", steps);
}

/* BOS before a text. */
static json_t *frame(const lm_tokenizer *self, char *room) {
    if (!self->adds_bos || self->bos < 0) {
        return json_null();
    }
    room[lm_written_token(self, self->bos, room)] = 0;
    return json_pack(
        "{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}], "
        "s:{s:{s:s, s:[i], s:[s]}}}",
        "type", "TemplateProcessing", "single", "SpecialToken", "id", room, "type_id", 0, "Sequence", "id",
        "A", "type_id", 0, "pair", "SpecialToken", "id", room, "type_id", 0, "Sequence", "id", "A", "type_id",
        0, "Sequence", "id", "B", "type_id", 1, "special_tokens", room, "id", room, "ids", (int)self->bos,
        "tokens", room);
}

static json_t *merge_list(const lm_tokenizer *self, const lm_written_merge *merges, size_t count,
                          char *room) {
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < count; i++) {
        json_t *left = written(self, merges[i].left, room), *right = written(self, merges[i].right, room);
        if (json_array_append_new(list, json_pack("[o, o]", left, right))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *build(const lm_tokenizer *self, const lm_written_merge *merges, size_t count, char *room) {
    json_t *vocab = json_object(), *added = json_array();
    bool prefix = self->prefix != LM_PREFIX_NEVER;
    if (!add_tokens(self, room, vocab, added)) {
        json_decref(vocab);
        json_decref(added);
        return NULL;
    }
    json_t *unknown = self->unknown >= 0 && self->marked ? written(self, self->unknown, room) : json_null();
    json_t *model =
        json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                  unknown, "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", self->marked,
                  "byte_fallback", self->byte_fallback, "ignore_merges", self->whole_words, "vocab", vocab,
                  "merges", merge_list(self, merges, count, room));
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation",
                     "padding", "added_tokens", added, "normalizer",
                     self->marked ? mark_normalizer(prefix) : json_null(), "pre_tokenizer",
                     self->marked ? json_null() : pre_tokenizer(self), "post_processor", frame(self, room),
                     "decoder", self->marked ? mark_decoder(prefix) : byte_level(), "model", model);
}

temper_status lm_tokenizer_write_json(const lm_tokenizer *self, char **out, temper_error *error) {
    lm_written_merge *merges = NULL;
    size_t count = 0;
    json_t *root = NULL;
    temper_status status = lm_written_check(self, error);
    char *room = status ? NULL : malloc(lm_written_size(self) + 1);
    *out = NULL;
    if (!status && room == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory to write a vocabulary");
    }
    status = status ? status : lm_written_merges(self, &merges, &count, error);
    if (!status) {
        root = build(self, merges, count, room);
        *out = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);
    }
    if (!status && *out == NULL) {
        status = temper_fail(
            error, TEMPER_UNSUPPORTED,
            "this vocabulary cannot be a tokenizer.json: two tokens have one text, or a text is not "
            "UTF-8 or holds a zero byte (or there is no memory)");
    }
    json_decref(root);
    free(merges);
    free(room);
    return status;
}

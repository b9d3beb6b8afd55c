/* load_steps.c: what tokenizer.json does to a text before and after the model: normalizer, pre_tokenizer, decoder,
 * post_processor.
 *
 * Invariant: every step that could change tokens is understood, or refused by name. A vocabulary that writes U+2581 for
 * spaces is read with spaces in their place, so the step that would put marks is left out, and a step behind it that
 * looks at spaces sees none. */
#include "../files/internal.h"
#include "load.h"

#include <stdlib.h>
#include <string.h>

static const char mark[] = "\xE2\x96\x81";

struct reader {
    lm_tokenizer *self;
    const char *file;
    lm_steps steps;
    bool marked_yet; /* spaces have become marks */
};

static const char *type_of(const json_t *part) {
    const char *type = json_string_value(json_object_get(part, "type"));
    return type == NULL ? "(none)" : type;
}

static bool is_type(const json_t *part, const char *type) {
    return strcmp(type_of(part), type) == 0;
}

static const char *text_of(const json_t *part, const char *key) {
    const char *text = json_string_value(json_object_get(part, key));
    return text == NULL ? "" : text;
}

static bool is_true(const json_t *part, const char *key, bool otherwise) {
    const json_t *value = json_object_get(part, key);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

/* A part that is one step or a Sequence of them. */
static size_t step_count(const json_t *part, const char *key) {
    return part == NULL || json_is_null(part) ? 0
           : is_type(part, "Sequence")        ? json_array_size(json_object_get(part, key))
                                              : 1;
}

static const json_t *step_at(const json_t *part, const char *key, size_t index) {
    return is_type(part, "Sequence") ? json_array_get(json_object_get(part, key), index) : part;
}

static bool puts_marks(const json_t *step) {
    const json_t *pattern = json_object_get(step, "pattern");
    return is_type(step, "Replace") && strcmp(text_of(pattern, "String"), " ") == 0 &&
           strcmp(text_of(step, "content"), mark) == 0;
}

static bool has_step(const json_t *part, const char *key, const char *type) {
    for (size_t i = 0; i < step_count(part, key); i++) {
        if (is_type(step_at(part, key, i), type)) {
            return true;
        }
    }
    return false;
}

lm_steps lm_steps_survey(const json_t *root) {
    const json_t *normalizer = json_object_get(root, "normalizer"),
                 *words = json_object_get(root, "pre_tokenizer");
    lm_steps steps = {.byte_level = has_step(words, "pretokenizers", "ByteLevel") ||
                                    has_step(normalizer, "normalizers", "ByteLevel")};
    for (size_t i = 0; i < step_count(normalizer, "normalizers"); i++) {
        steps.marked_by_normalizer =
            steps.marked_by_normalizer || puts_marks(step_at(normalizer, "normalizers", i));
    }
    steps.marked =
        !steps.byte_level && (steps.marked_by_normalizer || has_step(words, "pretokenizers", "Metaspace"));
    return steps;
}

static temper_status refuse(const struct reader *self, const char *part, const json_t *step, const char *why,
                            temper_error *error) {
    return temper_fail(error, TEMPER_UNSUPPORTED, "%s: %s: \"%.60s\"%s is not supported", self->file, part,
                       type_of(step), why);
}

static temper_status too_many(const struct reader *self, const char *part, temper_error *error) {
    return temper_fail(error, TEMPER_UNSUPPORTED, "%s: %s: more than %d steps", self->file, part,
                       LM_MAX_STEPS);
}

/* A text of the file, with spaces for marks where the vocabulary has them so; malloc'ed. */
static char *copy(const struct reader *self, const char *text, size_t *length) {
    char *out = malloc(strlen(text) + 1);
    if (out != NULL) {
        *length = strlen(text);
        if (self->steps.marked) {
            *length = lm_unmark(text, *length, out);
        } else {
            memcpy(out, text, *length);
        }
        out[*length] = 0;
    }
    return out;
}

static temper_status no_memory(const struct reader *self, temper_error *error) {
    return temper_fail(error, TEMPER_NO_MEMORY, "%s: no memory", self->file);
}

/* --- normalizer --------------------------------------------------------------------------------------------------- */

static temper_status read_replace(struct reader *self, const json_t *step, temper_error *error) {
    const json_t *pattern = json_object_get(step, "pattern");
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    if (self->steps.marked && puts_marks(step)) {
        self->marked_yet = true;
        return TEMPER_OK;
    }
    if (literal == NULL && regex == NULL) {
        return temper_fail(error, TEMPER_INVALID, "%s: normalizer: Replace without a pattern", self->file);
    }
    if (self->marked_yet && strchr(literal != NULL ? literal : regex, ' ') != NULL) {
        return refuse(self, "normalizer", step, " of a space behind the one that marks spaces", error);
    }
    if (literal != NULL && *literal == 0) {
        return refuse(self, "normalizer", step, " of nothing", error);
    }
    lm_normalizer *made = lm_normalizer_add(self->self, LM_REPLACE);
    if (made == NULL) {
        return too_many(self, "normalizer", error);
    }
    made->content = copy(self, text_of(step, "content"), &made->content_length);
    made->pattern = copy(self, literal != NULL ? literal : regex, &made->pattern_length);
    if (made->content == NULL || made->pattern == NULL) {
        return no_memory(self, error);
    }
    return literal != NULL ? TEMPER_OK
                           : lm_regex_compile(made->pattern, made->pattern_length, &made->regex, error);
}

static temper_status read_prepend(struct reader *self, const json_t *step, temper_error *error) {
    const char *text = text_of(step, "prepend");
    if (self->steps.marked && strcmp(text, mark) == 0) {
        self->self->prefix = self->self->dropped = LM_PREFIX_ALWAYS;
        return TEMPER_OK;
    }
    lm_normalizer *made = lm_normalizer_add(self->self, LM_PREPEND);
    if (made == NULL) {
        return too_many(self, "normalizer", error);
    }
    made->content = copy(self, text, &made->content_length);
    return made->content == NULL ? no_memory(self, error) : TEMPER_OK;
}

static temper_status read_charsmap(struct reader *self, const json_t *step, temper_error *error) {
    const json_t *map = json_object_get(step, "precompiled_charsmap");
    unsigned char *bytes = NULL;
    size_t size = 0;
    if (map == NULL || json_is_null(map) || json_string_length(map) == 0) {
        return TEMPER_OK;
    }
    lm_normalizer *made = lm_normalizer_add(self->self, LM_CHARSMAP);
    if (made == NULL) {
        return too_many(self, "normalizer", error);
    }
    temper_status status = lm_base64(json_string_value(map), json_string_length(map), &bytes, &size, error);
    status = status ? status : lm_charsmap_read(made, bytes, size, error);
    free(bytes);
    return status;
}

static temper_status read_normalizer(struct reader *self, const json_t *step, temper_error *error) {
    static const struct {
        const char *type;
        lm_normalize kind;
    } plain[] = {{"NFC", LM_NFC},
                 {"NFD", LM_NFD},
                 {"NFKC", LM_NFKC},
                 {"NFKD", LM_NFKD},
                 {"Lowercase", LM_LOWERCASE},
                 {"StripAccents", LM_STRIP_ACCENTS},
                 {"Nmt", LM_NMT},
                 {"Strip", LM_STRIP}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (is_type(step, plain[i].type)) {
            lm_normalizer *made = lm_normalizer_add(self->self, plain[i].kind);
            if (made == NULL) {
                return too_many(self, "normalizer", error);
            }
            if (plain[i].kind == LM_STRIP && self->marked_yet) {
                return refuse(self, "normalizer", step, " behind the step that marks spaces", error);
            }
            made->flags = (is_true(step, "strip_left", true) ? LM_LEFT_STRIP : 0) |
                          (is_true(step, "strip_right", true) ? LM_RIGHT_STRIP : 0);
            return TEMPER_OK;
        }
    }
    return is_type(step, "Replace")       ? read_replace(self, step, error)
           : is_type(step, "Prepend")     ? read_prepend(self, step, error)
           : is_type(step, "Precompiled") ? read_charsmap(self, step, error)
           : is_type(step, "ByteLevel")   ? TEMPER_OK
                                          : refuse(self, "normalizer", step, "", error);
}

/* --- pre_tokenizer ------------------------------------------------------------------------------------------------ */

static bool read_behaviour(const json_t *step, lm_behaviour otherwise, lm_behaviour *out) {
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                        "Contiguous"};
    const json_t *value = json_object_get(step, "behavior");
    *out = otherwise;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (json_is_string(value) && strcmp(json_string_value(value), names[i]) == 0) {
            *out = (lm_behaviour)i;
            return true;
        }
    }
    return value == NULL;
}

/* Does a pattern look at spaces (and so see none where they are marked)? Unsure ones count. */
static bool looks_at_spaces(const char *pattern) {
    static const char *const parts[] = {" ", "\\s", "\\S", "\\W", "\\P", "[^", "."};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strstr(pattern, parts[i]) != NULL) {
            return true;
        }
    }
    return false;
}

temper_status lm_load_pattern(lm_tokenizer *self, const char *pattern, size_t length, lm_behaviour behaviour,
                              bool invert, temper_error *error) {
    lm_cut_kind kind = behaviour == LM_ISOLATED || (behaviour == LM_REMOVED && invert)
                           ? lm_split_known(pattern, length)
                           : LM_CUT_REGEX;
    lm_cut *cut = lm_cut_add(self, kind, behaviour);
    if (cut == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "words are cut in more than %d steps", LM_MAX_STEPS);
    }
    cut->invert = invert;
    return kind == LM_CUT_REGEX ? lm_regex_compile(pattern, length, &cut->regex, error) : TEMPER_OK;
}

static temper_status read_literal(struct reader *self, const char *text, lm_behaviour behaviour, bool invert,
                                  temper_error *error) {
    lm_cut *cut = lm_cut_add(self->self, LM_CUT_TEXT, behaviour);
    if (cut == NULL) {
        return too_many(self, "pre_tokenizer", error);
    }
    cut->invert = invert;
    cut->text = copy(self, text, &cut->length);
    return cut->text == NULL ? no_memory(self, error) : TEMPER_OK;
}

static temper_status read_split(struct reader *self, const json_t *step, temper_error *error) {
    const json_t *pattern = json_object_get(step, "pattern");
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    bool invert = is_true(step, "invert", false);
    lm_behaviour behaviour;
    if (!read_behaviour(step, LM_ISOLATED, &behaviour) || (literal == NULL && regex == NULL) ||
        (literal != NULL && *literal == 0)) {
        return temper_fail(error, TEMPER_INVALID, "%s: pre_tokenizer: Split needs a pattern and a behavior",
                           self->file);
    }
    if (literal != NULL && self->marked_yet && strchr(literal, ' ') != NULL && !invert) {
        return TEMPER_OK; /* there are none left */
    }
    if (self->marked_yet && (invert || (regex != NULL && looks_at_spaces(regex)))) {
        return refuse(self, "pre_tokenizer", step, " that looks at spaces behind the step that marks them",
                      error);
    }
    if (literal != NULL) {
        return read_literal(self, literal, behaviour, invert, error);
    }
    size_t length;
    char *text = copy(self, regex, &length);
    temper_status status = text == NULL ? no_memory(self, error)
                                        : lm_load_pattern(self->self, text, length, behaviour, invert, error);
    free(text);
    return status ? temper_fail_in(error, status, "%s: pre_tokenizer: Split", self->file) : TEMPER_OK;
}

static temper_status read_byte_level(struct reader *self, const json_t *step, bool last,
                                     temper_error *error) {
    lm_tokenizer *tokenizer = self->self;
    if (!last) {
        return refuse(self, "pre_tokenizer", step, " before another step", error);
    }
    if (is_true(step, "add_prefix_space", true)) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "%s: pre_tokenizer: add_prefix_space is true, so text would not "
                           "come back as it was",
                           self->file);
    }
    if (!is_true(step, "use_regex", true)) {
        return TEMPER_OK;
    }
    const lm_cut *before = tokenizer->cut_count == 1 ? &tokenizer->cuts[0] : NULL;
    if (before != NULL && before->kind == LM_CUT_DIGITS && before->behaviour == LM_ISOLATED) {
        tokenizer->cuts[0].kind = LM_CUT_DIGITS_GPT2;
        return TEMPER_OK;
    }
    return lm_cut_add(tokenizer, LM_CUT_GPT2, LM_ISOLATED) == NULL ? too_many(self, "pre_tokenizer", error)
                                                                   : TEMPER_OK;
}

static temper_status read_metaspace(struct reader *self, const json_t *step, temper_error *error) {
    const char *scheme = text_of(step, "prepend_scheme");
    if (strcmp(text_of(step, "replacement"), mark) != 0) {
        return refuse(self, "pre_tokenizer", step, " with another replacement than U+2581", error);
    }
    if (self->marked_yet) {
        return refuse(self, "pre_tokenizer", step, " behind a step that marks spaces", error);
    }
    lm_cut *cut = lm_cut_add(self->self, LM_CUT_METASPACE, LM_ISOLATED);
    if (cut == NULL) {
        return too_many(self, "pre_tokenizer", error);
    }
    cut->splits = is_true(step, "split", true);
    cut->prefix = strcmp(scheme, "never") == 0   ? LM_PREFIX_NEVER
                  : strcmp(scheme, "first") == 0 ? LM_PREFIX_FIRST
                  : strcmp(scheme, "always") == 0 || is_true(step, "add_prefix_space", true)
                      ? LM_PREFIX_ALWAYS
                      : LM_PREFIX_NEVER;
    self->self->dropped = cut->prefix;
    self->marked_yet = true;
    return TEMPER_OK;
}

/* Whitespace: runs of word characters and runs of others, without what lies between. */
static const char words_pattern[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]+|[^\\p{"
                                    "Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}"
                                    "\\p{White_Space}]+";

static temper_status read_words(struct reader *self, const json_t *step, bool last, temper_error *error) {
    lm_behaviour behaviour;
    if (is_type(step, "ByteLevel")) {
        return read_byte_level(self, step, last, error);
    }
    if (is_type(step, "Metaspace")) {
        return read_metaspace(self, step, error);
    }
    if (is_type(step, "Split")) {
        return read_split(self, step, error);
    }
    if (is_type(step, "Digits") || is_type(step, "Punctuation")) {
        bool digits = is_type(step, "Digits");
        behaviour = is_true(step, "individual_digits", false) ? LM_ISOLATED : LM_CONTIGUOUS;
        if (!digits && !read_behaviour(step, LM_ISOLATED, &behaviour)) {
            return refuse(self, "pre_tokenizer", step, " with this behavior", error);
        }
        return lm_cut_add(self->self, digits ? LM_CUT_DIGITS : LM_CUT_PUNCTUATION, behaviour) == NULL
                   ? too_many(self, "pre_tokenizer", error)
                   : TEMPER_OK;
    }
    if (self->marked_yet) {
        return refuse(self, "pre_tokenizer", step, " behind the step that marks spaces", error);
    }
    if (is_type(step, "WhitespaceSplit")) {
        return lm_cut_add(self->self, LM_CUT_SPACE, LM_REMOVED) == NULL
                   ? too_many(self, "pre_tokenizer", error)
                   : TEMPER_OK;
    }
    if (is_type(step, "Whitespace")) {
        return lm_load_pattern(self->self, words_pattern, sizeof words_pattern - 1, LM_REMOVED, true, error);
    }
    if (is_type(step, "CharDelimiterSplit") && *text_of(step, "delimiter") != 0) {
        return read_literal(self, text_of(step, "delimiter"), LM_REMOVED, false, error);
    }
    return refuse(self, "pre_tokenizer", step, "", error);
}

/* --- decoder ------------------------------------------------------------------------------------------------------ */

/* Decoding here is writing the entries' bytes one after another; a decoder must say nothing else than that. */
static temper_status check_decoder(struct reader *self, const json_t *decoder, temper_error *error) {
    bool bytes = false, marks = false, fuses = false;
    if (step_count(decoder, "decoders") == 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "%s: decoder: none (which puts a space between tokens) is not supported",
                           self->file);
    }
    for (size_t i = 0; i < step_count(decoder, "decoders"); i++) {
        const json_t *step = step_at(decoder, "decoders", i);
        if (is_type(step, "ByteLevel")) {
            bytes = true;
        } else if (is_type(step, "Metaspace")) {
            marks = fuses = true;
        } else if (is_type(step, "Replace") && strcmp(text_of(step, "content"), " ") == 0 &&
                   strcmp(text_of(json_object_get(step, "pattern"), "String"), mark) == 0) {
            marks = true;
        } else if (is_type(step, "Fuse")) {
            fuses = true;
        } else if (is_type(step, "Strip") && strcmp(text_of(step, "content"), " ") == 0 &&
                   json_integer_value(json_object_get(step, "start")) <= 1 &&
                   json_integer_value(json_object_get(step, "stop")) == 0) {
            fuses = true;
        } else if (!is_type(step, "ByteFallback")) {
            return refuse(self, "decoder", step, "", error);
        }
    }
    if (bytes != self->steps.byte_level || (self->steps.marked && !marks) || (!bytes && !fuses)) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "%s: decoder: \"%.60s\" does not undo what pre_tokenizer and normalizer do",
                           self->file, type_of(decoder));
    }
    return TEMPER_OK;
}

temper_status lm_load_steps(const json_t *root, lm_steps steps, lm_tokenizer *self, const char *file,
                            temper_error *error) {
    struct reader reader = {self, file, steps, false};
    const json_t *normalizer = json_object_get(root, "normalizer"),
                 *words = json_object_get(root, "pre_tokenizer");
    size_t count = step_count(normalizer, "normalizers");
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < count && !status; i++) {
        status = read_normalizer(&reader, step_at(normalizer, "normalizers", i), error);
    }
    count = step_count(words, "pretokenizers");
    for (size_t i = 0; i < count && !status; i++) {
        status = read_words(&reader, step_at(words, "pretokenizers", i), i + 1 == count, error);
    }
    return status ? status : check_decoder(&reader, json_object_get(root, "decoder"), error);
}

/* --- post_processor ----------------------------------------------------------------------------------------------- */

static temper_status push_frame(int32_t *ids, size_t *count, int64_t id, const lm_tokenizer *self,
                                const char *file, temper_error *error) {
    if (id < 0 || (uint64_t)id >= self->size || self->entries[id].kind == LM_ABSENT) {
        return temper_fail(error, TEMPER_INVALID, "%s: post_processor: token %lld is not in the vocabulary",
                           file, (long long)id);
    }
    if (*count == LM_MAX_FRAME) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "%s: post_processor: more than %d tokens on one side of a text", file,
                           LM_MAX_FRAME);
    }
    ids[(*count)++] = (int32_t)id;
    return TEMPER_OK;
}

static temper_status read_template(const json_t *part, lm_tokenizer *self, const char *file,
                                   temper_error *error) {
    const json_t *single = json_object_get(part, "single"), *tokens = json_object_get(part, "special_tokens");
    bool text_seen = false;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i), *special = json_object_get(piece, "SpecialToken");
        const char *name = text_of(special, "id");
        if (json_object_get(piece, "Sequence") != NULL && !text_seen) {
            text_seen = true;
            continue;
        }
        const json_t *ids = json_object_get(json_object_get(tokens, name), "ids");
        int64_t id = ids == NULL ? lm_tokenizer_special(self, name, strlen(name)) : -1;
        if (special == NULL) {
            return temper_fail(error, TEMPER_UNSUPPORTED, "%s: post_processor: a text twice in a template",
                               file);
        }
        for (size_t j = 0; j < (ids == NULL ? 1 : json_array_size(ids)); j++) {
            if (ids != NULL && !lm_json_integer(json_array_get(ids, j), &id)) {
                id = -1;
            }
            temper_status status = text_seen
                                       ? push_frame(self->after, &self->after_count, id, self, file, error)
                                       : push_frame(self->before, &self->before_count, id, self, file, error);
            if (status) {
                return status;
            }
        }
    }
    return text_seen ? TEMPER_OK
                     : temper_fail(error, TEMPER_UNSUPPORTED, "%s: post_processor: a template without a text",
                                   file);
}

static temper_status read_pair(const json_t *part, lm_tokenizer *self, const char *file,
                               temper_error *error) {
    int64_t first = -1, last = -1;
    lm_json_integer(json_array_get(json_object_get(part, "cls"), 1), &first);
    lm_json_integer(json_array_get(json_object_get(part, "sep"), 1), &last);
    temper_status status = push_frame(self->before, &self->before_count, first, self, file, error);
    return status ? status : push_frame(self->after, &self->after_count, last, self, file, error);
}

temper_status lm_load_frame(const json_t *post_processor, lm_tokenizer *self, const char *file,
                            temper_error *error) {
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < step_count(post_processor, "processors") && !status; i++) {
        const json_t *part = step_at(post_processor, "processors", i);
        if (is_type(part, "TemplateProcessing")) {
            status = read_template(part, self, file, error);
        } else if (is_type(part, "RobertaProcessing") || is_type(part, "BertProcessing")) {
            status = read_pair(part, self, file, error);
        } else if (!is_type(part, "ByteLevel")) {
            status = temper_fail(error, TEMPER_UNSUPPORTED, "%s: post_processor: \"%.60s\" is not supported",
                                 file, type_of(part));
        }
    }
    return status;
}

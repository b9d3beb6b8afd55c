/* special.c: what the files beside the vocabulary say: which texts are special, which are bos and eos.
 *
 * Invariant: these files only name tokens. They are tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json, and the ids in generation_config.json and config.json where no text is named. */
#include "../files/internal.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

struct lm_specials {
    json_t *texts; /* an object used as a set */
    json_t *added; /* {text: id} */
    json_t *match; /* {text: how it is matched} */
    char class[64];
    bool legacy, denies_bos, add_eos;
    json_t *bos, *eos;
    int64_t bos_id, eos_id;
    bool add_bos;
};

/* A token is a string, or an object whose "content" is one. */
static const json_t *token_text(const json_t *value) {
    const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
    return json_is_string(content) ? content : NULL;
}

static json_t *note(lm_specials *self, const json_t *value) {
    json_t *text = (json_t *)(uintptr_t)token_text(value);
    if (text != NULL) {
        json_object_set_new(self->texts, json_string_value(text), json_true());
    }
    return text;
}

static void note_role(lm_specials *self, const json_t *root, const char *key, json_t **role) {
    json_t *text = note(self, json_object_get(root, key));
    if (text != NULL && role != NULL && *role == NULL) {
        *role = json_incref(text);
    }
}

int lm_added_flags(const json_t *token) {
    return (json_is_true(json_object_get(token, "lstrip")) ? LM_LEFT_STRIP : 0) |
           (json_is_true(json_object_get(token, "rstrip")) ? LM_RIGHT_STRIP : 0) |
           (json_is_true(json_object_get(token, "single_word")) ? LM_SINGLE_WORD : 0) |
           (json_is_true(json_object_get(token, "normalized")) ? LM_NORMALIZED : 0);
}

static temper_status read_decoder(lm_specials *self, const json_t *decoder, const char *file,
                                  temper_error *error) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)decoder, key, value) {
        const json_t *text = token_text(value);
        char *end;
        long long id = strtoll(key, &end, 10);
        if (text == NULL || end == key || *end != 0 || id < 0) {
            return temper_fail(error, TEMPER_INVALID,
                               "%s: added_tokens_decoder: \"%.40s\" is no id with a content", file, key);
        }
        json_object_set_new(self->match, json_string_value(text), json_integer(lm_added_flags(value)));
        if (json_is_true(json_object_get(value, "special"))) {
            note(self, text);
        }
        json_object_set_new(self->added, json_string_value(text), json_integer(id));
    }
    return TEMPER_OK;
}

static temper_status read_names(lm_specials *self, const lm_file *file, temper_error *error) {
    static const char *const others[] = {"unk_token", "pad_token", "sep_token", "cls_token", "mask_token"};
    json_t *root, *value;
    size_t i;
    temper_status status = lm_json_parse(file->data, file->size, file->name, &root, error);
    if (status) {
        return status;
    }
    note_role(self, root, "bos_token", &self->bos);
    note_role(self, root, "eos_token", &self->eos);
    for (i = 0; i < sizeof others / sizeof *others; i++) {
        note_role(self, root, others[i], NULL);
    }
    json_array_foreach(json_object_get(root, "additional_special_tokens"), i, value) {
        note(self, value);
    }
    const char *class = json_string_value(json_object_get(root, "tokenizer_class"));
    if (class != NULL) {
        snprintf(self->class, sizeof self->class, "%s", class);
    }
    self->legacy = self->legacy && !json_is_false(json_object_get(root, "legacy"));
    self->add_bos = self->add_bos || json_is_true(json_object_get(root, "add_bos_token"));
    self->denies_bos = self->denies_bos || json_is_false(json_object_get(root, "add_bos_token"));
    self->add_eos = self->add_eos || json_is_true(json_object_get(root, "add_eos_token"));
    status = read_decoder(self, json_object_get(root, "added_tokens_decoder"), file->name, error);
    json_decref(root);
    return status;
}

static temper_status read_added(lm_specials *self, const lm_file *file, temper_error *error) {
    json_t *root, *value;
    const char *key;
    int64_t id;
    temper_status status = lm_json_parse(file->data, file->size, file->name, &root, error);
    json_object_foreach(root, key, value) {
        if (!lm_json_integer(value, &id) || id < 0) {
            status = temper_fail(error, TEMPER_INVALID, "%s: \"%.60s\" has no id", file->name, key);
            break;
        }
        json_object_set_new(self->added, key, json_integer(id));
    }
    json_decref(root);
    return status;
}

static temper_status read_ids(lm_specials *self, const lm_file *file, temper_error *error) {
    json_t *root, *value;
    temper_status status = lm_json_parse(file->data, file->size, file->name, &root, error);
    if (status) {
        return status;
    }
    value = json_object_get(root, "bos_token_id");
    if (self->bos_id < 0) {
        lm_json_integer(value, &self->bos_id);
    }
    value = json_object_get(root, "eos_token_id");
    if (self->eos_id < 0) {
        lm_json_integer(json_is_array(value) ? json_array_get(value, 0) : value, &self->eos_id);
    }
    json_decref(root);
    return TEMPER_OK;
}

temper_status lm_specials_read(const lm_file_set *files, lm_specials **out, temper_error *error) {
    static const struct {
        const char *name;
        temper_status (*read)(lm_specials *self, const lm_file *file, temper_error *error);
    } sources[] = {{"tokenizer_config.json", read_names},
                   {"special_tokens_map.json", read_names},
                   {"added_tokens.json", read_added},
                   {"config.json", read_ids},
                   {"generation_config.json", read_ids}};
    temper_status status = TEMPER_OK;
    lm_specials *self = calloc(1, sizeof *self);
    *out = NULL;
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the special tokens");
    }
    self->texts = json_object();
    self->added = json_object();
    self->match = json_object();
    self->legacy = true;
    self->bos_id = self->eos_id = -1;
    for (size_t i = 0; i < sizeof sources / sizeof *sources && !status; i++) {
        const lm_file *file = lm_file_find_model(files, sources[i].name);
        if (file != NULL) {
            status = sources[i].read(self, file, error);
        }
    }
    if (status) {
        lm_specials_free(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

bool lm_specials_has(const lm_specials *self, const char *text) {
    return json_object_get(self->texts, text) != NULL;
}

bool lm_specials_has_id(const lm_specials *self, int64_t id) {
    return id >= 0 && (id == self->bos_id || id == self->eos_id);
}

json_t *lm_specials_texts(lm_specials *self) {
    return self->texts;
}

const json_t *lm_specials_added(const lm_specials *self) {
    return self->added;
}

static int32_t resolve(const lm_tokenizer *tokenizer, const json_t *text, int64_t id) {
    if (text != NULL) {
        return lm_tokenizer_special(tokenizer, json_string_value(text), json_string_length(text));
    }
    return id >= 0 && (uint64_t)id < tokenizer->size && tokenizer->entries[id].kind != LM_ABSENT ? (int32_t)id
                                                                                                 : -1;
}

int lm_specials_match(const lm_specials *self, const char *text) {
    return (int)json_integer_value(json_object_get(self->match, text));
}

bool lm_specials_legacy(const lm_specials *self) {
    return self->legacy;
}

bool lm_specials_denies_bos(const lm_specials *self) {
    return self->denies_bos;
}

/* These classes set BOS and EOS by the settings, whatever tokenizer.json says. */
static bool obeys_settings(const char *class) {
    static const char *const classes[] = {"Llama", "CodeLlama", "Gemma", "Cohere"};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        if (strncmp(class, classes[i], strlen(classes[i])) == 0) {
            return true;
        }
    }
    return false;
}

static size_t index_of(const int32_t *ids, size_t count, int32_t id) {
    size_t i = 0;
    while (i < count && ids[i] != id) {
        i++;
    }
    return i;
}

static void remove_bos(lm_tokenizer *tokenizer) {
    size_t place = index_of(tokenizer->before, tokenizer->before_count, tokenizer->bos);
    if (place < tokenizer->before_count) {
        tokenizer->before_count--;
        memmove(tokenizer->before + place, tokenizer->before + place + 1,
                (tokenizer->before_count - place) * sizeof *tokenizer->before);
    }
}

void lm_tokenizer_add_bos(lm_tokenizer *tokenizer) {
    if (tokenizer->bos >= 0 && tokenizer->before_count < LM_MAX_FRAME &&
        index_of(tokenizer->before, tokenizer->before_count, tokenizer->bos) == tokenizer->before_count) {
        memmove(tokenizer->before + 1, tokenizer->before,
                tokenizer->before_count * sizeof *tokenizer->before);
        tokenizer->before[0] = tokenizer->bos;
        tokenizer->before_count++;
    }
    tokenizer->adds_bos = tokenizer->bos >= 0;
}

void lm_specials_apply(const lm_specials *self, lm_tokenizer *tokenizer) {
    bool obeys = obeys_settings(self->class);
    tokenizer->bos = resolve(tokenizer, self->bos, self->bos_id);
    tokenizer->eos = resolve(tokenizer, self->eos, self->eos_id);
    if (self->add_bos) {
        lm_tokenizer_add_bos(tokenizer);
    } else if (self->denies_bos && obeys) {
        remove_bos(tokenizer);
    }
    tokenizer->adds_bos = tokenizer->bos >= 0 && index_of(tokenizer->before, tokenizer->before_count,
                                                          tokenizer->bos) < tokenizer->before_count;
    if (self->add_eos && obeys && tokenizer->eos >= 0 && tokenizer->after_count == 0) {
        tokenizer->after[tokenizer->after_count++] = tokenizer->eos;
    }
}

void lm_specials_free(lm_specials *self) {
    if (self == NULL) {
        return;
    }
    json_decref(self->texts);
    json_decref(self->added);
    json_decref(self->match);
    json_decref(self->bos);
    json_decref(self->eos);
    free(self);
}

/* answer.c: temper.text/1: records of text to token ids and back, and conversations to text, for scripts.
 *
 * Invariant: a record's answer depends on that record and the files alone; a bad record is answered with what is wrong. */
#include "internal.h"

#include "../lm/files/internal.h"

#include <stdlib.h>
#include <time.h>

struct temper_text {
    lm_tokenizer *tokenizer; /* NULL: missing_tokenizer says why */
    lm_template *chat;       /* NULL: missing_chat says why */
    char missing_tokenizer[TEMPER_MESSAGE_SIZE], missing_chat[TEMPER_MESSAGE_SIZE];
    char *answer;
};

static const lm_file *only_template(const lm_file_set *files) {
    const char *ending = files->count == 1 ? strrchr(files->files[0].name, '.') : NULL;
    return ending != NULL && (strcmp(ending, ".jinja") == 0 || strcmp(ending, ".j2") == 0) ? &files->files[0]
                                                                                           : NULL;
}

static temper_status open_template(temper_text *self, const lm_file_set *files, temper_error *error) {
    const lm_file *file = only_template(files);
    char *source = NULL;
    size_t length = 0;
    temper_status status = TEMPER_OK;
    if (file != NULL) {
        status = lm_template_compile(file->data, file->size, &self->chat, error);
        return status ? temper_fail_in(error, status, "%s", file->name) : TEMPER_OK;
    }
    status = lm_template_find(files, &source, &length, error);
    status = status ? status : lm_template_compile(source, length, &self->chat, error);
    free(source);
    return status;
}

static void text_close(temper_text *self) {
    if (self != NULL) {
        lm_tokenizer_close(self->tokenizer);
        lm_template_free(self->chat);
        free(self->answer);
        free(self);
    }
}

static temper_status text_open(const temper_host *host, const temper_input *input, temper_text **out,
                               temper_error *error) {
    lm_file_set files = {0};
    temper_error why = TEMPER_ERROR_INIT;
    temper_text *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a tokenizer");
    }
    temper_status status = native_files(host, input, &files, error);
    if (!status && lm_tokenizer_open(&files, &self->tokenizer, &why)) {
        snprintf(self->missing_tokenizer, sizeof self->missing_tokenizer, "%s", why.message);
    }
    if (!status && open_template(self, &files, &why)) {
        snprintf(self->missing_chat, sizeof self->missing_chat, "%s", why.message);
    }
    if (!status && self->tokenizer == NULL && self->chat == NULL) {
        bool template = only_template(&files) != NULL;
        status = temper_fail(error, TEMPER_UNSUPPORTED, "%s",
                             template ? self->missing_chat : self->missing_tokenizer);
    }
    free((void *)(uintptr_t)files.files);
    if (status) {
        text_close(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

/* --- tokenize ----------------------------------------------------------------------------------------------------- */

static bool append_ids(json_t *list, const int32_t *ids, size_t count) {
    bool good = true;
    for (size_t i = 0; i < count; i++) {
        good = good && json_array_append_new(list, json_integer(ids[i])) == 0;
    }
    return good;
}

/* How many of a frame's tokens the text begins with already (BOS exactly once). */
static size_t written_already(const lm_tokens *tokens, const int32_t *before, size_t count) {
    size_t same = 0;
    while (same < count && same < tokens->count && tokens->items[same].id == before[same]) {
        same++;
    }
    return same == count ? count : 0;
}

static temper_status tokenize(const temper_text *self, const temper_text_request *request,
                              const json_t *record, json_t **out, temper_error *error) {
    const json_t *text = json_object_get(record, "text");
    lm_tokens tokens = {0};
    size_t length = json_string_length(text), before_count, after_count;
    if (!json_is_string(text)) {
        return temper_fail(error, TEMPER_INVALID, "a record to tokenize needs a \"text\"");
    }
    if (self->tokenizer == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s", self->missing_tokenizer);
    }
    uint8_t *special = request->special ? malloc(length + 1) : NULL;
    if (special != NULL) {
        memset(special, 1, length + 1);
    }
    temper_status status =
        request->special && special == NULL
            ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu bytes", length)
            : lm_tokenizer_encode(self->tokenizer, json_string_value(text), length, special, &tokens, error);
    if (!status) {
        const int32_t *before = lm_tokenizer_before(self->tokenizer, &before_count);
        const int32_t *after = lm_tokenizer_after(self->tokenizer, &after_count);
        size_t there = request->bare ? before_count : written_already(&tokens, before, before_count);
        json_t *ids = json_array();
        bool good = append_ids(ids, before, there == before_count ? 0 : before_count);
        for (size_t i = 0; i < tokens.count; i++) {
            good = good && append_ids(ids, &tokens.items[i].id, 1);
        }
        good = good && append_ids(ids, after, request->bare ? 0 : after_count);
        *out = good ? json_pack("{s:o}", "ids", ids) : NULL;
        status = *out == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu tokens", tokens.count)
                              : TEMPER_OK;
    }
    lm_tokens_free(&tokens);
    free(special);
    return status;
}

/* --- decode ------------------------------------------------------------------------------------------------------- */

static temper_status read_ids(const json_t *list, int32_t **out, size_t *count, temper_error *error) {
    *count = json_array_size(list);
    if (!json_is_array(list)) {
        return temper_fail(error, TEMPER_INVALID, "a record to decode needs \"ids\", a list of numbers");
    }
    *out = malloc((*count + 1) * sizeof **out);
    if (*out == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu ids", *count);
    }
    for (size_t i = 0; i < *count; i++) {
        int64_t id;
        if (!lm_json_integer(json_array_get(list, i), &id) || id < 0 || id > INT32_MAX) {
            return temper_fail(error, TEMPER_INVALID, "ids[%zu] is no token id", i);
        }
        (*out)[i] = (int32_t)id;
    }
    return TEMPER_OK;
}

/* {"text"}, with U+FFFD for what is no character, a cut one at the end too. */
static json_t *text_object(const char *text, size_t length) {
    size_t used = 0, whole = native_whole_characters(text, length);
    char *valid = native_valid_text(text, length, &used),
         *all = valid == NULL ? NULL : realloc(valid, used + 4);
    if (all == NULL) {
        free(valid);
        return NULL;
    }
    if (whole < length) {
        memcpy(all + used, "\xEF\xBF\xBD", 3);
        used += 3;
    }
    json_t *object = json_pack("{s:s%}", "text", all, used);
    free(all);
    return object;
}

static temper_status decode(const temper_text *self, const temper_text_request *request, const json_t *record,
                            json_t **out, temper_error *error) {
    int32_t *ids = NULL;
    size_t count, from = 0, length = 0, before_count, after_count;
    char *text = NULL;
    temper_status status = read_ids(json_object_get(record, "ids"), &ids, &count, error);
    if (!status && self->tokenizer == NULL) {
        status = temper_fail(error, TEMPER_UNSUPPORTED, "%s", self->missing_tokenizer);
    }
    if (status) {
        goto out;
    }
    const int32_t *before = lm_tokenizer_before(self->tokenizer, &before_count);
    const int32_t *after = lm_tokenizer_after(self->tokenizer, &after_count);
    if (!request->bare && count >= before_count && memcmp(ids, before, before_count * sizeof *ids) == 0) {
        from = before_count;
    }
    if (!request->bare && count - from >= after_count &&
        memcmp(ids + count - after_count, after, after_count * sizeof *ids) == 0) {
        count -= after_count;
    }
    status =
        lm_tokenizer_decode(self->tokenizer, ids + from, count - from, false, true, &text, &length, error);
    if (!status) {
        *out = text_object(text, length);
        status = *out == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu bytes", length)
                              : TEMPER_OK;
    }
out:
    free(ids);
    free(text);
    return status;
}

/* --- render ------------------------------------------------------------------------------------------------------- */

/* The text of bos or eos: what the record says, else the tokenizer's; malloc'ed or NULL. */
static char *role_text(const temper_text *self, const json_t *record, const char *key, int32_t id) {
    const json_t *said = json_object_get(record, key);
    size_t length = 0;
    if (json_is_string(said)) {
        return strdup(json_string_value(said));
    }
    const char *bytes = id < 0 ? NULL : lm_tokenizer_bytes(self->tokenizer, id, &length);
    return bytes == NULL ? NULL : strndup(bytes, length);
}

/* What is no word of this service's is a variable of the template's. */
static json_t *variables_of(const json_t *record) {
    static const char *const ours[] = {"messages", "add_generation_prompt", "bos_token", "eos_token", "now",
                                       "id"};
    json_t *variables = json_copy((json_t *)(uintptr_t)record);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        json_object_del(variables, ours[i]);
    }
    return variables;
}

/* Seconds since 1970, or "2024-07-26T09:30:00" in UTC. */
static bool read_now(const json_t *value, int64_t *out) {
    struct tm date = {0};
    char rest;
    if (!json_is_string(value)) {
        return lm_json_integer(value, out);
    }
    int count = sscanf(json_string_value(value), "%4d-%2d-%2dT%2d:%2d:%2d%c", &date.tm_year, &date.tm_mon,
                       &date.tm_mday, &date.tm_hour, &date.tm_min, &date.tm_sec, &rest);
    if ((count != 6 && !(count == 7 && rest == 'Z')) || date.tm_year < 1 || date.tm_mon < 1 ||
        date.tm_mon > 12 || date.tm_mday < 1 || date.tm_mday > 31 || date.tm_hour < 0 || date.tm_hour > 23 ||
        date.tm_min < 0 || date.tm_min > 59 || date.tm_sec < 0 || date.tm_sec > 60) {
        return false;
    }
    date.tm_year -= 1900;
    date.tm_mon -= 1;
    *out = (int64_t)timegm(&date);
    return true;
}

static temper_status render(const temper_text *self, const json_t *record, json_t **out,
                            temper_error *error) {
    const json_t *messages = json_object_get(record, "messages"), *now = json_object_get(record, "now");
    lm_rendering rendering = {0};
    int64_t seconds = 0;
    if (!json_is_array(messages)) {
        return temper_fail(error, TEMPER_INVALID, "a record to render needs \"messages\", a list");
    }
    if (self->chat == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s", self->missing_chat);
    }
    if (now != NULL && !json_is_null(now) && !read_now(now, &seconds)) {
        return temper_fail(error, TEMPER_INVALID,
                           "\"now\" is neither seconds since 1970 nor a date like \"2024-07-26T09:30:00\"");
    }
    char *bos = role_text(self, record, "bos_token",
                          self->tokenizer == NULL ? -1 : lm_tokenizer_bos(self->tokenizer));
    char *eos = role_text(self, record, "eos_token",
                          self->tokenizer == NULL ? -1 : lm_tokenizer_eos(self->tokenizer));
    json_t *variables = variables_of(record);
    temper_status status = lm_template_render_json(
        self->chat, messages, variables, json_is_true(json_object_get(record, "add_generation_prompt")), bos,
        eos, now == NULL || json_is_null(now) ? NULL : &seconds, &rendering, error);
    if (!status) {
        *out = text_object(rendering.text, rendering.length);
        status = *out == NULL
                     ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu bytes", rendering.length)
                     : TEMPER_OK;
    }
    lm_rendering_free(&rendering);
    json_decref(variables);
    free(bos);
    free(eos);
    return status;
}

static temper_status work(const temper_text *self, const temper_text_request *request, const json_t *record,
                          json_t **out, temper_error *error) {
    if (!json_is_object(record)) {
        return temper_fail(error, TEMPER_INVALID, "a record is a JSON object");
    }
    switch (request->work) {
    case TEMPER_TEXT_TOKENIZE: return tokenize(self, request, record, out, error);
    case TEMPER_TEXT_DECODE: return decode(self, request, record, out, error);
    case TEMPER_TEXT_RENDER: return render(self, record, out, error);
    }
    return temper_fail(error, TEMPER_UNSUPPORTED, "work %d is not known", (int)request->work);
}

static temper_status text_answer(temper_text *self, const temper_text_request *request, const char **answer,
                                 size_t *length, temper_error *error) {
    temper_error why = TEMPER_ERROR_INIT;
    json_t *record = NULL, *made = NULL;
    temper_status status = lm_json_parse(request->record, request->length, "the record", &record, &why);
    status = status ? status : work(self, request, record, &made, &why);
    if (status) {
        size_t valid_length;
        char *message = native_valid_text(why.message, strlen(why.message), &valid_length);
        made = json_pack("{s:s}", "error", message == NULL ? "out of memory" : message);
        free(message);
    }
    if (json_object_get(record, "id") != NULL && made != NULL) {
        json_object_set(made, "id", json_object_get(record, "id"));
    }
    free(self->answer);
    self->answer = made == NULL ? NULL : json_dumps(made, JSON_COMPACT);
    json_decref(made);
    json_decref(record);
    if (self->answer == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for an answer");
    }
    *answer = self->answer;
    *length = strlen(self->answer);
    return TEMPER_OK;
}

const temper_text_service native_text_service = {
    .size = sizeof native_text_service,
    .open = text_open,
    .close = text_close,
    .answer = text_answer,
};

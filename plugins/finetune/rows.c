/* rows.c: records to token sequences, in parallel, each by itself; the first record that fails is the one named. */
#include "finetune.h"

#include <pthread.h>
#include <stdlib.h>

enum { MOST_MESSAGES = 1024 };

/* A conversation being put together. `joined` is a message made here. */
typedef struct conversation {
    lm_message messages[MOST_MESSAGES];
    size_t count;
    char *joined;
} conversation;

typedef struct reading {
    const base_model *base;
    const temper_json_api *json;
    const row_options *options;
    const temper_records *records;
    const char *name;
    bool chat, merge_system;
    row_shape shape;
    lm_dialogue *dialogues;
    pthread_mutex_t lock;
    uint64_t failed; /* index of the first record that failed; UINT64_MAX */
    temper_status status;
    temper_error *error;
} reading;

void rows_free(row_set *self) {
    for (size_t i = 0; self->dialogues != NULL && i < self->dialogue_count; i++) {
        lm_dialogue_free(&self->dialogues[i]);
    }
    free(self->dialogues);
    *self = (row_set){0};
}

static temper_status add(conversation *self, const char *role, const char *content, size_t length,
                         temper_error *error) {
    if (self->count == MOST_MESSAGES) {
        return temper_fail(error, TEMPER_INVALID, "a conversation has at most %d messages", MOST_MESSAGES);
    }
    self->messages[self->count++] = (lm_message){role, content, length};
    return TEMPER_OK;
}

/* A string (one message of `role`) or an array of {role, content}. */
static temper_status add_field(const reading *self, const temper_json *value, const char *field,
                               const char *role, conversation *out, temper_error *error) {
    const temper_json_api *json = self->json;
    size_t length;
    const char *text = json->string(value, &length);
    if (text != NULL) {
        return add(out, role, text, length, error);
    }
    if (json->kind(value) != TEMPER_JSON_ARRAY) {
        return temper_fail(error, TEMPER_INVALID, "\"%s\" is neither a string nor a list of messages", field);
    }
    for (size_t i = 0; i < json->length(value); i++) {
        const temper_json *message = json->element(value, i);
        size_t role_length;
        const char *named = json->string(json->member(message, "role"), &role_length);
        text = json->string(json->member(message, "content"), &length);
        if (named == NULL || text == NULL) {
            return temper_fail(error, TEMPER_INVALID,
                               "message %zu of \"%s\" lacks \"role\" or \"content\" as strings", i + 1,
                               field);
        }
        temper_status status = add(out, named, text, length, error);
        if (status) {
            return status;
        }
    }
    return TEMPER_OK;
}

/* For a template that knows no system role: the instruction stands before the first user message. */
static temper_status merge_system(conversation *self, temper_error *error) {
    size_t user = 1;
    while (user < self->count && strcmp(self->messages[user].role, "user") != 0) {
        user++;
    }
    if (self->count == 0 || strcmp(self->messages[0].role, "system") != 0 || user >= self->count) {
        return TEMPER_OK;
    }
    const lm_message *system = &self->messages[0];
    lm_message *first = &self->messages[user];
    size_t length = system->content_length + 2 + first->content_length;
    self->joined = malloc(length + 1);
    if (self->joined == NULL) {
        return temper_no_memory(error);
    }
    memcpy(self->joined, system->content, system->content_length);
    memcpy(self->joined + system->content_length, "\n\n", 2);
    memcpy(self->joined + system->content_length + 2, first->content, first->content_length);
    self->joined[length] = 0;
    first->content = self->joined;
    first->content_length = length;
    memmove(self->messages, self->messages + 1, --self->count * sizeof *self->messages);
    return TEMPER_OK;
}

static temper_status encode_chat(const reading *self, conversation *talk, lm_span span, lm_dialogue *out,
                                 temper_error *error) {
    temper_status status = self->merge_system ? merge_system(talk, error) : TEMPER_OK;
    if (!status) {
        status =
            lm_dialogue_encode(self->base->tokenizer, self->base->chat, talk->messages, talk->count,
                               self->options->all ? LM_SPAN_ALL : span, self->options->limit, out, error);
    }
    if (!status && out->unterminated > 0 && !self->options->allow_unterminated) {
        status = temper_fail(error, TEMPER_INVALID,
                             "the chat template writes no end token after an answer, so none would be learnt "
                             "(allow_unterminated accepts this)");
        lm_dialogue_free(out);
    }
    return status;
}

/* prompt and one answer, both strings, as raw text. */
static temper_status encode_raw(const reading *self, const temper_json *prompt, const temper_json *answer,
                                const char *field, lm_dialogue *out, temper_error *error) {
    size_t prompt_length = 0, length;
    const char *before = prompt == NULL ? "" : self->json->string(prompt, &prompt_length);
    const char *text = self->json->string(answer, &length);
    if (text == NULL || before == NULL) {
        return temper_fail(error, TEMPER_INVALID,
                           "\"%s\" and \"prompt\" are strings where the format is raw%s", field,
                           self->base->chat == NULL ? " (the model has no chat template)" : "");
    }
    if (!self->options->all) {
        return lm_dialogue_encode_text(self->base->tokenizer, before, prompt_length, text, length, true,
                                       self->options->limit, out, error);
    }
    char *whole = malloc(prompt_length + length + 1);
    if (whole == NULL) {
        return temper_no_memory(error);
    }
    memcpy(whole, before, prompt_length);
    memcpy(whole + prompt_length, text, length);
    temper_status status = lm_dialogue_encode_text(
        self->base->tokenizer, "", 0, whole, prompt_length + length, true, self->options->limit, out, error);
    free(whole);
    return status;
}

/* system and prompt of `record`, and the answer in `field` of `other`: the same record, most times. */
static temper_status encode_answer(const reading *self, const temper_json *record, const temper_json *other,
                                   const char *field, lm_dialogue *out, temper_error *error) {
    const temper_json_api *json = self->json;
    const temper_json *prompt = json->member(record, "prompt"), *answer = json->member(other, field),
                      *system = json->member(record, "system");
    if (answer == NULL) {
        return temper_fail(error, TEMPER_INVALID, "it has no \"%s\"", field);
    }
    if (json->kind(system) != TEMPER_JSON_NULL && (!self->chat || json->kind(system) != TEMPER_JSON_STRING)) {
        return temper_fail(error, TEMPER_INVALID, "\"system\" %s",
                           self->chat ? "must be a string" : "has no place where the format is raw");
    }
    if (!self->chat) {
        return encode_raw(self, prompt, answer, field, out, error);
    }
    conversation *talk = calloc(1, sizeof *talk);
    if (talk == NULL) {
        return temper_no_memory(error);
    }
    temper_status status = TEMPER_OK;
    if (json->kind(system) == TEMPER_JSON_STRING) {
        status = add_field(self, system, "system", "system", talk, error);
    }
    if (!status && prompt != NULL) {
        status = add_field(self, prompt, "prompt", "user", talk, error);
    }
    size_t before = talk->count;
    if (!status) {
        status = add_field(self, answer, field, "assistant", talk, error);
    }
    if (!status && (talk->count == 0 || strcmp(talk->messages[talk->count - 1].role, "assistant") != 0)) {
        status =
            temper_fail(error, TEMPER_INVALID, "the last message of \"%s\" is not the assistant's", field);
    }
    if (!status && prompt != NULL && talk->count > before + 1) {
        status =
            temper_fail(error, TEMPER_INVALID, "\"%s\" has %zu messages after \"prompt\": it may have one",
                        field, talk->count - before);
    }
    if (!status) {
        status = encode_chat(self, talk, LM_SPAN_LAST, out, error);
    }
    free(talk->joined);
    free(talk);
    return status;
}

static temper_status encode_row(const reading *self, const temper_json *record, lm_dialogue *out,
                                temper_error *error) {
    const temper_json_api *json = self->json;
    const temper_json *messages = json->member(record, "messages"), *text = json->member(record, "text");
    if (messages != NULL) {
        if (self->base->chat == NULL) {
            return temper_fail(error, TEMPER_INVALID,
                               "it has \"messages\", and the model has no chat template");
        }
        conversation *talk = calloc(1, sizeof *talk);
        if (talk == NULL) {
            return temper_no_memory(error);
        }
        temper_status status = add_field(self, messages, "messages", "user", talk, error);
        if (!status) {
            status = encode_chat(self, talk, self->options->span, out, error);
        }
        free(talk->joined);
        free(talk);
        return status;
    }
    if (json->member(record, "completion") != NULL) {
        return encode_answer(self, record, record, "completion", out, error);
    }
    if (text != NULL) {
        return encode_raw(self, NULL, text, "text", out, error);
    }
    return temper_fail(error, TEMPER_INVALID,
                       "it has none of \"messages\", \"completion\" (with \"prompt\") and \"text\"");
}

static void fail_at(reading *self, uint64_t index, temper_status status, const temper_error *error) {
    pthread_mutex_lock(&self->lock);
    if (index < self->failed) {
        self->failed = index;
        self->status = temper_fail(self->error, status, "%s, record %llu: %s", self->name,
                                   (unsigned long long)index + 1, error->message);
    }
    pthread_mutex_unlock(&self->lock);
}

static void read_one(void *context, uint64_t index, uint32_t worker) {
    reading *self = context;
    const temper_json *record = self->records->items[index];
    temper_error error = TEMPER_ERROR_INIT;
    temper_status status;
    (void)worker;
    size_t sides = self->shape == ROW_TEXTS ? 1 : 2;
    lm_dialogue *out = self->dialogues + index * sides;
    if (self->shape == ROW_PAIRS) {
        status = encode_answer(self, record, record, "chosen", &out[0], &error);
        if (!status) {
            status = encode_answer(self, record, record, "rejected", &out[1], &error);
        }
    } else if (self->shape == ROW_LABELLED) {
        size_t before = (size_t)(index > 0 ? index : self->records->count) - 1;
        status = encode_answer(self, record, record, "completion", &out[0], &error);
        if (!status) {
            status = encode_answer(self, record, self->records->items[before], "completion", &out[1], &error);
        }
    } else {
        status = encode_row(self, record, out, &error);
    }
    for (size_t i = 0; !status && i < sides; i++) {
        if (out[i].trained_count == 0 && !self->options->allow_untrained) {
            status = temper_fail(
                &error, TEMPER_INVALID,
                "it trains no token (%zu tokens, %zu cut off): allow_untrained leaves such rows out",
                out[i].count, out[i].truncated);
        }
    }
    if (status) {
        fail_at(self, index, status, &error);
    }
}

static temper_status settle(reading *self, temper_error *error) {
    const char *format = self->options->format;
    bool has_template = self->base->chat != NULL;
    if (strcmp(format, "chat") == 0 && !has_template) {
        return temper_fail(error, TEMPER_INVALID, "format is chat, and the model has no chat template");
    }
    self->chat = has_template && strcmp(format, "raw") != 0;
    self->merge_system = has_template && !lm_template_mentions_system(self->base->chat);
    return TEMPER_OK;
}

static void count_rows(const reading *self, row_set *out, row_counts *counts) {
    size_t sides = self->shape == ROW_TEXTS ? 1 : 2;
    for (size_t i = 0; i < out->count; i += sides) {
        bool untrained = false;
        for (size_t s = 0; s < sides; s++) {
            untrained = untrained || out->dialogues[i + s].trained_count == 0;
        }
        counts->rows++;
        counts->untrained += untrained;
        for (size_t s = 0; s < sides && !untrained; s++) {
            const lm_dialogue *dialogue = &out->dialogues[i + s];
            out->examples[i + s] = (lm_example){dialogue->ids, dialogue->trained, dialogue->count, NULL};
            counts->truncated += dialogue->truncated > 0;
            counts->truncated_tokens += dialogue->truncated;
            counts->trained_tokens += dialogue->trained_count;
            counts->tokens += dialogue->count;
        }
    }
}

temper_status rows_read(const base_model *base, temper_pool *pool, const temper_input *input,
                        const char *name, row_shape shape, const row_options *options, row_set *out,
                        row_counts *counts, temper_error *error) {
    temper_records records;
    row_options bounded = *options;
    size_t context = base->model->config.context, sides = shape == ROW_TEXTS ? 1 : 2;
    bounded.limit = options->limit == 0 || options->limit > context ? context : options->limit;
    *out = (row_set){0};
    *counts = (row_counts){0};
    reading self = {.base = base,
                    .json = base->host->json,
                    .options = &bounded,
                    .records = &records,
                    .name = name,
                    .shape = shape,
                    .lock = PTHREAD_MUTEX_INITIALIZER,
                    .failed = UINT64_MAX,
                    .error = error};
    temper_status status = settle(&self, error);
    if (!status) {
        status = temper_records_all(base->host, pool, input, &records, error);
    }
    if (!status && records.count == 0) {
        status = temper_fail(error, TEMPER_INVALID, "%s: there are no records", name);
    }
    if (status) {
        return status;
    }
    out->count = out->dialogue_count = records.count * sides;
    out->dialogues = calloc(out->count, sizeof *out->dialogues);
    out->examples = temper_pool_take(pool, out->count, sizeof *out->examples);
    if (out->dialogues == NULL || out->examples == NULL) {
        rows_free(out);
        return temper_no_memory(error);
    }
    self.dialogues = out->dialogues;
    base->host->parallel_for(base->host, records.count, read_one, &self);
    if (self.status) {
        rows_free(out);
        return self.status;
    }
    count_rows(&self, out, counts);
    return TEMPER_OK;
}

/* --- one text in blocks --- */

/* Blocks of at most `limit` tokens; the last has at least two, since the first of a block is never a target. */
static size_t block_count(size_t tokens, size_t limit) {
    size_t blocks = tokens / limit, rest = tokens % limit;
    return blocks + (rest >= 2);
}

temper_status rows_read_text(const base_model *base, temper_pool *pool, const temper_input *input,
                             size_t limit, row_set *out, row_counts *counts, temper_error *error) {
    const char *text = NULL;
    size_t length = 0;
    lm_dialogue whole = {0};
    *out = (row_set){0};
    *counts = (row_counts){0};
    temper_status status = base->host->bytes(base->host, input, &text, &length, error);
    if (!status) {
        status = lm_dialogue_encode_text(base->tokenizer, "", 0, text, length, true, 0, &whole, error);
    }
    if (status) {
        return status;
    }
    size_t blocks = limit < 2 ? 0 : block_count(whole.count, limit);
    if (blocks == 0) {
        lm_dialogue_free(&whole);
        return temper_fail(error, TEMPER_INVALID,
                           "a text of %zu tokens in blocks of %zu: nothing to train on", whole.count, limit);
    }
    out->dialogues = calloc(1, sizeof *out->dialogues);
    out->examples = temper_pool_take(pool, blocks, sizeof *out->examples);
    if (out->dialogues == NULL || out->examples == NULL) {
        lm_dialogue_free(&whole);
        rows_free(out);
        return temper_no_memory(error);
    }
    out->dialogues[0] = whole;
    out->dialogue_count = 1;
    out->count = blocks;
    for (size_t i = 0; i < blocks; i++) {
        size_t first = i * limit, n = whole.count - first < limit ? whole.count - first : limit;
        out->examples[i] = (lm_example){whole.ids + first, whole.trained + first, n, NULL};
        counts->trained_tokens += n - 1;
        counts->tokens += n;
    }
    counts->rows = blocks;
    return TEMPER_OK;
}

/* records.c: see records.h. */
#include "support/records.h"

enum { BATCH = 256 };

temper_status temper_stage_keep_parameters(const temper_host *host, const void *parameters, void **self,
                                           temper_error *error) {
    (void)host, (void)error;
    *self = (void *)(uintptr_t)parameters;
    return TEMPER_OK;
}

void temper_stage_nothing(void *self) {
    (void)self;
}

temper_status temper_records_all(const temper_host *host, temper_pool *pool, const temper_input *input,
                                 temper_records *out, temper_error *error) {
    const temper_json **items = NULL, **more;
    size_t count = 0, capacity = 0, i;
    temper_reader *reader = NULL;
    temper_batch *batch;
    temper_status status = host->read_records(host, input, &reader, error);
    while (status == TEMPER_OK) {
        status = host->next(reader, BATCH, &batch, error);
        if (status) {
            break;
        }
        if (capacity - count < host->batch_length(batch)) {
            capacity = capacity * 2 + BATCH + host->batch_length(batch);
            more = temper_pool_take(pool, capacity, sizeof *more);
            if (more == NULL) {
                status = temper_no_memory(error);
                break;
            }
            if (count > 0) {
                memcpy(more, items, count * sizeof *items);
            }
            items = more;
        }
        for (i = 0; i < host->batch_length(batch); i++) {
            items[count++] = host->record(batch, i);
        }
    }
    if (reader != NULL) {
        host->close_reader(reader);
    }
    out->items = items;
    out->count = count;
    return status == TEMPER_END ? TEMPER_OK : status;
}

bool temper_record_string(const temper_json_api *json, const temper_json *record, const char *name,
                          temper_span *out) {
    out->length = 0;
    out->data = json->string(json->member(record, name), &out->length);
    return out->data != NULL;
}

temper_status temper_record_need(const temper_json_api *json, const temper_json *record, const char *input,
                                 uint64_t number, const char *name, temper_span *out, temper_error *error) {
    if (temper_record_string(json, record, name, out)) {
        return TEMPER_OK;
    }
    return temper_fail(error, TEMPER_INVALID, "%s, record %llu: \"%s\" must be a string, %s", input,
                       (unsigned long long)number, name,
                       json->member(record, name) == NULL ? "and is missing" : "and is something else");
}

static bool listed(const temper_strings *names, const char *name) {
    size_t i;
    for (i = 0; i < names->count; i++) {
        if (strcmp(names->items[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static int visit_conversation(const temper_json_api *json, const temper_json *messages, const char *field,
                              const temper_strings *roles,
                              int (*visit)(void *context, const temper_record_text *text), void *context,
                              size_t *seen) {
    temper_record_text text = {field, NULL, 0, {NULL, 0}};
    size_t i, count = json->length(messages);
    int answer;
    *seen += count > 0;
    for (i = 0; i < count; i++) {
        const temper_json *message = json->element(messages, i);
        if (!temper_record_string(json, message, "content", &text.text)) {
            continue;
        }
        text.role = json->string(json->member(message, "role"), NULL);
        text.position = i;
        if (roles != NULL && roles->count > 0 && (text.role == NULL || !listed(roles, text.role))) {
            continue;
        }
        answer = visit(context, &text);
        if (answer != 0) {
            return answer;
        }
    }
    return 0;
}

int temper_record_texts(const temper_json_api *json, const temper_json *record, const temper_strings *fields,
                        const temper_strings *roles,
                        int (*visit)(void *context, const temper_record_text *text), void *context,
                        size_t *seen) {
    static const char *const usual[] = {"messages",   "prompt",   "chosen", "rejected",
                                        "completion", "response", "text"};
    const char *const *names = usual;
    size_t i, count = sizeof usual / sizeof *usual, found = 0;
    int answer = 0;
    if (fields != NULL && fields->count > 0) {
        names = fields->items;
        count = fields->count;
    }
    for (i = 0; i < count && answer == 0; i++) {
        const temper_json *value = json->member(record, names[i]);
        temper_record_text text = {names[i], NULL, 0, {NULL, 0}};
        if (json->kind(value) == TEMPER_JSON_ARRAY) {
            answer = visit_conversation(json, value, names[i], roles, visit, context, &found);
        } else if (temper_record_string(json, record, names[i], &text.text)) {
            found++;
            answer = visit(context, &text);
        }
    }
    if (seen != NULL) {
        *seen = found;
    }
    return answer;
}

void temper_row_begin(temper_row *row, const temper_host *host) {
    memset(row, 0, sizeof *row);
    row->json = host->json;
    row->arena = host->json->arena_new();
    row->object = row->arena == NULL ? NULL : host->json->new_object(row->arena);
    row->failed = row->object == NULL;
}

void temper_row_json(temper_row *row, const char *name, const temper_json *value) {
    if (!row->failed) {
        row->failed = !row->json->set(row->arena, row->object, name, value);
    }
}

void temper_row_text(temper_row *row, const char *name, temper_span text) {
    if (!row->failed) {
        const char *data = text.data == NULL ? "" : text.data;
        temper_row_json(row, name, row->json->new_string(row->arena, data, text.length));
    }
}

void temper_row_string(temper_row *row, const char *name, const char *text) {
    temper_row_text(row, name, temper_span_of(text));
}

void temper_row_integer(temper_row *row, const char *name, uint64_t number) {
    if (!row->failed) {
        temper_row_json(row, name, row->json->new_integer(row->arena, (int64_t)number));
    }
}

void temper_row_number(temper_row *row, const char *name, double number) {
    if (!row->failed) {
        row->not_finite = row->not_finite || !(number - number == 0.0);
        temper_row_json(row, name, row->json->new_number(row->arena, number));
    }
}

void temper_row_flag(temper_row *row, const char *name, bool flag) {
    if (!row->failed) {
        temper_row_json(row, name, row->json->new_boolean(row->arena, flag));
    }
}

static temper_status write(temper_row *row, temper_output *output, const temper_host *host, bool metrics,
                           temper_error *error) {
    temper_status status;
    if (row->not_finite) {
        status = temper_fail(error, TEMPER_FAILED, "a number to be written is not finite");
    } else if (row->failed) {
        status = temper_fail(error, TEMPER_NO_MEMORY,
                             "a record could not be made: memory is short, or a text is no UTF-8");
    } else if (metrics) {
        status = host->write_metrics(output, row->object, error);
    } else {
        status = host->write_record(output, row->object, error);
    }
    temper_row_drop(row);
    return status;
}

temper_status temper_row_write(temper_row *row, temper_output *output, const temper_host *host,
                               temper_error *error) {
    return write(row, output, host, false, error);
}

temper_status temper_row_metrics(temper_row *row, temper_output *output, const temper_host *host,
                                 temper_error *error) {
    return write(row, output, host, true, error);
}

void temper_row_drop(temper_row *row) {
    if (row->arena != NULL) {
        row->json->arena_free(row->arena);
    }
    row->arena = NULL;
    row->object = NULL;
    row->failed = true;
}

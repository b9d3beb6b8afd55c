/* read_json.c: messages and other variables, given as JSON, as values.
 *
 * Invariant: every text keeps whose it is, keys included: what an assistant message holds is the assistant's, apart from
 * its role; what stands in no message is content too, of no message. */
#include "internal.h"

#include <string.h>

static temper_status convert(lm_run *run, const json_t *json, lm_mark mark, lm_mark role_mark, unsigned depth,
                             lm_value *out);

static temper_status object(lm_run *run, const json_t *json, lm_mark mark, lm_mark role_mark, unsigned depth,
                            lm_value *out) {
    size_t count = json_object_size(json), i = 0;
    lm_value *pairs = lm_run_get(run, 2 * count, sizeof *pairs);
    const char *key;
    json_t *item;
    if (pairs == NULL) {
        return TEMPER_NO_MEMORY;
    }
    json_object_foreach((json_t *)(uintptr_t)json, key, item) {
        size_t length = strlen(key);
        char *name = lm_run_get(run, length + 1, 1);
        bool role = depth == 1 && strcmp(key, "role") == 0;
        if (name == NULL) {
            return TEMPER_NO_MEMORY;
        }
        memcpy(name, key, length);
        pairs[2 * i] = lm_value_text(name, length, mark);
        temper_status status =
            convert(run, item, role ? role_mark : mark, role_mark, depth + 1, &pairs[2 * i + 1]);
        if (status) {
            return status;
        }
        i++;
    }
    *out = (lm_value){.kind = LM_DICT, .dict = {pairs, count}};
    return TEMPER_OK;
}

static temper_status convert(lm_run *run, const json_t *json, lm_mark mark, lm_mark role_mark, unsigned depth,
                             lm_value *out) {
    if (depth > LM_MAX_VALUE_DEPTH) {
        return lm_run_fail(run, 1, TEMPER_INVALID, "variables nested deeper than %d", LM_MAX_VALUE_DEPTH);
    }
    switch (json_typeof(json)) {
    case JSON_STRING: *out = lm_value_text(json_string_value(json), json_string_length(json), mark); break;
    case JSON_INTEGER: *out = lm_value_integer(json_integer_value(json)); break;
    case JSON_REAL: *out = lm_value_float(json_real_value(json)); break;
    case JSON_TRUE: *out = lm_value_bool(true); break;
    case JSON_FALSE: *out = lm_value_bool(false); break;
    case JSON_NULL: *out = (lm_value){.kind = LM_NONE}; break;
    case JSON_OBJECT: return object(run, json, mark, role_mark, depth, out);
    case JSON_ARRAY: {
        size_t count = json_array_size(json);
        lm_value *items = lm_run_get(run, count, sizeof *items);
        temper_status status = items == NULL ? TEMPER_NO_MEMORY : TEMPER_OK;
        for (size_t i = 0; i < count && !status; i++) {
            status = convert(run, json_array_get(json, i), mark, role_mark, depth + 1, &items[i]);
        }
        *out = lm_value_list(items, count);
        return status;
    }
    }
    return TEMPER_OK;
}

temper_status lm_value_from_json(lm_run *run, const json_t *json, lm_mark mark, lm_value *out) {
    return convert(run, json, mark, mark, 2, out);
}

temper_status lm_value_messages(lm_run *run, const json_t *messages, lm_value *out) {
    size_t count = json_array_size(messages);
    lm_value *items = lm_run_get(run, count, sizeof *items);
    temper_status status = items == NULL ? TEMPER_NO_MEMORY : TEMPER_OK;
    for (size_t i = 0; i < count && !status; i++) {
        const json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        lm_mark mark = (lm_mark)i << 2;
        bool assistant = role != NULL && strcmp(role, "assistant") == 0;
        if (role == NULL) {
            return temper_fail(run->error, TEMPER_INVALID, "message %zu is no object with a \"role\"", i + 1);
        }
        status = convert(run, message, mark | (assistant ? LM_BY_ASSISTANT : LM_BY_CONTENT),
                         mark | LM_BY_CONTENT, 1, &items[i]);
    }
    *out = lm_value_list(items, count);
    return status;
}

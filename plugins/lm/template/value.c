/* value.c: values, and texts that know who wrote each of their bytes.
 *
 * Invariant: joining and cutting texts keeps every byte's mark; nothing here turns content into template. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

lm_value lm_value_text(const char *bytes, size_t length, lm_mark mark) {
    return (lm_value){.kind = LM_TEXT, .text = {bytes, length, NULL, mark}};
}

lm_value lm_value_integer(int64_t integer) {
    return (lm_value){.kind = LM_INTEGER, .integer = integer};
}

lm_value lm_value_bool(bool flag) {
    return (lm_value){.kind = LM_BOOL, .flag = flag};
}

lm_value lm_value_undefined(const char *name) {
    return (lm_value){.kind = LM_UNDEFINED, .name = name};
}

bool lm_value_true(const lm_value *value) {
    switch (value->kind) {
    case LM_UNDEFINED:
    case LM_NONE: return false;
    case LM_BOOL: return value->flag;
    case LM_INTEGER: return value->integer != 0;
    case LM_TEXT: return value->text.length > 0;
    case LM_LIST: return value->list.count > 0;
    default: return true;
    }
}

const char *lm_value_kind_name(const lm_value *value) {
    static const char *const names[] = {"undefined", "none",      "a boolean", "an integer",  "a text",
                                        "a list",    "a message", "a loop",    "a namespace", "a function"};
    return names[value->kind];
}

static bool is_number(const lm_value *value, int64_t *out) {
    *out = value->kind == LM_BOOL ? value->flag : value->kind == LM_INTEGER ? value->integer : 0;
    return value->kind == LM_BOOL || value->kind == LM_INTEGER;
}

bool lm_value_equal(lm_run *run, const lm_value *a, const lm_value *b) {
    int64_t left, right;
    if (++run->steps > LM_TEMPLATE_STEPS) {
        return false;
    }
    if (is_number(a, &left) && is_number(b, &right)) {
        return left == right;
    }
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case LM_TEXT:
        return a->text.length == b->text.length && memcmp(a->text.bytes, b->text.bytes, a->text.length) == 0;
    case LM_LIST:
        if (a->list.count != b->list.count) {
            return false;
        }
        for (size_t i = 0; i < a->list.count; i++) {
            /* LM_MAX_LIST_DEPTH bounds this. */
            if (!lm_value_equal(run, &a->list.items[i], &b->list.items[i])) {
                return false;
            }
        }
        return true;
    case LM_MESSAGE: return a->message == b->message;
    case LM_LOOP: return a->loop == b->loop;
    case LM_NAMESPACE: return a->fields == b->fields;
    default: return true;
    }
}

temper_status lm_run_fail(lm_run *run, unsigned line, temper_status status, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return temper_fail(run->error, status, "chat template: line %u: %s", line, text);
}

temper_status lm_value_print(lm_run *run, const lm_value *value, lm_text *out) {
    char number[32];
    const char *text = number;
    switch (value->kind) {
    case LM_TEXT: *out = value->text; return TEMPER_OK;
    case LM_UNDEFINED: text = ""; break;
    case LM_NONE: text = "None"; break;
    case LM_BOOL: text = value->flag ? "True" : "False"; break;
    case LM_INTEGER: snprintf(number, sizeof number, "%lld", (long long)value->integer); break;
    default:
        return lm_run_fail(run, run->line, TEMPER_UNSUPPORTED, "printing %s is not supported",
                           lm_value_kind_name(value));
    }
    size_t length = strlen(text);
    char *copy = lm_arena_copy(&run->arena, text, length);
    if (copy == NULL) {
        return lm_run_fail(run, run->line, TEMPER_NO_MEMORY, "no memory");
    }
    *out = (lm_text){copy, length, NULL, 0};
    return TEMPER_OK;
}

static void copy_marks(const lm_text *text, lm_mark *out) {
    for (size_t i = 0; i < text->length; i++) {
        out[i] = text->marks != NULL ? text->marks[i] : text->mark;
    }
}

temper_status lm_text_join(lm_run *run, const lm_text *a, const lm_text *b, lm_value *out) {
    *out = lm_value_text(a->bytes, a->length, 0);
    if (a->length == 0 || b->length == 0) {
        out->text = a->length == 0 ? *b : *a;
        return TEMPER_OK;
    }
    size_t length = a->length + b->length;
    bool uniform = a->marks == NULL && b->marks == NULL && a->mark == b->mark;
    char *bytes = lm_arena_get(&run->arena, length + 1);
    lm_mark *marks = uniform || bytes == NULL ? NULL : lm_arena_get(&run->arena, length * sizeof *marks);
    if (bytes == NULL || (!uniform && marks == NULL)) {
        return lm_run_fail(run, run->line, TEMPER_NO_MEMORY,
                           "a text of %zu bytes is more than a template may make", length);
    }
    memcpy(bytes, a->bytes, a->length);
    memcpy(bytes + a->length, b->bytes, b->length);
    if (!uniform) {
        copy_marks(a, marks);
        copy_marks(b, marks + a->length);
    }
    out->text = (lm_text){bytes, length, marks, a->mark};
    return TEMPER_OK;
}

lm_text lm_text_part(const lm_text *text, size_t from, size_t length) {
    return (lm_text){text->bytes + from, length, text->marks == NULL ? NULL : text->marks + from, text->mark};
}

temper_status lm_scope_set(lm_run *run, lm_scope *scope, const char *name, lm_value value) {
    for (lm_binding *binding = scope->bindings; binding != NULL; binding = binding->next) {
        if (strcmp(binding->name, name) == 0) {
            binding->value = value;
            return TEMPER_OK;
        }
    }
    lm_binding *binding = lm_arena_get(&run->arena, sizeof *binding);
    if (binding == NULL) {
        return lm_run_fail(run, run->line, TEMPER_NO_MEMORY, "no memory");
    }
    *binding = (lm_binding){name, value, scope->bindings};
    scope->bindings = binding;
    return TEMPER_OK;
}

bool lm_scope_get(const lm_scope *scope, const char *name, lm_value *out) {
    for (; scope != NULL; scope = scope->outer) {
        for (const lm_binding *binding = scope->bindings; binding != NULL; binding = binding->next) {
            if (strcmp(binding->name, name) == 0) {
                *out = binding->value;
                return true;
            }
        }
    }
    return false;
}

/* value.c: what templates compute with.
 *
 * Invariant: walking through values inside values stops at a depth and counts steps: one list may stand in another a
 * thousand times over, so what is small in memory may be large to walk. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

lm_value lm_value_text(const char *bytes, size_t length, lm_mark mark) {
    return (lm_value){.kind = LM_TEXT, .text = {bytes, length, NULL, mark}};
}

lm_value lm_value_integer(int64_t integer) {
    return (lm_value){.kind = LM_INTEGER, .integer = integer};
}

lm_value lm_value_float(double number) {
    return (lm_value){.kind = LM_FLOAT, .number = number};
}

lm_value lm_value_bool(bool flag) {
    return (lm_value){.kind = LM_BOOL, .flag = flag};
}

lm_value lm_value_undefined(const char *name) {
    return (lm_value){.kind = LM_UNDEFINED, .name = name};
}

lm_value lm_value_list(const lm_value *items, size_t count) {
    return (lm_value){.kind = LM_LIST, .list = {items, count, false}};
}

bool lm_value_true(const lm_value *value) {
    switch (value->kind) {
    case LM_UNDEFINED:
    case LM_NONE: return false;
    case LM_BOOL: return value->flag;
    case LM_INTEGER: return value->integer != 0;
    case LM_FLOAT: return value->number != 0;
    case LM_TEXT: return value->text.length > 0;
    case LM_LIST: return value->list.count > 0;
    case LM_DICT: return value->dict.count > 0;
    default: return true;
    }
}

bool lm_value_whole(const lm_value *value, int64_t *out) {
    *out = value->kind == LM_BOOL ? value->flag : value->kind == LM_INTEGER ? value->integer : 0;
    return value->kind == LM_BOOL || value->kind == LM_INTEGER;
}

bool lm_value_number(const lm_value *value, double *out) {
    int64_t whole;
    bool is_whole = lm_value_whole(value, &whole);
    *out = value->kind == LM_FLOAT ? value->number : (double)whole;
    return is_whole || value->kind == LM_FLOAT;
}

bool lm_value_is(const lm_value *value, const char *text) {
    return value->kind == LM_TEXT && value->text.length == strlen(text) &&
           memcmp(value->text.bytes, text, value->text.length) == 0;
}

const char *lm_value_kind_name(const lm_value *value) {
    static const char *const names[] = {"undefined", "none",        "a boolean", "an integer",
                                        "a float",   "a text",      "a list",    "a dict",
                                        "a loop",    "a namespace", "a macro",   "a function"};
    return names[value->kind];
}

static temper_status equal(lm_run *run, const lm_value *a, const lm_value *b, unsigned depth, bool *out);

static temper_status equal_items(lm_run *run, const lm_value *a, const lm_value *b, size_t count,
                                 unsigned depth, bool *out) {
    temper_status status = TEMPER_OK;
    *out = true;
    if (depth >= LM_MAX_VALUE_DEPTH) {
        return lm_run_fail(run, run->line, TEMPER_UNSUPPORTED, "values nested deeper than %d",
                           LM_MAX_VALUE_DEPTH);
    }
    for (size_t i = 0; i < count && *out && !status; i++) {
        status = equal(run, &a[i], &b[i], depth + 1, out);
    }
    return status;
}

/* In Python the order of a dict's keys does not matter. */
static temper_status equal_dicts(lm_run *run, const lm_value *a, const lm_value *b, unsigned depth,
                                 bool *out) {
    temper_status status = TEMPER_OK;
    *out = a->dict.count == b->dict.count;
    for (size_t i = 0; i < a->dict.count && *out && !status; i++) {
        lm_value other;
        status = lm_dict_get(run, b, &a->dict.pairs[2 * i], &other);
        *out = other.kind != LM_UNDEFINED;
        if (!status && *out) {
            status = equal_items(run, &a->dict.pairs[2 * i + 1], &other, 1, depth, out);
        }
    }
    return status;
}

static temper_status equal(lm_run *run, const lm_value *a, const lm_value *b, unsigned depth, bool *out) {
    double left, right;
    int64_t x, y;
    temper_status status =
        lm_run_work(run, 64 + (a->kind == LM_TEXT && b->kind == LM_TEXT && a->text.length == b->text.length
                                   ? a->text.length
                                   : 0));
    *out = false;
    if (status) {
        return status;
    }
    if (lm_value_whole(a, &x) && lm_value_whole(b, &y)) {
        *out = x == y;
    } else if (lm_value_number(a, &left) && lm_value_number(b, &right)) {
        *out = left == right;
    } else if (a->kind == b->kind) {
        switch (a->kind) {
        case LM_TEXT:
            *out = a->text.length == b->text.length &&
                   (a->text.length == 0 || memcmp(a->text.bytes, b->text.bytes, a->text.length) == 0);
            break;
        case LM_LIST:
            return a->list.count != b->list.count || a->list.tuple != b->list.tuple
                       ? TEMPER_OK
                       : equal_items(run, a->list.items, b->list.items, a->list.count, depth, out);
        case LM_DICT: return equal_dicts(run, a, b, depth, out);
        case LM_LOOP: *out = a->loop == b->loop; break;
        case LM_NAMESPACE: *out = a->fields == b->fields; break;
        case LM_MACRO: *out = a->macro == b->macro; break;
        default: *out = true;
        }
    }
    return TEMPER_OK;
}

temper_status lm_value_equal(lm_run *run, const lm_value *a, const lm_value *b, bool *out) {
    return equal(run, a, b, 0, out);
}

temper_status lm_value_order(lm_run *run, unsigned line, const lm_value *a, const lm_value *b, int *out) {
    int64_t x, y;
    double left, right;
    if (lm_value_whole(a, &x) && lm_value_whole(b, &y)) {
        *out = (x > y) - (x < y);
    } else if (lm_value_number(a, &left) && lm_value_number(b, &right)) {
        *out = (left > right) - (left < right);
    } else if (a->kind == LM_TEXT && b->kind == LM_TEXT) {
        size_t least = a->text.length < b->text.length ? a->text.length : b->text.length;
        int sign = least == 0 ? 0 : memcmp(a->text.bytes, b->text.bytes, least);
        sign = sign != 0 ? sign : (a->text.length > b->text.length) - (a->text.length < b->text.length);
        *out = (sign > 0) - (sign < 0);
    } else {
        return lm_run_fail(run, line, TEMPER_INVALID, "%s and %s have no order", lm_value_kind_name(a),
                           lm_value_kind_name(b));
    }
    return TEMPER_OK;
}

temper_status lm_dict_get(lm_run *run, const lm_value *dict, const lm_value *key, lm_value *out) {
    *out = lm_value_undefined("a key that is not there");
    for (size_t i = 0; i < dict->dict.count; i++) {
        const lm_value *pair = &dict->dict.pairs[2 * i];
        bool same = false;
        if (pair->kind == LM_TEXT && key->kind == LM_TEXT && pair->text.length != key->text.length) {
            run->steps += (i & 15) == 0; /* the common case, cheaply */
            continue;
        }
        temper_status status = lm_value_equal(run, pair, key, &same);
        if (status || same) {
            *out = same ? pair[1] : *out;
            return status;
        }
    }
    return TEMPER_OK;
}

temper_status lm_value_items(lm_run *run, unsigned line, const lm_value *value, const lm_value **items,
                             size_t *count) {
    *items = NULL;
    *count = 0;
    if (value->kind == LM_UNDEFINED) {
        return TEMPER_OK;
    }
    if (value->kind == LM_LIST) {
        *items = value->list.items;
        *count = value->list.count;
        return TEMPER_OK;
    }
    if (value->kind != LM_DICT && value->kind != LM_TEXT) {
        return lm_run_fail(run, line, TEMPER_INVALID, "%s cannot be gone through", lm_value_kind_name(value));
    }
    size_t room = value->kind == LM_DICT ? value->dict.count : lm_text_characters(&value->text), at = 0;
    lm_value *list = lm_run_get(run, room, sizeof *list);
    temper_status status = list == NULL ? TEMPER_NO_MEMORY : lm_run_work(run, room);
    for (size_t i = 0; i < room && !status; i++) {
        if (value->kind == LM_DICT) {
            list[i] = value->dict.pairs[2 * i];
        } else {
            size_t size = lm_text_character(&value->text, at);
            list[i] = (lm_value){.kind = LM_TEXT, .text = lm_text_part(&value->text, at, size)};
            at += size;
        }
    }
    *items = list;
    *count = room;
    return status;
}

temper_status lm_run_fail(lm_run *run, unsigned line, temper_status status, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return temper_fail(run->error, status, "chat template: line %u: %s", line, text);
}

void *lm_run_get(lm_run *run, size_t count, size_t size) {
    size_t bytes = 0;
    void *memory =
        __builtin_mul_overflow(count, size, &bytes) ? NULL : lm_arena_get(&run->arena, bytes + (bytes == 0));
    if (memory == NULL) {
        lm_run_fail(run, run->line, TEMPER_NO_MEMORY, "a value of %zu parts is more than a template may make",
                    count);
    }
    return memory;
}

temper_status lm_run_work(lm_run *run, size_t size) {
    run->steps += size / 64;
    return run->steps <= LM_TEMPLATE_STEPS
               ? TEMPER_OK
               : lm_run_fail(run, run->line, TEMPER_INVALID, "more than %d steps", LM_TEMPLATE_STEPS);
}

lm_text lm_text_part(const lm_text *text, size_t from, size_t length) {
    return (lm_text){text->bytes + from, length, text->marks == NULL ? NULL : text->marks + from, text->mark};
}

size_t lm_text_character(const lm_text *text, size_t at) {
    size_t size = 1;
    while (at + size < text->length && ((unsigned char)text->bytes[at + size] & 0xC0) == 0x80) {
        size++;
    }
    return size;
}

size_t lm_text_characters(const lm_text *text) {
    size_t count = 0;
    for (size_t at = 0; at < text->length; at += lm_text_character(text, at)) {
        count++;
    }
    return count;
}

temper_status lm_scope_set(lm_run *run, lm_scope *scope, const char *name, lm_value value) {
    for (lm_binding *binding = scope->bindings; binding != NULL; binding = binding->next) {
        if (strcmp(binding->name, name) == 0) {
            binding->value = value;
            return TEMPER_OK;
        }
    }
    lm_binding *binding = lm_run_get(run, 1, sizeof *binding);
    if (binding == NULL) {
        return TEMPER_NO_MEMORY;
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

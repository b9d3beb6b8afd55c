/* json_parse.c: text to values. jansson decides what is valid; its tree is copied into the arena while the text is walked
 * beside it (jansson keeps members in the order they came), because jansson keeps a number's value and not its digits. */
#include "base/json_value.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The text is valid JSON when this walks it; `end` is only a second fence. */
typedef struct walker {
    temper_arena *arena;
    const char *at, *end;
} walker;

static void skip_space(walker *w) {
    while (w->at < w->end && (*w->at == ' ' || *w->at == '\t' || *w->at == '\n' || *w->at == '\r')) {
        w->at++;
    }
}

static void skip_byte(walker *w) {
    skip_space(w);
    if (w->at < w->end) {
        w->at++;
    }
}

static void skip_string(walker *w) {
    skip_byte(w); /* the opening quote */
    while (w->at < w->end && *w->at != '"') {
        w->at += *w->at == '\\' && w->at + 1 < w->end ? 2 : 1;
    }
    skip_byte(w);
}

static size_t word_length(const walker *w) {
    const char *at = w->at;
    while (at < w->end && (*at == '-' || *at == '+' || *at == '.' || (*at >= '0' && *at <= '9') ||
                           (*at >= 'a' && *at <= 'z') || *at == 'E')) {
        at++;
    }
    return (size_t)(at - w->at);
}

static temper_json *convert(walker *w, const json_t *source);

static temper_json *convert_array(walker *w, const json_t *source) {
    size_t count = json_array_size(source), i;
    temper_json *array = json_new(w->arena, TEMPER_JSON_ARRAY);
    if (array == NULL) {
        return NULL;
    }
    if (count > 0) {
        array->elements = tm_arena_allocate(w->arena, count * sizeof *array->elements);
        if (array->elements == NULL) {
            return NULL;
        }
    }
    array->capacity = count;
    skip_byte(w); /* [ */
    for (i = 0; i < count; i++) {
        array->elements[i] = convert(w, json_array_get(source, i));
        if (array->elements[i] == NULL) {
            return NULL;
        }
        array->length++;
        skip_byte(w); /* , or ] */
    }
    if (count == 0) {
        skip_byte(w);
    }
    return array;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const json_member *)a)->name, ((const json_member *)b)->name);
}

static temper_json *convert_object(walker *w, const json_t *source) {
    /* jansson's iterators take a mutable object and do not change it. */
    json_t *object_source = (json_t *)(uintptr_t)source;
    size_t count = json_object_size(source);
    temper_json *object = json_new(w->arena, TEMPER_JSON_OBJECT);
    bool sorted = true;
    void *iterator;
    if (object == NULL) {
        return NULL;
    }
    if (count > 0) {
        object->members = tm_arena_allocate(w->arena, count * sizeof *object->members);
        if (object->members == NULL) {
            return NULL;
        }
    }
    object->capacity = count;
    skip_byte(w); /* { */
    for (iterator = json_object_iter(object_source); iterator != NULL;
         iterator = json_object_iter_next(object_source, iterator)) {
        json_member *member = &object->members[object->length];
        const char *name = json_object_iter_key(iterator);
        skip_string(w);
        skip_byte(w); /* : */
        member->name = tm_arena_copy(w->arena, name, strlen(name));
        member->value = convert(w, json_object_iter_value(iterator));
        if (member->name == NULL || member->value == NULL) {
            return NULL;
        }
        sorted = sorted && (object->length == 0 || strcmp(member[-1].name, member->name) < 0);
        object->length++;
        skip_byte(w); /* , or } */
    }
    if (count == 0) {
        skip_byte(w);
    }
    if (!sorted) {
        qsort(object->members, object->length, sizeof *object->members, by_name);
    }
    return object;
}

static temper_json *convert(walker *w, const json_t *source) {
    temper_json *value = NULL;
    size_t length;
    skip_space(w);
    switch (json_typeof(source)) {
    case JSON_OBJECT: return convert_object(w, source);
    case JSON_ARRAY: return convert_array(w, source);
    case JSON_STRING:
        value = json_new_string(w->arena, json_string_value(source), json_string_length(source));
        skip_string(w);
        return value;
    case JSON_INTEGER: /* not with JSON_DECODE_INT_AS_REAL */
    case JSON_REAL:
        length = word_length(w);
        value = json_new_number_text(w->arena, w->at, length, json_number_value(source));
        w->at += length;
        return value;
    case JSON_TRUE:
    case JSON_FALSE:
        value = json_new(w->arena, TEMPER_JSON_BOOLEAN);
        if (value != NULL) {
            value->boolean = json_is_true(source);
        }
        w->at += word_length(w);
        return value;
    case JSON_NULL: w->at += word_length(w); return json_new(w->arena, TEMPER_JSON_NULL);
    }
    return NULL;
}

/* Depth is bounded before anything recurses. Text that is no JSON may be measured wrongly; jansson then refuses it. */
static bool shallow_enough(const char *text, size_t length) {
    const char *end = text + length;
    size_t depth = 0;
    for (; text < end; text++) {
        if (*text == '"') {
            for (text++; text < end && *text != '"'; text++) {
                text += *text == '\\' && text + 1 < end;
            }
            if (text >= end) {
                break;
            }
        } else if (*text == '[' || *text == '{') {
            if (++depth > TM_JSON_DEPTH) {
                return false;
            }
        } else if ((*text == ']' || *text == '}') && depth > 0) {
            depth--;
        }
    }
    return true;
}

temper_status tm_json_parse(temper_arena *arena, const char *text, size_t length, const temper_json **out,
                            temper_error *error) {
    temper_status status = TEMPER_OK;
    walker w = {arena, text, text + length};
    json_locale locale;
    json_error_t problem;
    json_t *tree;
    if (!shallow_enough(text, length)) {
        return temper_fail(error, TEMPER_INVALID, "JSON is nested deeper than %d levels", TM_JSON_DEPTH);
    }
    skip_space(&w);
    if (w.at == w.end) {
        return temper_fail(error, TEMPER_INVALID, "JSON is empty: a value is needed");
    }
    locale = json_locale_enter();
    tree = json_loadb(text, length,
                      JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL,
                      &problem);
    json_locale_leave(locale);
    if (tree == NULL) {
        if (json_error_code(&problem) == json_error_out_of_memory) {
            return temper_fail(error, TEMPER_NO_MEMORY, "out of memory reading JSON of %zu bytes", length);
        }
        return temper_fail(error, TEMPER_INVALID, "JSON line %d, column %d: %s", problem.line, problem.column,
                           problem.text);
    }
    *out = convert(&w, tree); /* NULL on failure */
    if (*out == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory reading JSON of %zu bytes", length);
    } else {
        skip_space(&w);
        if (w.at != w.end) { /* jansson takes a zero byte after the value for the end of the text */
            *out = NULL;
            status = temper_fail(error, TEMPER_INVALID, "JSON is followed by something at byte %zu",
                                 (size_t)(w.at - text));
        }
    }
    json_decref(tree);
    return status;
}

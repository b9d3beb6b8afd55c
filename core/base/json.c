/* json.c: JSON values in arenas: reading and building; see json.h, and json_value.h for how they lie. */
#include "base/json_value.h"

#include "base/text.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

temper_json *json_new(temper_arena *arena, temper_json_kind kind) {
    temper_json *value = tm_arena_allocate(arena, sizeof *value);
    if (value != NULL) {
        memset(value, 0, sizeof *value);
        value->kind = (uint8_t)kind;
    }
    return value;
}

temper_json *json_new_number_text(temper_arena *arena, const char *text, size_t length, double number) {
    temper_json *value = json_new(arena, TEMPER_JSON_NUMBER);
    if (value != NULL) {
        value->number = number;
        value->text = tm_arena_copy(arena, text, length);
        value->length = length;
    }
    return value != NULL && value->text != NULL ? value : NULL;
}

temper_json *json_new_string(temper_arena *arena, const char *text, size_t length) {
    temper_json *value = json_new(arena, TEMPER_JSON_STRING);
    if (value != NULL) {
        value->text = tm_arena_copy(arena, text, length);
        value->length = length;
    }
    return value != NULL && value->text != NULL ? value : NULL;
}

temper_json_kind tm_json_kind(const temper_json *value) {
    return value == NULL ? TEMPER_JSON_NULL : (temper_json_kind)value->kind;
}

static bool is_kind(const temper_json *value, temper_json_kind kind) {
    return value != NULL && value->kind == kind;
}

/* The first member whose name is not below `name`. */
static size_t lower_bound(const temper_json *object, const char *name, bool *found) {
    size_t low = 0, high = object->length;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(object->members[middle].name, name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const temper_json *tm_json_member(const temper_json *object, const char *name) {
    bool found;
    size_t at;
    if (!is_kind(object, TEMPER_JSON_OBJECT) || name == NULL) {
        return NULL;
    }
    at = lower_bound(object, name, &found);
    return found ? object->members[at].value : NULL;
}

const temper_json *tm_json_element(const temper_json *array, size_t index) {
    return is_kind(array, TEMPER_JSON_ARRAY) && index < array->length ? array->elements[index] : NULL;
}

size_t tm_json_length(const temper_json *value) {
    return value != NULL && value->kind >= TEMPER_JSON_STRING ? value->length : 0;
}

const char *tm_json_name(const temper_json *object, size_t index, const temper_json **value) {
    if (!is_kind(object, TEMPER_JSON_OBJECT) || index >= object->length) {
        if (value != NULL) {
            *value = NULL;
        }
        return NULL;
    }
    if (value != NULL) {
        *value = object->members[index].value;
    }
    return object->members[index].name;
}

const char *tm_json_string(const temper_json *value, size_t *length) {
    if (!is_kind(value, TEMPER_JSON_STRING)) {
        if (length != NULL) {
            *length = 0;
        }
        return NULL;
    }
    if (length != NULL) {
        *length = value->length;
    }
    return value->text;
}

const char *tm_json_text(const temper_json *value, const char *fallback) {
    const char *text = tm_json_string(value, NULL);
    return text != NULL ? text : fallback;
}

bool tm_json_double(const temper_json *value, double *out) {
    if (!is_kind(value, TEMPER_JSON_NUMBER)) {
        return false;
    }
    *out = value->number;
    return true;
}

bool tm_json_boolean(const temper_json *value, bool *out) {
    if (!is_kind(value, TEMPER_JSON_BOOLEAN)) {
        return false;
    }
    *out = value->boolean;
    return true;
}

temper_json *tm_json_object(temper_arena *arena) {
    return json_new(arena, TEMPER_JSON_OBJECT);
}

temper_json *tm_json_array(temper_arena *arena) {
    return json_new(arena, TEMPER_JSON_ARRAY);
}

temper_json *tm_json_new_string(temper_arena *arena, const char *text, size_t length) {
    return text != NULL && tm_text_utf8(text, length, NULL) ? json_new_string(arena, text, length) : NULL;
}

temper_json *tm_json_new_number(temper_arena *arena, double number) {
    char text[32];
    if (!isfinite(number)) {
        return NULL;
    }
    return json_new_number_text(arena, text, tm_json_number(number, text), number);
}

temper_json *tm_json_new_integer(temper_arena *arena, int64_t number) {
    char text[32];
    int length = snprintf(text, sizeof text, "%" PRId64, number);
    return json_new_number_text(arena, text, (size_t)length, (double)number);
}

temper_json *tm_json_new_boolean(temper_arena *arena, bool boolean) {
    temper_json *value = json_new(arena, TEMPER_JSON_BOOLEAN);
    if (value != NULL) {
        value->boolean = boolean;
    }
    return value;
}

temper_json *tm_json_new_null(temper_arena *arena) {
    return json_new(arena, TEMPER_JSON_NULL);
}

temper_json *tm_json_copy_object(temper_arena *arena, const temper_json *object) {
    temper_json *copy = is_kind(object, TEMPER_JSON_OBJECT) ? tm_json_object(arena) : NULL;
    if (copy == NULL || object->length == 0) {
        return copy;
    }
    copy->members = tm_arena_allocate(arena, (object->length + 2) * sizeof *copy->members);
    if (copy->members == NULL) {
        return NULL;
    }
    memcpy(copy->members, object->members, object->length * sizeof *copy->members);
    copy->length = object->length;
    copy->capacity = object->length + 2; /* copied to be added to */
    return copy;
}

/* Room for one more in a list of `size`-byte items; the old list stays behind in the arena. */
static void *grown(temper_arena *arena, const void *list, size_t length, size_t *capacity, size_t size) {
    size_t room = *capacity < 4 ? 4 : *capacity * 2;
    void *bigger = room < SIZE_MAX / 2 / size ? tm_arena_allocate(arena, room * size) : NULL;
    if (bigger != NULL) {
        if (length > 0) {
            memcpy(bigger, list, length * size);
        }
        *capacity = room;
    }
    return bigger;
}

bool tm_json_set(temper_arena *arena, temper_json *object, const char *name, const temper_json *value) {
    size_t at, length;
    bool found = false;
    if (!is_kind(object, TEMPER_JSON_OBJECT) || name == NULL || value == NULL) {
        return false;
    }
    /* Names mostly come in order, or are put where they were. */
    if (object->length > 0 && strcmp(object->members[object->length - 1].name, name) < 0) {
        at = object->length;
    } else {
        at = lower_bound(object, name, &found);
    }
    if (found) {
        object->members[at].value = value;
        return true;
    }
    length = strlen(name);
    if (!tm_text_utf8(name, length, NULL)) {
        return false;
    }
    name = tm_arena_copy(arena, name, length);
    if (name == NULL) {
        return false;
    }
    if (object->length == object->capacity) {
        json_member *bigger =
            grown(arena, object->members, object->length, &object->capacity, sizeof *object->members);
        if (bigger == NULL) {
            return false;
        }
        object->members = bigger;
    }
    memmove(object->members + at + 1, object->members + at, (object->length - at) * sizeof *object->members);
    object->members[at] = (json_member){name, value};
    object->length++;
    return true;
}

bool tm_json_append(temper_arena *arena, temper_json *array, const temper_json *value) {
    if (!is_kind(array, TEMPER_JSON_ARRAY) || value == NULL) {
        return false;
    }
    if (array->length == array->capacity) {
        const temper_json **bigger =
            grown(arena, array->elements, array->length, &array->capacity, sizeof *array->elements);
        if (bigger == NULL) {
            return false;
        }
        array->elements = bigger;
    }
    array->elements[array->length++] = value;
    return true;
}

bool tm_json_set_string(temper_arena *arena, temper_json *object, const char *name, const char *text) {
    return text != NULL && tm_json_set(arena, object, name, tm_json_new_string(arena, text, strlen(text)));
}

bool tm_json_set_integer(temper_arena *arena, temper_json *object, const char *name, int64_t number) {
    return tm_json_set(arena, object, name, tm_json_new_integer(arena, number));
}

bool tm_json_set_number(temper_arena *arena, temper_json *object, const char *name, double number) {
    return tm_json_set(arena, object, name, tm_json_new_number(arena, number));
}

bool tm_json_set_boolean(temper_arena *arena, temper_json *object, const char *name, bool value) {
    return tm_json_set(arena, object, name, tm_json_new_boolean(arena, value));
}

bool tm_json_append_string(temper_arena *arena, temper_json *array, const char *text) {
    return text != NULL && tm_json_append(arena, array, tm_json_new_string(arena, text, strlen(text)));
}

static const char *api_write(temper_arena *arena, const temper_json *value, size_t *length) {
    tm_buffer buffer = TM_BUFFER_INIT;
    char *text = NULL;
    if (tm_json_write(value, &buffer, NULL) == TEMPER_OK) {
        text = tm_arena_copy(arena, buffer.data, buffer.length);
        if (text != NULL && length != NULL) {
            *length = buffer.length;
        }
    }
    tm_buffer_free(&buffer);
    return text;
}

const temper_json_api tm_json_api = {
    .size = sizeof tm_json_api,
    .kind = tm_json_kind,
    .member = tm_json_member,
    .element = tm_json_element,
    .length = tm_json_length,
    .name = tm_json_name,
    .string = tm_json_string,
    .number = tm_json_double,
    .integer = tm_json_integer,
    .boolean = tm_json_boolean,
    .arena_new = tm_arena_new,
    .arena_free = tm_arena_free,
    .new_object = tm_json_object,
    .new_array = tm_json_array,
    .new_string = tm_json_new_string,
    .new_number = tm_json_new_number,
    .new_integer = tm_json_new_integer,
    .new_boolean = tm_json_new_boolean,
    .new_null = tm_json_new_null,
    .copy_object = tm_json_copy_object,
    .set = tm_json_set,
    .append = tm_json_append,
    .parse = tm_json_parse,
    .write = api_write,
};

/* host_json.c: the JSON calls as a plugin gets them.
 *
 * They are the core's own, with one thing added: a value that could not be made (NaN, not UTF-8, no memory) and was then
 * put into an object or array all the same is remembered, and the stage fails with the member's name. So a plugin may
 * write json->set(arena, record, "score", json->new_number(arena, score)) without looking at each answer, and no member
 * is ever silently absent. A NULL that comes from elsewhere (a member that was not there) is left out, as documented. */
#include "worker/host.h"

#include "base/text.h"
#include <math.h>

static _Thread_local temper_status refusal;
static _Thread_local const char *refusal_reason;

static temper_json *made(temper_json *value, temper_status status, const char *reason) {
    refusal = value == NULL ? status : TEMPER_OK;
    refusal_reason = reason;
    return value;
}

static const char no_memory[] = "memory was short";

static temper_arena *arena_new(void) {
    return tm_memory_refuses() ? NULL : tm_json_api.arena_new();
}

static void arena_free(temper_arena *arena) {
    if (arena != NULL) {
        tm_json_api.arena_free(arena);
    }
}

/* May a value be made in this arena? NULL is what arena_new gave when memory was short. */
static bool may(const temper_arena *arena) {
    return arena != NULL && !tm_memory_refuses();
}

static temper_json *new_object(temper_arena *arena) {
    return made(may(arena) ? tm_json_api.new_object(arena) : NULL, TEMPER_NO_MEMORY, no_memory);
}

static temper_json *new_array(temper_arena *arena) {
    return made(may(arena) ? tm_json_api.new_array(arena) : NULL, TEMPER_NO_MEMORY, no_memory);
}

static temper_json *new_string(temper_arena *arena, const char *text, size_t length) {
    size_t bad;
    if (text == NULL || !tm_text_utf8(text, length, &bad)) {
        return made(NULL, TEMPER_INVALID, text == NULL ? "there is no text" : "the text is not UTF-8");
    }
    return made(may(arena) ? tm_json_api.new_string(arena, text, length) : NULL, TEMPER_NO_MEMORY, no_memory);
}

static temper_json *new_number(temper_arena *arena, double number) {
    if (!isfinite(number)) {
        return made(NULL, TEMPER_INVALID, "the number is NaN or infinite");
    }
    return made(may(arena) ? tm_json_api.new_number(arena, number) : NULL, TEMPER_NO_MEMORY, no_memory);
}

static temper_json *new_integer(temper_arena *arena, int64_t number) {
    return made(may(arena) ? tm_json_api.new_integer(arena, number) : NULL, TEMPER_NO_MEMORY, no_memory);
}

static temper_json *new_boolean(temper_arena *arena, bool value) {
    return made(may(arena) ? tm_json_api.new_boolean(arena, value) : NULL, TEMPER_NO_MEMORY, no_memory);
}

static temper_json *new_null(temper_arena *arena) {
    return made(may(arena) ? tm_json_api.new_null(arena) : NULL, TEMPER_NO_MEMORY, no_memory);
}

static temper_json *copy_object(temper_arena *arena, const temper_json *object) {
    if (tm_json_kind(object) != TEMPER_JSON_OBJECT) {
        return made(NULL, TEMPER_INVALID, "the value to copy is no object");
    }
    return made(may(arena) ? tm_json_api.copy_object(arena, object) : NULL, TEMPER_NO_MEMORY, no_memory);
}

static bool remember(bool done, const temper_json *value, const char *what, const char *name) {
    if (!done && (value != NULL || refusal != TEMPER_OK)) {
        tm_misuse(value != NULL ? TEMPER_NO_MEMORY : refusal, "%s%s%s could not be put into a record: %s",
                  what, name, *name != 0 ? "\"" : "", value != NULL ? no_memory : refusal_reason);
    }
    refusal = TEMPER_OK;
    return done;
}

static bool set(temper_arena *arena, temper_json *object, const char *name, const temper_json *value) {
    bool done = object != NULL && may(arena) && tm_json_api.set(arena, object, name, value);
    return remember(done, value, "member \"", name);
}

static bool append(temper_arena *arena, temper_json *array, const temper_json *value) {
    bool done = array != NULL && may(arena) && tm_json_api.append(arena, array, value);
    return remember(done, value, "an element", "");
}

const temper_json_api *tm_host_json(void) {
    static temper_json_api api;
    if (api.size == 0) {
        api = tm_json_api;
        api.arena_new = arena_new;
        api.arena_free = arena_free;
        api.new_object = new_object;
        api.new_array = new_array;
        api.new_string = new_string;
        api.new_number = new_number;
        api.new_integer = new_integer;
        api.new_boolean = new_boolean;
        api.new_null = new_null;
        api.copy_object = copy_object;
        api.set = set;
        api.append = append;
    }
    return &api;
}

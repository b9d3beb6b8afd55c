/* host_json.c: the JSON calls as a plugin gets them.
 *
 * They are the core's own, with one thing added: a value that could not be made (NaN, not UTF-8, no memory) and was then
 * put into an object or array all the same is remembered, and the stage fails with the member's name. So a plugin may
 * write json->set(arena, record, "score", json->new_number(arena, score)) without looking at each answer, and no member
 * is ever silently absent. A NULL that comes from elsewhere (a member that was not there) is left out, as documented. */
#include "worker/host.h"

static _Thread_local temper_status refusal;
static _Thread_local const char *refusal_reason;

static temper_json *made(temper_json *value, temper_status status, const char *reason) {
    refusal = value == NULL ? status : TEMPER_OK;
    refusal_reason = reason;
    return value;
}

static const char no_memory[] = "memory was short";

static temper_json *new_object(temper_arena *arena) {
    return made(tm_json_api.new_object(arena), TEMPER_NO_MEMORY, no_memory);
}

static temper_json *new_array(temper_arena *arena) {
    return made(tm_json_api.new_array(arena), TEMPER_NO_MEMORY, no_memory);
}

static temper_json *new_string(temper_arena *arena, const char *text, size_t length) {
    return made(tm_json_api.new_string(arena, text, length), TEMPER_INVALID,
                "the text is not UTF-8, or memory was short");
}

static temper_json *new_number(temper_arena *arena, double number) {
    return made(tm_json_api.new_number(arena, number), TEMPER_INVALID, "the number is NaN or infinite");
}

static temper_json *new_integer(temper_arena *arena, int64_t number) {
    return made(tm_json_api.new_integer(arena, number), TEMPER_NO_MEMORY, no_memory);
}

static temper_json *new_boolean(temper_arena *arena, bool value) {
    return made(tm_json_api.new_boolean(arena, value), TEMPER_NO_MEMORY, no_memory);
}

static temper_json *new_null(temper_arena *arena) {
    return made(tm_json_api.new_null(arena), TEMPER_NO_MEMORY, no_memory);
}

static temper_json *copy_object(temper_arena *arena, const temper_json *object) {
    return made(tm_json_api.copy_object(arena, object), TEMPER_INVALID,
                "the value to copy is no object, or memory was short");
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
    return remember(tm_json_api.set(arena, object, name, value), value, "member \"", name);
}

static bool append(temper_arena *arena, temper_json *array, const temper_json *value) {
    return remember(tm_json_api.append(arena, array, value), value, "an element", "");
}

const temper_json_api *tm_host_json(void) {
    static temper_json_api api;
    if (api.size == 0) {
        api = tm_json_api;
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

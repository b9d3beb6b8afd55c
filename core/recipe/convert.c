/* convert.c: Lua values as JSON. Only what JSON can say is let through: no NaN, no functions, no tables that are half list and
 * half object, no text that is not UTF-8. */
#include "recipe/internal.h"

#include "base/text.h"

#include <math.h>

enum { CONVERT_DEPTH = 32 };

static const temper_json *convert(lua_State *L, int index, const char *path, place at, int depth);

static const temper_json *convert_string(lua_State *L, int index, const char *path, place at) {
    loader *state = recipe_of(L);
    size_t length, bad = 0;
    const char *text = lua_tolstring(L, index, &length);
    const temper_json *value;
    if (!tm_text_utf8(text, length, &bad)) {
        recipe_fail(L, at, "'%s' is not UTF-8 at byte %zu", path, bad + 1);
    }
    value = tm_json_api.new_string(state->arena, text, length);
    if (value == NULL) {
        recipe_no_memory(L);
    }
    return value;
}

static const temper_json *convert_table(lua_State *L, int index, const char *path, place at, int depth) {
    loader *state = recipe_of(L);
    size_t count = lua_rawlen(L, index), members = 0;
    temper_json *result;
    bool named = false;
    if (depth >= CONVERT_DEPTH) {
        recipe_fail(L, at, "'%s' is nested more than %d deep", path, CONVERT_DEPTH);
    }
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        members++;
        if (lua_type(L, -2) == LUA_TSTRING) {
            named = true;
        } else if (!lua_isinteger(L, -2)) {
            recipe_fail(L, at, "'%s' has a %s as key: names or a plain list", path, luaL_typename(L, -2));
        }
    }
    if ((named && count > 0) || (!named && members != count)) {
        recipe_fail(L, at, "'%s' must be either a list without gaps or a table of names", path);
    }
    result = named ? tm_json_object(state->arena) : tm_json_array(state->arena);
    if (named) {
        for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
            const char *name = lua_tostring(L, -2);
            const char *inner = tm_arena_format(state->arena, "%s.%s", path, name);
            const temper_json *value = convert(L, lua_gettop(L), inner != NULL ? inner : path, at, depth + 1);
            size_t length, bad = 0;
            lua_tolstring(L, -2, &length);
            if (!tm_text_utf8(name, length, &bad) || strlen(name) != length) {
                recipe_fail(L, at, "'%s' has a name that is not UTF-8", path);
            }
            if (!tm_json_set(state->arena, result, name, value)) {
                recipe_no_memory(L);
            }
        }
    } else {
        size_t i;
        for (i = 1; i <= count; i++) {
            const temper_json *value;
            lua_rawgeti(L, index, (lua_Integer)i);
            value = convert(L, lua_gettop(L), path, at, depth + 1);
            lua_pop(L, 1);
            if (!tm_json_append(state->arena, result, value)) {
                recipe_no_memory(L);
            }
        }
    }
    return result;
}

static const temper_json *convert(lua_State *L, int index, const char *path, place at, int depth) {
    loader *state = recipe_of(L);
    const temper_json *value = NULL;
    luaL_checkstack(L, 8, "nested too deep");
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN: value = tm_json_api.new_boolean(state->arena, lua_toboolean(L, index)); break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) {
            value = tm_json_api.new_integer(state->arena, lua_tointeger(L, index));
        } else if (isfinite(lua_tonumber(L, index))) {
            value = tm_json_api.new_number(state->arena, lua_tonumber(L, index));
        } else {
            recipe_fail(L, at, "'%s' is not a finite number", path);
        }
        break;
    case LUA_TSTRING: return convert_string(L, index, path, at);
    case LUA_TTABLE: return convert_table(L, index, path, at, depth);
    case LUA_TUSERDATA:
        sandbox_push_text(L, index);
        recipe_fail(L, at, "'%s' is a parameter and cannot be %s", path, lua_tostring(L, -1));
    default: recipe_fail(L, at, "'%s' cannot be a %s", path, luaL_typename(L, index));
    }
    if (value == NULL) {
        recipe_no_memory(L);
    }
    return value;
}

const temper_json *convert_value(lua_State *L, int index, const char *path, place at) {
    return convert(L, lua_absindex(L, index), path, at, 0);
}

/* string.c: `string` and tostring without addresses: a pointer in a text would differ from run to run. */
#include "sandbox/sandbox.h"

void sandbox_push_text(lua_State *L, int index) {
    int type = lua_type(L, index);
    index = lua_absindex(L, index);
    if (type == LUA_TTABLE || type == LUA_TUSERDATA || type == LUA_TFUNCTION || type == LUA_TTHREAD ||
        type == LUA_TLIGHTUSERDATA) {
        if (luaL_getmetafield(L, index, "__tostring") != LUA_TNIL) {
            lua_pop(L, 1);
            luaL_tolstring(L, index, NULL);
            return;
        }
        if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING) {
            return;
        }
        lua_pushstring(L, lua_typename(L, type));
        return;
    }
    if (type == LUA_TNUMBER && !lua_isinteger(L, index)) {
        lua_Number number = lua_tonumber(L, index);
        if (number != number) {
            lua_pushliteral(L, "nan"); /* its sign is the machine's */
            return;
        }
    }
    luaL_tolstring(L, index, NULL);
}

/* Lua's own string.format (upvalue 1), with %p refused and %s of a table or function given a text without address. */
static int string_format(lua_State *L) {
    size_t length, i;
    const char *format = luaL_checklstring(L, 1, &length);
    int argument = 1, top = lua_gettop(L);
    for (i = 0; i < length; i++) {
        if (format[i] != '%') {
            continue;
        }
        if (++i < length && format[i] == '%') {
            continue;
        }
        while (i < length && strchr("-+ #0123456789.", format[i]) != NULL && format[i] != 0) {
            i++;
        }
        argument++;
        if (i >= length || argument > top) {
            break; /* Lua's own message says what is wrong */
        }
        if (format[i] == 'p') {
            sandbox_fail(L, "string.format: %%p is not there: addresses differ from run to run");
        }
        if (format[i] == 's') {
            sandbox_push_text(L, argument);
            lua_replace(L, argument);
        }
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, top, 1);
    return 1;
}

void sandbox_string(lua_State *L) {
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 0);
    lua_getfield(L, -1, "format");
    lua_pushcclosure(L, string_format, 1);
    lua_setfield(L, -2, "format");
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_pushliteral(L, "");
    if (lua_getmetatable(L, -1)) {
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    lua_setfield(L, -2, LUA_STRLIBNAME);
}

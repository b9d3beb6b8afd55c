/* math.c: `math` with fixed bits. libm's exp, log and sin differ between machines (docs/numerics.md), so math.* is
 * temper/math.h's. The `^` operator calls pow from inside the Lua library; what is done about it is its user's affair. */
#include "sandbox/sandbox.h"

#include <temper/math.h>

#define UNARY(name)                                                                                          \
    static int math_##name(lua_State *L) {                                                                   \
        lua_pushnumber(L, temper_##name(luaL_checknumber(L, 1)));                                            \
        return 1;                                                                                            \
    }
UNARY(exp)
UNARY(sin)
UNARY(cos)
UNARY(tan)
UNARY(asin)
UNARY(acos)

static int math_atan(lua_State *L) {
    double y = luaL_checknumber(L, 1), x = luaL_optnumber(L, 2, 1);
    lua_pushnumber(L, temper_atan2(y, x));
    return 1;
}

static int math_log(lua_State *L) {
    double x = luaL_checknumber(L, 1), base;
    if (lua_isnoneornil(L, 2)) {
        lua_pushnumber(L, temper_log(x));
        return 1;
    }
    base = luaL_checknumber(L, 2);
    if (base == 2.0) {
        lua_pushnumber(L, temper_log2(x));
    } else if (base == 10.0) {
        lua_pushnumber(L, temper_log10(x));
    } else {
        lua_pushnumber(L, temper_log(x) / temper_log(base));
    }
    return 1;
}

static int math_missing(lua_State *L) {
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(name, "random") == 0 || strcmp(name, "randomseed") == 0) {
        sandbox_fail(
            L,
            "'math.%s' is not there: a recipe gives the same plan each time; chance comes from the "
            "run's seed (--seed), inside stages",
            name);
    }
    lua_pushnil(L);
    return 1;
}

void sandbox_math(lua_State *L) {
    static const char *const exact[] = {"abs",        "ceil", "floor", "fmod", "huge",       "max",
                                        "maxinteger", "min",  "modf",  "pi",   "mininteger", "sqrt",
                                        "tointeger",  "type", "ult",   NULL};
    static const luaL_Reg ours[] = {{"exp", math_exp},   {"sin", math_sin},   {"cos", math_cos},
                                    {"tan", math_tan},   {"asin", math_asin}, {"acos", math_acos},
                                    {"atan", math_atan}, {"log", math_log},   {NULL, NULL}};
    size_t i;
    luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 0);
    lua_newtable(L);
    for (i = 0; exact[i] != NULL; i++) {
        lua_getfield(L, -2, exact[i]);
        lua_setfield(L, -2, exact[i]);
    }
    luaL_setfuncs(L, ours, 0);
    lua_newtable(L);
    lua_pushcfunction(L, math_missing);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -3, LUA_MATHLIBNAME);
    lua_pop(L, 1);
}

/* power.c: `^` with fixed bits. The operator calls pow from inside the Lua library: this file defines pow, which the dynamic
 * linker finds in the executable before libm's. That this took effect is checked when a recipe is loaded
 * (sandbox_power_is_ours), and a program in which it did not refuses to load any. */
#include "recipe/internal.h"

#include <temper/math.h>

static int power_calls;

__attribute__((visibility("default"))) double pow(double x, double y);
double pow(double x, double y) {
    power_calls++;
    return temper_pow(x, y);
}

bool sandbox_power_is_ours(lua_State *L) {
    int before = power_calls;
    lua_pushnumber(L, 1.75);
    lua_pushnumber(L, 1.25);
    lua_arith(L, LUA_OPPOW);
    lua_pop(L, 1);
    return power_calls == before + 1;
}

/* table.c: tables in one order. Lua walks a table in the order of its hash, which is seeded with an address; here
 * `pairs` and `next` walk numbers by value, then strings by bytes, then false and true. table.sort is a merge sort:
 * equal elements keep their order. */
#include "sandbox/sandbox.h"

#include <stdlib.h>

typedef struct sort_key {
    int rank; /* 0 number, 1 string, 2 boolean */
    bool integer;
    lua_Integer whole;
    lua_Number number;
    const char *text;
    size_t length;
} sort_key;

static sort_key key_at(lua_State *L, int index) {
    sort_key key = {0, false, 0, 0, NULL, 0};
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        key.integer = lua_isinteger(L, index);
        key.whole = key.integer ? lua_tointeger(L, index) : 0;
        key.number = lua_tonumber(L, index);
        break;
    case LUA_TSTRING:
        key.rank = 1;
        key.text = lua_tolstring(L, index, &key.length);
        break;
    case LUA_TBOOLEAN:
        key.rank = 2;
        key.whole = lua_toboolean(L, index);
        break;
    default:
        sandbox_fail(
            L, "a table with a %s as key has no fixed order to walk in: use texts or numbers as keys",
            luaL_typename(L, index));
    }
    return key;
}

static int compare_keys(const void *left, const void *right) {
    const sort_key *a = left, *b = right;
    size_t shorter;
    int order;
    if (a->rank != b->rank) {
        return a->rank < b->rank ? -1 : 1;
    }
    if (a->rank == 0) {
        /* 64-bit mantissa: integers and doubles compare exactly */
        long double x = a->integer ? (long double)a->whole : (long double)a->number;
        long double y = b->integer ? (long double)b->whole : (long double)b->number;
        return (x > y) - (x < y);
    }
    if (a->rank == 2) {
        return (a->whole > b->whole) - (a->whole < b->whole);
    }
    shorter = a->length < b->length ? a->length : b->length;
    order = memcmp(a->text, b->text, shorter);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

static void push_key(lua_State *L, const sort_key *key) {
    if (key->rank == 1) {
        lua_pushlstring(L, key->text, key->length);
    } else if (key->rank == 2) {
        lua_pushboolean(L, (int)key->whole);
    } else if (key->integer) {
        lua_pushinteger(L, key->whole);
    } else {
        lua_pushnumber(L, key->number);
    }
}

/* Upvalues: the sorted keys (with the names they point into as user value), how many, the next one, and the table. A key
 * that was removed on the way is skipped. */
static int walk(lua_State *L) {
    const sort_key *keys = lua_touserdata(L, lua_upvalueindex(1));
    lua_Integer count = lua_tointeger(L, lua_upvalueindex(2)), next = lua_tointeger(L, lua_upvalueindex(3));
    while (next < count) {
        push_key(L, &keys[next]);
        next++;
        lua_pushvalue(L, -1);
        if (lua_rawget(L, lua_upvalueindex(4)) != LUA_TNIL) {
            lua_pushinteger(L, next);
            lua_replace(L, lua_upvalueindex(3));
            return 2;
        }
        lua_pop(L, 2);
    }
    lua_pushinteger(L, next);
    lua_replace(L, lua_upvalueindex(3));
    lua_pushnil(L);
    return 1;
}

static int sandbox_pairs(lua_State *L) {
    size_t count = 0, i = 0;
    sort_key *keys;
    luaL_checkany(L, 1);
    if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
        lua_pushvalue(L, 1);
        lua_call(L, 1, 3);
        return 3;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        count++;
    }
    keys = lua_newuserdatauv(L, (count + 1) * sizeof *keys, 1); /* 2 */
    lua_createtable(L, (int)(count < 1000000 ? count : 0), 0);  /* 3: holds the names */
    for (lua_pushnil(L); i < count && lua_next(L, 1); lua_pop(L, 1)) {
        keys[i++] = key_at(L, -2);
        lua_pushvalue(L, -2);
        lua_rawseti(L, 3, (lua_Integer)i);
    }
    lua_settop(L, 3);
    qsort(keys, i, sizeof *keys, compare_keys);
    lua_setiuservalue(L, 2, 1);
    lua_pushinteger(L, (lua_Integer)i);
    lua_pushinteger(L, 0);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, walk, 4); /* pops keys, count, position, table */
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

static int sandbox_next(lua_State *L) {
    sort_key after, best;
    bool first = lua_isnoneornil(L, 2), found = false;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (!first) {
        after = key_at(L, 2);
    }
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        sort_key key = key_at(L, -2);
        if ((first || compare_keys(&key, &after) > 0) && (!found || compare_keys(&key, &best) < 0)) {
            best = key;
            found = true;
        }
    }
    if (!found) {
        lua_pushnil(L);
        return 1;
    }
    push_key(L, &best);
    lua_pushvalue(L, -1);
    lua_rawget(L, 1);
    return 2;
}

/* Is the value at `right` to stand before the one at `left`? */
static bool before(lua_State *L, int right, int left) {
    bool yes;
    if (lua_isnil(L, 2)) {
        return lua_compare(L, right, left, LUA_OPLT);
    }
    lua_pushvalue(L, 2);
    lua_pushvalue(L, right);
    lua_pushvalue(L, left);
    lua_call(L, 2, 1);
    yes = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return yes;
}

/* Merges runs of `width` from the table at `from` into the table at `to`. */
static void merge_pass(lua_State *L, int from, int to, lua_Integer count, lua_Integer width) {
    lua_Integer start;
    for (start = 1; start <= count; start += 2 * width) {
        lua_Integer a = start, b = start + width, out = start;
        lua_Integer a_end = b <= count ? b : count + 1;
        lua_Integer b_end = b + width <= count + 1 ? b + width : count + 1;
        while (out < b_end || a < a_end) {
            bool take_b = a >= a_end;
            if (!take_b && b < b_end) {
                lua_rawgeti(L, from, b);
                lua_rawgeti(L, from, a);
                take_b = before(L, lua_gettop(L) - 1, lua_gettop(L));
                lua_pop(L, 2);
            }
            if (take_b && b >= b_end) {
                break;
            }
            lua_rawgeti(L, from, take_b ? b++ : a++);
            lua_rawseti(L, to, out++);
        }
    }
}

static int table_sort(lua_State *L) {
    lua_Integer count, i, width;
    int from = 3, to = 4;
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TFUNCTION);
    }
    lua_settop(L, 2);
    count = luaL_len(L, 1);
    luaL_argcheck(L, count < ((lua_Integer)1 << 28), 1, "array too big");
    lua_createtable(L, (int)count, 0);
    lua_createtable(L, (int)count, 0);
    for (i = 1; i <= count; i++) {
        lua_geti(L, 1, i);
        lua_rawseti(L, from, i);
    }
    for (width = 1; width < count; width *= 2) {
        int other = from;
        merge_pass(L, from, to, count, width);
        from = to;
        to = other;
    }
    for (i = 1; i <= count; i++) {
        lua_rawgeti(L, from, i);
        lua_seti(L, 1, i);
    }
    return 0;
}

void sandbox_table(lua_State *L) {
    lua_pushcfunction(L, sandbox_pairs);
    lua_setfield(L, -2, "pairs");
    lua_pushcfunction(L, sandbox_next);
    lua_setfield(L, -2, "next");
    luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 0);
    lua_pushcfunction(L, table_sort);
    lua_setfield(L, -2, "sort");
    lua_setfield(L, -2, LUA_TABLIBNAME);
}

/* row_to_lua.c: see row_to_lua.h. Nodes stand in the order of the text, so a row is one walk over them. */
#include "row_to_lua.h"

#include <stdlib.h>

static void push_text(lua_State *L, const temper_line *line, uint32_t node, temper_buffer *scratch) {
    temper_span text;
    if (!temper_line_text(line, node, scratch, &text)) {
        scratch->failed = false;
        luaL_error(L, "not enough memory");
        return;
    }
    lua_pushlstring(L, text.data, text.length);
}

/* Digits alone are an integer when they fit; all else is a double, as Lua itself reads numerals. */
static void push_number(lua_State *L, temper_span text) {
    char digits[64];
    if (text.length < sizeof digits) {
        memcpy(digits, text.data, text.length);
        digits[text.length] = 0;
        if (lua_stringtonumber(L, digits) != 0) {
            return;
        }
    }
    lua_pushlstring(L, text.data,
                    text.length); /* as it stands: Lua makes a number of it where one is wanted */
}

static void push_array(lua_State *L, const temper_line *line, uint32_t node, temper_buffer *scratch) {
    uint32_t child, end = line->nodes[node].next;
    lua_Integer index = 1;
    lua_newtable(L);
    for (child = node + 1; child < end; child = line->nodes[child].next) {
        row_to_lua(L, line, child, scratch);
        lua_rawseti(L, -2, index++);
    }
}

static void push_object(lua_State *L, const temper_line *line, uint32_t node, temper_buffer *scratch) {
    uint32_t name = node + 1, end = line->nodes[node].next;
    lua_newtable(L);
    while (name < end) {
        push_text(L, line, name, scratch);
        row_to_lua(L, line, name + 1, scratch);
        lua_rawset(L, -3);
        name = line->nodes[name + 1].next;
    }
}

void row_to_lua(lua_State *L, const temper_line *line, uint32_t node, temper_buffer *scratch) {
    luaL_checkstack(L, 8, "nested too deep");
    switch (line->nodes[node].kind) {
    case TEMPER_NODE_BOOLEAN: lua_pushboolean(L, temper_line_raw(line, node).data[0] == 't'); break;
    case TEMPER_NODE_NUMBER: push_number(L, temper_line_raw(line, node)); break;
    case TEMPER_NODE_STRING: push_text(L, line, node, scratch); break;
    case TEMPER_NODE_ARRAY: push_array(L, line, node, scratch); break;
    case TEMPER_NODE_OBJECT: push_object(L, line, node, scratch); break;
    default: lua_pushlightuserdata(L, NULL); break;
    }
}

/* row_to_lua.h: a row as a Lua value. */
#ifndef FILTER_ROW_TO_LUA_H
#define FILTER_ROW_TO_LUA_H

#include "lines/lines.h"
#include "sandbox/sandbox.h"

/* Pushes node `node` of the line: objects and arrays are tables, null is the global `null` (a light userdata, so that a member
 * that is null is not one that is absent), whole numbers of 64 bits are integers. Raises when memory is short. */
void row_to_lua(lua_State *L, const temper_line *line, uint32_t node, temper_buffer *scratch);

#endif

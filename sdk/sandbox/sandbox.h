/* sandbox/sandbox.h: the parts of Lua whose results depend on a machine, an address or the order of a hash table, made over so
 * that they do not. Recipes and predicates both stand on these. Each function fills the table on top of the stack.
 *
 * Whoever links this defines sandbox_fail: it raises the message in the words and with the place that fit. */
#ifndef TEMPER_SANDBOX_H
#define TEMPER_SANDBOX_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <string.h>

int sandbox_fail(lua_State *L, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

/* math: exact functions are Lua's, the others temper/math.h's; chance is refused. */
void sandbox_math(lua_State *L);
/* string without dump, and without addresses in format. */
void sandbox_string(lua_State *L);
/* table with a stable sort; pairs and next, which walk in sorted order. */
void sandbox_table(lua_State *L);
/* tostring without addresses: pushes the text of the value at `index`. */
void sandbox_push_text(lua_State *L, int index);

#endif

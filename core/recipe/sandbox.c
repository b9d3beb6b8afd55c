/* sandbox.c: what Lua may do in a recipe. Invariant: nothing reachable from here reads a clock, a file, an address or the order of
 * a hash table, so a plan is a function of the recipe's files and settings alone. Names are allowed one by one; what
 * Lua has and a recipe has not is refused by name, with the reason. */
#include "recipe/internal.h"

#include "base/text.h"

#include <stdlib.h>

typedef struct refusal {
    const char *name, *why;
} refusal;

static const refusal refusals[] = {
    {"io", "a recipe reads no files itself: name them with temper.text, temper.records or temper.model"},
    {"os", "a recipe starts nothing and asks no clock: it only describes a run"},
    {"package", "require finds the recipe's own modules, in its folder"},
    {"debug", "a recipe cannot look at the interpreter"},
    {"load", "a recipe is text in files, so that all of it can be hashed"},
    {"loadstring", "a recipe is text in files, so that all of it can be hashed"},
    {"loadfile", "use require, so that the file is hashed"},
    {"dofile", "use require, so that the file is hashed"},
    {"coroutine", "loading a recipe is one straight walk"},
    {"collectgarbage", "memory is the loader's business"},
    {"temper", "begin with: local temper = require \"temper\""},
};

void *sandbox_allocate(void *context, void *block, size_t old_size, size_t size) {
    loader *state = context;
    void *moved;
    if (block == NULL) {
        old_size = 0; /* Lua passes a type tag here */
    }
    if (size == 0) {
        free(block);
        state->memory -= old_size;
        return NULL;
    }
    if (size > old_size && size - old_size > LOADER_MEMORY - state->memory) {
        return NULL;
    }
    moved = realloc(block, size);
    if (moved != NULL) {
        state->memory = state->memory - old_size + size;
    }
    return moved;
}

static void note_place(loader *state, const lua_Debug *where) {
    if (where->currentline <= 0) {
        return;
    }
    if (where->source != state->last_source) {
        size_t i;
        for (i = 0; i < state->file_count; i++) {
            if (where->source[0] == '@' && strcmp(where->source + 1, state->files[i].name) == 0) {
                break;
            }
        }
        if (i == state->file_count) {
            return;
        }
        state->last_source = where->source;
        state->last_file = (int32_t)i;
    }
    state->page->file = state->last_file;
    state->page->line = where->currentline;
}

/* A line event comes before its line runs, so a call that never returns leaves its line behind. After a return the line
 * is the caller's again, and no event says so: the return event does. */
static void hook(lua_State *L, lua_Debug *event) {
    loader *state = recipe_of(L);
    if (event->event == LUA_HOOKRET) {
        lua_Debug caller;
        if (lua_getstack(L, 1, &caller) && lua_getinfo(L, "Sl", &caller)) {
            note_place(state, &caller);
        }
        return;
    }
    if (lua_getinfo(L, "Sl", event)) {
        note_place(state, event);
    }
}

place recipe_place(lua_State *L) {
    loader *state = recipe_of(L);
    lua_Debug frame;
    place at = {state->files[0].name, 0};
    int level;
    for (level = 0; lua_getstack(L, level, &frame); level++) {
        if (lua_getinfo(L, "Sl", &frame) && frame.currentline > 0 && frame.source[0] == '@') {
            size_t i;
            for (i = 0; i < state->file_count; i++) {
                if (strcmp(frame.source + 1, state->files[i].name) == 0) {
                    at.file = state->files[i].name;
                    at.line = frame.currentline;
                    return at;
                }
            }
        }
    }
    /* A tail call has left no frame; the hook remembers. */
    if (state->file_count > 0 && state->page->line > 0) {
        at.file = state->files[state->page->file].name;
        at.line = state->page->line;
    }
    return at;
}

__attribute__((format(printf, 3, 0))) static int raise_at(lua_State *L, place at, const char *format,
                                                          va_list arguments) {
    char text[TEMPER_MESSAGE_SIZE];
    vsnprintf(text, sizeof text, format, arguments);
    lua_pushfstring(L, "%s:%d: %s", at.file, at.line, text);
    return lua_error(L);
}

int recipe_fail(lua_State *L, place at, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    raise_at(L, at, format, arguments);
    va_end(arguments);
    abort(); /* lua_error does not return */
}

int recipe_fail_here(lua_State *L, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    raise_at(L, recipe_place(L), format, arguments);
    va_end(arguments);
    abort();
}

/* What sdk/sandbox raises its messages with. */
int sandbox_fail(lua_State *L, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    raise_at(L, recipe_place(L), format, arguments);
    va_end(arguments);
    abort();
}

int recipe_no_memory(lua_State *L) {
    recipe_fail_here(L, "out of memory while loading");
}

const char *recipe_hint(loader *state, const char *word, const char *const *names, size_t count) {
    const char *nearest = tm_text_nearest(word, names, count), *text;
    tm_buffer list = TM_BUFFER_INIT;
    size_t i;
    if (nearest != NULL) {
        text = tm_arena_format(state->arena, "; did you mean '%s'?", nearest);
        return text != NULL ? text : "";
    }
    if (count == 0) {
        return "; there are none";
    }
    tm_buffer_text(&list, count == 1 ? "; there is only " : "; there are ");
    for (i = 0; i < count && list.length < 400; i++) {
        tm_buffer_text(&list, i == 0 ? "" : ", ");
        tm_buffer_text(&list, names[i]);
    }
    tm_buffer_text(&list, i < count ? ", …" : "");
    text = tm_buffer_ok(&list) ? tm_arena_copy(state->arena, list.data, list.length) : NULL;
    tm_buffer_free(&list);
    return text != NULL ? text : "";
}

void *recipe_grow(lua_State *L, void *items, size_t count, size_t size) {
    void *more;
    if (count != 0 && (count & (count - 1)) != 0) {
        return items; /* room is doubled at powers of two */
    }
    if (count > ((size_t)1 << 20)) {
        recipe_fail_here(L, "more than a million entries in one recipe");
    }
    more = tm_arena_allocate(recipe_of(L)->arena, (count == 0 ? 1 : count * 2) * size);
    if (more == NULL) {
        recipe_no_memory(L);
    }
    if (count > 0) {
        memcpy(more, items, count * size);
    }
    return more;
}

const char *recipe_copy(lua_State *L, const char *text, size_t length) {
    const char *copy = tm_arena_copy(recipe_of(L)->arena, text, length);
    if (copy == NULL) {
        recipe_no_memory(L);
    }
    return copy;
}

static int global_read(lua_State *L) {
    loader *state = recipe_of(L);
    const char *name, **names;
    size_t i, count = 0, limit = 64;
    if (lua_type(L, 2) != LUA_TSTRING) {
        lua_pushnil(L);
        return 1;
    }
    name = lua_tostring(L, 2);
    for (i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        if (strcmp(refusals[i].name, name) == 0) {
            recipe_fail_here(L, "'%s' is not there: %s", name, refusals[i].why);
        }
    }
    names = tm_arena_allocate(state->arena, limit * sizeof *names);
    lua_pushnil(L);
    while (names != NULL && count < limit && lua_next(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING) {
            names[count++] = lua_tostring(L, -2);
        }
        lua_pop(L, 1);
    }
    recipe_fail_here(L, "'%s' was never declared%s", name,
                     tm_text_nearest(name, names, count) != NULL ? recipe_hint(state, name, names, count)
                                                                 : "");
}

static int global_write(lua_State *L) {
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    recipe_fail_here(L, "'%s' is assigned but was never declared: write `local %s%s`", name,
                     lua_type(L, 3) == LUA_TFUNCTION ? "function " : "", name);
}

static int sandbox_tostring(lua_State *L) {
    luaL_checkany(L, 1);
    sandbox_push_text(L, 1);
    return 1;
}

static int sandbox_print(lua_State *L) {
    int i, count = lua_gettop(L);
    luaL_Buffer line;
    size_t length;
    const char *text;
    luaL_buffinit(L, &line);
    for (i = 1; i <= count; i++) {
        if (i > 1) {
            luaL_addchar(&line, '\t');
        }
        sandbox_push_text(L, i);
        luaL_addvalue(&line);
    }
    luaL_pushresult(&line);
    text = lua_tolstring(L, -1, &length);
    recipe_print(recipe_of(L), text, length);
    return 0;
}

/* A finaliser or a weak table would make the collector's timing visible. */
static int sandbox_setmetatable(lua_State *L) {
    int type = lua_type(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    if (type == LUA_TTABLE) {
        static const char *const refused[] = {"__gc", "__mode"};
        size_t i;
        for (i = 0; i < 2; i++) {
            lua_pushstring(L, refused[i]);
            if (lua_rawget(L, 2) != LUA_TNIL) {
                recipe_fail_here(L, "'%s' is not there: when memory is collected must not show", refused[i]);
            }
            lua_pop(L, 1);
        }
    }
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) {
        recipe_fail_here(L, "cannot change a protected metatable");
    }
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

static void allow(lua_State *L, const char *const *names) {
    for (; *names != NULL; names++) {
        lua_getfield(L, -2, *names);
        lua_setfield(L, -2, *names);
    }
}

/* Lua's own base library is opened into a table that is thrown away; the allowed names are copied out of it. */
void sandbox_open(lua_State *L) {
    static const char *const allowed[] = {"assert",   "error",    "getmetatable", "ipairs", "pcall",
                                          "rawequal", "rawget",   "rawlen",       "rawset", "select",
                                          "type",     "tonumber", "xpcall",       NULL};
    static const luaL_Reg ours[] = {{"tostring", sandbox_tostring},
                                    {"print", sandbox_print},
                                    {"setmetatable", sandbox_setmetatable},
                                    {"require", module_require},
                                    {NULL, NULL}};
    static const luaL_Reg guard[] = {{"__index", global_read}, {"__newindex", global_write}, {NULL, NULL}};

    luaL_requiref(L, LUA_GNAME, luaopen_base, 0); /* fills the old global table and returns it */
    lua_newtable(L);                              /* the new one */
    allow(L, allowed);
    luaL_setfuncs(L, ours, 0);
    lua_pushliteral(L, "Lua 5.4");
    lua_setfield(L, -2, "_VERSION");
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, LUA_GNAME);
    lua_pushvalue(L, -1);
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_remove(L, -2);

    sandbox_table(L); /* each adds its names to the table on top */
    sandbox_string(L);
    sandbox_math(L);
    luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, LUA_UTF8LIBNAME);
    lua_pop(L, 1);
    luaL_newlib(L, guard);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
    lua_sethook(L, hook, LUA_MASKLINE | LUA_MASKRET | LUA_MASKCOUNT, 10000);
}

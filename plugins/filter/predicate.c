/* predicate.c: a Lua function of a row, for what no other stage says.
 *
 * Invariants: what it answers depends on the row alone. The script is compiled once a worker and called anew for each row: its
 * globals are read-only, its locals begin anew, and it reaches no clock, file, address, chance or hash order (sdk/sandbox). `^` is
 * refused, because Lua's calls the machine's own pow: math.pow is temper/math.h's. So are instructions past a count, and memory past
 * a bound, both the same on every machine. */
#include "row_to_lua.h"
#include "rows.h"

#include <stdlib.h>
#include <temper/math.h>

#define PREDICATE(P, S)                                                                                      \
    P(S, string, keep, "keep", "\"\"", 1, 0, "", "",                                                         \
      "a Lua expression over `row`: true keeps it; or statements that return true, or false and a reason",   \
      "0.1")                                                                                                 \
    P(S, integer, steps, "steps", "1000000", 1000, 1e12, "instructions", "",                                 \
      "the most a row may take; past it the run fails", "0.1")                                               \
    P(S, integer, memory, "memory", "64", 1, 1048576, "MB", "", "the most a script may hold", "0.1")         \
    P(S, number, most_dropped, "most_dropped", "1", 0, 1, "", "",                                            \
      "the run fails when a larger share of the records than this is dropped", "0.1")
TEMPER_PARAMETERS(predicate, PREDICATE)

static const char not_kept[] = "predicate";
static const char *const rules[] = {not_kept, NULL};

typedef struct interpreter {
    lua_State *L;
    const temper_host *host;
    size_t used, most;
    temper_buffer scratch;
} interpreter;

typedef struct judge {
    const predicate_parameters *p;
    interpreter *workers;
    uint32_t count;
} judge;

int sandbox_fail(lua_State *L, const char *format, ...) {
    char message[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    luaL_error(L, "%s", message);
    abort(); /* luaL_error does not return */
}

static void *allocate(void *context, void *block, size_t old_size, size_t size) {
    interpreter *own = context;
    void *moved;
    old_size = block == NULL ? 0 : old_size; /* Lua passes a type tag here */
    if (size == 0) {
        own->host->release(own->host, block);
        own->used -= old_size;
        return NULL;
    }
    if (size > old_size && (own->used > own->most || size - old_size > own->most - own->used)) {
        return NULL;
    }
    moved = own->host->reallocate(own->host, block, size);
    if (moved != NULL) {
        own->used = own->used - old_size + size;
    }
    return moved;
}

/* --- what a script may do --------------------------------------------------------------------------------------------- */

static int read_only(lua_State *L) {
    return sandbox_fail(
        L, "'%s' is assigned but was never declared: write `local %s`; nothing is kept from row to row",
        lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?",
        lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

static int missing(lua_State *L) {
    return sandbox_fail(L,
                        "'%s' is not there: a predicate sees `row`, and of Lua string, math, table and utf8",
                        lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

static int power(lua_State *L) {
    lua_pushnumber(L, temper_pow(luaL_checknumber(L, 1), luaL_checknumber(L, 2)));
    return 1;
}

static int to_text(lua_State *L) {
    luaL_checkany(L, 1);
    sandbox_push_text(L, 1);
    return 1;
}

/* Replaces the table on top by an empty one through which it is read and not written. */
static void protect(lua_State *L, lua_CFunction absent) {
    lua_newtable(L);
    lua_newtable(L);
    if (absent != NULL) {
        lua_newtable(L); /* what the table lacks is refused by name */
        lua_pushcfunction(L, absent);
        lua_setfield(L, -2, "__index");
        lua_setmetatable(L, -4);
    }
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, read_only);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

/* Leaves the environment. No rawset, setmetatable, load or pcall: with these a script could keep something, or go on after a
 * bound was reached. */
static void open_environment(lua_State *L) {
    static const char *const allowed[] = {"assert", "error", "ipairs", "select", "tonumber", "type", NULL};
    static const char *const libraries[] = {"string", "math", "table", "utf8", NULL};
    size_t i;
    luaL_requiref(L, LUA_GNAME, luaopen_base, 0);
    lua_newtable(L);
    for (i = 0; allowed[i] != NULL; i++) {
        lua_getfield(L, -2, allowed[i]);
        lua_setfield(L, -2, allowed[i]);
    }
    lua_remove(L, -2);
    lua_pushcfunction(L, to_text);
    lua_setfield(L, -2, "tostring");
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    sandbox_table(L);
    sandbox_string(L);
    sandbox_math(L);
    lua_getfield(L, -1, "math");
    lua_pushcfunction(L, power);
    lua_setfield(L, -2, "pow");
    lua_pop(L, 1);
    luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 0);
    lua_setfield(L, -2, LUA_UTF8LIBNAME);
    for (i = 0; libraries[i] != NULL; i++) {
        lua_getfield(L, -1, libraries[i]);
        protect(L, NULL);
        lua_setfield(L, -2, libraries[i]);
    }
    protect(L, missing);
}

static void out_of_steps(lua_State *L, lua_Debug *event) {
    (void)event;
    luaL_error(L, "the row took more instructions than \"steps\" allows");
}

/* --- the script --------------------------------------------------------------------------------------------------------- */

/* Behind a long bracket that begins at `at`, or `at` when none does. */
static size_t skip_long(const char *text, size_t length, size_t at) {
    size_t level = 0, i = at + 1, marks;
    while (i < length && text[i] == '=') {
        level++;
        i++;
    }
    if (text[at] != '[' || i >= length || text[i] != '[') {
        return at;
    }
    for (i++; i < length; i++) {
        if (text[i] != ']') {
            continue;
        }
        for (marks = 0; i + 1 + marks < length && text[i + 1 + marks] == '='; marks++) {
        }
        if (marks == level && i + 1 + marks < length && text[i + 1 + marks] == ']') {
            return i + marks + 2;
        }
    }
    return length;
}

/* The offset of a `^` outside of strings and comments; `length` when there is none. */
static size_t find_power(const char *text, size_t length) {
    size_t at = 0, end;
    while (at < length && text[at] != '^') {
        if (text[at] == '-' && at + 1 < length && text[at + 1] == '-') {
            end = at + 2 < length ? skip_long(text, length, at + 2) : length;
            if (end == at + 2) {
                while (end < length && text[end] != '\n') {
                    end++;
                }
            }
            at = end;
        } else if (text[at] == '"' || text[at] == '\'') {
            char quote = text[at++];
            while (at < length && text[at] != quote && text[at] != '\n') {
                at += text[at] == '\\' ? 2 : 1;
            }
            at++;
        } else if (text[at] == '[') {
            end = skip_long(text, length, at);
            at = end == at ? at + 1 : end;
        } else {
            at++;
        }
    }
    return at < length ? at : length;
}

static size_t line_at(const char *text, size_t at) {
    size_t line = 1, i;
    for (i = 0; i < at; i++) {
        line += text[i] == '\n';
    }
    return line;
}

typedef struct script {
    const char *text;
    size_t length;
    bool expression; /* may be one: "return " is tried before it */
} script;

/* "local row = ...\n" makes the row a local of the chunk; on a line of its own that no message counts. */
typedef struct reading {
    const script *from;
    int piece;
    const char *head;
} reading;

static const char *read_piece(lua_State *L, void *context, size_t *length) {
    reading *r = context;
    (void)L;
    switch (r->piece++) {
    case 0: *length = strlen(r->head); return r->head;
    case 1: *length = r->from->length; return r->from->length > 0 ? r->from->text : NULL;
    default: *length = 0; return NULL;
    }
}

static int compile(lua_State *L, const script *from) {
    static const char *const heads[] = {"local row = ...; return ", "local row = ...; "};
    int i, failed = LUA_ERRSYNTAX;
    for (i = from->expression ? 0 : 1; i < 2 && failed == LUA_ERRSYNTAX; i++) {
        reading r = {from, 0, heads[i]};
        if (i == 1 && from->expression) {
            lua_pop(L, 1);
        }
        failed = lua_load(L, read_piece, &r, "=predicate", "t");
    }
    return failed;
}

/* In protected mode: opens the environment, compiles, and leaves the function as registry[1000]. */
static int prepare(lua_State *L) {
    const script *from = lua_touserdata(L, 1);
    if (compile(L, from) != LUA_OK) {
        return lua_error(L);
    }
    open_environment(L);
    lua_setupvalue(L, -2, 1);
    lua_rawseti(L, LUA_REGISTRYINDEX, 1000);
    return 0;
}

static temper_status start(interpreter *own, const temper_host *host, const predicate_parameters *p,
                           const script *from, temper_error *error) {
    temper_status status = TEMPER_OK;
    own->host = host;
    own->most = (size_t)p->memory << 20;
    temper_buffer_init(&own->scratch, host);
    own->L = lua_newstate(allocate, own);
    if (own->L == NULL) {
        return temper_no_memory(error);
    }
    lua_pushcfunction(own->L, prepare);
    lua_pushlightuserdata(own->L, (void *)(uintptr_t)from);
    if (lua_pcall(own->L, 1, 0, 0) != LUA_OK) {
        const char *message = lua_tostring(own->L, -1);
        status = temper_fail(error, TEMPER_INVALID, "the predicate does not compile: %.300s",
                             message != NULL ? message : "?");
    }
    return status;
}

/* --- rows --------------------------------------------------------------------------------------------------------------- */

typedef struct calling {
    const temper_line *line;
    temper_buffer *scratch;
} calling;

/* In protected mode: answers whether it is kept, and perhaps why not. */
static int call_row(lua_State *L) {
    const calling *c = lua_touserdata(L, 1);
    int results;
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, 1000);
    row_to_lua(L, c->line, 0, c->scratch);
    lua_call(L, 1, LUA_MULTRET);
    results = lua_gettop(L);
    if (results == 0) {
        return luaL_error(L, "it returned nothing: return true to keep a row, or false");
    }
    if (!lua_isboolean(L, 1) && !lua_isnil(L, 1)) {
        return luaL_error(L, "it returned a %s: return true to keep a row, or false and perhaps a reason",
                          luaL_typename(L, 1));
    }
    if (results >= 2 && lua_type(L, 2) != LUA_TSTRING && !lua_isnil(L, 2)) {
        return luaL_error(L, "its reason is a %s, and no text", luaL_typename(L, 2));
    }
    lua_settop(L, 2);
    return 2;
}

static void look(void *context, filter_row *row, void *own_bytes) {
    judge *j = context;
    interpreter *own = &j->workers[row->worker];
    calling c = {row->line, &own->scratch};
    const char *reason;
    (void)own_bytes;
    lua_settop(own->L, 0);
    lua_sethook(own->L, out_of_steps, LUA_MASKCOUNT, j->p->steps < 1 << 30 ? (int)j->p->steps : 1 << 30);
    lua_pushcfunction(own->L, call_row);
    lua_pushlightuserdata(own->L, &c);
    if (lua_pcall(own->L, 1, 2, 0) != LUA_OK) {
        reason = lua_tostring(own->L, -1);
        filter_row_refuse(row, TEMPER_INVALID, "%.300s", reason != NULL ? reason : "the predicate failed");
    } else if (!lua_toboolean(own->L, 1)) {
        reason = lua_tostring(own->L, 2);
        filter_row_drop(row, not_kept, "%.200s", reason != NULL ? reason : "the predicate said no");
    }
    lua_settop(own->L, 0);
}

static temper_status take_script(const predicate_parameters *p, const temper_host *host, script *out,
                                 temper_error *error) {
    const temper_input *input = host->input(host, "script");
    temper_status status = TEMPER_OK;
    size_t power_at;
    if ((input != NULL) == (*p->keep != 0)) {
        return temper_fail(error, TEMPER_INVALID,
                           "a predicate is \"keep\" or the input \"script\": %s was given",
                           input != NULL ? "both" : "neither");
    }
    if (input != NULL) {
        status = host->bytes(host, input, &out->text, &out->length, error);
    } else {
        out->text = p->keep;
        out->length = strlen(p->keep);
        out->expression = true;
    }
    if (status) {
        return status;
    }
    power_at = find_power(out->text, out->length);
    if (power_at < out->length) {
        return temper_fail(
            error, TEMPER_INVALID,
            "predicate:%zu: `^` is not there, because machines differ in it: write math.pow(x, y)",
            line_at(out->text, power_at));
    }
    return TEMPER_OK;
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const predicate_parameters *p = self;
    judge j = {.p = p, .count = host->workers(host)};
    filter_pass pass = {.host = host, .input = "records", .rules = rules, .look = look, .context = &j};
    script from = {NULL, 0, false};
    temper_pool *pool = temper_pool_new(host);
    uint32_t i;
    temper_status status = pool == NULL ? temper_no_memory(error) : take_script(p, host, &from, error);
    if (status) {
        goto out;
    }
    j.workers = temper_pool_take(pool, j.count, sizeof *j.workers);
    if (j.workers == NULL) {
        status = temper_no_memory(error);
        goto out;
    }
    for (i = 0; i < j.count && status == TEMPER_OK; i++) {
        status = start(&j.workers[i], host, p, &from, error);
    }
    status = status ? status : filter_rows(&pass, error);
out:
    for (i = 0; j.workers != NULL && i < j.count; i++) {
        if (j.workers[i].L != NULL) {
            lua_close(j.workers[i].L);
        }
        if (j.workers[i].host != NULL) {
            temper_buffer_free(&j.workers[i].scratch);
        }
    }
    temper_pool_free(pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to filter"),
    TEMPER_PORT(TEMPER_TEXT, "script", TEMPER_OPTIONAL, "",
                "the body of a Lua function of `row`, instead of \"keep\""),
    NULL};

const temper_stage filter_predicate_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "predicate",
    .doc = "keeps the records that a Lua expression is true of",
    .inputs = inputs,
    .outputs = filter_outputs,
    .parameters = predicate_parameter_table,
    .parameters_size = sizeof(predicate_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

/* words.c: the words for what a recipe takes from outside: models, characters, records, texts and plain values. Invariant: each
 * name is declared once, each value is checked against its declaration where it is declared, and --set can give any of
 * them. Paths in a recipe are relative to the recipe; in --set, to the working directory. */
#include "recipe/internal.h"

#include "base/file.h"
#include "base/text.h"
#include "scheduler/sources.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

typedef enum word_type { WORD_INT, WORD_NUMBER, WORD_STRING, WORD_FLAG, WORD_SOURCE } word_type;

typedef struct word_spec {
    const char *name, *doc, *function;
    word_type type;
    place at;
    const recipe_setting *given; /* by --set, or NULL */
    bool has_default, bounded_below, bounded_above;
    double minimum, maximum;
    const temper_json *choices; /* array or NULL */
    temper_json *declared;
} word_spec;

static const char builtin_metatable[] = "temper.builtin";

const char *words_kind_function(tm_kind kind) {
    switch (kind) {
    case TM_RECORDS: return "temper.records";
    case TM_TEXT: return "temper.text";
    case TM_CHARACTER: return "temper.character";
    case TM_MODEL: return "temper.model";
    default: return "temper";
    }
}

static bool name_valid(const char *name) {
    if (!islower((unsigned char)*name)) {
        return false;
    }
    for (; *name != 0; name++) {
        if (!islower((unsigned char)*name) && !isdigit((unsigned char)*name) && *name != '_') {
            return false;
        }
    }
    return true;
}

/* --- files ------------------------------------------------------------------------------------------------------- */

static const char *resolve_path(lua_State *L, const char *path, const char *relative_to) {
    loader *state = recipe_of(L);
    const char *home = getenv("HOME"), *result;
    char *joined;
    if (path[0] == '~' && path[1] == '/' && home != NULL) {
        joined = tm_path_join(home, path + 2);
    } else if (path[0] == '/') {
        joined = strdup(path);
    } else {
        joined = tm_path_join(relative_to, path);
    }
    result = joined != NULL ? tm_arena_copy(state->arena, joined, strlen(joined)) : NULL;
    free(joined);
    if (result == NULL) {
        recipe_no_memory(L);
    }
    return result;
}

/* "; did you mean 'x'?" from the names in the folder where the file was looked for. */
static const char *file_hint(loader *state, const char *path) {
    const char *slash = strrchr(path, '/'), *hint = "", *nearest;
    char *folder, **names = NULL;
    size_t count = 0, i;
    if (slash == NULL) {
        return "";
    }
    folder = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (folder != NULL && tm_folder_list(folder, &names, &count, NULL) == TEMPER_OK) {
        nearest = tm_text_nearest(slash + 1, (const char *const *)names, count);
        if (nearest != NULL) {
            hint = tm_arena_format(state->arena, "; did you mean '%s'?", nearest);
        }
    }
    for (i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
    free(folder);
    return hint != NULL ? hint : "";
}

static const char *base_name(lua_State *L, const char *path) {
    size_t end = strlen(path), start;
    while (end > 1 && path[end - 1] == '/') {
        end--;
    }
    for (start = end; start > 0 && path[start - 1] != '/'; start--) {
    }
    return recipe_copy(L, path + start, end - start);
}

static bool is_run(const char *path) {
    return strncmp(path, "run:", 4) == 0 || strncmp(path, "sha256:", 7) == 0;
}

static void check_file(lua_State *L, tm_kind kind, const char *path, const char *resolved, place at) {
    struct stat info;
    const char *hash = strrchr(resolved, '#'), *file = resolved;
    if (kind == TM_MODEL && hash != NULL && stat(resolved, &info) != 0) {
        file = recipe_copy(L, resolved, (size_t)(hash - resolved)); /* ARCHIVE#OUTPUT */
    }
    if (stat(file, &info) != 0) {
        int cause = errno; /* looking for a hint changes it */
        recipe_fail(L, at, "%s \"%s\": %s%s", words_kind_function(kind), path, strerror(cause),
                    cause == ENOENT ? file_hint(recipe_of(L), file) : "");
    }
    if (kind != TM_MODEL && !S_ISREG(info.st_mode)) {
        recipe_fail(L, at, "%s \"%s\": not a file", words_kind_function(kind), path);
    }
    if (kind == TM_MODEL && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
        recipe_fail(L, at, "%s \"%s\": neither a folder nor a file", words_kind_function(kind), path);
    }
}

int words_source(lua_State *L, tm_kind kind, const char *id, const char *path, const char *relative_to,
                 place at) {
    loader *state = recipe_of(L);
    recipe_source *source;
    const char *resolved = path, *name = path;
    size_t i;
    int suffix = 2;
    temper_error error = TEMPER_ERROR_INIT;

    if (strncmp(path, "builtin:", 8) == 0) {
        char *found = NULL;
        if (kind != TM_MODEL) {
            recipe_fail(L, at, "%s \"%s\": only models are built in", words_kind_function(kind), path);
        }
        if (!state->lenient && tm_builtin_find(path + 8, &found, &error)) {
            recipe_fail(L, at, "%s", error.message);
        }
        free(found);
        name = path + 8;
    } else if (*path == 0 && state->lenient) {
        name = id != NULL ? id : "";
    } else if (!(kind == TM_MODEL && is_run(path))) {
        if (*path == 0) {
            recipe_fail(L, at, "%s: the path is empty", words_kind_function(kind));
        }
        resolved = resolve_path(L, path, relative_to);
        if (!state->lenient) {
            check_file(L, kind, path, resolved, at);
        }
        name = base_name(L, resolved);
    }
    for (i = 0; id == NULL && i < state->source_count; i++) {
        if (state->sources[i].kind == kind && strcmp(state->sources[i].path, resolved) == 0) {
            return (int)i; /* the same file named twice is one source */
        }
    }
    id = id != NULL ? id : name;
    for (i = 0; i < state->source_count; i++) {
        if (strcmp(state->sources[i].id, id) == 0) {
            id = tm_arena_format(state->arena, "%s-%d", name, suffix++);
            if (id == NULL) {
                recipe_no_memory(L);
            }
            i = (size_t)-1;
        }
    }
    state->sources = recipe_grow(L, state->sources, state->source_count, sizeof *state->sources);
    source = &state->sources[state->source_count];
    source->id = id;
    source->name = name;
    source->path = resolved;
    source->kind = kind;
    return (int)state->source_count++;
}

/* --- declarations ------------------------------------------------------------------------------------------------ */

static void check_keys(lua_State *L, const word_spec *word, const char *const *allowed, size_t count) {
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        size_t i;
        const char *key;
        if (lua_isinteger(L, -2) && lua_tointeger(L, -2) == 1) {
            continue;
        }
        if (lua_type(L, -2) != LUA_TSTRING) {
            recipe_fail(L, word->at, "%s { \"name\", default = … } takes one name, then keys",
                        word->function);
        }
        key = lua_tostring(L, -2);
        for (i = 0; i < count && strcmp(allowed[i], key) != 0; i++) {
        }
        if (i == count) {
            recipe_fail(L, (place){word->at.file, module_line_of(recipe_of(L), word->at, key)},
                        "%s has no '%s'%s", word->function, key,
                        recipe_hint(recipe_of(L), key, allowed, count));
        }
    }
}

static const char *string_field(lua_State *L, const word_spec *word, const char *key, const char *fallback) {
    const char *text = fallback;
    int type = lua_getfield(L, 1, key);
    if (type == LUA_TSTRING) {
        size_t length;
        text = lua_tolstring(L, -1, &length);
        text = recipe_copy(L, text, length);
    } else if (type != LUA_TNIL) {
        recipe_fail(L, word->at, "%s: '%s' must be a text", word->function, key);
    }
    lua_pop(L, 1);
    return text;
}

static void set_json(lua_State *L, temper_json *object, const char *name, const temper_json *value) {
    if (value == NULL || !tm_json_set(recipe_of(L)->arena, object, name, value)) {
        recipe_no_memory(L);
    }
}

static const temper_json *json_text(lua_State *L, const char *text) {
    const temper_json *value = tm_json_api.new_string(recipe_of(L)->arena, text, strlen(text));
    if (value == NULL) {
        recipe_fail_here(L, "text that is not UTF-8");
    }
    return value;
}

static void declare(lua_State *L, word_spec *word, const char *type, const char *const *allowed,
                    size_t allowed_count) {
    loader *state = recipe_of(L);
    size_t i;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    check_keys(L, word, allowed, allowed_count);
    if (lua_rawgeti(L, 1, 1) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_getfield(L, 1, "name");
    }
    if (lua_type(L, -1) != LUA_TSTRING) {
        recipe_fail(L, word->at, "%s needs a name first: %s { \"name\", … }", word->function, word->function);
    }
    word->name = recipe_copy(L, lua_tostring(L, -1), lua_rawlen(L, -1));
    lua_pop(L, 1);
    if (!name_valid(word->name)) {
        recipe_fail(L, word->at, "'%s' is not a parameter name: lower-case letters, digits and _",
                    word->name);
    }
    for (i = 0; i < state->declaration_count; i++) {
        if (strcmp(state->declarations[i].name, word->name) == 0) {
            recipe_fail(L, word->at, "parameter '%s' is declared twice: first at %s:%d", word->name,
                        state->declarations[i].at.file, state->declarations[i].at.line);
        }
    }
    state->declarations =
        recipe_grow(L, state->declarations, state->declaration_count, sizeof *state->declarations);
    state->declarations[state->declaration_count++] = (declared){word->name, word->at};
    for (i = 0; i < state->setting_count; i++) {
        if (strcmp(state->settings[i].name, word->name) == 0) {
            state->settings[i].used = true;
            word->given = &state->settings[i]; /* the last one counts */
        }
    }
    word->doc = string_field(L, word, "doc", "");
    word->declared = tm_json_object(state->arena);
    if (word->declared == NULL || !tm_json_append(state->arena, state->declared_json, word->declared)) {
        recipe_no_memory(L);
    }
    set_json(L, word->declared, "name", json_text(L, word->name));
    set_json(L, word->declared, "type", json_text(L, type));
    set_json(L, word->declared, "doc", json_text(L, word->doc));
    set_json(L, word->declared, "line", tm_json_api.new_integer(state->arena, word->at.line));
    lua_getfield(L, 1, "default");
    word->has_default = !lua_isnil(L, -1); /* stays at index 2 */
}

static void fail_required(lua_State *L, const word_spec *word) {
    recipe_fail(L, word->at, "parameter '%s' has no default and was not set: --set %s=…%s%s", word->name,
                word->name, *word->doc != 0 ? "   " : "", word->doc);
}

/* temper.model "path", temper.model { "name", default = "path", doc = "…" }, and the same for the other kinds. */
static int source_word(lua_State *L) {
    static const char *const allowed[] = {"name", "default", "doc"};
    loader *state = recipe_of(L);
    tm_kind kind = (tm_kind)lua_tointeger(L, lua_upvalueindex(1));
    word_spec word = {.function = words_kind_function(kind), .type = WORD_SOURCE, .at = recipe_place(L)};
    const char *path, *relative_to = state->folder;
    place at = word.at;
    int index;

    if (lua_type(L, 1) == LUA_TTABLE) {
        declare(L, &word, tm_kind_name(kind), allowed, 3);
        lua_replace(L, 1);
    }
    if (word.given != NULL) {
        path = word.given->value;
        relative_to = state->working_folder;
    } else if (lua_type(L, 1) == LUA_TSTRING) {
        path = recipe_copy(L, lua_tostring(L, 1), lua_rawlen(L, 1));
    } else if (luaL_testudata(L, 1, builtin_metatable) != NULL) {
        lua_getiuservalue(L, 1, 1);
        path = recipe_copy(L, lua_tostring(L, -1), lua_rawlen(L, -1));
        lua_pop(L, 1);
    } else if (word.name != NULL && !word.has_default && state->lenient) {
        path = "";
    } else if (word.name != NULL && !word.has_default) {
        fail_required(L, &word);
    } else {
        recipe_fail(L, at, "%s takes a path, temper.builtin \"…\", or { \"name\", default = … }, not a %s",
                    word.function, luaL_typename(L, 1));
    }
    if (word.has_default) {
        const char *shown = "";
        if (lua_type(L, 1) == LUA_TSTRING) {
            shown = lua_tostring(L, 1);
        } else if (luaL_testudata(L, 1, builtin_metatable) != NULL) {
            lua_getiuservalue(L, 1, 1);
            shown = lua_tostring(L, -1);
        }
        set_json(L, word.declared, "default", json_text(L, shown));
    }
    index = words_source(L, kind, word.name, path, relative_to, at);
    if (word.name != NULL) {
        set_json(L, state->parameters_json, word.name, json_text(L, state->sources[index].name));
    }
    stages_push_source(L, index);
    return 1;
}

static int builtin_word(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    lua_newuserdatauv(L, 1, 1);
    lua_pushfstring(L, "builtin:%s", name);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, builtin_metatable);
    return 1;
}

/* --- plain values ------------------------------------------------------------------------------------------------ */

static bool number_field(lua_State *L, const word_spec *word, const char *key, double *out) {
    int type = lua_getfield(L, 1, key);
    if (type != LUA_TNIL && (type != LUA_TNUMBER || !isfinite(lua_tonumber(L, -1)))) {
        recipe_fail(L, word->at, "%s: '%s' must be a finite number", word->function, key);
    }
    *out = lua_tonumber(L, -1);
    if (type != LUA_TNIL) {
        set_json(L, word->declared, key, convert_value(L, -1, key, word->at));
    }
    lua_pop(L, 1);
    return type != LUA_TNIL;
}

/* Pushes the value that --set gave, as the declared type. */
static void push_setting(lua_State *L, const word_spec *word) {
    const char *text = word->given->value;
    char *end = NULL;
    errno = 0;
    switch (word->type) {
    case WORD_INT: {
        long long number = strtoll(text, &end, 10);
        if (end == text || *end != 0 || errno != 0 || isspace((unsigned char)*text)) {
            recipe_fail(L, word->at, "--set %s=%s: '%s' is a whole number", word->name, text, word->name);
        }
        lua_pushinteger(L, number);
        return;
    }
    case WORD_NUMBER: {
        double number = strtod(text, &end);
        if (end == text || *end != 0 || !isfinite(number) || isspace((unsigned char)*text)) {
            recipe_fail(L, word->at, "--set %s=%s: '%s' is a number", word->name, text, word->name);
        }
        lua_pushnumber(L, number);
        return;
    }
    case WORD_FLAG: {
        bool yes = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
        if (!yes && strcmp(text, "false") != 0 && strcmp(text, "0") != 0) {
            recipe_fail(L, word->at, "--set %s=%s: '%s' is true or false", word->name, text, word->name);
        }
        lua_pushboolean(L, yes);
        return;
    }
    default: lua_pushstring(L, text);
    }
}

/* Checks the value on top of the stack; `origin` says whose it is. */
static void check_value(lua_State *L, word_spec *word, const char *origin) {
    static const char *const expected[] = {"a whole number", "a number", "a text", "true or false"};
    bool right = false;
    size_t i, count = tm_json_length(word->choices);
    switch (word->type) {
    case WORD_INT:
        if (lua_type(L, -1) == LUA_TNUMBER) {
            int whole = 0;
            lua_Integer number = lua_tointegerx(L, -1, &whole);
            if (whole) {
                lua_pop(L, 1);
                lua_pushinteger(L, number);
                right = true;
            }
        }
        break;
    case WORD_NUMBER:
        right = lua_type(L, -1) == LUA_TNUMBER && isfinite(lua_tonumber(L, -1));
        if (right) {
            double number = lua_tonumber(L, -1);
            lua_pop(L, 1);
            lua_pushnumber(L, number);
        }
        break;
    case WORD_STRING: right = lua_type(L, -1) == LUA_TSTRING; break;
    case WORD_FLAG: right = lua_isboolean(L, -1); break;
    case WORD_SOURCE: break;
    }
    if (!right) {
        recipe_fail(L, word->at, "%s of '%s' must be %s, not %s", origin, word->name, expected[word->type],
                    luaL_typename(L, -1));
    }
    if (word->type == WORD_INT || word->type == WORD_NUMBER) {
        double number = lua_tonumber(L, -1);
        if ((word->bounded_below && number < word->minimum) ||
            (word->bounded_above && number > word->maximum)) {
            char low[32] = "", high[32] = "";
            if (word->bounded_below) {
                tm_json_number(word->minimum, low);
            }
            if (word->bounded_above) {
                tm_json_number(word->maximum, high);
            }
            recipe_fail(L, word->at, "%s of '%s' is %s: it must be %s%s%s%s", origin, word->name,
                        luaL_tolstring(L, -1, NULL), word->bounded_below ? "at least " : "", low,
                        word->bounded_above ? (word->bounded_below ? " and at most " : "at most ") : "",
                        high);
        }
    }
    if (count > 0) {
        const temper_json *value = convert_value(L, -1, word->name, word->at);
        tm_buffer list = TM_BUFFER_INIT;
        const char *choices;
        for (i = 0; i < count; i++) {
            if (tm_json_equal(tm_json_element(word->choices, i), value)) {
                return;
            }
            tm_buffer_text(&list, i == 0 ? "" : ", ");
            (void)tm_json_write(tm_json_element(word->choices, i), &list, NULL);
        }
        choices = tm_buffer_ok(&list) ? tm_arena_copy(recipe_of(L)->arena, list.data, list.length) : NULL;
        tm_buffer_free(&list);
        recipe_fail(L, word->at, "%s of '%s' is %s: it must be one of %s", origin, word->name,
                    luaL_tolstring(L, -1, NULL), choices != NULL ? choices : "the choices");
    }
}

/* A stand-in for a required value nobody set, when only the declarations are wanted. */
static void push_stand_in(lua_State *L, const word_spec *word) {
    const temper_json *first = tm_json_element(word->choices, 0);
    double number = word->bounded_below ? word->minimum : word->bounded_above ? word->maximum : 0;
    if (word->type == WORD_FLAG) {
        lua_pushboolean(L, 0);
    } else if (word->type == WORD_STRING) {
        lua_pushstring(L, tm_json_text(first, ""));
    } else if (tm_json_double(first, &number) || true) {
        if (word->type == WORD_INT) {
            lua_pushinteger(L, (lua_Integer)number);
        } else {
            lua_pushnumber(L, number);
        }
    }
}

static int value_word(lua_State *L) {
    static const char *const allowed[] = {"name", "default", "doc", "choices", "min", "max"};
    static const char *const functions[] = {"temper.int", "temper.number", "temper.string", "temper.flag"};
    static const char *const types[] = {"integer", "number", "string", "flag"};
    loader *state = recipe_of(L);
    word_spec word = {.type = (word_type)lua_tointeger(L, lua_upvalueindex(1)), .at = recipe_place(L)};
    bool numeric = word.type == WORD_INT || word.type == WORD_NUMBER;
    word.function = functions[word.type];
    if (lua_type(L, 1) != LUA_TTABLE) {
        recipe_fail(L, word.at, "%s takes { \"name\", default = … }, not a %s", word.function,
                    luaL_typename(L, 1));
    }
    declare(L, &word, types[word.type], allowed, word.type == WORD_FLAG ? 3 : numeric ? 6 : 4);
    if (numeric) {
        word.bounded_below = number_field(L, &word, "min", &word.minimum);
        word.bounded_above = number_field(L, &word, "max", &word.maximum);
    }
    if (word.type != WORD_FLAG && lua_getfield(L, 1, "choices") != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TTABLE || lua_rawlen(L, -1) == 0) {
            recipe_fail(L, word.at, "%s: 'choices' is a list of at least one", word.function);
        }
        word.choices = convert_value(L, -1, "choices", word.at);
        set_json(L, word.declared, "choices", word.choices);
    }
    lua_settop(L, 2);
    if (word.has_default) {
        check_value(L, &word, "the default");
        set_json(L, word.declared, "default", convert_value(L, -1, word.name, word.at));
    }
    if (word.given != NULL) {
        push_setting(L, &word);
        check_value(L, &word, "--set: the value");
    } else if (!word.has_default && state->lenient) {
        push_stand_in(L, &word);
    } else if (!word.has_default) {
        fail_required(L, &word);
    }
    set_json(L, state->parameters_json, word.name, convert_value(L, -1, word.name, word.at));
    return 1;
}

static int doc_word(lua_State *L) {
    loader *state = recipe_of(L);
    state->doc = recipe_copy(L, luaL_checkstring(L, 1), lua_rawlen(L, 1));
    return 0;
}

static int name_word(lua_State *L) {
    loader *state = recipe_of(L);
    const char *name = luaL_checkstring(L, 1), *byte;
    for (byte = name; *byte != 0; byte++) {
        if (!isalnum((unsigned char)*byte) && (strchr("-_.", *byte) == NULL || byte == name)) {
            recipe_fail_here(L, "temper.name \"%s\": letters, digits, - _ and . only, for it names a file",
                             name);
        }
    }
    if (*name == 0 || strlen(name) > 60) {
        recipe_fail_here(L, "temper.name: between 1 and 60 characters");
    }
    state->title = recipe_copy(L, name, strlen(name));
    return 0;
}

static int unknown_word(lua_State *L) {
    static const char *const words[] = {"builtin", "character", "doc",    "expect",  "flag",   "int", "model",
                                        "name",    "number",    "plugin", "records", "string", "text"};
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    recipe_fail_here(L, "there is no temper.%s%s", name,
                     recipe_hint(recipe_of(L), name, words, sizeof words / sizeof *words));
}

static int read_only(lua_State *L) {
    recipe_fail_here(L, "this cannot be changed");
}

void words_open(lua_State *L) {
    static const struct {
        const char *name;
        tm_kind kind;
    } sources[] = {
        {"model", TM_MODEL}, {"character", TM_CHARACTER}, {"records", TM_RECORDS}, {"text", TM_TEXT}};
    static const struct {
        const char *name;
        word_type type;
    } values[] = {{"int", WORD_INT}, {"number", WORD_NUMBER}, {"string", WORD_STRING}, {"flag", WORD_FLAG}};
    static const luaL_Reg others[] = {
        {"builtin", builtin_word}, {"doc", doc_word}, {"name", name_word}, {NULL, NULL}};
    static const luaL_Reg guard[] = {{"__index", unknown_word}, {"__newindex", read_only}, {NULL, NULL}};
    size_t i;
    luaL_newmetatable(L, builtin_metatable);
    lua_pop(L, 1);
    lua_newtable(L);
    for (i = 0; i < 4; i++) {
        lua_pushinteger(L, sources[i].kind);
        lua_pushcclosure(L, source_word, 1);
        lua_setfield(L, -2, sources[i].name);
        lua_pushinteger(L, values[i].type);
        lua_pushcclosure(L, value_word, 1);
        lua_setfield(L, -2, values[i].name);
    }
    luaL_setfuncs(L, others, 0);
    stages_open(L);
    luaL_newlib(L, guard);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

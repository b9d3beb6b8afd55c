/* module.c: the recipe's own files. Invariant: every byte of Lua that runs was read here, once, and is hashed into the plan. */
#include "recipe/internal.h"

#include "base/file.h"

#include <ctype.h>
#include <stdlib.h>

enum { MODULE_LIMIT = 4 << 20 };

void module_load(lua_State *L, const char *name, place at) {
    loader *state = recipe_of(L);
    recipe_file *file;
    tm_buffer text = TM_BUFFER_INIT;
    temper_error error = TEMPER_ERROR_INIT;
    temper_status status;
    char *path;
    size_t skip = 0;

    if (state->file_count >= LOADER_FILES) {
        recipe_fail(L, at, "more than %d files in one recipe", LOADER_FILES);
    }
    if (strlen(name) >= LOADER_NAME) {
        recipe_fail(L, at, "the name '%.60s…' is too long", name);
    }
    path = tm_path_join(state->folder, name);
    status = path == NULL ? TEMPER_NO_MEMORY : tm_file_read(path, MODULE_LIMIT, &text, &error);
    if (status) {
        free(path);
        tm_buffer_free(&text);
        if (state->file_count == 0) {
            lua_pushstring(L, error.message);
            lua_error(L);
        }
        recipe_fail(L, at, "%s", error.message);
    }
    file = &state->files[state->file_count];
    file->name = recipe_copy(L, name, strlen(name));
    file->path = recipe_copy(L, path, strlen(path));
    file->text = recipe_copy(L, text.data != NULL ? text.data : "", text.length);
    file->length = text.length;
    file->digest = tm_digest_of(file->text, file->length);
    snprintf(state->page->names[state->file_count], LOADER_NAME, "%s", name);
    state->file_count++;
    free(path);
    tm_buffer_free(&text);

    if (file->length > 3 && memcmp(file->text, "\xEF\xBB\xBF", 3) == 0) {
        skip = 3;
    }
    if (file->length > skip && file->text[skip] == '#') { /* as Lua does: a first line for the shell */
        while (skip < file->length && file->text[skip] != '\n') {
            skip++;
        }
    }
    lua_pushfstring(L, "@%s", file->name);
    if (luaL_loadbufferx(L, file->text + skip, file->length - skip, lua_tostring(L, -1), "t") != LUA_OK) {
        const char *message = lua_tostring(L, -1);
        if (file->length > skip && file->text[skip] == LUA_SIGNATURE[0]) {
            recipe_fail(L, (place){file->name, 1}, "compiled Lua is refused: a recipe is text");
        }
        if (strchr(message, ':') == NULL) {
            recipe_fail(L, (place){file->name, 1}, "%s", message);
        }
        lua_error(L);
    }
    lua_remove(L, -2);
}

static bool module_name_valid(const char *name) {
    bool start = true;
    for (; *name != 0; name++) {
        if (*name == '.') {
            if (start) {
                return false;
            }
            start = true;
        } else if (isalnum((unsigned char)*name) || *name == '_' || *name == '-') {
            start = false;
        } else {
            return false;
        }
    }
    return !start;
}

int module_require(lua_State *L) {
    loader *state = recipe_of(L);
    const char *name = luaL_checkstring(L, 1);
    char *path, *cursor;
    place at = recipe_place(L);
    lua_settop(L, 1);
    if (strcmp(name, "temper") == 0) {
        lua_getfield(L, LUA_REGISTRYINDEX, "temper");
        return 1;
    }
    lua_getfield(L, LUA_REGISTRYINDEX, "temper.modules");
    if (lua_getfield(L, 2, name) != LUA_TNIL) {
        if (lua_touserdata(L, -1) == state) {
            recipe_fail(L, at, "module '%s' requires itself", name);
        }
        return 1;
    }
    lua_pop(L, 1);
    if (!module_name_valid(name)) {
        recipe_fail(L, at,
                    "require \"%s\": a module is a file in the recipe's folder: require \"folder.name\" is "
                    "folder/name.lua",
                    name);
    }
    lua_pushlightuserdata(L, state);
    lua_setfield(L, 2, name);
    path = (char *)recipe_copy(L, lua_pushfstring(L, "%s.lua", name), strlen(name) + 4);
    for (cursor = path; cursor < path + strlen(name); cursor++) {
        *cursor = *cursor == '.' ? '/' : *cursor;
    }
    module_load(L, path, at);
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, name);
    return 1;
}

/* Skips a quoted text or a comment that begins at `at`; returns the first byte after it, or `at`. */
static size_t skip_quoted(const char *text, size_t length, size_t at) {
    char quote = text[at];
    if (quote == '-' && at + 1 < length && text[at + 1] == '-') {
        while (at < length && text[at] != '\n') {
            at++;
        }
        return at;
    }
    if (quote != '"' && quote != '\'') {
        return at;
    }
    for (at++; at < length && text[at] != quote && text[at] != '\n'; at++) {
        if (text[at] == '\\') {
            at++;
        }
    }
    return at < length ? at + 1 : length;
}

int module_line_of(const loader *state, place at, const char *key) {
    const recipe_file *file = NULL;
    size_t i, cursor = 0, key_length = strlen(key);
    int line = 1, depth = 0;
    for (i = 0; i < state->file_count && file == NULL; i++) {
        file = strcmp(state->files[i].name, at.file) == 0 ? &state->files[i] : NULL;
    }
    if (file == NULL) {
        return at.line;
    }
    while (cursor < file->length && line < at.line) {
        line += file->text[cursor++] == '\n';
    }
    while (cursor < file->length && line < at.line + 200) {
        char byte = file->text[cursor];
        size_t after = skip_quoted(file->text, file->length, cursor);
        if (after != cursor) {
            cursor = after;
            continue;
        }
        if (byte == '\n') {
            line++;
        } else if (byte == '{' || byte == '(') {
            depth++;
        } else if ((byte == '}' || byte == ')') && --depth <= 0) {
            break;
        } else if (depth > 0 && (isalpha((unsigned char)byte) || byte == '_')) {
            size_t end = cursor;
            while (end < file->length &&
                   (isalnum((unsigned char)file->text[end]) || file->text[end] == '_')) {
                end++;
            }
            if (end - cursor == key_length && memcmp(file->text + cursor, key, key_length) == 0) {
                size_t next = end;
                while (next < file->length && (file->text[next] == ' ' || file->text[next] == '\t')) {
                    next++;
                }
                if (next + 1 < file->length && file->text[next] == '=' && file->text[next + 1] != '=') {
                    return line;
                }
            }
            cursor = end;
            continue;
        }
        cursor++;
    }
    return at.line;
}

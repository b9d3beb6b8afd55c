/* loader.c: main of the child. It reads one request, walks the recipe, answers once and exits:
 *   -> {"main","folder","working_folder","settings":[{"name","value"}],"seed","profile","lenient"}
 *   <- {"describe":"filter"}            -> {"description":{…}} or {"error":"…"}
 *   <- {"print":"…"}
 *   <- {"plan":{…},"declared":[…],"doc","title"} or {"error":"character.lua:12: …"}
 * One JSON object a line. */
#include "recipe/internal.h"
#include "recipe/recipe.h"

#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LINE_LIMIT = 64 << 20 };

static bool send_line(const temper_json *message) {
    tm_buffer line = TM_BUFFER_INIT;
    size_t sent = 0;
    bool good = tm_json_write(message, &line, NULL) == TEMPER_OK;
    tm_buffer_byte(&line, '\n');
    good = good && tm_buffer_ok(&line);
    while (good && sent < line.length) {
        ssize_t wrote = write(LOADER_SOCKET, line.data + sent, line.length - sent);
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        good = wrote > 0;
        sent += good ? (size_t)wrote : 0;
    }
    tm_buffer_free(&line);
    return good;
}

static const temper_json *receive_line(temper_arena *arena) {
    tm_buffer line = TM_BUFFER_INIT;
    const temper_json *message = NULL;
    bool whole = false;
    while (!whole && line.length < LINE_LIMIT) {
        char chunk[65536];
        ssize_t got = read(LOADER_SOCKET, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        whole = memchr(chunk, '\n', (size_t)got) != NULL; /* the parent sends nothing more until asked */
        tm_buffer_append(&line, chunk, (size_t)got);
    }
    if (whole && tm_buffer_ok(&line)) {
        (void)tm_json_parse(arena, line.data, line.length, &message, NULL);
    }
    tm_buffer_free(&line);
    return message;
}

temper_status recipe_describe(loader *state, const char *plugin, const temper_json **out,
                              temper_error *error) {
    temper_json *question = tm_json_object(state->arena);
    const temper_json *answer;
    const char *failure;
    if (question == NULL || !tm_json_set_string(state->arena, question, "describe", plugin)) {
        return temper_fail(error, TEMPER_INVALID, "'%.60s' is no plugin's name", plugin);
    }
    answer = send_line(question) ? receive_line(state->arena) : NULL;
    failure = tm_json_string(tm_json_member(answer, "error"), NULL);
    *out = tm_json_member(answer, "description");
    if (failure != NULL || *out == NULL) {
        return temper_fail(error, TEMPER_INVALID, "%s",
                           failure != NULL ? failure : "the loader lost its parent");
    }
    return TEMPER_OK;
}

void recipe_print(loader *state, const char *text, size_t length) {
    temper_json *message = tm_json_object(state->arena);
    const temper_json *value = tm_json_new_string(state->arena, text, length);
    if (message != NULL && value != NULL && tm_json_set(state->arena, message, "print", value)) {
        (void)send_line(message);
    }
}

/* In protected mode: light userdata 1 is the request. */
static int load_recipe(lua_State *L) {
    loader *state = recipe_of(L);
    const char *main_file = lua_touserdata(L, 1);
    place start;
    size_t i;

    sandbox_open(L);
    if (!sandbox_power_is_ours(L)) {
        return luaL_error(L, "this build's Lua takes ^ from the C library, whose bits differ between "
                             "machines: loading refused");
    }
    words_open(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "temper");
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "temper.modules");

    lua_settop(L, 0);
    module_load(L, main_file, (place){main_file, 1});
    start = (place){state->files[0].name, 1};
    lua_call(L, 0, 1);
    if (state->page->line > 0) {
        start.line = state->page->line;
    }
    if (state->node_count == 0 && !state->lenient) {
        recipe_fail(L, start, "the recipe asks for no stage: there is nothing to run");
    }
    plan_result(L, 1, start);
    for (i = 0; i < state->setting_count; i++) {
        if (!state->settings[i].used) {
            const char *names[256];
            size_t count = 0;
            for (; count < state->declaration_count && count < 256; count++) {
                names[count] = state->declarations[count].name;
            }
            lua_pushfstring(L, "--set %s=%s: %s has no parameter '%s'%s", state->settings[i].name,
                            state->settings[i].value, main_file, state->settings[i].name,
                            recipe_hint(state, state->settings[i].name, names, count));
            return lua_error(L);
        }
    }
    return 0;
}

static bool starts_with_place(const loader *state, const char *message) {
    size_t i, length;
    for (i = 0; i < state->file_count; i++) {
        length = strlen(state->files[i].name);
        if (strncmp(message, state->files[i].name, length) == 0 && message[length] == ':' &&
            message[length + 1] >= '0' && message[length + 1] <= '9') {
            return true;
        }
    }
    return strncmp(message, "--set ", 6) == 0;
}

/* What went wrong, with a place in front whatever Lua raised. */
static const char *failure_text(loader *state, int status) {
    lua_State *L = state->L;
    const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    const char *file = state->file_count > 0 ? state->files[state->page->file].name : NULL, *text;
    if (status == LUA_ERRMEM || (message != NULL && strstr(message, "not enough memory") != NULL)) {
        message = "out of memory: a recipe may use 256 MB while it is loaded";
    } else if (message == NULL) {
        message = tm_arena_format(state->arena, "the recipe raised a %s as an error", luaL_typename(L, -1));
        message = message != NULL ? message : "an error";
    }
    if (file == NULL || starts_with_place(state, message)) {
        return message;
    }
    text = tm_arena_format(state->arena, "%s:%d: %s", file, (int)state->page->line, message);
    return text != NULL ? text : message;
}

static bool take_request(loader *state, const temper_json *request) {
    const temper_json *settings = tm_json_member(request, "settings");
    int64_t seed = 0;
    size_t i;
    state->folder = tm_json_text(tm_json_member(request, "folder"), ".");
    state->working_folder = tm_json_text(tm_json_member(request, "working_folder"), ".");
    state->profile = tm_json_text(tm_json_member(request, "profile"), "bf16/1");
    (void)tm_json_integer(tm_json_member(request, "seed"), &seed);
    (void)tm_json_boolean(tm_json_member(request, "lenient"), &state->lenient);
    state->seed = (uint64_t)seed;
    state->setting_count = tm_json_length(settings);
    state->settings = tm_arena_allocate(state->arena, (state->setting_count + 1) * sizeof *state->settings);
    for (i = 0; state->settings != NULL && i < state->setting_count; i++) {
        const temper_json *setting = tm_json_element(settings, i);
        state->settings[i].name = tm_json_text(tm_json_member(setting, "name"), "");
        state->settings[i].value = tm_json_text(tm_json_member(setting, "value"), "");
        state->settings[i].used = false;
    }
    state->declared_json = tm_json_array(state->arena);
    state->parameters_json = tm_json_object(state->arena);
    state->expect_json = tm_json_array(state->arena);
    state->result_json = tm_json_object(state->arena);
    state->doc = "";
    return state->settings != NULL && state->declared_json != NULL && state->parameters_json != NULL &&
           state->expect_json != NULL && state->result_json != NULL;
}

/* temper.name, else the one character's name, else the recipe's; without its suffix. */
static const char *title_of(loader *state, const char *main_file) {
    const char *name = main_file, *dot;
    size_t i, characters = 0;
    if (state->title != NULL) {
        return state->title;
    }
    for (i = 0; i < state->source_count; i++) {
        characters += state->sources[i].kind == TM_CHARACTER;
    }
    for (i = 0; characters == 1 && i < state->source_count; i++) {
        name = state->sources[i].kind == TM_CHARACTER ? state->sources[i].name : name;
    }
    dot = strrchr(name, '.');
    return dot != NULL && dot != name ? tm_arena_copy(state->arena, name, (size_t)(dot - name)) : name;
}

static bool answer(loader *state, const char *main_file, int status) {
    temper_json *message = tm_json_object(state->arena);
    const temper_json *plan = status == LUA_OK ? plan_make(state) : NULL;
    bool made = message != NULL;
    if (plan != NULL) {
        made = made && tm_json_set(state->arena, message, "plan", plan) &&
               tm_json_set(state->arena, message, "declared", state->declared_json) &&
               tm_json_set_string(state->arena, message, "doc", state->doc) &&
               tm_json_set_string(state->arena, message, "title", title_of(state, main_file));
    } else {
        const char *text = status == LUA_OK ? "out of memory while loading" : failure_text(state, status);
        size_t bad = 0;
        if (!tm_text_utf8(text, strlen(text), &bad)) {
            text = tm_arena_copy(state->arena, text, bad);
        }
        made = made && text != NULL && tm_json_set_string(state->arena, message, "error", text);
    }
    return made && send_line(message);
}

int tm_recipe_loader_main(void) {
    static loader state; /* zero */
    const struct rlimit no_core = {0, 0}, seconds = {60, 60};
    const temper_json *request;
    const char *main_file;
    loader *self = &state;
    int status;

    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)setrlimit(RLIMIT_FSIZE, &no_core);
    (void)setrlimit(RLIMIT_CPU, &seconds);
    state.arena = tm_arena_new();
    state.page = mmap(NULL, sizeof *state.page, PROT_READ | PROT_WRITE, MAP_SHARED, LOADER_PAGE, 0);
    request = state.arena != NULL && state.page != MAP_FAILED ? receive_line(state.arena) : NULL;
    if (request == NULL || !take_request(&state, request)) {
        fprintf(stderr, "temper --load-recipe is started by temper itself\n");
        return 2;
    }
    main_file = tm_json_text(tm_json_member(request, "main"), "");
    state.L = lua_newstate(sandbox_allocate, &state);
    if (state.L == NULL) {
        return 2;
    }
    memcpy(lua_getextraspace(state.L), &self, sizeof self);
    lua_pushcfunction(state.L, load_recipe);
    lua_pushlightuserdata(state.L, (void *)main_file);
    status = lua_pcall(state.L, 1, 0, 0);
    lua_sethook(state.L, NULL, 0, 0);
    /* Exit without closing: what is left belongs to a process that ends here. */
    _exit(answer(&state, main_file, status) ? 0 : 2);
}

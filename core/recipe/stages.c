/* stages.c: temper.plugin(NAME).STAGE{…} and temper.expect. Invariant: a node enters the plan only whole: each key known, each input
 * of its kind, each parameter within its bounds, all by the plugin's own description. What is wrong is said with the line on
 * which the key stands. */
#include "recipe/internal.h"

#include "base/text.h"

#include <math.h>

static const char plugin_metatable[] = "temper.plugin", source_metatable[] = "temper.source",
                  node_metatable[] = "temper.stage", output_metatable[] = "temper.output";

typedef struct output_handle {
    int node, port;
} output_handle;

enum { NAMES_LIMIT = 256 };

/* --- handles ----------------------------------------------------------------------------------------------------- */

static void push_index(lua_State *L, const char *metatable, int index) {
    int *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = index;
    luaL_setmetatable(L, metatable);
}

void stages_push_source(lua_State *L, int source) {
    push_index(L, source_metatable, source);
}

bool stages_source(lua_State *L, int index, int *source) {
    const int *handle = luaL_testudata(L, index, source_metatable);
    if (handle != NULL) {
        *source = *handle;
    }
    return handle != NULL;
}

bool stages_node(lua_State *L, int index, int *node) {
    const int *handle = luaL_testudata(L, index, node_metatable);
    if (handle != NULL) {
        *node = *handle;
    }
    return handle != NULL;
}

const temper_json *stages_ports(const loader *state, int node) {
    return tm_json_member(state->nodes[node].stage, "outputs");
}

bool stages_output(lua_State *L, int index, int *node, const temper_json **port) {
    const output_handle *handle = luaL_testudata(L, index, output_metatable);
    if (handle == NULL) {
        return false;
    }
    *node = handle->node;
    *port = tm_json_element(stages_ports(recipe_of(L), handle->node), (size_t)handle->port);
    return true;
}

static const char *full_name(const loader *state, const recipe_node *node) {
    const char *name = tm_arena_format(state->arena, "%s.%s", state->plugins[node->plugin].name,
                                       tm_json_text(tm_json_member(node->stage, "name"), ""));
    return name != NULL ? name : "";
}

static size_t collect_names(const temper_json *list, const char **names, size_t count) {
    size_t i;
    for (i = 0; i < tm_json_length(list) && count < NAMES_LIMIT; i++) {
        names[count++] = tm_json_text(tm_json_member(tm_json_element(list, i), "name"), "");
    }
    return count;
}

static int node_field(lua_State *L) {
    loader *state = recipe_of(L);
    int node = *(const int *)luaL_checkudata(L, 1, node_metatable);
    const temper_json *ports = stages_ports(state, node);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?", *names[NAMES_LIMIT];
    size_t i, count = collect_names(ports, names, 0);
    for (i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            output_handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
            handle->node = node;
            handle->port = (int)i;
            luaL_setmetatable(L, output_metatable);
            return 1;
        }
    }
    recipe_fail_here(L, "%s has no output '%s'%s", full_name(state, &state->nodes[node]), name,
                     recipe_hint(state, name, names, count));
}

static int node_text(lua_State *L) {
    loader *state = recipe_of(L);
    const recipe_node *node = &state->nodes[*(const int *)luaL_checkudata(L, 1, node_metatable)];
    lua_pushfstring(L, "stage %s (%s:%d)", full_name(state, node), node->at.file, node->at.line);
    return 1;
}

static int output_text(lua_State *L) {
    loader *state = recipe_of(L);
    const temper_json *port = NULL;
    int node = 0;
    (void)stages_output(L, 1, &node, &port);
    lua_pushfstring(L, "output '%s' of %s (%s:%d)", tm_json_text(tm_json_member(port, "name"), ""),
                    full_name(state, &state->nodes[node]), state->nodes[node].at.file,
                    state->nodes[node].at.line);
    return 1;
}

static int output_field(lua_State *L) {
    luaL_tolstring(L, 1, NULL);
    recipe_fail_here(L, "%s has no fields: it stands for data that a run will make", lua_tostring(L, -1));
}

static int source_text(lua_State *L) {
    loader *state = recipe_of(L);
    const recipe_source *source = &state->sources[*(const int *)luaL_checkudata(L, 1, source_metatable)];
    lua_pushfstring(L, "%s \"%s\"", tm_kind_name(source->kind), source->id);
    return 1;
}

static int no_write(lua_State *L) {
    luaL_tolstring(L, 1, NULL);
    recipe_fail_here(L, "%s cannot be changed", lua_tostring(L, -1));
}

/* --- a stage's inputs -------------------------------------------------------------------------------------------- */

typedef struct stage_use {
    const recipe_plugin *plugin;
    const temper_json *stage;
    const char *name; /* "filter.pairs" */
    place at;
} stage_use;

static place key_place(lua_State *L, const stage_use *call, const char *key) {
    place at = call->at;
    at.line = module_line_of(recipe_of(L), call->at, key);
    return at;
}

/* A character is a list of records and may be read as one. */
static bool kind_fits(tm_kind wanted, tm_kind given) {
    return wanted == given || (wanted == TM_RECORDS && given == TM_CHARACTER);
}

static void set_text(lua_State *L, temper_json *object, const char *name, const char *text) {
    if (!tm_json_set_string(recipe_of(L)->arena, object, name, text)) {
        recipe_no_memory(L);
    }
}

static void set_integer(lua_State *L, temper_json *object, const char *name, int64_t number) {
    if (!tm_json_set_integer(recipe_of(L)->arena, object, name, number)) {
        recipe_no_memory(L);
    }
}

/* Says which outputs of a stage would fit where the stage itself was given. */
static void fail_whole_stage(lua_State *L, const stage_use *call, const char *input, tm_kind wanted,
                             int node) {
    loader *state = recipe_of(L);
    const temper_json *ports = stages_ports(state, node);
    const char *fitting[NAMES_LIMIT];
    size_t i, count = 0;
    for (i = 0; i < tm_json_length(ports) && count < NAMES_LIMIT; i++) {
        const temper_json *port = tm_json_element(ports, i);
        tm_kind kind;
        if (tm_kind_parse(tm_json_text(tm_json_member(port, "kind"), ""), &kind) && kind_fits(wanted, kind)) {
            fitting[count++] = tm_json_text(tm_json_member(port, "name"), "");
        }
    }
    recipe_fail(L, key_place(L, call, input),
                "%s: input '%s' takes an output, not the whole stage %s: add %s%s", call->name, input,
                full_name(state, &state->nodes[node]), count > 0 ? "." : "one of its outputs, of kind ",
                count > 0 ? fitting[0] : tm_kind_name(wanted));
}

/* The value at the top of the stack as an edge of the plan. */
static const temper_json *make_input(lua_State *L, const stage_use *call, const char *name, tm_kind wanted) {
    loader *state = recipe_of(L);
    temper_json *edge = tm_json_object(state->arena);
    const temper_json *port = NULL;
    int source = -1, node = -1;
    tm_kind given = wanted;
    if (edge == NULL) {
        recipe_no_memory(L);
    }
    if (stages_source(L, -1, &source)) {
        given = state->sources[source].kind;
    } else if (stages_output(L, -1, &node, &port)) {
        if (!tm_kind_parse(tm_json_text(tm_json_member(port, "kind"), ""), &given)) {
            recipe_fail(L, call->at, "%s: input '%s': an output of an unknown kind", call->name, name);
        }
    } else if (stages_node(L, -1, &node)) {
        fail_whole_stage(L, call, name, wanted, node);
    } else if (lua_type(L, -1) == LUA_TSTRING &&
               (wanted == TM_RECORDS || wanted == TM_TEXT || wanted == TM_CHARACTER)) {
        const char *path = recipe_copy(L, lua_tostring(L, -1), lua_rawlen(L, -1));
        source = words_source(L, wanted, NULL, path, state->folder, key_place(L, call, name));
    } else if (lua_type(L, -1) == LUA_TSTRING && wanted == TM_MODEL) {
        recipe_fail(L, key_place(L, call, name), "%s: input '%s' takes a model: temper.model \"%s\"",
                    call->name, name, lua_tostring(L, -1));
    } else {
        recipe_fail(L, key_place(L, call, name), "%s: input '%s' takes %s%s, not a %s", call->name, name,
                    wanted == TM_MODEL || wanted == TM_REPORT || wanted == TM_CHARACTER ? "a " : "",
                    tm_kind_name(wanted), luaL_typename(L, -1));
    }
    if (!kind_fits(wanted, given)) {
        luaL_tolstring(L, -1, NULL);
        recipe_fail(L, key_place(L, call, name), "%s: input '%s' takes %s, but %s is %s", call->name, name,
                    tm_kind_name(wanted), lua_tostring(L, -1), tm_kind_name(given));
    }
    set_text(L, edge, "name", name);
    set_text(L, edge, "kind", tm_kind_name(wanted));
    if (source >= 0) {
        set_text(L, edge, "source", state->sources[source].id);
    } else {
        set_integer(L, edge, "node", node);
        set_text(L, edge, "output", tm_json_text(tm_json_member(port, "name"), ""));
    }
    return edge;
}

static const temper_json *take_inputs(lua_State *L, const stage_use *call) {
    loader *state = recipe_of(L);
    const temper_json *ports = tm_json_member(call->stage, "inputs");
    temper_json *inputs = tm_json_array(state->arena);
    size_t i;
    for (i = 0; i < tm_json_length(ports); i++) {
        const temper_json *port = tm_json_element(ports, i);
        const char *name = tm_json_text(tm_json_member(port, "name"), "");
        const char *kind_name = tm_json_text(tm_json_member(port, "kind"), "");
        bool optional = false;
        tm_kind kind;
        if (!tm_kind_parse(kind_name, &kind)) {
            recipe_fail(L, call->at, "%s: input '%s' is of a kind this program does not know: '%s'",
                        call->name, name, kind_name);
        }
        (void)tm_json_boolean(tm_json_member(port, "optional"), &optional);
        if (lua_getfield(L, 1, name) != LUA_TNIL) {
            const temper_json *edge = make_input(L, call, name, kind);
            if (inputs == NULL || !tm_json_append(state->arena, inputs, edge)) {
                recipe_no_memory(L);
            }
        } else if (!optional) {
            recipe_fail(L, call->at, "%s needs the input '%s' (%s)", call->name, name, kind_name);
        }
        lua_pop(L, 1);
    }
    return inputs;
}

/* --- a stage's parameters ---------------------------------------------------------------------------------------- */

static bool has_name(const temper_json *list, const char *name) {
    size_t i;
    for (i = 0; i < tm_json_length(list); i++) {
        if (strcmp(tm_json_text(tm_json_member(tm_json_element(list, i), "name"), ""), name) == 0) {
            return true;
        }
    }
    return false;
}

/* Is `name` a parameter, or the first part of one ("lora" of "lora.rank")? */
static bool starts_parameter(const temper_json *list, const char *name) {
    size_t i, length = strlen(name);
    for (i = 0; i < tm_json_length(list); i++) {
        const char *whole = tm_json_text(tm_json_member(tm_json_element(list, i), "name"), "");
        if (strncmp(whole, name, length) == 0 && (whole[length] == 0 || whole[length] == '.')) {
            return true;
        }
    }
    return false;
}

static void fail_unknown_key(lua_State *L, const stage_use *call, const char *key) {
    loader *state = recipe_of(L);
    const temper_json *parameters = tm_json_member(call->stage, "parameters");
    const char *names[NAMES_LIMIT], *nearest;
    size_t count = collect_names(tm_json_member(call->stage, "inputs"), names, 0), i;
    count = collect_names(parameters, names, count);
    if (count < NAMES_LIMIT) {
        names[count++] = "label";
    }
    nearest = tm_text_nearest(key, names, count);
    /* A nested parameter written flat: rank for lora.rank. */
    for (i = 0; nearest == NULL && i < count; i++) {
        const char *dot = strrchr(names[i], '.');
        if (dot != NULL && strcmp(dot + 1, key) == 0) {
            recipe_fail(L, key_place(L, call, key), "%s has no '%s'; did you mean %.*s = { %s = … }?",
                        call->name, key, (int)(dot - names[i]), names[i], key);
        }
    }
    recipe_fail(L, key_place(L, call, key), "%s has no '%s'%s", call->name, key,
                recipe_hint(state, key, names, count));
}

/* Does the message quote the name: "lora.rank" or 'lora.rank'? */
static bool quotes(const char *message, const char *name, const char *inner) {
    static const char marks[] = {'"', '\''};
    char quoted[200];
    size_t i;
    for (i = 0; i < 2; i++) {
        snprintf(quoted, sizeof quoted, "%c%.80s%s%.80s%c", marks[i], name, *inner != 0 ? "." : "", inner,
                 marks[i]);
        if (strstr(message, quoted) != NULL) {
            return true;
        }
    }
    return false;
}

/* The message of a resolver names a parameter; its line is that of the key. */
static place message_place(lua_State *L, const stage_use *call, const temper_json *given,
                           const char *message) {
    size_t i, j;
    for (i = 0; i < tm_json_length(given); i++) {
        const temper_json *value;
        const char *name = tm_json_name(given, i, &value);
        for (j = 0; tm_json_kind(value) == TEMPER_JSON_OBJECT && j < tm_json_length(value); j++) {
            const char *inner = tm_json_name(value, j, NULL);
            if (quotes(message, name, inner)) {
                return key_place(L, call, inner);
            }
        }
        if (quotes(message, name, "")) {
            return key_place(L, call, name);
        }
    }
    return call->at;
}

static const temper_json *take_parameters(lua_State *L, const stage_use *call) {
    loader *state = recipe_of(L);
    const temper_json *inputs = tm_json_member(call->stage, "inputs"),
                      *parameters = tm_json_member(call->stage, "parameters");
    const temper_json *resolved = NULL;
    temper_json *given = tm_json_object(state->arena);
    temper_error error = TEMPER_ERROR_INIT;
    const char *unknown = NULL;
    if (given == NULL) {
        recipe_no_memory(L);
    }
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        const char *key;
        const temper_json *value;
        if (lua_type(L, -2) != LUA_TSTRING) {
            recipe_fail(L, call->at, "%s takes NAME = value pairs, and there is a value without a name",
                        call->name);
        }
        key = lua_tostring(L, -2);
        if (has_name(inputs, key) || strcmp(key, "label") == 0) {
            continue;
        }
        if (!starts_parameter(parameters, key)) {
            unknown = unknown == NULL || strcmp(key, unknown) < 0
                          ? key
                          : unknown; /* walks are unordered: pick one */
            continue;
        }
        if (lua_type(L, -1) == LUA_TTABLE && !has_name(parameters, key) && lua_rawlen(L, -1) == 0) {
            lua_pushnil(L);
            if (lua_next(L, -2) == 0) {
                continue; /* lora = {} sets nothing */
            }
            lua_pop(L, 2);
        }
        value = convert_value(L, -1, key, key_place(L, call, key));
        if (!tm_json_set(state->arena, given, key, value)) {
            recipe_no_memory(L);
        }
    }
    if (unknown != NULL) {
        fail_unknown_key(L, call, unknown);
    }
    if (tm_parameters_resolve(state->arena, call->stage, given, &resolved, &error)) {
        recipe_fail(L, message_place(L, call, given, error.message), "%s: %s", call->name, error.message);
    }
    return resolved;
}

static const char *take_label(lua_State *L, const stage_use *call) {
    const char *label = "", *byte;
    int type = lua_getfield(L, 1, "label");
    if (type == LUA_TSTRING) {
        label = recipe_copy(L, lua_tostring(L, -1), lua_rawlen(L, -1));
        for (byte = label; *byte != 0; byte++) {
            if (strchr("abcdefghijklmnopqrstuvwxyz0123456789_-", *byte) == NULL) {
                recipe_fail(L, key_place(L, call, "label"),
                            "label \"%s\": lower-case letters, digits, _ and - only", label);
            }
        }
        if (*label == 0 || strlen(label) > 60) {
            recipe_fail(L, key_place(L, call, "label"), "a label has 1 to 60 characters");
        }
    } else if (type != LUA_TNIL) {
        recipe_fail(L, key_place(L, call, "label"), "label must be a text");
    }
    lua_pop(L, 1);
    return label;
}

/* --- nodes ------------------------------------------------------------------------------------------------------- */

/* The line of the call as the main file sees it: that of the outermost frame that is no library's. */
static int line_in_main(lua_State *L, place at) {
    const char *main_file = recipe_of(L)->files[0].name;
    lua_Debug frame;
    int level, line = at.line;
    for (level = 0; lua_getstack(L, level, &frame); level++) {
        if (lua_getinfo(L, "Sl", &frame) && frame.currentline > 0 && frame.source[0] == '@' &&
            strcmp(frame.source + 1, main_file) == 0) {
            line = frame.currentline;
        }
    }
    return line;
}

static bool name_taken(const loader *state, const char *name) {
    size_t i;
    for (i = 0; i < state->node_count; i++) {
        if (strcmp(state->nodes[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static const char *node_name(lua_State *L, const char *stage, const char *label) {
    loader *state = recipe_of(L);
    const char *base = *label != 0 ? tm_arena_format(state->arena, "%s-%s", stage, label) : stage,
               *name = base;
    int suffix;
    for (suffix = 2; name != NULL && name_taken(state, name); suffix++) {
        name = tm_arena_format(state->arena, "%s-%d", base, suffix);
    }
    if (name == NULL) {
        recipe_no_memory(L);
    }
    return name;
}

/* A stage's `most_dropped` below 1 is an expectation on its metric dropped_share, as if the recipe had written it. */
static void expect_most_dropped(lua_State *L, const stage_use *call, int node) {
    loader *state = recipe_of(L);
    const temper_json *parameters = state->nodes[node].parameters, *outputs = stages_ports(state, node);
    const char *metrics = NULL;
    temper_json *entry;
    double bound;
    size_t i;
    for (i = 0; i < tm_json_length(outputs) && metrics == NULL; i++) {
        const temper_json *port = tm_json_element(outputs, i);
        if (strcmp(tm_json_text(tm_json_member(port, "kind"), ""), "metrics") == 0) {
            metrics = tm_json_text(tm_json_member(port, "name"), "");
        }
    }
    if (metrics == NULL || !tm_json_double(tm_json_member(parameters, "most_dropped"), &bound) ||
        bound >= 1.0) {
        return;
    }
    entry = tm_json_object(state->arena);
    if (entry == NULL) {
        recipe_no_memory(L);
    }
    set_integer(L, entry, "node", node);
    set_text(L, entry, "output", metrics);
    set_text(L, entry, "metric", "dropped_share");
    set_text(L, entry, "op", "<=");
    set_integer(L, entry, "line", key_place(L, call, "most_dropped").line);
    if (!tm_json_set_number(state->arena, entry, "value", bound) ||
        !tm_json_append(state->arena, state->expect_json, entry)) {
        recipe_no_memory(L);
    }
}

static int stage_call(lua_State *L) {
    loader *state = recipe_of(L);
    int plugin = (int)lua_tointeger(L, lua_upvalueindex(1));
    const temper_json *stages = tm_json_member(state->plugins[plugin].description, "stages");
    stage_use call = {.plugin = &state->plugins[plugin],
                      .stage = tm_json_element(stages, (size_t)lua_tointeger(L, lua_upvalueindex(2))),
                      .at = recipe_place(L)};
    const char *stage_name = tm_json_text(tm_json_member(call.stage, "name"), "");
    recipe_node node;
    size_t i;
    call.name = tm_arena_format(state->arena, "%s.%s", call.plugin->name, stage_name);
    if (call.name == NULL) {
        recipe_no_memory(L);
    }
    if (lua_gettop(L) != 1 || lua_type(L, 1) != LUA_TTABLE) {
        recipe_fail(L, call.at, "%s takes one table: %s { … }", call.name, call.name);
    }
    node.label = take_label(L, &call);
    node.parameters = take_parameters(L, &call);
    node.inputs = take_inputs(L, &call);
    node.plugin = plugin;
    node.stage = call.stage;
    node.at = call.at;
    node.line = line_in_main(L, call.at);
    for (i = 0; i < state->node_count; i++) {
        const recipe_node *other = &state->nodes[i];
        if (other->stage == node.stage && strcmp(other->label, node.label) == 0 &&
            tm_json_equal(other->parameters, node.parameters) && tm_json_equal(other->inputs, node.inputs)) {
            recipe_fail(L, call.at,
                        "%s is asked for twice with the same inputs and parameters (first at %s:%d): both "
                        "would draw the same "
                        "random numbers; give one a label = \"…\"",
                        call.name, other->at.file, other->at.line);
        }
    }
    node.name = node_name(L, stage_name, node.label);
    state->nodes = recipe_grow(L, state->nodes, state->node_count, sizeof *state->nodes);
    state->nodes[state->node_count] = node;
    expect_most_dropped(L, &call, (int)state->node_count);
    push_index(L, node_metatable, (int)state->node_count++);
    return 1;
}

static int plugin_field(lua_State *L) {
    loader *state = recipe_of(L);
    int plugin = *(const int *)luaL_checkudata(L, 1, plugin_metatable);
    const temper_json *stages = tm_json_member(state->plugins[plugin].description, "stages");
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?", *names[NAMES_LIMIT];
    size_t i, count = collect_names(stages, names, 0);
    for (i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            lua_pushinteger(L, plugin);
            lua_pushinteger(L, (lua_Integer)i);
            lua_pushcclosure(L, stage_call, 2);
            return 1;
        }
    }
    recipe_fail_here(L, "plugin %s has no stage '%s'%s", state->plugins[plugin].name, name,
                     recipe_hint(state, name, names, count));
}

static int plugin_text(lua_State *L) {
    lua_pushfstring(L, "plugin %s",
                    recipe_of(L)->plugins[*(const int *)luaL_checkudata(L, 1, plugin_metatable)].name);
    return 1;
}

static int plugin_word(lua_State *L) {
    loader *state = recipe_of(L);
    const char *name = luaL_checkstring(L, 1);
    const temper_json *description = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    size_t i;
    for (i = 0; i < state->plugin_count; i++) {
        if (strcmp(state->plugins[i].name, name) == 0) {
            push_index(L, plugin_metatable, (int)i);
            return 1;
        }
    }
    if (recipe_describe(state, name, &description, &error)) {
        recipe_fail_here(L, "%s", error.message);
    }
    state->plugins = recipe_grow(L, state->plugins, state->plugin_count, sizeof *state->plugins);
    state->plugins[state->plugin_count] = (recipe_plugin){recipe_copy(L, name, strlen(name)), description};
    push_index(L, plugin_metatable, (int)state->plugin_count++);
    return 1;
}

/* --- expectations ------------------------------------------------------------------------------------------------ */

static void add_expectation(lua_State *L, int node, const char *output, const char *metric, place at) {
    static const char *const operators[] = {">=", "<=", ">", "<", "=="};
    loader *state = recipe_of(L);
    temper_json *entry = tm_json_object(state->arena);
    const char *operator= NULL;
    size_t i;
    luaL_checkstack(L, 8, "nested too deep");
    if (lua_type(L, -1) != LUA_TTABLE) {
        recipe_fail(L, at, "expect '%s': write %s = { \">=\", 0.5 }", metric, metric);
    }
    if (lua_rawgeti(L, -1, 1) == LUA_TTABLE) { /* several: { { ">=", 0 }, { "<=", 1 } } */
        size_t count;
        lua_pop(L, 1);
        count = lua_rawlen(L, -1);
        for (i = 1; i <= count; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i);
            if (lua_type(L, -1) != LUA_TTABLE || lua_rawlen(L, -1) != 2 ||
                lua_rawgeti(L, -1, 1) != LUA_TSTRING) {
                recipe_fail(L, at, "expect '%s': each check is { \">=\", number }", metric);
            }
            lua_pop(L, 1);
            add_expectation(L, node, output, metric, at);
            lua_pop(L, 1);
        }
        return;
    }
    lua_rawgeti(L, -2, 2);
    for (i = 0; lua_type(L, -2) == LUA_TSTRING && i < 5; i++) {
        operator= strcmp(operators[i], lua_tostring(L, -2)) == 0 ? operators[i] : operator;
    }
    if (operator== NULL) {
        recipe_fail(L, at, "expect '%s': the comparison is one of >=, <=, >, <, ==", metric);
    }
    if (lua_type(L, -1) != LUA_TNUMBER || !isfinite(lua_tonumber(L, -1))) {
        recipe_fail(L, at, "expect '%s': compared with a number, not a %s", metric, luaL_typename(L, -1));
    }
    if (entry == NULL) {
        recipe_no_memory(L);
    }
    set_integer(L, entry, "node", node);
    set_text(L, entry, "output", output);
    set_text(L, entry, "metric", metric);
    set_text(L, entry, "op", operator);
    set_integer(L, entry, "line", at.line);
    if (!tm_json_set_number(state->arena, entry, "value", lua_tonumber(L, -1)) ||
        !tm_json_append(state->arena, state->expect_json, entry)) {
        recipe_no_memory(L);
    }
    lua_pop(L, 2);
}

static int expect_word(lua_State *L) {
    loader *state = recipe_of(L);
    const temper_json *port = NULL, *ports;
    const char *output = NULL, **names;
    place at = recipe_place(L);
    size_t i, count = 0;
    int node = -1;
    if (!stages_output(L, 1, &node, &port) && !stages_node(L, 1, &node)) {
        recipe_fail(L, at, "temper.expect takes a stage first, not a %s", luaL_typename(L, 1));
    }
    ports = stages_ports(state, node);
    for (i = 0; port == NULL && i < tm_json_length(ports) && output == NULL; i++) {
        const temper_json *candidate = tm_json_element(ports, i);
        if (strcmp(tm_json_text(tm_json_member(candidate, "kind"), ""), "metrics") == 0) {
            output = tm_json_text(tm_json_member(candidate, "name"), "");
        }
    }
    if (port != NULL && strcmp(tm_json_text(tm_json_member(port, "kind"), ""), "metrics") == 0) {
        output = tm_json_text(tm_json_member(port, "name"), "");
    }
    if (output == NULL) {
        luaL_tolstring(L, 1, NULL);
        recipe_fail(L, at, "temper.expect: %s has no metrics", lua_tostring(L, -1));
    }
    if (lua_type(L, 2) != LUA_TTABLE) {
        recipe_fail(L, at, "temper.expect(stage, { metric = { \">=\", 0.5 } })");
    }
    lua_settop(L, 2);
    /* In sorted order: the plan is the same whatever the table's hash. */
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            recipe_fail(L, at, "temper.expect: each check has the name of a metric");
        }
        count++;
    }
    names = tm_arena_allocate(state->arena, (count + 1) * sizeof *names);
    if (names == NULL) {
        recipe_no_memory(L);
    }
    count = 0;
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
        const char *name = recipe_copy(L, lua_tostring(L, -2), lua_rawlen(L, -2));
        for (i = count++; i > 0 && strcmp(names[i - 1], name) > 0; i--) {
            names[i] = names[i - 1];
        }
        names[i] = name;
    }
    for (i = 0; i < count; i++) {
        place line = at;
        line.line = module_line_of(state, at, names[i]);
        lua_getfield(L, 2, names[i]);
        add_expectation(L, node, output, names[i], line);
        lua_pop(L, 1);
    }
    return 0;
}

static void make_metatable(lua_State *L, const char *name, lua_CFunction index, lua_CFunction text) {
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, index);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, no_write);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, text);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void stages_open(lua_State *L) {
    static const luaL_Reg words[] = {{"plugin", plugin_word}, {"expect", expect_word}, {NULL, NULL}};
    luaL_setfuncs(L, words, 0);
    make_metatable(L, plugin_metatable, plugin_field, plugin_text);
    make_metatable(L, node_metatable, node_field, node_text);
    make_metatable(L, output_metatable, output_field, output_text);
    make_metatable(L, source_metatable, output_field, source_text);
}

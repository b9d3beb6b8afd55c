/* plan.c: what the recipe built, as the JSON of scheduler/graph.h. */
#include "recipe/internal.h"

#include "base/text.h"

static void add_result(lua_State *L, const char *name, place at) {
    loader *state = recipe_of(L);
    temper_json *entry = tm_json_object(state->arena);
    const temper_json *port = NULL, *ports;
    int node = -1, source = -1;
    bool made = entry != NULL;
    if (stages_node(L, -1, &node)) {
        ports = stages_ports(state, node);
        if (tm_json_length(ports) != 1) {
            luaL_tolstring(L, -1, NULL);
            recipe_fail(L, at, "result '%s' is the whole %s: name one of its outputs", name,
                        lua_tostring(L, -1));
        }
        port = tm_json_element(ports, 0);
    } else if (stages_source(L, -1, &source)) {
        recipe_fail(L, at, "result '%s' is an input of the run: a result is an output of a stage", name);
    } else if (!stages_output(L, -1, &node, &port)) {
        recipe_fail(L, at, "result '%s' must be an output of a stage, not a %s", name, luaL_typename(L, -1));
    }
    made =
        made && tm_json_set_integer(state->arena, entry, "node", node) &&
        tm_json_set_string(state->arena, entry, "output", tm_json_text(tm_json_member(port, "name"), "")) &&
        tm_json_set(state->arena, state->result_json, name, entry);
    if (!made) {
        recipe_no_memory(L);
    }
}

void plan_result(lua_State *L, int index, place at) {
    if (lua_isnil(L, index)) {
        recipe_fail(L, at, "a recipe ends with what it makes: return { model = tuned.model }");
    }
    if (lua_type(L, index) != LUA_TTABLE) {
        recipe_fail(L, at, "a recipe returns a table of results, not a %s", luaL_typename(L, index));
    }
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            recipe_fail(L, at, "each result has a name: return { model = tuned.model }");
        }
        add_result(L, lua_tostring(L, -2), at);
    }
}

static temper_json *file_json(loader *state, const recipe_file *file) {
    temper_json *entry = tm_json_object(state->arena);
    char digest[TM_DIGEST_TEXT];
    tm_digest_text(&file->digest, digest);
    return entry != NULL && tm_json_set_string(state->arena, entry, "name", file->name) &&
                   tm_json_set_string(state->arena, entry, "path", file->path) &&
                   tm_json_set_string(state->arena, entry, "digest", digest)
               ? entry
               : NULL;
}

static temper_json *source_json(loader *state, const recipe_source *source) {
    temper_json *entry = tm_json_object(state->arena);
    return entry != NULL && tm_json_set_string(state->arena, entry, "id", source->id) &&
                   tm_json_set_string(state->arena, entry, "kind", tm_kind_name(source->kind)) &&
                   tm_json_set_string(state->arena, entry, "name", source->name) &&
                   tm_json_set_string(state->arena, entry, "path", source->path)
               ? entry
               : NULL;
}

static temper_json *node_json(loader *state, const recipe_node *node) {
    const recipe_plugin *plugin = &state->plugins[node->plugin];
    temper_json *entry = tm_json_object(state->arena);
    int64_t revision = 0;
    (void)tm_json_integer(tm_json_member(node->stage, "revision"), &revision);
    return entry != NULL && tm_json_set_string(state->arena, entry, "name", node->name) &&
                   tm_json_set_string(state->arena, entry, "plugin", plugin->name) &&
                   tm_json_set_string(state->arena, entry, "version",
                                      tm_json_text(tm_json_member(plugin->description, "version"), "")) &&
                   tm_json_set_string(state->arena, entry, "stage",
                                      tm_json_text(tm_json_member(node->stage, "name"), "")) &&
                   tm_json_set_integer(state->arena, entry, "revision", revision) &&
                   tm_json_set_string(state->arena, entry, "label", node->label) &&
                   tm_json_set_integer(state->arena, entry, "line", node->line) &&
                   tm_json_set(state->arena, entry, "parameters", node->parameters) &&
                   tm_json_set(state->arena, entry, "inputs", node->inputs)
               ? entry
               : NULL;
}

const temper_json *plan_make(loader *state) {
    temper_arena *arena = state->arena;
    temper_json *plan = tm_json_object(arena), *about = tm_json_object(arena);
    temper_json *files = tm_json_array(arena), *sources = tm_json_array(arena), *nodes = tm_json_array(arena);
    bool made = plan != NULL && about != NULL && files != NULL && sources != NULL && nodes != NULL;
    size_t i;
    for (i = 0; made && i < state->file_count; i++) {
        made = tm_json_append(arena, files, file_json(state, &state->files[i]));
    }
    for (i = 0; made && i < state->source_count; i++) {
        made = tm_json_append(arena, sources, source_json(state, &state->sources[i]));
    }
    for (i = 0; made && i < state->node_count; i++) {
        made = tm_json_append(arena, nodes, node_json(state, &state->nodes[i]));
    }
    made = made && tm_json_set_string(arena, about, "main", state->files[0].name) &&
           tm_json_set(arena, about, "files", files) && tm_json_set_integer(arena, plan, "temper", 1) &&
           tm_json_set(arena, plan, "recipe", about) &&
           tm_json_set(arena, plan, "parameters", state->parameters_json) &&
           tm_json_set_integer(arena, plan, "seed", (int64_t)state->seed) &&
           tm_json_set_string(arena, plan, "profile", state->profile) &&
           tm_json_set(arena, plan, "sources", sources) && tm_json_set(arena, plan, "nodes", nodes) &&
           tm_json_set(arena, plan, "expect", state->expect_json) &&
           tm_json_set(arena, plan, "result", state->result_json);
    return made ? plan : NULL;
}

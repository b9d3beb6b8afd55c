/* internal.h: the state of one loading, in the child. One lua_State, one arena, one exit: whatever fails becomes a Lua
 * error whose message begins with file and line. */
#ifndef TM_RECIPE_INTERNAL_H
#define TM_RECIPE_INTERNAL_H

#include "base/json.h"
#include "scheduler/graph.h"

#include "sandbox/sandbox.h"

enum { LOADER_SOCKET = 3, LOADER_PAGE = 4, LOADER_FILES = 64, LOADER_NAME = 120 };
#define LOADER_MEMORY ((size_t)256 << 20)

/* Shared with the parent: where the recipe is, for when nothing else can be asked any more. */
typedef struct loader_page {
    volatile int32_t line;
    volatile int32_t file; /* index into names */
    char names[LOADER_FILES][LOADER_NAME];
} loader_page;

typedef struct place {
    const char *file;
    int line;
} place;

typedef struct recipe_file {
    const char *name; /* relative to the recipe's folder */
    const char *path;
    const char *text;
    size_t length;
    tm_digest digest;
} recipe_file;

typedef struct recipe_setting {
    const char *name, *value;
    bool used;
} recipe_setting;

typedef struct declared {
    const char *name;
    place at;
} declared;

typedef struct recipe_source {
    const char *id, *name, *path;
    tm_kind kind;
} recipe_source;

typedef struct recipe_plugin {
    const char *name;
    const temper_json *description;
} recipe_plugin;

typedef struct recipe_node {
    const char *name, *label;
    int plugin;
    const temper_json *stage;
    const temper_json *parameters, *inputs;
    place at;
    int line; /* in the main file when the call came from there */
} recipe_node;

typedef struct loader {
    lua_State *L;
    temper_arena *arena;
    loader_page *page;
    const char *folder; /* of the recipe: paths are relative to it */
    const char *working_folder;
    bool lenient;
    uint64_t seed;
    const char *profile;
    size_t memory;
    recipe_setting *settings;
    size_t setting_count;
    recipe_file files[LOADER_FILES];
    size_t file_count;
    const char *last_source; /* the hook's memory */
    int32_t last_file;
    declared *declarations;
    size_t declaration_count;
    recipe_source *sources;
    size_t source_count;
    recipe_plugin *plugins;
    size_t plugin_count;
    recipe_node *nodes;
    size_t node_count;
    temper_json *declared_json, *parameters_json, *expect_json, *result_json;
    const char *doc, *title;
} loader;

static inline loader *recipe_of(lua_State *L) {
    return *(loader **)lua_getextraspace(L);
}

/* loader.c */
/* Asks the parent for a plugin's description; the message is the parent's. */
temper_status recipe_describe(loader *state, const char *plugin, const temper_json **out,
                              temper_error *error);
void recipe_print(loader *state, const char *text, size_t length);

/* sandbox.c */
void *sandbox_allocate(void *context, void *block, size_t old_size, size_t size);
void sandbox_open(lua_State *L); /* in protected mode */
place recipe_place(lua_State *L);
/* Raises "file:line: message". */
int recipe_fail(lua_State *L, place at, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));
int recipe_fail_here(lua_State *L, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
int recipe_no_memory(lua_State *L) __attribute__((noreturn));
/* "; did you mean 'x'?" or "; there are a, b, c". In the arena. */
const char *recipe_hint(loader *state, const char *word, const char *const *names, size_t count);
void *recipe_grow(lua_State *L, void *items, size_t count, size_t size); /* room for one more; arena */
const char *recipe_copy(lua_State *L, const char *text, size_t length);

/* power.c */
bool sandbox_power_is_ours(lua_State *L);

/* module.c */
/* Reads, hashes and compiles NAME (relative to the recipe's folder); leaves the chunk on the stack or raises. */
void module_load(lua_State *L, const char *name, place at);
int module_require(lua_State *L);
/* The line on which `key =` stands in the call at `at`, or at.line. */
int module_line_of(const loader *state, place at, const char *key);

/* convert.c */
/* A Lua value as JSON; raises. `path` names it in messages ("lora.rank"). */
const temper_json *convert_value(lua_State *L, int index, const char *path, place at);

/* words.c */
void words_open(lua_State *L); /* leaves the table `temper` */
int words_source(lua_State *L, tm_kind kind, const char *id, const char *path, const char *relative_to,
                 place at);
const char *words_kind_function(tm_kind kind);

/* stages.c */
void stages_open(lua_State *L); /* adds plugin and expect to the table on top */
bool stages_node(lua_State *L, int index, int *node);
bool stages_output(lua_State *L, int index, int *node, const temper_json **port);
bool stages_source(lua_State *L, int index, int *source);
void stages_push_source(lua_State *L, int source);
const temper_json *stages_ports(const loader *state, int node); /* outputs */

/* plan.c */
void plan_result(lua_State *L, int index, place at); /* reads the returned table */
const temper_json *plan_make(loader *state);         /* NULL: no memory */

#endif

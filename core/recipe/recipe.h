/* recipe.h: from a Lua file to a plan.
 *
 * Invariant: loading runs nothing and decides everything: two loads of the same files with the same settings give the
 * same plan to the byte. It happens in a child process (the running program started again as `temper --load-recipe`)
 * with a deadline and a cap on memory; the child may ask what a plugin offers, and answers with a plan or with a message that
 * begins with the recipe's file and line. */
#ifndef TM_RECIPE_H
#define TM_RECIPE_H

#include "scheduler/graph.h"

typedef struct tm_recipe_request {
    const char *path;            /* of the recipe */
    const char *const *settings; /* "name=value" */
    size_t setting_count;
    uint64_t seed;
    const char *profile;
    /* What a plugin says of itself: its description, or an error. `names` and `name_count` help with the nearest one. */
    temper_status (*describe)(void *context, const char *plugin, const temper_json **description,
                              temper_error *error);
    /* What the recipe prints; may be NULL. */
    void (*print)(void *context, const char *text);
    void *context;
    const char *program; /* the executable that knows --load-recipe; NULL: this one */
    double deadline;     /* seconds; 0: 5 */
    bool lenient;        /* missing required parameters are given stand-ins: to list what a recipe declares */
} tm_recipe_request;

typedef struct tm_recipe {
    tm_graph *graph;
    temper_arena *arena;
    const temper_json *declared; /* [{"name","type","default","doc","min","max","choices","line"}] in order */
    const char *doc;             /* temper.doc, or "" */
    const char *title; /* what to call its runs: temper.name, a character's name, or the file's stem */
} tm_recipe;

temper_status tm_recipe_load(const tm_recipe_request *request, tm_recipe *out, temper_error *error);
void tm_recipe_free(tm_recipe *recipe);

/* main of `temper --load-recipe`: descriptor 3 is the socket, 4 the shared page. */
int tm_recipe_loader_main(void);

#endif

/* stack.h: models and adapters as a person names them, and several as one: see stack.c. */
#ifndef TM_CLI_STACK_H
#define TM_CLI_STACK_H

#include "cli/cli.h"

typedef struct cli_model {
    const char *name; /* as it was given */
    tm_digest digest;
    tm_tree tree;
    bool adapter; /* with its base under base/, or alone */
} cli_model;
/* Takes it into the store. Release it whatever came of that. */
temper_status cli_stack_take(tm_store *store, const char *name, cli_model *out, temper_error *error);
void cli_stack_release(cli_model *model);
/* The base (an adapter with its base counts as its first adapter) and these adapters, as one tree. */
temper_status cli_stack_make(tm_store *store, const cli_model *base, const cli_model *const *adapters,
                             size_t count, tm_digest *out, temper_error *error);

#endif

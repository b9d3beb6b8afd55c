/* sources.h: what a run takes from outside, on its way into the store. */
#ifndef TM_SOURCES_H
#define TM_SOURCES_H

#include "scheduler/graph.h"

/* The folder of a builtin model: $TEMPER_SHARE/models/NAME, else share/temper/models/NAME beside the executable's folder, else
 * examples/NAME/model of the tree the executable was built in. malloc'ed. */
temper_status tm_builtin_find(const char *name, char **path, temper_error *error);

/* A run named by a path to its archive or by an id ("sha256:…", "run:<first digits>", looked for in the store and among
 * runs/ files): its run.json, in `arena`; its blobs are in the store afterwards. */
temper_status tm_run_find(tm_store *store, const char *name, temper_arena *arena, const temper_json **run,
                          tm_digest *id, temper_error *error);

/* Of a run: the digest of an output. `wanted`: an output's name, "stage.output", a result's name, or NULL: the only result of
 * that kind, else the last output of that kind. */
temper_status tm_run_output(const temper_json *run, const char *wanted, tm_kind kind, tm_digest *out,
                            temper_error *error);

/* Takes one file or folder of a kind into the store, normalised (character and records) and checked (text). */
temper_status tm_source_take(tm_store *store, tm_kind kind, const char *path, tm_digest *out,
                             temper_error *error);

#endif

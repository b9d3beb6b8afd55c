/* catalog.h: which plugins there are, and what each says of itself.
 *
 * Invariant: nothing here loads a plugin. A description is asked of a temper-worker process (`temper-worker --describe
 * FILE`), which may crash alone; it is remembered in the store's cache by the SHA-256 of FILE and of the worker. Folders
 * are searched in order: --plugins DIR (repeatable), $TEMPER_PLUGINS (colon-separated), then the installed or built
 * lib/temper/plugins beside the executable. Never the working directory. The first NAME.so found wins.
 *
 * A description is canonical JSON:
 *   {"contract":"1.0","name","version","author","license","doc","extensions":["temper.model/1"],
 *    "stages":[{"name","revision","doc",
 *      "inputs":[{"name","kind":"records|text|character|model|metrics|report","optional":bool,"fields","doc"}],
 *      "outputs":[{"name","kind","fields","doc"}],
 *      "parameters":[{"name":"lora.rank","type":"integer|number|flag|string|strings","default":…(absent: required),
 *                     "minimum","maximum"(absent: unbounded),"unit","choices":[…],"doc","since"}]}]} */
#ifndef TM_CATALOG_H
#define TM_CATALOG_H

#include "store/store.h"

typedef struct tm_catalog tm_catalog;

typedef struct tm_plugin_entry {
    const char *name, *path; /* absolute */
    tm_digest binary;        /* of the file: part of cache keys, never of stage ids */
    const temper_json *description;
} tm_plugin_entry;

/* `worker`: path of temper-worker, NULL: beside the executable. */
temper_status tm_catalog_new(tm_store *store, const char *const *folders, size_t folder_count,
                             const char *worker, tm_catalog **out, temper_error *error);
void tm_catalog_free(tm_catalog *catalog);
/* By name; unknown: TEMPER_INVALID with the nearest name and the folders searched. A file that cannot be described (another
 * ABI major, a crash on load): the message says why and names the file. */
temper_status tm_catalog_find(tm_catalog *catalog, const char *name, const tm_plugin_entry **out,
                              temper_error *error);
/* Names of all plugins found (without describing them), sorted. */
size_t tm_catalog_names(tm_catalog *catalog, const char *const **names);
/* The plugin that provides an extension ("temper.model/1"): `native` unless another is named by $TEMPER_PROVIDER. */
temper_status tm_catalog_provider(tm_catalog *catalog, const tm_plugin_entry **out, temper_error *error);
const char *tm_catalog_worker(const tm_catalog *catalog, tm_digest *binary);

/* Describes one file by a worker process, without a catalog (for `temper plugin check`). */
temper_status tm_describe(const char *worker, const char *path, temper_arena *arena, const temper_json **out,
                          temper_error *error);
/* Lookup in a description. NULL when absent. */
const temper_json *tm_description_stage(const temper_json *description, const char *stage);
/* Checks a JSON object of parameters against a stage's description: types, bounds, choices, unknown names (with the
 * nearest), required ones; nested objects {lora:{rank:16}} match "lora.rank". Fills defaults: *resolved is a flat object
 * with every parameter, names sorted. */
temper_status tm_parameters_resolve(temper_arena *arena, const temper_json *stage, const temper_json *given,
                                    const temper_json **resolved, temper_error *error);

#endif

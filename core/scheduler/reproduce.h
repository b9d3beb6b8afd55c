/* reproduce.h: an archive run again, here, in a fresh store, and compared node by node.
 *
 * Invariant: nothing of the archive's outputs is used: sources and recipe come out of it, every output is made again. */
#ifndef TM_REPRODUCE_H
#define TM_REPRODUCE_H

#include "archive/archive.h"
#include "scheduler/run.h"

typedef struct tm_reproduce_options {
    tm_run_options run;      /* store: any; a fresh one takes its place. catalog is made by `catalog_for` */
    const char *const *with; /* folders of models that the archive left out: "FOLDER" or "NAME=FOLDER" */
    size_t with_count;
    temper_status (*catalog_for)(void *context, tm_store *store, tm_catalog **out, temper_error *error);
    void *context;
    /* Each output as it is compared, in order; `note`: "" or what differs in the plugin's version. */
    void (*compared)(void *context, const char *node, const char *output, const tm_digest *recorded,
                     bool same, const char *note);
} tm_reproduce_options;

typedef struct tm_reproduction {
    size_t stages, same_stages;
    bool same;        /* every output of every stage */
    bool same_id;     /* and the run's id, with expectations and all */
    char kernels[40]; /* as recorded */
    int64_t threads;
} tm_reproduction;

temper_status tm_reproduce(const char *archive, const tm_reproduce_options *options, tm_reproduction *out,
                           temper_error *error);

#endif

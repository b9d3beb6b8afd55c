/* record.h: a finished run as run.json and volatile.json, and the archive made of them.
 *
 * Invariant: run.json is a function of recipe, sources, settings and outputs: no time, host, path, thread count or binary is in it.
 * Its SHA-256 is the run's id. Everything of this machine stands in volatile.json. */
#ifndef TM_RECORD_H
#define TM_RECORD_H

#include "scheduler/ledger.h"
#include "scheduler/run.h"

typedef struct tm_record {
    temper_arena *arena;
    tm_buffer run_json, volatile_json;
    const temper_json *json; /* run_json, read */
    tm_digest id;
    tm_digest *blobs; /* what the archive holds, sorted */
    size_t blob_count;
    bool has_report; /* a stage made one */
    tm_digest report;
    tm_ledger
        ledger; /* what the filters did: it stands in the page beside the archive, which it alone makes, too */
} tm_record;

/* `leave_out`: names or ids of model sources to leave out; models over 64 MB are left out anyway. */
temper_status tm_record_make(tm_run *run, const char *const *leave_out, size_t leave_out_count,
                             tm_record *out, temper_error *error);
void tm_record_free(tm_record *record);
/* Writes <folder>/<title>-<first 8 of id>.temper, and .html beside it when there is a report. Paths malloc'ed. */
temper_status tm_record_write(const tm_run *run, const tm_record *record, const char *folder,
                              const char *title, char **archive, char **report, temper_error *error);
/* The best kernel set this CPU has, or the one $TEMPER_KERNELS names: for volatile.json and for people. */
const char *tm_kernel_set_here(void);

#endif

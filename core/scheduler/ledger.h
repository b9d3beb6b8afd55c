/* ledger.h: what the stages of a run kept and dropped, read from the run's record and its outputs.
 *
 * A stage takes part when it has metrics with `records`, `kept` and `dropped`; each further metric dropped_RULE or
 * changed_RULE is a rule with its count. Examples come from its records outputs `dropped` and `changed`: rows {"rule",
 * "evidence", "number"} in the order of their numbers, with the `record` when it was dropped. Nothing here knows a plugin by name, so a filter
 * of somebody else's that keeps to this stands in the tables as ours do. */
#ifndef TM_LEDGER_H
#define TM_LEDGER_H

#include "base/json.h"
#include "store/store.h"

enum { TM_LEDGER_EXAMPLES = 3, TM_ROW_ID = 13 };

/* A row's id: the first 12 hex digits of the SHA-256 of its canonical JSON. */
temper_status tm_row_id(const temper_json *row, char out[TM_ROW_ID], temper_error *error);

typedef struct tm_ledger_example {
    char row[TM_ROW_ID];  /* "" when the record is not on file there */
    uint64_t number;      /* in the stage's input */
    const char *evidence; /* 0-terminated, as the stage wrote it */
} tm_ledger_example;

typedef struct tm_ledger_rule {
    const char *name; /* without its prefix */
    const char *does; /* "dropped" or "changed" */
    uint64_t count;
    tm_ledger_example examples[TM_LEDGER_EXAMPLES];
    size_t example_count;
} tm_ledger_rule;

typedef struct tm_ledger_stage {
    size_t node; /* in the plan */
    const char *name;
    uint64_t records, kept, dropped;
    double bound;          /* on the share dropped; 1 when there is none */
    tm_ledger_rule *rules; /* most frequent first, then by name */
    size_t rule_count;
} tm_ledger_stage;

typedef struct tm_ledger {
    tm_ledger_stage *stages; /* in the plan's order */
    size_t count;
} tm_ledger;

/* `run` is run.json; everything lands in `arena`. Outputs that are not in the store have no examples. */
temper_status tm_ledger_of(tm_store *store, const temper_json *run, temper_arena *arena, tm_ledger *out,
                           temper_error *error);

#endif

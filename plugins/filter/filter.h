/* filter.h: what the stages of this plugin share: one pass over records, each kept or dropped for a named reason.
 *
 * Invariants: every input record is in exactly one of `kept` (unchanged) and `dropped` ({"rule", "evidence", "number",
 * "record"}), both in input order; `metrics` has records, kept, dropped, dropped_share and dropped_RULE for every rule,
 * also those at 0. Checks of different records do not know of each other, so they may run on any thread. */
#ifndef FILTER_H
#define FILTER_H

#include "rows.h"

typedef struct filter_old_verdict {
    const char *rule;  /* one of the stage's rules; NULL: keep */
    temper_status bad; /* not TEMPER_OK: the run fails, with the evidence as its message */
    char evidence[FILTER_EVIDENCE];
} filter_old_verdict;

/* `verdict` comes cleared. */
typedef void filter_check(void *context, const temper_json *record, uint64_t number, uint32_t worker,
                          filter_old_verdict *verdict);

/* The verdict's rule and evidence (printf style, cut at a character's border). */
void filter_drop(filter_old_verdict *verdict, const char *rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void filter_refuse(filter_old_verdict *verdict, temper_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Runs `check` over the records of `input`; in order on one thread when `in_order`. `rules` ends with NULL. */
temper_status filter_each(const temper_host *host, const char *input, const char *const *rules, bool in_order,
                          filter_check *check, void *context, temper_error *error);

extern const temper_stage filter_phrases_stage, filter_duplicates_stage, filter_length_stage,
    filter_pairs_stage;

#endif

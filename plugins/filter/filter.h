/* filter.h: what the stages of this plugin share: one pass over records, each kept or dropped for a named reason.
 *
 * Invariants: every input record is in exactly one of `kept` (unchanged) and `dropped` ({"rule", "evidence", "number",
 * "record"}), both in input order; `metrics` has records, kept, dropped, dropped_share and dropped_RULE for every rule,
 * also those at 0. Checks of different records do not know of each other, so they may run on any thread. */
#ifndef FILTER_H
#define FILTER_H

#include "support/records.h"

enum { FILTER_EVIDENCE = 240 };

typedef struct filter_verdict {
    const char *rule;  /* one of the stage's rules; NULL: keep */
    temper_status bad; /* not TEMPER_OK: the run fails, with the evidence as its message */
    char evidence[FILTER_EVIDENCE];
} filter_verdict;

/* `verdict` comes cleared. */
typedef void filter_check(void *context, const temper_json *record, uint64_t number, uint32_t worker,
                          filter_verdict *verdict);

/* The verdict's rule and evidence (printf style, cut at a character's border). */
void filter_drop(filter_verdict *verdict, const char *rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void filter_refuse(filter_verdict *verdict, temper_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "chosen", or "messages[2] (assistant)": into out[64], for evidence. */
const char *filter_where(const temper_record_text *text, char out[64]);

/* Runs `check` over the records of `input`; in order on one thread when `in_order`. `rules` ends with NULL. */
temper_status filter_each(const temper_host *host, const char *input, const char *const *rules, bool in_order,
                          filter_check *check, void *context, temper_error *error);

/* A buffer a worker, for folding texts. */
typedef struct filter_scratch {
    temper_buffer *buffers;
    uint32_t count;
} filter_scratch;
temper_status filter_scratch_new(const temper_host *host, temper_pool *pool, filter_scratch *out,
                                 temper_error *error);
char *filter_scratch_take(filter_scratch *scratch, uint32_t worker, size_t length); /* NULL: no memory */
void filter_scratch_free(filter_scratch *scratch);

extern const temper_port *const filter_outputs[]; /* kept, dropped, metrics */
extern const temper_stage filter_phrases_stage, filter_duplicates_stage, filter_length_stage,
    filter_pairs_stage;

/* Rows of a parameter list: which texts of a record a stage looks at. */
#define FILTER_FIELD_PARAMETERS(P, S)                                                                        \
    P(S, strings, fields, "fields", "[]", 1, 0, "", "",                                                      \
      "which members to look at; none: messages, prompt, chosen, rejected, completion, response and text",   \
      "0.1")                                                                                                 \
    P(S, strings, roles, "roles", "[]", 1, 0, "", "",                                                        \
      "in conversations, look at messages of these roles only; none: all", "0.1")

/* The bound every stage has. The stage never looks at it: a recipe's number parameter of this name is an expectation on
 * dropped_share, so that a run past it fails and is archived all the same. */
#define FILTER_BOUND_PARAMETER(P, S)                                                                         \
    P(S, number, most_dropped, "most_dropped", "1", 0, 1, "", "",                                            \
      "the run fails when a larger share of the records than this is dropped", "0.1")

#endif

/* rows.h: the pass that the stages of this plugin make: each row is kept as it is, changed, or dropped, and every row that was
 * not left alone is on file with the reason.
 *
 * Invariants: every input row is in exactly one of `kept` and `dropped`, both in the order of the input; a kept row that
 * nothing changed is the input's bytes. A ledger row (dropped, changed) has `rule`, `evidence` (a sentence for people),
 * `number` (the row's, from 1) and, when the rule has them, `field`, `start` and `length` (bytes of the field's text), `twin`
 * (a row's number) and `similarity`, `value` and `bound`; dropped has the `record`, too. `metrics` has records, kept, dropped,
 * dropped_share, and dropped_RULE for every rule, also those at 0. Checks of different rows do not know of each other: they
 * run on any thread. */
#ifndef FILTER_ROWS_H
#define FILTER_ROWS_H

#include "lines/texts.h"
#include "support/records.h"

enum { FILTER_EVIDENCE = 240, FILTER_MOST_RULES = 256 };

typedef struct filter_verdict {
    const char *rule; /* one of the stage's rules; NULL: keep */
    char evidence[FILTER_EVIDENCE];
    /* What the rule has of these; filter_drop clears them. */
    bool has_span, has_twin, has_value;
    char field[64];
    uint64_t start, length;
    uint64_t twin;
    double similarity;
    double value, bound;
    /* The row as it is to be kept instead: an object's text, without a line feed. Then `rule` says what was done to it. */
    const temper_buffer *instead;
} filter_verdict;

typedef struct filter_row {
    const temper_line *line;
    uint32_t worker;
    temper_shard *shard;
    filter_verdict *verdict;
} filter_row;

/* Looks at one row. `own` is `own_size` bytes of the shard's, zero at its beginning. */
typedef void filter_look(void *context, filter_row *row, void *own);

/* The verdict's rule and evidence (printf style, cut at a character's border). */
void filter_row_drop(filter_row *row, const char *rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Where in which text; what was measured, and what it was held against; which row it is like. After filter_row_drop. */
void filter_row_span(filter_row *row, const temper_line_text_at *text, size_t start, size_t length);
void filter_row_value(filter_row *row, double value, double bound);
void filter_row_twin(filter_row *row, uint64_t twin, double similarity);
/* Keeps the row with another text; after filter_row_drop, which names the rule. */
void filter_row_change(filter_row *row, const temper_buffer *instead);
/* The run fails. */
void filter_row_refuse(filter_row *row, temper_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void filter_row_no_memory(filter_row *row);

typedef struct filter_pass {
    const temper_host *host;
    const char *input;        /* its name */
    const char *const *rules; /* ends with NULL */
    filter_look *look;
    void *context;
    size_t own_size;
    temper_status (*joined)(void *context, void *own,
                            temper_error *error);    /* [run] a shard's `own`, in order; or NULL */
    void (*metrics)(void *context, temper_row *row); /* [run] more numbers; or NULL */
    bool changes;                                    /* the stage has the output `changed` */
    bool second; /* rows are not looked into: a second pass over an input that a first one has read */
} filter_pass;

/* Begins kept, dropped, metrics (and changed), makes the pass, and writes the metrics. A row that is broken fails the run. */
temper_status filter_rows(filter_pass *pass, temper_error *error);

/* A buffer a worker, for texts that must be unescaped or folded. */
typedef struct filter_buffers {
    temper_buffer *buffers;
    uint32_t count;
} filter_buffers;
temper_status filter_buffers_new(const temper_host *host, temper_pool *pool, filter_buffers *out,
                                 temper_error *error);
void filter_buffers_free(filter_buffers *buffers);
/* A text without its escapes; false when memory is short (and the row is refused for it). */
bool filter_text(filter_row *row, const filter_buffers *buffers, uint32_t node, temper_span *out);

extern const temper_port *const filter_outputs[];          /* kept, dropped, metrics */
extern const temper_port *const filter_changing_outputs[]; /* kept, dropped, changed, metrics */

/* Rows of a parameter list: which texts of a row a stage looks at. */
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

/* page.h: a run as one HTML file: the report a stage made, if one did, and what every run can show: what was asked, the graph,
 * training curves, expectations, the ledger, the id and how to reproduce it.
 *
 * Invariants: every byte that came from a row, a stage, a recipe or a file goes through tm_page_escape; nothing is fetched and
 * nothing links out; no time, host or path is in it; the same run gives the same bytes. What colour says, words say too. */
#ifndef TM_PAGE_H
#define TM_PAGE_H

#include "base/buffer.h"
#include "scheduler/ledger.h"

typedef struct tm_page {
    tm_store *store;
    const temper_json *run; /* run.json */
    const tm_digest *id;
    const char *title;   /* of the archive */
    const char *archive; /* its file's name, without a folder */
    const tm_ledger *ledger;
    const char *report; /* the page a stage made, ending in </body></html>; NULL: none */
    size_t report_length;
} tm_page;

temper_status tm_page_write(const tm_page *page, tm_buffer *out, temper_error *error);

/* The parts. */
void tm_page_escape(tm_buffer *out, const char *text);
void tm_page_escape_bytes(tm_buffer *out, const char *text, size_t length);
/* The plan as a picture: sources left, each stage right of what it takes (page_graph.c). */
temper_status tm_page_graph(const temper_json *plan, tm_buffer *out, temper_error *error);
/* One small chart for each number in a stage's `log` (page_curves.c). */
temper_status tm_page_curves(tm_store *store, const temper_json *run, tm_buffer *out, temper_error *error);
/* What the filters kept and dropped (page_ledger.c). */
void tm_page_ledger(const tm_ledger *ledger, tm_buffer *out);

#endif

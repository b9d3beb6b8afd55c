/* lines_of.h: what select, mixture and slop read of whole inputs: a number a line, a prompt, an order that is no arrival's. */
#ifndef FILTER_LINES_OF_H
#define FILTER_LINES_OF_H

#include "rows.h"

/* How many lines an input has at most: its line feeds, and one. */
temper_status filter_count_lines(const temper_host *host, const temper_input *input, uint64_t *out,
                                 temper_error *error);

/* The row's bytes, salted: rows in the order of this are in no order that a file or a reader gave them. */
uint64_t filter_line_hash(const temper_line *line, uint64_t salt);

/* What the row asks, folded, into `scratch`: the member named, else the first user's message of prompt or messages, a prompt that is
 * text, instruction with input, or the text. False: it asks nothing (*no_memory: or memory is short). */
bool filter_line_prompt(const temper_line *line, const char *member, temper_buffer *scratch, temper_span *out,
                        bool *no_memory);

/* {"bound", "evidence", "number", "record", "rule", "value"}: a row of `dropped`, as rows.c writes them. */
void filter_line_drop(temper_shard *shard, size_t sink, const temper_line *line, const char *rule,
                      double value, double bound, const char *format, ...)
    __attribute__((format(printf, 7, 8)));

#endif

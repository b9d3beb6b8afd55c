/* scanner.h: which of very many patterns a text could hold, by Vectorscan, in one pass. Where Vectorscan is not built in,
 * filter_scanner_new gives NULL, and all could. */
#ifndef FILTER_SCANNER_H
#define FILTER_SCANNER_H

#include "support/text.h"

typedef struct filter_scanner_plan filter_scanner_plan;
typedef struct filter_scanner filter_scanner;

temper_status filter_scanner_plan_new(const temper_host *host, temper_pool *pool, filter_scanner_plan **out,
                                      temper_error *error);
/* A phrase as the SDK's matcher takes it; an expression as PCRE2 takes it (UTF, UCP). `id` is what a look then names. */
temper_status filter_scanner_literal(filter_scanner_plan *plan, size_t id, temper_span phrase,
                                     temper_error *error);
temper_status filter_scanner_expression(filter_scanner_plan *plan, size_t id, temper_span text,
                                        bool case_matters, temper_error *error);
temper_status filter_scanner_new(filter_scanner_plan *plan, filter_scanner **out, temper_error *error);
void filter_scanner_free(filter_scanner *scanner);
/* Sets the bits of those that could be in the text. False: no memory. */
bool filter_scanner_look(const filter_scanner *scanner, uint32_t worker, temper_span text, uint64_t *bits);

#endif

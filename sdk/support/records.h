/* support/records.h: reading whole inputs, finding the texts in a record, writing rows.
 *
 * What a text field is, in one place: a member that is a string is one text; a member that is an array of objects with
 * `content` (a conversation: messages, or a prompt, chosen or rejected in conversational form) is one text a message. */
#ifndef TEMPER_SUPPORT_RECORDS_H
#define TEMPER_SUPPORT_RECORDS_H

#include "support/text.h"
#include <temper/plugin.h>

/* create and destroy for a stage that needs nothing but its parameters: `self` is they. */
temper_status temper_stage_keep_parameters(const temper_host *host, const void *parameters, void **self,
                                           temper_error *error);
void temper_stage_nothing(void *self);

typedef struct temper_records {
    const temper_json *const *items;
    size_t count;
} temper_records;

/* All records of an input, in the pool; items[i] is record number i + 1. */
temper_status temper_records_all(const temper_host *host, temper_pool *pool, const temper_input *input,
                                 temper_records *out, temper_error *error);

/* A string member; false when it is absent or no string. */
bool temper_record_string(const temper_json_api *json, const temper_json *record, const char *name,
                          temper_span *out);
/* The same, as an error that names the input, the record and the field. */
temper_status temper_record_need(const temper_json_api *json, const temper_json *record, const char *input,
                                 uint64_t number, const char *name, temper_span *out, temper_error *error);

typedef struct temper_record_text {
    const char *field;
    const char *role; /* of a message, else NULL */
    size_t position;  /* of a message, else 0 */
    temper_span text;
} temper_record_text;

/* Calls `visit` for each text of the named fields (none named: messages, prompt, chosen, rejected, completion, response,
 * text, in this order); of conversations only messages of the named roles (none named: all). A nonzero answer stops
 * and is returned. *seen, when not NULL, counts the fields found. */
int temper_record_texts(const temper_json_api *json, const temper_json *record, const temper_strings *fields,
                        const temper_strings *roles,
                        int (*visit)(void *context, const temper_record_text *text), void *context,
                        size_t *seen);

/* A record being made. Errors are sticky: one check, in temper_row_write. */
typedef struct temper_row {
    const temper_json_api *json;
    temper_arena *arena;
    temper_json *object;
    bool failed, not_finite;
} temper_row;

void temper_row_begin(temper_row *row, const temper_host *host);
void temper_row_text(temper_row *row, const char *name,
                     temper_span text); /* bytes that are no UTF-8 fail the row */
void temper_row_string(temper_row *row, const char *name, const char *text);
void temper_row_integer(temper_row *row, const char *name, uint64_t number);
void temper_row_number(temper_row *row, const char *name, double number);
void temper_row_flag(temper_row *row, const char *name, bool flag);
void temper_row_json(temper_row *row, const char *name, const temper_json *value);
/* Writes the row as a record, or as the metrics, and ends it. */
temper_status temper_row_write(temper_row *row, temper_output *output, const temper_host *host,
                               temper_error *error);
temper_status temper_row_metrics(temper_row *row, temper_output *output, const temper_host *host,
                                 temper_error *error);
void temper_row_drop(temper_row *row); /* ends it unwritten */

#endif

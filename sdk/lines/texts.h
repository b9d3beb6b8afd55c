/* lines/texts.h: the texts in a line: what temper_record_texts (support/records.h) finds in a record, found in its bytes.
 *
 * A member that is a string is one text; a member that is an array of objects with `content` is one text a message. */
#ifndef TEMPER_LINES_TEXTS_H
#define TEMPER_LINES_TEXTS_H

#include "lines/lines.h"
#include <temper/plugin.h>

typedef struct temper_line_text_at {
    const char *field;
    uint32_t node;    /* the string */
    uint32_t role;    /* of a message: the string node; else 0 */
    uint32_t message; /* of a message: its object; else 0 */
    size_t position;  /* of a message in its conversation */
} temper_line_text_at;

/* Calls `visit` for each text of the named fields (none named: messages, prompt, chosen, rejected, completion, response,
 * text, in this order); of conversations only messages of the named roles (none named: all). A nonzero answer stops and is
 * returned. *seen, when not NULL, counts the fields found. */
int temper_line_texts(const temper_line *line, const temper_strings *fields, const temper_strings *roles,
                      int (*visit)(void *context, const temper_line *line, const temper_line_text_at *text),
                      void *context, size_t *seen);
/* Is it a model's own words: an assistant's message, or a string that is completion, response, chosen, rejected or output? */
bool temper_line_is_answer(const temper_line *line, const temper_line_text_at *text);
/* "chosen", or "messages[2] (assistant)": into out[64], for evidence. */
const char *temper_line_where(const temper_line *line, const temper_line_text_at *text, char out[64]);

#endif

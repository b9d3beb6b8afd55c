/* each_text.h: stages that judge a row by its texts one by one: which texts, unescaped, and memory to work in. */
#ifndef FILTER_EACH_TEXT_H
#define FILTER_EACH_TEXT_H

#include "rows.h"

/* Which texts: of the named fields and roles, a model's own words only or all. */
#define FILTER_TEXT_PARAMETERS(P, S, usual)                                                                  \
    FILTER_FIELD_PARAMETERS(P, S)                                                                            \
    P(S, string, of, "of", usual, 1, 0, "", "answers|all",                                                   \
      "answers: what a model says (assistant's messages, completion, response, chosen, rejected, output, "   \
      "text)",                                                                                               \
      "0.1")

typedef struct filter_texts filter_texts;

/* Looks at one text; nonzero: the row is judged. */
typedef int filter_text_look(void *context, filter_row *row, temper_span text, const temper_line_text_at *at);

struct filter_texts {
    const temper_strings *fields, *roles;
    const char *of;
    bool may_lack; /* a row with none of the fields is kept, not an error */
    filter_text_look *look;
    void *context;
    filter_buffers unescaped, work;
};

/* Calls look for the row's texts, in order, until one judges it. */
void filter_texts_of(filter_texts *texts, filter_row *row);
/* The pass, with buffers begun and ended around it; pass->look and pass->context are set when they are NULL. */
temper_status filter_texts_run(filter_texts *texts, filter_pass *pass, temper_error *error);
/* `count` items of `size` bytes for this worker, as they were; NULL: no memory, and the row is refused for it. */
void *filter_texts_room(filter_texts *texts, filter_row *row, size_t count, size_t size);

#endif

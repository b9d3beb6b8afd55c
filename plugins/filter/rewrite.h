/* rewrite.h: a row with some of its texts replaced, and perhaps marks added. Everything else stays byte for byte. */
#ifndef FILTER_REWRITE_H
#define FILTER_REWRITE_H

#include "rows.h"

typedef struct filter_replacement {
    uint32_t node;        /* a string */
    size_t start, length; /* of the new text in `texts` */
} filter_replacement;

typedef struct filter_rewrite {
    temper_buffer replacements; /* filter_replacement[] */
    temper_buffer texts, marks; /* marks: quoted names, separated by commas */
    temper_buffer row;
} filter_rewrite;

void filter_rewrite_init(filter_rewrite *rewrite, const temper_host *host);
void filter_rewrite_free(filter_rewrite *rewrite);
void filter_rewrite_begin(filter_rewrite *rewrite);
void filter_rewrite_text(filter_rewrite *rewrite, uint32_t node, temper_span text);
void filter_rewrite_mark(filter_rewrite *rewrite, const char *name); /* once a name */
bool filter_rewrite_any(const filter_rewrite *rewrite);
/* The row into `row`. False: no memory. */
bool filter_rewrite_end(filter_rewrite *rewrite, const temper_line *line);

#endif

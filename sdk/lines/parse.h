/* parse.h: from a scan's positions to nodes; private to this folder. */
#ifndef TEMPER_LINES_PARSE_H
#define TEMPER_LINES_PARSE_H

#include "lines/lines.h"
#include "lines/scan.h"

/* Memory of one reader, through the host: grows, and is used again for each line. */
typedef struct temper_parser {
    const temper_host *host;
    temper_scan *scan;
    temper_node *nodes;
    uint32_t count, room;
    uint64_t *names; /* for the names of a large object */
    size_t name_room;
    temper_buffer left, right; /* names with escapes */
    bool no_memory;
} temper_parser;

bool temper_parser_start(temper_parser *parser, const temper_host *host);
void temper_parser_end(temper_parser *parser);

/* Reads text[from, to), whose tokens begin at positions[0..count), offsets into `text`. Gives why it is no JSON; NULL: it is,
 * and the nodes are there. `no_memory` is to be looked at when there is a reason. */
const char *temper_parse(temper_parser *parser, const char *text, size_t from, size_t to,
                         const uint32_t *positions, uint32_t count);
/* Scans and parses a text by itself; object_only: as a line. */
const char *temper_parse_text(temper_parser *parser, const char *text, size_t length, bool object_only);

#endif

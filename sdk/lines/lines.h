/* lines/lines.h: JSONL at the speed of memory: lines found, checked and looked into on all threads, results in order.
 *
 * A pass cuts an input into shards at line borders (the same ones whatever the threads), reads each line strictly (RFC
 * 8259; no duplicate names, no lone surrogates, UTF-8, one object a line, nesting at most 512) into nodes that say where
 * things lie in its bytes, and calls the stage for it. What a line's call sends to the outputs comes out in the order of the
 * input, so nothing shows how many threads there were. Nothing is unescaped or copied before it is asked for.
 *
 * A broken line is no error: the stage gets it with `problem` set, and decides. */
#ifndef TEMPER_LINES_H
#define TEMPER_LINES_H

#include "support/memory.h"
#include <temper/rows.h>

typedef enum temper_node_kind {
    TEMPER_NODE_NULL,
    TEMPER_NODE_BOOLEAN,
    TEMPER_NODE_NUMBER,
    TEMPER_NODE_STRING,
    TEMPER_NODE_ARRAY,
    TEMPER_NODE_OBJECT
} temper_node_kind;

/* Where a value lies in its line. Nodes stand in the order of the text: an object's node is followed by a string node for
 * each name and, after it, the value's nodes; an array's by its elements' nodes. */
typedef struct temper_node {
    uint32_t start, length; /* of its text; a string's without the quotes */
    uint32_t next;          /* the index of the first node after the value */
    uint8_t kind;
    uint8_t escaped; /* a string with a backslash in it */
} temper_node;

typedef struct temper_line {
    const char *text; /* without white space at its ends */
    size_t length;
    uint64_t number;          /* from 1 */
    const char *problem;      /* why it is no record; NULL: it is one, and node 0 is its object */
    const temper_node *nodes; /* valid during the call */
    uint32_t count;
    bool whole; /* the bytes behind text are a line feed, and there was nothing before it */
} temper_line;

/* The value of a member, 0 when there is none (node 0 is no member). `object` may be any node; 0 is the line's own. */
uint32_t temper_line_member(const temper_line *line, uint32_t object, const char *name);
/* The bytes of a node as they stand; a string's without its quotes, escapes as they are. */
static inline temper_span temper_line_raw(const temper_line *line, uint32_t node) {
    temper_span span = {line->text + line->nodes[node].start, line->nodes[node].length};
    return span;
}
static inline bool temper_line_is(const temper_line *line, uint32_t node, temper_node_kind kind) {
    return node != 0 && line->nodes[node].kind == kind;
}
/* Is it a string, and with these bytes, once unescaped? */
bool temper_line_equals(const temper_line *line, uint32_t node, const char *text);
/* A string's text. Without escapes these are the line's own bytes; else it is written to `scratch`, from its beginning. False:
 * no string, or no memory (scratch->failed). */
bool temper_line_text(const temper_line *line, uint32_t node, temper_buffer *scratch, temper_span *out);
/* The bytes that take a text's place: unescapes `raw`, sound JSON between quotes, appending to `out`. */
void temper_unescape(temper_buffer *out, temper_span raw);
/* A text as a JSON string with quotes and only the escapes RFC 8259 requires: the canonical form. */
void temper_quote(temper_buffer *out, temper_span text);

/* A value as canonical JSON: no spaces, names in byte order, a number's own text, the fewest escapes. Equal values have equal
 * bytes. False: memory is short. */
bool temper_line_canonical(const temper_line *line, uint32_t node, temper_buffer *out);

/* --- a pass ------------------------------------------------------------------------------------------------------ */

enum { TEMPER_LINES_SINKS = 4 };

/* One shard being read, on one worker. */
typedef struct temper_shard {
    const temper_host *host;
    void *own;       /* `own_size` bytes of the stage's, zero at the shard's beginning */
    uint64_t index;  /* of the shard */
    uint32_t worker; /* for scratch of one's own */
    uint64_t first;  /* number of its first line */
    uint64_t lines;
    struct temper_shard_inside *inside;
} temper_shard;

/* Sends the line, unchanged, to a sink. */
void temper_shard_copy(temper_shard *shard, size_t sink, const temper_line *line);
/* A line of one's own: append an object's text to what begin gives, then end. */
temper_buffer *temper_shard_begin(temper_shard *shard, size_t sink);
void temper_shard_end(temper_shard *shard, size_t sink);
/* The run fails; of several, with the one of the first line. "record 12: " is put before the message. */
void temper_shard_fail(temper_shard *shard, const temper_line *line, temper_status status, const char *format,
                       ...) __attribute__((format(printf, 4, 5)));

typedef struct temper_lines_pass {
    const temper_host *host;
    const temper_input *input;
    temper_output *sinks[TEMPER_LINES_SINKS]; /* outputs of kind records, begun; NULL: none */
    /* [any] For each line, in order within a shard. */
    void (*line)(void *context, temper_shard *shard, const temper_line *line);
    /* [run] For each shard, in order, when its lines were written; may be NULL. */
    temper_status (*joined)(void *context, temper_shard *shard, temper_error *error);
    /* [run] For each shard whose lines were looked at, joined or not: frees what its `own` holds; may be NULL. */
    void (*left)(void *context, void *own);
    void *context;
    size_t own_size;
    size_t longest; /* bytes; a longer line has the problem "is too long"; 0: 64 MiB */
    bool goes_on;   /* run_bytes: more of the same text follows, so empty lines at the end count */
    bool unread; /* lines are found, not read: no nodes, no problems but an empty line's. For a second pass */
    const char *unit; /* for progress: "records" */
    uint64_t first;   /* number of the first line, less 1: for an input that goes on where another ended */
    uint64_t lines;   /* given back: how many there were */
} temper_lines_pass;

temper_status temper_lines_run(temper_lines_pass *pass, temper_error *error);
/* The same over bytes from elsewhere (a decompressed file); sinks then copy what is sent. */
temper_status temper_lines_run_bytes(temper_lines_pass *pass, const char *data, uint64_t length,
                                     temper_error *error);

/* --- one line by itself ------------------------------------------------------------------------------------------- */

/* A reader of single lines, for one thread. */
typedef struct temper_line_reader temper_line_reader;
temper_line_reader *temper_line_reader_new(const temper_host *host); /* NULL: no memory */
void temper_line_reader_free(temper_line_reader *reader);
/* Reads `text` as a line; the nodes are valid until the next read. False: no memory. */
bool temper_line_read(temper_line_reader *reader, const char *text, size_t length, temper_line *out);
/* The same, but any value may stand at the top, and line feeds between tokens are white space. */
bool temper_value_read(temper_line_reader *reader, const char *text, size_t length, temper_line *out);

#endif

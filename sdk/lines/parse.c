/* parse.c: JSON's grammar (RFC 8259) over the positions a scan gives. Invariant: a text that comes out with nodes is sound to
 * the last byte: every scalar is one of JSON's, every escape is whole, surrogates stand in pairs, no object has a name twice,
 * nothing nests deeper than 512. So whoever copies a piece of it copies sound JSON. */
#include "lines/parse.h"

#include <float.h>
#include <stdlib.h>

enum { DEEPEST = 512, FEW_NAMES = 12 };

typedef struct frame {
    uint32_t node, names;
} frame;

typedef struct walk {
    temper_parser *parser;
    const char *text;       /* of the line */
    size_t offset;          /* of the line in what was scanned */
    size_t length;          /* of the line */
    size_t first_backslash; /* length: none */
    const uint32_t *positions;
    uint32_t at, count;
    uint32_t depth;
    frame frames[DEEPEST];
} walk;

bool temper_parser_start(temper_parser *parser, const temper_host *host) {
    memset(parser, 0, sizeof *parser);
    parser->host = host;
    temper_buffer_init(&parser->left, host);
    temper_buffer_init(&parser->right, host);
    parser->scan = temper_scan_new();
    return parser->scan != NULL;
}

void temper_parser_end(temper_parser *parser) {
    temper_scan_free(parser->scan);
    if (parser->nodes != NULL) {
        parser->host->release(parser->host, parser->nodes);
    }
    if (parser->names != NULL) {
        parser->host->release(parser->host, parser->names);
    }
    temper_buffer_free(&parser->left);
    temper_buffer_free(&parser->right);
    parser->scan = NULL;
    parser->nodes = NULL;
    parser->names = NULL;
}

static temper_node *add_node(walk *w, temper_node_kind kind, size_t start, size_t length) {
    temper_parser *parser = w->parser;
    if (parser->count == parser->room) {
        uint32_t room = parser->room == 0 ? 256 : parser->room * 2;
        temper_node *nodes = room <= UINT32_MAX / 2
                                 ? parser->host->reallocate(parser->host, parser->nodes, room * sizeof *nodes)
                                 : NULL;
        if (nodes == NULL) {
            parser->no_memory = true;
            return NULL;
        }
        parser->nodes = nodes;
        parser->room = room;
    }
    temper_node *node = &parser->nodes[parser->count++];
    node->start = (uint32_t)start;
    node->length = (uint32_t)length;
    node->next = parser->count;
    node->kind = (uint8_t)kind;
    node->escaped = 0;
    return node;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int hex(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The four digits behind \u; -1 when they are none. */
static long unit(const char *at, const char *end) {
    long value = 0;
    int i;
    if (end - at < 4) {
        return -1;
    }
    for (i = 0; i < 4; i++) {
        int digit = hex(at[i]);
        if (digit < 0) {
            return -1;
        }
        value = value << 4 | digit;
    }
    return value;
}

static const char *check_escapes(const char *at, const char *end) {
    static const char bad[] = "holds an escape that JSON does not have";
    while ((at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        long code;
        if (end - at < 2) {
            return bad;
        }
        if (at[1] != 'u') {
            if (memchr("\"\\/bfnrt", at[1], 8) == NULL) {
                return bad;
            }
            at += 2;
            continue;
        }
        code = unit(at + 2, end);
        if (code < 0) {
            return bad;
        }
        at += 6;
        if (code >= 0xD800 && code < 0xE000) {
            long low =
                code < 0xDC00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u' ? unit(at + 2, end) : -1;
            if (low < 0xDC00 || low >= 0xE000) {
                return "holds half of a surrogate pair";
            }
            at += 6;
        }
    }
    return NULL;
}

/* Where the token at `index` can reach to, without the white space at its end. */
static size_t token_end(const walk *w, uint32_t index) {
    size_t end = index + 1 < w->count ? w->positions[index + 1] - w->offset : w->length;
    while (end > 0 && is_space(w->text[end - 1])) {
        end--;
    }
    return end;
}

static const char *take_string(walk *w) {
    size_t start = w->positions[w->at] - w->offset + 1, end = token_end(w, w->at);
    temper_node *node;
    if (end <= start || w->text[end - 1] != '"') {
        return "ends within a string";
    }
    end--;
    node = add_node(w, TEMPER_NODE_STRING, start, end - start);
    if (node == NULL) {
        return "is too long for the memory there is";
    }
    w->at++;
    if (end > w->first_backslash && memchr(w->text + start, '\\', end - start) != NULL) {
        node->escaped = 1;
        return check_escapes(w->text + start, w->text + end);
    }
    return NULL;
}

/* Would it be no finite double? Such a number is refused wherever Temper reads JSON. */
static bool overflows(const char *text, const char *end) {
    const char *at = text + (*text == '-'), *point = NULL, *leading = NULL;
    char some[64];
    long magnitude, exponent = 0;
    size_t length = 0;
    bool down;
    for (; at < end && *at != 'e' && *at != 'E'; at++) {
        if (*at == '.') {
            point = at;
        } else if (*at != '0' && leading == NULL) {
            leading = at;
        }
    }
    if (leading == NULL) {
        return false;
    }
    point = point == NULL ? at : point;
    magnitude = point > leading ? (long)(point - leading) - 1 : (long)(point - leading);
    if (at < end) {
        down = at[1] == '-';
        for (at += 1 + (at[1] == '-' || at[1] == '+'); at < end && exponent < 1000000; at++) {
            exponent = exponent * 10 + (*at - '0');
        }
        magnitude += down ? -exponent : exponent;
    }
    if (magnitude != 308) {
        return magnitude > 308;
    }
    for (at = leading; at < end && *at != 'e' && *at != 'E' && length < 50;
         at++) { /* 308: the digits decide */
        if (*at != '.') {
            some[length++] = *at;
            if (length == 1) {
                some[length++] = '.';
            }
        }
    }
    memcpy(some + length, "e308", 5);
    return strtod(some, NULL) > DBL_MAX;
}

static bool is_number(const char *at, const char *end) {
    const char *text = at;
    const char *digits;
    at += at < end && *at == '-';
    digits = at;
    while (at < end && *at >= '0' && *at <= '9') {
        at++;
    }
    if (at == digits || (*digits == '0' && at - digits > 1)) {
        return false;
    }
    if (at < end && *at == '.') {
        digits = ++at;
        while (at < end && *at >= '0' && *at <= '9') {
            at++;
        }
        if (at == digits) {
            return false;
        }
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        digits = at;
        while (at < end && *at >= '0' && *at <= '9') {
            at++;
        }
        if (at == digits) {
            return false;
        }
    }
    return at == end && !(end - text > 4 && overflows(text, end));
}

static const char *take_scalar(walk *w) {
    size_t start = w->positions[w->at] - w->offset, end = token_end(w, w->at), length = end - start;
    const char *text = w->text + start;
    temper_node_kind kind;
    if ((length == 4 && memcmp(text, "true", 4) == 0) || (length == 5 && memcmp(text, "false", 5) == 0)) {
        kind = TEMPER_NODE_BOOLEAN;
    } else if (length == 4 && memcmp(text, "null", 4) == 0) {
        kind = TEMPER_NODE_NULL;
    } else if (is_number(text, text + length)) {
        kind = TEMPER_NODE_NUMBER;
    } else {
        return "holds a word that is no JSON value";
    }
    w->at++;
    return add_node(w, kind, start, length) == NULL ? "is too long for the memory there is" : NULL;
}

/* --- names ------------------------------------------------------------------------------------------------------- */

static temper_span name_text(temper_parser *parser, const char *text, const temper_node *node,
                             temper_buffer *scratch) {
    temper_span raw = {text + node->start, node->length};
    if (node->escaped) {
        temper_buffer_clear(scratch);
        temper_unescape(scratch, raw);
        parser->no_memory = parser->no_memory || scratch->failed;
        raw.data = scratch->data == NULL ? "" : scratch->data;
        raw.length = scratch->length;
    }
    return raw;
}

static bool same_name(temper_parser *parser, const char *text, const temper_node *a, const temper_node *b) {
    temper_span left, right;
    if (!a->escaped && !b->escaped) {
        return a->length == b->length && memcmp(text + a->start, text + b->start, a->length) == 0;
    }
    left = name_text(parser, text, a, &parser->left);
    right = name_text(parser, text, b, &parser->right);
    return left.length == right.length && memcmp(left.data, right.data, left.length) == 0;
}

static uint64_t name_hash(temper_span name) {
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    size_t i;
    for (i = 0; i < name.length; i++) {
        hash = (hash ^ (unsigned char)name.data[i]) * UINT64_C(0x100000001B3);
    }
    return hash ^ hash >> 29;
}

/* An object of many names, by a table of node indexes: hostile input costs no more than its length. */
static const char *check_many_names(temper_parser *parser, const char *text, uint32_t object,
                                    uint32_t names) {
    uint32_t child, end = parser->nodes[object].next;
    size_t size = 64, slot;
    while (size < (size_t)names * 2) {
        size *= 2;
    }
    if (size > parser->name_room) {
        uint64_t *more = parser->host->reallocate(parser->host, parser->names, size * sizeof *more);
        if (more == NULL) {
            parser->no_memory = true;
            return "is too long for the memory there is";
        }
        parser->names = more;
        parser->name_room = size;
    }
    memset(parser->names, 0, size * sizeof *parser->names);
    for (child = object + 1; child < end; child = parser->nodes[child + 1].next) {
        const temper_node *node = &parser->nodes[child];
        for (slot = name_hash(name_text(parser, text, node, &parser->left)) & (size - 1);
             parser->names[slot] != 0; slot = (slot + 1) & (size - 1)) {
            if (same_name(parser, text, node, &parser->nodes[parser->names[slot]])) {
                return "holds an object with a name twice";
            }
        }
        parser->names[slot] = child;
    }
    return NULL;
}

static const char *check_names(temper_parser *parser, const char *text, uint32_t object, uint32_t names) {
    uint32_t seen[FEW_NAMES], i, count = 0, child, end = parser->nodes[object].next;
    if (names > FEW_NAMES) {
        return check_many_names(parser, text, object, names);
    }
    for (child = object + 1; child < end; child = parser->nodes[child + 1].next) {
        for (i = 0; i < count; i++) {
            if (same_name(parser, text, &parser->nodes[child], &parser->nodes[seen[i]])) {
                return "holds an object with a name twice";
            }
        }
        seen[count++] = child;
    }
    return NULL;
}

/* --- the grammar ------------------------------------------------------------------------------------------------- */

static char look(const walk *w) {
    return w->at < w->count ? w->text[w->positions[w->at] - w->offset] : 0;
}

static const char *cut_short(const walk *w) {
    return w->at >= w->count ? "ends before its JSON does" : NULL;
}

static const char *open(walk *w, temper_node_kind kind) {
    if (w->depth == DEEPEST) {
        return "is nested deeper than 512 levels";
    }
    w->frames[w->depth].node = w->parser->count;
    w->frames[w->depth].names = 0;
    w->depth++;
    if (add_node(w, kind, w->positions[w->at] - w->offset, 1) == NULL) {
        return "is too long for the memory there is";
    }
    w->at++;
    return NULL;
}

static const char *close(walk *w) {
    const frame *f = &w->frames[--w->depth];
    temper_node *node = &w->parser->nodes[f->node];
    node->length = (uint32_t)(w->positions[w->at] - w->offset + 1 - node->start);
    node->next = w->parser->count;
    w->at++;
    return f->names > 1 ? check_names(w->parser, w->text, f->node, f->names) : NULL;
}

static const char *take_name(walk *w) {
    const char *problem;
    if (look(w) != '"') {
        return w->at < w->count ? "holds an object with a member that has no name" : cut_short(w);
    }
    w->frames[w->depth - 1].names++;
    problem = take_string(w);
    if (problem == NULL && look(w) != ':') {
        problem = w->at < w->count ? "lacks a colon behind a name" : cut_short(w);
    }
    w->at++;
    return problem;
}

/* A value's first token; sets *opened when it is a container that is now to be filled. */
static const char *take_value(walk *w, bool *opened) {
    char c = look(w);
    *opened = false;
    if (c == '"') {
        return take_string(w);
    }
    if (c == '{' || c == '[') {
        *opened = true;
        return open(w, c == '{' ? TEMPER_NODE_OBJECT : TEMPER_NODE_ARRAY);
    }
    if (w->at >= w->count) {
        return cut_short(w);
    }
    if (c == '}' || c == ']' || c == ':' || c == ',') {
        return "lacks a value";
    }
    return take_scalar(w);
}

static const char *walk_all(walk *w) {
    bool opened = false;
    const char *problem = take_value(w, &opened);
    while (problem == NULL && w->depth > 0) {
        bool object = w->parser->nodes[w->frames[w->depth - 1].node].kind == TEMPER_NODE_OBJECT;
        char c = look(w), closing = object ? '}' : ']';
        if (c == closing) {
            problem = close(w);
            opened = false;
            continue;
        }
        if (!opened) {
            if (c != ',') {
                return w->at < w->count ? "lacks a comma" : cut_short(w);
            }
            w->at++;
        }
        if (object) {
            problem = take_name(w);
        }
        if (problem == NULL) {
            problem = take_value(w, &opened);
        }
    }
    return problem == NULL && w->at < w->count ? "goes on behind its JSON" : problem;
}

const char *temper_parse(temper_parser *parser, const char *text, size_t from, size_t to,
                         const uint32_t *positions, uint32_t count) {
    walk w;
    const char *backslash = memchr(text + from, '\\', to - from);
    w.parser = parser;
    w.text = text + from;
    w.offset = from;
    w.length = to - from;
    w.first_backslash = backslash == NULL ? w.length : (size_t)(backslash - w.text);
    w.positions = positions;
    w.at = 0;
    w.count = count;
    w.depth = 0;
    parser->count = 0;
    return walk_all(&w);
}

const char *temper_parse_text(temper_parser *parser, const char *text, size_t length, bool object_only) {
    const uint32_t *positions;
    uint32_t count;
    if (length >= UINT32_MAX) {
        return "is too long";
    }
    switch (temper_scan_text(parser->scan, text, length, &positions, &count)) {
    case TEMPER_SCAN_OK: break;
    case TEMPER_SCAN_NO_MEMORY: parser->no_memory = true; return "is too long for the memory there is";
    case TEMPER_SCAN_BAD: return temper_scan_fault(text, length);
    }
    if (object_only && (count == 0 || text[positions[0]] != '{')) {
        return count == 0 ? "is empty" : "is no object";
    }
    return temper_parse(parser, text, 0, length, positions, count);
}

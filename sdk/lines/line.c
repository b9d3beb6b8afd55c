/* line.c: looking into a line, and the way from text to JSON strings and back. */
#include "lines/parse.h"

uint32_t temper_line_member(const temper_line *line, uint32_t object, const char *name) {
    size_t length = strlen(name);
    uint32_t child, end;
    if (object >= line->count || line->nodes[object].kind != TEMPER_NODE_OBJECT) {
        return 0;
    }
    end = line->nodes[object].next;
    for (child = object + 1; child < end; child = line->nodes[child + 1].next) {
        const temper_node *node = &line->nodes[child];
        if (node->escaped ? temper_line_equals(line, child, name)
                          : node->length == length && memcmp(line->text + node->start, name, length) == 0) {
            return child + 1;
        }
    }
    return 0;
}

/* One escape at `at`, to UTF-8 in `out`; gives how many bytes were read. The text is known to be sound. */
static size_t take_escape(const char *at, char out[4], size_t *width) {
    static const char short_names[] = "bfnrt\"\\/", short_bytes[] = "\b\f\n\r\t\"\\/";
    uint32_t code = 0, low = 0;
    size_t i, used = 6;
    if (at[1] != 'u') {
        out[0] = short_bytes[strchr(short_names, at[1]) - short_names];
        *width = 1;
        return 2;
    }
    for (i = 2; i < 6; i++) {
        code = code << 4 | (uint32_t)(at[i] <= '9' ? at[i] - '0' : (at[i] | 32) - 'a' + 10);
    }
    if (code >= 0xD800 && code < 0xDC00) {
        for (i = 8; i < 12; i++) {
            low = low << 4 | (uint32_t)(at[i] <= '9' ? at[i] - '0' : (at[i] | 32) - 'a' + 10);
        }
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        used = 12;
    }
    if (code < 0x80) {
        out[0] = (char)code;
        *width = 1;
    } else if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 63));
        *width = 2;
    } else if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 63));
        out[2] = (char)(0x80 | (code & 63));
        *width = 3;
    } else {
        out[0] = (char)(0xF0 | code >> 18);
        out[1] = (char)(0x80 | (code >> 12 & 63));
        out[2] = (char)(0x80 | (code >> 6 & 63));
        out[3] = (char)(0x80 | (code & 63));
        *width = 4;
    }
    return used;
}

void temper_unescape(temper_buffer *out, temper_span raw) {
    const char *at = raw.data, *end = raw.data + raw.length, *backslash;
    char *to;
    if (!temper_buffer_reserve(out, raw.length + 1)) {
        return;
    }
    to = out->data + out->length; /* never longer than its source */
    while ((backslash = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        char bytes[4];
        size_t width, plain = (size_t)(backslash - at);
        memcpy(to, at, plain);
        to += plain;
        at = backslash + take_escape(backslash, bytes, &width);
        memcpy(to, bytes, width);
        to += width;
    }
    memcpy(to, at, (size_t)(end - at));
    to += end - at;
    out->length = (size_t)(to - out->data);
    *to = 0;
}

bool temper_line_text(const temper_line *line, uint32_t node, temper_buffer *scratch, temper_span *out) {
    if (!temper_line_is(line, node, TEMPER_NODE_STRING)) {
        return false;
    }
    *out = temper_line_raw(line, node);
    if (line->nodes[node].escaped) {
        temper_buffer_clear(scratch);
        temper_unescape(scratch, *out);
        out->data = scratch->data;
        out->length = scratch->length;
        return !scratch->failed;
    }
    return true;
}

bool temper_line_equals(const temper_line *line, uint32_t node, const char *text) {
    size_t length = strlen(text), width, i;
    const char *at, *end;
    char bytes[4];
    if (node >= line->count || line->nodes[node].kind != TEMPER_NODE_STRING) {
        return false;
    }
    at = line->text + line->nodes[node].start;
    end = at + line->nodes[node].length;
    if (!line->nodes[node].escaped) {
        return (size_t)(end - at) == length && memcmp(at, text, length) == 0;
    }
    for (i = 0; at < end; i += width) {
        if (*at == '\\') {
            at += take_escape(at, bytes, &width);
        } else {
            bytes[0] = *at++;
            width = 1;
        }
        if (i + width > length || memcmp(text + i, bytes, width) != 0) {
            return false;
        }
    }
    return i == length;
}

void temper_quote(temper_buffer *out, temper_span text) {
    static const char digits[] = "0123456789abcdef";
    size_t start = 0, i;
    temper_buffer_append(out, "\"", 1);
    for (i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];
        char escape[6] = {'\\', 'u', '0', '0', 0, 0};
        size_t size = 2;
        if (c >= 0x20 && c != '"' && c != '\\') {
            continue;
        }
        temper_buffer_append(out, text.data + start, i - start);
        start = i + 1;
        switch (c) {
        case '\b': escape[1] = 'b'; break;
        case '\t': escape[1] = 't'; break;
        case '\n': escape[1] = 'n'; break;
        case '\f': escape[1] = 'f'; break;
        case '\r': escape[1] = 'r'; break;
        case '"':
        case '\\': escape[1] = (char)c; break;
        default:
            escape[4] = digits[c >> 4];
            escape[5] = digits[c & 15];
            size = 6;
        }
        temper_buffer_append(out, escape, size);
    }
    temper_buffer_append(out, text.data + start, text.length - start);
    temper_buffer_append(out, "\"", 1);
}

/* --- canonical text ----------------------------------------------------------------------------------------------- */

/* Unescaped; a text with escapes is put behind what `out` holds, and taken away by whoever asked. */
static temper_span plain_text(const temper_line *line, uint32_t node, temper_buffer *scratch) {
    temper_span text = temper_line_raw(line, node);
    if (line->nodes[node].escaped) {
        temper_buffer_clear(scratch);
        temper_unescape(scratch, text);
        text.data = scratch->failed ? "" : scratch->data;
        text.length = scratch->length;
    }
    return text;
}

static void put_string(const temper_line *line, uint32_t node, temper_buffer *out, temper_buffer *scratch) {
    if (line->nodes[node].escaped) {
        temper_quote(out, plain_text(line, node, scratch));
    } else {
        temper_buffer_append(out, line->text + line->nodes[node].start - 1, line->nodes[node].length + 2);
    }
}

static int compare_names(const temper_line *line, uint32_t a, uint32_t b, temper_buffer scratch[2]) {
    temper_span left = plain_text(line, a, &scratch[0]), right = plain_text(line, b, &scratch[1]);
    size_t least = left.length < right.length ? left.length : right.length;
    int order = least > 0 ? memcmp(left.data, right.data, least) : 0;
    return order != 0 ? order : left.length < right.length ? -1 : left.length > right.length;
}

static void put_value(const temper_line *line, uint32_t node, temper_buffer *out, temper_buffer scratch[2]);

/* Members in the order of their names: an insertion into a list, since they mostly come in order, or are few. */
static void put_object(const temper_line *line, uint32_t node, temper_buffer *out, temper_buffer scratch[2]) {
    uint32_t child, end = line->nodes[node].next, few[32], *order = few;
    size_t count = 0, i;
    for (child = node + 1; child < end; child = line->nodes[child + 1].next) {
        count++;
    }
    if (count > sizeof few / sizeof *few) {
        order = out->host->allocate(out->host, count * sizeof *order);
        if (order == NULL) {
            out->failed = true;
            return;
        }
    }
    for (count = 0, child = node + 1; child < end; child = line->nodes[child + 1].next) {
        for (i = count; i > 0 && compare_names(line, child, order[i - 1], scratch) < 0; i--) {
            order[i] = order[i - 1];
        }
        order[i] = child;
        count++;
    }
    temper_buffer_append(out, "{", 1);
    for (i = 0; i < count; i++) {
        temper_buffer_append(out, ",", i > 0);
        put_string(line, order[i], out, scratch);
        temper_buffer_append(out, ":", 1);
        put_value(line, order[i] + 1, out, scratch);
    }
    temper_buffer_append(out, "}", 1);
    if (order != few) {
        out->host->release(out->host, order);
    }
}

static void put_value(const temper_line *line, uint32_t node, temper_buffer *out, temper_buffer scratch[2]) {
    const temper_node *n = &line->nodes[node];
    uint32_t child;
    switch ((temper_node_kind)n->kind) {
    case TEMPER_NODE_STRING: put_string(line, node, out, scratch); return;
    case TEMPER_NODE_OBJECT: put_object(line, node, out, scratch); return;
    case TEMPER_NODE_ARRAY:
        temper_buffer_append(out, "[", 1);
        for (child = node + 1; child < n->next; child = line->nodes[child].next) {
            temper_buffer_append(out, ",", child > node + 1);
            put_value(line, child, out, scratch);
        }
        temper_buffer_append(out, "]", 1);
        return;
    case TEMPER_NODE_NULL:
    case TEMPER_NODE_BOOLEAN:
    case TEMPER_NODE_NUMBER: temper_buffer_append(out, line->text + n->start, n->length); return;
    }
}

bool temper_line_canonical(const temper_line *line, uint32_t node, temper_buffer *out) {
    temper_buffer scratch[2];
    temper_buffer_init(&scratch[0], out->host);
    temper_buffer_init(&scratch[1], out->host);
    put_value(line, node, out, scratch);
    out->failed = out->failed || scratch[0].failed || scratch[1].failed;
    temper_buffer_free(&scratch[0]);
    temper_buffer_free(&scratch[1]);
    return !out->failed;
}

/* --- one line by itself ------------------------------------------------------------------------------------------- */

struct temper_line_reader {
    temper_parser parser;
};

temper_line_reader *temper_line_reader_new(const temper_host *host) {
    temper_line_reader *reader = host->allocate(host, sizeof *reader);
    if (reader != NULL && !temper_parser_start(&reader->parser, host)) {
        host->release(host, reader);
        reader = NULL;
    }
    return reader;
}

void temper_line_reader_free(temper_line_reader *reader) {
    if (reader != NULL) {
        const temper_host *host = reader->parser.host;
        temper_parser_end(&reader->parser);
        host->release(host, reader);
    }
}

static bool read_one(temper_line_reader *reader, const char *text, size_t length, bool line,
                     temper_line *out) {
    memset(out, 0, sizeof *out);
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t' || text[length - 1] == '\r' ||
                          text[length - 1] == '\n')) {
        length--;
    }
    while (length > 0 && (*text == ' ' || *text == '\t' || *text == '\r' || *text == '\n')) {
        text++;
        length--;
    }
    out->text = text;
    out->length = length;
    if (line && memchr(text, '\n', length) != NULL) {
        out->problem = "is more than one line";
        return true;
    }
    out->problem = temper_parse_text(&reader->parser, text, length, line);
    if (out->problem == NULL) {
        out->nodes = reader->parser.nodes;
        out->count = reader->parser.count;
    }
    return !reader->parser.no_memory;
}

bool temper_line_read(temper_line_reader *reader, const char *text, size_t length, temper_line *out) {
    return read_one(reader, text, length, true, out);
}

bool temper_value_read(temper_line_reader *reader, const char *text, size_t length, temper_line *out) {
    return read_one(reader, text, length, false, out);
}

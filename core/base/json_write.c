/* json_write.c: canonical text. Members in byte order of their names (they lie so), no spaces, a number's own text, and the
 * only escapes are those RFC 8259 requires: the quote, the backslash, and controls below U+0020 (\b \t \n \f \r, else
 * \u00xx in lower case). */
#include "base/json_value.h"

#include <string.h>

static void write_string(const char *text, size_t length, tm_buffer *out) {
    static const char hex[] = "0123456789abcdef";
    size_t start = 0, i;
    tm_buffer_byte(out, '"');
    for (i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        char escape[6] = {'\\', 'u', '0', '0', 0, 0};
        size_t size = 2;
        if (c >= 0x20 && c != '"' && c != '\\') {
            continue;
        }
        tm_buffer_append(out, text + start, i - start);
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
            escape[4] = hex[c >> 4];
            escape[5] = hex[c & 15];
            size = 6;
        }
        tm_buffer_append(out, escape, size);
    }
    tm_buffer_append(out, text + start, length - start);
    tm_buffer_byte(out, '"');
}

static bool write_value(const temper_json *value, unsigned depth, tm_buffer *out) {
    size_t i;
    switch (tm_json_kind(value)) {
    case TEMPER_JSON_NULL: tm_buffer_text(out, "null"); return true;
    case TEMPER_JSON_BOOLEAN: tm_buffer_text(out, value->boolean ? "true" : "false"); return true;
    case TEMPER_JSON_NUMBER: tm_buffer_append(out, value->text, value->length); return true;
    case TEMPER_JSON_STRING: write_string(value->text, value->length, out); return true;
    case TEMPER_JSON_ARRAY:
    case TEMPER_JSON_OBJECT: break;
    }
    if (depth >= TM_JSON_DEPTH) {
        return false; /* it could not be read back; a value put into itself ends here, too */
    }
    tm_buffer_byte(out, value->kind == TEMPER_JSON_ARRAY ? '[' : '{');
    for (i = 0; i < value->length; i++) {
        if (i > 0) {
            tm_buffer_byte(out, ',');
        }
        if (value->kind == TEMPER_JSON_OBJECT) {
            write_string(value->members[i].name, strlen(value->members[i].name), out);
            tm_buffer_byte(out, ':');
        }
        if (!write_value(value->kind == TEMPER_JSON_ARRAY ? value->elements[i] : value->members[i].value,
                         depth + 1, out)) {
            return false;
        }
    }
    tm_buffer_byte(out, value->kind == TEMPER_JSON_ARRAY ? ']' : '}');
    return true;
}

temper_status tm_json_write(const temper_json *value, tm_buffer *out, temper_error *error) {
    size_t before = out->length;
    if (!write_value(value, 0, out)) {
        out->length = before;
        if (out->data != NULL) {
            out->data[before] = 0;
        }
        return temper_fail(error, TEMPER_INVALID, "JSON is nested deeper than %d levels", TM_JSON_DEPTH);
    }
    if (!tm_buffer_ok(out)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory writing JSON");
    }
    return TEMPER_OK;
}

bool tm_json_equal(const temper_json *a, const temper_json *b) {
    tm_buffer a_text = TM_BUFFER_INIT, b_text = TM_BUFFER_INIT;
    bool equal = tm_json_write(a, &a_text, NULL) == TEMPER_OK &&
                 tm_json_write(b, &b_text, NULL) == TEMPER_OK && a_text.length == b_text.length &&
                 memcmp(a_text.data, b_text.data, a_text.length) == 0;
    tm_buffer_free(&a_text);
    tm_buffer_free(&b_text);
    return equal;
}

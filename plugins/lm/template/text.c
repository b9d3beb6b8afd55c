/* text.c: texts built piece by piece, and values as texts: Python's str() and json.dumps().
 *
 * Invariant: joining, quoting and escaping keep every byte's mark; nothing here turns content into template. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static void grow(lm_builder *self, size_t more) {
    size_t capacity = self->capacity == 0 ? 64 : self->capacity;
    if (self->status || more <= self->capacity - self->length) {
        return;
    }
    while (capacity - self->length < more) {
        capacity *= 2;
    }
    if (capacity > LM_TEMPLATE_MEMORY) {
        self->status =
            lm_run_fail(self->run, self->run->line, TEMPER_NO_MEMORY,
                        "a text of %zu bytes is more than a template may make", self->length + more);
        return;
    }
    char *bytes = lm_run_get(self->run, capacity, 1);
    lm_mark *marks = bytes == NULL ? NULL : lm_run_get(self->run, capacity, sizeof *marks);
    if (marks == NULL) {
        self->status = TEMPER_NO_MEMORY;
        return;
    }
    if (self->length > 0) {
        memcpy(bytes, self->bytes, self->length);
        memcpy(marks, self->marks, self->length * sizeof *marks);
    }
    self->bytes = bytes;
    self->marks = marks;
    self->capacity = capacity;
}

void lm_build(lm_builder *self, const lm_text *text) {
    if (text->length > LM_TEMPLATE_MEMORY) {
        self->status = lm_run_fail(self->run, self->run->line, TEMPER_NO_MEMORY, "a text too long");
    }
    grow(self, text->length);
    self->status = self->status ? self->status : lm_run_work(self->run, text->length);
    if (self->status || text->length == 0) {
        return;
    }
    memcpy(self->bytes + self->length, text->bytes, text->length);
    for (size_t i = 0; i < text->length; i++) {
        self->marks[self->length + i] = text->marks != NULL ? text->marks[i] : text->mark;
    }
    self->length += text->length;
}

void lm_build_bytes(lm_builder *self, const char *bytes, size_t length, lm_mark mark) {
    lm_text text = {bytes, length, NULL, mark};
    lm_build(self, &text);
}

void lm_build_word(lm_builder *self, const char *word) {
    lm_build_bytes(self, word, strlen(word), 0);
}

temper_status lm_build_end(lm_builder *self, lm_value *out) {
    bool uniform = true;
    for (size_t i = 1; i < self->length && uniform; i++) {
        uniform = self->marks[i] == self->marks[0];
    }
    *out = lm_value_text(self->length == 0 ? "" : self->bytes, self->length,
                         self->length == 0 ? 0 : self->marks[0]);
    out->text.marks = uniform ? NULL : self->marks;
    return self->status;
}

static lm_mark mark_at(const lm_text *text, size_t at) {
    return text->marks != NULL ? text->marks[at] : text->mark;
}

static void copy_marks(const lm_text *text, lm_mark *out) {
    for (size_t i = 0; i < text->length; i++) {
        out[i] = mark_at(text, i);
    }
}

temper_status lm_text_join(lm_run *run, const lm_text *a, const lm_text *b, lm_value *out) {
    *out = lm_value_text(a->bytes, a->length, 0);
    if (a->length == 0 || b->length == 0) {
        out->text = a->length == 0 ? *b : *a;
        return TEMPER_OK;
    }
    size_t length = a->length + b->length;
    bool uniform = a->marks == NULL && b->marks == NULL && a->mark == b->mark;
    temper_status status = lm_run_work(run, length);
    char *bytes = status ? NULL : lm_run_get(run, length + 1, 1);
    lm_mark *marks = uniform || bytes == NULL ? NULL : lm_run_get(run, length, sizeof *marks);
    if (bytes == NULL || (!uniform && marks == NULL)) {
        return status ? status : TEMPER_NO_MEMORY;
    }
    memcpy(bytes, a->bytes, a->length);
    memcpy(bytes + a->length, b->bytes, b->length);
    if (!uniform) {
        copy_marks(a, marks);
        copy_marks(b, marks + a->length);
    }
    out->text = (lm_text){bytes, length, marks, a->mark};
    return TEMPER_OK;
}

void lm_format_float(double number, char out[40]) {
    char digits[40];
    int precision = 0, exponent;
    if (number != number || number - number != 0) {
        snprintf(out, 40, "%s", number != number ? "nan" : number > 0 ? "inf" : "-inf");
        return;
    }
    do {
        snprintf(digits, sizeof digits, "%.*e", precision, number);
    } while (strtod(digits, NULL) != number && ++precision < 17);
    exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        snprintf(out, 40, "%s", digits);
    } else if (precision > exponent) {
        snprintf(out, 40, "%.*f", precision - exponent, number);
    } else {
        snprintf(out, 40, "%.1f", number);
    }
}

/* Python's repr of a text: in single quotes unless only those stand in it. */
static void quote(lm_builder *self, const lm_text *text) {
    bool single = memchr(text->bytes, '\'', text->length) != NULL,
         both = memchr(text->bytes, '"', text->length) != NULL;
    char mark = single && !both ? '"' : '\'', piece[8];
    lm_build_bytes(self, &mark, 1, 0);
    for (size_t i = 0; i < text->length && !self->status;) {
        unsigned char c = (unsigned char)text->bytes[i];
        size_t size = lm_text_character(text, i);
        lm_text one = lm_text_part(text, i, size);
        if (c == '\n' || c == '\r' || c == '\t' || c == '\\' || c == (unsigned char)mark) {
            snprintf(piece, sizeof piece, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : c);
            lm_build_bytes(self, piece, 2, mark_at(text, i));
        } else if (c < 0x20 || c == 0x7F) {
            snprintf(piece, sizeof piece, "\\x%02x", c);
            lm_build_bytes(self, piece, 4, mark_at(text, i));
        } else {
            lm_build(self, &one);
        }
        i += size;
    }
    lm_build_bytes(self, &mark, 1, 0);
}

static void print(lm_builder *self, const lm_value *value, bool inner, unsigned depth);

static void print_many(lm_builder *self, const lm_value *value, unsigned depth) {
    bool dict = value->kind == LM_DICT;
    const lm_value *items = dict ? value->dict.pairs : value->list.items;
    size_t count = dict ? value->dict.count * 2 : value->list.count;
    lm_build_word(self, dict ? "{" : value->list.tuple ? "(" : "[");
    for (size_t i = 0; i < count && !self->status; i++) {
        lm_build_word(self, i == 0 ? "" : dict && i % 2 == 1 ? ": " : ", ");
        print(self, &items[i], true, depth + 1);
    }
    lm_build_word(self, dict ? "}" : !value->list.tuple ? "]" : count == 1 ? ",)" : ")");
}

static void print(lm_builder *self, const lm_value *value, bool inner, unsigned depth) {
    char number[40];
    lm_run *run = self->run;
    if (depth > LM_MAX_VALUE_DEPTH) {
        self->status = lm_run_fail(run, run->line, TEMPER_UNSUPPORTED, "values nested deeper than %d",
                                   LM_MAX_VALUE_DEPTH);
    }
    self->status = self->status ? self->status : lm_run_work(run, 64);
    if (self->status) {
        return;
    }
    switch (value->kind) {
    case LM_TEXT: inner ? quote(self, &value->text) : lm_build(self, &value->text); break;
    case LM_UNDEFINED: lm_build_word(self, inner ? "Undefined" : ""); break;
    case LM_NONE: lm_build_word(self, "None"); break;
    case LM_BOOL: lm_build_word(self, value->flag ? "True" : "False"); break;
    case LM_INTEGER:
        snprintf(number, sizeof number, "%lld", (long long)value->integer);
        lm_build_word(self, number);
        break;
    case LM_FLOAT:
        lm_format_float(value->number, number);
        lm_build_word(self, number);
        break;
    case LM_LIST:
    case LM_DICT: print_many(self, value, depth); break;
    default:
        self->status = lm_run_fail(run, run->line, TEMPER_UNSUPPORTED, "printing %s is not supported",
                                   lm_value_kind_name(value));
    }
}

temper_status lm_value_print(lm_run *run, const lm_value *value, lm_text *out) {
    lm_builder builder = {.run = run};
    lm_value text;
    if (value->kind == LM_TEXT) {
        *out = value->text;
        return TEMPER_OK;
    }
    print(&builder, value, false, 0);
    temper_status status = lm_build_end(&builder, &text);
    *out = text.text;
    return status;
}

static uint32_t code_point(const lm_text *text, size_t at, size_t size) {
    const unsigned char *s = (const unsigned char *)text->bytes + at;
    return size == 2   ? (uint32_t)(s[0] & 31) << 6 | (s[1] & 63u)
           : size == 3 ? (uint32_t)(s[0] & 15) << 12 | (uint32_t)(s[1] & 63) << 6 | (s[2] & 63u)
           : size == 4 ? (uint32_t)(s[0] & 7) << 18 | (uint32_t)(s[1] & 63) << 12 |
                             (uint32_t)(s[2] & 63) << 6 | (s[3] & 63u)
                       : s[0];
}

static void json_text(lm_builder *self, const lm_text *text, bool ascii) {
    static const char controls[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    char piece[16];
    lm_build_word(self, "\"");
    for (size_t i = 0; i < text->length && !self->status;) {
        unsigned char c = (unsigned char)text->bytes[i];
        size_t size = lm_text_character(text, i);
        const char *known = c == 0 ? NULL : strchr(controls, c);
        lm_text one = lm_text_part(text, i, size);
        uint32_t code = code_point(text, i, size);
        if (known != NULL) {
            snprintf(piece, sizeof piece, "\\%c", letters[known - controls]);
        } else if (c < 0x20 || (ascii && size > 1 && code < 0x10000)) {
            snprintf(piece, sizeof piece, "\\u%04x", code);
        } else if (ascii && size > 1) {
            snprintf(piece, sizeof piece, "\\u%04x\\u%04x", 0xD800 + ((code - 0x10000) >> 10),
                     0xDC00 + ((code - 0x10000) & 1023));
        } else {
            piece[0] = 0;
            lm_build(self, &one);
        }
        lm_build_bytes(self, piece, strlen(piece), mark_at(text, i));
        i += size;
    }
    lm_build_word(self, "\"");
}

static void json_line(lm_builder *self, const lm_json_style *style, unsigned depth) {
    if (style->indent < 0) {
        return;
    }
    lm_build_word(self, "\n");
    for (int64_t i = 0; i < style->indent * depth && !self->status; i++) {
        lm_build_word(self, " ");
    }
}

static void json(lm_builder *self, const lm_value *value, const lm_json_style *style, unsigned depth);

/* Keys become texts: numbers and constants as JSON writes them. */
static void json_key(lm_builder *self, const lm_value *key, const lm_json_style *style, unsigned depth) {
    if (key->kind == LM_TEXT) {
        json_text(self, &key->text, style->ascii);
    } else if (key->kind == LM_LIST || key->kind == LM_DICT) {
        self->status = lm_run_fail(self->run, self->run->line, TEMPER_INVALID, "a JSON key that is %s",
                                   lm_value_kind_name(key));
    } else {
        lm_build_word(self, "\"");
        json(self, key, style, depth);
        lm_build_word(self, "\"");
    }
}

static temper_status sort_pairs(lm_run *run, const lm_value *dict, const lm_value **out) {
    size_t count = dict->dict.count;
    lm_value *pairs = lm_run_get(run, count * 2, sizeof *pairs);
    temper_status status = pairs == NULL ? TEMPER_NO_MEMORY : TEMPER_OK;
    for (size_t i = 0; i < count && !status; i++) {
        size_t at = i;
        for (int sign = 1; at > 0 && !status; at--) {
            status = lm_run_work(run, 64);
            status =
                status ? status
                       : lm_value_order(run, run->line, &pairs[2 * at - 2], &dict->dict.pairs[2 * i], &sign);
            if (status || sign <= 0) {
                break;
            }
            memcpy(&pairs[2 * at], &pairs[2 * at - 2], 2 * sizeof *pairs);
        }
        memcpy(&pairs[2 * at], &dict->dict.pairs[2 * i], 2 * sizeof *pairs);
    }
    *out = pairs;
    return status;
}

static void json_many(lm_builder *self, const lm_value *value, const lm_json_style *style, unsigned depth) {
    bool dict = value->kind == LM_DICT;
    const lm_value *items = dict ? value->dict.pairs : value->list.items;
    size_t count = dict ? value->dict.count : value->list.count;
    if (dict && style->sorted) {
        self->status = sort_pairs(self->run, value, &items);
    }
    lm_build_word(self, dict ? "{" : "[");
    for (size_t i = 0; i < count && !self->status; i++) {
        lm_build_word(self, i == 0 ? "" : style->between);
        json_line(self, style, depth + 1);
        if (dict) {
            json_key(self, &items[2 * i], style, depth + 1);
            lm_build_word(self, style->after_key);
        }
        json(self, dict ? &items[2 * i + 1] : &items[i], style, depth + 1);
    }
    if (count > 0) {
        json_line(self, style, depth);
    }
    lm_build_word(self, dict ? "}" : "]");
}

static void json(lm_builder *self, const lm_value *value, const lm_json_style *style, unsigned depth) {
    lm_run *run = self->run;
    char number[40];
    if (depth > LM_MAX_VALUE_DEPTH) {
        self->status = lm_run_fail(run, run->line, TEMPER_UNSUPPORTED, "values nested deeper than %d",
                                   LM_MAX_VALUE_DEPTH);
    }
    self->status = self->status ? self->status : lm_run_work(run, 64);
    if (self->status) {
        return;
    }
    switch (value->kind) {
    case LM_TEXT: json_text(self, &value->text, style->ascii); break;
    case LM_NONE: lm_build_word(self, "null"); break;
    case LM_BOOL: lm_build_word(self, value->flag ? "true" : "false"); break;
    case LM_FLOAT:
        lm_format_float(value->number, number);
        lm_build_word(self, value->number != value->number ? "NaN"
                            : number[0] == 'i'             ? "Infinity"
                            : number[1] == 'i'             ? "-Infinity"
                                                           : number);
        break;
    case LM_INTEGER: print(self, value, false, depth); break;
    case LM_LIST:
    case LM_DICT: json_many(self, value, style, depth); break;
    default:
        self->status =
            lm_run_fail(run, run->line, TEMPER_INVALID, "tojson of what is %s", lm_value_kind_name(value));
    }
}

temper_status lm_value_json(lm_run *run, const lm_value *value, const lm_json_style *style, lm_value *out) {
    lm_builder builder = {.run = run};
    json(&builder, value, style, 0);
    return lm_build_end(&builder, out);
}

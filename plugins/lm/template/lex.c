/* lex.c: a template's source in pieces: text, {{ values }}, {% blocks %}; comments vanish.
 *
 * Invariant: white space goes exactly where Jinja with trim_blocks and lstrip_blocks takes it: "-" strips all of it on
 * its side, a block's end takes one newline, a block's beginning the blanks before it on its line, "+" neither. */
#include "internal.h"

#include <string.h>

char *lm_source_normalise(lm_arena *arena, const char *source, size_t length, size_t *normal_length) {
    size_t used = 0;
    char *text = lm_arena_get(arena, length + 1);
    if (text == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < length; i++) {
        if (source[i] == '\r') {
            text[used++] = '\n';
            i += i + 1 < length && source[i + 1] == '\n';
        } else {
            text[used++] = source[i];
        }
    }
    used -= used > 0 && text[used - 1] == '\n';
    *normal_length = used;
    return text;
}

/* The size of one white-space character at the front, 0 if none is there. */
static size_t space_at(const unsigned char *s, size_t left) {
    if (left == 0) {
        return 0;
    }
    if ((s[0] >= 0x09 && s[0] <= 0x0D) || (s[0] >= 0x1C && s[0] <= 0x20)) {
        return 1;
    }
    if (left >= 2 && s[0] == 0xC2 && (s[1] == 0x85 || s[1] == 0xA0)) {
        return 2;
    }
    if (left >= 3 &&
        ((s[0] == 0xE1 && s[1] == 0x9A && s[2] == 0x80) || (s[0] == 0xE3 && s[1] == 0x80 && s[2] == 0x80) ||
         (s[0] == 0xE2 && s[1] == 0x81 && s[2] == 0x9F) ||
         (s[0] == 0xE2 && s[1] == 0x80 &&
          ((s[2] >= 0x80 && s[2] <= 0x8A) || s[2] == 0xA8 || s[2] == 0xA9 || s[2] == 0xAF)))) {
        return 3;
    }
    return 0;
}

size_t lm_space_front(const char *text, size_t length) {
    size_t at = 0, size;
    while ((size = space_at((const unsigned char *)text + at, length - at)) > 0) {
        at += size;
    }
    return at;
}

size_t lm_space_back(const char *text, size_t length) {
    size_t end = length;
    while (end > 0) {
        size_t size = 0;
        for (size_t width = 1; width <= 3 && width <= end && size == 0; width++) {
            size = space_at((const unsigned char *)text + end - width, width) == width ? width : 0;
        }
        if (size == 0) {
            break;
        }
        end -= size;
    }
    return length - end;
}

struct lexer {
    lm_arena *arena;
    const char *source;
    size_t length, at;
    unsigned line;
    bool line_starting; /* does the line begin where the text at hand does? */
    lm_piece *pieces;
    size_t count, capacity;
    temper_error *error;
};

static temper_status add(struct lexer *self, lm_piece_kind kind, const char *text, size_t length,
                         unsigned line) {
    if (self->count == self->capacity) {
        size_t capacity = self->capacity == 0 ? 64 : self->capacity * 2;
        lm_piece *pieces = lm_arena_get(self->arena, capacity * sizeof *pieces);
        if (pieces == NULL) {
            return temper_fail(self->error, TEMPER_NO_MEMORY, "chat template: too large");
        }
        if (self->count > 0) {
            memcpy(pieces, self->pieces, self->count * sizeof *pieces);
        }
        self->pieces = pieces;
        self->capacity = capacity;
    }
    self->pieces[self->count++] = (lm_piece){kind, text, length, line};
    return TEMPER_OK;
}

static unsigned count_lines(const char *text, size_t length) {
    unsigned lines = 0;
    for (size_t i = 0; i < length; i++) {
        lines += text[i] == '\n';
    }
    return lines;
}

/* Where the next "{{", "{%" or "{#" stands, or the end. */
static size_t find_begin(const struct lexer *self) {
    for (size_t i = self->at; i + 1 < self->length; i++) {
        char next = self->source[i + 1];
        if (self->source[i] == '{' && (next == '{' || next == '%' || next == '#')) {
            return i;
        }
    }
    return self->length;
}

/* How many bytes of the text before a tag stay. */
static size_t keep_before(const struct lexer *self, const char *text, size_t length, char opener, char sign) {
    if (sign == '-') {
        return length - lm_space_back(text, length);
    }
    if (sign == '+' || opener == '{') {
        return length;
    }
    size_t line = length;
    while (line > 0 && text[line - 1] != '\n') {
        line--;
    }
    if ((line > 0 || self->line_starting) && lm_space_front(text + line, length - line) == length - line) {
        return line;
    }
    return length;
}

/* The end delimiter from `from` on; strings inside values and blocks may hold one, and so may brackets: {{ {'a': {}} }}. */
static size_t find_end(const struct lexer *self, size_t from, char closer) {
    char quote = 0;
    size_t open = 0;
    for (size_t i = from; i + 1 < self->length; i++) {
        char c = self->source[i];
        if (closer != '#' && quote != 0) {
            if (c == '\\') {
                i++;
            } else if (c == quote) {
                quote = 0;
            }
        } else if (closer != '#' && (c == '"' || c == '\'')) {
            quote = c;
        } else if (open == 0 && c == closer && self->source[i + 1] == '}') {
            return i;
        } else if (closer != '#' && (c == '(' || c == '[' || c == '{')) {
            open++;
        } else if (closer != '#' && open > 0 && (c == ')' || c == ']' || c == '}')) {
            open--;
        }
    }
    return self->length;
}

/* A tag from its "{" on: its piece, and what its end takes of the white space after. */
static temper_status lex_tag(struct lexer *self, char opener) {
    static const char *const names[] = {"{{", "{%", "{#"};
    char closer = opener == '{' ? '}' : opener;
    size_t begin = self->at + 2;
    unsigned line = self->line;
    bool signed_begin = begin < self->length && (self->source[begin] == '-' || self->source[begin] == '+');
    begin += signed_begin;
    size_t end = find_end(self, begin, closer);
    if (end >= self->length) {
        return temper_fail(self->error, TEMPER_INVALID, "chat template: line %u: \"%s\" is never closed",
                           line,
                           names[opener == '{'   ? 0
                                 : opener == '%' ? 1
                                                 : 2]);
    }
    size_t after = end + 2, inner = end;
    char sign = end > begin ? self->source[end - 1] : 0;
    bool plus = sign == '+' && opener != '{';
    inner -= sign == '-' || plus;
    if (sign == '-') {
        after += lm_space_front(self->source + after, self->length - after);
    } else if (!plus && opener != '{' && after < self->length && self->source[after] == '\n') {
        after++;
    }
    temper_status status = TEMPER_OK;
    if (opener != '#') {
        status = add(self, opener == '{' ? LM_PIECE_VALUE : LM_PIECE_BLOCK, self->source + begin,
                     inner - begin, line);
    }
    self->line += count_lines(self->source + self->at, after - self->at);
    self->line_starting = self->source[after - 1] == '\n';
    self->at = after;
    return status;
}

temper_status lm_lex(lm_arena *arena, const char *source, size_t length, lm_piece **pieces,
                     temper_error *error) {
    struct lexer self = {arena, source, length, 0, 1, true, NULL, 0, 0, error};
    temper_status status = TEMPER_OK;
    while (self.at < length && !status) {
        size_t begin = find_begin(&self), text = begin - self.at;
        const char *start = source + self.at;
        if (begin < length) {
            char sign = begin + 2 < length ? source[begin + 2] : 0;
            text = keep_before(&self, start, text, source[begin + 1], sign);
        }
        if (text > 0) {
            status = add(&self, LM_PIECE_TEXT, start, text, self.line);
        }
        self.line += count_lines(start, begin - self.at);
        self.at = begin;
        if (begin < length && !status) {
            status = lex_tag(&self, source[begin + 1]);
        }
    }
    if (!status) {
        status = add(&self, LM_PIECE_END, source + length, 0, self.line);
    }
    *pieces = self.pieces;
    return status;
}

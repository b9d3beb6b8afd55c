/* parse_expression.c: Jinja's expressions, in its order of binding.
 *
 * Invariant: what cannot be parsed is named with its line. Filters, tests, functions and methods that are parsed but
 * unknown fail where they are evaluated, so that a branch never taken may hold them. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 150 };

temper_status lm_words_fail(lm_words *words, temper_status status, const char *what) {
    char found[64];
    if (words->status) {
        return words->status;
    }
    if (words->kind == LM_WORD_END) {
        snprintf(found, sizeof found, "the end of the tag");
    } else if (words->kind == LM_WORD_INTEGER || words->kind == LM_WORD_FLOAT) {
        snprintf(found, sizeof found, words->kind == LM_WORD_FLOAT ? "%lld..." : "%lld",
                 (long long)words->integer);
    } else {
        snprintf(found, sizeof found, "\"%.40s\"", words->string == NULL ? "" : words->string);
    }
    words->status =
        temper_fail(words->error, status, "chat template: line %u: %s (at %s)", words->line, what, found);
    return words->status;
}

static size_t put_utf8(uint32_t code, char *out) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 63));
        out[2] = (char)(0x80 | (code & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 63));
    out[2] = (char)(0x80 | (code >> 6 & 63));
    out[3] = (char)(0x80 | (code & 63));
    return 4;
}

/* Digits of a base, at most `most`; their number in *digits. */
static uint32_t read_digits(const char *text, size_t length, unsigned base, size_t most, size_t *digits) {
    uint32_t value = 0;
    for (*digits = 0; *digits < most && *digits < length; (*digits)++) {
        char c = text[*digits];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : 99;
        if (digit >= base) {
            break;
        }
        value = value * base + digit;
    }
    return value;
}

/* One escape from its backslash on, as Python's unicode-escape reads it; the bytes read in *size. */
static size_t read_escape(const char *text, size_t length, char *out, size_t *size) {
    static const char letters[] = "abfnrtv\\'\"", meanings[] = "\a\b\f\n\r\t\v\\'\"";
    size_t digits;
    char c = length > 1 ? text[1] : 0;
    const char *letter = c == 0 ? NULL : strchr(letters, c);
    *size = 2;
    if (letter != NULL) {
        out[0] = meanings[letter - letters];
        return 1;
    }
    if (c == '\n') {
        return 0;
    }
    if (c == 'x' || c == 'u' || c == 'U') {
        size_t need = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        uint32_t code = read_digits(text + 2, length - 2, 16, need, &digits);
        *size = 2 + need;
        return digits == need && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF) ? put_utf8(code, out)
                                                                                      : SIZE_MAX;
    }
    if (c >= '0' && c <= '7') {
        uint32_t code = read_digits(text + 1, length - 1, 8, 3, &digits);
        *size = 1 + digits;
        return put_utf8(code, out);
    }
    if (c == 'N' || c == 0) {
        return SIZE_MAX;
    }
    out[0] = '\\';
    *size = 1;
    return 1;
}

static void read_string(lm_words *words) {
    char quote = words->text[words->at];
    size_t end = words->at + 1, used = 0;
    while (end < words->length && words->text[end] != quote) {
        end += words->text[end] == '\\' ? 2 : 1;
    }
    words->kind = LM_WORD_STRING;
    words->string = lm_arena_get(words->arena, (end > words->length ? words->length : end) - words->at + 8);
    if (words->string == NULL) {
        lm_words_fail(words, TEMPER_NO_MEMORY, "too large");
        return;
    }
    if (end >= words->length) {
        lm_words_fail(words, TEMPER_INVALID, "a string that is never closed");
        return;
    }
    for (size_t at = words->at + 1; at < end;) {
        size_t size = 1, written = 1;
        if (words->text[at] == '\\') {
            written = read_escape(words->text + at, end - at, words->string + used, &size);
            if (written == SIZE_MAX) {
                lm_words_fail(words, TEMPER_UNSUPPORTED, "an escape in a string that is not supported");
                return;
            }
        } else {
            words->string[used] = words->text[at];
            words->line += words->text[at] == '\n';
        }
        used += written;
        at += size;
    }
    words->string[used] = 0;
    words->string_length = used;
    words->at = end + 1;
    if (used == 6 && memcmp(words->string, "system", 6) == 0) {
        *words->mentions_system = true;
    }
}

static bool name_char(char c, bool first) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static void read_word(lm_words *words, size_t end, lm_word_kind kind) {
    words->kind = kind;
    words->string = lm_arena_copy(words->arena, words->text + words->at, end - words->at);
    words->string_length = end - words->at;
    words->at = end;
    if (words->string == NULL) {
        words->kind = LM_WORD_END;
        lm_words_fail(words, TEMPER_NO_MEMORY, "too large");
    }
}

static void read_integer(lm_words *words) {
    int64_t value = 0;
    size_t start = words->at;
    bool overflow = false;
    while (words->at < words->length && words->text[words->at] >= '0' && words->text[words->at] <= '9') {
        overflow = overflow || __builtin_mul_overflow(value, 10, &value) ||
                   __builtin_add_overflow(value, words->text[words->at] - '0', &value);
        words->at++;
    }
    words->kind = LM_WORD_INTEGER;
    words->integer = value;
    bool fraction = words->at + 1 < words->length && words->text[words->at] == '.' &&
                    words->text[words->at + 1] >= '0' && words->text[words->at + 1] <= '9';
    if (fraction) {
        size_t end = words->at + 1;
        while (end < words->length && words->text[end] >= '0' && words->text[end] <= '9') {
            end++;
        }
        char *digits = lm_arena_copy(words->arena, words->text + start, end - start);
        words->kind = LM_WORD_FLOAT;
        words->number = digits == NULL ? 0 : strtod(digits, NULL);
        words->at = end;
        overflow = false;
    }
    if (overflow || (words->at < words->length && name_char(words->text[words->at], false))) {
        lm_words_fail(words, TEMPER_UNSUPPORTED, "a number that is not supported");
    }
}

void lm_words_next(lm_words *words) {
    static const char *const pairs[] = {"==", "!=", "<=", ">=", "//", "**"};
    while (words->at < words->length && lm_space_front(words->text + words->at, 1) > 0) {
        words->line += words->text[words->at] == '\n';
        words->at++;
    }
    if (words->status || words->at >= words->length) {
        words->kind = LM_WORD_END;
        return;
    }
    const char *text = words->text + words->at;
    size_t left = words->length - words->at, end = words->at + 1;
    if (*text == '"' || *text == '\'') {
        read_string(words);
    } else if (*text >= '0' && *text <= '9') {
        read_integer(words);
    } else if (name_char(*text, true)) {
        while (end < words->length && name_char(words->text[end], false)) {
            end++;
        }
        read_word(words, end, LM_WORD_NAME);
    } else {
        for (size_t i = 0; left >= 2 && i < sizeof pairs / sizeof *pairs; i++) {
            end = memcmp(text, pairs[i], 2) == 0 ? words->at + 2 : end;
        }
        read_word(words, end, LM_WORD_SIGN);
    }
}

temper_status lm_words_start(lm_words *words, lm_arena *arena, const lm_piece *piece, bool *mentions_system,
                             temper_error *error) {
    *words = (lm_words){.arena = arena,
                        .text = piece->text,
                        .length = piece->length,
                        .line = piece->line,
                        .mentions_system = mentions_system,
                        .error = error};
    lm_words_next(words);
    return words->status;
}

bool lm_words_is(const lm_words *words, const char *word) {
    return (words->kind == LM_WORD_NAME || words->kind == LM_WORD_SIGN) && strcmp(words->string, word) == 0;
}

bool lm_words_take(lm_words *words, const char *word) {
    if (!lm_words_is(words, word) || words->status) {
        return false;
    }
    lm_words_next(words);
    return true;
}

lm_node *lm_new_node(lm_words *words, lm_node_kind kind, lm_node *a, lm_node *b) {
    if (words->status) {
        return NULL;
    }
    lm_node *node = lm_arena_get(words->arena, sizeof *node);
    if (node == NULL) {
        lm_words_fail(words, TEMPER_NO_MEMORY, "too large");
        return NULL;
    }
    node->kind = kind;
    node->line = words->line;
    node->a = a;
    node->b = b;
    return node;
}

static lm_node *binary(lm_words *words, lm_operator op, lm_node *a, lm_node *b) {
    lm_node *node = a == NULL || b == NULL ? NULL : lm_new_node(words, LM_NODE_BINARY, a, b);
    if (node != NULL) {
        node->op = op;
    }
    return node;
}

static lm_node *parse_unary(lm_words *words);
static lm_node *parse_primary(lm_words *words);
static lm_node *parse_postfix(lm_words *words, lm_node *node);

static bool enter(lm_words *words) {
    if (++words->depth > MAX_DEPTH) {
        lm_words_fail(words, TEMPER_UNSUPPORTED, "an expression nested too deep");
        return false;
    }
    return true;
}

/* Items up to `closer`, by `next`; a call's keywords have their name set. */
static lm_node *parse_items(lm_words *words, const char *closer, bool keywords) {
    lm_node *first = NULL, **last = &first;
    while (!words->status && !lm_words_take(words, closer)) {
        const char *name = NULL;
        lm_words before = *words;
        if (keywords && words->kind == LM_WORD_NAME) {
            name = words->string;
            lm_words_next(words);
            if (!lm_words_take(words, "=")) {
                temper_status status = words->status;
                *words = before;
                words->status = status;
                name = NULL;
            }
        }
        lm_node *value = lm_parse_expression(words);
        if (value == NULL) {
            return NULL;
        }
        /* A node of its own, for `next` and `name` may be in use in the item's. */
        lm_node *item = lm_new_node(words, LM_NODE_LITERAL, value, NULL);
        if (item == NULL) {
            return NULL;
        }
        item->name = name;
        *last = item;
        last = &item->next;
        if (!lm_words_take(words, ",") && !lm_words_is(words, closer)) {
            lm_words_fail(words, TEMPER_INVALID, "a list whose items are not parted by commas");
        }
    }
    return first;
}

static lm_node *parse_name(lm_words *words) {
    static const struct {
        const char *name;
        lm_value_kind kind;
        bool flag;
    } constants[] = {{"true", LM_BOOL, true},   {"True", LM_BOOL, true},  {"false", LM_BOOL, false},
                     {"False", LM_BOOL, false}, {"none", LM_NONE, false}, {"None", LM_NONE, false}};
    lm_node *node = lm_new_node(words, LM_NODE_NAME, NULL, NULL);
    if (node == NULL) {
        return NULL;
    }
    node->name = words->string;
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        if (strcmp(words->string, constants[i].name) == 0) {
            node->kind = LM_NODE_LITERAL;
            node->value.kind = constants[i].kind;
            node->value.flag = constants[i].flag;
        }
    }
    lm_words_next(words);
    return node;
}

static lm_node *parse_strings(lm_words *words) {
    lm_node *node = lm_new_node(words, LM_NODE_LITERAL, NULL, NULL);
    if (node == NULL) {
        return NULL;
    }
    node->value = lm_value_text(words->string, words->string_length, 0);
    lm_words_next(words);
    while (words->kind == LM_WORD_STRING && !words->status) { /* "a" "b" is "ab" */
        char *both = lm_arena_get(words->arena, node->value.text.length + words->string_length + 1);
        if (both == NULL) {
            lm_words_fail(words, TEMPER_NO_MEMORY, "too large");
            return NULL;
        }
        memcpy(both, node->value.text.bytes, node->value.text.length);
        memcpy(both + node->value.text.length, words->string, words->string_length);
        node->value = lm_value_text(both, node->value.text.length + words->string_length, 0);
        lm_words_next(words);
    }
    return node;
}

static bool add_item(lm_words *words, lm_node ***last, lm_node *value) {
    lm_node *item = value == NULL ? NULL : lm_new_node(words, LM_NODE_LITERAL, value, NULL);
    if (item != NULL) {
        **last = item;
        *last = &item->next;
    }
    return item != NULL;
}

/* After its brace. */
static lm_node *parse_dict(lm_words *words) {
    lm_node *node = lm_new_node(words, LM_NODE_DICT, NULL, NULL);
    lm_node **last = node == NULL ? NULL : &node->items;
    while (!words->status && !lm_words_take(words, "}")) {
        if (!add_item(words, &last, lm_parse_expression(words))) {
            return NULL;
        }
        if (!lm_words_take(words, ":")) {
            lm_words_fail(words, TEMPER_INVALID, "a dict's key without \":\"");
        }
        if (!add_item(words, &last, lm_parse_expression(words))) {
            return NULL;
        }
        if (!lm_words_take(words, ",") && !lm_words_is(words, "}")) {
            lm_words_fail(words, TEMPER_INVALID, "a dict whose items are not parted by commas");
        }
    }
    return words->status ? NULL : node;
}

lm_node *lm_parse_tuple(lm_words *words, bool conditions) {
    lm_node *first = conditions ? lm_parse_expression(words) : lm_parse_without_condition(words), **last;
    if (first == NULL || !lm_words_is(words, ",")) {
        return first;
    }
    lm_node *node = lm_new_node(words, LM_NODE_TUPLE, NULL, NULL);
    if (node == NULL) {
        return NULL;
    }
    last = &node->items;
    add_item(words, &last, first);
    while (lm_words_take(words, ",") && words->kind != LM_WORD_END && !lm_words_is(words, ")") &&
           !lm_words_is(words, "=")) {
        if (!add_item(words, &last,
                      conditions ? lm_parse_expression(words) : lm_parse_without_condition(words))) {
            return NULL;
        }
    }
    return words->status ? NULL : node;
}

lm_node *lm_parse_names(lm_words *words) {
    lm_node *first = NULL, **last = &first;
    bool bracket = lm_words_take(words, "(");
    do {
        lm_node *name = lm_new_node(words, LM_NODE_NAME, NULL, NULL);
        if (name == NULL || words->kind != LM_WORD_NAME || lm_words_is(words, "in")) {
            lm_words_fail(words, TEMPER_UNSUPPORTED,
                          "a name was expected here: anything else is not supported");
            return NULL;
        }
        name->name = words->string;
        *last = name;
        last = &name->next;
        lm_words_next(words);
    } while (lm_words_take(words, ","));
    if (bracket && !lm_words_take(words, ")")) {
        lm_words_fail(words, TEMPER_INVALID, "a parenthesis that is never closed");
    }
    return words->status ? NULL : first;
}

lm_node *lm_parse_parameters(lm_words *words) {
    lm_node *first = NULL, **last = &first;
    while (!words->status && !lm_words_take(words, ")")) {
        lm_node *name = lm_new_node(words, LM_NODE_NAME, NULL, NULL);
        if (name == NULL || words->kind != LM_WORD_NAME) {
            lm_words_fail(words, TEMPER_INVALID, "a macro's parameter without a name");
            return NULL;
        }
        name->name = words->string;
        lm_words_next(words);
        if (lm_words_take(words, "=")) {
            name->a = lm_parse_expression(words);
        }
        *last = name;
        last = &name->next;
        if (!lm_words_take(words, ",") && !lm_words_is(words, ")")) {
            lm_words_fail(words, TEMPER_INVALID, "parameters that are not parted by commas");
        }
    }
    return first;
}

static lm_node *parse_primary(lm_words *words) {
    lm_node *node;
    if (words->kind == LM_WORD_STRING) {
        return parse_strings(words);
    }
    if (words->kind == LM_WORD_INTEGER || words->kind == LM_WORD_FLOAT) {
        node = lm_new_node(words, LM_NODE_LITERAL, NULL, NULL);
        if (node != NULL) {
            node->value = words->kind == LM_WORD_FLOAT ? lm_value_float(words->number)
                                                       : lm_value_integer(words->integer);
            lm_words_next(words);
        }
        return node;
    }
    if (words->kind == LM_WORD_NAME) {
        return parse_name(words);
    }
    if (lm_words_take(words, "(")) {
        if (lm_words_take(words, ")")) {
            return lm_new_node(words, LM_NODE_TUPLE, NULL, NULL);
        }
        node = lm_parse_tuple(words, true);
        if (node != NULL && !lm_words_take(words, ")")) {
            lm_words_fail(words, TEMPER_INVALID, "a parenthesis that is never closed");
        }
        return words->status ? NULL : node;
    }
    if (lm_words_take(words, "[")) {
        lm_node *items = parse_items(words, "]", false);
        node = lm_new_node(words, LM_NODE_LIST, NULL, NULL);
        if (node != NULL) {
            node->items = items;
        }
        return node;
    }
    if (lm_words_take(words, "{")) {
        return parse_dict(words);
    }
    lm_words_fail(words, TEMPER_UNSUPPORTED, "an expression that is not supported");
    return NULL;
}

/* [index] or [from:to], after the bracket. */
static lm_node *parse_subscript(lm_words *words, lm_node *of) {
    lm_node *first = NULL, *second = NULL, *step = NULL;
    bool slice = false;
    if (!lm_words_is(words, ":")) {
        first = lm_parse_expression(words);
        if (first == NULL) {
            return NULL;
        }
    }
    if (lm_words_take(words, ":")) {
        slice = true;
        if (!lm_words_is(words, ":") && !lm_words_is(words, "]")) {
            second = lm_parse_expression(words);
        }
        if (lm_words_take(words, ":") && !lm_words_is(words, "]")) {
            step = lm_parse_expression(words);
        }
    }
    if (!words->status && !lm_words_take(words, "]")) {
        lm_words_fail(words, TEMPER_INVALID, "a bracket that is never closed");
    }
    lm_node *node = lm_new_node(words, slice ? LM_NODE_SLICE : LM_NODE_INDEX, of, first);
    if (node != NULL) {
        node->c = second;
        node->items = step;
    }
    return node;
}

static lm_node *named(lm_words *words, lm_node_kind kind, lm_node *of, const char *what) {
    if (words->kind != LM_WORD_NAME) {
        lm_words_fail(words, TEMPER_INVALID, what);
        return NULL;
    }
    lm_node *node = lm_new_node(words, kind, of, NULL);
    if (node != NULL) {
        node->name = words->string;
        lm_words_next(words);
    }
    return node;
}

static lm_node *parse_call(lm_words *words, lm_node *of) {
    if (of->kind == LM_NODE_NAME) {
        of->kind = LM_NODE_CALL;
    } else if (of->kind == LM_NODE_ATTRIBUTE) {
        of->kind = LM_NODE_METHOD;
    } else {
        lm_words_fail(words, TEMPER_UNSUPPORTED, "a call of what is no name is not supported");
        return NULL;
    }
    of->items = parse_items(words, ")", true);
    return words->status ? NULL : of;
}

/* "is [not] test", with arguments in parentheses or one bare one, as in "is divisibleby 3". */
static lm_node *parse_test(lm_words *words, lm_node *of) {
    static const char *const ends[] = {"else", "or", "and", "is", "if", "in", "not", "recursive"};
    bool negated = lm_words_take(words, "not"), bare;
    lm_node *node = named(words, LM_NODE_TEST, of, "\"is\" without the name of a test");
    if (node != NULL && lm_words_take(words, "(")) {
        node->items = parse_items(words, ")", true);
    } else if (node != NULL) {
        bare = words->kind == LM_WORD_NAME || words->kind == LM_WORD_STRING ||
               words->kind == LM_WORD_INTEGER || words->kind == LM_WORD_FLOAT || lm_words_is(words, "[");
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
            bare = bare && !lm_words_is(words, ends[i]);
        }
        if (bare) {
            lm_node **last = &node->items, *argument = parse_postfix(words, parse_primary(words));
            add_item(words, &last, argument);
        }
    }
    return negated && node != NULL ? lm_new_node(words, LM_NODE_NOT, node, NULL) : node;
}

static lm_node *parse_postfix(lm_words *words, lm_node *node) {
    while (node != NULL && !words->status) {
        if (lm_words_take(words, ".")) {
            node = named(words, LM_NODE_ATTRIBUTE, node, "a point without a name after it");
        } else if (lm_words_take(words, "[")) {
            node = parse_subscript(words, node);
        } else if (lm_words_take(words, "(")) {
            node = parse_call(words, node);
        } else {
            break;
        }
    }
    return node;
}

lm_node *lm_parse_postfix_only(lm_words *words) {
    return parse_postfix(words, parse_primary(words));
}

lm_node *lm_parse_filters(lm_words *words, lm_node *node) {
    while (node != NULL && !words->status) {
        if (lm_words_take(words, "|")) {
            node = named(words, LM_NODE_FILTER, node, "\"|\" without the name of a filter");
            if (node != NULL && lm_words_take(words, "(")) {
                node->items = parse_items(words, ")", true);
            }
        } else if (lm_words_take(words, "is")) {
            node = parse_test(words, node);
        } else {
            break;
        }
    }
    return words->status ? NULL : node;
}

static lm_node *parse_power(lm_words *words) {
    lm_node *node = parse_unary(words);
    while (node != NULL && lm_words_take(words, "**")) {
        node = binary(words, LM_POWER, node, parse_unary(words));
    }
    return node;
}

static lm_node *parse_unary(lm_words *words) {
    lm_node *node;
    if (!enter(words)) {
        return NULL;
    }
    if (lm_words_take(words, "-")) {
        node = parse_unary(words);
        node = node == NULL ? NULL : lm_new_node(words, LM_NODE_NEGATE, node, NULL);
    } else {
        node = parse_postfix(words, parse_primary(words));
    }
    node = lm_parse_filters(words, node);
    words->depth--;
    return node;
}

/* Left-associative levels, from the tightest. */
static lm_node *parse_level(lm_words *words, unsigned level) {
    static const struct {
        unsigned level;
        const char *sign;
        lm_operator op;
    } operators[] = {{0, "*", LM_MULTIPLY}, {0, "//", LM_FLOOR}, {0, "/", LM_DIVIDE},  {0, "%", LM_REMAINDER},
                     {1, "~", LM_JOIN},     {2, "+", LM_ADD},    {2, "-", LM_SUBTRACT}};
    lm_node *node = level == 0 ? parse_power(words) : parse_level(words, level - 1);
    while (node != NULL && !words->status) {
        size_t i = 0, count = sizeof operators / sizeof *operators;
        while (i < count && !(operators[i].level == level && lm_words_is(words, operators[i].sign))) {
            i++;
        }
        if (i == count) {
            break;
        }
        lm_words_next(words);
        node = binary(words, operators[i].op, node,
                      level == 0 ? parse_power(words) : parse_level(words, level - 1));
    }
    return node;
}

static bool take_comparison(lm_words *words, lm_operator *op) {
    static const struct {
        const char *sign;
        lm_operator op;
    } signs[] = {{"==", LM_EQUAL}, {"!=", LM_UNEQUAL},  {"<", LM_LESS}, {"<=", LM_AT_MOST},
                 {">", LM_MORE},   {">=", LM_AT_LEAST}, {"in", LM_IN}};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        if (lm_words_take(words, signs[i].sign)) {
            *op = signs[i].op;
            return true;
        }
    }
    lm_words before = *words;
    if (lm_words_take(words, "not")) {
        if (lm_words_take(words, "in")) {
            *op = LM_NOT_IN;
            return true;
        }
        *words = before;
    }
    return false;
}

static lm_node *parse_compare(lm_words *words) {
    lm_node *node = parse_level(words, 2), *chain = NULL, **last = NULL;
    lm_operator op;
    while (node != NULL && !words->status && take_comparison(words, &op)) {
        lm_node *operand = parse_level(words, 2);
        lm_node *link = operand == NULL ? NULL : lm_new_node(words, LM_NODE_LITERAL, operand, NULL);
        if (link == NULL) {
            return NULL;
        }
        link->op = op;
        if (chain == NULL) {
            chain = lm_new_node(words, LM_NODE_COMPARE, node, link);
            if (chain == NULL) {
                return NULL;
            }
        } else {
            *last = link;
        }
        last = &link->next;
    }
    return words->status ? NULL : chain != NULL ? chain : node;
}

static lm_node *parse_not(lm_words *words) {
    if (!lm_words_take(words, "not")) {
        return parse_compare(words);
    }
    lm_node *node = enter(words) ? parse_not(words) : NULL;
    words->depth--;
    return node == NULL ? NULL : lm_new_node(words, LM_NODE_NOT, node, NULL);
}

static lm_node *parse_and(lm_words *words) {
    lm_node *node = parse_not(words);
    while (node != NULL && lm_words_take(words, "and")) {
        lm_node *right = parse_not(words);
        node = right == NULL ? NULL : lm_new_node(words, LM_NODE_AND, node, right);
    }
    return words->status ? NULL : node;
}

lm_node *lm_parse_without_condition(lm_words *words) {
    lm_node *node = parse_and(words);
    while (node != NULL && lm_words_take(words, "or")) {
        lm_node *right = parse_and(words);
        node = right == NULL ? NULL : lm_new_node(words, LM_NODE_OR, node, right);
    }
    return words->status ? NULL : node;
}

lm_node *lm_parse_expression(lm_words *words) {
    if (!enter(words)) {
        return NULL;
    }
    lm_node *node = lm_parse_without_condition(words);
    while (node != NULL && lm_words_take(words, "if")) {
        lm_node *condition = lm_parse_without_condition(words), *other = NULL;
        if (condition != NULL && lm_words_take(words, "else")) {
            other = lm_parse_expression(words);
        }
        node = words->status ? NULL : lm_new_node(words, LM_NODE_CONDITIONAL, node, condition);
        if (node != NULL) {
            node->c = other;
        }
    }
    words->depth--;
    return words->status ? NULL : node;
}

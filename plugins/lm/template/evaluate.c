/* evaluate.c: expressions to values.
 *
 * Invariant: an evaluation counts a step for every node and stops at the limit; what is not supported says so with
 * its name and line, and an undefined value may be tested, compared and printed, but not looked into. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static temper_status unsupported(lm_run *run, const lm_node *node, const char *what) {
    return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "the %s \"%.60s\" is not supported", what,
                       node->name);
}

static temper_status message_field(lm_run *run, size_t index, const char *name, size_t length,
                                   lm_value *out) {
    const lm_message *message = &run->messages[index];
    lm_mark by = (lm_mark)index << 2;
    if (length == 4 && memcmp(name, "role", 4) == 0) {
        *out = lm_value_text(message->role, strlen(message->role), by | LM_BY_CONTENT);
    } else if (length == 7 && memcmp(name, "content", 7) == 0) {
        *out =
            lm_value_text(message->content, message->content_length,
                          by | (strcmp(message->role, "assistant") == 0 ? LM_BY_ASSISTANT : LM_BY_CONTENT));
    } else {
        *out = lm_value_undefined(name);
    }
    return TEMPER_OK;
}

static temper_status loop_field(lm_run *run, const lm_node *node, const lm_loop *loop, lm_value *out) {
    const char *name = node->name;
    int64_t index = (int64_t)loop->index, count = (int64_t)loop->count;
    if (strcmp(name, "first") == 0) {
        *out = lm_value_bool(index == 0);
    } else if (strcmp(name, "last") == 0) {
        *out = lm_value_bool(index + 1 == count);
    } else if (strcmp(name, "index") == 0) {
        *out = lm_value_integer(index + 1);
    } else if (strcmp(name, "index0") == 0) {
        *out = lm_value_integer(index);
    } else if (strcmp(name, "revindex") == 0) {
        *out = lm_value_integer(count - index);
    } else if (strcmp(name, "revindex0") == 0) {
        *out = lm_value_integer(count - index - 1);
    } else if (strcmp(name, "length") == 0) {
        *out = lm_value_integer(count);
    } else if (strcmp(name, "previtem") == 0) {
        *out = index > 0 ? loop->items[index - 1] : lm_value_undefined("loop.previtem");
    } else if (strcmp(name, "nextitem") == 0) {
        *out = index + 1 < count ? loop->items[index + 1] : lm_value_undefined("loop.nextitem");
    } else {
        return unsupported(run, node, "loop variable");
    }
    return TEMPER_OK;
}

static temper_status attribute(lm_run *run, const lm_node *node, const lm_value *of, lm_value *out) {
    switch (of->kind) {
    case LM_MESSAGE: return message_field(run, of->message, node->name, strlen(node->name), out);
    case LM_LOOP: return loop_field(run, node, of->loop, out);
    case LM_NAMESPACE:
        if (!lm_scope_get(of->fields, node->name, out)) {
            *out = lm_value_undefined(node->name);
        }
        return TEMPER_OK;
    case LM_UNDEFINED:
        return lm_run_fail(run, node->line, TEMPER_INVALID, "'%.60s' is undefined, so it has no \"%.60s\"",
                           of->name == NULL ? "it" : of->name, node->name);
    default: *out = lm_value_undefined(node->name); return TEMPER_OK;
    }
}

static temper_status subscript(lm_run *run, const lm_node *node, const lm_value *of, const lm_value *index,
                               lm_value *out) {
    if (of->kind == LM_UNDEFINED) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "'%.60s' is undefined, so it has no items",
                           of->name == NULL ? "it" : of->name);
    }
    if (of->kind == LM_MESSAGE && index->kind == LM_TEXT) {
        char *name = lm_arena_copy(&run->arena, index->text.bytes, index->text.length);
        return name == NULL ? lm_run_fail(run, node->line, TEMPER_NO_MEMORY, "no memory")
                            : message_field(run, of->message, name, index->text.length, out);
    }
    if (of->kind == LM_LIST && index->kind == LM_INTEGER) {
        int64_t count = (int64_t)of->list.count,
                at = index->integer < 0 ? index->integer + count : index->integer;
        *out = at >= 0 && at < count ? of->list.items[at] : lm_value_undefined("an item out of range");
        return TEMPER_OK;
    }
    return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "taking %s of %s is not supported",
                       lm_value_kind_name(index), lm_value_kind_name(of));
}

static temper_status slice_end(lm_run *run, const lm_node *node, int64_t count, int64_t absent,
                               int64_t *out) {
    lm_value value;
    *out = absent;
    if (node == NULL) {
        return TEMPER_OK;
    }
    temper_status status = lm_evaluate(run, node, &value);
    if (status || value.kind == LM_NONE) {
        return status;
    }
    if (value.kind != LM_INTEGER) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "a slice by %s", lm_value_kind_name(&value));
    }
    int64_t at = value.integer < 0 ? value.integer + count : value.integer;
    *out = at < 0 ? 0 : at > count ? count : at;
    return TEMPER_OK;
}

static temper_status slice(lm_run *run, const lm_node *node, const lm_value *of, lm_value *out) {
    int64_t from, to, count = of->kind == LM_LIST ? (int64_t)of->list.count : 0;
    temper_status status;
    if (of->kind != LM_LIST) {
        return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "a slice of %s is not supported",
                           lm_value_kind_name(of));
    }
    if ((status = slice_end(run, node->b, count, 0, &from)) ||
        (status = slice_end(run, node->c, count, count, &to))) {
        return status;
    }
    *out = (lm_value){.kind = LM_LIST,
                      .list = {of->list.items + from, to > from ? (size_t)(to - from) : 0, of->list.depth}};
    return TEMPER_OK;
}

/* Python's floored division. */
static temper_status divide(lm_run *run, const lm_node *node, int64_t a, int64_t b, lm_value *out) {
    if (b == 0 || (a == INT64_MIN && b == -1)) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "a division by zero");
    }
    int64_t quotient = a / b, rest = a % b;
    if (rest != 0 && (rest < 0) != (b < 0)) {
        quotient--;
        rest += b;
    }
    *out = lm_value_integer(node->op == LM_FLOOR ? quotient : rest);
    return TEMPER_OK;
}

static temper_status arithmetic(lm_run *run, const lm_node *node, int64_t a, int64_t b, lm_value *out) {
    int64_t result;
    bool overflow = node->op == LM_ADD        ? __builtin_add_overflow(a, b, &result)
                    : node->op == LM_SUBTRACT ? __builtin_sub_overflow(a, b, &result)
                                              : __builtin_mul_overflow(a, b, &result);
    if (overflow) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "a number out of range");
    }
    *out = lm_value_integer(result);
    return TEMPER_OK;
}

static temper_status binary(lm_run *run, const lm_node *node, lm_value *out) {
    lm_value a, b;
    lm_text left, right;
    temper_status status;
    if ((status = lm_evaluate(run, node->a, &a)) || (status = lm_evaluate(run, node->b, &b))) {
        return status;
    }
    if (node->op == LM_JOIN) {
        run->line = node->line;
        if ((status = lm_value_print(run, &a, &left)) || (status = lm_value_print(run, &b, &right))) {
            return status;
        }
        return lm_text_join(run, &left, &right, out);
    }
    if (node->op == LM_ADD && a.kind == LM_TEXT && b.kind == LM_TEXT) {
        return lm_text_join(run, &a.text, &b.text, out);
    }
    if ((a.kind == LM_INTEGER || a.kind == LM_BOOL) && (b.kind == LM_INTEGER || b.kind == LM_BOOL)) {
        int64_t x = a.kind == LM_BOOL ? a.flag : a.integer, y = b.kind == LM_BOOL ? b.flag : b.integer;
        return node->op == LM_FLOOR || node->op == LM_REMAINDER ? divide(run, node, x, y, out)
                                                                : arithmetic(run, node, x, y, out);
    }
    static const char *const signs[] = {"+", "-", "*", "//", "%"};
    bool undefined =
        a.kind == LM_UNDEFINED || b.kind == LM_UNDEFINED || a.kind == LM_NONE || b.kind == LM_NONE;
    return lm_run_fail(run, node->line, undefined ? TEMPER_INVALID : TEMPER_UNSUPPORTED,
                       "\"%s\" of %s and %s is not supported", signs[node->op], lm_value_kind_name(&a),
                       lm_value_kind_name(&b));
}

static temper_status contains(lm_run *run, const lm_node *node, const lm_value *item, const lm_value *of,
                              bool *out) {
    *out = false;
    if (of->kind == LM_TEXT && item->kind == LM_TEXT) {
        *out = item->text.length == 0 ||
               (of->text.length > 0 &&
                memmem(of->text.bytes, of->text.length, item->text.bytes, item->text.length) != NULL);
    } else if (of->kind == LM_LIST) {
        for (size_t i = 0; i < of->list.count && !*out; i++) {
            *out = lm_value_equal(run, item, &of->list.items[i]);
        }
    } else if (of->kind == LM_MESSAGE && item->kind == LM_TEXT) {
        *out = (item->text.length == 4 && memcmp(item->text.bytes, "role", 4) == 0) ||
               (item->text.length == 7 && memcmp(item->text.bytes, "content", 7) == 0);
    } else if (of->kind != LM_UNDEFINED) {
        return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "\"in\" of %s in %s is not supported",
                           lm_value_kind_name(item), lm_value_kind_name(of));
    }
    return TEMPER_OK;
}

static temper_status order(lm_run *run, const lm_node *link, const lm_value *a, const lm_value *b,
                           bool *out) {
    int sign;
    bool numbers =
        (a->kind == LM_INTEGER || a->kind == LM_BOOL) && (b->kind == LM_INTEGER || b->kind == LM_BOOL);
    if (numbers) {
        int64_t x = a->kind == LM_BOOL ? a->flag : a->integer, y = b->kind == LM_BOOL ? b->flag : b->integer;
        sign = (x > y) - (x < y);
    } else if (a->kind == LM_TEXT && b->kind == LM_TEXT) {
        size_t least = a->text.length < b->text.length ? a->text.length : b->text.length;
        sign = least == 0 ? 0 : memcmp(a->text.bytes, b->text.bytes, least);
        sign = sign != 0 ? sign : (a->text.length > b->text.length) - (a->text.length < b->text.length);
    } else {
        return lm_run_fail(run, link->line, TEMPER_INVALID, "%s and %s have no order", lm_value_kind_name(a),
                           lm_value_kind_name(b));
    }
    *out = link->op == LM_LESS      ? sign < 0
           : link->op == LM_AT_MOST ? sign <= 0
           : link->op == LM_MORE    ? sign > 0
                                    : sign >= 0;
    return TEMPER_OK;
}

static temper_status compare(lm_run *run, const lm_node *node, lm_value *out) {
    lm_value left, right;
    bool holds = true;
    temper_status status = lm_evaluate(run, node->a, &left);
    for (const lm_node *link = node->b; link != NULL && holds && !status; link = link->next) {
        status = lm_evaluate(run, link->a, &right);
        if (status) {
            return status;
        }
        if (link->op == LM_EQUAL || link->op == LM_UNEQUAL) {
            holds = lm_value_equal(run, &left, &right) == (link->op == LM_EQUAL);
        } else if (link->op == LM_IN || link->op == LM_NOT_IN) {
            status = contains(run, link, &left, &right, &holds);
            holds = holds == (link->op == LM_IN);
        } else {
            status = order(run, link, &left, &right, &holds);
        }
        left = right;
        if (!status && run->steps > LM_TEMPLATE_STEPS) {
            status = lm_run_fail(run, node->line, TEMPER_INVALID, "more than %d steps", LM_TEMPLATE_STEPS);
        }
    }
    *out = lm_value_bool(holds);
    return status;
}

static temper_status test(lm_run *run, const lm_node *node, lm_value *out) {
    lm_value value;
    temper_status status = lm_evaluate(run, node->a, &value);
    const char *name = node->name;
    if (status) {
        return status;
    }
    lm_value_kind kind = value.kind;
    bool holds;
    if (node->items != NULL) {
        return unsupported(run, node, "test with an argument");
    }
    if (strcmp(name, "defined") == 0) {
        holds = kind != LM_UNDEFINED;
    } else if (strcmp(name, "undefined") == 0) {
        holds = kind == LM_UNDEFINED;
    } else if (strcmp(name, "none") == 0) {
        holds = kind == LM_NONE;
    } else if (strcmp(name, "string") == 0) {
        holds = kind == LM_TEXT;
    } else if (strcmp(name, "boolean") == 0) {
        holds = kind == LM_BOOL;
    } else if (strcmp(name, "integer") == 0) {
        holds = kind == LM_INTEGER;
    } else if (strcmp(name, "number") == 0) {
        holds = kind == LM_INTEGER || kind == LM_BOOL;
    } else if (strcmp(name, "true") == 0) {
        holds = kind == LM_BOOL && value.flag;
    } else if (strcmp(name, "false") == 0) {
        holds = kind == LM_BOOL && !value.flag;
    } else if (strcmp(name, "mapping") == 0) {
        holds = kind == LM_MESSAGE;
    } else if (strcmp(name, "iterable") == 0 || strcmp(name, "sequence") == 0) {
        holds = kind == LM_TEXT || kind == LM_LIST || kind == LM_MESSAGE || kind == LM_UNDEFINED;
    } else {
        return unsupported(run, node, "test");
    }
    *out = lm_value_bool(holds);
    return TEMPER_OK;
}

/* Characters of UTF-8: bytes that do not continue one. */
static int64_t characters(const lm_text *text) {
    int64_t count = 0;
    for (size_t i = 0; i < text->length; i++) {
        count += ((unsigned char)text->bytes[i] & 0xC0) != 0x80;
    }
    return count;
}

static lm_value stripped(const lm_text *text, bool front, bool back) {
    size_t from = front ? lm_space_front(text->bytes, text->length) : 0;
    size_t less = back ? lm_space_back(text->bytes + from, text->length - from) : 0;
    lm_value value = {.kind = LM_TEXT};
    value.text = lm_text_part(text, from, text->length - from - less);
    return value;
}

static temper_status filter(lm_run *run, const lm_node *node, lm_value *out) {
    lm_value value;
    lm_text text;
    temper_status status = lm_evaluate(run, node->a, &value);
    if (status) {
        return status;
    }
    if (node->items != NULL) {
        return unsupported(run, node, "filter with an argument");
    }
    if (strcmp(node->name, "trim") == 0 || strcmp(node->name, "string") == 0) {
        run->line = node->line;
        status = lm_value_print(run, &value, &text);
        if (!status && node->name[0] == 't') {
            *out = stripped(&text, true, true);
        } else if (!status) {
            *out = (lm_value){.kind = LM_TEXT, .text = text};
        }
        return status;
    }
    if (strcmp(node->name, "length") == 0 || strcmp(node->name, "count") == 0) {
        if (value.kind == LM_TEXT) {
            *out = lm_value_integer(characters(&value.text));
        } else if (value.kind == LM_LIST) {
            *out = lm_value_integer((int64_t)value.list.count);
        } else if (value.kind == LM_UNDEFINED || value.kind == LM_MESSAGE) {
            *out = lm_value_integer(value.kind == LM_MESSAGE ? 2 : 0);
        } else {
            return lm_run_fail(run, node->line, TEMPER_INVALID, "%s has no length",
                               lm_value_kind_name(&value));
        }
        return TEMPER_OK;
    }
    return unsupported(run, node, "filter");
}

static temper_status method(lm_run *run, const lm_node *node, lm_value *out) {
    lm_value value, argument;
    const char *name = node->name;
    temper_status status = lm_evaluate(run, node->a, &value);
    if (status) {
        return status;
    }
    bool strip = strcmp(name, "strip") == 0, left = strcmp(name, "lstrip") == 0,
         right = strcmp(name, "rstrip") == 0;
    if (value.kind == LM_TEXT && node->items == NULL && (strip || left || right)) {
        *out = stripped(&value.text, !right, !left);
        return TEMPER_OK;
    }
    bool starts = strcmp(name, "startswith") == 0, ends = strcmp(name, "endswith") == 0;
    if (value.kind == LM_TEXT && (starts || ends) && node->items != NULL && node->items->next == NULL &&
        node->items->name == NULL) {
        status = lm_evaluate(run, node->items->a, &argument);
        if (!status && argument.kind == LM_TEXT) {
            size_t size = argument.text.length;
            const char *at =
                value.text.bytes + (starts || size > value.text.length ? 0 : value.text.length - size);
            *out = lm_value_bool(size <= value.text.length && memcmp(at, argument.text.bytes, size) == 0);
            return TEMPER_OK;
        }
    }
    if (status) {
        return status;
    }
    if (value.kind == LM_UNDEFINED) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "'%.60s' is undefined, so it has no \"%.60s\"",
                           value.name == NULL ? "it" : value.name, name);
    }
    return unsupported(run, node, "method");
}

static temper_status raise(lm_run *run, const lm_node *node) {
    lm_value value;
    lm_text text;
    if (node->items == NULL || node->items->next != NULL) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "raise_exception takes one message");
    }
    temper_status status = lm_evaluate(run, node->items->a, &value);
    run->line = node->line;
    if (status || (status = lm_value_print(run, &value, &text))) {
        return status;
    }
    return temper_fail(run->error, TEMPER_INVALID, "%.*s", text.length > 800 ? 800 : (int)text.length,
                       text.bytes);
}

static temper_status call(lm_run *run, const lm_node *node, lm_value *out) {
    if (strcmp(node->name, "raise_exception") == 0) {
        return raise(run, node);
    }
    if (strcmp(node->name, "namespace") != 0) {
        return unsupported(run, node, "function");
    }
    lm_scope *fields = lm_arena_get(&run->arena, sizeof *fields);
    if (fields == NULL) {
        return lm_run_fail(run, node->line, TEMPER_NO_MEMORY, "no memory");
    }
    for (const lm_node *item = node->items; item != NULL; item = item->next) {
        lm_value value;
        temper_status status;
        if (item->name == NULL) {
            return unsupported(run, node, "argument without a name of");
        }
        if ((status = lm_evaluate(run, item->a, &value)) ||
            (status = lm_scope_set(run, fields, item->name, value))) {
            return status;
        }
    }
    *out = (lm_value){.kind = LM_NAMESPACE, .fields = fields};
    return TEMPER_OK;
}

static temper_status list(lm_run *run, const lm_node *node, lm_value *out) {
    size_t count = 0, i = 0;
    unsigned depth = 0;
    for (const lm_node *item = node->items; item != NULL; item = item->next) {
        count++;
    }
    lm_value *items = lm_arena_get(&run->arena, count * sizeof *items + 1);
    if (items == NULL) {
        return lm_run_fail(run, node->line, TEMPER_NO_MEMORY, "no memory");
    }
    for (const lm_node *item = node->items; item != NULL; item = item->next) {
        temper_status status = lm_evaluate(run, item->a, &items[i]);
        if (status) {
            return status;
        }
        depth = items[i].kind == LM_LIST && items[i].list.depth >= depth ? items[i].list.depth + 1 : depth;
        i++;
    }
    if (depth > LM_MAX_LIST_DEPTH) {
        return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "lists nested deeper than %d",
                           LM_MAX_LIST_DEPTH);
    }
    *out = (lm_value){.kind = LM_LIST, .list = {items, count, depth}};
    return TEMPER_OK;
}

static temper_status conditional(lm_run *run, const lm_node *node, lm_value *out) {
    lm_value condition;
    temper_status status = lm_evaluate(run, node->b, &condition);
    if (status) {
        return status;
    }
    if (lm_value_true(&condition)) {
        return lm_evaluate(run, node->a, out);
    }
    if (node->c != NULL) {
        return lm_evaluate(run, node->c, out);
    }
    *out = lm_value_undefined("a condition without else");
    return TEMPER_OK;
}

static temper_status negate(lm_run *run, const lm_node *node, lm_value *out) {
    lm_value value;
    temper_status status = lm_evaluate(run, node->a, &value);
    if (!status && (value.kind != LM_INTEGER || value.integer == INT64_MIN)) {
        status = lm_run_fail(run, node->line, TEMPER_INVALID, "\"-\" of %s", lm_value_kind_name(&value));
    }
    if (!status) {
        *out = lm_value_integer(-value.integer);
    }
    return status;
}

static temper_status logical(lm_run *run, const lm_node *node, lm_value *out) {
    temper_status status = lm_evaluate(run, node->a, out);
    if (status || node->kind == LM_NODE_NOT) {
        *out = lm_value_bool(!status && !lm_value_true(out));
        return status;
    }
    return lm_value_true(out) == (node->kind == LM_NODE_AND) ? lm_evaluate(run, node->b, out) : TEMPER_OK;
}

static temper_status postfix(lm_run *run, const lm_node *node, lm_value *out) {
    lm_value of, index;
    temper_status status = lm_evaluate(run, node->a, &of);
    if (status) {
        return status;
    }
    if (node->kind == LM_NODE_ATTRIBUTE) {
        return attribute(run, node, &of, out);
    }
    if (node->kind == LM_NODE_SLICE) {
        return slice(run, node, &of, out);
    }
    status = lm_evaluate(run, node->b, &index);
    return status ? status : subscript(run, node, &of, &index, out);
}

static bool is_function(const char *name) {
    static const char *const names[] = {"raise_exception", "strftime_now", "namespace", "range", "dict",
                                        "lipsum",          "cycler",       "joiner"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static temper_status evaluate(lm_run *run, const lm_node *node, lm_value *out) {
    switch (node->kind) {
    case LM_NODE_LITERAL: *out = node->value; return TEMPER_OK;
    case LM_NODE_NAME:
        if (!lm_scope_get(run->scope, node->name, out)) {
            *out = is_function(node->name) ? (lm_value){.kind = LM_FUNCTION, .name = node->name}
                                           : lm_value_undefined(node->name);
        }
        return TEMPER_OK;
    case LM_NODE_LIST: return list(run, node, out);
    case LM_NODE_ATTRIBUTE:
    case LM_NODE_INDEX:
    case LM_NODE_SLICE: return postfix(run, node, out);
    case LM_NODE_NOT:
    case LM_NODE_AND:
    case LM_NODE_OR: return logical(run, node, out);
    case LM_NODE_NEGATE: return negate(run, node, out);
    case LM_NODE_CONDITIONAL: return conditional(run, node, out);
    case LM_NODE_BINARY: return binary(run, node, out);
    case LM_NODE_COMPARE: return compare(run, node, out);
    case LM_NODE_TEST: return test(run, node, out);
    case LM_NODE_FILTER: return filter(run, node, out);
    case LM_NODE_CALL: return call(run, node, out);
    case LM_NODE_METHOD: return method(run, node, out);
    }
    return TEMPER_OK;
}

temper_status lm_evaluate(lm_run *run, const lm_node *node, lm_value *out) {
    *out = lm_value_undefined(NULL);
    if (++run->steps > LM_TEMPLATE_STEPS) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "more than %d steps", LM_TEMPLATE_STEPS);
    }
    if (run->depth >= LM_MAX_EVALUATIONS) {
        return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "an expression of more than %d parts",
                           LM_MAX_EVALUATIONS);
    }
    run->depth++;
    temper_status status = evaluate(run, node, out);
    run->depth--;
    return status;
}

/* evaluate.c: expressions to values.
 *
 * Invariant: an evaluation counts a step for every node and stops at the limit; what is not supported says so with
 * its name and line, and an undefined value may be tested, compared and printed, but not looked into. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

temper_status lm_unsupported(lm_run *run, const lm_node *node, const char *what) {
    return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "the %s \"%.60s\" is not supported", what,
                       node->name == NULL ? "" : node->name);
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
    } else if (strcmp(name, "depth") == 0 || strcmp(name, "depth0") == 0) {
        *out = lm_value_integer((int64_t)loop->depth + (name[5] == 0));
    } else if (strcmp(name, "previtem") == 0) {
        *out = index > 0 ? loop->items[index - 1] : lm_value_undefined("loop.previtem");
    } else if (strcmp(name, "nextitem") == 0) {
        *out = index + 1 < count ? loop->items[index + 1] : lm_value_undefined("loop.nextitem");
    } else {
        return lm_unsupported(run, node, "loop variable");
    }
    return TEMPER_OK;
}

static temper_status no_part(lm_run *run, const lm_node *node, const lm_value *of, const char *part) {
    return lm_run_fail(run, node->line, TEMPER_INVALID, "'%.60s' is undefined, so it has no %.60s",
                       of->name == NULL ? "it" : of->name, part);
}

static temper_status attribute(lm_run *run, const lm_node *node, const lm_value *of, lm_value *out) {
    char part[80];
    temper_status status = TEMPER_OK;
    lm_value key;
    switch (of->kind) {
    case LM_LOOP: return loop_field(run, node, of->loop, out);
    case LM_NAMESPACE:
        if (!lm_scope_get(of->fields, node->name, out)) {
            *out = lm_value_undefined(node->name);
        }
        return TEMPER_OK;
    case LM_UNDEFINED:
        snprintf(part, sizeof part, "\"%.60s\"", node->name);
        return no_part(run, node, of, part);
    default: break;
    }
    if (lm_is_method(of, node->name)) { /* Jinja looks for those first: x.items is never x["items"] */
        *out = (lm_value){.kind = LM_FUNCTION, .name = node->name};
        return TEMPER_OK;
    }
    if (of->kind == LM_DICT) {
        key = lm_value_text(node->name, strlen(node->name), 0);
        status = lm_dict_get(run, of, &key, out);
        if (!status && out->kind != LM_UNDEFINED) {
            return TEMPER_OK;
        }
    }
    *out = lm_value_undefined(node->name);
    return status;
}

static temper_status subscript(lm_run *run, const lm_node *node, const lm_value *of, const lm_value *index,
                               lm_value *out) {
    *out = lm_value_undefined("an item that is not there");
    if (of->kind == LM_UNDEFINED) {
        return no_part(run, node, of, "items");
    }
    if (index->kind == LM_TEXT && (of->kind == LM_LOOP || of->kind == LM_NAMESPACE || of->kind == LM_DICT)) {
        char *name = lm_run_get(run, index->text.length + 1, 1);
        lm_node field = {.line = node->line, .name = name};
        if (name == NULL) {
            return TEMPER_NO_MEMORY;
        }
        if (index->text.length > 0) {
            memcpy(name, index->text.bytes, index->text.length);
        }
        if (of->kind != LM_DICT) {
            return attribute(run, &field, of, out);
        }
        temper_status status = lm_dict_get(run, of, index, out);
        out->name = out->kind == LM_UNDEFINED ? name : out->name;
        return status;
    }
    if (of->kind == LM_DICT) {
        return lm_dict_get(run, of, index, out);
    }
    int64_t at;
    if ((of->kind == LM_LIST || of->kind == LM_TEXT) && lm_value_whole(index, &at)) {
        const lm_value *items;
        size_t count;
        temper_status status = lm_value_items(run, node->line, of, &items, &count);
        at = at < 0 ? at + (int64_t)count : at;
        if (!status && at >= 0 && at < (int64_t)count) {
            *out = items[at];
        }
        return status;
    }
    return TEMPER_OK;
}

static temper_status slice_part(lm_run *run, const lm_node *node, bool *given, int64_t *out) {
    lm_value value = {.kind = LM_NONE};
    temper_status status = node == NULL ? TEMPER_OK : lm_evaluate(run, node, &value);
    *given = value.kind != LM_NONE;
    if (!status && *given && !lm_value_whole(&value, out)) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "a slice by %s", lm_value_kind_name(&value));
    }
    return status;
}

/* As Python's slice.indices brings an end into a sequence. */
static int64_t slice_end(int64_t at, int64_t count, bool back) {
    at = at < 0 ? at + count : at;
    return at < 0 ? (back ? -1 : 0) : at >= count ? (back ? count - 1 : count) : at;
}

static temper_status slice(lm_run *run, const lm_node *node, const lm_value *of, lm_value *out) {
    int64_t from = 0, to = 0, step = 1;
    bool has_from, has_to, has_step;
    const lm_value *items;
    size_t length, used = 0;
    temper_status status;
    if (of->kind == LM_UNDEFINED) {
        return no_part(run, node, of, "items");
    }
    if (of->kind != LM_LIST && of->kind != LM_TEXT) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "a slice of %s", lm_value_kind_name(of));
    }
    if ((status = slice_part(run, node->b, &has_from, &from)) ||
        (status = slice_part(run, node->c, &has_to, &to)) ||
        (status = slice_part(run, node->items, &has_step, &step)) ||
        (status = lm_value_items(run, node->line, of, &items, &length))) {
        return status;
    }
    int64_t count = (int64_t)length;
    bool back = step < 0;
    if (step == 0 || step == INT64_MIN) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "a slice by steps of zero");
    }
    from = has_from ? slice_end(from, count, back) : back ? count - 1 : 0;
    to = has_to ? slice_end(to, count, back) : back ? -1 : count;
    lm_value *kept = lm_run_get(run, length, sizeof *kept);
    if (kept == NULL) {
        return TEMPER_NO_MEMORY;
    }
    step = step > count + 1 ? count + 1 : step < -count - 1 ? -count - 1 : step;
    for (int64_t i = from; back ? i > to : i < to; i += step) {
        kept[used++] = items[i];
    }
    *out = lm_value_list(kept, used);
    out->list.tuple = of->kind == LM_LIST && of->list.tuple;
    if (of->kind == LM_TEXT) {
        lm_builder builder = {.run = run};
        for (size_t i = 0; i < used; i++) {
            lm_build(&builder, &kept[i].text);
        }
        return lm_build_end(&builder, out);
    }
    return lm_run_work(run, length * 16);
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

static temper_status whole_arithmetic(lm_run *run, const lm_node *node, int64_t a, int64_t b, lm_value *out) {
    int64_t result = 1;
    bool overflow = false;
    if (node->op == LM_FLOOR || node->op == LM_REMAINDER) {
        return divide(run, node, a, b, out);
    }
    if (node->op == LM_POWER) {
        if (b < 0) {
            return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "\"**\" with a negative exponent");
        }
        for (; b > 0 && !overflow && a != 1; b--) {
            overflow = __builtin_mul_overflow(result, a, &result) || (b > 64 && (a < -1 || a > 1));
            b = (a == 0 || a == -1) && b > 2 ? 2 + b % 2 : b;
        }
    } else {
        overflow = node->op == LM_ADD        ? __builtin_add_overflow(a, b, &result)
                   : node->op == LM_SUBTRACT ? __builtin_sub_overflow(a, b, &result)
                                             : __builtin_mul_overflow(a, b, &result);
    }
    if (overflow) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "a number out of range");
    }
    *out = lm_value_integer(result);
    return TEMPER_OK;
}

static temper_status repeat(lm_run *run, const lm_value *what, int64_t times, lm_value *out) {
    lm_builder builder = {.run = run};
    size_t count = what->kind == LM_LIST ? what->list.count : 0, total = 0;
    times = times < 0 ? 0 : times;
    if (what->kind == LM_TEXT) {
        for (int64_t i = 0; i < times && what->text.length > 0 && !builder.status; i++) {
            lm_build(&builder, &what->text);
            run->steps++;
        }
        return lm_build_end(&builder, out);
    }
    if (__builtin_mul_overflow(count, (size_t)times, &total)) {
        total = SIZE_MAX;
    }
    lm_value *items = lm_run_get(run, total, sizeof *items);
    for (size_t i = 0; items != NULL && i < total; i++) {
        items[i] = what->list.items[i % count];
    }
    *out = lm_value_list(items, total);
    out->list.tuple = what->list.tuple;
    return items == NULL ? TEMPER_NO_MEMORY : lm_run_work(run, total);
}

static temper_status join_lists(lm_run *run, const lm_value *a, const lm_value *b, lm_value *out) {
    size_t count = a->list.count + b->list.count;
    lm_value *items = lm_run_get(run, count, sizeof *items);
    if (items == NULL) {
        return TEMPER_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        items[i] = i < a->list.count ? a->list.items[i] : b->list.items[i - a->list.count];
    }
    *out = lm_value_list(items, count);
    out->list.tuple = a->list.tuple;
    return lm_run_work(run, count * 16);
}

static temper_status binary(lm_run *run, const lm_node *node, lm_value *out) {
    lm_value a, b;
    lm_text left, right;
    int64_t x, y;
    double p, q;
    temper_status status;
    if ((status = lm_evaluate(run, node->a, &a)) || (status = lm_evaluate(run, node->b, &b))) {
        return status;
    }
    run->line = node->line;
    if (node->op == LM_JOIN) {
        if ((status = lm_value_print(run, &a, &left)) || (status = lm_value_print(run, &b, &right))) {
            return status;
        }
        return lm_text_join(run, &left, &right, out);
    }
    if (node->op == LM_ADD && a.kind == LM_TEXT && b.kind == LM_TEXT) {
        return lm_text_join(run, &a.text, &b.text, out);
    }
    if (node->op == LM_ADD && a.kind == LM_LIST && b.kind == LM_LIST && a.list.tuple == b.list.tuple) {
        return join_lists(run, &a, &b, out);
    }
    if (lm_value_whole(&a, &x) && lm_value_whole(&b, &y) && node->op != LM_DIVIDE) {
        return whole_arithmetic(run, node, x, y, out);
    }
    if (node->op == LM_MULTIPLY && (a.kind == LM_TEXT || a.kind == LM_LIST) && lm_value_whole(&b, &y)) {
        return repeat(run, &a, y, out);
    }
    if (lm_value_number(&a, &p) && lm_value_number(&b, &q) && node->op != LM_POWER && node->op != LM_FLOOR &&
        node->op != LM_REMAINDER) {
        if (node->op == LM_DIVIDE && q == 0) {
            return lm_run_fail(run, node->line, TEMPER_INVALID, "a division by zero");
        }
        *out = lm_value_float(node->op == LM_ADD        ? p + q
                              : node->op == LM_SUBTRACT ? p - q
                              : node->op == LM_MULTIPLY ? p * q
                                                        : p / q);
        return TEMPER_OK;
    }
    static const char *const signs[] = {"+", "-", "*", "//", "%", "/", "**"};
    bool formats = node->op == LM_REMAINDER && a.kind == LM_TEXT;
    return lm_run_fail(run, node->line, formats ? TEMPER_UNSUPPORTED : TEMPER_INVALID,
                       "\"%s\" of %s and %s is not supported", signs[node->op], lm_value_kind_name(&a),
                       lm_value_kind_name(&b));
}

static temper_status contains(lm_run *run, const lm_node *node, const lm_value *item, const lm_value *of,
                              bool *out) {
    temper_status status = TEMPER_OK;
    lm_value found;
    *out = false;
    if (of->kind == LM_TEXT && item->kind == LM_TEXT) {
        *out = item->text.length == 0 ||
               (of->text.length > 0 &&
                memmem(of->text.bytes, of->text.length, item->text.bytes, item->text.length) != NULL);
        status = lm_run_work(run, of->text.length);
    } else if (of->kind == LM_LIST) {
        for (size_t i = 0; i < of->list.count && !*out && !status; i++) {
            status = lm_value_equal(run, item, &of->list.items[i], out);
        }
    } else if (of->kind == LM_DICT) {
        status = lm_dict_get(run, of, item, &found);
        *out = found.kind != LM_UNDEFINED;
    } else if (of->kind != LM_UNDEFINED) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "\"in\" of %s in %s", lm_value_kind_name(item),
                           lm_value_kind_name(of));
    }
    return status;
}

static temper_status compare(lm_run *run, const lm_node *node, lm_value *out) {
    lm_value left, right;
    bool holds = true;
    int sign;
    temper_status status = lm_evaluate(run, node->a, &left);
    for (const lm_node *link = node->b; link != NULL && holds && !status; link = link->next) {
        status = lm_evaluate(run, link->a, &right);
        if (status) {
            return status;
        }
        if (link->op == LM_EQUAL || link->op == LM_UNEQUAL) {
            status = lm_value_equal(run, &left, &right, &holds);
            holds = holds == (link->op == LM_EQUAL);
        } else if (link->op == LM_IN || link->op == LM_NOT_IN) {
            status = contains(run, link, &left, &right, &holds);
            holds = holds == (link->op == LM_IN);
        } else if (!(status = lm_value_order(run, link->line, &left, &right, &sign))) {
            holds = link->op == LM_LESS      ? sign < 0
                    : link->op == LM_AT_MOST ? sign <= 0
                    : link->op == LM_MORE    ? sign > 0
                                             : sign >= 0;
        }
        left = right;
    }
    *out = lm_value_bool(holds);
    return status;
}

temper_status lm_arguments_evaluate(lm_run *run, const lm_node *node, lm_arguments *out) {
    size_t count = 0, i = 0;
    for (const lm_node *item = node->items; item != NULL; item = item->next) {
        count++;
    }
    out->count = count;
    out->values = lm_run_get(run, count, sizeof *out->values);
    out->names = out->values == NULL ? NULL : lm_run_get(run, count, sizeof *out->names);
    if (out->names == NULL) {
        return TEMPER_NO_MEMORY;
    }
    for (const lm_node *item = node->items; item != NULL; item = item->next, i++) {
        temper_status status = lm_evaluate(run, item->a, &out->values[i]);
        if (status) {
            return status;
        }
        out->names[i] = item->name;
        if (item->name == NULL && i > 0 && out->names[i - 1] != NULL) {
            return lm_run_fail(run, node->line, TEMPER_INVALID, "an argument by place after one by name");
        }
    }
    return TEMPER_OK;
}

temper_status lm_arguments_name(lm_run *run, const lm_node *node, const lm_arguments *arguments,
                                const char *const *names, const lm_value **out) {
    size_t known = 0;
    for (; names[known] != NULL; known++) {
        out[known] = NULL;
    }
    for (size_t i = 0; i < arguments->count; i++) {
        size_t at = i;
        const char *name = arguments->names[i];
        for (at = name == NULL ? i : 0; name != NULL && at < known && strcmp(names[at], name) != 0;) {
            at++;
        }
        if (at >= known || out[at] != NULL) {
            return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED,
                               "the argument %zu \"%.40s\" of \"%.60s\" is not supported", i + 1,
                               name == NULL ? "" : name, node->name == NULL ? "" : node->name);
        }
        out[at] = &arguments->values[i];
    }
    return TEMPER_OK;
}

static temper_status applied(lm_run *run, const lm_node *node, lm_value *out) {
    lm_value value;
    lm_arguments arguments;
    bool holds = false;
    temper_status status = lm_evaluate(run, node->a, &value);
    if (status || (status = lm_arguments_evaluate(run, node, &arguments))) {
        return status;
    }
    run->line = node->line;
    if (node->kind == LM_NODE_FILTER) {
        return lm_filter(run, node, node->name, &value, &arguments, out);
    }
    status = lm_test(run, node, node->name, &value, &arguments, &holds);
    *out = lm_value_bool(holds);
    return status;
}

static temper_status cycle(lm_run *run, const lm_node *node, const lm_loop *loop,
                           const lm_arguments *arguments, lm_value *out) {
    if (arguments->count == 0) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "loop.cycle of nothing");
    }
    *out = arguments->values[loop->index % arguments->count];
    return TEMPER_OK;
}

/* A value that can be called: a macro, or a recursive loop. */
static temper_status call_value(lm_run *run, const lm_node *node, const lm_value *callee,
                                const lm_arguments *arguments, lm_value *out) {
    if (callee->kind == LM_MACRO) {
        return lm_call_macro(run, node, callee->macro, arguments, NULL, out);
    }
    if (callee->kind == LM_LOOP && arguments->count == 1) {
        return lm_call_loop(run, node, callee->loop, &arguments->values[0], out);
    }
    return lm_run_fail(run, node->line, TEMPER_INVALID, "%s, \"%.60s\", cannot be called",
                       lm_value_kind_name(callee), node->name);
}

static temper_status method(lm_run *run, const lm_node *node, lm_value *out) {
    lm_value of, field;
    lm_arguments arguments;
    temper_status status = lm_evaluate(run, node->a, &of);
    if (status || (status = lm_arguments_evaluate(run, node, &arguments))) {
        return status;
    }
    run->line = node->line;
    if (of.kind == LM_LOOP && strcmp(node->name, "cycle") == 0) {
        return cycle(run, node, of.loop, &arguments, out);
    }
    if (of.kind == LM_NAMESPACE && lm_scope_get(of.fields, node->name, &field)) {
        return call_value(run, node, &field, &arguments, out);
    }
    if (of.kind == LM_UNDEFINED) {
        return no_part(run, node, &of, node->name);
    }
    return lm_method(run, node, &of, &arguments, out);
}

static temper_status call(lm_run *run, const lm_node *node, lm_value *out) {
    lm_value callee;
    lm_arguments arguments;
    temper_status status = lm_arguments_evaluate(run, node, &arguments);
    if (status) {
        return status;
    }
    run->line = node->line;
    if (lm_scope_get(run->scope, node->name, &callee)) {
        return call_value(run, node, &callee, &arguments, out);
    }
    return lm_function(run, node, &arguments, out);
}

static temper_status collect(lm_run *run, const lm_node *node, lm_value *out) {
    lm_arguments items;
    temper_status status = lm_arguments_evaluate(run, node, &items);
    if (status || node->kind != LM_NODE_DICT) {
        *out = lm_value_list(items.values, items.count);
        out->list.tuple = node->kind == LM_NODE_TUPLE;
        return status;
    }
    size_t count = 0;
    for (size_t i = 0; i < items.count && !status;
         i += 2) { /* a key that comes again gives its first a new value */
        lm_value *pair = items.values;
        bool same = false;
        for (; pair < items.values + 2 * count && !status; pair += 2) {
            status = lm_value_equal(run, pair, &items.values[i], &same);
            if (same) {
                break;
            }
        }
        pair[0] = same ? pair[0] : items.values[i];
        pair[1] = items.values[i + 1];
        count += !same;
    }
    *out = (lm_value){.kind = LM_DICT, .dict = {items.values, count}};
    return status;
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
    int64_t whole;
    temper_status status = lm_evaluate(run, node->a, &value);
    if (status) {
        return status;
    }
    if (value.kind == LM_FLOAT) {
        *out = lm_value_float(-value.number);
    } else if (lm_value_whole(&value, &whole) && whole != INT64_MIN) {
        *out = lm_value_integer(-whole);
    } else {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "\"-\" of %s", lm_value_kind_name(&value));
    }
    return TEMPER_OK;
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

static temper_status evaluate(lm_run *run, const lm_node *node, lm_value *out) {
    switch (node->kind) {
    case LM_NODE_LITERAL: *out = node->value; return TEMPER_OK;
    case LM_NODE_NAME:
        if (!lm_scope_get(run->scope, node->name, out)) {
            *out = lm_is_function(run, node->name) ? (lm_value){.kind = LM_FUNCTION, .name = node->name}
                                                   : lm_value_undefined(node->name);
        }
        return TEMPER_OK;
    case LM_NODE_LIST:
    case LM_NODE_TUPLE:
    case LM_NODE_DICT: return collect(run, node, out);
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
    case LM_NODE_TEST:
    case LM_NODE_FILTER: return applied(run, node, out);
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
        return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "more than %d parts inside one another",
                           LM_MAX_EVALUATIONS);
    }
    run->depth++;
    temper_status status = evaluate(run, node, out);
    run->depth--;
    return status;
}

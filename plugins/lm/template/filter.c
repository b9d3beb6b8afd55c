/* filter.c: what stands after "|". */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

typedef temper_status lm_filter_function(lm_run *run, const lm_node *node, const lm_value *value,
                                         const lm_value *const *given, lm_value *out);

static const lm_value *or_null(const lm_value *value) {
    return value == NULL || value->kind == LM_NONE ? NULL : value;
}

static temper_status trim(lm_run *run, const lm_node *node, const lm_value *value,
                          const lm_value *const *given, lm_value *out) {
    lm_text text;
    temper_status status = lm_value_print(run, value, &text);
    (void)node;
    return status ? status : lm_strip(run, &text, or_null(given[0]), true, true, out);
}

static temper_status string(lm_run *run, const lm_node *node, const lm_value *value,
                            const lm_value *const *given, lm_value *out) {
    lm_text text;
    temper_status status = lm_value_print(run, value, &text);
    (void)node;
    (void)given;
    *out = (lm_value){.kind = LM_TEXT, .text = text};
    return status;
}

static temper_status length(lm_run *run, const lm_node *node, const lm_value *value,
                            const lm_value *const *given, lm_value *out) {
    const lm_value *items;
    size_t count;
    (void)given;
    if (value->kind != LM_TEXT && value->kind != LM_LIST && value->kind != LM_DICT &&
        value->kind != LM_UNDEFINED) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "%s has no length", lm_value_kind_name(value));
    }
    if (value->kind == LM_TEXT) {
        *out = lm_value_integer((int64_t)lm_text_characters(&value->text));
        return lm_run_work(run, value->text.length);
    }
    temper_status status = lm_value_items(run, node->line, value, &items, &count);
    *out = lm_value_integer((int64_t)count);
    return status;
}

static temper_status fallback(lm_run *run, const lm_node *node, const lm_value *value,
                              const lm_value *const *given, lm_value *out) {
    (void)run;
    (void)node;
    bool replace =
        value->kind == LM_UNDEFINED || (given[1] != NULL && lm_value_true(given[1]) && !lm_value_true(value));
    *out = !replace ? *value : given[0] != NULL ? *given[0] : lm_value_text("", 0, 0);
    return TEMPER_OK;
}

static temper_status recase(lm_run *run, const lm_node *node, const lm_value *value,
                            const lm_value *const *given, lm_value *out) {
    lm_text text;
    temper_status status = lm_value_print(run, value, &text);
    (void)given;
    int how = node->name[0] == 'u'   ? LM_UPPER
              : node->name[0] == 'l' ? LM_LOWER
              : node->name[0] == 't' ? LM_TITLE
                                     : LM_CAPITALIZE;
    return status ? status : lm_recase(run, node, &text, how, out);
}

static temper_status tojson(lm_run *run, const lm_node *node, const lm_value *value,
                            const lm_value *const *given, lm_value *out) {
    const lm_value *separators = or_null(given[2]), *indent = or_null(given[1]);
    lm_json_style style = {-1, ", ", ": ", false, false};
    if (indent != NULL &&
        (!lm_value_whole(indent, &style.indent) || style.indent < 0 || style.indent > 1000)) {
        return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "tojson: this indent is not supported");
    }
    style.between = indent != NULL ? "," : ", ";
    if (separators != NULL) {
        if (separators->kind != LM_LIST || separators->list.count != 2 ||
            separators->list.items[0].kind != LM_TEXT || separators->list.items[1].kind != LM_TEXT) {
            return lm_run_fail(run, node->line, TEMPER_INVALID, "tojson: separators are two texts");
        }
        style.between = lm_arena_copy(&run->arena, separators->list.items[0].text.bytes,
                                      separators->list.items[0].text.length);
        style.after_key = lm_arena_copy(&run->arena, separators->list.items[1].text.bytes,
                                        separators->list.items[1].text.length);
        if (style.between == NULL || style.after_key == NULL) {
            return lm_run_fail(run, node->line, TEMPER_NO_MEMORY, "no memory");
        }
    }
    style.ascii = given[0] != NULL && lm_value_true(given[0]);
    style.sorted = given[3] != NULL && lm_value_true(given[3]);
    return lm_value_json(run, value, &style, out);
}

static temper_status field_of(lm_run *run, const lm_value *item, const lm_value *path, lm_value *out);

static temper_status join(lm_run *run, const lm_node *node, const lm_value *value,
                          const lm_value *const *given, lm_value *out) {
    lm_builder builder = {.run = run};
    const lm_value *items;
    size_t count;
    lm_text text, between = {"", 0, NULL, 0};
    temper_status status = lm_value_items(run, node->line, value, &items, &count);
    if (!status && given[0] != NULL) {
        status = lm_value_print(run, given[0], &between);
    }
    for (size_t i = 0; i < count && !status; i++) {
        lm_value item = items[i];
        if (given[1] != NULL) {
            status = field_of(run, &items[i], given[1], &item);
        }
        status = status ? status : lm_value_print(run, &item, &text);
        if (!status) {
            lm_build(&builder, i > 0 ? &between : &(lm_text){"", 0, NULL, 0});
            lm_build(&builder, &text);
            status = builder.status;
        }
    }
    return status ? status : lm_build_end(&builder, out);
}

static temper_status same(lm_run *run, const lm_node *node, const lm_value *value,
                          const lm_value *const *given, lm_value *out) {
    return string(run, node, value, given, out);
}

static temper_status items_filter(lm_run *run, const lm_node *node, const lm_value *value,
                                  const lm_value *const *given, lm_value *out) {
    lm_node method = {.line = node->line, .name = "items"};
    lm_arguments none = {0};
    (void)given;
    if (value->kind == LM_UNDEFINED) {
        *out = lm_value_list(NULL, 0);
        return TEMPER_OK;
    }
    return value->kind == LM_DICT
               ? lm_method(run, &method, value, &none, out)
               : lm_run_fail(run, node->line, TEMPER_INVALID, "items of %s", lm_value_kind_name(value));
}

static temper_status list(lm_run *run, const lm_node *node, const lm_value *value,
                          const lm_value *const *given, lm_value *out) {
    const lm_value *items;
    size_t count;
    (void)given;
    temper_status status = lm_value_items(run, node->line, value, &items, &count);
    *out = lm_value_list(items, count);
    return status;
}

static temper_status ends(lm_run *run, const lm_node *node, const lm_value *value,
                          const lm_value *const *given, lm_value *out) {
    const lm_value *items;
    size_t count;
    (void)given;
    temper_status status = lm_value_items(run, node->line, value, &items, &count);
    *out = status || count == 0 ? lm_value_undefined("an item of nothing")
                                : items[node->name[0] == 'f' ? 0 : count - 1];
    return status;
}

static temper_status reverse(lm_run *run, const lm_node *node, const lm_value *value,
                             const lm_value *const *given, lm_value *out) {
    lm_builder builder = {.run = run};
    const lm_value *items;
    size_t count;
    (void)given;
    temper_status status = lm_value_items(run, node->line, value, &items, &count);
    lm_value *turned = status ? NULL : lm_run_get(run, count, sizeof *turned);
    if (turned == NULL) {
        return status ? status : TEMPER_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        turned[i] = items[count - 1 - i];
        if (value->kind == LM_TEXT) {
            lm_build(&builder, &turned[i].text);
        }
    }
    *out = lm_value_list(turned, count);
    return value->kind == LM_TEXT ? lm_build_end(&builder, out) : lm_run_work(run, count * 16);
}

static temper_status replace(lm_run *run, const lm_node *node, const lm_value *value,
                             const lm_value *const *given, lm_value *out) {
    lm_text text, from, to;
    int64_t most = -1;
    temper_status status;
    if (given[0] == NULL || given[1] == NULL ||
        (or_null(given[2]) != NULL && !lm_value_whole(given[2], &most))) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "replace takes two texts, and perhaps a number");
    }
    if ((status = lm_value_print(run, value, &text)) || (status = lm_value_print(run, given[0], &from)) ||
        (status = lm_value_print(run, given[1], &to))) {
        return status;
    }
    return lm_replace(run, &text, &from, &to, most, out);
}

/* Every line after the first (or with it), unless blank, moved to the right. */
static temper_status indent(lm_run *run, const lm_node *node, const lm_value *value,
                            const lm_value *const *given, lm_value *out) {
    lm_builder builder = {.run = run};
    lm_text text;
    int64_t width = 4;
    bool first = given[1] != NULL && lm_value_true(given[1]),
         blank = given[2] != NULL && lm_value_true(given[2]);
    lm_value margin = {.kind = LM_NONE};
    temper_status status = lm_value_print(run, value, &text);
    if (!status && given[0] != NULL && given[0]->kind == LM_TEXT) {
        margin = *given[0];
    } else if (!status &&
               ((given[0] != NULL && !lm_value_whole(given[0], &width)) || width < 0 || width > 1000)) {
        return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "indent: this width is not supported");
    }
    for (size_t at = 0; at < text.length && !status && !builder.status;) {
        const char *newline = memchr(text.bytes + at, '\n', text.length - at);
        size_t end = newline == NULL ? text.length : (size_t)(newline - text.bytes) + 1;
        lm_text line = lm_text_part(&text, at, end - at);
        bool empty = end - at == 1 && newline != NULL;
        if ((at > 0 || first) && (blank || !empty)) {
            if (margin.kind == LM_TEXT) {
                lm_build(&builder, &margin.text);
            }
            for (int64_t i = 0; margin.kind != LM_TEXT && i < width; i++) {
                lm_build_word(&builder, " ");
            }
        }
        lm_build(&builder, &line);
        at = end;
    }
    return status ? status : lm_build_end(&builder, out);
}

/* "a.b" or a number, of dicts and lists. */
static temper_status field_of(lm_run *run, const lm_value *item, const lm_value *path, lm_value *out) {
    lm_value at = *item;
    temper_status status = TEMPER_OK;
    int64_t number;
    if (lm_value_whole(path, &number)) {
        *out = item->kind == LM_LIST && number >= 0 && number < (int64_t)item->list.count
                   ? item->list.items[number]
                   : lm_value_undefined("an item that is not there");
        return TEMPER_OK;
    }
    if (path->kind != LM_TEXT) {
        return lm_run_fail(run, run->line, TEMPER_INVALID, "an attribute named by %s",
                           lm_value_kind_name(path));
    }
    for (size_t from = 0; from <= path->text.length && !status;) {
        const char *point =
            path->text.length == 0 ? NULL : memchr(path->text.bytes + from, '.', path->text.length - from);
        size_t end = point == NULL ? path->text.length : (size_t)(point - path->text.bytes);
        lm_value key = {.kind = LM_TEXT, .text = lm_text_part(&path->text, from, end - from)};
        if (at.kind == LM_DICT) {
            lm_value of = at;
            status = lm_dict_get(run, &of, &key, &at);
        } else {
            at = lm_value_undefined("an attribute that is not there");
        }
        from = end + 1;
    }
    *out = at;
    return status;
}

/* select, reject, selectattr, rejectattr: items for which a test holds; without one, those that are true. */
static temper_status choose(lm_run *run, const lm_node *node, const char *name, const lm_value *value,
                            const lm_arguments *arguments, lm_value *out) {
    const lm_value *items;
    size_t count, used = 0;
    bool by_field = strlen(name) > 6, keep = name[0] == 's';
    char *test = NULL;
    const lm_value nothing = lm_value_list(NULL, 0), *over = lm_value_true(value) ? value : &nothing;
    temper_status status = lm_value_items(run, node->line, over, &items, &count);
    lm_value *kept = status ? NULL : lm_run_get(run, count, sizeof *kept);
    if (kept == NULL) {
        return status ? status : TEMPER_NO_MEMORY;
    }
    if (arguments->count > by_field) {
        const lm_value *which = &arguments->values[by_field];
        test =
            which->kind != LM_TEXT ? NULL : lm_arena_copy(&run->arena, which->text.bytes, which->text.length);
    }
    if (arguments->count < by_field || (arguments->count > by_field && test == NULL)) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "%s takes a name", name);
    }
    size_t skip = (size_t)by_field + (test != NULL);
    lm_arguments rest = {arguments->values + skip, arguments->names + skip, arguments->count - skip};
    for (size_t i = 0; i < count && !status; i++) {
        lm_value field = items[i];
        bool holds;
        if (by_field) {
            status = field_of(run, &items[i], &arguments->values[0], &field);
        }
        holds = lm_value_true(&field);
        if (!status && test != NULL) {
            status = lm_test(run, node, test, &field, &rest, &holds);
        }
        status = status ? status : lm_run_work(run, 64);
        if (holds == keep) {
            kept[used++] = items[i];
        }
    }
    *out = lm_value_list(kept, used);
    return status;
}

/* map(attribute="name", default=...), or map("filter", ...). */
static temper_status map(lm_run *run, const lm_node *node, const lm_value *value,
                         const lm_arguments *arguments, lm_value *out) {
    static const char *const names[] = {"", "attribute", "default", NULL};
    const lm_value *items, *given[LM_MAX_NAMED] = {NULL};
    size_t count;
    bool by_field = arguments->count > 0 && arguments->names[0] != NULL;
    const lm_value nothing = lm_value_list(NULL, 0), *over = lm_value_true(value) ? value : &nothing;
    temper_status status = lm_value_items(run, node->line, over, &items, &count);
    lm_value *made = status ? NULL : lm_run_get(run, count, sizeof *made);
    char *filter = NULL;
    if (made == NULL) {
        return status ? status : TEMPER_NO_MEMORY;
    }
    if (by_field) {
        status = lm_arguments_name(run, node, arguments, names, given);
    } else if (arguments->count > 0 && arguments->values[0].kind == LM_TEXT) {
        filter =
            lm_arena_copy(&run->arena, arguments->values[0].text.bytes, arguments->values[0].text.length);
    }
    if (!status && filter == NULL && given[1] == NULL) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "map takes attribute=... or a filter's name");
    }
    for (size_t i = 0; i < count && !status; i++) {
        if (filter != NULL) {
            lm_arguments rest = {arguments->values + 1, arguments->names + 1, arguments->count - 1};
            lm_node named = *node;
            named.name = filter;
            status = strcmp(filter, "map") == 0 ? lm_unsupported(run, node, "filter in itself,")
                                                : lm_filter(run, &named, filter, &items[i], &rest, &made[i]);
        } else {
            status = field_of(run, &items[i], given[1], &made[i]);
            if (!status && made[i].kind == LM_UNDEFINED && given[2] != NULL) {
                made[i] = *given[2];
            }
        }
        status = status ? status : lm_run_work(run, 64);
    }
    *out = lm_value_list(made, count);
    return status;
}

/* What sorting compares: texts without regard to case, unless asked. */
static temper_status sort_key(lm_run *run, const lm_node *node, const lm_value *item, const lm_value *field,
                              bool cased, lm_value *out) {
    temper_status status = TEMPER_OK;
    *out = *item;
    if (field != NULL) {
        status = field_of(run, item, field, out);
    }
    return !status && out->kind == LM_TEXT && !cased ? lm_recase(run, node, &out->text, LM_LOWER, out)
                                                     : status;
}

/* Stable, by insertion: lists in templates are short, and steps are counted. */
static temper_status sort_items(lm_run *run, const lm_node *node, lm_value *items, size_t count,
                                const lm_value *field, bool cased, bool down) {
    lm_value *keys = lm_run_get(run, count, sizeof *keys);
    temper_status status = keys == NULL ? TEMPER_NO_MEMORY : TEMPER_OK;
    for (size_t i = 0; i < count && !status; i++) {
        lm_value item = items[i], key;
        size_t at = i;
        status = sort_key(run, node, &item, field, cased, &key);
        for (int sign = 0; at > 0 && !status; at--) {
            status = lm_run_work(run, 64);
            status = status ? status : lm_value_order(run, node->line, &keys[at - 1], &key, &sign);
            if (status || (down ? sign >= 0 : sign <= 0)) {
                break;
            }
            keys[at] = keys[at - 1];
            items[at] = items[at - 1];
        }
        keys[at] = key;
        items[at] = item;
    }
    return status;
}

static temper_status copy_items(lm_run *run, const lm_node *node, const lm_value *value, lm_value **out,
                                size_t *count) {
    const lm_value *items;
    temper_status status = lm_value_items(run, node->line, value, &items, count);
    *out = status ? NULL : lm_run_get(run, *count, sizeof **out);
    if (*out == NULL) {
        return status ? status : TEMPER_NO_MEMORY;
    }
    if (*count > 0) {
        memcpy(*out, items, *count * sizeof **out);
    }
    return TEMPER_OK;
}

static temper_status sort(lm_run *run, const lm_node *node, const lm_value *value,
                          const lm_value *const *given, lm_value *out) {
    lm_value *items;
    size_t count;
    temper_status status = copy_items(run, node, value, &items, &count);
    status = status ? status
                    : sort_items(run, node, items, count, or_null(given[2]),
                                 given[1] != NULL && lm_value_true(given[1]),
                                 given[0] != NULL && lm_value_true(given[0]));
    *out = lm_value_list(items, count);
    return status;
}

static temper_status dictsort(lm_run *run, const lm_node *node, const lm_value *value,
                              const lm_value *const *given, lm_value *out) {
    lm_value pairs, which = lm_value_integer(given[1] != NULL && lm_value_is(given[1], "value")), *items;
    size_t count;
    temper_status status = items_filter(run, node, value, given, &pairs);
    status = status ? status : copy_items(run, node, &pairs, &items, &count);
    if (status) {
        return status;
    }
    *out = lm_value_list(items, count);
    return sort_items(run, node, items, count, &which, given[0] != NULL && lm_value_true(given[0]),
                      given[2] != NULL && lm_value_true(given[2]));
}

static temper_status extreme(lm_run *run, const lm_node *node, const lm_value *value,
                             const lm_value *const *given, lm_value *out) {
    const lm_value *order[3] = {given[2], given[0], given[1]};
    lm_value down = lm_value_bool(node->name[1] == 'a'), sorted;
    order[0] = &down;
    temper_status status = sort(run, node, value, order, &sorted);
    *out =
        status || sorted.list.count == 0 ? lm_value_undefined("the least of nothing") : sorted.list.items[0];
    return status;
}

static temper_status unique(lm_run *run, const lm_node *node, const lm_value *value,
                            const lm_value *const *given, lm_value *out) {
    lm_value *items, key, other;
    size_t count, used = 0;
    bool cased = given[0] != NULL && lm_value_true(given[0]);
    temper_status status = copy_items(run, node, value, &items, &count);
    for (size_t i = 0; i < count && !status; i++) {
        bool known = false;
        status = sort_key(run, node, &items[i], or_null(given[1]), cased, &key);
        for (size_t k = 0; k < used && !known && !status; k++) {
            status = sort_key(run, node, &items[k], or_null(given[1]), cased, &other);
            status = status ? status : lm_value_equal(run, &key, &other, &known);
        }
        items[used] = items[i];
        used += !known;
    }
    *out = lm_value_list(items, used);
    return status;
}

static temper_status to_integer(lm_run *run, const lm_node *node, const lm_value *value,
                                const lm_value *const *given, lm_value *out) {
    char text[64], *end = text;
    int64_t whole;
    (void)run;
    (void)node;
    *out = given[0] != NULL ? *given[0] : lm_value_integer(0);
    if (lm_value_whole(value, &whole)) {
        *out = lm_value_integer(whole);
    } else if (value->kind == LM_FLOAT && value->number > -9e18 && value->number < 9e18) {
        *out = lm_value_integer((int64_t)value->number);
    } else if (value->kind == LM_TEXT && value->text.length > 0 && value->text.length < sizeof text) {
        memcpy(text, value->text.bytes, value->text.length);
        text[value->text.length] = 0;
        double number = strtod(text, &end);
        end += lm_space_front(end, strlen(end));
        if (*end == 0 && end != text && number > -9e15 && number < 9e15) {
            *out = lm_value_integer((int64_t)number);
        }
    }
    return TEMPER_OK;
}

static temper_status to_float(lm_run *run, const lm_node *node, const lm_value *value,
                              const lm_value *const *given, lm_value *out) {
    char text[64], *end = text;
    double number;
    (void)run;
    (void)node;
    *out = given[0] != NULL ? *given[0] : lm_value_float(0);
    if (lm_value_number(value, &number)) {
        *out = lm_value_float(number);
    } else if (value->kind == LM_TEXT && value->text.length > 0 && value->text.length < sizeof text) {
        memcpy(text, value->text.bytes, value->text.length);
        text[value->text.length] = 0;
        number = strtod(text, &end);
        end += lm_space_front(end, strlen(end));
        *out = *end == 0 && end != text ? lm_value_float(number) : *out;
    }
    return TEMPER_OK;
}

static temper_status sum(lm_run *run, const lm_node *node, const lm_value *value,
                         const lm_value *const *given, lm_value *out) {
    const lm_value *items;
    size_t count;
    int64_t total = 0, whole;
    temper_status status = lm_value_items(run, node->line, value, &items, &count);
    for (size_t i = 0; i < count && !status; i++) {
        lm_value item = items[i];
        if (or_null(given[0]) != NULL) {
            status = field_of(run, &items[i], given[0], &item);
        }
        if (!status && (!lm_value_whole(&item, &whole) || __builtin_add_overflow(total, whole, &total))) {
            status = lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "a sum of what are no whole numbers");
        }
    }
    *out = lm_value_integer(total);
    return status;
}

static temper_status absolute(lm_run *run, const lm_node *node, const lm_value *value,
                              const lm_value *const *given, lm_value *out) {
    int64_t whole;
    (void)given;
    if (value->kind == LM_FLOAT) {
        *out = lm_value_float(value->number < 0 ? -value->number : value->number);
        return TEMPER_OK;
    }
    if (!lm_value_whole(value, &whole) || whole == INT64_MIN) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "abs of %s", lm_value_kind_name(value));
    }
    *out = lm_value_integer(whole < 0 ? -whole : whole);
    return TEMPER_OK;
}

static const struct filter {
    const char *name;
    lm_filter_function *function;
    const char *parameters[LM_MAX_NAMED];
} filters[] = {
    {"trim", trim, {"chars"}},
    {"string", string, {NULL}},
    {"safe", same, {NULL}},
    {"length", length, {NULL}},
    {"count", length, {NULL}},
    {"default", fallback, {"default_value", "boolean"}},
    {"d", fallback, {"default_value", "boolean"}},
    {"upper", recase, {NULL}},
    {"lower", recase, {NULL}},
    {"title", recase, {NULL}},
    {"capitalize", recase, {NULL}},
    {"tojson", tojson, {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {"join", join, {"d", "attribute"}},
    {"items", items_filter, {NULL}},
    {"list", list, {NULL}},
    {"first", ends, {NULL}},
    {"last", ends, {NULL}},
    {"reverse", reverse, {NULL}},
    {"replace", replace, {"old", "new", "count"}},
    {"indent", indent, {"width", "first", "blank"}},
    {"sort", sort, {"reverse", "case_sensitive", "attribute"}},
    {"dictsort", dictsort, {"case_sensitive", "by", "reverse"}},
    {"min", extreme, {"case_sensitive", "attribute"}},
    {"max", extreme, {"case_sensitive", "attribute"}},
    {"unique", unique, {"case_sensitive", "attribute"}},
    {"int", to_integer, {"default"}},
    {"float", to_float, {"default"}},
    {"sum", sum, {"attribute"}},
    {"abs", absolute, {NULL}},
};

temper_status lm_filter(lm_run *run, const lm_node *node, const char *name, const lm_value *value,
                        const lm_arguments *arguments, lm_value *out) {
    const lm_value *given[LM_MAX_NAMED] = {NULL};
    if (strcmp(name, "select") == 0 || strcmp(name, "reject") == 0 || strcmp(name, "selectattr") == 0 ||
        strcmp(name, "rejectattr") == 0) {
        return choose(run, node, name, value, arguments, out);
    }
    if (strcmp(name, "map") == 0) {
        return map(run, node, value, arguments, out);
    }
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        if (strcmp(filters[i].name, name) == 0) {
            temper_status status = lm_arguments_name(run, node, arguments, filters[i].parameters, given);
            return status ? status : filters[i].function(run, node, value, given, out);
        }
    }
    return lm_unsupported(run, node, "filter");
}

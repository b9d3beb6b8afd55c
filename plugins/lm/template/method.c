/* method.c: methods of texts and dicts, as Python has them and transformers' sandbox lets them be called.
 *
 * Invariant: nothing changes a value in place; what Python's would (append, pop, update) is refused, as there. */
#include "internal.h"

#include <string.h>

static const char *const text_methods[] = {
    "strip",   "lstrip",     "rstrip",       "startswith",   "endswith", "split",  "rsplit", "replace",
    "upper",   "lower",      "title",        "capitalize",   "join",     "find",   "count",  "isdigit",
    "isspace", "splitlines", "removeprefix", "removesuffix", "index",    "format", NULL};
static const char *const dict_methods[] = {"get",    "items", "keys",       "values",  "copy",     "pop",
                                           "update", "clear", "setdefault", "popitem", "fromkeys", NULL};
static const char *const list_methods[] = {"append", "extend", "insert", "remove",  "pop",  "clear",
                                           "index",  "count",  "sort",   "reverse", "copy", NULL};

static bool in_list(const char *const *names, const char *name) {
    while (*names != NULL && strcmp(*names, name) != 0) {
        names++;
    }
    return *names != NULL;
}

bool lm_is_method(const lm_value *value, const char *name) {
    return (value->kind == LM_TEXT && in_list(text_methods, name)) ||
           (value->kind == LM_DICT && in_list(dict_methods, name)) ||
           (value->kind == LM_LIST && in_list(list_methods, name));
}

static bool holds_character(const lm_text *characters, const lm_text *text, size_t at, size_t size) {
    for (size_t i = 0; i < characters->length;) {
        size_t width = lm_text_character(characters, i);
        if (width == size && memcmp(characters->bytes + i, text->bytes + at, size) == 0) {
            return true;
        }
        i += width;
    }
    return false;
}

temper_status lm_strip(lm_run *run, const lm_text *text, const lm_value *characters, bool front, bool back,
                       lm_value *out) {
    size_t from = 0, to = text->length;
    *out = (lm_value){.kind = LM_TEXT};
    if (characters == NULL || characters->kind == LM_NONE) {
        from = front ? lm_space_front(text->bytes, text->length) : 0;
        to -= back ? lm_space_back(text->bytes + from, text->length - from) : 0;
    } else if (characters->kind != LM_TEXT) {
        return lm_run_fail(run, run->line, TEMPER_INVALID, "stripping %s", lm_value_kind_name(characters));
    } else {
        while (front && from < to) {
            size_t size = lm_text_character(text, from);
            if (!holds_character(&characters->text, text, from, size)) {
                break;
            }
            from += size;
        }
        while (back && to > from) {
            size_t size = 1;
            while (to - size > from && ((unsigned char)text->bytes[to - size] & 0xC0) == 0x80) {
                size++;
            }
            if (!holds_character(&characters->text, text, to - size, size)) {
                break;
            }
            to -= size;
        }
        run->steps += characters->text.length;
    }
    out->text = lm_text_part(text, from, to - from);
    return lm_run_work(run, text->length);
}

/* Where `what` stands from `at` on; SIZE_MAX: nowhere. */
static size_t find(const lm_text *text, size_t at, const lm_text *what) {
    if (what->length > text->length - at) {
        return SIZE_MAX;
    }
    const char *found = what->length == 0
                            ? text->bytes + at
                            : memmem(text->bytes + at, text->length - at, what->bytes, what->length);
    return found == NULL ? SIZE_MAX : (size_t)(found - text->bytes);
}

temper_status lm_replace(lm_run *run, const lm_text *text, const lm_text *from, const lm_text *to,
                         int64_t most, lm_value *out) {
    lm_builder builder = {.run = run};
    size_t at = 0;
    for (int64_t done = 0; (most < 0 || done < most) && !builder.status; done++) {
        size_t hit = find(text, at, from), skip = from->length;
        if (hit == SIZE_MAX) {
            break;
        }
        lm_text before = lm_text_part(text, at, hit - at);
        lm_build(&builder, &before);
        lm_build(&builder, to);
        run->steps++;
        if (skip == 0) { /* between all characters, and at both ends */
            if (hit == text->length) {
                return lm_build_end(&builder, out);
            }
            skip = lm_text_character(text, hit);
            before = lm_text_part(text, hit, skip);
            lm_build(&builder, &before);
        }
        at = hit + skip;
    }
    lm_text rest = lm_text_part(text, at, text->length - at);
    lm_build(&builder, &rest);
    return lm_build_end(&builder, out);
}

temper_status lm_recase(lm_run *run, const lm_node *node, const lm_text *text, int how, lm_value *out) {
    char *bytes = lm_run_get(run, text->length + 1, 1);
    bool inside = false; /* a word */
    if (bytes == NULL) {
        return TEMPER_NO_MEMORY;
    }
    for (size_t i = 0; i < text->length; i++) {
        char c = text->bytes[i];
        bool upper = c >= 'A' && c <= 'Z', lower = c >= 'a' && c <= 'z';
        bool up = how == LM_UPPER || (how == LM_TITLE && !inside) || (how == LM_CAPITALIZE && i == 0);
        if ((unsigned char)c >= 0x80) {
            return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED,
                               "\"%.40s\" of letters beyond ASCII is not supported", node->name);
        }
        bytes[i] = up && lower ? (char)(c - 32) : !up && upper ? (char)(c + 32) : c;
        inside = upper || lower;
    }
    *out = (lm_value){.kind = LM_TEXT, .text = {bytes, text->length, text->marks, text->mark}};
    return lm_run_work(run, text->length);
}

typedef struct lm_items {
    lm_value *items;
    size_t count, capacity;
} lm_items;

static temper_status add(lm_run *run, lm_items *self, const lm_text *text, size_t from, size_t to) {
    if (self->count == self->capacity) {
        size_t capacity = self->capacity == 0 ? 8 : self->capacity * 2;
        lm_value *items = lm_run_get(run, capacity, sizeof *items);
        if (items == NULL) {
            return TEMPER_NO_MEMORY;
        }
        if (self->count > 0) {
            memcpy(items, self->items, self->count * sizeof *items);
        }
        self->items = items;
        self->capacity = capacity;
    }
    self->items[self->count++] = (lm_value){.kind = LM_TEXT, .text = lm_text_part(text, from, to - from)};
    run->steps++;
    return TEMPER_OK;
}

/* At runs of white space, none at the ends. */
static temper_status split_blank(lm_run *run, const lm_text *text, int64_t most, lm_items *out) {
    size_t at = lm_space_front(text->bytes, text->length);
    temper_status status = TEMPER_OK;
    while (at < text->length && !status) {
        size_t end = at;
        if (most == 0) {
            return add(run, out, text, at, text->length - lm_space_back(text->bytes + at, text->length - at));
        }
        while (end < text->length && lm_space_front(text->bytes + end, lm_text_character(text, end)) == 0) {
            end += lm_text_character(text, end);
        }
        status = add(run, out, text, at, end);
        most -= most > 0;
        at = end + lm_space_front(text->bytes + end, text->length - end);
    }
    return status;
}

static size_t find_last(const lm_text *text, size_t end, const lm_text *what) {
    for (size_t at = end < what->length ? SIZE_MAX : end - what->length; at != SIZE_MAX; at--) {
        if (memcmp(text->bytes + at, what->bytes, what->length) == 0) {
            return at;
        }
    }
    return SIZE_MAX;
}

static temper_status split_last(lm_run *run, const lm_text *text, const lm_text *at, int64_t most,
                                lm_items *out) {
    size_t end = text->length, hit;
    temper_status status = TEMPER_OK;
    while (!status && most-- != 0 && (hit = find_last(text, end, at)) != SIZE_MAX) {
        status = add(run, out, text, hit + at->length, end);
        end = hit;
    }
    status = status ? status : add(run, out, text, 0, end);
    for (size_t i = 0; i < out->count / 2; i++) {
        lm_value other = out->items[i];
        out->items[i] = out->items[out->count - 1 - i];
        out->items[out->count - 1 - i] = other;
    }
    return status;
}

static temper_status split(lm_run *run, const lm_node *node, const lm_text *text, const lm_value *separator,
                           const lm_value *limit, bool last, lm_value *out) {
    lm_items items = {0};
    int64_t most = -1;
    size_t at = 0, hit;
    temper_status status = lm_run_work(run, text->length);
    if (limit != NULL && !lm_value_whole(limit, &most)) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "split takes a whole number of parts");
    }
    if (separator == NULL || separator->kind == LM_NONE) {
        if (last && most >= 0) {
            return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "rsplit at white space is not supported");
        }
        status = status ? status : split_blank(run, text, most, &items);
    } else if (separator->kind != LM_TEXT || separator->text.length == 0) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "split at what is no text, or an empty one");
    } else if (last) {
        status = status ? status : split_last(run, text, &separator->text, most, &items);
    } else {
        while (!status && most-- != 0 && (hit = find(text, at, &separator->text)) != SIZE_MAX) {
            status = add(run, &items, text, at, hit);
            at = hit + separator->text.length;
        }
        status = status ? status : add(run, &items, text, at, text->length);
    }
    *out = lm_value_list(items.items, items.count);
    return status;
}

static temper_status split_lines(lm_run *run, const lm_text *text, lm_value *out) {
    lm_items items = {0};
    size_t at = 0;
    temper_status status = lm_run_work(run, text->length);
    for (size_t i = 0; i < text->length && !status; i++) {
        if (text->bytes[i] == '\n' || text->bytes[i] == '\r') {
            status = add(run, &items, text, at, i);
            i += text->bytes[i] == '\r' && i + 1 < text->length && text->bytes[i + 1] == '\n';
            at = i + 1;
        }
    }
    if (!status && at < text->length) {
        status = add(run, &items, text, at, text->length);
    }
    *out = lm_value_list(items.items, items.count);
    return status;
}

/* A text, or a tuple of them of which one is enough. */
static temper_status begins_or_ends(lm_run *run, const lm_node *node, const lm_text *text,
                                    const lm_value *with, bool begins, bool *out) {
    const lm_value *items = with;
    size_t count = 1;
    if (with != NULL && with->kind == LM_LIST && with->list.tuple) {
        items = with->list.items;
        count = with->list.count;
    }
    *out = false;
    for (size_t i = 0; i < count && !*out; i++) {
        if (with == NULL || items[i].kind != LM_TEXT) {
            return lm_run_fail(run, node->line, TEMPER_INVALID, "%s takes a text", node->name);
        }
        size_t size = items[i].text.length;
        *out = size <= text->length && (size == 0 || memcmp(text->bytes + (begins ? 0 : text->length - size),
                                                            items[i].text.bytes, size) == 0);
    }
    return lm_run_work(run, count * 64);
}

static temper_status join(lm_run *run, const lm_node *node, const lm_text *between, const lm_value *over,
                          lm_value *out) {
    lm_builder builder = {.run = run};
    const lm_value *items;
    size_t count;
    temper_status status = lm_value_items(run, node->line, over, &items, &count);
    for (size_t i = 0; i < count && !status && !builder.status; i++) {
        if (items[i].kind != LM_TEXT) {
            return lm_run_fail(run, node->line, TEMPER_INVALID, "join of %s", lm_value_kind_name(&items[i]));
        }
        if (i > 0) {
            lm_build(&builder, between);
        }
        lm_build(&builder, &items[i].text);
    }
    return status ? status : lm_build_end(&builder, out);
}

static bool all_of(const lm_text *text, bool digits) {
    bool all = text->length > 0;
    for (size_t i = 0; i < text->length && all; i++) {
        all = text->bytes[i] >= '0' && text->bytes[i] <= '9';
    }
    return digits ? all : text->length > 0 && lm_space_front(text->bytes, text->length) == text->length;
}

static temper_status count_or_find(lm_run *run, const lm_node *node, const lm_text *text,
                                   const lm_value *what, lm_value *out) {
    int64_t count = 0;
    size_t at = 0, hit;
    if (what == NULL || what->kind != LM_TEXT) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "%s takes a text", node->name);
    }
    if (strcmp(node->name, "count") != 0) {
        hit = find(text, 0, &what->text);
        lm_text before = lm_text_part(text, 0, hit == SIZE_MAX ? 0 : hit);
        if (hit == SIZE_MAX && strcmp(node->name, "index") == 0) {
            return lm_run_fail(run, node->line, TEMPER_INVALID, "index of a text that is not there");
        }
        *out = lm_value_integer(hit == SIZE_MAX ? -1 : (int64_t)lm_text_characters(&before));
    } else if (what->text.length == 0) {
        *out = lm_value_integer((int64_t)lm_text_characters(text) + 1);
    } else {
        for (; (hit = find(text, at, &what->text)) != SIZE_MAX; count++) {
            at = hit + what->text.length;
        }
        *out = lm_value_integer(count);
    }
    return lm_run_work(run, text->length);
}

static temper_status replace_method(lm_run *run, const lm_node *node, const lm_text *text,
                                    const lm_value *const given[3], lm_value *out) {
    int64_t most = -1;
    if (given[0] == NULL || given[1] == NULL || given[0]->kind != LM_TEXT || given[1]->kind != LM_TEXT ||
        (given[2] != NULL && !lm_value_whole(given[2], &most))) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "replace takes two texts, and perhaps a number");
    }
    return lm_replace(run, text, &given[0]->text, &given[1]->text, most, out);
}

static temper_status remove_end(lm_run *run, const lm_node *node, const lm_text *text, const lm_value *what,
                                lm_value *out) {
    bool front = strcmp(node->name, "removeprefix") == 0, holds = false;
    temper_status status = begins_or_ends(run, node, text, what, front, &holds);
    if (!status && what->kind != LM_TEXT) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "%s takes a text", node->name);
    }
    size_t less = !status && holds ? what->text.length : 0;
    *out = (lm_value){.kind = LM_TEXT, .text = lm_text_part(text, front ? less : 0, text->length - less)};
    return status;
}

static temper_status text_method(lm_run *run, const lm_node *node, const lm_value *value,
                                 const lm_arguments *arguments, lm_value *out) {
    static const char *const splits[] = {"sep", "maxsplit", NULL},
                             *const three[] = {"old", "new", "count", NULL}, *const none[] = {NULL};
    const char *name = node->name;
    const lm_text *text = &value->text;
    const lm_value *given[LM_MAX_NAMED] = {NULL};
    bool is_split = strcmp(name, "split") == 0 || strcmp(name, "rsplit") == 0;
    bool bare = strcmp(name, "upper") == 0 || strcmp(name, "lower") == 0 || strcmp(name, "title") == 0 ||
                strcmp(name, "capitalize") == 0 || strcmp(name, "isdigit") == 0 ||
                strcmp(name, "isspace") == 0 || strcmp(name, "splitlines") == 0;
    bool holds = false;
    temper_status status = lm_arguments_name(run, node, arguments,
                                             is_split ? splits
                                             : bare   ? none
                                                      : three,
                                             given);
    if (status) {
        return status;
    }
    if (given[1] != NULL && !is_split && strcmp(name, "replace") != 0) {
        return lm_unsupported(run, node, "second argument of the method");
    }
    if (is_split) {
        return split(run, node, text, given[0], given[1], name[0] == 'r', out);
    }
    if (strcmp(name, "strip") == 0 || strcmp(name, "lstrip") == 0 || strcmp(name, "rstrip") == 0) {
        return lm_strip(run, text, given[0], name[0] != 'r', name[0] != 'l', out);
    }
    if (strcmp(name, "startswith") == 0 || strcmp(name, "endswith") == 0) {
        status = begins_or_ends(run, node, text, given[0], name[0] == 's', &holds);
        *out = lm_value_bool(holds);
        return status;
    }
    if (strcmp(name, "replace") == 0) {
        return replace_method(run, node, text, given, out);
    }
    if (strcmp(name, "join") == 0 && given[0] != NULL) {
        return join(run, node, text, given[0], out);
    }
    if (strcmp(name, "splitlines") == 0) {
        return split_lines(run, text, out);
    }
    if (strcmp(name, "find") == 0 || strcmp(name, "index") == 0 || strcmp(name, "count") == 0) {
        return count_or_find(run, node, text, given[0], out);
    }
    if (strncmp(name, "remove", 6) == 0) {
        return remove_end(run, node, text, given[0], out);
    }
    if (strcmp(name, "isdigit") == 0 || strcmp(name, "isspace") == 0) {
        *out = lm_value_bool(all_of(text, name[2] == 'd'));
        return TEMPER_OK;
    }
    if (bare) {
        return lm_recase(run, node, text,
                         name[0] == 'u'   ? LM_UPPER
                         : name[0] == 'l' ? LM_LOWER
                         : name[0] == 't' ? LM_TITLE
                                          : LM_CAPITALIZE,
                         out);
    }
    return lm_unsupported(run, node, "method");
}

static temper_status dict_method(lm_run *run, const lm_node *node, const lm_value *value,
                                 const lm_arguments *arguments, lm_value *out) {
    const char *name = node->name;
    size_t count = value->dict.count;
    bool items = strcmp(name, "items") == 0, keys = strcmp(name, "keys") == 0;
    if (strcmp(name, "get") == 0 && (arguments->count == 1 || arguments->count == 2)) {
        temper_status status = lm_dict_get(run, value, &arguments->values[0], out);
        if (!status && out->kind == LM_UNDEFINED) {
            *out = arguments->count == 2 ? arguments->values[1] : (lm_value){.kind = LM_NONE};
        }
        return status;
    }
    if (strcmp(name, "copy") == 0 && arguments->count == 0) {
        *out = *value;
        return TEMPER_OK;
    }
    if (arguments->count > 0 || !(items || keys || strcmp(name, "values") == 0)) {
        return lm_run_fail(run, node->line, in_list(dict_methods, name) ? TEMPER_INVALID : TEMPER_UNSUPPORTED,
                           "the method \"%.60s\" of a dict with %zu arguments is not supported", name,
                           arguments->count);
    }
    lm_value *list = lm_run_get(run, count, sizeof *list);
    for (size_t i = 0; list != NULL && i < count; i++) {
        list[i] = value->dict.pairs[2 * i + !keys];
        if (items) {
            list[i] = lm_value_list(&value->dict.pairs[2 * i], 2);
            list[i].list.tuple = true;
        }
    }
    *out = lm_value_list(list, count);
    return list == NULL ? TEMPER_NO_MEMORY : lm_run_work(run, count * 16);
}

temper_status lm_method(lm_run *run, const lm_node *node, const lm_value *value,
                        const lm_arguments *arguments, lm_value *out) {
    lm_value field;
    if (value->kind == LM_TEXT) {
        return text_method(run, node, value, arguments, out);
    }
    if (value->kind == LM_DICT && lm_is_method(value, node->name)) {
        return dict_method(run, node, value, arguments, out);
    }
    if (value->kind == LM_DICT) { /* a macro kept in one */
        lm_value key = lm_value_text(node->name, strlen(node->name), 0);
        temper_status status = lm_dict_get(run, value, &key, &field);
        if (status || field.kind == LM_MACRO) {
            return status ? status : lm_call_macro(run, node, field.macro, arguments, NULL, out);
        }
    }
    if (value->kind == LM_LIST && lm_is_method(value, node->name) && strcmp(node->name, "index") != 0 &&
        strcmp(node->name, "count") != 0 && strcmp(node->name, "copy") != 0) {
        return lm_run_fail(run, node->line, TEMPER_INVALID,
                           "\"%.60s\" would change a list, which a template may not", node->name);
    }
    return lm_unsupported(run, node, "method");
}

/* test.c: what stands after "is". */
#include "internal.h"

#include <string.h>

static bool cased(const lm_text *text, bool upper) {
    bool any = false;
    for (size_t i = 0; i < text->length; i++) {
        char c = text->bytes[i];
        bool is_upper = c >= 'A' && c <= 'Z', is_lower = c >= 'a' && c <= 'z';
        if (upper ? is_lower : is_upper) {
            return false;
        }
        any = any || is_upper || is_lower;
    }
    return any;
}

/* Tests of a kind: no argument. */
static bool of_kind(const char *name, const lm_value *value, bool *holds) {
    lm_value_kind kind = value->kind;
    const struct {
        const char *name;
        bool holds;
    } tests[] = {
        {"defined", kind != LM_UNDEFINED},
        {"undefined", kind == LM_UNDEFINED},
        {"none", kind == LM_NONE},
        {"string", kind == LM_TEXT},
        {"boolean", kind == LM_BOOL},
        {"integer", kind == LM_INTEGER},
        {"float", kind == LM_FLOAT},
        {"number", kind == LM_INTEGER || kind == LM_BOOL || kind == LM_FLOAT},
        {"true", kind == LM_BOOL && value->flag},
        {"false", kind == LM_BOOL && !value->flag},
        {"mapping", kind == LM_DICT},
        {"iterable", kind == LM_TEXT || kind == LM_LIST || kind == LM_DICT || kind == LM_UNDEFINED},
        {"sequence", kind == LM_TEXT || kind == LM_LIST || kind == LM_DICT || kind == LM_UNDEFINED},
        {"callable", kind == LM_MACRO || kind == LM_FUNCTION},
        {"lower", kind == LM_TEXT && cased(&value->text, false)},
        {"upper", kind == LM_TEXT && cased(&value->text, true)},
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (strcmp(tests[i].name, name) == 0) {
            *holds = tests[i].holds;
            return true;
        }
    }
    return false;
}

static bool is_one_of(const char *name, const char *a, const char *b, const char *c) {
    return strcmp(name, a) == 0 || strcmp(name, b) == 0 || strcmp(name, c) == 0;
}

static temper_status against(lm_run *run, const lm_node *node, const char *name, const lm_value *value,
                             const lm_value *other, bool *out) {
    int64_t a, b;
    int sign = 0;
    temper_status status;
    if (is_one_of(name, "equalto", "eq", "==") || is_one_of(name, "ne", "!=", "ne")) {
        status = lm_value_equal(run, value, other, out);
        *out = *out == (name[0] != 'n' && name[0] != '!');
        return status;
    }
    if (strcmp(name, "in") == 0) {
        const lm_value *items;
        size_t count;
        if (other->kind == LM_TEXT) {
            *out = value->kind == LM_TEXT &&
                   (value->text.length == 0 || memmem(other->text.bytes, other->text.length,
                                                      value->text.bytes, value->text.length) != NULL);
            return lm_run_work(run, other->text.length);
        }
        status = lm_value_items(run, node->line, other, &items, &count);
        for (size_t i = 0; i < count && !status && !*out; i++) {
            status = lm_value_equal(run, value, &items[i], out);
        }
        return status;
    }
    if (strcmp(name, "divisibleby") == 0) {
        if (!lm_value_whole(value, &a) || !lm_value_whole(other, &b) || b == 0) {
            return lm_run_fail(run, node->line, TEMPER_INVALID, "divisibleby takes whole numbers");
        }
        *out = b == -1 || a % b == 0;
        return TEMPER_OK;
    }
    bool less = is_one_of(name, "lessthan", "lt", "<"), more = is_one_of(name, "greaterthan", "gt", ">");
    if (!less && !more && !is_one_of(name, "ge", ">=", "ge") && !is_one_of(name, "le", "<=", "le")) {
        return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "the test \"%.60s\" is not supported", name);
    }
    status = lm_value_order(run, node->line, value, other, &sign);
    *out = less ? sign < 0 : more ? sign > 0 : is_one_of(name, "ge", ">=", "ge") ? sign >= 0 : sign <= 0;
    return status;
}

temper_status lm_test(lm_run *run, const lm_node *node, const char *name, const lm_value *value,
                      const lm_arguments *arguments, bool *out) {
    int64_t whole;
    *out = false;
    if (arguments->count == 0 && of_kind(name, value, out)) {
        return TEMPER_OK;
    }
    if (arguments->count == 0 && (strcmp(name, "odd") == 0 || strcmp(name, "even") == 0)) {
        if (!lm_value_whole(value, &whole)) {
            return lm_run_fail(run, node->line, TEMPER_INVALID, "\"%s\" of %s", name,
                               lm_value_kind_name(value));
        }
        *out = (whole & 1) == (name[0] == 'o');
        return TEMPER_OK;
    }
    if (arguments->count == 1 && arguments->names[0] == NULL) {
        return against(run, node, name, value, &arguments->values[0], out);
    }
    return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED,
                       "the test \"%.60s\" with %zu arguments is not supported", name, arguments->count);
}

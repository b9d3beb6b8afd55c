/* texts.c: see texts.h. */
#include "lines/texts.h"

static bool listed(const temper_line *line, uint32_t node, const temper_strings *names) {
    size_t i;
    for (i = 0; i < names->count; i++) {
        if (temper_line_equals(line, node, names->items[i])) {
            return true;
        }
    }
    return false;
}

typedef int visitor(void *context, const temper_line *line, const temper_line_text_at *text);

static int visit_conversation(const temper_line *line, uint32_t array, const char *field,
                              const temper_strings *roles, visitor *visit, void *context, size_t *seen) {
    uint32_t child, end = line->nodes[array].next;
    temper_line_text_at text = {field, 0, 0, 0, 0};
    *seen += end > array + 1;
    for (child = array + 1; child < end; child = line->nodes[child].next, text.position++) {
        int answer;
        text.node = temper_line_member(line, child, "content");
        if (!temper_line_is(line, text.node, TEMPER_NODE_STRING)) {
            continue;
        }
        text.message = child;
        text.role = temper_line_member(line, child, "role");
        text.role = temper_line_is(line, text.role, TEMPER_NODE_STRING) ? text.role : 0;
        if (roles != NULL && roles->count > 0 && (text.role == 0 || !listed(line, text.role, roles))) {
            continue;
        }
        answer = visit(context, line, &text);
        if (answer != 0) {
            return answer;
        }
    }
    return 0;
}

int temper_line_texts(const temper_line *line, const temper_strings *fields, const temper_strings *roles,
                      visitor *visit, void *context, size_t *seen) {
    static const char *const usual[] = {"messages",   "prompt",   "chosen", "rejected",
                                        "completion", "response", "text"};
    const char *const *names = usual;
    size_t i, count = sizeof usual / sizeof *usual, found = 0;
    int answer = 0;
    if (fields != NULL && fields->count > 0) {
        names = fields->items;
        count = fields->count;
    }
    for (i = 0; i < count && answer == 0; i++) {
        uint32_t node = temper_line_member(line, 0, names[i]);
        if (temper_line_is(line, node, TEMPER_NODE_ARRAY)) {
            answer = visit_conversation(line, node, names[i], roles, visit, context, &found);
        } else if (temper_line_is(line, node, TEMPER_NODE_STRING)) {
            temper_line_text_at text = {names[i], node, 0, 0, 0};
            found++;
            answer = visit(context, line, &text);
        }
    }
    if (seen != NULL) {
        *seen = found;
    }
    return answer;
}

bool temper_line_is_answer(const temper_line *line, const temper_line_text_at *text) {
    static const char *const answers[] = {"completion", "response", "chosen", "rejected", "output"};
    size_t i;
    if (text->message != 0) {
        return text->role != 0 && temper_line_equals(line, text->role, "assistant");
    }
    for (i = 0; i < sizeof answers / sizeof *answers; i++) {
        if (strcmp(text->field, answers[i]) == 0) {
            return true;
        }
    }
    return false;
}

const char *temper_line_where(const temper_line *line, const temper_line_text_at *text, char out[64]) {
    if (text->message == 0 || text->role == 0) {
        snprintf(out, 64, "%.60s", text->field);
    } else {
        temper_span role = temper_line_raw(line, text->role);
        snprintf(out, 64, "%.20s[%zu] (%.*s)", text->field, text->position,
                 role.length > 12 ? 12 : (int)role.length, role.data);
    }
    return out;
}

/* shapes.c: see shapes.h. Invariant: a row that is made anew has every text of the old one, in the same order. */
#include "shapes.h"

#include "support/text.h"

static const char *role_of(const temper_line *line, uint32_t node) {
    static const struct {
        const char *name, *role;
    } names[] = {{"user", "user"},
                 {"human", "user"},
                 {"assistant", "assistant"},
                 {"gpt", "assistant"},
                 {"chatgpt", "assistant"},
                 {"bot", "assistant"},
                 {"model", "assistant"},
                 {"system", "system"},
                 {"developer", "developer"},
                 {"tool", "tool"},
                 {"observation", "tool"},
                 {"function", "tool"},
                 {"function_call", "assistant"}};
    size_t i;
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        if (temper_line_equals(line, node, names[i].name)) {
            return names[i].role;
        }
    }
    return NULL;
}

static uint32_t string_member(const temper_line *line, uint32_t object, const char *name) {
    uint32_t node = temper_line_member(line, object, name);
    return temper_line_is(line, node, TEMPER_NODE_STRING) ? node : 0;
}

static uint32_t array_member(const temper_line *line, uint32_t object, const char *name) {
    uint32_t node = temper_line_member(line, object, name);
    return temper_line_is(line, node, TEMPER_NODE_ARRAY) ? node : 0;
}

/* A string node as it stands, quotes and all. */
static void put_node(const temper_line *line, uint32_t node, temper_buffer *out) {
    temper_buffer_append(out, line->text + line->nodes[node].start - 1, line->nodes[node].length + 2);
}

static void put_turn(temper_buffer *out, const char *role, bool *any) {
    temper_buffer_text(out, *any ? ",{\"role\":\"" : "{\"role\":\"");
    temper_buffer_text(out, role);
    temper_buffer_text(out, "\",\"content\":");
    *any = true;
}

/* --- messages, and what is like them ------------------------------------------------------------------------------ */

static bool sound_messages(const temper_line *line, uint32_t array) {
    uint32_t child, end = line->nodes[array].next;
    for (child = array + 1; child < end; child = line->nodes[child].next) {
        uint32_t role = string_member(line, child, "role"),
                 content = temper_line_member(line, child, "content");
        if (role == 0 || content == 0 ||
            (!temper_line_is(line, content, TEMPER_NODE_STRING) &&
             !temper_line_is(line, content, TEMPER_NODE_NULL))) {
            return false;
        }
    }
    return end > array + 1;
}

/* The texts of a list of parts, one after another; false when one of them is no text. */
static bool put_parts(const temper_line *line, uint32_t array, temper_buffer *scratch, temper_buffer *out) {
    uint32_t child, end = line->nodes[array].next;
    temper_buffer whole;
    bool good = true;
    temper_buffer_init(&whole, out->host);
    for (child = array + 1; child < end && good; child = line->nodes[child].next) {
        uint32_t node =
            temper_line_is(line, child, TEMPER_NODE_STRING) ? child : string_member(line, child, "text");
        temper_span text;
        good = node != 0 && temper_line_text(line, node, scratch, &text);
        if (good) {
            temper_buffer_span(&whole, text);
        }
    }
    if (good) {
        temper_quote(out, (temper_span){whole.data == NULL ? "" : whole.data, whole.length});
    }
    out->failed = out->failed || whole.failed;
    temper_buffer_free(&whole);
    return good;
}

/* One turn: {role, content} or {from, value}. */
static bool put_message(const temper_line *line, uint32_t object, temper_buffer *scratch, temper_buffer *out,
                        bool *any) {
    uint32_t who = string_member(line, object, "role"), what = temper_line_member(line, object, "content");
    const char *role;
    who = who != 0 ? who : string_member(line, object, "from");
    what = what != 0 ? what : temper_line_member(line, object, "value");
    role = who == 0 ? NULL : role_of(line, who);
    if (role == NULL || what == 0) {
        return false;
    }
    put_turn(out, role, any);
    if (temper_line_is(line, what, TEMPER_NODE_STRING)) {
        put_node(line, what, out);
    } else if (!temper_line_is(line, what, TEMPER_NODE_ARRAY) || !put_parts(line, what, scratch, out)) {
        return false;
    }
    temper_buffer_append(out, "}", 1);
    return true;
}

static bool put_messages(const temper_line *line, uint32_t system, uint32_t array, temper_buffer *scratch,
                         temper_buffer *out) {
    uint32_t child, end = line->nodes[array].next;
    bool any = false, good = true;
    temper_buffer_append(out, "[", 1);
    if (system != 0 && line->nodes[system].length > 0) {
        put_turn(out, "system", &any);
        put_node(line, system, out);
        temper_buffer_append(out, "}", 1);
    }
    for (child = array + 1; child < end && good; child = line->nodes[child].next) {
        good = put_message(line, child, scratch, out, &any);
    }
    temper_buffer_append(out, "]", 1);
    return good && any;
}

/* A side of a pair: a string, a turn, or turns, as a list of messages. */
static bool put_side(const temper_line *line, uint32_t node, temper_buffer *scratch, temper_buffer *out) {
    bool any = false, good;
    if (temper_line_is(line, node, TEMPER_NODE_ARRAY)) {
        return put_messages(line, 0, node, scratch, out);
    }
    temper_buffer_append(out, "[", 1);
    if (temper_line_is(line, node, TEMPER_NODE_STRING)) {
        put_turn(out, "assistant", &any);
        put_node(line, node, out);
        temper_buffer_append(out, "}", 1);
        good = true;
    } else {
        good = temper_line_is(line, node, TEMPER_NODE_OBJECT) && put_message(line, node, scratch, out, &any);
    }
    temper_buffer_append(out, "]", 1);
    return good;
}

/* Members that the form does not use, behind what was written. */
static void put_others(const temper_line *line, const char *const *used, temper_buffer *out) {
    uint32_t child;
    size_t i;
    for (child = 1; child < line->nodes[0].next; child = line->nodes[child + 1].next) {
        bool known = false;
        for (i = 0; used[i] != NULL && !known; i++) {
            known = temper_line_equals(line, child, used[i]);
        }
        if (!known) {
            const temper_node *value = &line->nodes[child + 1];
            size_t quote = value->kind == TEMPER_NODE_STRING;
            temper_buffer_append(out, ",", 1);
            put_node(line, child, out);
            temper_buffer_append(out, ":", 1);
            temper_buffer_append(out, line->text + value->start - quote, value->length + 2 * quote);
        }
    }
    temper_buffer_append(out, "}", 1);
}

/* --- alpaca ------------------------------------------------------------------------------------------------------- */

/* The turns before the answer: system, history, and the instruction with its input. */
static void put_instruction(const temper_line *line, uint32_t instruction, temper_buffer *scratch,
                            temper_buffer *out, bool *any) {
    uint32_t system = string_member(line, 0, "system"), input = string_member(line, 0, "input"),
             history = array_member(line, 0, "history"), child;
    temper_buffer both;
    temper_span text;
    if (system != 0 && line->nodes[system].length > 0) {
        put_turn(out, "system", any);
        put_node(line, system, out);
        temper_buffer_append(out, "}", 1);
    }
    for (child = history + 1; history != 0 && child < line->nodes[history].next;
         child = line->nodes[child].next) {
        uint32_t asked = child + 1, said = asked < line->nodes[child].next ? line->nodes[asked].next : 0;
        if (temper_line_is(line, child, TEMPER_NODE_ARRAY) && said != 0 && said < line->nodes[child].next &&
            temper_line_is(line, asked, TEMPER_NODE_STRING) &&
            temper_line_is(line, said, TEMPER_NODE_STRING)) {
            put_turn(out, "user", any);
            put_node(line, asked, out);
            temper_buffer_append(out, "}", 1);
            put_turn(out, "assistant", any);
            put_node(line, said, out);
            temper_buffer_append(out, "}", 1);
        }
    }
    put_turn(out, "user", any);
    if (input == 0 || line->nodes[input].length == 0) {
        put_node(line, instruction, out);
        temper_buffer_append(out, "}", 1);
        return;
    }
    temper_buffer_init(&both, out->host);
    if (temper_line_text(line, instruction, scratch, &text)) {
        temper_buffer_span(&both, text);
        temper_buffer_append(&both, "\n", both.length > 0);
    }
    if (temper_line_text(line, input, scratch, &text)) {
        temper_buffer_span(&both, text);
    }
    temper_quote(out, (temper_span){both.data == NULL ? "" : both.data, both.length});
    temper_buffer_append(out, "}", 1);
    out->failed = out->failed || both.failed;
    temper_buffer_free(&both);
}

/* --- dialogues as one text: "\n\nHuman: …\n\nAssistant: …" -------------------------------------------------------- */

static size_t next_turn(temper_span text, size_t at, size_t *marker, bool *human) {
    static const char asks[] = "\n\nHuman:", says[] = "\n\nAssistant:";
    for (; at + sizeof asks - 1 <= text.length; at++) {
        if (memcmp(text.data + at, asks, sizeof asks - 1) == 0) {
            *human = true;
            *marker = sizeof asks - 1;
            return at;
        }
        if (at + sizeof says - 1 <= text.length && memcmp(text.data + at, says, sizeof says - 1) == 0) {
            *human = false;
            *marker = sizeof says - 1;
            return at;
        }
    }
    *marker = 0;
    return text.length;
}

/* The turns of text[0, end); false when it is no such dialogue. */
static bool put_dialogue(temper_span text, size_t end, temper_buffer *out, bool *any) {
    bool human, next_human = false;
    size_t marker, next_marker, at = next_turn(text, 0, &marker, &human);
    if (at != 0 || marker == 0) {
        return false;
    }
    while (marker > 0 && at < end) {
        size_t next = next_turn(text, at + marker, &next_marker, &next_human);
        temper_span turn = {text.data + at + marker, next - at - marker};
        put_turn(out, human ? "user" : "assistant", any);
        temper_quote(out, temper_span_trim(turn));
        temper_buffer_append(out, "}", 1);
        at = next;
        marker = next_marker;
        human = next_human;
    }
    return true;
}

/* Where the last answer begins. */
static size_t last_answer(temper_span text) {
    size_t at = 0, marker, last = text.length;
    bool human;
    for (at = next_turn(text, 0, &marker, &human); marker > 0;
         at = next_turn(text, at + marker, &marker, &human)) {
        last = human ? text.length : at;
    }
    return last;
}

static bool put_dialogues(const temper_line *line, uint32_t chosen, uint32_t rejected, temper_buffer *out) {
    temper_buffer texts[2];
    temper_span text[2] = {{NULL, 0}, {NULL, 0}};
    size_t at[2];
    bool any = false, good;
    temper_buffer_init(&texts[0], out->host);
    temper_buffer_init(&texts[1], out->host);
    good = temper_line_text(line, chosen, &texts[0], &text[0]) &&
           temper_line_text(line, rejected, &texts[1], &text[1]);
    at[0] = good ? last_answer(text[0]) : 0;
    at[1] = good ? last_answer(text[1]) : 0;
    good = good && at[0] < text[0].length && at[1] < text[1].length;
    temper_buffer_text(out, "{\"prompt\":[");
    good = good && put_dialogue(text[0], at[0], out, &any);
    for (size_t side = 0; side < 2 && good; side++) {
        temper_span answer = {text[side].data + at[side], text[side].length - at[side]};
        any = false;
        temper_buffer_text(out, side == 0 ? "],\"chosen\":[" : "],\"rejected\":[");
        good = put_dialogue(answer, answer.length, out, &any);
    }
    temper_buffer_append(out, "]", 1);
    out->failed = out->failed || texts[0].failed || texts[1].failed;
    temper_buffer_free(&texts[0]);
    temper_buffer_free(&texts[1]);
    return good;
}

/* --- which form is it? --------------------------------------------------------------------------------------------- */

static filter_shape made(bool good, const char **why) {
    *why = "a turn has no role that is known, or no text";
    return good ? FILTER_SHAPE_MADE : FILTER_SHAPE_UNKNOWN;
}

static filter_shape make_conversation(const temper_line *line, const char *name, uint32_t turns,
                                      temper_buffer *scratch, temper_buffer *out, const char **why) {
    const char *used[] = {name, "system", "chosen", "rejected", NULL};
    uint32_t chosen = temper_line_member(line, 0, "chosen"),
             rejected = temper_line_member(line, 0, "rejected");
    bool pair = chosen != 0 && rejected != 0, good;
    temper_buffer_text(out, pair ? "{\"prompt\":" : "{\"messages\":");
    good = put_messages(line, string_member(line, 0, "system"), turns, scratch, out);
    if (pair) {
        temper_buffer_text(out, ",\"chosen\":");
        good = good && put_side(line, chosen, scratch, out);
        temper_buffer_text(out, ",\"rejected\":");
        good = good && put_side(line, rejected, scratch, out);
    } else {
        used[2] = NULL;
    }
    put_others(line, used, out);
    return made(good, why);
}

static filter_shape make_alpaca(const temper_line *line, uint32_t instruction, temper_buffer *scratch,
                                temper_buffer *out, const char **why) {
    static const char *const used[] = {"instruction", "input",  "output",   "system",
                                       "history",     "chosen", "rejected", NULL};
    uint32_t output = temper_line_member(line, 0, "output"), chosen = temper_line_member(line, 0, "chosen"),
             rejected = temper_line_member(line, 0, "rejected");
    bool any = false, good = true;
    if (temper_line_is(line, output, TEMPER_NODE_ARRAY) && line->nodes[output].next > output + 1) {
        chosen = output + 1;
        rejected = line->nodes[chosen].next < line->nodes[output].next ? line->nodes[chosen].next : 0;
    }
    temper_buffer_text(out, chosen != 0 && rejected != 0 ? "{\"prompt\":[" : "{\"messages\":[");
    put_instruction(line, instruction, scratch, out, &any);
    if (chosen != 0 && rejected != 0) {
        temper_buffer_text(out, "],\"chosen\":");
        good = put_side(line, chosen, scratch, out);
        temper_buffer_text(out, ",\"rejected\":");
        good = good && put_side(line, rejected, scratch, out);
    } else {
        good = temper_line_is(line, output, TEMPER_NODE_STRING);
        if (good) {
            put_turn(out, "assistant", &any);
            put_node(line, output, out);
            temper_buffer_append(out, "}", 1);
        }
        temper_buffer_append(out, "]", 1);
    }
    put_others(line, used, out);
    return made(good, why);
}

filter_shape filter_shape_of(const temper_line *line, temper_buffer *scratch, temper_buffer *out,
                             const char **why) {
    static const char *const pair[] = {"chosen", "rejected", NULL}, *const completed[] = {"prompt",
                                                                                          "completion", NULL};
    uint32_t messages = array_member(line, 0, "messages"), turns = array_member(line, 0, "conversations"),
             chosen = temper_line_member(line, 0, "chosen"),
             rejected = temper_line_member(line, 0, "rejected"),
             prompt = temper_line_member(line, 0, "prompt"),
             completion = temper_line_member(line, 0, "completion"),
             instruction = string_member(line, 0, "instruction");
    temper_buffer_clear(out);
    if (messages != 0 && sound_messages(line, messages)) {
        return FILTER_SHAPE_AS_IT_IS;
    }
    if (messages != 0 || turns != 0) {
        return make_conversation(line, messages != 0 ? "messages" : "conversations",
                                 messages != 0 ? messages : turns, scratch, out, why);
    }
    if (instruction != 0) {
        return make_alpaca(line, instruction, scratch, out, why);
    }
    if (prompt != 0 && chosen != 0 && rejected != 0) {
        return FILTER_SHAPE_AS_IT_IS;
    }
    if (temper_line_is(line, chosen, TEMPER_NODE_STRING) &&
        temper_line_is(line, rejected, TEMPER_NODE_STRING)) {
        bool good = put_dialogues(line, chosen, rejected, out);
        put_others(line, pair, out);
        *why = "chosen and rejected are no dialogues of Human and Assistant, and there is no prompt";
        return good ? FILTER_SHAPE_MADE : FILTER_SHAPE_UNKNOWN;
    }
    if (temper_line_is(line, prompt, TEMPER_NODE_STRING) &&
        temper_line_is(line, completion, TEMPER_NODE_STRING)) {
        bool any = false;
        temper_buffer_text(out, "{\"messages\":[");
        put_turn(out, "user", &any);
        put_node(line, prompt, out);
        temper_buffer_append(out, "}", 1);
        put_turn(out, "assistant", &any);
        put_node(line, completion, out);
        temper_buffer_text(out, "}]");
        put_others(line, completed, out);
        return FILTER_SHAPE_MADE;
    }
    if (string_member(line, 0, "text") != 0) {
        return FILTER_SHAPE_AS_IT_IS;
    }
    *why = "it has neither messages, conversations, instruction, prompt with chosen and rejected or "
           "completion, nor text";
    return FILTER_SHAPE_UNKNOWN;
}

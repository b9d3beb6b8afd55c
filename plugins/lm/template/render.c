/* render.c: a compiled template and messages to text, each byte with its author.
 *
 * Invariant: text, author, message and generated have `length` items each; a byte is the template's unless a value that came
 * from a message was printed. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };

static temper_status make_room(lm_run *run, size_t length) {
    lm_rendering *out = run->out;
    if (length > LM_TEMPLATE_OUTPUT - out->length) {
        return lm_run_fail(run, run->line, TEMPER_INVALID, "more than %d bytes of output",
                           LM_TEMPLATE_OUTPUT);
    }
    if (length <= run->capacity - out->length && out->text != NULL) {
        return TEMPER_OK;
    }
    size_t capacity = run->capacity == 0 ? 1024 : run->capacity;
    while (capacity < out->length + length) {
        capacity *= 2;
    }
    char *text = realloc(out->text, capacity + 1);
    out->text = text != NULL ? text : out->text;
    uint8_t *author = text == NULL ? NULL : realloc(out->author, capacity);
    out->author = author != NULL ? author : out->author;
    uint32_t *message = author == NULL ? NULL : realloc(out->message, capacity * sizeof *message);
    out->message = message != NULL ? message : out->message;
    uint8_t *generated = message == NULL ? NULL : realloc(out->generated, capacity);
    out->generated = generated != NULL ? generated : out->generated;
    if (generated == NULL) {
        return lm_run_fail(run, run->line, TEMPER_NO_MEMORY, "no memory for %zu bytes of output", capacity);
    }
    run->capacity = capacity;
    return TEMPER_OK;
}

static temper_status write_text(lm_run *run, const lm_text *text) {
    temper_status status = make_room(run, text->length);
    lm_rendering *out = run->out;
    if (status || text->length == 0) {
        return status;
    }
    memcpy(out->text + out->length, text->bytes, text->length);
    for (size_t i = 0; i < text->length; i++) {
        lm_mark mark = text->marks != NULL ? text->marks[i] : text->mark;
        bool generated = run->generating || (mark & LM_MARK_GENERATED) != 0;
        mark &= ~LM_MARK_GENERATED;
        out->generated[out->length + i] = generated;
        out->spans = out->spans || generated;
        out->author[out->length + i] = (uint8_t)(mark & 3);
        out->message[out->length + i] =
            (mark & 3) == LM_BY_TEMPLATE || mark >> 2 == LM_MARK_VARIABLE >> 2 ? UINT32_MAX : mark >> 2;
    }
    out->length += text->length;
    return TEMPER_OK;
}

static temper_status run_body(lm_run *run, const lm_statement *body, enum flow *out);

/* A body's output as a value instead. */
static temper_status capture(lm_run *run, const lm_statement *body, const lm_statement *loop, lm_loop *state,
                             lm_value *out);

/* One value to one name, or the items of one to several. */
static temper_status assign(lm_run *run, lm_scope *scope, unsigned line, const lm_node *names,
                            lm_value value) {
    const lm_value *items;
    size_t count, wanted = 0;
    if (names->next == NULL) {
        return lm_scope_set(run, scope, names->name, value);
    }
    temper_status status = value.kind == LM_UNDEFINED ? lm_run_fail(run, line, TEMPER_INVALID,
                                                                    "an undefined value for several names")
                                                      : lm_value_items(run, line, &value, &items, &count);
    if (status) {
        return status;
    }
    for (const lm_node *name = names; name != NULL; name = name->next) {
        wanted++;
    }
    if (wanted != count) {
        return lm_run_fail(run, line, TEMPER_INVALID, "%zu values for %zu names", count, wanted);
    }
    for (const lm_node *name = names; name != NULL && !status; name = name->next) {
        status = lm_scope_set(run, scope, name->name, *items++);
    }
    return status;
}

static lm_scope *enter(lm_run *run, lm_scope *outer) {
    lm_scope *scope = lm_run_get(run, 1, sizeof *scope); /* in the arena: a macro may hold on to it */
    if (scope != NULL) {
        scope->outer = outer;
        run->scope = scope;
    }
    return scope;
}

/* What a for runs over: all there is, or those items that its condition lets through. */
static temper_status loop_items(lm_run *run, const lm_statement *statement, const lm_value *over,
                                lm_loop *loop) {
    lm_value value;
    lm_scope *outer = run->scope;
    temper_status status = lm_value_items(run, statement->line, over, &loop->items, &loop->count);
    if (status || statement->filter == NULL) {
        return status;
    }
    lm_value *kept = lm_run_get(run, loop->count, sizeof *kept);
    size_t count = 0;
    if (kept == NULL) {
        return TEMPER_NO_MEMORY;
    }
    for (size_t i = 0; i < loop->count && !status; i++) {
        lm_scope *inner = enter(run, outer);
        status = inner == NULL ? TEMPER_NO_MEMORY
                               : assign(run, inner, statement->line, statement->names, loop->items[i]);
        status = status ? status : lm_evaluate(run, statement->filter, &value);
        if (!status && lm_value_true(&value)) {
            kept[count++] = loop->items[i];
        }
    }
    run->scope = outer;
    loop->items = kept;
    loop->count = count;
    return status;
}

static temper_status run_loop(lm_run *run, const lm_statement *statement, lm_loop *loop, enum flow *out) {
    enum flow flow = FLOW_ON;
    lm_scope *outer = run->scope;
    temper_status status = TEMPER_OK;
    bool completed = false;
    for (loop->index = 0; loop->index < loop->count && !status && flow != FLOW_BREAK; loop->index++) {
        lm_scope *inner = enter(run, outer); /* what a body sets ends with it */
        lm_value self = {.kind = LM_LOOP, .loop = loop};
        if (inner == NULL) {
            status = TEMPER_NO_MEMORY;
        } else if (!(status = lm_scope_set(run, inner, "loop", self)) &&
                   !(status =
                         assign(run, inner, statement->line, statement->names, loop->items[loop->index]))) {
            status = run_body(run, statement->body, &flow);
            completed = completed || flow == FLOW_ON;
        }
        run->scope = outer;
    }
    /* Jinja's "else" is for loops of which no round came to its end. */
    return status || completed ? status : run_body(run, statement->otherwise, out);
}

static lm_loop *new_loop(lm_run *run, const lm_statement *statement, unsigned depth) {
    lm_loop *loop =
        lm_run_get(run, 1, sizeof *loop); /* in the arena: a value may hold on to it past the loop */
    if (loop != NULL) {
        *loop = (lm_loop){.statement = statement, .scope = run->scope, .depth = depth};
    }
    return loop;
}

static temper_status run_for(lm_run *run, const lm_statement *statement, enum flow *out) {
    lm_value over;
    lm_loop *loop = new_loop(run, statement, 0);
    temper_status status = loop == NULL ? TEMPER_NO_MEMORY : lm_evaluate(run, statement->value, &over);
    status = status ? status : loop_items(run, statement, &over, loop);
    return status ? status : run_loop(run, statement, loop, out);
}

temper_status lm_call_loop(lm_run *run, const lm_node *node, const lm_loop *loop, const lm_value *over,
                           lm_value *out) {
    lm_scope *outer = run->scope;
    if (!loop->statement->recursive) {
        return lm_run_fail(run, node->line, TEMPER_INVALID,
                           "a loop that is not \"recursive\" cannot be called");
    }
    run->scope = loop->scope;
    lm_loop *inner = new_loop(run, loop->statement, loop->depth + 1);
    temper_status status = inner == NULL ? TEMPER_NO_MEMORY : loop_items(run, loop->statement, over, inner);
    status = status ? status : capture(run, NULL, loop->statement, inner, out);
    run->scope = outer;
    return status;
}

static temper_status run_set(lm_run *run, const lm_statement *statement) {
    lm_value value, of;
    temper_status status = lm_evaluate(run, statement->value, &value);
    if (status || statement->field == NULL) {
        return status ? status : assign(run, run->scope, statement->line, statement->names, value);
    }
    if (!lm_scope_get(run->scope, statement->text, &of) || of.kind != LM_NAMESPACE) {
        return lm_run_fail(run, statement->line, TEMPER_INVALID,
                           "\"%.60s\" is no namespace, so nothing in it can be set", statement->text);
    }
    return lm_scope_set(run, of.fields, statement->field, value);
}

static temper_status capture(lm_run *run, const lm_statement *body, const lm_statement *loop, lm_loop *state,
                             lm_value *out) {
    lm_rendering mine = {0}, *outer = run->out;
    size_t capacity = run->capacity;
    lm_builder builder = {.run = run};
    enum flow flow;
    run->out = &mine;
    run->capacity = 0;
    temper_status status = loop != NULL ? run_loop(run, loop, state, &flow) : run_body(run, body, &flow);
    run->out = outer;
    run->capacity = capacity;
    for (size_t from = 0, to; from < mine.length && !status; from = to) {
        lm_mark mark = mine.author[from] == LM_BY_TEMPLATE ? 0
                       : mine.message[from] == UINT32_MAX  ? LM_MARK_VARIABLE
                                                           : mine.message[from] << 2 | mine.author[from];
        mark |= mine.generated[from] ? LM_MARK_GENERATED : 0;
        for (to = from + 1;
             to < mine.length && mine.author[to] == mine.author[from] &&
             mine.message[to] == mine.message[from] && mine.generated[to] == mine.generated[from];
             to++) {
        }
        lm_build_bytes(&builder, mine.text + from, to - from, mark);
        status = builder.status;
    }
    lm_rendering_free(&mine);
    return status ? status : lm_build_end(&builder, out);
}

static temper_status bind_arguments(lm_run *run, const lm_node *node, const lm_statement *macro,
                                    const lm_arguments *arguments, lm_scope *scope) {
    bool used[256] = {false};
    size_t at = 0;
    temper_status status = TEMPER_OK;
    if (arguments->count > 255) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "more arguments than a macro may have");
    }
    for (const lm_node *name = macro->names; name != NULL && !status; name = name->next, at++) {
        lm_value value = lm_value_undefined(name->name);
        size_t i = at < arguments->count && arguments->names[at] == NULL ? at : 0;
        while (i < arguments->count &&
               !(arguments->names[i] == NULL ? i == at : strcmp(arguments->names[i], name->name) == 0)) {
            i++;
        }
        if (i < arguments->count) {
            value = arguments->values[i];
            used[i] = true;
        } else if (name->a != NULL) {
            status = lm_evaluate(run, name->a, &value);
        }
        status = status ? status : lm_scope_set(run, scope, name->name, value);
    }
    for (size_t i = 0; i < arguments->count && !status; i++) {
        if (!used[i]) {
            status = lm_run_fail(
                run, node->line, TEMPER_INVALID, "macro \"%.60s\" takes no argument %zu%s%.40s",
                macro->text == NULL ? "caller" : macro->text, i + 1, arguments->names[i] == NULL ? "" : ", ",
                arguments->names[i] == NULL ? "" : arguments->names[i]);
        }
    }
    return status;
}

temper_status lm_call_macro(lm_run *run, const lm_node *node, const lm_macro *macro,
                            const lm_arguments *arguments, const lm_value *caller, lm_value *out) {
    lm_scope *outer = run->scope, *scope = enter(run, macro->scope);
    temper_status status = scope == NULL ? TEMPER_NO_MEMORY : TEMPER_OK;
    if (!status && caller != NULL) {
        status = lm_scope_set(run, scope, "caller", *caller);
    }
    status = status ? status : bind_arguments(run, node, macro->statement, arguments, scope);
    status = status ? status : capture(run, macro->statement->body, NULL, NULL, out);
    run->scope = outer;
    return status;
}

static temper_status make_macro(lm_run *run, const lm_statement *statement, lm_value *out) {
    lm_macro *macro = lm_run_get(run, 1, sizeof *macro);
    if (macro == NULL) {
        return TEMPER_NO_MEMORY;
    }
    *macro = (lm_macro){statement, run->scope};
    *out = (lm_value){.kind = LM_MACRO, .macro = macro};
    return TEMPER_OK;
}

static temper_status run_call_block(lm_run *run, const lm_statement *statement, lm_value *out) {
    lm_value callee, caller;
    lm_arguments arguments;
    temper_status status = make_macro(run, statement, &caller);
    if (status || (status = lm_arguments_evaluate(run, statement->value, &arguments))) {
        return status;
    }
    if (!lm_scope_get(run->scope, statement->value->name, &callee) || callee.kind != LM_MACRO) {
        return lm_run_fail(run, statement->line, TEMPER_INVALID, "\"call\": '%.60s' is no macro",
                           statement->value->name);
    }
    return lm_call_macro(run, statement->value, callee.macro, &arguments, &caller, out);
}

/* A block's output through the filters written at its head. */
static temper_status apply_filters(lm_run *run, const lm_node *node, const lm_value *block, lm_value *out) {
    lm_value inner;
    lm_arguments arguments;
    if (node->kind == LM_NODE_LITERAL) {
        *out = *block;
        return TEMPER_OK;
    }
    if (node->kind != LM_NODE_FILTER) {
        return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED, "a block through anything but filters");
    }
    temper_status status = apply_filters(run, node->a, block, &inner);
    status = status ? status : lm_arguments_evaluate(run, node, &arguments);
    return status ? status : lm_filter(run, node, node->name, &inner, &arguments, out);
}

static temper_status run_filtered(lm_run *run, const lm_statement *statement, lm_value *out) {
    lm_value block;
    lm_scope *outer = run->scope, *scope = enter(run, outer);
    temper_status status =
        scope == NULL ? TEMPER_NO_MEMORY : capture(run, statement->body, NULL, NULL, &block);
    run->scope = outer;
    return status ? status : apply_filters(run, statement->value, &block, out);
}

static temper_status run_with(lm_run *run, const lm_statement *statement, enum flow *out) {
    lm_scope *outer = run->scope, *scope = enter(run, outer);
    temper_status status = scope == NULL ? TEMPER_NO_MEMORY : TEMPER_OK;
    run->scope = outer; /* values do not see one another */
    for (const lm_node *name = statement->names; name != NULL && !status; name = name->next) {
        lm_value value;
        status = lm_evaluate(run, name->a, &value);
        status = status ? status : lm_scope_set(run, scope, name->name, value);
    }
    if (!status) {
        run->scope = scope;
        status = run_body(run, statement->body, out);
    }
    run->scope = outer;
    return status;
}

/* Statements that make a value, and what becomes of it. */
static temper_status run_value(lm_run *run, const lm_statement *statement) {
    lm_value value;
    lm_text text;
    temper_status status;
    switch (statement->kind) {
    case LM_SET_BLOCK:
        status = run_filtered(run, statement, &value);
        return status ? status : lm_scope_set(run, run->scope, statement->text, value);
    case LM_MACRO_HERE:
        status = make_macro(run, statement, &value);
        return status ? status : lm_scope_set(run, run->scope, statement->text, value);
    case LM_FILTER_BLOCK: status = run_filtered(run, statement, &value); break;
    case LM_CALL_BLOCK: status = run_call_block(run, statement, &value); break;
    default: status = lm_evaluate(run, statement->value, &value);
    }
    run->line = statement->line;
    status = status ? status : lm_value_print(run, &value, &text);
    return status ? status : write_text(run, &text);
}

static temper_status run_if(lm_run *run, const lm_statement *statement, enum flow *out) {
    lm_value value;
    temper_status status = lm_evaluate(run, statement->value, &value);
    if (status) {
        return status;
    }
    return run_body(run, lm_value_true(&value) ? statement->body : statement->otherwise, out);
}

static temper_status run_generation(lm_run *run, const lm_statement *statement, enum flow *out) {
    bool outer = run->generating;
    run->generating = true;
    temper_status status = run_body(run, statement->body, out);
    run->generating = outer;
    return status;
}

static temper_status run_statement(lm_run *run, const lm_statement *statement, enum flow *out) {
    lm_text text = {statement->text, statement->length, NULL, 0};
    run->line = statement->line;
    switch (statement->kind) {
    case LM_TEXT_OUT: return write_text(run, &text);
    case LM_FOR: return run_for(run, statement, out);
    case LM_IF: return run_if(run, statement, out);
    case LM_SET: return run_set(run, statement);
    case LM_WITH: return run_with(run, statement, out);
    case LM_GENERATION: return run_generation(run, statement, out);
    case LM_BREAK: *out = FLOW_BREAK; return TEMPER_OK;
    case LM_CONTINUE: *out = FLOW_CONTINUE; return TEMPER_OK;
    default: return run_value(run, statement);
    }
}

static temper_status run_body(lm_run *run, const lm_statement *body, enum flow *out) {
    temper_status status = TEMPER_OK;
    *out = FLOW_ON;
    if (run->depth >= LM_MAX_EVALUATIONS) {
        return lm_run_fail(run, run->line, TEMPER_UNSUPPORTED, "more than %d parts inside one another",
                           LM_MAX_EVALUATIONS);
    }
    run->depth++;
    for (const lm_statement *statement = body; statement != NULL && !status && *out == FLOW_ON;
         statement = statement->next) {
        if (++run->steps > LM_TEMPLATE_STEPS) {
            return lm_run_fail(run, statement->line, TEMPER_INVALID, "more than %d steps", LM_TEMPLATE_STEPS);
        }
        status = run_statement(run, statement, out);
    }
    run->depth--;
    return status;
}

/* Messages given as structs: a dict of role and content each. */
static temper_status plain_messages(lm_run *run, const lm_message *messages, size_t count, lm_value *out) {
    lm_value *items = lm_run_get(run, count, sizeof *items),
             *pairs = lm_run_get(run, 4 * count, sizeof *pairs);
    if (items == NULL || pairs == NULL) {
        return TEMPER_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++, pairs += 4) {
        const lm_message *message = &messages[i];
        lm_mark by = (lm_mark)i << 2;
        bool assistant = strcmp(message->role, "assistant") == 0;
        pairs[0] = lm_value_text("role", 4, 0);
        pairs[1] = lm_value_text(message->role, strlen(message->role), by | LM_BY_CONTENT);
        pairs[2] = lm_value_text("content", 7, 0);
        pairs[3] = lm_value_text(message->content, message->content_length,
                                 by | (assistant ? LM_BY_ASSISTANT : LM_BY_CONTENT));
        items[i] = (lm_value){.kind = LM_DICT, .dict = {pairs, 2}};
    }
    *out = lm_value_list(items, count);
    return TEMPER_OK;
}

static temper_status bind(lm_run *run, lm_value messages, bool add_generation_prompt, const char *bos,
                          const char *eos) {
    lm_value none = {.kind = LM_NONE};
    temper_status status;
    /* transformers passes tools and documents as None when there are none. */
    if ((status = lm_scope_set(run, run->scope, "messages", messages)) ||
        (status = lm_scope_set(run, run->scope, "tools", none)) ||
        (status = lm_scope_set(run, run->scope, "documents", none)) ||
        (status =
             lm_scope_set(run, run->scope, "add_generation_prompt", lm_value_bool(add_generation_prompt)))) {
        return status;
    }
    if (bos != NULL) {
        status = lm_scope_set(run, run->scope, "bos_token", lm_value_text(bos, strlen(bos), 0));
    }
    if (eos != NULL && !status) {
        status = lm_scope_set(run, run->scope, "eos_token", lm_value_text(eos, strlen(eos), 0));
    }
    return status;
}

static temper_status bind_variables(lm_run *run, const json_t *variables) {
    const char *name;
    json_t *item;
    temper_status status = TEMPER_OK;
    json_object_foreach((json_t *)(uintptr_t)variables, name, item) {
        lm_value value;
        status = lm_value_from_json(run, item, LM_MARK_VARIABLE, &value);
        status = status ? status : lm_scope_set(run, run->scope, name, value);
        if (status) {
            break;
        }
    }
    return status;
}

static temper_status finish(lm_run *run, const lm_template *self, temper_status status) {
    enum flow flow;
    status = status ? status : run_body(run, self->body, &flow);
    status = status ? status : make_room(run, 0);
    lm_arena_free(&run->arena);
    if (status) {
        lm_rendering_free(run->out);
        return status;
    }
    run->out->text[run->out->length] = 0;
    return TEMPER_OK;
}

temper_status lm_template_render(const lm_template *self, const lm_message *messages, size_t count,
                                 bool add_generation_prompt, const char *bos, const char *eos,
                                 lm_rendering *out, temper_error *error) {
    lm_scope scope = {0};
    lm_value list;
    lm_run run = {.scope = &scope, .line = 1, .out = out, .error = error};
    *out = (lm_rendering){0};
    if (count > UINT32_MAX >> 3) {
        return temper_fail(error, TEMPER_INVALID, "%zu messages are too many", count);
    }
    run.arena.limit = LM_TEMPLATE_MEMORY;
    temper_status status = plain_messages(&run, messages, count, &list);
    status = status ? status : bind(&run, list, add_generation_prompt, bos, eos);
    return finish(&run, self, status);
}

temper_status lm_template_render_json(const lm_template *self, const json_t *messages,
                                      const json_t *variables, bool add_generation_prompt, const char *bos,
                                      const char *eos, const int64_t *now, lm_rendering *out,
                                      temper_error *error) {
    lm_scope scope = {0};
    lm_value list;
    lm_run run = {.scope = &scope, .line = 1, .now = now, .out = out, .error = error};
    *out = (lm_rendering){0};
    if (!json_is_array(messages) || json_array_size(messages) > UINT32_MAX >> 3) {
        return temper_fail(error, TEMPER_INVALID, "\"messages\" is no array of a size that can be rendered");
    }
    run.arena.limit = LM_TEMPLATE_MEMORY;
    temper_status status = lm_value_messages(&run, messages, &list);
    status = status ? status : bind(&run, list, add_generation_prompt, bos, eos);
    status = status ? status : bind_variables(&run, variables);
    return finish(&run, self, status);
}

void lm_rendering_free(lm_rendering *rendering) {
    free(rendering->text);
    free(rendering->author);
    free(rendering->message);
    free(rendering->generated);
    *rendering = (lm_rendering){0};
}

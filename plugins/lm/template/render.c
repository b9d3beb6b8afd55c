/* render.c: a compiled template and messages to text, each byte with its author.
 *
 * Invariant: text, author and message have `length` items each; a byte is the template's unless a value that came
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
    if (message == NULL) {
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
        out->author[out->length + i] = (uint8_t)(mark & 3);
        out->message[out->length + i] = (mark & 3) == LM_BY_TEMPLATE ? UINT32_MAX : mark >> 2;
    }
    out->length += text->length;
    return TEMPER_OK;
}

static temper_status run_body(lm_run *run, const lm_statement *body, enum flow *out);

/* What a for runs over: all of a list, or those items that its condition lets through. */
static temper_status loop_items(lm_run *run, const lm_statement *statement, lm_loop *loop) {
    lm_value value;
    temper_status status = lm_evaluate(run, statement->value, &value);
    if (status) {
        return status;
    }
    if (value.kind == LM_UNDEFINED) {
        return TEMPER_OK;
    }
    if (value.kind != LM_LIST) {
        return lm_run_fail(run, statement->line, value.kind == LM_NONE ? TEMPER_INVALID : TEMPER_UNSUPPORTED,
                           "\"for\" over %s", lm_value_kind_name(&value));
    }
    loop->items = value.list.items;
    loop->count = value.list.count;
    if (statement->filter == NULL) {
        return TEMPER_OK;
    }
    lm_value *kept = lm_arena_get(&run->arena, loop->count * sizeof *kept + 1);
    size_t count = 0;
    if (kept == NULL) {
        return lm_run_fail(run, statement->line, TEMPER_NO_MEMORY, "no memory");
    }
    for (size_t i = 0; i < loop->count && !status; i++) {
        lm_scope inner = {NULL, run->scope};
        status = lm_scope_set(run, &inner, statement->text, loop->items[i]);
        run->scope = &inner;
        status = status ? status : lm_evaluate(run, statement->filter, &value);
        run->scope = inner.outer;
        if (!status && lm_value_true(&value)) {
            kept[count++] = loop->items[i];
        }
    }
    loop->items = kept;
    loop->count = count;
    return status;
}

static temper_status run_for(lm_run *run, const lm_statement *statement, enum flow *out) {
    /* In the arena: a value may hold on to it past the loop. */
    lm_loop *loop = lm_arena_get(&run->arena, sizeof *loop);
    enum flow flow = FLOW_ON;
    if (loop == NULL) {
        return lm_run_fail(run, statement->line, TEMPER_NO_MEMORY, "no memory");
    }
    temper_status status = loop_items(run, statement, loop);
    bool completed = false;
    for (loop->index = 0; loop->index < loop->count && !status && flow != FLOW_BREAK; loop->index++) {
        lm_scope inner = {NULL, run->scope}; /* what a body sets ends with it */
        lm_value self = {.kind = LM_LOOP, .loop = loop};
        run->scope = &inner;
        if (!(status = lm_scope_set(run, &inner, "loop", self)) &&
            !(status = lm_scope_set(run, &inner, statement->text, loop->items[loop->index]))) {
            status = run_body(run, statement->body, &flow);
            completed = completed || flow == FLOW_ON;
        }
        run->scope = inner.outer;
    }
    /* Jinja's "else" is for loops of which no round came to its end. */
    return status || completed ? status : run_body(run, statement->otherwise, out);
}

static temper_status run_set(lm_run *run, const lm_statement *statement) {
    lm_value value, of;
    temper_status status = lm_evaluate(run, statement->value, &value);
    if (status || statement->field == NULL) {
        return status ? status : lm_scope_set(run, run->scope, statement->text, value);
    }
    if (!lm_scope_get(run->scope, statement->text, &of) || of.kind != LM_NAMESPACE) {
        return lm_run_fail(run, statement->line, TEMPER_INVALID,
                           "\"%.60s\" is no namespace, so nothing in it can be set", statement->text);
    }
    return lm_scope_set(run, of.fields, statement->field, value);
}

static temper_status run_if(lm_run *run, const lm_statement *statement, enum flow *out) {
    lm_value value;
    temper_status status = lm_evaluate(run, statement->value, &value);
    if (status) {
        return status;
    }
    return run_body(run, lm_value_true(&value) ? statement->body : statement->otherwise, out);
}

static temper_status run_statement(lm_run *run, const lm_statement *statement, enum flow *out) {
    lm_value value;
    lm_text text = {statement->text, statement->length, NULL, 0};
    temper_status status;
    run->line = statement->line;
    switch (statement->kind) {
    case LM_TEXT_OUT: return write_text(run, &text);
    case LM_VALUE_OUT:
        status = lm_evaluate(run, statement->value, &value);
        run->line = statement->line;
        if (!status) {
            status = lm_value_print(run, &value, &text);
        }
        return status ? status : write_text(run, &text);
    case LM_FOR: return run_for(run, statement, out);
    case LM_IF: return run_if(run, statement, out);
    case LM_SET: return run_set(run, statement);
    case LM_BREAK: *out = FLOW_BREAK; return TEMPER_OK;
    case LM_CONTINUE: *out = FLOW_CONTINUE; return TEMPER_OK;
    }
    return TEMPER_OK;
}

static temper_status run_body(lm_run *run, const lm_statement *body, enum flow *out) {
    temper_status status = TEMPER_OK;
    *out = FLOW_ON;
    for (const lm_statement *statement = body; statement != NULL && !status && *out == FLOW_ON;
         statement = statement->next) {
        if (++run->steps > LM_TEMPLATE_STEPS) {
            return lm_run_fail(run, statement->line, TEMPER_INVALID, "more than %d steps", LM_TEMPLATE_STEPS);
        }
        status = run_statement(run, statement, out);
    }
    return status;
}

static temper_status bind(lm_run *run, size_t count, bool add_generation_prompt, const char *bos,
                          const char *eos) {
    lm_value list = {.kind = LM_LIST}, none = {.kind = LM_NONE};
    lm_value *items = lm_arena_get(&run->arena, count * sizeof *items + 1);
    temper_status status;
    if (items == NULL) {
        return lm_run_fail(run, 1, TEMPER_NO_MEMORY, "no memory for %zu messages", count);
    }
    for (size_t i = 0; i < count; i++) {
        items[i] = (lm_value){.kind = LM_MESSAGE, .message = i};
    }
    list.list.items = items;
    list.list.count = count;
    /* transformers passes tools and documents as None when there are none. */
    if ((status = lm_scope_set(run, run->scope, "messages", list)) ||
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

temper_status lm_template_render(const lm_template *self, const lm_message *messages, size_t count,
                                 bool add_generation_prompt, const char *bos, const char *eos,
                                 lm_rendering *out, temper_error *error) {
    lm_scope scope = {0};
    lm_run run = {.messages = messages, .scope = &scope, .line = 1, .out = out, .error = error};
    enum flow flow;
    *out = (lm_rendering){0};
    if (count > UINT32_MAX >> 3) {
        return temper_fail(error, TEMPER_INVALID, "%zu messages are too many", count);
    }
    run.arena.limit = LM_TEMPLATE_MEMORY;
    temper_status status = bind(&run, count, add_generation_prompt, bos, eos);
    status = status ? status : run_body(&run, self->body, &flow);
    status = status ? status : make_room(&run, 0);
    lm_arena_free(&run.arena);
    if (status) {
        lm_rendering_free(out);
        return status;
    }
    out->text[out->length] = 0;
    return TEMPER_OK;
}

void lm_rendering_free(lm_rendering *rendering) {
    free(rendering->text);
    free(rendering->author);
    free(rendering->message);
    *rendering = (lm_rendering){0};
}

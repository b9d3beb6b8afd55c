/* parse.c: the statements of a template: for, if, set, macro, call, filter, with, break, continue; generation blocks
 * are passed through.
 *
 * Invariant: every block that begins ends with its own end; another statement is refused by name and line. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_NESTING = 100 };

struct parser {
    lm_arena *arena;
    const lm_piece *piece;
    unsigned depth, loops;
    bool *mentions_system;
    temper_error *error;
    temper_status status;
};

static lm_statement *new_statement(struct parser *self, lm_statement_kind kind) {
    lm_statement *statement = self->status ? NULL : lm_arena_get(self->arena, sizeof *statement);
    if (statement == NULL) {
        if (!self->status) {
            self->status = temper_fail(self->error, TEMPER_NO_MEMORY, "chat template: too large");
        }
        return NULL;
    }
    statement->kind = kind;
    statement->line = self->piece->line;
    return statement;
}

/* The first word of a block: "for", "endif". */
static bool block_is(const lm_piece *piece, const char *word) {
    size_t skip = lm_space_front(piece->text, piece->length), length = strlen(word);
    const char *text = piece->text + skip;
    return piece->kind == LM_PIECE_BLOCK && piece->length - skip >= length &&
           memcmp(text, word, length) == 0 &&
           (piece->length - skip == length || lm_space_front(text + length, 1) > 0 || text[length] == '(');
}

static bool finish(struct parser *self, lm_words *words) {
    if (!words->status && words->kind != LM_WORD_END) {
        lm_words_fail(words, TEMPER_UNSUPPORTED, "what follows here is not supported");
    }
    if (words->status && !self->status) {
        self->status = words->status;
    }
    return !self->status;
}

static lm_statement *parse_body(struct parser *self, const char *const *ends);

static lm_statement *expect_end(struct parser *self, lm_statement *statement, const char *end,
                                unsigned line) {
    if (self->status) {
        return NULL;
    }
    if (!block_is(self->piece, end)) {
        self->status =
            temper_fail(self->error, TEMPER_INVALID, "chat template: line %u: no %s for the block of line %u",
                        self->piece->line, end, line);
        return NULL;
    }
    self->piece++;
    return statement;
}

static lm_statement *parse_for(struct parser *self, lm_words *words) {
    static const char *const ends[] = {"endfor", "else", NULL}, *const end[] = {"endfor", NULL};
    lm_statement *statement = new_statement(self, LM_FOR);
    if (statement == NULL) {
        return NULL;
    }
    if (words->kind != LM_WORD_NAME && !lm_words_is(words, "(")) {
        lm_words_fail(words, TEMPER_INVALID, "\"for\" without a name");
    }
    statement->names = lm_parse_names(words);
    if (!words->status && !lm_words_take(words, "in")) {
        lm_words_fail(words, TEMPER_INVALID, "\"for\" without \"in\"");
    }
    statement->value = lm_parse_tuple(words, false);
    if (lm_words_take(words, "if")) {
        statement->filter = lm_parse_expression(words);
    }
    statement->recursive = lm_words_take(words, "recursive");
    if (!finish(self, words)) {
        return NULL;
    }
    self->piece++;
    self->loops++;
    statement->body = parse_body(self, ends);
    self->loops--;
    if (!self->status && block_is(self->piece, "else")) {
        self->piece++;
        statement->otherwise = parse_body(self, end);
    }
    return expect_end(self, statement, "endfor", statement->line);
}

/* From an "if" or an "elif" on; the latter becomes the former's else. */
static lm_statement *parse_if(struct parser *self, lm_words *words) {
    static const char *const ends[] = {"endif", "elif", "else", NULL}, *const end[] = {"endif", NULL};
    lm_statement *first = NULL, **place = &first;
    unsigned line = self->piece->line;
    for (bool more = true; more;) {
        lm_statement *statement = new_statement(self, LM_IF);
        if (statement == NULL) {
            return NULL;
        }
        *place = statement;
        place = &statement->otherwise;
        statement->value = lm_parse_without_condition(words);
        if (!finish(self, words)) {
            return NULL;
        }
        self->piece++;
        statement->body = parse_body(self, ends);
        more = !self->status && block_is(self->piece, "elif");
        if (more) {
            lm_words_start(words, self->arena, self->piece, self->mentions_system, self->error);
            lm_words_next(words);
        }
    }
    if (!self->status && block_is(self->piece, "else")) {
        self->piece++;
        *place = parse_body(self, end);
    }
    return expect_end(self, first, "endif", line);
}

/* What the filters after a "|" work on when it is a block's output. */
static lm_node *parse_block_filters(lm_words *words) {
    return lm_parse_filters(words, lm_new_node(words, LM_NODE_LITERAL, NULL, NULL));
}

static lm_statement *parse_until(struct parser *self, lm_statement *statement, const char *end) {
    const char *const ends[] = {end, NULL};
    unsigned line = self->piece->line;
    self->piece++;
    statement->body = parse_body(self, ends);
    return expect_end(self, statement, end, line);
}

static lm_statement *parse_set(struct parser *self, lm_words *words) {
    lm_statement *statement = new_statement(self, LM_SET);
    if (statement == NULL) {
        return NULL;
    }
    if (words->kind != LM_WORD_NAME && !lm_words_is(words, "(")) {
        lm_words_fail(words, TEMPER_INVALID, "\"set\" without a name");
    }
    statement->names = lm_parse_names(words);
    statement->text = statement->names == NULL ? NULL : statement->names->name;
    if (lm_words_take(words, ".")) {
        statement->field = words->string;
        if (words->kind != LM_WORD_NAME) {
            lm_words_fail(words, TEMPER_INVALID, "a point without a name after it");
        }
        lm_words_next(words);
    }
    if (lm_words_take(words, "=")) {
        statement->value = lm_parse_tuple(words, true);
        return finish(self, words) ? (self->piece++, statement) : NULL;
    }
    if (words->status || statement->names->next != NULL ||
        (words->kind != LM_WORD_END && !lm_words_is(words, "|"))) {
        lm_words_fail(words, TEMPER_UNSUPPORTED, "\"set\" of this kind is not supported");
    }
    statement->kind = LM_SET_BLOCK;
    statement->value = parse_block_filters(words);
    return finish(self, words) ? parse_until(self, statement, "endset") : NULL;
}

static lm_statement *parse_macro(struct parser *self, lm_words *words) {
    lm_statement *statement = new_statement(self, LM_MACRO_HERE);
    unsigned loops = self->loops;
    if (statement == NULL) {
        return NULL;
    }
    statement->text = words->string;
    if (words->kind != LM_WORD_NAME) {
        lm_words_fail(words, TEMPER_INVALID, "\"macro\" without a name");
    }
    lm_words_next(words);
    if (!lm_words_take(words, "(")) {
        lm_words_fail(words, TEMPER_INVALID, "\"macro\" without parameters");
    }
    statement->names = lm_parse_parameters(words);
    if (!finish(self, words)) {
        return NULL;
    }
    self->loops = 0; /* a loop around a macro is not one it can leave */
    statement = parse_until(self, statement, "endmacro");
    self->loops = loops;
    return statement;
}

static lm_statement *parse_call(struct parser *self, lm_words *words) {
    lm_statement *statement = new_statement(self, LM_CALL_BLOCK);
    unsigned loops = self->loops;
    if (statement == NULL) {
        return NULL;
    }
    if (lm_words_take(words, "(")) {
        statement->names = lm_parse_parameters(words);
    }
    statement->value = words->status ? NULL : lm_parse_postfix_only(words);
    if (statement->value != NULL && statement->value->kind != LM_NODE_CALL) {
        lm_words_fail(words, TEMPER_UNSUPPORTED, "\"call\" of anything but a macro is not supported");
    }
    if (!finish(self, words)) {
        return NULL;
    }
    self->loops = 0;
    statement = parse_until(self, statement, "endcall");
    self->loops = loops;
    return statement;
}

static lm_statement *parse_filter(struct parser *self, lm_words *words) {
    lm_statement *statement = new_statement(self, LM_FILTER_BLOCK);
    if (statement == NULL) {
        return NULL;
    }
    /* As if a "|" stood before the first filter's name. */
    words->kind = LM_WORD_SIGN;
    words->string = lm_arena_copy(self->arena, "|", 1);
    words->at = words->filter_at;
    if (words->string == NULL) {
        lm_words_fail(words, TEMPER_NO_MEMORY, "too large");
    } else {
        statement->value = parse_block_filters(words);
    }
    return finish(self, words) ? parse_until(self, statement, "endfilter") : NULL;
}

/* with a = 1, b = 2: names with their values in `a`. */
static lm_statement *parse_with(struct parser *self, lm_words *words) {
    lm_statement *statement = new_statement(self, LM_WITH);
    lm_node **last = statement == NULL ? NULL : &statement->names;
    while (statement != NULL && !words->status && words->kind != LM_WORD_END) {
        lm_node *name = lm_new_node(words, LM_NODE_NAME, NULL, NULL);
        if (name == NULL) {
            break;
        }
        name->name = words->string;
        if (words->kind != LM_WORD_NAME) {
            lm_words_fail(words, TEMPER_INVALID, "\"with\" without a name");
        }
        lm_words_next(words);
        if (!lm_words_take(words, "=")) {
            lm_words_fail(words, TEMPER_INVALID, "\"with\" without a value");
        }
        name->a = lm_parse_expression(words);
        *last = name;
        last = &name->next;
        if (!lm_words_take(words, ",")) {
            break;
        }
    }
    return finish(self, words) && statement != NULL ? parse_until(self, statement, "endwith") : NULL;
}

static lm_statement *parse_block(struct parser *self) {
    static const char *const generation[] = {"endgeneration", NULL};
    lm_words words;
    unsigned line = self->piece->line;
    if (lm_words_start(&words, self->arena, self->piece, self->mentions_system, self->error)) {
        self->status = words.status;
        return NULL;
    }
    if (lm_words_take(&words, "for")) {
        return parse_for(self, &words);
    }
    if (lm_words_take(&words, "if")) {
        return parse_if(self, &words);
    }
    if (lm_words_take(&words, "set")) {
        return parse_set(self, &words);
    }
    if (lm_words_take(&words, "macro")) {
        return parse_macro(self, &words);
    }
    if (lm_words_take(&words, "call")) {
        return parse_call(self, &words);
    }
    if (lm_words_is(&words, "filter")) {
        words.filter_at = words.at;
        return parse_filter(self, &words);
    }
    if (lm_words_take(&words, "with")) {
        return parse_with(self, &words);
    }
    if (lm_words_take(&words, "generation")) { /* transformers' own mark of what an assistant wrote */
        lm_statement *statement = new_statement(self, LM_GENERATION);
        self->piece++;
        if (statement != NULL) {
            statement->body = parse_body(self, generation);
        }
        return expect_end(self, statement, "endgeneration", line);
    }
    if (self->loops > 0 && (lm_words_is(&words, "break") || lm_words_is(&words, "continue"))) {
        lm_statement *statement = new_statement(self, lm_words_is(&words, "break") ? LM_BREAK : LM_CONTINUE);
        lm_words_next(&words);
        return finish(self, &words) ? (self->piece++, statement) : NULL;
    }
    self->status = lm_words_fail(&words, TEMPER_UNSUPPORTED, "this statement is not supported");
    return NULL;
}

/* Statements up to a block that begins with one of `ends`, or to the end of the template. */
static lm_statement *parse_body(struct parser *self, const char *const *ends) {
    lm_statement *first = NULL, **last = &first;
    if (++self->depth > MAX_NESTING) {
        self->status = temper_fail(self->error, TEMPER_UNSUPPORTED,
                                   "chat template: line %u: blocks nested too deep", self->piece->line);
    }
    while (!self->status && self->piece->kind != LM_PIECE_END) {
        lm_statement *statement;
        for (size_t i = 0; ends[i] != NULL; i++) {
            if (block_is(self->piece, ends[i])) {
                goto out;
            }
        }
        if (self->piece->kind == LM_PIECE_BLOCK) {
            statement = parse_block(self);
        } else if (self->piece->kind == LM_PIECE_TEXT) {
            statement = new_statement(self, LM_TEXT_OUT);
            if (statement != NULL) {
                statement->text = self->piece->text;
                statement->length = self->piece->length;
            }
            self->piece++;
        } else {
            lm_words words;
            statement = new_statement(self, LM_VALUE_OUT);
            lm_words_start(&words, self->arena, self->piece, self->mentions_system, self->error);
            if (statement != NULL) {
                statement->value = lm_parse_tuple(&words, true);
            }
            finish(self, &words);
            self->piece++;
        }
        *last = self->status ? NULL : statement;
        while (*last != NULL) { /* a passed-through block may be many, or none */
            last = &(*last)->next;
        }
    }
out:
    self->depth--;
    return first;
}

static bool shows_system(const lm_template *self) {
    static const char marker[] = "\x01temper\x01";
    const lm_message messages[] = {{"system", marker, sizeof marker - 1}, {"user", "x", 1}};
    lm_rendering rendering;
    if (lm_template_render(self, messages, 2, true, "", "", &rendering, NULL)) {
        return false;
    }
    bool shown = memmem(rendering.text, rendering.length, marker + 1, sizeof marker - 3) != NULL;
    lm_rendering_free(&rendering);
    return shown;
}

temper_status lm_template_compile(const char *source, size_t length, lm_template **out, temper_error *error) {
    static const char *const nothing[] = {NULL};
    lm_template *self = calloc(1, sizeof *self);
    lm_piece *pieces = NULL;
    size_t normal_length = 0;
    temper_status status = TEMPER_OK;
    *out = NULL;
    if (self == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a chat template");
    }
    self->arena.limit = LM_TEMPLATE_MEMORY;
    const char *text = lm_source_normalise(&self->arena, source, length, &normal_length);
    if (text == NULL || memchr(text, 0, normal_length) != NULL) {
        status = temper_fail(error, text == NULL ? TEMPER_NO_MEMORY : TEMPER_INVALID, "chat template: %s",
                             text == NULL ? "too large" : "it holds a zero byte");
    } else {
        status = lm_lex(&self->arena, text, normal_length, &pieces, error);
    }
    if (!status) {
        struct parser parser = {&self->arena, pieces, 0, 0, &self->mentions_system, error, TEMPER_OK};
        self->body = parse_body(&parser, nothing);
        status = parser.status;
    }
    if (status) {
        lm_template_free(self);
        return status;
    }
    self->mentions_system = self->mentions_system && shows_system(self);
    *out = self;
    return TEMPER_OK;
}

bool lm_template_mentions_system(const lm_template *self) {
    return self->mentions_system;
}

void lm_template_free(lm_template *self) {
    if (self != NULL) {
        lm_arena_free(&self->arena);
        free(self);
    }
}

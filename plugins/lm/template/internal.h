/* internal.h: a compiled template's tree, the values it computes with, and the arenas both live in.
 *
 * Invariant: a template's tree is not written to once compiled, so one may be rendered by many threads at once. */
#ifndef LM_TEMPLATE_INTERNAL_H
#define LM_TEMPLATE_INTERNAL_H

#include "chat_template.h"

#include <stdbool.h>

/* --- arena.c: memory freed all at once, with a limit on the whole --- */
typedef struct lm_arena {
    struct lm_block *blocks;
    size_t used, limit;
} lm_arena;
/* Zeroed; NULL when the system or the limit refuses. */
void *lm_arena_get(lm_arena *arena, size_t size);
char *lm_arena_copy(lm_arena *arena, const char *text, size_t length);
void lm_arena_free(lm_arena *arena);

/* --- values --- */
typedef enum lm_value_kind {
    LM_UNDEFINED,
    LM_NONE,
    LM_BOOL,
    LM_INTEGER,
    LM_TEXT,
    LM_LIST,
    LM_MESSAGE,
    LM_LOOP,
    LM_NAMESPACE,
    LM_FUNCTION /* one that transformers' templates can see: defined, whether it can be called here or not */
} lm_value_kind;

/* Who wrote a byte, in one number: message << 2 | author; 0 for the template. */
typedef uint32_t lm_mark;

typedef struct lm_text {
    const char *bytes;
    size_t length;
    const lm_mark *marks; /* one a byte, or NULL: all are `mark` */
    lm_mark mark;
} lm_text;

typedef struct lm_value {
    lm_value_kind kind;
    union {
        bool flag;
        int64_t integer;
        lm_text text;
        struct {
            const struct lm_value *items;
            size_t count;
            unsigned depth; /* of lists in lists */
        } list;
        size_t message;
        const struct lm_loop *loop;
        struct lm_scope *fields; /* of a namespace */
    };
    const char *name; /* LM_UNDEFINED: what was looked for */
} lm_value;

/* Names and values, the newest first. */
typedef struct lm_scope {
    struct lm_binding *bindings;
    struct lm_scope *outer;
} lm_scope;

/* --- the tree --- */
typedef enum lm_node_kind {
    LM_NODE_LITERAL,
    LM_NODE_NAME,
    LM_NODE_LIST,
    LM_NODE_ATTRIBUTE,
    LM_NODE_INDEX,
    LM_NODE_SLICE,
    LM_NODE_NOT,
    LM_NODE_NEGATE,
    LM_NODE_AND,
    LM_NODE_OR,
    LM_NODE_CONDITIONAL,
    LM_NODE_BINARY,
    LM_NODE_COMPARE,
    LM_NODE_TEST,
    LM_NODE_FILTER,
    LM_NODE_CALL,
    LM_NODE_METHOD
} lm_node_kind;

typedef enum lm_operator {
    LM_ADD,
    LM_SUBTRACT,
    LM_MULTIPLY,
    LM_FLOOR,
    LM_REMAINDER,
    LM_JOIN,
    LM_EQUAL,
    LM_UNEQUAL,
    LM_LESS,
    LM_AT_MOST,
    LM_MORE,
    LM_AT_LEAST,
    LM_IN,
    LM_NOT_IN
} lm_operator;

typedef struct lm_node {
    lm_node_kind kind;
    lm_operator op;
    unsigned line;
    const char *name;          /* of a name, attribute, test, filter, function, method */
    struct lm_node *a, *b, *c; /* operands; a COMPARE's b begins a chain by `next` */
    struct lm_node *items;     /* a list's items or a call's arguments, by `next`; keywords have `name` set */
    struct lm_node *next;
    lm_value value; /* LITERAL */
} lm_node;

typedef enum lm_statement_kind {
    LM_TEXT_OUT,
    LM_VALUE_OUT,
    LM_FOR,
    LM_IF,
    LM_SET,
    LM_BREAK,
    LM_CONTINUE
} lm_statement_kind;

typedef struct lm_statement {
    lm_statement_kind kind;
    unsigned line;
    const char *text; /* TEXT_OUT; FOR's and SET's name */
    size_t length;
    const char *field; /* SET: of a namespace */
    lm_node *value;    /* VALUE_OUT, FOR's iterable, IF's condition, SET's value */
    lm_node *filter;   /* FOR ... if */
    struct lm_statement *body, *otherwise, *next;
} lm_statement;

struct lm_template {
    lm_arena arena;
    lm_statement *body;
    bool mentions_system;
};

/* --- lex.c: a source in pieces --- */
typedef enum lm_piece_kind { LM_PIECE_TEXT, LM_PIECE_VALUE, LM_PIECE_BLOCK, LM_PIECE_END } lm_piece_kind;
typedef struct lm_piece {
    lm_piece_kind kind;
    const char *text; /* of a text, trimmed; or what stands between the delimiters */
    size_t length;
    unsigned line; /* where it begins */
} lm_piece;
/* Newlines made \n, a last newline dropped: what Jinja does first. */
char *lm_source_normalise(lm_arena *arena, const char *source, size_t length, size_t *normal_length);
/* All pieces of a normalised source, ending in LM_PIECE_END. */
temper_status lm_lex(lm_arena *arena, const char *source, size_t length, lm_piece **pieces,
                     temper_error *error);
/* Bytes of white space (as Python's str.strip sees it) at the front, or at the end. */
size_t lm_space_front(const char *text, size_t length);
size_t lm_space_back(const char *text, size_t length);

/* --- parse_expression.c --- */
typedef enum lm_word_kind {
    LM_WORD_END,
    LM_WORD_NAME,
    LM_WORD_INTEGER,
    LM_WORD_STRING,
    LM_WORD_SIGN
} lm_word_kind;
typedef struct lm_words {
    lm_arena *arena;
    const char *text;
    size_t length, at;
    unsigned line, depth;
    lm_word_kind kind; /* the word that stands next */
    char *string;      /* NAME and STRING (escapes read), SIGN */
    size_t string_length;
    int64_t integer;
    bool *mentions_system;
    temper_error *error;
    temper_status status; /* of the first failure */
} lm_words;
temper_status lm_words_start(lm_words *words, lm_arena *arena, const lm_piece *piece, bool *mentions_system,
                             temper_error *error);
void lm_words_next(lm_words *words);
bool lm_words_is(const lm_words *words, const char *word); /* a name or a sign */
bool lm_words_take(lm_words *words, const char *word);
/* NULL on failure, with words->status set. */
lm_node *lm_parse_expression(lm_words *words);
lm_node *lm_parse_without_condition(lm_words *words); /* no "a if b else c": what follows "in" of a for */
temper_status lm_words_fail(lm_words *words, temper_status status, const char *what);

/* --- value.c --- */
enum {
    LM_TEMPLATE_STEPS = 10000000,
    LM_TEMPLATE_MEMORY = 256 << 20,
    LM_TEMPLATE_OUTPUT = 64 << 20,
    LM_MAX_LIST_DEPTH = 8,
    LM_MAX_EVALUATIONS = 500
};

typedef struct lm_loop {
    const lm_value *items;
    size_t index, count;
} lm_loop;

typedef struct lm_binding {
    const char *name;
    lm_value value;
    struct lm_binding *next;
} lm_binding;

typedef struct lm_run {
    const lm_message *messages;
    lm_scope *scope;
    lm_arena arena;
    unsigned long steps;
    unsigned depth; /* of evaluations inside one another: a + b + c + ... is a tree as deep as it is long */
    unsigned line;  /* of the statement at hand */
    lm_rendering *out;
    size_t capacity;
    temper_error *error;
} lm_run;

lm_value lm_value_text(const char *bytes, size_t length, lm_mark mark);
lm_value lm_value_integer(int64_t integer);
lm_value lm_value_bool(bool flag);
lm_value lm_value_undefined(const char *name);
bool lm_value_true(const lm_value *value);
const char *lm_value_kind_name(const lm_value *value);
/* Counts a step for each pair it looks at (lists of lists of lists are long), and gives up with false past the limit. */
bool lm_value_equal(lm_run *run, const lm_value *a, const lm_value *b);
/* The text that printing a value gives. */
temper_status lm_value_print(lm_run *run, const lm_value *value, lm_text *out);
temper_status lm_text_join(lm_run *run, const lm_text *a, const lm_text *b, lm_value *out);
lm_text lm_text_part(const lm_text *text, size_t from, size_t length);
temper_status lm_scope_set(lm_run *run, lm_scope *scope, const char *name, lm_value value);
bool lm_scope_get(const lm_scope *scope, const char *name, lm_value *out);
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
temper_status
lm_run_fail(lm_run *run, unsigned line, temper_status status, const char *format, ...);

/* --- evaluate.c --- */
temper_status lm_evaluate(lm_run *run, const lm_node *node, lm_value *out);

#endif

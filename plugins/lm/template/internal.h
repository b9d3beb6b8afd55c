/* internal.h: a compiled template's tree, the values it computes with, and the arenas both live in.
 *
 * Invariant: a template's tree is not written to once compiled, so one may be rendered by many threads at once. */
#ifndef LM_TEMPLATE_INTERNAL_H
#define LM_TEMPLATE_INTERNAL_H

#include "chat_template.h"

#include <jansson.h>
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
    LM_FLOAT,
    LM_TEXT,
    LM_LIST,
    LM_DICT,
    LM_LOOP,
    LM_NAMESPACE,
    LM_MACRO,
    LM_FUNCTION /* one that transformers' templates can see: defined, whether it can be called here or not */
} lm_value_kind;

/* Who wrote a byte, in one number: message << 2 | author; 0 for the template. The highest bit: inside a generation block. */
typedef uint32_t lm_mark;
#define LM_MARK_GENERATED (1u << 31)
/* A text of a variable that belongs to no message: a tool's description. */
#define LM_MARK_VARIABLE ((UINT32_MAX >> 3) << 2 | LM_BY_CONTENT)

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
        double number;
        lm_text text;
        struct { /* never written to once made, as in transformers' sandbox: so no value holds itself */
            const struct lm_value *items;
            size_t count;
            bool tuple;
        } list;
        struct {
            const struct lm_value
                *pairs; /* a key, its value, the next key ... in the order of their coming */
            size_t count;
        } dict;
        struct lm_loop *loop;
        const struct lm_macro *macro;
        struct lm_scope *fields; /* of a namespace */
    };
    const char *name; /* LM_UNDEFINED: what was looked for; LM_FUNCTION: which */
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
    LM_NODE_TUPLE,
    LM_NODE_DICT, /* items: keys and values in turn */
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
    LM_DIVIDE,
    LM_POWER,
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
    const char *name; /* of a name, attribute, test, filter, function, method */
    struct lm_node *a, *b,
        *c;                /* operands; a COMPARE's b begins a chain by `next`; a SLICE's step is `items` */
    struct lm_node *items; /* a list's items or a call's arguments, by `next`; keywords have `name` set */
    struct lm_node *next;
    lm_value value; /* LITERAL */
} lm_node;

typedef enum lm_statement_kind {
    LM_TEXT_OUT,
    LM_VALUE_OUT,
    LM_FOR,
    LM_IF,
    LM_SET,
    LM_SET_BLOCK, /* the body's output, through the filters of `value`, to a name */
    LM_FILTER_BLOCK,
    LM_MACRO_HERE,
    LM_CALL_BLOCK,
    LM_WITH,
    LM_GENERATION,
    LM_BREAK,
    LM_CONTINUE
} lm_statement_kind;

typedef struct lm_statement {
    lm_statement_kind kind;
    unsigned line;
    const char *text; /* TEXT_OUT; FOR's, SET's and MACRO's name */
    size_t length;
    const char *field; /* SET: of a namespace */
    lm_node *value; /* VALUE_OUT, FOR's iterable, IF's condition, SET's value, filters over a PLACE, a CALL */
    lm_node *filter; /* FOR ... if */
    lm_node *names;  /* FOR's and SET's targets when they are several; parameters, their defaults in `a` */
    bool recursive;  /* FOR */
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
    LM_WORD_FLOAT,
    LM_WORD_STRING,
    LM_WORD_SIGN
} lm_word_kind;
typedef struct lm_words {
    lm_arena *arena;
    const char *text;
    size_t length, at, filter_at;
    unsigned line, depth;
    lm_word_kind kind; /* the word that stands next */
    char *string;      /* NAME and STRING (escapes read), SIGN */
    size_t string_length;
    int64_t integer;
    double number;
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
lm_node *lm_parse_tuple(lm_words *words, bool conditions); /* an expression, or several parted by commas */
lm_node *lm_parse_names(lm_words *words);      /* a, b, (c): what a for or a set gives values to */
lm_node *lm_parse_parameters(lm_words *words); /* after "(": of a macro */
lm_node *lm_parse_filters(lm_words *words, lm_node *node);
lm_node *lm_parse_postfix_only(lm_words *words); /* what follows "call": a macro and its arguments */
lm_node *lm_new_node(lm_words *words, lm_node_kind kind, lm_node *a, lm_node *b);
temper_status lm_words_fail(lm_words *words, temper_status status, const char *what);

/* --- value.c --- */
enum {
    LM_TEMPLATE_STEPS = 10000000,
    LM_TEMPLATE_MEMORY = 256 << 20,
    LM_TEMPLATE_OUTPUT = 64 << 20,
    LM_MAX_VALUE_DEPTH = 100, /* of lists and dicts inside one another, where they are walked through */
    LM_MAX_EVALUATIONS = 500
};

typedef struct lm_loop {
    const lm_value *items;
    size_t index, count;
    unsigned depth;                /* of a recursive loop; 0 outermost */
    const lm_statement *statement; /* what loop(...) runs again */
    lm_scope *scope;               /* where it stands */
} lm_loop;

typedef struct lm_macro {
    const lm_statement *statement; /* its parameters and body */
    lm_scope *scope;               /* where it was written */
} lm_macro;

typedef struct lm_binding {
    const char *name;
    lm_value value;
    struct lm_binding *next;
} lm_binding;

typedef struct lm_run {
    lm_scope *scope;
    lm_arena arena;
    unsigned long steps;
    unsigned depth;  /* of evaluations inside one another: a + b + c + ... is a tree as deep as it is long */
    unsigned line;   /* of the statement at hand */
    bool generating; /* inside a generation block */
    const int64_t *now;
    lm_rendering *out;
    size_t capacity;
    temper_error *error;
} lm_run;

lm_value lm_value_text(const char *bytes, size_t length, lm_mark mark);
lm_value lm_value_integer(int64_t integer);
lm_value lm_value_float(double number);
lm_value lm_value_bool(bool flag);
lm_value lm_value_undefined(const char *name);
lm_value lm_value_list(const lm_value *items, size_t count);
bool lm_value_true(const lm_value *value);
bool lm_value_number(const lm_value *value, double *out); /* an integer, a boolean or a float */
bool lm_value_whole(const lm_value *value, int64_t *out); /* an integer or a boolean */
bool lm_value_is(const lm_value *value, const char *text);
const char *lm_value_kind_name(const lm_value *value);
temper_status lm_value_equal(lm_run *run, const lm_value *a, const lm_value *b, bool *out);
/* less, equal, more: -1, 0, 1; refused for what Python does not order. */
temper_status lm_value_order(lm_run *run, unsigned line, const lm_value *a, const lm_value *b, int *out);
/* A dict's value; undefined with the key's name when there is none. */
temper_status lm_dict_get(lm_run *run, const lm_value *dict, const lm_value *key, lm_value *out);
/* What a for runs over: a list's items, a dict's keys, a text's characters. */
temper_status lm_value_items(lm_run *run, unsigned line, const lm_value *value, const lm_value **items,
                             size_t *count);
lm_text lm_text_part(const lm_text *text, size_t from, size_t length);
size_t lm_text_character(const lm_text *text, size_t at); /* the bytes of the character there */
size_t lm_text_characters(const lm_text *text);
temper_status lm_scope_set(lm_run *run, lm_scope *scope, const char *name, lm_value value);
bool lm_scope_get(const lm_scope *scope, const char *name, lm_value *out);
/* In the run's arena; a NULL answer has set the error, TEMPER_NO_MEMORY. */
void *lm_run_get(lm_run *run, size_t count, size_t size);
/* Counts work over `size` things; TEMPER_INVALID past the limit. */
temper_status lm_run_work(lm_run *run, size_t size);
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
temper_status
lm_run_fail(lm_run *run, unsigned line, temper_status status, const char *format, ...);

/* --- text.c: texts built piece by piece, each byte keeping its mark --- */
typedef struct lm_builder {
    lm_run *run;
    char *bytes;
    lm_mark *marks;
    size_t length, capacity;
    temper_status status; /* the first failure stays */
} lm_builder;
void lm_build(lm_builder *self, const lm_text *text);
void lm_build_bytes(lm_builder *self, const char *bytes, size_t length, lm_mark mark);
void lm_build_word(lm_builder *self, const char *word); /* the template's */
temper_status lm_build_end(lm_builder *self, lm_value *out);
temper_status lm_text_join(lm_run *run, const lm_text *a, const lm_text *b, lm_value *out);
/* The text that printing a value gives: Python's str(). */
temper_status lm_value_print(lm_run *run, const lm_value *value, lm_text *out);
typedef struct lm_json_style {
    int64_t indent; /* below 0: all on one line */
    const char *between, *after_key;
    bool ascii, sorted;
} lm_json_style;
temper_status lm_value_json(lm_run *run, const lm_value *value, const lm_json_style *style, lm_value *out);
/* The shortest decimal that is read back as the same double, as Python writes it. */
void lm_format_float(double number, char out[40]);

/* --- read_json.c --- */
/* Every text in it gets `mark`. */
temper_status lm_value_from_json(lm_run *run, const json_t *json, lm_mark mark, lm_value *out);
temper_status lm_value_messages(lm_run *run, const json_t *messages, lm_value *out);

/* --- evaluate.c --- */
typedef struct lm_arguments {
    lm_value *values;
    const char **names; /* of keywords; NULL: by place, and these come first */
    size_t count;
} lm_arguments;
enum { LM_MAX_NAMED = 6 };
temper_status lm_evaluate(lm_run *run, const lm_node *node, lm_value *out);
temper_status lm_arguments_evaluate(lm_run *run, const lm_node *node, lm_arguments *out);
/* Arguments to the names of a function's parameters; NULL where one is absent. More, or others, are refused. */
temper_status lm_arguments_name(lm_run *run, const lm_node *node, const lm_arguments *arguments,
                                const char *const *names, const lm_value **out);
temper_status lm_unsupported(lm_run *run, const lm_node *node, const char *what);

/* --- filter.c, test.c, method.c: by name --- */
temper_status lm_filter(lm_run *run, const lm_node *node, const char *name, const lm_value *value,
                        const lm_arguments *arguments, lm_value *out);
temper_status lm_test(lm_run *run, const lm_node *node, const char *name, const lm_value *value,
                      const lm_arguments *arguments, bool *out);
temper_status lm_method(lm_run *run, const lm_node *node, const lm_value *value,
                        const lm_arguments *arguments, lm_value *out);
bool lm_is_method(const lm_value *value, const char *name);
temper_status lm_strip(lm_run *run, const lm_text *text, const lm_value *characters, bool front, bool back,
                       lm_value *out);
temper_status lm_replace(lm_run *run, const lm_text *text, const lm_text *from, const lm_text *to,
                         int64_t most, lm_value *out);
enum { LM_LOWER, LM_UPPER, LM_TITLE, LM_CAPITALIZE };
temper_status lm_recase(lm_run *run, const lm_node *node, const lm_text *text, int how, lm_value *out);

/* --- functions.c --- */
bool lm_is_function(const lm_run *run, const char *name);
temper_status lm_function(lm_run *run, const lm_node *node, const lm_arguments *arguments, lm_value *out);

/* --- render.c --- */
temper_status lm_call_macro(lm_run *run, const lm_node *node, const lm_macro *macro,
                            const lm_arguments *arguments, const lm_value *caller, lm_value *out);
temper_status lm_call_loop(lm_run *run, const lm_node *node, const lm_loop *loop, const lm_value *over,
                           lm_value *out);

#endif

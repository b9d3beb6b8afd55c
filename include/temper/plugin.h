/* temper/plugin.h: what a plugin is. Start here; a whole one is in examples/.
 *
 *   A plugin is a shared object exporting one function, temper_plugin_v1. It answers with a static description: its
 *   stages, each with named inputs, outputs and parameters. From that one description come validation, `temper help
 *   NAME.STAGE`, editor completion and the reference pages: nothing is written twice.
 *
 *   #include <temper/plugin.h>
 *   #define SHORTEN(P, S) \
 *       P(S, integer, limit, "limit", "200", 1, 100000, "characters", "", "longest text that stays whole", "0.1")
 *   TEMPER_PARAMETERS(shorten, SHORTEN)   // shorten_parameters, shorten_parameter_table
 *
 * Rules that keep plugins working for years: the major version is in the entry's name; every struct begins with its
 * size and grows only at its end; none holds another by value; an id never changes its meaning. Rationale: a version
 * field checked after initialisation, and structs grown in the middle, have broken other hosts' plugins for good. */
#ifndef TEMPER_PLUGIN_H
#define TEMPER_PLUGIN_H

#include <stddef.h>
#include <temper/host.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What an input or output holds. */
typedef enum temper_kind {
    TEMPER_RECORDS = 1,   /* JSONL: one object a line, UTF-8, with the field's own names (messages, prompt, chosen …) */
    TEMPER_TEXT = 2,      /* any UTF-8 text: a phrase list, a corpus */
    TEMPER_CHARACTER = 3, /* records with `trait` (string), `questions` and `additional_questions` (arrays of
                          * strings), and perhaps `instruction` (the trait as a model is told it) */
    TEMPER_MODEL = 4,     /* a folder of files: Hugging Face, GGUF, or an adapter with its base under base/ */
    TEMPER_METRICS = 5,   /* one flat JSON object of numbers: what temper.expect checks */
    TEMPER_REPORT = 6     /* one self-contained HTML page */
} temper_kind;

typedef enum temper_type {
    TEMPER_TYPE_INTEGER = 1, /* int64_t */
    TEMPER_TYPE_NUMBER = 2,  /* double, finite */
    TEMPER_TYPE_FLAG = 3,    /* int32_t, 0 or 1 */
    TEMPER_TYPE_STRING = 4,  /* const char *, UTF-8; with `choices`, one of them */
    TEMPER_TYPE_STRINGS = 5  /* temper_strings */
} temper_type;

typedef struct temper_strings {
    size_t count;
    const char *const *items;
} temper_strings;

typedef struct temper_parameter {
    uint32_t size;
    temper_type type;
    const char *name;         /* as a recipe writes it; "lora.rank" is `lora = { rank = 16 }` */
    uint32_t offset;          /* into the stage's parameter struct */
    const char *default_json; /* "3", "0.1", "true", "\"text\"", "[]"; NULL: required */
    double minimum, maximum;  /* inclusive; numbers only. minimum > maximum: unbounded */
    const char *unit;         /* "", "tokens", "characters" */
    const char *choices;      /* "", or "sigmoid|ipo|hinge" */
    const char *doc;          /* one sentence */
    const char *since;        /* the plugin's version it came with */
} temper_parameter;

enum { TEMPER_OPTIONAL = 1 }; /* port flags */

typedef struct temper_port {
    uint32_t size;
    temper_kind kind;
    const char *name;
    uint32_t flags;
    const char *fields; /* records: the fields read or written, "prompt, chosen, rejected"; else "" */
    const char *doc;
} temper_port;

typedef struct temper_stage {
    uint32_t size;
    uint32_t revision;  /* raise it when the same inputs give other outputs: it is part of every stage id */
    const char *name;   /* [a-z][a-z0-9_]* */
    const char *doc;
    const temper_port *const *inputs; /* NULL-terminated, in an order that never changes */
    const temper_port *const *outputs;
    const temper_parameter *const *parameters;
    size_t parameters_size; /* sizeof the struct they fill */

    /* `parameters` are checked against the description and stay valid until destroy. */
    temper_status (*create)(const temper_host *host, const void *parameters, void **self, temper_error *error);
    temper_status (*run)(void *self, const temper_host *host, temper_error *error);
    void (*destroy)(void *self); /* after create succeeded, whatever run did */
} temper_stage;

typedef struct temper_plugin {
    uint32_t size;
    const char *name; /* as temper.plugin "name" finds it: NAME.so */
    const char *version, *author, *license, *doc;
    const temper_stage *const *stages; /* NULL-terminated; may be empty */
    /* What else it offers, by id ("temper.model/1": a const temper_model_service *); may be NULL. */
    const void *(*extension)(const char *id);
} temper_plugin;

/* Who is asking. A plugin may refuse a host it cannot work with: return TEMPER_UNSUPPORTED and leave *plugin alone. */
typedef struct temper_hello {
    uint32_t size;
    uint32_t minor; /* of the contract: 0 */
    const char *host_version;
} temper_hello;

enum { TEMPER_CONTRACT_MAJOR = 1, TEMPER_CONTRACT_MINOR = 0 };

#if defined(__GNUC__)
#define TEMPER_EXPORT __attribute__((visibility("default")))
#else
#define TEMPER_EXPORT
#endif

/* The entry. Free of side effects; called once, before anything else. */
TEMPER_EXPORT temper_status temper_plugin_v1(const temper_hello *hello, const temper_plugin **plugin);

/* --- One list for a parameter struct and its description --------------------------------------------------------
 * LIST(P, S) has a row for each parameter:
 *   P(S, type, field, "name", "default json" or NULL, minimum, maximum, "unit", "choices", "doc", "since")
 * with type one of integer, number, flag, string, strings. TEMPER_PARAMETERS(shorten, LIST) defines the struct
 * `shorten_parameters` and the NULL-terminated table `shorten_parameter_table` that describes it. */
typedef int64_t temper_c_integer;
typedef double temper_c_number;
typedef int32_t temper_c_flag;
typedef const char *temper_c_string;
typedef temper_strings temper_c_strings;
enum {
    temper_type_integer = TEMPER_TYPE_INTEGER,
    temper_type_number = TEMPER_TYPE_NUMBER,
    temper_type_flag = TEMPER_TYPE_FLAG,
    temper_type_string = TEMPER_TYPE_STRING,
    temper_type_strings = TEMPER_TYPE_STRINGS
};

#define TEMPER_PARAMETER_FIELD(S, type, field, name, fallback, low, high, unit, choices, doc, since)                  \
    temper_c_##type field;
#define TEMPER_PARAMETER_ROW(S, type, field, name, fallback, low, high, unit, choices, doc, since)                    \
    &(const temper_parameter){sizeof(temper_parameter),                                                               \
                              (temper_type)temper_type_##type,                                                        \
                              name,                                                                                   \
                              (uint32_t)offsetof(S, field),                                                           \
                              fallback,                                                                               \
                              low,                                                                                    \
                              high,                                                                                   \
                              unit,                                                                                   \
                              choices,                                                                                \
                              doc,                                                                                    \
                              since},
#define TEMPER_PARAMETERS(stage, LIST)                                                                                \
    typedef struct stage##_parameters {                                                                               \
        LIST(TEMPER_PARAMETER_FIELD, )                                                                                \
    } stage##_parameters;                                                                                             \
    static const temper_parameter *const stage##_parameter_table[] = {                                                \
        LIST(TEMPER_PARAMETER_ROW, stage##_parameters) NULL};

/* Ports and stages as static data. */
#define TEMPER_PORT(kind, name, flags, fields, doc)                                                                   \
    &(const temper_port) {                                                                                            \
        sizeof(temper_port), kind, name, flags, fields, doc                                                           \
    }

#ifdef __cplusplus
}
#endif
#endif

/* cli.h: what the commands share: options, messages, the open store and catalog, and how a run shows on a terminal. */
#ifndef TM_CLI_H
#define TM_CLI_H

#include "plugin/catalog.h"
#include "recipe/recipe.h"
#include "scheduler/record.h"
#include "scheduler/run.h"

#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_STOPPED = 130 };

typedef struct cli_list {
    const char **items;
    size_t count;
} cli_list;

/* Every option of every command; which a command takes stands in its row (commands.c). */
typedef struct cli_options {
    bool help, json, raw, greedy, kernels, decode, special, bare, keep_going, yes;
    const char *profile, *out, *name, *prompt, *data, *system, *model, *format, *type, *method, *train_on;
    int64_t seed, threads, rows, max_tokens, max_length, top_k, samples, rounds, days;
    double temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
    uint64_t memory;
    cli_list adapters, weights, settings, plugins, leave_out, with, inputs, biases, stops;
    bool parts, full; /* of bench, as are */
    const char *shape;
    cli_list only;
    cli_list arguments; /* what is no option, the command left out */
    bool given_seed, given_max_tokens, given_max_length, given_top_k, given_temperature, given_top_p;
    bool given_min_p, given_repetition_penalty, given_presence_penalty, given_frequency_penalty,
        given_samples, given_rounds, given_days;
} cli_options;

typedef struct cli_command {
    const char *name;
    const char *arguments; /* "RECIPE", "A B" */
    const char *doc;       /* one line */
    const char *options;   /* names, space-separated */
    int minimum, maximum;  /* how many arguments */
    int (*main)(const cli_options *options);
    const char *more; /* the rest of its help */
} cli_command;

/* How this program was called: commands that people are told to type begin with it. */
extern const char *cli_program;

extern const cli_command cli_commands[];
extern const size_t cli_command_count;
const cli_command *cli_find_command(const char *name);

/* options.c */
/* Parses what follows the command's name; prints what is wrong. 0 or CLI_USAGE. */
int cli_parse(const cli_command *command, int count, char **arguments, cli_options *out);
void cli_options_free(cli_options *options);
void cli_print_options(const cli_command *command, FILE *out);
/* Each option a command takes, in the table's order; `value` is NULL for a flag. */
void cli_each_option(const cli_command *command,
                     void (*with)(void *context, const char *name, const char *value, const char *doc),
                     void *context);

/* context.c */
typedef struct cli_context {
    const cli_options *options;
    tm_store *store;
    tm_catalog *catalog;
} cli_context;
temper_status cli_open(const cli_options *options, cli_context *out, temper_error *error);
temper_status cli_open_catalog(const cli_options *options, tm_store *store, tm_catalog **out,
                               temper_error *error);
void cli_close(cli_context *context);
/* Loads a recipe with the options' settings. */
temper_status cli_load(cli_context *context, const char *path, bool lenient, tm_recipe *out,
                       temper_error *error);
uint32_t cli_threads(const cli_options *options);
/* Prints "temper: message" (or {"error"}) and gives the exit code. */
int cli_report(const cli_options *options, temper_status status, const temper_error *error);
/* Ctrl-C: the first sets this, the second ends the program. */
extern volatile int cli_cancelled;
void cli_watch_signals(void);

/* terminal.c */
/* A stage at work. */
typedef struct cli_row {
    bool active;
    double started, last_shown;
    double done, total;
    char unit[32], detail[96];
} cli_row;
typedef struct cli_terminal {
    const cli_options *options;
    FILE *out;
    bool rewrite;  /* a terminal: the lines of what is at work are written over */
    bool colour;   /* and NO_COLOR is not set */
    bool quiet;    /* say nothing at all */
    bool passing;  /* what is shown is wiped away at the end */
    int width;     /* of stage names */
    cli_row *rows; /* one a node; the graph's */
    size_t drawn;  /* lines that will be written over */
    double last_drawn;
} cli_terminal;
void cli_terminal_init(cli_terminal *terminal, const cli_options *options, const tm_graph *graph, FILE *out);
void cli_terminal_options(cli_terminal *terminal, tm_run_options *options);
void cli_terminal_plan(cli_terminal *terminal, const tm_run *run);
void cli_terminal_verdicts(cli_terminal *terminal, const tm_run *run);
/* One event of --json. Takes name, value pairs up to NULL; a value is text, the text of a number when its name begins
 * with #. A NULL value is left out. */
void cli_event(const char *event, ...) __attribute__((sentinel));
double cli_now(void);
/* "1 240", "12" into out: thousands apart. */
const char *cli_count(double number, char out[32]);

/* ledger_table.c */
void cli_print_ledger(const tm_ledger *ledger, int indent, bool examples);
void cli_ledger_events(const tm_ledger *ledger);
/* Text from a run on one line of a terminal: control bytes are shown, not sent; cut after `most` bytes. */
void cli_print_line(const char *text, size_t length, size_t most);

/* one.c: a plan of one stage, as generate, score and selftest use it. */
typedef struct cli_one {
    const char *plugin, *stage;
    const temper_json *parameters; /* as given, to be resolved */
    const char *inputs[2][3];      /* name, kind, path; name NULL: none */
    const char *digests[2];        /* of an input without a path: what it is in the store */
    size_t input_count;
    bool fresh;      /* never from the cache */
    tm_digest *made; /* NULL, or where the output's digest goes, in place of its bytes */
} cli_one;
/* `numbers` gets the stage's output "metrics", when it has one. */
temper_status cli_run_one(cli_context *context, temper_arena *arena, const cli_one *one, const char *output,
                          tm_buffer *out, tm_buffer *numbers, temper_error *error);

/* command_runs.c */
/* Stages finished in the last so many days stay: an interrupted run may want to go on. */
enum { CLI_GC_DAYS = 7 };
bool cli_latest_run(char *out, size_t size, bool *holds);

/* commands */
int cli_run(const cli_options *options);
int cli_plan(const cli_options *options);
int cli_explain(const cli_options *options);
int cli_verify(const cli_options *options);
int cli_reproduce(const cli_options *options);
int cli_export(const cli_options *options);
int cli_show(const cli_options *options);
int cli_why(const cli_options *options);
int cli_runs(const cli_options *options);
int cli_gc(const cli_options *options);
int cli_diff(const cli_options *options);
int cli_doctor(const cli_options *options);
int cli_help(const cli_options *options);
int cli_plugin(const cli_options *options);
int cli_plugin_new(const cli_options *options);
int cli_plugin_check(const cli_options *options);
int cli_plugin_definitions(const cli_options *options);
int cli_chat(const cli_options *options);
int cli_generate(const cli_options *options);
int cli_score(const cli_options *options);
int cli_tokenize(const cli_options *options);
int cli_render(const cli_options *options);
int cli_selftest(const cli_options *options);
int cli_bench(const cli_options *options);

/* command_train.c */
int cli_show_batch(const cli_options *options);
int cli_version(const cli_options *options);
int cli_completion(const cli_options *options);
int cli_manual(const cli_options *options);
void cli_print_usage(FILE *out);
void cli_print_next(FILE *out);
void cli_print_command_help(const cli_command *command, FILE *out);

#endif

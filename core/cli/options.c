/* options.c: options from one table. `--name value` and `--name=value`; what a command does not take is refused with the nearest
 * name. */
#include "cli/cli.h"

#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

typedef enum option_type { FLAG, TEXT, LIST, INTEGER, NUMBER, SIZE } option_type;

typedef struct option_row {
    const char *name, *value, *doc;
    option_type type;
    size_t offset, given; /* `given`: a bool to set, or 0 */
    double minimum, maximum;
} option_row;

#define AT(field) offsetof(cli_options, field)

static const option_row table[] = {
    {"set", "NAME=VALUE", "give a recipe's parameter (again for more)", LIST, AT(settings), 0, 0, 0},
    {"seed", "N", "the run's seed (default 0)", INTEGER, AT(seed), AT(given_seed), 0, 9.2e18},
    {"profile", "NAME", "arithmetic: bf16/1 (default), f32/1 or, not for training, q8/1", TEXT, AT(profile),
     0, 0, 0},
    {"threads", "N", "threads for the stages at work (default: all cores); never changes a bit", INTEGER,
     AT(threads), 0, 1, 1024},
    {"memory", "SIZE", "memory for them: 800M, 4G (default: seven eighths of the machine's)", SIZE,
     AT(memory), 0, 0, 0},
    {"plugins", "DIR", "a folder of plugins, before the others (again for more)", LIST, AT(plugins), 0, 0, 0},
    {"out", "DIR", "where the archive goes (default: runs)", TEXT, AT(out), 0, 0, 0},
    {"name", "NAME", "the archive's name (default: the character's or the recipe's)", TEXT, AT(name), 0, 0,
     0},
    {"leave-out", "NAME", "leave a model out of the archive, named by its digest (again for more)", LIST,
     AT(leave_out), 0, 0, 0},
    {"with", "[NAME=]DIR", "a model that the archive left out (again for more)", LIST, AT(with), 0, 0, 0},
    {"input", "NAME=PATH", "what a stage's input gets (again for more)", LIST, AT(inputs), 0, 0, 0},
    {"rows", "N", "how many rows to show (default 5); -n N", INTEGER, AT(rows), 0, 0, 1e15},
    {"prompt", "TEXT", "what to continue", TEXT, AT(prompt), 0, 0, 0},
    {"raw", NULL, "no chat template: continue the text itself", FLAG, AT(raw), 0, 0, 0},
    {"greedy", NULL, "take the likeliest token each time", FLAG, AT(greedy), 0, 0, 0},
    {"max-tokens", "N", "the longest continuation (default: the stage's)", INTEGER, AT(max_tokens),
     AT(given_max_tokens), 1, 1e6},
    {"temperature", "T", "sampling temperature", NUMBER, AT(temperature), AT(given_temperature), 0, 100},
    {"top-k", "K", "sample among the K likeliest tokens; 0: all", INTEGER, AT(top_k), AT(given_top_k), 0,
     1e6},
    {"top-p", "P", "sample among the likeliest tokens that sum to P", NUMBER, AT(top_p), AT(given_top_p), 0,
     1},
    {"min-p", "P", "leave out tokens less likely than P times the likeliest", NUMBER, AT(min_p),
     AT(given_min_p), 0, 1},
    {"repetition-penalty", "R", "divide the logits of tokens that were there by R; 1: off", NUMBER,
     AT(repetition_penalty), AT(given_repetition_penalty), 0, 1000},
    {"presence-penalty", "X", "take X off the logits of tokens in the answer", NUMBER, AT(presence_penalty),
     AT(given_presence_penalty), -1000, 1000},
    {"frequency-penalty", "X", "the same, as often as each is there", NUMBER, AT(frequency_penalty),
     AT(given_frequency_penalty), -1000, 1000},
    {"bias", "TEXT=X", "add X to the logit of the token that is exactly TEXT (again for more)", LIST,
     AT(biases), 0, 0, 0},
    {"stop", "TEXT", "end the answer before this text (again for more)", LIST, AT(stops), 0, 0, 0},
    {"samples", "N", "how many continuations (default 1)", INTEGER, AT(samples), AT(given_samples), 1, 1e5},
    {"data", "FILE", "records, JSON lines", TEXT, AT(data), 0, 0, 0},
    {"method", "M", "how records are read: sft, dpo or kto (default sft)", TEXT, AT(method), 0, 0, 0},
    {"train-on", "WHAT", "which tokens are learnt: assistant, last or all", TEXT, AT(train_on), 0, 0, 0},
    {"max-length", "N", "cut sequences to N tokens", INTEGER, AT(max_length), AT(given_max_length), 1, 1e9},
    {"adapter", "RUN", "an adapter, or what a run made, for this base (again for more)", LIST, AT(adapters),
     0, 0, 0},
    {"weight", "W", "how much of the adapter in its turn counts (again for each; default 1)", LIST,
     AT(weights), 0, 0, 0},
    {"format", "FORM", "hf, peft, gguf or gguf-lora", TEXT, AT(format), 0, 0, 0},
    {"type", "TYPE", "of its matrices: f32, f16, bf16 or (gguf) q8_0; default: as they are", TEXT, AT(type),
     0, 0, 0},
    {"system", "TEXT", "a system message", TEXT, AT(system), 0, 0, 0},
    {"model", "FOLDER", "the model to measure (default: random weights, see --shape)", TEXT, AT(model), 0, 0,
     0},
    {"rounds", "N", "how often each work is done; the median counts (default 3)", INTEGER, AT(rounds),
     AT(given_rounds), 1, 101},
    {"shape", "NAME", "of random weights: SmolLM2-135M (default), Qwen2.5-0.5B or stories260K", TEXT,
     AT(shape), 0, 0, 0},
    {"only", "WORK",
     "measure this alone: load, prefill, score, decode_1, decode_32 or answers (again for more)", LIST,
     AT(only), 0, 0, 0},
    {"full", NULL, "score 64 sequences and give 2000 answers, in place of 16 and 128", FLAG, AT(full), 0, 0,
     0},
    {"parts", NULL, "also say where the time goes, by part of the model", FLAG, AT(parts), 0, 0, 0},
    {"days", "N", "keep stages that finished in the last N days (default 7)", INTEGER, AT(days),
     AT(given_days), 0, 36500},
    {"yes", NULL, "do it without asking", FLAG, AT(yes), 0, 0, 0},
    {"decode", NULL, "the other way: {ids} to {text}", FLAG, AT(decode), 0, 0, 0},
    {"special", NULL, "read special tokens that are written in a text as such (default: as text)", FLAG,
     AT(special), 0, 0, 0},
    {"bare", NULL, "without what the tokenizer puts around a text (BOS)", FLAG, AT(bare), 0, 0, 0},
    {"kernels", NULL, "check the kernel sets", FLAG, AT(kernels), 0, 0, 0},
    {"json", NULL, "events as JSON, one a line", FLAG, AT(json), 0, 0, 0},
    {"help", NULL, "this help", FLAG, AT(help), 0, 0, 0},
};
enum { OPTION_COUNT = sizeof table / sizeof *table };

static bool takes(const cli_command *command, const char *name) {
    const char *list = command->options;
    size_t length = strlen(name);
    if (strcmp(name, "help") == 0) {
        return true;
    }
    while (*list != 0) {
        size_t word = strcspn(list, " ");
        if (word == length && strncmp(list, name, length) == 0) {
            return true;
        }
        list += word + (list[word] == ' ');
    }
    return false;
}

static int unknown_option(const cli_command *command, const char *name) {
    const char *names[OPTION_COUNT], *nearest;
    size_t i, count = 0;
    for (i = 0; i < OPTION_COUNT; i++) {
        if (takes(command, table[i].name)) {
            names[count++] = table[i].name;
        }
    }
    nearest = tm_text_nearest(name, names, count);
    fprintf(stderr, "temper %s: there is no option --%s%s%s%s\n", command->name, name,
            nearest != NULL ? "; did you mean --" : "; see temper help ",
            nearest != NULL ? nearest : command->name, nearest != NULL ? "?" : "");
    return CLI_USAGE;
}

static bool parse_size(const char *text, uint64_t *out) {
    char *end = NULL;
    double number = strtod(text, &end), unit = 1;
    if (end == text || !(number > 0)) {
        return false;
    }
    switch (*end) {
    case 'k':
    case 'K': unit = 1024; break;
    case 'm':
    case 'M': unit = 1024.0 * 1024; break;
    case 'g':
    case 'G': unit = 1024.0 * 1024 * 1024; break;
    case 't':
    case 'T': unit = 1024.0 * 1024 * 1024 * 1024; break;
    case 0: break;
    default: return false;
    }
    end += unit > 1 ? 1 : 0;
    end += *end == 'B' || *end == 'b' ? 1 : 0;
    if (*end != 0 || number * unit > 9e18) {
        return false;
    }
    *out = (uint64_t)(number * unit);
    return true;
}

static int append(cli_list *list, const char *item) {
    const char **more = realloc(list->items, (list->count + 1) * sizeof *more);
    if (more == NULL) {
        fprintf(stderr, "temper: out of memory\n");
        return CLI_FAILED;
    }
    list->items = more;
    list->items[list->count++] = item;
    return CLI_OK;
}

static int set_value(const cli_command *command, const option_row *option, const char *value,
                     cli_options *out) {
    char *at = (char *)out + option->offset, *end = NULL;
    bool good = true;
    errno = 0;
    switch (option->type) {
    case FLAG: *(bool *)(void *)at = true; break;
    case TEXT: *(const char **)(void *)at = value; break;
    case LIST:
        if (append((cli_list *)(void *)at, value)) {
            return CLI_FAILED;
        }
        break;
    case INTEGER: {
        long long number = strtoll(value, &end, 10);
        good = end != value && *end == 0 && errno == 0 && (double)number >= option->minimum &&
               (double)number <= option->maximum;
        *(int64_t *)(void *)at = number;
        break;
    }
    case NUMBER: {
        double number = strtod(value, &end);
        good = end != value && *end == 0 && isfinite(number) && number >= option->minimum &&
               number <= option->maximum;
        *(double *)(void *)at = number;
        break;
    }
    case SIZE: good = parse_size(value, (uint64_t *)(void *)at); break;
    }
    if (!good) {
        if (option->type == SIZE) {
            fprintf(stderr, "temper %s: --%s %s: a size like 800M or 4G\n", command->name, option->name,
                    value);
        } else {
            fprintf(stderr, "temper %s: --%s %s: a %snumber of at least %g and at most %g\n", command->name,
                    option->name, value, option->type == INTEGER ? "whole " : "", option->minimum,
                    option->maximum);
        }
        return CLI_USAGE;
    }
    if (option->given != 0) {
        *(bool *)(void *)((char *)out + option->given) = true;
    }
    return CLI_OK;
}

static int take_option(const cli_command *command, const char *text, int *index, int count, char **arguments,
                       cli_options *out) {
    const char *equals = strchr(text, '='), *value = NULL;
    char name[64];
    size_t i;
    snprintf(name, sizeof name, "%.*s", equals != NULL ? (int)(equals - text) : 60, text);
    for (i = 0; i < OPTION_COUNT; i++) {
        if (strcmp(table[i].name, name) == 0 && takes(command, name)) {
            break;
        }
    }
    if (i == OPTION_COUNT) {
        return unknown_option(command, name);
    }
    if (table[i].type != FLAG) {
        value = equals != NULL ? equals + 1 : *index + 1 < count ? arguments[++*index] : NULL;
        if (value == NULL) {
            fprintf(stderr, "temper %s: --%s needs a value: --%s %s\n", command->name, name, name,
                    table[i].value);
            return CLI_USAGE;
        }
    } else if (equals != NULL) {
        fprintf(stderr, "temper %s: --%s takes no value\n", command->name, name);
        return CLI_USAGE;
    }
    return set_value(command, &table[i], value, out);
}

int cli_parse(const cli_command *command, int count, char **arguments, cli_options *out) {
    bool only_arguments = false;
    int i, status = CLI_OK;
    memset(out, 0, sizeof *out);
    out->profile = "bf16/1";
    out->rows = 5;
    for (i = 0; i < count && status == CLI_OK; i++) {
        const char *text = arguments[i];
        if (!only_arguments && strcmp(text, "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && strcmp(text, "-h") == 0) {
            out->help = true;
        } else if (!only_arguments && strcmp(text, "-n") == 0) {
            status = take_option(command, "rows", &i, count, arguments, out);
        } else if (!only_arguments && text[0] == '-' && text[1] == '-') {
            status = take_option(command, text + 2, &i, count, arguments, out);
        } else if (!only_arguments && text[0] == '-' && text[1] != 0) {
            status = unknown_option(command, text + 1);
        } else {
            status = append(&out->arguments, text);
        }
    }
    if (status != CLI_OK || out->help) {
        return status;
    }
    if ((int)out->arguments.count < command->minimum || (int)out->arguments.count > command->maximum) {
        fprintf(stderr, "temper %s: %s arguments\nusage: temper %s %s\n", command->name,
                (int)out->arguments.count < command->minimum ? "too few" : "too many", command->name,
                command->arguments);
        return CLI_USAGE;
    }
    if (strcmp(out->profile, "bf16/1") != 0 && strcmp(out->profile, "f32/1") != 0 &&
        strcmp(out->profile, "q8/1") != 0) {
        fprintf(stderr, "temper %s: --profile %s: there are bf16/1, f32/1 and q8/1\n", command->name,
                out->profile);
        return CLI_USAGE;
    }
    return CLI_OK;
}

void cli_options_free(cli_options *options) {
    free(options->adapters.items);
    free(options->weights.items);
    free(options->settings.items);
    free(options->plugins.items);
    free(options->leave_out.items);
    free(options->with.items);
    free(options->biases.items);
    free(options->stops.items);
    free(options->only.items);
    free(options->inputs.items);
    free(options->arguments.items);
}

void cli_each_option(const cli_command *command,
                     void (*with)(void *context, const char *name, const char *value, const char *doc),
                     void *context) {
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (takes(command, table[i].name)) {
            with(context, table[i].name, table[i].value, table[i].doc);
        }
    }
}

static void print_option(void *context, const char *name, const char *value, const char *doc) {
    char left[48];
    snprintf(left, sizeof left, "--%s%s%s", name, value != NULL ? " " : "", value != NULL ? value : "");
    fprintf(context, "  %-22s %s\n", left, doc);
}

void cli_print_options(const cli_command *command, FILE *out) {
    cli_each_option(command, print_option, out);
}

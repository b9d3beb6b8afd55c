/* command_help.c: help. A command's comes from the table of commands, a stage's from its plugin's description, a recipe's
 * parameters from the recipe: nothing is written twice. */
#include "base/text.h"
#include "cli/cli.h"

#include <stdlib.h>

#ifndef TEMPER_VERSION
#define TEMPER_VERSION "0.1.0"
#endif

void cli_print_usage(FILE *out) {
    size_t i;
    fprintf(out, "Temper gives a language model its character, on the machine at hand, and can prove how it "
                 "did it.\n\n"
                 "usage: temper COMMAND …\n\n");
    for (i = 0; i < cli_command_count; i++) {
        char left[80];
        snprintf(left, sizeof left, "%s %s", cli_commands[i].name, cli_commands[i].arguments);
        if (strlen(left) > 28) {
            snprintf(left, sizeof left, "%s …", cli_commands[i].name);
        }
        fprintf(out, "  %-*s %s\n", 28 + (strstr(left, "…") != NULL ? 2 : 0), left, cli_commands[i].doc);
    }
    fprintf(out, "\ntemper help COMMAND says more; temper help PLUGIN.STAGE explains a stage; temper help "
                 "RECIPE lists its parameters.\n"
                 "Blobs and cache live under $TEMPER_HOME (default: ~/.local/share/temper). $TEMPER_PLUGINS "
                 "adds folders of plugins.\n"
                 "Exit codes: 0 done, 1 failed, 2 asked for wrongly, 130 stopped.\n");
}

/* Where to begin, or where to go on. */
void cli_print_next(FILE *out) {
    char archive[512];
    bool holds = false;
    fprintf(out, "Temper gives a language model its character, on the machine at hand, and can prove how it "
                 "did it.\n\n");
    if (!cli_latest_run(archive, sizeof archive, &holds)) {
        fprintf(out,
                "begin      %s run recipes/character.lua    a character on the builtin model, in seconds\n",
                cli_program);
    } else {
        fprintf(out, "latest     %s%s\n", archive, holds ? "" : "   (an expectation failed)");
        fprintf(out, "talk       %s chat %s\n", cli_program, archive);
        fprintf(out, "look       %s show %s\n", cli_program, archive);
        fprintf(out, "prove      %s reproduce %s\n", cli_program, archive);
        fprintf(out, "more       %s runs\n", cli_program);
    }
    fprintf(out, "machine    %s doctor\ncommands   %s help\n", cli_program, cli_program);
}

void cli_print_command_help(const cli_command *command, FILE *out) {
    fprintf(out, "usage: temper %s%s%s%s\n\n%c%s.\n", command->name, *command->arguments != 0 ? " " : "",
            command->arguments, *command->options != 0 ? " [options]" : "", command->doc[0] - ('a' - 'A'),
            command->doc + 1);
    if (*command->more != 0) {
        fprintf(out, "\n%s", command->more);
    }
    fprintf(out, "\n");
    cli_print_options(command, out);
}

static const char *text_of(const temper_json *object, const char *name) {
    return tm_json_text(tm_json_member(object, name), "");
}

static void print_value(const temper_json *value) {
    tm_buffer text = TM_BUFFER_INIT;
    if (tm_json_write(value, &text, NULL) == TEMPER_OK && tm_buffer_ok(&text)) {
        printf("%s", text.data);
    }
    tm_buffer_free(&text);
}

/* "0 … 1", "at least 1", "" */
static void print_bounds(const temper_json *minimum, const temper_json *maximum) {
    if (minimum != NULL && maximum != NULL) {
        printf(", from ");
        print_value(minimum);
        printf(" to ");
        print_value(maximum);
    } else if (minimum != NULL) {
        printf(", at least ");
        print_value(minimum);
    } else if (maximum != NULL) {
        printf(", at most ");
        print_value(maximum);
    }
}

static void print_ports(const temper_json *ports, const char *title) {
    size_t i;
    if (tm_json_length(ports) > 0) {
        printf("\n%s\n", title);
    }
    for (i = 0; i < tm_json_length(ports); i++) {
        const temper_json *port = tm_json_element(ports, i);
        bool optional = false;
        (void)tm_json_boolean(tm_json_member(port, "optional"), &optional);
        printf("  %-18s %s%s  %s", text_of(port, "name"), text_of(port, "kind"),
               optional ? ", may be absent" : "", text_of(port, "doc"));
        if (*text_of(port, "fields") != 0) {
            printf("  [%s]", text_of(port, "fields"));
        }
        printf("\n");
    }
}

static void print_parameters(const temper_json *parameters) {
    size_t i, j;
    if (tm_json_length(parameters) > 0) {
        printf("\nparameters\n");
    }
    for (i = 0; i < tm_json_length(parameters); i++) {
        const temper_json *row = tm_json_element(parameters, i), *choices = tm_json_member(row, "choices"),
                          *fallback = tm_json_member(row, "default");
        printf("  %-18s %s", text_of(row, "name"), text_of(row, "type"));
        if (fallback != NULL) {
            printf(" = ");
            print_value(fallback);
        } else {
            printf(", required");
        }
        if (*text_of(row, "unit") != 0) {
            printf(" %s", text_of(row, "unit"));
        }
        print_bounds(tm_json_member(row, "minimum"), tm_json_member(row, "maximum"));
        for (j = 0; j < tm_json_length(choices); j++) {
            printf("%s%s", j == 0 ? ", one of " : " | ", tm_json_text(tm_json_element(choices, j), ""));
        }
        printf("\n  %-18s   %s\n", "", text_of(row, "doc"));
    }
}

static void print_stage(const temper_json *plugin, const temper_json *stage) {
    const temper_json *inputs = tm_json_member(stage, "inputs"), *outputs = tm_json_member(stage, "outputs");
    int64_t revision = 0;
    size_t i;
    (void)tm_json_integer(tm_json_member(stage, "revision"), &revision);
    printf("%s.%s  (%s %s, revision %lld)\n%s\n\n  local %s = temper.plugin \"%s\"\n  local made = %s.%s {",
           text_of(plugin, "name"), text_of(stage, "name"), text_of(plugin, "name"),
           text_of(plugin, "version"), (long long)revision, text_of(stage, "doc"), text_of(plugin, "name"),
           text_of(plugin, "name"), text_of(plugin, "name"), text_of(stage, "name"));
    for (i = 0; i < tm_json_length(inputs); i++) {
        printf("%s %s = …", i == 0 ? "" : ",", text_of(tm_json_element(inputs, i), "name"));
    }
    printf(" }");
    for (i = 0; i < tm_json_length(outputs); i++) {
        printf("%s made.%s", i == 0 ? "   -- gives" : ",", text_of(tm_json_element(outputs, i), "name"));
    }
    printf("\n");
    print_ports(inputs, "inputs");
    print_ports(outputs, "outputs");
    print_parameters(tm_json_member(stage, "parameters"));
}

static void print_plugin(const temper_json *plugin) {
    const temper_json *stages = tm_json_member(plugin, "stages"),
                      *extensions = tm_json_member(plugin, "extensions");
    size_t i;
    printf("%s %s  by %s, %s\n%s\n", text_of(plugin, "name"), text_of(plugin, "version"),
           text_of(plugin, "author"), text_of(plugin, "license"), text_of(plugin, "doc"));
    for (i = 0; i < tm_json_length(extensions); i++) {
        printf("provides %s\n", tm_json_text(tm_json_element(extensions, i), ""));
    }
    printf("\n");
    for (i = 0; i < tm_json_length(stages); i++) {
        const temper_json *stage = tm_json_element(stages, i);
        char name[160];
        snprintf(name, sizeof name, "%s.%s", text_of(plugin, "name"), text_of(stage, "name"));
        printf("  %-28s %s\n", name, text_of(stage, "doc"));
    }
}

static temper_status help_plugin(cli_context *context, const char *word, temper_error *error) {
    const char *dot = strchr(word, '.');
    char name[128];
    const tm_plugin_entry *entry = NULL;
    const temper_json *stage, *stages;
    temper_status status;
    snprintf(name, sizeof name, "%.*s", dot != NULL ? (int)(dot - word) : 127, word);
    status = tm_catalog_find(context->catalog, name, &entry, error);
    if (status) {
        return status;
    }
    if (dot == NULL) {
        print_plugin(entry->description);
        return TEMPER_OK;
    }
    stage = tm_description_stage(entry->description, dot + 1);
    if (stage == NULL) {
        const char *names[256], *nearest;
        size_t i;
        stages = tm_json_member(entry->description, "stages");
        for (i = 0; i < tm_json_length(stages) && i < 256; i++) {
            names[i] = text_of(tm_json_element(stages, i), "name");
        }
        nearest = tm_text_nearest(dot + 1, names, i);
        return temper_fail(error, TEMPER_INVALID, "plugin %s has no stage '%s'%s%s%s", name, dot + 1,
                           nearest != NULL ? "; did you mean '" : "; see temper help ",
                           nearest != NULL ? nearest : name, nearest != NULL ? "'?" : "");
    }
    print_stage(entry->description, stage);
    return TEMPER_OK;
}

static temper_status help_recipe(cli_context *context, const char *path, temper_error *error) {
    tm_recipe recipe;
    size_t i, j;
    temper_status status = cli_load(context, path, true, &recipe, error);
    if (status) {
        return status;
    }
    printf("%s%s%s\n", path, *recipe.doc != 0 ? ": " : "", recipe.doc);
    printf("%s",
           tm_json_length(recipe.declared) > 0 ? "\nparameters (--set NAME=VALUE)\n" : "\nno parameters\n");
    for (i = 0; i < tm_json_length(recipe.declared); i++) {
        const temper_json *row = tm_json_element(recipe.declared, i),
                          *choices = tm_json_member(row, "choices"),
                          *fallback = tm_json_member(row, "default");
        printf("  %-18s %s", text_of(row, "name"), text_of(row, "type"));
        if (fallback != NULL) {
            printf(" = ");
            print_value(fallback);
        } else {
            printf(", required");
        }
        print_bounds(tm_json_member(row, "min"), tm_json_member(row, "max"));
        for (j = 0; j < tm_json_length(choices); j++) {
            printf("%s", j == 0 ? ", one of " : " | ");
            print_value(tm_json_element(choices, j));
        }
        printf("\n  %-18s   %s\n", "", text_of(row, "doc"));
    }
    printf("\nstages\n");
    for (i = 0; i < recipe.graph->node_count; i++) {
        printf("  %-18s %s.%s\n", recipe.graph->nodes[i].name, recipe.graph->nodes[i].plugin,
               recipe.graph->nodes[i].stage);
    }
    tm_recipe_free(&recipe);
    return TEMPER_OK;
}

int cli_help(const cli_options *options) {
    const char *word;
    const cli_command *command;
    cli_context context;
    temper_error error = TEMPER_ERROR_INIT;
    temper_status status;
    size_t length;
    if (options->arguments.count == 0) {
        cli_print_usage(stdout);
        return CLI_OK;
    }
    word = options->arguments.items[0];
    length = strlen(word);
    command = cli_find_command(word);
    if (command != NULL) {
        cli_print_command_help(command, stdout);
        return CLI_OK;
    }
    status = cli_open(options, &context, &error);
    if (status) {
        return cli_report(options, status, &error);
    }
    if (length > 4 && strcmp(word + length - 4, ".lua") == 0) {
        status = help_recipe(&context, word, &error);
    } else {
        status = help_plugin(&context, word, &error);
    }
    cli_close(&context);
    return cli_report(options, status, &error);
}

int cli_version(const cli_options *options) {
    (void)options;
    printf("temper %s\n", TEMPER_VERSION);
    return CLI_OK;
}

int cli_plugin(const cli_options *options) {
    cli_context context;
    temper_error error = TEMPER_ERROR_INIT;
    const char *const *names = NULL;
    temper_status status;
    size_t i, count;
    int code = CLI_OK;
    const char *word = options->arguments.items[0];
    if (strcmp(word, "new") == 0 && options->arguments.count == 2) {
        return cli_plugin_new(options);
    }
    if (strcmp(word, "check") == 0 && options->arguments.count == 2) {
        return cli_plugin_check(options);
    }
    if (strcmp(word, "definitions") == 0 && options->arguments.count == 1) {
        return cli_plugin_definitions(options);
    }
    if (strcmp(word, "list") != 0 || options->arguments.count != 1) {
        fprintf(stderr, "temper plugin: there are: list, new NAME, check FILE.so, definitions\n");
        return CLI_USAGE;
    }
    status = cli_open(options, &context, &error);
    if (status) {
        return cli_report(options, status, &error);
    }
    count = tm_catalog_names(context.catalog, &names);
    for (i = 0; i < count; i++) {
        const tm_plugin_entry *entry = NULL;
        status = tm_catalog_find(context.catalog, names[i], &entry, &error);
        if (status) {
            code = cli_report(options, status, &error);
            continue;
        }
        if (options->json) {
            cli_event("plugin", "name", names[i], "version", text_of(entry->description, "version"), "path",
                      entry->path, (char *)NULL);
        } else {
            printf("%-16s %-8s %s\n", names[i], text_of(entry->description, "version"),
                   text_of(entry->description, "doc"));
        }
    }
    if (count == 0) {
        fprintf(stderr, "temper: no plugins found; --plugins DIR or $TEMPER_PLUGINS names their folder\n");
    }
    cli_close(&context);
    return code;
}

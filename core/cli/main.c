/* main.c: from the command line to a command. */
#include "cli/cli.h"

#include "base/text.h"

#include <stdlib.h>

const char *cli_program = "temper";

static int unknown_command(const char *name) {
    const char *names[64], *nearest;
    size_t i, count = 0;
    for (i = 0; i < cli_command_count && count < 64; i++) {
        names[count++] = cli_commands[i].name;
    }
    nearest = tm_text_nearest(name, names, count);
    if (nearest != NULL) {
        fprintf(stderr, "temper: there is no command '%s'; did you mean '%s'?\n", name, nearest);
    } else {
        fprintf(stderr, "temper: there is no command '%s'; see temper help\n", name);
    }
    return CLI_USAGE;
}

int main(int count, char **arguments) {
    const cli_command *command;
    cli_options options;
    int code;
    if (count > 0 && strchr(arguments[0], '/') != NULL) {
        cli_program = arguments[0]; /* not found through PATH */
    }
    if (count == 2 && strcmp(arguments[1], "--load-recipe") == 0) {
        return tm_recipe_loader_main();
    }
    if (count < 2) {
        cli_print_next(stdout);
        return CLI_OK;
    }
    if (strcmp(arguments[1], "--help") == 0 || strcmp(arguments[1], "-h") == 0) {
        cli_print_usage(stdout);
        return CLI_OK;
    }
    command = cli_find_command(strcmp(arguments[1], "--version") == 0 ? "version" : arguments[1]);
    if (command == NULL) {
        return unknown_command(arguments[1]);
    }
    code = cli_parse(command, count - 2, arguments + 2, &options);
    if (code == CLI_OK && options.help) {
        cli_print_command_help(command, stdout);
    } else if (code == CLI_OK) {
        code = command->main(&options);
    }
    cli_options_free(&options);
    if (fflush(stdout) != 0 && code == CLI_OK) {
        fprintf(stderr, "temper: writing the output failed\n");
        code = CLI_FAILED;
    }
    return code;
}

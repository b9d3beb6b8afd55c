/* command_manual.c: the table of commands as a manual page (roff's man macros, man(7)) and as completions for bash and zsh. */
#include "base/text.h"
#include "cli/cli.h"

/* Text in roff: a backslash or a leading '.' or '\'' would be a request. */
static void print_roff(const char *text) {
    bool start = true;
    for (; *text != 0; text++) {
        if (start && (*text == '.' || *text == '\'')) {
            fputs("\\&", stdout);
        }
        if (*text == '\\') {
            fputs("\\e", stdout);
        } else if (*text == '-') {
            fputs("\\-", stdout);
        } else {
            putchar(*text);
        }
        start = *text == '\n';
    }
}

static void roff_option(void *context, const char *name, const char *value, const char *doc) {
    (void)context;
    printf(".TP\n.B \\-\\-");
    print_roff(name);
    if (value != NULL) {
        printf(" \\fI");
        print_roff(value);
        printf("\\fR");
    }
    printf("\n");
    print_roff(doc);
    printf("\n");
}

/* A paragraph for each line that ends a sentence: what stands in the table is broken for a terminal. */
static void roff_command(const cli_command *command) {
    printf(".SS temper %s ", command->name);
    print_roff(command->arguments);
    printf("\n%c", command->doc[0] - ('a' - 'A'));
    print_roff(command->doc + 1);
    printf(".\n");
    if (*command->more != 0) {
        printf(".PP\n");
        print_roff(command->more);
    }
    cli_each_option(command, roff_option, NULL);
}

int cli_manual(const cli_options *options) {
    const cli_command *only = NULL;
    size_t i;
    if (options->arguments.count == 1) {
        only = cli_find_command(options->arguments.items[0]);
        if (only == NULL) {
            fprintf(stderr, "temper manual: there is no command '%s'; see temper help\n",
                    options->arguments.items[0]);
            return CLI_USAGE;
        }
    }
    printf(".TH TEMPER 1 \"\" \"temper %s\" \"User Commands\"\n", TEMPER_VERSION);
    printf(".SH NAME\ntemper \\- give a language model its character, and prove how it was done\n");
    printf(".SH SYNOPSIS\n.B temper\n.I COMMAND\n[arguments] [options]\n");
    if (only == NULL) {
        printf(".SH DESCRIPTION\nRecipes in Lua chain stages of plugins in C (data filtering, constitutional "
               "generation, ranking, fine\\-tuning, evaluation) into runs that are archived and can be "
               "reproduced bit for bit.\n");
    }
    printf(".SH COMMANDS\n");
    for (i = 0; i < cli_command_count; i++) {
        if (only == NULL || only == &cli_commands[i]) {
            roff_command(&cli_commands[i]);
        }
    }
    printf(".SH ENVIRONMENT\n.TP\n.B TEMPER_HOME\nWhere blobs, cache and notes of runs are kept (default: "
           "~/.local/share/temper).\n.TP\n.B TEMPER_PLUGINS\nFolders of plugins, with colons between.\n"
           ".TP\n.B TEMPER_KERNELS\nThe kernel set to use; the bits are the same with each.\n"
           ".TP\n.B NO_COLOR\nNo colours.\n");
    printf(
        ".SH EXIT STATUS\n0: done. 1: it failed, and the message says why. 2: it was asked for wrongly. 130: "
        "stopped.\n");
    return CLI_OK;
}

/* --- completion ---------------------------------------------------------------------------------------------------- */

static void bash_option(void *context, const char *name, const char *value, const char *doc) {
    (void)context;
    (void)value;
    (void)doc;
    printf(" --%s", name);
}

static void print_bash(void) {
    size_t i;
    printf("# temper: made by temper completion bash\n_temper() {\n"
           "    local word=\"${COMP_WORDS[COMP_CWORD]}\" options=\"\"\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W \"");
    for (i = 0; i < cli_command_count; i++) {
        printf("%s%s", i > 0 ? " " : "", cli_commands[i].name);
    }
    printf("\" -- \"$word\"))\n        return\n    fi\n    case \"${COMP_WORDS[1]}\" in\n");
    for (i = 0; i < cli_command_count; i++) {
        printf("    %s) options=\"", cli_commands[i].name);
        cli_each_option(&cli_commands[i], bash_option, NULL);
        printf("\" ;;\n");
    }
    printf("    esac\n    case \"$word\" in\n    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
           "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n    esac\n}\n"
           "complete -o filenames -F _temper temper\n");
}

/* In zsh's descriptions ':', '[' and ']' have a meaning, and all stands in single quotes. */
static void print_zsh_text(const char *text) {
    for (; *text != 0; text++) {
        if (strchr(":[]\\", *text) != NULL) {
            putchar('\\');
            putchar(*text);
        } else if (*text == '\'') {
            fputs("'\\''", stdout);
        } else {
            putchar(*text);
        }
    }
}

static void zsh_option(void *context, const char *name, const char *value, const char *doc) {
    (void)context;
    printf(" \\\n            '*--%s%s[", name, value != NULL ? "=" : "");
    print_zsh_text(doc);
    printf("]");
    if (value != NULL) {
        printf(":");
        print_zsh_text(value);
        printf(":_files");
    }
    printf("'");
}

static void print_zsh(void) {
    size_t i;
    printf("#compdef temper\n# made by temper completion zsh\n_temper() {\n    local -a commands\n    "
           "commands=(\n");
    for (i = 0; i < cli_command_count; i++) {
        printf("        '%s:", cli_commands[i].name);
        print_zsh_text(cli_commands[i].doc);
        printf("'\n");
    }
    printf(
        "    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
        "    local command=$words[2]\n    words=(\"temper $command\" \"${(@)words[3,-1]}\")\n"
        "    (( CURRENT-- ))\n    case $command in\n");
    for (i = 0; i < cli_command_count; i++) {
        printf("        %s) _arguments", cli_commands[i].name);
        cli_each_option(&cli_commands[i], zsh_option, NULL);
        printf(" \\\n            '*:file:_files' ;;\n");
    }
    printf("    esac\n}\n_temper \"$@\"\n");
}

int cli_completion(const cli_options *options) {
    const char *shell = options->arguments.items[0];
    if (strcmp(shell, "bash") == 0) {
        print_bash();
    } else if (strcmp(shell, "zsh") == 0) {
        print_zsh();
    } else {
        fprintf(stderr, "temper completion: there is none for '%s'; there are bash and zsh\n", shell);
        return CLI_USAGE;
    }
    return CLI_OK;
}

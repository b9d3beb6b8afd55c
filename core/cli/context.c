/* context.c: what most commands open first, and how a failure is told. */
#include "cli/cli.h"

#include <sched.h>
#include <signal.h>
#include <unistd.h>

volatile int cli_cancelled;

/* The first signal asks; the second does not wait: workers notice that their socket closed. */
static void on_signal(int number) {
    (void)number;
    if (cli_cancelled) {
        _exit(CLI_STOPPED);
    }
    cli_cancelled = 1;
}

void cli_watch_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

uint32_t cli_threads(const cli_options *options) {
    cpu_set_t set;
    int count;
    if (options->threads > 0) {
        return (uint32_t)options->threads;
    }
    CPU_ZERO(&set);
    count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 0 ? (uint32_t)count : 1;
}

temper_status cli_open_catalog(const cli_options *options, tm_store *store, tm_catalog **out,
                               temper_error *error) {
    return tm_catalog_new(store, options->plugins.items, options->plugins.count, NULL, out, error);
}

temper_status cli_open(const cli_options *options, cli_context *out, temper_error *error) {
    temper_status status;
    memset(out, 0, sizeof *out);
    out->options = options;
    status = tm_store_open(NULL, &out->store, error);
    if (status) {
        return status;
    }
    status = cli_open_catalog(options, out->store, &out->catalog, error);
    if (status) {
        cli_close(out);
    }
    return status;
}

void cli_close(cli_context *context) {
    if (context->catalog != NULL) {
        tm_catalog_free(context->catalog);
    }
    if (context->store != NULL) {
        tm_store_close(context->store);
    }
    context->catalog = NULL;
    context->store = NULL;
}

static temper_status describe(void *context, const char *plugin, const temper_json **description,
                              temper_error *error) {
    cli_context *self = context;
    const tm_plugin_entry *entry = NULL;
    temper_status status = tm_catalog_find(self->catalog, plugin, &entry, error);
    if (status == TEMPER_OK) {
        *description = entry->description;
    }
    return status;
}

static void print(void *context, const char *text) {
    const cli_context *self = context;
    if (self->options->json) {
        cli_event("print", "text", text, (char *)NULL);
    } else {
        fprintf(stderr, "%s\n", text);
    }
}

temper_status cli_load(cli_context *context, const char *path, bool lenient, tm_recipe *out,
                       temper_error *error) {
    const tm_recipe_request request = {.path = path,
                                       .settings = context->options->settings.items,
                                       .setting_count = context->options->settings.count,
                                       .seed = (uint64_t)context->options->seed,
                                       .profile = context->options->profile,
                                       .describe = describe,
                                       .print = print,
                                       .context = context,
                                       .lenient = lenient};
    return tm_recipe_load(&request, out, error);
}

int cli_report(const cli_options *options, temper_status status, const temper_error *error) {
    if (status == TEMPER_OK) {
        return CLI_OK;
    }
    fflush(stdout); /* what was said before stands before */
    if (options->json) {
        cli_event("error", "message", error->message, (char *)NULL);
    }
    fprintf(stderr, "temper: %s\n", error->message);
    return status == TEMPER_CANCELLED ? CLI_STOPPED : CLI_FAILED;
}

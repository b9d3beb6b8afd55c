/* command_archive.c: verify, reproduce and explain. */
#include "archive/archive.h"
#include "base/text.h"
#include "cli/cli.h"
#include "scheduler/explain.h"
#include "scheduler/reproduce.h"
#include "scheduler/sources.h"

int cli_verify(const cli_options *options) {
    tm_archive archive;
    temper_error error = TEMPER_ERROR_INIT;
    const char *path = options->arguments.items[0];
    char id[TM_DIGEST_TEXT], bytes[16];
    temper_status status = tm_archive_read(path, NULL, &archive, &error);
    if (status) {
        return cli_report(options, status, &error);
    }
    tm_digest_text(&archive.id, id);
    if (options->json) {
        cli_event("verified", "archive", path, "id", id, (char *)NULL);
    } else {
        size_t left_out = tm_json_length(tm_json_member(archive.run, "left_out"));
        printf(" %s: every byte is what the record says\n", path);
        printf(" run      %s\n", id);
        printf(" holds    %zu stages · %zu blobs · %s\n",
               tm_json_length(tm_json_member(archive.run, "nodes")), archive.blob_count,
               tm_text_bytes((double)archive.bytes, bytes));
        if (left_out > 0) {
            printf(" left out %zu file%s of a base model, named by digest\n", left_out,
                   left_out == 1 ? "" : "s");
        }
    }
    tm_archive_free(&archive);
    return CLI_OK;
}

static temper_status catalog_for(void *context, tm_store *store, tm_catalog **out, temper_error *error) {
    return cli_open_catalog(context, store, out, error);
}

static void compared(void *context, const char *node, const char *output, const tm_digest *recorded,
                     bool same, const char *note) {
    const cli_options *options = context;
    char id[TM_DIGEST_TEXT];
    tm_digest_text(recorded, id);
    if (options->json) {
        cli_event("compared", "stage", node, "output", output, "digest", id, "verdict",
                  same ? "same" : "differs", "note", *note != 0 ? note : NULL, (char *)NULL);
        return;
    }
    printf(" %-12s %-12s %.11s…  %s%s%s%s\n", node, output, id, same ? "same" : "DIFFERS",
           *note != 0 ? "  (" : "", note, *note != 0 ? ")" : "");
    fflush(stdout);
}

int cli_reproduce(const cli_options *options) {
    const tm_reproduce_options reproduce = {
        .run = {.threads = cli_threads(options), .memory = options->memory, .cancel = &cli_cancelled},
        .with = options->with.items,
        .with_count = options->with.count,
        .catalog_for = catalog_for,
        .context = (void *)options,
        .compared = compared};
    tm_reproduction result;
    temper_error error = TEMPER_ERROR_INIT;
    temper_status status;
    cli_watch_signals();
    status = tm_reproduce(options->arguments.items[0], &reproduce, &result, &error);
    if (status) {
        return cli_report(options, status, &error);
    }
    if (options->json) {
        cli_event("reproduced", "verdict", result.same && result.same_id ? "same" : "differs", (char *)NULL);
    } else if (result.same) {
        printf(
            " reproduced: all %zu stages bit for bit%s (recorded on %s, %lld threads; here %s, %u threads)\n",
            result.stages, result.same_id ? ", and the run's id" : "", result.kernels,
            (long long)result.threads, tm_kernel_set_here(), cli_threads(options));
        if (!result.same_id) {
            printf(" but the record is not the one these outputs give: its run.json was made otherwise\n");
        }
    } else {
        printf(" NOT reproduced: %zu of %zu stages have the recorded bits (recorded on %s, %lld threads; "
               "here %s, %u threads)\n",
               result.same_stages, result.stages, result.kernels, (long long)result.threads,
               tm_kernel_set_here(), cli_threads(options));
    }
    return result.same && result.same_id ? CLI_OK : CLI_FAILED;
}

int cli_explain(const cli_options *options) {
    temper_arena *arena = tm_arena_new();
    const temper_json *runs[2] = {NULL, NULL};
    temper_error error = TEMPER_ERROR_INIT;
    tm_buffer text = TM_BUFFER_INIT;
    tm_store *store = NULL;
    tm_digest id;
    bool same = false;
    size_t i;
    int code;
    temper_status status = arena == NULL ? temper_fail(&error, TEMPER_NO_MEMORY, "out of memory")
                                         : tm_store_open(NULL, &store, &error);
    for (i = 0; i < 2 && status == TEMPER_OK; i++) {
        status = tm_run_find(store, options->arguments.items[i], arena, &runs[i], &id, &error);
    }
    if (status == TEMPER_OK) {
        status = tm_explain(runs[0], runs[1], &text, &same, &error);
    }
    if (status == TEMPER_OK && options->json) {
        cli_event("explained", "verdict", same ? "same" : "differs", "text", text.data, (char *)NULL);
    } else if (status == TEMPER_OK) {
        fputs(text.data, stdout);
    }
    code = status ? cli_report(options, status, &error) : same ? CLI_OK : CLI_FAILED;
    tm_buffer_free(&text);
    tm_arena_free(arena);
    if (store != NULL) {
        tm_store_close(store);
    }
    return code;
}

/* command_runs.c: the runs this machine knows, and freeing what none of them needs.
 *
 * A run is known from the moment its archive is written (the store's notes) and let go of by deleting its archive. */
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "scheduler/sources.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct known_run {
    tm_digest id;
    const char *archive, *title, *recipe, *profile;
    int64_t finished;
    bool holds;
    uint64_t bytes; /* of the archive; meaningless when it is gone */
    bool there;
} known_run;

static int latest_first(const void *a, const void *b) {
    const known_run *left = a, *right = b;
    if (left->finished != right->finished) {
        return left->finished < right->finished ? 1 : -1;
    }
    return memcmp(&left->id, &right->id, sizeof left->id);
}

static temper_status known_runs(tm_store *store, temper_arena *arena, known_run **out, size_t *count,
                                temper_error *error) {
    tm_note *notes;
    size_t i;
    temper_status status = tm_store_notes(store, arena, &notes, count, error);
    *out = status == TEMPER_OK ? tm_arena_allocate(arena, (*count + 1) * sizeof **out) : NULL;
    if (status == TEMPER_OK && *out == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    for (i = 0; status == TEMPER_OK && i < *count; i++) {
        known_run *run = &(*out)[i];
        struct stat about;
        memset(run, 0, sizeof *run);
        run->id = notes[i].id;
        run->archive = tm_json_text(tm_json_member(notes[i].value, "archive"), "");
        run->title = tm_json_text(tm_json_member(notes[i].value, "title"), "");
        run->recipe = tm_json_text(tm_json_member(notes[i].value, "recipe"), "");
        run->profile = tm_json_text(tm_json_member(notes[i].value, "profile"), "");
        (void)tm_json_integer(tm_json_member(notes[i].value, "finished"), &run->finished);
        (void)tm_json_boolean(tm_json_member(notes[i].value, "holds"), &run->holds);
        run->there = stat(run->archive, &about) == 0 && S_ISREG(about.st_mode);
        run->bytes = run->there ? (uint64_t)about.st_size : 0;
    }
    if (status == TEMPER_OK && *count > 1) {
        qsort(*out, *count, sizeof **out, latest_first);
    }
    return status;
}

/* A path as one would type it here: relative when it is below the working directory. */
static const char *path_here(const char *path) {
    char *here = realpath(".", NULL);
    size_t length = here != NULL ? strlen(here) : 0;
    const char *shown = path;
    if (length > 1 && strncmp(path, here, length) == 0 && path[length] == '/') {
        shown = path + length + 1;
    }
    free(here);
    return shown;
}

static void print_run(const known_run *run) {
    char id[TM_DIGEST_TEXT], when[32] = "", bytes[16];
    time_t finished = (time_t)run->finished;
    struct tm local;
    tm_digest_text(&run->id, id);
    if (localtime_r(&finished, &local) != NULL) {
        strftime(when, sizeof when, "%Y-%m-%d %H:%M", &local);
    }
    printf(" %.8s  %-16s  %-24s %-18s %-6s  %-7s %9s  %s\n", id + 7, when, run->title, run->recipe,
           run->profile, run->holds ? "ok" : "FAILED",
           run->there ? tm_text_bytes((double)run->bytes, bytes) : "gone", path_here(run->archive));
}

static void event_run(const known_run *run) {
    char id[TM_DIGEST_TEXT], finished[32], bytes[32];
    tm_digest_text(&run->id, id);
    snprintf(finished, sizeof finished, "%lld", (long long)run->finished);
    snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)run->bytes);
    cli_event("run", "id", id, "title", run->title, "recipe", run->recipe, "profile", run->profile,
              "#finished", finished, "#holds", run->holds ? "true" : "false", "archive", run->archive,
              "#bytes", run->there ? bytes : NULL, (char *)NULL);
}

int cli_runs(const cli_options *options) {
    temper_arena *arena = tm_arena_new();
    tm_store *store = NULL;
    known_run *runs = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    size_t count = 0, i;
    temper_status status = arena == NULL ? temper_fail(&error, TEMPER_NO_MEMORY, "out of memory")
                                         : tm_store_open(NULL, &store, &error);
    status = status ? status : known_runs(store, arena, &runs, &count, &error);
    for (i = 0; status == TEMPER_OK && i < count; i++) {
        if (options->json) {
            event_run(&runs[i]);
        } else {
            print_run(&runs[i]);
        }
    }
    if (status == TEMPER_OK && count == 0 && !options->json) {
        printf("no runs yet: begin with %s run recipes/character.lua\n", cli_program);
    }
    tm_store_close(store);
    tm_arena_free(arena);
    return cli_report(options, status, &error);
}

/* The latest run there is, for what `temper` alone proposes: its archive's path into `out`, or false. */
bool cli_latest_run(char *out, size_t size, bool *holds) {
    temper_arena *arena = tm_arena_new();
    tm_store *store = NULL;
    known_run *runs = NULL;
    size_t count = 0, i;
    bool found = false;
    if (arena != NULL && tm_store_open(NULL, &store, NULL) == TEMPER_OK &&
        known_runs(store, arena, &runs, &count, NULL) == TEMPER_OK) {
        for (i = 0; i < count && !found; i++) {
            if (runs[i].there) {
                snprintf(out, size, "%s", path_here(runs[i].archive));
                *holds = runs[i].holds;
                found = true;
            }
        }
    }
    tm_store_close(store);
    tm_arena_free(arena);
    return found;
}

/* --- gc ----------------------------------------------------------------------------------------------------------- */

typedef struct digest_list {
    tm_digest *items;
    size_t count;
} digest_list;

static temper_status add(digest_list *list, const tm_digest *digest, temper_error *error) {
    tm_digest *more = realloc(list->items, (list->count + 1) * sizeof *more);
    if (more == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    list->items = more;
    list->items[list->count++] = *digest;
    return TEMPER_OK;
}

static temper_status add_all(digest_list *list, const temper_json *array, temper_error *error) {
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < tm_json_length(array) && status == TEMPER_OK; i++) {
        const temper_json *element = tm_json_element(array, i), *named = tm_json_member(element, "digest");
        tm_digest digest;
        if (tm_digest_parse(tm_json_text(named != NULL ? named : element, ""), &digest)) {
            status = add(list, &digest, error);
        }
    }
    return status;
}

/* What a run names: its record, what its archive holds, and the base models that the archive left out. */
static temper_status add_run(tm_store *store, const known_run *run, temper_arena *arena, digest_list *kept,
                             temper_error *error) {
    const temper_json *record = NULL;
    const void *data;
    size_t size;
    temper_status status = add(kept, &run->id, error);
    if (status || !tm_store_has(store, &run->id)) {
        return status;
    }
    status = tm_store_map(store, &run->id, &data, &size, error);
    if (status) {
        return status;
    }
    status = tm_json_parse(arena, data, size, &record, error);
    tm_store_unmap(store, data, size);
    status = status ? status : add_all(kept, tm_json_member(record, "blobs"), error);
    status = status ? status : add_all(kept, tm_json_member(record, "trees"), error);
    return status ? status : add_all(kept, tm_json_member(record, "left_out"), error);
}

static bool agreed(const tm_collected *found) {
    char answer[16] = "", bytes[16];
    fprintf(stderr, "free %s? [y/N] ", tm_text_bytes((double)found->freed_bytes, bytes));
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

static void print_collected(const cli_options *options, const tm_store *store, const tm_collected *found,
                            size_t run_count, size_t gone, bool done) {
    char freed[32], kept[32];
    if (options->json) {
        snprintf(freed, sizeof freed, "%llu", (unsigned long long)found->freed_bytes);
        snprintf(kept, sizeof kept, "%llu", (unsigned long long)found->kept_bytes);
        cli_event("collected", "#freed_bytes", freed, "#kept_bytes", kept, "#done", done ? "true" : "false",
                  (char *)NULL);
        return;
    }
    if (done) {
        printf(" freed        %s\n", tm_text_bytes((double)found->freed_bytes, freed));
        return;
    }
    printf(" store        %s\n", tm_store_root(store));
    printf(" stays        %s · %zu blobs · %zu run%s, and stages finished in the last %lld days\n",
           tm_text_bytes((double)found->kept_bytes, kept), found->kept_blobs, run_count,
           run_count == 1 ? "" : "s", (long long)(options->given_days ? options->days : CLI_GC_DAYS));
    printf(" can go       %s · %zu blobs · %zu records", tm_text_bytes((double)found->freed_bytes, freed),
           found->freed_blobs, found->freed_records);
    if (gone > 0) {
        printf(" · %zu run%s whose archive%s gone", gone, gone == 1 ? "" : "s", gone == 1 ? " is" : "s are");
    }
    printf("\n");
    fflush(stdout);
}

int cli_gc(const cli_options *options) {
    temper_arena *arena = tm_arena_new();
    tm_store *store = NULL;
    known_run *runs = NULL;
    digest_list kept = {NULL, 0}, forgotten = {NULL, 0};
    temper_error error = TEMPER_ERROR_INIT;
    tm_collect_request request = {.pretend = true};
    tm_collected found;
    size_t count = 0, i;
    temper_status status = arena == NULL ? temper_fail(&error, TEMPER_NO_MEMORY, "out of memory")
                                         : tm_store_open(NULL, &store, &error);
    status = status ? status : known_runs(store, arena, &runs, &count, &error);
    for (i = 0; status == TEMPER_OK && i < count; i++) {
        status = runs[i].there ? add_run(store, &runs[i], arena, &kept, &error)
                               : add(&forgotten, &runs[i].id, &error);
    }
    if (status) {
        goto out;
    }
    request.kept = kept.items;
    request.kept_count = kept.count;
    request.forgotten = forgotten.items;
    request.forgotten_count = forgotten.count;
    request.seconds = 86400.0 * (double)(options->given_days ? options->days : CLI_GC_DAYS);
    status = tm_store_collect(store, &request, &found, &error);
    if (status) {
        goto out;
    }
    print_collected(options, store, &found, count - forgotten.count, forgotten.count, false);
    if (found.freed_bytes == 0) {
        goto out;
    }
    if (!options->yes && !isatty(STDIN_FILENO)) {
        fprintf(stderr, "temper gc: nothing was freed; say --yes to free it without being asked\n");
    } else if (options->yes || agreed(&found)) {
        request.pretend = false;
        status = tm_store_collect(store, &request, &found, &error);
        if (status == TEMPER_OK) {
            print_collected(options, store, &found, count, forgotten.count, true);
        }
    }
out:
    free(kept.items);
    free(forgotten.items);
    tm_store_close(store);
    tm_arena_free(arena);
    return cli_report(options, status, &error);
}

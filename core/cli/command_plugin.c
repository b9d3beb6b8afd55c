/* command_plugin.c: for people who write plugins: `plugin new` makes a folder that builds, `plugin check` says whether a
 * plugin keeps the contract. */
#include "cli/cli.h"

#include "base/file.h"
#include "plugin/check.h"
#include <ctype.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEMPLATE_LIMIT = 1 << 20 };

/* --- plugin new --- */

static bool name_valid(const char *name) {
    for (const char *c = name; *c != 0; c++) {
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '_' && *c != '-') {
            return false;
        }
    }
    return islower((unsigned char)*name) && strlen(name) <= 64;
}

/* Copies a file of the template, every @name@ replaced. */
static temper_status copy_template(const char *from, const char *to, const char *name, temper_error *error) {
    static const char mark[] = "@name@";
    tm_buffer text = TM_BUFFER_INIT, filled = TM_BUFFER_INIT;
    temper_status status = tm_file_read(from, TEMPLATE_LIMIT, &text, error);
    const char *at = text.data;
    while (!status && at != NULL) {
        const char *next = strstr(at, mark);
        tm_buffer_append(&filled, at, next != NULL ? (size_t)(next - at) : strlen(at));
        if (next != NULL) {
            tm_buffer_text(&filled, name);
        }
        at = next != NULL ? next + sizeof mark - 1 : NULL;
    }
    if (!status) {
        status = tm_buffer_ok(&filled)
                     ? tm_file_write(to, filled.data != NULL ? filled.data : "", filled.length, error)
                     : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    tm_buffer_free(&text);
    tm_buffer_free(&filled);
    return status;
}

static temper_status make_folder(const char *folder, const char *name, temper_error *error) {
    char *program = tm_path_program_folder();
    char *template = program != NULL ? tm_path_join(program, "../share/temper/template") : NULL;
    char **files = NULL;
    size_t count = 0;
    temper_status status = template != NULL ? tm_folder_list(template, &files, &count, error)
                                            : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    if (status) {
        temper_fail_in(error, status, "the template of a plugin is missing; is the SDK installed?");
    } else if (mkdir(folder, 0777) != 0) {
        status = temper_fail(error, TEMPER_IO, "cannot make the folder %s; is there one already?", folder);
    }
    for (size_t i = 0; i < count; i++) {
        char *from = tm_path_join(template, files[i]), *to = tm_path_join(folder, files[i]);
        if (!status) {
            status = from != NULL && to != NULL ? copy_template(from, to, name, error)
                                                : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        }
        free(from);
        free(to);
        free(files[i]);
    }
    free(files);
    free(template);
    free(program);
    return status;
}

int cli_plugin_new(const cli_options *options) {
    temper_error error = TEMPER_ERROR_INIT;
    const char *folder = options->arguments.items[1], *slash = strrchr(folder, '/');
    const char *name = slash != NULL ? slash + 1 : folder;
    if (!name_valid(name)) {
        fprintf(stderr,
                "temper plugin new: '%s' is no name for a plugin: lower-case letters, digits, _ and -\n",
                name);
        return CLI_USAGE;
    }
    temper_status status = make_folder(folder, name, &error);
    if (status) {
        return cli_report(options, status, &error);
    }
    printf("%s: a plugin with one stage, a sample, a test and a recipe. Next:\n"
           "  cmake -S %s -B %s/build && cmake --build %s/build && ctest --test-dir %s/build\n"
           "  temper run %s/recipe.lua --plugins %s/build\n"
           "(a Temper that is not in /usr or /usr/local: add -DCMAKE_PREFIX_PATH=its prefix to the first)\n",
           folder, folder, folder, folder, folder, folder, folder);
    return CLI_OK;
}

/* --- plugin check --- */

static void say(void *context, tm_check_verdict verdict, const char *line) {
    static const char *const words[] = {"ok", "BAD", "skipped"};
    const cli_options *options = context;
    if (options->json) {
        cli_event("check", "verdict", words[verdict], "line", line, (char *)NULL);
    } else {
        printf("%-8s %s\n", words[verdict], line);
        fflush(stdout);
    }
}

/* --set NAME=VALUE as JSON where it is JSON, as a string where it is none. */
static temper_status read_settings(const cli_options *options, temper_arena *arena, const temper_json **out,
                                   temper_error *error) {
    temper_json *object = tm_json_object(arena);
    for (size_t i = 0; i < options->settings.count; i++) {
        const char *setting = options->settings.items[i], *equals = strchr(setting, '=');
        const temper_json *value = NULL;
        if (equals == NULL || equals == setting) {
            return temper_fail(error, TEMPER_INVALID, "--set takes NAME=VALUE, not '%s'", setting);
        }
        char *name = tm_arena_copy(arena, setting, (size_t)(equals - setting));
        if (tm_json_parse(arena, equals + 1, strlen(equals + 1), &value, NULL)) {
            value = tm_json_api.new_string(arena, equals + 1, strlen(equals + 1));
        }
        if (name == NULL || object == NULL || !tm_json_set(arena, object, name, value)) {
            return temper_fail(error, TEMPER_INVALID, "--set %s: the value is not UTF-8, or memory is short",
                               name);
        }
    }
    *out = object;
    return TEMPER_OK;
}

/* The provider is there for stages that open a model; without one, such a stage says so itself. */
static const char *provider_of(tm_catalog *catalog) {
    const tm_plugin_entry *entry = NULL;
    temper_error ignored = TEMPER_ERROR_INIT;
    return tm_catalog_provider(catalog, &entry, &ignored) == TEMPER_OK ? entry->path : NULL;
}

static temper_status check_in(const cli_options *options, tm_store *store, const char *file, size_t *failures,
                              temper_error *error) {
    tm_check_request request = {.file = file,
                                .store = store,
                                .inputs = options->inputs.items,
                                .input_count = options->inputs.count,
                                .cancel = &cli_cancelled,
                                .context = (void *)(uintptr_t)options,
                                .say = say};
    temper_arena *arena = tm_arena_new();
    tm_catalog *catalog = NULL;
    temper_status status = arena != NULL ? read_settings(options, arena, &request.parameters, error)
                                         : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    if (!status) {
        status = cli_open_catalog(options, store, &catalog, error);
    }
    if (!status) {
        request.worker = tm_catalog_worker(catalog, NULL);
        request.provider = provider_of(catalog);
        status = tm_check_plugin_file(&request, failures, error);
    }
    if (catalog != NULL) {
        tm_catalog_free(catalog);
    }
    tm_arena_free(arena);
    return status;
}

int cli_plugin_check(const cli_options *options) {
    temper_error error = TEMPER_ERROR_INIT;
    const char *temporary = getenv("TMPDIR");
    char *file = realpath(options->arguments.items[1], NULL), folder[512];
    tm_store *store = NULL;
    size_t failures = 0;
    temper_status status = TEMPER_OK;
    cli_watch_signals();
    snprintf(folder, sizeof folder, "%s/temper-check-XXXXXX",
             temporary != NULL && *temporary != 0 ? temporary : "/tmp");
    if (file == NULL) {
        status = temper_fail(&error, TEMPER_INVALID, "there is no file %s", options->arguments.items[1]);
        return cli_report(options, status, &error);
    }
    if (mkdtemp(folder) == NULL) {
        free(file);
        status = temper_fail(&error, TEMPER_IO, "cannot make a folder in %s", folder);
        return cli_report(options, status, &error);
    }
    status = tm_store_open(folder, &store, &error);
    if (!status) {
        status = check_in(options, store, file, &failures, &error);
        tm_store_close(store);
    }
    tm_folder_remove(folder, NULL);
    free(file);
    if (status) {
        return cli_report(options, status, &error);
    }
    return failures > 0 ? CLI_FAILED : CLI_OK;
}

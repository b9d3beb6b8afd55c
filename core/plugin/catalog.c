/* catalog.c: see catalog.h. */
#include "plugin/catalog.h"

#include "base/file.h"
#include "base/text.h"
#include "plugin/description.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct catalog_entry {
    struct catalog_entry *next;
    tm_plugin_entry entry;
} catalog_entry;

struct tm_catalog {
    tm_store *store;
    temper_arena *arena; /* owns folders, names and descriptions */
    const char **folders;
    size_t folder_count;
    const char *worker;
    tm_digest worker_binary;
    const char **names;
    size_t name_count;
    catalog_entry *entries;
};

static temper_status no_memory(temper_error *error) {
    return temper_fail(error, TEMPER_NO_MEMORY, "no memory for the catalog of plugins");
}

/* Where plugins may come from is fixed when the catalog is made: absolute, and there. */
static temper_status add_folder(tm_catalog *catalog, const char *folder, const char *origin,
                                temper_error *error) {
    char *absolute = realpath(folder, NULL);
    const char **folders = tm_arena_allocate(catalog->arena, (catalog->folder_count + 1) * sizeof *folders);
    const char *kept = absolute != NULL ? tm_arena_copy(catalog->arena, absolute, strlen(absolute)) : NULL;
    free(absolute);
    if (folders == NULL) {
        return no_memory(error);
    }
    if (kept == NULL) {
        return temper_fail(error, TEMPER_INVALID, "%s: there is no folder %s", origin, folder);
    }
    if (catalog->folder_count > 0) {
        memcpy(folders, catalog->folders, catalog->folder_count * sizeof *folders);
    }
    folders[catalog->folder_count++] = kept;
    catalog->folders = folders;
    return TEMPER_OK;
}

static temper_status add_environment(tm_catalog *catalog, temper_error *error) {
    const char *list = getenv("TEMPER_PLUGINS");
    temper_status status = TEMPER_OK;
    while (list != NULL && *list != 0 && !status) {
        size_t length = strcspn(list, ":");
        char *folder = tm_arena_copy(catalog->arena, list, length);
        if (folder == NULL) {
            return no_memory(error);
        }
        if (*folder != '/') {
            return temper_fail(
                error, TEMPER_INVALID,
                "TEMPER_PLUGINS names \"%s\": only absolute folders, so that where one stands never matters",
                folder);
        }
        status = add_folder(catalog, folder, "TEMPER_PLUGINS", error);
        list += length;
        list += *list == ':';
    }
    return status;
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* The first of the places relative to the program's folder that exists; in the catalog's arena. */
static const char *beside_program(tm_catalog *catalog, const char *const *places, size_t count, bool folder) {
    char *program = tm_path_program_folder();
    const char *found = NULL;
    for (size_t i = 0; program != NULL && i < count && found == NULL; i++) {
        char *path = tm_path_join(program, places[i]);
        char *absolute = path != NULL ? realpath(path, NULL) : NULL;
        if (absolute != NULL && (folder ? is_folder(absolute) : access(absolute, X_OK) == 0)) {
            found = tm_arena_copy(catalog->arena, absolute, strlen(absolute));
        }
        free(absolute);
        free(path);
    }
    free(program);
    return found;
}

static temper_status find_worker(tm_catalog *catalog, const char *worker, temper_error *error) {
    static const char *const places[] = {"temper-worker", "../lib/temper/temper-worker"};
    char *absolute = worker != NULL ? realpath(worker, NULL) : NULL;
    catalog->worker = worker == NULL     ? beside_program(catalog, places, 2, false)
                      : absolute != NULL ? tm_arena_copy(catalog->arena, absolute, strlen(absolute))
                                         : NULL;
    free(absolute);
    if (catalog->worker == NULL) {
        return temper_fail(error, TEMPER_IO,
                           "temper-worker is missing%s%s: it belongs beside the program or in lib/temper",
                           worker != NULL ? ": " : "", worker != NULL ? worker : "");
    }
    return tm_digest_of_file(catalog->worker, &catalog->worker_binary, NULL, error);
}

temper_status tm_catalog_new(tm_store *store, const char *const *folders, size_t folder_count,
                             const char *worker, tm_catalog **out, temper_error *error) {
    static const char *const places[] = {"../lib/temper/plugins"};
    tm_catalog *catalog = calloc(1, sizeof *catalog);
    temper_arena *arena = tm_arena_new();
    if (catalog == NULL || arena == NULL) {
        free(catalog);
        tm_arena_free(arena);
        return no_memory(error);
    }
    catalog->store = store;
    catalog->arena = arena;
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < folder_count && !status; i++) {
        status = add_folder(catalog, folders[i], "--plugins", error);
    }
    if (!status) {
        status = add_environment(catalog, error);
    }
    const char *builtin = status ? NULL : beside_program(catalog, places, 1, true);
    if (builtin != NULL) {
        status = add_folder(catalog, builtin, "lib/temper/plugins", error);
    }
    if (!status) {
        status = find_worker(catalog, worker, error);
    }
    if (status) {
        tm_catalog_free(catalog);
        return status;
    }
    *out = catalog;
    return TEMPER_OK;
}

void tm_catalog_free(tm_catalog *catalog) {
    if (catalog != NULL) {
        tm_arena_free(catalog->arena);
        free(catalog);
    }
}

const char *tm_catalog_worker(const tm_catalog *catalog, tm_digest *binary) {
    if (binary != NULL) {
        *binary = catalog->worker_binary;
    }
    return catalog->worker;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* NAME of NAME.so, in the arena; NULL for any other file. */
static char *plugin_name(temper_arena *arena, const char *file) {
    size_t length = strlen(file);
    return length > 3 && strcmp(file + length - 3, ".so") == 0 ? tm_arena_copy(arena, file, length - 3)
                                                               : NULL;
}

static void scan_folder(tm_catalog *catalog, const char *folder) {
    char **files = NULL;
    size_t count = 0;
    if (tm_folder_list(folder, &files, &count, NULL)) {
        return;
    }
    const char **names = tm_arena_allocate(catalog->arena, (catalog->name_count + count + 1) * sizeof *names);
    for (size_t i = 0; i < catalog->name_count && names != NULL; i++) {
        names[i] = catalog->names[i];
    }
    for (size_t i = 0; i < count; i++) {
        char *name = names != NULL ? plugin_name(catalog->arena, files[i]) : NULL;
        if (name != NULL) {
            names[catalog->name_count++] = name;
        }
        free(files[i]);
    }
    if (names != NULL) {
        catalog->names = names;
    }
    free(files);
}

size_t tm_catalog_names(tm_catalog *catalog, const char *const **names) {
    catalog->names = NULL;
    catalog->name_count = 0;
    for (size_t i = 0; i < catalog->folder_count; i++) {
        scan_folder(catalog, catalog->folders[i]);
    }
    size_t count = 0;
    if (catalog->name_count > 0) {
        qsort(catalog->names, catalog->name_count, sizeof *catalog->names, by_name);
    }
    for (size_t i = 0; i < catalog->name_count; i++) {
        if (count == 0 || strcmp(catalog->names[count - 1], catalog->names[i]) != 0) {
            catalog->names[count++] = catalog->names[i];
        }
    }
    catalog->name_count = count;
    *names = catalog->names;
    return count;
}

static bool name_valid(const char *name) {
    for (const char *c = name; *c != 0; c++) {
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '_' && *c != '-') {
            return false;
        }
    }
    return islower((unsigned char)*name);
}

static temper_status unknown_plugin(tm_catalog *catalog, const char *name, temper_error *error) {
    const char *const *names;
    size_t count = tm_catalog_names(catalog, &names);
    const char *nearest = count > 0 ? tm_text_nearest(name, names, count) : NULL;
    tm_buffer searched = TM_BUFFER_INIT;
    for (size_t i = 0; i < catalog->folder_count; i++) {
        tm_buffer_format(&searched, "%s%s", i > 0 ? ", " : "", catalog->folders[i]);
    }
    temper_fail(error, TEMPER_INVALID, "there is no plugin \"%.64s\"%s%s%s (searched: %s)", name,
                nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
                nearest != NULL ? "\"?" : "",
                searched.length > 0 ? searched.data : "no folder: use --plugins DIR or TEMPER_PLUGINS");
    tm_buffer_free(&searched);
    return TEMPER_INVALID;
}

/* Descriptions are remembered by what made them: the plugin's file and the worker that read it. */
static tm_digest description_key(const tm_catalog *catalog, const tm_digest *binary) {
    static const char purpose[] = "temper description 1\n";
    uint8_t bytes[sizeof purpose - 1 + 64];
    memcpy(bytes, purpose, sizeof purpose - 1);
    memcpy(bytes + sizeof purpose - 1, binary->bytes, 32);
    memcpy(bytes + sizeof purpose - 1 + 32, catalog->worker_binary.bytes, 32);
    return tm_digest_of(bytes, sizeof bytes);
}

static temper_status describe_file(tm_catalog *catalog, const char *path, const tm_digest *binary,
                                   const temper_json **out, temper_error *error) {
    tm_digest key = description_key(catalog, binary);
    temper_error ignored = TEMPER_ERROR_INIT;
    temper_status status = catalog->store != NULL
                               ? tm_store_cache_get(catalog->store, &key, catalog->arena, out, &ignored)
                               : TEMPER_END;
    if (status == TEMPER_OK && tm_description_check(*out, &ignored) == TEMPER_OK) {
        return TEMPER_OK;
    }
    status = tm_describe(catalog->worker, path, catalog->arena, out, error);
    if (!status && catalog->store != NULL) {
        tm_store_cache_put(catalog->store, &key, *out,
                           &ignored); /* a cache that cannot be written is only slower */
    }
    return status;
}

temper_status tm_catalog_find(tm_catalog *catalog, const char *name, const tm_plugin_entry **out,
                              temper_error *error) {
    const char *path = NULL;
    struct stat info;
    for (catalog_entry *known = catalog->entries; known != NULL; known = known->next) {
        if (strcmp(known->entry.name, name) == 0) {
            *out = &known->entry;
            return TEMPER_OK;
        }
    }
    for (size_t i = 0; i < catalog->folder_count && path == NULL && name_valid(name); i++) {
        path = tm_arena_format(catalog->arena, "%s/%s.so", catalog->folders[i], name);
        path = path != NULL && stat(path, &info) == 0 ? path : NULL;
    }
    if (path == NULL) {
        return unknown_plugin(catalog, name, error);
    }
    catalog_entry *entry = tm_arena_allocate(catalog->arena, sizeof *entry);
    if (entry == NULL) {
        return no_memory(error);
    }
    memset(entry, 0, sizeof *entry);
    entry->entry.path = path;
    entry->entry.name = tm_arena_copy(catalog->arena, name, strlen(name));
    temper_status status = tm_digest_of_file(path, &entry->entry.binary, NULL, error);
    if (!status) {
        status = describe_file(catalog, path, &entry->entry.binary, &entry->entry.description, error);
    }
    if (status) {
        return temper_fail_in(error, status, "plugin \"%s\"", name);
    }
    entry->next = catalog->entries;
    catalog->entries = entry;
    *out = &entry->entry;
    return TEMPER_OK;
}

temper_status tm_catalog_provider(tm_catalog *catalog, const tm_plugin_entry **out, temper_error *error) {
    const char *chosen = getenv("TEMPER_PROVIDER");
    const char *name = chosen != NULL && *chosen != 0 ? chosen : "native";
    temper_status status = tm_catalog_find(catalog, name, out, error);
    if (status) {
        return status;
    }
    const temper_json *extensions = tm_json_member((*out)->description, "extensions");
    for (size_t i = 0; i < tm_json_length(extensions); i++) {
        if (strcmp(tm_json_text(tm_json_element(extensions, i), ""), "temper.model/1") == 0) {
            return TEMPER_OK;
        }
    }
    return temper_fail(error, TEMPER_UNSUPPORTED,
                       "the plugin \"%s\" cannot open models: it does not offer temper.model/1", name);
}

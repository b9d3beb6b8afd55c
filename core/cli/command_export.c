/* command_export.c: a run's model as the files other tools load.
 *
 * Invariant: the folder appears whole or not at all, and one that is there is never written into. */
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "scheduler/sources.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* An adapter stands with its base under base/ in the store; PEFT wants the adapter alone. */
static bool belongs(const tm_tree *tree, const tm_tree_entry *entry) {
    for (size_t i = 0; i < tree->count; i++) {
        if (strcmp(tree->entries[i].path, "adapter_config.json") == 0) {
            return strncmp(entry->path, "base/", 5) != 0;
        }
    }
    return true;
}

static temper_status write_entry(tm_store *store, const char *folder, const tm_tree_entry *entry,
                                 temper_error *error) {
    const void *data;
    size_t size;
    char *path = tm_path_join(folder, entry->path), *slash;
    temper_status status;
    if (path == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    slash = strrchr(path, '/');
    *slash = 0;
    status = tm_folder_make(path, error);
    *slash = '/';
    status = status ? status : tm_store_map(store, &entry->digest, &data, &size, error);
    if (status == TEMPER_OK) {
        status = tm_file_write(path, data, size, error);
        tm_store_unmap(store, data, size);
    }
    free(path);
    return status;
}

static temper_status write_folder(tm_store *store, const tm_tree *tree, const char *folder, uint64_t *bytes,
                                  size_t *files, temper_error *error) {
    tm_buffer partial = TM_BUFFER_INIT;
    temper_status status;
    if (access(folder, F_OK) == 0) {
        return temper_fail(error, TEMPER_INVALID, "%s is there already: name a folder that is not", folder);
    }
    tm_buffer_format(&partial, "%s.partial-%ld", folder, (long)getpid());
    if (!tm_buffer_ok(&partial)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    status = tm_folder_make(partial.data, error);
    for (size_t i = 0; i < tree->count && status == TEMPER_OK; i++) {
        if (belongs(tree, &tree->entries[i])) {
            status = write_entry(store, partial.data, &tree->entries[i], error);
            *bytes += tree->entries[i].size;
            *files += 1;
        }
    }
    if (status == TEMPER_OK && rename(partial.data, folder) != 0) {
        status = temper_fail(error, TEMPER_IO, "%s: %s", folder, strerror(errno));
    }
    if (status) {
        (void)tm_folder_remove(partial.data, NULL);
    }
    tm_buffer_free(&partial);
    return status;
}

int cli_export(const cli_options *options) {
    tm_store *store = NULL;
    tm_tree tree = {NULL, 0};
    tm_digest digest;
    temper_error error = TEMPER_ERROR_INIT;
    uint64_t bytes = 0;
    size_t files = 0;
    char size[16];
    const char *folder = options->arguments.items[1];
    temper_status status = tm_store_open(NULL, &store, &error);
    status = status ? status : tm_source_take(store, TM_MODEL, options->arguments.items[0], &digest, &error);
    status = status ? status : tm_store_get_tree(store, &digest, &tree, &error);
    status = status ? status : write_folder(store, &tree, folder, &bytes, &files, &error);
    if (status == TEMPER_OK && options->json) {
        cli_event("exported", "folder", folder, (char *)NULL);
    } else if (status == TEMPER_OK) {
        printf(" exported %zu files · %s to %s\n", files, tm_text_bytes((double)bytes, size), folder);
    }
    tm_tree_free(&tree);
    if (store != NULL) {
        tm_store_close(store);
    }
    return cli_report(options, status, &error);
}

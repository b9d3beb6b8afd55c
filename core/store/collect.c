/* collect.c: freeing what nobody needs.
 *
 * Invariants: nothing is deleted while another process has the store open; cache records go before the blobs they name, so a
 * kill in between leaves blobs that the next collection frees, and never a record of something that is gone. */
#include "store/store_inside.h"

#include "base/file.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

typedef struct collection {
    tm_store *store;
    const tm_collect_request *request;
    tm_collected *out;
    tm_digest *kept; /* sorted when marking is done */
    size_t count, room;
    time_t now;
} collection;

static int by_bytes(const void *a, const void *b) {
    return memcmp(a, b, sizeof(tm_digest));
}

static temper_status keep(collection *all, const tm_digest *digest, temper_error *error) {
    if (all->count == all->room) {
        size_t room = all->room > 0 ? 2 * all->room : 256;
        tm_digest *more = realloc(all->kept, room * sizeof *more);
        if (more == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        }
        all->kept = more;
        all->room = room;
    }
    all->kept[all->count++] = *digest;
    return TEMPER_OK;
}

/* A blob, and its files when it is a tree. What is no tree, or is not there, has no files to keep. */
static temper_status keep_whole(collection *all, const tm_digest *digest, bool may_be_tree,
                                temper_error *error) {
    temper_status status = keep(all, digest, error);
    tm_tree tree;
    if (status == TEMPER_OK && may_be_tree && tm_store_has(all->store, digest) &&
        tm_store_get_tree(all->store, digest, &tree, NULL) == TEMPER_OK) {
        for (size_t i = 0; i < tree.count && status == TEMPER_OK; i++) {
            status = keep(all, &tree.entries[i].digest, error);
        }
        tm_tree_free(&tree);
    }
    return status;
}

/* A tree is canonical JSON and small: no need to read a gigabyte of weights to see that it is none. */
static bool may_be_tree(collection *all, const tm_digest *digest) {
    uint64_t size = 0;
    return tm_store_size(all->store, digest, &size, NULL) == TEMPER_OK && size < (1u << 22);
}

static temper_status keep_record(collection *all, const temper_json *record, temper_error *error) {
    const temper_json *outputs = tm_json_member(record, "outputs");
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < tm_json_length(outputs) && status == TEMPER_OK; i++) {
        const temper_json *output = tm_json_element(outputs, i);
        tm_digest digest;
        if (tm_digest_parse(tm_json_text(tm_json_member(output, "digest"), ""), &digest)) {
            status = keep_whole(
                all, &digest, strcmp(tm_json_text(tm_json_member(output, "kind"), ""), "model") == 0, error);
        }
    }
    return status;
}

static bool is_kept(const collection *all, const tm_digest *digest) {
    return all->count > 0 && bsearch(digest, all->kept, all->count, sizeof *digest, by_bytes) != NULL;
}

static bool names_only_kept(const collection *all, const temper_json *record) {
    const temper_json *outputs = tm_json_member(record, "outputs");
    for (size_t i = 0; i < tm_json_length(outputs); i++) {
        tm_digest digest;
        if (tm_digest_parse(tm_json_text(tm_json_member(tm_json_element(outputs, i), "digest"), ""),
                            &digest) &&
            !is_kept(all, &digest)) {
            return false;
        }
    }
    return true;
}

/* --- walking ------------------------------------------------------------------------------------------------------ */

typedef temper_status visit(collection *all, const char *path, const char *name, const struct stat *about,
                            temper_error *error);

/* Regular files of a folder, by name; ROOT/FOLDER. A folder that is not there has none. */
static temper_status each_file(collection *all, const char *folder, visit *function, temper_error *error) {
    char *whole = store_path(all->store, folder, "."), **names = NULL;
    size_t count = 0, i;
    temper_status status = TEMPER_OK;
    if (whole == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    if (access(whole, F_OK) == 0) {
        status = tm_folder_list(whole, &names, &count, error);
    }
    for (i = 0; i < count; i++) {
        char *path = store_path(all->store, folder, names[i]);
        struct stat about;
        if (status == TEMPER_OK && path == NULL) {
            status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        }
        if (status == TEMPER_OK && lstat(path, &about) == 0 && S_ISREG(about.st_mode)) {
            status = function(all, path, names[i], &about, error);
        }
        free(path);
        free(names[i]);
    }
    free(names);
    free(whole);
    return status;
}

static bool young(const collection *all, const struct stat *about) {
    return difftime(all->now, about->st_mtime) < all->request->seconds;
}

/* Reads a cache record into an arena of its own; NULL when there is none any more (a damaged one was moved aside). */
static temper_status read_record(collection *all, const char *name, temper_arena **arena,
                                 const temper_json **record, temper_error *error) {
    tm_digest key;
    temper_status status;
    *record = NULL;
    *arena = tm_arena_new();
    if (*arena == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    if (strlen(name) != 64 || !tm_digest_parse(name, &key)) {
        return TEMPER_OK;
    }
    status = record_get(all->store, "cache", &key, *arena, record, error);
    return status == TEMPER_END ? TEMPER_OK : status;
}

static temper_status mark_record(collection *all, const char *path, const char *name,
                                 const struct stat *about, temper_error *error) {
    const temper_json *record;
    temper_arena *arena;
    temper_status status = TEMPER_OK;
    (void)path;
    if (young(all, about)) {
        status = read_record(all, name, &arena, &record, error);
        if (status == TEMPER_OK && record != NULL) {
            status = keep_record(all, record, error);
        }
        tm_arena_free(arena);
    }
    return status;
}

static temper_status free_file(collection *all, const char *path, const struct stat *about,
                               temper_error *error) {
    if (!all->request->pretend && unlink(path) != 0 && errno != ENOENT) {
        return temper_fail(error, TEMPER_IO, "cannot delete '%s': %s", path, strerror(errno));
    }
    all->out->freed_bytes += (uint64_t)about->st_size;
    return TEMPER_OK;
}

/* An old record stays while all it names stays for another reason: a run that is kept is still taken from the cache. A record
 * that names nothing (how long a stage took, what a plugin says of itself) goes when it is old. */
static temper_status sweep_record(collection *all, const char *path, const char *name,
                                  const struct stat *about, temper_error *error) {
    const temper_json *record = NULL;
    temper_arena *arena;
    temper_status status = read_record(all, name, &arena, &record, error);
    bool stays = false;
    if (status == TEMPER_OK && record != NULL) {
        stays = tm_json_member(record, "outputs") != NULL ? names_only_kept(all, record) : young(all, about);
    }
    tm_arena_free(arena);
    if (status == TEMPER_OK && stays) {
        all->out->kept_records++;
    } else if (status == TEMPER_OK) {
        all->out->freed_records++;
        status = free_file(all, path, about, error);
    }
    return status;
}

static temper_status sweep_waste(collection *all, const char *path, const char *name,
                                 const struct stat *about, temper_error *error) {
    return strcmp(name, "store") == 0 ? TEMPER_OK : free_file(all, path, about, error);
}

/* How far an unfinished stage is: as old as a stage that nobody goes on with. */
static temper_status sweep_checkpoint(collection *all, const char *path, const char *name,
                                      const struct stat *about, temper_error *error) {
    (void)name;
    return young(all, about) ? TEMPER_OK : free_file(all, path, about, error);
}

static temper_status sweep_blobs(collection *all, temper_error *error) {
    temper_status status = TEMPER_OK;
    for (unsigned first = 0; first < 256 && status == TEMPER_OK; first++) {
        char folder[24], *whole, **names = NULL;
        size_t count = 0;
        snprintf(folder, sizeof folder, "blobs/sha256/%02x", first);
        whole = store_path(all->store, folder, ".");
        if (whole == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        }
        status = access(whole, F_OK) == 0 ? tm_folder_list(whole, &names, &count, error) : TEMPER_OK;
        for (size_t i = 0; i < count; i++) {
            char *path = store_path(all->store, folder, names[i]), text[80];
            struct stat about;
            tm_digest digest;
            snprintf(text, sizeof text, "%02x%.70s", first, names[i]);
            if (status == TEMPER_OK && path != NULL && lstat(path, &about) == 0 && S_ISREG(about.st_mode)) {
                if (strlen(text) == 64 && tm_digest_parse(text, &digest) && is_kept(all, &digest)) {
                    all->out->kept_blobs++;
                    all->out->kept_bytes += (uint64_t)about.st_size;
                } else {
                    all->out->freed_blobs++;
                    status = free_file(all, path, &about, error);
                }
            }
            free(path);
            free(names[i]);
        }
        free(names);
        free(whole);
    }
    return status;
}

static temper_status mark(collection *all, temper_error *error) {
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < all->request->kept_count && status == TEMPER_OK; i++) {
        const tm_digest *digest = &all->request->kept[i];
        status = keep_whole(all, digest, may_be_tree(all, digest), error);
    }
    status = status ? status : each_file(all, "cache", mark_record, error);
    if (status == TEMPER_OK && all->count > 0) {
        qsort(all->kept, all->count, sizeof *all->kept, by_bytes);
    }
    return status;
}

static temper_status forget(collection *all, temper_error *error) {
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < all->request->forgotten_count && status == TEMPER_OK; i++) {
        char text[TM_DIGEST_TEXT], *path;
        struct stat about;
        tm_digest_text(&all->request->forgotten[i], text);
        path = store_path(all->store, "runs", text + 7);
        if (path == NULL) {
            status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        } else if (lstat(path, &about) == 0) {
            all->out->freed_records++;
            status = free_file(all, path, &about, error);
        }
        free(path);
    }
    return status;
}

temper_status tm_store_collect(tm_store *store, const tm_collect_request *request, tm_collected *out,
                               temper_error *error) {
    collection all = {.store = store, .request = request, .out = out, .now = time(NULL)};
    temper_status status;
    memset(out, 0, sizeof *out);
    if (flock(store->in_use, LOCK_EX | LOCK_NB) != 0) {
        return temper_fail(error, TEMPER_FAILED,
                           "another temper is using the store '%s': wait for it to end, or stop it",
                           store->root);
    }
    status = mark(&all, error);
    status = status ? status : forget(&all, error);
    status = status ? status : each_file(&all, "cache", sweep_record, error);
    status = status ? status : sweep_blobs(&all, error);
    status = status ? status : each_file(&all, "checkpoints", sweep_checkpoint, error);
    status = status ? status : each_file(&all, "damaged", sweep_waste, error);
    status = status ? status : each_file(&all, "tmp", sweep_waste, error);
    status = status ? status : each_file(&all, "locks", sweep_waste, error);
    (void)flock(store->in_use, LOCK_SH);
    free(all.kept);
    return status;
}

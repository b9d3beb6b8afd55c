/* checkpoint.c: how far an unfinished stage is: ROOT/checkpoints/<64 hex of the cache key>.NAME, the bytes and then their
 * SHA-256. One that is damaged is moved aside and answers as if it were not there; one that nobody went on from for a
 * month is removed by a later save. */
#include "store/store_inside.h"

#include "base/file.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { NAME_LENGTH = 64, ABANDONED_DAYS = 30, DIGEST = sizeof(tm_digest) };

static bool name_valid(const char *name) {
    size_t length = strlen(name);
    return length > 0 && length <= 32 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == length;
}

/* malloc'ed path; NULL with a message. */
static char *checkpoint_path(const tm_store *store, const tm_digest *key, const char *name,
                             temper_error *error) {
    char text[TM_DIGEST_TEXT], file[TM_DIGEST_TEXT + 40];
    char *path;
    if (!name_valid(name)) {
        temper_fail(error, TEMPER_INVALID, "'%.40s' is no name for a checkpoint: a-z, 0-9, '_', '-'", name);
        return NULL;
    }
    tm_digest_text(key, text);
    snprintf(file, sizeof file, "%s.%s", text + 7, name);
    path = store_path(store, "checkpoints", file);
    if (path == NULL) {
        temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    return path;
}

/* Calls remove on each checkpoint of `key`, or, with a NULL key, on those nobody touched for a month. */
static void sweep(const tm_store *store, const tm_digest *key) {
    char *folder = store_path(store, "checkpoints", "."), **names = NULL, text[TM_DIGEST_TEXT];
    size_t count = 0, i;
    time_t now = time(NULL);
    if (key != NULL) {
        tm_digest_text(key, text);
    }
    if (folder != NULL && tm_folder_list(folder, &names, &count, NULL) == TEMPER_OK) {
        for (i = 0; i < count; i++) {
            char *path = store_path(store, "checkpoints", names[i]);
            struct stat about;
            bool wanted = path != NULL && lstat(path, &about) == 0 && S_ISREG(about.st_mode) &&
                          (key != NULL ? strncmp(names[i], text + 7, NAME_LENGTH) == 0
                                       : now - about.st_mtime > (time_t)ABANDONED_DAYS * 86400);
            if (wanted) {
                unlink(path);
            }
            free(path);
            free(names[i]);
        }
        free(names);
    }
    free(folder);
}

temper_status tm_store_checkpoint_save(tm_store *store, const tm_digest *key, const char *name,
                                       const void *const *pieces, const size_t *lengths, size_t count,
                                       temper_error *error) {
    temporary_file temporary = {NULL, -1};
    char *path = checkpoint_path(store, key, name, error);
    tm_hasher *hasher = tm_hasher_new();
    tm_digest digest;
    temper_status status = TEMPER_OK;
    size_t i;
    if (path == NULL || hasher == NULL) {
        tm_hasher_free(hasher);
        free(path);
        return path == NULL ? TEMPER_INVALID : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    sweep(store, NULL);
    status = temporary_open(store, &temporary, error);
    for (i = 0; !status && i < count; i++) {
        tm_hasher_add(hasher, pieces[i], lengths[i]);
        status = temporary_write(&temporary, pieces[i], lengths[i], error);
    }
    digest = tm_hasher_end(hasher);
    if (!status) {
        status = temporary_write(&temporary, digest.bytes, DIGEST, error);
    }
    if (!status) {
        status = temporary_place(&temporary, path, 0600, error);
    } else {
        temporary_discard(&temporary);
    }
    free(path);
    return status;
}

temper_status tm_store_checkpoint_map(tm_store *store, const tm_digest *key, const char *name,
                                      const void **data, size_t *size, temper_error *error) {
    char *path = checkpoint_path(store, key, name, error), text[TM_DIGEST_TEXT];
    temper_status status = TEMPER_OK;
    size_t whole = 0;
    tm_digest digest;
    *data = NULL;
    *size = 0;
    if (path == NULL) {
        return TEMPER_INVALID;
    }
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        status = TEMPER_END;
    } else {
        status = tm_file_map(path, data, &whole, error);
    }
    if (!status) {
        bool sound = whole >= DIGEST;
        if (sound) {
            digest = tm_digest_of(*data, whole - DIGEST);
            sound = memcmp((const char *)*data + whole - DIGEST, digest.bytes, DIGEST) == 0;
        }
        if (!sound) {
            tm_file_unmap(*data, whole);
            *data = NULL;
            tm_digest_text(key, text);
            store_set_aside(store, path, text + 7);
            status = TEMPER_END;
        } else {
            *size = whole - DIGEST;
        }
    }
    free(path);
    return status;
}

void tm_store_checkpoint_unmap(const void *data, size_t size) {
    tm_file_unmap(data, size + DIGEST);
}

void tm_store_checkpoint_drop(tm_store *store, const tm_digest *key) {
    sweep(store, key);
}

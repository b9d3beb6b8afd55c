/* store.c: where a store is, its folders, and files that appear whole or not at all. */
#include "store/store_inside.h"

#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { ABANDONED_AFTER = 24 * 60 * 60 };

uint64_t store_random(void) {
    static _Atomic uint64_t counter;
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) {
        random =
            (uint64_t)getpid() << 32 ^ (uint64_t)time(NULL); /* O_EXCL finds the clash, if there is one */
    }
    return random + ++counter;
}

char *store_path(const tm_store *store, const char *folder, const char *name) {
    size_t size = strlen(store->root) + strlen(folder) + strlen(name) + 3;
    char *path = malloc(size);
    if (path != NULL) {
        snprintf(path, size, "%s/%s/%s", store->root, folder, name);
    }
    return path;
}

void store_set_aside(const tm_store *store, const char *path, const char *name) {
    char unique[96], *aside;
    snprintf(unique, sizeof unique, "%.64s.%016" PRIx64, name, store_random());
    aside = store_path(store, "damaged", unique);
    if (aside == NULL || rename(path, aside) != 0) {
        unlink(path);
    }
    free(aside);
}

temper_status temporary_open(const tm_store *store, temporary_file *out, temper_error *error) {
    unsigned tries;
    for (tries = 0; tries < 100; tries++) {
        char name[32];
        snprintf(name, sizeof name, "%016" PRIx64, store_random());
        out->path = store_path(store, "tmp", name);
        if (out->path == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        }
        out->file = open(out->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (out->file >= 0) {
            flock(out->file, LOCK_EX | LOCK_NB); /* tells a cleaning open that somebody is at it */
            return TEMPER_OK;
        }
        free(out->path);
        out->path = NULL;
        if (errno != EEXIST) {
            break;
        }
    }
    return temper_fail(error, TEMPER_IO, "cannot make a file in '%s/tmp': %s", store->root, strerror(errno));
}

temper_status temporary_write(temporary_file *temporary, const void *bytes, size_t count,
                              temper_error *error) {
    const char *at = bytes;
    while (count > 0) {
        ssize_t written = write(temporary->file, at, count < (1u << 30) ? count : (1u << 30));
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return temper_fail(error, TEMPER_IO, "cannot write to the store ('%s'): %s", temporary->path,
                               strerror(written == 0 ? ENOSPC : errno));
        }
        at += written;
        count -= (size_t)written;
    }
    return TEMPER_OK;
}

void temporary_hurry(temporary_file *temporary, uint64_t from, uint64_t to) {
    sync_file_range(temporary->file, (off_t)from, (off_t)(to - from), SYNC_FILE_RANGE_WRITE);
}

void temporary_discard(temporary_file *temporary) {
    if (temporary->path != NULL) {
        unlink(temporary->path);
        close(temporary->file);
        free(temporary->path);
        temporary->path = NULL;
    }
}

temper_status temporary_place(temporary_file *temporary, const char *path, unsigned mode,
                              temper_error *error) {
    temper_status status = TEMPER_OK;
    char *folder = strndup(path, (size_t)(strrchr(path, '/') - path));
    if (folder == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    } else if (fchmod(temporary->file, mode) != 0 || fsync(temporary->file) != 0) {
        status = temper_fail(error, TEMPER_IO, "cannot sync '%s': %s", temporary->path, strerror(errno));
    } else if (rename(temporary->path, path) != 0) {
        status = temper_fail(error, TEMPER_IO, "cannot put '%s' in its place: %s", path, strerror(errno));
    } else {
        close(temporary->file);
        free(temporary->path);
        temporary->path = NULL;
        status = tm_file_sync_folder(folder, error);
    }
    if (status) {
        temporary_discard(temporary);
    }
    free(folder);
    return status;
}

/* Files of processes that died: old, and nobody's lock on them. */
static void clean_temporary(const tm_store *store) {
    char *folder = store_path(store, "tmp", "."), **names = NULL;
    size_t count = 0, i;
    time_t now = time(NULL);
    if (folder != NULL && tm_folder_list(folder, &names, &count, NULL) == TEMPER_OK) {
        for (i = 0; i < count; i++) {
            char *path = store_path(store, "tmp", names[i]);
            int file = path == NULL ? -1 : open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
            struct stat about;
            if (file >= 0) {
                if (fstat(file, &about) == 0 && S_ISREG(about.st_mode) &&
                    now - about.st_mtime > ABANDONED_AFTER && flock(file, LOCK_EX | LOCK_NB) == 0) {
                    unlink(path);
                }
                close(file);
            }
            free(path);
            free(names[i]);
        }
        free(names);
    }
    free(folder);
}

static char *default_root(temper_error *error) {
    const char *home = getenv("TEMPER_HOME"), *data = getenv("XDG_DATA_HOME"), *user = getenv("HOME");
    char *root = NULL;
    if (home != NULL && home[0] != 0) {
        root = strdup(home);
    } else if (data != NULL && data[0] == '/') { /* the XDG specification ignores relative ones */
        root = tm_path_join(data, "temper");
    } else if (user != NULL && user[0] != 0) {
        root = tm_path_join(user, ".local/share/temper");
    } else {
        temper_fail(error, TEMPER_INVALID, "no place for the store: set TEMPER_HOME to a folder");
        return NULL;
    }
    if (root == NULL) {
        temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    return root;
}

static temper_status take_in_use(tm_store *store, temper_error *error) {
    char *path = store_path(store, "locks", "store");
    temper_status status = TEMPER_OK;
    if (path == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    store->in_use = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (store->in_use < 0) {
        status = temper_fail(error, TEMPER_IO, "cannot open the lock '%s': %s", path, strerror(errno));
    }
    /* Waits only while garbage is being collected, which takes as long as deleting files does. */
    while (status == TEMPER_OK && flock(store->in_use, LOCK_SH) != 0) {
        if (errno != EINTR) {
            status = temper_fail(error, TEMPER_IO, "cannot lock '%s': %s", path, strerror(errno));
        }
    }
    free(path);
    return status;
}

temper_status tm_store_open(const char *root, tm_store **out, temper_error *error) {
    static const char *const folders[] = {"blobs/sha256", "tmp",   "cache",  "checkpoints",
                                          "runs",         "locks", "damaged"};
    temper_status status = TEMPER_OK;
    tm_store *store = calloc(1, sizeof *store);
    char *named = root != NULL ? strdup(root) : default_root(error), *path;
    size_t i;
    if (store != NULL) {
        store->in_use = -1;
    }
    if (named == NULL && root == NULL) {
        status = TEMPER_INVALID;
        goto out;
    }
    if (store == NULL || named == NULL || (store->seen = seen_new()) == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        goto out;
    }
    if ((status = tm_folder_make(named, error))) {
        temper_fail_in(error, status, "the store");
        goto out;
    }
    store->root = realpath(named, NULL); /* so that a later chdir does not move it */
    if (store->root == NULL) {
        status = temper_fail(error, TEMPER_IO, "the store '%s': %s", named, strerror(errno));
        goto out;
    }
    for (i = 0; i < sizeof folders / sizeof folders[0] && status == TEMPER_OK; i++) {
        path = tm_path_join(store->root, folders[i]);
        status = path == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "out of memory")
                              : tm_folder_make(path, error);
        free(path);
    }
    if (status == TEMPER_OK) {
        status = take_in_use(store, error);
    }
    if (status == TEMPER_OK) {
        clean_temporary(store);
    }
out:
    free(named);
    if (status) {
        tm_store_close(store);
    } else {
        *out = store;
    }
    return status;
}

const char *tm_store_root(const tm_store *store) {
    return store->root;
}

void tm_store_close(tm_store *store) {
    if (store != NULL) {
        if (store->in_use >= 0) {
            close(store->in_use);
        }
        seen_free(store->seen);
        free(store->root);
        free(store);
    }
}

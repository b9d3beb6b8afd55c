/* blob.c: blobs in and out. Invariant: a name in blobs/ appears by rename of a finished, synced file whose digest was taken
 * from the very bytes written; a blob that is there is verified before it is used or relied on. */
#include "store/store_inside.h"

#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

char *store_blob_path(const tm_store *store, const tm_digest *digest, size_t *cut) {
    char text[TM_DIGEST_TEXT], name[80], *path;
    tm_digest_text(digest, text);
    snprintf(name, sizeof name, "%.2s/%s", text + 7, text + 9);
    path = store_path(store, "blobs/sha256", name);
    if (path != NULL && cut != NULL) {
        *cut = strlen(path) - 63;
    }
    return path;
}

static temper_status out_of_memory(temper_error *error) {
    return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
}

bool tm_store_has(const tm_store *store, const tm_digest *digest) {
    char *path = store_blob_path(store, digest, NULL);
    struct stat about;
    bool there = path != NULL && lstat(path, &about) == 0 && S_ISREG(about.st_mode);
    free(path);
    return there;
}

temper_status tm_store_size(const tm_store *store, const tm_digest *digest, uint64_t *size,
                            temper_error *error) {
    char *path = store_blob_path(store, digest, NULL), text[TM_DIGEST_TEXT];
    temper_status status = TEMPER_OK;
    struct stat about;
    tm_digest_text(digest, text);
    if (path == NULL) {
        status = out_of_memory(error);
    } else if (lstat(path, &about) != 0 || !S_ISREG(about.st_mode)) {
        status = temper_fail(error, TEMPER_IO, "%s is not in the store '%s'", text, store->root);
    } else {
        *size = (uint64_t)about.st_size;
    }
    free(path);
    return status;
}

static temper_status map_blob(const tm_store *store, const tm_digest *digest, const void **data, size_t *size,
                              struct stat *about, temper_error *error) {
    static const char nothing[1] = {0};
    char text[TM_DIGEST_TEXT], *path = store_blob_path(store, digest, NULL);
    temper_status status = TEMPER_OK;
    void *mapped = MAP_FAILED;
    int file = -1;
    tm_digest_text(digest, text);
    if (path == NULL) {
        return out_of_memory(error);
    }
    file = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) {
        status = errno == ENOENT
                     ? temper_fail(error, TEMPER_IO, "%s is not in the store '%s'", text, store->root)
                     : temper_fail(error, TEMPER_IO, "cannot open '%s': %s", path, strerror(errno));
        goto out;
    }
    if (fstat(file, about) != 0 || !S_ISREG(about->st_mode) || (uint64_t)about->st_size > SIZE_MAX / 2) {
        status = temper_fail(error, TEMPER_IO, "'%s' is not a regular file", path);
        goto out;
    }
    if (about->st_size > 0) {
        mapped = mmap(NULL, (size_t)about->st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (mapped == MAP_FAILED) {
            status = temper_fail(error, errno == ENOMEM ? TEMPER_NO_MEMORY : TEMPER_IO, "cannot map '%s': %s",
                                 path, strerror(errno));
            goto out;
        }
    }
    *data = mapped == MAP_FAILED ? nothing : mapped;
    *size = (size_t)about->st_size;
out:
    if (file >= 0) {
        close(file);
    }
    free(path);
    return status;
}

/* Is what the bytes hash to what they should? If not, the blob is moved aside. */
static temper_status settle(tm_store *store, const tm_digest *digest, const tm_digest *found,
                            const struct stat *about, temper_error *error) {
    char text[TM_DIGEST_TEXT], other[TM_DIGEST_TEXT], *path;
    if (tm_digest_equal(found, digest)) {
        seen_add(store->seen, digest, about);
        return TEMPER_OK;
    }
    path = store_blob_path(store, digest, NULL);
    if (path == NULL) {
        return out_of_memory(error);
    }
    tm_digest_text(digest, text);
    tm_digest_text(found, other);
    store_set_aside(store, path, text + 7);
    seen_remove(store->seen, digest);
    free(path);
    return temper_fail(error, TEMPER_IO,
                       "%s in the store was damaged: its bytes are now %s; it was moved to '%s/damaged', and "
                       "running again makes it again",
                       text, other, store->root);
}

temper_status tm_store_map(tm_store *store, const tm_digest *digest, const void **data, size_t *size,
                           temper_error *error) {
    struct stat about;
    temper_status status = map_blob(store, digest, data, size, &about, error);
    if (status == TEMPER_OK && !seen_has(store->seen, digest, &about)) {
        tm_digest found = tm_digest_of(*data, *size);
        status = settle(store, digest, &found, &about, error);
        if (status) {
            tm_store_unmap(store, *data, *size);
        }
    }
    return status;
}

/* --- a mapping that is verified on a thread of its own ------------------------------------------------------------ */

struct tm_store_check {
    tm_store *store;
    tm_digest digest, found;
    struct stat about;
    const char *data;
    size_t size;
    pthread_t thread;
    _Atomic bool stop;
};

static void *check_blob(void *context) {
    enum { PIECE = 1 << 20 };
    tm_store_check *check = context;
    tm_hasher *hasher = tm_hasher_new();
    size_t at, piece;
    if (hasher == NULL) {
        check->found = tm_digest_of(check->data, check->size);
        return NULL;
    }
    for (at = 0; at < check->size && !atomic_load(&check->stop); at += piece) {
        piece = check->size - at < PIECE ? check->size - at : PIECE;
        tm_hasher_add(hasher, check->data + at, piece);
    }
    check->found = tm_hasher_end(hasher);
    return NULL;
}

temper_status tm_store_map_begin(tm_store *store, const tm_digest *digest, const void **data, size_t *size,
                                 tm_store_check **out, temper_error *error) {
    tm_store_check *check = calloc(1, sizeof *check);
    sigset_t all, before;
    int refused;
    temper_status status;
    *out = NULL;
    if (check == NULL) {
        return out_of_memory(error);
    }
    status = map_blob(store, digest, data, size, &check->about, error);
    if (status || seen_has(store->seen, digest, &check->about)) {
        free(check);
        return status;
    }
    check->store = store;
    check->digest = *digest;
    check->data = *data;
    check->size = *size;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the threads that know of them */
    refused = pthread_create(&check->thread, NULL, check_blob, check);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (refused) { /* no thread to be had: now, then */
        check->found = tm_digest_of(check->data, check->size);
        status = settle(store, digest, &check->found, &check->about, error);
        if (status) {
            tm_store_unmap(store, *data, *size);
        }
        free(check);
        return status;
    }
    *out = check;
    return TEMPER_OK;
}

temper_status tm_store_map_end(tm_store_check *check, bool stop, temper_error *error) {
    temper_status status = TEMPER_OK;
    if (check != NULL) {
        atomic_store(&check->stop, stop);
        pthread_join(check->thread, NULL);
        if (!stop) {
            status = settle(check->store, &check->digest, &check->found, &check->about, error);
        }
        free(check);
    }
    return status;
}

void tm_store_unmap(tm_store *store, const void *data, size_t size) {
    (void)store;
    tm_file_unmap(data, size);
}

/* There and undamaged. A damaged one is moved aside by this, and so makes room. */
bool store_has_sound(tm_store *store, const tm_digest *digest) {
    const void *data;
    size_t size;
    if (!tm_store_has(store, digest) || tm_store_map(store, digest, &data, &size, NULL) != TEMPER_OK) {
        return false;
    }
    tm_store_unmap(store, data, size);
    return true;
}

temper_status tm_store_put(tm_store *store, const void *bytes, size_t count, tm_digest *out,
                           temper_error *error) {
    tm_digest digest = tm_digest_of(bytes, count);
    tm_store_writer *writer;
    temper_status status;
    if (store_has_sound(store, &digest)) {
        *out = digest;
        return TEMPER_OK;
    }
    if ((status = tm_store_writer_new(store, &writer, error))) {
        return status;
    }
    if ((status = tm_store_writer_add(writer, bytes, count, error))) {
        tm_store_writer_abort(writer);
        return status;
    }
    return tm_store_writer_commit(writer, out, error);
}

static temper_status copy_file(tm_store *store, const char *path, tm_digest *out, temper_error *error) {
    enum { PIECE = 1 << 18 };
    temper_status status = TEMPER_OK;
    tm_store_writer *writer = NULL;
    char *piece = malloc(PIECE);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (piece == NULL) {
        status = out_of_memory(error);
    } else if (file < 0) {
        status = temper_fail(error, TEMPER_IO, "cannot open '%s': %s", path, strerror(errno));
    } else {
        status = tm_store_writer_new(store, &writer, error);
    }
    while (status == TEMPER_OK) {
        ssize_t count = read(file, piece, PIECE);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            status = temper_fail(error, TEMPER_IO, "cannot read '%s': %s", path, strerror(errno));
        } else if (count == 0) {
            status = tm_store_writer_commit(writer, out, error);
            writer = NULL;
            break;
        } else {
            status = tm_store_writer_add(writer, piece, (size_t)count, error);
        }
    }
    tm_store_writer_abort(writer);
    if (file >= 0) {
        close(file);
    }
    free(piece);
    return status;
}

temper_status tm_store_put_file(tm_store *store, const char *path, tm_digest *out, temper_error *error) {
    tm_digest digest;
    temper_status status = tm_digest_of_file(path, &digest, NULL, error);
    if (status) {
        return status;
    }
    if (store_has_sound(store, &digest)) { /* the usual case for a model: read twice, written never */
        *out = digest;
        return TEMPER_OK;
    }
    return copy_file(store, path, out, error);
}

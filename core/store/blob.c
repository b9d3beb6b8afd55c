/* blob.c: blobs in and out. Invariant: a name in blobs/ appears by rename of a finished, synced file whose digest was taken
 * from the very bytes written; a blob that is there is verified before it is used or relied on. */
#include "store/store_inside.h"

#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct tm_store_writer {
    tm_store *store;
    tm_hasher *hasher;
    temporary_file temporary;
    temper_status failed; /* an add failed: commit must, too */
};

/* ROOT/blobs/sha256/ab/cdef…; `cut` gets the length of the folder's part. */
static char *blob_path(const tm_store *store, const tm_digest *digest, size_t *cut) {
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
    char *path = blob_path(store, digest, NULL);
    struct stat about;
    bool there = path != NULL && lstat(path, &about) == 0 && S_ISREG(about.st_mode);
    free(path);
    return there;
}

temper_status tm_store_size(const tm_store *store, const tm_digest *digest, uint64_t *size,
                            temper_error *error) {
    char *path = blob_path(store, digest, NULL), text[TM_DIGEST_TEXT];
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

temper_status tm_store_map(tm_store *store, const tm_digest *digest, const void **data, size_t *size,
                           temper_error *error) {
    static const char nothing[1] = {0};
    char text[TM_DIGEST_TEXT], *path = blob_path(store, digest, NULL);
    temper_status status = TEMPER_OK;
    void *mapped = MAP_FAILED;
    struct stat about;
    tm_digest found;
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
    if (fstat(file, &about) != 0 || !S_ISREG(about.st_mode) || (uint64_t)about.st_size > SIZE_MAX / 2) {
        status = temper_fail(error, TEMPER_IO, "'%s' is not a regular file", path);
        goto out;
    }
    if (about.st_size > 0) {
        mapped = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (mapped == MAP_FAILED) {
            status = temper_fail(error, errno == ENOMEM ? TEMPER_NO_MEMORY : TEMPER_IO, "cannot map '%s': %s",
                                 path, strerror(errno));
            goto out;
        }
    }
    if (!seen_has(store->seen, digest, &about)) {
        found = tm_digest_of(mapped == MAP_FAILED ? nothing : mapped, (size_t)about.st_size);
        if (!tm_digest_equal(&found, digest)) {
            char other[TM_DIGEST_TEXT];
            tm_digest_text(&found, other);
            store_set_aside(store, path, text + 7);
            seen_remove(store->seen, digest);
            status = temper_fail(
                error, TEMPER_IO,
                "%s in the store was damaged: its bytes are now %s; it was moved to '%s/damaged', and "
                "running again makes it again",
                text, other, store->root);
            goto out;
        }
        seen_add(store->seen, digest, &about);
    }
    *data = mapped == MAP_FAILED ? nothing : mapped;
    *size = (size_t)about.st_size;
    mapped = MAP_FAILED;
out:
    if (mapped != MAP_FAILED) {
        munmap(mapped, (size_t)about.st_size);
    }
    if (file >= 0) {
        close(file);
    }
    free(path);
    return status;
}

void tm_store_unmap(tm_store *store, const void *data, size_t size) {
    (void)store;
    tm_file_unmap(data, size);
}

/* There and undamaged. A damaged one is moved aside by this, and so makes room. */
static bool has_sound(tm_store *store, const tm_digest *digest) {
    const void *data;
    size_t size;
    if (!tm_store_has(store, digest) || tm_store_map(store, digest, &data, &size, NULL) != TEMPER_OK) {
        return false;
    }
    tm_store_unmap(store, data, size);
    return true;
}

temper_status tm_store_writer_new(tm_store *store, tm_store_writer **out, temper_error *error) {
    tm_store_writer *writer = calloc(1, sizeof *writer);
    temper_status status = TEMPER_OK;
    if (writer == NULL || (writer->hasher = tm_hasher_new()) == NULL) {
        status = out_of_memory(error);
    } else {
        writer->store = store;
        status = temporary_open(store, &writer->temporary, error);
    }
    if (status) {
        tm_store_writer_abort(writer);
    } else {
        *out = writer;
    }
    return status;
}

temper_status tm_store_writer_add(tm_store_writer *writer, const void *bytes, size_t count,
                                  temper_error *error) {
    if (writer->failed) {
        return temper_fail(error, writer->failed, "an earlier write to the store failed");
    }
    writer->failed = temporary_write(&writer->temporary, bytes, count, error);
    if (writer->failed == TEMPER_OK) {
        tm_hasher_add(writer->hasher, bytes, count);
    }
    return writer->failed;
}

void tm_store_writer_abort(tm_store_writer *writer) {
    if (writer != NULL) {
        temporary_discard(&writer->temporary);
        tm_hasher_free(writer->hasher);
        free(writer);
    }
}

/* Makes the blob's folder durable, too, when it was not there. */
static temper_status make_blob_folder(const tm_store *store, char *path, size_t cut, temper_error *error) {
    temper_status status = TEMPER_OK;
    char *above;
    path[cut] = 0;
    if (mkdir(path, 0777) == 0) {
        above = store_path(store, "blobs", "sha256");
        status = above == NULL ? out_of_memory(error) : tm_file_sync_folder(above, error);
        free(above);
    } else if (errno != EEXIST) {
        status = temper_fail(error, TEMPER_IO, "cannot make the folder '%s': %s", path, strerror(errno));
    }
    path[cut] = '/';
    return status;
}

temper_status tm_store_writer_commit(tm_store_writer *writer, tm_digest *out, temper_error *error) {
    temper_status status = writer->failed;
    struct stat about;
    tm_digest digest;
    char *path = NULL;
    size_t cut = 0;
    bool known = false;
    if (status) {
        temper_fail(error, status, "an earlier write to the store failed");
        goto out;
    }
    digest = tm_hasher_end(writer->hasher);
    writer->hasher = NULL;
    if (!has_sound(writer->store, &digest)) {
        path = blob_path(writer->store, &digest, &cut);
        if (path == NULL) {
            status = out_of_memory(error);
            goto out;
        }
        if ((status = make_blob_folder(writer->store, path, cut, error))) {
            goto out;
        }
        if ((status = temporary_place(&writer->temporary, path, 0444, error))) {
            goto out;
        }
        known = lstat(path, &about) == 0;
    }
    if (known) {
        seen_add(writer->store->seen, &digest, &about); /* hashed as it was written */
    }
    *out = digest;
out:
    free(path);
    tm_store_writer_abort(writer);
    return status;
}

temper_status tm_store_put(tm_store *store, const void *bytes, size_t count, tm_digest *out,
                           temper_error *error) {
    tm_digest digest = tm_digest_of(bytes, count);
    tm_store_writer *writer;
    temper_status status;
    if (has_sound(store, &digest)) {
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
    if (has_sound(store, &digest)) { /* the usual case for a model: read twice, written never */
        *out = digest;
        return TEMPER_OK;
    }
    return copy_file(store, path, out, error);
}

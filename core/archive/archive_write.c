/* archive_write.c: an archive from a store. Invariant: PATH appears only when every byte of it is on the disk, and what
 * appears verifies: the same checks ran over run.json and the blobs before. */
#include "archive/archive_inside.h"

#include "base/file.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>

typedef struct sink {
    tm_file_writer *file;
    tm_hasher *hasher; /* of every byte before the trailer */
    temper_error error;
    temper_status status;
} sink;

static la_ssize_t write_compressed(struct archive *archive, void *context, const void *bytes, size_t count) {
    sink *s = context;
    s->status = tm_file_writer_add(s->file, bytes, count, &s->error);
    if (s->status) {
        archive_set_error(archive, EIO, "%s", s->error.message);
        return -1;
    }
    tm_hasher_add(s->hasher, bytes, count);
    return (la_ssize_t)count;
}

/* libarchive's word on what failed, unless it was our own callback. Anything but ARCHIVE_OK comes here: ARCHIVE_WARN on
 * writing means that something was not written as asked. */
static temper_status failed(const sink *s, struct archive *tar, const char *name, temper_error *error) {
    if (s->status) {
        return temper_fail(error, s->status, "%s", s->error.message);
    }
    return temper_fail(error, TEMPER_FAILED, "cannot write the entry '%s': %s", name,
                       archive_error_string(tar) != NULL ? archive_error_string(tar) : "unknown cause");
}

static temper_status write_entry(const sink *s, struct archive *tar, const char *name, const void *bytes,
                                 size_t count, temper_error *error) {
    struct archive_entry *entry = archive_entry_new();
    temper_status status = TEMPER_OK;
    const char *at = bytes;
    size_t left = count;
    if (entry == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, ENTRY_MODE);
    archive_entry_set_size(entry, (la_int64_t)count);
    archive_entry_set_mtime(entry, 0, 0);
    if (archive_write_header(tar, entry) != ARCHIVE_OK) {
        status = failed(s, tar, name, error);
    }
    while (status == TEMPER_OK && left > 0) {
        la_ssize_t written = archive_write_data(tar, at, left < (1u << 20) ? left : (1u << 20));
        if (written <= 0) {
            status = failed(s, tar, name, error);
        } else {
            at += written;
            left -= (size_t)written;
        }
    }
    if (status == TEMPER_OK && archive_write_finish_entry(tar) != ARCHIVE_OK) {
        status = failed(s, tar, name, error);
    }
    archive_entry_free(entry);
    return status;
}

static temper_status write_blob(tm_store *store, const sink *s, struct archive *tar, const tm_digest *digest,
                                temper_error *error) {
    char text[TM_DIGEST_TEXT], name[96];
    const void *data;
    size_t size;
    temper_status status = tm_store_map(store, digest, &data, &size, error);
    if (status) {
        return status;
    }
    tm_digest_text(digest, text);
    snprintf(name, sizeof name, "blobs/sha256/%s", text + 7);
    status = write_entry(s, tar, name, data, size, error);
    tm_store_unmap(store, data, size);
    return status;
}

static temper_status write_tar(tm_store *store, sink *s, const tm_archive_content *content,
                               const tm_digest *blobs, size_t count, temper_error *error) {
    struct archive *tar = archive_write_new();
    temper_status status = TEMPER_OK;
    size_t i;
    if (tar == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    /* Restricted pax is plain ustar unless an entry is larger than 8 GiB. */
    if (archive_write_set_format_pax_restricted(tar) != ARCHIVE_OK ||
        archive_write_add_filter_zstd(tar) != ARCHIVE_OK ||
        archive_write_set_filter_option(tar, "zstd", "compression-level", "6") != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(tar, 1) != ARCHIVE_OK ||
        archive_write_open(tar, s, NULL, write_compressed, NULL) != ARCHIVE_OK) {
        status = failed(s, tar, "(start)", error);
    }
    for (i = 0; i < count && status == TEMPER_OK; i++) {
        status = write_blob(store, s, tar, &blobs[i], error);
    }
    if (status == TEMPER_OK && content->report != NULL) {
        status = write_entry(s, tar, "report.html", content->report, content->report_length, error);
    }
    if (status == TEMPER_OK) {
        status = write_entry(s, tar, "run.json", content->run_json, content->run_length, error);
    }
    if (status == TEMPER_OK) {
        status =
            write_entry(s, tar, "volatile.json", content->volatile_json, content->volatile_length, error);
    }
    if (status == TEMPER_OK && archive_write_close(tar) != ARCHIVE_OK) {
        status = failed(s, tar, "(end)", error);
    }
    archive_write_free(tar);
    return status;
}

static const char *tree_from_store(void *context, const tm_digest *digest, temper_arena *arena,
                                   size_t *length) {
    tm_store *store = context;
    const char *copy = NULL;
    const void *data;
    size_t size;
    if (tm_store_map(store, digest, &data, &size, NULL) == TEMPER_OK) {
        if (size <= TREE_FILE_LIMIT) {
            copy = tm_arena_copy(arena, data, size);
            *length = size;
        }
        tm_store_unmap(store, data, size);
    }
    return copy;
}

static temper_status check_content(tm_store *store, const tm_archive_content *content, const tm_digest *blobs,
                                   size_t count, temper_error *error) {
    temper_arena *arena = tm_arena_new();
    const temper_json *run, *details;
    temper_status status;
    if (arena == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    if (content->run_length > JSON_LIMIT || content->volatile_length > JSON_LIMIT ||
        content->report_length > REPORT_LIMIT || count > ENTRIES_LIMIT - 3) {
        status = temper_fail(error, TEMPER_INVALID, "the run is too large for an archive");
    } else if ((status = parse_canonical(arena, content->run_json, content->run_length, "run.json", &run,
                                         error)) == TEMPER_OK &&
               (status = parse_canonical(arena, content->volatile_json, content->volatile_length,
                                         "volatile.json", &details, error)) == TEMPER_OK) {
        status = check_run(run, blobs, count, tree_from_store, store, error);
    }
    tm_arena_free(arena);
    return status;
}

temper_status tm_archive_write(tm_store *store, const tm_archive_content *content, const char *path,
                               temper_error *error) {
    sink s = {NULL, tm_hasher_new(), TEMPER_ERROR_INIT, TEMPER_OK};
    size_t count = content->blob_count, unique = 0, i;
    tm_digest *blobs = calloc(count + 1, sizeof *blobs), digest;
    uint8_t trailer[TRAILER_SIZE];
    temper_status status;
    if (blobs == NULL || s.hasher == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        goto out;
    }
    if (count > 0) {
        memcpy(blobs, content->blobs, count * sizeof *blobs);
    }
    digests_sort(blobs, count);
    for (i = 0; i < count; i++) { /* a blob that is asked for twice is held once */
        if (unique == 0 || !tm_digest_equal(&blobs[unique - 1], &blobs[i])) {
            blobs[unique++] = blobs[i];
        }
    }
    if ((status = check_content(store, content, blobs, unique, error))) {
        goto out;
    }
    if ((status = tm_file_writer_new(path, &s.file, error))) {
        goto out;
    }
    if ((status = write_tar(store, &s, content, blobs, unique, error))) {
        goto out;
    }
    digest = tm_hasher_end(s.hasher);
    s.hasher = NULL;
    trailer_make(&digest, trailer);
    if ((status = tm_file_writer_add(s.file, trailer, sizeof trailer, error))) {
        goto out;
    }
    status = tm_file_writer_commit(s.file, error);
    s.file = NULL;
out:
    tm_file_writer_abort(s.file);
    tm_hasher_free(s.hasher);
    free(blobs);
    if (status) {
        temper_fail_in(error, status, "the archive '%s'", path);
    }
    return status;
}

/* archive_read.c: reading and verifying, trusting nothing.
 *
 * First the container: the digest in its last frame is that of all bytes before. Then two libarchive readers, one inside
 * the other: the outer decompresses (and is asked that it was zstd), the inner reads the tar. So all bytes of the tar pass
 * through here, and what they hold besides the entries we know (other headers, anything after the end) shows in their
 * number. Nothing is extracted to a path; a blob goes through its hash into a store, or nowhere. */
#include "archive/archive_inside.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 16, TAR_BLOCK = 512, TAR_END = 1024 };

/* What an archive may unpack to: a gibibyte, and more only for a file that is itself large. */
#define UNPACKED_LIMIT(file_size) ((UINT64_C(1) << 30) + UINT64_C(1000) * (file_size))

typedef struct kept_tree {
    tm_digest digest;
    char *text;
    size_t length;
} kept_tree;

typedef struct reader {
    const char *path;
    tm_store *into;
    temper_error *error;
    int file;
    uint64_t size;          /* of the file */
    uint64_t position, end; /* in the file: what is compressed */
    struct archive *zstd, *tar;
    uint64_t tar_bytes;    /* that came out of zstd */
    uint8_t tail[TAR_END]; /* the last of them, a ring */
    uint64_t expected;     /* bytes a tar of the entries seen has, without its end */
    bool large;            /* an entry needed a pax header */
    uint64_t budget;       /* bytes that may still be unpacked */
    char last[128];        /* name of the entry before */
    tm_buffer run, details, report;
    bool has_run, has_details, has_report;
    tm_digest *blobs;
    size_t blob_count, blob_room;
    kept_tree *trees; /* blobs that may be trees: small, and begin like one */
    size_t tree_count, tree_room, tree_bytes;
    uint8_t compressed[PIECE], plain[PIECE];
} reader;

static temper_status out_of_memory(const reader *r) {
    return temper_fail(r->error, TEMPER_NO_MEMORY, "out of memory");
}

/* A name from an archive, fit for a terminal. */
static const char *printable(const char *name, char out[104]) {
    size_t i;
    for (i = 0; name != NULL && name[i] != 0 && i < 100; i++) {
        out[i] = (char)(name[i] >= 0x20 && name[i] < 0x7f ? name[i] : '?');
    }
    out[i] = 0;
    return out;
}

static temper_status read_at(const reader *r, uint64_t offset, void *bytes, size_t count) {
    char *at = bytes;
    while (count > 0) {
        ssize_t got = pread(r->file, at, count, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return temper_fail(r->error, TEMPER_IO, "cannot read it: %s",
                               got == 0 ? "it became shorter" : strerror(errno));
        }
        at += got;
        offset += (uint64_t)got;
        count -= (size_t)got;
    }
    return TEMPER_OK;
}

static temper_status check_container(reader *r) {
    uint8_t trailer[TRAILER_SIZE], expected[TRAILER_SIZE];
    struct stat about;
    tm_hasher *hasher;
    temper_status status;
    tm_digest digest;
    uint64_t at;
    if (fstat(r->file, &about) != 0 || !S_ISREG(about.st_mode)) {
        return temper_fail(r->error, TEMPER_INVALID, "it is not a regular file");
    }
    r->size = (uint64_t)about.st_size;
    if (r->size <= TRAILER_SIZE) {
        return temper_fail(r->error, TEMPER_INVALID, "the container is cut short, or is no Temper archive");
    }
    r->end = r->size - TRAILER_SIZE;
    if ((status = read_at(r, r->end, trailer, sizeof trailer))) {
        return status;
    }
    hasher = tm_hasher_new();
    if (hasher == NULL) {
        return out_of_memory(r);
    }
    for (at = 0; at < r->end && status == TEMPER_OK; at += PIECE) {
        size_t count = r->end - at < PIECE ? (size_t)(r->end - at) : PIECE;
        status = read_at(r, at, r->compressed, count);
        if (status == TEMPER_OK) {
            tm_hasher_add(hasher, r->compressed, count);
        }
    }
    digest = tm_hasher_end(hasher);
    if (status) {
        return status;
    }
    trailer_make(&digest, expected);
    if (memcmp(trailer, expected, TRAILER_SIZE - sizeof digest.bytes) != 0) {
        return temper_fail(
            r->error, TEMPER_INVALID,
            "the container does not end as a Temper archive does: it is cut short, has something appended, "
            "or is something else");
    }
    if (memcmp(trailer, expected, TRAILER_SIZE) != 0) {
        return temper_fail(
            r->error, TEMPER_INVALID,
            "the container is damaged: its bytes do not have the digest that stands at its end");
    }
    return TEMPER_OK;
}

static la_ssize_t read_compressed(struct archive *archive, void *context, const void **bytes) {
    reader *r = context;
    size_t count = r->end - r->position < PIECE ? (size_t)(r->end - r->position) : PIECE;
    if (count > 0 && read_at(r, r->position, r->compressed, count) != TEMPER_OK) {
        archive_set_error(archive, EIO, "reading failed");
        return -1;
    }
    r->position += count;
    *bytes = r->compressed;
    return (la_ssize_t)count;
}

static la_ssize_t read_plain(struct archive *archive, void *context, const void **bytes) {
    reader *r = context;
    la_ssize_t count = archive_read_data(r->zstd, r->plain, PIECE), i;
    if (count < 0) {
        archive_set_error(archive, EIO, "%s",
                          archive_error_string(r->zstd) != NULL ? archive_error_string(r->zstd)
                                                                : "decompression failed");
        return -1;
    }
    for (i = count > TAR_END ? count - TAR_END : 0; i < count; i++) {
        r->tail[(r->tar_bytes + (uint64_t)i) % TAR_END] = r->plain[i];
    }
    r->tar_bytes += (uint64_t)count;
    *bytes = r->plain;
    return count;
}

static temper_status open_readers(reader *r) {
    struct archive_entry *entry;
    r->zstd = archive_read_new();
    r->tar = archive_read_new();
    if (r->zstd == NULL || r->tar == NULL) {
        return out_of_memory(r);
    }
    if (archive_read_support_filter_zstd(r->zstd) != ARCHIVE_OK ||
        archive_read_support_format_raw(r->zstd) != ARCHIVE_OK ||
        archive_read_support_format_tar(r->tar) != ARCHIVE_OK) {
        return temper_fail(r->error, TEMPER_UNSUPPORTED, "this libarchive was built without zstd or tar");
    }
    if (archive_read_open(r->zstd, r, NULL, read_compressed, NULL) != ARCHIVE_OK ||
        archive_read_next_header(r->zstd, &entry) != ARCHIVE_OK || archive_filter_count(r->zstd) != 2 ||
        archive_filter_code(r->zstd, 0) != ARCHIVE_FILTER_ZSTD) {
        return temper_fail(r->error, TEMPER_INVALID, "the container does not hold zstd data");
    }
    if (archive_read_open(r->tar, r, NULL, read_plain, NULL) != ARCHIVE_OK) {
        return temper_fail(r->error, TEMPER_INVALID, "the container does not hold a tar: %s",
                           archive_error_string(r->tar));
    }
    return TEMPER_OK;
}

/* Only what the writer writes: a regular file of the fixed mode, nobody's, without time, link, hole or attribute. */
static temper_status check_metadata(const reader *r, struct archive_entry *entry, const char *shown) {
    const char *user = archive_entry_uname(entry), *group = archive_entry_gname(entry);
    if (archive_entry_hardlink(entry) != NULL || archive_entry_symlink(entry) != NULL ||
        archive_entry_filetype(entry) != AE_IFREG) {
        return temper_fail(r->error, TEMPER_INVALID,
                           "the entry '%s' is a link or something else than a regular file", shown);
    }
    if (archive_entry_perm(entry) != ENTRY_MODE || archive_entry_uid(entry) != 0 ||
        archive_entry_gid(entry) != 0 || (user != NULL && user[0] != 0) || (group != NULL && group[0] != 0) ||
        archive_entry_mtime(entry) != 0 || archive_entry_mtime_nsec(entry) != 0 ||
        archive_entry_atime_is_set(entry) || archive_entry_ctime_is_set(entry) ||
        archive_entry_birthtime_is_set(entry) || archive_entry_sparse_count(entry) > 0 ||
        archive_entry_xattr_count(entry) > 0 || archive_entry_acl_types(entry) != 0 ||
        archive_entry_is_encrypted(entry)) {
        return temper_fail(r->error, TEMPER_INVALID,
                           "the entry '%s' has a mode, owner, time or attribute of its own", shown);
    }
    if (!archive_entry_size_is_set(entry) || archive_entry_size(entry) < 0) {
        return temper_fail(r->error, TEMPER_INVALID, "the entry '%s' has no size", shown);
    }
    return TEMPER_OK;
}

typedef temper_status take_bytes(void *context, const void *bytes, size_t count);

static temper_status stream(reader *r, const char *shown, uint64_t size, take_bytes *take, void *context) {
    uint64_t taken = 0;
    for (;;) {
        const void *bytes;
        la_int64_t offset;
        size_t count;
        temper_status status;
        int result = archive_read_data_block(r->tar, &bytes, &count, &offset);
        if (result == ARCHIVE_EOF) {
            break;
        }
        if (result != ARCHIVE_OK) {
            return temper_fail(r->error, TEMPER_INVALID, "the entry '%s': %s", shown,
                               archive_error_string(r->tar));
        }
        if (offset < 0 || (uint64_t)offset != taken || count > size - taken) {
            return temper_fail(r->error, TEMPER_INVALID, "the entry '%s' has holes", shown);
        }
        if ((status = take(context, bytes, count))) {
            return status;
        }
        taken += count;
    }
    if (taken != size) {
        return temper_fail(r->error, TEMPER_INVALID, "the entry '%s' is cut short", shown);
    }
    return TEMPER_OK;
}

static temper_status take_text(void *context, const void *bytes, size_t count) {
    tm_buffer_append(context, bytes, count);
    return TEMPER_OK;
}

static temper_status read_text(reader *r, const char *name, uint64_t size, uint64_t limit, tm_buffer *text,
                               bool *has) {
    temper_status status;
    if (size > limit) {
        return temper_fail(r->error, TEMPER_INVALID, "the entry '%s' is larger than the %llu bytes allowed",
                           name, (unsigned long long)limit);
    }
    tm_buffer_reserve(text, (size_t)size);
    if ((status = stream(r, name, size, take_text, text))) {
        return status;
    }
    *has = true;
    return tm_buffer_ok(text) ? TEMPER_OK : out_of_memory(r);
}

typedef struct blob_sink {
    reader *r;
    tm_hasher *hasher;
    tm_store_writer *writer; /* NULL: into no store */
    tm_buffer *tree;         /* NULL: it cannot be a tree */
} blob_sink;

static temper_status take_blob(void *context, const void *bytes, size_t count) {
    blob_sink *sink = context;
    tm_hasher_add(sink->hasher, bytes, count);
    if (sink->tree != NULL && sink->tree->length == 0 && count > 0 && *(const char *)bytes != '{') {
        sink->tree = NULL;
    }
    if (sink->tree != NULL) {
        tm_buffer_append(sink->tree, bytes, count);
    }
    return sink->writer == NULL ? TEMPER_OK : tm_store_writer_add(sink->writer, bytes, count, sink->r->error);
}

static bool room_for_one(void **list, size_t count, size_t *room, size_t size) {
    void *grown;
    if (count < *room) {
        return true;
    }
    grown = realloc(*list, (*room == 0 ? 64 : *room * 2) * size);
    if (grown == NULL) {
        return false;
    }
    *room = *room == 0 ? 64 : *room * 2;
    *list = grown;
    return true;
}

/* run.json comes after the blobs, so what may turn out to be a tree is kept until then. */
static temper_status keep_tree(reader *r, const tm_digest *digest, tm_buffer *text) {
    bool may_be = text->length >= 2 && text->data[0] == '{' && text->data[text->length - 1] == '}' &&
                  (text->length == 2 || strstr(text->data, ":\"sha256:") != NULL);
    if (!may_be || r->tree_bytes + text->length > JSON_LIMIT) {
        return TEMPER_OK;
    }
    if (!room_for_one((void **)&r->trees, r->tree_count, &r->tree_room, sizeof *r->trees)) {
        return out_of_memory(r);
    }
    r->trees[r->tree_count++] = (kept_tree){*digest, text->data, text->length};
    r->tree_bytes += text->length;
    *text = (tm_buffer)TM_BUFFER_INIT; /* it went into the list */
    return TEMPER_OK;
}

static temper_status read_blob(reader *r, const char *name, uint64_t size) {
    tm_buffer tree = TM_BUFFER_INIT;
    blob_sink sink = {r, tm_hasher_new(), NULL, size <= TREE_FILE_LIMIT ? &tree : NULL};
    tm_digest named, found;
    temper_status status = TEMPER_OK;
    if (sink.hasher == NULL) {
        return out_of_memory(r);
    }
    tm_digest_parse(name + strlen("blobs/sha256/"), &named);
    if (r->into != NULL && (status = tm_store_writer_new(r->into, &sink.writer, r->error))) {
        goto out;
    }
    if ((status = stream(r, name, size, take_blob, &sink))) {
        goto out;
    }
    found = tm_hasher_end(sink.hasher);
    sink.hasher = NULL;
    if (!tm_digest_equal(&named, &found)) {
        char text[TM_DIGEST_TEXT];
        tm_digest_text(&found, text);
        status =
            temper_fail(r->error, TEMPER_INVALID, "the entry '%s' is damaged: its bytes are %s", name, text);
        goto out;
    }
    if (!tm_buffer_ok(&tree) ||
        !room_for_one((void **)&r->blobs, r->blob_count, &r->blob_room, sizeof *r->blobs)) {
        status = out_of_memory(r);
        goto out;
    }
    r->blobs[r->blob_count++] = named;
    if ((status = keep_tree(r, &named, &tree))) {
        goto out;
    }
    if (sink.writer != NULL) {
        status = tm_store_writer_commit(sink.writer, &found, r->error);
        sink.writer = NULL;
    }
out:
    tm_buffer_free(&tree);
    tm_hasher_free(sink.hasher);
    tm_store_writer_abort(sink.writer);
    return status;
}

static bool is_blob_name(const char *name) {
    static const char folder[] = "blobs/sha256/";
    tm_digest digest;
    return strncmp(name, folder, sizeof folder - 1) == 0 && strlen(name) == sizeof folder - 1 + 64 &&
           tm_digest_parse(name + sizeof folder - 1, &digest);
}

static temper_status read_entry(reader *r, struct archive_entry *entry) {
    const char *name = archive_entry_pathname(entry);
    char shown[104];
    temper_status status;
    uint64_t size, blocks;
    printable(name, shown);
    if (name == NULL || !(strcmp(name, "run.json") == 0 || strcmp(name, "volatile.json") == 0 ||
                          strcmp(name, "report.html") == 0 || is_blob_name(name))) {
        return temper_fail(r->error, TEMPER_INVALID, "the entry '%s' has a name that no Temper archive holds",
                           shown);
    }
    if (strcmp(r->last, name) >= 0) {
        return temper_fail(r->error, TEMPER_INVALID, "the entry '%s' is there twice or out of order", shown);
    }
    snprintf(r->last, sizeof r->last, "%s", name);
    if ((status = check_metadata(r, entry, shown))) {
        return status;
    }
    size = (uint64_t)archive_entry_size(entry);
    if (size >= r->budget || r->budget - size <= (uint64_t)2 * TAR_BLOCK) {
        return temper_fail(
            r->error, TEMPER_INVALID,
            "at the entry '%s' it unpacks to more than %llu bytes, too many for a file of %llu", shown,
            (unsigned long long)UNPACKED_LIMIT(r->size), (unsigned long long)r->size);
    }
    blocks = TAR_BLOCK + (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
    r->budget -= blocks;
    r->expected += blocks;
    r->large = r->large || size >= UINT64_C(1) << 33;
    if (strcmp(name, "run.json") == 0) {
        return read_text(r, name, size, JSON_LIMIT, &r->run, &r->has_run);
    }
    if (strcmp(name, "volatile.json") == 0) {
        return read_text(r, name, size, JSON_LIMIT, &r->details, &r->has_details);
    }
    if (strcmp(name, "report.html") == 0) {
        return read_text(r, name, size, REPORT_LIMIT, &r->report, &r->has_report);
    }
    return read_blob(r, name, size);
}

static temper_status read_entries(reader *r) {
    size_t count = 0;
    for (;;) {
        struct archive_entry *entry;
        temper_status status;
        int result = archive_read_next_header(r->tar, &entry);
        if (result == ARCHIVE_EOF) {
            return TEMPER_OK;
        }
        if (result != ARCHIVE_OK) { /* ARCHIVE_WARN, too */
            return temper_fail(r->error, TEMPER_INVALID, "after %zu entries: %s", count,
                               archive_error_string(r->tar) != NULL ? archive_error_string(r->tar)
                                                                    : "no tar header");
        }
        if (++count > ENTRIES_LIMIT) {
            return temper_fail(r->error, TEMPER_INVALID, "it has more than %d entries", ENTRIES_LIMIT);
        }
        if ((status = read_entry(r, entry))) {
            return status;
        }
    }
}

/* Nothing may follow the last entry but the tar's end, and nothing may stand between the entries. */
static temper_status check_end(reader *r) {
    const void *bytes;
    la_ssize_t count;
    size_t i;
    while ((count = read_plain(r->tar, r, &bytes)) > 0 && r->tar_bytes <= r->expected + TAR_END + PIECE) {
    }
    if (count < 0) {
        return temper_fail(r->error, TEMPER_INVALID, "after its last entry: %s",
                           archive_error_string(r->tar));
    }
    if (r->large ? r->tar_bytes < r->expected + TAR_END : r->tar_bytes != r->expected + TAR_END) {
        return temper_fail(r->error, TEMPER_INVALID,
                           "the tar holds something besides its entries, or lacks its end");
    }
    for (i = 0; i < TAR_END; i++) {
        if (r->tail[i] != 0) {
            return temper_fail(r->error, TEMPER_INVALID, "something follows the tar's last entry");
        }
    }
    return TEMPER_OK;
}

static const char *tree_from_kept(void *context, const tm_digest *digest, temper_arena *arena,
                                  size_t *length) {
    const reader *r = context;
    size_t i;
    (void)arena;
    for (i = 0; i < r->tree_count; i++) {
        if (tm_digest_equal(&r->trees[i].digest, digest)) {
            *length = r->trees[i].length;
            return r->trees[i].text;
        }
    }
    return NULL;
}

static temper_status check_documents(reader *r, tm_archive *out) {
    temper_status status;
    if (!r->has_run || !r->has_details) {
        return temper_fail(r->error, TEMPER_INVALID, "the entry '%s' is missing",
                           r->has_run ? "volatile.json" : "run.json");
    }
    if ((status = parse_canonical(out->arena, r->run.data, r->run.length, "run.json", &out->run, r->error)) ||
        (status = parse_canonical(out->arena, r->details.data, r->details.length, "volatile.json",
                                  &out->details, r->error))) {
        return status;
    }
    out->id = tm_digest_of(r->run.data, r->run.length);
    return check_run(out->run, r->blobs, r->blob_count, tree_from_kept, r, r->error);
}

static void reader_free(reader *r) {
    size_t i;
    if (r->tar != NULL) {
        archive_read_free(r->tar);
    }
    if (r->zstd != NULL) {
        archive_read_free(r->zstd);
    }
    if (r->file >= 0) {
        close(r->file);
    }
    for (i = 0; i < r->tree_count; i++) {
        free(r->trees[i].text);
    }
    free(r->trees);
    free(r->blobs);
    tm_buffer_free(&r->run);
    tm_buffer_free(&r->details);
    tm_buffer_free(&r->report);
    free(r);
}

temper_status tm_archive_read(const char *path, tm_store *into, tm_archive *out, temper_error *error) {
    temper_status status;
    tm_archive archive;
    reader *r = calloc(1, sizeof *r);
    memset(&archive, 0, sizeof archive);
    archive.arena = tm_arena_new();
    if (r == NULL || archive.arena == NULL) {
        free(r);
        tm_arena_free(archive.arena);
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    r->path = path;
    r->into = into;
    r->error = error;
    r->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (r->file < 0) {
        status = temper_fail(error, TEMPER_IO, "cannot open it: %s", strerror(errno));
        goto out;
    }
    if ((status = check_container(r))) {
        goto out;
    }
    r->budget = UNPACKED_LIMIT(r->size);
    if ((status = open_readers(r)) || (status = read_entries(r)) || (status = check_end(r)) ||
        (status = check_documents(r, &archive))) {
        goto out;
    }
    archive.bytes = r->size;
    archive.blobs = r->blobs;
    archive.blob_count = r->blob_count;
    r->blobs = NULL;
    if (r->has_report) {
        archive.report = r->report.data;
        archive.report_length = r->report.length;
        r->report = (tm_buffer)TM_BUFFER_INIT;
    }
    *out = archive;
    archive.arena = NULL;
out:
    reader_free(r);
    tm_arena_free(archive.arena);
    if (status) {
        temper_fail_in(error, status, "the archive '%s'", path);
    }
    return status;
}

void tm_archive_free(tm_archive *archive) {
    tm_arena_free(archive->arena);
    free(archive->report);
    free(archive->blobs);
    memset(archive, 0, sizeof *archive);
}

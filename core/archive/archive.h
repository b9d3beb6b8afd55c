/* archive.h: one run in one file.
 *
 * A .temper file is a zstd-compressed tar of run.json, volatile.json, report.html (when there is one) and
 * blobs/sha256/<64 hex>, in byte order of names, fixed mode, no times, no owners; then a zstd skippable frame (magic
 * 0x184D2A50, length 40) holding "TEMPERS1" and the SHA-256 of all bytes before the frame. `tar --zstd -tf` reads it.
 * Identity is never the compressed bytes: the run's id is the SHA-256 of run.json.
 * Reading trusts nothing: whitelisted names, regular files, caps on sizes and counts, hashed as it streams, duplicates
 * refused, nothing extracted to a path from the archive. */
#ifndef TM_ARCHIVE_H
#define TM_ARCHIVE_H

#include "store/store.h"

typedef struct tm_archive_content {
    const char *run_json; /* canonical */
    size_t run_length;
    const char *volatile_json;
    size_t volatile_length;
    const char *report; /* NULL: none */
    size_t report_length;
    const tm_digest *blobs; /* each in the store */
    size_t blob_count;
} tm_archive_content;

/* Writes PATH whole or not at all. */
temper_status tm_archive_write(tm_store *store, const tm_archive_content *content, const char *path,
                               temper_error *error);

/* Everything an archive holds, checked: the container's digest first, strictly, then every entry's. The message names
 * the entry or the container. With `into` not NULL the blobs are put into that store as they stream. */
typedef struct tm_archive {
    temper_arena *arena;
    const temper_json *run;     /* run.json */
    const temper_json *details; /* volatile.json */
    tm_digest id;               /* SHA-256 of run.json */
    char *report;
    size_t report_length;
    tm_digest *blobs;
    size_t blob_count;
    uint64_t bytes; /* of the file */
} tm_archive;
temper_status tm_archive_read(const char *path, tm_store *into, tm_archive *out, temper_error *error);
void tm_archive_free(tm_archive *archive);

#endif

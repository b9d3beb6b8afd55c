/* fuzz_archive.c: any bytes as an archive, and, because nothing random has the right digest at its end, also as the
 * compressed data and as the tar of one whose container is sound. */
#include "archive/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_it(const void *bytes, size_t count, bool sealed) {
    static const char head[16] = "\x50\x2A\x4D\x18\x28\0\0\0TEMPERS1";
    int file = memfd_create("archive", MFD_CLOEXEC);
    temper_error error = TEMPER_ERROR_INIT;
    tm_digest digest = tm_digest_of(bytes, count);
    tm_archive archive;
    temper_status status;
    char path[64];
    if (file < 0 || write(file, bytes, count) != (ssize_t)count ||
        (sealed && (write(file, head, sizeof head) != sizeof head ||
                    write(file, digest.bytes, sizeof digest.bytes) != sizeof digest.bytes))) {
        abort();
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    status = tm_archive_read(path, NULL, &archive, &error);
    if (status == TEMPER_OK) {
        if (archive.run == NULL || archive.details == NULL) {
            abort();
        }
        tm_archive_free(&archive);
    } else if (status != TEMPER_INVALID || error.message[0] == 0) {
        abort();
    }
    close(file);
}

static void read_compressed(const void *bytes, size_t count) {
    size_t used = 0, room = count + 4096;
    struct archive *raw = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    char *out = malloc(room);
    archive_entry_set_pathname(entry, "data");
    archive_entry_set_filetype(entry, AE_IFREG);
    if (archive_write_set_format_raw(raw) != ARCHIVE_OK || archive_write_add_filter_zstd(raw) != ARCHIVE_OK ||
        archive_write_set_filter_option(raw, "zstd", "compression-level", "1") != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(raw, 1) != ARCHIVE_OK ||
        archive_write_open_memory(raw, out, room, &used) != ARCHIVE_OK ||
        archive_write_header(raw, entry) != ARCHIVE_OK ||
        archive_write_data(raw, bytes, count) != (la_ssize_t)count ||
        archive_write_close(raw) != ARCHIVE_OK) {
        abort();
    }
    archive_write_free(raw);
    archive_entry_free(entry);
    read_it(out, used, true);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_it(data, size, false);
    read_it(data, size, true);
    read_compressed(data, size);
    return 0;
}

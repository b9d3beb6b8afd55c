/* cache.c: small records under a digest (the cache of finished stages, the notes of runs), and locks. A record's file is a record's canonical text, a line feed, the text's digest
 * and a line feed: one that was damaged is moved aside and answers as if it were not there. */
#include "store/store_inside.h"

#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { RECORD_LIMIT = 1 << 26 };

static char *record_path(const tm_store *store, const char *folder, const tm_digest *key) {
    char text[TM_DIGEST_TEXT];
    tm_digest_text(key, text);
    return store_path(store, folder, text + 7);
}

temper_status record_put(tm_store *store, const char *folder, const tm_digest *key, const temper_json *record,
                         temper_error *error) {
    tm_buffer text = TM_BUFFER_INIT;
    temporary_file temporary = {NULL, -1};
    char *path = record_path(store, folder, key), digest_text[TM_DIGEST_TEXT];
    tm_digest digest;
    temper_status status;
    if (path == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    if ((status = tm_json_write(record, &text, error))) {
        goto out;
    }
    digest = tm_digest_of(text.data, text.length);
    tm_digest_text(&digest, digest_text);
    tm_buffer_format(&text, "\n%s\n", digest_text);
    if (!tm_buffer_ok(&text)) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        goto out;
    }
    if ((status = temporary_open(store, &temporary, error))) {
        goto out;
    }
    if ((status = temporary_write(&temporary, text.data, text.length, error))) {
        temporary_discard(&temporary);
        goto out;
    }
    status = temporary_place(&temporary, path, 0444, error);
out:
    tm_buffer_free(&text);
    free(path);
    return status;
}

/* Length of the record's text, or 0 when the file is damaged. */
static size_t sound_record(const tm_buffer *file) {
    enum { TAIL = 1 + TM_DIGEST_TEXT - 1 + 1 };
    char expected[TM_DIGEST_TEXT + 2];
    tm_digest digest;
    size_t length;
    if (file->length <= TAIL) {
        return 0;
    }
    length = file->length - TAIL;
    digest = tm_digest_of(file->data, length);
    expected[0] = '\n';
    tm_digest_text(&digest, expected + 1);
    expected[TAIL - 1] = '\n';
    return memcmp(file->data + length, expected, TAIL) == 0 ? length : 0;
}

temper_status record_get(tm_store *store, const char *folder, const tm_digest *key, temper_arena *arena,
                         const temper_json **out, temper_error *error) {
    tm_buffer text = TM_BUFFER_INIT;
    char *path = record_path(store, folder, key), key_text[TM_DIGEST_TEXT];
    temper_status status;
    size_t length;
    if (path == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        status = TEMPER_END;
        goto out;
    }
    if ((status = tm_file_read(path, RECORD_LIMIT, &text, error))) {
        goto out;
    }
    length = sound_record(&text);
    if (length > 0) {
        status = tm_json_parse(arena, text.data, length, out, error);
    }
    if (length == 0 || status == TEMPER_INVALID) {
        tm_digest_text(key, key_text);
        store_set_aside(store, path, key_text + 7);
        status = TEMPER_END;
    }
out:
    tm_buffer_free(&text);
    free(path);
    return status;
}

temper_status tm_store_cache_put(tm_store *store, const tm_digest *key, const temper_json *record,
                                 temper_error *error) {
    return record_put(store, "cache", key, record, error);
}

temper_status tm_store_cache_get(tm_store *store, const tm_digest *key, temper_arena *arena,
                                 const temper_json **out, temper_error *error) {
    return record_get(store, "cache", key, arena, out, error);
}

temper_status tm_store_note_put(tm_store *store, const tm_digest *id, const temper_json *note,
                                temper_error *error) {
    return record_put(store, "runs", id, note, error);
}

temper_status tm_store_notes(tm_store *store, temper_arena *arena, tm_note **out, size_t *count,
                             temper_error *error) {
    char *folder = store_path(store, "runs", "."), **names = NULL;
    size_t named = 0, i;
    temper_status status = folder == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "out of memory")
                                          : tm_folder_list(folder, &names, &named, error);
    *count = 0;
    *out = NULL;
    if (status == TEMPER_OK) {
        *out = tm_arena_allocate(arena, (named + 1) * sizeof **out);
        status = *out == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "out of memory") : TEMPER_OK;
    }
    for (i = 0; i < named; i++) {
        tm_note *note = *out != NULL ? &(*out)[*count] : NULL;
        if (status == TEMPER_OK && strlen(names[i]) == 64 && tm_digest_parse(names[i], &note->id)) {
            temper_status found = record_get(store, "runs", &note->id, arena, &note->value, error);
            *count += found == TEMPER_OK;
            status = found == TEMPER_END ? TEMPER_OK : found;
        }
        free(names[i]);
    }
    free(names);
    free(folder);
    return status;
}

static bool lock_name_valid(const char *name) {
    size_t length = strlen(name);
    return length > 0 && length <= 200 && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == length;
}

temper_status tm_store_lock(tm_store *store, const char *name, double seconds, int *lock,
                            temper_error *error) {
    temper_status status = TEMPER_OK;
    struct timespec start, now, pause = {0, 10 * 1000 * 1000};
    char *path = NULL;
    int file = -1;
    if (!lock_name_valid(name)) {
        return temper_fail(error, TEMPER_INVALID,
                           "'%s' is no name for a lock: letters, digits, '.', '_', '-'", name);
    }
    path = store_path(store, "locks", name);
    if (path == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0) {
        status = temper_fail(error, TEMPER_IO, "cannot open the lock '%s': %s", path, strerror(errno));
        goto out;
    }
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (flock(file, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) {
            continue;
        }
        if (errno != EWOULDBLOCK) {
            status = temper_fail(error, TEMPER_IO, "cannot lock '%s': %s", path, strerror(errno));
            goto out;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (!((double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) * 1e-9 < seconds)) {
            status = temper_fail(error, TEMPER_FAILED, "another process holds the lock '%s'", path);
            goto out;
        }
        nanosleep(&pause, NULL);
    }
    *lock = file;
out:
    if (status && file >= 0) {
        close(file);
    }
    free(path);
    return status;
}

void tm_store_unlock(int lock) {
    if (lock >= 0) {
        close(lock); /* and with it the lock: nobody else has this descriptor (O_CLOEXEC) */
    }
}

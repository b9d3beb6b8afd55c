/* writer.c: a blob written as it comes. Small ones are hashed and written where they are added. From THREAD_AT bytes on a
 * thread of the writer's own does both, in the order of the adds, and the disk is set to work early, so that whoever makes
 * the bytes waits for neither. What must be copied for that goes through BLOCKS blocks that are used over and over: nothing is
 * allocated or freed while both threads are at it. Invariant: what was hashed is what was written. */
#include "store/store_inside.h"

#include "base/file.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREAD_AT = 4 << 20, PIECE = 256 << 10, BLOCKS = 64, MOST_PIECES = 1024, HURRY = 16 << 20 };

typedef struct waiting_piece {
    const char *bytes;
    size_t count;
    bool block; /* the ring of blocks has one free again when it is written */
} waiting_piece;

struct tm_store_writer {
    tm_store *store;
    tm_hasher *hasher;
    temporary_file temporary;
    temper_status failed; /* an add failed: commit must, too */
    uint64_t added;

    uint64_t written, hurried, line_feeds; /* the thread's, once it runs */

    bool threaded;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more, less;
    waiting_piece pieces[MOST_PIECES]; /* a ring */
    size_t head, count;
    char *
        blocks; /* BLOCKS of PIECE bytes, a ring: block_next is the next to fill, block_count are not yet written */
    size_t block_next, block_count;
    bool end;
    temper_status thread_status;
    temper_error thread_error;
};

static temper_status out_of_memory(temper_error *error) {
    return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
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

static uint64_t count_line_feeds(const char *bytes, size_t count) {
    uint64_t found = 0;
    size_t at = 0, block, i;
    for (; at < count; at += block) {
        uint8_t few[64] = {0};
        block = count - at < 255 * sizeof few ? count - at : 255 * sizeof few;
        for (i = 0; i + sizeof few <= block; i += sizeof few) {
            size_t j;
            for (j = 0; j < sizeof few; j++) {
                few[j] = (uint8_t)(few[j] + (bytes[at + i + j] == '\n'));
            }
        }
        for (; i < block; i++) {
            found += bytes[at + i] == '\n';
        }
        for (i = 0; i < sizeof few; i++) {
            found += few[i];
        }
    }
    return found;
}

/* Writes and hashes, a piece that fits the cache at a time. */
static temper_status take(tm_store_writer *writer, const char *bytes, size_t count, temper_error *error) {
    temper_status status = TEMPER_OK;
    while (count > 0 && status == TEMPER_OK) {
        size_t piece = count < PIECE ? count : PIECE;
        tm_hasher_add(writer->hasher, bytes, piece);
        writer->line_feeds += count_line_feeds(bytes, piece);
        status = temporary_write(&writer->temporary, bytes, piece, error);
        writer->written += piece;
        if (writer->written - writer->hurried >= HURRY) {
            temporary_hurry(&writer->temporary, writer->hurried, writer->written);
            writer->hurried = writer->written;
        }
        bytes += piece;
        count -= piece;
    }
    return status;
}

static void *work(void *context) {
    tm_store_writer *writer = context;
    temper_status status = TEMPER_OK;
    pthread_mutex_lock(&writer->lock);
    for (;;) {
        waiting_piece piece;
        while (writer->count == 0 && !writer->end) {
            pthread_cond_wait(&writer->more, &writer->lock);
        }
        if (writer->count == 0) {
            break;
        }
        piece = writer->pieces[writer->head];
        pthread_mutex_unlock(&writer->lock);
        if (status == TEMPER_OK) {
            status = take(writer, piece.bytes, piece.count, &writer->thread_error);
        }
        pthread_mutex_lock(&writer->lock);
        writer->head = (writer->head + 1) % MOST_PIECES;
        writer->count--;
        writer->block_count -= piece.block;
        writer->thread_status = status;
        pthread_cond_signal(&writer->less);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

/* False: no thread is to be had, and the caller does the work, as for a small blob. */
static bool start_thread(tm_store_writer *writer) {
    sigset_t all, before;
    if (writer->threaded) {
        return true;
    }
    if (writer->added < THREAD_AT) {
        return false;
    }
    writer->blocks = writer->blocks != NULL ? writer->blocks : malloc((size_t)BLOCKS * PIECE);
    if (writer->blocks == NULL) {
        return false;
    }
    writer->thread_error = (temper_error)TEMPER_ERROR_INIT;
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->more, NULL);
    pthread_cond_init(&writer->less, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the threads that know of them */
    writer->threaded = pthread_create(&writer->thread, NULL, work, writer) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!writer->threaded) {
        pthread_mutex_destroy(&writer->lock);
        pthread_cond_destroy(&writer->more);
        pthread_cond_destroy(&writer->less);
    }
    return writer->threaded;
}

static void end_thread(tm_store_writer *writer) {
    if (writer->threaded) {
        pthread_mutex_lock(&writer->lock);
        writer->end = true;
        pthread_cond_signal(&writer->more);
        pthread_mutex_unlock(&writer->lock);
        pthread_join(writer->thread, NULL);
        pthread_mutex_destroy(&writer->lock);
        pthread_cond_destroy(&writer->more);
        pthread_cond_destroy(&writer->less);
        writer->threaded = false;
        writer->added = 0; /* a later add is done where it is made */
    }
}

/* Waits for room, and, with `block`, for a free block, which it gives; the lock is held afterwards. */
static char *wait_for_room(tm_store_writer *writer, bool block) {
    pthread_mutex_lock(&writer->lock);
    while (writer->count == MOST_PIECES || (block && writer->block_count == BLOCKS)) {
        pthread_cond_wait(&writer->less, &writer->lock);
    }
    return block ? writer->blocks + writer->block_next * PIECE : NULL;
}

/* Hands a piece over; the lock is held before, and not afterwards. */
static temper_status push(tm_store_writer *writer, const char *bytes, size_t count, bool block,
                          temper_error *error) {
    temper_status status = writer->thread_status;
    if (status) {
        temper_fail(error, status, "%s", writer->thread_error.message);
    } else {
        writer->pieces[(writer->head + writer->count) % MOST_PIECES] = (waiting_piece){bytes, count, block};
        writer->count++;
        if (block) {
            writer->block_next = (writer->block_next + 1) % BLOCKS;
            writer->block_count++;
        }
        pthread_cond_signal(&writer->more);
    }
    pthread_mutex_unlock(&writer->lock);
    return status;
}

static temper_status push_copy(tm_store_writer *writer, const char *bytes, size_t count,
                               temper_error *error) {
    temper_status status = TEMPER_OK;
    while (count > 0 && status == TEMPER_OK) {
        size_t piece = count < PIECE ? count : PIECE;
        char *block = wait_for_room(writer, true);
        pthread_mutex_unlock(&writer->lock); /* nobody else fills blocks */
        memcpy(block, bytes, piece);
        pthread_mutex_lock(&writer->lock);
        status = push(writer, block, piece, true, error);
        bytes += piece;
        count -= piece;
    }
    return status;
}

static temper_status add(tm_store_writer *writer, const void *bytes, size_t count, bool lasting,
                         temper_error *error) {
    if (writer->failed) {
        return temper_fail(error, writer->failed, "an earlier write to the store failed");
    }
    if (count == 0) {
        return TEMPER_OK;
    }
    writer->added += count;
    if (!start_thread(writer)) {
        writer->failed = take(writer, bytes, count, error);
        return writer->failed;
    }
    if (lasting) {
        wait_for_room(writer, false);
        writer->failed = push(writer, bytes, count, false, error);
    } else {
        writer->failed = push_copy(writer, bytes, count, error);
    }
    return writer->failed;
}

temper_status tm_store_writer_add(tm_store_writer *writer, const void *bytes, size_t count,
                                  temper_error *error) {
    return add(writer, bytes, count, false, error);
}

temper_status tm_store_writer_add_lasting(tm_store_writer *writer, const void *bytes, size_t count,
                                          temper_error *error) {
    return add(writer, bytes, count, true, error);
}

temper_status tm_store_writer_finish(tm_store_writer *writer, uint64_t *line_feeds, temper_error *error) {
    if (writer->threaded) {
        end_thread(writer);
        if (writer->failed == TEMPER_OK && writer->thread_status) {
            writer->failed = temper_fail(error, writer->thread_status, "%s", writer->thread_error.message);
            return writer->failed;
        }
    }
    if (line_feeds != NULL) {
        *line_feeds = writer->line_feeds;
    }
    return writer->failed ? temper_fail(error, writer->failed, "an earlier write to the store failed")
                          : TEMPER_OK;
}

void tm_store_writer_abort(tm_store_writer *writer) {
    if (writer != NULL) {
        end_thread(writer);
        temporary_discard(&writer->temporary);
        tm_hasher_free(writer->hasher);
        free(writer->blocks);
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
    temper_status status = tm_store_writer_finish(writer, NULL, error);
    struct stat about;
    tm_digest digest;
    char *path = NULL;
    size_t cut = 0;
    bool known = false;
    if (status) {
        goto out;
    }
    digest = tm_hasher_end(writer->hasher);
    writer->hasher = NULL;
    if (!store_has_sound(writer->store, &digest)) {
        path = store_blob_path(writer->store, &digest, &cut);
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

/* store_inside.h: what the files of core/store share. */
#ifndef TM_STORE_INSIDE_H
#define TM_STORE_INSIDE_H

#include "store/store.h"

#include <sys/stat.h>

/* Which blobs this process has verified, and as which file. */
typedef struct seen_set seen_set;
seen_set *seen_new(void);
void seen_free(seen_set *set);
bool seen_has(seen_set *set, const tm_digest *digest, const struct stat *about);
void seen_add(seen_set *set, const tm_digest *digest, const struct stat *about); /* best effort */
void seen_remove(seen_set *set, const tm_digest *digest);

struct tm_store {
    char *root;
    seen_set *seen;
    int in_use; /* locks/store, shared from open to close: what collects garbage wants it alone */
};

/* A file in tmp/, locked while it is written. Invariant: after place or discard it has no temporary name any more. */
typedef struct temporary_file {
    char *path;
    int file;
} temporary_file;
temper_status temporary_open(const tm_store *store, temporary_file *out, temper_error *error);
temper_status temporary_write(temporary_file *temporary, const void *bytes, size_t count,
                              temper_error *error);
/* fsync, mode, rename to `path`, fsync of the folder. Discards on failure. */
temper_status temporary_place(temporary_file *temporary, const char *path, unsigned mode,
                              temper_error *error);
void temporary_discard(temporary_file *temporary);

/* One canonical record with its own digest in FOLDER under a key. get: TEMPER_END when there is none or it was damaged (and
 * then it is moved aside). */
temper_status record_put(tm_store *store, const char *folder, const tm_digest *key, const temper_json *record,
                         temper_error *error);
temper_status record_get(tm_store *store, const char *folder, const tm_digest *key, temper_arena *arena,
                         const temper_json **out, temper_error *error);

/* fsync of what was written so far is begun, not waited for: so the one at the end has less to do. */
void temporary_hurry(temporary_file *temporary, uint64_t from, uint64_t to);

/* malloc'ed ROOT/blobs/sha256/ab/cdef…; `cut`, when not NULL, gets the length of the folder's part. */
char *store_blob_path(const tm_store *store, const tm_digest *digest, size_t *cut);
/* There and undamaged. A damaged one is moved aside by this, and so makes room. */
bool store_has_sound(tm_store *store, const tm_digest *digest);
/* malloc'ed ROOT/FOLDER/NAME. */
char *store_path(const tm_store *store, const char *folder, const char *name);
/* Renames a damaged file into damaged/, so that it can be looked at; removes it if even that fails. */
void store_set_aside(const tm_store *store, const char *path, const char *name);
uint64_t store_random(void);

#endif

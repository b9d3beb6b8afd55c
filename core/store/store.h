/* store.h: blobs by SHA-256 on this machine, and trees of them.
 *
 * Invariants: a blob's name is its digest; it appears whole or not at all (temporary file, fsync, rename, fsync of the
 * folder); a hit is verified before it is used. Layout under the root: blobs/sha256/ab/cdef…, tmp/, cache/ (cache key ->
 * stage record), checkpoints/, runs/ (run id -> note), locks/. Several processes may use one store. A tree is a blob: canonical JSON {path: "sha256:…"}. */
#ifndef TM_STORE_H
#define TM_STORE_H

#include "base/digest.h"
#include "base/json.h"

typedef struct tm_store tm_store;

/* Opens or makes a store. NULL root: $TEMPER_HOME, else $XDG_DATA_HOME/temper, else ~/.local/share/temper. */
temper_status tm_store_open(const char *root, tm_store **out, temper_error *error);
const char *tm_store_root(const tm_store *store);
void tm_store_close(tm_store *store);

bool tm_store_has(const tm_store *store, const tm_digest *digest);
/* TEMPER_IO when it is not there. Not verified. */
temper_status tm_store_size(const tm_store *store, const tm_digest *digest, uint64_t *size,
                            temper_error *error);
temper_status tm_store_put(tm_store *store, const void *bytes, size_t count, tm_digest *out,
                           temper_error *error);
temper_status tm_store_put_file(tm_store *store, const char *path, tm_digest *out, temper_error *error);

/* Writing as one goes. */
typedef struct tm_store_writer tm_store_writer;
temper_status tm_store_writer_new(tm_store *store, tm_store_writer **out, temper_error *error);
temper_status tm_store_writer_add(tm_store_writer *writer, const void *bytes, size_t count,
                                  temper_error *error);
/* The same of bytes that stay as they are until the commit or the abort: large amounts are then neither copied nor waited for,
 * but hashed and written by a thread of the writer's own. */
temper_status tm_store_writer_add_lasting(tm_store_writer *writer, const void *bytes, size_t count,
                                          temper_error *error);
/* Waits for what was added; then how many line feeds it holds is known. */
temper_status tm_store_writer_finish(tm_store_writer *writer, uint64_t *line_feeds, temper_error *error);
temper_status tm_store_writer_commit(tm_store_writer *writer, tm_digest *out,
                                     temper_error *error); /* frees */
void tm_store_writer_abort(tm_store_writer *writer);       /* frees */

/* A verified, mapped blob. Digest mismatch: TEMPER_IO, the damaged blob is moved aside (damaged/) so that it can be made
 * again. Verification is remembered for a process. */
temper_status tm_store_map(tm_store *store, const tm_digest *digest, const void **data, size_t *size,
                           temper_error *error);
/* The same, but handed out at once and verified meanwhile, on a thread of its own; until map_end has said that all is well,
 * nothing made from the bytes may be relied on. *check is NULL when there is nothing to verify. `stop`: nobody needs the
 * answer any more. */
typedef struct tm_store_check tm_store_check;
temper_status tm_store_map_begin(tm_store *store, const tm_digest *digest, const void **data, size_t *size,
                                 tm_store_check **check, temper_error *error);
temper_status tm_store_map_end(tm_store_check *check, bool stop, temper_error *error);
void tm_store_unmap(tm_store *store, const void *data, size_t size);

/* The size of an entry whose blob is not in the store (it was left out of an archive). */
#define TM_TREE_ABSENT UINT64_MAX

/* Trees. Paths: relative, '/'-separated, no "..", no empty part, at most 255 bytes. */
typedef struct tm_tree_entry {
    char *path;
    tm_digest digest;
    uint64_t size;
} tm_tree_entry;
typedef struct tm_tree {
    tm_tree_entry *entries; /* sorted by path, in byte order */
    size_t count;
} tm_tree;
temper_status tm_store_put_tree(tm_store *store, const tm_tree *tree, tm_digest *out, temper_error *error);
temper_status tm_store_get_tree(tm_store *store, const tm_digest *digest, tm_tree *out, temper_error *error);
/* A folder's files one level deep and below, or one file as a tree of one. Hidden files are left out, and *.bin, *.pt, *.h5
 * beside a *.safetensors (the same weights again). Symbolic links are followed. */
temper_status tm_store_put_folder(tm_store *store, const char *path, tm_digest *out, temper_error *error);
bool tm_tree_path_valid(const char *path);
void tm_tree_free(tm_tree *tree);

/* The cache: small canonical JSON records under a key. get: TEMPER_END when there is none. */
temper_status tm_store_cache_put(tm_store *store, const tm_digest *key, const temper_json *record,
                                 temper_error *error);
temper_status tm_store_cache_get(tm_store *store, const tm_digest *key, temper_arena *arena,
                                 const temper_json **out, temper_error *error);
/* Runs known on this machine: a small canonical JSON object under the run's id; a later note of an id replaces it. */
temper_status tm_store_note_put(tm_store *store, const tm_digest *id, const temper_json *note,
                                temper_error *error);
typedef struct tm_note {
    tm_digest id;
    const temper_json *value;
} tm_note;
/* All of them, by id, in `arena`. */
temper_status tm_store_notes(tm_store *store, temper_arena *arena, tm_note **out, size_t *count,
                             temper_error *error);

/* Frees what nobody needs (collect.c). What stays: the blobs of `kept` and of every finished stage whose cache record is
 * younger than `seconds`; a model's tree keeps its files. What goes: other blobs, cache records that name one of them or are
 * older, old checkpoints, notes of `forgotten`, damaged and abandoned files. With `pretend` nothing is touched and the numbers are the same.
 * TEMPER_FAILED while another process has the store open. */
typedef struct tm_collect_request {
    const tm_digest *kept; /* blobs and trees */
    size_t kept_count;
    const tm_digest *forgotten; /* runs */
    size_t forgotten_count;
    double seconds;
    bool pretend;
} tm_collect_request;
typedef struct tm_collected {
    uint64_t freed_bytes, kept_bytes;
    size_t freed_blobs, kept_blobs, freed_records, kept_records;
} tm_collected;
temper_status tm_store_collect(tm_store *store, const tm_collect_request *request, tm_collected *out,
                               temper_error *error);

/* How far an unfinished stage is, by its cache key and a name ([a-z0-9_-], at most 32). save replaces, whole or not at all;
 * map verifies: TEMPER_END when there is none, or it was damaged (moved aside). drop removes all of a key. */
temper_status tm_store_checkpoint_save(tm_store *store, const tm_digest *key, const char *name,
                                       const void *const *pieces, const size_t *lengths, size_t count,
                                       temper_error *error);
temper_status tm_store_checkpoint_map(tm_store *store, const tm_digest *key, const char *name,
                                      const void **data, size_t *size, temper_error *error);
void tm_store_checkpoint_unmap(const void *data, size_t size);
void tm_store_checkpoint_drop(tm_store *store, const tm_digest *key);

/* An exclusive lock by name (flock on locks/NAME), held until unlocked or the process dies. Waits up to `seconds`, then
 * TEMPER_FAILED. NAME: letters, digits, '.', '_', '-'. */
temper_status tm_store_lock(tm_store *store, const char *name, double seconds, int *lock,
                            temper_error *error);
void tm_store_unlock(int lock);

#endif

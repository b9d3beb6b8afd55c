/* archive_inside.h: what the files of core/archive share. */
#ifndef TM_ARCHIVE_INSIDE_H
#define TM_ARCHIVE_INSIDE_H

#include "archive/archive.h"

/* The frame an archive ends in: a zstd skippable frame, which every decompressor passes over. */
enum { TRAILER_SIZE = 48, TRAILER_MARK = 8 };
void trailer_make(const tm_digest *digest, uint8_t out[TRAILER_SIZE]);

enum {
    ENTRIES_LIMIT = 100000,
    JSON_LIMIT = 1 << 26,
    REPORT_LIMIT = 1 << 28,
    TREE_FILE_LIMIT = 1 << 24, /* of a blob that may be a tree */
    ENTRY_MODE = 0644
};

void digests_sort(tm_digest *digests, size_t count);
bool digests_hold(const tm_digest *digests, size_t count, const tm_digest *digest); /* sorted */

/* Gives the text of a tree's blob (allocated in the arena), or NULL when it has none: then the tree is not one. */
typedef const char *tree_source(void *context, const tm_digest *digest, temper_arena *arena, size_t *length);

/* run.json against the blobs beside it (sorted, each once), as README.md says. */
temper_status check_run(const temper_json *run, const tm_digest *blobs, size_t count, tree_source *trees,
                        void *context, temper_error *error);
/* Parses run.json's text and checks that it is canonical. */
temper_status parse_canonical(temper_arena *arena, const char *text, size_t length, const char *name,
                              const temper_json **out, temper_error *error);

#endif

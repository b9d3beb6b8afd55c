/* archive_check.c: what run.json promises about the blobs beside it. The writer and the reader ask the same questions, so
 * that nothing is written which would not verify. */
#include "archive/archive_inside.h"

#include <stdlib.h>

void trailer_make(const tm_digest *digest, uint8_t out[TRAILER_SIZE]) {
    static const uint8_t head[16] = {0x50, 0x2A, 0x4D, 0x18, 40,  0,   0,   0,
                                     'T',  'E',  'M',  'P',  'E', 'R', 'S', '1'};
    memcpy(out, head, sizeof head);
    memcpy(out + sizeof head, digest->bytes, sizeof digest->bytes);
}

static int by_digest(const void *a, const void *b) {
    return memcmp(((const tm_digest *)a)->bytes, ((const tm_digest *)b)->bytes, sizeof(tm_digest));
}

void digests_sort(tm_digest *digests, size_t count) {
    if (count > 1) {
        qsort(digests, count, sizeof *digests, by_digest);
    }
}

bool digests_hold(const tm_digest *digests, size_t count, const tm_digest *digest) {
    return count > 0 && bsearch(digest, digests, count, sizeof *digests, by_digest) != NULL;
}

/* "sha256:" and 64 digits, and nothing else. */
static bool is_digest(const temper_json *value, tm_digest *out) {
    const char *text = tm_json_text(value, "");
    return strncmp(text, "sha256:", 7) == 0 && tm_json_length(value) == TM_DIGEST_TEXT - 1 &&
           tm_digest_parse(text, out);
}

typedef struct checker {
    const tm_digest *blobs;
    size_t blob_count;
    tm_digest *left_out;
    size_t left_out_count;
    tree_source *trees;
    void *context;
    temper_arena *arena;
    temper_error *error;
} checker;

static bool accounted(const checker *c, const tm_digest *digest) {
    return digests_hold(c->blobs, c->blob_count, digest) ||
           digests_hold(c->left_out, c->left_out_count, digest);
}

static temper_status check_blobs(const checker *c, const temper_json *list) {
    size_t count = tm_json_length(list), i;
    char text[TM_DIGEST_TEXT];
    if (tm_json_kind(list) != TEMPER_JSON_ARRAY) {
        return temper_fail(c->error, TEMPER_INVALID, "run.json has no array 'blobs'");
    }
    for (i = 0; i < count || i < c->blob_count; i++) {
        tm_digest listed;
        int order;
        if (i < count && !is_digest(tm_json_element(list, i), &listed)) {
            return temper_fail(c->error, TEMPER_INVALID, "run.json: blobs[%zu] is no digest", i);
        }
        order = i >= count ? 1 : i >= c->blob_count ? -1 : by_digest(&listed, &c->blobs[i]);
        if (order < 0) {
            tm_digest_text(&listed, text);
            return temper_fail(c->error, TEMPER_INVALID, "run.json lists the blob %s, which is %s", text,
                               digests_hold(c->blobs, c->blob_count, &listed) ? "out of order or there twice"
                                                                              : "missing");
        }
        if (order > 0) {
            tm_digest_text(&c->blobs[i], text);
            return temper_fail(c->error, TEMPER_INVALID,
                               "the blob %s is not where run.json's sorted 'blobs' would list it", text);
        }
    }
    return TEMPER_OK;
}

static temper_status read_left_out(checker *c, const temper_json *list) {
    size_t count = tm_json_length(list), i;
    if (list == NULL) {
        return TEMPER_OK;
    }
    if (tm_json_kind(list) != TEMPER_JSON_ARRAY) {
        return temper_fail(c->error, TEMPER_INVALID, "run.json: 'left_out' is no array");
    }
    c->left_out = tm_arena_allocate(c->arena, (count + 1) * sizeof *c->left_out);
    if (c->left_out == NULL) {
        return temper_fail(c->error, TEMPER_NO_MEMORY, "out of memory");
    }
    for (i = 0; i < count; i++) {
        const temper_json *item = tm_json_element(list, i);
        tm_digest *digest = &c->left_out[i];
        if (!is_digest(tm_json_member(item, "digest"), digest) ||
            tm_json_text(tm_json_member(item, "name"), NULL) == NULL) {
            return temper_fail(c->error, TEMPER_INVALID, "run.json: left_out[%zu] has no digest or no name",
                               i);
        }
        if (digests_hold(c->blobs, c->blob_count, digest)) {
            return temper_fail(c->error, TEMPER_INVALID,
                               "run.json: left_out[%zu] ('%.100s') is in the archive all the same", i,
                               tm_json_text(tm_json_member(item, "name"), ""));
        }
    }
    c->left_out_count = count;
    digests_sort(c->left_out, count);
    return TEMPER_OK;
}

static temper_status check_tree(const checker *c, const tm_digest *digest, const char *text) {
    const temper_json *tree = NULL;
    size_t length = 0, i;
    const char *source = c->trees(c->context, digest, c->arena, &length);
    if (source == NULL || tm_json_parse(c->arena, source, length, &tree, NULL) != TEMPER_OK ||
        tm_json_kind(tree) != TEMPER_JSON_OBJECT) {
        return temper_fail(c->error, TEMPER_INVALID, "run.json calls the blob %s a tree, which it is not",
                           text);
    }
    for (i = 0; i < tm_json_length(tree); i++) {
        const temper_json *value;
        const char *path = tm_json_name(tree, i, &value);
        tm_digest file;
        if (!tm_tree_path_valid(path) || !is_digest(value, &file)) {
            return temper_fail(c->error, TEMPER_INVALID, "the tree %s has a bad entry", text);
        }
        if (!accounted(c, &file)) {
            return temper_fail(c->error, TEMPER_INVALID,
                               "the tree %s needs '%s', which is neither there nor left out", text, path);
        }
    }
    return TEMPER_OK;
}

typedef enum place { ELSEWHERE, REFERENCES, TREES } place;

static place place_of(const char *name, place within) {
    if (strcmp(name, "trees") == 0) {
        return TREES;
    }
    if (strcmp(name, "outputs") == 0 || strcmp(name, "inputs") == 0 || strcmp(name, "sources") == 0) {
        return within == TREES ? TREES : REFERENCES;
    }
    return within;
}

/* Depth is at most what the parser allowed. */
static temper_status check_references(const checker *c, const temper_json *value, place within) {
    temper_status status = TEMPER_OK;
    char text[TM_DIGEST_TEXT];
    tm_digest digest;
    size_t i;
    switch (tm_json_kind(value)) {
    case TEMPER_JSON_ARRAY:
        for (i = 0; i < tm_json_length(value) && status == TEMPER_OK; i++) {
            status = check_references(c, tm_json_element(value, i), within);
        }
        break;
    case TEMPER_JSON_OBJECT:
        for (i = 0; i < tm_json_length(value) && status == TEMPER_OK; i++) {
            const temper_json *member;
            const char *name = tm_json_name(value, i, &member);
            status = check_references(c, member, place_of(name, within));
        }
        break;
    case TEMPER_JSON_STRING:
        if (within != ELSEWHERE && is_digest(value, &digest)) {
            tm_digest_text(&digest, text);
            if (!accounted(c, &digest)) {
                return temper_fail(c->error, TEMPER_INVALID,
                                   "run.json needs %s, which is neither there nor left out", text);
            }
            if (within == TREES && digests_hold(c->blobs, c->blob_count, &digest)) {
                return check_tree(c, &digest, text);
            }
        }
        break;
    default: break;
    }
    return status;
}

temper_status check_run(const temper_json *run, const tm_digest *blobs, size_t count, tree_source *trees,
                        void *context, temper_error *error) {
    checker c = {blobs, count, NULL, 0, trees, context, tm_arena_new(), error};
    temper_status status;
    if (c.arena == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    if (tm_json_kind(run) != TEMPER_JSON_OBJECT) {
        status = temper_fail(error, TEMPER_INVALID, "run.json is no object");
    } else if ((status = check_blobs(&c, tm_json_member(run, "blobs"))) == TEMPER_OK &&
               (status = read_left_out(&c, tm_json_member(run, "left_out"))) == TEMPER_OK) {
        status = check_references(&c, run, ELSEWHERE);
    }
    tm_arena_free(c.arena);
    return status;
}

temper_status parse_canonical(temper_arena *arena, const char *text, size_t length, const char *name,
                              const temper_json **out, temper_error *error) {
    tm_buffer again = TM_BUFFER_INIT;
    temper_status status = tm_json_parse(arena, text, length, out, error);
    if (status) {
        return temper_fail_in(error, status, "%s", name);
    }
    status = tm_json_write(*out, &again, error);
    if (status == TEMPER_OK && (again.length != length || memcmp(again.data, text, length) != 0)) {
        status = temper_fail(error, TEMPER_INVALID, "%s is not canonical JSON", name);
    }
    tm_buffer_free(&again);
    return status;
}

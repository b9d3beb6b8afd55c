/* tree.c: folders as blobs. A tree is canonical JSON {path: digest}, so equal folders are one blob whatever order, time or
 * mode their files had. */
#include "store/store_inside.h"

#include "base/file.h"
#include "base/text.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

enum { TREE_LIMIT = 1 << 26, FILES_LIMIT = 100000, DEPTH_LIMIT = 16, PATH_LIMIT = 255 };

bool tm_tree_path_valid(const char *path) {
    size_t length = strnlen(path, PATH_LIMIT + 1), start = 0, i;
    if (length == 0 || length > PATH_LIMIT || !tm_text_utf8(path, length, NULL)) {
        return false;
    }
    for (i = 0; i <= length; i++) {
        unsigned char c = (unsigned char)path[i];
        if (c == '/' || c == 0) {
            size_t part = i - start;
            if (part == 0 || (part == 1 && path[start] == '.') ||
                (part == 2 && path[start] == '.' && path[start + 1] == '.')) {
                return false;
            }
            start = i + 1;
        } else if (c < 0x20 || c == 0x7f || c == '\\') {
            return false;
        }
    }
    return true;
}

void tm_tree_free(tm_tree *tree) {
    size_t i;
    for (i = 0; i < tree->count; i++) {
        free(tree->entries[i].path);
    }
    free(tree->entries);
    tree->entries = NULL;
    tree->count = 0;
}

/* "a" and "a/b" cannot both be files. Entries are sorted, but "a-" lies between those two: so each parent is looked for. */
static bool is_under_a_file(const temper_json *object, const char *path) {
    char parent[PATH_LIMIT + 1];
    const char *slash;
    for (slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        memcpy(parent, path, (size_t)(slash - path));
        parent[slash - path] = 0;
        if (tm_json_member(object, parent) != NULL) {
            return true;
        }
    }
    return false;
}

static temper_status check_tree(const temper_json *object, temper_error *error) {
    size_t count = tm_json_length(object), i;
    if (tm_json_kind(object) != TEMPER_JSON_OBJECT || count > FILES_LIMIT) {
        return temper_fail(error, TEMPER_INVALID, "a tree is an object of at most %d paths", FILES_LIMIT);
    }
    for (i = 0; i < count; i++) {
        const temper_json *value;
        const char *path = tm_json_name(object, i, &value);
        tm_digest digest;
        if (!tm_tree_path_valid(path)) {
            return temper_fail(error, TEMPER_INVALID,
                               "a tree names '%.300s': paths are relative, without '..'", path);
        }
        if (is_under_a_file(object, path)) {
            return temper_fail(error, TEMPER_INVALID, "a tree has '%s' below another file", path);
        }
        if (strncmp(tm_json_text(value, ""), "sha256:", 7) != 0 ||
            !tm_digest_parse(tm_json_text(value, ""), &digest)) {
            return temper_fail(error, TEMPER_INVALID, "a tree has no digest for '%s'", path);
        }
    }
    return TEMPER_OK;
}

temper_status tm_store_put_tree(tm_store *store, const tm_tree *tree, tm_digest *out, temper_error *error) {
    temper_arena *arena = tm_arena_new();
    temper_json *object = arena == NULL ? NULL : tm_json_object(arena);
    tm_buffer text = TM_BUFFER_INIT;
    temper_status status = TEMPER_OK;
    size_t i;
    if (object == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        goto out;
    }
    for (i = 0; i < tree->count; i++) {
        char digest[TM_DIGEST_TEXT];
        const char *path = tree->entries[i].path;
        tm_digest_text(&tree->entries[i].digest, digest);
        if (!tm_tree_path_valid(path) || tm_json_member(object, path) != NULL) {
            status = temper_fail(error, TEMPER_INVALID,
                                 "'%.300s' cannot be a path in a tree, or is there twice", path);
            goto out;
        }
        if (!tm_json_set_string(arena, object, path, digest)) {
            status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
            goto out;
        }
    }
    if ((status = check_tree(object, error)) == TEMPER_OK &&
        (status = tm_json_write(object, &text, error)) == TEMPER_OK) {
        status = tm_store_put(store, text.data, text.length, out, error);
    }
out:
    tm_buffer_free(&text);
    tm_arena_free(arena);
    return status;
}

static temper_status read_entries(tm_store *store, const temper_json *object, tm_tree *tree,
                                  temper_error *error) {
    size_t count = tm_json_length(object), i;
    tree->entries = calloc(count + 1, sizeof *tree->entries);
    if (tree->entries == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    for (i = 0; i < count; i++) {
        tm_tree_entry *entry = &tree->entries[i];
        const temper_json *value;
        entry->path = strdup(tm_json_name(object, i, &value));
        if (entry->path == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        }
        tree->count++;
        tm_digest_parse(tm_json_text(value, ""), &entry->digest); /* checked before */
        if (tm_store_size(store, &entry->digest, &entry->size, NULL) != TEMPER_OK) {
            entry->size = TM_TREE_ABSENT;
        }
    }
    return TEMPER_OK;
}

temper_status tm_store_get_tree(tm_store *store, const tm_digest *digest, tm_tree *out, temper_error *error) {
    temper_arena *arena = tm_arena_new();
    tm_tree tree = {NULL, 0};
    const temper_json *object;
    const void *data = NULL;
    char text[TM_DIGEST_TEXT];
    temper_status status;
    size_t size = 0;
    if (arena == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    if ((status = tm_store_map(store, digest, &data, &size, error))) {
        goto out;
    }
    if (size > TREE_LIMIT) {
        status = temper_fail(error, TEMPER_INVALID, "%zu bytes are too many for a tree", size);
    } else if ((status = tm_json_parse(arena, data, size, &object, error)) == TEMPER_OK &&
               (status = check_tree(object, error)) == TEMPER_OK) {
        status = read_entries(store, object, &tree, error);
    }
    tm_store_unmap(store, data, size);
    if (status) {
        tm_digest_text(digest, text);
        temper_fail_in(error, status, "%s is no tree", text);
        tm_tree_free(&tree);
        goto out;
    }
    *out = tree;
out:
    tm_arena_free(arena);
    return status;
}

static bool ends_with(const char *name, const char *end) {
    size_t length = strlen(name), end_length = strlen(end);
    return length > end_length && strcmp(name + length - end_length, end) == 0;
}

static temper_status add_file(tm_store *store, const char *path, const char *name, tm_tree *tree,
                              temper_error *error) {
    temper_status status;
    tm_tree_entry *entry;
    if (!tm_tree_path_valid(name)) {
        return temper_fail(error, TEMPER_INVALID, "'%s' has a name that cannot go into a tree", path);
    }
    if (tree->count >= FILES_LIMIT) {
        return temper_fail(error, TEMPER_INVALID, "more than %d files; is '%s' the folder that was meant?",
                           FILES_LIMIT, path);
    }
    if ((tree->count & (tree->count - 1)) == 0) { /* room doubles at each power of two */
        tm_tree_entry *grown =
            realloc(tree->entries, (tree->count == 0 ? 1 : tree->count * 2) * sizeof *grown);
        if (grown == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        }
        tree->entries = grown;
    }
    entry = &tree->entries[tree->count];
    memset(entry, 0, sizeof *entry);
    if ((status = tm_store_put_file(store, path, &entry->digest, error))) {
        return status;
    }
    entry->path = strdup(name);
    if (entry->path == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    tree->count++;
    return TEMPER_OK;
}

static temper_status add_folder(tm_store *store, const char *path, const char *prefix, unsigned depth,
                                tm_tree *tree, temper_error *error) {
    char **names = NULL;
    size_t count = 0, i;
    bool safetensors = false;
    temper_status status = tm_folder_list(path, &names, &count, error);
    if (status) {
        return status;
    }
    for (i = 0; i < count; i++) {
        safetensors = safetensors || ends_with(names[i], ".safetensors");
    }
    for (i = 0; i < count && status == TEMPER_OK; i++) {
        const char *name = names[i];
        char *inner = NULL, *relative = NULL;
        struct stat about;
        if (name[0] == '.' ||
            (safetensors && (ends_with(name, ".bin") || ends_with(name, ".pt") || ends_with(name, ".h5")))) {
            continue;
        }
        inner = tm_path_join(path, name);
        relative = tm_path_join(prefix, name);
        if (inner == NULL || relative == NULL) {
            status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        } else if (stat(inner, &about) != 0) {
            status = temper_fail(error, TEMPER_IO, "cannot look at '%s': %s", inner, strerror(errno));
        } else if (S_ISREG(about.st_mode)) {
            status = add_file(store, inner, relative, tree, error);
        } else if (!S_ISDIR(about.st_mode)) {
            status = temper_fail(error, TEMPER_INVALID, "'%s' is neither a file nor a folder", inner);
        } else if (depth >= DEPTH_LIMIT) {
            status = temper_fail(error, TEMPER_INVALID,
                                 "'%s' is nested too deep (a symbolic link to itself?)", inner);
        } else {
            status = add_folder(store, inner, relative, depth + 1, tree, error);
        }
        free(inner);
        free(relative);
    }
    for (i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
    return status;
}

temper_status tm_store_put_folder(tm_store *store, const char *path, tm_digest *out, temper_error *error) {
    tm_tree tree = {NULL, 0};
    temper_status status = TEMPER_OK;
    struct stat about;
    if (stat(path, &about) != 0) {
        status = temper_fail(error, TEMPER_IO, "cannot look at '%s': %s", path, strerror(errno));
    } else if (S_ISDIR(about.st_mode)) {
        status = add_folder(store, path, "", 0, &tree, error);
        if (status == TEMPER_OK && tree.count == 0) {
            status = temper_fail(error, TEMPER_INVALID, "the folder '%s' has no files in it", path);
        }
    } else if (S_ISREG(about.st_mode)) {
        const char *slash = strrchr(path, '/');
        status = add_file(store, path, slash == NULL ? path : slash + 1, &tree, error);
    } else {
        status = temper_fail(error, TEMPER_INVALID, "'%s' is neither a file nor a folder", path);
    }
    if (status == TEMPER_OK) {
        status = tm_store_put_tree(store, &tree, out, error);
    }
    tm_tree_free(&tree);
    return status;
}

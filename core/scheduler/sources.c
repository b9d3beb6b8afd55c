/* sources.c: see sources.h. Invariant: what enters the store is a function of a file's content alone; its path, owner and time are left
 * behind at the door. */
#include "scheduler/sources.h"

#include "archive/archive.h"
#include "base/file.h"
#include "base/text.h"
#include "scheduler/character.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { SOURCE_LIMIT = 1 << 30 };

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

temper_status tm_builtin_find(const char *name, char **path, temper_error *error) {
    const char *share = getenv("TEMPER_SHARE"), *byte;
    char *program = tm_path_program_folder();
    static const char *const before[] = {"/models/", "/../share/temper/models/", "/../../examples/"};
    size_t i;
    *path = NULL;
    for (byte = name; *byte != 0; byte++) {
        if (!isalnum((unsigned char)*byte) && *byte != '-' && *byte != '_') {
            free(program);
            return temper_fail(error, TEMPER_INVALID, "builtin model '%.60s': a plain name is wanted", name);
        }
    }
    for (i = 0; i < 3; i++) {
        const char *root = i == 0 ? share : program;
        char *candidate = NULL;
        if (root == NULL || *root == 0 ||
            asprintf(&candidate, "%s%s%s%s", root, before[i], name, i == 2 ? "/model" : "") < 0) {
            continue;
        }
        if (is_folder(candidate)) {
            *path = candidate;
            free(program);
            return TEMPER_OK;
        }
        free(candidate);
    }
    free(program);
    return temper_fail(
        error, TEMPER_INVALID,
        "builtin model '%s' is not installed: looked in $TEMPER_SHARE/models, share/temper/models and "
        "examples/%s/model",
        name, name);
}

/* --- other runs -------------------------------------------------------------------------------------------------- */

/* Names in a record reach terminals: no control bytes anywhere but in parameters, which are shown as JSON. */
static bool printable(const temper_json *value) {
    size_t i, length = 0;
    const char *text = tm_json_string(value, &length);
    for (i = 0; text != NULL && i < length; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            return false;
        }
    }
    for (i = 0; tm_json_kind(value) == TEMPER_JSON_ARRAY && i < tm_json_length(value); i++) {
        if (!printable(tm_json_element(value, i))) {
            return false;
        }
    }
    for (i = 0; tm_json_kind(value) == TEMPER_JSON_OBJECT && i < tm_json_length(value); i++) {
        const temper_json *member;
        const char *name = tm_json_name(value, i, &member);
        if (strcmp(name, "parameters") != 0 && !printable(member)) {
            return false;
        }
    }
    return true;
}

/* A record of a stranger: a sound plan, and a node of the same name for each of its nodes. */
static temper_status check_run(const temper_json *run, temper_error *error) {
    const temper_json *nodes = tm_json_member(run, "nodes");
    tm_buffer plan = TM_BUFFER_INIT;
    tm_graph *graph = NULL;
    size_t i;
    temper_status status = tm_json_member(run, "plan") != NULL
                               ? tm_json_write(tm_json_member(run, "plan"), &plan, error)
                               : temper_fail(error, TEMPER_INVALID, "it holds no plan");
    if (status == TEMPER_OK) {
        status = tm_graph_parse(plan.data, plan.length, &graph, error);
    }
    if (status == TEMPER_OK && (tm_json_length(nodes) != graph->node_count || !printable(run))) {
        status =
            temper_fail(error, TEMPER_INVALID, "its nodes are not its plan's, or a name is not printable");
    }
    for (i = 0; status == TEMPER_OK && i < graph->node_count; i++) {
        if (strcmp(tm_json_text(tm_json_member(tm_json_element(nodes, i), "name"), ""),
                   graph->nodes[i].name) != 0) {
            status = temper_fail(error, TEMPER_INVALID, "node %zu of the record is not node %zu of its plan",
                                 i, i);
        }
    }
    tm_graph_free(graph);
    tm_buffer_free(&plan);
    return status;
}

static temper_status read_archive(tm_store *store, const char *path, temper_arena *arena,
                                  const temper_json **run, tm_digest *id, temper_error *error) {
    tm_archive archive;
    tm_buffer text = TM_BUFFER_INIT;
    temper_status status = tm_archive_read(path, store, &archive, error);
    if (status) {
        return status;
    }
    status = tm_json_write(archive.run, &text, error);
    if (status == TEMPER_OK) {
        status = tm_store_put(store, text.data, text.length, id, error); /* so that its id finds it later */
    }
    if (status == TEMPER_OK) {
        status = tm_json_parse(arena, text.data, text.length, run, error);
    }
    tm_buffer_free(&text);
    tm_archive_free(&archive);
    return status;
}

static temper_status read_by_id(tm_store *store, const tm_digest *id, const char *name, temper_arena *arena,
                                const temper_json **run, temper_error *error) {
    const void *data;
    size_t size;
    temper_status status;
    if (!tm_store_has(store, id)) {
        return temper_fail(error, TEMPER_INVALID,
                           "run %s is not in the store of this machine: name its archive", name);
    }
    status = tm_store_map(store, id, &data, &size, error);
    if (status) {
        return status;
    }
    status = tm_json_parse(arena, data, size, run, error);
    tm_store_unmap(store, data, size);
    return status ? temper_fail_in(error, status, "%s is no run", name) : TEMPER_OK;
}

/* The one archive in runs/ whose name is NAME, or begins with it, or ends with -NAME. */
static char *find_in_runs(const char *name, size_t *matches, char nearest[256]) {
    char **names = NULL, *found = NULL;
    size_t count = 0, i, length = strlen(name);
    const char *guess;
    *matches = 0;
    nearest[0] = 0;
    if (tm_folder_list("runs", &names, &count, NULL) != TEMPER_OK) {
        return NULL;
    }
    for (i = 0; i < count; i++) {
        size_t stem = strlen(names[i]);
        const char *dash;
        if (!ends_with(names[i], ".temper")) {
            continue;
        }
        stem -= 7;
        dash = strrchr(names[i], '-');
        if ((length <= stem && strncmp(names[i], name, length) == 0) ||
            (dash != NULL && length >= 4 && strncmp(dash + 1, name, length < 8 ? length : 8) == 0)) {
            (*matches)++;
            free(found);
            found = tm_path_join("runs", names[i]);
        }
    }
    guess = tm_text_nearest(name, (const char *const *)names, count);
    snprintf(nearest, 256, "%s", guess != NULL ? guess : "");
    for (i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
    return found;
}

static temper_status find_run(tm_store *store, const char *name, temper_arena *arena, const temper_json **run,
                              tm_digest *id, temper_error *error) {
    const char *bare = strncmp(name, "run:", 4) == 0 ? name + 4 : name;
    char *path, nearest[256];
    size_t matches;
    temper_status status;
    if (is_file(name)) {
        return read_archive(store, name, arena, run, id, error);
    }
    if (strlen(bare) >= 64 && tm_digest_parse(bare, id)) {
        return read_by_id(store, id, name, arena, run, error);
    }
    if (strncmp(bare, "sha256:", 7) == 0) {
        bare += 7;
    }
    path = find_in_runs(bare, &matches, nearest);
    if (matches == 1 && path != NULL) {
        status = read_archive(store, path, arena, run, id, error);
    } else if (matches > 1) {
        status = temper_fail(error, TEMPER_INVALID, "'%s' fits %zu archives in runs/: give more of the name",
                             name, matches);
    } else {
        status =
            temper_fail(error, TEMPER_INVALID,
                        "no run '%s': neither a file, nor an id, nor the name of an archive in runs/%s%s%s",
                        name, *nearest != 0 ? "; did you mean '" : "", nearest, *nearest != 0 ? "'?" : "");
    }
    free(path);
    return status;
}

temper_status tm_run_find(tm_store *store, const char *name, temper_arena *arena, const temper_json **run,
                          tm_digest *id, temper_error *error) {
    temper_status status = find_run(store, name, arena, run, id, error);
    if (status == TEMPER_OK) {
        status = check_run(*run, error);
        status = status ? temper_fail_in(error, status, "%s is no run", name) : TEMPER_OK;
    }
    return status;
}

static bool output_digest(const temper_json *node, const char *name, tm_kind kind, tm_digest *out) {
    const temper_json *outputs = tm_json_member(node, "outputs");
    size_t i;
    for (i = 0; i < tm_json_length(outputs); i++) {
        const temper_json *output = tm_json_element(outputs, i);
        if ((name == NULL || strcmp(tm_json_text(tm_json_member(output, "name"), ""), name) == 0) &&
            strcmp(tm_json_text(tm_json_member(output, "kind"), ""), tm_kind_name(kind)) == 0) {
            return tm_digest_parse(tm_json_text(tm_json_member(output, "digest"), ""), out);
        }
    }
    return false;
}

temper_status tm_run_output(const temper_json *run, const char *wanted, tm_kind kind, tm_digest *out,
                            temper_error *error) {
    const temper_json *nodes = tm_json_member(run, "nodes"),
                      *results = tm_json_member(tm_json_member(run, "plan"), "result");
    const char *dot = wanted != NULL ? strchr(wanted, '.') : NULL;
    size_t i, found = 0;
    for (i = 0; i < tm_json_length(results); i++) {
        const temper_json *result;
        const char *name = tm_json_name(results, i, &result);
        int64_t node = -1;
        if ((wanted == NULL || strcmp(name, wanted) == 0) &&
            tm_json_integer(tm_json_member(result, "node"), &node) && node >= 0 &&
            output_digest(tm_json_element(nodes, (size_t)node),
                          tm_json_text(tm_json_member(result, "output"), ""), kind, out)) {
            found++;
        }
    }
    if (found == 1) {
        return TEMPER_OK;
    }
    if (found > 1) {
        return temper_fail(error, TEMPER_INVALID, "the run has %zu results of kind %s: name one with #NAME",
                           found, tm_kind_name(kind));
    }
    for (i = tm_json_length(nodes); i > 0; i--) {
        const temper_json *node = tm_json_element(nodes, i - 1);
        const char *name = tm_json_text(tm_json_member(node, "name"), "");
        if (dot != NULL &&
            (strlen(name) != (size_t)(dot - wanted) || strncmp(name, wanted, strlen(name)) != 0)) {
            continue;
        }
        if (output_digest(node, dot != NULL ? dot + 1 : wanted, kind, out)) {
            return TEMPER_OK;
        }
    }
    return temper_fail(error, TEMPER_INVALID, "the run has no output%s%s of kind %s",
                       wanted != NULL ? " " : "", wanted != NULL ? wanted : "", tm_kind_name(kind));
}

/* A model out of another run, with the files its archive left out present too. */
static temper_status take_from_run(tm_store *store, const char *reference, tm_digest *out,
                                   temper_error *error) {
    const char *hash = strrchr(reference, '#');
    char *name = hash != NULL ? strndup(reference, (size_t)(hash - reference)) : strdup(reference);
    temper_arena *arena = tm_arena_new();
    const temper_json *run = NULL;
    tm_digest id;
    tm_tree tree;
    temper_status status;
    size_t i;
    if (name == NULL || arena == NULL) {
        free(name);
        tm_arena_free(arena);
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    status = tm_run_find(store, name, arena, &run, &id, error);
    if (status == TEMPER_OK) {
        status = tm_run_output(run, hash != NULL ? hash + 1 : NULL, TM_MODEL, out, error);
    }
    if (status == TEMPER_OK) {
        status = tm_store_get_tree(store, out, &tree, error);
    }
    if (status == TEMPER_OK) {
        for (i = 0; status == TEMPER_OK && i < tree.count; i++) {
            if (!tm_store_has(store, &tree.entries[i].digest)) {
                status = temper_fail(error, TEMPER_INVALID,
                                     "its archive leaves out '%s' of the base model: take the base model "
                                     "into the store first (any "
                                     "command that uses it does)",
                                     tree.entries[i].path);
            }
        }
        tm_tree_free(&tree);
    }
    if (status) {
        status = temper_fail_in(error, status, "%s", reference);
    }
    tm_arena_free(arena);
    free(name);
    return status;
}

/* --- files ------------------------------------------------------------------------------------------------------- */

/* JSON lines stay as they are; one JSON list becomes canonical lines. */
static temper_status take_records(tm_store *store, const tm_buffer *text, tm_digest *out,
                                  temper_error *error) {
    size_t skip = text->length > 0 ? strspn(text->data, " \t\r\n") : 0, i;
    tm_buffer lines = TM_BUFFER_INIT;
    const temper_json *list = NULL;
    temper_arena *arena;
    temper_status status;
    if (skip >= text->length || text->data[skip] != '[') {
        return tm_store_put(store, text->data, text->length, out, error);
    }
    arena = tm_arena_new();
    status = arena == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "out of memory")
                           : tm_json_parse(arena, text->data, text->length, &list, error);
    for (i = 0; status == TEMPER_OK && i < tm_json_length(list); i++) {
        if (tm_json_kind(tm_json_element(list, i)) != TEMPER_JSON_OBJECT) {
            status = temper_fail(error, TEMPER_INVALID, "record %zu is no object", i + 1);
        } else {
            status = tm_json_write(tm_json_element(list, i), &lines, error);
            tm_buffer_byte(&lines, '\n');
        }
    }
    if (status == TEMPER_OK) {
        status = tm_buffer_ok(&lines) ? tm_store_put(store, lines.data, lines.length, out, error)
                                      : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    tm_buffer_free(&lines);
    tm_arena_free(arena);
    return status;
}

static temper_status take_file(tm_store *store, tm_kind kind, const char *path, tm_digest *out,
                               temper_error *error) {
    tm_buffer text = TM_BUFFER_INIT, records = TM_BUFFER_INIT;
    temper_status status = tm_file_read(path, SOURCE_LIMIT, &text, error);
    size_t bad = 0;
    if (status == TEMPER_OK && text.data == NULL) {
        tm_buffer_reserve(&text, 1);
    }
    if (status == TEMPER_OK && !tm_text_utf8(text.data, text.length, &bad)) {
        status = temper_fail(error, TEMPER_INVALID, "%s is not UTF-8 at byte %zu", path, bad + 1);
    } else if (status == TEMPER_OK && kind == TM_CHARACTER) {
        status = tm_character_normalise(text.data, text.length, &records, error);
        status = status ? temper_fail_in(error, status, "%s", path)
                        : tm_store_put(store, records.data, records.length, out, error);
    } else if (status == TEMPER_OK && kind == TM_RECORDS) {
        status = take_records(store, &text, out, error);
        status = status ? temper_fail_in(error, status, "%s", path) : TEMPER_OK;
    } else if (status == TEMPER_OK) {
        status = tm_store_put(store, text.data, text.length, out, error);
    }
    tm_buffer_free(&text);
    tm_buffer_free(&records);
    return status;
}

temper_status tm_source_take(tm_store *store, tm_kind kind, const char *path, tm_digest *out,
                             temper_error *error) {
    char *builtin = NULL;
    temper_status status;
    if (kind != TM_MODEL) {
        return take_file(store, kind, path, out, error);
    }
    if (strncmp(path, "builtin:", 8) == 0) {
        status = tm_builtin_find(path + 8, &builtin, error);
        if (status) {
            return status;
        }
        status = tm_store_put_folder(store, builtin, out, error);
        free(builtin);
        return status;
    }
    if (is_folder(path) || (is_file(path) && !ends_with(path, ".temper"))) {
        return tm_store_put_folder(store, path, out, error);
    }
    return take_from_run(store, path, out, error);
}

/* --- a whole plan ------------------------------------------------------------------------------------------------ */

static temper_status take_recipe_files(tm_graph *graph, tm_store *store, temper_json *files,
                                       temper_error *error) {
    const temper_json *list = tm_json_member(tm_json_member(graph->json, "recipe"), "files");
    size_t i;
    for (i = 0; i < tm_json_length(list); i++) {
        const temper_json *entry = tm_json_element(list, i);
        const char *name = tm_json_text(tm_json_member(entry, "name"), ""),
                   *path = tm_json_string(tm_json_member(entry, "path"), NULL);
        temper_json *kept = tm_json_object(graph->arena);
        tm_digest digest, expected;
        if (!tm_digest_parse(tm_json_text(tm_json_member(entry, "digest"), ""), &expected)) {
            return temper_fail(error, TEMPER_INVALID, "plan: recipe file '%s' has no digest", name);
        }
        if (path != NULL) {
            temper_status status = tm_store_put_file(store, path, &digest, error);
            if (status) {
                return status;
            }
            if (!tm_digest_equal(&digest, &expected)) {
                return temper_fail(error, TEMPER_INVALID, "%s changed while it was loaded: try again", path);
            }
        }
        if (kept == NULL || !tm_json_set_string(graph->arena, kept, "name", name) ||
            !tm_json_set(graph->arena, kept, "digest", tm_json_member(entry, "digest")) ||
            !tm_json_append(graph->arena, files, kept)) {
            return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        }
    }
    return TEMPER_OK;
}

temper_status tm_graph_take_sources(tm_graph *graph, tm_store *store, temper_error *error) {
    temper_arena *arena = graph->arena;
    const temper_json *recipe = tm_json_member(graph->json, "recipe");
    temper_json *sources = tm_json_array(arena), *files = tm_json_array(arena);
    temper_json *about = tm_json_copy_object(arena, recipe), *plan = tm_json_copy_object(arena, graph->json);
    temper_status status;
    bool made;
    size_t i;
    if (sources == NULL || files == NULL || plan == NULL || (recipe != NULL && about == NULL)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    for (i = 0; i < graph->source_count; i++) {
        tm_source *source = &graph->sources[i];
        temper_json *entry = tm_json_object(arena);
        char text[TM_DIGEST_TEXT];
        if (!source->known) {
            status = tm_source_take(store, source->kind, source->path, &source->digest, error);
            if (status) {
                return temper_fail_in(error, status, "%s '%s'", tm_kind_name(source->kind), source->id);
            }
            source->known = true;
        }
        tm_digest_text(&source->digest, text);
        made = entry != NULL && tm_json_set_string(arena, entry, "id", source->id) &&
               tm_json_set_string(arena, entry, "kind", tm_kind_name(source->kind)) &&
               tm_json_set_string(arena, entry, "name", source->name) &&
               tm_json_set_string(arena, entry, "digest", text) && tm_json_append(arena, sources, entry);
        if (!made) {
            return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        }
    }
    status = take_recipe_files(graph, store, files, error);
    if (status) {
        return status;
    }
    made = tm_json_set(arena, plan, "sources", sources);
    if (recipe != NULL) {
        made = made && tm_json_set(arena, about, "files", files) && tm_json_set(arena, plan, "recipe", about);
    }
    graph->json = plan;
    return made ? TEMPER_OK : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
}

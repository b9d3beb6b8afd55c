/* reproduce.c: see reproduce.h. */
#include "scheduler/reproduce.h"

#include "base/file.h"
#include "base/text.h"
#include "scheduler/record.h"
#include "scheduler/sources.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static const char *text_of(const temper_json *object, const char *name) {
    return tm_json_text(tm_json_member(object, name), "");
}

static bool tree_whole(tm_store *store, const tm_digest *digest) {
    tm_tree tree;
    bool whole = true;
    size_t i;
    if (tm_store_get_tree(store, digest, &tree, NULL) != TEMPER_OK) {
        return false;
    }
    for (i = 0; i < tree.count; i++) {
        whole = whole && tm_store_has(store, &tree.entries[i].digest);
    }
    tm_tree_free(&tree);
    return whole;
}

/* Puts what --with gives into the store; a folder for no model of the run is an error with the reason. */
static temper_status take_given(const tm_graph *graph, tm_store *store, const tm_reproduce_options *options,
                                temper_error *error) {
    size_t i, j;
    for (i = 0; i < options->with_count; i++) {
        const char *folder = options->with[i], *equals = strchr(folder, '=');
        const tm_source *named = NULL;
        tm_digest digest;
        char given[TM_DIGEST_TEXT], wanted[TM_DIGEST_TEXT];
        temper_status status;
        bool fits = false;
        for (j = 0; equals != NULL && j < graph->source_count; j++) {
            size_t length = (size_t)(equals - folder);
            if (strlen(graph->sources[j].id) == length &&
                strncmp(graph->sources[j].id, folder, length) == 0) {
                named = &graph->sources[j];
            }
        }
        folder = named != NULL ? equals + 1 : folder;
        status = tm_source_take(store, TM_MODEL, folder, &digest, error);
        if (status) {
            return temper_fail_in(error, status, "--with %s", options->with[i]);
        }
        for (j = 0; j < graph->source_count; j++) {
            const tm_source *source = &graph->sources[j];
            if (source->kind == TM_MODEL && (named == NULL || named == source)) {
                fits = fits || tm_digest_equal(&source->digest, &digest);
                tm_digest_text(&source->digest, wanted);
            }
        }
        if (!fits) {
            tm_digest_text(&digest, given);
            return temper_fail(error, TEMPER_INVALID, "--with %s: it is %s, and the run was made with %s",
                               options->with[i], given, wanted);
        }
    }
    return TEMPER_OK;
}

static temper_status check_sources(const tm_graph *graph, tm_store *store, temper_error *error) {
    size_t i;
    for (i = 0; i < graph->source_count; i++) {
        const tm_source *source = &graph->sources[i];
        if (!source->known) {
            return temper_fail(error, TEMPER_INVALID, "the archive's plan gives no digest for '%s'",
                               source->id);
        }
        if (source->kind == TM_MODEL && !tree_whole(store, &source->digest)) {
            return temper_fail(
                error, TEMPER_INVALID,
                "the archive leaves out the model '%s' (%s): give its folder with --with FOLDER", source->id,
                source->name);
        }
        if (!tm_store_has(store, &source->digest)) {
            return temper_fail(error, TEMPER_INVALID, "the archive does not hold '%s'", source->id);
        }
    }
    return TEMPER_OK;
}

/* "recorded with filter 0.1.0, here 0.2.0", or "". */
static void version_note(const tm_run *run, size_t index, char out[160]) {
    const tm_node *node = &run->graph->nodes[index];
    const tm_plugin_entry *plugin = run->nodes[index].plugin;
    const char *version = plugin != NULL ? text_of(plugin->description, "version") : node->version;
    const temper_json *stage = plugin != NULL ? tm_description_stage(plugin->description, node->stage) : NULL;
    int64_t revision = node->revision;
    (void)tm_json_integer(tm_json_member(stage, "revision"), &revision);
    out[0] = 0;
    if (strcmp(version, node->version) != 0 || revision != node->revision) {
        snprintf(out, 160, "recorded with %.40s %.20s, revision %lld; here %.20s, revision %lld",
                 node->plugin, node->version, (long long)node->revision, version, (long long)revision);
    }
}

typedef struct comparison {
    const tm_reproduce_options *options;
    const temper_json *nodes; /* recorded */
    tm_reproduction *out;
} comparison;

static void compare_node(void *context, const tm_run *run, size_t index, tm_run_event event) {
    comparison *state = context;
    const temper_json *recorded = tm_json_element(state->nodes, index),
                      *outputs = tm_json_member(recorded, "outputs");
    const tm_reproduce_options *options = state->options;
    const char *name = run->graph->nodes[index].name;
    bool all = strcmp(text_of(recorded, "name"), name) == 0 &&
               tm_json_length(outputs) == run->nodes[index].output_count;
    char note[160];
    size_t i;
    if (options->run.event != NULL) {
        options->run.event(options->run.context, run, index, event);
    }
    if (event != TM_RUN_FINISHED) {
        return;
    }
    version_note(run, index, note);
    for (i = 0; i < tm_json_length(outputs); i++) {
        const temper_json *entry = tm_json_element(outputs, i);
        const tm_run_output_blob *made = tm_run_find_output(run, index, text_of(entry, "name"));
        tm_digest digest;
        bool same = tm_digest_parse(text_of(entry, "digest"), &digest) && made != NULL &&
                    tm_digest_equal(&made->digest, &digest);
        all = all && same;
        if (options->compared != NULL) {
            options->compared(options->context, name, text_of(entry, "name"), &digest, same, note);
        }
    }
    state->out->stages++;
    state->out->same_stages += all;
}

/* The names under which models were left out, so that the second record leaves out the same. */
static size_t left_out_names(const temper_json *run, const tm_graph *graph, const char **names) {
    const temper_json *list = tm_json_member(run, "left_out");
    size_t i, j, count = 0;
    for (j = 0; j < graph->source_count; j++) {
        size_t length = strlen(graph->sources[j].id);
        for (i = 0; i < tm_json_length(list); i++) {
            const char *name = text_of(tm_json_element(list, i), "name");
            if (strncmp(name, graph->sources[j].id, length) == 0 && name[length] == '/') {
                names[count++] = graph->sources[j].id;
                break;
            }
        }
    }
    return count;
}

static temper_status run_again(const tm_archive *archive, tm_graph *graph, tm_store *store,
                               const tm_reproduce_options *options, tm_reproduction *out,
                               temper_error *error) {
    comparison state = {options, tm_json_member(archive->run, "nodes"), out};
    tm_run_options run_options = options->run;
    tm_catalog *catalog = NULL;
    tm_run *run = NULL;
    tm_record record;
    const char **names = calloc(graph->source_count + 1, sizeof *names);
    bool holds;
    temper_status status = names != NULL ? options->catalog_for(options->context, store, &catalog, error)
                                         : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    if (status) {
        goto out;
    }
    run_options.store = store;
    run_options.catalog = catalog;
    run_options.fresh = true;
    run_options.context = &state;
    run_options.event = compare_node;
    run_options.progress = NULL; /* another context; a reproduction prints its comparisons */
    run_options.log = NULL;
    status = tm_run_new(graph, &run_options, &run, error);
    status = status ? status : tm_run_execute(run, error);
    status = status ? status : tm_run_judge(run, &holds, error);
    if (status) {
        goto out;
    }
    out->same = out->same_stages == out->stages && out->stages == tm_json_length(state.nodes);
    status = tm_record_make(run, names, left_out_names(archive->run, graph, names), &record, error);
    if (status == TEMPER_OK) {
        out->same_id = tm_digest_equal(&record.id, &archive->id);
        tm_record_free(&record);
    }
out:
    free(names);
    tm_run_free(run);
    tm_catalog_free(catalog);
    return status;
}

temper_status tm_reproduce(const char *path, const tm_reproduce_options *options, tm_reproduction *out,
                           temper_error *error) {
    const char *temporary = getenv("TMPDIR");
    char *folder = NULL;
    tm_store *store = NULL;
    tm_graph *graph = NULL;
    tm_archive archive;
    tm_buffer plan = TM_BUFFER_INIT;
    bool have_archive = false, have_folder = false;
    temper_status status;

    memset(out, 0, sizeof *out);
    memset(&archive, 0, sizeof archive);
    if (asprintf(&folder, "%s/temper-reproduce-XXXXXX",
                 temporary != NULL && *temporary != 0 ? temporary : "/tmp") < 0) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    if (mkdtemp(folder) == NULL) {
        status = temper_fail(error, TEMPER_IO, "%s: %s", folder, strerror(errno));
        goto out;
    }
    have_folder = true;
    status = tm_store_open(folder, &store, error);
    if (status) {
        goto out;
    }
    status = tm_archive_read(path, store, &archive, error);
    if (status) {
        goto out;
    }
    have_archive = true;
    status = tm_json_write(tm_json_member(archive.run, "plan"), &plan, error);
    if (status) {
        goto out;
    }
    status = tm_graph_parse(plan.data, plan.length, &graph, error);
    if (status) {
        status = temper_fail_in(error, status, "%s", path);
        goto out;
    }
    snprintf(out->kernels, sizeof out->kernels, "%.39s", text_of(archive.details, "kernels"));
    (void)tm_json_integer(tm_json_member(archive.details, "threads"), &out->threads);
    status = take_given(graph, store, options, error);
    status = status ? status : check_sources(graph, store, error);
    status = status ? status : run_again(&archive, graph, store, options, out, error);
out:
    tm_graph_free(graph);
    if (have_archive) {
        tm_archive_free(&archive);
    }
    if (store != NULL) {
        tm_store_close(store);
    }
    if (have_folder) {
        (void)tm_folder_remove(folder, NULL);
    }
    tm_buffer_free(&plan);
    free(folder);
    return status;
}

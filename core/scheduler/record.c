/* record.c: see record.h. */
#include "scheduler/record.h"

#include "archive/archive.h"
#include "base/file.h"
#include "scheduler/page.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LARGE_MODEL ((uint64_t)64 << 20)

#ifndef TEMPER_VERSION
#define TEMPER_VERSION "0.1.0"
#endif

/* --- which blobs ------------------------------------------------------------------------------------------------- */

typedef struct blob_set {
    tm_digest *digests;
    size_t count, capacity;
} blob_set;

static bool add_blob(blob_set *set, const tm_digest *digest) {
    if (set->count == set->capacity) {
        size_t capacity = set->capacity == 0 ? 64 : set->capacity * 2;
        tm_digest *more = realloc(set->digests, capacity * sizeof *more);
        if (more == NULL) {
            return false;
        }
        set->digests = more;
        set->capacity = capacity;
    }
    set->digests[set->count++] = *digest;
    return true;
}

static int by_bytes(const void *a, const void *b) {
    return memcmp(a, b, sizeof(tm_digest));
}

static void sort_unique(blob_set *set) {
    size_t i, kept = 0;
    if (set->count > 1) {
        qsort(set->digests, set->count, sizeof *set->digests, by_bytes);
    }
    for (i = 0; i < set->count; i++) {
        if (i == 0 || by_bytes(&set->digests[i], &set->digests[kept - 1]) != 0) {
            set->digests[kept++] = set->digests[i];
        }
    }
    set->count = kept;
}

static bool holds(const blob_set *set, const tm_digest *digest) {
    return set->count > 0 && bsearch(digest, set->digests, set->count, sizeof *digest, by_bytes) != NULL;
}

typedef struct collection {
    tm_store *store;
    blob_set blobs, trees, left_out;
    temper_json *left_out_json;
    temper_arena *arena;
    temper_error *error;
} collection;

static temper_status no_memory(temper_error *error) {
    return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
}

static temper_status add_output(collection *all, tm_kind kind, const tm_digest *digest) {
    tm_tree tree;
    temper_status status;
    size_t i;
    if (!add_blob(&all->blobs, digest)) {
        return no_memory(all->error);
    }
    if (kind != TM_MODEL) {
        return TEMPER_OK;
    }
    status = tm_store_get_tree(all->store, digest, &tree, all->error);
    if (status) {
        return status;
    }
    if (!add_blob(&all->trees, digest)) {
        status = no_memory(all->error);
    }
    for (i = 0; i < tree.count && status == TEMPER_OK; i++) {
        status = add_blob(&all->blobs, &tree.entries[i].digest) ? TEMPER_OK : no_memory(all->error);
    }
    tm_tree_free(&tree);
    return status;
}

static bool is_named(const tm_source *source, const char *const *names, size_t count) {
    size_t i;
    for (i = 0; i < count; i++) {
        if (strcmp(names[i], source->id) == 0 || strcmp(names[i], source->name) == 0) {
            return true;
        }
    }
    return false;
}

/* The files of a base model that stays behind: named, by digest, and no longer blobs of the archive. */
static temper_status leave_out_source(collection *all, const tm_source *source, bool asked) {
    tm_tree tree;
    uint64_t bytes = 0;
    size_t i;
    temper_status status = tm_store_get_tree(all->store, &source->digest, &tree, all->error);
    if (status) {
        return status;
    }
    for (i = 0; i < tree.count; i++) {
        bytes += tree.entries[i].size;
    }
    for (i = 0; (asked || bytes > LARGE_MODEL) && i < tree.count && status == TEMPER_OK; i++) {
        temper_json *entry = tm_json_object(all->arena);
        const char *name = tm_arena_format(all->arena, "%s/%s", source->id, tree.entries[i].path);
        char digest[TM_DIGEST_TEXT];
        tm_digest_text(&tree.entries[i].digest, digest);
        sort_unique(&all->left_out);
        if (holds(&all->left_out, &tree.entries[i].digest)) {
            continue;
        }
        if (entry == NULL || name == NULL || !tm_json_set_string(all->arena, entry, "digest", digest) ||
            !tm_json_set_string(all->arena, entry, "name", name) ||
            !tm_json_append(all->arena, all->left_out_json, entry) ||
            !add_blob(&all->left_out, &tree.entries[i].digest)) {
            status = no_memory(all->error);
        }
    }
    sort_unique(&all->left_out);
    tm_tree_free(&tree);
    return status;
}

static temper_status collect(const tm_run *run, const char *const *leave_out, size_t leave_out_count,
                             collection *all) {
    const tm_graph *graph = run->graph;
    const temper_json *files = tm_json_member(tm_json_member(graph->json, "recipe"), "files");
    temper_status status = TEMPER_OK;
    size_t i, j, kept = 0;
    for (i = 0; i < tm_json_length(files); i++) {
        tm_digest digest;
        if (!tm_digest_parse(tm_json_text(tm_json_member(tm_json_element(files, i), "digest"), ""),
                             &digest) ||
            !add_blob(&all->blobs, &digest)) {
            return no_memory(all->error);
        }
    }
    for (i = 0; status == TEMPER_OK && i < graph->source_count; i++) {
        const tm_source *source = &graph->sources[i];
        status = add_output(all, source->kind, &source->digest);
        if (status == TEMPER_OK && source->kind == TM_MODEL) {
            status = leave_out_source(all, source, is_named(source, leave_out, leave_out_count));
        }
    }
    for (i = 0; status == TEMPER_OK && i < graph->node_count; i++) {
        for (j = 0; status == TEMPER_OK && j < run->nodes[i].output_count; j++) {
            status = add_output(all, run->nodes[i].outputs[j].kind, &run->nodes[i].outputs[j].digest);
        }
    }
    sort_unique(&all->blobs);
    sort_unique(&all->trees);
    for (i = 0; i < all->blobs.count; i++) {
        if (!holds(&all->left_out, &all->blobs.digests[i])) {
            all->blobs.digests[kept++] = all->blobs.digests[i];
        }
    }
    all->blobs.count = kept;
    return status;
}

/* --- run.json ---------------------------------------------------------------------------------------------------- */

static const temper_json *digest_list(temper_arena *arena, const blob_set *set) {
    temper_json *list = tm_json_array(arena);
    size_t i;
    for (i = 0; list != NULL && i < set->count; i++) {
        char text[TM_DIGEST_TEXT];
        tm_digest_text(&set->digests[i], text);
        if (!tm_json_append_string(arena, list, text)) {
            return NULL;
        }
    }
    return list;
}

static const temper_json *node_record(const tm_run *run, temper_arena *arena, size_t index) {
    const tm_node *node = &run->graph->nodes[index];
    const tm_run_node *state = &run->nodes[index];
    temper_json *record = tm_json_object(arena), *inputs = tm_json_array(arena);
    char text[TM_DIGEST_TEXT];
    bool made = record != NULL && inputs != NULL;
    size_t i;
    for (i = 0; made && i < node->input_count; i++) {
        temper_json *entry = tm_json_object(arena);
        tm_digest_text(&state->inputs[i], text);
        made = entry != NULL && tm_json_set_string(arena, entry, "name", node->inputs[i].name) &&
               tm_json_set_string(arena, entry, "digest", text) && tm_json_append(arena, inputs, entry);
    }
    tm_digest_text(&state->stage_id, text);
    made = made && tm_json_set_string(arena, record, "name", node->name) &&
           tm_json_set_string(arena, record, "stage_id", text) &&
           tm_json_set(arena, record, "inputs", inputs) &&
           tm_json_set(arena, record, "outputs",
                       tm_run_outputs_json(arena, state->outputs, state->output_count));
    return made ? record : NULL;
}

static const temper_json *expectation_records(const tm_run *run, temper_arena *arena) {
    temper_json *list = tm_json_array(arena);
    size_t i;
    for (i = 0; list != NULL && i < run->graph->expectation_count; i++) {
        const tm_expectation *expectation = &run->graph->expectations[i];
        const tm_verdict *verdict = &run->verdicts[i];
        temper_json *entry = tm_json_object(arena);
        bool made = entry != NULL &&
                    tm_json_set_string(arena, entry, "stage", run->graph->nodes[expectation->node].name) &&
                    tm_json_set_string(arena, entry, "metric", expectation->metric) &&
                    tm_json_set_string(arena, entry, "op", expectation->op) &&
                    tm_json_set_number(arena, entry, "bound", expectation->value) &&
                    tm_json_set_boolean(arena, entry, "holds", verdict->holds) &&
                    (!verdict->known || tm_json_set_number(arena, entry, "value", verdict->value)) &&
                    tm_json_append(arena, list, entry);
        if (!made) {
            return NULL;
        }
    }
    return list;
}

static const temper_json *run_record(const tm_run *run, const collection *all) {
    temper_arena *arena = all->arena;
    temper_json *record = tm_json_object(arena), *nodes = tm_json_array(arena);
    bool made = record != NULL && nodes != NULL;
    size_t i;
    for (i = 0; made && i < run->graph->node_count; i++) {
        made = tm_json_append(arena, nodes, node_record(run, arena, i));
    }
    made = made && tm_json_set_integer(arena, record, "temper", 1) &&
           tm_json_set(arena, record, "plan", run->graph->json) &&
           tm_json_set(arena, record, "nodes", nodes) &&
           tm_json_set(arena, record, "expectations", expectation_records(run, arena)) &&
           tm_json_set(arena, record, "blobs", digest_list(arena, &all->blobs)) &&
           tm_json_set(arena, record, "trees", digest_list(arena, &all->trees)) &&
           tm_json_set(arena, record, "left_out", all->left_out_json);
    return made ? record : NULL;
}

/* --- volatile.json ----------------------------------------------------------------------------------------------- */

const char *tm_kernel_set_here(void) {
    const char *forced = getenv("TEMPER_KERNELS");
    if (forced != NULL && *forced != 0) {
        return forced;
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl")) {
        return __builtin_cpu_supports("avx512bf16") ? "avx512-bf16" : "avx512";
    }
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? "avx2" : "scalar";
#elif defined(__aarch64__)
    return "neon";
#else
    return "scalar";
#endif
}

static void cpu_name(char out[128]) {
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(out, 128, "unknown");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            snprintf(out, 128, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static const temper_json *binary_record(temper_arena *arena, const tm_plugin_entry *plugin) {
    temper_json *entry = tm_json_object(arena);
    char text[TM_DIGEST_TEXT];
    tm_digest_text(&plugin->binary, text);
    return entry != NULL && tm_json_set_string(arena, entry, "name", plugin->name) &&
                   tm_json_set_string(arena, entry, "path", plugin->path) &&
                   tm_json_set_string(arena, entry, "digest", text)
               ? entry
               : NULL;
}

static const temper_json *volatile_node(const tm_run *run, temper_arena *arena, size_t index) {
    const tm_run_node *state = &run->nodes[index];
    temper_json *entry = tm_json_object(arena);
    char text[TM_DIGEST_TEXT];
    bool made;
    tm_digest_text(&state->cache_key, text);
    made = entry != NULL && tm_json_set_string(arena, entry, "name", run->graph->nodes[index].name) &&
           tm_json_set_string(arena, entry, "cache_key", text) &&
           tm_json_set_boolean(arena, entry, "cached", state->state == TM_NODE_CACHED) &&
           tm_json_set_number(arena, entry, "seconds", state->seconds) &&
           tm_json_set(arena, entry, "plugin", binary_record(arena, state->plugin)) &&
           (state->provider == NULL ||
            tm_json_set(arena, entry, "provider", binary_record(arena, state->provider))) &&
           (state->statistics == NULL || tm_json_set(arena, entry, "statistics", state->statistics));
    return made ? entry : NULL;
}

static const temper_json *volatile_record(const tm_run *run, temper_arena *arena) {
    temper_json *record = tm_json_object(arena), *nodes = tm_json_array(arena);
    char host[128] = "", cpu[128], stamp[32], text[TM_DIGEST_TEXT];
    time_t seconds = time(NULL);
    struct tm utc;
    tm_digest worker;
    bool made = record != NULL && nodes != NULL;
    size_t i;
    gethostname(host, sizeof host - 1);
    cpu_name(cpu);
    gmtime_r(&seconds, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &utc);
    (void)tm_catalog_worker(run->options.catalog, &worker);
    tm_digest_text(&worker, text);
    for (i = 0; made && i < run->graph->node_count; i++) {
        made = tm_json_append(arena, nodes, volatile_node(run, arena, i));
    }
    made = made && tm_json_set_string(arena, record, "finished", stamp) &&
           tm_json_set_string(arena, record, "host", host) && tm_json_set_string(arena, record, "cpu", cpu) &&
           tm_json_set_string(arena, record, "kernels", tm_kernel_set_here()) &&
           tm_json_set_integer(arena, record, "threads", run->options.threads) &&
           tm_json_set_string(arena, record, "version", TEMPER_VERSION) &&
           tm_json_set_string(arena, record, "worker", text) && tm_json_set(arena, record, "nodes", nodes);
    return made ? record : NULL;
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

/* The result called report, else the last report any stage made. */
static void choose_report(const tm_run *run, tm_record *out) {
    const temper_json *result = tm_json_member(tm_json_member(run->graph->json, "result"), "report");
    int64_t node = -1;
    size_t i, j;
    if (tm_json_integer(tm_json_member(result, "node"), &node) && node >= 0 &&
        (size_t)node < run->graph->node_count) {
        const tm_run_output_blob *output =
            tm_run_find_output(run, (size_t)node, tm_json_text(tm_json_member(result, "output"), ""));
        if (output != NULL && output->kind == TM_REPORT) {
            out->has_report = true;
            out->report = output->digest;
            return;
        }
    }
    for (i = 0; i < run->graph->node_count; i++) {
        for (j = 0; j < run->nodes[i].output_count; j++) {
            if (run->nodes[i].outputs[j].kind == TM_REPORT) {
                out->has_report = true;
                out->report = run->nodes[i].outputs[j].digest;
            }
        }
    }
}

static temper_status check_names(const tm_run *run, const char *const *leave_out, size_t count,
                                 temper_error *error) {
    size_t i, j;
    for (i = 0; i < count; i++) {
        for (j = 0; j < run->graph->source_count; j++) {
            if (run->graph->sources[j].kind == TM_MODEL &&
                is_named(&run->graph->sources[j], &leave_out[i], 1)) {
                break;
            }
        }
        if (j == run->graph->source_count) {
            return temper_fail(error, TEMPER_INVALID, "--leave-out %s: the run takes no model of that name",
                               leave_out[i]);
        }
    }
    return TEMPER_OK;
}

temper_status tm_record_make(tm_run *run, const char *const *leave_out, size_t leave_out_count,
                             tm_record *out, temper_error *error) {
    collection all = {.store = run->options.store, .error = error};
    const temper_json *record, *details;
    temper_status status = check_names(run, leave_out, leave_out_count, error);
    memset(out, 0, sizeof *out);
    if (status) {
        return status;
    }
    out->arena = all.arena = tm_arena_new();
    all.left_out_json = all.arena != NULL ? tm_json_array(all.arena) : NULL;
    if (all.left_out_json == NULL) {
        status = no_memory(error);
        goto out;
    }
    status = collect(run, leave_out, leave_out_count, &all);
    if (status) {
        goto out;
    }
    record = run_record(run, &all);
    details = volatile_record(run, all.arena);
    if (record == NULL || details == NULL) {
        status = no_memory(error);
        goto out;
    }
    status = tm_json_write(record, &out->run_json, error);
    status = status ? status : tm_json_write(details, &out->volatile_json, error);
    if (status == TEMPER_OK && (!tm_buffer_ok(&out->run_json) || !tm_buffer_ok(&out->volatile_json))) {
        status = no_memory(error);
    }
    if (status == TEMPER_OK) {
        /* In the store a run is found by its id, for explain, show and models made by other runs. */
        status = tm_store_put(run->options.store, out->run_json.data, out->run_json.length, &out->id, error);
    }
    choose_report(run, out);
    out->json = record;
    if (status == TEMPER_OK) {
        status = tm_ledger_of(run->options.store, record, out->arena, &out->ledger, error);
    }
    out->blobs = all.blobs.digests;
    out->blob_count = all.blobs.count;
    all.blobs.digests = NULL;
out:
    free(all.blobs.digests);
    free(all.trees.digests);
    free(all.left_out.digests);
    if (status) {
        tm_record_free(out);
    }
    return status;
}

void tm_record_free(tm_record *record) {
    tm_arena_free(record->arena);
    tm_buffer_free(&record->run_json);
    tm_buffer_free(&record->volatile_json);
    free(record->blobs);
    memset(record, 0, sizeof *record);
}

/* So that `temper runs` lists it and garbage collection keeps what it names. */
static temper_status note_run(const tm_run *run, const tm_record *record, const char *archive,
                              const char *title, temper_error *error) {
    temper_arena *arena = tm_arena_new();
    temper_json *note = arena != NULL ? tm_json_object(arena) : NULL;
    char *whole = realpath(archive, NULL);
    bool holds = true, made;
    size_t i;
    temper_status status;
    for (i = 0; i < run->graph->expectation_count && run->verdicts != NULL; i++) {
        holds = holds && run->verdicts[i].holds;
    }
    made = note != NULL && whole != NULL && tm_json_set_string(arena, note, "archive", whole) &&
           tm_json_set_string(arena, note, "title", title) &&
           tm_json_set_string(
               arena, note, "recipe",
               tm_json_text(tm_json_member(tm_json_member(run->graph->json, "recipe"), "main"), "")) &&
           tm_json_set_string(arena, note, "profile", run->graph->profile) &&
           tm_json_set_integer(arena, note, "finished", (int64_t)time(NULL)) &&
           tm_json_set_boolean(arena, note, "holds", holds);
    status = made ? tm_store_note_put(run->options.store, &record->id, note, error) : no_memory(error);
    free(whole);
    tm_arena_free(arena);
    return status;
}

temper_status tm_record_write(const tm_run *run, const tm_record *record, const char *folder,
                              const char *title, char **archive, char **report, temper_error *error) {
    tm_archive_content content = {.run_json = record->run_json.data,
                                  .run_length = record->run_json.length,
                                  .volatile_json = record->volatile_json.data,
                                  .volatile_length = record->volatile_json.length,
                                  .blobs = record->blobs,
                                  .blob_count = record->blob_count};
    char id[TM_DIGEST_TEXT];
    const void *made = NULL;
    size_t made_size = 0;
    tm_buffer page = TM_BUFFER_INIT;
    temper_status status;
    *archive = *report = NULL;
    tm_digest_text(&record->id, id);
    if (asprintf(archive, "%s/%s-%.8s.temper", folder, title, id + 7) < 0) {
        *archive = NULL;
        return no_memory(error);
    }
    status = tm_folder_make(folder, error);
    if (status == TEMPER_OK && record->has_report) {
        status = tm_store_map(run->options.store, &record->report, &made, &made_size, error);
    }
    if (status == TEMPER_OK) {
        const tm_page parts = {.store = run->options.store,
                               .run = record->json,
                               .id = &record->id,
                               .title = title,
                               .archive = strrchr(*archive, '/') + 1,
                               .ledger = &record->ledger,
                               .report = made,
                               .report_length = made_size};
        status = tm_page_write(&parts, &page, error);
        content.report = page.data;
        content.report_length = page.length;
    }
    if (status == TEMPER_OK) {
        status = tm_archive_write(run->options.store, &content, *archive, error);
    }
    status = status ? status : note_run(run, record, *archive, title, error);
    if (status == TEMPER_OK && content.report != NULL) {
        if (asprintf(report, "%s/%s-%.8s.html", folder, title, id + 7) < 0) {
            *report = NULL;
            status = no_memory(error);
        } else {
            status = tm_file_write(*report, content.report, content.report_length, error);
        }
    }
    if (made != NULL) {
        tm_store_unmap(run->options.store, made, made_size);
    }
    tm_buffer_free(&page);
    return status;
}

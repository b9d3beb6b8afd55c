/* key.c: is a node's work done already? Under a node's cache key stands {"outputs", "seconds", "statistics"}; under a key made
 * of the stage id alone stand the binaries that last made it, so that a miss can say what changed. */
#include "scheduler/run.h"

#include <stdlib.h>

enum { BINARIES = 3 };

static bool is_zero(const tm_digest *digest) {
    static const tm_digest zero;
    return memcmp(digest, &zero, sizeof zero) == 0;
}

static tm_digest history_key(const tm_digest *stage_id) {
    uint8_t bytes[20 + sizeof stage_id->bytes];
    memcpy(bytes, "temper-last-binaries", 20);
    memcpy(bytes + 20, stage_id->bytes, sizeof stage_id->bytes);
    return tm_digest_of(bytes, sizeof bytes);
}

/* How long this stage took the last time it ran here, with whatever inputs: a hint for people, never part of anything. */
static tm_digest pace_key(const tm_node *node) {
    char text[500];
    int length = snprintf(text, sizeof text, "temper-last-seconds %.200s.%.200s", node->plugin, node->stage);
    return tm_digest_of(text, (size_t)length);
}

static void recall_pace(tm_run *run, size_t index) {
    tm_digest key = pace_key(&run->graph->nodes[index]);
    temper_arena *arena = tm_arena_new();
    const temper_json *record = NULL;
    if (arena != NULL && tm_store_cache_get(run->options.store, &key, arena, &record, NULL) == TEMPER_OK) {
        (void)tm_json_double(tm_json_member(record, "seconds"), &run->nodes[index].last_seconds);
    }
    tm_arena_free(arena);
}

temper_status tm_run_outputs_parse(temper_arena *arena, const temper_json *list, tm_run_output_blob **out,
                                   size_t *count, temper_error *error) {
    size_t i;
    *count = tm_json_length(list);
    *out = tm_arena_allocate(arena, (*count + 1) * sizeof **out);
    if (*out == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    for (i = 0; i < *count; i++) {
        const temper_json *entry = tm_json_element(list, i);
        tm_run_output_blob *output = &(*out)[i];
        output->name = tm_json_text(tm_json_member(entry, "name"), NULL);
        if (output->name == NULL ||
            !tm_kind_parse(tm_json_text(tm_json_member(entry, "kind"), ""), &output->kind) ||
            !tm_digest_parse(tm_json_text(tm_json_member(entry, "digest"), ""), &output->digest)) {
            return temper_fail(error, TEMPER_INVALID, "output %zu has no name, kind or digest", i);
        }
        output->name = tm_arena_copy(arena, output->name, strlen(output->name));
        if (output->name == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        }
    }
    return TEMPER_OK;
}

const temper_json *tm_run_outputs_json(temper_arena *arena, const tm_run_output_blob *outputs, size_t count) {
    temper_json *list = tm_json_array(arena);
    size_t i;
    for (i = 0; list != NULL && i < count; i++) {
        temper_json *entry = tm_json_object(arena);
        char digest[TM_DIGEST_TEXT];
        tm_digest_text(&outputs[i].digest, digest);
        if (entry == NULL || !tm_json_set_string(arena, entry, "name", outputs[i].name) ||
            !tm_json_set_string(arena, entry, "kind", tm_kind_name(outputs[i].kind)) ||
            !tm_json_set_string(arena, entry, "digest", digest) || !tm_json_append(arena, list, entry)) {
            return NULL;
        }
    }
    return list;
}

/* Reads every byte of a blob through the store's check. */
static bool blob_sound(tm_store *store, const tm_digest *digest) {
    const void *data;
    size_t size;
    if (!tm_store_has(store, digest) || tm_store_map(store, digest, &data, &size, NULL) != TEMPER_OK) {
        return false;
    }
    tm_store_unmap(store, data, size);
    return true;
}

static bool output_sound(tm_store *store, const tm_run_output_blob *output) {
    tm_tree tree;
    bool sound;
    size_t i;
    if (!blob_sound(store, &output->digest)) {
        return false;
    }
    if (output->kind != TM_MODEL) {
        return true;
    }
    if (tm_store_get_tree(store, &output->digest, &tree, NULL) != TEMPER_OK) {
        return false;
    }
    for (i = 0, sound = true; i < tree.count && sound; i++) {
        sound = blob_sound(store, &tree.entries[i].digest);
    }
    tm_tree_free(&tree);
    return sound;
}

static size_t binaries_of(const tm_run *run, const tm_run_node *node, tm_digest out[BINARIES],
                          const char *names[BINARIES]) {
    size_t count = 0;
    names[count] = "the worker";
    (void)tm_catalog_worker(run->options.catalog, &out[count++]);
    names[count] = node->plugin->name;
    out[count++] = node->plugin->binary;
    if (node->provider != NULL) {
        names[count] = node->provider->name;
        out[count++] = node->provider->binary;
    }
    return count;
}

/* Why there is no record under the cache key. */
static void explain_miss(tm_run *run, tm_run_node *node) {
    tm_digest key = history_key(&node->stage_id), binaries[BINARIES];
    const char *names[BINARIES];
    const temper_json *record = NULL;
    temper_arena *arena = tm_arena_new();
    size_t count = binaries_of(run, node, binaries, names), i;
    snprintf(node->reason, sizeof node->reason, "not run before with these inputs and parameters");
    if (arena != NULL && tm_store_cache_get(run->options.store, &key, arena, &record, NULL) == TEMPER_OK) {
        snprintf(node->reason, sizeof node->reason, "its outputs are no longer in the store");
        for (i = 0; i < count; i++) {
            char digest[TM_DIGEST_TEXT];
            tm_digest_text(&binaries[i], digest);
            if (strcmp(tm_json_text(tm_json_member(record, names[i]), ""), digest) != 0) {
                snprintf(node->reason, sizeof node->reason, "%s%s was rebuilt since", i == 0 ? "" : "plugin ",
                         names[i]);
                break;
            }
        }
    }
    tm_arena_free(arena);
}

static temper_status look_up(tm_run *run, tm_run_node *node, temper_error *error) {
    const temper_json *record = NULL;
    temper_status status =
        tm_store_cache_get(run->options.store, &node->cache_key, run->arena, &record, error);
    size_t i;
    node->state = TM_NODE_MISSED;
    if (status == TEMPER_END) {
        explain_miss(run, node);
        return TEMPER_OK;
    }
    if (status != TEMPER_OK || tm_run_outputs_parse(run->arena, tm_json_member(record, "outputs"),
                                                    &node->outputs, &node->output_count, NULL) != TEMPER_OK) {
        snprintf(node->reason, sizeof node->reason, "its cache record is damaged");
        node->output_count = 0;
        return TEMPER_OK;
    }
    for (i = 0; i < node->output_count; i++) {
        if (!output_sound(run->options.store, &node->outputs[i])) {
            snprintf(node->reason, sizeof node->reason, "its output '%s' is no longer whole in the store",
                     node->outputs[i].name);
            node->output_count = 0;
            return TEMPER_OK;
        }
    }
    node->state = TM_NODE_CACHED;
    node->statistics = tm_json_member(record, "statistics");
    (void)tm_json_double(tm_json_member(record, "seconds"), &node->seconds);
    return TEMPER_OK;
}

/* The plugin and, when an input is a model, the provider; their versions are the plan's. */
static temper_status find_plugins(tm_run *run, size_t index, temper_error *error) {
    const tm_node *node = &run->graph->nodes[index];
    tm_run_node *state = &run->nodes[index];
    const temper_json *stage;
    const char *version;
    int64_t revision = -1;
    size_t i;
    temper_status status = tm_catalog_find(run->options.catalog, node->plugin, &state->plugin, error);
    if (status) {
        return temper_fail_in(error, status, "%s (line %lld)", node->name, (long long)node->line);
    }
    stage = tm_description_stage(state->plugin->description, node->stage);
    version = tm_json_text(tm_json_member(state->plugin->description, "version"), "");
    if (stage == NULL) {
        return temper_fail(error, TEMPER_INVALID, "%s: plugin %s %s has no stage '%s'", node->name,
                           node->plugin, version, node->stage);
    }
    (void)tm_json_integer(tm_json_member(stage, "revision"), &revision);
    if (!run->options.fresh && (strcmp(version, node->version) != 0 || revision != node->revision)) {
        return temper_fail(error, TEMPER_INVALID,
                           "%s: the plan was made with %s %s (revision %lld); here is %s (revision %lld)",
                           node->name, node->plugin, node->version, (long long)node->revision, version,
                           (long long)revision);
    }
    for (i = 0; i < node->input_count; i++) {
        if (node->inputs[i].kind == TM_MODEL && state->provider == NULL) {
            status = tm_catalog_provider(run->options.catalog, &state->provider, error);
            if (status) {
                return temper_fail_in(error, status, "%s", node->name);
            }
        }
    }
    return TEMPER_OK;
}

temper_status tm_run_resolve(tm_run *run, size_t index, temper_error *error) {
    const tm_node *node = &run->graph->nodes[index];
    tm_run_node *state = &run->nodes[index];
    tm_digest binaries[BINARIES];
    const char *names[BINARIES];
    size_t i, count;
    temper_status status;
    if (state->state != TM_NODE_PENDING) {
        return TEMPER_OK;
    }
    if (!run->options.fresh && state->last_seconds == 0) {
        recall_pace(run, index);
    }
    for (i = 0; i < node->input_count; i++) {
        const tm_edge *edge = &node->inputs[i];
        if (edge->source >= 0) {
            state->inputs[i] = run->graph->sources[edge->source].digest;
            continue;
        }
        if (run->nodes[edge->node].state != TM_NODE_CACHED && run->nodes[edge->node].state != TM_NODE_RAN) {
            snprintf(state->reason, sizeof state->reason, "%.80s.%.80s will be made first",
                     run->graph->nodes[edge->node].name, edge->output);
            return TEMPER_OK;
        }
        {
            const tm_run_output_blob *output = tm_run_find_output(run, (size_t)edge->node, edge->output);
            if (output == NULL) {
                return temper_fail(error, TEMPER_INVALID,
                                   "%s: input '%s' names output '%s' of %s, which it does not have",
                                   node->name, edge->name, edge->output, run->graph->nodes[edge->node].name);
            }
            state->inputs[i] = output->digest;
        }
    }
    status = find_plugins(run, index, error);
    if (status) {
        return status;
    }
    state->stage_id = tm_stage_id(run->graph, index, state->inputs);
    count = binaries_of(run, state, binaries, names);
    state->cache_key = tm_cache_key(&state->stage_id, binaries, count);
    if (is_zero(&state->stage_id) || is_zero(&state->cache_key)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    if (run->options.fresh) {
        state->state = TM_NODE_MISSED;
        return TEMPER_OK;
    }
    return look_up(run, state, error);
}

temper_status tm_run_remember(tm_run *run, size_t index, temper_error *error) {
    tm_run_node *node = &run->nodes[index];
    temper_arena *arena = tm_arena_new();
    temper_json *record = arena != NULL ? tm_json_object(arena) : NULL,
                *history = arena != NULL ? tm_json_object(arena) : NULL;
    tm_digest binaries[BINARIES], key = history_key(&node->stage_id);
    const char *names[BINARIES];
    size_t count = binaries_of(run, node, binaries, names), i;
    bool made = record != NULL && history != NULL;
    temper_status status;
    for (i = 0; made && i < count; i++) {
        char digest[TM_DIGEST_TEXT];
        tm_digest_text(&binaries[i], digest);
        made = tm_json_set_string(arena, history, names[i], digest);
    }
    made = made &&
           tm_json_set(arena, record, "outputs",
                       tm_run_outputs_json(arena, node->outputs, node->output_count)) &&
           tm_json_set_number(arena, record, "seconds", node->seconds) &&
           (node->statistics == NULL || tm_json_set(arena, record, "statistics", node->statistics));
    status = made ? tm_store_cache_put(run->options.store, &node->cache_key, record, error)
                  : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    if (status == TEMPER_OK) {
        status = tm_store_cache_put(run->options.store, &key, history, error);
    }
    if (status == TEMPER_OK) {
        temper_json *pace = tm_json_object(arena);
        key = pace_key(&run->graph->nodes[index]);
        if (pace != NULL && tm_json_set_number(arena, pace, "seconds", node->seconds)) {
            status = tm_store_cache_put(run->options.store, &key, pace, error);
        }
    }
    tm_arena_free(arena);
    return status;
}

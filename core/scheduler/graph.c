/* graph.c: a plan read from JSON. Plans come from the recipe loader and from archives of strangers: nothing is believed, every
 * name, index and digest is checked before the rest of the core sees it. */
#include "scheduler/graph.h"

#include <ctype.h>
#include <math.h>

enum { PLAN_LIMIT = 100000 };

static const char *const kind_names[] = {NULL, "records", "text", "character", "model", "metrics", "report"};

const char *tm_kind_name(tm_kind kind) {
    return kind >= TM_RECORDS && kind <= TM_REPORT ? kind_names[kind] : "unknown";
}

bool tm_kind_parse(const char *name, tm_kind *out) {
    int kind;
    for (kind = TM_RECORDS; name != NULL && kind <= TM_REPORT; kind++) {
        if (strcmp(kind_names[kind], name) == 0) {
            *out = (tm_kind)kind;
            return true;
        }
    }
    return false;
}

/* Names reach messages, file names and seed paths: one line of printable text, no slash. */
static bool name_valid(const char *name) {
    size_t length = name != NULL ? strlen(name) : 0;
    const char *byte;
    for (byte = name; length > 0 && *byte != 0; byte++) {
        if ((unsigned char)*byte < 0x20 || *byte == '/' || *byte == 0x7f) {
            return false;
        }
    }
    return length > 0 && length <= 200;
}

static bool identifier_valid(const char *name) {
    const char *byte;
    if (!name_valid(name)) {
        return false;
    }
    for (byte = name; *byte != 0; byte++) {
        if (!isalnum((unsigned char)*byte) && strchr("_.-", *byte) == NULL) {
            return false;
        }
    }
    return true;
}

static temper_status invalid(temper_error *error, const char *what, size_t index) {
    return temper_fail(error, TEMPER_INVALID, "plan: %s (number %zu)", what, index);
}

static temper_status parse_sources(tm_graph *graph, temper_error *error) {
    const temper_json *list = tm_json_member(graph->json, "sources");
    size_t i, j;
    graph->source_count = tm_json_length(list);
    if (tm_json_kind(list) != TEMPER_JSON_ARRAY || graph->source_count > PLAN_LIMIT) {
        return invalid(error, "'sources' must be a list", 0);
    }
    graph->sources = tm_arena_allocate(graph->arena, (graph->source_count + 1) * sizeof *graph->sources);
    if (graph->sources == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    for (i = 0; i < graph->source_count; i++) {
        const temper_json *entry = tm_json_element(list, i);
        tm_source *source = &graph->sources[i];
        const char *digest = tm_json_string(tm_json_member(entry, "digest"), NULL);
        memset(source, 0, sizeof *source);
        source->id = tm_json_text(tm_json_member(entry, "id"), NULL);
        source->name = tm_json_text(tm_json_member(entry, "name"), NULL);
        source->path = tm_json_text(tm_json_member(entry, "path"), NULL);
        source->known = digest != NULL;
        if (!name_valid(source->id) || !name_valid(source->name) ||
            !tm_kind_parse(tm_json_text(tm_json_member(entry, "kind"), ""), &source->kind)) {
            return invalid(error, "a source needs an id, a name and a kind", i);
        }
        if (digest != NULL ? !tm_digest_parse(digest, &source->digest) : source->path == NULL) {
            return invalid(error, "a source needs a path or a digest", i);
        }
        for (j = 0; j < i; j++) {
            if (strcmp(graph->sources[j].id, source->id) == 0) {
                return invalid(error, "two sources have one id", i);
            }
        }
    }
    return TEMPER_OK;
}

static temper_status parse_edge(tm_graph *graph, const temper_json *entry, size_t node, tm_edge *edge,
                                temper_error *error) {
    const char *source = tm_json_string(tm_json_member(entry, "source"), NULL);
    int64_t from = -1;
    size_t i;
    edge->name = tm_json_text(tm_json_member(entry, "name"), NULL);
    edge->source = edge->node = -1;
    edge->output = NULL;
    if (!identifier_valid(edge->name) ||
        !tm_kind_parse(tm_json_text(tm_json_member(entry, "kind"), ""), &edge->kind)) {
        return invalid(error, "an input needs a name and a kind: node", node);
    }
    if (source != NULL) {
        for (i = 0; i < graph->source_count; i++) {
            if (strcmp(graph->sources[i].id, source) == 0) {
                edge->source = (int)i;
            }
        }
        return edge->source >= 0 ? TEMPER_OK
                                 : invalid(error, "an input names a source that is not there: node", node);
    }
    edge->output = tm_json_text(tm_json_member(entry, "output"), NULL);
    if (!tm_json_integer(tm_json_member(entry, "node"), &from) || from < 0 || (uint64_t)from >= node ||
        !identifier_valid(edge->output)) {
        return invalid(error, "an input must come from a source or an earlier node: node", node);
    }
    edge->node = (int)from;
    return TEMPER_OK;
}

static temper_status parse_node(tm_graph *graph, const temper_json *entry, size_t index,
                                temper_error *error) {
    tm_node *node = &graph->nodes[index];
    const temper_json *inputs = tm_json_member(entry, "inputs");
    size_t i, j;
    memset(node, 0, sizeof *node);
    node->name = tm_json_text(tm_json_member(entry, "name"), NULL);
    node->plugin = tm_json_text(tm_json_member(entry, "plugin"), NULL);
    node->version = tm_json_text(tm_json_member(entry, "version"), NULL);
    node->stage = tm_json_text(tm_json_member(entry, "stage"), NULL);
    node->label = tm_json_text(tm_json_member(entry, "label"), "");
    node->parameters = tm_json_member(entry, "parameters");
    (void)tm_json_integer(tm_json_member(entry, "line"), &node->line);
    if (!identifier_valid(node->name) || !identifier_valid(node->plugin) || !identifier_valid(node->stage) ||
        !name_valid(node->version) || (*node->label != 0 && !identifier_valid(node->label))) {
        return invalid(error, "a node needs a name, a plugin, a version and a stage", index);
    }
    if (!tm_json_integer(tm_json_member(entry, "revision"), &node->revision) ||
        tm_json_kind(node->parameters) != TEMPER_JSON_OBJECT || tm_json_kind(inputs) != TEMPER_JSON_ARRAY) {
        return invalid(error, "a node needs a revision, parameters and inputs", index);
    }
    for (i = 0; i < index; i++) {
        if (strcmp(graph->nodes[i].name, node->name) == 0) {
            return invalid(error, "two nodes have one name", index);
        }
    }
    node->input_count = tm_json_length(inputs);
    node->inputs = tm_arena_allocate(graph->arena, (node->input_count + 1) * sizeof *node->inputs);
    if (node->inputs == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    for (i = 0; i < node->input_count; i++) {
        temper_status status = parse_edge(graph, tm_json_element(inputs, i), index, &node->inputs[i], error);
        if (status) {
            return status;
        }
        for (j = 0; j < i; j++) {
            if (strcmp(node->inputs[j].name, node->inputs[i].name) == 0) {
                return invalid(error, "an input is given twice: node", index);
            }
        }
    }
    return TEMPER_OK;
}

static temper_status parse_nodes(tm_graph *graph, temper_error *error) {
    const temper_json *list = tm_json_member(graph->json, "nodes");
    size_t i;
    graph->node_count = tm_json_length(list);
    if (tm_json_kind(list) != TEMPER_JSON_ARRAY || graph->node_count > PLAN_LIMIT) {
        return invalid(error, "'nodes' must be a list", 0);
    }
    graph->nodes = tm_arena_allocate(graph->arena, (graph->node_count + 1) * sizeof *graph->nodes);
    if (graph->nodes == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    for (i = 0; i < graph->node_count; i++) {
        temper_status status = parse_node(graph, tm_json_element(list, i), i, error);
        if (status) {
            return status;
        }
    }
    return TEMPER_OK;
}

static temper_status parse_expectations(tm_graph *graph, temper_error *error) {
    static const char *const operators[] = {">=", "<=", ">", "<", "=="};
    const temper_json *list = tm_json_member(graph->json, "expect");
    size_t i, j;
    graph->expectation_count = tm_json_length(list);
    if ((list != NULL && tm_json_kind(list) != TEMPER_JSON_ARRAY) || graph->expectation_count > PLAN_LIMIT) {
        return invalid(error, "'expect' must be a list", 0);
    }
    graph->expectations =
        tm_arena_allocate(graph->arena, (graph->expectation_count + 1) * sizeof *graph->expectations);
    if (graph->expectations == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    for (i = 0; i < graph->expectation_count; i++) {
        const temper_json *entry = tm_json_element(list, i);
        tm_expectation *expectation = &graph->expectations[i];
        int64_t node = -1;
        memset(expectation, 0, sizeof *expectation);
        expectation->metric = tm_json_text(tm_json_member(entry, "metric"), NULL);
        expectation->output = tm_json_text(tm_json_member(entry, "output"), "metrics");
        expectation->op = tm_json_text(tm_json_member(entry, "op"), "");
        (void)tm_json_integer(tm_json_member(entry, "line"), &expectation->line);
        for (j = 0; j < 5 && strcmp(operators[j], expectation->op) != 0; j++) {
        }
        if (!tm_json_integer(tm_json_member(entry, "node"), &node) || node < 0 ||
            (uint64_t)node >= graph->node_count || !name_valid(expectation->metric) || j == 5 ||
            !identifier_valid(expectation->output) ||
            !tm_json_double(tm_json_member(entry, "value"), &expectation->value) ||
            !isfinite(expectation->value)) {
            return invalid(error, "an expectation needs a node, a metric, a comparison and a number", i);
        }
        expectation->node = (int)node;
    }
    return TEMPER_OK;
}

static temper_status parse_results(tm_graph *graph, temper_error *error) {
    const temper_json *list = tm_json_member(graph->json, "result");
    size_t i;
    if (list != NULL && tm_json_kind(list) != TEMPER_JSON_OBJECT) {
        return invalid(error, "'result' must be an object", 0);
    }
    for (i = 0; i < tm_json_length(list); i++) {
        const temper_json *entry;
        int64_t node = -1;
        if (!name_valid(tm_json_name(list, i, &entry)) ||
            !tm_json_integer(tm_json_member(entry, "node"), &node) || node < 0 ||
            (uint64_t)node >= graph->node_count ||
            !identifier_valid(tm_json_text(tm_json_member(entry, "output"), ""))) {
            return invalid(error, "a result needs a node and an output", i);
        }
    }
    return TEMPER_OK;
}

temper_status tm_graph_parse(const char *json, size_t length, tm_graph **out, temper_error *error) {
    temper_arena *arena = tm_arena_new();
    tm_graph *graph = arena != NULL ? tm_arena_allocate(arena, sizeof *graph) : NULL;
    int64_t version = 0, seed = 0;
    temper_status status;

    *out = NULL;
    if (graph == NULL) {
        tm_arena_free(arena);
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    memset(graph, 0, sizeof *graph);
    graph->arena = arena;
    status = tm_json_parse(arena, json, length, &graph->json, error);
    if (status) {
        status = temper_fail_in(error, status, "plan");
        goto out;
    }
    if (!tm_json_integer(tm_json_member(graph->json, "temper"), &version) || version != 1) {
        status =
            temper_fail(error, TEMPER_UNSUPPORTED,
                        "plan: its form is number %lld; this program knows number 1", (long long)version);
        goto out;
    }
    graph->profile = tm_json_text(tm_json_member(graph->json, "profile"), "");
    if (!tm_json_integer(tm_json_member(graph->json, "seed"), &seed) || seed < 0) {
        status = temper_fail(error, TEMPER_INVALID, "plan: 'seed' must be a whole number of at least 0");
        goto out;
    }
    if (strcmp(graph->profile, "bf16/1") != 0 && strcmp(graph->profile, "f32/1") != 0 &&
        strcmp(graph->profile, "q8/1") != 0) {
        status = temper_fail(error, TEMPER_UNSUPPORTED, "profile '%.40s': there are bf16/1, f32/1 and q8/1",
                             graph->profile);
        goto out;
    }
    graph->seed = (uint64_t)seed;
    status = parse_sources(graph, error);
    status = status ? status : parse_nodes(graph, error);
    status = status ? status : parse_expectations(graph, error);
    status = status ? status : parse_results(graph, error);
out:
    if (status) {
        tm_arena_free(arena);
    } else {
        *out = graph;
    }
    return status;
}

void tm_graph_free(tm_graph *graph) {
    if (graph != NULL) {
        tm_arena_free(graph->arena);
    }
}

const char *tm_seed_path(const tm_graph *graph, size_t node, char out[TM_SEED_PATH]) {
    snprintf(out, TM_SEED_PATH, "%llu/%s/%s", (unsigned long long)graph->seed, graph->nodes[node].stage,
             graph->nodes[node].label);
    return out;
}

const temper_json *tm_stage_identity(temper_arena *arena, const tm_graph *graph, size_t index,
                                     const tm_digest *inputs) {
    const tm_node *node = &graph->nodes[index];
    temper_json *identity = tm_json_object(arena), *list = tm_json_array(arena);
    char seed_path[TM_SEED_PATH], text[TM_DIGEST_TEXT];
    bool made = identity != NULL && list != NULL;
    size_t i;
    for (i = 0; made && i < node->input_count; i++) {
        temper_json *entry = tm_json_object(arena);
        tm_digest_text(&inputs[i], text);
        made = entry != NULL && tm_json_set_string(arena, entry, "name", node->inputs[i].name) &&
               tm_json_set_string(arena, entry, "digest", text) && tm_json_append(arena, list, entry);
    }
    made = made && tm_json_set_string(arena, identity, "plugin", node->plugin) &&
           tm_json_set_string(arena, identity, "version", node->version) &&
           tm_json_set_string(arena, identity, "stage", node->stage) &&
           tm_json_set_integer(arena, identity, "revision", node->revision) &&
           tm_json_set(arena, identity, "parameters", node->parameters) &&
           tm_json_set(arena, identity, "inputs", list) &&
           tm_json_set_string(arena, identity, "seed_path", tm_seed_path(graph, index, seed_path)) &&
           tm_json_set_string(arena, identity, "profile", graph->profile);
    return made ? identity : NULL;
}

tm_digest tm_stage_id(const tm_graph *graph, size_t node, const tm_digest *inputs) {
    temper_arena *arena = tm_arena_new();
    tm_buffer text = TM_BUFFER_INIT;
    tm_digest digest;
    const temper_json *identity = arena != NULL ? tm_stage_identity(arena, graph, node, inputs) : NULL;
    memset(&digest, 0, sizeof digest);
    if (identity != NULL && tm_json_write(identity, &text, NULL) == TEMPER_OK && tm_buffer_ok(&text)) {
        digest = tm_digest_of(text.data, text.length);
    }
    tm_buffer_free(&text);
    tm_arena_free(arena);
    return digest;
}

tm_digest tm_cache_key(const tm_digest *stage_id, const tm_digest *binaries, size_t count) {
    tm_hasher *hasher = tm_hasher_new();
    tm_digest digest;
    memset(&digest, 0, sizeof digest);
    if (hasher == NULL) {
        return digest;
    }
    tm_hasher_add(hasher, "temper-cache-key-1", 19);
    tm_hasher_add(hasher, stage_id->bytes, sizeof stage_id->bytes);
    tm_hasher_add(hasher, binaries, count * sizeof *binaries);
    return tm_hasher_end(hasher);
}

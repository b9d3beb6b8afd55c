/* graph.h: a plan: the nodes of a run, what flows between them, and every value that decides their bits.
 *
 * The recipe's Lua only ever makes this; the scheduler, the archive and `reproduce` only ever read it. As JSON it is
 *   {"temper":1,"recipe":{"main":"character.lua","files":[{"name","digest"}]},
 *    "parameters":{name: value as set},"seed":0,"profile":"bf16/1",
 *    "sources":[{"id":"model","kind":"model","name":"tiny-chat","digest":"sha256:…"}],
 *    "nodes":[{"name":"ask","plugin":"constitution","version":"0.1.0","stage":"ask","revision":1,"label":"","line":12,
 *              "parameters":{flat, resolved},"inputs":[{"name":"model","kind":"model","source":"model"},
 *                                                    {"name":"prompts","kind":"records","node":0,"output":"prompts"}]}],
 *    "expect":[{"node":6,"output":"metrics","metric":"trait_win_rate","op":">=","value":0.6,"line":20}],
 *    "result":{"model":{"node":5,"output":"model"},"report":{…}}}
 * Nodes stand in the order the recipe made them, which is a topological order. Before sources are taken into the store a
 * source has "path" instead of "digest"; the path is never part of what is hashed. */
#ifndef TM_GRAPH_H
#define TM_GRAPH_H

#include "base/digest.h"
#include "base/json.h"
#include "plugin/catalog.h"

typedef enum tm_kind { TM_RECORDS = 1, TM_TEXT, TM_CHARACTER, TM_MODEL, TM_METRICS, TM_REPORT } tm_kind;
const char *tm_kind_name(tm_kind kind);
bool tm_kind_parse(const char *name, tm_kind *out);

typedef struct tm_source {
    const char *id, *name, *path;
    tm_kind kind;
    tm_digest digest;
    bool known; /* digest is set */
} tm_source;

typedef struct tm_edge {
    const char *name; /* of the input */
    tm_kind kind;
    int source; /* index into sources, or -1 */
    int node;   /* index of an earlier node, or -1 */
    const char *output;
} tm_edge;

typedef struct tm_node {
    const char *name; /* unique in the plan: the stage's name, with -label or -2, -3 … when it repeats */
    const char *plugin, *version, *stage, *label;
    int64_t revision, line;
    const temper_json *parameters; /* flat, resolved */
    tm_edge *inputs;
    size_t input_count;
} tm_node;

typedef struct tm_expectation {
    int node;
    const char *output;      /* the metrics output it reads */
    const char *metric, *op; /* ">=", "<=", ">", "<", "==" */
    double value;
    int64_t line;
} tm_expectation;

typedef struct tm_graph {
    temper_arena *arena;     /* owns everything here */
    const temper_json *json; /* the plan, sources with digests once known */
    tm_source *sources;
    size_t source_count;
    tm_node *nodes;
    size_t node_count;
    tm_expectation *expectations;
    size_t expectation_count;
    uint64_t seed;
    const char *profile;
} tm_graph;

temper_status tm_graph_parse(const char *json, size_t length, tm_graph **out, temper_error *error);
void tm_graph_free(tm_graph *graph);
/* Takes every source into the store (hashing files and folders) and rewrites graph->json with digests. A character
 * source is normalised to records on the way; see character.h. */
temper_status tm_graph_take_sources(tm_graph *graph, tm_store *store, temper_error *error);

/* "0/respond/label": the key of every random draw of a node. */
enum { TM_SEED_PATH = 440 };
const char *tm_seed_path(const tm_graph *graph, size_t node, char out[TM_SEED_PATH]);
/* Stage id: SHA-256 of canonical JSON {plugin, version, stage, revision, parameters, inputs: [{name, digest}], seed_path,
 * profile}. The names are in it because an optional input may be absent. Never binaries, paths, threads, batch sizes,
 * kernel set, time or host. tm_stage_identity is that JSON (NULL: no memory). */
const temper_json *tm_stage_identity(temper_arena *arena, const tm_graph *graph, size_t node,
                                     const tm_digest *inputs);
tm_digest tm_stage_id(const tm_graph *graph, size_t node, const tm_digest *inputs);
/* Local only: stage id + digests of the worker and of every plugin it loads. */
tm_digest tm_cache_key(const tm_digest *stage_id, const tm_digest *binaries, size_t count);

#endif

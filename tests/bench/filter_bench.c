/* filter_bench.c: the filter plugin's stages as a run runs them: a worker process, a store, verified inputs, synced outputs.
 *
 *   filter_bench generate BYTES [WORDS] [messages|sharegpt|alpaca]   chat JSONL from a seeded generator, to standard output
 *   filter_bench phrases LITERALS REGEXES                            a phrase list for it, to standard output
 *   filter_bench limits FILE                                         what the machine can do with these bytes
 *   filter_bench run [-t THREADS] FILE STAGE [PARAMETERS] [NAME=FILE] [-- STAGE …]
 * A stage's input is what the one before kept; each line has seconds, MB/s of its input and of the first one, peak memory. */
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "lines/scan.h"
#include "plugin/catalog.h"
#include "plugin/job.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void must(temper_status status, const temper_error *error) {
    if (status) {
        fprintf(stderr, "filter_bench: %s\n", error->message);
        exit(1);
    }
}

/* --- data -------------------------------------------------------------------------------------------------------- */

static uint64_t state = 42;
static uint32_t below(uint32_t bound) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((state >> 33) % bound);
}

static const char *const words[] = {
    "the",   "of",     "and",     "to",       "in",     "is",     "you",    "that", "it",    "he",
    "was",   "for",    "on",      "are",      "with",   "as",     "I",      "his",  "they",  "be",
    "at",    "one",    "have",    "this",     "from",   "or",     "had",    "by",   "hot",   "but",
    "some",  "what",   "there",   "we",       "can",    "out",    "other",  "were", "all",   "your",
    "when",  "up",     "use",     "word",     "how",    "said",   "an",     "each", "she",   "which",
    "do",    "their",  "time",    "if",       "will",   "way",    "about",  "many", "then",  "them",
    "would", "write",  "like",    "so",       "these",  "her",    "long",   "make", "thing", "see",
    "him",   "two",    "has",     "look",     "more",   "day",    "could",  "go",   "come",  "did",
    "my",    "sound",  "no",      "most",     "number", "who",    "over",   "know", "water", "than",
    "call",  "first",  "people",  "may",      "down",   "side",   "been",   "now",  "find",  "garden",
    "river", "letter", "morning", "question", "answer", "gentle", "machine"};
enum { WORDS = sizeof words / sizeof *words };

/* Words beyond the list, so that texts have a vocabulary: two of them run together. */
static size_t put_word(char *out) {
    const char *first = words[below(WORDS)], *second = below(3) == 0 ? words[below(WORDS)] : "";
    return (size_t)sprintf(out, "%s%s", first, second);
}

static size_t put_text(char *out, uint32_t count) {
    size_t at = 0;
    uint32_t i, in_sentence = 0;
    for (i = 0; i < count; i++) {
        size_t start = at;
        at += put_word(out + at);
        if (in_sentence == 0 && out[start] >= 'a' && out[start] <= 'z') {
            out[start] = (char)(out[start] - 32);
        }
        in_sentence++;
        if (below(12) == 0 && in_sentence > 3) {
            out[at++] = below(5) != 0 ? '.' : '?';
            in_sentence = 0;
            if (below(6) == 0) {
                memcpy(out + at, "\\n", 2);
                at += 2;
            }
        } else if (below(40) == 0) {
            memcpy(out + at, "\xC3\xA9", 2);
            at += 2;
        } else if (below(60) == 0) {
            out[at++] = ',';
        }
        if (i + 1 < count) {
            out[at++] = ' ';
        }
    }
    out[at++] = '.';
    return at;
}

static int generate(uint64_t bytes, uint32_t mean, const char *shape) {
    static char asked[1 << 16], said[1 << 16];
    bool sharegpt = strcmp(shape, "sharegpt") == 0;
    uint64_t made = 0;
    while (made < bytes) {
        uint32_t turns = 1 + below(3), turn;
        if (strcmp(shape, "alpaca") == 0) {
            size_t a = put_text(asked, 5 + below(mean / 2 + 1)), b = put_text(said, 10 + below(mean * 2 + 1));
            made += (uint64_t)printf("{\"instruction\":\"%.*s\",\"input\":\"\",\"output\":\"%.*s\"}\n",
                                     (int)a, asked, (int)b, said);
            continue;
        }
        made += (uint64_t)printf(sharegpt ? "{\"conversations\":[" : "{\"messages\":[");
        for (turn = 0; turn < turns; turn++) {
            size_t a = put_text(asked, 5 + below(mean / 2 + 1)), b = put_text(said, 10 + below(mean * 2 + 1));
            made += (uint64_t)printf(
                sharegpt ? "%s{\"from\":\"human\",\"value\":\"%.*s\"},{\"from\":\"gpt\",\"value\":\"%.*s\"}"
                         : "%s{\"role\":\"user\",\"content\":\"%.*s\"},{\"role\":\"assistant\","
                           "\"content\":\"%.*s\"}",
                turn > 0 ? "," : "", (int)a, asked, (int)b, said);
        }
        made += (uint64_t)printf("]}\n");
    }
    return 0;
}

/* Phrases of three to five words: some occur in the data, most do not, and every one shares beginnings with it. */
static int phrases(uint32_t literals, uint32_t regexes) {
    char word[64];
    uint32_t i, j;
    state = 4711;
    printf("@rule literal drop answers\n");
    for (i = 0; i < literals; i++) {
        for (j = 0; j < 4 + i % 2; j++) {
            put_word(word);
            printf("%s%s", j > 0 ? " " : "", word);
        }
        printf("\n");
    }
    printf("@rule regex drop answers\n");
    for (i = 0; i < regexes; i++) {
        printf("@regex \\b%s (%s|%s) ", words[below(WORDS)], words[below(WORDS)], words[below(WORDS)]);
        printf("%s %s\\w+ [a-z]{4,9}ing\\b\n", words[below(WORDS)], words[below(WORDS)]);
    }
    return 0;
}

/* --- limits ------------------------------------------------------------------------------------------------------ */

static int limits(const char *path) {
    enum { PIECE = 1 << 20 };
    temper_error error = TEMPER_ERROR_INIT;
    const void *data;
    size_t size, at;
    must(tm_file_map(path, &data, &size, &error), &error);
    char *copy = malloc(size);
    memset(copy, 1, size);
    double best[3] = {1e9, 1e9, 1e9}, start;
    temper_scan *scan = temper_scan_new();
    volatile unsigned char sum = 0;
    for (int round = 0; round < 3; round++) {
        start = now();
        memcpy(copy, data, size);
        best[0] = now() - start < best[0] ? now() - start : best[0];
        start = now();
        tm_digest digest = tm_digest_of(data, size);
        sum = digest.bytes[0];
        best[1] = now() - start < best[1] ? now() - start : best[1];
        start = now();
        for (at = 0; at < size; at += PIECE) {
            const uint32_t *positions;
            uint32_t count;
            temper_scan_text(scan, (const char *)data + at, size - at < PIECE ? size - at : PIECE, &positions,
                             &count);
        }
        best[2] = now() - start < best[2] ? now() - start : best[2];
    }
    (void)sum;
    double megabytes = (double)size / 1e6;
    printf("memory copy %.0f MB/s, SHA-256 %.0f MB/s, simdjson's first stage %.0f MB/s (one thread each)\n",
           megabytes / best[0], megabytes / best[1], megabytes / best[2]);
    temper_scan_free(scan);
    free(copy);
    return 0;
}

/* --- stages ------------------------------------------------------------------------------------------------------ */

typedef struct bench {
    tm_store *store;
    temper_arena *arena;
    int64_t threads;
    const char *path; /* of the first input */
} bench;

static void add_input(bench *b, temper_json *inputs, const char *name, const char *kind, const char *digest) {
    temper_json *entry = tm_json_object(b->arena);
    tm_json_set_string(b->arena, entry, "name", name);
    tm_json_set_string(b->arena, entry, "kind", kind);
    tm_json_set_string(b->arena, entry, "digest", digest);
    tm_json_append(b->arena, inputs, entry);
}

static const char *take_file(bench *b, const char *path) {
    char *text = tm_arena_allocate(b->arena, TM_DIGEST_TEXT);
    temper_error error = TEMPER_ERROR_INIT;
    tm_digest digest;
    must(tm_store_put_file(b->store, path, &digest, &error), &error);
    tm_digest_text(&digest, text);
    return text;
}

static const char *run_stage(bench *b, const temper_json *plugin, int argc, char **argv,
                             const char *records) {
    const temper_json *stage = tm_description_stage(plugin, argv[0]), *outputs = NULL, *ports, *own,
                      *resolved;
    temper_json *job = tm_json_object(b->arena), *inputs = tm_json_array(b->arena), *statistics = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    volatile int cancel = 0;
    const char *parameters = "{}", *kept = NULL;
    tm_job_events events = {NULL, NULL, NULL};
    if (stage == NULL) {
        fprintf(stderr, "filter_bench: no stage %s\n", argv[0]);
        exit(2);
    }
    ports = tm_json_member(stage, "inputs");
    const char *kind = tm_json_text(tm_json_member(tm_json_element(ports, 0), "kind"), "");
    const char *given = records;
    if (strcmp(kind, "model") == 0) { /* files, as they are found */
        char *text = tm_arena_allocate(b->arena, TM_DIGEST_TEXT);
        tm_digest folder;
        must(tm_store_put_folder(b->store, b->path, &folder, &error), &error);
        tm_digest_text(&folder, text);
        given = text;
    }
    add_input(b, inputs, tm_json_text(tm_json_member(tm_json_element(ports, 0), "name"), ""), kind, given);
    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (argv[i][0] == '{' || equals == NULL) {
            parameters = argv[i];
            continue;
        }
        *equals = 0;
        for (size_t j = 0; j < tm_json_length(ports); j++) {
            const temper_json *port = tm_json_element(ports, j);
            if (strcmp(tm_json_text(tm_json_member(port, "name"), ""), argv[i]) == 0) {
                add_input(b, inputs, argv[i], tm_json_text(tm_json_member(port, "kind"), ""),
                          take_file(b, equals + 1));
            }
        }
    }
    tm_json_set_string(b->arena, job, "store", tm_store_root(b->store));
    tm_json_set_string(b->arena, job, "plugin", FILTER_PLUGIN);
    tm_json_set_string(b->arena, job, "stage", argv[0]);
    tm_json_set_string(b->arena, job, "seed_path", "7/stage/");
    tm_json_set_string(b->arena, job, "profile", "f32/1");
    tm_json_set_integer(b->arena, job, "threads", b->threads);
    tm_json_set_integer(b->arena, job, "memory", 0);
    must(tm_json_parse(b->arena, parameters, strlen(parameters), &own, &error), &error);
    must(tm_parameters_resolve(b->arena, stage, own, &resolved, &error), &error);
    tm_json_set(b->arena, job, "parameters", resolved);
    tm_json_set(b->arena, job, "inputs", inputs);
    double start = now();
    must(tm_job_run(BENCH_WORKER, job, &events, &cancel, b->arena, &outputs, &statistics, &error), &error);
    double seconds = now() - start, cpu = 0, peak = 0;
    tm_digest digest;
    uint64_t size = 0;
    tm_digest_parse(records, &digest);
    must(tm_store_size(b->store, &digest, &size, &error), &error);
    tm_json_double(tm_json_member(statistics, "cpu_seconds"), &cpu);
    tm_json_double(tm_json_member(statistics, "peak_resident"), &peak);
    printf("%-12s %6.3f s  %5.0f MB/s  cpu %6.3f s  resident %5.0f MB ", argv[0], seconds,
           (double)size / 1e6 / seconds, cpu, peak / 1e6);
    for (size_t i = 0; i < tm_json_length(outputs); i++) {
        const temper_json *output = tm_json_element(outputs, i);
        const char *name = tm_json_text(tm_json_member(output, "name"), "");
        int64_t rows = -1;
        if (tm_json_integer(tm_json_member(output, "records"), &rows)) {
            printf(" %s %" PRId64, name, rows);
        }
        if (strcmp(name, "kept") == 0) {
            kept = tm_json_text(tm_json_member(output, "digest"), "");
            printf(" (%.15s)", kept + 7);
        }
    }
    printf("\n");
    fflush(stdout);
    return kept;
}

static int run(int argc, char **argv) {
    char folder[] = "/tmp/temper-bench-XXXXXX";
    bench b = {.arena = tm_arena_new(), .threads = 2};
    temper_error error = TEMPER_ERROR_INIT;
    const temper_json *plugin = NULL;
    if (argc > 2 && strcmp(argv[0], "-t") == 0) {
        b.threads = atoi(argv[1]);
        argc -= 2;
        argv += 2;
    }
    if (argc < 2 || mkdtemp(folder) == NULL) {
        fprintf(stderr, "usage: filter_bench run FILE STAGE [PARAMETERS] [NAME=FILE] [-- STAGE …]\n");
        return 2;
    }
    must(tm_store_open(folder, &b.store, &error), &error);
    must(tm_describe(BENCH_WORKER, FILTER_PLUGIN, b.arena, &plugin, &error), &error);
    const char *records = take_file(&b, argv[0]);
    b.path = argv[0];
    double start = now();
    tm_digest digest;
    uint64_t size = 0;
    tm_digest_parse(records, &digest);
    must(tm_store_size(b.store, &digest, &size, &error), &error);
    int at = 1;
    while (at < argc && records != NULL) {
        int count = 0;
        while (at + count < argc && strcmp(argv[at + count], "--") != 0) {
            count++;
        }
        records = run_stage(&b, plugin, count, argv + at, records);
        at += count + 1;
    }
    double seconds = now() - start;
    printf("%-12s %6.3f s  %5.0f MB/s\n", "all", seconds, (double)size / 1e6 / seconds);
    tm_store_close(b.store);
    tm_folder_remove(folder, &error);
    tm_arena_free(b.arena);
    return 0;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "generate") == 0 && argc > 2) {
        return generate(strtoull(argv[2], NULL, 10), argc > 3 ? (uint32_t)atoi(argv[3]) : 60,
                        argc > 4 ? argv[4] : "messages");
    }
    if (strcmp(what, "phrases") == 0 && argc > 3) {
        return phrases((uint32_t)atoi(argv[2]), (uint32_t)atoi(argv[3]));
    }
    if (strcmp(what, "limits") == 0 && argc > 2) {
        return limits(argv[2]);
    }
    if (strcmp(what, "run") == 0) {
        return run(argc - 2, argv + 2);
    }
    fprintf(stderr, "usage: filter_bench generate|phrases|limits|run …\n");
    return 2;
}

/* command_diff.c: two runs side by side: what went in, and what came out in numbers. (`explain` says where they part; this says
 * how they differ.) */
#include "base/text.h"
#include "cli/cli.h"
#include "scheduler/sources.h"

#include <stdlib.h>

typedef struct comparison {
    const temper_json *run[2];
    tm_store *store;
    const cli_options *options;
    const char *heading; /* printed before the first difference under it */
    size_t differences;
} comparison;

static const char *text_of(const temper_json *object, const char *name) {
    return tm_json_text(tm_json_member(object, name), "");
}

static void differ(comparison *both, const char *part, const char *name, const char *a, const char *b) {
    both->differences++;
    if (both->options->json) {
        cli_event("differs", "part", part, "name", name, "a", a, "b", b, (char *)NULL);
        return;
    }
    if (both->heading != NULL) {
        printf("%s\n", both->heading);
        both->heading = NULL;
    }
    printf("  %-36s %s → %s\n", name, a != NULL ? a : "(not there)", b != NULL ? b : "(not there)");
}

/* Canonical text in the arena of `out`; NULL: absent. */
static const char *written(const temper_json *value, tm_buffer *out) {
    tm_buffer_clear(out);
    return value != NULL && tm_json_write(value, out, NULL) == TEMPER_OK && tm_buffer_ok(out) ? out->data
                                                                                              : NULL;
}

static void compare_values(comparison *both, const char *part, const char *prefix, const char *name,
                           const temper_json *a, const temper_json *b) {
    tm_buffer left = TM_BUFFER_INIT, right = TM_BUFFER_INIT;
    const char *one = written(a, &left), *other = written(b, &right);
    if ((one == NULL) != (other == NULL) || (one != NULL && strcmp(one, other) != 0)) {
        char whole[128];
        snprintf(whole, sizeof whole, "%s%s%s", prefix, *prefix != 0 ? "." : "", name);
        differ(both, part, whole, one, other);
    }
    tm_buffer_free(&left);
    tm_buffer_free(&right);
}

/* Every member of either. */
static void compare_objects(comparison *both, const char *part, const char *prefix, const temper_json *a,
                            const temper_json *b) {
    const temper_json *value;
    size_t i;
    for (i = 0; i < tm_json_length(a); i++) {
        const char *name = tm_json_name(a, i, &value);
        compare_values(both, part, prefix, name, value, tm_json_member(b, name));
    }
    for (i = 0; i < tm_json_length(b); i++) {
        const char *name = tm_json_name(b, i, &value);
        if (tm_json_member(a, name) == NULL) {
            compare_values(both, part, prefix, name, NULL, value);
        }
    }
}

static const temper_json *named(const temper_json *list, const char *field, const char *name) {
    for (size_t i = 0; i < tm_json_length(list); i++) {
        const temper_json *element = tm_json_element(list, i);
        if (strcmp(text_of(element, field), name) == 0) {
            return element;
        }
    }
    return NULL;
}

/* Lists whose elements have a name in `field`: compares what `with` compares, for every name in either. */
static void compare_lists(comparison *both, const temper_json *a, const temper_json *b, const char *field,
                          void (*with)(struct comparison *both, const char *name, const temper_json *a,
                                       const temper_json *b)) {
    size_t i;
    for (i = 0; i < tm_json_length(a); i++) {
        const char *name = text_of(tm_json_element(a, i), field);
        with(both, name, tm_json_element(a, i), named(b, field, name));
    }
    for (i = 0; i < tm_json_length(b); i++) {
        const char *name = text_of(tm_json_element(b, i), field);
        if (named(a, field, name) == NULL) {
            with(both, name, NULL, tm_json_element(b, i));
        }
    }
}

/* "poetic.json (afa67526)": a name tells little when the bytes differ, and a digest little without the name. */
static const char *source_text(const temper_json *source, char out[128]) {
    const char *digest = text_of(source, "digest");
    if (source == NULL) {
        return NULL;
    }
    snprintf(out, 128, "%.80s (%.8s)", text_of(source, "name"), strlen(digest) > 7 ? digest + 7 : "");
    return out;
}

static void compare_source(comparison *both, const char *name, const temper_json *a, const temper_json *b) {
    char left[128], right[128];
    if (a == NULL || b == NULL || strcmp(text_of(a, "digest"), text_of(b, "digest")) != 0) {
        differ(both, "input", name, source_text(a, left), source_text(b, right));
    }
}

static void compare_recipe_file(comparison *both, const char *name, const temper_json *a,
                                const temper_json *b) {
    char left[16], right[16];
    if (a == NULL || b == NULL || strcmp(text_of(a, "digest"), text_of(b, "digest")) != 0) {
        snprintf(left, sizeof left, "%.8s", a != NULL ? text_of(a, "digest") + 7 : "");
        snprintf(right, sizeof right, "%.8s", b != NULL ? text_of(b, "digest") + 7 : "");
        differ(both, "recipe", name, a != NULL ? left : NULL, b != NULL ? right : NULL);
    }
}

static const char *stage_text(const temper_json *node, char out[128]) {
    if (node == NULL) {
        return NULL;
    }
    snprintf(out, 128, "%s.%s %s", text_of(node, "plugin"), text_of(node, "stage"), text_of(node, "version"));
    return out;
}

static void compare_stage(comparison *both, const char *name, const temper_json *a, const temper_json *b) {
    char left[128], right[128];
    const char *one = stage_text(a, left), *other = stage_text(b, right);
    if (one == NULL || other == NULL || strcmp(one, other) != 0) {
        differ(both, "stage", name, one, other);
    }
    if (one != NULL && other != NULL) {
        compare_objects(both, "stage", name, tm_json_member(a, "parameters"),
                        tm_json_member(b, "parameters"));
    }
}

/* --- numbers ------------------------------------------------------------------------------------------------------- */

static const temper_json *metrics_of(comparison *both, temper_arena *arena, const temper_json *node) {
    const temper_json *outputs = tm_json_member(node, "outputs"), *value = NULL;
    for (size_t i = 0; i < tm_json_length(outputs); i++) {
        const temper_json *output = tm_json_element(outputs, i);
        const void *data;
        size_t size;
        tm_digest digest;
        if (strcmp(text_of(output, "kind"), "metrics") == 0 &&
            tm_digest_parse(text_of(output, "digest"), &digest) &&
            tm_store_map(both->store, &digest, &data, &size, NULL) == TEMPER_OK) {
            if (tm_json_parse(arena, data, size, &value, NULL) != TEMPER_OK) {
                value = NULL;
            }
            tm_store_unmap(both->store, data, size);
            return value;
        }
    }
    return NULL;
}

static void compare_number(comparison *both, const char *stage, const char *name, const temper_json *a,
                           const temper_json *b) {
    double one, other;
    if (tm_json_double(a, &one) && tm_json_double(b, &other)) {
        char left[40], right[80], whole[128];
        if (one == other) {
            return;
        }
        snprintf(whole, sizeof whole, "%s.%s", stage, name);
        snprintf(left, sizeof left, "%.6g", one);
        snprintf(right, sizeof right, "%.6g  (%+.4g)", other, other - one);
        differ(both, "number", whole, left, right);
    } else {
        compare_values(both, "number", stage, name, a, b);
    }
}

static void compare_metrics(comparison *both, const char *name, const temper_json *a, const temper_json *b) {
    temper_arena *arena = tm_arena_new();
    const temper_json *one = arena != NULL ? metrics_of(both, arena, a) : NULL,
                      *other = arena != NULL ? metrics_of(both, arena, b) : NULL, *value;
    size_t i;
    for (i = 0; i < tm_json_length(one); i++) {
        const char *metric = tm_json_name(one, i, &value);
        compare_number(both, name, metric, value, tm_json_member(other, metric));
    }
    for (i = 0; i < tm_json_length(other); i++) {
        const char *metric = tm_json_name(other, i, &value);
        if (tm_json_member(one, metric) == NULL) {
            compare_number(both, name, metric, NULL, value);
        }
    }
    tm_arena_free(arena);
}

/* Outputs that differ though no number tells it. */
static void compare_outputs(comparison *both, const char *name, const temper_json *a, const temper_json *b) {
    const temper_json *outputs = tm_json_member(a, "outputs");
    for (size_t i = 0; i < tm_json_length(outputs); i++) {
        const temper_json *output = tm_json_element(outputs, i),
                          *other = named(tm_json_member(b, "outputs"), "name", text_of(output, "name"));
        const char *one = text_of(output, "digest"), *two = text_of(other, "digest");
        if (other != NULL && strcmp(text_of(output, "kind"), "metrics") != 0 && strcmp(one, two) != 0 &&
            strlen(one) > 15 && strlen(two) > 15) {
            char whole[128], left[16], right[16];
            snprintf(whole, sizeof whole, "%s.%s", name, text_of(output, "name"));
            snprintf(left, sizeof left, "%.8s", one + 7);
            snprintf(right, sizeof right, "%.8s", two + 7);
            differ(both, "output", whole, left, right);
        }
    }
}

static void compare(comparison *both) {
    const temper_json *a = tm_json_member(both->run[0], "plan"), *b = tm_json_member(both->run[1], "plan"),
                      *nodes_a = tm_json_member(both->run[0], "nodes"),
                      *nodes_b = tm_json_member(both->run[1], "nodes");
    both->heading = "what went in";
    compare_lists(both, tm_json_member(tm_json_member(a, "recipe"), "files"),
                  tm_json_member(tm_json_member(b, "recipe"), "files"), "name", compare_recipe_file);
    compare_values(both, "setting", "", "seed", tm_json_member(a, "seed"), tm_json_member(b, "seed"));
    compare_values(both, "setting", "", "profile", tm_json_member(a, "profile"),
                   tm_json_member(b, "profile"));
    compare_objects(both, "setting", "", tm_json_member(a, "parameters"), tm_json_member(b, "parameters"));
    compare_lists(both, tm_json_member(a, "sources"), tm_json_member(b, "sources"), "id", compare_source);
    compare_lists(both, tm_json_member(a, "nodes"), tm_json_member(b, "nodes"), "name", compare_stage);
    both->heading = "what came out";
    compare_lists(both, nodes_a, nodes_b, "name", compare_metrics);
    both->heading = "outputs with other bytes";
    compare_lists(both, nodes_a, nodes_b, "name", compare_outputs);
}

int cli_diff(const cli_options *options) {
    temper_arena *arena = tm_arena_new();
    comparison both = {.options = options};
    temper_error error = TEMPER_ERROR_INIT;
    tm_digest id;
    temper_status status = arena == NULL ? temper_fail(&error, TEMPER_NO_MEMORY, "out of memory")
                                         : tm_store_open(NULL, &both.store, &error);
    for (size_t i = 0; i < 2 && status == TEMPER_OK; i++) {
        status = tm_run_find(both.store, options->arguments.items[i], arena, &both.run[i], &id, &error);
    }
    if (status == TEMPER_OK) {
        compare(&both);
        if (both.differences == 0 && !options->json) {
            printf("the runs agree\n");
        }
    }
    tm_store_close(both.store);
    tm_arena_free(arena);
    return status ? cli_report(options, status, &error) : both.differences > 0 ? CLI_FAILED : CLI_OK;
}

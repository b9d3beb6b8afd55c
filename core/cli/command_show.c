/* command_show.c: looking into a run: its stages, one stage, or the rows of one output. */
#include "base/text.h"
#include "cli/cli.h"
#include "scheduler/sources.h"

#include <stdlib.h>

static const char *text_of(const temper_json *object, const char *name) {
    return tm_json_text(tm_json_member(object, name), "");
}

static void print_json(const temper_json *value) {
    tm_buffer text = TM_BUFFER_INIT;
    if (tm_json_write(value, &text, NULL) == TEMPER_OK && tm_buffer_ok(&text)) {
        printf("%s", text.data);
    }
    tm_buffer_free(&text);
}

static size_t count_lines(const char *data, size_t size) {
    size_t lines = 0, i;
    for (i = 0; i < size; i++) {
        lines += data[i] == '\n';
    }
    return lines + (size > 0 && data[size - 1] != '\n');
}

/* Text from an archive goes to a terminal: control bytes that could speak to it are shown, not sent. */
static void print_safely(const char *text, size_t length) {
    size_t i;
    for (i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) {
            printf("\\x%02x", byte);
        } else {
            putchar(byte);
        }
    }
}

static bool map_output(tm_store *store, const temper_json *output, const void **data, size_t *size) {
    tm_digest digest;
    return tm_digest_parse(text_of(output, "digest"), &digest) && tm_store_has(store, &digest) &&
           tm_store_map(store, &digest, data, size, NULL) == TEMPER_OK;
}

/* "412 rows", "3 files · 1.2 MB", the numbers of metrics, or why there is nothing to see. */
static void print_output_line(tm_store *store, const temper_json *output, bool numbers) {
    const char *kind = text_of(output, "kind");
    char bytes[16];
    const void *data;
    size_t size, i;
    tm_digest digest;
    printf("   %-14s %-9s ", text_of(output, "name"), kind);
    if (strcmp(kind, "model") == 0) {
        tm_tree tree;
        uint64_t total = 0;
        if (tm_digest_parse(text_of(output, "digest"), &digest) &&
            tm_store_get_tree(store, &digest, &tree, NULL) == TEMPER_OK) {
            for (i = 0; i < tree.count; i++) {
                total += tree.entries[i].size;
            }
            printf("%zu files · %s", tree.count, tm_text_bytes((double)total, bytes));
            tm_tree_free(&tree);
        }
    } else if (!map_output(store, output, &data, &size)) {
        printf("(not here)");
    } else {
        if (strcmp(kind, "records") == 0 || strcmp(kind, "character") == 0) {
            size_t rows = count_lines(data, size);
            printf("%zu row%s · %s", rows, rows == 1 ? "" : "s", tm_text_bytes((double)size, bytes));
        } else if (strcmp(kind, "metrics") == 0 && numbers) {
            temper_arena *arena = tm_arena_new();
            const temper_json *metrics = NULL;
            if (arena != NULL && tm_json_parse(arena, data, size, &metrics, NULL) == TEMPER_OK) {
                for (i = 0; i < tm_json_length(metrics); i++) {
                    const temper_json *value;
                    const char *name = tm_json_name(metrics, i, &value);
                    double number;
                    if (tm_json_double(value, &number)) {
                        printf("%s%s %.4g", i == 0 ? "" : " · ", name, number);
                    }
                }
            }
            tm_arena_free(arena);
        } else {
            printf("%s", tm_text_bytes((double)size, bytes));
        }
        tm_store_unmap(store, data, size);
    }
    printf("\n");
}

static void show_run(tm_store *store, const temper_json *run, const tm_digest *id) {
    const temper_json *plan = tm_json_member(run, "plan"), *nodes = tm_json_member(run, "nodes"),
                      *sources = tm_json_member(plan, "sources"),
                      *expectations = tm_json_member(run, "expectations"),
                      *left_out = tm_json_member(run, "left_out");
    char text[TM_DIGEST_TEXT];
    int64_t seed = 0;
    size_t i, j;
    tm_digest_text(id, text);
    (void)tm_json_integer(tm_json_member(plan, "seed"), &seed);
    printf("run      %s\nrecipe   %s\nseed     %lld · profile %s\n", text,
           text_of(tm_json_member(plan, "recipe"), "main"), (long long)seed, text_of(plan, "profile"));
    for (i = 0; i < tm_json_length(sources); i++) {
        const temper_json *source = tm_json_element(sources, i);
        printf("source   %-14s %-9s %s\n", text_of(source, "id"), text_of(source, "kind"),
               text_of(source, "name"));
    }
    for (i = 0; i < tm_json_length(nodes); i++) {
        const temper_json *node = tm_json_element(nodes, i),
                          *planned = tm_json_element(tm_json_member(plan, "nodes"), i),
                          *outputs = tm_json_member(node, "outputs");
        printf("stage    %s  (%s.%s %s)\n", text_of(node, "name"), text_of(planned, "plugin"),
               text_of(planned, "stage"), text_of(planned, "version"));
        for (j = 0; j < tm_json_length(outputs); j++) {
            print_output_line(store, tm_json_element(outputs, j), true);
        }
    }
    for (i = 0; i < tm_json_length(expectations); i++) {
        const temper_json *entry = tm_json_element(expectations, i);
        bool holds = false;
        (void)tm_json_boolean(tm_json_member(entry, "holds"), &holds);
        printf("expect   %s.%s ", text_of(entry, "stage"), text_of(entry, "metric"));
        print_json(tm_json_member(entry, "value"));
        printf(" %s ", text_of(entry, "op"));
        print_json(tm_json_member(entry, "bound"));
        printf(" %s\n", holds ? "ok" : "FAILED");
    }
    for (i = 0; i < tm_json_length(left_out); i++) {
        printf("left out %s\n", text_of(tm_json_element(left_out, i), "name"));
    }
}

static const temper_json *find_or_say(const temper_json *list, const char *name, const char *what,
                                      temper_error *error) {
    const char *names[256], *nearest;
    size_t i, count = 0;
    for (i = 0; i < tm_json_length(list); i++) {
        const temper_json *entry = tm_json_element(list, i);
        if (strcmp(text_of(entry, "name"), name) == 0) {
            return entry;
        }
        if (count < 256) {
            names[count++] = text_of(entry, "name");
        }
    }
    nearest = tm_text_nearest(name, names, count);
    if (nearest != NULL) {
        (void)temper_fail(error, TEMPER_INVALID, "there is no %s '%s'; did you mean '%s'?", what, name,
                          nearest);
    } else {
        int length =
            snprintf(error->message, sizeof error->message, "there is no %s '%s'; there are", what, name);
        for (i = 0; i < count && length > 0 && (size_t)length < sizeof error->message; i++) {
            length += snprintf(error->message + length, sizeof error->message - (size_t)length, "%s %s",
                               i == 0 ? "" : ",", names[i]);
        }
    }
    return NULL;
}

static void show_stage(tm_store *store, const temper_json *plan, const temper_json *node, size_t index) {
    const temper_json *planned = tm_json_element(tm_json_member(plan, "nodes"), index),
                      *parameters = tm_json_member(planned, "parameters"),
                      *inputs = tm_json_member(planned, "inputs"), *outputs = tm_json_member(node, "outputs");
    int64_t line = 0;
    size_t i;
    (void)tm_json_integer(tm_json_member(planned, "line"), &line);
    printf("%s: %s.%s %s, line %lld of the recipe\n  %s\n", text_of(node, "name"), text_of(planned, "plugin"),
           text_of(planned, "stage"), text_of(planned, "version"), (long long)line,
           text_of(node, "stage_id"));
    printf(" inputs\n");
    for (i = 0; i < tm_json_length(inputs); i++) {
        const temper_json *edge = tm_json_element(inputs, i);
        int64_t from = -1;
        (void)tm_json_integer(tm_json_member(edge, "node"), &from);
        printf("   %-14s %-9s %s%s%s\n", text_of(edge, "name"), text_of(edge, "kind"),
               from >= 0 ? text_of(tm_json_element(tm_json_member(plan, "nodes"), (size_t)from), "name")
                         : text_of(edge, "source"),
               from >= 0 ? "." : "", text_of(edge, "output"));
    }
    printf(" parameters\n");
    for (i = 0; i < tm_json_length(parameters); i++) {
        const temper_json *value;
        const char *name = tm_json_name(parameters, i, &value);
        printf("   %-24s ", name);
        print_json(value);
        printf("\n");
    }
    printf(" outputs\n");
    for (i = 0; i < tm_json_length(outputs); i++) {
        print_output_line(store, tm_json_element(outputs, i), true);
    }
}

/* One record as people read it: a field a line, long texts whole, messages by role. */
static void show_record(const temper_json *record, size_t number) {
    size_t i, j;
    printf("--- %zu\n", number);
    for (i = 0; i < tm_json_length(record); i++) {
        const temper_json *value;
        const char *name = tm_json_name(record, i, &value);
        size_t length = 0;
        const char *text = tm_json_string(value, &length);
        if (text != NULL) {
            printf("%s: ", name);
            print_safely(text, length);
            printf("\n");
        } else if (tm_json_kind(value) == TEMPER_JSON_ARRAY &&
                   tm_json_member(tm_json_element(value, 0), "role") != NULL) {
            printf("%s:\n", name);
            for (j = 0; j < tm_json_length(value); j++) {
                const temper_json *message = tm_json_element(value, j);
                text = tm_json_string(tm_json_member(message, "content"), &length);
                printf("  [%s] ", text_of(message, "role"));
                print_safely(text != NULL ? text : "", text != NULL ? length : 0);
                printf("\n");
            }
        } else {
            printf("%s: ", name);
            print_json(value);
            printf("\n");
        }
    }
}

static temper_status show_rows(const cli_options *options, const char *data, size_t size,
                               temper_error *error) {
    size_t at = 0, number = 0;
    while (at < size && number < (size_t)options->rows) {
        const char *end = memchr(data + at, '\n', size - at);
        size_t length = end != NULL ? (size_t)(end - (data + at)) : size - at;
        if (length > 0 && options->json) {
            printf("%.*s\n", (int)length, data + at);
            number++;
        } else if (length > 0) {
            temper_arena *arena = tm_arena_new();
            const temper_json *record = NULL;
            temper_status status = arena == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "out of memory")
                                                 : tm_json_parse(arena, data + at, length, &record, error);
            if (status) {
                tm_arena_free(arena);
                return temper_fail_in(error, status, "record %zu", number + 1);
            }
            show_record(record, ++number);
            tm_arena_free(arena);
        }
        at += length + 1;
    }
    return TEMPER_OK;
}

static temper_status show_output(const cli_options *options, tm_store *store, const temper_json *output,
                                 temper_error *error) {
    const char *kind = text_of(output, "kind");
    const void *data;
    size_t size, i;
    tm_digest digest;
    temper_status status = TEMPER_OK;
    if (!tm_digest_parse(text_of(output, "digest"), &digest)) {
        return temper_fail(error, TEMPER_INVALID, "the output has no digest");
    }
    if (strcmp(kind, "model") == 0) {
        tm_tree tree;
        char bytes[16];
        status = tm_store_get_tree(store, &digest, &tree, error);
        if (status) {
            return status;
        }
        for (i = 0; i < tree.count; i++) {
            printf("%-44s %9s%s\n", tree.entries[i].path, tm_text_bytes((double)tree.entries[i].size, bytes),
                   tm_store_has(store, &tree.entries[i].digest) ? "" : "  (left out)");
        }
        tm_tree_free(&tree);
        return TEMPER_OK;
    }
    status = tm_store_map(store, &digest, &data, &size, error);
    if (status) {
        return status;
    }
    if (strcmp(kind, "records") == 0 || strcmp(kind, "character") == 0) {
        status = show_rows(options, data, size, error);
    } else if (strcmp(kind, "metrics") == 0 && !options->json) {
        temper_arena *arena = tm_arena_new();
        const temper_json *metrics = NULL;
        status = arena == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "out of memory")
                               : tm_json_parse(arena, data, size, &metrics, error);
        for (i = 0; status == TEMPER_OK && i < tm_json_length(metrics); i++) {
            const temper_json *value;
            printf("%-36s ", tm_json_name(metrics, i, &value));
            print_json(value);
            printf("\n");
        }
        tm_arena_free(arena);
    } else {
        print_safely(data, size);
        printf("%s", size > 0 && ((const char *)data)[size - 1] != '\n' ? "\n" : "");
    }
    tm_store_unmap(store, data, size);
    return status;
}

static temper_status show_ledger(tm_store *store, const temper_json *run, temper_arena *arena,
                                 temper_error *error) {
    tm_ledger ledger;
    temper_status status = tm_ledger_of(store, run, arena, &ledger, error);
    if (status == TEMPER_OK) {
        cli_print_ledger(&ledger, 0, true);
    }
    return status;
}

int cli_show(const cli_options *options) {
    temper_arena *arena = tm_arena_new();
    tm_store *store = NULL;
    const temper_json *run = NULL, *node = NULL, *nodes, *output = NULL;
    temper_error error = TEMPER_ERROR_INIT;
    tm_digest id;
    size_t index = 0;
    temper_status status = arena == NULL ? temper_fail(&error, TEMPER_NO_MEMORY, "out of memory")
                                         : tm_store_open(NULL, &store, &error);
    if (status == TEMPER_OK) {
        status = tm_run_find(store, options->arguments.items[0], arena, &run, &id, &error);
    }
    if (status) {
        goto out;
    }
    nodes = tm_json_member(run, "nodes");
    if (options->arguments.count >= 2) {
        node = find_or_say(nodes, options->arguments.items[1], "stage", &error);
        status = node == NULL ? TEMPER_INVALID : TEMPER_OK;
        while (node != NULL && tm_json_element(nodes, index) != node) {
            index++;
        }
    }
    if (status == TEMPER_OK && options->arguments.count == 3) {
        output = find_or_say(tm_json_member(node, "outputs"), options->arguments.items[2], "output", &error);
        status = output == NULL ? TEMPER_INVALID : show_output(options, store, output, &error);
    } else if (status == TEMPER_OK && options->arguments.count == 2) {
        if (options->json) {
            print_json(node);
            printf("\n");
        } else {
            show_stage(store, tm_json_member(run, "plan"), node, index);
        }
    } else if (status == TEMPER_OK) {
        if (options->json) {
            print_json(run);
            printf("\n");
        } else {
            show_run(store, run, &id);
            status = show_ledger(store, run, arena, &error);
        }
    }
out:
    tm_arena_free(arena);
    if (store != NULL) {
        tm_store_close(store);
    }
    return cli_report(options, status, &error);
}

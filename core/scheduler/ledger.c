/* ledger.c: see ledger.h. Invariant: the counts are the stages' own; this only finds them, and examples for them. */
#include "scheduler/ledger.h"

#include "base/digest.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static temper_status no_memory(temper_error *error) {
    return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
}

temper_status tm_row_id(const temper_json *row, char out[TM_ROW_ID], temper_error *error) {
    tm_buffer text = TM_BUFFER_INIT;
    temper_status status = tm_json_write(row, &text, error);
    char digest[TM_DIGEST_TEXT];
    tm_digest whole;
    if (status == TEMPER_OK && !tm_buffer_ok(&text)) {
        status = no_memory(error);
    }
    if (status == TEMPER_OK) {
        whole = tm_digest_of(text.data, text.length);
        tm_digest_text(&whole, digest);
        memcpy(out, digest + 7, TM_ROW_ID - 1);
        out[TM_ROW_ID - 1] = 0;
    }
    tm_buffer_free(&text);
    return status;
}

static const temper_json *find_output(const temper_json *node, const char *name, const char *kind) {
    const temper_json *outputs = tm_json_member(node, "outputs");
    size_t i;
    for (i = 0; i < tm_json_length(outputs); i++) {
        const temper_json *output = tm_json_element(outputs, i);
        if ((name == NULL || strcmp(tm_json_text(tm_json_member(output, "name"), ""), name) == 0) &&
            strcmp(tm_json_text(tm_json_member(output, "kind"), ""), kind) == 0) {
            return output;
        }
    }
    return NULL;
}

/* An output's bytes; false when it is not in the store. */
static bool map_output(tm_store *store, const temper_json *output, const char **data, size_t *size) {
    tm_digest digest;
    const void *bytes;
    if (output == NULL || !tm_digest_parse(tm_json_text(tm_json_member(output, "digest"), ""), &digest) ||
        !tm_store_has(store, &digest) || tm_store_map(store, &digest, &bytes, size, NULL)) {
        return false;
    }
    *data = bytes;
    return true;
}

static bool count_of(const temper_json *metrics, const char *name, uint64_t *out) {
    int64_t count;
    if (!tm_json_integer(tm_json_member(metrics, name), &count) || count < 0) {
        return false;
    }
    *out = (uint64_t)count;
    return true;
}

static int by_count(const void *a, const void *b) {
    const tm_ledger_rule *first = a, *second = b;
    if (first->count != second->count) {
        return first->count < second->count ? 1 : -1;
    }
    return strcmp(first->name, second->name);
}

static temper_status take_rules(const temper_json *metrics, temper_arena *arena, tm_ledger_stage *stage,
                                temper_error *error) {
    static const char *const prefixes[] = {"dropped", "changed"};
    size_t i, p, count = tm_json_length(metrics);
    stage->rules = tm_arena_allocate(arena, (count + 1) * sizeof *stage->rules);
    if (stage->rules == NULL) {
        return no_memory(error);
    }
    for (i = 0; i < count; i++) {
        const char *name = tm_json_name(metrics, i, NULL);
        for (p = 0; p < 2; p++) {
            size_t length = strlen(prefixes[p]);
            tm_ledger_rule *rule = &stage->rules[stage->rule_count];
            memset(rule, 0, sizeof *rule);
            if (strncmp(name, prefixes[p], length) == 0 && name[length] == '_' &&
                strcmp(name, "dropped_share") != 0 && count_of(metrics, name, &rule->count)) {
                rule->name = name + length + 1;
                rule->does = prefixes[p];
                stage->rule_count++;
                break;
            }
        }
    }
    qsort(stage->rules, stage->rule_count, sizeof *stage->rules, by_count);
    return TEMPER_OK;
}

static bool wants(const tm_ledger_rule *rule, const char *does) {
    return strcmp(rule->does, does) == 0 && rule->example_count < TM_LEDGER_EXAMPLES &&
           rule->example_count < rule->count;
}

/* Does the line name such a rule, as far as bytes say? Only then is it parsed: most of a big file never is. */
static bool is_wanted(const tm_ledger_stage *stage, const char *does, const char *line, size_t length) {
    char quoted[300];
    size_t i;
    for (i = 0; i < stage->rule_count; i++) {
        int written;
        if (!wants(&stage->rules[i], does)) {
            continue;
        }
        written = snprintf(quoted, sizeof quoted, "\"rule\":\"%s\"", stage->rules[i].name);
        if (written > 0 && (size_t)written < sizeof quoted &&
            memmem(line, length, quoted, (size_t)written) != NULL) {
            return true;
        }
    }
    return false;
}

static bool all_found(const tm_ledger_stage *stage, const char *does) {
    size_t i;
    for (i = 0; i < stage->rule_count; i++) {
        if (wants(&stage->rules[i], does)) {
            return false;
        }
    }
    return true;
}

/* The row itself is let go of at once: a ledger of a thousand examples holds their ids and evidence. */
static temper_status take_example(const char *line, size_t length, const char *does, temper_arena *arena,
                                  tm_ledger_stage *stage, temper_error *error) {
    temper_arena *own = tm_arena_new();
    const temper_json *row = NULL;
    temper_status status = own == NULL ? no_memory(error) : tm_json_parse(own, line, length, &row, error);
    const char *name = tm_json_text(tm_json_member(row, "rule"), "");
    size_t i;
    for (i = 0; status == TEMPER_OK && i < stage->rule_count; i++) {
        tm_ledger_rule *rule = &stage->rules[i];
        if (wants(rule, does) && strcmp(rule->name, name) == 0) {
            const temper_json *record = tm_json_member(row, "record");
            tm_ledger_example *example = &rule->examples[rule->example_count];
            const char *evidence = tm_json_text(tm_json_member(row, "evidence"), "");
            int64_t number = 0;
            (void)tm_json_integer(tm_json_member(row, "number"), &number);
            example->number = number > 0 ? (uint64_t)number : 0;
            example->evidence = tm_arena_copy(arena, evidence, strlen(evidence));
            example->row[0] = 0;
            status = example->evidence == NULL ? no_memory(error)
                     : record != NULL          ? tm_row_id(record, example->row, error)
                                               : TEMPER_OK;
            rule->example_count += status == TEMPER_OK;
            break;
        }
    }
    tm_arena_free(own);
    return status;
}

/* From the stage's output of that name, when it has one and it is here. */
static temper_status find_examples(tm_store *store, const temper_json *node, const char *does,
                                   temper_arena *arena, tm_ledger_stage *stage, temper_error *error) {
    const char *data;
    size_t at = 0, size;
    temper_status status = TEMPER_OK;
    if (all_found(stage, does) || !map_output(store, find_output(node, does, "records"), &data, &size)) {
        return TEMPER_OK;
    }
    while (at < size && status == TEMPER_OK && !all_found(stage, does)) {
        const char *end = memchr(data + at, '\n', size - at);
        size_t length = end != NULL ? (size_t)(end - (data + at)) : size - at;
        if (is_wanted(stage, does, data + at, length)) {
            status = take_example(data + at, length, does, arena, stage, error);
        }
        at += length + 1;
    }
    tm_store_unmap(store, data, size);
    return status;
}

/* *takes_part: it has the metrics of a filter. */
static temper_status take_stage(tm_store *store, const temper_json *planned, const temper_json *node,
                                temper_arena *arena, tm_ledger_stage *stage, bool *takes_part,
                                temper_error *error) {
    const temper_json *metrics = NULL;
    const char *data;
    size_t size;
    temper_status status;
    *takes_part = false;
    if (!map_output(store, find_output(node, NULL, "metrics"), &data, &size)) {
        return TEMPER_OK;
    }
    status = tm_json_parse(arena, data, size, &metrics, error);
    tm_store_unmap(store, data, size);
    if (status || !count_of(metrics, "records", &stage->records) ||
        !count_of(metrics, "kept", &stage->kept) || !count_of(metrics, "dropped", &stage->dropped)) {
        return status;
    }
    *takes_part = true;
    stage->name = tm_json_text(tm_json_member(node, "name"), "");
    stage->bound = 1.0;
    (void)tm_json_double(tm_json_member(tm_json_member(planned, "parameters"), "most_dropped"),
                         &stage->bound);
    status = take_rules(metrics, arena, stage, error);
    status = status ? status : find_examples(store, node, "dropped", arena, stage, error);
    return status ? status : find_examples(store, node, "changed", arena, stage, error);
}

temper_status tm_ledger_of(tm_store *store, const temper_json *run, temper_arena *arena, tm_ledger *out,
                           temper_error *error) {
    const temper_json *planned = tm_json_member(tm_json_member(run, "plan"), "nodes"),
                      *nodes = tm_json_member(run, "nodes");
    size_t i, count = tm_json_length(nodes);
    temper_status status = TEMPER_OK;
    out->count = 0;
    out->stages = tm_arena_allocate(arena, (count + 1) * sizeof *out->stages);
    if (out->stages == NULL) {
        return no_memory(error);
    }
    for (i = 0; i < count && status == TEMPER_OK; i++) {
        tm_ledger_stage *stage = &out->stages[out->count];
        bool takes_part;
        memset(stage, 0, sizeof *stage);
        stage->node = i;
        status = take_stage(store, tm_json_element(planned, i), tm_json_element(nodes, i), arena, stage,
                            &takes_part, error);
        out->count += status == TEMPER_OK && takes_part;
    }
    return status;
}

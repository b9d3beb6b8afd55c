/* rows.c: see rows.h. */
#include "filter.h"

enum { KEPT, DROPPED, CHANGED };

const temper_port *const filter_outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "kept", 0, "", "the records that passed, unchanged"),
    TEMPER_PORT(TEMPER_RECORDS, "dropped", 0, "rule, evidence, number, record",
                "the others: the rule, what it found, the record's number in the input, and the record"),
    TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "", "records, kept, dropped, dropped_share and dropped_RULE"),
    NULL};

const temper_port *const filter_changing_outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "kept", 0, "",
                "the records that passed; those that no rule changed, as they were"),
    TEMPER_PORT(TEMPER_RECORDS, "dropped", 0, "rule, evidence, number, record",
                "the others: the rule, what it found, the record's number in the input, and the record"),
    TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "",
                "records, kept, dropped, dropped_share, changed, dropped_RULE and changed_RULE"),
    TEMPER_PORT(
        TEMPER_RECORDS, "changed", 0, "rule, evidence, number",
        "what was done to kept records: the rule, what it found, and the record's number in the input"),
    NULL};

/* What was cut by bytes may end within a character: what is left of that goes, so that the ledger is UTF-8. */
static void drop_pieces(char *cut) {
    temper_span text = {cut, strlen(cut)};
    size_t at, width, kept = 0;
    for (at = 0; at < text.length; at += width) {
        if (temper_text_character(text, at, &width) != 0xFFFD || width > 1) {
            memmove(cut + kept, cut + at, width);
            kept += width;
        }
    }
    cut[kept] = 0;
}

__attribute__((format(printf, 2, 0))) static void format_evidence(filter_verdict *verdict, const char *format,
                                                                  va_list arguments) {
    if (vsnprintf(verdict->evidence, sizeof verdict->evidence, format, arguments) < 0) {
        verdict->evidence[0] = 0;
    }
    drop_pieces(verdict->evidence);
}

void filter_row_drop(filter_row *row, const char *rule, const char *format, ...) {
    filter_verdict *verdict = row->verdict;
    va_list arguments;
    va_start(arguments, format);
    format_evidence(verdict, format, arguments);
    va_end(arguments);
    verdict->rule = rule;
    verdict->has_span = verdict->has_twin = verdict->has_value = false;
    verdict->instead = NULL;
}

void filter_row_span(filter_row *row, const temper_line_text_at *text, size_t start, size_t length) {
    filter_verdict *verdict = row->verdict;
    verdict->has_span = true;
    if (text->message != 0) {
        snprintf(verdict->field, sizeof verdict->field, "%.32s[%zu].content", text->field, text->position);
    } else {
        snprintf(verdict->field, sizeof verdict->field, "%.60s", text->field);
    }
    drop_pieces(verdict->field);
    verdict->start = start;
    verdict->length = length;
}

void filter_row_value(filter_row *row, double value, double bound) {
    row->verdict->has_value = true;
    row->verdict->value = value;
    row->verdict->bound = bound;
}

void filter_row_twin(filter_row *row, uint64_t twin, double similarity) {
    row->verdict->has_twin = true;
    row->verdict->twin = twin;
    row->verdict->similarity = similarity;
}

void filter_row_change(filter_row *row, const temper_buffer *instead) {
    row->verdict->instead = instead;
}

void filter_row_refuse(filter_row *row, temper_status status, const char *format, ...) {
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    temper_shard_fail(row->shard, row->line, status, "%s", message);
}

void filter_row_no_memory(filter_row *row) {
    temper_shard_fail(row->shard, NULL, TEMPER_NO_MEMORY, "out of memory (the limit is --memory)");
}

/* --- the pass ---------------------------------------------------------------------------------------------------- */

typedef struct counts {
    uint64_t dropped[FILTER_MOST_RULES], changed[FILTER_MOST_RULES];
} counts;

typedef struct running {
    filter_pass *pass;
    counts total;
} running;

/* The shortest text that reads back to the same number, by the host: it writes numbers canonically. */
static void put_number(const temper_host *host, temper_buffer *out, double number) {
    temper_arena *arena = host->json->arena_new();
    temper_json *value = arena == NULL ? NULL : host->json->new_number(arena, number);
    size_t length = 0;
    const char *text = value == NULL ? NULL : host->json->write(arena, value, &length);
    if (text == NULL) {
        out->failed = true;
    } else {
        temper_buffer_append(out, text, length);
    }
    if (arena != NULL) {
        host->json->arena_free(arena);
    }
}

static void put_integer(temper_buffer *out, const char *name, uint64_t number) {
    temper_buffer_format(out, ",\"%s\":%llu", name, (unsigned long long)number);
}

/* A row of the ledger: names in byte order, as canonical JSON has them. */
static void put_ledger(const temper_host *host, temper_buffer *out, const filter_verdict *verdict,
                       const temper_line *line, bool with_record) {
    temper_buffer_append(out, "{", 1);
    if (verdict->has_value) {
        temper_buffer_text(out, "\"bound\":");
        put_number(host, out, verdict->bound);
        temper_buffer_append(out, ",", 1);
    }
    temper_buffer_text(out, "\"evidence\":");
    temper_quote(out, temper_span_of(verdict->evidence));
    if (verdict->has_span) {
        temper_buffer_text(out, ",\"field\":");
        temper_quote(out, temper_span_of(verdict->field));
        put_integer(out, "length", verdict->length);
    }
    put_integer(out, "number", line->number);
    if (with_record) {
        temper_buffer_text(out, ",\"record\":");
        temper_buffer_append(out, line->text, line->length);
    }
    temper_buffer_text(out, ",\"rule\":");
    temper_quote(out, temper_span_of(verdict->rule));
    if (verdict->has_twin) {
        temper_buffer_text(out, ",\"similarity\":");
        put_number(host, out, verdict->similarity);
    }
    if (verdict->has_span) {
        put_integer(out, "start", verdict->start);
    }
    if (verdict->has_twin) {
        put_integer(out, "twin", verdict->twin);
    }
    if (verdict->has_value) {
        temper_buffer_text(out, ",\"value\":");
        put_number(host, out, verdict->value);
    }
    temper_buffer_append(out, "}", 1);
}

static size_t rule_index(const filter_pass *pass, const char *rule) {
    size_t i;
    for (i = 0; pass->rules[i] != rule && i + 1 < FILTER_MOST_RULES; i++) {
    }
    return i;
}

static void on_line(void *context, temper_shard *shard, const temper_line *line) {
    running *r = context;
    filter_pass *pass = r->pass;
    counts *own = shard->own;
    filter_verdict verdict;
    filter_row row = {line, shard->worker, shard, &verdict};
    verdict.rule = NULL;
    if (line->problem != NULL) {
        temper_shard_fail(shard, line, TEMPER_INVALID, "the line %s", line->problem);
        return;
    }
    pass->look(pass->context, &row, own + 1);
    if (verdict.rule == NULL) {
        temper_shard_copy(shard, KEPT, line);
    } else if (verdict.instead == NULL) {
        own->dropped[rule_index(pass, verdict.rule)]++;
        put_ledger(pass->host, temper_shard_begin(shard, DROPPED), &verdict, line, true);
        temper_shard_end(shard, DROPPED);
    } else {
        own->changed[rule_index(pass, verdict.rule)]++;
        temper_buffer_append(temper_shard_begin(shard, KEPT), verdict.instead->data, verdict.instead->length);
        temper_shard_end(shard, KEPT);
        put_ledger(pass->host, temper_shard_begin(shard, CHANGED), &verdict, line, false);
        temper_shard_end(shard, CHANGED);
    }
}

static temper_status on_joined(void *context, temper_shard *shard, temper_error *error) {
    running *r = context;
    const counts *own = shard->own;
    size_t i;
    for (i = 0; i < FILTER_MOST_RULES; i++) {
        r->total.dropped[i] += own->dropped[i];
        r->total.changed[i] += own->changed[i];
    }
    return r->pass->joined == NULL ? TEMPER_OK
                                   : r->pass->joined(r->pass->context, (counts *)shard->own + 1, error);
}

static temper_status write_metrics(const running *r, temper_output *output, uint64_t records,
                                   temper_error *error) {
    const filter_pass *pass = r->pass;
    uint64_t dropped = 0, changed = 0;
    char name[64];
    temper_row row;
    size_t i;
    temper_row_begin(&row, pass->host);
    for (i = 0; pass->rules[i] != NULL; i++) {
        snprintf(name, sizeof name, "dropped_%.48s", pass->rules[i]);
        temper_row_integer(&row, name, r->total.dropped[i]);
        if (pass->changes) {
            snprintf(name, sizeof name, "changed_%.48s", pass->rules[i]);
            temper_row_integer(&row, name, r->total.changed[i]);
        }
        dropped += r->total.dropped[i];
        changed += r->total.changed[i];
    }
    if (pass->changes) {
        temper_row_integer(&row, "changed", changed);
    }
    if (pass->metrics != NULL) {
        pass->metrics(pass->context, &row);
    }
    temper_row_integer(&row, "records", records);
    temper_row_integer(&row, "kept", records - dropped);
    temper_row_integer(&row, "dropped", dropped);
    temper_row_number(&row, "dropped_share", records == 0 ? 0.0 : (double)dropped / (double)records);
    return temper_row_metrics(&row, output, pass->host, error);
}

temper_status filter_rows(filter_pass *pass, temper_error *error) {
    const temper_host *host = pass->host;
    running r = {.pass = pass};
    temper_output *metrics = NULL;
    temper_lines_pass lines = {.host = host,
                               .input = host->input(host, pass->input),
                               .line = on_line,
                               .joined = on_joined,
                               .context = &r,
                               .own_size = sizeof(counts) + pass->own_size,
                               .unread = pass->second};
    temper_status status = host->output(host, "kept", &lines.sinks[KEPT], error);
    status = status ? status : host->output(host, "dropped", &lines.sinks[DROPPED], error);
    status = status ? status : host->output(host, "metrics", &metrics, error);
    if (status == TEMPER_OK && pass->changes) {
        status = host->output(host, "changed", &lines.sinks[CHANGED], error);
    }
    status = status ? status : temper_lines_run(&lines, error);
    return status ? status : write_metrics(&r, metrics, lines.lines, error);
}

/* --- buffers ----------------------------------------------------------------------------------------------------- */

temper_status filter_buffers_new(const temper_host *host, temper_pool *pool, filter_buffers *out,
                                 temper_error *error) {
    uint32_t i;
    out->count = host->workers(host);
    out->buffers = temper_pool_take(pool, out->count, sizeof *out->buffers);
    if (out->buffers == NULL) {
        out->count = 0;
        return temper_no_memory(error);
    }
    for (i = 0; i < out->count; i++) {
        temper_buffer_init(&out->buffers[i], host);
    }
    return TEMPER_OK;
}

void filter_buffers_free(filter_buffers *buffers) {
    uint32_t i;
    for (i = 0; i < buffers->count; i++) {
        temper_buffer_free(&buffers->buffers[i]);
    }
    buffers->count = 0;
}

bool filter_text(filter_row *row, const filter_buffers *buffers, uint32_t node, temper_span *out) {
    temper_buffer *buffer = &buffers->buffers[row->worker];
    if (temper_line_text(row->line, node, buffer, out)) {
        return true;
    }
    if (buffer->failed) {
        buffer->failed = false;
        filter_row_no_memory(row);
    }
    out->data = "";
    out->length = 0;
    return false;
}

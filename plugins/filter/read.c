/* read.c: files as they are found, made rows that every stage reads.
 *
 * The files of a folder one after another, by name: JSONL, or one JSON list; plain, or compressed as libarchive can tell (gzip,
 * zstd, xz, bzip2). A row in one of the field's other forms is written in ours (shapes.h); one in ours already is copied. What
 * is no row is set aside with its file and line: the run fails when there is too much of it (most_dropped). */
#include "filter.h"
#include "shapes.h"

#include <archive.h>

#define READ(P, S)                                                                                           \
    P(S, integer, longest, "longest", "16", 1, 1024, "MB", "", "a longer line is set aside", "0.2")          \
    P(S, flag, normalise, "normalise", "true", 0, 1, "", "",                                                 \
      "write ShareGPT, alpaca, prompt and completion, and dialogues as text as messages, or as pairs",       \
      "0.2")                                                                                                 \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(read, READ)

enum { KEPT, DROPPED, PIECE = 32 << 20 };

static const char broken[] = "broken", empty[] = "empty", too_long[] = "too_long", unknown[] = "unknown_form";
static const char *const rules[] = {broken, empty, too_long, unknown, NULL};

typedef struct tally {
    uint64_t dropped[4], made;
} tally;

typedef struct job {
    const temper_host *host;
    const read_parameters *parameters;
    temper_lines_pass pass;
    const char *file;
    uint64_t before; /* rows of the files before */
    filter_buffers scratch, made;
    tally total;
} job;

/* The row that could not be read, as far as it can be shown: what is no UTF-8 in it stands as U+FFFD. */
static void put_shown(temper_buffer *out, const temper_line *line) {
    enum { SHOWN = 2000 };
    temper_span text = {line->text, line->length < SHOWN ? line->length : SHOWN};
    temper_buffer shown;
    size_t at, width;
    temper_buffer_init(&shown, out->host);
    for (at = 0; at < text.length; at += width) {
        if (temper_text_character(text, at, &width) == 0xFFFD && width == 1) {
            temper_buffer_append(&shown, "\xEF\xBF\xBD", 3);
        } else {
            temper_buffer_append(&shown, text.data + at, width);
        }
    }
    temper_quote(out, (temper_span){shown.data == NULL ? "" : shown.data, shown.length});
    out->failed = out->failed || shown.failed;
    temper_buffer_free(&shown);
}

static void set_aside(job *j, temper_shard *shard, const temper_line *line, size_t rule,
                      const char *evidence) {
    temper_buffer *out = temper_shard_begin(shard, DROPPED);
    ((tally *)shard->own)->dropped[rule]++;
    temper_buffer_text(out, "{\"evidence\":");
    temper_quote(out, temper_span_of(evidence));
    temper_buffer_text(out, ",\"file\":");
    temper_quote(out, temper_span_of(j->file));
    temper_buffer_format(out, ",\"line\":%llu,\"number\":%llu",
                         (unsigned long long)(line->number - j->before), (unsigned long long)line->number);
    if (line->problem == NULL) {
        temper_buffer_text(out, ",\"record\":");
        temper_buffer_append(out, line->text, line->length);
    }
    temper_buffer_format(out, ",\"rule\":\"%s\"", rules[rule]);
    if (line->problem != NULL) {
        temper_buffer_text(out, ",\"text\":");
        put_shown(out, line);
    }
    temper_buffer_append(out, "}", 1);
    temper_shard_end(shard, DROPPED);
}

static void on_line(void *context, temper_shard *shard, const temper_line *line) {
    job *j = context;
    temper_buffer *made = &j->made.buffers[shard->worker];
    const char *why = "";
    char evidence[160];
    if (line->problem != NULL) {
        size_t rule = strcmp(line->problem, "is empty") == 0      ? 1
                      : strcmp(line->problem, "is too long") == 0 ? 2
                                                                  : 0;
        snprintf(evidence, sizeof evidence, "the line %s", line->problem);
        set_aside(j, shard, line, rule, evidence);
        return;
    }
    if (!j->parameters->normalise) {
        temper_shard_copy(shard, KEPT, line);
        return;
    }
    switch (filter_shape_of(line, &j->scratch.buffers[shard->worker], made, &why)) {
    case FILTER_SHAPE_AS_IT_IS: temper_shard_copy(shard, KEPT, line); return;
    case FILTER_SHAPE_UNKNOWN: set_aside(j, shard, line, 3, why); return;
    case FILTER_SHAPE_MADE: break;
    }
    ((tally *)shard->own)->made++;
    if (made->failed) {
        made->failed = false;
        temper_shard_fail(shard, NULL, TEMPER_NO_MEMORY, "out of memory (the limit is --memory)");
        return;
    }
    temper_buffer_append(temper_shard_begin(shard, KEPT), made->data, made->length);
    temper_shard_end(shard, KEPT);
}

static temper_status on_joined(void *context, temper_shard *shard, temper_error *error) {
    job *j = context;
    const tally *own = shard->own;
    size_t i;
    (void)error;
    for (i = 0; i < 4; i++) {
        j->total.dropped[i] += own->dropped[i];
    }
    j->total.made += own->made;
    return TEMPER_OK;
}

static temper_status run_text(job *j, const char *data, uint64_t length, bool goes_on, temper_error *error) {
    temper_status status;
    j->pass.goes_on = goes_on;
    status = temper_lines_run_bytes(&j->pass, data, length, error);
    j->pass.first += j->pass.lines;
    return status;
}

/* One JSON list: its elements as lines. */
static temper_status run_list(job *j, const char *data, size_t length, temper_error *error) {
    temper_line_reader *reader = temper_line_reader_new(j->host);
    temper_status status = TEMPER_OK;
    temper_buffer lines;
    temper_line list;
    uint32_t child;
    temper_buffer_init(&lines, j->host);
    if (reader == NULL || !temper_value_read(reader, data, length, &list)) {
        status = temper_no_memory(error);
    } else if (list.problem != NULL) {
        status = temper_fail(error, TEMPER_INVALID, "%s: the list %s", j->file, list.problem);
    }
    for (child = 1; status == TEMPER_OK && child < list.nodes[0].next; child = list.nodes[child].next) {
        if (!temper_line_canonical(&list, child, &lines)) {
            status = temper_no_memory(error);
        }
        temper_buffer_append(&lines, "\n", 1);
    }
    if (status == TEMPER_OK) {
        status = lines.failed ? temper_no_memory(error)
                              : run_text(j, lines.data == NULL ? "" : lines.data, lines.length, false, error);
    }
    temper_buffer_free(&lines);
    temper_line_reader_free(reader);
    return status;
}

static bool is_list(const char *data, size_t length) {
    size_t at = length >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    while (at < length && (data[at] == ' ' || data[at] == '\t' || data[at] == '\r' || data[at] == '\n')) {
        at++;
    }
    return at < length && data[at] == '[';
}

/* A compressed file, a piece at a time: whole lines of it are read while the rest waits. A list must be had whole. */
static temper_status run_compressed(job *j, const temper_file *file, temper_error *error) {
    struct archive *archive = archive_read_new();
    struct archive_entry *entry;
    temper_status status = TEMPER_OK;
    temper_buffer text;
    bool list = false, first = true;
    la_ssize_t got = 1;
    temper_buffer_init(&text, j->host);
    if (archive == NULL || archive_read_support_filter_all(archive) < ARCHIVE_WARN ||
        archive_read_support_format_raw(archive) < ARCHIVE_WARN) {
        status = temper_no_memory(error);
        goto out;
    }
    if (archive_read_open_memory(archive, file->data, file->length) != ARCHIVE_OK ||
        archive_read_next_header(archive, &entry) != ARCHIVE_OK) {
        status = temper_fail(error, TEMPER_INVALID, "%s: %s", j->file, archive_error_string(archive));
        goto out;
    }
    while (got > 0 && status == TEMPER_OK) {
        size_t end = text.length;
        if (!temper_buffer_reserve(&text, PIECE)) {
            status = temper_no_memory(error);
            break;
        }
        got = archive_read_data(archive, text.data + text.length, PIECE);
        if (got < 0) {
            status = temper_fail(error, TEMPER_INVALID, "%s: %s", j->file, archive_error_string(archive));
            break;
        }
        text.length += (size_t)got;
        list = first ? is_list(text.data, text.length) : list;
        first = false;
        if (list || got == 0) {
            continue;
        }
        for (end = text.length; end > 0 && text.data[end - 1] != '\n'; end--) {
        }
        if (end > 0) {
            status = run_text(j, text.data, end, true, error);
            memmove(text.data, text.data + end, text.length - end);
            text.length -= end;
        }
    }
    if (status == TEMPER_OK) {
        status = list ? run_list(j, text.data, text.length, error)
                      : run_text(j, text.data, text.length, false, error);
    }
out:
    archive_read_free(archive);
    temper_buffer_free(&text);
    return status;
}

static temper_status run_file(job *j, const temper_file *file, temper_error *error) {
    static const struct {
        const char *bytes;
        size_t length;
    } magics[] = {{"\x1F\x8B", 2},
                  {"\x28\xB5\x2F\xFD", 4},
                  {"\xFD"
                   "7zXZ",
                   5},
                  {"BZh", 3}};
    size_t i;
    j->file = file->name;
    j->before = j->pass.first;
    if (file->length >= 4 && memcmp(file->data, "PAR1", 4) == 0) {
        return temper_fail(
            error, TEMPER_UNSUPPORTED,
            "%s is Parquet, which is not read: no C library for it is in Debian; as JSON lines it is "
            "(python3: pandas.read_parquet(…).to_json(…, orient=\"records\", lines=True))",
            file->name);
    }
    for (i = 0; i < sizeof magics / sizeof *magics; i++) {
        if (file->length >= magics[i].length && memcmp(file->data, magics[i].bytes, magics[i].length) == 0) {
            return run_compressed(j, file, error);
        }
    }
    return is_list(file->data, (size_t)file->length) ? run_list(j, file->data, (size_t)file->length, error)
                                                     : run_text(j, file->data, file->length, false, error);
}

static temper_status write_metrics(const job *j, temper_output *output, size_t files, temper_error *error) {
    uint64_t dropped = 0, records = j->pass.first;
    char name[64];
    temper_row row;
    size_t i;
    temper_row_begin(&row, j->host);
    for (i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "dropped_%s", rules[i]);
        temper_row_integer(&row, name, j->total.dropped[i]);
        dropped += j->total.dropped[i];
    }
    temper_row_integer(&row, "files", files);
    temper_row_integer(&row, "rewritten", j->total.made);
    temper_row_integer(&row, "records", records);
    temper_row_integer(&row, "kept", records - dropped);
    temper_row_integer(&row, "dropped", dropped);
    temper_row_number(&row, "dropped_share", records == 0 ? 0.0 : (double)dropped / (double)records);
    return temper_row_metrics(&row, output, j->host, error);
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    job j = {.host = host, .parameters = self};
    const temper_input *input = host->input(host, "files");
    temper_output *metrics = NULL;
    temper_pool *pool = temper_pool_new(host);
    size_t count, i;
    temper_status status;
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    j.pass = (temper_lines_pass){.host = host,
                                 .line = on_line,
                                 .joined = on_joined,
                                 .context = &j,
                                 .own_size = sizeof(tally),
                                 .longest = (size_t)j.parameters->longest << 20};
    status = filter_buffers_new(host, pool, &j.scratch, error);
    status = status ? status : filter_buffers_new(host, pool, &j.made, error);
    status = status ? status : host->output(host, "kept", &j.pass.sinks[KEPT], error);
    status = status ? status : host->output(host, "dropped", &j.pass.sinks[DROPPED], error);
    status = status ? status : host->output(host, "metrics", &metrics, error);
    count = status ? 0 : host->file_count(host, input);
    for (i = 0; i < count && status == TEMPER_OK; i++) {
        temper_file file = {.size = sizeof file};
        status = host->file(host, input, i, &file, error);
        status = status ? status : run_file(&j, &file, error);
    }
    status = status ? status : write_metrics(&j, metrics, count, error);
    filter_buffers_free(&j.scratch);
    filter_buffers_free(&j.made);
    temper_pool_free(pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_MODEL, "files", 0, "",
                "a folder of JSONL files and JSON lists, or one such file, plain or compressed; in a recipe: "
                "temper.model"),
    NULL};
static const temper_port *const outputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "kept", 0, "messages, prompt, chosen, rejected, text", "the rows"),
    TEMPER_PORT(
        TEMPER_RECORDS, "dropped", 0, "rule, evidence, file, line, number, record, text",
        "what is no row of a known form: why, where, and the record, or the text as far as it can be shown"),
    TEMPER_PORT(TEMPER_METRICS, "metrics", 0, "",
                "files, records, kept, rewritten, dropped, dropped_share and dropped_RULE"),
    NULL};

const temper_stage filter_read_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "read",
    .doc = "reads files of chats and preferences in the field's formats",
    .inputs = inputs,
    .outputs = outputs,
    .parameters = read_parameter_table,
    .parameters_size = sizeof(read_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

/* pass.c: all lines of an input, on all threads, results in order.
 *
 * The input is cut where lines end, after SHARD bytes or as soon after as a line does; so the cuts are the text's own. Some
 * shards make a window: they are read side by side, then their results are handed on one after the other. A shard is
 * scanned whole; one with a fault somewhere is scanned line by line, so that only the line at fault pays for it. */
#include "lines/parse.h"

enum { SHARD = 1 << 20, WINDOW = 32, LONGEST = 16 << 20 };

typedef struct segment {
    const char *data; /* NULL: in the sink's bytes, at `offset` */
    size_t offset, length;
} segment;

typedef struct sink {
    temper_buffer segments, bytes; /* segment[]; lines made here */
    uint64_t lines;
    size_t begun;
} sink;

struct temper_shard_inside {
    const char *text;
    size_t length;
    sink sinks[TEMPER_LINES_SINKS];
    temper_status status;
    temper_error error;
};

typedef struct work {
    temper_lines_pass *pass;
    const temper_rows_service *rows;
    temper_parser *parsers; /* a worker each */
    uint32_t workers;
    temper_shard shards[WINDOW];
    struct temper_shard_inside insides[WINDOW];
    char *own;
    size_t count, longest;
    temper_buffer pieces;
} work;

/* --- what a stage sends ------------------------------------------------------------------------------------------ */

static void add_segment(sink *s, const char *data, size_t offset, size_t length) {
    segment next = {data, offset, length}, *last = NULL;
    if (s->segments.length > 0) {
        last = (segment *)(void *)(s->segments.data + s->segments.length - sizeof next);
    }
    if (last != NULL && data != NULL && last->data != NULL && last->data + last->length == data) {
        last->length += length;
    } else if (last != NULL && data == NULL && last->data == NULL && last->offset + last->length == offset) {
        last->length += length;
    } else {
        temper_buffer_append(&s->segments, &next, sizeof next);
    }
    s->lines++;
}

void temper_shard_copy(temper_shard *shard, size_t index, const temper_line *line) {
    sink *s = &shard->inside->sinks[index];
    if (line->whole) {
        add_segment(s, line->text, 0, line->length + 1);
        return;
    }
    temper_buffer_append(temper_shard_begin(shard, index), line->text, line->length);
    temper_shard_end(shard, index);
}

temper_buffer *temper_shard_begin(temper_shard *shard, size_t index) {
    sink *s = &shard->inside->sinks[index];
    s->begun = s->bytes.length;
    return &s->bytes;
}

void temper_shard_end(temper_shard *shard, size_t index) {
    sink *s = &shard->inside->sinks[index];
    temper_buffer_append(&s->bytes, "\n", 1);
    add_segment(s, NULL, s->begun, s->bytes.length - s->begun);
}

void temper_shard_fail(temper_shard *shard, const temper_line *line, temper_status status, const char *format,
                       ...) {
    struct temper_shard_inside *inside = shard->inside;
    char message[TEMPER_MESSAGE_SIZE - 64];
    va_list arguments;
    if (inside->status) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    inside->status = line == NULL ? temper_fail(&inside->error, status, "%s", message)
                                  : temper_fail(&inside->error, status, "record %llu: %s",
                                                (unsigned long long)line->number, message);
}

/* --- one shard --------------------------------------------------------------------------------------------------- */

static uint64_t count_lines(const char *text, size_t length) {
    enum { LANES = 64 };
    uint64_t lines = 0;
    while (length >= LANES) {
        uint8_t found[LANES] = {0};
        size_t blocks = length / LANES < 255 ? length / LANES : 255, i, j;
        for (i = 0; i < blocks; i++, text += LANES) {
            for (j = 0; j < LANES; j++) {
                found[j] = (uint8_t)(found[j] + (text[j] == '\n'));
            }
        }
        for (j = 0; j < LANES; j++) {
            lines += found[j];
        }
        length -= blocks * LANES;
    }
    for (; length > 0; length--) {
        lines += *text++ == '\n';
    }
    return lines;
}

static void count_shard(void *context, uint64_t index, uint32_t worker) {
    work *w = context;
    struct temper_shard_inside *inside = &w->insides[index];
    (void)worker;
    w->shards[index].lines = count_lines(inside->text, inside->length);
    if (inside->length > 0 && inside->text[inside->length - 1] != '\n') {
        w->shards[index].lines++;
    }
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

/* The line's bytes without white space around them. */
static void find_line(temper_line *line, const char *text, size_t length, bool fed, bool first) {
    const char *start = text;
    size_t given = length;
    if (first && length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) { /* a byte order mark */
        text += 3;
        length -= 3;
    }
    while (length > 0 && is_blank(text[length - 1])) {
        length--;
    }
    while (length > 0 && is_blank(*text)) {
        text++;
        length--;
    }
    line->text = text;
    line->length = length;
    line->whole = fed && text == start && length == given;
    line->problem = NULL;
    line->nodes = NULL;
    line->count = 0;
}

typedef struct reading {
    const uint32_t *positions; /* of the whole shard; NULL: none, line by line */
    uint32_t at, count;
} reading;

/* How many positions lie in front of `end`. */
static uint32_t tokens_before(const reading *r, size_t end) {
    uint32_t count = 0;
    while (r->at + count < r->count && r->positions[r->at + count] < end) {
        count++;
    }
    return count;
}

static void read_line(work *w, temper_parser *parser, const char *shard, reading *r, temper_line *line) {
    size_t from = (size_t)(line->text - shard), to = from + line->length;
    uint32_t tokens = r->positions == NULL ? 0 : tokens_before(r, to);
    if (line->length > w->longest) {
        line->problem = "is too long";
    } else if (line->length == 0) {
        line->problem = "is empty";
    } else if (w->pass->unread) {
        return;
    } else if (r->positions == NULL) {
        line->problem = temper_parse_text(parser, line->text, line->length, true);
    } else if (line->text[0] != '{') {
        line->problem = temper_parse(parser, shard, from, to, r->positions + r->at, tokens);
        line->problem = line->problem == NULL ? "is no object" : line->problem;
    } else {
        line->problem = temper_parse(parser, shard, from, to, r->positions + r->at, tokens);
    }
    r->at += tokens;
    if (line->problem == NULL) {
        line->nodes = parser->nodes;
        line->count = parser->count;
    }
}

static void run_shard(void *context, uint64_t index, uint32_t worker) {
    work *w = context;
    temper_shard *shard = &w->shards[index];
    struct temper_shard_inside *inside = shard->inside;
    temper_parser *parser = &w->parsers[worker];
    const char *at = inside->text, *end = at + inside->length;
    reading r = {NULL, 0, 0};
    temper_line line = {.number = shard->first};
    shard->worker = worker;
    if (!w->pass->unread && inside->length <= 2 * (size_t)SHARD) {
        switch (temper_scan_text(parser->scan, at, inside->length, &r.positions, &r.count)) {
        case TEMPER_SCAN_OK: break;
        case TEMPER_SCAN_BAD: r.positions = NULL; break;
        case TEMPER_SCAN_NO_MEMORY: parser->no_memory = true; break;
        }
    }
    while (at < end && !inside->status && !parser->no_memory) {
        const char *feed = memchr(at, '\n', (size_t)(end - at)), *to = feed == NULL ? end : feed;
        bool first = line.number == 1 && index == 0;
        find_line(&line, at, (size_t)(to - at), feed != NULL, first);
        if (first && line.text != at) {
            r.positions = NULL; /* the mark was scanned as a token */
        }
        read_line(w, parser, inside->text, &r, &line);
        if (!parser->no_memory) {
            w->pass->line(w->pass->context, shard, &line);
        }
        line.number++;
        at = feed == NULL ? end : feed + 1;
    }
    for (index = 0; index < TEMPER_LINES_SINKS; index++) {
        parser->no_memory =
            parser->no_memory || inside->sinks[index].bytes.failed || inside->sinks[index].segments.failed;
    }
    if (parser->no_memory) {
        temper_shard_fail(shard, NULL, TEMPER_NO_MEMORY, "out of memory (the limit is --memory)");
    }
}

/* --- all of them ------------------------------------------------------------------------------------------------- */

static temper_status hand_on(work *w, temper_shard *shard, size_t index, temper_error *error) {
    sink *s = &shard->inside->sinks[index];
    const segment *segments = (const segment *)(const void *)s->segments.data;
    size_t count = s->segments.length / sizeof *segments, i;
    if (s->lines == 0) {
        return TEMPER_OK;
    }
    temper_buffer_clear(&w->pieces);
    for (i = 0; i < count; i++) {
        temper_piece piece = {segments[i].data != NULL ? segments[i].data
                                                       : s->bytes.data + segments[i].offset,
                              segments[i].length};
        temper_buffer_append(&w->pieces, &piece, sizeof piece);
    }
    if (w->pieces.failed) {
        return temper_no_memory(error);
    }
    return w->rows->write(w->pass->sinks[index], (const temper_piece *)(const void *)w->pieces.data, count,
                          s->lines, error);
}

static temper_status join(work *w, temper_shard *shard, temper_error *error) {
    temper_status status = shard->inside->status;
    size_t i;
    if (status) {
        return temper_fail(error, status, "%s", shard->inside->error.message);
    }
    for (i = 0; i < TEMPER_LINES_SINKS && status == TEMPER_OK; i++) {
        if (w->pass->sinks[i] != NULL) {
            status = hand_on(w, shard, i, error);
        }
    }
    if (status == TEMPER_OK && w->pass->joined != NULL) {
        status = w->pass->joined(w->pass->context, shard, error);
    }
    return status;
}

/* The next shards of the text; false when there are none. */
static bool cut_window(work *w, const char **at, const char *end, uint64_t *index) {
    for (w->count = 0; w->count < WINDOW && *at < end; w->count++) {
        temper_shard *shard = &w->shards[w->count];
        struct temper_shard_inside *inside = &w->insides[w->count];
        size_t left = (size_t)(end - *at), i;
        const char *feed = left <= SHARD ? NULL : memchr(*at + SHARD - 1, '\n', left - SHARD + 1);
        inside->text = *at;
        inside->length = feed == NULL ? left : (size_t)(feed + 1 - *at);
        inside->status = TEMPER_OK;
        for (i = 0; i < TEMPER_LINES_SINKS; i++) {
            temper_buffer_clear(&inside->sinks[i].segments);
            temper_buffer_clear(&inside->sinks[i].bytes);
            inside->sinks[i].lines = 0;
        }
        shard->host = w->pass->host;
        shard->inside = inside;
        shard->index = (*index)++;
        shard->own = w->own + w->count * w->pass->own_size;
        *at += inside->length;
    }
    return w->count > 0;
}

static temper_status run_windows(work *w, const char *data, uint64_t length, temper_error *error) {
    const temper_host *host = w->pass->host;
    const char *at = data, *end = data + length;
    uint64_t index = 0, number = w->pass->first;
    temper_status status = TEMPER_OK;
    size_t i;
    while (status == TEMPER_OK && cut_window(w, &at, end, &index)) {
        if (host->cancelled(host)) {
            return temper_fail(error, TEMPER_CANCELLED, "stopped after %llu records",
                               (unsigned long long)number);
        }
        if (w->pass->own_size > 0) {
            memset(w->own, 0, w->count * w->pass->own_size);
        }
        host->parallel_for(host, w->count, count_shard, w);
        for (i = 0; i < w->count; i++) {
            w->shards[i].first = number + 1;
            number += w->shards[i].lines;
        }
        host->parallel_for(host, w->count, run_shard, w);
        for (i = 0; i < w->count && status == TEMPER_OK; i++) {
            status = join(w, &w->shards[i], error);
        }
        for (i = 0; i < w->count && w->pass->left != NULL; i++) {
            w->pass->left(w->pass->context, w->shards[i].own);
        }
        host->progress(host, number, 0, w->pass->unit == NULL ? "records" : w->pass->unit, NULL);
    }
    w->pass->lines = number - w->pass->first;
    return status;
}

static temper_status start(work *w, temper_error *error) {
    const temper_host *host = w->pass->host;
    size_t i, j;
    w->workers = host->workers(host);
    w->longest = w->pass->longest == 0 ? LONGEST : w->pass->longest;
    temper_buffer_init(&w->pieces, host);
    for (i = 0; i < WINDOW; i++) {
        for (j = 0; j < TEMPER_LINES_SINKS; j++) {
            temper_buffer_init(&w->insides[i].sinks[j].segments, host);
            temper_buffer_init(&w->insides[i].sinks[j].bytes, host);
        }
    }
    w->own = host->allocate(host, WINDOW * w->pass->own_size + 1);
    w->parsers = host->allocate(host, w->workers * sizeof *w->parsers);
    if (w->parsers != NULL) {
        memset(w->parsers, 0, w->workers * sizeof *w->parsers);
    }
    for (i = 0; w->parsers != NULL && i < w->workers; i++) {
        if (!temper_parser_start(&w->parsers[i], host)) {
            return temper_no_memory(error);
        }
    }
    return w->own == NULL || w->parsers == NULL ? temper_no_memory(error) : TEMPER_OK;
}

static void finish(work *w) {
    const temper_host *host = w->pass->host;
    size_t i, j;
    for (i = 0; w->parsers != NULL && i < w->workers; i++) {
        if (w->parsers[i].host != NULL) {
            temper_parser_end(&w->parsers[i]);
        }
    }
    for (i = 0; i < WINDOW; i++) {
        for (j = 0; j < TEMPER_LINES_SINKS; j++) {
            temper_buffer_free(&w->insides[i].sinks[j].segments);
            temper_buffer_free(&w->insides[i].sinks[j].bytes);
        }
    }
    temper_buffer_free(&w->pieces);
    host->release(host, w->own);
    host->release(host, w->parsers);
    host->release(host, w);
}

static const temper_rows_service *service(const temper_host *host) {
    const temper_rows_service *rows = host->extension(host, TEMPER_ROWS);
    return rows != NULL && rows->size >= sizeof *rows ? rows : NULL;
}

temper_status temper_lines_run_bytes(temper_lines_pass *pass, const char *data, uint64_t length,
                                     temper_error *error) {
    const temper_host *host = pass->host;
    work *w = host->allocate(host, sizeof *w);
    temper_status status;
    if (w == NULL) {
        return temper_no_memory(error);
    }
    memset(w, 0, sizeof *w);
    w->pass = pass;
    w->rows = service(host);
    while (!pass->goes_on && length > 0 && (is_blank(data[length - 1]) || data[length - 1] == '\n')) {
        if (data[length - 1] == '\n' &&
            (length < 2 || !(is_blank(data[length - 2]) || data[length - 2] == '\n'))) {
            break; /* the last line's own line feed */
        }
        length--;
    }
    if (!pass->goes_on && length == 1 && *data == '\n') {
        length = 0;
    }
    if (w->rows == NULL) {
        status = temper_fail(error, TEMPER_UNSUPPORTED,
                             "this host has no " TEMPER_ROWS ": a newer Temper is needed");
    } else {
        status = start(w, error);
    }
    status = status ? status : run_windows(w, data, length, error);
    finish(w);
    return status;
}

temper_status temper_lines_run(temper_lines_pass *pass, temper_error *error) {
    const temper_rows_service *rows = service(pass->host);
    const char *data;
    uint64_t length;
    temper_status status;
    if (rows == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "this host has no " TEMPER_ROWS ": a newer Temper is needed");
    }
    status = rows->map(pass->host, pass->input, &data, &length, error);
    return status ? status : temper_lines_run_bytes(pass, data, length, error);
}

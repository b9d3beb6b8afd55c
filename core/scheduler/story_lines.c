/* story_lines.c: rows as lines of a blob. Invariant: a line is a row and counts from 1, as in the editor; nothing is read past
 * the blob's end. */
#include "scheduler/story_inside.h"

#include "base/digest.h"

#include <string.h>

const char *story_name(const temper_json *object, const char *name) {
    return tm_json_text(tm_json_member(object, name), "");
}

bool story_is_rows(const temper_json *port) {
    const char *kind = story_name(port, "kind");
    return strcmp(kind, "records") == 0 || strcmp(kind, "character") == 0;
}

static const temper_json *blob_of(const story *s, const story_place *place) {
    const temper_json *outputs;
    size_t i;
    if (place->node < 0) {
        return tm_json_element(s->sources, (size_t)place->source);
    }
    outputs = tm_json_member(tm_json_element(s->nodes, (size_t)place->node), "outputs");
    for (i = 0; i < tm_json_length(outputs); i++) {
        if (strcmp(story_name(tm_json_element(outputs, i), "name"), place->output) == 0) {
            return tm_json_element(outputs, i);
        }
    }
    return NULL;
}

temper_status story_open(const story *s, const story_place *place, story_rows *rows) {
    tm_digest digest;
    const void *data;
    temper_status status;
    rows->data = NULL;
    rows->size = 0;
    if (!tm_digest_parse(story_name(blob_of(s, place), "digest"), &digest)) {
        return temper_fail(s->error, TEMPER_INVALID, "%s has no rows", story_at(s, place));
    }
    status = tm_store_map(s->store, &digest, &data, &rows->size, s->error);
    rows->data = data;
    return status;
}

void story_close(const story *s, story_rows *rows) {
    if (rows->data != NULL) {
        tm_store_unmap(s->store, rows->data, rows->size);
    }
    rows->data = NULL;
}

bool story_next(const story_rows *rows, size_t *at, const char **line, size_t *length) {
    const char *end;
    if (*at >= rows->size) {
        return false;
    }
    *line = rows->data + *at;
    end = memchr(*line, '\n', rows->size - *at);
    *length = end != NULL ? (size_t)(end - *line) : rows->size - *at;
    *at += *length + 1;
    return true;
}

bool story_line(const story_rows *rows, uint64_t number, const char **line, size_t *length) {
    size_t at = 0;
    uint64_t i;
    for (i = 0; i < number; i++) {
        if (!story_next(rows, &at, line, length)) {
            return false;
        }
    }
    return number > 0;
}

uint64_t story_line_of(const story_rows *rows, const story_text *text) {
    const char *candidate;
    size_t at = 0, bytes;
    uint64_t number;
    for (number = 1; story_next(rows, &at, &candidate, &bytes); number++) {
        if ((bytes == text->raw_length && memcmp(candidate, text->raw, bytes) == 0) ||
            (bytes == text->canonical_length && memcmp(candidate, text->canonical, bytes) == 0)) {
            return number;
        }
    }
    return 0;
}

/* Behind the string that begins at `at`; the end of the line when it has none. */
static size_t skip_string(const char *line, size_t length, size_t at) {
    for (at++; at < length && line[at] != '"'; at++) {
        at += line[at] == '\\';
    }
    return at < length ? at + 1 : length;
}

static size_t skip_value(const char *line, size_t length, size_t at) {
    size_t depth = 0;
    while (at < length) {
        char c = line[at];
        if (c == '"') {
            at = skip_string(line, length, at);
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}')) {
            break;
        }
        depth += c == '{' || c == '[';
        depth -= (c == '}' || c == ']') && depth > 0;
        at++;
    }
    return at;
}

bool story_number(const char *line, size_t length, uint64_t *out) {
    static const char wanted[] = "\"number\"";
    size_t at = 1, end;
    if (length == 0 || line[0] != '{') {
        return false;
    }
    while (at < length && line[at] == '"') {
        end = skip_string(line, length, at);
        if (end - at == sizeof wanted - 1 && memcmp(line + at, wanted, sizeof wanted - 1) == 0) {
            uint64_t number = 0;
            for (at = end + 1; at < length && line[at] >= '0' && line[at] <= '9'; at++) {
                if (number > UINT64_MAX / 10 - 1) {
                    return false;
                }
                number = number * 10 + (uint64_t)(line[at] - '0');
            }
            *out = number;
            return number > 0;
        }
        at = skip_value(line, length, end + 1);
        at += at < length && line[at] == ',';
    }
    return false;
}

temper_status story_record(const story *s, const story_place *place, const temper_json **record,
                           story_text *text) {
    story_rows rows;
    const char *line;
    size_t bytes;
    tm_buffer canonical = TM_BUFFER_INIT;
    temper_status status = story_open(s, place, &rows);
    if (status) {
        return status;
    }
    if (!story_line(&rows, place->number, &line, &bytes)) {
        size_t at = 0;
        uint64_t count = 0;
        while (story_next(&rows, &at, &line, &bytes)) {
            count++;
        }
        status = temper_fail(s->error, TEMPER_INVALID, "there is no row %s: it has %llu", story_at(s, place),
                             (unsigned long long)count);
        goto out;
    }
    status = tm_json_parse(s->arena, line, bytes, record, s->error);
    if (status) {
        status = temper_fail_in(s->error, status, "row %s", story_at(s, place));
        goto out;
    }
    if (text != NULL && (status = tm_json_write(*record, &canonical, s->error)) == TEMPER_OK) {
        text->raw = tm_arena_copy(s->arena, line, bytes);
        text->raw_length = bytes;
        text->canonical =
            tm_buffer_ok(&canonical) ? tm_arena_copy(s->arena, canonical.data, canonical.length) : NULL;
        text->canonical_length = canonical.length;
        status = text->raw == NULL || text->canonical == NULL
                     ? temper_fail(s->error, TEMPER_NO_MEMORY, "out of memory")
                     : TEMPER_OK;
    }
out:
    tm_buffer_free(&canonical);
    story_close(s, &rows);
    return status;
}

const char *story_at(const story *s, const story_place *place) {
    const char *text;
    if (place->node < 0) {
        text = tm_arena_format(s->arena, "%s:%llu",
                               story_name(tm_json_element(s->sources, (size_t)place->source), "id"),
                               (unsigned long long)place->number);
    } else {
        text = tm_arena_format(s->arena, "%s.%s:%llu",
                               story_name(tm_json_element(s->nodes, (size_t)place->node), "name"),
                               place->output, (unsigned long long)place->number);
    }
    return text != NULL ? text : "?";
}

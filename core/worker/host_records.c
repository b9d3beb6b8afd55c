/* host_records.c: records, read in batches from a mapped blob.
 *
 * Invariant: every record handed out is an object that passed the strict parser; a line that does not names the input
 * and the record's number. Records count from 1, and a record is a line, so the number is the editor's too. */
#include "worker/host.h"

#include "base/text.h"
#include <stdlib.h>

struct temper_batch {
    temper_batch *next, **link; /* in the reader's list of open batches */
    temper_arena *arena;
    const temper_json **records;
    size_t length;
    uint64_t first; /* number of the first */
};

struct temper_reader {
    tm_worker *worker;
    temper_reader *next; /* in the worker's list */
    const temper_input *input;
    const char *at, *end;
    uint64_t number; /* of the last record read */
    temper_batch *batches;
    bool closed;
};

static const char byte_order_mark[] = "\xef\xbb\xbf";

temper_status tm_host_read_records(const temper_host *host, const temper_input *input, temper_reader **out,
                                   temper_error *error) {
    const tm_host *self = host->self;
    if (!tm_on_run_thread("read_records")) {
        return tm_misused(error);
    }
    if (input == NULL || (input->kind != TEMPER_RECORDS && input->kind != TEMPER_CHARACTER)) {
        return temper_fail(error, TEMPER_FAILED, "read_records: %s",
                           input == NULL ? "there is no such input" : "the input has no records");
    }
    temper_status status = tm_input_map(input, error);
    if (status) {
        return status;
    }
    if (input->size >= 3 && memcmp(input->data, byte_order_mark, 3) == 0) {
        return temper_fail(
            error, TEMPER_INVALID,
            "input \"%s\" begins with a byte order mark: remove it (sed '1s/^\\xEF\\xBB\\xBF//')",
            input->name);
    }
    temper_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "input \"%s\": no memory for a reader", input->name);
    }
    reader->worker = self->worker;
    reader->input = input;
    reader->at = input->data;
    reader->end = reader->at + input->size;
    reader->next = self->worker->readers;
    self->worker->readers = reader;
    *out = reader;
    return TEMPER_OK;
}

static bool only_space(const char *from, const char *to) {
    while (from < to && (*from == ' ' || *from == '\t' || *from == '\r' || *from == '\n')) {
        from++;
    }
    return from == to;
}

/* A broken line: say what a person needs to find it. */
static temper_status broken(const temper_reader *reader, temper_status status, temper_error *error) {
    return temper_fail_in(error, status, "input \"%s\", record %llu", reader->input->name,
                          (unsigned long long)reader->number);
}

static temper_status read_one(temper_reader *reader, temper_arena *arena, const temper_json **out,
                              temper_error *error) {
    size_t bad, left = (size_t)(reader->end - reader->at);
    const char *line = reader->at, *newline = memchr(line, '\n', left);
    const char *end = newline != NULL ? newline : reader->end;
    reader->at = newline != NULL ? newline + 1 : reader->end;
    reader->number++;
    if (only_space(line, end)) {
        temper_fail(error, TEMPER_INVALID, "the line is empty; a record is one object a line");
        return broken(reader, TEMPER_INVALID, error);
    }
    if (!tm_text_utf8(line, (size_t)(end - line), &bad)) {
        temper_fail(error, TEMPER_INVALID, "the line is not UTF-8 at its byte %zu", bad + 1);
        return broken(reader, TEMPER_INVALID, error);
    }
    temper_status status = tm_json_parse(arena, line, (size_t)(end - line), out, error);
    if (status) {
        return broken(reader, status, error);
    }
    if (tm_json_kind(*out) != TEMPER_JSON_OBJECT) {
        temper_fail(error, TEMPER_INVALID, "the line is JSON, but no object: a record is {\"field\": …}");
        return broken(reader, TEMPER_INVALID, error);
    }
    return TEMPER_OK;
}

/* As many as wanted, but no more than the rest of the input could hold: an object and its newline take three bytes. */
static size_t room_for(const temper_reader *reader, size_t limit) {
    size_t most = (size_t)(reader->end - reader->at) / 3 + 1, bound = reader->worker->batch_limit;
    most = bound > 0 && bound < most ? bound : most;
    return limit < most ? limit : most;
}

temper_status tm_host_next(temper_reader *reader, size_t limit, temper_batch **out, temper_error *error) {
    temper_status status = TEMPER_OK;
    if (!tm_on_run_thread("next")) {
        return tm_misused(error);
    }
    if (reader->closed || limit == 0) {
        return temper_fail(error, TEMPER_FAILED, "next: %s",
                           limit == 0 ? "the limit is 0" : "the reader is closed");
    }
    if (only_space(reader->at, reader->end)) {
        return TEMPER_END;
    }
    temper_batch *batch = calloc(1, sizeof *batch);
    size_t room = room_for(reader, limit);
    temper_arena *arena = tm_arena_new();
    const temper_json **records = malloc(room * sizeof *records);
    if (batch == NULL || arena == NULL || records == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for records");
        status = broken(reader, status, error);
        goto out;
    }
    batch->first = reader->number + 1;
    while (batch->length < room && !status && !only_space(reader->at, reader->end)) {
        status = read_one(reader, arena, &records[batch->length], error);
        batch->length += status == TEMPER_OK;
    }
    if (status) {
        goto out;
    }
    batch->arena = arena;
    batch->records = records;
    batch->next = reader->batches;
    batch->link = &reader->batches;
    if (batch->next != NULL) {
        batch->next->link = &batch->next;
    }
    reader->batches = batch;
    *out = batch;
    return TEMPER_OK;
out:
    free(records);
    tm_arena_free(arena);
    free(batch);
    return status;
}

size_t tm_host_batch_length(const temper_batch *batch) {
    return batch->length;
}

const temper_json *tm_host_record(const temper_batch *batch, size_t index) {
    return index < batch->length ? batch->records[index] : NULL;
}

uint64_t tm_host_record_number(const temper_batch *batch, size_t index) {
    return batch->first + index;
}

static void free_batch(temper_batch *batch) {
    tm_arena_free(batch->arena);
    free(batch->records);
    free(batch);
}

void tm_host_release_batch(temper_batch *batch) {
    if (batch != NULL && tm_on_run_thread("release_batch")) {
        *batch->link = batch->next;
        if (batch->next != NULL) {
            batch->next->link = batch->link;
        }
        free_batch(batch);
    }
}

void tm_host_close_reader(temper_reader *reader) {
    if (reader != NULL && tm_on_run_thread("close_reader")) {
        reader->closed = true; /* its batches stay valid: they are the plugin's until released */
    }
}

void tm_readers_end(tm_worker *worker) {
    for (temper_reader *reader = worker->readers, *next_reader; reader != NULL; reader = next_reader) {
        for (temper_batch *batch = reader->batches, *next_batch; batch != NULL; batch = next_batch) {
            next_batch = batch->next;
            free_batch(batch);
        }
        next_reader = reader->next;
        free(reader);
    }
    worker->readers = NULL;
}

/* host_outputs.c: outputs, committed whole or not at all.
 *
 * Bytes go to the store's temporary files as they come; only tm_outputs_commit, after the stage has ended well and every
 * declared output was begun, gives them names. Invariants kept here, whatever the plugin does: a record is an object,
 * written canonically, so without NaN; text is UTF-8 from its first byte to its last; metrics are a flat object of
 * finite numbers; a model's paths are a store's (tm_tree_path_valid) and stand once. */
#include "worker/host.h"

#include "base/text.h"
#include "plugin/words.h"
#include <math.h>
#include <stdlib.h>

enum { FLUSH_AT = 1 << 16 };

typedef struct output_file {
    char *path;
    tm_store_writer *writer; /* NULL: linked, `digest` is known */
    tm_digest digest;
    uint64_t size;
} output_file;

struct temper_output {
    tm_worker *worker;
    const char *name;
    temper_kind kind;
    bool begun, has_metrics;
    tm_store_writer *writer; /* all kinds but models */
    tm_buffer buffer;        /* records not yet handed to the writer */
    uint64_t records, bytes;
    unsigned char tail[4]; /* the bytes of a character cut between two write_bytes */
    size_t tail_length;
    output_file *files; /* models: in the order they were begun */
    size_t file_count, file_room;
    bool file_open; /* the last of `files` takes write_bytes */
};

temper_status tm_outputs_start(tm_worker *worker, const temper_stage *stage, temper_error *error) {
    size_t count = 0;
    while (stage->outputs[count] != NULL) {
        count++;
    }
    worker->outputs = calloc(count + 1, sizeof *worker->outputs);
    if (worker->outputs == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for outputs");
    }
    for (size_t i = 0; i < count; i++) {
        worker->outputs[i].worker = worker;
        worker->outputs[i].name = stage->outputs[i]->name;
        worker->outputs[i].kind = stage->outputs[i]->kind;
    }
    worker->output_count = count;
    return TEMPER_OK;
}

void tm_outputs_end(tm_worker *worker) {
    for (size_t i = 0; i < worker->output_count; i++) {
        struct temper_output *output = &worker->outputs[i];
        if (output->writer != NULL) {
            tm_store_writer_abort(output->writer);
        }
        for (size_t j = 0; j < output->file_count; j++) {
            if (output->files[j].writer != NULL) {
                tm_store_writer_abort(output->files[j].writer);
            }
            free(output->files[j].path);
        }
        free(output->files);
        tm_buffer_free(&output->buffer);
    }
    free(worker->outputs);
    worker->outputs = NULL;
    worker->output_count = 0;
}

static temper_status unknown_output(const tm_worker *worker, const char *name, temper_error *error) {
    const char **names = calloc(worker->output_count + 1, sizeof *names);
    const char *nearest = NULL;
    for (size_t i = 0; names != NULL && i < worker->output_count; i++) {
        names[i] = worker->outputs[i].name;
    }
    if (names != NULL) {
        nearest = tm_text_nearest(name, names, worker->output_count);
    }
    free(names);
    return temper_fail(error, TEMPER_FAILED, "the stage declares no output \"%.64s\"%s%s%s", name,
                       nearest != NULL ? "; is \"" : "", nearest != NULL ? nearest : "",
                       nearest != NULL ? "\" meant?" : "");
}

temper_status tm_host_output(const temper_host *host, const char *name, temper_output **out,
                             temper_error *error) {
    const tm_host *self = host->self;
    tm_worker *worker = self->worker;
    if (!tm_on_run_thread("output")) {
        return tm_misused(error);
    }
    for (size_t i = 0; i < worker->output_count; i++) {
        temper_output *output = &worker->outputs[i];
        if (strcmp(output->name, name) != 0) {
            continue;
        }
        if (!output->begun && output->kind != TEMPER_MODEL) {
            temper_status status = tm_store_writer_new(worker->store, &output->writer, error);
            if (status) {
                return temper_fail_in(error, status, "output \"%s\"", name);
            }
        }
        output->begun = true;
        *out = output;
        return TEMPER_OK;
    }
    return unknown_output(worker, name, error);
}

static temper_status in_output(const temper_output *output, temper_status status, temper_error *error) {
    return status ? temper_fail_in(error, status, "output \"%s\"", output->name) : TEMPER_OK;
}

/* Refusals that a plugin might not look at are kept: a stage that wrote something wrong never commits. */
static temper_status refuse(const temper_output *output, temper_error *error, const char *reason) {
    tm_misuse(TEMPER_INVALID, "output \"%s\": %s", output->name, reason);
    return temper_fail(error, TEMPER_INVALID, "output \"%s\": %s", output->name, reason);
}

const tm_worker *tm_output_worker(const temper_output *output) {
    return output->worker;
}

temper_status tm_output_refuse(const temper_output *output, temper_error *error, const char *reason) {
    return refuse(output, error, reason);
}

static temper_status flush(temper_output *output, temper_error *error) {
    temper_status status =
        tm_store_writer_add(output->writer, output->buffer.data, output->buffer.length, error);
    output->bytes += output->buffer.length;
    tm_buffer_clear(&output->buffer);
    return in_output(output, status, error);
}

temper_status tm_host_write_record(temper_output *output, const temper_json *record, temper_error *error) {
    temper_error cause = TEMPER_ERROR_INIT;
    char reason[TEMPER_MESSAGE_SIZE];
    temper_status status;
    if (!tm_on_run_thread("write_record") || tm_misused(NULL)) {
        return tm_misused(error);
    }
    if (output->kind != TEMPER_RECORDS && output->kind != TEMPER_CHARACTER) {
        return refuse(output, error, "it holds no records");
    }
    if (tm_json_kind(record) != TEMPER_JSON_OBJECT) {
        snprintf(reason, sizeof reason, "record %llu is no object", (unsigned long long)output->records + 1);
        return refuse(output, error, reason);
    }
    status = tm_json_write(record, &output->buffer, &cause);
    tm_buffer_byte(&output->buffer, '\n');
    if (status || !tm_buffer_ok(&output->buffer)) {
        snprintf(reason, sizeof reason, "record %llu: %.900s", (unsigned long long)output->records + 1,
                 status ? cause.message : "memory is short");
        return refuse(output, error, reason);
    }
    output->records++;
    return output->buffer.length >= FLUSH_AT ? flush(output, error) : TEMPER_OK;
}

temper_status tm_output_lines(temper_output *output, const temper_piece *piece, bool lasting,
                              temper_error *error) {
    temper_status status = TEMPER_OK;
    if (output->kind != TEMPER_RECORDS && output->kind != TEMPER_CHARACTER) {
        return refuse(output, error, "it holds no records");
    }
    if (!lasting || piece->length < FLUSH_AT / 8) { /* small pieces are gathered */
        tm_buffer_append(&output->buffer, piece->data, piece->length);
        if (!tm_buffer_ok(&output->buffer)) {
            return refuse(output, error, "memory is short");
        }
        return output->buffer.length >= FLUSH_AT ? flush(output, error) : TEMPER_OK;
    }
    status = output->buffer.length > 0 ? flush(output, error) : TEMPER_OK;
    if (!status) {
        status = in_output(
            output, tm_store_writer_add_lasting(output->writer, piece->data, piece->length, error), error);
        output->bytes += piece->length;
    }
    return status;
}

temper_status tm_output_said(temper_output *output, uint64_t records) {
    output->records += records;
    return TEMPER_OK;
}

/* How many bytes a character that begins with `byte` has; 1 for what begins none. */
static size_t character_length(unsigned char byte) {
    return byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
}

/* The cut character goes on: takes bytes until it is whole or they end. False when it is none. */
static bool finish_character(temper_output *output, const unsigned char **bytes, size_t *length) {
    size_t bad, whole = output->tail_length > 0 ? character_length(output->tail[0]) : 0;
    while (output->tail_length<whole && * length> 0) {
        output->tail[output->tail_length++] = *(*bytes)++;
        --*length;
    }
    if (output->tail_length < whole) {
        return true;
    }
    bool good = tm_text_utf8((const char *)output->tail, whole, &bad);
    output->tail_length = 0;
    return good;
}

/* UTF-8 across calls: `tail` keeps the bytes of a character that a call cut. */
static bool text_goes_on(temper_output *output, const unsigned char *bytes, size_t length) {
    size_t bad, cut = 0;
    if (!finish_character(output, &bytes, &length)) {
        return false;
    }
    for (size_t back = 1; back <= 3 && back <= length && cut == 0; back++) {
        unsigned char byte = bytes[length - back];
        if (byte >= 0xc0) { /* a character begins here; does it end? */
            cut = character_length(byte) > back ? back : 0;
            break;
        }
    }
    if (length > cut && !tm_text_utf8((const char *)bytes, length - cut, &bad)) {
        return false;
    }
    if (cut > 0) {
        memcpy(output->tail, bytes + length - cut, cut);
        output->tail_length = cut;
    }
    return true;
}

temper_status tm_host_write_bytes(temper_output *output, const void *data, size_t length,
                                  temper_error *error) {
    if (!tm_on_run_thread("write_bytes")) {
        return tm_misused(error);
    }
    if (output->kind == TEMPER_MODEL) {
        if (!output->file_open) {
            return refuse(output, error, "begin_file comes before write_bytes");
        }
        output_file *file = &output->files[output->file_count - 1];
        file->size += length;
        return in_output(output, tm_store_writer_add(file->writer, data, length, error), error);
    }
    if (output->kind != TEMPER_TEXT && output->kind != TEMPER_REPORT) {
        return refuse(output, error, "it takes records or metrics, no bytes");
    }
    if (!text_goes_on(output, data, length)) {
        char reason[96];
        snprintf(reason, sizeof reason, "the text is not UTF-8, within the %zu bytes after byte %llu", length,
                 (unsigned long long)output->bytes);
        return refuse(output, error, reason);
    }
    output->bytes += length;
    return in_output(output, tm_store_writer_add(output->writer, data, length, error), error);
}

temper_status tm_host_write_metrics(temper_output *output, const temper_json *object, temper_error *error) {
    char reason[256];
    if (!tm_on_run_thread("write_metrics") || tm_misused(NULL)) {
        return tm_misused(error);
    }
    if (output->kind != TEMPER_METRICS) {
        return refuse(output, error, "it is no output of kind metrics");
    }
    if (output->has_metrics) {
        return refuse(output, error, "metrics are one object; this is a second one");
    }
    if (tm_json_kind(object) != TEMPER_JSON_OBJECT) {
        return refuse(output, error, "metrics are an object of numbers");
    }
    for (size_t i = 0; i < tm_json_length(object); i++) {
        const temper_json *value;
        const char *name = tm_json_name(object, i, &value);
        double number;
        if (!tm_json_double(value, &number) || !isfinite(number)) {
            snprintf(reason, sizeof reason, "metric \"%.100s\" is no finite number", name);
            return refuse(output, error, reason);
        }
    }
    temper_status status = tm_json_write(object, &output->buffer, error);
    if (status || !tm_buffer_ok(&output->buffer)) {
        return refuse(output, error, "the metrics could not be written: memory is short");
    }
    output->has_metrics = true;
    return flush(output, error);
}

/* A path for one more file of a model output; NULL (and a message) when it cannot be. */
static output_file *new_file(temper_output *output, const char *path, temper_error *error) {
    char reason[512];
    if (!tm_tree_path_valid(path)) {
        snprintf(reason, sizeof reason,
                 "\"%.255s\" is no path of a model's file: relative, no \"..\", no empty part", path);
        refuse(output, error, reason);
        return NULL;
    }
    for (size_t i = 0; i < output->file_count; i++) {
        if (strcmp(output->files[i].path, path) == 0) {
            snprintf(reason, sizeof reason, "the file %.255s is begun twice", path);
            refuse(output, error, reason);
            return NULL;
        }
    }
    if (output->file_count == output->file_room) {
        size_t room = output->file_room > 0 ? output->file_room * 2 : 8;
        output_file *files = realloc(output->files, room * sizeof *files);
        if (files == NULL) {
            refuse(output, error, "memory is short");
            return NULL;
        }
        output->files = files;
        output->file_room = room;
    }
    output_file *file = &output->files[output->file_count];
    memset(file, 0, sizeof *file);
    file->path = strdup(path);
    if (file->path == NULL) {
        refuse(output, error, "memory is short");
        return NULL;
    }
    output->file_count++;
    output->file_open = false;
    return file;
}

temper_status tm_host_begin_file(temper_output *output, const char *name, temper_error *error) {
    if (!tm_on_run_thread("begin_file")) {
        return tm_misused(error);
    }
    if (output->kind != TEMPER_MODEL) {
        return refuse(output, error, "only a model has files");
    }
    output_file *file = new_file(output, name, error);
    if (file == NULL) {
        return TEMPER_INVALID;
    }
    temper_status status = tm_store_writer_new(output->worker->store, &file->writer, error);
    output->file_open = status == TEMPER_OK;
    return in_output(output, status, error);
}

temper_status tm_host_link_input(temper_output *output, const char *prefix, const temper_input *input,
                                 temper_error *error) {
    char path[512];
    if (!tm_on_run_thread("link_input")) {
        return tm_misused(error);
    }
    if (output->kind != TEMPER_MODEL || input == NULL || input->kind != TEMPER_MODEL) {
        return refuse(output, error, "link_input takes an input and an output of kind model");
    }
    size_t count = tm_host_file_count(&output->worker->host.vtable, input);
    for (size_t i = 0; i < count; i++) {
        const tm_tree_entry *entry = &input->tree.entries[i];
        int length = *prefix != 0 ? snprintf(path, sizeof path, "%s/%s", prefix, entry->path)
                                  : snprintf(path, sizeof path, "%s", entry->path);
        output_file *file = length > 0 && (size_t)length < sizeof path ? new_file(output, path, error) : NULL;
        if (file == NULL) {
            return TEMPER_INVALID;
        }
        file->digest = entry->digest;
        file->size = entry->size;
    }
    return TEMPER_OK;
}

static int by_path(const void *a, const void *b) {
    const tm_tree_entry *left = a, *right = b;
    return strcmp(left->path, right->path);
}

static temper_status commit_model(temper_output *output, tm_digest *digest, temper_error *error) {
    tm_tree tree = {calloc(output->file_count + 1, sizeof(tm_tree_entry)), output->file_count};
    temper_status status = TEMPER_OK;
    if (tree.entries == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a folder");
    }
    for (size_t i = 0; i < output->file_count && !status; i++) {
        output_file *file = &output->files[i];
        if (file->writer != NULL) {
            status = tm_store_writer_commit(file->writer, &file->digest, error);
            file->writer = NULL;
        }
        tree.entries[i] = (tm_tree_entry){file->path, file->digest, file->size};
        output->bytes += file->size;
    }
    if (!status) {
        qsort(tree.entries, tree.count, sizeof *tree.entries, by_path);
        status = tm_store_put_tree(output->worker->store, &tree, digest, error);
    }
    free(tree.entries); /* the paths stay the files' */
    return status;
}

static temper_status commit_one(temper_output *output, tm_digest *digest, temper_error *error) {
    temper_status status;
    if (output->kind == TEMPER_MODEL) {
        return commit_model(output, digest, error);
    }
    status = tm_store_writer_commit(output->writer, digest, error);
    output->writer = NULL;
    return status;
}

/* What must hold before the first byte of any output gets a name. */
static temper_status check_whole(const temper_output *output, temper_error *error) {
    const char *missing = NULL;
    if (!output->begun) {
        missing = "was never begun: every declared output is, even when it stays empty";
    } else if (output->kind == TEMPER_METRICS && !output->has_metrics) {
        missing = "was begun, but no metrics were written";
    } else if (output->kind == TEMPER_MODEL && output->file_count == 0) {
        missing = "was begun, but no file of the model";
    } else if (output->tail_length > 0) {
        missing = "ends in the middle of a UTF-8 character";
    }
    return missing == NULL ? TEMPER_OK
                           : temper_fail(error, TEMPER_INVALID, "output \"%s\" %s", output->name, missing);
}

/* As many lines as records: a stage that writes bytes may have miscounted, or put a line feed into one. */
static temper_status check_lines(temper_output *output, temper_error *error) {
    char reason[128];
    uint64_t lines;
    if (output->kind == TEMPER_MODEL) {
        return TEMPER_OK;
    }
    temper_status status = flush(output, error);
    if (!status) {
        status = in_output(output, tm_store_writer_finish(output->writer, &lines, error), error);
    }
    if (status || (output->kind != TEMPER_RECORDS && output->kind != TEMPER_CHARACTER) ||
        lines == output->records) {
        return status;
    }
    snprintf(reason, sizeof reason, "%llu records were announced, and %llu lines written",
             (unsigned long long)output->records, (unsigned long long)lines);
    return refuse(output, error, reason);
}

static temper_json *describe_output(temper_arena *arena, const temper_output *output,
                                    const tm_digest *digest) {
    char text[TM_DIGEST_TEXT];
    temper_json *entry = tm_json_object(arena);
    tm_digest_text(digest, text);
    bool ok = entry != NULL && tm_json_set_string(arena, entry, "name", output->name) &&
              tm_json_set_string(arena, entry, "kind", tm_port_kind_name(output->kind)) &&
              tm_json_set_string(arena, entry, "digest", text) &&
              tm_json_set_integer(arena, entry, "bytes", (int64_t)output->bytes);
    if (ok && (output->kind == TEMPER_RECORDS || output->kind == TEMPER_CHARACTER)) {
        ok = tm_json_set_integer(arena, entry, "records", (int64_t)output->records);
    }
    return ok ? entry : NULL;
}

temper_status tm_outputs_commit(tm_worker *worker, const temper_json **out, temper_error *error) {
    temper_json *list = tm_json_array(worker->arena);
    temper_status status = tm_misused(error);
    for (size_t i = 0; i < worker->output_count && !status; i++) {
        status = check_whole(&worker->outputs[i], error);
    }
    for (size_t i = 0; i < worker->output_count && !status; i++) {
        status = check_lines(&worker->outputs[i], error);
    }
    for (size_t i = 0; i < worker->output_count && !status; i++) {
        tm_digest digest;
        status = in_output(&worker->outputs[i], commit_one(&worker->outputs[i], &digest, error), error);
        if (!status &&
            (list == NULL || !tm_json_append(worker->arena, list,
                                             describe_output(worker->arena, &worker->outputs[i], &digest)))) {
            status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for the list of outputs");
        }
    }
    *out = list;
    return status;
}

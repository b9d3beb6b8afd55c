/* host_inputs.c: inputs as read-only handles. A blob is mapped when it is first asked for, a model's files one by one, so
 * that what a stage does not look at costs nothing. Mappings live until the stage has ended. */
#include "worker/host.h"

#include "base/text.h"
#include "plugin/words.h"
#include <stdlib.h>
#include <unistd.h>

static temper_input *find_input(const tm_worker *worker, const char *name) {
    for (size_t i = 0; i < worker->input_count; i++) {
        if (strcmp(worker->inputs[i].name, name) == 0) {
            return &worker->inputs[i];
        }
    }
    return NULL;
}

temper_status tm_input_take(tm_worker *worker, struct temper_input *input, const temper_json *given,
                            temper_error *error) {
    const char *name = tm_json_text(tm_json_member(given, "name"), "");
    const char *kind = tm_json_text(tm_json_member(given, "kind"), "");
    input->worker = worker;
    input->name = name;
    if (!tm_port_kind_parse(kind, &input->kind)) {
        return temper_fail(error, TEMPER_INVALID, "input \"%s\" is of no known kind: \"%s\"", name, kind);
    }
    if (!tm_digest_parse(tm_json_text(tm_json_member(given, "digest"), ""), &input->digest)) {
        return temper_fail(error, TEMPER_INVALID, "input \"%s\" has no digest", name);
    }
    return TEMPER_OK;
}

/* Is what the job gives what the stage declares? */
static temper_status check_declared(const tm_worker *worker, const temper_stage *stage, temper_error *error) {
    size_t declared = 0;
    for (; stage->inputs[declared] != NULL; declared++) {
        const temper_port *port = stage->inputs[declared];
        const temper_input *input = find_input(worker, port->name);
        if (input == NULL && (port->flags & TEMPER_OPTIONAL) == 0) {
            return temper_fail(error, TEMPER_INVALID, "input \"%s\" is missing", port->name);
        }
        if (input != NULL && input->kind != port->kind) {
            return temper_fail(error, TEMPER_INVALID, "input \"%s\" is %s, the stage wants %s", port->name,
                               tm_port_kind_name(input->kind), tm_port_kind_name(port->kind));
        }
    }
    for (size_t i = 0; i < worker->input_count; i++) {
        size_t j = 0;
        while (j < declared && strcmp(stage->inputs[j]->name, worker->inputs[i].name) != 0) {
            j++;
        }
        if (j == declared) {
            return temper_fail(error, TEMPER_INVALID, "the stage has no input \"%s\"",
                               worker->inputs[i].name);
        }
    }
    return TEMPER_OK;
}

temper_status tm_inputs_start(tm_worker *worker, const temper_stage *stage, temper_error *error) {
    const temper_json *given = tm_json_member(worker->job, "inputs");
    size_t count = tm_json_length(given);
    worker->inputs = calloc(count + 1, sizeof *worker->inputs);
    if (worker->inputs == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for inputs");
    }
    for (size_t i = 0; i < count; i++) {
        temper_status status = tm_input_take(worker, &worker->inputs[i], tm_json_element(given, i), error);
        if (status) {
            return status;
        }
        if (find_input(worker, worker->inputs[i].name) != NULL) {
            return temper_fail(error, TEMPER_INVALID, "input \"%s\" is given twice", worker->inputs[i].name);
        }
        worker->input_count++;
    }
    return stage != NULL ? check_declared(worker, stage, error) : TEMPER_OK;
}

void tm_inputs_end(tm_worker *worker) {
    for (size_t i = 0; i < worker->input_count; i++) {
        struct temper_input *input = &worker->inputs[i];
        tm_input_verified(input, true, NULL); /* what a stage left behind that did not get so far */
        for (size_t j = 0; input->files != NULL && j < input->tree.count; j++) {
            if (input->files[j] != NULL) {
                tm_store_unmap(worker->store, input->files[j], (size_t)input->tree.entries[j].size);
            }
        }
        if (input->mapped) {
            tm_store_unmap(worker->store, input->data, input->size);
        }
        if (input->has_tree) {
            tm_tree_free(&input->tree);
        }
        free(input->files);
        free(input->file_checks);
        free(input->text);
    }
    free(worker->inputs);
    worker->inputs = NULL;
    worker->input_count = 0;
}

/* Handles are const for the plugin; what is remembered about them is the host's. */
static struct temper_input *own(const temper_input *input) {
    return &input->worker->inputs[input - input->worker->inputs];
}

temper_status tm_input_map(const temper_input *handle, temper_error *error) {
    struct temper_input *input = own(handle);
    if (!input->mapped) {
        temper_status status =
            tm_store_map(input->worker->store, &input->digest, &input->data, &input->size, error);
        if (status) {
            return temper_fail_in(error, status, "input \"%s\"", input->name);
        }
        input->mapped = true;
    }
    return input->check != NULL ? tm_input_verified(input, false, error) : TEMPER_OK;
}

const temper_input *tm_host_input(const temper_host *host, const char *name) {
    const tm_host *self = host->self;
    return tm_on_run_thread("input") ? find_input(self->worker, name) : NULL;
}

temper_status tm_host_bytes(const temper_host *host, const temper_input *handle, const char **data,
                            size_t *length, temper_error *error) {
    size_t bad;
    (void)host;
    if (!tm_on_run_thread("bytes")) {
        return tm_misused(error);
    }
    if (handle == NULL ||
        (handle->kind != TEMPER_TEXT && handle->kind != TEMPER_METRICS && handle->kind != TEMPER_REPORT)) {
        return temper_fail(error, TEMPER_FAILED, "bytes: %s",
                           handle == NULL ? "there is no such input"
                                          : "the input is no text, metrics or report");
    }
    temper_status status = tm_input_map(handle, error);
    if (status) {
        return status;
    }
    struct temper_input *input = own(handle);
    if (input->text == NULL && !tm_text_utf8(input->data, input->size, &bad)) {
        return temper_fail(error, TEMPER_INVALID, "input \"%s\" is not UTF-8 at byte %zu", input->name, bad);
    }
    /* The rest of a mapping's last page is zero, so only a text that fills its last page needs a copy. */
    if (input->text == NULL && input->size % (size_t)sysconf(_SC_PAGESIZE) == 0) {
        input->text = malloc(input->size + 1);
        if (input->text == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "input \"%s\": no memory for its %zu bytes",
                               input->name, input->size);
        }
        memcpy(input->text, input->data, input->size);
        input->text[input->size] = 0;
    }
    *data = input->text != NULL ? input->text : input->data;
    *length = input->size;
    return TEMPER_OK;
}

static temper_status open_tree(struct temper_input *input, temper_error *error) {
    if (input->kind != TEMPER_MODEL) {
        return temper_fail(error, TEMPER_FAILED, "input \"%s\" is no model: it has no files", input->name);
    }
    if (input->has_tree) {
        return TEMPER_OK;
    }
    temper_status status = tm_store_get_tree(input->worker->store, &input->digest, &input->tree, error);
    if (status) {
        return temper_fail_in(error, status, "input \"%s\"", input->name);
    }
    input->has_tree = true;
    input->files = calloc(input->tree.count + 1, sizeof *input->files);
    input->file_checks = calloc(input->tree.count + 1, sizeof *input->file_checks);
    return input->files != NULL && input->file_checks != NULL
               ? TEMPER_OK
               : temper_fail(error, TEMPER_NO_MEMORY, "input \"%s\": no memory", input->name);
}

size_t tm_host_file_count(const temper_host *host, const temper_input *handle) {
    temper_error error = TEMPER_ERROR_INIT;
    (void)host;
    if (!tm_on_run_thread("file_count") || handle == NULL) {
        return 0;
    }
    struct temper_input *input = own(handle);
    if (open_tree(input, &error)) {
        tm_misuse(TEMPER_INVALID, "%s", error.message);
        return 0;
    }
    return input->tree.count;
}

/* Large files are verified beside the stage's work: nothing is committed before that ended well. What has no commit (a model
 * that is kept open) has them verified first. */
static temper_status map_file(struct temper_input *input, size_t index, size_t *size, temper_error *error) {
    enum { LARGE = 16 << 20 };
    const tm_tree_entry *entry = &input->tree.entries[index];
    tm_store *store = input->worker->store;
    if (input->worker->output_count == 0 || entry->size < LARGE || entry->size == TM_TREE_ABSENT) {
        return tm_store_map(store, &entry->digest, &input->files[index], size, error);
    }
    return tm_store_map_begin(store, &entry->digest, &input->files[index], size, &input->file_checks[index],
                              error);
}

temper_status tm_host_file(const temper_host *host, const temper_input *handle, size_t index,
                           temper_file *out, temper_error *error) {
    size_t size;
    (void)host;
    if (!tm_on_run_thread("file")) {
        return tm_misused(error);
    }
    if (handle == NULL) {
        return temper_fail(error, TEMPER_FAILED, "file: there is no such input");
    }
    struct temper_input *input = own(handle);
    temper_status status = open_tree(input, error);
    if (status) {
        return status;
    }
    if (index >= input->tree.count) {
        return temper_fail(error, TEMPER_FAILED, "input \"%s\" has %zu files; there is no file %zu",
                           input->name, input->tree.count, index);
    }
    tm_tree_entry *entry = &input->tree.entries[index];
    if (input->files[index] == NULL) {
        status = map_file(input, index, &size, error);
        if (status) {
            return temper_fail_in(error, status, "input \"%s\", file %s", input->name, entry->path);
        }
        entry->size = size;
    }
    /* An older plugin knows fewer fields: fill what it has room for. */
    temper_file file = {out->size, entry->path, input->files[index], entry->size};
    memcpy(out, &file, out->size != 0 && out->size < sizeof file ? out->size : sizeof file);
    if (out->size == 0) {
        out->size = sizeof file;
    }
    return TEMPER_OK;
}

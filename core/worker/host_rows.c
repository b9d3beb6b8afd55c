/* host_rows.c: temper.rows/1 (temper/rows.h): records as bytes.
 *
 * An input is mapped at once and verified beside the stage's work; tm_inputs_verified says how that ended, and comes before
 * any commit. Lines that lie in a mapped input go to the store as they lie there. That there are as many lines as was said is
 * known when all are written, so it is looked at then (tm_outputs_commit). */
#include "worker/host.h"

#include <stdlib.h>

static temper_status map_rows(const temper_host *host, const temper_input *handle, const char **data,
                              uint64_t *length, temper_error *error) {
    (void)host;
    if (!tm_on_run_thread("temper.rows map")) {
        return tm_misused(error);
    }
    if (handle == NULL || (handle->kind != TEMPER_RECORDS && handle->kind != TEMPER_CHARACTER)) {
        return temper_fail(error, TEMPER_FAILED, "temper.rows map: %s",
                           handle == NULL ? "there is no such input" : "the input has no records");
    }
    struct temper_input *input = &handle->worker->inputs[handle - handle->worker->inputs];
    if (!input->mapped) {
        temper_status status = tm_store_map_begin(input->worker->store, &input->digest, &input->data,
                                                  &input->size, &input->check, error);
        if (status) {
            return temper_fail_in(error, status, "input \"%s\"", input->name);
        }
        input->mapped = true;
    }
    *data = input->data;
    *length = input->size;
    return TEMPER_OK;
}

temper_status tm_input_verified(struct temper_input *input, bool stop, temper_error *error) {
    temper_status status = tm_store_map_end(input->check, stop, error);
    input->check = NULL;
    for (size_t i = 0; input->file_checks != NULL && i < input->tree.count; i++) {
        temper_status file = tm_store_map_end(input->file_checks[i], stop || status, error);
        input->file_checks[i] = NULL;
        status = status ? status : file;
    }
    return status ? temper_fail_in(error, status, "input \"%s\"", input->name) : TEMPER_OK;
}

temper_status tm_inputs_verified(tm_worker *worker, bool stop, temper_error *error) {
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < worker->input_count && !status; i++) {
        status = tm_input_verified(&worker->inputs[i], stop, error);
    }
    return status;
}

static bool in_a_mapping(const tm_worker *worker, const temper_piece *piece) {
    for (size_t i = 0; i < worker->input_count; i++) {
        const struct temper_input *input = &worker->inputs[i];
        uintptr_t begin = (uintptr_t)input->data, at = (uintptr_t)piece->data;
        if (input->mapped && at >= begin && at - begin <= input->size &&
            piece->length <= input->size - (at - begin)) {
            return true;
        }
        for (size_t j = 0; input->files != NULL && j < input->tree.count; j++) {
            begin = (uintptr_t)input->files[j];
            if (begin != 0 && at >= begin && at - begin <= input->tree.entries[j].size &&
                piece->length <= input->tree.entries[j].size - (at - begin)) {
                return true;
            }
        }
    }
    return false;
}

static temper_status write_rows(temper_output *output, const temper_piece *pieces, size_t count,
                                uint64_t records, temper_error *error) {
    const char *first = NULL, *last = NULL;
    temper_status status = TEMPER_OK;
    const tm_worker *worker = tm_output_worker(output);
    char end[2] = {0, 0};
    if (!tm_on_run_thread("temper.rows write") || tm_misused(NULL)) {
        return tm_misused(error);
    }
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].length > 0) {
            first = first == NULL ? pieces[i].data : first;
            last = pieces[i].data + pieces[i].length - 1;
            end[0] = pieces[i].length > 1 ? last[-1] : end[1];
            end[1] = *last;
        }
    }
    if ((first == NULL) != (records == 0) ||
        (first != NULL && (*first != '{' || end[0] != '}' || end[1] != '\n'))) {
        return tm_output_refuse(output, error, "rows are whole lines, each an object and a line feed");
    }
    for (size_t i = 0; i < count && !status; i++) {
        status = tm_output_lines(output, &pieces[i], in_a_mapping(worker, &pieces[i]), error);
    }
    return status ? status : tm_output_said(output, records);
}

const temper_rows_service *tm_host_rows(void) {
    static const temper_rows_service service = {sizeof service, map_rows, write_rows};
    return &service;
}

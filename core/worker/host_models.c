/* host_models.c: opening a model with the provider, the one other plugin a worker may load. An input opened twice is one
 * model. Models are closed by the host after run() returns, the last opened first. */
#include "worker/host.h"

#include "worker/foreign.h"
#include "worker/load.h"
#include <stddef.h>
#include <stdlib.h>

typedef struct tm_open_model {
    struct tm_open_model *next;
    const temper_input *input;
    temper_model *model;
} tm_open_model;

temper_status tm_host_provider(tm_worker *worker, const temper_plugin **out, temper_error *error) {
    const char *file = worker->provider_path;
    if (worker->provider != NULL) {
        *out = worker->provider;
        return TEMPER_OK;
    }
    if (file == NULL || *file == 0) {
        return temper_fail(error, TEMPER_UNSUPPORTED,
                           "this run has no plugin that opens models (" TEMPER_MODEL_SERVICE ")");
    }
    temper_status status = tm_load_plugin(file, out, error);
    if (!status) {
        status = tm_check_plugin(*out, file, error);
    }
    if (!status) {
        status = tm_host_start(&worker->provider_host, worker, (*out)->name, error);
    }
    worker->provider = status ? NULL : *out;
    return status;
}

static temper_status load_provider(tm_worker *worker, temper_error *error) {
    const temper_plugin *plugin;
    temper_status status = tm_host_provider(worker, &plugin, error);
    if (status) {
        return status;
    }
    const temper_model_service *service =
        plugin->extension != NULL ? plugin->extension(TEMPER_MODEL_SERVICE) : NULL;
    if (service == NULL || service->size < offsetof(temper_model_service, select_adapter)) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "%s does not offer " TEMPER_MODEL_SERVICE,
                           worker->provider_path);
    }
    worker->service = service;
    return TEMPER_OK;
}

temper_status tm_host_open_model(const temper_host *host, const temper_input *input,
                                 const temper_model_service **service, temper_model **model,
                                 temper_error *error) {
    const tm_host *self = host->self;
    tm_worker *worker = self->worker;
    temper_status status = TEMPER_OK;
    if (!tm_on_run_thread("open_model")) {
        return tm_misused(error);
    }
    if (input == NULL || input->kind != TEMPER_MODEL) {
        return temper_fail(error, TEMPER_FAILED, "open_model: %s",
                           input == NULL ? "there is no such input" : "the input is no model");
    }
    for (tm_open_model *open = worker->models; open != NULL; open = open->next) {
        if (open->input == input) {
            *service = worker->service;
            *model = open->model;
            return TEMPER_OK;
        }
    }
    if (worker->service == NULL) {
        status = load_provider(worker, error);
    }
    tm_open_model *open = status ? NULL : calloc(1, sizeof *open);
    if (!status && open == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for a model");
    }
    if (!status) {
        status = worker->service->open(&worker->provider_host.vtable, input, &open->model, error);
        tm_foreign_check(worker->provider_host.plugin, "opened a model");
    }
    if (status) {
        free(open);
        return temper_fail_in(error, status, "model \"%s\"", input->name);
    }
    open->input = input;
    open->next = worker->models;
    worker->models = open;
    *service = worker->service;
    *model = open->model;
    return TEMPER_OK;
}

void tm_models_end(tm_worker *worker) {
    while (worker->models != NULL) {
        tm_open_model *open = worker->models;
        worker->models = open->next;
        worker->service->close(open->model);
        free(open);
    }
}

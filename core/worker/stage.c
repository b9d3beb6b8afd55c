/* stage.c: one stage, from its job to the commit of its outputs.
 *
 * Order: load, check, lock; inputs, outputs, parameters; create, run, destroy; models closed; commit. Invariant: when
 * anything before the commit fails, or the plugin misused the host at any time, no output has a name. */
#include "worker/modes.h"

#include "plugin/words.h"
#include "worker/describe.h"
#include "worker/fill.h"
#include "worker/foreign.h"
#include "worker/load.h"
#include "worker/wire.h"

/* What a plugin's function gave, made a status with a message: plugins are foreign code, so neither is taken on trust. */
static temper_status settle(temper_status status, const char *call, temper_error *error) {
    error->message[sizeof error->message - 1] = 0;
    if (status == TEMPER_OK) {
        return TEMPER_OK;
    }
    if ((unsigned)status > TEMPER_FAILED || status == TEMPER_END) {
        return temper_fail(error, TEMPER_FAILED, "%s gave %d, which is no way to fail (temper/status.h)",
                           call, (int)status);
    }
    if (status == TEMPER_CANCELLED) {
        return tm_wire_cancelled()
                   ? temper_fail(error, TEMPER_CANCELLED, "stopped")
                   : temper_fail(error, TEMPER_FAILED,
                                 "%s says it was cancelled, but nobody asked it to stop", call);
    }
    if (error->message[0] == 0) {
        return temper_fail(error, status, "%s failed (%s) and gave no message", call, tm_status_name(status));
    }
    return status;
}

static const temper_stage *find_stage(const temper_plugin *plugin, const char *name) {
    for (size_t i = 0; plugin->stages[i] != NULL; i++) {
        if (strcmp(plugin->stages[i]->name, name) == 0) {
            return plugin->stages[i];
        }
    }
    return NULL;
}

static temper_status load_stage(tm_worker *worker, const temper_plugin **plugin, const temper_stage **stage,
                                temper_error *error) {
    const char *file = tm_json_text(tm_json_member(worker->job, "plugin"), "");
    const temper_json *description;
    temper_status status = tm_load_plugin(file, plugin, error);
    if (!status) {
        status = tm_describe_plugin(worker->arena, *plugin, file, &description, error);
    }
    if (status) {
        return status;
    }
    *stage = find_stage(*plugin, worker->stage);
    return *stage != NULL ? TEMPER_OK
                          : temper_fail(error, TEMPER_INVALID, "%s %s has no stage \"%s\"", (*plugin)->name,
                                        (*plugin)->version, worker->stage);
}

/* create, run, destroy. The misuse comes first when both failed: it is the cause, what the plugin says the consequence. */
static temper_status run_plugin(tm_worker *worker, const temper_stage *stage, const void *parameters,
                                temper_error *error) {
    const temper_host *host = &worker->host.vtable;
    const char *who = worker->host.plugin;
    void *self = NULL;
    temper_status status = settle(stage->create(host, parameters, &self, error), "create", error);
    tm_foreign_check(who, "created the stage");
    if (status) {
        temper_status misuse = tm_misused(error);
        return misuse ? misuse : status;
    }
    status = settle(stage->run(self, host, error), "run", error);
    tm_foreign_check(who, "ran");
    stage->destroy(self);
    tm_foreign_check(who, "destroyed the stage");
    if (status != TEMPER_CANCELLED && tm_misused(NULL)) {
        status = tm_misused(error);
    }
    return status;
}

/* Inputs that were handed out before they were verified. A damaged one is why a stage failed, whatever the stage says. */
static temper_status settle_inputs(tm_worker *worker, temper_status status, temper_error *error) {
    temper_error cause = TEMPER_ERROR_INIT;
    temper_status damaged = tm_inputs_verified(worker, status == TEMPER_CANCELLED, &cause);
    return damaged ? temper_fail(error, damaged, "%s", cause.message) : status;
}

temper_status tm_run_stage(tm_worker *worker, const temper_json **outputs, temper_error *error) {
    const temper_plugin *plugin = NULL;
    const temper_stage *stage = NULL;
    const void *parameters = NULL;
    temper_status status = load_stage(worker, &plugin, &stage, error);
    if (!status) {
        status = tm_host_start(&worker->host, worker, plugin->name, error);
    }
    if (!status) {
        status = tm_inputs_start(worker, stage, error);
    }
    if (!status) {
        status = tm_outputs_start(worker, stage, error);
    }
    tm_checkpoints_start(worker);
    if (!status) {
        status = tm_fill_parameters(worker->arena, stage, tm_json_member(worker->job, "parameters"),
                                    &parameters, error);
    }
    if (!status) {
        status = run_plugin(worker, stage, parameters, error);
    }
    status = settle_inputs(worker, status, error);
    tm_models_end(worker);
    tm_readers_end(worker);
    if (!status) {
        status = tm_outputs_commit(worker, outputs, error);
    }
    tm_outputs_end(worker);
    tm_checkpoints_end();
    tm_inputs_end(worker);
    return status;
}

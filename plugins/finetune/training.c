/* training.c: the loop that sft and dpo share: which rows a step takes, at which rate, and what the log says of it.
 * Nothing here knows a time or a thread: the log is part of the run's result. */
#include "finetune.h"

#include <math.h>
#include <stdlib.h>

lm_schedule training_schedule(const char *name) {
    return strcmp(name, "constant") == 0 ? LM_CONSTANT : strcmp(name, "linear") == 0 ? LM_LINEAR : LM_COSINE;
}

/* Names what could have been meant: "q_proj, k_proj, …". */
static temper_status unknown_target(const lm_config *config, const char *name, temper_error *error) {
    char known[512] = "";
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        const char *module = lm_role_module(config, (lm_role)role);
        if (module != NULL && strstr(known, module) == NULL) {
            size_t used = strlen(known);
            snprintf(known + used, sizeof known - used, "%s%s", used > 0 ? ", " : "", module);
        }
    }
    return temper_fail(error, TEMPER_INVALID, "lora.targets: %s has no layer \"%s\"; it has %s",
                       config->architecture, name, known);
}

static temper_status choose_targets(const lm_model *model, const temper_strings *names,
                                    lm_adapter_config *out, temper_error *error) {
    for (size_t i = 0; i < names->count; i++) {
        bool found = false;
        for (int role = 0; role < LM_ROLE_COUNT; role++) {
            const char *module = lm_role_module(&model->config, (lm_role)role);
            if (module != NULL && strcmp(module, names->items[i]) == 0) {
                out->targets[role] = found = true;
            }
        }
        if (!found) {
            return unknown_target(&model->config, names->items[i], error);
        }
    }
    for (int role = 0; names->count == 0 && role < LM_ROLE_COUNT; role++) {
        out->targets[role] = role != LM_HEAD && lm_role_module(&model->config, (lm_role)role) != NULL;
    }
    return TEMPER_OK;
}

temper_status training_open(const temper_host *host, const run_options *options, base_model *base,
                            const size_t *units, size_t unit_count, training *out, temper_error *error) {
    *out =
        (training){.host = host, .options = options, .base = base, .units = units, .unit_count = unit_count};
    if (unit_count == 0) {
        return temper_fail(error, TEMPER_INVALID, "every row was left out: there is nothing to train on");
    }
    if (options->lora_rank > 0) {
        out->adapter = (lm_adapter_config){.rank = options->lora_rank,
                                           .alpha = options->lora_alpha > 0 ? options->lora_alpha
                                                                            : 2 * (double)options->lora_rank,
                                           .rank_stabilised = options->lora_rslora};
        temper_status status = choose_targets(base->model, &options->lora_targets, &out->adapter, error);
        if (!status) {
            status = lm_lora_attach(&base->context, base->model, &out->adapter, host->rng_key(host, "lora"),
                                    error);
        }
        if (status) {
            return status;
        }
    }
    size_t per_epoch = (unit_count + options->batch - 1) / options->batch;
    if (options->steps == 0 && per_epoch > SIZE_MAX / options->epochs) {
        return temper_fail(error, TEMPER_INVALID, "%zu epochs of %zu steps are too many", options->epochs,
                           per_epoch);
    }
    out->steps = options->steps > 0 ? options->steps : options->epochs * per_epoch;
    return lm_trainer_new(&base->context, base->model, &options->train, &out->trainer, error);
}

void training_close(training *self) {
    lm_trainer_free(self->trainer);
    self->trainer = NULL;
}

static temper_status one_step(training *self, size_t step, const size_t *units, size_t count,
                              training_step *take, void *context, temper_error *error) {
    const run_options *options = self->options;
    temper_row row;
    double loss = 0, norm = 0;
    double rate = lm_schedule_rate(options->schedule, options->learning_rate, options->final_rate, step,
                                   options->warmup, self->steps);
    temper_row_begin(&row, self->host);
    temper_row_integer(&row, "step", step + 1);
    temper_status status = take(context, self->trainer, units, count, &loss, &row, error);
    if (!status && !isfinite(loss)) {
        status = temper_fail(error, TEMPER_FAILED,
                             "the loss is not finite: the learning rate is too high, or the model is broken");
    }
    if (!status) {
        status = lm_trainer_apply(self->trainer, rate, &norm, error);
    }
    if (status) {
        temper_row_drop(&row);
        return temper_fail_in(error, status, "step %zu of %zu", step + 1, self->steps);
    }
    temper_row_number(&row, "loss", loss);
    temper_row_number(&row, "grad_norm", norm);
    temper_row_number(&row, "learning_rate", rate);
    status = temper_row_write(&row, self->log, self->host, error);
    char detail[64];
    snprintf(detail, sizeof detail, "loss %.4f", loss);
    self->host->progress(self->host, step + 1, self->steps, "steps", detail);
    self->loss_first = step == 0 ? loss : self->loss_first;
    self->loss_last = loss;
    return status;
}

temper_status training_run(training *self, temper_pool *pool, training_step *step, void *context,
                           temper_error *error) {
    const temper_host *host = self->host;
    size_t batch = self->options->batch, per_epoch = (self->unit_count + batch - 1) / batch;
    size_t *order = temper_pool_take(pool, self->unit_count, sizeof *order);
    size_t *chosen =
        temper_pool_take(pool, batch < self->unit_count ? batch : self->unit_count, sizeof *chosen);
    uint64_t key = host->rng_key(host, "shuffle");
    if (order == NULL || chosen == NULL) {
        return temper_no_memory(error);
    }
    temper_status status = host->output(host, "log", &self->log, error);
    for (size_t i = 0; !status && i < self->steps; i++) {
        size_t first = i % per_epoch * batch;
        size_t count = self->unit_count - first < batch ? self->unit_count - first : batch;
        if (first == 0) {
            lm_shuffle(key, i / per_epoch, order, self->unit_count);
        }
        for (size_t j = 0; j < count; j++) {
            chosen[j] = self->units[order[first + j]];
        }
        if (host->cancelled(host)) {
            return temper_fail(error, TEMPER_CANCELLED, "stopped after %zu of %zu steps", i, self->steps);
        }
        status = one_step(self, i, chosen, count, step, context, error);
    }
    return status;
}

temper_status training_score(const temper_host *host, lm_trainer *trainer, const lm_example *const *examples,
                             size_t count, const char *unit, double *sums, temper_error *error) {
    enum { AT_A_TIME = 256 };
    for (size_t first = 0; first < count; first += AT_A_TIME) {
        size_t n = count - first < AT_A_TIME ? count - first : AT_A_TIME;
        if (host->cancelled(host)) {
            return temper_fail(error, TEMPER_CANCELLED, "stopped after %zu of %zu %s", first, count, unit);
        }
        temper_status status = lm_trainer_score(trainer, examples + first, n, sums + first, error);
        if (status) {
            return temper_fail_in(error, status, "%s", unit);
        }
        host->progress(host, first + n, count, unit, NULL);
    }
    return TEMPER_OK;
}

/* training.c: the loop that all methods share: which rows a step takes, at which rate, when held-out rows are measured,
 * which weights are kept, and what the log says of it. The log is part of the run's result: no time, no thread is in it;
 * what a person sees while waiting (tokens a second, memory) goes to the progress line alone. */
#include "finetune.h"

#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

lm_schedule training_schedule(const char *name) {
    return strcmp(name, "constant") == 0 ? LM_CONSTANT : strcmp(name, "linear") == 0 ? LM_LINEAR : LM_COSINE;
}

lm_optimiser training_optimiser(const char *name) {
    return strcmp(name, "lion") == 0 ? LM_LION : strcmp(name, "sgd") == 0 ? LM_SGD : LM_ADAMW;
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
    temper_status status = lm_trainer_new(&base->context, base->model, &options->train, &out->trainer, error);
    if (!status && (options->keep_best || options->patience > 0)) {
        out->best = lm_allocate(lm_trainer_parameters(out->trainer), sizeof *out->best);
        status = out->best == NULL ? temper_no_memory(error) : TEMPER_OK;
    }
    return status;
}

void training_close(training *self) {
    lm_trainer_free(self->trainer);
    free(self->best);
    free(self->log_text);
    self->trainer = NULL;
    self->best = NULL;
    self->log_text = NULL;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* One line a step, for the person who waits: "loss 0.6102  margins 0.12  1843 tok/s  1.2 GB". */
static void show(const training *self, double loss, const temper_row *row) {
    char detail[160], wanted[48] = "";
    double spent = seconds() - self->began, number = 0;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    if (self->method->detail != NULL &&
        row->json->number(row->json->member(row->object, self->method->detail), &number)) {
        const char *slash = strrchr(self->method->detail, '/');
        snprintf(wanted, sizeof wanted, "  %.24s %.3f", slash != NULL ? slash + 1 : self->method->detail,
                 number);
    }
    snprintf(detail, sizeof detail, "loss %.4f%s  %.0f tok/s  %.1f GB", loss, wanted,
             (double)(self->at.tokens - self->began_tokens) / (spent > 1e-3 ? spent : 1e-3),
             (double)usage.ru_maxrss / (1 << 20));
    self->host->progress(self->host, self->at.step, self->steps, "steps", detail);
}

static void keep_weights(training *self) {
    for (size_t i = 0; i < lm_trainer_count(self->trainer); i++) {
        const lm_trained *trained = lm_trainer_at(self->trainer, i);
        memcpy(self->best + trained->offset, trained->values, trained->count * sizeof *self->best);
    }
}

static temper_status put_back(training *self, temper_error *error) {
    for (size_t i = 0; i < lm_trainer_count(self->trainer); i++) {
        const lm_trained *trained = lm_trainer_at(self->trainer, i);
        memcpy(trained->values, self->best + trained->offset, trained->count * sizeof *self->best);
    }
    return lm_trainer_pack(self->trainer, error);
}

/* Measures the held-out rows; `step` 0: before the first. */
static temper_status measure(training *self, temper_row *row, temper_error *error) {
    double loss = 0;
    training_cursor *at = &self->at;
    temper_status status = self->method->evaluate(self->context, self->trainer, &loss, row, error);
    if (status) {
        return status;
    }
    if (row != NULL) {
        temper_row_number(row, "eval_loss", loss);
        at->eval_last = loss;
    } else {
        at->eval_before = at->eval_last = loss;
    }
    if (self->best != NULL && row != NULL) {
        if (at->best_step == 0 || loss < at->best_loss) {
            at->best_loss = loss;
            at->best_step = at->step;
            at->since_best = 0;
            keep_weights(self);
        } else {
            at->since_best++;
        }
        at->stopped = self->options->patience > 0 && at->since_best >= self->options->patience;
    }
    return TEMPER_OK;
}

static temper_status one_step(training *self, const size_t *units, size_t count, temper_error *error) {
    const run_options *options = self->options;
    training_cursor *at = &self->at;
    size_t batches = (self->unit_count + options->batch - 1) / options->batch, tokens = 0;
    temper_row row;
    double loss = 0, norm = 0;
    double rate = lm_schedule_rate(options->schedule, options->learning_rate, options->final_rate,
                                   (size_t)at->step, options->warmup, self->steps);
    temper_row_begin(&row, self->host);
    temper_row_integer(&row, "step", at->step + 1);
    temper_status status =
        self->method->step(self->context, self->trainer, units, count, &loss, &tokens, &row, error);
    if (!status && !isfinite(loss)) {
        status = temper_fail(error, TEMPER_FAILED,
                             "the loss is not finite: the learning rate is too high, or the model is broken");
    }
    if (!status) {
        status = lm_trainer_apply(self->trainer, rate, &norm, error);
    }
    if (!status) {
        at->step++;
        at->tokens += tokens;
        at->loss_first = at->step == 1 ? loss : at->loss_first;
        at->loss_last = loss;
        bool last = at->step == self->steps;
        if (self->method->held_out &&
            (last || (options->eval_steps > 0 && at->step % options->eval_steps == 0))) {
            status = measure(self, &row, error);
        }
    }
    if (status) {
        temper_row_drop(&row);
        return status == TEMPER_CANCELLED ? status
                                          : temper_fail_in(error, status, "step %llu of %zu",
                                                           (unsigned long long)at->step + 1, self->steps);
    }
    temper_row_number(&row, "epoch", (double)at->step / (double)batches);
    temper_row_number(&row, "loss", loss);
    temper_row_number(&row, "grad_norm", norm);
    temper_row_number(&row, "learning_rate", rate);
    temper_row_integer(&row, "num_tokens", at->tokens);
    show(self, loss, &row);
    return training_log(self, &row, error);
}

temper_status training_run(training *self, temper_pool *pool, const training_method *method, void *context,
                           temper_error *error) {
    const temper_host *host = self->host;
    size_t batch = self->options->batch, per_epoch = (self->unit_count + batch - 1) / batch;
    size_t *order = temper_pool_take(pool, self->unit_count, sizeof *order), shuffled = SIZE_MAX;
    size_t *chosen =
        temper_pool_take(pool, batch < self->unit_count ? batch : self->unit_count, sizeof *chosen);
    uint64_t key = host->rng_key(host, "shuffle");
    if (order == NULL || chosen == NULL) {
        return temper_no_memory(error);
    }
    if (!method->held_out && (self->options->patience > 0 || self->options->keep_best)) {
        return temper_fail(error, TEMPER_INVALID, "patience and keep = \"best\" need the input held_out");
    }
    self->method = method;
    self->context = context;
    temper_status status = host->output(host, "log", &self->log, error);
    if (!status && self->at.step > 0) {
        status = training_log_again(self, error);
    } else if (!status && method->held_out) {
        status = measure(self, NULL, error);
    }
    self->began = seconds();
    self->began_tokens = self->at.tokens;
    while (!status && self->at.step < self->steps && !self->at.stopped) {
        size_t i = (size_t)self->at.step, first = i % per_epoch * batch;
        size_t count = self->unit_count - first < batch ? self->unit_count - first : batch;
        if (shuffled != i / per_epoch) {
            shuffled = i / per_epoch;
            lm_shuffle(key, shuffled, order, self->unit_count);
        }
        for (size_t j = 0; j < count; j++) {
            chosen[j] = self->units[order[first + j]];
        }
        if (host->cancelled(host)) {
            return temper_fail(error, TEMPER_CANCELLED, "stopped after %zu of %zu steps", i, self->steps);
        }
        status = one_step(self, chosen, count, error);
        if (!status) {
            status = training_checkpoint(self, error);
        }
    }
    if (!status && self->options->keep_best && self->at.best_step != self->at.step) {
        status = put_back(self, error);
        self->at.eval_last = self->at.best_loss;
    }
    return status;
}

void training_report(const training *self, temper_row *row) {
    temper_row_integer(row, "steps", self->at.step);
    temper_row_number(row, "loss_first", self->at.loss_first);
    temper_row_number(row, "loss_last", self->at.loss_last);
    temper_row_integer(row, "tokens_trained", self->at.tokens);
    temper_row_integer(row, "parameters_trained", lm_trainer_parameters(self->trainer));
    if (self->best != NULL) {
        temper_row_integer(row, "best_step", self->at.best_step);
        temper_row_number(row, "best_eval_loss", self->at.best_loss);
    }
}

temper_status training_score(const temper_host *host, lm_trainer *trainer, const lm_example *const *examples,
                             size_t count, const char *unit, double *sums, float *const *tokens,
                             temper_error *error) {
    enum { AT_A_TIME = 256 };
    for (size_t first = 0; first < count; first += AT_A_TIME) {
        size_t n = count - first < AT_A_TIME ? count - first : AT_A_TIME;
        if (host->cancelled(host)) {
            return temper_fail(error, TEMPER_CANCELLED, "stopped after %zu of %zu %s", first, count, unit);
        }
        temper_status status = lm_trainer_score(trainer, examples + first, n, sums + first,
                                                tokens != NULL ? tokens + first : NULL, error);
        if (status) {
            return temper_fail_in(error, status, "%s", unit);
        }
        host->progress(host, first + n, count, unit, NULL);
    }
    return TEMPER_OK;
}

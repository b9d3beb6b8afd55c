/* filter.c: the pass every stage of this plugin makes; see filter.h. */
#include "filter.h"

enum { BATCH = 512, MOST_RULES = 8 };

/* printf into the evidence. What it quotes was cut by bytes, here or in the format: a character that lost its end goes,
 * so that the evidence is UTF-8 like the record that it is of. */
__attribute__((format(printf, 2, 0))) static void format_evidence(filter_old_verdict *verdict,
                                                                  const char *format, va_list arguments) {
    temper_span text = {verdict->evidence, 0};
    size_t at, width, kept = 0;
    if (vsnprintf(verdict->evidence, sizeof verdict->evidence, format, arguments) < 0) {
        verdict->evidence[0] = 0;
    }
    text.length = strlen(verdict->evidence);
    for (at = 0; at < text.length; at += width) {
        if (temper_text_character(text, at, &width) != 0xFFFD || width > 1) {
            memmove(verdict->evidence + kept, verdict->evidence + at, width);
            kept += width;
        }
    }
    verdict->evidence[kept] = 0;
}

void filter_drop(filter_old_verdict *verdict, const char *rule, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    format_evidence(verdict, format, arguments);
    va_end(arguments);
    verdict->rule = rule;
}

void filter_refuse(filter_old_verdict *verdict, temper_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    format_evidence(verdict, format, arguments);
    va_end(arguments);
    verdict->bad = status;
}

typedef struct pass {
    const temper_host *host;
    const temper_batch *batch;
    filter_check *check;
    void *context;
    filter_old_verdict *verdicts;
} pass;

static void check_one(void *context, uint64_t index, uint32_t worker) {
    pass *p = context;
    filter_old_verdict *verdict = &p->verdicts[index];
    memset(verdict, 0, sizeof *verdict);
    p->check(p->context, p->host->record(p->batch, (size_t)index),
             p->host->record_number(p->batch, (size_t)index), worker, verdict);
}

static temper_status write_dropped(const temper_host *host, temper_output *output,
                                   const filter_old_verdict *verdict, uint64_t number,
                                   const temper_json *record, temper_error *error) {
    temper_row row;
    temper_row_begin(&row, host);
    temper_row_string(&row, "rule", verdict->rule);
    temper_row_string(&row, "evidence", verdict->evidence);
    temper_row_integer(&row, "number", number);
    temper_row_json(&row, "record", record);
    return temper_row_write(&row, output, host, error);
}

static temper_status write_metrics(const temper_host *host, temper_output *output, const char *const *rules,
                                   const uint64_t *by_rule, uint64_t records, temper_error *error) {
    uint64_t dropped = 0;
    char name[64];
    temper_row row;
    size_t i;
    temper_row_begin(&row, host);
    for (i = 0; rules[i] != NULL; i++) {
        snprintf(name, sizeof name, "dropped_%s", rules[i]);
        temper_row_integer(&row, name, by_rule[i]);
        dropped += by_rule[i];
    }
    temper_row_integer(&row, "records", records);
    temper_row_integer(&row, "kept", records - dropped);
    temper_row_integer(&row, "dropped", dropped);
    temper_row_number(&row, "dropped_share", records == 0 ? 0.0 : (double)dropped / (double)records);
    return temper_row_metrics(&row, output, host, error);
}

typedef struct filter_outputs_open {
    temper_output *kept, *dropped;
} filter_outputs_open;

static temper_status write_batch(const pass *p, const filter_outputs_open *to, const char *const *rules,
                                 uint64_t *by_rule, temper_error *error) {
    const temper_host *host = p->host;
    temper_status status = TEMPER_OK;
    size_t i, r;
    for (i = 0; i < host->batch_length(p->batch) && status == TEMPER_OK; i++) {
        const filter_old_verdict *verdict = &p->verdicts[i];
        const temper_json *record = host->record(p->batch, i);
        if (verdict->bad) {
            return temper_fail(error, verdict->bad, "record %llu: %s",
                               (unsigned long long)host->record_number(p->batch, i), verdict->evidence);
        }
        if (verdict->rule == NULL) {
            status = host->write_record(to->kept, record, error);
            continue;
        }
        for (r = 0; rules[r] != verdict->rule; r++) {
        }
        by_rule[r]++;
        status = write_dropped(host, to->dropped, verdict, host->record_number(p->batch, i), record, error);
    }
    return status;
}

temper_status filter_each(const temper_host *host, const char *input, const char *const *rules, bool in_order,
                          filter_check *check, void *context, temper_error *error) {
    uint64_t by_rule[MOST_RULES] = {0}, records = 0, i;
    filter_outputs_open to = {NULL, NULL};
    temper_output *metrics = NULL;
    temper_reader *reader = NULL;
    temper_batch *batch = NULL;
    temper_status status;
    pass p = {host, NULL, check, context, host->allocate(host, BATCH * sizeof(filter_old_verdict))};
    if (p.verdicts == NULL) {
        return temper_no_memory(error);
    }
    if ((status = host->output(host, "kept", &to.kept, error)) ||
        (status = host->output(host, "dropped", &to.dropped, error)) ||
        (status = host->output(host, "metrics", &metrics, error)) ||
        (status = host->read_records(host, host->input(host, input), &reader, error))) {
        goto out;
    }
    while (status == TEMPER_OK) {
        if (host->cancelled(host)) {
            status = temper_fail(error, TEMPER_CANCELLED, "stopped after %llu records",
                                 (unsigned long long)records);
            break;
        }
        status = host->next(reader, BATCH, &batch, error);
        if (status) {
            break;
        }
        p.batch = batch;
        if (in_order) {
            for (i = 0; i < host->batch_length(batch); i++) {
                check_one(&p, i, 0);
            }
        } else {
            host->parallel_for(host, host->batch_length(batch), check_one, &p);
        }
        status = write_batch(&p, &to, rules, by_rule, error);
        records += host->batch_length(batch);
        host->release_batch(batch);
        host->progress(host, records, 0, "records", NULL);
    }
    if (status == TEMPER_END) {
        status = write_metrics(host, metrics, rules, by_rule, records, error);
    }
out:
    if (reader != NULL) {
        host->close_reader(reader);
    }
    host->release(host, p.verdicts);
    return status;
}

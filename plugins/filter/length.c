/* length.c: drops records with a text that is too short or too long. Each text is measured by itself. */
#include "filter.h"

#define LENGTH(P, S)                                                                                         \
    FILTER_FIELD_PARAMETERS(P, S)                                                                            \
    P(S, integer, minimum, "minimum", "1", 0, 1e9, "", "", "shortest text to keep, in the unit", "0.1")      \
    P(S, integer, maximum, "maximum", "0", 0, 1e9, "", "", "longest text to keep, in the unit; 0: any",      \
      "0.1")                                                                                                 \
    P(S, string, unit, "unit", "\"characters\"", 1, 0, "", "characters|words",                               \
      "what lengths are counted in", "0.1")                                                                  \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(length, LENGTH)

static const char too_short[] = "too_short", too_long[] = "too_long";
static const char *const rules[] = {too_short, too_long, NULL};

typedef struct measure {
    const temper_json_api *json;
    const length_parameters *parameters;
    bool words;
} measure;

typedef struct visit {
    const measure *m;
    filter_verdict *verdict;
} visit;

static int look(void *context, const temper_record_text *text) {
    visit *v = context;
    const length_parameters *p = v->m->parameters;
    size_t length = v->m->words ? temper_text_words(text->text) : temper_text_count(text->text);
    char where[64];
    if (length < (uint64_t)p->minimum) {
        filter_drop(v->verdict, too_short, "%s: %zu %s, minimum %lld", filter_where(text, where), length,
                    p->unit, (long long)p->minimum);
        return 1;
    }
    if (p->maximum > 0 && length > (uint64_t)p->maximum) {
        filter_drop(v->verdict, too_long, "%s: %zu %s, maximum %lld", filter_where(text, where), length,
                    p->unit, (long long)p->maximum);
        return 1;
    }
    return 0;
}

static void check(void *context, const temper_json *record, uint64_t number, uint32_t worker,
                  filter_verdict *verdict) {
    measure *m = context;
    visit v = {m, verdict};
    size_t seen;
    (void)number, (void)worker;
    temper_record_texts(m->json, record, &m->parameters->fields, &m->parameters->roles, look, &v, &seen);
    if (seen == 0) {
        filter_refuse(verdict, TEMPER_INVALID, "it has none of the fields to look at (see \"fields\")");
    }
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    measure m = {.json = host->json, .parameters = self};
    m.words = strcmp(m.parameters->unit, "words") == 0;
    if (m.parameters->maximum > 0 && m.parameters->maximum < m.parameters->minimum) {
        return temper_fail(error, TEMPER_INVALID, "maximum %lld is below minimum %lld: nothing could be kept",
                           (long long)m.parameters->maximum, (long long)m.parameters->minimum);
    }
    return filter_each(host, "records", rules, false, check, &m, error);
}

static const temper_port *const inputs[] = {TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to filter"),
                                            NULL};

const temper_stage filter_length_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "length",
    .doc = "drops records with a text that is too short or too long",
    .inputs = inputs,
    .outputs = filter_outputs,
    .parameters = length_parameter_table,
    .parameters_size = sizeof(length_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

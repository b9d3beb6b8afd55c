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
    const length_parameters *parameters;
    filter_buffers buffers;
    bool words;
} measure;

typedef struct visit {
    const measure *m;
    filter_row *row;
} visit;

static int look_at(void *context, const temper_line *line, const temper_line_text_at *at) {
    visit *v = context;
    const length_parameters *p = v->m->parameters;
    temper_span text;
    size_t length;
    char where[64];
    if (!filter_text(v->row, &v->m->buffers, at->node, &text)) {
        return 1;
    }
    length = v->m->words ? temper_text_words(text) : temper_text_count(text);
    if (length < (uint64_t)p->minimum) {
        filter_row_drop(v->row, too_short, "%s: %zu %s, minimum %lld", temper_line_where(line, at, where),
                        length, p->unit, (long long)p->minimum);
        filter_row_value(v->row, (double)length, (double)p->minimum);
    } else if (p->maximum > 0 && length > (uint64_t)p->maximum) {
        filter_row_drop(v->row, too_long, "%s: %zu %s, maximum %lld", temper_line_where(line, at, where),
                        length, p->unit, (long long)p->maximum);
        filter_row_value(v->row, (double)length, (double)p->maximum);
    } else {
        return 0;
    }
    filter_row_span(v->row, at, 0, text.length);
    return 1;
}

static void look(void *context, filter_row *row, void *own) {
    measure *m = context;
    visit v = {m, row};
    size_t seen;
    (void)own;
    temper_line_texts(row->line, &m->parameters->fields, &m->parameters->roles, look_at, &v, &seen);
    if (seen == 0) {
        filter_row_refuse(row, TEMPER_INVALID, "it has none of the fields to look at (see \"fields\")");
    }
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    measure m = {.parameters = self};
    filter_pass pass = {.host = host, .input = "records", .rules = rules, .look = look, .context = &m};
    temper_pool *pool;
    temper_status status;
    m.words = strcmp(m.parameters->unit, "words") == 0;
    if (m.parameters->maximum > 0 && m.parameters->maximum < m.parameters->minimum) {
        return temper_fail(error, TEMPER_INVALID, "maximum %lld is below minimum %lld: nothing could be kept",
                           (long long)m.parameters->maximum, (long long)m.parameters->minimum);
    }
    pool = temper_pool_new(host);
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    status = filter_buffers_new(host, pool, &m.buffers, error);
    status = status ? status : filter_rows(&pass, error);
    filter_buffers_free(&m.buffers);
    temper_pool_free(pool);
    return status;
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

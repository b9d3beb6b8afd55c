/* phrases.c: drops records in which a phrase of a list occurs. One pass over each text, whatever the list's length. */
#include "filter.h"
#include "support/matcher.h"

#define PHRASES(P, S)                                                                                        \
    FILTER_FIELD_PARAMETERS(P, S)                                                                            \
    P(S, flag, ignore_case, "ignore_case", "true", 0, 1, "", "", "\"As An AI\" is \"as an ai\"", "0.1")      \
    P(S, flag, whole_words, "whole_words", "true", 0, 1, "", "",                                             \
      "a phrase counts only where no letter or digit touches it: \"art\" is not in \"start\"", "0.1")        \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(phrases, PHRASES)

static const char phrase[] = "phrase";
static const char *const rules[] = {phrase, NULL};

typedef struct search {
    const phrases_parameters *parameters;
    temper_matcher *matcher;
    filter_buffers text, scratch;
} search;

typedef struct visit {
    search *s;
    filter_row *row;
} visit;

static int look_at(void *context, const temper_line *line, const temper_line_text_at *at) {
    visit *v = context;
    temper_buffer *scratch = &v->s->scratch.buffers[v->row->worker];
    temper_match match;
    temper_span text;
    char where[64];
    if (!filter_text(v->row, &v->s->text, at->node, &text)) {
        return 1;
    }
    if (!temper_buffer_reserve(scratch, text.length)) {
        filter_row_no_memory(v->row);
        return 1;
    }
    if (!temper_matcher_find(v->s->matcher, text, scratch->data, &match)) {
        return 0;
    }
    filter_row_drop(v->row, phrase, "%s, byte %zu: \"%.*s\" (line %zu of the list)",
                    temper_line_where(line, at, where), match.start,
                    match.length > 120 ? 120 : (int)match.length, text.data + match.start, match.line);
    filter_row_span(v->row, at, match.start, match.length);
    return 1;
}

static void look(void *context, filter_row *row, void *own) {
    search *s = context;
    visit v = {s, row};
    size_t seen;
    (void)own;
    temper_line_texts(row->line, &s->parameters->fields, &s->parameters->roles, look_at, &v, &seen);
    if (seen == 0) {
        filter_row_refuse(row, TEMPER_INVALID, "it has none of the fields to look at (see \"fields\")");
    }
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    search s = {.parameters = self};
    filter_pass pass = {.host = host, .input = "records", .rules = rules, .look = look, .context = &s};
    temper_pool *pool = temper_pool_new(host);
    temper_span list;
    temper_status status;
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    if ((status = host->bytes(host, host->input(host, "phrases"), &list.data, &list.length, error)) ||
        (status = temper_matcher_new(host, pool, list, s.parameters->ignore_case, s.parameters->whole_words,
                                     &s.matcher, error)) ||
        (status = filter_buffers_new(host, pool, &s.text, error)) ||
        (status = filter_buffers_new(host, pool, &s.scratch, error))) {
        goto out;
    }
    if (temper_matcher_count(s.matcher) == 0) {
        status = temper_fail(error, TEMPER_INVALID,
                             "the phrase list has no phrases: one a line, # begins a comment");
        goto out;
    }
    status = filter_rows(&pass, error);
out:
    filter_buffers_free(&s.text);
    filter_buffers_free(&s.scratch);
    temper_pool_free(pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to filter"),
    TEMPER_PORT(TEMPER_TEXT, "phrases", 0, "", "one phrase a line; # begins a comment"), NULL};

const temper_stage filter_phrases_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "phrases",
    .doc = "drops records in which a phrase of a list occurs",
    .inputs = inputs,
    .outputs = filter_outputs,
    .parameters = phrases_parameter_table,
    .parameters_size = sizeof(phrases_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

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
    const temper_json_api *json;
    const phrases_parameters *parameters;
    temper_matcher *matcher;
    filter_scratch scratch;
} search;

typedef struct visit {
    search *s;
    uint32_t worker;
    filter_verdict *verdict;
} visit;

static int look(void *context, const temper_record_text *text) {
    visit *v = context;
    temper_match match;
    char where[64], *scratch = filter_scratch_take(&v->s->scratch, v->worker, text->text.length);
    if (scratch == NULL) {
        filter_refuse(v->verdict, TEMPER_NO_MEMORY, "out of memory (the limit is --memory)");
        return 1;
    }
    if (!temper_matcher_find(v->s->matcher, text->text, scratch, &match)) {
        return 0;
    }
    filter_drop(v->verdict, phrase, "%s, byte %zu: \"%.*s\" (line %zu of the list)",
                filter_where(text, where), match.start, match.length > 120 ? 120 : (int)match.length,
                text->text.data + match.start, match.line);
    return 1;
}

static void check(void *context, const temper_json *record, uint64_t number, uint32_t worker,
                  filter_verdict *verdict) {
    search *s = context;
    visit v = {s, worker, verdict};
    size_t seen;
    (void)number;
    temper_record_texts(s->json, record, &s->parameters->fields, &s->parameters->roles, look, &v, &seen);
    if (seen == 0) {
        filter_refuse(verdict, TEMPER_INVALID, "it has none of the fields to look at (see \"fields\")");
    }
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    search s = {.json = host->json, .parameters = self};
    temper_pool *pool = temper_pool_new(host);
    temper_span list;
    temper_status status;
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    if ((status = host->bytes(host, host->input(host, "phrases"), &list.data, &list.length, error)) ||
        (status = temper_matcher_new(host, pool, list, s.parameters->ignore_case, s.parameters->whole_words,
                                     &s.matcher, error)) ||
        (status = filter_scratch_new(host, pool, &s.scratch, error))) {
        goto out;
    }
    if (temper_matcher_count(s.matcher) == 0) {
        status = temper_fail(error, TEMPER_INVALID,
                             "the phrase list has no phrases: one a line, # begins a comment");
        goto out;
    }
    status = filter_each(host, "records", rules, false, check, &s, error);
out:
    filter_scratch_free(&s.scratch);
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

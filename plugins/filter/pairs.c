/* pairs.c: drops preference pairs a model should not be trained on. The rules are tried in the order of `rules`; the
 * first that holds is the one on file. */
#include "filter.h"
#include "support/matcher.h"

#define PAIRS(P, S)                                                                                          \
    P(S, number, length_ratio, "length_ratio", "3", 0, 1e6, "", "",                                          \
      "drop when one side has more than this many times the characters of the other; 0: never", "0.1")       \
    P(S, flag, finished, "finished", "true", 0, 1, "", "",                                                   \
      "drop when a side was cut by its length limit or does not end like a sentence", "0.1")                 \
    P(S, string, phrases_in, "phrases_in", "\"chosen\"", 1, 0, "", "chosen|rejected|both",                   \
      "the sides in which phrases of the list are not wanted", "0.1")                                        \
    P(S, flag, ignore_case, "ignore_case", "true", 0, 1, "", "", "letters of phrases match in either case",  \
      "0.1")                                                                                                 \
    P(S, flag, whole_words, "whole_words", "true", 0, 1, "", "",                                             \
      "a phrase counts only where no letter or digit touches it", "0.1")                                     \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(pairs, PAIRS)

static const char empty[] = "empty", equal[] = "equal", unfinished[] = "unfinished", ratio[] = "length_ratio",
                  phrase[] = "phrase";
static const char *const rules[] = {empty, equal, unfinished, ratio, phrase, NULL};
static const char *const sides[] = {"chosen", "rejected"};

typedef struct pair_filter {
    const temper_json_api *json;
    const pairs_parameters *parameters;
    temper_matcher *matcher; /* NULL: no list */
    filter_scratch scratch;
} pair_filter;

/* A side's answer: a string, or the last assistant message of a conversation. */
static bool side_text(const temper_json_api *json, const temper_json *record, const char *side,
                      temper_span *out) {
    const temper_json *value = json->member(record, side);
    size_t i;
    if (json->kind(value) != TEMPER_JSON_ARRAY) {
        return temper_record_string(json, record, side, out);
    }
    for (i = json->length(value); i > 0; i--) {
        const temper_json *message = json->element(value, i - 1);
        const char *role = json->string(json->member(message, "role"), NULL);
        if (role != NULL && strcmp(role, "assistant") == 0) {
            return temper_record_string(json, message, "content", out);
        }
    }
    return false;
}

static bool was_cut(const temper_json_api *json, const temper_json *record, const char *side) {
    char name[32];
    temper_span finish;
    snprintf(name, sizeof name, "%s_finish", side);
    return temper_record_string(json, record, name, &finish) &&
           temper_span_equal(finish, temper_span_of("length"));
}

static bool is_unfinished(pair_filter *f, const temper_json *record, const temper_span *text,
                          filter_verdict *verdict) {
    size_t i, from, start;
    for (i = 0; i < 2; i++) {
        if (was_cut(f->json, record, sides[i])) {
            filter_drop(verdict, unfinished, "%s was cut by its length limit (%s_finish)", sides[i],
                        sides[i]);
            return true;
        }
        if (!temper_text_is_finished(text[i])) {
            from = text[i].length > 40 ? text[i].length - 40 : 0;
            for (start = from;
                 start > 0 && start < text[i].length && ((unsigned char)text[i].data[start] & 0xC0) == 0x80;
                 start++) {
            }
            filter_drop(verdict, unfinished, "%s ends \"%s%.*s\"", sides[i], start > 0 ? "…" : "",
                        (int)(text[i].length - start), text[i].data + start);
            return true;
        }
    }
    return false;
}

static bool has_phrase(pair_filter *f, const temper_span *text, uint32_t worker, filter_verdict *verdict) {
    temper_match match;
    size_t i;
    for (i = 0; i < 2; i++) {
        char *scratch;
        if (strcmp(f->parameters->phrases_in, "both") != 0 &&
            strcmp(f->parameters->phrases_in, sides[i]) != 0) {
            continue;
        }
        scratch = filter_scratch_take(&f->scratch, worker, text[i].length);
        if (scratch == NULL) {
            filter_refuse(verdict, TEMPER_NO_MEMORY, "out of memory (the limit is --memory)");
            return true;
        }
        if (temper_matcher_find(f->matcher, text[i], scratch, &match)) {
            filter_drop(verdict, phrase, "%s, byte %zu: \"%.*s\" (line %zu of the list)", sides[i],
                        match.start, match.length > 120 ? 120 : (int)match.length, text[i].data + match.start,
                        match.line);
            return true;
        }
    }
    return false;
}

static void check(void *context, const temper_json *record, uint64_t number, uint32_t worker,
                  filter_verdict *verdict) {
    pair_filter *f = context;
    const pairs_parameters *p = f->parameters;
    temper_span text[2];
    size_t i, count[2];
    (void)number;
    for (i = 0; i < 2; i++) {
        if (!side_text(f->json, record, sides[i], &text[i])) {
            filter_refuse(verdict, TEMPER_INVALID,
                          "\"%s\" must be a string, or messages with one of the assistant's", sides[i]);
            return;
        }
        text[i] = temper_span_trim(text[i]);
        count[i] = temper_text_count(text[i]);
    }
    for (i = 0; i < 2; i++) {
        if (text[i].length == 0) {
            filter_drop(verdict, empty, "%s is empty", sides[i]);
            return;
        }
    }
    if (temper_span_equal(text[0], text[1])) {
        filter_drop(verdict, equal, "chosen and rejected are the same text");
        return;
    }
    if (p->finished && is_unfinished(f, record, text, verdict)) {
        return;
    }
    if (p->length_ratio > 0.0 && ((double)count[0] > p->length_ratio * (double)count[1] ||
                                  (double)count[1] > p->length_ratio * (double)count[0])) {
        filter_drop(verdict, ratio, "chosen has %zu characters, rejected %zu", count[0], count[1]);
        return;
    }
    if (f->matcher != NULL) {
        has_phrase(f, text, worker, verdict);
    }
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    pair_filter f = {.json = host->json, .parameters = self};
    const temper_input *list_input = host->input(host, "phrases");
    temper_pool *pool = temper_pool_new(host);
    temper_span list;
    temper_status status = TEMPER_OK;
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    if (f.parameters->length_ratio > 0.0 && f.parameters->length_ratio < 1.0) {
        status = temper_fail(error, TEMPER_INVALID, "length_ratio %g would drop every pair: 0, or at least 1",
                             f.parameters->length_ratio);
    }
    if (status || (status = filter_scratch_new(host, pool, &f.scratch, error))) {
        goto out;
    }
    if (list_input != NULL && ((status = host->bytes(host, list_input, &list.data, &list.length, error)) ||
                               (status = temper_matcher_new(host, pool, list, f.parameters->ignore_case,
                                                            f.parameters->whole_words, &f.matcher, error)))) {
        goto out;
    }
    status = filter_each(host, "pairs", rules, false, check, &f, error);
out:
    filter_scratch_free(&f.scratch);
    temper_pool_free(pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "pairs", 0, "prompt, chosen, rejected, chosen_finish, rejected_finish",
                "preference pairs; the finish fields, where there are any, say which side was cut"),
    TEMPER_PORT(TEMPER_TEXT, "phrases", TEMPER_OPTIONAL, "", "one phrase a line; # begins a comment"), NULL};

const temper_stage filter_pairs_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "pairs",
    .doc = "drops preference pairs a model should not be trained on",
    .inputs = inputs,
    .outputs = filter_outputs,
    .parameters = pairs_parameter_table,
    .parameters_size = sizeof(pairs_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

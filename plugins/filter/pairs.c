/* pairs.c: drops preference pairs a model should not be trained on. The rules are tried in the order of `rules`; the
 * first that holds is the one on file. */
#include "filter.h"
#include "support/matcher.h"

#include <stdlib.h>

#define PAIRS(P, S)                                                                                          \
    P(S, number, length_ratio, "length_ratio", "3", 0, 1e6, "", "",                                          \
      "drop when one side has more than this many times the characters of the other; 0: never", "0.1")       \
    P(S, flag, finished, "finished", "true", 0, 1, "", "",                                                   \
      "drop when a side was cut by its length limit or does not end like a sentence", "0.1")                 \
    P(S, number, similarity, "similarity", "0.95", 0, 1, "", "",                                             \
      "drop when the sides share more than this of their pairs of words; 1: never", "0.1")                   \
    P(S, number, margin, "margin", "0", 0, 1e9, "", "",                                                      \
      "drop when chosen's score is not this much above rejected's; 0: scores are not asked for", "0.1")      \
    P(S, strings, scores, "scores", "[\"chosen_score\",\"rejected_score\"]", 1, 0, "", "",                   \
      "the members that are chosen's and rejected's score", "0.1")                                           \
    P(S, string, phrases_in, "phrases_in", "\"chosen\"", 1, 0, "", "chosen|rejected|both",                   \
      "the sides in which phrases of the list are not wanted", "0.1")                                        \
    P(S, flag, ignore_case, "ignore_case", "true", 0, 1, "", "", "letters of phrases match in either case",  \
      "0.1")                                                                                                 \
    P(S, flag, whole_words, "whole_words", "true", 0, 1, "", "",                                             \
      "a phrase counts only where no letter or digit touches it", "0.1")                                     \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(pairs, PAIRS)

static const char empty[] = "empty", equal[] = "equal", near_equal[] = "near_equal",
                  unfinished[] = "unfinished", ratio[] = "length_ratio", margin_rule[] = "margin",
                  phrase[] = "phrase";
static const char *const rules[] = {empty, equal, near_equal, unfinished, ratio, margin_rule, phrase, NULL};
static const char *const sides[] = {"chosen", "rejected"};

typedef struct pair_filter {
    const temper_host *host;
    const pairs_parameters *parameters;
    temper_matcher *matcher;         /* NULL: no list */
    filter_buffers text[2], scratch; /* the sides' texts; and room to fold them */
} pair_filter;

/* A side's answer: a string, or the last assistant message of a conversation; 0: none. */
static uint32_t side_node(const temper_line *line, const char *side) {
    uint32_t value = temper_line_member(line, 0, side), child, last = 0;
    if (!temper_line_is(line, value, TEMPER_NODE_ARRAY)) {
        return temper_line_is(line, value, TEMPER_NODE_STRING) ? value : 0;
    }
    for (child = value + 1; child < line->nodes[value].next; child = line->nodes[child].next) {
        uint32_t role = temper_line_member(line, child, "role");
        if (role != 0 && temper_line_equals(line, role, "assistant")) {
            last = temper_line_member(line, child, "content");
        }
    }
    return temper_line_is(line, last, TEMPER_NODE_STRING) ? last : 0;
}

static bool was_cut(const temper_line *line, const char *side) {
    char name[32];
    uint32_t finish;
    snprintf(name, sizeof name, "%s_finish", side);
    finish = temper_line_member(line, 0, name);
    return finish != 0 && temper_line_equals(line, finish, "length");
}

static bool is_unfinished(filter_row *row, const temper_span *text) {
    size_t i, from, start;
    for (i = 0; i < 2; i++) {
        if (was_cut(row->line, sides[i])) {
            filter_row_drop(row, unfinished, "%s was cut by its length limit (%s_finish)", sides[i],
                            sides[i]);
            return true;
        }
        if (!temper_text_is_finished(text[i])) {
            from = text[i].length > 40 ? text[i].length - 40 : 0;
            for (start = from;
                 start > 0 && start < text[i].length && ((unsigned char)text[i].data[start] & 0xC0) == 0x80;
                 start++) {
            }
            filter_row_drop(row, unfinished, "%s ends \"%s%.*s\"", sides[i], start > 0 ? "…" : "",
                            (int)(text[i].length - start), text[i].data + start);
            return true;
        }
    }
    return false;
}

/* Far apart in length they cannot be near-equal: only the others are looked at word by word. */
static bool is_near_equal(pair_filter *f, filter_row *row, const temper_span *text) {
    double similarity = 0.0, bound = f->parameters->similarity;
    temper_shingles shingles[2];
    temper_pool *pool;
    if (bound >= 1.0 || (double)text[0].length * 2.0 < (double)text[1].length ||
        (double)text[1].length * 2.0 < (double)text[0].length) {
        return false;
    }
    pool = temper_pool_new(f->host);
    if (pool == NULL || !temper_shingles_make(pool, text[0], &shingles[0]) ||
        !temper_shingles_make(pool, text[1], &shingles[1])) {
        temper_pool_free(pool);
        filter_row_no_memory(row);
        return true;
    }
    similarity = temper_shingles_similarity(&shingles[0], &shingles[1]);
    temper_pool_free(pool);
    if (similarity <= bound) {
        return false;
    }
    filter_row_drop(row, near_equal, "chosen and rejected share %.3g of their pairs of words, at most %.3g",
                    similarity, bound);
    filter_row_value(row, similarity, bound);
    return true;
}

static bool take_score(const temper_line *line, const char *name, double *out) {
    uint32_t node = temper_line_member(line, 0, name);
    temper_span text;
    char digits[64];
    if (!temper_line_is(line, node, TEMPER_NODE_NUMBER)) {
        return false;
    }
    text = temper_line_raw(line, node);
    if (text.length >= sizeof digits) {
        return false;
    }
    memcpy(digits, text.data, text.length);
    digits[text.length] = 0;
    *out = strtod(digits, NULL);
    return true;
}

static bool has_no_margin(pair_filter *f, filter_row *row) {
    const pairs_parameters *p = f->parameters;
    double score[2];
    size_t i;
    if (p->margin <= 0.0) {
        return false;
    }
    for (i = 0; i < 2; i++) {
        if (!take_score(row->line, p->scores.items[i], &score[i])) {
            filter_row_refuse(row, TEMPER_INVALID,
                              "its \"%.60s\" is no number, and a margin is asked for (see \"scores\")",
                              p->scores.items[i]);
            return true;
        }
    }
    if (score[0] - score[1] >= p->margin) {
        return false;
    }
    filter_row_drop(row, margin_rule, "chosen's score is %.6g, rejected's %.6g", score[0], score[1]);
    filter_row_value(row, score[0] - score[1], p->margin);
    return true;
}

static void look_for_phrase(pair_filter *f, const temper_span *text, filter_row *row) {
    temper_match match;
    size_t i;
    for (i = 0; i < 2; i++) {
        temper_buffer *scratch = &f->scratch.buffers[row->worker];
        if (strcmp(f->parameters->phrases_in, "both") != 0 &&
            strcmp(f->parameters->phrases_in, sides[i]) != 0) {
            continue;
        }
        if (!temper_buffer_reserve(scratch, text[i].length)) {
            filter_row_no_memory(row);
            return;
        }
        if (temper_matcher_find(f->matcher, text[i], scratch->data, &match)) {
            filter_row_drop(row, phrase, "%s, byte %zu: \"%.*s\" (line %zu of the list)", sides[i],
                            match.start, match.length > 120 ? 120 : (int)match.length,
                            text[i].data + match.start, match.line);
            return;
        }
    }
}

static void look(void *context, filter_row *row, void *own) {
    pair_filter *f = context;
    const pairs_parameters *p = f->parameters;
    temper_span text[2];
    size_t i, count[2];
    (void)own;
    for (i = 0; i < 2; i++) {
        uint32_t node = side_node(row->line, sides[i]);
        if (node == 0) {
            filter_row_refuse(row, TEMPER_INVALID,
                              "\"%s\" must be a string, or messages with one of the assistant's", sides[i]);
            return;
        }
        if (!filter_text(row, &f->text[i], node, &text[i])) {
            return;
        }
        text[i] = temper_span_trim(text[i]);
        count[i] = temper_text_count(text[i]);
    }
    for (i = 0; i < 2; i++) {
        if (text[i].length == 0) {
            filter_row_drop(row, empty, "%s is empty", sides[i]);
            return;
        }
    }
    if (temper_span_equal(text[0], text[1])) {
        filter_row_drop(row, equal, "chosen and rejected are the same text");
        return;
    }
    if (is_near_equal(f, row, text) || (p->finished && is_unfinished(row, text))) {
        return;
    }
    if (p->length_ratio > 0.0 && ((double)count[0] > p->length_ratio * (double)count[1] ||
                                  (double)count[1] > p->length_ratio * (double)count[0])) {
        filter_row_drop(row, ratio, "chosen has %zu characters, rejected %zu", count[0], count[1]);
        filter_row_value(row,
                         (double)(count[0] > count[1] ? count[0] : count[1]) /
                             (double)(count[0] > count[1] ? count[1] : count[0]),
                         p->length_ratio);
        return;
    }
    if (!has_no_margin(f, row) && f->matcher != NULL) {
        look_for_phrase(f, text, row);
    }
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    pair_filter f = {.host = host, .parameters = self};
    filter_pass pass = {.host = host, .input = "pairs", .rules = rules, .look = look, .context = &f};
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
    if (f.parameters->scores.count != 2) {
        status =
            temper_fail(error, TEMPER_INVALID, "scores: two members, chosen's and rejected's; there are %zu",
                        f.parameters->scores.count);
    }
    if (status || (status = filter_buffers_new(host, pool, &f.scratch, error)) ||
        (status = filter_buffers_new(host, pool, &f.text[0], error)) ||
        (status = filter_buffers_new(host, pool, &f.text[1], error))) {
        goto out;
    }
    if (list_input != NULL && ((status = host->bytes(host, list_input, &list.data, &list.length, error)) ||
                               (status = temper_matcher_new(host, pool, list, f.parameters->ignore_case,
                                                            f.parameters->whole_words, &f.matcher, error)))) {
        goto out;
    }
    status = filter_rows(&pass, error);
out:
    filter_buffers_free(&f.scratch);
    filter_buffers_free(&f.text[0]);
    filter_buffers_free(&f.text[1]);
    temper_pool_free(pool);
    return status;
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "pairs", 0, "prompt, chosen, rejected, chosen_finish, rejected_finish",
                "preference pairs; the finish fields, where there are any, say which side was cut"),
    TEMPER_PORT(TEMPER_TEXT, "phrases", TEMPER_OPTIONAL, "", "one phrase a line; # begins a comment"), NULL};

const temper_stage filter_pairs_stage = {
    .size = sizeof(temper_stage),
    .revision = 2,
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

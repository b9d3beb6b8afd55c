/* phrases.c: what a list of phrases says of a row: drop it, take the phrase or its sentence out, put other words in its place, or
 * mark it. A row's texts are looked at one after another, each by all rules in the order of the list, each rule seeing what the
 * ones before it left; the first that drops ends it. */
#include "filter.h"
#include "patterns.h"
#include "rewrite.h"

#define PHRASES(P, S)                                                                                        \
    FILTER_FIELD_PARAMETERS(P, S)                                                                            \
    P(S, flag, ignore_case, "ignore_case", "true", 0, 1, "", "",                                             \
      "\"As An AI\" is \"as an ai\"; for a list without @rule, whose rules say so themselves", "0.1")        \
    P(S, flag, whole_words, "whole_words", "true", 0, 1, "", "",                                             \
      "a phrase counts only where no letter or digit touches it: \"art\" is not in \"start\"; for a list "   \
      "without @rule",                                                                                       \
      "0.1")                                                                                                 \
    P(S, flag, portable, "portable", "false", 0, 1, "", "",                                                  \
      "search without Vectorscan: the same results, slower", "0.2")                                          \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(phrases, PHRASES)

enum { MOST_TIMES = 1000 };

typedef struct worker_memory {
    temper_buffer text, now, next; /* unescaped; what rules have left so far; what this one leaves */
    filter_rewrite rewrite;
} worker_memory;

typedef struct search {
    const temper_strings *fields, *roles;
    filter_patterns *patterns;
    worker_memory *workers;
    uint32_t worker_count;
} search;

typedef struct visit {
    search *s;
    filter_row *row;
    worker_memory *memory;
    size_t changes;
    const char *first_rule;
    char first[160];
} visit;

/* --- what is done to a text --------------------------------------------------------------------------------------- */

/* Marks and white space that go with an opening: "Certainly! " */
static size_t opening_end(temper_span text, size_t at) {
    size_t width;
    while (at < text.length) {
        uint32_t c = temper_text_character(text, at, &width);
        if (!temper_text_is_space(c) && c != ',' && c != '.' && c != '!' && c != ':' && c != ';' &&
            c != '-' && c != 0x2013 && c != 0x2014 && c != 0x2026) {
            break;
        }
        at += width;
    }
    return at;
}

/* Is there nothing but marks and white space before `at`? */
static bool opens(temper_span text, size_t at) {
    size_t i, width;
    for (i = 0; i < at; i += width) {
        if (temper_text_is_word(temper_text_character(text, i, &width))) {
            return false;
        }
    }
    return true;
}

/* The part of `text` that goes, and what comes instead; false: the rule does not apply here. */
static bool part_to_go(const filter_rule *rule, temper_span text, const filter_hit *hit, size_t *start,
                       size_t *end) {
    size_t first, behind;
    *start = hit->start;
    *end = hit->start + hit->length;
    switch (rule->action) {
    case FILTER_STRIP:
        filter_sentence(text, hit->start, start, end);
        filter_sentence(text, hit->start + hit->length - 1, &first, &behind); /* a phrase may cross a mark */
        *end = behind > *end ? behind : *end;
        return true;
    case FILTER_STRIP_OPENING:
        *start = 0;
        *end = opening_end(text, *end);
        return opens(text, hit->start);
    case FILTER_DROP:
    case FILTER_REPLACE:
    case FILTER_MARK: break;
    }
    return true;
}

static void take_out(const filter_rule *rule, temper_span text, size_t start, size_t end,
                     temper_buffer *out) {
    temper_span rest = {text.data + end, text.length - end};
    temper_buffer_clear(out);
    temper_buffer_append(out, text.data, start);
    if (rule->action == FILTER_REPLACE) {
        temper_buffer_span(out, rule->with);
    }
    if (rule->action == FILTER_STRIP_OPENING && rest.length > 0 && *rest.data >= 'a' && *rest.data <= 'z') {
        char capital = (char)(*rest.data - 32);
        temper_buffer_append(out, &capital, 1);
        rest.data++;
        rest.length--;
    }
    temper_buffer_span(out, rest);
    if (rule->action == FILTER_STRIP &&
        end == text.length) { /* no white space stays behind the last sentence */
        while (out->length > 0 && (unsigned char)out->data[out->length - 1] <= ' ') {
            out->length--;
        }
    }
}

static void note(visit *v, const filter_rule *rule, const temper_line_text_at *at, temper_span text,
                 const filter_hit *hit) {
    char where[64];
    if (v->changes++ == 0) {
        v->first_rule = rule->name;
        filter_row_drop(v->row, rule->name, "%s, byte %zu: \"%.*s\" (line %zu of the list)",
                        temper_line_where(v->row->line, at, where), hit->start,
                        hit->length > 120 ? 120 : (int)hit->length, text.data + hit->start, hit->line);
        filter_row_span(v->row, at, hit->start, hit->length);
    }
}

static void drop(visit *v, const filter_rule *rule, const temper_line_text_at *at, temper_span text,
                 const filter_hit *hit, bool emptied) {
    char where[64];
    filter_row_drop(v->row, rule->name, "%s, byte %zu: \"%.*s\" (line %zu of the list)%s",
                    temper_line_where(v->row->line, at, where), hit->start,
                    hit->length > 120 ? 120 : (int)hit->length, text.data + hit->start, hit->line,
                    emptied ? ", and nothing is left without it" : "");
    filter_row_span(v->row, at, hit->start, hit->length);
}

/* One rule on one text. Gives 1 when the row is dropped or the run fails; *text is what is left. */
static int apply(visit *v, size_t index, const temper_line_text_at *at, temper_span *text, bool *changed) {
    const filter_rule *rule = filter_patterns_rule(v->s->patterns, index);
    uint32_t worker = v->row->worker;
    size_t from = 0, start, end, times;
    bool failed = false;
    filter_hit hit;
    for (times = 0; times < MOST_TIMES; times++) {
        temper_buffer swap;
        if (!filter_patterns_find(v->s->patterns, worker, index, *text, from, &hit, &failed)) {
            break;
        }
        if (rule->action == FILTER_DROP) {
            drop(v, rule, at, *text, &hit, false);
            return 1;
        }
        if (rule->action == FILTER_MARK) {
            note(v, rule, at, *text, &hit);
            filter_rewrite_mark(&v->memory->rewrite, rule->name);
            break;
        }
        if (!part_to_go(rule, *text, &hit, &start, &end)) {
            break;
        }
        take_out(rule, *text, start, end, &v->memory->next);
        if (v->memory->next.failed) {
            v->memory->next.failed = false;
            failed = true;
            break;
        }
        if (temper_span_trim((temper_span){v->memory->next.data, v->memory->next.length}).length == 0) {
            drop(v, rule, at, *text, &hit, true);
            return 1;
        }
        note(v, rule, at, *text, &hit);
        *changed = true;
        swap = v->memory->now;
        v->memory->now = v->memory->next;
        v->memory->next = swap;
        text->data = v->memory->now.data;
        text->length = v->memory->now.length;
        from = rule->action == FILTER_REPLACE ? start + rule->with.length : 0;
        if (from >= text->length) {
            break;
        }
    }
    if (failed) {
        filter_row_refuse(v->row, TEMPER_NO_MEMORY,
                          "rule %s: memory is short, or an expression takes too long", rule->name);
        return 1;
    }
    return 0;
}

static int look_at(void *context, const temper_line *line, const temper_line_text_at *at) {
    visit *v = context;
    const filter_patterns *patterns = v->s->patterns;
    size_t count = filter_patterns_count(patterns), i;
    bool answer = temper_line_is_answer(line, at), changed = false, any = false;
    filter_candidates candidates;
    temper_span text;
    for (i = 0; i < count && !any; i++) {
        any = answer || filter_patterns_rule(patterns, i)->scope == FILTER_ANYWHERE;
    }
    if (!any) {
        return 0;
    }
    if (!temper_line_text(line, at->node, &v->memory->text, &text) ||
        !filter_patterns_look(patterns, v->row->worker, text, &candidates)) {
        v->memory->text.failed = false;
        filter_row_no_memory(v->row);
        return 1;
    }
    for (i = 0; i < count; i++) {
        bool before = changed;
        if (candidates.bits[i / 64] == 0) {
            i |= 63;
            continue;
        }
        if ((candidates.bits[i / 64] >> (i % 64) & 1) == 0 ||
            (!answer && filter_patterns_rule(patterns, i)->scope != FILTER_ANYWHERE)) {
            continue;
        }
        if (apply(v, i, at, &text, &changed)) {
            return 1;
        }
        if (changed && !before) {
            memset(&candidates, 0xFF, sizeof candidates); /* another text than the one that was scanned */
        }
    }
    if (changed) {
        filter_rewrite_text(&v->memory->rewrite, at->node, text);
    }
    return 0;
}

static void look(void *context, filter_row *row, void *own) {
    search *s = context;
    visit v = {.s = s, .row = row, .memory = &s->workers[row->worker]};
    size_t seen;
    (void)own;
    filter_rewrite_begin(&v.memory->rewrite);
    if (temper_line_texts(row->line, s->fields, s->roles, look_at, &v, &seen) != 0) {
        return;
    }
    if (seen == 0) {
        filter_row_refuse(row, TEMPER_INVALID, "it has none of the fields to look at (see \"fields\")");
    }
    if (filter_rewrite_any(&v.memory->rewrite)) {
        if (filter_rewrite_end(&v.memory->rewrite, row->line)) {
            filter_row_change(row, &v.memory->rewrite.row);
        } else {
            filter_row_no_memory(row);
        }
    }
}

static temper_status start_workers(search *s, const temper_host *host, temper_pool *pool,
                                   temper_error *error) {
    uint32_t i, count = host->workers(host);
    s->workers = temper_pool_take(pool, count, sizeof *s->workers);
    if (s->workers == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < count; i++) {
        temper_buffer_init(&s->workers[i].text, host);
        temper_buffer_init(&s->workers[i].now, host);
        temper_buffer_init(&s->workers[i].next, host);
        filter_rewrite_init(&s->workers[i].rewrite, host);
    }
    s->worker_count = count;
    return TEMPER_OK;
}

static void finish(search *s) {
    uint32_t i;
    for (i = 0; i < s->worker_count; i++) {
        temper_buffer_free(&s->workers[i].text);
        temper_buffer_free(&s->workers[i].now);
        temper_buffer_free(&s->workers[i].next);
        filter_rewrite_free(&s->workers[i].rewrite);
    }
    filter_patterns_free(s->patterns);
}

/* The rules' names, which the metrics count by. */
static const char **names_of(const search *s, temper_pool *pool) {
    size_t count = filter_patterns_count(s->patterns), i;
    const char **names = temper_pool_take(pool, count + 1, sizeof *names);
    for (i = 0; names != NULL && i < count; i++) {
        names[i] = filter_patterns_rule(s->patterns, i)->name;
    }
    return names;
}

temper_status filter_apply_list(const temper_host *host, const filter_list_use *use, temper_error *error) {
    search s = {.fields = use->fields, .roles = use->roles};
    filter_pass pass = {.host = host, .input = "records", .look = look, .context = &s, .changes = true};
    temper_pool *pool = temper_pool_new(host);
    temper_status status;
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    status = filter_patterns_new(host, pool, use->list, use->ignore_case, use->whole_words, use->portable,
                                 &s.patterns, error);
    status = status ? status : start_workers(&s, host, pool, error);
    if (status == TEMPER_OK) {
        pass.rules = names_of(&s, pool);
        status = pass.rules == NULL ? temper_no_memory(error) : filter_rows(&pass, error);
    }
    finish(&s);
    temper_pool_free(pool);
    return status;
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const phrases_parameters *p = self;
    filter_list_use use = {{NULL, 0},           &p->fields,          &p->roles,
                           p->ignore_case != 0, p->whole_words != 0, p->portable != 0};
    temper_status status =
        host->bytes(host, host->input(host, "phrases"), &use.list.data, &use.list.length, error);
    return status ? status : filter_apply_list(host, &use, error);
}

static const temper_port *const inputs[] = {
    TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to filter"),
    TEMPER_PORT(TEMPER_TEXT, "phrases", 0, "",
                "one phrase a line, # begins a comment; or rules: see plugins/filter/README.md"),
    NULL};

const temper_stage filter_phrases_stage = {
    .size = sizeof(temper_stage),
    .revision = 2,
    .name = "phrases",
    .doc = "drops or changes records in which a phrase of a list occurs",
    .inputs = inputs,
    .outputs = filter_changing_outputs,
    .parameters = phrases_parameter_table,
    .parameters_size = sizeof(phrases_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

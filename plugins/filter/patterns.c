/* patterns.c: see patterns.h. The list is read into rules; each rule has a matcher for its literals and its regular expressions. */
#include "patterns.h"

#include "scanner.h"
#include "support/matcher.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { MOST_STEPS = 1000000, NAME_LENGTH = 48 };

typedef struct expression {
    pcre2_code *code;
    temper_span text;
    size_t line;
} expression;

typedef struct example {
    temper_span text;
    size_t line;
    bool wanted;
} example;

typedef struct compiled_rule {
    filter_rule rule;
    temper_matcher *literals; /* NULL: none */
    expression *expressions;
    size_t expression_count;
    example *examples;
    size_t example_count;
} compiled_rule;

typedef struct worker_memory {
    temper_buffer folded;
    pcre2_match_data *match;
} worker_memory;

struct filter_patterns {
    const temper_host *host;
    compiled_rule *rules;
    size_t count;
    worker_memory *workers;
    uint32_t worker_count;
    pcre2_match_context *limits;
    filter_scanner *scanner; /* NULL: every rule is a candidate */
};

/* --- reading a list ---------------------------------------------------------------------------------------------- */

static bool next_line(temper_span list, size_t *at, temper_span *line) {
    size_t start = *at, end;
    if (start >= list.length) {
        return false;
    }
    for (end = start; end < list.length && list.data[end] != '\n'; end++) {
    }
    line->data = list.data + start;
    line->length = end - start;
    *line = temper_span_trim(*line);
    *at = end + 1;
    return true;
}

/* The next word of a directive; false when there is none. */
static bool next_word(temper_span *rest, temper_span *word) {
    *rest = temper_span_trim(*rest);
    word->data = rest->data;
    for (word->length = 0; word->length < rest->length && (unsigned char)rest->data[word->length] > ' ';) {
        word->length++;
    }
    rest->data += word->length;
    rest->length -= word->length;
    return word->length > 0;
}

static bool word_is(temper_span word, const char *text) {
    return temper_span_equal(word, temper_span_of(text));
}

static temper_status bad(temper_error *error, size_t line, const char *what) {
    return temper_fail(error, TEMPER_INVALID,
                       "the phrase list, line %zu: %s (plugins/filter/README.md, Phrase lists)", line, what);
}

static temper_status read_rule(temper_pool *pool, temper_span rest, size_t line, filter_rule *rule,
                               temper_error *error) {
    static const char *const actions[] = {"drop", "strip", "strip-opening", "replace", "mark"};
    static const char *const scopes[] = {"anywhere", "answers", "first"};
    temper_span word;
    size_t i, action = 5;
    bool known;
    if (!next_word(&rest, &word) || word.length > NAME_LENGTH) {
        return bad(error, line, "@rule NAME ACTION: the name is missing, or too long");
    }
    for (i = 0; i < word.length; i++) {
        char c = word.data[i];
        if (!((c | 32) >= 'a' && (c | 32) <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-') {
            return bad(error, line, "a rule's name is letters, digits, _ and -");
        }
    }
    rule->name = temper_pool_copy(pool, word.data, word.length);
    rule->line = line;
    if (rule->name == NULL) {
        return temper_no_memory(error);
    }
    if (next_word(&rest, &word)) {
        for (action = 0; action < 5 && !word_is(word, actions[action]); action++) {
        }
    }
    if (action == 5) {
        return bad(error, line, "a rule's action is drop, strip, strip-opening, replace or mark");
    }
    rule->action = (filter_action)action;
    while (next_word(&rest, &word)) {
        known = true;
        for (i = 0; i < 3 && !word_is(word, scopes[i]); i++) {
        }
        if (i < 3) {
            rule->scope = (filter_scope)i;
        } else if (word_is(word, "case")) {
            rule->case_matters = true;
        } else if (word_is(word, "inside")) {
            rule->inside = true;
        } else {
            known = false;
        }
        if (!known) {
            return bad(error, line,
                       "behind the action stand anywhere, answers or first, and case and inside");
        }
    }
    return TEMPER_OK;
}

/* "@regex rest" → true, and the rest. */
static bool directive(temper_span line, const char *name, temper_span *rest) {
    size_t length = strlen(name);
    if (line.length < length || memcmp(line.data, name, length) != 0 ||
        (line.length > length && (unsigned char)line.data[length] > ' ')) {
        return false;
    }
    rest->data = line.data + length;
    rest->length = line.length - length;
    *rest = temper_span_trim(*rest);
    return true;
}

typedef struct reader {
    filter_patterns *patterns;
    temper_pool *pool;
    temper_span list;
    compiled_rule *now;
    bool directives;
    size_t expressions, examples, rules;
} reader;

static void count_all(reader *r) {
    temper_span line, rest;
    size_t at;
    for (at = 0; next_line(r->list, &at, &line);) {
        r->rules += directive(line, "@rule", &rest);
        r->expressions += directive(line, "@regex", &rest);
        r->examples += directive(line, "@yes", &rest) || directive(line, "@no", &rest);
    }
    r->directives = r->rules > 0;
}

static temper_status read_directive(reader *r, temper_span line, size_t number, temper_error *error) {
    temper_span rest;
    size_t i;
    if (directive(line, "@rule", &rest)) {
        filter_patterns *p = r->patterns;
        temper_status status;
        r->now = &p->rules[p->count];
        status = read_rule(r->pool, rest, number, &r->now->rule, error);
        for (i = 0; status == TEMPER_OK && i < p->count; i++) {
            if (strcmp(p->rules[i].rule.name, r->now->rule.name) == 0) {
                return bad(error, number, "a rule of this name is there already");
            }
        }
        r->now->expressions = p->rules[0].expressions + r->expressions;
        r->now->examples = p->rules[0].examples + r->examples;
        p->count++;
        return status;
    }
    if (r->now == NULL) {
        return bad(error, number, "before the first @rule there are only comments");
    }
    if (directive(line, "@regex", &rest)) {
        if (rest.length == 0) {
            return bad(error, number, "@regex PATTERN: the pattern is missing");
        }
        r->now->expressions[r->now->expression_count++] = (expression){NULL, rest, number};
        r->expressions++;
        return TEMPER_OK;
    }
    if (directive(line, "@yes", &rest) || directive(line, "@no", &rest)) {
        r->now->examples[r->now->example_count++] = (example){rest, number, line.data[1] == 'y'};
        r->examples++;
        return TEMPER_OK;
    }
    if (directive(line, "@with", &rest)) {
        r->now->rule.with = rest;
        return TEMPER_OK;
    }
    return bad(error, number,
               "@rule, @regex, @with, @yes and @no are the directives; \\@ begins a phrase with @");
}

/* The list with everything blanked that is no literal of this rule: line numbers stay what they are. */
static bool literals_of(const reader *r, const compiled_rule *rule, temper_span *out, bool *any) {
    char *copy = temper_pool_copy(r->pool, r->list.data, r->list.length);
    temper_span line, rest;
    const char *name = NULL;
    size_t at, start;
    *any = false;
    if (copy == NULL) {
        return false;
    }
    for (at = 0, start = 0; next_line(r->list, &at, &line); start = at) {
        size_t end = at - 1 < r->list.length ? at - 1 : r->list.length;
        bool literal = line.length > 0 && line.data[0] != '#' && line.data[0] != '@';
        if (directive(line, "@rule", &rest)) {
            temper_span word;
            next_word(&rest, &word);
            name = temper_span_equal(word, temper_span_of(rule->rule.name)) ? rule->rule.name : "";
        }
        if (!literal || (r->directives && name != rule->rule.name)) {
            memset(copy + start, ' ', end - start);
            continue;
        }
        *any = true;
        if (line.length > 1 && line.data[0] == '\\' && line.data[1] == '@') {
            copy[line.data - r->list.data] = ' ';
        }
    }
    out->data = copy;
    out->length = r->list.length;
    return true;
}

static temper_status compile_expressions(compiled_rule *rule, temper_error *error) {
    size_t i;
    for (i = 0; i < rule->expression_count; i++) {
        expression *e = &rule->expressions[i];
        PCRE2_UCHAR words[160];
        PCRE2_SIZE offset;
        int number;
        e->code = pcre2_compile((PCRE2_SPTR)e->text.data, e->text.length,
                                PCRE2_UTF | PCRE2_UCP | (rule->rule.case_matters ? 0 : PCRE2_CASELESS),
                                &number, &offset, NULL);
        if (e->code == NULL) {
            pcre2_get_error_message(number, words, sizeof words);
            return temper_fail(error, TEMPER_INVALID,
                               "the phrase list, line %zu: at byte %zu of the expression: %s", e->line,
                               (size_t)offset + 1, (const char *)words);
        }
        pcre2_jit_compile(e->code, PCRE2_JIT_COMPLETE); /* where it cannot, the interpreter gives the same */
    }
    return TEMPER_OK;
}

/* --- finding ----------------------------------------------------------------------------------------------------- */

static bool closes(uint32_t c) {
    return c == '"' || c == '\'' || c == ')' || c == ']' || c == '*' || c == '_' || c == 0x201D ||
           c == 0x2019 || c == 0xBB;
}

static bool ends_sentence(uint32_t c) {
    return c == '.' || c == '!' || c == '?' || c == 0x2026 || c == 0x3002 || c == 0xFF01 || c == 0xFF1F;
}

/* The end of the sentence that begins at or before `at`: behind its mark, what closes it, and the white space. */
static size_t sentence_end(temper_span text, size_t at) {
    size_t width, next;
    while (at < text.length) {
        uint32_t c = temper_text_character(text, at, &width);
        at += width;
        if (c == '\n') {
            break;
        }
        if (!ends_sentence(c)) {
            continue;
        }
        while (at < text.length &&
               (ends_sentence(c = temper_text_character(text, at, &width)) || closes(c))) {
            at += width;
        }
        if (at >= text.length || temper_text_is_space(temper_text_character(text, at, &width)) ||
            c > 0x2FFF) {
            break;
        }
    }
    for (next = at; next < text.length && temper_text_is_space(temper_text_character(text, next, &width));
         next += width) {
    }
    return next;
}

void filter_sentence(temper_span text, size_t at, size_t *start, size_t *end) {
    size_t begin = 0, next;
    for (;;) {
        next = sentence_end(text, begin);
        if (next > at || next >= text.length || next <= begin) {
            break;
        }
        begin = next;
    }
    *start = begin;
    *end = next;
}

static bool find_expression(const filter_patterns *p, uint32_t worker, const expression *e, temper_span text,
                            size_t from, filter_hit *out, bool *failed) {
    pcre2_match_data *match = p->workers[worker].match;
    int found =
        pcre2_match(e->code, (PCRE2_SPTR)text.data, text.length, from, PCRE2_NO_UTF_CHECK, match, p->limits);
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(match);
    if (found < 0) {
        *failed = *failed || found != PCRE2_ERROR_NOMATCH;
        return false;
    }
    if (ends[1] <= ends[0]) {
        return false; /* nothing is no finding */
    }
    *out = (filter_hit){ends[0], ends[1] - ends[0], e->line};
    return true;
}

bool filter_patterns_find(const filter_patterns *p, uint32_t worker, size_t index, temper_span text,
                          size_t from, filter_hit *out, bool *failed) {
    const compiled_rule *rule = &p->rules[index];
    temper_buffer *folded = &p->workers[worker].folded;
    bool found = false;
    size_t i, width;
    filter_hit hit;
    if (rule->literals != NULL) {
        temper_span rest = {text.data + from, text.length - from};
        temper_match match;
        if (!temper_buffer_reserve(folded, rest.length)) {
            folded->failed = false;
            *failed = true;
            return false;
        }
        if (temper_matcher_find(rule->literals, rest, folded->data, &match)) {
            *out = (filter_hit){from + match.start, match.length, match.line};
            found = true;
        }
    }
    for (i = 0; i < rule->expression_count; i++) {
        if (find_expression(p, worker, &rule->expressions[i], text, from, &hit, failed) &&
            (!found || hit.start < out->start)) {
            *out = hit;
            found = true;
        }
    }
    if (found && rule->rule.scope == FILTER_FIRST) {
        size_t begin = 0;
        while (begin < text.length && temper_text_is_space(temper_text_character(text, begin, &width))) {
            begin += width;
        }
        found = out->start < sentence_end(text, begin);
    }
    return found;
}

bool filter_patterns_look(const filter_patterns *p, uint32_t worker, temper_span text,
                          filter_candidates *out) {
    if (p->scanner == NULL) {
        memset(out, 0xFF, sizeof *out);
        return true;
    }
    memset(out, 0, sizeof *out);
    return filter_scanner_look(p->scanner, worker, text, out->bits);
}

static temper_status check_examples(const filter_patterns *p, temper_error *error) {
    size_t i, j;
    for (i = 0; i < p->count; i++) {
        for (j = 0; j < p->rules[i].example_count; j++) {
            const example *e = &p->rules[i].examples[j];
            filter_candidates candidates;
            bool failed = false, found;
            filter_hit hit;
            found = filter_patterns_find(p, 0, i, e->text, 0, &hit, &failed);
            if (failed || !filter_patterns_look(p, 0, e->text, &candidates)) {
                return temper_no_memory(error);
            }
            if (found != e->wanted) {
                return temper_fail(error, TEMPER_INVALID,
                                   "the phrase list, line %zu: rule %s finds %s in this example", e->line,
                                   p->rules[i].rule.name, found ? "something" : "nothing");
            }
            if (found && (candidates.bits[i / 64] >> (i % 64) & 1) == 0) {
                return temper_fail(error, TEMPER_FAILED,
                                   "the phrase list, line %zu: Vectorscan overlooks what rule %s finds",
                                   e->line, p->rules[i].rule.name);
            }
        }
    }
    return TEMPER_OK;
}

/* --- put together ------------------------------------------------------------------------------------------------ */

static temper_status read_list(reader *r, bool ignore_case, bool whole_words, temper_error *error) {
    filter_patterns *p = r->patterns;
    temper_status status = TEMPER_OK;
    temper_span line, literals;
    size_t at, number, i;
    bool any = false, something = false;
    count_all(r);
    p->rules = temper_pool_take(r->pool, r->rules + 1, sizeof *p->rules);
    if (p->rules == NULL) {
        return temper_no_memory(error);
    }
    p->rules[0].expressions = temper_pool_take(r->pool, r->expressions + 1, sizeof(expression));
    p->rules[0].examples = temper_pool_take(r->pool, r->examples + 1, sizeof(example));
    if (p->rules[0].expressions == NULL || p->rules[0].examples == NULL) {
        return temper_no_memory(error);
    }
    if (r->rules >= FILTER_MOST_PHRASE_RULES) {
        return temper_fail(error, TEMPER_INVALID, "the phrase list has %zu rules: at most %d", r->rules,
                           FILTER_MOST_PHRASE_RULES - 1);
    }
    if (!r->directives) {
        p->rules[0].rule =
            (filter_rule){"phrase", 1, FILTER_DROP, FILTER_ANYWHERE, {NULL, 0}, !ignore_case, !whole_words};
        r->now = &p->rules[0];
        p->count = 1;
    }
    r->expressions = r->examples = 0;
    for (at = 0, number = 1; status == TEMPER_OK && next_line(r->list, &at, &line); number++) {
        if (line.length > 0 && line.data[0] == '@') {
            status = read_directive(r, line, number, error);
        } else if (line.length > 0 && line.data[0] != '#' && r->now == NULL) {
            status = bad(error, number, "this phrase belongs to no rule: it stands before the first @rule");
        }
    }
    for (i = 0; status == TEMPER_OK && i < p->count; i++) {
        compiled_rule *rule = &p->rules[i];
        if (!literals_of(r, rule, &literals, &any)) {
            return temper_no_memory(error);
        }
        something = something || any || rule->expression_count > 0;
        if (any) {
            status = temper_matcher_new(p->host, r->pool, literals, !rule->rule.case_matters,
                                        !rule->rule.inside, &rule->literals, error);
        }
        status = status ? status : compile_expressions(rule, error);
    }
    if (status == TEMPER_OK && !something) {
        status = temper_fail(error, TEMPER_INVALID,
                             "the phrase list has no phrases: one a line, # begins a comment");
    }
    return status;
}

static temper_status start_workers(filter_patterns *p, temper_pool *pool, temper_error *error) {
    uint32_t i, count = p->host->workers(p->host);
    p->workers = temper_pool_take(pool, count, sizeof *p->workers);
    p->limits = pcre2_match_context_create(NULL);
    if (p->workers == NULL || p->limits == NULL) {
        return temper_no_memory(error);
    }
    pcre2_set_match_limit(p->limits, MOST_STEPS);
    pcre2_set_depth_limit(p->limits, MOST_STEPS);
    for (i = 0; i < count; i++) {
        temper_buffer_init(&p->workers[i].folded, p->host);
        p->workers[i].match = pcre2_match_data_create(1, NULL);
        p->worker_count = i + 1;
        if (p->workers[i].match == NULL) {
            return temper_no_memory(error);
        }
    }
    return TEMPER_OK;
}

/* Everything that is to be found, for the scan that comes first. */
static temper_status start_scanner(filter_patterns *p, temper_pool *pool, temper_error *error) {
    filter_scanner_plan *plan;
    temper_status status = filter_scanner_plan_new(p->host, pool, &plan, error);
    size_t i, j;
    for (i = 0; status == TEMPER_OK && i < p->count; i++) {
        const compiled_rule *rule = &p->rules[i];
        for (j = 0; status == TEMPER_OK && rule->literals != NULL && j < temper_matcher_count(rule->literals);
             j++) {
            status = filter_scanner_literal(plan, i, temper_matcher_phrase(rule->literals, j), error);
        }
        for (j = 0; status == TEMPER_OK && j < rule->expression_count; j++) {
            status =
                filter_scanner_expression(plan, i, rule->expressions[j].text, rule->rule.case_matters, error);
        }
    }
    return status ? status : filter_scanner_new(plan, &p->scanner, error);
}

temper_status filter_patterns_new(const temper_host *host, temper_pool *pool, temper_span list,
                                  bool ignore_case, bool whole_words, bool portable, filter_patterns **out,
                                  temper_error *error) {
    filter_patterns *p = temper_pool_take(pool, 1, sizeof *p);
    reader r = {.patterns = p, .pool = pool, .list = list};
    temper_status status;
    *out = p;
    if (p == NULL) {
        return temper_no_memory(error);
    }
    p->host = host;
    status = start_workers(p, pool, error);
    status = status ? status : read_list(&r, ignore_case, whole_words, error);
    if (status == TEMPER_OK && !portable) {
        status = start_scanner(p, pool, error);
    }
    return status ? status : check_examples(p, error);
}

void filter_patterns_free(filter_patterns *p) {
    size_t i, j;
    if (p == NULL) {
        return;
    }
    for (i = 0; i < p->count; i++) {
        for (j = 0; j < p->rules[i].expression_count; j++) {
            pcre2_code_free(p->rules[i].expressions[j].code);
        }
    }
    for (i = 0; i < p->worker_count; i++) {
        temper_buffer_free(&p->workers[i].folded);
        pcre2_match_data_free(p->workers[i].match);
    }
    pcre2_match_context_free(p->limits);
    filter_scanner_free(p->scanner);
}

size_t filter_patterns_count(const filter_patterns *p) {
    return p->count;
}

const filter_rule *filter_patterns_rule(const filter_patterns *p, size_t rule) {
    return &p->rules[rule].rule;
}

bool filter_patterns_scanned(const filter_patterns *p) {
    return p->scanner != NULL;
}

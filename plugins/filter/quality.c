/* quality.c: marks by which one knows an assistant's essay: lists, bold, headings, a question at the end.
 *
 * Its numbers are of the whole input, dropped rows included, so that a run says how its data reads before anything is dropped:
 * as a rule `quality` is run for its metrics first, and bounds are set after a look at them. */
#include "each_text.h"

#define QUALITY(P, S)                                                                                        \
    FILTER_TEXT_PARAMETERS(P, S, "\"answers\"")                                                              \
    P(S, number, lists, "lists", "1", 0, 1, "", "", "most lines that are items of lists, of a text's lines", \
      "0.1")                                                                                                 \
    P(S, number, bold, "bold", "1", 0, 1, "", "", "most words in bold, of a text's words", "0.1")            \
    P(S, number, headings, "headings", "1", 0, 1, "", "", "most lines that are headings, of a text's lines", \
      "0.1")                                                                                                 \
    P(S, number, questions, "questions", "1", 0, 1, "", "",                                                  \
      "most texts that end with a question, of a record's texts", "0.1")                                     \
    P(S, integer, lines, "least_lines", "3", 1, 1e9, "lines", "",                                            \
      "texts with fewer lines are not asked for lists and headings", "0.1")                                  \
    P(S, integer, words, "least_words", "20", 1, 1e9, "words", "",                                           \
      "texts with fewer words are not asked for bold", "0.1")                                                \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(quality, QUALITY)

static const char lists_rule[] = "lists", bold_rule[] = "bold", headings_rule[] = "headings",
                  questions_rule[] = "questions";
static const char *const rules[] = {lists_rule, bold_rule, headings_rule, questions_rule, NULL};

typedef struct marks {
    uint64_t texts, lines, items, headings, words, bold, questions;
} marks;

typedef struct judge {
    filter_texts texts;
    const quality_parameters *p;
    marks all;
} judge;

typedef struct one_row {
    judge *j;
    marks sum;
} one_row;

static size_t skip_blanks(temper_span line) {
    size_t at = 0;
    while (at < line.length && (line.data[at] == ' ' || line.data[at] == '\t' || line.data[at] == '>')) {
        at++;
    }
    return at;
}

/* "- x", "* x", "+ x", "• x", "1. x", "12) x", "a) x". */
static bool is_item(temper_span line) {
    size_t at = skip_blanks(line), digits = 0;
    if (at + 1 < line.length && strchr("-*+", line.data[at]) != NULL) {
        return line.data[at + 1] == ' ' || line.data[at + 1] == '\t';
    }
    if (at + 3 < line.length && memcmp(line.data + at, "\xE2\x80\xA2", 3) == 0) {
        return true;
    }
    while (at < line.length && line.data[at] >= '0' && line.data[at] <= '9' && digits < 4) {
        at++;
        digits++;
    }
    if (digits == 0 && at < line.length && ((line.data[at] | 0x20) >= 'a' && (line.data[at] | 0x20) <= 'z')) {
        at++;
        return at + 1 < line.length && line.data[at] == ')' && line.data[at + 1] == ' ';
    }
    return digits > 0 && at + 1 < line.length && (line.data[at] == '.' || line.data[at] == ')') &&
           line.data[at + 1] == ' ';
}

static bool is_heading(temper_span line) {
    size_t at = skip_blanks(line), marks_count = 0;
    while (at < line.length && line.data[at] == '#' && marks_count < 7) {
        at++;
        marks_count++;
    }
    return marks_count > 0 && marks_count < 7 && at < line.length && line.data[at] == ' ';
}

static bool is_fence(temper_span line) {
    size_t at = skip_blanks(line);
    return at + 2 < line.length && memcmp(line.data + at, "```", 3) == 0;
}

/* Words between a pair of ** or __ in one line. */
static uint64_t bold_words(temper_span line) {
    uint64_t words = 0;
    size_t at = 0, open = 0;
    bool in = false;
    char mark = 0;
    while (at + 1 < line.length) {
        if ((line.data[at] == '*' || line.data[at] == '_') && line.data[at + 1] == line.data[at] &&
            (!in || line.data[at] == mark)) {
            if (in) {
                words += temper_text_words((temper_span){line.data + open, at - open});
            }
            mark = line.data[at];
            in = !in;
            at += 2;
            open = at;
        } else {
            at++;
        }
    }
    return words;
}

/* A question mark at the end, behind it only quotes, brackets, emphasis and what is no text. */
static bool ends_with_question(temper_span text) {
    size_t end = text.length;
    while (end > 0) {
        unsigned char c = (unsigned char)text.data[end - 1];
        if (c == '?' || (end >= 3 && (memcmp(text.data + end - 3, "\xEF\xBC\x9F", 3) == 0 /* ？ */))) {
            return true;
        }
        if (end >= 2 && memcmp(text.data + end - 2, "\xD8\x9F", 2) == 0 /* ؟ */) {
            return true;
        }
        if (strchr(" \t\r\n\"'*_)]", c) != NULL && c != 0) {
            end--;
        } else if (end >= 3 && memcmp(text.data + end - 3, "\xE2\x80\x9D", 3) == 0 /* ” */) {
            end -= 3;
        } else if (end >= 4 && (unsigned char)text.data[end - 4] == 0xF0) {
            end -= 4; /* an emoji */
        } else {
            return false;
        }
    }
    return false;
}

/* Code is not looked at: a comment is no heading, a product no bold. */
static void measure(temper_span text, marks *m) {
    size_t at = 0;
    bool code = false;
    m->texts++;
    while (at <= text.length) {
        const char *feed = at < text.length ? memchr(text.data + at, '\n', text.length - at) : NULL;
        size_t end = feed != NULL ? (size_t)(feed - text.data) : text.length;
        temper_span line = {text.data + at, end - at};
        at = end + 1;
        if (temper_span_trim(line).length == 0) {
            continue;
        }
        if (is_fence(line)) {
            code = !code;
            continue;
        }
        if (code) {
            continue;
        }
        m->lines++;
        m->items += is_item(line);
        m->headings += is_heading(line);
        m->words += temper_text_words(line);
        m->bold += bold_words(line);
    }
    m->questions += ends_with_question(text);
}

static double share(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0.0 : (double)part / (double)whole;
}

static void add(marks *to, const marks *m) {
    to->texts += m->texts;
    to->lines += m->lines;
    to->items += m->items;
    to->headings += m->headings;
    to->words += m->words;
    to->bold += m->bold;
    to->questions += m->questions;
}

static bool past(filter_row *row, const temper_line_text_at *at, const char *rule, const char *what,
                 double value, double bound) {
    char where[64];
    if (value <= bound) {
        return false;
    }
    if (row->verdict->rule == NULL) {
        filter_row_drop(row, rule, "%s: %s %.3g, at most %.3g",
                        at != NULL ? temper_line_where(row->line, at, where) : "its texts", what, value,
                        bound);
        filter_row_value(row, value, bound);
    }
    return true;
}

/* Goes on after a verdict: the numbers are of every text. */
static int look(void *context, filter_row *row, temper_span text, const temper_line_text_at *at) {
    one_row *one = context;
    const quality_parameters *p = one->j->p;
    marks m = {0};
    measure(text, &m);
    add(&one->sum, &m);
    if (m.lines >= (uint64_t)p->lines) {
        past(row, at, lists_rule, "share of lines that are items of lists", share(m.items, m.lines),
             p->lists);
        past(row, at, headings_rule, "share of lines that are headings", share(m.headings, m.lines),
             p->headings);
    }
    if (m.words >= (uint64_t)p->words) {
        past(row, at, bold_rule, "share of words in bold", share(m.bold, m.words), p->bold);
    }
    return 0;
}

static void look_row(void *context, filter_row *row, void *own) {
    judge *j = context;
    one_row one = {.j = j};
    filter_texts texts = j->texts; /* the context is this row's */
    texts.context = &one;
    filter_texts_of(&texts, row);
    past(row, NULL, questions_rule, "share that ends with a question",
         share(one.sum.questions, one.sum.texts), j->p->questions);
    add(own, &one.sum);
}

static temper_status joined(void *context, void *own, temper_error *error) {
    judge *j = context;
    (void)error;
    add(&j->all, own);
    return TEMPER_OK;
}

static void metrics(void *context, temper_row *row) {
    const judge *j = context;
    temper_row_number(row, "list_share", share(j->all.items, j->all.lines));
    temper_row_number(row, "heading_share", share(j->all.headings, j->all.lines));
    temper_row_number(row, "bold_share", share(j->all.bold, j->all.words));
    temper_row_number(row, "question_share", share(j->all.questions, j->all.texts));
    temper_row_number(row, "mean_words", share(j->all.words, j->all.texts));
    temper_row_integer(row, "texts", j->all.texts);
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const quality_parameters *p = self;
    judge j = {.texts = {.fields = &p->fields, .roles = &p->roles, .of = p->of, .look = look}, .p = p};
    filter_pass pass = {.host = host,
                        .input = "records",
                        .rules = rules,
                        .look = look_row,
                        .context = &j,
                        .own_size = sizeof(marks),
                        .joined = joined,
                        .metrics = metrics};
    return filter_texts_run(&j.texts, &pass, error);
}

static const temper_port *const inputs[] = {TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to filter"),
                                            NULL};

const temper_stage filter_quality_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "quality",
    .doc = "measures lists, bold, headings and questions at the end, and drops records past bounds",
    .inputs = inputs,
    .outputs = filter_outputs,
    .parameters = quality_parameter_table,
    .parameters_size = sizeof(quality_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

/* language.c: drops records that are in none of the languages asked for.
 *
 * All texts of a record that are looked at are judged together, code blocks left out: one short answer says little, a
 * conversation says enough. Where even that is too little, or CLD2 is not sure, nothing is dropped unless `unsure` says so:
 * "Ok!" is of every language. */
#include "language.h"
#include "each_text.h"

#define LANGUAGE(P, S)                                                                                       \
    FILTER_TEXT_PARAMETERS(P, S, "\"all\"")                                                                  \
    P(S, strings, languages, "languages", "[\"en\"]", 1, 0, "", "",                                          \
      "the languages wanted, by their ISO 639 codes (en, de, pt, zh)", "0.1")                                \
    P(S, number, share, "share", "0.6", 0, 1, "", "", "how much of the text must be in these languages",     \
      "0.1")                                                                                                 \
    P(S, integer, characters, "characters", "24", 0, 1e9, "characters", "",                                  \
      "records with fewer in all are kept", "0.1")                                                           \
    P(S, flag, unsure, "unsure", "false", 0, 1, "", "", "drop records whose language is not certain, too",   \
      "0.1")                                                                                                 \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(language, LANGUAGE)

static const char other[] = "other_language", unknown[] = "unsure";
static const char *const rules[] = {other, unknown, NULL};

typedef struct judge {
    filter_texts texts;
    const language_parameters *p;
} judge;

/* Without code: between fences, what is there is no language. */
static void add_prose(temper_buffer *out, temper_span text) {
    size_t at = 0;
    bool code = false;
    while (at < text.length) {
        const char *feed = memchr(text.data + at, '\n', text.length - at);
        size_t end = feed != NULL ? (size_t)(feed - text.data) + 1 : text.length;
        if (end - at >= 3 && memcmp(text.data + at, "```", 3) == 0) {
            code = !code;
        } else if (!code) {
            temper_buffer_append(out, text.data + at, end - at);
        }
        at = end;
    }
    temper_buffer_append(out, "\n", 1);
}

static int look(void *context, filter_row *row, temper_span text, const temper_line_text_at *at) {
    judge *j = context;
    (void)at;
    add_prose(&j->texts.work.buffers[row->worker], text);
    return 0;
}

/* "pt" is "pt-BR", and "zh" is "zh-Hant": what is behind a hyphen may be left out. */
static bool is_wanted(const language_parameters *p, const char *code) {
    size_t i;
    for (i = 0; i < p->languages.count; i++) {
        size_t length = strlen(p->languages.items[i]);
        if (strncmp(code, p->languages.items[i], length) == 0 && (code[length] == 0 || code[length] == '-')) {
            return true;
        }
    }
    return false;
}

static void judge_row(judge *j, filter_row *row, temper_span text) {
    language_guess guess;
    int wanted = 0, known = 0, i;
    if (temper_text_count(temper_span_trim(text)) < (size_t)j->p->characters) {
        return;
    }
    if (!language_of(text.data, text.length, &guess) || !guess.reliable) {
        if (j->p->unsure) {
            filter_row_drop(row, unknown, "its language is not certain: %s %d %%",
                            guess.codes[0] != NULL ? guess.codes[0] : "none known", guess.percents[0]);
        }
        return;
    }
    for (i = 0; i < 3 && guess.codes[i] != NULL; i++) {
        known += guess.percents[i];
        wanted += is_wanted(j->p, guess.codes[i]) ? guess.percents[i] : 0;
    }
    /* Of what is of a language: numbers, names and emoji are of none. */
    if (known > 0 && (double)wanted < j->p->share * (double)known) {
        filter_row_drop(row, other, "%s %d %%%s%s", guess.codes[0], guess.percents[0],
                        guess.codes[1] != NULL ? ", " : "", guess.codes[1] != NULL ? guess.codes[1] : "");
        filter_row_value(row, (double)wanted / (double)known, j->p->share);
    }
}

static void look_row(void *context, filter_row *row, void *own) {
    judge *j = context;
    temper_buffer *prose = &j->texts.work.buffers[row->worker];
    (void)own;
    temper_buffer_clear(prose);
    filter_texts_of(&j->texts, row);
    if (prose->failed) {
        prose->failed = false;
        filter_row_no_memory(row);
    } else {
        judge_row(j, row, (temper_span){prose->data, prose->length});
    }
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const language_parameters *p = self;
    judge j = {.texts = {.fields = &p->fields, .roles = &p->roles, .of = p->of, .look = look}, .p = p};
    filter_pass pass = {.host = host, .input = "records", .rules = rules, .look = look_row, .context = &j};
    size_t i;
    if (p->languages.count == 0) {
        return temper_fail(error, TEMPER_INVALID, "languages: at least one, as \"en\"");
    }
    for (i = 0; i < p->languages.count; i++) {
        if (!language_is_known(p->languages.items[i])) {
            return temper_fail(
                error, TEMPER_INVALID,
                "languages: no language \"%.40s\" is known; write ISO 639 codes, as en, de, fr, pt, zh",
                p->languages.items[i]);
        }
    }
    j.texts.context = &j;
    return filter_texts_run(&j.texts, &pass, error);
}

static const temper_port *const inputs[] = {TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to filter"),
                                            NULL};

const temper_stage filter_language_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "language",
    .doc = "drops records that are in none of the languages asked for",
    .inputs = inputs,
    .outputs = filter_outputs,
    .parameters = language_parameter_table,
    .parameters_size = sizeof(language_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

/* charset.c: drops records with characters that are no text, are damage, or are of a script nobody asked for.
 *
 * `control`: control characters but tab and line ends. `replacement`: U+FFFD, where a decoder gave up. `mojibake`: UTF-8 that
 * was read as Windows-1252 or Latin-1 and written out again ("donâ€™t", "CafÃ©"): the characters stand for bytes that are UTF-8, which real
 * text all but never does. `invisible`: zero-width and direction characters and tags, in which things can be hidden; joiners between
 * letters or emoji, where scripts need them, are none. `script`: letters of other scripts than those named (libunistring knows each). */
#include "each_text.h"

#include <unictype.h>

#define CHARSET(P, S)                                                                                        \
    FILTER_TEXT_PARAMETERS(P, S, "\"all\"")                                                                  \
    P(S, flag, controls, "control", "true", 0, 1, "", "", "drop control characters but tab and line ends",   \
      "0.1")                                                                                                 \
    P(S, flag, replaced, "replacement", "true", 0, 1, "", "", "drop U+FFFD", "0.1")                          \
    P(S, flag, mojibakes, "mojibake", "true", 0, 1, "", "", "drop text that was decoded wrongly", "0.1")     \
    P(S, flag, invisibles, "invisible", "true", 0, 1, "", "", "drop characters nobody sees", "0.1")          \
    P(S, strings, scripts, "scripts", "[]", 1, 0, "", "",                                                    \
      "scripts allowed, by their Unicode names (Latin, Cyrillic, Han); none: all", "0.1")                    \
    P(S, number, foreign, "foreign", "0.1", 0, 1, "", "",                                                    \
      "with scripts: the largest share of a text's letters that may be of others", "0.1")                    \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(charset, CHARSET)

static const char control[] = "control", replacement[] = "replacement", mojibake[] = "mojibake",
                  invisible[] = "invisible", script[] = "script";
static const char *const rules[] = {control, replacement, mojibake, invisible, script, NULL};

enum { MOST_SCRIPTS = 64 };

typedef struct judge {
    filter_texts texts;
    const charset_parameters *p;
    const uc_script_t *allowed[MOST_SCRIPTS];
    size_t allowed_count;
} judge;

/* The byte a character stands for in Windows-1252 (and Latin-1, which fills its gaps); -1: none above 0x7F. */
static int windows_byte(uint32_t c) {
    static const uint16_t upper[32] = {0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                       0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D,   0x017D, 0x8F,
                                       0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                       0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178};
    int i;
    if (c >= 0x80 && c <= 0xFF) {
        return (int)c; /* Latin-1 keeps 0x80 to 0x9F as they are */
    }
    for (i = 0; i < 32; i++) {
        if (upper[i] == c) {
            return 0x80 + i;
        }
    }
    return -1;
}

/* Bytes of the sequence that the characters at `at` stand for, when it is UTF-8; 0: none. */
static size_t mojibake_at(temper_span text, size_t at, uint32_t c, size_t width) {
    size_t need, i, from = at;
    int byte = windows_byte(c);
    if (byte < 0xC2 || byte > 0xF4) {
        return 0;
    }
    need = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    for (i = 0; i < need; i++) {
        at += width;
        if (at >= text.length) {
            return 0;
        }
        byte = windows_byte(temper_text_character(text, at, &width));
        if (byte < 0x80 || byte > 0xBF) {
            return 0;
        }
    }
    return at + width - from;
}

static bool is_joiner(uint32_t c) {
    return c == 0x200C || c == 0x200D;
}

static bool is_invisible(uint32_t c) {
    return c == 0x200B || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) ||
           (c >= 0x2060 && c <= 0x2064) || (c >= 0x2066 && c <= 0x206F) || c == 0xFEFF ||
           (c >= 0xE0000 && c <= 0xE0FFF) || c == 0x115F || c == 0x1160 || c == 0x3164 || c == 0xFFA0;
}

/* Joiners between ASCII, or at a text's ends, join nothing. */
static bool joins_nothing(uint32_t before, temper_span text, size_t after) {
    return before < 0x80 || after >= text.length || (unsigned char)text.data[after] < 0x80;
}

/* Flags of Scotland, Wales and England are a black flag and tags: those are seen. */
static bool is_tag_of_flag(uint32_t c, bool in_flag) {
    return in_flag && c >= 0xE0020 && c <= 0xE007F;
}

static bool is_allowed(const judge *j, uint32_t c, const uc_script_t *of) {
    size_t i;
    if (of == NULL || strcmp(of->name, "Common") == 0 || strcmp(of->name, "Inherited") == 0) {
        return true;
    }
    for (i = 0; i < j->allowed_count; i++) {
        if (j->allowed[i] == of || uc_is_script(c, j->allowed[i])) {
            return true;
        }
    }
    return false;
}

static void drop_at(filter_row *row, const temper_line_text_at *at, const char *rule, const char *what,
                    uint32_t c, size_t start, size_t length) {
    char where[64];
    filter_row_drop(row, rule, "%s, byte %zu: %s (U+%04X)", temper_line_where(row->line, at, where), start,
                    what, (unsigned)c);
    filter_row_span(row, at, start, length);
}

/* One character; true: the row is dropped for it. */
static bool judge_character(const judge *j, filter_row *row, temper_span text, const temper_line_text_at *at,
                            size_t where, uint32_t c, size_t width, uint32_t before, bool in_flag) {
    const charset_parameters *p = j->p;
    size_t bytes;
    if (p->controls &&
        ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || (c >= 0x7F && c < 0xA0 && c != 0x85)) &&
        !(p->mojibakes && c >= 0x80)) {
        drop_at(row, at, control, "a control character", c, where, width);
    } else if (p->replaced && c == 0xFFFD) {
        drop_at(row, at, replacement, "the character that stands for what could not be read", c, where,
                width);
    } else if (p->mojibakes && c >= 0xC2 && (bytes = mojibake_at(text, where, c, width)) > 0) {
        char at_field[64];
        filter_row_drop(row, mojibake, "%s, byte %zu: \"%.*s\" is UTF-8 read as something else",
                        temper_line_where(row->line, at, at_field), where, (int)bytes, text.data + where);
        filter_row_span(row, at, where, bytes);
    } else if (p->controls && c >= 0x80 && c < 0xA0 && c != 0x85) {
        drop_at(row, at, control, "a control character", c, where, width);
    } else if (p->invisibles && ((is_invisible(c) && !is_tag_of_flag(c, in_flag)) ||
                                 (is_joiner(c) && joins_nothing(before, text, where + width)))) {
        drop_at(row, at, invisible, "a character nobody sees", c, where, width);
    } else {
        return false;
    }
    return true;
}

static int look(void *context, filter_row *row, temper_span text, const temper_line_text_at *at) {
    const judge *j = context;
    size_t where, width, letters = 0, foreign = 0, first = 0, first_width = 0;
    uint32_t c, before = 0;
    bool in_flag = false;
    const uc_script_t *other = NULL;
    char field[64];
    for (where = 0; where < text.length; where += width, before = c) {
        unsigned char byte = (unsigned char)text.data[where];
        if (byte >= 0x20 && byte < 0x7F) { /* most of most texts */
            c = byte;
            width = 1;
            in_flag = false;
            letters += j->allowed_count > 0 && ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z');
            if (j->allowed_count > 0 && (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z' &&
                !is_allowed(j, c, uc_script(c))) {
                foreign++;
                other = other != NULL ? other : (first = where, first_width = 1, uc_script(c));
            }
            continue;
        }
        c = temper_text_character(text, where, &width);
        in_flag = c == 0x1F3F4 || (in_flag && c >= 0xE0020 && c <= 0xE007F);
        if (judge_character(j, row, text, at, where, c, width, before, in_flag)) {
            return 1;
        }
        if (j->allowed_count > 0 && c >= 0x80 && uc_is_alpha(c)) {
            const uc_script_t *of = uc_script(c);
            letters++;
            if (!is_allowed(j, c, of)) {
                foreign++;
                if (other == NULL) {
                    other = of;
                    first = where;
                    first_width = width;
                }
            }
        }
    }
    if (foreign > 0 && (double)foreign / (double)letters > j->p->foreign) {
        filter_row_drop(
            row, script,
            "%s: %.3g of its letters are of other scripts, at most %.3g; the first is %s \"%.*s\"",
            temper_line_where(row->line, at, field), (double)foreign / (double)letters, j->p->foreign,
            other->name, (int)first_width, text.data + first);
        filter_row_span(row, at, first, first_width);
        filter_row_value(row, (double)foreign / (double)letters, j->p->foreign);
        return 1;
    }
    return 0;
}

static temper_status take_scripts(judge *j, temper_error *error) {
    size_t i;
    if (j->p->scripts.count > MOST_SCRIPTS) {
        return temper_fail(error, TEMPER_INVALID, "scripts: at most %d", MOST_SCRIPTS);
    }
    for (i = 0; i < j->p->scripts.count; i++) {
        const char *name = j->p->scripts.items[i];
        char proper[64];
        size_t at;
        snprintf(proper, sizeof proper, "%s", name);
        for (at = 0; proper[at] != 0; at++) { /* "latin" is Latin, "old_italic" Old_Italic */
            bool head = at == 0 || proper[at - 1] == '_';
            if (head && proper[at] >= 'a' && proper[at] <= 'z') {
                proper[at] = (char)(proper[at] - 'a' + 'A');
            }
        }
        j->allowed[i] = uc_script_byname(proper);
        if (j->allowed[i] == NULL) {
            return temper_fail(
                error, TEMPER_INVALID,
                "scripts: Unicode has no script \"%.60s\"; it has Latin, Greek, Cyrillic, Arabic, Hebrew, "
                "Devanagari, Han, Hiragana, Katakana, Hangul, Thai and others",
                name);
        }
        j->allowed_count++;
    }
    return TEMPER_OK;
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const charset_parameters *p = self;
    judge j = {.texts = {.fields = &p->fields, .roles = &p->roles, .of = p->of, .look = look}, .p = p};
    filter_pass pass = {.host = host, .input = "records", .rules = rules};
    temper_status status = take_scripts(&j, error);
    j.texts.context = &j;
    return status ? status : filter_texts_run(&j.texts, &pass, error);
}

static const temper_port *const inputs[] = {TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to filter"),
                                            NULL};

const temper_stage filter_charset_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "charset",
    .doc = "drops records with control characters, damage, hidden characters or letters of other scripts",
    .inputs = inputs,
    .outputs = filter_outputs,
    .parameters = charset_parameter_table,
    .parameters_size = sizeof(charset_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

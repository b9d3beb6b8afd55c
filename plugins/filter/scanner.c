/* scanner.c: see scanner.h.
 *
 * A literal is looked for in its folded form, letters in either case. That is exact for text that folding leaves alone but for
 * the case of ASCII letters. Everything else that folding changes (white space that is not one space, typographic marks,
 * capitals of other scripts) is one more pattern; where it is found, the text around it, as long as the longest phrase, is
 * folded and scanned by itself. An expression is compiled in Vectorscan's prefilter mode: it finds more than PCRE2 would,
 * never less; one that it cannot compile is always a candidate. */
#include "scanner.h"

#ifdef FILTER_VECTORSCAN

#include <hs.h>
#include <stdlib.h>

enum { STRANGE = UINT32_MAX };

typedef struct pattern {
    const char *text;
    unsigned flags, id;
} pattern;

struct filter_scanner_plan {
    const temper_host *host;
    temper_pool *pool;
    temper_buffer patterns; /* pattern[] */
    size_t longest;         /* of the folded literals */
    uint64_t always[4];
    bool literals;
};

typedef struct worker_memory {
    hs_scratch_t *scratch;
    temper_buffer strange; /* size_t: where text that folding changes begins */
    temper_buffer folded;
} worker_memory;

struct filter_scanner {
    const temper_host *host;
    hs_database_t *database;
    worker_memory *workers;
    uint32_t worker_count;
    size_t longest;
    uint64_t always[4];
};

temper_status filter_scanner_plan_new(const temper_host *host, temper_pool *pool, filter_scanner_plan **out,
                                      temper_error *error) {
    filter_scanner_plan *plan = temper_pool_take(pool, 1, sizeof *plan);
    if (plan == NULL) {
        return temper_no_memory(error);
    }
    plan->host = host;
    plan->pool = pool;
    temper_buffer_init(&plan->patterns, host);
    *out = plan;
    return TEMPER_OK;
}

static temper_status add(filter_scanner_plan *plan, const char *text, unsigned flags, unsigned id,
                         temper_error *error) {
    pattern one = {text, flags, id};
    if (text != NULL) {
        temper_buffer_append(&plan->patterns, &one, sizeof one);
    }
    return text == NULL || plan->patterns.failed ? temper_no_memory(error) : TEMPER_OK;
}

temper_status filter_scanner_literal(filter_scanner_plan *plan, size_t id, temper_span phrase,
                                     temper_error *error) {
    static const char hex[] = "0123456789abcdef";
    char *folded = temper_pool_take(plan->pool, phrase.length + 1, 1);
    char *text = temper_pool_take(plan->pool, phrase.length * 4 + 1, 1);
    size_t length, i;
    if (folded == NULL || text == NULL) {
        return temper_no_memory(error);
    }
    length = temper_text_fold(phrase, true, folded);
    for (i = 0; i < length; i++) {
        unsigned char c = (unsigned char)folded[i];
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == ' ') {
            text[strlen(text)] = (char)c;
        } else {
            char escape[5] = {'\\', 'x', hex[c >> 4], hex[c & 15], 0};
            strcat(text, escape);
        }
    }
    plan->longest = length > plan->longest ? length : plan->longest;
    plan->literals = true;
    return add(plan, text, HS_FLAG_CASELESS | HS_FLAG_SINGLEMATCH, (unsigned)id, error);
}

/* Unicode's word borders and classes make Vectorscan take seconds to compile. An expression that finds more is written without
 * them: a border is nothing, and \w, \d and \s hold all characters beyond ASCII (\W, \D and \S do, without Unicode's classes).
 * NULL, with *exact: it has something for which that does not hold, and stays as it is. */
static const char *looser(filter_scanner_plan *plan, temper_span text, bool *exact) {
    static const char beyond[] = "\\x{80}-\\x{10ffff}";
    char *copy = temper_pool_take(plan->pool, text.length * 24 + 1, 1), *to = copy;
    bool class = false, negated = false;
    size_t i;
    *exact =
        memmem(text.data, text.length, "[:", 2) != NULL || memmem(text.data, text.length, "\\Q", 2) != NULL;
    for (i = 0; copy != NULL && !*exact && i < text.length; i++) {
        char c = text.data[i], kind = i + 1 < text.length ? text.data[i + 1] : 0;
        if (c != '\\') {
            if (!class && c == '[') {
                class = true;
                negated = kind == '^';
            } else if (c == ']') {
                class = false;
            }
            *to++ = c;
            continue;
        }
        i++;
        if ((kind == 'b' || kind == 'B') && !class) {
            to += sprintf(to, "(?:)");
        } else if (kind == 'w' || kind == 'd' || kind == 's') {
            to += negated && class ? sprintf(to, "\\%c", kind)
                                   : sprintf(to, "%s\\%c%s%s", class ? "" : "[", kind, beyond,
                                             class ? "" : "]");
        } else {
            *exact = *exact || (class && negated && (kind == 'W' || kind == 'D' || kind == 'S'));
            *to++ = '\\';
            if (kind != 0) {
                *to++ = kind;
            }
        }
    }
    return copy;
}

temper_status filter_scanner_expression(filter_scanner_plan *plan, size_t id, temper_span text,
                                        bool case_matters, temper_error *error) {
    unsigned flags =
        HS_FLAG_PREFILTER | HS_FLAG_UTF8 | HS_FLAG_UCP | HS_FLAG_SINGLEMATCH | HS_FLAG_ALLOWEMPTY;
    hs_compile_error_t *why = NULL;
    hs_expr_info_t *about = NULL;
    bool exact;
    const char *copy = looser(plan, text, &exact);
    if (exact) {
        copy = temper_pool_copy(plan->pool, text.data, text.length);
    } else {
        flags &= ~(unsigned)HS_FLAG_UCP;
    }
    flags |= case_matters ? 0 : HS_FLAG_CASELESS;
    if (copy == NULL) {
        return temper_no_memory(error);
    }
    if (hs_expression_info(copy, flags, &about, &why) != HS_SUCCESS) {
        hs_free_compile_error(why);
        plan->always[id / 64] |= UINT64_C(1) << (id % 64);
        return TEMPER_OK;
    }
    free(about);
    return add(plan, copy, flags, (unsigned)id, error);
}

/* A class of all characters beyond ASCII that folding changes, and the white space in ASCII that is not one space. */
static const char *strange_text(filter_scanner_plan *plan) {
    temper_buffer out;
    uint32_t c, first = 0, last = 0;
    const char *copy;
    temper_buffer_init(&out, plan->host);
    temper_buffer_text(&out, "[\\x09-\\x0d]| [ \\x09-\\x0d]|[");
    for (c = 0x80; c <= 0x20000; c++) {
        char bytes[4], folded[8];
        temper_span text = {bytes, 0};
        if (c < 0x800) {
            bytes[0] = (char)(0xC0 | c >> 6), bytes[1] = (char)(0x80 | (c & 63)), text.length = 2;
        } else if (c < 0x10000) {
            bytes[0] = (char)(0xE0 | c >> 12), bytes[1] = (char)(0x80 | (c >> 6 & 63));
            bytes[2] = (char)(0x80 | (c & 63)), text.length = 3;
        } else {
            bytes[0] = (char)(0xF0 | c >> 18), bytes[1] = (char)(0x80 | (c >> 12 & 63));
            bytes[2] = (char)(0x80 | (c >> 6 & 63)), bytes[3] = (char)(0x80 | (c & 63)), text.length = 4;
        }
        if (c < 0x20000 && !(c >= 0xD800 && c < 0xE000) &&
            (temper_text_fold(text, true, folded) != text.length ||
             memcmp(folded, bytes, text.length) != 0)) {
            first = first == 0 ? c : first;
            last = c;
        } else if (first != 0) {
            temper_buffer_format(&out, "\\x{%x}-\\x{%x}", (unsigned)first, (unsigned)last);
            first = 0;
        }
    }
    temper_buffer_text(&out, "]");
    copy = out.failed ? NULL : temper_pool_copy(plan->pool, out.data, out.length);
    temper_buffer_free(&out);
    return copy;
}

static temper_status compile(filter_scanner_plan *plan, hs_database_t **out, temper_error *error) {
    size_t count = plan->patterns.length / sizeof(pattern), i;
    const pattern *patterns = (const pattern *)(const void *)plan->patterns.data;
    const char **texts = temper_pool_take(plan->pool, count, sizeof *texts);
    unsigned *flags = temper_pool_take(plan->pool, count, sizeof *flags);
    unsigned *ids = temper_pool_take(plan->pool, count, sizeof *ids);
    hs_compile_error_t *why = NULL;
    temper_status status = TEMPER_OK;
    if (texts == NULL || flags == NULL || ids == NULL) {
        return temper_no_memory(error);
    }
    for (i = 0; i < count; i++) {
        texts[i] = patterns[i].text;
        flags[i] = patterns[i].flags;
        ids[i] = patterns[i].id;
    }
    if (hs_compile_multi(texts, flags, ids, (unsigned)count, HS_MODE_BLOCK, NULL, out, &why) != HS_SUCCESS) {
        status = temper_fail(error, TEMPER_FAILED, "Vectorscan cannot compile the phrase list: %s",
                             why == NULL ? "memory is short" : why->message);
        hs_free_compile_error(why);
    }
    return status;
}

temper_status filter_scanner_new(filter_scanner_plan *plan, filter_scanner **out, temper_error *error) {
    const temper_host *host = plan->host;
    filter_scanner *s = temper_pool_take(plan->pool, 1, sizeof *s);
    uint32_t count = host->workers(host), i;
    temper_status status = s == NULL ? temper_no_memory(error) : TEMPER_OK;
    if (status == TEMPER_OK && plan->literals) {
        status = add(plan, strange_text(plan), HS_FLAG_UTF8, STRANGE, error);
    }
    if (status == TEMPER_OK) {
        *out = s;
        s->host = host;
        s->longest = plan->longest;
        memcpy(s->always, plan->always, sizeof s->always);
        s->workers = temper_pool_take(plan->pool, count, sizeof *s->workers);
        status = s->workers == NULL ? temper_no_memory(error) : TEMPER_OK;
    }
    if (status == TEMPER_OK && plan->patterns.length > 0) {
        status = compile(plan, &s->database, error);
    }
    for (i = 0; status == TEMPER_OK && i < count; i++) {
        temper_buffer_init(&s->workers[i].strange, host);
        temper_buffer_init(&s->workers[i].folded, host);
        s->worker_count = i + 1;
        if (s->database != NULL && hs_alloc_scratch(s->database, &s->workers[i].scratch) != HS_SUCCESS) {
            status = temper_no_memory(error);
        }
    }
    temper_buffer_free(&plan->patterns);
    return status;
}

void filter_scanner_free(filter_scanner *s) {
    uint32_t i;
    if (s == NULL) {
        return;
    }
    for (i = 0; i < s->worker_count; i++) {
        temper_buffer_free(&s->workers[i].strange);
        temper_buffer_free(&s->workers[i].folded);
        hs_free_scratch(s->workers[i].scratch);
    }
    hs_free_database(s->database);
}

typedef struct looking {
    uint64_t *bits;
    temper_buffer *strange; /* NULL: not to be noted */
} looking;

static int on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
                    void *context) {
    looking *l = context;
    (void)from, (void)flags;
    if (id != STRANGE) {
        l->bits[id / 64] |= UINT64_C(1) << (id % 64);
    } else if (l->strange != NULL) {
        size_t end = (size_t)to;
        temper_buffer_append(l->strange, &end, sizeof end);
    }
    return 0;
}

/* What lies around the places that folding changes, folded: from the longest phrase before each to as much behind it. */
static void fold_around(const filter_scanner *s, worker_memory *w, temper_span text) {
    const size_t *ends = (const size_t *)(const void *)w->strange.data;
    size_t count = w->strange.length / sizeof *ends, i, done = 0;
    temper_buffer_clear(&w->folded);
    for (i = 0; i < count; i++) {
        size_t from = ends[i] > s->longest + 8 ? ends[i] - s->longest - 8 : 0, to, width, made = 0;
        if (from < done) {
            from = done; /* goes on where the last one ended */
        } else {
            temper_buffer_append(&w->folded, "\x01", 1); /* in no phrase */
        }
        while (from > done && ((unsigned char)text.data[from] & 0xC0) == 0x80) {
            from--;
        }
        for (to = from; to < text.length && (to < ends[i] || made < s->longest + 4); to += width) {
            uint32_t c = temper_text_character(text, to, &width);
            made += to < ends[i] || temper_text_is_space(c) ? 0 : width > 2 ? 1 : width;
        }
        while (to < text.length && temper_text_is_space(temper_text_character(text, to, &width))) {
            to += width;
        }
        if (to > from && temper_buffer_reserve(&w->folded, to - from)) {
            temper_span part = {text.data + from, to - from};
            w->folded.length += temper_text_fold(part, true, w->folded.data + w->folded.length);
        }
        done = to > done ? to : done;
    }
}

bool filter_scanner_look(const filter_scanner *s, uint32_t worker, temper_span text, uint64_t *bits) {
    worker_memory *w = &s->workers[worker];
    looking l = {bits, &w->strange};
    size_t i;
    for (i = 0; i < 4; i++) {
        bits[i] |= s->always[i];
    }
    if (s->database == NULL || text.length == 0) {
        return true;
    }
    temper_buffer_clear(&w->strange);
    if (text.length > UINT32_MAX ||
        hs_scan(s->database, text.data, (unsigned)text.length, 0, w->scratch, on_match, &l) != HS_SUCCESS) {
        return false;
    }
    if (w->strange.length > 0) {
        l.strange = NULL;
        fold_around(s, w, text);
        if (w->folded.length > 0 && hs_scan(s->database, w->folded.data, (unsigned)w->folded.length, 0,
                                            w->scratch, on_match, &l) != HS_SUCCESS) {
            return false;
        }
    }
    if (w->strange.failed || w->folded.failed) {
        w->strange.failed = w->folded.failed = false;
        return false;
    }
    return true;
}

#else

temper_status filter_scanner_plan_new(const temper_host *host, temper_pool *pool, filter_scanner_plan **out,
                                      temper_error *error) {
    (void)host, (void)pool, (void)error;
    *out = NULL;
    return TEMPER_OK;
}

temper_status filter_scanner_literal(filter_scanner_plan *plan, size_t id, temper_span phrase,
                                     temper_error *error) {
    (void)plan, (void)id, (void)phrase, (void)error;
    return TEMPER_OK;
}

temper_status filter_scanner_expression(filter_scanner_plan *plan, size_t id, temper_span text,
                                        bool case_matters, temper_error *error) {
    (void)plan, (void)id, (void)text, (void)case_matters, (void)error;
    return TEMPER_OK;
}

temper_status filter_scanner_new(filter_scanner_plan *plan, filter_scanner **out, temper_error *error) {
    (void)plan, (void)error;
    *out = NULL;
    return TEMPER_OK;
}

void filter_scanner_free(filter_scanner *scanner) {
    (void)scanner;
}

bool filter_scanner_look(const filter_scanner *scanner, uint32_t worker, temper_span text, uint64_t *bits) {
    (void)scanner, (void)worker, (void)text, (void)bits;
    return true;
}

#endif

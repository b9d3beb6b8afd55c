/* repetition.c: drops records with a text that says the same again and again.
 *
 * The rules on lines, paragraphs and n-grams, and their bounds, are Gopher's (Rae et al. 2021, table A1); of texts shorter than
 * `words` their fractions mean nothing, and they are not asked. The rules on sentences and on loops are for chat: a sentence
 * said three times, and an end that goes round in circles, as small models end. Fractions are of bytes. */
#include "each_text.h"

#define REPETITION(P, S)                                                                                     \
    FILTER_TEXT_PARAMETERS(P, S, "\"answers\"")                                                              \
    P(S, integer, words, "words", "50", 0, 1e9, "words", "",                                                 \
      "texts with fewer are not asked for lines, paragraphs and n-grams", "0.1")                             \
    P(S, number, lines, "lines", "0.3", 0, 1, "", "", "most lines that stood before, of all", "0.1")         \
    P(S, number, line_bytes, "line_bytes", "0.2", 0, 1, "", "", "most bytes in such lines, of all", "0.1")   \
    P(S, number, paragraphs, "paragraphs", "0.3", 0, 1, "", "", "most paragraphs that stood before, of all", \
      "0.1")                                                                                                 \
    P(S, number, paragraph_bytes, "paragraph_bytes", "0.2", 0, 1, "", "",                                    \
      "most bytes in such paragraphs, of all", "0.1")                                                        \
    P(S, number, top_2, "top_2", "0.2", 0, 1, "", "", "most bytes in the most frequent 2-gram", "0.1")       \
    P(S, number, top_3, "top_3", "0.18", 0, 1, "", "", "most bytes in the most frequent 3-gram", "0.1")      \
    P(S, number, top_4, "top_4", "0.16", 0, 1, "", "", "most bytes in the most frequent 4-gram", "0.1")      \
    P(S, number, again_5, "again_5", "0.15", 0, 1, "", "", "most bytes in 5-grams that stood before", "0.1") \
    P(S, number, again_6, "again_6", "0.14", 0, 1, "", "", "the same of 6-grams", "0.1")                     \
    P(S, number, again_7, "again_7", "0.13", 0, 1, "", "", "the same of 7-grams", "0.1")                     \
    P(S, number, again_8, "again_8", "0.12", 0, 1, "", "", "the same of 8-grams", "0.1")                     \
    P(S, number, again_9, "again_9", "0.11", 0, 1, "", "", "the same of 9-grams", "0.1")                     \
    P(S, number, again_10, "again_10", "0.1", 0, 1, "", "", "the same of 10-grams", "0.1")                   \
    P(S, integer, sentences, "sentences", "3", 0, 1e6, "times", "",                                          \
      "drop when a sentence of four words or more is there so often; 0: never", "0.1")                       \
    P(S, integer, loop, "loop", "4", 0, 1e6, "times", "",                                                    \
      "drop when the text ends in the same words so often in a row; 0: never", "0.1")                        \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(repetition, REPETITION)

static const char loop_rule[] = "loop", sentence[] = "sentence", line_rule[] = "lines",
                  paragraph[] = "paragraphs", top[] = "top_ngram", again[] = "ngrams_again";
static const char *const rules[] = {loop_rule, sentence, line_rule, paragraph, top, again, NULL};

enum { LOOP_WORDS = 60, LOOP_LEAST_BYTES = 40, SENTENCE_WORDS = 4 };

typedef struct judge {
    filter_texts texts;
    const repetition_parameters *p;
} judge;

/* A word of the text: a hash of it folded, and where it stands. */
typedef struct word {
    uint64_t hash;
    size_t start, length;
} word;

/* An open table of hashes with counts; a slot is free when its count is 0. */
typedef struct slot {
    uint64_t hash;
    uint32_t count, first;
} slot;

typedef struct bench {
    judge *j;
    filter_row *row;
    const temper_line_text_at *at;
    temper_span text;
    word *words;
    size_t count;
    slot *slots;
    size_t mask;
} bench;

static slot *find(bench *b, uint64_t hash) {
    size_t i = (size_t)(hash ^ hash >> 32) & b->mask;
    while (b->slots[i].count != 0 && b->slots[i].hash != hash) {
        i = (i + 1) & b->mask;
    }
    b->slots[i].hash = hash;
    return &b->slots[i];
}

static void drop(bench *b, const char *rule, size_t start, size_t length, double value, double bound,
                 const char *what) {
    char where[64];
    size_t shown = length > 80 ? 80 : length;
    filter_row_drop(b->row, rule, "%s: %s %.3g, at most %.3g: \"%.*s\"",
                    temper_line_where(b->row->line, b->at, where), what, value, bound, (int)shown,
                    b->text.data + start);
    filter_row_span(b->row, b->at, start, length);
    filter_row_value(b->row, value, bound);
}

/* --- loops at the end -------------------------------------------------------------------------------------------- */

static bool ends_in_a_loop(bench *b) {
    size_t period, least = (size_t)b->j->p->loop;
    char where[64];
    for (period = 1; period <= LOOP_WORDS && least > 0 && least <= b->count / period; period++) {
        size_t same = period, times, from, bytes;
        while (same < b->count &&
               b->words[b->count - 1 - same].hash == b->words[b->count - 1 - same + period].hash) {
            same++;
        }
        times = same / period;
        from = b->words[b->count - times * period].start;
        bytes = b->words[b->count - 1].start + b->words[b->count - 1].length - from;
        if (times >= least && bytes >= LOOP_LEAST_BYTES) {
            const word *last = &b->words[b->count - 1], *first = &b->words[b->count - period];
            size_t unit = last->start + last->length - first->start;
            filter_row_drop(b->row, loop_rule, "%s ends in %zu times \"%.*s\"",
                            temper_line_where(b->row->line, b->at, where), times,
                            (int)(unit > 80 ? 80 : unit), b->text.data + first->start);
            filter_row_span(b->row, b->at, from, bytes);
            filter_row_value(b->row, (double)times, (double)least);
            return true;
        }
    }
    return false;
}

/* --- sentences --------------------------------------------------------------------------------------------------- */

static bool ends_a_sentence(uint32_t c) {
    return c == '.' || c == '!' || c == '?' || c == '\n' || c == 0x3002 || c == 0xFF01 || c == 0xFF1F ||
           c == 0x2026 || c == 0x0964 || c == 0x061F;
}

/* Is there an end of a sentence between the two words? */
static bool parts(const bench *b, const word *left, const word *right) {
    size_t at = left->start + left->length, width;
    for (; at < right->start; at += width) {
        if (ends_a_sentence(temper_text_character(b->text, at, &width))) {
            return true;
        }
    }
    return false;
}

static bool repeats_a_sentence(bench *b) {
    size_t i, from = 0, least = (size_t)b->j->p->sentences;
    uint64_t hash = 0;
    memset(b->slots, 0, (b->mask + 1) * sizeof *b->slots);
    for (i = 0; i < b->count && least > 0; i++) {
        hash = (hash ^ b->words[i].hash) * 0x9E3779B97F4A7C15u + 1;
        if (i + 1 == b->count || parts(b, &b->words[i], &b->words[i + 1])) {
            slot *s = i + 1 - from >= SENTENCE_WORDS ? find(b, hash) : NULL;
            if (s != NULL && ++s->count >= least) {
                size_t start = b->words[from].start, length = b->words[i].start + b->words[i].length - start;
                char where[64];
                filter_row_drop(b->row, sentence, "%s says %u times \"%.*s\"",
                                temper_line_where(b->row->line, b->at, where), (unsigned)s->count,
                                (int)(length > 120 ? 120 : length), b->text.data + start);
                filter_row_span(b->row, b->at, start, length);
                filter_row_value(b->row, (double)s->count, (double)least);
                return true;
            }
            from = i + 1;
            hash = 0;
        }
    }
    return false;
}

/* --- lines and paragraphs ---------------------------------------------------------------------------------------- */

/* The next piece: a line, or what stands between empty lines; without white space around it. */
static bool next_piece(temper_span text, bool paragraphs, size_t *at, temper_span *out) {
    while (*at < text.length) {
        size_t end = *at;
        while (end < text.length &&
               !(text.data[end] == '\n' &&
                 (!paragraphs || (end + 1 < text.length && text.data[end + 1] == '\n')))) {
            end++;
        }
        *out = temper_span_trim((temper_span){text.data + *at, end - *at});
        *at = end + 1;
        if (out->length > 0) {
            return true;
        }
    }
    return false;
}

static bool repeats_pieces(bench *b, bool paragraphs, const char *rule, double most, double most_bytes) {
    size_t at = 0, pieces = 0, repeated = 0, bytes = 0, all = 0, first = 0, length = 0;
    temper_span piece;
    memset(b->slots, 0, (b->mask + 1) * sizeof *b->slots);
    while (next_piece(b->text, paragraphs, &at, &piece) && pieces < b->mask / 2) {
        slot *s = find(b, temper_text_hash(piece, 7));
        pieces++;
        all += piece.length;
        if (s->count++ > 0) {
            repeated++;
            bytes += piece.length;
            if (length == 0) {
                first = (size_t)(piece.data - b->text.data);
                length = piece.length;
            }
        }
    }
    if (pieces == 0) {
        return false;
    }
    if ((double)repeated / (double)pieces > most) {
        drop(b, rule, first, length, (double)repeated / (double)pieces, most, "share that stood before");
        return true;
    }
    if ((double)bytes / (double)all > most_bytes) {
        drop(b, rule, first, length, (double)bytes / (double)all, most_bytes, "bytes that stood before");
        return true;
    }
    return false;
}

/* --- n-grams ----------------------------------------------------------------------------------------------------- */

static uint64_t gram(const bench *b, size_t from, size_t n) {
    uint64_t hash = n;
    size_t i;
    for (i = 0; i < n; i++) {
        hash = (hash ^ b->words[from + i].hash) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return hash;
}

static size_t gram_bytes(const bench *b, size_t from, size_t n) {
    size_t i, bytes = 0;
    for (i = 0; i < n; i++) {
        bytes += b->words[from + i].length;
    }
    return bytes;
}

/* The bytes of the most frequent n-gram, all its places together. *more: some n-gram is there twice. */
static bool has_a_top_gram(bench *b, size_t n, double most, bool *more) {
    size_t i, best = 0, where = 0;
    uint32_t count = 0;
    double share;
    memset(b->slots, 0, (b->mask + 1) * sizeof *b->slots);
    for (i = 0; i + n <= b->count; i++) {
        slot *s = find(b, gram(b, i, n));
        if (s->count++ == 0) {
            s->first = (uint32_t)i;
        }
        if (s->count > count || (s->count == count && count > 1 && gram_bytes(b, s->first, n) > best)) {
            count = s->count;
            where = s->first;
            best = gram_bytes(b, where, n);
        }
    }
    *more = count > 1;
    share = count > 1 ? (double)best * count / (double)b->text.length : 0.0;
    share = share > 1.0 ? 1.0 : share; /* places of one n-gram overlap in "ha ha ha" */
    if (share > most) {
        const word *first = &b->words[where], *last = &b->words[where + n - 1];
        drop(b, top, first->start, last->start + last->length - first->start, share, most,
             "bytes in one n-gram");
        return true;
    }
    return false;
}

/* The bytes of n-grams that stood before; one that did is stepped over, so that no byte counts twice. */
static bool has_grams_again(bench *b, size_t n, double most, bool *more) {
    size_t i = 0, bytes = 0, first = 0;
    memset(b->slots, 0, (b->mask + 1) * sizeof *b->slots);
    while (i + n <= b->count) {
        slot *s = find(b, gram(b, i, n));
        if (s->count++ > 0) {
            first = bytes == 0 ? i : first;
            bytes += gram_bytes(b, i, n);
            i += n;
        } else {
            i++;
        }
    }
    *more = bytes > 0;
    if ((double)bytes / (double)b->text.length > most) {
        const word *from = &b->words[first], *last = &b->words[first + n - 1];
        drop(b, again, from->start, last->start + last->length - from->start,
             (double)bytes / (double)b->text.length, most, "bytes in n-grams that stood before");
        return true;
    }
    return false;
}

/* An n-gram that is there twice has an (n-1)-gram that is: where there is none, longer ones need no look. */
static bool repeats_grams(bench *b) {
    const repetition_parameters *p = b->j->p;
    const double tops[] = {p->top_2, p->top_3, p->top_4};
    const double agains[] = {p->again_5, p->again_6, p->again_7, p->again_8, p->again_9, p->again_10};
    bool more = true;
    size_t n;
    for (n = 2; n <= 4 && more; n++) {
        if (has_a_top_gram(b, n, tops[n - 2], &more)) {
            return true;
        }
    }
    for (n = 5; n <= 10 && more; n++) {
        if (has_grams_again(b, n, agains[n - 5], &more)) {
            return true;
        }
    }
    return false;
}

/* --- a text ------------------------------------------------------------------------------------------------------ */

static bool take_words(bench *b) {
    size_t most = b->text.length / 2 + 2, slots = 64, at = 0;
    temper_span one;
    char folded[256], *room;
    while (slots < most + most / 2) {
        slots *= 2;
    }
    if (b->text.length > UINT32_MAX ||
        (room = filter_texts_room(&b->j->texts, b->row, most * sizeof(word) + slots * sizeof(slot), 1)) ==
            NULL) {
        return false;
    }
    b->words = (word *)(void *)room;
    b->slots = (slot *)(void *)(room + most * sizeof(word));
    while (temper_text_word(b->text, &at, &one)) {
        word *w = &b->words[b->count++];
        w->start = (size_t)(one.data - b->text.data);
        w->length = one.length;
        if (one.length <= sizeof folded) {
            w->hash = temper_text_hash((temper_span){folded, temper_text_fold(one, true, folded)}, 1);
        } else {
            w->hash = temper_text_hash(one, 1);
        }
    }
    for (slots = 64; slots < b->count + b->count / 2; slots *= 2) {
    }
    b->mask = slots - 1;
    return true;
}

static int look(void *context, filter_row *row, temper_span text, const temper_line_text_at *at) {
    judge *j = context;
    bench b = {.j = j, .row = row, .at = at, .text = text};
    const repetition_parameters *p = j->p;
    if (!take_words(&b)) {
        return 1;
    }
    return ends_in_a_loop(&b) || repeats_a_sentence(&b) ||
           (b.count >= (size_t)p->words && b.count > 0 &&
            (repeats_pieces(&b, false, line_rule, p->lines, p->line_bytes) ||
             repeats_pieces(&b, true, paragraph, p->paragraphs, p->paragraph_bytes) || repeats_grams(&b)));
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const repetition_parameters *p = self;
    judge j = {.texts = {.fields = &p->fields, .roles = &p->roles, .of = p->of, .look = look}, .p = p};
    filter_pass pass = {.host = host, .input = "records", .rules = rules};
    j.texts.context = &j;
    return filter_texts_run(&j.texts, &pass, error);
}

static const temper_port *const inputs[] = {TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to filter"),
                                            NULL};

const temper_stage filter_repetition_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "repetition",
    .doc = "drops records with a text that says the same again and again",
    .inputs = inputs,
    .outputs = filter_outputs,
    .parameters = repetition_parameter_table,
    .parameters_size = sizeof(repetition_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

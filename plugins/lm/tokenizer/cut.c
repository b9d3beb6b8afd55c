/* cut.c: a run of text into words, by the steps that a tokenizer's file names ("pre-tokenizers"), one inside another.
 *
 * Invariant: each step sees the pieces that the one before it made, each as a text of its own; only pieces that a step
 * removes are missing from the words. */
#include "internal.h"

#include <string.h>
#include <utf8proc.h>

/* A step at work on text[from, to). */
typedef struct cutting {
    lm_work *work;
    const lm_cut *cut;
    size_t step, from, to;
    bool prefix, first; /* first: `from` is the beginning of the caller's text */
    bool waiting, waiting_matches;
    size_t waiting_from, waiting_to; /* the piece that may still grow */
} cutting;

static temper_status cut(lm_work *work, size_t step, size_t from, size_t to, bool prefix, bool first,
                         temper_error *error);

static temper_status pass_on(cutting *self, size_t from, size_t to, temper_error *error) {
    bool first = from == self->from;
    return cut(self->work, self->step + 1, from, to, self->prefix && first, self->first && first, error);
}

static temper_status flush(cutting *self, temper_error *error) {
    bool waiting = self->waiting;
    self->waiting = false;
    return waiting ? pass_on(self, self->waiting_from, self->waiting_to, error) : TEMPER_OK;
}

static bool grows(const cutting *self, bool matches) {
    switch (self->cut->behaviour) {
    case LM_CONTIGUOUS: return matches == self->waiting_matches;
    case LM_MERGED_WITH_PREVIOUS: return matches && !self->waiting_matches;
    case LM_MERGED_WITH_NEXT: return !matches && self->waiting_matches;
    default: return false;
    }
}

/* The next piece, which matches the step's pattern or lies between matches. */
static temper_status take(cutting *self, size_t from, size_t to, bool matches, temper_error *error) {
    matches = matches != self->cut->invert;
    if (from == to || (matches && self->cut->behaviour == LM_REMOVED)) {
        return TEMPER_OK;
    }
    if (self->waiting && grows(self, matches)) {
        self->waiting_to = to;
        /* What was joined takes no more, except where all of a kind are joined. */
        self->waiting_matches = self->cut->behaviour == LM_MERGED_WITH_PREVIOUS ? true
                                : self->cut->behaviour == LM_MERGED_WITH_NEXT   ? false
                                                                                : matches;
        return TEMPER_OK;
    }
    temper_status status = flush(self, error);
    self->waiting = true;
    self->waiting_matches = matches;
    self->waiting_from = from;
    self->waiting_to = to;
    return status;
}

static temper_status by_hand(cutting *self, temper_error *error) {
    const char *text = self->work->text + self->from;
    size_t length = self->to - self->from, segment = 0;
    bool last = self->step + 1 == self->work->tokenizer->cut_count;
    temper_status status = TEMPER_OK;
    for (size_t at = 0; at < length && !status;) {
        size_t end = lm_split_next(self->cut->kind, text, length, at, &segment);
        bool prefix = self->prefix && at == 0;
        status = last ? lm_encode_word(self->work, self->from + at, self->from + end, prefix, error)
                      : pass_on(self, self->from + at, self->from + end, error);
        at = end;
    }
    return status;
}

static temper_status by_regex(cutting *self, temper_error *error) {
    const char *text = self->work->text + self->from;
    size_t length = self->to - self->from, at = 0;
    temper_status status = TEMPER_OK;
    bool found = true;
    while (!status && at < length) {
        size_t start = length, end = length;
        status = lm_regex_next(self->cut->regex, &self->work->regex, text, length, at, &found, &start, &end,
                               error);
        if (!status) {
            status = take(self, self->from + at, self->from + start, false, error);
        }
        if (!status && found) {
            status = take(self, self->from + start, self->from + end, true, error);
        }
        at = end;
    }
    return status;
}

static temper_status by_text(cutting *self, temper_error *error) {
    const char *text = self->work->text + self->from;
    size_t length = self->to - self->from, at = 0;
    temper_status status = TEMPER_OK;
    while (!status && at < length) {
        const char *place = memmem(text + at, length - at, self->cut->text, self->cut->length);
        size_t start = place == NULL ? length : (size_t)(place - text);
        status = take(self, self->from + at, self->from + start, false, error);
        if (!status && place != NULL) {
            status = take(self, self->from + start, self->from + start + self->cut->length, true, error);
        }
        at = place == NULL ? length : start + self->cut->length;
    }
    return status;
}

static bool is_punctuation(uint32_t code) {
    if (code < 128) {
        return (code >= '!' && code <= '/') || (code >= ':' && code <= '@') || (code >= '[' && code <= '`') ||
               (code >= '{' && code <= '~');
    }
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

/* Each character that matches is a piece; what lies between is one. */
static temper_status by_runs(cutting *self, temper_error *error) {
    temper_status status = TEMPER_OK;
    lm_cut_kind kind = self->cut->kind;
    size_t start = self->from;
    for (size_t at = self->from, size; at < self->to && !status; at += size) {
        bool valid;
        uint32_t code = lm_utf8_next(self->work->text, self->to, at, &size, &valid);
        bool matches = valid && (kind == LM_CUT_PUNCTUATION ? is_punctuation(code)
                                 : kind == LM_CUT_DIGITS    ? lm_class_of(code) == LM_CLASS_NUMBER
                                                            : lm_class_of(code) == LM_CLASS_SPACE);
        if (!matches) {
            continue;
        }
        status = take(self, start, at, false, error);
        if (!status) {
            status = take(self, at, at + size, true, error);
        }
        start = at + size;
    }
    return status ? status : take(self, start, self->to, false, error);
}

/* SentencePiece's words: each space begins one; a space stands before the first unless the text has one. */
static temper_status by_spaces(cutting *self, temper_error *error) {
    const char *text = self->work->text;
    const lm_cut *step = self->cut;
    bool wanted = step->prefix == LM_PREFIX_ALWAYS || (step->prefix == LM_PREFIX_FIRST && self->first);
    temper_status status = TEMPER_OK;
    self->prefix = self->prefix || (wanted && text[self->from] != ' ');
    for (size_t at = self->from; at < self->to && !status;) {
        size_t end = self->to;
        if (step->splits) {
            const char *space = memchr(text + at + 1, ' ', self->to - at - 1);
            end = space == NULL ? self->to : (size_t)(space - text);
        }
        status = pass_on(self, at, end, error);
        at = end;
    }
    return status;
}

/* A whole text as one word: where no entry joins a word to the next, it is encoded word for word. */
static temper_status encode(lm_work *work, size_t from, size_t to, bool prefix, temper_error *error) {
    temper_status status = TEMPER_OK;
    while (from < to && !status) {
        size_t end = to;
        if (work->tokenizer->words_apart) {
            end = from + 1;
            while (end < to && !(work->text[end] == ' ' && work->text[end - 1] != ' ')) {
                end++;
            }
        }
        status = lm_encode_word(work, from, end, prefix, error);
        prefix = false;
        from = end;
    }
    return status;
}

static temper_status cut(lm_work *work, size_t step, size_t from, size_t to, bool prefix, bool first,
                         temper_error *error) {
    const lm_tokenizer *self = work->tokenizer;
    if (step == self->cut_count) {
        return encode(work, from, to, prefix, error);
    }
    cutting state = {.work = work,
                     .cut = &self->cuts[step],
                     .step = step,
                     .from = from,
                     .to = to,
                     .prefix = prefix,
                     .first = first};
    temper_status status = TEMPER_OK;
    switch (state.cut->kind) {
    case LM_CUT_GPT2:
    case LM_CUT_DIGITS_GPT2:
    case LM_CUT_LLAMA3:
    case LM_CUT_QWEN2: return by_hand(&state, error);
    case LM_CUT_METASPACE: return by_spaces(&state, error);
    case LM_CUT_REGEX: status = by_regex(&state, error); break;
    case LM_CUT_TEXT: status = by_text(&state, error); break;
    case LM_CUT_DIGITS:
    case LM_CUT_PUNCTUATION:
    case LM_CUT_SPACE: status = by_runs(&state, error); break;
    }
    return status ? status : flush(&state, error);
}

temper_status lm_cut_run(lm_work *work, size_t length, bool first, temper_error *error) {
    const lm_tokenizer *self = work->tokenizer;
    bool always =
        self->prefix == LM_PREFIX_ALWAYS && !(work->follows_added && self->prefix_after_special_only);
    bool prefix = always || (self->prefix == LM_PREFIX_FIRST && first);
    return length == 0 ? TEMPER_OK : cut(work, 0, 0, length, prefix, first, error);
}

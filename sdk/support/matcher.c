/* matcher.c: an Aho-Corasick automaton as one dense table.
 *
 * Bytes that no phrase contains share class 0, which leads to the root from everywhere; the others have a class each. A
 * state's row gives the next state for every class, failures already followed, so searching has no inner loop. State 0
 * is the root. `found[s]` is the phrase that ends at s (plus one), `shorter[s]` the nearest suffix state at which one
 * ends: needed only where a longer match fails at its word border. */
#include "support/matcher.h"

typedef struct phrase {
    temper_span text; /* as listed */
    size_t folded;    /* its length folded */
    size_t line;
    bool border_before, border_after;
} phrase;

struct temper_matcher {
    bool ignore_case, whole_words;
    uint16_t class_of[256];
    size_t classes, states;
    uint32_t *next;    /* states x classes */
    uint32_t *found;   /* phrase + 1, or 0 */
    uint32_t *shorter; /* state, or 0 */
    phrase *phrases;
    size_t count;
};

static bool next_line(temper_span list, size_t *at, temper_span *line) {
    size_t start = *at, end;
    if (start >= list.length) {
        return false;
    }
    for (end = start; end < list.length && list.data[end] != '\n'; end++) {
    }
    line->data = list.data + start;
    line->length = end - start;
    *at = end + 1;
    return true;
}

/* True when the line holds a phrase, which *out then is. */
static bool phrase_of_line(temper_span line, temper_span *out) {
    *out = temper_span_trim(line);
    if (out->length == 0 || out->data[0] == '#') {
        return false;
    }
    if (out->length >= 2 && out->data[0] == '\\' && out->data[1] == '#') {
        out->data++;
        out->length--;
    }
    return true;
}

/* Fills phrases and their folded text, one after another in `folded`. */
static bool read_phrases(temper_matcher *matcher, temper_pool *pool, temper_span list, char *folded) {
    size_t at, line_number, count = 0, width, last;
    temper_span line, text, plain;
    for (at = 0; next_line(list, &at, &line);) {
        count += phrase_of_line(line, &text);
    }
    matcher->phrases = temper_pool_take(pool, count, sizeof *matcher->phrases);
    if (matcher->phrases == NULL || count >= UINT32_MAX) {
        return false;
    }
    for (at = 0, line_number = 1; next_line(list, &at, &line); line_number++) {
        if (phrase_of_line(line, &text)) {
            phrase *p = &matcher->phrases[matcher->count++];
            p->text = text;
            p->line = line_number;
            plain.data = folded;
            plain.length = p->folded = temper_text_fold(text, matcher->ignore_case, folded);
            p->border_before = temper_text_is_word(temper_text_character(plain, 0, &width));
            for (last = plain.length - 1; last > 0 && ((unsigned char)folded[last] & 0xC0) == 0x80; last--) {
            }
            p->border_after = temper_text_is_word(temper_text_character(plain, last, &width));
            folded += plain.length;
        }
    }
    return true;
}

static void add_to_trie(temper_matcher *matcher, size_t index, const char *folded) {
    uint32_t state = 0;
    size_t i;
    for (i = 0; i < matcher->phrases[index].folded; i++) {
        uint32_t *slot =
            &matcher->next[state * matcher->classes + matcher->class_of[(unsigned char)folded[i]]];
        if (*slot == 0) {
            *slot = (uint32_t)matcher->states++;
        }
        state = *slot;
    }
    if (matcher->found[state] == 0) { /* a phrase listed twice: the first counts */
        matcher->found[state] = (uint32_t)index + 1;
    }
}

/* Breadth first: a state's failure state is nearer the root, so its row is complete when it is needed. */
static void follow_failures(temper_matcher *matcher, uint32_t *failure, uint32_t *queue) {
    size_t head = 0, tail = 0, c;
    for (c = 0; c < matcher->classes; c++) {
        if (matcher->next[c] != 0) {
            queue[tail++] = matcher->next[c];
        }
    }
    while (head < tail) {
        uint32_t state = queue[head++], fail = failure[state];
        matcher->shorter[state] = matcher->found[fail] ? fail : matcher->shorter[fail];
        for (c = 0; c < matcher->classes; c++) {
            uint32_t *slot = &matcher->next[state * matcher->classes + c];
            uint32_t through = matcher->next[fail * matcher->classes + c];
            if (*slot != 0) {
                failure[*slot] = through;
                queue[tail++] = *slot;
            } else {
                *slot = through;
            }
        }
    }
}

temper_status temper_matcher_new(const temper_host *host, temper_pool *pool, temper_span list,
                                 bool ignore_case, bool whole_words, temper_matcher **out,
                                 temper_error *error) {
    temper_matcher *matcher = temper_pool_take(pool, 1, sizeof *matcher);
    char *folded = temper_pool_take(pool, list.length, 1);
    uint32_t *failure;
    size_t bytes = 0, states, i;
    (void)host;
    if (matcher == NULL || folded == NULL) {
        return temper_no_memory(error);
    }
    matcher->ignore_case = ignore_case;
    matcher->whole_words = whole_words;
    if (!read_phrases(matcher, pool, list, folded)) {
        return temper_no_memory(error);
    }
    for (i = 0; i < matcher->count; i++) {
        bytes += matcher->phrases[i].folded;
    }
    matcher->classes = 1;
    for (i = 0; i < bytes; i++) {
        uint16_t *class = &matcher->class_of[(unsigned char)folded[i]];
        if (*class == 0) {
            *class = (uint16_t)matcher->classes++;
        }
    }
    states = bytes + 1;
    if (states >= UINT32_MAX || states > SIZE_MAX / matcher->classes) {
        return temper_fail(error, TEMPER_INVALID, "the phrase list is too long: %zu bytes", list.length);
    }
    matcher->next = temper_pool_take(pool, states * matcher->classes, sizeof *matcher->next);
    matcher->found = temper_pool_take(pool, states, sizeof *matcher->found);
    matcher->shorter = temper_pool_take(pool, states, sizeof *matcher->shorter);
    failure = temper_pool_take(pool, states, 2 * sizeof *failure);
    if (matcher->next == NULL || matcher->found == NULL || matcher->shorter == NULL || failure == NULL) {
        return temper_no_memory(error);
    }
    matcher->states = 1;
    for (i = 0; i < matcher->count; i++) {
        add_to_trie(matcher, i, folded);
        folded += matcher->phrases[i].folded;
    }
    follow_failures(matcher, failure, failure + states);
    *out = matcher;
    return TEMPER_OK;
}

size_t temper_matcher_count(const temper_matcher *matcher) {
    return matcher->count;
}

temper_span temper_matcher_phrase(const temper_matcher *matcher, size_t index) {
    return matcher->phrases[index].text;
}

static bool word_ends_at(temper_span text, size_t at) {
    size_t start = at, width;
    if (at == 0) {
        return false;
    }
    for (start--; start > 0 && at - start < 4 && ((unsigned char)text.data[start] & 0xC0) == 0x80; start--) {
    }
    return temper_text_is_word(temper_text_character(text, start, &width));
}

static bool borders_hold(const temper_matcher *matcher, const phrase *p, temper_span text, size_t end) {
    size_t width;
    if (!matcher->whole_words) {
        return true;
    }
    if (p->border_before && word_ends_at(text, end - p->folded)) {
        return false;
    }
    return !(p->border_after && end < text.length &&
             temper_text_is_word(temper_text_character(text, end, &width)));
}

bool temper_matcher_find(const temper_matcher *matcher, temper_span text, char *scratch, temper_match *out) {
    temper_span folded = {scratch, 0};
    uint32_t state = 0;
    size_t i;
    if (matcher->count == 0) {
        return false;
    }
    folded.length = temper_text_fold(text, matcher->ignore_case, scratch);
    for (i = 0; i < folded.length; i++) {
        uint32_t at;
        state = matcher->next[state * matcher->classes + matcher->class_of[(unsigned char)scratch[i]]];
        for (at = matcher->found[state] ? state : matcher->shorter[state]; at != 0;
             at = matcher->shorter[at]) {
            size_t index = matcher->found[at] - 1;
            const phrase *p = &matcher->phrases[index];
            if (borders_hold(matcher, p, folded, i + 1)) {
                size_t start = temper_text_unfold(text, matcher->ignore_case, i + 1 - p->folded);
                out->phrase = index;
                out->line = p->line;
                out->start = start;
                out->length = temper_text_unfold(text, matcher->ignore_case, i + 1) - start;
                return true;
            }
        }
    }
    return false;
}

/* normalize.c: the steps that change a text before it is encoded, with every byte's place in the caller's text kept.
 *
 * Invariant: starts and ends never go down from byte to byte; a byte that was made (a prepended one) stands at the place
 * where it was put and covers nothing. Normal forms are made cluster by cluster, since no composition crosses the
 * boundary of a grapheme cluster. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

void lm_aligned_free(lm_aligned *text) {
    free(text->text);
    free(text->start);
    free(text->end);
    *text = (lm_aligned){0};
}

static bool reserve(lm_aligned *out, size_t more) {
    if (more <= out->capacity - out->length) {
        return true;
    }
    size_t capacity = (out->length + more) * 2 + 64;
    char *text = realloc(out->text, capacity);
    out->text = text == NULL ? out->text : text;
    uint32_t *start = realloc(out->start, capacity * sizeof *start);
    out->start = start == NULL ? out->start : start;
    uint32_t *end = realloc(out->end, capacity * sizeof *end);
    out->end = end == NULL ? out->end : end;
    if (text == NULL || start == NULL || end == NULL) {
        return false;
    }
    out->capacity = capacity;
    return true;
}

bool lm_aligned_append(lm_aligned *out, const char *bytes, size_t length, uint32_t start, uint32_t end) {
    if (!reserve(out, length)) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        out->text[out->length] = bytes[i];
        out->start[out->length] = start;
        out->end[out->length++] = end;
    }
    return true;
}

/* in[from, to) as it is. */
static bool keep(const lm_aligned *in, size_t from, size_t to, lm_aligned *out) {
    if (!reserve(out, to - from)) {
        return false;
    }
    if (to > from) {
        memcpy(out->text + out->length, in->text + from, to - from);
        memcpy(out->start + out->length, in->start + from, (to - from) * sizeof *in->start);
        memcpy(out->end + out->length, in->end + from, (to - from) * sizeof *in->end);
        out->length += to - from;
    }
    return true;
}

static bool is_plain(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

bool lm_normalize_keeps(const lm_tokenizer *self, const char *text, size_t length) {
    for (size_t i = 0; i < self->normalizer_count; i++) {
        if (self->normalizers[i].kind > LM_NFKD) {
            return false;
        }
    }
    return is_plain(text, length);
}

static uint32_t next(const lm_aligned *in, size_t at, size_t *size) {
    bool valid;
    return lm_utf8_next(in->text, in->length, at, size, &valid);
}

static bool put(lm_aligned *out, uint32_t code, uint32_t start, uint32_t end) {
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t size = utf8proc_encode_char((utf8proc_int32_t)code, bytes);
    return lm_aligned_append(out, (const char *)bytes, (size_t)size, start, end);
}

size_t lm_grapheme_end(const char *text, size_t length, size_t at) {
    size_t size;
    bool valid;
    utf8proc_int32_t state = 0;
    uint32_t before = lm_utf8_next(text, length, at, &size, &valid);
    for (at += size; at < length; at += size) {
        uint32_t code = lm_utf8_next(text, length, at, &size, &valid);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)code, &state)) {
            break;
        }
        before = code;
    }
    return at;
}

static int form_options(lm_normalize kind) {
    int compat = kind == LM_NFKC || kind == LM_NFKD ? UTF8PROC_COMPAT : 0;
    return UTF8PROC_STABLE | compat |
           (kind == LM_NFC || kind == LM_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
}

/* One of the four normal forms. */
static bool form(const lm_aligned *in, lm_normalize kind, lm_aligned *out) {
    for (size_t at = 0, to; at < in->length; at = to) {
        for (to = at; to < in->length && (unsigned char)in->text[to] < 0x80; to++) {
        }
        to -= to > at && to < in->length; /* the last may take a mark that follows */
        if (to > at) {
            if (!keep(in, at, to, out)) {
                return false;
            }
            continue;
        }
        to = lm_grapheme_end(in->text, in->length, at);
        utf8proc_uint8_t *made = NULL;
        utf8proc_ssize_t size =
            utf8proc_map((const utf8proc_uint8_t *)in->text + at, (utf8proc_ssize_t)(to - at), &made,
                         (utf8proc_option_t)form_options(kind));
        bool same = size == (utf8proc_ssize_t)(to - at) && memcmp(made, in->text + at, to - at) == 0;
        bool good = size >= 0 && (same ? keep(in, at, to, out)
                                       : lm_aligned_append(out, (const char *)made, (size_t)size,
                                                           in->start[at], in->end[to - 1]));
        free(made);
        if (!good) {
            return false;
        }
    }
    return true;
}

static bool lowercase(const lm_aligned *in, lm_aligned *out) {
    for (size_t at = 0, size; at < in->length; at += size) {
        uint32_t code = next(in, at, &size), start = in->start[at], end = in->end[at + size - 1];
        uint32_t low = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
        bool good = low == code ? keep(in, at, at + size, out)
                    : code == 0x0130
                        ? put(out, 'i', start, end) && put(out, 0x0307, start, end) /* full mapping */
                        : put(out, low, start, end);
        if (!good) {
            return false;
        }
    }
    return true;
}

static bool is_mark(uint32_t code) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

static bool strip_accents(const lm_aligned *in, lm_aligned *out) {
    for (size_t at = 0, size; at < in->length; at += size) {
        if (!is_mark(next(in, at, &size)) && !keep(in, at, at + size, out)) {
            return false;
        }
    }
    return true;
}

static bool strip(const lm_aligned *in, int flags, lm_aligned *out) {
    size_t from = 0, to = 0, size;
    for (size_t at = 0; at < in->length; at += size) {
        bool space = lm_class_of(next(in, at, &size)) == LM_CLASS_SPACE;
        from = space && at == from ? at + size : from;
        to = space ? to : at + size;
    }
    from = (flags & LM_LEFT_STRIP) != 0 ? from : 0;
    to = (flags & LM_RIGHT_STRIP) != 0 ? to : in->length;
    return to <= from || keep(in, from, to, out);
}

static bool nmt(const lm_aligned *in, lm_aligned *out) {
    for (size_t at = 0, size; at < in->length; at += size) {
        uint32_t code = next(in, at, &size);
        bool dropped = (code >= 1 && code <= 8) || code == 0xB || (code >= 0xE && code <= 0x1F) ||
                       code == 0x7F || code == 0x8F || code == 0x9F;
        bool space = code == 9 || code == 0xA || code == 0xC || code == 0xD || code == 0x1680 ||
                     (code >= 0x200B && code <= 0x200F) || code == 0x2028 || code == 0x2029 ||
                     code == 0x2581 || code == 0xFEFF || code == 0xFFFD;
        if (!dropped &&
            !(space ? put(out, ' ', in->start[at], in->end[at + size - 1]) : keep(in, at, at + size, out))) {
            return false;
        }
    }
    return true;
}

/* Spaces at both ends left out, several made one. */
static bool squeeze(const lm_aligned *in, lm_aligned *out) {
    for (size_t at = 0; at < in->length; at++) {
        bool space = in->text[at] == ' ';
        bool again = space && (out->length == 0 || out->text[out->length - 1] == ' ');
        if (!again && !keep(in, at, at + 1, out)) {
            return false;
        }
    }
    out->length -= out->length > 0 && out->text[out->length - 1] == ' ';
    return true;
}

static temper_status find(const lm_normalizer *step, lm_regex_work *work, const lm_aligned *in, size_t at,
                          bool *found, size_t *start, size_t *end, temper_error *error) {
    if (step->regex != NULL) {
        return lm_regex_next(step->regex, work, in->text, in->length, at, found, start, end, error);
    }
    const char *place = memmem(in->text + at, in->length - at, step->pattern, step->pattern_length);
    *found = place != NULL;
    *start = place == NULL ? in->length : (size_t)(place - in->text);
    *end = *start + step->pattern_length;
    return TEMPER_OK;
}

static temper_status no_memory(size_t length, temper_error *error) {
    return temper_fail(error, TEMPER_NO_MEMORY, "no memory to normalise %zu bytes", length);
}

static temper_status replace(const lm_normalizer *step, const lm_aligned *in, lm_aligned *out,
                             temper_error *error) {
    lm_regex_work work = {0};
    temper_status status = TEMPER_OK;
    for (size_t at = 0, start, end; at < in->length && !status; at = end) {
        bool found = false;
        start = end = in->length;
        status = find(step, &work, in, at, &found, &start, &end, error);
        start = found ? start : in->length;
        end = found ? end : in->length;
        if (!status && !(keep(in, at, start, out) &&
                         (!found || lm_aligned_append(out, step->content, step->content_length,
                                                      in->start[start], in->end[end - 1])))) {
            status = no_memory(in->length, error);
        }
    }
    lm_regex_work_free(&work);
    return status;
}

static bool prepend(const lm_normalizer *step, const lm_aligned *in, lm_aligned *out) {
    return in->length == 0 ||
           (lm_aligned_append(out, step->content, step->content_length, in->start[0], in->start[0]) &&
            keep(in, 0, in->length, out));
}

static temper_status apply(const lm_normalizer *step, const lm_aligned *in, lm_aligned *out,
                           temper_error *error) {
    bool good = true;
    out->length = 0;
    switch (step->kind) {
    case LM_NFC:
    case LM_NFD:
    case LM_NFKC:
    case LM_NFKD: good = form(in, step->kind, out); break;
    case LM_LOWERCASE: good = lowercase(in, out); break;
    case LM_STRIP: good = strip(in, step->flags, out); break;
    case LM_STRIP_ACCENTS: good = strip_accents(in, out); break;
    case LM_REPLACE: return replace(step, in, out, error);
    case LM_PREPEND: good = prepend(step, in, out); break;
    case LM_NMT: good = nmt(in, out); break;
    case LM_CHARSMAP: good = lm_charsmap_apply(step, in, out); break;
    case LM_SQUEEZE: good = squeeze(in, out); break;
    }
    return good ? TEMPER_OK : no_memory(in->length, error);
}

temper_status lm_normalize_text(const lm_tokenizer *self, const char *text, size_t length, uint32_t base,
                                lm_aligned *out, lm_aligned *spare, temper_error *error) {
    temper_status status = TEMPER_OK;
    out->length = 0;
    if (!reserve(out, length + 1)) {
        return no_memory(length, error);
    }
    for (size_t i = 0; i < length; i++) {
        out->text[i] = text[i];
        out->start[i] = base + (uint32_t)i;
        out->end[i] = base + (uint32_t)i + 1;
    }
    out->length = length;
    for (size_t i = 0; i < self->normalizer_count && !status; i++) {
        lm_aligned made;
        status = apply(&self->normalizers[i], out, spare, error);
        if (!status && spare->length > (size_t)1 << 31) {
            status = temper_fail(error, TEMPER_INVALID, "a text of %zu bytes becomes one of %zu", length,
                                 spare->length);
        }
        made = *spare;
        *spare = *out;
        *out = made;
    }
    return status;
}

void lm_normalizer_free(lm_normalizer *self) {
    lm_regex_free(self->regex);
    free(self->pattern);
    free(self->content);
    free(self->units);
    free(self->values);
}

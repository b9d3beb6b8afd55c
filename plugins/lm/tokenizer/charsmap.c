/* charsmap.c: SentencePiece's table of replacements ("precompiled_charsmap"): a double array that maps bytes to the place of
 * the text that stands for them.
 *
 * Invariant: no index is followed outside the array, and every value ends within the texts. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_UNITS = 1 << 24 };

temper_status lm_charsmap_read(lm_normalizer *self, const unsigned char *bytes, size_t length,
                               temper_error *error) {
    size_t size = length < 4 ? 0
                             : (size_t)bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16 |
                                   (size_t)bytes[3] << 24;
    if (length < 4 || size > length - 4 || size % 4 != 0 || size / 4 > MAX_UNITS || size == 0) {
        return temper_fail(error, TEMPER_INVALID, "its table of replacements says %zu bytes of %zu", size,
                           length);
    }
    self->unit_count = size / 4;
    self->values_length = length - 4 - size;
    self->units = malloc(size);
    self->values = malloc(self->values_length + 1);
    if (self->units == NULL || self->values == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a table of replacements");
    }
    for (size_t i = 0; i < self->unit_count; i++) {
        const unsigned char *unit = bytes + 4 + 4 * i;
        self->units[i] =
            (uint32_t)unit[0] | (uint32_t)unit[1] << 8 | (uint32_t)unit[2] << 16 | (uint32_t)unit[3] << 24;
    }
    memcpy(self->values, bytes + 4 + size, self->values_length);
    self->values[self->values_length] = 0;
    return TEMPER_OK;
}

static uint32_t offset_of(uint32_t unit) {
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

/* The text for the beginning of `text`, and how many bytes of it that stands for; NULL when there is none. */
static const char *look_up(const lm_normalizer *step, const char *text, size_t length, size_t *taken) {
    const char *found = NULL;
    size_t place = offset_of(step->units[0]);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        place ^= byte;
        if (byte == 0 || place >= step->unit_count) {
            break;
        }
        uint32_t unit = step->units[place];
        if ((unit & (0x80000000u | 0xFFu)) != byte) {
            break;
        }
        place ^= offset_of(unit);
        if ((unit >> 8 & 1) != 0 && place < step->unit_count) {
            uint32_t value = step->units[place] & 0x7FFFFFFFu;
            if (value < step->values_length) {
                found = step->values + value;
                *taken = i + 1;
            }
            if (!step->longest) {
                break;
            }
        }
    }
    return found;
}

/* Replaces one run of bytes whole if the table knows (a beginning of) it. */
static int replace_whole(const lm_normalizer *step, const lm_aligned *in, size_t from, size_t to,
                         lm_aligned *out) {
    size_t taken;
    const char *made = look_up(step, in->text + from, to - from, &taken);
    if (made == NULL) {
        return 0;
    }
    return lm_aligned_append(out, made, strlen(made), in->start[from], in->end[to - 1]) ? 1 : -1;
}

static bool keep_one(const lm_aligned *in, size_t from, size_t to, lm_aligned *out) {
    for (size_t i = from; i < to; i++) {
        if (!lm_aligned_append(out, in->text + i, 1, in->start[i], in->end[i])) {
            return false;
        }
    }
    return true;
}

/* As SentencePiece does: at each place the longest that the table knows, else one character. */
static bool apply_longest(const lm_normalizer *step, const lm_aligned *in, lm_aligned *out) {
    for (size_t at = 0, size; at < in->length; at += size) {
        bool valid;
        const char *made = look_up(step, in->text + at, in->length - at, &size);
        if (made != NULL) {
            if (!lm_aligned_append(out, made, strlen(made), in->start[at], in->end[at + size - 1])) {
                return false;
            }
            continue;
        }
        lm_utf8_next(in->text, in->length, at, &size, &valid);
        if (!keep_one(in, at, at + size, out)) {
            return false;
        }
    }
    return true;
}

bool lm_charsmap_apply(const lm_normalizer *step, const lm_aligned *in, lm_aligned *out) {
    if (step->longest) {
        return apply_longest(step, in, out);
    }
    /* As tokenizers does: short grapheme clusters whole, then character by character. */
    for (size_t at = 0, to; at < in->length; at = to) {
        int done = 0;
        to = lm_grapheme_end(in->text, in->length, at);
        if (to - at < 6) {
            done = replace_whole(step, in, at, to, out);
        }
        for (size_t one = at, size; done == 0 && one < to; one += size) {
            bool valid;
            lm_utf8_next(in->text, in->length, one, &size, &valid);
            int replaced = replace_whole(step, in, one, one + size, out);
            if (replaced < 0 || (replaced == 0 && !keep_one(in, one, one + size, out))) {
                return false;
            }
        }
        if (done < 0) {
            return false;
        }
    }
    return true;
}

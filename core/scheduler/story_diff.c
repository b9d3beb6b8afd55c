/* story_diff.c: what an edit changed in a row: the members that differ, and of texts only the part that does. */
#include "scheduler/story_inside.h"

#include <string.h>

enum { SHOWN = 160, CHANGES = 32, DEPTH = 64 };

typedef struct differ {
    temper_arena *arena;
    temper_json *changes;
    bool failed;
} differ;

/* A text, or a value as canonical JSON, cut to what one reads; NULL: no memory. */
static temper_json *shown(temper_arena *arena, const char *text, size_t length) {
    size_t end = length > SHOWN ? SHOWN : length;
    char *cut;
    while (end < length && end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80) {
        end--;
    }
    cut = tm_arena_format(arena, "%.*s%s", (int)end, text, end < length ? "…" : "");
    return cut != NULL ? tm_json_new_string(arena, cut, strlen(cut)) : NULL;
}

static void add(differ *d, const char *field, const temper_json *before, const temper_json *after) {
    temper_json *entry = tm_json_object(d->arena);
    d->failed = d->failed || entry == NULL || !tm_json_set_string(d->arena, entry, "field", field) ||
                (before != NULL && !tm_json_set(d->arena, entry, "before", before)) ||
                (after != NULL && !tm_json_set(d->arena, entry, "after", after)) ||
                !tm_json_append(d->arena, d->changes, entry);
}

static const temper_json *written(differ *d, const temper_json *value) {
    tm_buffer text = TM_BUFFER_INIT;
    temper_json *out = NULL;
    if (value == NULL) {
        return NULL;
    }
    if (tm_json_write(value, &text, NULL) == TEMPER_OK && tm_buffer_ok(&text)) {
        out = shown(d->arena, text.data, text.length);
    }
    d->failed = d->failed || out == NULL;
    tm_buffer_free(&text);
    return out;
}

/* Equal beginnings and ends are left out, on borders of characters. */
static void compare_texts(differ *d, const char *field, const char *a, size_t na, const char *b, size_t nb) {
    size_t head = 0, tail = 0, least = na < nb ? na : nb;
    temper_json *before, *after;
    while (head < least && a[head] == b[head]) {
        head++;
    }
    while (head > 0 && head < na && ((unsigned char)a[head] & 0xC0) == 0x80) {
        head--;
    }
    while (head > 0 && head < nb && ((unsigned char)b[head] & 0xC0) == 0x80) {
        head--;
    }
    while (tail < least - head && a[na - 1 - tail] == b[nb - 1 - tail]) {
        tail++;
    }
    while (tail > 0 && ((unsigned char)a[na - tail] & 0xC0) == 0x80) {
        tail--;
    }
    before = shown(d->arena, a + head, na - head - tail);
    after = shown(d->arena, b + head, nb - head - tail);
    d->failed = d->failed || before == NULL || after == NULL;
    add(d, field, before, after);
}

static void compare(differ *d, const char *field, const temper_json *a, const temper_json *b, int depth) {
    temper_json_kind kind = tm_json_kind(a);
    size_t i, na, nb;
    const char *path, *text_a, *text_b;
    if (d->failed || tm_json_length(d->changes) >= CHANGES ||
        (a != NULL && b != NULL && tm_json_equal(a, b))) {
        return;
    }
    if (a == NULL || b == NULL || kind != tm_json_kind(b) || depth == DEPTH) {
        add(d, field, written(d, a), written(d, b));
    } else if (kind == TEMPER_JSON_OBJECT) {
        for (i = 0; i < tm_json_length(a) + tm_json_length(b); i++) {
            bool second = i >= tm_json_length(a);
            const char *name =
                second ? tm_json_name(b, i - tm_json_length(a), NULL) : tm_json_name(a, i, NULL);
            if (second && tm_json_member(a, name) != NULL) {
                continue;
            }
            path = tm_arena_format(d->arena, "%s%s%s", field, *field != 0 ? "." : "", name);
            d->failed = d->failed || path == NULL;
            if (!d->failed) {
                compare(d, path, tm_json_member(a, name), tm_json_member(b, name), depth + 1);
            }
        }
    } else if (kind == TEMPER_JSON_ARRAY && tm_json_length(a) == tm_json_length(b)) {
        for (i = 0; i < tm_json_length(a) && !d->failed; i++) {
            path = tm_arena_format(d->arena, "%s[%zu]", field, i);
            d->failed = path == NULL;
            if (!d->failed) {
                compare(d, path, tm_json_element(a, i), tm_json_element(b, i), depth + 1);
            }
        }
    } else if (kind == TEMPER_JSON_STRING) {
        text_a = tm_json_string(a, &na);
        text_b = tm_json_string(b, &nb);
        compare_texts(d, field, text_a, na, text_b, nb);
    } else {
        add(d, field, written(d, a), written(d, b));
    }
}

temper_json *story_changes(temper_arena *arena, const temper_json *before, const temper_json *after) {
    differ d = {arena, tm_json_array(arena), false};
    if (d.changes == NULL) {
        return NULL;
    }
    compare(&d, "", before, after, 0);
    return d.failed ? NULL : d.changes;
}

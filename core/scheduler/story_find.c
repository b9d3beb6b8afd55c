/* story_find.c: which row is meant: PLACE:NUMBER, the beginning of an id, or a text in it. */
#include "scheduler/story_inside.h"

#include "base/digest.h"
#include "base/text.h"
#include "scheduler/ledger.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_DIGITS = 6, MOST_MATCHES = 20, MOST_PLACES = 512 };

typedef struct finder {
    story s;
    story_place places[MOST_PLACES]; /* every place with rows, sources first, in the plan's order */
    size_t place_count;
    story_place found[MOST_MATCHES]; /* origins, each once */
    size_t found_count;
    bool more;
} finder;

static void collect_places(finder *f) {
    size_t i, j;
    for (i = 0; i < tm_json_length(f->s.sources) && f->place_count < MOST_PLACES; i++) {
        if (story_is_rows(tm_json_element(f->s.sources, i))) {
            f->places[f->place_count++] = (story_place){(int)i, -1, "", 0};
        }
    }
    for (i = 0; i < tm_json_length(f->s.nodes); i++) {
        const temper_json *outputs = tm_json_member(tm_json_element(f->s.nodes, i), "outputs");
        for (j = 0; j < tm_json_length(outputs) && f->place_count < MOST_PLACES; j++) {
            const temper_json *output = tm_json_element(outputs, j);
            if (story_is_rows(output)) {
                f->places[f->place_count++] = (story_place){-1, (int)i, story_name(output, "name"), 0};
            }
        }
    }
}

/* "chats", "length.dropped", or "length" for length.kept. */
static bool is_called(const finder *f, const story_place *place, const char *name, size_t length) {
    const char *own;
    size_t bytes;
    if (place->node < 0) {
        own = story_name(tm_json_element(f->s.sources, (size_t)place->source), "id");
        return strlen(own) == length && memcmp(own, name, length) == 0;
    }
    own = story_name(tm_json_element(f->s.nodes, (size_t)place->node), "name");
    bytes = strlen(own);
    if (length < bytes || memcmp(own, name, bytes) != 0) {
        return false;
    }
    return length == bytes ? strcmp(place->output, "kept") == 0
                           : name[bytes] == '.' && strlen(place->output) == length - bytes - 1 &&
                                 memcmp(place->output, name + bytes + 1, length - bytes - 1) == 0;
}

static temper_status fail_place(const finder *f, const char *name, size_t length) {
    const char *names[MOST_PLACES], *wanted = tm_arena_format(f->s.arena, "%.*s", (int)length, name),
                                    *nearest;
    char listed[600] = "";
    size_t i, at = 0;
    for (i = 0; i < f->place_count; i++) {
        const char *whole = story_at(&f->s, &f->places[i]), *colon = strrchr(whole, ':');
        names[i] = tm_arena_copy(f->s.arena, whole, colon != NULL ? (size_t)(colon - whole) : strlen(whole));
        names[i] = names[i] != NULL ? names[i] : "";
        if (at < sizeof listed) {
            at += (size_t)snprintf(listed + at, sizeof listed - at, "%s%s", i == 0 ? "" : ", ", names[i]);
        }
    }
    nearest = wanted != NULL ? tm_text_nearest(wanted, names, f->place_count) : NULL;
    if (nearest != NULL) {
        return temper_fail(f->s.error, TEMPER_INVALID, "the run has no rows '%s'; did you mean '%s'?", wanted,
                           nearest);
    }
    return temper_fail(f->s.error, TEMPER_INVALID, "the run has no rows '%s'; it has %s",
                       wanted != NULL ? wanted : "", listed);
}

/* PLACE:NUMBER. *is: the name is of this form. */
static temper_status by_number(finder *f, const char *name, bool *is) {
    const char *colon = strrchr(name, ':'), *digit;
    size_t i;
    *is = colon != NULL && colon != name && colon[1] != 0 && strlen(colon) <= 19;
    for (digit = *is ? colon + 1 : ""; *digit != 0; digit++) {
        *is = *is && isdigit((unsigned char)*digit);
    }
    for (digit = name; *is && digit < colon; digit++) {
        *is = isalnum((unsigned char)*digit) || strchr("_.-", *digit) != NULL;
    }
    if (!*is) {
        return TEMPER_OK;
    }
    for (i = 0; i < f->place_count; i++) {
        if (is_called(f, &f->places[i], name, (size_t)(colon - name))) {
            f->found[0] = f->places[i];
            f->found[0].number = strtoull(colon + 1, NULL, 10);
            f->found_count = 1;
            return TEMPER_OK;
        }
    }
    return fail_place(f, name, (size_t)(colon - name));
}

static temper_status add_found(finder *f, const story_place *place) {
    story_place origin = *place;
    size_t i;
    temper_status status = story_origin(&f->s, &origin);
    for (i = 0; status == TEMPER_OK && i < f->found_count; i++) {
        const story_place *other = &f->found[i];
        if (other->node == origin.node && other->source == origin.source && other->number == origin.number &&
            strcmp(other->output, origin.output) == 0) {
            return TEMPER_OK;
        }
    }
    if (status == TEMPER_OK && f->found_count == MOST_MATCHES) {
        f->more = true;
    } else if (status == TEMPER_OK) {
        f->found[f->found_count++] = origin;
    }
    return status;
}

static bool begins(const tm_digest *digest, const char *digits, size_t length) {
    char text[TM_DIGEST_TEXT];
    tm_digest_text(digest, text);
    return strncmp(text + 7, digits, length) == 0;
}

/* The line as it stands, and as it would be written: a source need not be canonical. */
static temper_status has_id(const char *line, size_t length, const char *digits, size_t digit_count,
                            bool *has) {
    tm_digest digest = tm_digest_of(line, length);
    temper_arena *arena;
    const temper_json *row = NULL;
    tm_buffer text = TM_BUFFER_INIT;
    *has = begins(&digest, digits, digit_count);
    if (*has) {
        return TEMPER_OK;
    }
    arena = tm_arena_new();
    if (arena != NULL && tm_json_parse(arena, line, length, &row, NULL) == TEMPER_OK &&
        tm_json_write(row, &text, NULL) == TEMPER_OK && tm_buffer_ok(&text)) {
        digest = tm_digest_of(text.data, text.length);
        *has = begins(&digest, digits, digit_count);
    }
    tm_buffer_free(&text);
    tm_arena_free(arena);
    return arena == NULL ? TEMPER_NO_MEMORY : TEMPER_OK;
}

/* Searches every place but rows that are on file as dropped: those stand in the input they were dropped from. */
static temper_status search(finder *f, const char *digits, const char *text) {
    size_t p, digit_count = digits != NULL ? strlen(digits) : 0, text_length = strlen(text);
    temper_status status = TEMPER_OK;
    for (p = 0; p < f->place_count && status == TEMPER_OK && !f->more; p++) {
        story_place place = f->places[p];
        story_rows rows;
        const char *line;
        size_t at = 0, length;
        if (place.node >= 0 && strcmp(place.output, "dropped") == 0) {
            continue;
        }
        status = story_open(&f->s, &place, &rows);
        for (place.number = 1; status == TEMPER_OK && !f->more && story_next(&rows, &at, &line, &length);
             place.number++) {
            bool hit = false;
            if (digits != NULL) {
                status = has_id(line, length, digits, digit_count, &hit);
            } else {
                hit = memmem(line, length, text, text_length) != NULL;
            }
            if (status == TEMPER_OK && hit) {
                status = add_found(f, &place);
            }
        }
        story_close(&f->s, &rows);
    }
    return status;
}

static temper_status find_row(finder *f, const char *name) {
    const char *digits = strncmp(name, "sha256:", 7) == 0 ? name + 7 : name;
    bool is = false, hex = strlen(digits) >= LEAST_DIGITS && strlen(digits) <= 64 &&
                           strspn(digits, "0123456789abcdef") == strlen(digits);
    tm_buffer quoted = TM_BUFFER_INIT;
    temper_json *text;
    temper_status status = by_number(f, name, &is);
    if (status || is) {
        return status;
    }
    status = hex ? search(f, digits, "") : TEMPER_OK;
    if (status == TEMPER_OK && f->found_count == 0) {
        /* A text is looked for as JSON writes it: quotes and line ends escaped. */
        text = tm_json_new_string(f->s.arena, name, strlen(name));
        if (text == NULL || tm_json_write(text, &quoted, NULL) || !tm_buffer_ok(&quoted) ||
            quoted.length < 3) {
            status = temper_fail(f->s.error, TEMPER_INVALID, "a row is PLACE:NUMBER, an id, or a text in it");
        } else {
            quoted.data[quoted.length - 1] = 0;
            status = search(f, NULL, quoted.data + 1);
        }
    }
    tm_buffer_free(&quoted);
    if (status == TEMPER_OK && f->found_count == 0) {
        status = temper_fail(f->s.error, TEMPER_INVALID,
                             "no row of the run has the id or the text '%.100s'; a row is PLACE:NUMBER, the "
                             "first digits of an id, or a text in it",
                             name);
    }
    return status;
}

static temper_status list_matches(finder *f, const temper_json **out) {
    temper_json *whole = tm_json_object(f->s.arena), *list = tm_json_array(f->s.arena);
    temper_status status = TEMPER_OK;
    bool made = whole != NULL && list != NULL;
    size_t i;
    for (i = 0; made && i < f->found_count && status == TEMPER_OK; i++) {
        temper_json *entry = tm_json_object(f->s.arena);
        const temper_json *record;
        char id[TM_ROW_ID];
        if ((status = story_record(&f->s, &f->found[i], &record, NULL)) ||
            (status = tm_row_id(record, id, f->s.error))) {
            return status;
        }
        made = entry != NULL && tm_json_set_string(f->s.arena, entry, "row", id) &&
               tm_json_set_string(f->s.arena, entry, "at", story_at(&f->s, &f->found[i])) &&
               tm_json_set(f->s.arena, entry, "record", record) && tm_json_append(f->s.arena, list, entry);
    }
    *out = whole;
    return made && tm_json_set(f->s.arena, whole, "matches", list) &&
                   tm_json_set_boolean(f->s.arena, whole, "more", f->more)
               ? TEMPER_OK
               : temper_fail(f->s.error, TEMPER_NO_MEMORY, "out of memory");
}

temper_status tm_story_tell(tm_store *store, const temper_json *run, const char *name, temper_arena *arena,
                            const temper_json **out, temper_error *error) {
    finder *f = tm_arena_allocate(arena, sizeof *f);
    temper_status status;
    if (f == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    memset(f, 0, sizeof *f);
    f->s.store = store;
    f->s.run = run;
    f->s.plan = tm_json_member(run, "plan");
    f->s.nodes = tm_json_member(run, "nodes");
    f->s.planned = tm_json_member(f->s.plan, "nodes");
    f->s.sources = tm_json_member(f->s.plan, "sources");
    f->s.arena = arena;
    f->s.error = error;
    collect_places(f);
    status = find_row(f, name);
    if (status) {
        return status;
    }
    if (f->found_count > 1) {
        return list_matches(f, out);
    }
    status = story_origin(&f->s, &f->found[0]);
    return status ? status : story_of(&f->s, &f->found[0], out);
}

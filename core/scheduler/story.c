/* story.c: one row, forward through every stage it went to, and back to where it came from; see story.h. */
#include "scheduler/story_inside.h"

#include "scheduler/ledger.h"

#include <string.h>

enum { MOST_STEPS = 400, MOST_DEPTH = 100 };

static temper_status no_memory(const story *s) {
    return temper_fail(s->error, TEMPER_NO_MEMORY, "out of memory");
}

static const temper_json *inputs_of(const story *s, size_t node) {
    return tm_json_member(tm_json_element(s->planned, node), "inputs");
}

static bool has_output(const story *s, size_t node, const char *name) {
    const temper_json *outputs = tm_json_member(tm_json_element(s->nodes, node), "outputs");
    size_t i;
    for (i = 0; i < tm_json_length(outputs); i++) {
        if (strcmp(story_name(tm_json_element(outputs, i), "name"), name) == 0) {
            return story_is_rows(tm_json_element(outputs, i));
        }
    }
    return false;
}

/* The input a stage filters is its first with rows; others it only looks at. */
static const temper_json *filtered_input(const story *s, size_t node) {
    const temper_json *inputs = inputs_of(s, node);
    size_t i;
    for (i = 0; i < tm_json_length(inputs); i++) {
        if (story_is_rows(tm_json_element(inputs, i))) {
            return tm_json_element(inputs, i);
        }
    }
    return NULL;
}

/* Where an edge begins, without a number. */
static bool edge_place(const story *s, const temper_json *edge, story_place *place) {
    const char *source = story_name(edge, "source");
    int64_t node = -1;
    size_t i;
    place->output = story_name(edge, "output");
    place->source = -1;
    if (tm_json_integer(tm_json_member(edge, "node"), &node) && node >= 0 &&
        (size_t)node < tm_json_length(s->nodes)) {
        place->node = (int)node;
        return true;
    }
    place->node = -1;
    for (i = 0; i < tm_json_length(s->sources); i++) {
        if (strcmp(story_name(tm_json_element(s->sources, i), "id"), source) == 0) {
            place->source = (int)i;
            return true;
        }
    }
    return false;
}

static bool same_place(const story_place *a, const story_place *b) {
    return a->node == b->node && a->source == b->source && (a->node < 0 || strcmp(a->output, b->output) == 0);
}

/* A row as found in a place by its bytes; 0 when it is not there. */
static temper_status find_there(const story *s, story_place *place, const story_text *text) {
    story_rows rows;
    temper_status status = story_open(s, place, &rows);
    if (status == TEMPER_OK) {
        place->number = story_line_of(&rows, text);
        story_close(s, &rows);
    }
    return status;
}

/* --- backward ---------------------------------------------------------------------------------------------------- */

/* The input's number of the row that was kept as `kept`: as many rows further as were dropped up to it. */
static temper_status number_before(const story *s, size_t node, uint64_t kept, uint64_t *out) {
    story_place dropped = {-1, (int)node, "dropped", 0};
    story_rows rows;
    const char *line;
    size_t at = 0, length;
    uint64_t number;
    temper_status status = story_open(s, &dropped, &rows);
    if (status) {
        return status;
    }
    *out = kept;
    while (story_next(&rows, &at, &line, &length) && story_number(line, length, &number) && number <= *out) {
        ++*out;
    }
    story_close(s, &rows);
    return TEMPER_OK;
}

/* One stage back; *made: the stage made it. */
static temper_status step_back(const story *s, story_place *place, bool *made) {
    size_t node = (size_t)place->node, i;
    const temper_json *inputs = inputs_of(s, node), *edge = filtered_input(s, node), *record;
    story_text text;
    story_place before;
    temper_status status;
    *made = false;
    if (edge != NULL && has_output(s, node, "dropped") && edge_place(s, edge, &before)) {
        if (strcmp(place->output, "dropped") == 0) {
            int64_t number;
            status = story_record(s, place, &record, NULL);
            if (status || !tm_json_integer(tm_json_member(record, "number"), &number) || number < 1) {
                *made = true;
                return status;
            }
            before.number = (uint64_t)number;
            *place = before;
            return TEMPER_OK;
        }
        if (strcmp(place->output, "kept") == 0) {
            status = number_before(s, node, place->number, &before.number);
            *place = before;
            return status;
        }
    }
    status = story_record(s, place, &record, &text);
    for (i = 0; status == TEMPER_OK && i < tm_json_length(inputs); i++) {
        edge = tm_json_element(inputs, i);
        if (!story_is_rows(edge) || !edge_place(s, edge, &before)) {
            continue;
        }
        status = find_there(s, &before, &text);
        if (status == TEMPER_OK && before.number > 0) {
            *place = before;
            return TEMPER_OK;
        }
    }
    *made = true;
    return status;
}

temper_status story_origin(const story *s, story_place *place) {
    bool made = false;
    temper_status status = TEMPER_OK;
    size_t steps;
    for (steps = 0; status == TEMPER_OK && place->node >= 0 && !made && steps < MOST_DEPTH; steps++) {
        status = step_back(s, place, &made);
    }
    return status;
}

/* --- forward ----------------------------------------------------------------------------------------------------- */

typedef struct telling {
    const story *s;
    temper_json *steps;
} telling;

static temper_json *new_step(const telling *t, size_t node, const char *what) {
    temper_json *step = tm_json_object(t->s->arena);
    const temper_json *planned = tm_json_element(t->s->planned, node);
    const char *kind =
        tm_arena_format(t->s->arena, "%s.%s", story_name(planned, "plugin"), story_name(planned, "stage"));
    bool made = step != NULL && kind != NULL &&
                tm_json_set_string(t->s->arena, step, "stage",
                                   story_name(tm_json_element(t->s->nodes, node), "name")) &&
                tm_json_set_string(t->s->arena, step, "kind", kind) &&
                tm_json_set_string(t->s->arena, step, "what", what) &&
                tm_json_append(t->s->arena, t->steps, step);
    return made ? step : NULL;
}

static temper_status follow(const telling *t, const story_place *place, int depth);

/* The other row that evidence speaks of, by its number in the stage's input. */
static temper_status tell_twin(const telling *t, size_t node, temper_json *step, uint64_t number) {
    const story *s = t->s;
    const temper_json *edge = filtered_input(s, node), *record;
    char id[TM_ROW_ID];
    story_place twin;
    temper_status status;
    if (edge == NULL || !edge_place(s, edge, &twin)) {
        return TEMPER_OK;
    }
    twin.number = number;
    if ((status = story_origin(s, &twin)) || (status = story_record(s, &twin, &record, NULL)) ||
        (status = tm_row_id(record, id, s->error))) {
        return status;
    }
    return tm_json_set_string(s->arena, step, "twin_row", id) &&
                   tm_json_set_string(s->arena, step, "twin_at", story_at(s, &twin)) &&
                   tm_json_set(s->arena, step, "twin_record", record)
               ? TEMPER_OK
               : no_memory(s);
}

/* What a ledger row says: all but the record and its number, which the story has already. */
static bool add_ledger_row(const story *s, temper_json *step, const temper_json *row) {
    size_t i;
    for (i = 0; i < tm_json_length(row); i++) {
        const temper_json *value;
        const char *name = tm_json_name(row, i, &value);
        if (strcmp(name, "record") != 0 && strcmp(name, "number") != 0 &&
            tm_json_member(step, name) == NULL && !tm_json_set(s->arena, step, name, value)) {
            return false;
        }
    }
    return true;
}

static temper_status tell_dropped(const telling *t, size_t node, const temper_json *row) {
    temper_json *step = new_step(t, node, "dropped");
    int64_t twin;
    if (step == NULL || !add_ledger_row(t->s, step, row)) {
        return no_memory(t->s);
    }
    return tm_json_integer(tm_json_member(row, "twin"), &twin) && twin > 0
               ? tell_twin(t, node, step, (uint64_t)twin)
               : TEMPER_OK;
}

/* What a stage has on file of a row that it changed: the row of its output `changed`, NULL when there is none. */
static temper_status find_changed(const story *s, size_t node, uint64_t wanted, const temper_json **row) {
    story_place changed = {-1, (int)node, "changed", 0};
    story_rows rows;
    const char *line;
    size_t at = 0, length;
    uint64_t number = 0;
    temper_status status;
    *row = NULL;
    if (!has_output(s, node, "changed")) {
        return TEMPER_OK;
    }
    status = story_open(s, &changed, &rows);
    while (status == TEMPER_OK && number < wanted && story_next(&rows, &at, &line, &length) &&
           story_number(line, length, &number)) {
        if (number == wanted) {
            status = tm_json_parse(s->arena, line, length, row, s->error);
        }
    }
    story_close(s, &rows);
    return status;
}

static temper_status tell_passed(const telling *t, size_t node, const char *what, uint64_t number,
                                 const temper_json *before, const story_place *to) {
    const story *s = t->s;
    const temper_json *after, *row = NULL;
    temper_json *changes = NULL, *step;
    temper_status status = story_record(s, to, &after, NULL);
    if (status) {
        return status;
    }
    if (strcmp(what, "kept") == 0 && !tm_json_equal(before, after)) {
        what = "changed";
        changes = story_changes(s->arena, before, after);
        status = find_changed(s, node, number, &row);
        if (status) {
            return status;
        }
    }
    step = new_step(t, node, what);
    return step != NULL && tm_json_set_string(s->arena, step, "at", story_at(s, to)) &&
                   (strcmp(what, "changed") != 0 || tm_json_set(s->arena, step, "changes", changes)) &&
                   add_ledger_row(s, step, row)
               ? TEMPER_OK
               : no_memory(s);
}

/* Through a filter: dropped, or as many rows nearer to the beginning as were dropped before it. */
static temper_status through_filter(const telling *t, size_t node, const story_place *from,
                                    const temper_json *record, bool *known, int depth) {
    const story *s = t->s;
    story_place dropped = {-1, (int)node, "dropped", 0}, kept = {-1, (int)node, "kept", from->number};
    story_rows rows;
    const char *line;
    const temper_json *row = NULL;
    size_t at = 0, length;
    uint64_t number;
    temper_status status = story_open(s, &dropped, &rows);
    if (status) {
        return status;
    }
    while (story_next(&rows, &at, &line, &length) && story_number(line, length, &number) &&
           number <= from->number && row == NULL) {
        kept.number--;
        dropped.number++;
        if (number == from->number &&
            (status = tm_json_parse(s->arena, line, length, &row, s->error)) != TEMPER_OK) {
            break;
        }
    }
    story_close(s, &rows);
    *known = row != NULL || has_output(s, node, "kept");
    if (status || !*known) {
        return status;
    }
    if (row != NULL) {
        status = tell_dropped(t, node, row);
        return status ? status : follow(t, &dropped, depth + 1);
    }
    status = tell_passed(t, node, "kept", from->number, record, &kept);
    return status ? status : follow(t, &kept, depth + 1);
}

/* Through any other stage: found again by its bytes, or at its end. */
static temper_status through_other(const telling *t, size_t node, const story_text *text,
                                   const temper_json *record, int depth) {
    const story *s = t->s;
    const temper_json *outputs = tm_json_member(tm_json_element(s->nodes, node), "outputs");
    temper_status status = TEMPER_OK;
    bool found = false;
    size_t i;
    for (i = 0; i < tm_json_length(outputs) && status == TEMPER_OK; i++) {
        const temper_json *output = tm_json_element(outputs, i);
        story_place there = {-1, (int)node, story_name(output, "name"), 0};
        if (!story_is_rows(output) || strcmp(there.output, "dropped") == 0) {
            continue;
        }
        status = find_there(s, &there, text);
        if (status == TEMPER_OK && there.number > 0) {
            found = true;
            status = tell_passed(t, node, "taken", 0, record, &there);
            status = status ? status : follow(t, &there, depth + 1);
        }
    }
    return status || found ? status : new_step(t, node, "used") != NULL ? TEMPER_OK : no_memory(s);
}

static temper_status follow(const telling *t, const story_place *place, int depth) {
    const story *s = t->s;
    const temper_json *record = NULL;
    story_text text = {NULL, NULL, 0, 0};
    size_t i, j;
    temper_status status = TEMPER_OK;
    for (i = 0; i < tm_json_length(s->nodes) && status == TEMPER_OK && depth < MOST_DEPTH; i++) {
        const temper_json *inputs = inputs_of(s, i), *filtered = filtered_input(s, i);
        for (j = 0; j < tm_json_length(inputs) && status == TEMPER_OK; j++) {
            const temper_json *edge = tm_json_element(inputs, j);
            bool filters = has_output(s, i, "dropped"), known = false;
            story_place begin;
            if (!story_is_rows(edge) || !edge_place(s, edge, &begin) || !same_place(&begin, place) ||
                tm_json_length(t->steps) >= MOST_STEPS) {
                continue;
            }
            if (record == NULL) {
                status = story_record(s, place, &record, &text);
            }
            if (status == TEMPER_OK && filters && edge == filtered) {
                status = through_filter(t, i, place, record, &known, depth);
            } else if (status == TEMPER_OK && filters && has_output(s, i, "kept")) {
                status = new_step(t, i, "compared") != NULL ? TEMPER_OK : no_memory(s);
                known = true;
            }
            if (status == TEMPER_OK && !known) {
                status = through_other(t, i, &text, record, depth);
            }
        }
    }
    return status;
}

temper_status story_of(const story *s, const story_place *place, const temper_json **out) {
    telling t = {s, tm_json_array(s->arena)};
    temper_json *whole = tm_json_object(s->arena);
    const temper_json *record;
    char id[TM_ROW_ID];
    temper_status status;
    if (t.steps == NULL || whole == NULL) {
        return no_memory(s);
    }
    if ((status = story_record(s, place, &record, NULL)) || (status = tm_row_id(record, id, s->error)) ||
        (status = follow(&t, place, 0))) {
        return status;
    }
    *out = whole;
    return tm_json_set_string(s->arena, whole, "row", id) &&
                   tm_json_set_string(s->arena, whole, "at", story_at(s, place)) &&
                   tm_json_set(s->arena, whole, "record", record) &&
                   tm_json_set(s->arena, whole, "steps", t.steps)
               ? TEMPER_OK
               : no_memory(s);
}

/* page_curves.c: how training went. A stage takes part when it has a records output `log` whose rows have a number `step`; every
 * other number in the rows is a chart of its own. Nothing here knows a trainer by name. */
#include "scheduler/page.h"

#include <stdlib.h>
#include <string.h>

enum { SERIES_LIMIT = 16, POINTS_LIMIT = 400, WIDTH = 300, HEIGHT = 110 };

typedef struct series {
    const char *name;
    double *step, *value;
    size_t count, room;
} series;

typedef struct chart_set {
    temper_arena *arena;
    series series[SERIES_LIMIT];
    size_t count;
} chart_set;

static const char *text_of(const temper_json *object, const char *name) {
    return tm_json_text(tm_json_member(object, name), "");
}

static series *series_of(chart_set *all, const char *name) {
    for (size_t i = 0; i < all->count; i++) {
        if (strcmp(all->series[i].name, name) == 0) {
            return &all->series[i];
        }
    }
    if (all->count == SERIES_LIMIT) {
        return NULL;
    }
    all->series[all->count].name = tm_arena_copy(all->arena, name, strlen(name));
    return all->series[all->count].name != NULL ? &all->series[all->count++] : NULL;
}

static bool add_point(series *one, double step, double value) {
    if (one->count == one->room) {
        size_t room = one->room > 0 ? 2 * one->room : 64;
        double *steps = realloc(one->step, room * sizeof *steps), *values;
        if (steps == NULL) {
            return false;
        }
        one->step = steps;
        values = realloc(one->value, room * sizeof *values);
        if (values == NULL) {
            return false;
        }
        one->value = values;
        one->room = room;
    }
    one->step[one->count] = step;
    one->value[one->count++] = value;
    return true;
}

static bool add_row(chart_set *all, const temper_json *row) {
    double step, value;
    if (!tm_json_double(tm_json_member(row, "step"), &step)) {
        return true;
    }
    for (size_t i = 0; i < tm_json_length(row); i++) {
        const temper_json *member;
        const char *name = tm_json_name(row, i, &member);
        if (strcmp(name, "step") != 0 && strcmp(name, "epoch") != 0 && tm_json_double(member, &value)) {
            series *one = series_of(all, name);
            if (one != NULL && !add_point(one, step, value)) {
                return false;
            }
        }
    }
    return true;
}

static bool read_rows(chart_set *all, const char *data, size_t size) {
    for (size_t at = 0; at < size;) {
        const char *end = memchr(data + at, '\n', size - at);
        size_t length = end != NULL ? (size_t)(end - data) - at : size - at;
        temper_arena *arena = tm_arena_new();
        const temper_json *row = NULL;
        bool good = arena != NULL;
        if (good && length > 0 && tm_json_parse(arena, data + at, length, &row, NULL) == TEMPER_OK) {
            good = add_row(all, row);
        }
        tm_arena_free(arena);
        if (!good) {
            return false;
        }
        at += length + 1;
    }
    return true;
}

/* Long logs are thinned to a point for every so many steps; first and last always stand. */
static void write_curve(const series *one, double low, double high, tm_buffer *out) {
    double first = one->step[0], span = one->step[one->count - 1] - first, range = high - low;
    size_t stride = (one->count + POINTS_LIMIT - 1) / POINTS_LIMIT, i;
    tm_buffer_text(out, "<polyline class=\"run-curve\" points=\"");
    for (i = 0; i < one->count; i += stride) {
        size_t at = i + stride >= one->count ? one->count - 1 : i;
        tm_buffer_format(out, "%s%.1f,%.1f", i > 0 ? " " : "",
                         span > 0 ? WIDTH * (one->step[at] - first) / span : 0.0,
                         range > 0 ? HEIGHT - HEIGHT * (one->value[at] - low) / range : HEIGHT / 2.0);
    }
    tm_buffer_text(out, "\"/>");
}

static void write_chart(const series *one, tm_buffer *out) {
    double low = one->value[0], high = one->value[0], last = one->value[one->count - 1];
    for (size_t i = 1; i < one->count; i++) {
        low = one->value[i] < low ? one->value[i] : low;
        high = one->value[i] > high ? one->value[i] : high;
    }
    tm_buffer_text(out, "<figure><svg role=\"img\" aria-label=\"");
    tm_page_escape(out, one->name);
    tm_buffer_format(
        out,
        " from %.4g to %.4g over %zu points, lowest %.4g, highest %.4g\" viewBox=\"-2 -2 %d %d\" "
        "style=\"width:100%%;height:%dpx\" preserveAspectRatio=\"none\"><rect class=\"run-frame\" x=\"0\" "
        "y=\"0\" width=\"%d\" height=\"%d\"/>",
        one->value[0], last, one->count, low, high, WIDTH + 4, HEIGHT + 4, HEIGHT + 4, WIDTH, HEIGHT);
    write_curve(one, low, high, out);
    tm_buffer_text(out, "</svg><figcaption><strong>");
    tm_page_escape(out, one->name);
    tm_buffer_format(out,
                     "</strong> %.4g → %.4g, between %.4g and %.4g; steps %.0f to %.0f</figcaption></figure>",
                     one->value[0], last, low, high, one->step[0], one->step[one->count - 1]);
}

static void write_charts(const chart_set *all, const char *stage, tm_buffer *out) {
    bool begun = false;
    for (size_t i = 0; i < all->count; i++) {
        if (all->series[i].count < 2) {
            continue;
        }
        if (!begun) {
            tm_buffer_text(out, "<section><h2>Training: ");
            tm_page_escape(out, stage);
            tm_buffer_text(out, "</h2><div class=\"run-charts\">");
            begun = true;
        }
        write_chart(&all->series[i], out);
    }
    tm_buffer_text(out, begun ? "</div></section>" : "");
}

static temper_status draw(tm_store *store, const temper_json *node, const tm_digest *digest, tm_buffer *out,
                          temper_error *error) {
    chart_set all = {.arena = tm_arena_new()};
    const void *data;
    size_t size;
    temper_status status = all.arena == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "out of memory")
                                             : tm_store_map(store, digest, &data, &size, error);
    if (status == TEMPER_OK) {
        status =
            read_rows(&all, data, size) ? TEMPER_OK : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        tm_store_unmap(store, data, size);
    }
    if (status == TEMPER_OK) {
        write_charts(&all, text_of(node, "name"), out);
    }
    for (size_t i = 0; i < all.count; i++) {
        free(all.series[i].step);
        free(all.series[i].value);
    }
    tm_arena_free(all.arena);
    return status;
}

temper_status tm_page_curves(tm_store *store, const temper_json *run, tm_buffer *out, temper_error *error) {
    const temper_json *nodes = tm_json_member(run, "nodes");
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < tm_json_length(nodes); i++) {
        const temper_json *node = tm_json_element(nodes, i), *outputs = tm_json_member(node, "outputs");
        for (size_t j = 0; j < tm_json_length(outputs) && status == TEMPER_OK; j++) {
            const temper_json *output = tm_json_element(outputs, j);
            tm_digest digest;
            if (strcmp(text_of(output, "name"), "log") == 0 &&
                strcmp(text_of(output, "kind"), "records") == 0 &&
                tm_digest_parse(text_of(output, "digest"), &digest) && tm_store_has(store, &digest)) {
                status = draw(store, node, &digest, out, error);
            }
        }
    }
    return status;
}

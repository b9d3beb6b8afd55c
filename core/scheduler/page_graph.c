/* page_graph.c: the plan as an inline picture. A stage stands in the column after the last of what it takes, so every line runs
 * from left to right; in a column the plan's order is kept. A plan too large for a picture is a list. */
#include "scheduler/page.h"

#include <stdlib.h>
#include <string.h>

enum { BOX_WIDTH = 168, BOX_HEIGHT = 42, COLUMN = 228, ROW = 62, MARGIN = 10, PICTURE_LIMIT = 60 };

typedef struct spot {
    int column, row;
} spot;

static const char *text_of(const temper_json *object, const char *name) {
    return tm_json_text(tm_json_member(object, name), "");
}

static size_t source_index(const temper_json *sources, const char *id) {
    size_t i, count = tm_json_length(sources);
    for (i = 0; i < count && strcmp(text_of(tm_json_element(sources, i), "id"), id) != 0; i++) {
    }
    return i;
}

/* Where an edge comes from: a source's spot, then the nodes'; `count` when it comes from nowhere. */
static size_t edge_origin(const temper_json *plan, const temper_json *edge, size_t count) {
    const temper_json *sources = tm_json_member(plan, "sources");
    int64_t node = -1;
    if (tm_json_member(edge, "source") != NULL) {
        size_t index = source_index(sources, text_of(edge, "source"));
        return index < tm_json_length(sources) ? index : count;
    }
    if (tm_json_integer(tm_json_member(edge, "node"), &node) && node >= 0 &&
        (uint64_t)node < count - tm_json_length(sources)) {
        return tm_json_length(sources) + (size_t)node;
    }
    return count;
}

static void place(const temper_json *plan, spot *spots, size_t count, int *columns, int *rows) {
    const temper_json *nodes = tm_json_member(plan, "nodes");
    size_t sources = tm_json_length(tm_json_member(plan, "sources")), i, j;
    int filled[PICTURE_LIMIT + 1] = {0};
    *columns = *rows = 0;
    for (i = 0; i < count; i++) {
        int column = 0;
        if (i >= sources) {
            const temper_json *inputs = tm_json_member(tm_json_element(nodes, i - sources), "inputs");
            for (j = 0; j < tm_json_length(inputs); j++) {
                size_t origin = edge_origin(plan, tm_json_element(inputs, j), count);
                if (origin < i && spots[origin].column >= column) {
                    column = spots[origin].column + 1;
                }
            }
            column = column == 0 ? 1 : column;
        }
        spots[i].column = column;
        spots[i].row = filled[column]++;
        *columns = column >= *columns ? column + 1 : *columns;
        *rows = filled[column] > *rows ? filled[column] : *rows;
    }
}

static int x_of(const spot *at) {
    return MARGIN + at->column * COLUMN;
}

static int y_of(const spot *at) {
    return MARGIN + at->row * ROW;
}

static void write_edge(const spot *from, const spot *to, const char *kind, tm_buffer *out) {
    int x1 = x_of(from) + BOX_WIDTH, y1 = y_of(from) + BOX_HEIGHT / 2, x2 = x_of(to),
        y2 = y_of(to) + BOX_HEIGHT / 2, half = (x2 - x1) / 2;
    tm_buffer_format(out, "<path class=\"run-edge\" d=\"M%d %dC%d %d %d %d %d %d\"><title>", x1, y1,
                     x1 + half, y1, x2 - half, y2, x2, y2);
    tm_page_escape(out, kind);
    tm_buffer_text(out, "</title></path>");
}

/* A name that fits into its box; the whole of it stands in the title. */
static void write_name(const char *name, tm_buffer *out) {
    size_t length = 0, characters = 0;
    while (name[length] != 0 && characters < 22) {
        length++;
        while (((unsigned char)name[length] & 0xC0) == 0x80) {
            length++;
        }
        characters++;
    }
    tm_page_escape_bytes(out, name, length);
    tm_buffer_text(out, name[length] != 0 ? "…" : "");
}

static void write_box(const spot *at, bool source, const char *name, const char *below, tm_buffer *out) {
    tm_buffer_format(out, "<g><title>");
    tm_page_escape(out, name);
    tm_buffer_text(out, ": ");
    tm_page_escape(out, below);
    tm_buffer_format(out,
                     "</title><rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>",
                     source ? "run-source" : "run-box", x_of(at), y_of(at), BOX_WIDTH, BOX_HEIGHT);
    tm_buffer_format(out, "<text x=\"%d\" y=\"%d\">", x_of(at) + 10, y_of(at) + 18);
    write_name(name, out);
    tm_buffer_format(out, "</text><text class=\"run-small\" x=\"%d\" y=\"%d\">", x_of(at) + 10,
                     y_of(at) + 33);
    write_name(below, out);
    tm_buffer_text(out, "</text></g>");
}

static void stage_name(const temper_json *node, char out[160]) {
    snprintf(out, 160, "%s.%s", text_of(node, "plugin"), text_of(node, "stage"));
}

/* The same in words: for a plan too large to draw, and for who cannot see the picture. */
static void write_list(const temper_json *plan, bool open, tm_buffer *out) {
    const temper_json *nodes = tm_json_member(plan, "nodes");
    size_t i, j;
    tm_buffer_format(out, "<details%s><summary>The same in words</summary><ol>", open ? " open" : "");
    for (i = 0; i < tm_json_length(nodes); i++) {
        const temper_json *node = tm_json_element(nodes, i), *inputs = tm_json_member(node, "inputs");
        char stage[160];
        stage_name(node, stage);
        tm_buffer_text(out, "<li><strong>");
        tm_page_escape(out, text_of(node, "name"));
        tm_buffer_text(out, "</strong> (");
        tm_page_escape(out, stage);
        tm_buffer_text(out, ") takes ");
        for (j = 0; j < tm_json_length(inputs); j++) {
            const temper_json *edge = tm_json_element(inputs, j);
            int64_t from = -1;
            tm_buffer_text(out, j > 0 ? ", " : "");
            tm_page_escape(out, text_of(edge, "name"));
            tm_buffer_text(out, " from ");
            if (tm_json_integer(tm_json_member(edge, "node"), &from) && from >= 0) {
                tm_page_escape(out, text_of(tm_json_element(nodes, (size_t)from), "name"));
            } else {
                tm_page_escape(out, text_of(edge, "source"));
            }
        }
        tm_buffer_text(out, tm_json_length(inputs) == 0 ? "nothing</li>" : "</li>");
    }
    tm_buffer_text(out, "</ol></details>");
}

static void write_picture(const temper_json *plan, const spot *spots, size_t count, int columns, int rows,
                          tm_buffer *out) {
    const temper_json *sources = tm_json_member(plan, "sources"), *nodes = tm_json_member(plan, "nodes");
    size_t source_count = tm_json_length(sources), i, j;
    tm_buffer_format(
        out,
        "<div class=\"run-wide\"><svg role=\"img\" aria-label=\"%zu stages and what flows between them\"  "
        "style=\"width:%dpx;height:%dpx;max-width:none\">",
        tm_json_length(nodes), 2 * MARGIN + (columns - 1) * COLUMN + BOX_WIDTH,
        2 * MARGIN + (rows - 1) * ROW + BOX_HEIGHT);
    for (i = source_count; i < count; i++) {
        const temper_json *inputs = tm_json_member(tm_json_element(nodes, i - source_count), "inputs");
        for (j = 0; j < tm_json_length(inputs); j++) {
            size_t origin = edge_origin(plan, tm_json_element(inputs, j), count);
            if (origin < i) {
                write_edge(&spots[origin], &spots[i], text_of(tm_json_element(inputs, j), "name"), out);
            }
        }
    }
    for (i = 0; i < count; i++) {
        const temper_json *entry =
            tm_json_element(i < source_count ? sources : nodes, i < source_count ? i : i - source_count);
        char stage[160];
        stage_name(entry, stage);
        write_box(&spots[i], i < source_count, text_of(entry, i < source_count ? "id" : "name"),
                  i < source_count ? text_of(entry, "name") : stage, out);
    }
    tm_buffer_text(out, "</svg></div>");
}

temper_status tm_page_graph(const temper_json *plan, tm_buffer *out, temper_error *error) {
    size_t count =
        tm_json_length(tm_json_member(plan, "sources")) + tm_json_length(tm_json_member(plan, "nodes"));
    bool drawn = count <= PICTURE_LIMIT;
    int columns, rows;
    tm_buffer_text(out, "<section id=\"graph\"><h2>The graph</h2>");
    if (drawn && count > 0) {
        spot *spots = calloc(count, sizeof *spots);
        if (spots == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        }
        place(plan, spots, count, &columns, &rows);
        write_picture(plan, spots, count, columns, rows, out);
        free(spots);
    }
    write_list(plan, !drawn, out);
    tm_buffer_text(out, "</section>");
    return TEMPER_OK;
}

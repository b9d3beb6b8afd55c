/* rewrite.c: see rewrite.h. */
#include "rewrite.h"

#include <stdlib.h>

void filter_rewrite_init(filter_rewrite *r, const temper_host *host) {
    temper_buffer_init(&r->replacements, host);
    temper_buffer_init(&r->texts, host);
    temper_buffer_init(&r->marks, host);
    temper_buffer_init(&r->row, host);
}

void filter_rewrite_free(filter_rewrite *r) {
    temper_buffer_free(&r->replacements);
    temper_buffer_free(&r->texts);
    temper_buffer_free(&r->marks);
    temper_buffer_free(&r->row);
}

void filter_rewrite_begin(filter_rewrite *r) {
    r->replacements.length = r->texts.length = r->marks.length = 0;
}

void filter_rewrite_text(filter_rewrite *r, uint32_t node, temper_span text) {
    filter_replacement one = {node, r->texts.length, text.length};
    temper_buffer_append(&r->replacements, &one, sizeof one);
    temper_buffer_span(&r->texts, text);
}

void filter_rewrite_mark(filter_rewrite *r, const char *name) {
    char quoted[80];
    snprintf(quoted, sizeof quoted, "\"%.64s\"", name);
    if (r->marks.length > 0 && strstr(r->marks.data, quoted) != NULL) {
        return;
    }
    temper_buffer_append(&r->marks, ",", r->marks.length > 0);
    temper_buffer_text(&r->marks, quoted);
}

bool filter_rewrite_any(const filter_rewrite *r) {
    return r->replacements.length > 0 || r->marks.length > 0;
}

static int by_node(const void *a, const void *b) {
    const filter_replacement *left = a, *right = b;
    return left->node < right->node ? -1 : left->node > right->node;
}

bool filter_rewrite_end(filter_rewrite *r, const temper_line *line) {
    filter_replacement *list = (filter_replacement *)(void *)r->replacements.data;
    size_t count = r->replacements.length / sizeof *list, at = 0, i, end = line->length - 1;
    uint32_t marks = r->marks.length > 0 ? temper_line_member(line, 0, "marks") : 0;
    temper_buffer_clear(&r->row);
    if (count > 1) {
        qsort(list, count, sizeof *list, by_node);
    }
    if (temper_line_is(line, marks, TEMPER_NODE_ARRAY)) {
        end = line->nodes[marks].start + line->nodes[marks].length - 1;
    }
    for (i = 0; i < count; i++) {
        const temper_node *node = &line->nodes[list[i].node];
        temper_span text = {r->texts.data + list[i].start, list[i].length};
        if (r->marks.length > 0 && at <= end && node->start > end) { /* the marks stand before this text */
            temper_buffer_append(&r->row, line->text + at, end - at);
            temper_buffer_append(&r->row, ",", line->nodes[marks].next > marks + 1);
            temper_buffer_append(&r->row, r->marks.data, r->marks.length);
            at = end;
            r->marks.length = 0;
        }
        temper_buffer_append(&r->row, line->text + at, node->start - 1 - at);
        temper_quote(&r->row, text);
        at = node->start + node->length + 1;
    }
    if (r->marks.length > 0) {
        temper_buffer_append(&r->row, line->text + at, end - at);
        if (temper_line_is(line, marks, TEMPER_NODE_ARRAY)) {
            temper_buffer_append(&r->row, ",", line->nodes[marks].next > marks + 1);
            temper_buffer_append(&r->row, r->marks.data, r->marks.length);
        } else {
            temper_buffer_append(&r->row, ",", line->nodes[0].next > 1);
            temper_buffer_text(&r->row, "\"marks\":[");
            temper_buffer_append(&r->row, r->marks.data, r->marks.length);
            temper_buffer_append(&r->row, "]", 1);
        }
        at = end;
    }
    temper_buffer_append(&r->row, line->text + at, line->length - at);
    return !r->row.failed && !r->texts.failed && !r->marks.failed && !r->replacements.failed;
}

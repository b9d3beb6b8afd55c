/* each_text.c: see each_text.h. */
#include "each_text.h"

typedef struct visit {
    filter_texts *texts;
    filter_row *row;
} visit;

static int look_at(void *context, const temper_line *line, const temper_line_text_at *at) {
    visit *v = context;
    temper_span text;
    bool answers = strcmp(v->texts->of, "answers") == 0;
    if (answers && !temper_line_is_answer(line, at) && strcmp(at->field, "text") != 0) {
        return 0;
    }
    if (!filter_text(v->row, &v->texts->unescaped, at->node, &text)) {
        return 1;
    }
    return v->texts->look(v->texts->context, v->row, text, at);
}

void filter_texts_of(filter_texts *texts, filter_row *row) {
    visit v = {texts, row};
    size_t seen;
    temper_line_texts(row->line, texts->fields, texts->roles, look_at, &v, &seen);
    if (seen == 0 && !texts->may_lack) {
        filter_row_refuse(row, TEMPER_INVALID, "it has none of the fields to look at (see \"fields\")");
    }
}

static void look(void *context, filter_row *row, void *own) {
    (void)own;
    filter_texts_of(context, row);
}

void *filter_texts_room(filter_texts *texts, filter_row *row, size_t count, size_t size) {
    temper_buffer *buffer = &texts->work.buffers[row->worker];
    temper_buffer_clear(buffer);
    if (count > SIZE_MAX / size || !temper_buffer_reserve(buffer, count * size)) {
        buffer->failed = false;
        filter_row_no_memory(row);
        return NULL;
    }
    return buffer->data;
}

temper_status filter_texts_run(filter_texts *texts, filter_pass *pass, temper_error *error) {
    temper_pool *pool = temper_pool_new(pass->host);
    temper_status status;
    if (pool == NULL) {
        return temper_no_memory(error);
    }
    if (pass->look == NULL) {
        pass->look = look;
        pass->context = texts;
    }
    status = filter_buffers_new(pass->host, pool, &texts->unescaped, error);
    status = status ? status : filter_buffers_new(pass->host, pool, &texts->work, error);
    status = status ? status : filter_rows(pass, error);
    filter_buffers_free(&texts->unescaped);
    filter_buffers_free(&texts->work);
    temper_pool_free(pool);
    return status;
}

/* lines_of.c: see lines_of.h. */
#include "lines_of.h"

temper_status filter_count_lines(const temper_host *host, const temper_input *input, uint64_t *out,
                                 temper_error *error) {
    const temper_rows_service *rows = host->extension(host, TEMPER_ROWS);
    const char *data, *at, *end;
    uint64_t length;
    temper_status status;
    *out = 1;
    if (rows == NULL) {
        return temper_fail(error, TEMPER_UNSUPPORTED, "this host has no %s", TEMPER_ROWS);
    }
    status = rows->map(host, input, &data, &length, error);
    if (status) {
        return status;
    }
    for (at = data, end = data + length; at < end; at++) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (at == NULL) {
            break;
        }
        ++*out;
    }
    return TEMPER_OK;
}

uint64_t filter_line_hash(const temper_line *line, uint64_t salt) {
    return temper_text_hash((temper_span){line->text, line->length}, salt);
}

static bool take(const temper_line *line, uint32_t node, temper_buffer *scratch, temper_span *out,
                 bool *no_memory) {
    temper_buffer folded = *scratch;
    temper_span text;
    size_t start;
    if (!temper_line_is(line, node, TEMPER_NODE_STRING)) {
        return false;
    }
    temper_buffer_clear(&folded);
    if (!temper_line_text(line, node, &folded, &text)) {
        *no_memory = folded.failed;
        folded.failed = false;
        *scratch = folded;
        return false;
    }
    /* Folded behind the unescaped text, or over nothing: folding never makes a text longer. */
    start = text.data == folded.data ? text.length : 0;
    folded.length = start;
    if (!temper_buffer_reserve(&folded, text.length + 1)) {
        folded.failed = false;
        *no_memory = true;
        *scratch = folded;
        return false;
    }
    if (start > 0) {
        text.data = folded.data;
    }
    out->data = folded.data + start;
    out->length = temper_text_fold(text, true, folded.data + start);
    *out = temper_span_trim(*out);
    *scratch = folded;
    return true;
}

static bool take_first_user(const temper_line *line, uint32_t array, temper_buffer *scratch, temper_span *out,
                            bool *no_memory) {
    uint32_t child;
    for (child = array + 1; child < line->nodes[array].next; child = line->nodes[child].next) {
        if (line->nodes[child].kind == TEMPER_NODE_OBJECT &&
            temper_line_equals(line, temper_line_member(line, child, "role"), "user")) {
            return take(line, temper_line_member(line, child, "content"), scratch, out, no_memory);
        }
    }
    return false;
}

bool filter_line_prompt(const temper_line *line, const char *member, temper_buffer *scratch, temper_span *out,
                        bool *no_memory) {
    static const char *const usual[] = {"prompt", "messages", "chosen", "instruction", "question", "text"};
    size_t i, count = *member != 0 ? 1 : sizeof usual / sizeof *usual;
    *no_memory = false;
    for (i = 0; i < count; i++) {
        uint32_t node = temper_line_member(line, 0, *member != 0 ? member : usual[i]);
        if (temper_line_is(line, node, TEMPER_NODE_ARRAY)) {
            if (take_first_user(line, node, scratch, out, no_memory) || *no_memory) {
                return !*no_memory;
            }
        } else if (temper_line_is(line, node, TEMPER_NODE_STRING)) {
            return take(line, node, scratch, out, no_memory);
        }
    }
    return false;
}

void filter_line_drop(temper_shard *shard, size_t sink, const temper_line *line, const char *rule,
                      double value, double bound, const char *format, ...) {
    temper_buffer *out = temper_shard_begin(shard, sink);
    char evidence[FILTER_EVIDENCE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(evidence, sizeof evidence, format, arguments);
    va_end(arguments);
    temper_buffer_format(out, "{\"bound\":%.17g,\"evidence\":", bound);
    temper_quote(out, temper_span_of(evidence));
    temper_buffer_format(out, ",\"number\":%llu,\"record\":", (unsigned long long)line->number);
    temper_buffer_append(out, line->text, line->length);
    temper_buffer_format(out, ",\"rule\":\"%s\",\"value\":%.17g}", rule, value);
    temper_shard_end(shard, sink);
}

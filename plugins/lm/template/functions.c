/* functions.c: what a template can call by its bare name.
 *
 * Invariant: there is no clock. strftime_now is there only where the caller gives a time; so a template that has a
 * date of its own for want of one takes that, and the same messages always give the same text. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

bool lm_is_function(const lm_run *run, const char *name) {
    static const char *const names[] = {"raise_exception", "namespace", "range", "dict",
                                        "lipsum",          "cycler",    "joiner"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return run->now != NULL && strcmp(name, "strftime_now") == 0;
}

static temper_status raise(lm_run *run, const lm_node *node, const lm_arguments *arguments) {
    lm_text text;
    if (arguments->count != 1) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "raise_exception takes one message");
    }
    temper_status status = lm_value_print(run, &arguments->values[0], &text);
    return status ? status
                  : temper_fail(run->error, TEMPER_INVALID, "%.*s",
                                text.length > 800 ? 800 : (int)text.length, text.bytes);
}

static temper_status make_namespace(lm_run *run, const lm_node *node, const lm_arguments *arguments,
                                    lm_value *out) {
    lm_scope *fields = lm_run_get(run, 1, sizeof *fields);
    temper_status status = fields == NULL ? TEMPER_NO_MEMORY : TEMPER_OK;
    for (size_t i = 0; i < arguments->count && !status; i++) {
        if (arguments->names[i] == NULL) {
            return lm_unsupported(run, node, "argument without a name of");
        }
        status = lm_scope_set(run, fields, arguments->names[i], arguments->values[i]);
    }
    *out = (lm_value){.kind = LM_NAMESPACE, .fields = fields};
    return status;
}

static temper_status make_dict(lm_run *run, const lm_node *node, const lm_arguments *arguments,
                               lm_value *out) {
    size_t from = arguments->count > 0 && arguments->names[0] == NULL, used = 0;
    if (from == 1 && arguments->values[0].kind != LM_DICT) {
        return lm_unsupported(run, node, "argument without a name of");
    }
    size_t count = from == 1 ? arguments->values[0].dict.count : 0;
    lm_value *pairs = lm_run_get(run, 2 * (count + arguments->count), sizeof *pairs);
    if (pairs == NULL) {
        return TEMPER_NO_MEMORY;
    }
    if (count > 0) {
        memcpy(pairs, arguments->values[0].dict.pairs, 2 * count * sizeof *pairs);
    }
    used = count;
    for (size_t i = from; i < arguments->count; i++) {
        size_t at = 0;
        if (arguments->names[i] == NULL) {
            return lm_unsupported(run, node, "argument without a name of");
        }
        while (at < used && !lm_value_is(&pairs[2 * at], arguments->names[i])) {
            at++;
        }
        pairs[2 * at] = lm_value_text(arguments->names[i], strlen(arguments->names[i]), 0);
        pairs[2 * at + 1] = arguments->values[i];
        used += at == used;
    }
    *out = (lm_value){.kind = LM_DICT, .dict = {pairs, used}};
    return TEMPER_OK;
}

static temper_status range(lm_run *run, const lm_node *node, const lm_arguments *arguments, lm_value *out) {
    enum { MOST = 100000 }; /* the sandbox's own limit */
    int64_t number[3] = {0, 0, 1}, distance = 0;
    size_t count = 0;
    if (arguments->count < 1 || arguments->count > 3) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "range takes one to three numbers");
    }
    for (size_t i = 0; i < arguments->count; i++) {
        size_t place = arguments->count == 1 ? 1 : i;
        if (arguments->names[i] != NULL || !lm_value_whole(&arguments->values[i], &number[place])) {
            return lm_run_fail(run, node->line, TEMPER_INVALID, "range takes whole numbers");
        }
    }
    if (number[2] == 0 || number[2] == INT64_MIN || __builtin_sub_overflow(number[1], number[0], &distance)) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "a range that never ends");
    }
    if ((distance > 0) == (number[2] > 0) && distance != 0) {
        uint64_t length = distance < 0 ? -(uint64_t)distance : (uint64_t)distance,
                 step = number[2] < 0 ? -(uint64_t)number[2] : (uint64_t)number[2];
        length = (length - 1) / step + 1;
        if (length > MOST) {
            return lm_run_fail(run, node->line, TEMPER_INVALID, "a range of more than %d numbers", MOST);
        }
        count = (size_t)length;
    }
    lm_value *items = lm_run_get(run, count, sizeof *items);
    for (size_t i = 0; items != NULL && i < count; i++) {
        items[i] = lm_value_integer(number[0] + (int64_t)i * number[2]);
    }
    *out = lm_value_list(items, count);
    return items == NULL ? TEMPER_NO_MEMORY : lm_run_work(run, count * 16);
}

static temper_status strftime_now(lm_run *run, const lm_node *node, const lm_arguments *arguments,
                                  lm_value *out) {
    char form[256], text[1024];
    struct tm parts;
    time_t now = run->now == NULL ? 0 : (time_t)*run->now;
    if (run->now == NULL) {
        return lm_run_fail(run, node->line, TEMPER_UNSUPPORTED,
                           "strftime_now is not supported without a time: none was given");
    }
    if (arguments->count != 1 || arguments->values[0].kind != LM_TEXT ||
        arguments->values[0].text.length >= sizeof form - 1 || gmtime_r(&now, &parts) == NULL) {
        return lm_run_fail(run, node->line, TEMPER_INVALID,
                           "strftime_now takes one format, and not a long one");
    }
    /* A byte more, for an empty result and one too long look alike. */
    snprintf(form, sizeof form, "%.*s ", (int)arguments->values[0].text.length,
             arguments->values[0].text.bytes);
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#endif
    size_t length = strftime(text, sizeof text, form, &parts);
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
    if (length == 0) {
        return lm_run_fail(run, node->line, TEMPER_INVALID, "a date too long");
    }
    lm_builder builder = {.run = run};
    lm_build_bytes(&builder, text, length - 1, 0);
    return lm_build_end(&builder, out);
}

temper_status lm_function(lm_run *run, const lm_node *node, const lm_arguments *arguments, lm_value *out) {
    if (strcmp(node->name, "raise_exception") == 0) {
        return raise(run, node, arguments);
    }
    if (strcmp(node->name, "namespace") == 0) {
        return make_namespace(run, node, arguments, out);
    }
    if (strcmp(node->name, "dict") == 0) {
        return make_dict(run, node, arguments, out);
    }
    if (strcmp(node->name, "range") == 0) {
        return range(run, node, arguments, out);
    }
    if (strcmp(node->name, "strftime_now") == 0) {
        return strftime_now(run, node, arguments, out);
    }
    return lm_is_function(run, node->name)
               ? lm_unsupported(run, node, "function")
               : lm_run_fail(run, node->line, TEMPER_INVALID, "'%.60s' is undefined, so it cannot be called",
                             node->name);
}

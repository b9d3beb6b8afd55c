/* parameters.c: what a recipe wrote against what a stage describes. Each refusal names the parameter, the value, and what
 * would be right; what comes out is complete and in one canonical form. */
#include "base/text.h"
#include "plugin/description.h"
#include "plugin/words.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *kind_words(const temper_json *value) {
    switch (tm_json_kind(value)) {
    case TEMPER_JSON_NULL: return "nothing";
    case TEMPER_JSON_BOOLEAN: return "a flag";
    case TEMPER_JSON_NUMBER: return "a number";
    case TEMPER_JSON_STRING: return "a string";
    case TEMPER_JSON_ARRAY: return "a list";
    default: return "a table";
    }
}

static temper_status wrong_type(const temper_json *value, const char *wanted, temper_error *error) {
    tm_buffer text = TM_BUFFER_INIT;
    if (tm_json_write(value, &text, NULL) != TEMPER_OK || !tm_buffer_ok(&text)) {
        tm_buffer_clear(&text);
    }
    temper_fail(error, TEMPER_INVALID, "%.60s%s is %s, where %s is wanted",
                text.length > 0 ? text.data : "it", text.length > 60 ? "…" : "", kind_words(value), wanted);
    tm_buffer_free(&text);
    return TEMPER_INVALID;
}

static temper_status check_bounds(const temper_json *row, double number, temper_error *error) {
    double minimum, maximum;
    char text[32], bound[32], other[32];
    bool has_minimum = tm_json_double(tm_json_member(row, "minimum"), &minimum);
    bool has_maximum = tm_json_double(tm_json_member(row, "maximum"), &maximum);
    bool below = has_minimum && number < minimum, above = has_maximum && number > maximum;
    if (!below && !above) {
        return TEMPER_OK;
    }
    tm_json_number(number, text);
    if (has_minimum && has_maximum) {
        tm_json_number(minimum, bound);
        tm_json_number(maximum, other);
        return temper_fail(error, TEMPER_INVALID, "%s is out of range: from %s to %s", text, bound, other);
    }
    tm_json_number(below ? minimum : maximum, bound);
    return temper_fail(error, TEMPER_INVALID, "%s is out of range: at %s %s", text, below ? "least" : "most",
                       bound);
}

static temper_status check_choice(const temper_json *row, const char *text, temper_error *error) {
    const temper_json *choices = tm_json_member(row, "choices");
    size_t count = tm_json_length(choices), used = 0;
    char list[512] = "";
    if (count == 0) {
        return TEMPER_OK;
    }
    for (size_t i = 0; i < count; i++) {
        const char *choice = tm_json_text(tm_json_element(choices, i), "");
        if (strcmp(choice, text) == 0) {
            return TEMPER_OK;
        }
        int wrote = snprintf(list + used, sizeof list - used, "%s%s",
                             i == 0           ? ""
                             : i + 1 == count ? " or "
                                              : ", ",
                             choice);
        used = wrote > 0 && used + (size_t)wrote < sizeof list ? used + (size_t)wrote : sizeof list - 1;
    }
    return temper_fail(error, TEMPER_INVALID, "\"%.60s\" is none of its choices: %s", text, list);
}

static temper_status integer_value(temper_arena *arena, const temper_json *row, const temper_json *value,
                                   const temper_json **out, temper_error *error) {
    int64_t integer;
    double number;
    if (!tm_json_integer(value, &integer)) {
        if (!tm_json_double(value, &number) || number != floor(number) || fabs(number) > 9007199254740992.0) {
            return wrong_type(value, "an integer", error);
        }
        integer = (int64_t)number;
    }
    temper_status status = check_bounds(row, (double)integer, error);
    *out = status ? NULL : tm_json_api.new_integer(arena, integer);
    return status;
}

static temper_status strings_value(temper_arena *arena, const temper_json *value, const temper_json **out,
                                   temper_error *error) {
    temper_json *list = tm_json_array(arena);
    if (tm_json_kind(value) != TEMPER_JSON_ARRAY &&
        !(tm_json_kind(value) == TEMPER_JSON_OBJECT && tm_json_length(value) == 0)) {
        return wrong_type(value, "a list of strings", error);
    }
    for (size_t i = 0; i < tm_json_length(value); i++) {
        size_t length;
        const char *text = tm_json_string(tm_json_element(value, i), &length);
        if (text == NULL || strlen(text) != length) {
            return wrong_type(tm_json_element(value, i), "a list of strings", error);
        }
        if (list == NULL || !tm_json_append(arena, list, tm_json_element(value, i))) {
            list = NULL;
            break;
        }
    }
    *out = list;
    return TEMPER_OK;
}

temper_status tm_parameter_value(temper_arena *arena, const temper_json *row, const temper_json *value,
                                 const temper_json **out, temper_error *error) {
    temper_status status = TEMPER_OK;
    temper_type type;
    double number;
    bool flag;
    size_t length;
    const char *text;
    *out = NULL;
    if (!tm_type_parse(tm_json_text(tm_json_member(row, "type"), ""), &type)) {
        return temper_fail(error, TEMPER_INVALID, "it is of no known type");
    }
    switch (type) {
    case TEMPER_TYPE_INTEGER: status = integer_value(arena, row, value, out, error); break;
    case TEMPER_TYPE_NUMBER:
        if (!tm_json_double(value, &number) || !isfinite(number)) {
            return wrong_type(value, "a number", error);
        }
        status = check_bounds(row, number, error);
        *out = status ? NULL : tm_json_api.new_number(arena, number);
        break;
    case TEMPER_TYPE_FLAG:
        if (!tm_json_boolean(value, &flag)) {
            return wrong_type(value, "true or false", error);
        }
        *out = tm_json_api.new_boolean(arena, flag);
        break;
    case TEMPER_TYPE_STRING:
        text = tm_json_string(value, &length);
        if (text == NULL) {
            return wrong_type(value, "a string", error);
        }
        if (strlen(text) != length) {
            return temper_fail(error, TEMPER_INVALID, "the string holds U+0000, which no parameter may");
        }
        status = check_choice(row, text, error);
        *out = value;
        break;
    case TEMPER_TYPE_STRINGS: status = strings_value(arena, value, out, error); break;
    }
    if (!status && *out == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for a parameter");
    }
    return status;
}

static const temper_json *find_row(const temper_json *stage, const char *name) {
    const temper_json *rows = tm_json_member(stage, "parameters");
    for (size_t i = 0; i < tm_json_length(rows); i++) {
        const temper_json *row = tm_json_element(rows, i);
        if (strcmp(tm_json_text(tm_json_member(row, "name"), ""), name) == 0) {
            return row;
        }
    }
    return NULL;
}

/* Is `name` the first half of dotted parameters ("lora" of "lora.rank")? */
static bool is_group(const temper_json *stage, const char *name) {
    const temper_json *rows = tm_json_member(stage, "parameters");
    size_t length = strlen(name);
    for (size_t i = 0; i < tm_json_length(rows); i++) {
        const char *other = tm_json_text(tm_json_member(tm_json_element(rows, i), "name"), "");
        if (strncmp(other, name, length) == 0 && other[length] == '.') {
            return true;
        }
    }
    return false;
}

static temper_status unknown_parameter(const temper_json *stage, const char *name, temper_error *error) {
    const temper_json *rows = tm_json_member(stage, "parameters"), *inputs = tm_json_member(stage, "inputs");
    size_t row_count = tm_json_length(rows), input_count = tm_json_length(inputs);
    const char **names = malloc((row_count + input_count + 1) * sizeof *names);
    const char *nearest = NULL;
    if (names != NULL) {
        for (size_t i = 0; i < row_count + input_count; i++) {
            const temper_json *item =
                i < row_count ? tm_json_element(rows, i) : tm_json_element(inputs, i - row_count);
            names[i] = tm_json_text(tm_json_member(item, "name"), "");
        }
        nearest = tm_text_nearest(name, names, row_count + input_count);
    }
    const char *stage_name = tm_json_text(tm_json_member(stage, "name"), "");
    if (nearest != NULL) {
        temper_fail(error, TEMPER_INVALID, "%s has no parameter \"%.80s\"; did you mean \"%s\"?", stage_name,
                    name, nearest);
    } else {
        temper_fail(error, TEMPER_INVALID, "%s has no parameter \"%.80s\"", stage_name, name);
    }
    free(names);
    return TEMPER_INVALID;
}

static temper_status take(temper_arena *arena, const temper_json *stage, const char *name,
                          const temper_json *value, temper_json *resolved, temper_error *error) {
    const temper_json *row = find_row(stage, name), *canonical;
    if (row == NULL) {
        return unknown_parameter(stage, name, error);
    }
    if (tm_json_member(resolved, name) != NULL) {
        return temper_fail(error, TEMPER_INVALID, "parameter \"%s\" is given twice", name);
    }
    temper_status status = tm_parameter_value(arena, row, value, &canonical, error);
    if (status) {
        return temper_fail_in(error, status, "parameter \"%s\"", name);
    }
    if (!tm_json_set(arena, resolved, name, canonical)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for parameters");
    }
    return TEMPER_OK;
}

static temper_status take_given(temper_arena *arena, const temper_json *stage, const temper_json *given,
                                temper_json *resolved, temper_error *error) {
    temper_status status = TEMPER_OK;
    for (size_t i = 0; i < tm_json_length(given) && !status; i++) {
        const temper_json *value;
        const char *name = tm_json_name(given, i, &value);
        if (tm_json_kind(value) != TEMPER_JSON_OBJECT || !is_group(stage, name)) {
            status = take(arena, stage, name, value, resolved, error);
            continue;
        }
        for (size_t j = 0; j < tm_json_length(value) && !status; j++) {
            const temper_json *inner;
            const char *inner_name = tm_json_name(value, j, &inner);
            char *full = tm_arena_format(arena, "%s.%s", name, inner_name);
            status = full == NULL ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for parameters")
                                  : take(arena, stage, full, inner, resolved, error);
        }
    }
    return status;
}

temper_status tm_parameters_resolve(temper_arena *arena, const temper_json *stage, const temper_json *given,
                                    const temper_json **resolved, temper_error *error) {
    const temper_json *rows = tm_json_member(stage, "parameters");
    temper_json *flat = tm_json_object(arena);
    if (flat == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for parameters");
    }
    if (tm_json_kind(given) != TEMPER_JSON_OBJECT && tm_json_length(given) > 0) {
        return temper_fail(error, TEMPER_INVALID, "parameters are a table of names and values");
    }
    temper_status status = take_given(arena, stage, given, flat, error);
    for (size_t i = 0; i < tm_json_length(rows) && !status; i++) {
        const temper_json *row = tm_json_element(rows, i), *fallback = tm_json_member(row, "default");
        const char *name = tm_json_text(tm_json_member(row, "name"), "");
        if (tm_json_member(flat, name) != NULL) {
            continue;
        }
        if (fallback == NULL) {
            return temper_fail(error, TEMPER_INVALID, "%s needs the parameter \"%s\": %s",
                               tm_json_text(tm_json_member(stage, "name"), ""), name,
                               tm_json_text(tm_json_member(row, "doc"), ""));
        }
        status = take(arena, stage, name, fallback, flat, error);
    }
    *resolved = status ? NULL : flat;
    return status;
}

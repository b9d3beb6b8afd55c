/* fill.c: see fill.h. The description was checked (check.c): offsets lie within the struct and do not overlap. */
#include "worker/fill.h"

#include "plugin/words.h"

static temper_status fill_strings(temper_arena *arena, const temper_json *value, void *field,
                                  temper_error *error) {
    size_t count = tm_json_length(value);
    const char **items = tm_arena_allocate(arena, (count + 1) * sizeof *items);
    temper_strings strings = {count, items};
    if (items == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for parameters");
    }
    for (size_t i = 0; i < count; i++) {
        items[i] = tm_json_text(tm_json_element(value, i), "");
    }
    items[count] = NULL;
    memcpy(field, &strings, sizeof strings);
    return TEMPER_OK;
}

static temper_status fill_one(temper_arena *arena, const temper_parameter *p, const temper_json *value,
                              void *field, temper_error *error) {
    bool ok = false, flag = false;
    int64_t integer = 0;
    double number = 0;
    temper_c_flag as_flag;
    const char *text;
    switch (p->type) {
    case TEMPER_TYPE_INTEGER:
        ok = tm_json_integer(value, &integer);
        memcpy(field, &integer, sizeof integer);
        break;
    case TEMPER_TYPE_NUMBER:
        ok = tm_json_double(value, &number);
        memcpy(field, &number, sizeof number);
        break;
    case TEMPER_TYPE_FLAG:
        ok = tm_json_boolean(value, &flag);
        as_flag = flag;
        memcpy(field, &as_flag, sizeof as_flag);
        break;
    case TEMPER_TYPE_STRING:
        text = tm_json_string(value, NULL);
        ok = text != NULL;
        memcpy(field, &text, sizeof text);
        break;
    case TEMPER_TYPE_STRINGS:
        ok = tm_json_kind(value) == TEMPER_JSON_ARRAY;
        return ok ? fill_strings(arena, value, field, error)
                  : temper_fail(error, TEMPER_INVALID, "parameter \"%s\" is no list", p->name);
    }
    return ok ? TEMPER_OK
              : temper_fail(error, TEMPER_INVALID, "parameter \"%s\" is %s: %s is wanted", p->name,
                            value == NULL ? "missing" : "of the wrong type", tm_type_name(p->type));
}

temper_status tm_fill_parameters(temper_arena *arena, const temper_stage *stage,
                                 const temper_json *parameters, const void **out, temper_error *error) {
    unsigned char *fields = tm_arena_allocate(arena, stage->parameters_size + 1);
    temper_status status = TEMPER_OK;
    size_t count = 0;
    if (fields == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for parameters");
    }
    memset(fields, 0, stage->parameters_size + 1);
    for (; stage->parameters[count] != NULL && !status; count++) {
        const temper_parameter *p = stage->parameters[count];
        status = fill_one(arena, p, tm_json_member(parameters, p->name), fields + p->offset, error);
    }
    if (!status && tm_json_length(parameters) != count) {
        status = temper_fail(error, TEMPER_INVALID,
                             "the job has %zu parameters, the stage %zu: the plugin has changed",
                             tm_json_length(parameters), count);
    }
    *out = fields;
    return status;
}

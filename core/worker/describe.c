/* describe.c: see describe.h. */
#include "worker/describe.h"

#include "plugin/description.h"
#include "plugin/words.h"
#include "worker/load.h"
#include <math.h>
#include <temper/model.h>
#include <temper/text.h>

/* The extensions this program knows to ask for. */
static const char *const known_extensions[] = {TEMPER_MODEL_SERVICE, TEMPER_TEXT_SERVICE};

/* A bound: absent when there is none on that side; an integer where it is one. */
static bool set_bound(temper_arena *arena, temper_json *row, const char *name, double bound) {
    if (isinf(bound)) {
        return true;
    }
    if (bound == floor(bound) && fabs(bound) < 9007199254740992.0) {
        return tm_json_set_integer(arena, row, name, (int64_t)bound);
    }
    return tm_json_set_number(arena, row, name, bound);
}

static bool set_choices(temper_arena *arena, temper_json *row, const char *choices) {
    temper_json *list = tm_json_array(arena);
    bool ok = list != NULL;
    while (ok && *choices != 0) {
        size_t length = strcspn(choices, "|");
        ok = tm_json_append(arena, list, tm_json_api.new_string(arena, choices, length));
        choices += length;
        choices += *choices == '|';
    }
    return ok && tm_json_set(arena, row, "choices", list);
}

static temper_json *describe_port(temper_arena *arena, const temper_port *port, bool input) {
    temper_json *row = tm_json_object(arena);
    bool ok = row != NULL && tm_json_set_string(arena, row, "name", port->name) &&
              tm_json_set_string(arena, row, "kind", tm_port_kind_name(port->kind)) &&
              tm_json_set_string(arena, row, "fields", port->fields) &&
              tm_json_set_string(arena, row, "doc", port->doc) &&
              (!input || tm_json_set_boolean(arena, row, "optional", (port->flags & TEMPER_OPTIONAL) != 0));
    return ok ? row : NULL;
}

static temper_status describe_ports(temper_arena *arena, temper_json *stage, const char *name,
                                    const temper_port *const *ports, bool input, temper_error *error) {
    temper_json *list = tm_json_array(arena);
    bool ok = list != NULL;
    for (size_t i = 0; ok && ports[i] != NULL; i++) {
        ok = tm_json_append(arena, list, describe_port(arena, ports[i], input));
    }
    return ok && tm_json_set(arena, stage, name, list)
               ? TEMPER_OK
               : temper_fail(error, TEMPER_INVALID, "%s: a text is not UTF-8, or memory is short", name);
}

static temper_status describe_parameter(temper_arena *arena, temper_json *list, const temper_parameter *p,
                                        temper_error *error) {
    temper_json *row = tm_json_object(arena);
    const temper_json *fallback;
    bool ok = row != NULL && tm_json_set_string(arena, row, "name", p->name) &&
              tm_json_set_string(arena, row, "type", tm_type_name(p->type)) &&
              tm_json_set_string(arena, row, "unit", p->unit) &&
              tm_json_set_string(arena, row, "doc", p->doc) &&
              tm_json_set_string(arena, row, "since", p->since);
    if (ok && p->minimum <= p->maximum && (p->type == TEMPER_TYPE_INTEGER || p->type == TEMPER_TYPE_NUMBER)) {
        ok = set_bound(arena, row, "minimum", p->minimum) && set_bound(arena, row, "maximum", p->maximum);
    }
    if (ok && *p->choices != 0) {
        ok = set_choices(arena, row, p->choices);
    }
    if (ok && p->default_json != NULL) {
        temper_status status =
            tm_json_parse(arena, p->default_json, strlen(p->default_json), &fallback, error);
        if (status) {
            return temper_fail_in(error, TEMPER_INVALID,
                                  "parameter \"%s\": its default is no JSON (a string needs \\\")", p->name);
        }
        ok = tm_json_set(arena, row, "default", fallback);
    }
    return ok && tm_json_append(arena, list, row)
               ? TEMPER_OK
               : temper_fail(error, TEMPER_INVALID,
                             "parameter \"%s\": a text is not UTF-8, or memory is short", p->name);
}

static temper_status describe_stage(temper_arena *arena, temper_json *list, const temper_stage *stage,
                                    temper_error *error) {
    temper_json *object = tm_json_object(arena), *parameters = tm_json_array(arena);
    if (object == NULL || parameters == NULL || !tm_json_set_string(arena, object, "name", stage->name) ||
        !tm_json_set_string(arena, object, "doc", stage->doc) ||
        !tm_json_set_integer(arena, object, "revision", stage->revision)) {
        return temper_fail(error, TEMPER_INVALID, "a text is not UTF-8, or memory is short");
    }
    temper_status status = describe_ports(arena, object, "inputs", stage->inputs, true, error);
    if (!status) {
        status = describe_ports(arena, object, "outputs", stage->outputs, false, error);
    }
    for (size_t i = 0; stage->parameters[i] != NULL && !status; i++) {
        status = describe_parameter(arena, parameters, stage->parameters[i], error);
    }
    if (!status &&
        !(tm_json_set(arena, object, "parameters", parameters) && tm_json_append(arena, list, object))) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory for a description");
    }
    return status;
}

static bool describe_extensions(temper_arena *arena, temper_json *object, const temper_plugin *plugin) {
    temper_json *list = tm_json_array(arena);
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < sizeof known_extensions / sizeof *known_extensions; i++) {
        if (plugin->extension != NULL && plugin->extension(known_extensions[i]) != NULL) {
            ok = tm_json_append_string(arena, list, known_extensions[i]);
        }
    }
    return ok && tm_json_set(arena, object, "extensions", list);
}

temper_status tm_describe_plugin(temper_arena *arena, const temper_plugin *plugin, const char *file,
                                 const temper_json **out, temper_error *error) {
    temper_json *object = tm_json_object(arena), *stages = tm_json_array(arena);
    temper_status status = tm_check_plugin(plugin, file, error);
    if (status) {
        return status;
    }
    bool ok = object != NULL && stages != NULL && tm_json_set_string(arena, object, "name", plugin->name) &&
              tm_json_set_string(arena, object, "version", plugin->version) &&
              tm_json_set_string(arena, object, "author", plugin->author) &&
              tm_json_set_string(arena, object, "license", plugin->license) &&
              tm_json_set_string(arena, object, "doc", plugin->doc) &&
              tm_json_set(arena, object, "contract", tm_json_api.new_string(arena, "1.0", 3)) &&
              describe_extensions(arena, object, plugin);
    if (!ok) {
        return temper_fail(error, TEMPER_INVALID, "%s: a text is not UTF-8, or memory is short", file);
    }
    for (size_t i = 0; plugin->stages[i] != NULL && !status; i++) {
        status = describe_stage(arena, stages, plugin->stages[i], error);
        if (status) {
            return temper_fail_in(error, status, "%s: stage \"%s\"", file, plugin->stages[i]->name);
        }
    }
    if (!tm_json_set(arena, object, "stages", stages)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a description");
    }
    status = tm_description_check(object, error);
    *out = object;
    return status ? temper_fail_in(error, status, "%s", file) : TEMPER_OK;
}

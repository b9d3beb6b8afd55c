/* check.c: is a plugin's static data sound enough to be read? Sizes, missing pointers, offsets. What the words mean is
 * checked on the JSON made from it (plugin/description.h), for every reader alike. */
#include "plugin/words.h"
#include "worker/load.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_ITEMS = 1024 };

static size_t field_size(temper_type type) {
    switch (type) {
    case TEMPER_TYPE_INTEGER: return sizeof(temper_c_integer);
    case TEMPER_TYPE_NUMBER: return sizeof(temper_c_number);
    case TEMPER_TYPE_FLAG: return sizeof(temper_c_flag);
    case TEMPER_TYPE_STRING: return sizeof(temper_c_string);
    case TEMPER_TYPE_STRINGS: return sizeof(temper_c_strings);
    }
    return 0;
}

static size_t field_alignment(temper_type type) {
    return type == TEMPER_TYPE_FLAG ? sizeof(temper_c_flag) : sizeof(void *);
}

static temper_status check_port(const temper_port *port, bool output, temper_error *error) {
    if (port->size < sizeof *port || port->name == NULL || port->fields == NULL || port->doc == NULL) {
        return temper_fail(error, TEMPER_INVALID,
                           "a port lacks its name, fields or doc, or its size is too small");
    }
    if (tm_port_kind_name(port->kind) == NULL) {
        return temper_fail(error, TEMPER_INVALID, "\"%s\" is of no known kind (%d)", port->name,
                           (int)port->kind);
    }
    if ((port->flags & ~(uint32_t)TEMPER_OPTIONAL) != 0) {
        return temper_fail(error, TEMPER_INVALID, "\"%s\" has unknown flags", port->name);
    }
    if (output && (port->flags & TEMPER_OPTIONAL) != 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "output \"%s\" is marked optional: every output is made, an empty one too",
                           port->name);
    }
    return TEMPER_OK;
}

static temper_status check_parameter(const temper_stage *stage, const temper_parameter *p,
                                     temper_error *error) {
    if (p->size < sizeof *p || p->name == NULL || p->unit == NULL || p->choices == NULL || p->doc == NULL ||
        p->since == NULL) {
        return temper_fail(error, TEMPER_INVALID,
                           "a parameter lacks a text (\"\" is one), or its size is too small");
    }
    size_t size = field_size(p->type);
    if (size == 0) {
        return temper_fail(error, TEMPER_INVALID, "parameter \"%s\" is of no known type (%d)", p->name,
                           (int)p->type);
    }
    if (isnan(p->minimum) || isnan(p->maximum)) {
        return temper_fail(error, TEMPER_INVALID, "a bound of parameter \"%s\" is NaN", p->name);
    }
    if (p->offset % field_alignment(p->type) != 0 || p->offset > stage->parameters_size ||
        size > stage->parameters_size - p->offset) {
        return temper_fail(error, TEMPER_INVALID, "parameter \"%s\" lies outside the struct of %zu bytes",
                           p->name, stage->parameters_size);
    }
    for (size_t i = 0; stage->parameters[i] != p; i++) {
        const temper_parameter *other = stage->parameters[i];
        if (other->offset < p->offset + size && p->offset < other->offset + field_size(other->type)) {
            return temper_fail(error, TEMPER_INVALID, "parameters \"%s\" and \"%s\" share a field",
                               other->name, p->name);
        }
    }
    return TEMPER_OK;
}

static temper_status check_stage(const temper_stage *stage, temper_error *error) {
    temper_status status = TEMPER_OK;
    if (stage->size < sizeof *stage || stage->name == NULL || stage->doc == NULL || stage->inputs == NULL ||
        stage->outputs == NULL || stage->parameters == NULL) {
        return temper_fail(error, TEMPER_INVALID,
                           "it lacks its name, doc or a table, or its size is too small");
    }
    if (stage->create == NULL || stage->run == NULL || stage->destroy == NULL) {
        return temper_fail(error, TEMPER_INVALID, "create, run and destroy must all be there");
    }
    if (stage->revision == 0) {
        return temper_fail(error, TEMPER_INVALID, "revisions count from 1");
    }
    for (size_t i = 0; stage->inputs[i] != NULL && !status; i++) {
        status = i < MOST_ITEMS ? check_port(stage->inputs[i], false, error)
                                : temper_fail(error, TEMPER_INVALID, "the inputs have no end (NULL)");
    }
    for (size_t i = 0; stage->outputs[i] != NULL && !status; i++) {
        status = i < MOST_ITEMS ? check_port(stage->outputs[i], true, error)
                                : temper_fail(error, TEMPER_INVALID, "the outputs have no end (NULL)");
    }
    for (size_t i = 0; stage->parameters[i] != NULL && !status; i++) {
        status = i < MOST_ITEMS ? check_parameter(stage, stage->parameters[i], error)
                                : temper_fail(error, TEMPER_INVALID, "the parameters have no end (NULL)");
    }
    return status;
}

temper_status tm_check_plugin(const temper_plugin *plugin, const char *file, temper_error *error) {
    char *expected = tm_plugin_name_of(file);
    temper_status status = TEMPER_OK;
    if (expected == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to check a plugin");
    }
    if (plugin->name == NULL || plugin->version == NULL || plugin->author == NULL ||
        plugin->license == NULL || plugin->doc == NULL || plugin->stages == NULL) {
        status =
            temper_fail(error, TEMPER_INVALID,
                        "%s: the plugin lacks one of name, version, author, license, doc and stages", file);
    } else if (strcmp(plugin->name, expected) != 0) {
        status = temper_fail(
            error, TEMPER_INVALID,
            "%s: the plugin calls itself \"%s\"; temper.plugin finds it by its file, so the two must agree",
            file, plugin->name);
    }
    for (size_t i = 0; !status && plugin->stages[i] != NULL; i++) {
        const temper_stage *stage = plugin->stages[i];
        status = i < MOST_ITEMS ? check_stage(stage, error)
                                : temper_fail(error, TEMPER_INVALID, "the stages have no end (NULL)");
        if (status) {
            temper_fail_in(error, status, "%s: stage \"%.64s\"", file,
                           stage->size >= sizeof *stage && stage->name != NULL ? stage->name : "?");
        }
    }
    free(expected);
    return status;
}

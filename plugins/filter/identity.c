/* identity.c: who the model says it is: old names and makers become the new ones, inside sentences, in the model's own words only.
 * It is a phrase list of two rules, made here from the parameters. */
#include "filter.h"

#define IDENTITY(P, S)                                                                                       \
    P(S, strings, names, "names", "[]", 1, 0, "", "", "what the model was called", "0.2")                    \
    P(S, string, name, "name", "\"\"", 1, 0, "", "", "what it is called now", "0.2")                         \
    P(S, strings, makers, "makers", "[]", 1, 0, "", "", "who made it, as its answers say", "0.2")            \
    P(S, string, maker, "maker", "\"\"", 1, 0, "", "", "who made it now", "0.2")                             \
    P(S, flag, ignore_case, "ignore_case", "false", 0, 1, "", "", "old names match in either case", "0.2")   \
    FILTER_FIELD_PARAMETERS(P, S)                                                                            \
    FILTER_BOUND_PARAMETER(P, S)
TEMPER_PARAMETERS(identity, IDENTITY)

static bool one_line(const char *text) {
    return *text != 0 && strchr(text, '\n') == NULL && strchr(text, '\r') == NULL;
}

/* One rule; old names are literals, so # and @ at their beginning are escaped. */
static temper_status put_rule(temper_buffer *list, const char *rule, const temper_strings *old,
                              const char *now, bool ignore_case, temper_error *error) {
    size_t i;
    if (old->count == 0) {
        return TEMPER_OK;
    }
    if (!one_line(now)) {
        return temper_fail(error, TEMPER_INVALID, "%ss are given, but no new %s (one line, not empty)", rule,
                           rule);
    }
    temper_buffer_format(list, "@rule %s replace answers%s\n@with %s\n", rule, ignore_case ? "" : " case",
                         now);
    for (i = 0; i < old->count; i++) {
        if (!one_line(old->items[i])) {
            return temper_fail(error, TEMPER_INVALID, "an old %s is empty, or more than one line", rule);
        }
        temper_buffer_format(list, "%s%s\n", *old->items[i] == '#' || *old->items[i] == '@' ? "\\" : "",
                             old->items[i]);
    }
    return TEMPER_OK;
}

static temper_status run(void *self, const temper_host *host, temper_error *error) {
    const identity_parameters *p = self;
    filter_list_use use = {{NULL, 0}, &p->fields, &p->roles, true, true, false};
    temper_buffer list;
    temper_status status;
    temper_buffer_init(&list, host);
    status = put_rule(&list, "name", &p->names, p->name, p->ignore_case != 0, error);
    status = status ? status : put_rule(&list, "maker", &p->makers, p->maker, p->ignore_case != 0, error);
    if (status == TEMPER_OK && list.failed) {
        status = temper_no_memory(error);
    } else if (status == TEMPER_OK && list.length == 0) {
        status =
            temper_fail(error, TEMPER_INVALID, "neither names nor makers are given: nothing would change");
    }
    if (status == TEMPER_OK) {
        use.list.data = list.data;
        use.list.length = list.length;
        status = filter_apply_list(host, &use, error);
    }
    temper_buffer_free(&list);
    return status;
}

static const temper_port *const inputs[] = {TEMPER_PORT(TEMPER_RECORDS, "records", 0, "", "what to change"),
                                            NULL};

const temper_stage filter_identity_stage = {
    .size = sizeof(temper_stage),
    .revision = 1,
    .name = "identity",
    .doc = "replaces old names and makers in the model's own words",
    .inputs = inputs,
    .outputs = filter_changing_outputs,
    .parameters = identity_parameter_table,
    .parameters_size = sizeof(identity_parameters),
    .create = temper_stage_keep_parameters,
    .run = run,
    .destroy = temper_stage_nothing,
};

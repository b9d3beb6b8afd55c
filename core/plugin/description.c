/* description.c: see description.h. */
#include "plugin/description.h"

#include "plugin/words.h"
#include <ctype.h>
#include <string.h>

enum { LONGEST_NAME = 64 };

/* Words a recipe gives a meaning of its own next to a stage's inputs and parameters. */
static const char *const reserved[] = {"label"};

/* Lower-case words of letters, digits and '_', the first a letter; `dots`: two such words may be joined by one dot;
 * `dashes`: '-' may stand between letters. */
static bool good_name(const char *name, int dots, bool dashes) {
    bool start = true;
    if (name == NULL || strlen(name) > LONGEST_NAME) {
        return false;
    }
    for (const char *c = name; *c != 0; c++) {
        bool letter = islower((unsigned char)*c);
        if (*c == '.' && dots > 0 && !start) {
            dots--;
            start = true;
            continue;
        }
        if (!letter && (start || !(isdigit((unsigned char)*c) || *c == '_' || (dashes && *c == '-')))) {
            return false;
        }
        start = false;
    }
    return !start;
}

static const char *text_of(const temper_json *object, const char *name) {
    return tm_json_text(tm_json_member(object, name), "");
}

/* Is `name` among the first `count` elements of `list`? Also when one is a group of the other: lora and lora.rank. */
static bool named_before(const temper_json *list, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        const char *other = text_of(tm_json_element(list, i), "name");
        size_t a = strlen(name), b = strlen(other), common = a < b ? a : b;
        if (strncmp(name, other, common) == 0 && (a == b || (a < b ? other[common] : name[common]) == '.')) {
            return true;
        }
    }
    return false;
}

static temper_status check_ports(const temper_json *stage, const char *list_name, temper_error *error) {
    const temper_json *ports = tm_json_member(stage, list_name);
    for (size_t i = 0; i < tm_json_length(ports); i++) {
        const temper_json *port = tm_json_element(ports, i);
        const char *name = text_of(port, "name");
        temper_kind kind;
        if (!good_name(name, 0, false)) {
            return temper_fail(error, TEMPER_INVALID,
                               "\"%s\" in %s is no name: lower-case letters, digits and _", name, list_name);
        }
        if (named_before(ports, i, name)) {
            return temper_fail(error, TEMPER_INVALID, "\"%s\" stands twice in %s", name, list_name);
        }
        if (!tm_port_kind_parse(text_of(port, "kind"), &kind)) {
            return temper_fail(error, TEMPER_INVALID, "\"%s\" in %s is of no known kind", name, list_name);
        }
        if (*text_of(port, "doc") == 0) {
            return temper_fail(error, TEMPER_INVALID, "\"%s\" in %s has no doc", name, list_name);
        }
    }
    return TEMPER_OK;
}

static temper_status check_parameter(temper_arena *arena, const temper_json *row, temper_error *error) {
    const temper_json *fallback = tm_json_member(row, "default"), *canonical;
    double minimum, maximum;
    temper_type type;
    if (!tm_type_parse(text_of(row, "type"), &type)) {
        return temper_fail(error, TEMPER_INVALID, "it is of no known type");
    }
    if (*text_of(row, "doc") == 0 || *text_of(row, "since") == 0) {
        return temper_fail(error, TEMPER_INVALID, "it needs a doc and the version it came with (since)");
    }
    if (tm_json_double(tm_json_member(row, "minimum"), &minimum) &&
        tm_json_double(tm_json_member(row, "maximum"), &maximum) && minimum > maximum) {
        return temper_fail(error, TEMPER_INVALID, "its minimum is above its maximum");
    }
    if (tm_json_length(tm_json_member(row, "choices")) > 0 && type != TEMPER_TYPE_STRING) {
        return temper_fail(error, TEMPER_INVALID, "only a string has choices");
    }
    if (fallback != NULL) {
        temper_status status = tm_parameter_value(arena, row, fallback, &canonical, error);
        return status ? temper_fail_in(error, TEMPER_INVALID, "its default contradicts its description")
                      : TEMPER_OK;
    }
    return TEMPER_OK;
}

static temper_status check_parameters(temper_arena *arena, const temper_json *stage, temper_error *error) {
    const temper_json *rows = tm_json_member(stage, "parameters"), *inputs = tm_json_member(stage, "inputs");
    for (size_t i = 0; i < tm_json_length(rows); i++) {
        const temper_json *row = tm_json_element(rows, i);
        const char *name = text_of(row, "name");
        if (!good_name(name, 1, false)) {
            return temper_fail(
                error, TEMPER_INVALID,
                "\"%s\" is no name for a parameter: lower-case letters, digits and _, at most one dot", name);
        }
        if (named_before(rows, i, name)) {
            return temper_fail(error, TEMPER_INVALID, "parameter \"%s\" is described twice", name);
        }
        if (named_before(inputs, tm_json_length(inputs), name)) {
            return temper_fail(error, TEMPER_INVALID, "\"%s\" is both an input and a parameter", name);
        }
        temper_status status = check_parameter(arena, row, error);
        if (status) {
            return temper_fail_in(error, status, "parameter \"%s\"", name);
        }
    }
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        if (named_before(rows, tm_json_length(rows), reserved[i]) ||
            named_before(inputs, tm_json_length(inputs), reserved[i])) {
            return temper_fail(error, TEMPER_INVALID,
                               "\"%s\" has a meaning of its own in recipes: choose another name",
                               reserved[i]);
        }
    }
    return TEMPER_OK;
}

static temper_status check_stage(temper_arena *arena, const temper_json *stage, temper_error *error) {
    temper_status status = check_ports(stage, "inputs", error);
    if (!status) {
        status = check_ports(stage, "outputs", error);
    }
    if (!status) {
        status = check_parameters(arena, stage, error);
    }
    if (!status && tm_json_length(tm_json_member(stage, "outputs")) == 0) {
        status = temper_fail(error, TEMPER_INVALID, "it has no output, so nothing could come of it");
    }
    if (!status && *text_of(stage, "doc") == 0) {
        status = temper_fail(error, TEMPER_INVALID, "it has no doc");
    }
    return status;
}

temper_status tm_description_check(const temper_json *description, temper_error *error) {
    const temper_json *stages = tm_json_member(description, "stages");
    temper_status status = TEMPER_OK;
    if (!good_name(text_of(description, "name"), 0, true)) {
        return temper_fail(error, TEMPER_INVALID,
                           "\"%s\" is no name for a plugin: lower-case letters, digits, _ and -",
                           text_of(description, "name"));
    }
    if (*text_of(description, "version") == 0 || *text_of(description, "doc") == 0) {
        return temper_fail(error, TEMPER_INVALID, "the plugin needs a version and a doc");
    }
    if (tm_json_length(stages) == 0 && tm_json_length(tm_json_member(description, "extensions")) == 0) {
        return temper_fail(error, TEMPER_INVALID, "the plugin offers no stage and no service");
    }
    temper_arena *arena = tm_arena_new();
    if (arena == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to check a description");
    }
    for (size_t i = 0; i < tm_json_length(stages) && !status; i++) {
        const temper_json *stage = tm_json_element(stages, i);
        const char *name = text_of(stage, "name");
        if (!good_name(name, 0, false)) {
            status = temper_fail(error, TEMPER_INVALID,
                                 "\"%s\" is no name for a stage: lower-case letters, digits and _", name);
        } else if (named_before(stages, i, name)) {
            status = temper_fail(error, TEMPER_INVALID, "stage \"%s\" is described twice", name);
        } else {
            status = check_stage(arena, stage, error);
            if (status) {
                temper_fail_in(error, status, "stage \"%s\"", name);
            }
        }
    }
    tm_arena_free(arena);
    return status;
}

const temper_json *tm_description_stage(const temper_json *description, const char *stage) {
    const temper_json *stages = tm_json_member(description, "stages");
    for (size_t i = 0; i < tm_json_length(stages); i++) {
        const temper_json *candidate = tm_json_element(stages, i);
        if (strcmp(text_of(candidate, "name"), stage) == 0) {
            return candidate;
        }
    }
    return NULL;
}

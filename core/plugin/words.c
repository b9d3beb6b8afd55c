/* words.c: see words.h. */
#include "plugin/words.h"

#include <string.h>

static const char *const status_names[] = {"ok",        "end", "invalid",   "unsupported",
                                           "no_memory", "io",  "cancelled", "failed"};
static const char *const kind_names[] = {NULL, "records", "text", "character", "model", "metrics", "report"};
static const char *const type_names[] = {NULL, "integer", "number", "flag", "string", "strings"};

enum { STATUSES = sizeof status_names / sizeof *status_names };
enum { KINDS = sizeof kind_names / sizeof *kind_names, TYPES = sizeof type_names / sizeof *type_names };

static int find(const char *const *names, int count, const char *name) {
    for (int i = 0; i < count; i++) {
        if (names[i] != NULL && name != NULL && strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

const char *tm_status_name(temper_status status) {
    return (unsigned)status < STATUSES ? status_names[status] : "failed";
}

temper_status tm_status_parse(const char *name) {
    int found = find(status_names, STATUSES, name);
    return found < 0 ? TEMPER_FAILED : (temper_status)found;
}

const char *tm_port_kind_name(temper_kind kind) {
    return (unsigned)kind < KINDS ? kind_names[kind] : NULL;
}

bool tm_port_kind_parse(const char *name, temper_kind *out) {
    int found = find(kind_names, KINDS, name);
    *out = found < 0 ? TEMPER_RECORDS : (temper_kind)found;
    return found >= 0;
}

const char *tm_type_name(temper_type type) {
    return (unsigned)type < TYPES ? type_names[type] : NULL;
}

bool tm_type_parse(const char *name, temper_type *out) {
    int found = find(type_names, TYPES, name);
    *out = found < 0 ? TEMPER_TYPE_STRING : (temper_type)found;
    return found >= 0;
}

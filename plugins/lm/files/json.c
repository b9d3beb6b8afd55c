/* json.c: JSON as model files hold it, read by jansson under this project's rules.
 *
 * Invariant: no key appears twice in an object, no string holds a NUL, nesting ends at jansson's limit (2048). */
#include "internal.h"

#include <string.h>

temper_status lm_json_parse(const void *text, size_t length, const char *file, json_t **out,
                            temper_error *error) {
    json_error_t cause;
    size_t flags = JSON_REJECT_DUPLICATES;
    *out = json_loadb(text, length, flags, &cause);
    if (*out == NULL && json_error_code(&cause) == json_error_numeric_overflow) {
        *out = json_loadb(text, length, flags | JSON_DECODE_INT_AS_REAL, &cause);
    }
    if (*out == NULL) {
        return temper_fail(error, TEMPER_INVALID, "%s: line %d: %s", file, cause.line, cause.text);
    }
    return TEMPER_OK;
}

bool lm_json_integer(const json_t *value, int64_t *out) {
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return true;
    }
    if (json_is_real(value)) {
        double real = json_real_value(value);
        if (real >= -9007199254740992.0 && real <= 9007199254740992.0 && real == (double)(int64_t)real) {
            *out = (int64_t)real;
            return true;
        }
    }
    return false;
}

const char *lm_json_describe(const json_t *value, char *out, size_t size) {
    if (json_is_object(value) || json_is_array(value)) {
        snprintf(out, size, "%s of %zu", json_is_object(value) ? "an object" : "a list",
                 json_is_object(value) ? json_object_size(value) : json_array_size(value));
        return out;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    snprintf(out, size, "%.60s%s", text == NULL ? "?" : text, text != NULL && strlen(text) > 60 ? "..." : "");
    free(text);
    return out;
}

/* json_value.h: how a JSON value lies in an arena; for json*.c only.
 *
 * Invariants: an object's members are sorted by name (bytes) and its names are unique UTF-8 without U+0000; a number's
 * text is a JSON number, and `number` is the double nearest to it. */
#ifndef TM_JSON_VALUE_H
#define TM_JSON_VALUE_H

#include "base/json.h"

enum { TM_JSON_DEPTH = 512 };

typedef struct json_member {
    const char *name;
    const temper_json *value;
} json_member;

struct temper_json {
    uint8_t kind; /* temper_json_kind */
    bool boolean;
    size_t length; /* bytes of `text`, elements or members */
    union {
        double number;
        size_t capacity; /* of `elements` or `members` */
    };
    union {
        const char *text; /* of a string or a number; 0-terminated */
        const temper_json **elements;
        json_member *members;
    };
};

temper_json *json_new(temper_arena *arena, temper_json_kind kind);
temper_json *json_new_number_text(temper_arena *arena, const char *text, size_t length, double number);
temper_json *json_new_string(temper_arena *arena, const char *text, size_t length); /* known to be UTF-8 */

/* Text and double whatever locale somebody has set: everything between json_locale_enter and json_locale_leave speaks C. */
typedef struct json_locale {
    void *previous;
} json_locale;
json_locale json_locale_enter(void);
void json_locale_leave(json_locale locale);

#endif

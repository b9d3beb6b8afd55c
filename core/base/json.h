/* json.h: JSON values in arenas, and canonical JSON.
 *
 * Implements temper/json.h (tm_json_api is what plugins get) over jansson's parser. Invariants: a number that came
 * from text keeps that text; duplicate names, lone surrogates, NaN and depth over 512 are refused; written text is
 * canonical: names in byte order, no spaces, shortest numbers that round-trip, only the escapes RFC 8259 requires. So
 * equal values have equal bytes, and digests of them mean something. Any thread; an arena by one thread at a time. */
#ifndef TM_JSON_H
#define TM_JSON_H

#include <temper/json.h>

#include "base/buffer.h"

extern const temper_json_api tm_json_api;

temper_arena *tm_arena_new(void);
void *tm_arena_allocate(temper_arena *arena, size_t bytes); /* aligned to 16; NULL when memory is short */
char *tm_arena_copy(temper_arena *arena, const char *text, size_t length); /* 0-terminated */
char *tm_arena_format(temper_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tm_arena_free(temper_arena *arena);

/* Parses one value (and nothing after it but white space). */
temper_status tm_json_parse(temper_arena *arena, const char *text, size_t length, const temper_json **out,
                            temper_error *error);
/* Appends canonical text. */
temper_status tm_json_write(const temper_json *value, tm_buffer *out, temper_error *error);
/* Shortest text of a finite double that reads back to the same bits (1, 0.1, 1e-07). `out` has 32 bytes. */
size_t tm_json_number(double number, char out[32]);

/* Short names for core code; as in temper_json_api. */
temper_json_kind tm_json_kind(const temper_json *value);
const temper_json *tm_json_member(const temper_json *object, const char *name);
const temper_json *tm_json_element(const temper_json *array, size_t index);
size_t tm_json_length(const temper_json *value);
const char *tm_json_name(const temper_json *object, size_t index, const temper_json **value);
const char *tm_json_string(const temper_json *value,
                           size_t *length); /* NULL when no string; length may be NULL */
const char *tm_json_text(const temper_json *value, const char *fallback); /* a string or the fallback */
bool tm_json_integer(const temper_json *value, int64_t *out);
bool tm_json_double(const temper_json *value, double *out);
bool tm_json_boolean(const temper_json *value, bool *out);
temper_json *tm_json_object(temper_arena *arena);
temper_json *tm_json_array(temper_arena *arena);
/* NULL when memory is short, the text is not UTF-8 or the number is not finite. */
temper_json *tm_json_new_string(temper_arena *arena, const char *text, size_t length);
temper_json *tm_json_new_number(temper_arena *arena, double number);
temper_json *tm_json_new_integer(temper_arena *arena, int64_t number);
temper_json *tm_json_new_boolean(temper_arena *arena, bool value);
temper_json *tm_json_new_null(temper_arena *arena);
temper_json *tm_json_copy_object(temper_arena *arena, const temper_json *object); /* its first level */
/* set/append of freshly made scalars; false when memory is short (sticky callers check once at the end). */
bool tm_json_set(temper_arena *arena, temper_json *object, const char *name, const temper_json *value);
bool tm_json_set_string(temper_arena *arena, temper_json *object, const char *name, const char *text);
bool tm_json_set_integer(temper_arena *arena, temper_json *object, const char *name, int64_t number);
bool tm_json_set_number(temper_arena *arena, temper_json *object, const char *name, double number);
bool tm_json_set_boolean(temper_arena *arena, temper_json *object, const char *name, bool value);
bool tm_json_append(temper_arena *arena, temper_json *array, const temper_json *value);
bool tm_json_append_string(temper_arena *arena, temper_json *array, const char *text);
bool tm_json_equal(const temper_json *a, const temper_json *b); /* by canonical text */

#endif

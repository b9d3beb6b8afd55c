/* temper/json.h: JSON values, as records are made of.
 *
 * The host parses and writes; a plugin needs no JSON library. A value lives in an arena and dies with it. Values
 * that a reader hands out are immutable and may be read from any thread; building is for the thread that owns the arena.
 *
 * Strings are UTF-8 with an explicit length (they may hold U+0000). A number that a plugin only passes on keeps its
 * text to the digit (12345678901234567890, 1.10): reading gives a double or an int64_t, writing gives the text back.
 * Objects keep one value a name; written out, names stand in byte order (canonical JSON). */
#ifndef TEMPER_JSON_H
#define TEMPER_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <temper/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct temper_json temper_json;
typedef struct temper_arena temper_arena; /* everything in it is freed at once */

typedef enum temper_json_kind {
    TEMPER_JSON_NULL,
    TEMPER_JSON_BOOLEAN,
    TEMPER_JSON_NUMBER,
    TEMPER_JSON_STRING,
    TEMPER_JSON_ARRAY,
    TEMPER_JSON_OBJECT
} temper_json_kind;

/* All functions: any thread, on values nobody is building. Readers accept NULL (a member that was absent) and answer
 * as for null, so that a chain of lookups needs one check at its end. */
typedef struct temper_json_api {
    uint32_t size;

    /* reading */
    temper_json_kind (*kind)(const temper_json *value);
    const temper_json *(*member)(const temper_json *object, const char *name); /* NULL: absent, or no object */
    const temper_json *(*element)(const temper_json *array, size_t index);     /* NULL: past the end, or no array */
    size_t (*length)(const temper_json *value);             /* elements, members, or bytes of a string; else 0 */
    const char *(*name)(const temper_json *object, size_t index, const temper_json **value); /* members in byte order */
    const char *(*string)(const temper_json *value, size_t *length); /* 0-terminated; NULL when it is no string */
    bool (*number)(const temper_json *value, double *out);   /* false when it is no number */
    bool (*integer)(const temper_json *value, int64_t *out); /* false when it is no integer of 64 bits */
    bool (*boolean)(const temper_json *value, bool *out);

    /* building; NULL when memory is short. A value from another arena must outlive the one it is put into. None of these
     * answers needs a look: an arena, object or value that is NULL because it could not be made (no memory, NaN, no UTF-8)
     * may be handed on, and the stage fails at its next write_record with the member's name and the reason. */
    temper_arena *(*arena_new)(void);
    void (*arena_free)(temper_arena *arena);
    temper_json *(*new_object)(temper_arena *arena);
    temper_json *(*new_array)(temper_arena *arena);
    temper_json *(*new_string)(temper_arena *arena, const char *text, size_t length); /* copies; NULL if not UTF-8 */
    temper_json *(*new_number)(temper_arena *arena, double number); /* NULL if NaN or infinite */
    temper_json *(*new_integer)(temper_arena *arena, int64_t number);
    temper_json *(*new_boolean)(temper_arena *arena, bool value);
    temper_json *(*new_null)(temper_arena *arena);
    /* A copy of an object's first level that can be changed: how a filter adds a field to a record. */
    temper_json *(*copy_object)(temper_arena *arena, const temper_json *object);
    /* Puts a member (replacing) or appends an element; false when memory is short or `value` is NULL. A `value` that is NULL
     * because a lookup found nothing is left out: that is how an optional field is passed on. */
    bool (*set)(temper_arena *arena, temper_json *object, const char *name, const temper_json *value);
    bool (*append)(temper_arena *arena, temper_json *array, const temper_json *value);

    /* Text to value: strict RFC 8259, duplicate names refused, lone surrogates refused, depth at most 512. */
    temper_status (*parse)(temper_arena *arena, const char *text, size_t length, const temper_json **out,
                           temper_error *error);
    /* Value to canonical text, in the arena, 0-terminated; NULL when memory is short. */
    const char *(*write)(temper_arena *arena, const temper_json *value, size_t *length);
} temper_json_api;

#ifdef __cplusplus
}
#endif
#endif

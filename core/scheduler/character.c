/* character.c: see character.h. */
#include "scheduler/character.h"

#include "base/text.h"

static const char *const fields[] = {"trait", "instruction", "questions", "additional_questions"};
enum { FIELDS = sizeof fields / sizeof *fields };

static temper_status take_questions(temper_arena *arena, const temper_json *record, const char *field,
                                    size_t number, temper_json *out, temper_error *error) {
    const temper_json *given = tm_json_member(record, field);
    temper_json *list = tm_json_array(arena);
    size_t i;
    if (given != NULL && tm_json_kind(given) != TEMPER_JSON_ARRAY) {
        return temper_fail(error, TEMPER_INVALID, "record %zu: '%s' must be a list of texts", number, field);
    }
    for (i = 0; i < tm_json_length(given); i++) {
        const temper_json *question = tm_json_element(given, i);
        if (tm_json_string(question, NULL) == NULL || tm_json_length(question) == 0) {
            return temper_fail(error, TEMPER_INVALID, "record %zu: '%s' number %zu is not a text", number,
                               field, i + 1);
        }
        if (list == NULL || !tm_json_append(arena, list, question)) {
            return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
        }
    }
    return tm_json_set(arena, out, field, list) ? TEMPER_OK
                                                : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
}

static temper_status check_fields(const temper_json *record, size_t number, temper_error *error) {
    size_t i, j;
    for (i = 0; i < tm_json_length(record); i++) {
        const char *name = tm_json_name(record, i, NULL), *nearest;
        for (j = 0; j < FIELDS && strcmp(fields[j], name) != 0; j++) {
        }
        if (j == FIELDS) {
            nearest = tm_text_nearest(name, fields, FIELDS);
            return temper_fail(error, TEMPER_INVALID, "record %zu: unknown field '%s'%s%s%s", number, name,
                               nearest != NULL
                                   ? "; did you mean '"
                                   : "; there are trait, instruction, questions, additional_questions",
                               nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
        }
    }
    return TEMPER_OK;
}

/* The trait as the model is to be told it, where that is not the trait itself. */
static temper_status take_instruction(temper_arena *arena, const temper_json *record, size_t number,
                                      temper_json *out, temper_error *error) {
    const temper_json *instruction = tm_json_member(record, "instruction");
    if (instruction == NULL) {
        return TEMPER_OK;
    }
    if (tm_json_string(instruction, NULL) == NULL || tm_json_length(instruction) == 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "record %zu: 'instruction' must be a text that is not empty", number);
    }
    return tm_json_set(arena, out, "instruction", instruction)
               ? TEMPER_OK
               : temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
}

/* One trait, rich (an object) or short (a text). `seen` holds the traits so far. */
static temper_status take_trait(temper_arena *arena, const temper_json *record, size_t number,
                                temper_json *seen, tm_buffer *out, temper_error *error) {
    temper_json *canonical = tm_json_object(arena);
    const temper_json *trait = record;
    const char *text;
    size_t length = 0;
    temper_status status;
    if (tm_json_kind(record) == TEMPER_JSON_OBJECT) {
        status = check_fields(record, number, error);
        if (status) {
            return status;
        }
        trait = tm_json_member(record, "trait");
    } else if (tm_json_kind(record) != TEMPER_JSON_STRING) {
        return temper_fail(error, TEMPER_INVALID,
                           "record %zu: a trait is an object {trait, questions} or a text", number);
    }
    text = tm_json_string(trait, &length);
    if (text == NULL || length == 0 || strspn(text, " \t\r\n") == length) {
        return temper_fail(error, TEMPER_INVALID, "record %zu: 'trait' must be a text that is not empty",
                           number);
    }
    if (strlen(text) != length) {
        return temper_fail(error, TEMPER_INVALID, "record %zu: 'trait' holds a zero byte", number);
    }
    if (tm_json_member(seen, text) != NULL) {
        return temper_fail(error, TEMPER_INVALID,
                           "record %zu: the trait \"%.60s%s\" stands in the file twice", number, text,
                           length > 60 ? "…" : "");
    }
    if (canonical == NULL || !tm_json_set_boolean(arena, seen, text, true) ||
        !tm_json_set(arena, canonical, "trait", trait)) {
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    status = take_instruction(arena, record, number, canonical, error);
    if (status == TEMPER_OK) {
        status = take_questions(arena, record, "questions", number, canonical, error);
    }
    if (status == TEMPER_OK) {
        status = take_questions(arena, record, "additional_questions", number, canonical, error);
    }
    if (status == TEMPER_OK) {
        status = tm_json_write(canonical, out, error);
        tm_buffer_byte(out, '\n');
    }
    return status;
}

static temper_status take_list(temper_arena *arena, const temper_json *list, temper_json *seen,
                               tm_buffer *out, temper_error *error) {
    temper_status status = TEMPER_OK;
    size_t i;
    for (i = 0; status == TEMPER_OK && i < tm_json_length(list); i++) {
        status = take_trait(arena, tm_json_element(list, i), i + 1, seen, out, error);
    }
    return status;
}

static temper_status take_object(temper_arena *arena, const temper_json *object, temper_json *seen,
                                 tm_buffer *out, temper_error *error) {
    const temper_json *traits = tm_json_member(object, "traits");
    size_t i;
    for (i = 0; i < tm_json_length(object); i++) {
        const char *name = tm_json_name(object, i, NULL);
        if (strcmp(name, "name") != 0 && strcmp(name, "traits") != 0 && strcmp(name, "doc") != 0) {
            return temper_fail(error, TEMPER_INVALID, "unknown field '%s'; there are name, doc, traits",
                               name);
        }
    }
    if (tm_json_kind(traits) != TEMPER_JSON_ARRAY) {
        return temper_fail(error, TEMPER_INVALID, "'traits' must be a list");
    }
    return take_list(arena, traits, seen, out, error);
}

static temper_status take_lines(temper_arena *arena, const char *text, size_t length, temper_json *seen,
                                tm_buffer *out, temper_error *error) {
    size_t at = 0, number = 0;
    while (at < length) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t count = end != NULL ? (size_t)(end - (text + at)) : length - at;
        const temper_json *record = NULL;
        temper_status status;
        if (count > 0 && strspn(text + at, " \t\r") < count) {
            number++;
            status = tm_json_parse(arena, text + at, count, &record, error);
            if (status) {
                return temper_fail_in(error, status, "record %zu", number);
            }
            if (tm_json_kind(record) != TEMPER_JSON_OBJECT) {
                return temper_fail(error, TEMPER_INVALID,
                                   "record %zu: each line is an object {trait, questions}", number);
            }
            status = take_trait(arena, record, number, seen, out, error);
            if (status) {
                return status;
            }
        }
        at += count + 1;
    }
    return TEMPER_OK;
}

temper_status tm_character_normalise(const char *text, size_t length, tm_buffer *out, temper_error *error) {
    temper_arena *arena = tm_arena_new();
    temper_json *seen = arena != NULL ? tm_json_object(arena) : NULL;
    const temper_json *whole = NULL;
    temper_error whole_error = TEMPER_ERROR_INIT;
    temper_status status;
    size_t before = out->length;
    bool parsed;

    if (seen == NULL) {
        tm_arena_free(arena);
        return temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    if (length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        text += 3;
        length -= 3;
    }
    /* One value is a list or an object; what is not one value is lines. A list that is broken says so itself. */
    parsed = tm_json_parse(arena, text, length, &whole, &whole_error) == TEMPER_OK;
    if (parsed && tm_json_kind(whole) == TEMPER_JSON_ARRAY) {
        status = take_list(arena, whole, seen, out, error);
    } else if (parsed && tm_json_member(whole, "traits") != NULL) {
        status = take_object(arena, whole, seen, out, error);
    } else if (parsed && tm_json_kind(whole) == TEMPER_JSON_OBJECT) {
        status = take_trait(arena, whole, 1, seen, out, error);
    } else if (strspn(text, " \t\r\n") < length && text[strspn(text, " \t\r\n")] == '[') {
        status = temper_fail(error, TEMPER_INVALID, "%s", whole_error.message);
    } else {
        status = take_lines(arena, text, length, seen, out, error);
    }
    if (status == TEMPER_OK && out->length == before) {
        status = temper_fail(error, TEMPER_INVALID, "there is no trait in it");
    }
    if (status == TEMPER_OK && !tm_buffer_ok(out)) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    tm_arena_free(arena);
    return status;
}

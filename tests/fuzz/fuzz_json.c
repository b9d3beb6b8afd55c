/* fuzz_json.c: any bytes to the JSON parser. What it takes must survive: canonical text reads back to the same text, and
 * every value can be walked. What it refuses has a message. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk(const temper_json *value) {
    size_t seen = 1, i, length;
    double number;
    int64_t integer;
    bool boolean;
    tm_json_double(value, &number);
    tm_json_boolean(value, &boolean);
    if (tm_json_integer(value, &integer) && !tm_json_double(value, &number)) {
        abort();
    }
    tm_json_string(value, &length);
    for (i = 0; i < tm_json_length(value); i++) {
        if (tm_json_kind(value) == TEMPER_JSON_ARRAY) {
            seen += walk(tm_json_element(value, i));
        } else if (tm_json_kind(value) == TEMPER_JSON_OBJECT) {
            const temper_json *member;
            const char *name = tm_json_name(value, i, &member);
            if (tm_json_member(value, name) != member) {
                abort();
            }
            seen += walk(member);
        }
    }
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    temper_arena *arena = tm_arena_new();
    temper_error error = TEMPER_ERROR_INIT;
    const temper_json *value, *again;
    tm_buffer text = TM_BUFFER_INIT, second = TM_BUFFER_INIT;
    temper_status status = tm_json_parse(arena, (const char *)data, size, &value, &error);
    if (status != TEMPER_OK) {
        if (status != TEMPER_INVALID || error.message[0] == 0) {
            abort();
        }
    } else {
        size_t values = walk(value);
        if (tm_json_write(value, &text, NULL) != TEMPER_OK ||
            tm_json_parse(arena, text.data, text.length, &again, NULL) != TEMPER_OK ||
            walk(again) != values || tm_json_write(again, &second, NULL) != TEMPER_OK ||
            text.length != second.length || memcmp(text.data, second.data, text.length) != 0) {
            abort();
        }
    }
    tm_buffer_free(&text);
    tm_buffer_free(&second);
    tm_arena_free(arena);
    return 0;
}

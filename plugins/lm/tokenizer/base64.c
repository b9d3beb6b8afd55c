/* base64.c: base64, strictly: whole groups, padding only at the end. */
#include "load.h"

#include <stdlib.h>

static int digit(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

temper_status lm_base64(const char *text, size_t length, unsigned char **out, size_t *size,
                        temper_error *error) {
    size_t padding = 0, used = 0;
    *out = NULL;
    *size = 0;
    while (padding < 2 && padding < length && text[length - 1 - padding] == '=') {
        padding++;
    }
    if (length % 4 != 0) {
        return temper_fail(error, TEMPER_INVALID, "%zu characters are no base64", length);
    }
    unsigned char *bytes = malloc(length / 4 * 3 + 1);
    if (bytes == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu characters of base64", length);
    }
    for (size_t i = 0; i < length; i += 4) {
        uint32_t group = 0;
        for (size_t j = 0; j < 4; j++) {
            bool pad = i + j >= length - padding;
            int value = pad ? 0 : digit(text[i + j]);
            if (value < 0) {
                free(bytes);
                return temper_fail(error, TEMPER_INVALID, "character %zu is no base64", i + j + 1);
            }
            group = group << 6 | (uint32_t)value;
        }
        bytes[used++] = (unsigned char)(group >> 16);
        bytes[used++] = (unsigned char)(group >> 8);
        bytes[used++] = (unsigned char)group;
    }
    *out = bytes;
    *size = used - padding;
    return TEMPER_OK;
}

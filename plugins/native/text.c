/* text.c: tokens can end in the middle of a character, and a model can write bytes that are none. */
#include "internal.h"

#include <stdlib.h>

/* Length of the character at the beginning (RFC 3629: no surrogates, nothing overlong, nothing above U+10FFFF); 0: it
 * is broken; *unfinished: it is the beginning of one that the bytes end in. */
static size_t character(const unsigned char *bytes, size_t count, bool *unfinished) {
    unsigned char first = bytes[0], low = 0x80, high = 0xBF;
    size_t length = first < 0x80                     ? 1
                    : first >= 0xC2 && first <= 0xDF ? 2
                    : first >= 0xE0 && first <= 0xEF ? 3
                    : first >= 0xF0 && first <= 0xF4 ? 4
                                                     : 0;
    *unfinished = false;
    low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    for (size_t i = 1; i < length; i++) {
        if (i == count) {
            *unfinished = true;
            return 0;
        }
        if (bytes[i] < low || bytes[i] > high) {
            return 0;
        }
        low = 0x80, high = 0xBF;
    }
    return length;
}

char *native_valid_text(const char *bytes, size_t count, size_t *length) {
    static const char replacement[] = "\xEF\xBF\xBD";
    char *out = count > (SIZE_MAX - 1) / 3 ? NULL : malloc(3 * count + 1);
    size_t used = 0;
    for (size_t i = 0; out != NULL && i < count;) {
        bool unfinished;
        size_t size = character((const unsigned char *)bytes + i, count - i, &unfinished);
        if (unfinished) {
            break;
        }
        memcpy(out + used, size == 0 ? replacement : bytes + i, size == 0 ? 3 : size);
        used += size == 0 ? 3 : size;
        i += size == 0 ? 1 : size;
    }
    if (out != NULL) {
        out[used] = 0;
        *length = used;
    }
    return out;
}

size_t native_whole_characters(const char *bytes, size_t count) {
    size_t i = 0;
    while (i < count) {
        bool unfinished;
        size_t size = character((const unsigned char *)bytes + i, count - i, &unfinished);
        if (unfinished) {
            break;
        }
        i += size == 0 ? 1 : size;
    }
    return i;
}

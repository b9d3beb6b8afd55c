/* symbols.c: how vocabularies write bytes and spaces: GPT-2's printable characters, SentencePiece's U+2581 and <0x41>.
 *
 * Invariant: every byte has one symbol, and a symbol text gives its bytes back. */
#include "internal.h"

#include <string.h>

/* GPT-2's table: printable Latin-1 bytes stand for themselves, the others for U+0100 and on, in turn. */
static bool is_printable(unsigned byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

static uint32_t symbol_of(unsigned byte) {
    uint32_t next = 256;
    if (is_printable(byte)) {
        return byte;
    }
    for (unsigned other = 0; other < byte; other++) {
        next += !is_printable(other);
    }
    return next;
}

void lm_byte_level_symbol(uint8_t byte, char out[3]) {
    uint32_t symbol = symbol_of(byte);
    if (symbol < 128) {
        out[0] = (char)symbol;
        out[1] = 0;
    } else {
        out[0] = (char)(0xC0 | symbol >> 6);
        out[1] = (char)(0x80 | (symbol & 63));
    }
    out[2] = 0;
}

size_t lm_byte_level_decode(const char *text, size_t length, char *out) {
    /* U+0100.. to bytes: 0..32, 127..160, 173. */
    size_t used = 0;
    for (size_t at = 0; at < length;) {
        size_t size;
        bool valid;
        uint32_t symbol = lm_utf8_next(text, length, at, &size, &valid);
        at += size;
        if (symbol < 256 && valid && is_printable(symbol)) {
            out[used++] = (char)symbol;
        } else if (symbol >= 256 && symbol <= 256 + 32) {
            out[used++] = (char)(symbol - 256);
        } else if (symbol >= 289 && symbol <= 289 + 33) {
            out[used++] = (char)(symbol - 289 + 127);
        } else if (symbol == 323) {
            out[used++] = (char)173;
        } else {
            return SIZE_MAX;
        }
    }
    return used;
}

size_t lm_unmark(const char *text, size_t length, char *out) {
    size_t used = 0;
    for (size_t at = 0; at < length;) {
        bool mark = length - at >= 3 && memcmp(text + at, "\xE2\x96\x81", 3) == 0;
        out[used++] = mark ? ' ' : text[at];
        at += mark ? 3 : 1;
    }
    return used;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

int lm_byte_of(const char *text, size_t length) {
    if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>' || hex_digit(text[3]) < 0 ||
        hex_digit(text[4]) < 0) {
        return -1;
    }
    return hex_digit(text[3]) * 16 + hex_digit(text[4]);
}

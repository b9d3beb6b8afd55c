/* digest.c: SHA-256 by libcrypto.
 *
 * The low-level SHA256_* functions are used on purpose, although OpenSSL 3 calls them deprecated: unlike EVP they
 * allocate nothing and cannot fail, so hashing needs no error path even when memory is short, and they run the same
 * SHA-NI code. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tm_hasher {
    SHA256_CTX context;
};

tm_hasher *tm_hasher_new(void) {
    tm_hasher *hasher = malloc(sizeof *hasher);
    if (hasher != NULL) {
        SHA256_Init(&hasher->context);
    }
    return hasher;
}

void tm_hasher_add(tm_hasher *hasher, const void *bytes, size_t count) {
    if (count > 0) {
        SHA256_Update(&hasher->context, bytes, count);
    }
}

tm_digest tm_hasher_end(tm_hasher *hasher) {
    tm_digest digest;
    SHA256_Final(digest.bytes, &hasher->context);
    free(hasher);
    return digest;
}

void tm_hasher_free(tm_hasher *hasher) {
    free(hasher);
}

tm_digest tm_digest_of(const void *bytes, size_t count) {
    SHA256_CTX context;
    tm_digest digest;
    SHA256_Init(&context);
    if (count > 0) {
        SHA256_Update(&context, bytes, count);
    }
    SHA256_Final(digest.bytes, &context);
    return digest;
}

temper_status tm_digest_of_file(const char *path, tm_digest *out, uint64_t *size, temper_error *error) {
    enum { PIECE = 1 << 16 };
    unsigned char piece[PIECE];
    SHA256_CTX context;
    temper_status status = TEMPER_OK;
    uint64_t total = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return temper_fail(error, TEMPER_IO, "cannot open '%s': %s", path, strerror(errno));
    }
    SHA256_Init(&context);
    for (;;) {
        ssize_t count = read(file, piece, sizeof piece);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            status = temper_fail(error, TEMPER_IO, "cannot read '%s': %s", path, strerror(errno));
            break;
        }
        if (count == 0) {
            SHA256_Final(out->bytes, &context);
            if (size != NULL) {
                *size = total;
            }
            break;
        }
        SHA256_Update(&context, piece, (size_t)count);
        total += (uint64_t)count;
    }
    close(file);
    return status;
}

bool tm_digest_equal(const tm_digest *a, const tm_digest *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void tm_digest_text(const tm_digest *digest, char out[TM_DIGEST_TEXT]) {
    static const char hex[] = "0123456789abcdef";
    size_t i;
    memcpy(out, "sha256:", 7);
    for (i = 0; i < sizeof digest->bytes; i++) {
        out[7 + 2 * i] = hex[digest->bytes[i] >> 4];
        out[8 + 2 * i] = hex[digest->bytes[i] & 15];
    }
    out[TM_DIGEST_TEXT - 1] = 0;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; /* one digest, one text: no capitals */
}

bool tm_digest_parse(const char *text, tm_digest *out) {
    tm_digest digest;
    size_t i;
    if (text == NULL) {
        return false;
    }
    if (strncmp(text, "sha256:", 7) == 0) {
        text += 7;
    }
    if (strnlen(text, 65) != 64) {
        return false;
    }
    for (i = 0; i < sizeof digest.bytes; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        digest.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *out = digest;
    return true;
}

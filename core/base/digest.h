/* digest.h: SHA-256 (FIPS 180-4) by libcrypto. A digest as text is "sha256:" and 64 lower-case hex digits. */
#ifndef TM_DIGEST_H
#define TM_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <temper/status.h>

typedef struct tm_digest {
    uint8_t bytes[32];
} tm_digest;

enum { TM_DIGEST_TEXT = 72 }; /* "sha256:" + 64 + 0 */

typedef struct tm_hasher tm_hasher;
tm_hasher *tm_hasher_new(void); /* NULL: no memory */
void tm_hasher_add(tm_hasher *hasher, const void *bytes, size_t count);
tm_digest tm_hasher_end(tm_hasher *hasher); /* and frees it */
void tm_hasher_free(tm_hasher *hasher);

tm_digest tm_digest_of(const void *bytes, size_t count);
temper_status tm_digest_of_file(const char *path, tm_digest *out, uint64_t *size, temper_error *error);
bool tm_digest_equal(const tm_digest *a, const tm_digest *b);
void tm_digest_text(const tm_digest *digest, char out[TM_DIGEST_TEXT]);
bool tm_digest_parse(const char *text, tm_digest *out); /* with or without "sha256:" */

#endif

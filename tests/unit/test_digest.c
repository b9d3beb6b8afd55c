/* test_digest.c: SHA-256 against the vectors of FIPS 180-4, and digests as text. */
#include "base/digest.h"
#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char of_nothing[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char of_abc[] = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char of_a_million[] = "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

static void assert_digest(tm_digest digest, const char *expected) {
    char text[TM_DIGEST_TEXT];
    tm_digest_text(&digest, text);
    assert_string_equal(text, expected);
}

static void test_vectors(void **state) {
    tm_hasher *hasher = tm_hasher_new();
    size_t left = 1000000, step = 1;
    static char as[4096];
    (void)state;
    assert_digest(tm_digest_of(NULL, 0), of_nothing);
    assert_digest(tm_digest_of("abc", 3), of_abc);
    memset(as, 'a', sizeof as);
    while (left > 0) { /* in pieces of every size */
        size_t count = step < left ? step : left;
        tm_hasher_add(hasher, as, count);
        left -= count;
        step = step % 4095 + 1;
    }
    assert_digest(tm_hasher_end(hasher), of_a_million);
    tm_hasher_free(tm_hasher_new());
    tm_hasher_free(NULL);
}

static void test_text(void **state) {
    tm_digest digest, other;
    char text[TM_DIGEST_TEXT];
    (void)state;
    assert_true(tm_digest_parse(of_abc, &digest));
    tm_digest_text(&digest, text);
    assert_string_equal(text, of_abc);
    assert_true(tm_digest_parse(of_abc + 7, &other));
    assert_true(tm_digest_equal(&digest, &other));
    other.bytes[31] ^= 1;
    assert_false(tm_digest_equal(&digest, &other));
    assert_false(tm_digest_parse(NULL, &digest));
    assert_false(tm_digest_parse("", &digest));
    assert_false(tm_digest_parse("sha256:", &digest));
    assert_false(tm_digest_parse("sha512:ba78", &digest));
    assert_false(
        tm_digest_parse("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a", &digest));
    assert_false(
        tm_digest_parse("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad0", &digest));
    assert_false(
        tm_digest_parse("sha256:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", &digest));
    assert_false(
        tm_digest_parse("sha256:ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", &digest));
}

static void test_file(void **state) {
    char path[] = "/tmp/temper-digest-XXXXXX";
    temper_error error = TEMPER_ERROR_INIT;
    tm_digest digest;
    uint64_t size = 9;
    int file = mkstemp(path);
    (void)state;
    assert_true(file >= 0);
    assert_int_equal(write(file, "abc", 3), 3);
    close(file);
    assert_int_equal(tm_digest_of_file(path, &digest, &size, NULL), TEMPER_OK);
    assert_digest(digest, of_abc);
    assert_int_equal(size, 3);
    unlink(path);
    assert_int_equal(tm_digest_of_file(path, &digest, NULL, &error), TEMPER_IO);
    assert_non_null(strstr(error.message, path));
    assert_int_equal(tm_digest_of_file("/tmp", &digest, NULL, &error), TEMPER_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_text),
                                       cmocka_unit_test(test_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

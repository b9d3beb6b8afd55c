/* scan.h: the first look at JSON text: where its tokens begin.
 *
 * A scan gives the positions of brackets, braces, colons and commas outside strings, of each string's opening quote, and of
 * the first byte of each run of other bytes; so whatever is between two positions belongs to the first, but for white space.
 * It also answers for what only bytes show: UTF-8, no control bytes in strings, strings that end. Two of a kind: with
 * simdjson (scan_simd.cpp), and without it (scan_portable.c); both give the same positions and find fault with the same texts. */
#ifndef TEMPER_LINES_SCAN_H
#define TEMPER_LINES_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum temper_scan_result {
    TEMPER_SCAN_OK,
    TEMPER_SCAN_BAD, /* something in it is wrong; which, temper_scan_fault says */
    TEMPER_SCAN_NO_MEMORY
} temper_scan_result;

typedef struct temper_scan temper_scan;
temper_scan *temper_scan_new(void); /* NULL: no memory */
void temper_scan_free(temper_scan *scan);
/* `length` below 4 GiB. Positions are valid until the next call. */
temper_scan_result temper_scan_text(temper_scan *scan, const char *text, size_t length,
                                    const uint32_t **positions, uint32_t *count);

temper_scan *temper_scan_portable_new(void);
void temper_scan_portable_free(temper_scan *scan);
temper_scan_result temper_scan_portable_text(temper_scan *scan, const char *text, size_t length,
                                             const uint32_t **positions, uint32_t *count);
/* What is wrong with a text that a scan called bad, in words that go behind "the line ". */
const char *temper_scan_fault(const char *text, size_t length);
/* Is it UTF-8 (RFC 3629)? */
bool temper_scan_utf8(const char *text, size_t length);

#ifdef __cplusplus
}
#endif
#endif

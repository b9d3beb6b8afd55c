/* json_number.c: doubles as text, and text as integers, whatever locale a library has set. */
#include "base/json_value.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void) {
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0) {
        abort(); /* glibc has "C" built in, without an allocation */
    }
}

json_locale json_locale_enter(void) {
    json_locale locale;
    pthread_once(&c_locale_once, make_c_locale);
    locale.previous = (void *)uselocale(c_locale);
    return locale;
}

void json_locale_leave(json_locale locale) {
    uselocale((locale_t)locale.previous);
}

static bool reads_back(const char *text, double number) {
    return strtod(text, NULL) == number;
}

/* Adds one to the last digit of "d.ddd…e±xx", carrying; false when it would become one digit longer. */
static bool next_digit_up(char *text) {
    char *at = strchr(text, 'e');
    if (at == NULL) {
        return false;
    }
    while (at > text) {
        at--;
        if (*at == '.' || *at == '-') {
            continue;
        }
        if (*at != '9') {
            ++*at;
            return true;
        }
        *at = '0';
    }
    return false;
}

/* The shortest text is found by trying: every double that has a text of at most 15 digits is read back from its %.15g, and
 * 17 digits always do. With 16 digits the nearest text is right unless the double is a power of two, whose interval of
 * texts reaches farther up than down: there the text above may read back where the nearest does not. */
static void shortest(double number, char out[32]) {
    int digits = fabs(number) < DBL_MIN ? 1 : 15; /* subnormals carry fewer digits */
    int exponent;
    for (; digits < 17; digits++) {
        snprintf(out, 32, "%.*g", digits, number);
        if (reads_back(out, number)) {
            return;
        }
        if (digits == 16 && fabs(frexp(number, &exponent)) == 0.5) {
            char above[32];
            snprintf(above, sizeof above, "%.15e", number);
            if (next_digit_up(above) && reads_back(above, number)) {
                /* Such powers of two lie far below 1e-4 or above 1e16, where %g says e, too. */
                memcpy(out, above, sizeof above);
                return;
            }
        }
    }
    snprintf(out, 32, "%.17g", number);
}

size_t tm_json_number(double number, char out[32]) {
    json_locale locale = json_locale_enter();
    if (number == floor(number) && fabs(number) < 9007199254740992.0 && !(number == 0 && signbit(number))) {
        snprintf(out, 32, "%lld",
                 (long long)number); /* 1e15 is 1000000000000000, as the integer of that value */
    } else {
        shortest(number, out);
    }
    json_locale_leave(locale);
    return strlen(out);
}

/* A number of the form -?digits is an integer if 64 bits hold it; one with a point or an exponent (1.0, 1e3) if its double
 * is integral and so small that no digit was lost. */
bool tm_json_integer(const temper_json *value, int64_t *out) {
    const char *at;
    uint64_t magnitude = 0;
    bool negative;
    if (value == NULL || value->kind != TEMPER_JSON_NUMBER) {
        return false;
    }
    at = value->text;
    negative = *at == '-';
    at += negative;
    if (at[strspn(at, "0123456789")] != 0) {
        if (value->number != floor(value->number) || fabs(value->number) > 9007199254740992.0) {
            return false;
        }
        *out = (int64_t)value->number;
        return true;
    }
    for (; *at != 0; at++) {
        unsigned digit = (unsigned)(*at - '0');
        if (magnitude > ((uint64_t)INT64_MAX + negative - digit) / 10) {
            return false;
        }
        magnitude = magnitude * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

/* cmocka_all.h: cmocka and the headers that it wants before it. */
#ifndef TEMPER_TESTS_CMOCKA_ALL_H
#define TEMPER_TESTS_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#endif

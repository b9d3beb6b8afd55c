/* big.h: arrays that may be larger than the memory a stage may use. Up to a bound they lie in the host's memory; past it in an
 * unnamed temporary file, mapped, which the system writes out when it must. */
#ifndef FILTER_BIG_H
#define FILTER_BIG_H

#include "support/memory.h"

#include <stdio.h>

typedef struct filter_big {
    const temper_host *host;
    unsigned char *data;
    size_t length, capacity;
    FILE *file;   /* NULL: in memory */
    size_t *left; /* of the bound that several arrays share, in bytes */
} filter_big;

void filter_big_init(filter_big *big, const temper_host *host, size_t *left);
/* `more` bytes behind what is there, zeroed or not; NULL: neither memory nor disk. */
void *filter_big_add(filter_big *big, size_t more);
void filter_big_free(filter_big *big);

#endif

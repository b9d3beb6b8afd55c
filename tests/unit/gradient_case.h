/* gradient_case.h: the one function of the modules that test_train_precision.c loads. */
#ifndef GRADIENT_CASE_H
#define GRADIENT_CASE_H

#include <stddef.h>

size_t gradient_case(const char *architecture, const char *profile, int pairs, double *gradient,
                     size_t capacity, double *loss);

#endif

/* temper/math.h: elementary functions whose bits are the same on every machine.
 *
 * libm's exp, log, sin, pow differ between C libraries and even between CPUs under one C library, so no value
 * that can reach an artifact may come from them: not a learning rate, a rotary table, an Elo rating or a
 * recipe's `^`. These are made of IEEE + - * / sqrt, fma and bit operations only. Worst errors measured against
 * a correctly rounded reference stand beside each function (tests/unit/test_math.c measures them again).
 * sqrt, floor, ceil, fabs, fmod and fma are exact in IEEE 754: use the compiler's.
 *
 * Linked as the static library temper-math (no dependencies, compiled with -ffp-contract=off). */
#ifndef TEMPER_MATH_H
#define TEMPER_MATH_H

#ifdef __cplusplus
extern "C" {
#endif

double temper_exp(double x);             /* 0.54 ulp; 0.76 where the result is denormal */
double temper_log(double x);             /* 0.501 ulp */
double temper_pow(double x, double y);   /* 0.55 ulp, exact powers exact; special cases as C's pow */
double temper_tanh(double x);            /* 0.59 ulp */
double temper_sin(double x);             /* 0.70 ulp; any finite x is reduced exactly, here and below */
double temper_cos(double x);             /* 0.73 ulp */
double temper_tan(double x);             /* 0.83 ulp */
double temper_asin(double x);            /* 0.501 ulp */
double temper_acos(double x);            /* 0.501 ulp */
double temper_atan(double x);            /* 0.501 ulp */
double temper_atan2(double y, double x); /* 0.501 ulp; special cases as C's atan2 */
double temper_log2(double x);            /* 0.501 ulp; exact for powers of two */
double temper_log10(double x);           /* 0.501 ulp; exact for powers of ten */

#ifdef __cplusplus
}
#endif
#endif

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

double temper_exp(double x);
double temper_log(double x);
double temper_pow(double x, double y); /* IEEE special cases as C's pow */
double temper_tanh(double x);
double temper_sin(double x); /* any finite x: reduced exactly */
double temper_cos(double x);
double temper_tan(double x);
double temper_asin(double x);
double temper_acos(double x);
double temper_atan(double x);
double temper_atan2(double y, double x);
double temper_log2(double x);
double temper_log10(double x);

#ifdef __cplusplus
}
#endif
#endif

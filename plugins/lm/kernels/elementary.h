/* elementary.h: the constants of exp, log and tanh in f32, written once for every kernel set.
 *
 * The polynomials are least-squares fits on Chebyshev nodes, each coefficient rounded to f32 before the next
 * was fitted. A changed digit here changes bits everywhere: that is a new profile number, never an edit. */
#ifndef LM_KERNELS_ELEMENTARY_H
#define LM_KERNELS_ELEMENTARY_H

/* exp(x) = 2^n (1 + r + r^2 P(r)), n = rint(x log2 e), r = x - n ln 2 in two steps. */
#define LM_EXP_HIGHEST 89.0f  /* anything above is infinity already */
#define LM_EXP_LOWEST -104.0f /* anything below is 0 already */
#define LM_EXP_LOG2E 0x1.715476p+0f
#define LM_EXP_MAGIC                                                                                         \
    0x1.8p+23f /* adding and subtracting it rounds to an integer; its low bits are that integer */
#define LM_EXP_P0 0x1.000000p-1f
#define LM_EXP_P1 0x1.5554dcp-3f
#define LM_EXP_P2 0x1.555502p-5f
#define LM_EXP_P3 0x1.120c0ap-7f
#define LM_EXP_P4 0x1.6d2e08p-10f

#define LM_LN2_HIGH 0x1.62e430p-1f
#define LM_LN2_LOW -0x1.05c610p-29f

/* log(x) = e ln 2 + f - f^2/2 + f^3 P(f), x = 2^e (1 + f), 1 + f in [sqrt(1/2), sqrt(2)). */
#define LM_LOG_ORIGIN 0x3f3504f3u /* the bits of sqrt(1/2): where a mantissa begins */
#define LM_LOG_P0 0x1.555554p-2f
#define LM_LOG_P1 -0x1.fffff2p-3f
#define LM_LOG_P2 0x1.999d3ep-3f
#define LM_LOG_P3 -0x1.555ea6p-3f
#define LM_LOG_P4 0x1.23d80ep-3f
#define LM_LOG_P5 -0x1.fc6382p-4f
#define LM_LOG_P6 0x1.dd9aaep-4f
#define LM_LOG_P7 -0x1.d9bfccp-4f
#define LM_LOG_P8 0x1.24bac2p-4f

/* tanh(x) = x + x^3 P(x^2) below the border, 1 - 2 / (exp(2 |x|) + 1) with x's sign from there on. */
#define LM_TANH_BORDER 0.625f
#define LM_TANH_P0 -0x1.555552p-2f
#define LM_TANH_P1 0x1.110e0cp-3f
#define LM_TANH_P2 -0x1.b92412p-5f
#define LM_TANH_P3 0x1.57feecp-6f
#define LM_TANH_P4 -0x1.8f8336p-8f

/* gelu_new: tanh(sqrt(2 / pi) (x + 0.044715 x^3)) */
#define LM_GELU_SCALE 0x1.9884533d43651p-1 /* sqrt(2 / pi) */
#define LM_GELU_CUBIC 0.044715

/* gelu: x / 2 * (1 + erf(z)), z = x / sqrt(2). Below the border erf(z) = z P(z^2); from there on
 * 1 - erf(|z|) = exp(-Q(|z|)), |z| held at the highest. */
#define LM_GELU_HALF_ROOT 0x1.6a09e667f3bcdp-1    /* sqrt(1 / 2) */
#define LM_GELU_INVERSE_ROOT 0x1.9884533d43651p-2 /* 1 / sqrt(2 pi) */
#define LM_ERF_BORDER 1.0f
#define LM_ERF_HIGHEST 6.0f
#define LM_ERF_P0 0x1.20dd76p+0f
#define LM_ERF_P1 -0x1.8127ecp-2f
#define LM_ERF_P2 0x1.ce4caep-4f
#define LM_ERF_P3 -0x1.ba735cp-6f
#define LM_ERF_P4 0x1.6d18f4p-8f
#define LM_ERF_P5 -0x1.58b5e2p-10f
#define LM_ERF_P6 0x1.c0ea7ap-12f
#define LM_ERF_P7 -0x1.8d5c8ap-14f
#define LM_ERF_Q0 -0x1.2db306p-11f
#define LM_ERF_Q1 0x1.21a258p+0f
#define LM_ERF_Q2 0x1.4259e8p-1f
#define LM_ERF_Q3 0x1.ccf71ap-4f
#define LM_ERF_Q4 -0x1.ccb31ap-6f
#define LM_ERF_Q5 0x1.6a087cp-8f
#define LM_ERF_Q6 -0x1.af9356p-11f
#define LM_ERF_Q7 0x1.75d164p-14f
#define LM_ERF_Q8 -0x1.b964b2p-18f
#define LM_ERF_Q9 0x1.3c71d4p-22f
#define LM_ERF_Q10 -0x1.9e784ap-28f

#endif

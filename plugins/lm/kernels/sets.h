/* sets.h: the kernel sets of this build, for kernels.c alone. LM_REAL_IS_DOUBLE is 1 in the build that checks
 * gradients, which has `scalar` only. */
#ifndef LM_KERNELS_SETS_H
#define LM_KERNELS_SETS_H

#include "kernels.h"

#define LM_DOUBLE_IS_float 0
#define LM_DOUBLE_IS_double 1
#define LM_DOUBLE_IS_(type) LM_DOUBLE_IS_##type
#define LM_DOUBLE_IS(type) LM_DOUBLE_IS_(type)
#define LM_REAL_IS_DOUBLE LM_DOUBLE_IS(LM_REAL)

#if defined(__x86_64__) && !LM_REAL_IS_DOUBLE
#define LM_HAVE_X86_SETS 1
#else
#define LM_HAVE_X86_SETS 0
#endif

#if defined(__aarch64__) && !LM_REAL_IS_DOUBLE
#define LM_HAVE_NEON 1
#else
#define LM_HAVE_NEON 0
#endif

extern const lm_kernels lm_kernels_scalar;
#if LM_HAVE_X86_SETS
extern const lm_kernels lm_kernels_avx2;
extern const lm_kernels lm_kernels_avx512;
extern const lm_kernels lm_kernels_avx512_vnni;
extern const lm_kernels lm_kernels_avx512_bf16;
/* Does vdpbf16ps compute what docs/numerics.md says? Only for a CPU that has it. */
bool lm_avx512_bf16_holds(void);
#endif
#if LM_HAVE_NEON
extern const lm_kernels lm_kernels_neon;
#endif

#endif

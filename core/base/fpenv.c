/* fpenv.c: the floating-point environment every result is computed in. A library may leave another one behind (flush
 * to zero, another rounding), and a new thread inherits its maker's; so the pool resets it before each piece of work. */
#include "base/pool.h"

#include <fenv.h>

#if defined(__x86_64__)
#include <immintrin.h>

bool tm_fpenv_reset(void) {
    enum {
        CONTROL = 0xFFC0,
        DEFAULT = 0x1F80
    }; /* rounding, flush, denormals-are-zero and masks; not the sticky flags */
    unsigned short x87;
    bool same = (_mm_getcsr() & CONTROL) == DEFAULT;
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    same = same && (x87 & 0x0F3F) == 0x033F; /* long double: round to nearest, 64-bit precision, masked */
    if (!same) {
        fesetenv(FE_DFL_ENV);
    }
    return same;
}

#elif defined(__aarch64__)

bool tm_fpenv_reset(void) {
    unsigned long control;
    bool same;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    same = control == 0;
    if (!same) {
        fesetenv(FE_DFL_ENV);
    }
    return same;
}

#else

bool tm_fpenv_reset(void) {
    bool same = fegetround() == FE_TONEAREST;
    fesetenv(FE_DFL_ENV); /* what else may have changed cannot be asked portably */
    return same;
}

#endif

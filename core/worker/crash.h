/* crash.h: where a plugin crashed, said before the process dies of the same signal. */
#ifndef TM_CRASH_H
#define TM_CRASH_H

/* From now on SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT say {"crashed":{"at":"my-filter.so+0x12f0"}} first. */
void tm_crash_watch(void);

#endif

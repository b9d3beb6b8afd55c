/* foreign.h: what is put right after foreign code ran.
 *
 * A library linked with -ffast-math sets flush-to-zero in the thread that loads it; a plugin may call setlocale. Either
 * would change what later code computes or prints, silently. So after each call into a plugin this is looked at, put
 * back, and said. */
#ifndef TM_FOREIGN_H
#define TM_FOREIGN_H

/* `who` did `what` ("was loaded", "ran"). Logs a warning for each thing that had to be put right. Any thread. */
void tm_foreign_check(const char *who, const char *what);
/* The floating-point environment alone: cheap enough for every body of parallel_for. */
void tm_foreign_check_thread(const char *who);

#endif

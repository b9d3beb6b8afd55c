/* memory.h: how much memory a run may take when nobody says. */
#ifndef TM_MEMORY_H
#define TM_MEMORY_H

#include <stdint.h>

/* Seven eighths of the machine's memory, or of this control group's if that is less; bytes. */
uint64_t tm_memory_of_machine(void);

#endif

/* memory.c: see memory.h. */
#include "base/memory.h"

#include <stdio.h>
#include <unistd.h>

uint64_t tm_memory_of_machine(void) {
    uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "re");
    unsigned long long group;
    if (file != NULL) {
        if (fscanf(file, "%llu", &group) == 1 && group < bytes) {
            bytes = group;
        }
        fclose(file);
    }
    return bytes / 8 * 7;
}

/* temper/machine.h: what a plugin may know of this machine, and say of what it did there: host extension "temper.machine/1".
 *
 * None of it may show in an output. What is noted goes beside the stage's times into the archive's volatile.json, outside
 * of every id. Ask for it with host->extension(host, TEMPER_MACHINE); an older host has none. */
#ifndef TEMPER_MACHINE_H
#define TEMPER_MACHINE_H

#include <temper/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TEMPER_MACHINE "temper.machine/1"

typedef struct temper_machine {
    uint32_t size;
    /* [any] Bytes this process may have in all (--memory, or most of what the machine has). */
    uint64_t (*memory)(const temper_host *host);
    /* [any] Bytes it could still get now: of those, and of what the machine has to give. Never a promise. */
    uint64_t (*available)(const temper_host *host);
    /* [run] A finite number by name ("native.prompt_tokens_shared"); a later one of the same name replaces it. */
    void (*note)(const temper_host *host, const char *name, double number);
} temper_machine;

#ifdef __cplusplus
}
#endif
#endif

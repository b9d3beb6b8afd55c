/* temper/checkpoint.h: where a long stage keeps how far it is, extension "temper.checkpoint/1" of the host.
 *
 * What is saved belongs to this very stage: the same inputs, parameters, seed and binaries. A run that was killed and is
 * run again finds it; when the stage has finished it is gone. It never shows in an output: a stage that goes on from a
 * checkpoint ends in the bits of one that was never stopped, and one whose checkpoint is gone begins at its beginning.
 * host->extension answers NULL where nothing is to be gone on from (a reproduction, a plugin being checked). */
#ifndef TEMPER_CHECKPOINT_H
#define TEMPER_CHECKPOINT_H

#include <temper/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TEMPER_CHECKPOINT_SERVICE "temper.checkpoint/1"

typedef struct temper_checkpoint_piece {
    const void *data;
    size_t length;
} temper_checkpoint_piece;

typedef struct temper_checkpoint_service {
    uint32_t size;
    /* [run] Is it time to save again? The host decides by the clock (and by how long the last save took). */
    bool (*due)(const temper_host *host);
    /* [run] The pieces one after another replace what stood under `name` ([a-z0-9_-], at most 32): whole or not at all. */
    temper_status (*save)(const temper_host *host, const char *name, const temper_checkpoint_piece *pieces,
                          size_t count, temper_error *error);
    /* [run] What was saved, verified, valid until run() returns; TEMPER_END when there is nothing (or it was damaged). */
    temper_status (*load)(const temper_host *host, const char *name, const void **data, size_t *length,
                          temper_error *error);
} temper_checkpoint_service;

#ifdef __cplusplus
}
#endif
#endif

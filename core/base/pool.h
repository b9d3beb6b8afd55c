/* pool.h: worker threads for parallel_for. Each index runs exactly once, on some thread; the caller works too. Each
 * index starts in the default floating-point environment, whatever another one or a library left behind. */
#ifndef TM_POOL_H
#define TM_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <temper/status.h>

typedef struct tm_pool tm_pool;
typedef void tm_pool_body(void *context, uint64_t index, uint32_t worker);
temper_status tm_pool_new(uint32_t workers, tm_pool **out, temper_error *error);
uint32_t tm_pool_workers(const tm_pool *pool);
/* From one thread at a time. Called from inside a body it runs serially on that worker: never a deadlock. */
void tm_pool_run(tm_pool *pool, uint64_t count, tm_pool_body *body, void *context);
void tm_pool_free(tm_pool *pool);

/* Round to nearest, no flush to zero, exceptions masked. Returns false when it had been changed. */
bool tm_fpenv_reset(void);

#endif

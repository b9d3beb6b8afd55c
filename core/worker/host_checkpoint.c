/* host_checkpoint.c: temper/checkpoint.h, over the store. Saving is due after ten seconds, or after twenty times as long
 * as the last save took: at most a twentieth of a stage's time goes into it. */
#include "worker/host.h"

#include <stdlib.h>
#include <temper/checkpoint.h>
#include <time.h>

enum { LOADED = 16 };

static struct {
    tm_digest key;
    double last, took; /* seconds, of the monotonic clock */
    struct {
        const void *data;
        size_t length;
    } loaded[LOADED];
    size_t count;
    bool there;
} kept;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* For tests: $TEMPER_CHECKPOINT_SECONDS between two saves. */
static double interval(void) {
    const char *text = getenv("TEMPER_CHECKPOINT_SECONDS");
    double wanted = text != NULL ? strtod(text, NULL) : 10, least = 20 * kept.took;
    return text == NULL && wanted < least ? least : wanted;
}

static bool due(const temper_host *host) {
    (void)host;
    return tm_on_run_thread("checkpoint.due") && now() - kept.last >= interval();
}

static temper_status save(const temper_host *host, const char *name, const temper_checkpoint_piece *pieces,
                          size_t count, temper_error *error) {
    const tm_host *self = host->self;
    const void **data = calloc(count + 1, sizeof *data);
    size_t *lengths = calloc(count + 1, sizeof *lengths);
    temper_status status = TEMPER_OK;
    double began = now();
    if (!tm_on_run_thread("checkpoint.save")) {
        status =
            temper_fail(error, TEMPER_INVALID, "checkpoint.save belongs on the thread that runs the stage");
    } else if (data == NULL || lengths == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; !status && i < count; i++) {
        data[i] = pieces[i].data;
        lengths[i] = pieces[i].length;
    }
    if (!status) {
        status = tm_store_checkpoint_save(self->worker->store, &kept.key, name, data, lengths, count, error);
    }
    free(data);
    free(lengths);
    kept.last = now();
    kept.took = kept.last - began;
    return status;
}

static temper_status load(const temper_host *host, const char *name, const void **data, size_t *length,
                          temper_error *error) {
    const tm_host *self = host->self;
    if (!tm_on_run_thread("checkpoint.load")) {
        return temper_fail(error, TEMPER_INVALID,
                           "checkpoint.load belongs on the thread that runs the stage");
    }
    if (kept.count == LOADED) {
        return temper_fail(error, TEMPER_INVALID, "a stage loads at most %d checkpoints", LOADED);
    }
    temper_status status = tm_store_checkpoint_map(self->worker->store, &kept.key, name, data, length, error);
    if (!status) {
        kept.loaded[kept.count].data = *data;
        kept.loaded[kept.count++].length = *length;
    }
    return status;
}

static const temper_checkpoint_service service = {sizeof service, due, save, load};

void tm_checkpoints_start(const tm_worker *worker) {
    kept.there = tm_digest_parse(tm_json_text(tm_json_member(worker->job, "checkpoint"), ""), &kept.key);
    kept.last = now();
}

void tm_checkpoints_end(void) {
    while (kept.count > 0) {
        kept.count--;
        tm_store_checkpoint_unmap(kept.loaded[kept.count].data, kept.loaded[kept.count].length);
    }
}

const void *tm_checkpoint_extension(void) {
    return kept.there ? &service : NULL;
}

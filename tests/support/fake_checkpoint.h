/* fake_checkpoint.h: temper.checkpoint/1 of the fake host, always due, in memory. Included by fake_host.c alone, where a
 * fake_host is known. */
#ifndef FAKE_CHECKPOINT_H
#define FAKE_CHECKPOINT_H

#include <temper/checkpoint.h>

static bool checkpoint_due(const temper_host *host) {
    (void)host;
    return true;
}

static temper_status checkpoint_save(const temper_host *host, const char *name,
                                     const temper_checkpoint_piece *pieces, size_t count,
                                     temper_error *error) {
    fake_host *f = host->self;
    (void)name, (void)error;
    tm_buffer_free(&f->checkpoint);
    for (size_t i = 0; i < count; i++) {
        tm_buffer_append(&f->checkpoint, pieces[i].data, pieces[i].length);
    }
    f->has_checkpoint = true;
    return TEMPER_OK;
}

static temper_status checkpoint_load(const temper_host *host, const char *name, const void **data,
                                     size_t *length, temper_error *error) {
    fake_host *f = host->self;
    (void)name, (void)error;
    *data = f->checkpoint.data;
    *length = f->checkpoint.length;
    return f->has_checkpoint ? TEMPER_OK : TEMPER_END;
}

static const temper_checkpoint_service checkpoint_service = {sizeof checkpoint_service, checkpoint_due,
                                                             checkpoint_save, checkpoint_load};

void fake_host_keep_checkpoints(fake_host *f, bool keep) {
    f->keeps_checkpoint = keep;
    f->has_checkpoint = false;
}

char *fake_host_checkpoint(fake_host *f, size_t *length) {
    *length = f->has_checkpoint ? f->checkpoint.length : 0;
    return f->has_checkpoint ? f->checkpoint.data : NULL;
}

void fake_host_cancel_after(fake_host *f, long questions) {
    f->cancel_after = questions;
}

#endif

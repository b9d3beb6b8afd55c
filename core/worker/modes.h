/* modes.h: what a worker process can be. Each returns the process's exit code; what went wrong was said on the wire. */
#ifndef TM_MODES_H
#define TM_MODES_H

#include "worker/host.h"

/* exit codes: 0 done, 1 failed and said so, 2 usage, 4 the other side is gone */
int tm_mode_describe(const char *file, int answer); /* answer: descriptor the JSON goes to */
int tm_mode_job(void);
/* stage.c */
temper_status tm_run_stage(tm_worker *worker, const temper_json **outputs, temper_error *error);
/* serve_text.c: the same for a tokenizer or a template. */
temper_status tm_serve_text(tm_worker *worker, temper_error *error);
void tm_serve_failed(temper_arena *arena, temper_status status, const temper_error *error);
/* serve.c: answers turns until the other side is gone. */
temper_status tm_serve(tm_worker *worker, temper_error *error);

#endif

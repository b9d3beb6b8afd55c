/* host.h: what stands behind the vtable of temper/host.h. Private to core/worker.
 *
 * One tm_worker a process. Each plugin it loads (the stage's, the model provider's) has a tm_host of its own, so that
 * memory and messages are known by whose they are. Invariant: nothing a plugin does through the vtable is committed
 * before tm_outputs_commit, and a misuse, once seen, fails the stage even when the plugin goes on. */
#ifndef TM_WORKER_HOST_H
#define TM_WORKER_HOST_H

#include "base/json.h"
#include "base/pool.h"
#include "store/store.h"
#include <temper/model.h>
#include <temper/plugin.h>
#include <temper/rows.h>

typedef struct tm_worker tm_worker;

/* An input of the job: a blob, or a tree whose files are mapped when asked for. */
struct temper_input {
    tm_worker *worker;
    const char *name;
    temper_kind kind;
    tm_digest digest;
    const void *data; /* mapped when first asked for; blobs only */
    size_t size;
    bool mapped;
    tm_store_check *check; /* mapped, but not yet verified: host_rows.c */
    char *text;            /* bytes() made a copy with a 0 at its end */
    tm_tree tree;
    const void **files;           /* files[i] mapped, or NULL */
    tm_store_check **file_checks; /* of those that are mapped, but not yet verified */
    bool has_tree;
};

typedef struct tm_host {
    temper_host vtable;
    tm_worker *worker;
    const char *plugin; /* its name */
    unsigned arena;     /* jemalloc's index */
} tm_host;

struct tm_worker {
    temper_arena *arena; /* lives as long as the job */
    tm_store *store;
    const temper_json *job;
    const char *stage, *seed_path, *profile, *provider_path;
    tm_pool *pool;
    size_t batch_limit;    /* the most records a reader gives at once; 0: as many as asked for */
    tm_host host;          /* the stage's plugin; the provider when serving */
    tm_host provider_host; /* set up with `provider` */
    const temper_plugin *provider;
    const temper_model_service *service;
    struct temper_input *inputs;
    size_t input_count;
    struct temper_output *outputs;
    size_t output_count;
    struct tm_open_model *models;
    temper_json *notes;            /* for volatile.json; NULL: none */
    struct temper_reader *readers; /* all that were opened: freed at the end whatever the plugin did */
};

/* host.c */
temper_status tm_host_start(tm_host *host, tm_worker *worker, const char *plugin, temper_error *error);

/* The first misuse of the vtable is kept; the stage fails with it. Any thread. */
void tm_misuse(temper_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* TEMPER_OK, or the misuse. */
temper_status tm_misused(temper_error *error);

/* host_talk.c: {"log":{level,message}} */
void tm_log(const char *level, const char *message);

/* host_machine.c */
const void *tm_host_extension(const temper_host *host, const char *id);

/* host_memory.c */
temper_status tm_memory_start(uint64_t limit, temper_error *error); /* 0: most of what the machine has */
temper_status tm_memory_arena(unsigned *out, temper_error *error);
uint64_t tm_memory_limit(void);
uint64_t tm_memory_left(void); /* of the limit; what was freed counts as left */
uint64_t tm_memory_peak(void);
bool tm_memory_refused(uint64_t *bytes); /* was an allocation refused by the limit, and how large was it? */
/* For checking plugins: the allocations a plugin asks the host for are refused after the first `count`; 0: never. */
void tm_memory_refuse_after(uint64_t count);
bool tm_memory_refuses(void); /* counts one allocation: is it to be refused? */
void *tm_host_allocate(const temper_host *host, size_t bytes);
void *tm_host_reallocate(const temper_host *host, void *block, size_t bytes);
void tm_host_release(const temper_host *host, void *block);

/* host_json.c */
const temper_json_api *tm_host_json(void);

/* host_talk.c */
void tm_host_log(const temper_host *host, temper_log_level level, const char *message);
void tm_host_progress(const temper_host *host, uint64_t done, uint64_t total, const char *unit,
                      const char *detail);
bool tm_host_cancelled(const temper_host *host);

/* host_threads.c */
void tm_run_thread_begin(void);
/* Is this the thread that runs the stage? If not, the misuse is kept, naming `call`. */
bool tm_on_run_thread(const char *call);
uint32_t tm_host_workers(const temper_host *host);
void tm_host_parallel_for(const temper_host *host, uint64_t count, temper_body *body, void *context);

/* host_inputs.c */
temper_status tm_inputs_start(tm_worker *worker, const temper_stage *stage, temper_error *error);
/* Of one input outside any stage (serve): "model". */
temper_status tm_input_take(tm_worker *worker, struct temper_input *input, const temper_json *given,
                            temper_error *error);
temper_status tm_input_map(const struct temper_input *input, temper_error *error);
void tm_inputs_end(tm_worker *worker);
const temper_input *tm_host_input(const temper_host *host, const char *name);
temper_status tm_host_bytes(const temper_host *host, const temper_input *input, const char **data,
                            size_t *length, temper_error *error);
size_t tm_host_file_count(const temper_host *host, const temper_input *input);
temper_status tm_host_file(const temper_host *host, const temper_input *input, size_t index, temper_file *out,
                           temper_error *error);

/* host_records.c */
temper_status tm_host_read_records(const temper_host *host, const temper_input *input, temper_reader **out,
                                   temper_error *error);
temper_status tm_host_next(temper_reader *reader, size_t limit, temper_batch **out, temper_error *error);
size_t tm_host_batch_length(const temper_batch *batch);
const temper_json *tm_host_record(const temper_batch *batch, size_t index);
uint64_t tm_host_record_number(const temper_batch *batch, size_t index);
void tm_host_release_batch(temper_batch *batch);
void tm_host_close_reader(temper_reader *reader);
void tm_readers_end(tm_worker *worker);

/* host_outputs.c */
temper_status tm_outputs_start(tm_worker *worker, const temper_stage *stage, temper_error *error);
/* Every declared output, or none: [{"name","kind","digest","records","bytes"}] in the description's order. */
temper_status tm_outputs_commit(tm_worker *worker, const temper_json **out, temper_error *error);
void tm_outputs_end(tm_worker *worker); /* drops what was not committed */
temper_status tm_host_output(const temper_host *host, const char *name, temper_output **out,
                             temper_error *error);
temper_status tm_host_write_record(temper_output *output, const temper_json *record, temper_error *error);
temper_status tm_host_write_bytes(temper_output *output, const void *data, size_t length,
                                  temper_error *error);
temper_status tm_host_write_metrics(temper_output *output, const temper_json *object, temper_error *error);
temper_status tm_host_begin_file(temper_output *output, const char *name, temper_error *error);
temper_status tm_host_link_input(temper_output *output, const char *prefix, const temper_input *input,
                                 temper_error *error);

/* What host_rows.c needs of an output. */
const tm_worker *tm_output_worker(const temper_output *output);
temper_status tm_output_refuse(const temper_output *output, temper_error *error, const char *reason);
/* Bytes of lines; `lasting`: they stay as they are until the commit. */
temper_status tm_output_lines(temper_output *output, const temper_piece *piece, bool lasting,
                              temper_error *error);
temper_status tm_output_said(temper_output *output, uint64_t records); /* that so many records were in them */

/* host_rows.c */
const temper_rows_service *tm_host_rows(void);
/* Waits until an input that was handed out unverified is known to be sound; `stop`: nobody needs to know. */
temper_status tm_input_verified(struct temper_input *input, bool stop, temper_error *error);
temper_status tm_inputs_verified(tm_worker *worker, bool stop, temper_error *error);

/* host_checkpoint.c: under the job's "checkpoint", a digest; without one there is no such extension */
void tm_checkpoints_start(const tm_worker *worker);
void tm_checkpoints_end(void);
const void *tm_checkpoint_extension(void);

/* host_models.c */
temper_status tm_host_open_model(const temper_host *host, const temper_input *input,
                                 const temper_model_service **service, temper_model **model,
                                 temper_error *error);
/* The provider's plugin, loaded when it is not yet. */
temper_status tm_host_provider(tm_worker *worker, const temper_plugin **out, temper_error *error);
void tm_models_end(tm_worker *worker);

#endif

/* temper/host.h: what the core does for a stage while it runs.
 *
 * A stage runs in a worker process of its own. It sees no path and no socket: inputs are read-only handles, outputs
 * are committed by the host when run() returns TEMPER_OK and every declared output was begun; otherwise nothing of them
 * exists. Threads: [run] only on the thread that called the stage; [any] on any thread, also inside parallel_for. The host
 * looks at this at each call: a call where it does not belong fails the stage, naming the call, however the stage goes on.
 * So does anything else an output must not hold: a stage need not look twice to be safe, only to stop sooner. Pointers
 * handed out stay valid until run() returns unless said otherwise. */
#ifndef TEMPER_HOST_H
#define TEMPER_HOST_H

#include <temper/json.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct temper_host temper_host;
typedef struct temper_input temper_input;   /* a handle to a named input */
typedef struct temper_output temper_output; /* a handle to a named output */
typedef struct temper_reader temper_reader; /* a pass over an input's records */
typedef struct temper_batch temper_batch;   /* some consecutive records */
typedef struct temper_model temper_model;   /* an open model: temper/model.h */
struct temper_model_service;

typedef enum temper_log_level { TEMPER_LOG_DEBUG, TEMPER_LOG_INFO, TEMPER_LOG_WARNING } temper_log_level;

/* A read-only file of an input of kind `model` (a folder of files): mapped, so reading costs what is touched. */
typedef struct temper_file {
    uint32_t size;
    const char *name; /* relative: "config.json", "base/model.safetensors" */
    const void *data;
    uint64_t length;
} temper_file;

typedef void temper_body(void *context, uint64_t index, uint32_t worker);

struct temper_host {
    uint32_t size;
    void *self; /* the host's own */
    const char *version;        /* of Temper */
    const char *profile;        /* the arithmetic of this run: "bf16/1" or "f32/1" */
    const temper_json_api *json;

    /* [any] An extension by id and revision ("temper.ledger/1"); NULL when this host has none. */
    const void *(*extension)(const temper_host *host, const char *id);

    /* --- memory [any]: malloc, realloc and free on an arena whose use is known. Aligned to 16; NULL when refused. The bound
     * (--memory) is the process's: malloc answers NULL there too. --- */
    void *(*allocate)(const temper_host *host, size_t bytes);
    void *(*reallocate)(const temper_host *host, void *block, size_t bytes);
    void (*release)(const temper_host *host, void *block);

    /* --- talking [any] --- */
    void (*log)(const temper_host *host, temper_log_level level, const char *message);
    /* done of total (0: unknown) in `unit` ("prompts", "steps"); `detail` may be NULL ("loss 0.61"). Cheap: call freely. */
    void (*progress)(const temper_host *host, uint64_t done, uint64_t total, const char *unit, const char *detail);
    /* True once the user asked to stop: return TEMPER_CANCELLED soon (within 5 s the worker is killed). One load: ask often. */
    bool (*cancelled)(const temper_host *host);

    /* --- threads --- */
    /* [any] Upper bound of `worker` + 1 below: for scratch buffers only. It must never show in an output. */
    uint32_t (*workers)(const temper_host *host);
    /* [run], or nested inside a body (then one index after the other). body(context, i, worker) for each i < count, once, on
     * some worker; returns when all are done. Put result i into slot i: then threads cannot show. */
    void (*parallel_for)(const temper_host *host, uint64_t count, temper_body *body, void *context);

    /* --- chance [any]: a Philox key (temper/rng.h) for this node of this run and a name: "sampling", "shuffle". The first
     * eight bytes, little-endian, of SHA-256("SEED/STAGE/LABEL/NAME"). --- */
    uint64_t (*rng_key)(const temper_host *host, const char *name);

    /* --- inputs --- */
    /* [run] NULL when an optional input was not given. */
    const temper_input *(*input)(const temper_host *host, const char *name);
    /* [run] The whole of an input of kind text, metrics or report: valid UTF-8, 0-terminated. */
    temper_status (*bytes)(const temper_host *host, const temper_input *input, const char **data, size_t *length,
                           temper_error *error);
    /* [run] A pass over records (kinds records and character). Several passes may be open. */
    temper_status (*read_records)(const temper_host *host, const temper_input *input, temper_reader **out,
                                  temper_error *error);
    /* [run] At least one and up to `limit` next records; TEMPER_END after the last. How many must not show in an output. A
     * broken line fails with its number. The batch is valid until released, or until run() returns. */
    temper_status (*next)(temper_reader *reader, size_t limit, temper_batch **out, temper_error *error);
    size_t (*batch_length)(const temper_batch *batch);                             /* [any] */
    const temper_json *(*record)(const temper_batch *batch, size_t index);         /* [any] always an object */
    uint64_t (*record_number)(const temper_batch *batch, size_t index);            /* [any] from 1: for messages */
    void (*release_batch)(temper_batch *batch);                                    /* [run] */
    void (*close_reader)(temper_reader *reader);                                   /* [run] */
    /* [run] Files of an input of kind model, sorted by name. */
    size_t (*file_count)(const temper_host *host, const temper_input *input);
    temper_status (*file)(const temper_host *host, const temper_input *input, size_t index, temper_file *out,
                          temper_error *error);

    /* --- outputs [run]. Each declared output must be begun, even when it stays empty. --- */
    temper_status (*output)(const temper_host *host, const char *name, temper_output **out, temper_error *error);
    /* A record: written canonically, in the order of the calls. An object; anything else fails the stage. */
    temper_status (*write_record)(temper_output *output, const temper_json *record, temper_error *error);
    /* Bytes of a text or report (UTF-8; a character may be cut between two calls), or of the file last begun, for a model.
     * Metrics: one flat object of finite numbers, once. */
    temper_status (*write_bytes)(temper_output *output, const void *data, size_t length, temper_error *error);
    temper_status (*write_metrics)(temper_output *output, const temper_json *object, temper_error *error);
    /* Model outputs: begins the file `name`; write_bytes then adds to it. */
    temper_status (*begin_file)(temper_output *output, const char *name, temper_error *error);
    /* Model outputs: every file of `input` also stands under `prefix` ("base"), without a copy. */
    temper_status (*link_input)(temper_output *output, const char *prefix, const temper_input *input,
                                temper_error *error);

    /* --- models [run]: opens an input of kind model with the provider; see temper/model.h. Closed by the host. --- */
    temper_status (*open_model)(const temper_host *host, const temper_input *input,
                                const struct temper_model_service **service, temper_model **model,
                                temper_error *error);
};

#ifdef __cplusplus
}
#endif
#endif

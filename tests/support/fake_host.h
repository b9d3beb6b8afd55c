/* fake_host.h: a temper_host in the test's own process, for trying one stage of a built plugin.
 *
 * Records, texts and metrics live in memory; JSON is the core's. Models are the script's: a model input names callbacks
 * that answer and score, so a test knows what "the model" will say. Made to find faults: allocations can be made to
 * fail one after another, parallel_for can run backwards, cancelling can be asked for. Outputs are kept only when run()
 * succeeded and every declared output was begun, as with the real host. */
#ifndef FAKE_HOST_H
#define FAKE_HOST_H

#include <temper/model.h>
#include <temper/plugin.h>

typedef struct fake_host fake_host;

/* What a scripted model says. `answer` writes a 0-terminated text into out (room bytes) and returns how it ended;
 * `score` gives the log-probability of a request. Either may be NULL (an echo; -1 a token). Tokens are words. */
typedef struct fake_model {
    temper_finish (*answer)(void *context, const temper_generate_request *request, char *out, size_t room);
    double (*score)(void *context, const temper_score_request *request);
    void *context;
    uint64_t size_of_context; /* in words; 0: 4096 */
    int32_t no_chat_template, no_system;
    /* What was asked, counted by the host. */
    uint64_t generated, scored;
} fake_model;

fake_host *fake_host_new(void);
void fake_host_free(fake_host *host);

/* Loads FILE, a plugin's .so, and finds a stage; fails the test when it cannot. */
const temper_stage *fake_host_stage(const char *file, const char *stage);

void fake_host_records(fake_host *host, const char *name, const char *jsonl);
void fake_host_character(fake_host *host, const char *name, const char *jsonl);
void fake_host_text(fake_host *host, const char *name, const char *text);
void fake_host_model(fake_host *host, const char *name,
                     fake_model *model); /* the model must outlive the host */

/* Real model files, for stages that read or write them. */
typedef struct fake_folder fake_folder;
void fake_host_folder(fake_host *host, const char *name,
                      const fake_folder *folder); /* the folder must outlive the host */
fake_folder *fake_host_take_folder(fake_host *host, const char *output); /* after a run; the caller's */
/* A file of it, 0-terminated; NULL when there is none. */
const char *fake_folder_file(const fake_folder *folder, const char *name, size_t *length);
void fake_folder_put(fake_folder *folder, const char *name, const void *data, size_t length);
fake_folder *fake_folder_new(void);
void fake_folder_free(fake_folder *folder);

void fake_host_profile(fake_host *host, const char *profile); /* f32/1 without it */
void fake_host_seed(fake_host *host, uint64_t seed);          /* of rng_key */
void fake_host_backwards(fake_host *host); /* parallel_for from the last index to the first, 3 workers */
void fake_host_cancel(fake_host *host);
void fake_host_cancel_after(fake_host *host, long questions); /* of cancelled() answered no; -1: all */
/* Offers temper.checkpoint/1, always due, kept from run to run; none is there at first. */
void fake_host_keep_checkpoints(fake_host *host, bool keep);
char *fake_host_checkpoint(fake_host *host, size_t *length);  /* the last one, to be damaged; NULL: none */
void fake_host_fail_allocation(fake_host *host, long number); /* that allocation and all after it; -1: none */

/* Runs a stage with parameters as a JSON object ("{}", flat names). Outputs of an earlier run go first. */
temper_status fake_host_run(fake_host *host, const temper_stage *stage, const char *parameters,
                            temper_error *error);

/* After a run that succeeded: an output's bytes, records as JSONL; "" for none. */
const char *fake_host_output(fake_host *host, const char *name);
size_t fake_host_count(fake_host *host, const char *name); /* records */
const temper_json *fake_host_record(fake_host *host, const char *name,
                                    size_t index); /* a record, or the metrics at 0 */
const char *fake_host_string(fake_host *host, const char *name, size_t index,
                             const char *member); /* "" when absent */
double fake_host_number(fake_host *host, const char *name, size_t index,
                        const char *member);    /* NaN when absent */
size_t fake_host_blocks(const fake_host *host); /* allocations not yet released */

/* What every stage must stand: whatever allocation is the first to be refused, the run ends with TEMPER_NO_MEMORY and
 * leaves no block behind; and parallel_for run backwards on other workers gives the same bytes. Fails the test if not. */
void fake_host_try_allocations(fake_host *host, const temper_stage *stage, const char *parameters);
void fake_host_try_backwards(fake_host *host, const temper_stage *stage, const char *parameters);

/* The last message of a role in a request, "" when there is none. */
const char *fake_message(const temper_message *const *messages, size_t count, const char *role,
                         size_t *length);

#endif

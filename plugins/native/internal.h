/* internal.h: an open model, and what the files of native/ share. */
#ifndef NATIVE_INTERNAL_H
#define NATIVE_INTERNAL_H

#include "../lm/dialogue/dialogue.h"
#include "../lm/generate/generate.h"

#include <temper/machine.h>
#include <temper/model.h>
#include <temper/plugin.h>
#include <temper/text.h>

enum { NATIVE_STOPS = 32 };

struct temper_model {
    const temper_host *host;
    const temper_machine *machine; /* NULL: a host that has none */
    lm_context context;
    lm_model *model;
    lm_tokenizer *tokenizer;
    lm_template *chat;                      /* NULL: this model has no chat template */
    char missing_chat[TEMPER_MESSAGE_SIZE]; /* why, then */
    int32_t stop[NATIVE_STOPS];
    size_t stop_count;
    char *lead; /* what the template writes between its generation prompt and an answer's content */
    size_t lead_length;

    lm_prefixes
        *prefixes; /* what earlier prompts and later ones have in common, with the adapter selected ... */
    lm_prefixes **kept; /* ... which is one of these: all adapters together, none, each */
    size_t kept_count;
    lm_counts counts; /* since it was opened */

    char *rendered; /* of the last render() */
    void *results;  /* of the last generate() or score(): one block of structs ... */
    char **texts;   /* ... and the texts they point to */
    size_t text_count;
};

temper_status native_open(const temper_host *host, const temper_input *input, temper_model **out,
                          temper_error *error);
/* The files of an input; their bytes and names are the host's, the list is the caller's to free. */
temper_status native_files(const temper_host *host, const temper_input *input, lm_file_set *out,
                           temper_error *error);
lm_parallel native_parallel(const temper_host *host);
void native_close(temper_model *model);
void native_release_results(temper_model *model);
/* NULL chat: the refusal, with its reason. */
temper_status native_need_chat(const temper_model *model, temper_error *error);

/* Messages as lm wants them (malloc'ed). An unknown role or a NULL content is refused. */
temper_status native_messages(const temper_message *const *messages, size_t count, lm_message **out,
                              temper_error *error);

temper_status native_generate(temper_model *model, const temper_generate_request *const *requests,
                              size_t count, const char *unit, const temper_generated *const **out,
                              temper_error *error);
temper_status native_select(temper_model *model, int32_t adapter, temper_error *error);
temper_status native_stream(temper_model *model, const temper_generate_request *request,
                            int (*piece)(void *context, const char *text, size_t length), void *context,
                            temper_error *error);
temper_status native_score(temper_model *model, const temper_score_request *const *requests, size_t count,
                           const char *unit, const temper_scored *const **out, temper_error *error);
temper_status native_embed(temper_model *model, const char *const *texts, const size_t *lengths, size_t count,
                           float *out, temper_error *error);

/* memory.c: what may still be taken (0: nobody knows), and numbers for volatile.json. */
size_t native_memory(const temper_model *model);
/* A refusal for want of memory also says whose bound it is. */
temper_status native_memory_refusal(const temper_model *model, temper_status status, temper_error *error);
void native_note_counts(const temper_model *model);
/* Do the weights fit? Refused with the numbers before they are read. */
temper_status native_check_weights(const temper_model *model, const lm_file_set *files, temper_error *error);

/* Progress of lm passed on to the host, and its wish to stop passed back. */
typedef struct native_reporter {
    const temper_host *host;
    const char *unit;
    size_t total;
} native_reporter;
int native_report(void *context, size_t finished, size_t tokens); /* an lm_progress */

extern const temper_text_service native_text_service; /* answer.c */

/* selftest.c, bench.c */
extern const temper_stage native_selftest_stage, native_bench_stage, native_export_stage,
    native_compare_stage;

/* stop.c */
typedef struct native_bytes {
    char *items; /* malloc'ed */
    size_t count, room;
} native_bytes;
bool native_bytes_add(native_bytes *self, const char *bytes, size_t count); /* false: no memory */
/* Where the first of the stop texts begins; `count` when there is none. */
size_t native_find_stop(const char *bytes, size_t count, const char *const *stop, size_t stops);
/* How many bytes at the end may be the beginning of a stop text. */
size_t native_may_stop(const char *bytes, size_t count, const char *const *stop, size_t stops);
/* Of one answer at work; native_stopped is its lm_ended. */
typedef struct native_stopping {
    const lm_tokenizer *tokenizer;
    const char *const *stop;
    size_t count;
    const char *lead; /* what may stand before the answer */
    size_t lead_length;
    native_bytes bytes;
    size_t seen; /* tokens */
    bool failed; /* no memory */
} native_stopping;
bool native_stopped(void *context, const int32_t *ids, size_t count);
temper_status native_check_stop(const temper_generate_request *request, temper_error *error);
temper_status native_bias(const temper_model *model, const temper_generate_request *request, lm_bias **out,
                          temper_error *error);

/* text.c */
/* Bytes as valid UTF-8, malloc'ed and 0-terminated: an unfinished character at the end is dropped, any other broken
 * byte becomes U+FFFD. */
char *native_valid_text(const char *bytes, size_t count, size_t *length);
/* How many bytes at the beginning form whole characters (broken ones included), so that only the beginning of a
 * character that may still be completed is left. */
size_t native_whole_characters(const char *bytes, size_t count);

#endif

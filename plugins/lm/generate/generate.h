/* generate.h: tokens out of a model, and log-probabilities of given ones.
 *
 * Invariant: a request's result depends on the model, the profile and the request (its seed included) alone: not on
 * its neighbours in the batch, the number of slots or the threads. Finished sequences leave, waiting ones enter. */
#ifndef LM_GENERATE_H
#define LM_GENERATE_H

#include "../model/model.h"

typedef struct lm_sampling {
    double temperature; /* 0: greedy (argmax, lowest id on ties) */
    uint32_t top_k;     /* 0: all */
    double top_p; /* 1: all. Applied after temperature and top_k; the smallest set whose mass reaches top_p */
    double min_p; /* 0: all. Only tokens at least this likely, beside the likeliest (after temperature) */
} lm_sampling;

typedef struct lm_bias {
    int32_t id;
    double value;
} lm_bias;

/* What is done to logits before a token is chosen, in this order. All zero: nothing. */
typedef struct lm_penalties {
    double
        repetition; /* 0 or 1: off. A logit of a token in the prompt or the answer: above 0 divided by it, else times
                          it (Keskar et al. 2019) */
    double presence;     /* taken off the logit of a token in the answer ... */
    double frequency;    /* ... and this as often as it is there */
    const lm_bias *bias; /* added; an id may be there more than once */
    size_t bias_count;
} lm_penalties;

/* Asked after each token: do these ids end the answer (a stop string is complete)? The ids count as part of it. Never
 * called by two threads at once for one request. */
typedef bool lm_ended(void *context, const int32_t *ids, size_t count);

typedef struct lm_request {
    const int32_t *prompt;
    size_t prompt_count; /* at least 1 */
    size_t max_tokens;   /* also bounded by the context */
    lm_sampling sampling;
    uint64_t key; /* Philox key: draw i of the request is temper_random_unit(key, stream, i) */
    uint64_t stream;
    const int32_t *stop; /* ids that end the answer (not part of it) */
    size_t stop_count;
    lm_penalties penalties;
    lm_ended *ended; /* may be NULL */
    void *ended_context;
} lm_request;

typedef enum lm_finish { LM_FINISH_STOP, LM_FINISH_LENGTH } lm_finish;
typedef struct lm_answer {
    int32_t *ids; /* malloc'ed, without the stop token */
    size_t count;
    double logprob; /* of ids and the stop token: the model's own, before penalties and temperature */
    lm_finish finish;
} lm_answer;

/* Called now and then, never by two threads at once, with the requests finished and the tokens made so far; returning
 * nonzero cancels (TEMPER_CANCELLED). */
typedef int lm_progress(void *context, size_t finished, size_t tokens);

/* Beginnings of earlier calls' sequences, for later ones that begin alike: of one model and profile, one call at a time. */
typedef struct lm_prefixes lm_prefixes;
temper_status lm_prefixes_new(size_t workers, lm_prefixes **out, temper_error *error);
void lm_prefixes_free(lm_prefixes *self);

/* What a call did. Never part of a result: batches, threads and memory show here. */
typedef struct lm_counts {
    uint64_t prompt_tokens, prompt_computed; /* asked for; through the model: the rest was shared */
    uint64_t score_tokens, score_computed;   /* the same of lm_score */
    uint64_t answer_tokens;
    uint64_t steps;     /* forward passes */
    size_t streams;     /* at once, at most */
    size_t cache_bytes; /* of keys and values, at most */
} lm_counts;

void lm_counts_add(lm_counts *to, const lm_counts *from); /* `to` may be NULL */

/* How to go about it; all 0: as it is best. None of it shows in an answer. */
typedef struct lm_generation {
    size_t slots;          /* sequences decoded together; 0: chosen */
    size_t memory;         /* bytes that keys, values and working memory may take; 0: nobody says */
    size_t block;          /* positions of a block of keys and values; 0: LM_CACHE_BLOCK */
    bool unshared;         /* compute every prompt from its first token */
    lm_prefixes *prefixes; /* NULL: nothing from before, nothing for later */
    lm_counts *counts;     /* added to; may be NULL */
    lm_progress *progress;
    void *progress_context;
} lm_generation;

/* Answers[count], each freed by the caller (free(ids)); on failure none is there. Prompts that begin alike are computed
 * once as far as they do. A prompt that leaves no room in the context: TEMPER_INVALID naming the request and both
 * numbers. One that does not fit `memory` alone: TEMPER_NO_MEMORY with what it needs and what would fit; when only
 * several together do not, fewer are decoded at a time. Logits that are not finite: TEMPER_FAILED. */
temper_status lm_generate_with(const lm_context *context, const lm_model *model, const lm_request *requests,
                               size_t count, const lm_generation *how, lm_answer *answers,
                               temper_error *error);
temper_status lm_generate(const lm_context *context, const lm_model *model, const lm_request *requests,
                          size_t count, size_t slots, lm_progress *progress, void *progress_context,
                          lm_answer *answers, temper_error *error);

/* One answer for a person: calls `token` as each is sampled; nonzero ends the answer there. `how` may be NULL; prefixes
 * in it keep the answer as well, for the question that follows. */
typedef int lm_on_token(void *context, int32_t id);
temper_status lm_generate_stream(const lm_context *context, const lm_model *model, const lm_request *request,
                                 const lm_generation *how, lm_on_token *token, void *token_context,
                                 lm_answer *answer, temper_error *error);

/* Log-probability (natural, untempered) of ids[i] given ids[0..i) for i in 1..count-1: logprobs[i]; logprobs[0] = 0.
 * With `wanted`, only where wanted[i] is nonzero; elsewhere logprobs[i] = 0. The vocabulary product is made in chunks
 * of rows, for wanted rows alone. */
typedef struct lm_scored {
    const int32_t *ids;
    size_t count;
    float *logprobs;       /* [count], the caller's */
    const uint8_t *wanted; /* [count] or NULL: all */
} lm_scored;
/* Of `how`: memory, block, unshared, prefixes, counts, progress. What sequences have in common before the first wanted
 * token is computed once. */
temper_status lm_score_with(const lm_context *context, const lm_model *model, const lm_scored *sequences,
                            size_t count, const lm_generation *how, temper_error *error);
temper_status lm_score(const lm_context *context, const lm_model *model, const lm_scored *sequences,
                       size_t count, lm_progress *progress, void *progress_context, temper_error *error);

/* Mean over a sequence's tokens of the last hidden state (after the final norm), summed in double in token order. */
typedef struct lm_embedded {
    const int32_t *ids;
    size_t count; /* at least 1 */
    float *mean;  /* [hidden] */
} lm_embedded;
temper_status lm_embed(const lm_context *context, const lm_model *model, const lm_embedded *sequences,
                       size_t count, temper_error *error);

#endif

/* temper/model.h: the model service, extension "temper.model/1".
 *
 * Stages ask the host for a model and do not know who answers: the native engine, or a client of an endpoint. All
 * text is UTF-8 bytes with lengths. Requests are made in batches, because that is where speed comes from; a result
 * depends on its own request alone, never on the batch.
 *
 * Ownership: results are the provider's, valid until release_results or close. Threads: one call at a time a model. */
#ifndef TEMPER_MODEL_H
#define TEMPER_MODEL_H

#include <temper/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TEMPER_MODEL_SERVICE "temper.model/1"

typedef struct temper_message {
    uint32_t size;
    const char *role; /* "system", "user", "assistant" */
    const char *content;
    size_t length;
} temper_message;

typedef struct temper_model_info {
    uint32_t size;
    const char *architecture;
    uint64_t parameters;      /* weights, adapter left out */
    uint64_t context;         /* tokens */
    int32_t has_chat_template;
    int32_t knows_system;     /* does the template mention a system role? If not, put instructions before the first user message */
} temper_model_info;

/* Added to the logit of one token: the one whose bytes are exactly `text`, or, when that is NULL, the one with this id. */
typedef struct temper_logit_bias {
    uint32_t size;
    const char *text;
    size_t length;
    uint32_t id;
    double bias;
} temper_logit_bias;

/* What to generate from: messages rendered with the chat template and its generation prompt, or, when `text` is not
 * NULL, that text alone (raw; BOS as the tokenizer says). */
typedef struct temper_generate_request {
    uint32_t size;
    const temper_message *const *messages;
    size_t message_count;
    const char *text;
    size_t text_length;
    uint32_t max_tokens;
    double temperature; /* 0: greedy */
    uint32_t top_k;     /* 0: off */
    double top_p;       /* 1: off */
    uint64_t key;       /* Philox key and stream: draw i is temper_random_unit(key, stream, i) */
    uint64_t stream;
    /* Since 0.1.1. A request that ends before these (see `size`) has them all 0, which is: off. */
    double min_p;              /* leave out tokens less likely than this part of the likeliest, after temperature */
    double repetition_penalty; /* 1 (or 0): off. For tokens in the prompt or the answer: a logit above 0 divided, else times */
    double presence_penalty;   /* taken off the logit of each token in the answer ... */
    double frequency_penalty;  /* ... and this as often as it is there */
    const temper_logit_bias *const *bias;
    size_t bias_count;
    const char *const *stop; /* texts, 0-terminated, that end the answer: it is cut before the first there is */
    size_t stop_count;
    /* Since 0.1.2. */
    uint32_t n; /* answers (0: 1): the j-th draws from stream + j; all of them are in temper_generated's `samples` */
} temper_generate_request;

typedef enum temper_finish { TEMPER_FINISH_STOP = 1, TEMPER_FINISH_LENGTH = 2 } temper_finish;

typedef struct temper_generated {
    uint32_t size;
    const char *text; /* 0-terminated; valid UTF-8 (a character cut by the limit is dropped) */
    size_t length;
    uint32_t prompt_tokens, tokens; /* tokens: generated, the end token not counted, a stop text's counted */
    double logprob; /* natural log, of the tokens and the end token: the model's own, before penalties */
    temper_finish finish;
    /* Since 0.1.2. A result that ends before these (see `size`) is the one answer of a provider that knows no n. */
    const struct temper_generated *const *samples; /* [sample_count] all answers of a request with n above 1, the first of them this one; */
    uint32_t sample_count;                         /* else NULL and 0 */
} temper_generated;

/* What to score. Messages: the content of assistant messages through the end token the template writes after each
 * (only the last one when last_only). Raw: `text` after `prefix` (conditioned on it, which may be empty). */
typedef struct temper_score_request {
    uint32_t size;
    const temper_message *const *messages;
    size_t message_count;
    int32_t last_only;
    const char *prefix;
    size_t prefix_length;
    const char *text;
    size_t text_length;
    uint32_t max_tokens; /* the whole sequence is cut to this many tokens; 0: the context */
} temper_score_request;

typedef struct temper_scored {
    uint32_t size;
    uint32_t tokens;    /* scored */
    uint32_t truncated; /* tokens of the sequence that were cut off */
    double logprob;     /* sum over the scored tokens, in order, in double */
} temper_scored;

typedef struct temper_model_service {
    uint32_t size;
    /* Opens the files of an input. TEMPER_UNSUPPORTED when they are not this provider's kind. */
    temper_status (*open)(const temper_host *host, const temper_input *input, temper_model **out, temper_error *error);
    void (*close)(temper_model *model);
    void (*info)(const temper_model *model, temper_model_info *out);

    /* The chat template on messages: text, 0-terminated, valid until the next render or close. */
    temper_status (*render)(temper_model *model, const temper_message *const *messages, size_t count,
                            int32_t add_generation_prompt, const char **text, size_t *length, temper_error *error);
    /* How many tokens a text or a rendered conversation has. */
    temper_status (*count_tokens)(temper_model *model, const char *text, size_t length, uint64_t *out,
                                  temper_error *error);

    /* Results in the order of the requests; release_results frees them. `unit` is what progress counts ("responses").
     * A prompt that fills the context: TEMPER_INVALID naming the request and both numbers. */
    temper_status (*generate)(temper_model *model, const temper_generate_request *const *requests, size_t count,
                              const char *unit, const temper_generated *const **out, temper_error *error);
    temper_status (*score)(temper_model *model, const temper_score_request *const *requests, size_t count,
                           const char *unit, const temper_scored *const **out, temper_error *error);
    void (*release_results)(temper_model *model);

    /* Mean of the last hidden state over a text's tokens: hidden floats a text, row after row in `out`. */
    uint64_t (*hidden_size)(const temper_model *model);
    temper_status (*embed)(temper_model *model, const char *const *texts, const size_t *lengths, size_t count,
                           float *out, temper_error *error);
    /* One answer for a person, `piece` called as text comes; nonzero from it stops. */
    temper_status (*stream)(temper_model *model, const temper_generate_request *request,
                            int (*piece)(void *context, const char *text, size_t length), void *context,
                            temper_error *error);
    /* Since 0.1.2 (see `size`). Which of a model's adapters is at work from now on: an index from 0 in the order of its
     * files, TEMPER_NO_ADAPTER, or TEMPER_ALL_ADAPTERS, together: so after opening. */
    temper_status (*select_adapter)(temper_model *model, int32_t adapter, temper_error *error);
} temper_model_service;
enum { TEMPER_NO_ADAPTER = -1, TEMPER_ALL_ADAPTERS = -2 };

#ifdef __cplusplus
}
#endif
#endif

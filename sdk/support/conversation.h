/* support/conversation.h: conversations as the model service wants them, and batches of requests.
 *
 * An instruction is the system message of a model whose template knows one; for others it stands before the first user
 * message, an empty line between (temper_conversation_place says which, for the record). */
#ifndef TEMPER_SUPPORT_CONVERSATION_H
#define TEMPER_SUPPORT_CONVERSATION_H

#include "support/character.h"

typedef struct temper_conversation {
    const temper_message *const *messages;
    size_t count;
} temper_conversation;

/* [instruction,] prompt[, response]. `instruction` with length 0: none. `response` NULL: none. NULL messages: no memory. */
temper_conversation temper_conversation_make(temper_pool *pool, bool knows_system, temper_span instruction,
                                             temper_span prompt, const temper_span *response);
const char *temper_conversation_place(bool knows_system); /* "system" or "user" */

/* A record as a conversation: `messages`, or `system` (a string, if any) and `prompt` (a string or messages) with the
 * first there is of completion, response, chosen. For a model that knows no system role, a system message at the
 * beginning goes before the first user message, as in training. */
temper_status temper_conversation_of_record(const temper_json_api *json, temper_pool *pool, bool knows_system,
                                            const temper_json *record, const char *input, uint64_t number,
                                            temper_conversation *out, temper_error *error);

/* How to sample: the parameters every sampling stage has, as X-macro rows for TEMPER_PARAMETERS. */
#define TEMPER_SAMPLING_PARAMETERS(P, S, max_tokens_json)                                                    \
    P(S, number, temperature, "temperature", "0.8", 0, 10, "", "",                                           \
      "how freely to sample; 0 takes the likeliest token", "0.1")                                            \
    P(S, number, top_p, "top_p", "0.95", 0, 1, "", "",                                                       \
      "sample among the likeliest tokens that hold this probability", "0.1")                                 \
    P(S, integer, top_k, "top_k", "0", 0, 1000000, "tokens", "",                                             \
      "sample among this many likeliest tokens; 0: all", "0.1")                                              \
    P(S, integer, max_tokens, "max_tokens", max_tokens_json, 1, 1048576, "tokens", "", "longest response",   \
      "0.1")

#define TEMPER_INSTRUCTION_PARAMETERS(P, S)                                                                  \
    P(S, string, instruction, "instruction", "\"{traits}\"", 1, 0, "", "",                                   \
      "what the model is told to be; {traits} stands for the character's sentences", "0.1")                  \
    P(S, integer, most_traits, "most_traits", "0", 0, 100000, "traits", "",                                  \
      "most traits in one instruction, the prompt's own first; 0: as many as fit a quarter of the context",  \
      "0.1")

/* generate and score over any number of requests, in calls of bounded size; `take` gets each result in order and copies
 * what it wants to keep. */
temper_status temper_generate_all(const temper_host *host, const temper_model_service *service,
                                  temper_model *model, const temper_generate_request *requests, size_t count,
                                  const char *unit,
                                  temper_status (*take)(void *context, size_t index,
                                                        const temper_generated *result, temper_error *error),
                                  void *context, temper_error *error);
temper_status temper_score_all(const temper_host *host, const temper_model_service *service,
                               temper_model *model, const temper_score_request *requests, size_t count,
                               const char *unit, temper_scored *out, temper_error *error);

/* --- Likelihood as a judge of character ---------------------------------------------------------------------------
 * score = (log p(response | instruction, prompt) - log p(response | prompt)) / tokens: how much being told the character
 * makes the model expect this response, in nats a token. */
typedef struct temper_judged {
    double score, with, without; /* logprobs: the whole response and its end token */
    uint32_t tokens;
    bool usable; /* false when the response was cut to fit the context: then score is 0 */
} temper_judged;

typedef struct temper_judge_item {
    temper_span instruction, prompt, response;
} temper_judge_item;

temper_status temper_judge_all(const temper_host *host, temper_pool *pool,
                               const temper_model_service *service, temper_model *model,
                               const temper_judge_item *items, size_t count, const char *unit,
                               temper_judged *out, temper_error *error);

#endif

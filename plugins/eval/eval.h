/* eval.h: what the stages of this plugin share. */
#ifndef EVAL_H
#define EVAL_H

#include "support/conversation.h"
#include "support/statistics.h"

extern const temper_stage eval_character_stage, eval_manner_stage, eval_score_stage, eval_complete_stage;

/* Negative log-likelihood over records: each weighs by its tokens. */
typedef struct likelihood {
    uint64_t records, tokens, truncated_records, truncated_tokens;
    double logprob; /* sum, records in order */
} likelihood;
double likelihood_nll(const likelihood *l); /* a token; 0 without tokens */
/* Scores `messages` (or prompt with an answer) and `text` records; `each` may be NULL. */
temper_status likelihood_of_records(const temper_host *host, temper_pool *pool,
                                    const temper_model_service *service, temper_model *model,
                                    const temper_records *records, const char *input, uint32_t max_tokens,
                                    temper_scored *each, likelihood *out, temper_error *error);

/* --- eval.character: one prompt, answered three ways --- */
typedef enum voice { BASE, PROMPTED, TUNED, VOICES } voice;
extern const char *const voice_names[VOICES]; /* "base", "prompted", "tuned" */

typedef struct reply {
    temper_span text;
    uint32_t tokens;
    bool cut;
    double score; /* by the frozen base; see temper_judge_all */
    bool usable;
} reply;

typedef struct trial {
    temper_span prompt;
    size_t trait, sample, group; /* group: the number of the prompt */
    reply answers[VOICES];
    int outcome, prompted_outcome; /* against the base: 1 a win, 0 a tie, -1 a loss */
} trial;

/* A rate against the base, ties one half, with its interval; prompts are the unit. */
typedef struct win_rate {
    double rate, low, high;
    uint64_t wins, ties, losses;
} win_rate;

typedef struct voice_numbers {
    double distinct_2, mean_characters, mean_tokens, mean_score;
    uint64_t cut, empty, unjudged;
} voice_numbers;

typedef struct card {
    const temper_character *character;
    const temper_instruction *instructions;
    const trial *trials;
    size_t trial_count, prompt_count;
    size_t shown;       /* rows of answers on the page */
    bool own_questions; /* no prompts were given: the character's own were used */
    bool knows_system;
    win_rate tuned, prompted;
    win_rate *tuned_by_trait; /* a trait */
    voice_numbers voices[VOICES];
    bool has_capability;
    likelihood before, after;
} card;

/* The page: self-contained HTML, everything that came from outside escaped. */
temper_status report_write(const temper_host *host, const card *c, temper_error *error);

#endif

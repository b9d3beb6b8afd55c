/* constitution.h: what the stages of this plugin share. */
#ifndef CONSTITUTION_H
#define CONSTITUTION_H

#include "support/conversation.h"
#include "support/statistics.h"

extern const temper_stage constitution_ask_stage, constitution_respond_stage;

/* One prompt of a trait, and where it came from. */
typedef struct asked_prompt {
    temper_span text;
    const char *source; /* "questions", "additional_questions", "generated" */
    temper_shingles shingles;
} asked_prompt;

/* The prompts accepted so far, over all traits: a new one must be unlike every one of them. */
typedef struct asked {
    const temper_host *host;
    temper_pool *pool;
    const temper_character *character;
    temper_output *refused; /* what was not taken, and why */
    asked_prompt **prompts; /* a list a trait, `wanted` long */
    size_t *counts;
    size_t wanted;
    double similarity; /* this alike or more is refused */
    uint64_t near_duplicates, unfinished, unusable, surplus, attempts;
} asked;

/* Takes a prompt for a trait, copying its text, unless the trait has its count, or the prompt is too like one that is
 * there: then it is refused. */
temper_status asked_offer(asked *a, size_t trait, temper_span text, const char *source, temper_error *error);
/* Puts a text on file as not taken: near_duplicate (`like` is what it is like), unfinished, unusable or surplus. */
temper_status asked_refuse(asked *a, size_t trait, temper_span text, const char *source, const char *rule,
                           temper_span like, temper_error *error);

typedef struct shortfall_options {
    const temper_model_service *service;
    temper_model *model;
    const char *method; /* "list" or "chat" */
    uint64_t attempts;  /* rounds, each with a try for every missing prompt */
    double temperature, top_p;
    uint32_t top_k, max_tokens;
    uint64_t key;
} shortfall_options;

/* Has the model ask what is missing, in rounds, until every trait has its count; TEMPER_FAILED with the counts reached
 * when the attempts are spent. */
temper_status asked_fill_shortfall(asked *a, const shortfall_options *options, temper_error *error);

#endif

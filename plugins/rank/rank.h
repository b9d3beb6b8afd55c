/* rank.h: candidates with scores, and the pairs made of them.
 *
 * A judge fills `score` and `usable`; everything after (grouping by prompt, best against worst, margins, ties, the
 * outputs) does not know which judge it was. That is the place of a judge in words. */
#ifndef RANK_H
#define RANK_H

#include "support/conversation.h"

extern const temper_stage rank_by_character_stage;

typedef struct candidate {
    const temper_json *record;
    temper_span prompt, response, instruction, condition, finish;
    size_t trait;
    double score;
    uint32_t tokens;
    bool usable; /* may stand in a pair */
} candidate;

typedef struct pairing_options {
    double margin;
    uint64_t pairs_per_prompt;
    bool shuffled; /* control: a coin says which side is chosen */
    uint64_t key;  /* of the coin */
} pairing_options;

typedef struct pairing_counts {
    uint64_t prompts, pairs, ties, lone, chosen_in_character;
    double margin_sum;
} pairing_counts;

/* Writes `pairs` and `ties`, prompts in the order of their first candidate. */
temper_status rank_write_pairs(const temper_host *host, temper_pool *pool, const temper_character *character,
                               const candidate *candidates, size_t count, const pairing_options *options,
                               pairing_counts *counts, temper_error *error);

#endif

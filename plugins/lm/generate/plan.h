/* plan.h: what a call will take, before it begins.
 *
 * Invariant: a request that is let in always has the memory to end: the largest alone fits, or the call is refused with
 * the numbers; how many are decoded together follows from what is left. Nothing of it shows in an answer. */
#ifndef LM_PLAN_H
#define LM_PLAN_H

#include "generate.h"

enum { LM_PROMPT_ROWS = 256, LM_SLOTS_A_LANE = 32 }; /* prompt tokens a step; sequences at most */

typedef struct lm_plan {
    size_t slots;  /* of a lane */
    size_t block;  /* positions */
    size_t blocks; /* that a lane's pool may have; 0: no bound */
} lm_plan;

/* Prompts, settings and ids as they must be? */
temper_status lm_plan_check(const lm_model *model, const lm_request *requests, size_t count,
                            temper_error *error);
/* Requests by their prompts, token by token (equal ones, or all when `unsorted`, in the order given); malloc'ed. */
temper_status lm_plan_order(const lm_request *requests, size_t count, bool unsorted, size_t **out,
                            temper_error *error);
temper_status lm_plan_make(const lm_context *context, const lm_model *model, const lm_request *requests,
                           size_t count, const lm_generation *how, size_t lanes, lm_plan *out,
                           temper_error *error);

#endif

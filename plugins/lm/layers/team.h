/* team.h: see team.c. What context.c needs of it. */
#ifndef LM_TEAM_H
#define LM_TEAM_H

#include "layers.h"

lm_team *lm_team_new(size_t workers); /* NULL: no memory */
void lm_team_free(lm_team *self);
bool lm_team_active(const lm_team *self);
/* body for indices below count, in ranges of whole steps (one_by_one: of one step each), on all members that are there.
 * For the conductor. */
void lm_team_run(lm_team *self, size_t count, size_t step, bool one_by_one, lm_range_body *body,
                 void *argument);

#endif

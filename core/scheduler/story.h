/* story.h: where one row of a run came from and what became of it.
 *
 * Rows carry no marks of ours. A filter keeps its rows' order and its output `dropped` has their numbers, so the row that left
 * it as number 16 entered it as the 16th that was not dropped: positions alone lead through any chain of filters, edited
 * rows included. Elsewhere (a sample, a mixture, a split) a row is found again by its bytes; where it is not found, the stage
 * made rows of its own, and the story ends there and says so.
 *
 * A row is named in three ways: PLACE:NUMBER, a place being a source's id, STAGE.OUTPUT, or STAGE for its output kept; the
 * first digits (6 or more) of the id of any form it had on its way; or a text that occurs in it. */
#ifndef TM_STORY_H
#define TM_STORY_H

#include "base/json.h"
#include "store/store.h"

/* One row: {"row": id, "at": "chats:17", "record": {…}, "steps": [{"stage", "what", …}]}, with `what` one of
 *   kept (at), changed (at, changes: [{"field", "before", "after"}], and the rule and evidence), dropped (rule, evidence and whatever else the stage has on
 *   file; twin_row, twin_at and twin_record where it names a `twin`), taken (at: found again by its bytes), compared (an
 *   input it is not filtered by), used (the stage makes rows of its own).
 * Several: {"matches": [{"row", "at", "record"}], "more": whether there are others}. */
temper_status tm_story_tell(tm_store *store, const temper_json *run, const char *name, temper_arena *arena,
                            const temper_json **out, temper_error *error);

#endif

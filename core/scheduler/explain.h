/* explain.h: where two runs part. Stage ids say it: equal ids mean equal inputs, parameters, versions and seeds, so the first node whose
 * ids differ is where the difference entered. */
#ifndef TM_EXPLAIN_H
#define TM_EXPLAIN_H

#include "base/buffer.h"
#include "base/json.h"

/* Appends lines for people; *same: the runs agree in every stage and output. */
temper_status tm_explain(const temper_json *run_a, const temper_json *run_b, tm_buffer *out, bool *same,
                         temper_error *error);

#endif

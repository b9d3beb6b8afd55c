/* fill.h: resolved parameters, as JSON, into the struct a stage declared. */
#ifndef TM_FILL_H
#define TM_FILL_H

#include "base/json.h"
#include <temper/plugin.h>

/* The struct, zeroed and filled, in `arena`, with the strings it points to. `parameters` is the flat, complete object of
 * tm_parameters_resolve; anything else about it is refused. */
temper_status tm_fill_parameters(temper_arena *arena, const temper_stage *stage,
                                 const temper_json *parameters, const void **out, temper_error *error);

#endif

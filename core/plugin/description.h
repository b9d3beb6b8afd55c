/* description.h: what must hold of any description, whoever wrote it down. */
#ifndef TM_DESCRIPTION_H
#define TM_DESCRIPTION_H

#include "plugin/catalog.h"

/* Names well formed and given once, kinds and types known, bounds in order, defaults within them, nothing undocumented.
 * The message names the stage and the word at fault. */
temper_status tm_description_check(const temper_json *description, temper_error *error);

/* Checks a value against a parameter's row and gives it in its one canonical form (3.0 for an integer is 3), so that
 * equal settings have equal stage ids. */
temper_status tm_parameter_value(temper_arena *arena, const temper_json *row, const temper_json *value,
                                 const temper_json **out, temper_error *error);

#endif

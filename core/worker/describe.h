/* describe.h: a plugin's static description as the JSON of core/plugin/catalog.h. */
#ifndef TM_DESCRIBE_H
#define TM_DESCRIBE_H

#include "base/json.h"
#include <temper/plugin.h>

/* Checks the plugin on the way: what comes out has passed tm_check_plugin and tm_description_check. */
temper_status tm_describe_plugin(temper_arena *arena, const temper_plugin *plugin, const char *file,
                                 const temper_json **out, temper_error *error);

#endif

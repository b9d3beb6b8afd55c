/* load.h: a plugin's file to its description: dlopen, the entry, nothing else. */
#ifndef TM_LOAD_H
#define TM_LOAD_H

#include <temper/plugin.h>

/* Loads FILE (never unloaded) and asks its entry. The message names the file and, when it speaks another major of the
 * contract, both majors. What foreign constructors changed is put right (worker/foreign.h). */
temper_status tm_load_plugin(const char *file, const temper_plugin **out, temper_error *error);

/* "filter" of "/…/filter.so"; malloc'ed. */
char *tm_plugin_name_of(const char *file);

/* Does the description agree with itself and with the file's name? The message names the stage and the word at fault. */
temper_status tm_check_plugin(const temper_plugin *plugin, const char *file, temper_error *error);

#endif

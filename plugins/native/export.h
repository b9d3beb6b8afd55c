/* export.h: what the stages export and compare share. */
#ifndef NATIVE_EXPORT_H
#define NATIVE_EXPORT_H

#include "../lm/export/export.h"
#include "internal.h"

/* One weight an adapter of the set, from their texts; malloc'ed. */
temper_status native_export_weights(const temper_strings *texts, const lm_file_set *files, double **out,
                                    temper_error *error);
lm_export_options native_export_options(const char *format, const char *type);

#endif

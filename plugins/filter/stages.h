/* stages.h: the stages of this plugin that filter.h does not name, a file each. */
#ifndef FILTER_STAGES_H
#define FILTER_STAGES_H

#include <temper/plugin.h>

extern const temper_stage filter_repetition_stage, filter_language_stage, filter_charset_stage,
    filter_quality_stage, filter_slop_stage, filter_decontaminate_stage, filter_select_stage,
    filter_mixture_stage, filter_predicate_stage;

#endif

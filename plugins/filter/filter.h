/* filter.h: the stages of this plugin; what they share is in rows.h. */
#ifndef FILTER_H
#define FILTER_H

#include "rows.h"

extern const temper_stage filter_read_stage, filter_phrases_stage, filter_duplicates_stage, filter_length_stage,
    filter_pairs_stage;

#endif

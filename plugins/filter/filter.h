/* filter.h: the stages of this plugin; what they share is in rows.h. */
#ifndef FILTER_H
#define FILTER_H

#include "rows.h"

/* A phrase list applied to the input `records`: what `phrases` does, and others with lists they make. */
typedef struct filter_list_use {
    temper_span list;
    const temper_strings *fields, *roles;
    bool ignore_case, whole_words, portable;
} filter_list_use;
temper_status filter_apply_list(const temper_host *host, const filter_list_use *use, temper_error *error);

extern const temper_stage filter_identity_stage, filter_read_stage, filter_phrases_stage,
    filter_duplicates_stage, filter_length_stage, filter_pairs_stage;

#endif

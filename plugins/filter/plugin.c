/* plugin.c: what the plugin `filter` is. A stage a file; what they share is in filter.c. */
#include "filter.h"
#include "stages.h"

static const temper_stage *const stages[] = {
    &filter_read_stage,    &filter_phrases_stage, &filter_identity_stage,   &filter_duplicates_stage,
    &filter_length_stage,  &filter_pairs_stage,   &filter_repetition_stage, &filter_language_stage,
    &filter_charset_stage, &filter_quality_stage, &filter_slop_stage,       &filter_decontaminate_stage,
    &filter_select_stage,  &filter_mixture_stage, &filter_predicate_stage,  NULL};

static const temper_plugin plugin = {
    .size = sizeof(temper_plugin),
    .name = "filter",
    .version = "0.1.0",
    .author = "the Temper authors",
    .license = "Apache-2.0",
    .doc = "keeps the records worth keeping, and says of every other why not",
    .stages = stages,
};

TEMPER_EXPORT temper_status temper_plugin_v1(const temper_hello *hello, const temper_plugin **out) {
    (void)hello;
    *out = &plugin;
    return TEMPER_OK;
}

/* plugin.c: what the plugin `eval` is. A stage a file; report.c is the page of `character`, likelihood.c what `score` and
 * the capability check share. */
#include "eval.h"

static const temper_stage *const stages[] = {&eval_character_stage, &eval_manner_stage, &eval_score_stage,
                                             &eval_complete_stage, NULL};

static const temper_plugin plugin = {
    .size = sizeof(temper_plugin),
    .name = "eval",
    .version = "0.1.0",
    .author = "the Temper authors",
    .license = "Apache-2.0",
    .doc = "measures models: character, manner, likelihood; and completes prompts",
    .stages = stages,
};

TEMPER_EXPORT temper_status temper_plugin_v1(const temper_hello *hello, const temper_plugin **out) {
    (void)hello;
    *out = &plugin;
    return TEMPER_OK;
}

/* plugin.c: what the plugin `rank` is. by_character.c is a judge; pairing.c makes pairs of any judge's scores. */
#include "rank.h"

static const temper_stage *const stages[] = {&rank_by_character_stage, NULL};

static const temper_plugin plugin = {
    .size = sizeof(temper_plugin),
    .name = "rank",
    .version = "0.1.0",
    .author = "the Temper authors",
    .license = "Apache-2.0",
    .doc = "judges responses and makes preference pairs of them",
    .stages = stages,
};

TEMPER_EXPORT temper_status temper_plugin_v1(const temper_hello *hello, const temper_plugin **out) {
    (void)hello;
    *out = &plugin;
    return TEMPER_OK;
}

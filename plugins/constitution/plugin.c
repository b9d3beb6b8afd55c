/* plugin.c: what the plugin `constitution` is. A stage a file; shortfall.c is the part of `ask` that asks the model. */
#include "constitution.h"

static const temper_stage *const stages[] = {&constitution_ask_stage, &constitution_respond_stage, NULL};

static const temper_plugin plugin = {
    .size = sizeof(temper_plugin),
    .name = "constitution",
    .version = "0.1.0",
    .author = "the Temper authors",
    .license = "Apache-2.0",
    .doc = "a model asks itself what people might ask, and answers in and out of character",
    .stages = stages,
};

TEMPER_EXPORT temper_status temper_plugin_v1(const temper_hello *hello, const temper_plugin **out) {
    (void)hello;
    *out = &plugin;
    return TEMPER_OK;
}

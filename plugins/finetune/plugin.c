/* plugin.c: what the plugin `finetune` is. */
#include "finetune.h"

static const temper_stage *const stages[] = {&finetune_init_stage,
                                             &finetune_sft_stage,
                                             &finetune_pretrain_stage,
                                             &finetune_reference_stage,
                                             &finetune_dpo_stage,
                                             &finetune_cpo_stage,
                                             &finetune_simpo_stage,
                                             &finetune_orpo_stage,
                                             &finetune_kto_stage,
                                             &finetune_reward_stage,
                                             &finetune_batch_stage,
                                             &finetune_bench_stage,
                                             NULL};

static const temper_plugin plugin = {
    .size = sizeof(temper_plugin),
    .name = "finetune",
    .version = "0.2.0",
    .author = "the Temper authors",
    .license = "Apache-2.0",
    .doc = "makes and trains models: random ones, supervised fine-tuning, pretraining, preference "
           "optimisation, rewards",
    .stages = stages,
};

TEMPER_EXPORT temper_status temper_plugin_v1(const temper_hello *hello, const temper_plugin **out) {
    (void)hello;
    *out = &plugin;
    return TEMPER_OK;
}

/* gradient_case.c: gradients of tiny models, as a module built twice: over lm in float and over lm in double.
 * test_train_precision.c loads both (RTLD_LOCAL) and compares what they find. */
#include "gradient_case.h"
#include "train_support.h"

/* Runs one case; returns the number of trained values, 0 on failure (with a word on stderr). */
__attribute__((visibility("default"))) size_t gradient_case(const char *architecture, const char *profile,
                                                            int pairs, double *gradient, size_t capacity,
                                                            double *loss) {
    temper_error error = TEMPER_ERROR_INIT;
    lm_context context;
    lm_config config = tiny_config(architecture, true);
    lm_trainer *trainer = NULL;
    size_t count = 0;
    static tiny_batch batch;
    if (lm_context_init(&context, lm_kernels_choose(NULL, NULL), profile, lm_serial(), &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 0;
    }
    lm_model *model = tiny_model(&context, &config);
    tiny_fill(&batch, config.vocabulary, TINY_LONGEST);
    temper_status status = TEMPER_OK;
    if (pairs) {
        lm_adapter_config adapter = tiny_adapter();
        status = lm_lora_attach(&context, model, &adapter, 31, &error);
    }
    lm_train_options options = lm_train_defaults();
    if (!status) {
        status = lm_trainer_new(&context, model, &options, &trainer, &error);
    }
    for (size_t i = 0; !status && i < lm_trainer_count(trainer); i++) { /* a B that is not zero */
        const lm_trained *trained = lm_trainer_at(trainer, i);
        for (size_t j = 0; trained->which == 'B' && j < trained->count; j++) {
            trained->values[j] = (lm_real)(float)(0.6 * (temper_random_unit(32, i, j) - 0.5));
        }
    }
    if (!status) {
        status = lm_trainer_pack(trainer, &error);
    }
    if (!status && pairs) {
        lm_prefer_result result;
        lm_loss_options dpo = {.beta = 0.1, .nll_weight = 0.1};
        status = lm_trainer_prefer(trainer, batch.pair_rows, TINY_EXAMPLES / 2,
                                   lm_loss_find("dpo", "sigmoid"), &dpo, 0, &result, &error);
        *loss = result.loss;
    } else if (!status) {
        lm_sft_result result;
        status = lm_trainer_sft(trainer, batch.rows, TINY_EXAMPLES, &result, &error);
        *loss = result.loss;
    }
    if (status) {
        fprintf(stderr, "%s\n", error.message);
    } else if (lm_trainer_parameters(trainer) <= capacity) {
        count = lm_trainer_parameters(trainer);
        lm_real *found = lm_allocate(count, sizeof *found);
        lm_trainer_gradient(trainer, found);
        for (size_t i = 0; i < count; i++) {
            gradient[i] = found[i];
        }
        free(found);
    }
    lm_trainer_free(trainer);
    lm_model_close(model);
    lm_context_free(&context);
    return count;
}

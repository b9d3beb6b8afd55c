/* memory.c: what there is, and what a model takes of it.
 *
 * Invariant: weights, keys and values and working memory are weighed against the worker's bound (--memory) and the
 * machine before they are taken, so that what cannot fit is refused in words. Nothing of it shows in a result. */
#include "internal.h"

/* Kept free for everything else: records, texts, what the allocator rounds up. */
#define SPARE_PART 16

size_t native_memory(const temper_model *model) {
    if (model->machine == NULL) {
        return 0;
    }
    uint64_t left = model->machine->available(model->host);
    left -= left / SPARE_PART;
    return left >= SIZE_MAX ? 0 : left == 0 ? 1 : (size_t)left;
}

void native_note_counts(const temper_model *model) {
    const lm_counts *counts = &model->counts;
    if (model->machine == NULL) {
        return;
    }
    const struct {
        const char *name;
        double value;
    } notes[] = {{"native.prompt_tokens", (double)counts->prompt_tokens},
                 {"native.prompt_tokens_computed", (double)counts->prompt_computed},
                 {"native.answer_tokens", (double)counts->answer_tokens},
                 {"native.score_tokens", (double)counts->score_tokens},
                 {"native.score_tokens_computed", (double)counts->score_computed},
                 {"native.forward_passes", (double)counts->steps},
                 {"native.streams", (double)counts->streams},
                 {"native.cache_bytes", (double)counts->cache_bytes}};
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
        if (notes[i].value > 0) {
            model->machine->note(model->host, notes[i].name, notes[i].value);
        }
    }
}

static double megabytes(uint64_t bytes) {
    return (double)bytes / 1e6;
}

temper_status native_memory_refusal(const temper_model *model, temper_status status, temper_error *error) {
    char cause[TEMPER_MESSAGE_SIZE];
    if (status != TEMPER_NO_MEMORY || model->machine == NULL || error == NULL) {
        return status;
    }
    snprintf(cause, sizeof cause, "%.800s", error->message);
    return temper_fail(error, status, "%s (the worker may have %.1f MB (--memory), the weights among them)",
                       cause, megabytes(model->machine->memory(model->host)));
}

temper_status native_check_weights(const temper_model *model, const lm_file_set *files, temper_error *error) {
    lm_checkpoint *checkpoint = NULL;
    uint64_t left = model->machine == NULL ? UINT64_MAX : model->machine->available(model->host);
    if (left == UINT64_MAX || lm_checkpoint_open(files, &checkpoint, NULL) != TEMPER_OK) {
        return TEMPER_OK; /* what is wrong with the files, opening them says */
    }
    const lm_config *config = lm_checkpoint_config(checkpoint);
    uint64_t needed = lm_model_bytes(model->context.product, config);
    const lm_product *q8 = lm_kernels_product(model->context.kernels, "q8/1");
    uint64_t less = lm_model_bytes(q8, config);
    char hint[80] = "";
    if (needed > left && less <= left) {
        snprintf(hint, sizeof hint, "; in q8/1 it takes %.0f MB", megabytes(less));
    }
    lm_checkpoint_close(checkpoint);
    return needed <= left ? TEMPER_OK
                          : temper_fail(error, TEMPER_NO_MEMORY,
                                        "this model takes %.0f MB in %s, and %.0f MB are left of the %.0f MB "
                                        "that the worker may have "
                                        "(--memory) and of what the machine has to give%s",
                                        megabytes(needed), model->host->profile, megabytes(left),
                                        megabytes(model->machine->memory(model->host)), hint);
}

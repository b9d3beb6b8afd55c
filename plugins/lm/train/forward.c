/* forward.c: a group of sequences through the model's own forward pass, and the rows of it that are targets. */
#include "internal.h"

temper_status lm_group_forward(lm_work *work, const lm_trainer *trainer, const lm_example *const *examples,
                               size_t count, bool keep, temper_error *error) {
    size_t rows = 0, targets = 0;
    for (size_t i = 0; i < count; i++) {
        rows += examples[i]->count;
    }
    temper_status status = lm_work_reserve(work, trainer, rows, count, error);
    if (!status && work->alone) {
        size_t most = work->rows > work->chunk ? work->rows : work->chunk;
        status = lm_model_reserve(&work->context, trainer->model, most, error);
    }
    if (status) {
        return status;
    }
    work->offsets[0] = work->target_offsets[0] = 0;
    for (size_t i = 0; i < count; i++) {
        const lm_example *example = examples[i];
        size_t first = work->offsets[i];
        work->sequences[i] = (lm_sequence){NULL, example->ids, example->count};
        for (size_t t = 1; t < example->count; t++) {
            if (example->trained[t]) {
                work->targets[targets++] =
                    (lm_target){.row = first + t - 1,
                                .id = example->ids[t],
                                .use = example->trained[t],
                                .reference = example->reference != NULL ? example->reference[t] : 0,
                                .weight = 1};
            }
        }
        work->offsets[i + 1] = first + example->count;
        work->target_offsets[i + 1] = targets;
    }
    work->loaded = 0;
    return lm_model_forward(&work->context, trainer->model, work->sequences, count, work->final_normed,
                            keep ? work->activations : NULL, error);
}

/* forward.c: a group of sequences through the model's own forward pass, and the rows of it that are targets. */
#include "internal.h"

static temper_status cache_of(lm_work *work, const lm_trainer *trainer, size_t index, size_t tokens,
                              temper_error *error) {
    lm_cache *cache = work->caches[index];
    if (cache != NULL && cache->capacity >= tokens) {
        lm_cache_clear(cache);
        return TEMPER_OK;
    }
    lm_cache_free(cache);
    work->caches[index] = NULL;
    size_t capacity = (tokens + 63) / 64 * 64;
    capacity = capacity > trainer->model->config.context ? trainer->model->config.context : capacity;
    return lm_cache_new(&work->context, &trainer->model->config, capacity, &work->caches[index], error);
}

temper_status lm_group_forward(lm_work *work, const lm_trainer *trainer, const lm_example *const *examples,
                               size_t count, bool keep, temper_error *error) {
    size_t rows = 0, targets = 0;
    for (size_t i = 0; i < count; i++) {
        rows += examples[i]->count;
    }
    temper_status status = lm_work_reserve(work, trainer, rows, count, error);
    if (status) {
        return status;
    }
    work->offsets[0] = work->target_offsets[0] = 0;
    for (size_t i = 0; i < count; i++) {
        const lm_example *example = examples[i];
        size_t first = work->offsets[i];
        status = cache_of(work, trainer, i, example->count, error);
        if (status) {
            return status;
        }
        work->sequences[i] = (lm_sequence){work->caches[i], example->ids, example->count};
        for (size_t t = 1; t < example->count; t++) {
            if (example->trained[t]) {
                work->targets[targets++] = (lm_target){.row = first + t - 1, .id = example->ids[t], .weight = 1};
            }
        }
        work->offsets[i + 1] = first + example->count;
        work->target_offsets[i + 1] = targets;
    }
    work->loaded = 0;
    return lm_model_forward(&work->context, trainer->model, work->sequences, count, work->final_normed,
                            keep ? work->activations : NULL, error);
}

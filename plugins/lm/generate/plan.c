/* plan.c: see plan.h. */
#include "plan.h"

#include "sampler.h"

#include <stdlib.h>

/* For keys and values of all sequences together, when nobody says how much there is. */
#define CACHE_BYTES ((size_t)1 << 30)

static temper_status check_request(const lm_model *model, const lm_request *request, size_t number,
                                   temper_error *error) {
    size_t context = model->config.context;
    if (request->prompt_count == 0) {
        return temper_fail(error, TEMPER_INVALID, "prompt %zu is empty: a model continues at least one token",
                           number);
    }
    if (request->prompt_count >= context) {
        return temper_fail(error, TEMPER_INVALID,
                           "prompt %zu has %zu tokens; the model's context holds %zu, and "
                           "the answer needs room in it",
                           number, request->prompt_count, context);
    }
    temper_status status = lm_sampling_check(&request->sampling, error);
    if (!status) {
        status = lm_penalties_check(&request->penalties, model->config.vocabulary, error);
    }
    for (size_t j = 0; !status && j < request->prompt_count; j++) {
        if (request->prompt[j] < 0 || (size_t)request->prompt[j] >= model->config.vocabulary) {
            status =
                temper_fail(error, TEMPER_INVALID, "prompt %zu: token id %d is outside the vocabulary of %zu",
                            number, (int)request->prompt[j], model->config.vocabulary);
        }
    }
    return status;
}

temper_status lm_plan_check(const lm_model *model, const lm_request *requests, size_t count,
                            temper_error *error) {
    temper_status status = TEMPER_OK;
    for (size_t i = 0; !status && i < count; i++) {
        status = check_request(model, &requests[i], i + 1, error);
    }
    return status;
}

typedef struct place {
    const lm_request *request;
    size_t index;
} place;

static int by_prompt(const void *left, const void *right) {
    const place *a = left, *b = right;
    size_t count = a->request->prompt_count < b->request->prompt_count ? a->request->prompt_count
                                                                       : b->request->prompt_count;
    for (size_t i = 0; i < count; i++) {
        int32_t x = a->request->prompt[i], y = b->request->prompt[i];
        if (x != y) {
            return x < y ? -1 : 1;
        }
    }
    if (a->request->prompt_count != b->request->prompt_count) {
        return a->request->prompt_count < b->request->prompt_count ? -1 : 1;
    }
    return a->index < b->index ? -1 : a->index > b->index;
}

temper_status lm_plan_order(const lm_request *requests, size_t count, bool unsorted, size_t **out,
                            temper_error *error) {
    size_t *order = calloc(count + 1, sizeof *order);
    place *places = calloc(count + 1, sizeof *places);
    if (order == NULL || places == NULL) {
        free(order);
        free(places);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory to order %zu requests", count);
    }
    for (size_t i = 0; i < count; i++) {
        places[i] = (place){&requests[i], i};
    }
    if (!unsorted) {
        qsort(places, count, sizeof *places, by_prompt);
    }
    for (size_t i = 0; i < count; i++) {
        order[i] = places[i].index;
    }
    free(places);
    *out = order;
    return TEMPER_OK;
}

/* What one lane works in beside keys and values. */
static size_t working_bytes(const lm_context *context, const lm_model *model, size_t slots,
                            size_t positions) {
    const lm_config *config = &model->config;
    size_t forward = lm_model_forward_bytes(context, model, LM_PROMPT_ROWS + slots, slots, positions);
    size_t rows = (2 * slots + LM_PROMPT_ROWS) * config->hidden * sizeof(lm_real);
    size_t choosing = config->vocabulary * (2 * sizeof(lm_real) + sizeof(lm_candidate) + sizeof(uint32_t));
    choosing *= context->parallel.workers;
    return forward + rows + choosing + slots * config->vocabulary * sizeof(lm_real);
}

static size_t positions_of(const lm_model *model, const lm_request *request) {
    size_t room = model->config.context - request->prompt_count;
    return request->prompt_count + (request->max_tokens < room ? request->max_tokens : room);
}

static double megabytes(size_t bytes) {
    return (double)bytes / 1e6;
}

typedef struct sizes {
    size_t largest, largest_at; /* positions of the largest request, and which it is */
    size_t block_bytes;
    size_t working; /* of all lanes, with one slot each */
    size_t lanes;
} sizes;

static temper_status refuse(const lm_request *requests, const lm_plan *plan, const sizes *all, size_t memory,
                            temper_error *error) {
    const lm_request *request = &requests[all->largest_at];
    size_t left =
        memory > all->working ? (memory - all->working) / all->lanes / all->block_bytes * plan->block : 0;
    size_t needed = (all->largest + plan->block - 1) / plan->block * all->block_bytes;
    char fits[160] = "not even a short one would fit";
    if (left > 1) {
        snprintf(fits, sizeof fits,
                 "%zu tokens of prompt and answer together would fit: shorten the prompt, or "
                 "lower max_tokens",
                 left);
    }
    return temper_fail(
        error, TEMPER_NO_MEMORY,
        "prompt %zu has %zu tokens, its answer up to %zu more: their keys and values take %.1f MB, and "
        "%.1f MB more are worked in; %.1f MB are left; %s",
        all->largest_at + 1, request->prompt_count, all->largest - request->prompt_count, megabytes(needed),
        megabytes(all->working), megabytes(memory), fits);
}

static temper_status measure(const lm_context *context, const lm_model *model, const lm_request *requests,
                             size_t count, size_t lanes, const lm_plan *plan, sizes *out,
                             temper_error *error) {
    lm_cache_pool *pool = NULL;
    *out = (sizes){.largest = 1, .lanes = lanes};
    for (size_t i = 0; i < count; i++) {
        size_t positions = positions_of(model, &requests[i]);
        if (positions > out->largest) {
            out->largest = positions;
            out->largest_at = i;
        }
    }
    temper_status status = lm_cache_pool_new(context, &model->config, plan->block, 0, &pool, error);
    if (!status) {
        out->block_bytes = pool->block_bytes;
        out->working = lanes * working_bytes(context, model, 1, out->largest);
    }
    lm_cache_pool_free(pool);
    return status;
}

temper_status lm_plan_make(const lm_context *context, const lm_model *model, const lm_request *requests,
                           size_t count, const lm_generation *how, size_t lanes, lm_plan *out,
                           temper_error *error) {
    sizes all;
    size_t slots = how->slots > 0 ? how->slots : LM_SLOTS_A_LANE * lanes;
    slots = slots < count ? slots : count;
    slots = (slots + lanes - 1) / lanes;
    slots = slots == 0 ? 1 : slots;
    out->block = how->block > 0 ? how->block : LM_CACHE_BLOCK;
    out->block = (out->block + LM_PANEL - 1) / LM_PANEL * LM_PANEL;
    temper_status status = measure(context, model, requests, count, lanes, out, &all, error);
    if (status) {
        return status;
    }
    size_t alone = (all.largest + out->block - 1) / out->block, least = lanes * alone * all.block_bytes;
    if (how->memory > 0 && how->memory < all.working + least) {
        return refuse(requests, out, &all, how->memory, error);
    }
    size_t bytes = how->memory > 0 ? how->memory : all.working + (CACHE_BYTES > least ? CACHE_BYTES : least);
    for (; slots > 1; slots--) {
        size_t working = lanes * working_bytes(context, model, slots, all.largest);
        if (working < bytes && (bytes - working) / all.block_bytes >= lanes * alone) {
            bytes -= working;
            break;
        }
    }
    if (slots == 1) {
        bytes -= all.working;
    }
    out->slots = slots;
    out->blocks = bytes / all.block_bytes / lanes;
    return TEMPER_OK;
}

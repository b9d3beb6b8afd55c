/* internal.h: what the files of model/ share. */
#ifndef LM_MODEL_INTERNAL_H
#define LM_MODEL_INTERNAL_H

#include "model.h"

/* Where a role's values are kept; NULL when this architecture has no such tensor. */
lm_real **lm_model_slot(lm_model *self, lm_role role, size_t layer);
/* The role of each linear layer of a block. */
extern const lm_role lm_block_linears[LM_BLOCK_LINEARS];
/* An empty model of this shape: layers known by their sizes, epsilons and rope tables set, no values. */
temper_status lm_model_shape(const lm_config *config, lm_model **out, temper_error *error);
/* Does a block have this role? */
static inline bool lm_block_has(const lm_config *config, lm_role role) {
    unsigned rank;
    size_t shape[2];
    lm_role_shape(config, role, &rank, shape);
    return rank != 0;
}
/* Values of a role, allocated to its shape. */
temper_status lm_model_allocate(lm_model *self, lm_role role, size_t layer, lm_real **values, size_t *count,
                                temper_error *error);

/* Reads every adapter of the set, and, when there are several, what they make together (adapters.c); that, or the only
 * one, is selected. `weights`: one an adapter, or NULL: 1 each. */
temper_status lm_adapters_read(const lm_context *context, const lm_file_set *files, const double *weights,
                               lm_model *self, temper_error *error);
void lm_adapters_free(lm_model *self);

/* One block for all packed weights, and in it each linear layer's place. */
temper_status lm_model_place(const lm_context *context, lm_model *self, temper_error *error);

/* Hands out consecutive pieces of one block; with base NULL it only counts. */
typedef struct lm_carver {
    char *base;
    size_t used;
    bool overflow;
} lm_carver;
static inline void *lm_carve(lm_carver *self, size_t count, size_t size) {
    size_t bytes, end;
    if (__builtin_mul_overflow(count, size, &bytes) || __builtin_add_overflow(bytes, 63, &bytes) ||
        __builtin_add_overflow(self->used, bytes / 64 * 64, &end)) {
        self->overflow = true;
        return NULL;
    }
    void *piece = self->base == NULL ? NULL : self->base + self->used;
    self->used = end;
    return piece;
}

#endif

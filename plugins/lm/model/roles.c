/* roles.c: a model's tensors by role.
 *
 * Invariant: lm_model_slot names a place for exactly those roles that lm_role_shape gives a rank, and for no other: a
 * tied head has no values of its own. */
#include "internal.h"

#include <stdlib.h>

const lm_role lm_block_linears[LM_BLOCK_LINEARS] = {
    [LM_AT_QUERY] = LM_QUERY,    [LM_AT_KEY] = LM_KEY,
    [LM_AT_VALUE] = LM_VALUE,    [LM_AT_OUTPUT] = LM_OUTPUT,
    [LM_AT_GATE] = LM_GATE,      [LM_AT_UP] = LM_UP,
    [LM_AT_DOWN] = LM_DOWN,      [LM_AT_QUERY_KEY_VALUE] = LM_QUERY_KEY_VALUE,
    [LM_AT_GATE_UP] = LM_GATE_UP};

static lm_linear *block_linear(lm_block *block, lm_role role) {
    switch (role) {
    case LM_QUERY:
    case LM_QUERY_BIAS: return &block->query;
    case LM_KEY:
    case LM_KEY_BIAS: return &block->key;
    case LM_VALUE:
    case LM_VALUE_BIAS: return &block->value;
    case LM_OUTPUT:
    case LM_OUTPUT_BIAS: return &block->output;
    case LM_QUERY_KEY_VALUE:
    case LM_QUERY_KEY_VALUE_BIAS: return &block->query_key_value;
    case LM_GATE_UP: return &block->gate_up;
    case LM_GATE:
    case LM_GATE_BIAS: return &block->gate;
    case LM_UP:
    case LM_UP_BIAS: return &block->up;
    case LM_DOWN:
    case LM_DOWN_BIAS: return &block->down;
    default: return NULL;
    }
}

static lm_norm_weights *norm_of(lm_model *self, lm_role role, size_t layer) {
    lm_block *block = &self->blocks[layer];
    switch (role) {
    case LM_FINAL_NORM:
    case LM_FINAL_NORM_BIAS: return &self->final_norm;
    case LM_ATTENTION_NORM:
    case LM_ATTENTION_NORM_BIAS: return &block->attention_norm;
    case LM_FEED_NORM:
    case LM_FEED_NORM_BIAS: return &block->feed_norm;
    case LM_QUERY_NORM: return &block->query_norm;
    case LM_KEY_NORM: return &block->key_norm;
    case LM_ATTENTION_POST_NORM: return &block->attention_post_norm;
    case LM_FEED_POST_NORM: return &block->feed_post_norm;
    default: return NULL;
    }
}

static bool is_matrix(lm_role role) {
    for (size_t i = 0; i < LM_BLOCK_LINEARS; i++) {
        if (lm_block_linears[i] == role) {
            return true;
        }
    }
    return false;
}

lm_real **lm_model_slot(lm_model *self, lm_role role, size_t layer) {
    unsigned rank;
    size_t shape[2];
    lm_role_shape(&self->config, role, &rank, shape);
    if (rank == 0 || layer >= (lm_role_per_layer(role) ? self->config.layers : 1)) {
        return NULL;
    }
    lm_norm_weights *norm = norm_of(self, role, layer);
    if (norm != NULL) {
        bool bias = role == LM_FINAL_NORM_BIAS || role == LM_ATTENTION_NORM_BIAS || role == LM_FEED_NORM_BIAS;
        return bias ? &norm->b : &norm->w;
    }
    switch (role) {
    case LM_EMBEDDING: return &self->embedding;
    case LM_POSITION_EMBEDDING: return &self->position_embedding;
    case LM_HEAD: return &self->head.w;
    default: break;
    }
    lm_linear *linear = block_linear(&self->blocks[layer], role);
    return is_matrix(role) ? &linear->w : &linear->bias;
}

lm_linear *lm_model_linear(lm_model *self, lm_role role, size_t layer) {
    if (role == LM_HEAD) {
        return &self->head;
    }
    if (!is_matrix(role)) {
        return NULL;
    }
    return lm_model_slot(self, role, layer) == NULL ? NULL : block_linear(&self->blocks[layer], role);
}

lm_real *lm_model_values(lm_model *self, lm_role role, size_t layer, size_t *count) {
    lm_real **slot = lm_model_slot(self, role, layer);
    unsigned rank;
    size_t shape[2];
    lm_role_shape(&self->config, role, &rank, shape);
    *count = slot == NULL || *slot == NULL ? 0 : rank == 2 ? shape[0] * shape[1] : shape[0];
    return slot == NULL ? NULL : *slot;
}

temper_status lm_model_allocate(lm_model *self, lm_role role, size_t layer, lm_real **values, size_t *count,
                                temper_error *error) {
    unsigned rank;
    size_t shape[2], columns;
    char name[128];
    lm_role_shape(&self->config, role, &rank, shape);
    columns = rank == 2 ? shape[1] : 1;
    *values = __builtin_mul_overflow(shape[0], columns, count) ? NULL : lm_allocate(*count, sizeof(lm_real));
    if (*values == NULL) {
        lm_role_name(&self->config, role, layer, name, sizeof name);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %s: %zu x %zu values", name, shape[0],
                           columns);
    }
    return TEMPER_OK;
}

static void size_linear(lm_model *self, lm_role role, size_t layer) {
    unsigned rank;
    size_t shape[2];
    lm_linear *linear = lm_model_linear(self, role, layer);
    lm_role_shape(&self->config, role, &rank, shape);
    if (linear != NULL) {
        linear->outputs = shape[0];
        linear->inputs = shape[1];
    }
}

static size_t layers_of(const lm_model *self, lm_role role) {
    return lm_role_per_layer(role) ? self->config.layers : 1;
}

/* A norm's kind and epsilon, and where 1 + w will stand. */
static temper_status shape_norm(lm_model *self, lm_role role, size_t layer, temper_error *error) {
    lm_norm_weights *norm = norm_of(self, role, layer);
    unsigned rank;
    size_t shape[2];
    lm_role_shape(&self->config, role, &rank, shape);
    if (norm == NULL || rank == 0) {
        return TEMPER_OK;
    }
    norm->kind = self->config.norm;
    norm->epsilon = (lm_real)self->config.norm_epsilon;
    if (self->config.norm_plus_one && norm->plus_one == NULL) {
        norm->plus_one = lm_allocate(shape[0], sizeof *norm->plus_one);
        if (norm->plus_one == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a norm of %zu", shape[0]);
        }
    }
    return TEMPER_OK;
}

void lm_model_pack_norm(lm_model *self, lm_role role, size_t layer) {
    lm_norm_weights *norm = norm_of(self, role, layer);
    unsigned rank;
    size_t shape[2];
    lm_role_shape(&self->config, role, &rank, shape);
    if (norm != NULL && rank != 0) {
        lm_norm_pack(norm, shape[0]);
    }
}

const lm_rope *lm_model_rope(const lm_model *self, size_t layer) {
    bool local = self->local_rope.cosine != NULL && self->config.window[layer] != 0;
    return local ? &self->local_rope : self->rope.cosine != NULL ? &self->rope : NULL;
}

static temper_status open_ropes(lm_model *self, temper_error *error) {
    const lm_config *config = &self->config;
    static const lm_rope_scaling plain = {.kind = LM_ROPE_PLAIN};
    size_t rotated = lm_config_rotated(config);
    if (config->positions != LM_ROPE) {
        return TEMPER_OK;
    }
    temper_status status =
        lm_rope_open(&self->rope, config->rope_theta, &config->scaling, rotated, config->context, error);
    if (!status && config->local_theta > 0) {
        status =
            lm_rope_open(&self->local_rope, config->local_theta, &plain, rotated, config->context, error);
    }
    return status;
}

static temper_status check_shape(const lm_config *config, temper_error *error) {
    if (config->layers == 0 || config->layers > LM_MAX_LAYERS || config->hidden == 0 ||
        config->vocabulary == 0 || config->vocabulary > INT32_MAX || config->context == 0 ||
        config->head_size == 0 || config->kv_heads == 0 || config->intermediate == 0) {
        return temper_fail(error, TEMPER_INVALID,
                           "a model needs layers (at most %d), hidden, intermediate and head "
                           "sizes, kv heads, a context and a vocabulary above 0",
                           LM_MAX_LAYERS);
    }
    if (config->heads == 0 || config->heads % config->kv_heads != 0) {
        return temper_fail(error, TEMPER_INVALID, "%zu heads cannot share %zu kv heads evenly", config->heads,
                           config->kv_heads);
    }
    size_t rotated = lm_config_rotated(config);
    if (config->positions == LM_ROPE && (rotated % 2 != 0 || rotated > config->head_size)) {
        return temper_fail(error, TEMPER_INVALID, "rotary positions turn pairs: %zu of %zu elements cannot",
                           rotated, config->head_size);
    }
    if (config->query_key_value_by_head && config->heads != config->kv_heads) {
        return temper_fail(error, TEMPER_INVALID,
                           "%zu heads share %zu kv heads, but queries, keys and values lie head by head",
                           config->heads, config->kv_heads);
    }
    return TEMPER_OK;
}

temper_status lm_model_shape(const lm_config *config, lm_model **out, temper_error *error) {
    temper_status status = check_shape(config, error);
    if (status) {
        return status;
    }
    lm_model *self = calloc(1, sizeof *self);
    if (self != NULL) {
        self->config = *config;
        self->blocks = calloc(config->layers, sizeof *self->blocks);
    }
    if (self == NULL || self->blocks == NULL) {
        lm_model_close(self);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu layers", config->layers);
    }
    for (int role = 0; !status && role < LM_ROLE_COUNT; role++) {
        for (size_t layer = 0; !status && layer < layers_of(self, (lm_role)role); layer++) {
            size_linear(self, (lm_role)role, layer);
            status = shape_norm(self, (lm_role)role, layer, error);
        }
    }
    self->head.outputs = config->vocabulary;
    self->head.inputs = config->hidden;
    status = status ? status : open_ropes(self, error);
    if (status) {
        lm_model_close(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

/* Consecutive places from `base` on; with NULL they are only counted. Returns the bytes, 0 when there are too many. */
static size_t place_all(const lm_context *context, lm_model *self, char *base) {
    size_t used = 0;
    for (size_t layer = 0; layer <= self->config.layers; layer++) {
        bool last = layer == self->config.layers;
        for (size_t i = 0; i < (last ? 1 : LM_BLOCK_LINEARS); i++) {
            lm_linear *linear = last ? &self->head : lm_model_linear(self, lm_block_linears[i], layer);
            if (linear == NULL) {
                continue;
            }
            size_t bytes = lm_linear_packed_bytes(context, linear);
            if (base != NULL) {
                linear->forward = base + used;
                linear->placed = true;
            }
            if (bytes == 0 || __builtin_add_overflow(used, bytes, &used)) {
                return 0;
            }
        }
    }
    return used > PTRDIFF_MAX - 64 ? 0 : used + 64; /* kernels may read so much past the end */
}

temper_status lm_model_place(const lm_context *context, lm_model *self, temper_error *error) {
    size_t bytes = place_all(context, self, NULL);
    self->packed = bytes == 0 ? NULL : lm_allocate_large(bytes);
    if (self->packed == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for packed weights: %zu bytes", bytes);
    }
    place_all(context, self, self->packed);
    return TEMPER_OK;
}

temper_status lm_model_pack(const lm_context *context, lm_model *self, bool training, temper_error *error) {
    temper_status status = TEMPER_OK;
    if (self->config.tied) {
        self->head.w = self->embedding;
    }
    if (self->packed == NULL) {
        status = lm_model_place(context, self, error);
    }
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        for (size_t layer = 0; layer < layers_of(self, (lm_role)role); layer++) {
            lm_model_pack_norm(self, (lm_role)role, layer);
        }
    }
    for (size_t layer = 0; !status && layer < self->config.layers; layer++) {
        for (size_t i = 0; !status && i < LM_BLOCK_LINEARS; i++) {
            lm_linear *linear = lm_model_linear(self, lm_block_linears[i], layer);
            status = linear == NULL ? TEMPER_OK : lm_linear_pack(context, linear, training, error);
        }
    }
    return status ? status : lm_linear_pack(context, &self->head, training, error);
}

temper_status lm_model_reserve(const lm_context *context, const lm_model *self, size_t rows,
                               temper_error *error) {
    size_t bytes = lm_linear_scratch(context, &self->head, rows);
    /* Every layer has these shapes, but an adapter's rank may be a layer's own. */
    for (size_t layer = 0; layer < (self->lora_rank == 0 ? 1 : self->config.layers); layer++) {
        for (size_t i = 0; i < LM_BLOCK_LINEARS; i++) {
            const lm_linear *linear = lm_model_linear((lm_model *)(uintptr_t)self, lm_block_linears[i], layer);
            size_t bytes_of_one = linear == NULL ? 0 : lm_linear_scratch(context, linear, rows);
            bytes = bytes_of_one > bytes ? bytes_of_one : bytes;
        }
    }
    return lm_context_reserve(context, bytes, error);
}

uint64_t lm_model_parameters(const lm_model *self) {
    uint64_t total = 0;
    for (int role = 0; role < LM_ROLE_COUNT; role++) {
        unsigned rank;
        size_t shape[2];
        lm_role_shape(&self->config, (lm_role)role, &rank, shape);
        if (rank != 0) {
            total += (uint64_t)shape[0] * (rank == 2 ? shape[1] : 1) *
                     (lm_role_per_layer((lm_role)role) ? self->config.layers : 1);
        }
    }
    return total;
}

static void free_norm(lm_norm_weights *norm) {
    free(norm->w);
    free(norm->b);
    free(norm->plus_one);
}

void lm_model_close(lm_model *self) {
    if (self == NULL) {
        return;
    }
    lm_adapters_free(self);
    for (size_t layer = 0; self->blocks != NULL && layer < self->config.layers; layer++) {
        lm_block *block = &self->blocks[layer];
        for (size_t i = 0; i < LM_BLOCK_LINEARS; i++) {
            lm_linear_free(block_linear(block, lm_block_linears[i]));
        }
        free_norm(&block->attention_norm);
        free_norm(&block->feed_norm);
        free_norm(&block->query_norm);
        free_norm(&block->key_norm);
        free_norm(&block->attention_post_norm);
        free_norm(&block->feed_post_norm);
    }
    if (self->config.tied) {
        self->head.w = NULL;
    }
    lm_linear_free(&self->head);
    free_norm(&self->final_norm);
    free(self->blocks);
    free(self->embedding);
    free(self->position_embedding);
    lm_rope_close(&self->rope);
    lm_rope_close(&self->local_rope);
    free(self->packed);
    free(self);
}

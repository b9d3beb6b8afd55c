/* merged.c: a base's weights with what its adapters add.
 *
 * Invariant: an element is W + sum over adapters, in order, of (weight * scale) * (sum over ranks, in order, of b a), in
 * double, rounded to f32 once; rows are shared out among threads, each owning its own. */
#include "internal.h"

temper_status lm_merged_open(const lm_file_set *files, const double *weights, lm_parallel parallel,
                             lm_merged **out, temper_error *error) {
    size_t count = lm_adapter_count(files);
    lm_merged *self = calloc(1, sizeof *self);
    temper_status status;
    *out = NULL;
    if (self != NULL) {
        self->parallel = parallel;
        self->adapters = calloc(count + 1, sizeof *self->adapters);
        self->weights = calloc(count + 1, sizeof *self->weights);
    }
    if (self == NULL || self->adapters == NULL || self->weights == NULL) {
        lm_merged_close(self);
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for %zu adapters", count);
    }
    status = lm_checkpoint_open(files, &self->base, error);
    for (size_t i = 0; i < count && !status; i++) {
        self->weights[i] = weights == NULL ? 1.0 : weights[i];
        status = lm_adapter_open_at(files, i, lm_checkpoint_config(self->base), &self->adapters[i], error);
        if (status && count > 1) {
            status = temper_fail_in(error, status, "adapter %zu", i + 1);
        }
        self->count += status == TEMPER_OK;
    }
    if (status) {
        lm_merged_close(self);
        return status;
    }
    *out = self;
    return TEMPER_OK;
}

const lm_config *lm_merged_config(const lm_merged *self) {
    return lm_checkpoint_config(self->base);
}

size_t lm_merged_adapters(const lm_merged *self) {
    return self->count;
}

lm_dtype lm_merged_dtype(const lm_merged *self) {
    lm_dtype type = lm_checkpoint_dtype(self->base);
    return lm_dtype_size(type) > 0 || type == LM_Q8_0 ? type : LM_F16;
}

/* One adapter's share of a matrix being merged. */
struct share {
    size_t rank;
    double scale;
    float *a, *b;
};

struct merging {
    float *out;
    size_t rows, inputs;
    const struct share *shares;
    size_t count;
    double *sums; /* [workers][inputs] */
};

static void merge_row(void *context, size_t row, size_t worker) {
    const struct merging *self = context;
    double *sum = self->sums + worker * self->inputs;
    float *out = self->out + row * self->inputs;
    for (size_t i = 0; i < self->inputs; i++) {
        sum[i] = (double)out[i];
    }
    for (size_t k = 0; k < self->count; k++) {
        const struct share *share = &self->shares[k];
        for (size_t r = 0; r < share->rank; r++) {
            double factor = share->scale * (double)share->b[row * share->rank + r];
            const float *a = share->a + r * self->inputs;
            for (size_t i = 0; i < self->inputs; i++) {
                sum[i] += factor * (double)a[i];
            }
        }
    }
    for (size_t i = 0; i < self->inputs; i++) {
        out[i] = (float)sum[i];
    }
}

static temper_status read_share(const lm_merged *self, size_t adapter, lm_role role, size_t layer,
                                const size_t shape[2], struct share *out, temper_error *error) {
    size_t rank;
    double scale;
    if (!lm_adapter_pair(self->adapters[adapter], role, layer, &rank, &scale)) {
        return TEMPER_OK;
    }
    *out = (struct share){rank, self->weights[adapter] * scale, malloc(rank * shape[1] * sizeof(float) + 1),
                          malloc(rank * shape[0] * sizeof(float) + 1)};
    if (out->a == NULL || out->b == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for an adapter of rank %zu", rank);
    }
    lm_adapter_read(self->adapters[adapter], role, layer, out->a, out->b);
    return TEMPER_OK;
}

temper_status lm_merged_read(const lm_merged *self, lm_role role, size_t layer, float *out,
                             temper_error *error) {
    size_t shape[2];
    unsigned rank;
    temper_status status = lm_checkpoint_read(self->base, role, layer, out, error);
    if (status || self->count == 0 || lm_role_module(lm_merged_config(self), role) == NULL) {
        return status;
    }
    lm_role_shape(lm_merged_config(self), role, &rank, shape);
    struct share *shares = calloc(self->count, sizeof *shares);
    struct merging merging = {out,         shape[0],
                              shape[1],    shares,
                              self->count, malloc(self->parallel.workers * shape[1] * sizeof(double) + 1)};
    if (shares == NULL || merging.sums == NULL) {
        status = temper_fail(error, TEMPER_NO_MEMORY, "no memory to merge a matrix");
        goto out;
    }
    for (size_t i = 0; i < self->count && !status; i++) {
        status = read_share(self, i, role, layer, shape, &shares[i], error);
    }
    if (!status) {
        self->parallel.run(self->parallel.self, merging.rows, merge_row, &merging);
    }
out:
    for (size_t i = 0; shares != NULL && i < self->count; i++) {
        free(shares[i].a);
        free(shares[i].b);
    }
    free(shares);
    free(merging.sums);
    return status;
}

void lm_merged_close(lm_merged *self) {
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        lm_adapter_close(self->adapters[i]);
    }
    lm_checkpoint_close(self->base);
    free(self->adapters);
    free(self->weights);
    free(self);
}

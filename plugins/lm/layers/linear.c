/* linear.c: y = x W^T + b, with a LoRA pair applied on top.
 *
 * Invariant: an output is one chain over the inputs in ascending order (kernels.h), then + bias, then the adapter's
 * chain continued from there; rows and panels of outputs are only dealt to workers. */
#include "layers.h"

#include <stdlib.h>

static temper_status pack(const lm_context *context, const lm_real *b, size_t k, size_t n, size_t stride,
                          bool transposed, void **packed, temper_error *error) {
    if (*packed == NULL) {
        *packed = lm_allocate((n + LM_PANEL - 1) / LM_PANEL, context->product->panel_bytes(k));
        if (*packed == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a packed matrix of %zu x %zu", k, n);
        }
    }
    context->product->pack(*packed, b, k, n, stride, transposed);
    return TEMPER_OK;
}

temper_status lm_linear_pack(const lm_context *context, lm_linear *self, bool training, temper_error *error) {
    size_t outputs = self->outputs, inputs = self->inputs;
    temper_status status = pack(context, self->w, inputs, outputs, inputs, true, &self->forward, error);
    if (!status && training) {
        status = pack(context, self->w, outputs, inputs, inputs, false, &self->backward, error);
    }
    if (!status && self->lora != NULL) {
        status = lm_lora_pack(context, self, self->lora, training, error);
    }
    return status;
}

temper_status lm_lora_pack(const lm_context *context, const lm_linear *linear, lm_lora *self, bool training,
                           temper_error *error) {
    size_t outputs = linear->outputs, inputs = linear->inputs, rank = self->rank;
    temper_status status = pack(context, self->a, inputs, rank, inputs, true, &self->a_forward, error);
    if (!status) {
        status = pack(context, self->b, rank, outputs, rank, true, &self->b_forward, error);
    }
    if (!status && training) {
        status = pack(context, self->a, rank, inputs, inputs, false, &self->a_backward, error);
    }
    if (!status && training) {
        status = pack(context, self->b, outputs, rank, rank, false, &self->b_backward, error);
    }
    return status;
}

void lm_linear_free(lm_linear *self) {
    free(self->w);
    free(self->bias);
    free(self->forward);
    free(self->backward);
    if (self->lora != NULL) {
        lm_lora *lora = self->lora;
        free(lora->a);
        free(lora->b);
        free(lora->a_forward);
        free(lora->b_forward);
        free(lora->a_backward);
        free(lora->b_backward);
        free(lora->da);
        free(lora->db);
        free(lora);
    }
    *self = (lm_linear){0};
}

size_t lm_linear_scratch(const lm_context *context, const lm_linear *self, size_t rows) {
    size_t k = self->inputs > self->outputs ? self->inputs : self->outputs;
    if (self->lora != NULL && self->lora->rank > k) {
        k = self->lora->rank;
    }
    /* Weight gradients reduce over rows, each sequence padded to an even count. */
    if (k < 2 * rows) {
        k = 2 * rows;
    }
    return context->product->scratch_bytes(k);
}

typedef struct forward_job {
    const lm_context *context;
    const lm_linear *self;
    const lm_real *x;
    size_t rows;
    lm_real *y, *hidden;
} forward_job;

/* scale * (x A^T) for rows begin .. end. */
static void hidden_rows(const forward_job *job, size_t begin, size_t end, size_t worker) {
    const lm_lora *lora = job->self->lora;
    size_t inputs = job->self->inputs;
    lm_real *hidden = job->hidden + begin * lora->rank;
    job->context->product->multiply(end - begin, lora->rank, inputs, job->x + begin * inputs, inputs, false,
                                    lora->a_forward, hidden, lora->rank, false,
                                    lm_context_scratch(job->context, worker));
    job->context->kernels->scale(hidden, lora->scale, (end - begin) * lora->rank);
}

/* Outputs of panels first .. last, of rows begin .. end. */
static void output_block(const forward_job *job, size_t begin, size_t end, size_t first, size_t last,
                         size_t worker) {
    const lm_linear *self = job->self;
    const lm_product *product = job->context->product;
    void *scratch = lm_context_scratch(job->context, worker);
    size_t inputs = self->inputs, outputs = self->outputs, column = first * LM_PANEL;
    size_t n = last * LM_PANEL < outputs ? (last - first) * LM_PANEL : outputs - column;
    lm_real *y = job->y + begin * outputs + column;
    product->multiply(end - begin, n, inputs, job->x + begin * inputs, inputs, false,
                      (const char *)self->forward + first * product->panel_bytes(inputs), y, outputs, false,
                      scratch);
    if (self->bias != NULL) {
        for (size_t row = 0; row < end - begin; row++) {
            job->context->kernels->add(y + row * outputs, self->bias + column, n);
        }
    }
    if (self->lora != NULL) {
        size_t rank = self->lora->rank;
        product->multiply(end - begin, n, rank, job->hidden + begin * rank, rank, false,
                          (const char *)self->lora->b_forward + first * product->panel_bytes(rank), y,
                          outputs, true, scratch);
    }
}

static void forward_rows(void *argument, size_t begin, size_t end, size_t worker) {
    const forward_job *job = argument;
    if (job->self->lora != NULL) {
        hidden_rows(job, begin, end, worker);
    }
    output_block(job, begin, end, 0, (job->self->outputs + LM_PANEL - 1) / LM_PANEL, worker);
}

static void forward_panels(void *argument, size_t begin, size_t end, size_t worker) {
    const forward_job *job = argument;
    output_block(job, 0, job->rows, begin, end, worker);
}

void lm_linear_forward(const lm_context *context, const lm_linear *self, const lm_real *x, size_t rows,
                       lm_real *y, lm_real *lora_hidden) {
    forward_job job = {context, self, x, rows, y, lora_hidden};
    size_t work = rows * self->inputs * self->outputs;
    if (rows == 0) {
        return;
    }
    /* Many rows: each worker packs its own and reads all weights. Few: the weights are what costs, so deal panels. */
    if (rows >= 48 * context->parallel.workers) {
        lm_context_ranges(context, work, rows, 12, forward_rows, &job);
        return;
    }
    if (self->lora != NULL) {
        hidden_rows(&job, 0, rows, 0);
    }
    lm_context_ranges(context, work, (self->outputs + LM_PANEL - 1) / LM_PANEL, 1, forward_panels, &job);
}

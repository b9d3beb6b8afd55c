/* linear.c: y = x W^T + b, with a LoRA pair applied on top.
 *
 * Invariant: an output is one chain over the inputs in ascending order (kernels.h), then + bias, then the adapter's
 * chain continued from there; rows and panels of outputs are only dealt to workers.
 *
 * Backward, per sequence s with rows t:
 *   dx [t] = dy[t] W  (+ (dy[t] scale B) A)      dW += sum over t of dy[t]^T x[t]
 *   dB += sum over t of dy[t]^T (scale h[t])     dA += sum over t of (scale dy[t] B)^T x[t]
 * A weight's gradient is one chain over rows, in order; each sequence is a segment of its own, so that the pairs of
 * bf16/1 never cross sequences. It runs on the caller: training deals shards to workers, not rows. */
#include "layers.h"

#include <stdlib.h>

static temper_status pack(const lm_product *product, const lm_real *b, size_t k, size_t n, size_t stride,
                          bool transposed, void **packed, temper_error *error) {
    if (*packed == NULL) {
        *packed = lm_allocate((n + LM_PANEL - 1) / LM_PANEL, product->panel_bytes(k));
        if (*packed == NULL) {
            return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a packed matrix of %zu x %zu", k, n);
        }
    }
    product->pack(*packed, b, k, n, stride, transposed);
    return TEMPER_OK;
}

temper_status lm_linear_pack(const lm_context *context, lm_linear *self, bool training, temper_error *error) {
    size_t outputs = self->outputs, inputs = self->inputs;
    temper_status status =
        pack(context->product, self->w, inputs, outputs, inputs, true, &self->forward, error);
    if (!status && training) {
        status = pack(context->product, self->w, outputs, inputs, inputs, false, &self->backward, error);
    }
    if (!status && self->lora != NULL) {
        status = lm_lora_pack(context, self, self->lora, training, error);
    }
    return status;
}

temper_status lm_lora_pack(const lm_context *context, const lm_linear *linear, lm_lora *self, bool training,
                           temper_error *error) {
    size_t outputs = linear->outputs, inputs = linear->inputs, rank = self->rank;
    temper_status status =
        pack(context->between, self->a, inputs, rank, inputs, true, &self->a_forward, error);
    if (!status) {
        status = pack(context->between, self->b, rank, outputs, rank, true, &self->b_forward, error);
    }
    if (!status && training) {
        status = pack(context->between, self->a, rank, inputs, inputs, false, &self->a_backward, error);
    }
    if (!status && training) {
        status = pack(context->between, self->b, outputs, rank, rank, false, &self->b_backward, error);
    }
    return status;
}

void lm_lora_free(lm_lora *self) {
    if (self == NULL) {
        return;
    }
    free(self->a);
    free(self->b);
    free(self->a_forward);
    free(self->b_forward);
    free(self->a_backward);
    free(self->b_backward);
    free(self);
}

void lm_linear_free(lm_linear *self) {
    free(self->w);
    free(self->bias);
    if (!self->placed) {
        free(self->forward);
    }
    free(self->backward);
    lm_lora_free(self->lora);
    *self = (lm_linear){0};
}

static size_t aligned(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

/* Of a packed B of k x n. */
static size_t packed_bytes(const lm_context *context, size_t k, size_t n) {
    return aligned((n + LM_PANEL - 1) / LM_PANEL * context->product->panel_bytes(k));
}

size_t lm_linear_packed_bytes(const lm_context *context, const lm_linear *self) {
    size_t panels = (self->outputs + LM_PANEL - 1) / LM_PANEL, bytes;
    if (__builtin_mul_overflow(panels, context->product->panel_bytes(self->inputs), &bytes) ||
        bytes > PTRDIFF_MAX - 64) {
        return 0;
    }
    return aligned(bytes);
}

/* --- forward: several layers of one input --- */

/* Rows whose input is packed at a time. */
enum { LEFT_ROWS = 256 };

/* A worker's scratch: what products and adapters need, then the packed input. */
static size_t left_offset(const lm_context *context, size_t k) {
    size_t bytes = context->product->scratch_bytes(k), other = context->between->scratch_bytes(k);
    return aligned(bytes > other ? bytes : other);
}

size_t lm_linear_scratch(const lm_context *context, const lm_linear *self, size_t rows) {
    size_t k = self->inputs > self->outputs ? self->inputs : self->outputs;
    if (self->lora != NULL && self->lora->rank > k) {
        k = self->lora->rank;
    }
    if (k < rows) { /* weight gradients reduce over rows */
        k = rows;
    }
    size_t bytes = left_offset(context, k), forward = context->product->left_bytes(LEFT_ROWS, self->inputs);
    size_t backward = 0;
    if (rows > 0) {
        backward = packed_bytes(context, rows, self->inputs);
        if (self->lora != NULL) {
            backward += packed_bytes(context, rows, self->lora->rank) +
                        aligned(rows * self->lora->rank * sizeof(lm_real));
        }
    }
    return bytes + (forward > backward ? forward : backward);
}

typedef struct forward_job {
    const lm_context *context;
    const lm_linear_output *outputs;
    size_t count, inputs;
    const lm_real *x;
    size_t first, rows; /* of all: those at work */
    const void *left;   /* packed */
} forward_job;

static size_t panels_of(const lm_linear *self) {
    return (self->outputs + LM_PANEL - 1) / LM_PANEL;
}

/* scale * (x A^T) of the rows at work. */
static void hidden_rows(const forward_job *job, const lm_linear_output *output, void *scratch) {
    const lm_lora *lora = output->linear->lora;
    lm_real *hidden = output->lora_hidden + job->first * lora->rank;
    job->context->between->multiply(job->rows, lora->rank, job->inputs, job->x + job->first * job->inputs,
                                    job->inputs, false, lora->a_forward, hidden, lora->rank, false, scratch);
    job->context->kernels->scale(hidden, lora->scale, job->rows * lora->rank);
}

static void all_hidden_rows(const forward_job *job, void *scratch) {
    for (size_t i = 0; i < job->count; i++) {
        if (job->outputs[i].linear->lora != NULL) {
            hidden_rows(job, &job->outputs[i], scratch);
        }
    }
}

/* Outputs of panels first .. last of one layer. */
static void output_block(const forward_job *job, const lm_linear_output *output, size_t first, size_t last,
                         void *scratch) {
    const lm_linear *self = output->linear;
    const lm_product *product = job->context->product;
    size_t panel = product->panel_bytes(self->inputs), outputs = self->outputs, column = first * LM_PANEL;
    size_t n = last * LM_PANEL < outputs ? (last - first) * LM_PANEL : outputs - column;
    lm_real *y = output->y + job->first * outputs + column;
    product->multiply_left(job->rows, n, self->inputs, job->left, (const char *)self->forward + first * panel,
                           panel, y, outputs, false);
    if (self->bias != NULL) {
        for (size_t row = 0; row < job->rows; row++) {
            job->context->kernels->add(y + row * outputs, self->bias + column, n);
        }
    }
    if (self->lora != NULL) {
        size_t rank = self->lora->rank;
        const lm_product *between = job->context->between;
        between->multiply(job->rows, n, rank, output->lora_hidden + job->first * rank, rank, false,
                          (const char *)self->lora->b_forward + first * between->panel_bytes(rank), y,
                          outputs, true, scratch);
    }
}

/* Panels begin .. end of all layers, counted through. */
static void forward_panels(void *argument, size_t begin, size_t end, size_t worker) {
    const forward_job *job = argument;
    void *scratch = lm_context_scratch(job->context, worker);
    for (size_t i = 0; i < job->count && begin < end; i++) {
        size_t panels = panels_of(job->outputs[i].linear);
        if (begin < panels) {
            output_block(job, &job->outputs[i], begin, end < panels ? end : panels, scratch);
            begin = panels;
        }
        begin -= panels;
        end = end > panels ? end - panels : 0;
    }
}

static void pack_input(const forward_job *job, void *left) {
    job->context->product->pack_left(left, job->rows, job->inputs, job->x + job->first * job->inputs,
                                     job->inputs);
}

/* All outputs of some rows, by one worker. */
static void forward_rows(void *argument, size_t begin, size_t end, size_t worker) {
    forward_job job = *(const forward_job *)argument;
    void *scratch = lm_context_scratch(job.context, worker);
    void *left = (char *)scratch + left_offset(job.context, job.inputs);
    for (job.first = begin; job.first < end; job.first += LEFT_ROWS) {
        job.rows = end - job.first < LEFT_ROWS ? end - job.first : LEFT_ROWS;
        job.left = left;
        pack_input(&job, left);
        all_hidden_rows(&job, scratch);
        for (size_t i = 0; i < job.count; i++) {
            output_block(&job, &job.outputs[i], 0, panels_of(job.outputs[i].linear), scratch);
        }
    }
}

void lm_linear_forward_all(const lm_context *context, const lm_linear_output *outputs, size_t count,
                           const lm_real *x, size_t rows) {
    size_t inputs = outputs[0].linear->inputs, panels = 0;
    forward_job job = {.context = context, .outputs = outputs, .count = count, .inputs = inputs, .x = x};
    for (size_t i = 0; i < count; i++) {
        panels += panels_of(outputs[i].linear);
    }
    /* Many rows: each worker packs its own and reads all weights. Few: the weights are what costs, so deal panels. */
    if (rows >= 48 * context->parallel.workers) {
        lm_context_ranges(context, rows * inputs * panels * LM_PANEL, rows, 4, forward_rows, &job);
        return;
    }
    void *scratch = lm_context_scratch(context, 0), *left = (char *)scratch + left_offset(context, inputs);
    for (job.first = 0; job.first < rows; job.first += LEFT_ROWS) {
        job.rows = rows - job.first < LEFT_ROWS ? rows - job.first : LEFT_ROWS;
        job.left = left;
        pack_input(&job, left);
        all_hidden_rows(&job, scratch);
        lm_context_ranges(context, job.rows * inputs * panels * LM_PANEL, panels, 1, forward_panels, &job);
    }
}

void lm_linear_forward(const lm_context *context, const lm_linear *self, const lm_real *x, size_t rows,
                       lm_real *y, lm_real *lora_hidden) {
    lm_linear_output output = {self, y, lora_hidden};
    lm_linear_forward_all(context, &output, 1, x, rows);
}

/* Scratch of one backward call: for A's packing first, then what is made here. */
typedef struct backward_job {
    const lm_context *context;
    const lm_linear *self;
    void *scratch, *packed_x, *packed_hidden;
    lm_real *dhidden;
} backward_job;

static backward_job backward_memory(const lm_context *context, const lm_linear *self, size_t rows) {
    backward_job job = {.context = context, .self = self, .scratch = lm_context_scratch(context, 0)};
    size_t k = self->inputs > self->outputs ? self->inputs : self->outputs;
    size_t rank = self->lora == NULL ? 0 : self->lora->rank;
    k = k < rank ? rank : k;
    k = k < rows ? rows : k;
    char *next = (char *)job.scratch + aligned(context->product->scratch_bytes(k));
    job.packed_x = next;
    next += packed_bytes(context, rows, self->inputs);
    job.packed_hidden = next;
    job.dhidden = (lm_real *)(void *)(next + packed_bytes(context, rows, rank));
    return job;
}

/* C [m][n] += A^T B over `count` rows: A [count][m], B packed [count][n]. */
static void add_outer(const backward_job *job, size_t m, size_t n, size_t count, const lm_real *a,
                      const void *packed, lm_real *c) {
    job->context->product->multiply(m, n, count, a, m, true, packed, c, n, true, job->scratch);
}

/* dh = scale * (dy B), dx += dh A. */
static void lora_dx(const backward_job *job, const lm_real *dy, size_t rows, lm_real *dx) {
    const lm_product *product = job->context->product;
    const lm_lora *lora = job->self->lora;
    size_t outputs = job->self->outputs, inputs = job->self->inputs, rank = lora->rank;
    product->multiply(rows, rank, outputs, dy, outputs, false, lora->b_backward, job->dhidden, rank, false,
                      job->scratch);
    job->context->kernels->scale(job->dhidden, lora->scale, rows * rank);
    if (dx != NULL) {
        product->multiply(rows, inputs, rank, job->dhidden, rank, false, lora->a_backward, dx, inputs, true,
                          job->scratch);
    }
}

void lm_linear_backward(const lm_context *context, const lm_linear *self, const lm_real *x,
                        const lm_real *lora_hidden, const lm_real *dy, lm_rows rows, lm_real *dx, bool add_dx,
                        lm_real *dw, lm_real *dbias, lm_real *da, lm_real *db) {
    size_t count = rows.offsets[rows.sequences], outputs = self->outputs, inputs = self->inputs;
    backward_job job = backward_memory(context, self, count);
    const lm_product *product = context->product;
    if (dx != NULL) {
        product->multiply(count, inputs, outputs, dy, outputs, false, self->backward, dx, inputs, add_dx,
                          job.scratch);
    }
    if (self->lora != NULL) {
        lora_dx(&job, dy, count, dx);
    }
    for (size_t row = 0; dbias != NULL && row < count; row++) {
        context->kernels->add(dbias, dy + row * outputs, outputs);
    }
    for (size_t s = 0; s < rows.sequences; s++) {
        size_t first = rows.offsets[s], n = rows.offsets[s + 1] - first;
        if (n == 0) {
            continue;
        }
        if (dw != NULL || da != NULL) {
            product->pack(job.packed_x, x + first * inputs, n, inputs, inputs, false);
        }
        if (dw != NULL) {
            add_outer(&job, outputs, inputs, n, dy + first * outputs, job.packed_x, dw);
        }
        if (da != NULL) {
            size_t rank = self->lora->rank;
            add_outer(&job, rank, inputs, n, job.dhidden + first * rank, job.packed_x, da);
        }
        if (db != NULL) {
            size_t rank = self->lora->rank;
            product->pack(job.packed_hidden, lora_hidden + first * rank, n, rank, rank, false);
            add_outer(&job, outputs, rank, n, dy + first * outputs, job.packed_hidden, db);
        }
    }
}

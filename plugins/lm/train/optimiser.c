/* optimiser.c: the gradient's norm, and one step of AdamW, Lion or SGD.
 *
 * The flat vector is cut into pieces of PIECE values, whoever computes them. A piece's sum of squares goes over sixteen
 * stripes in double, then one tree; pieces are added in order. The step itself is elementwise: AdamW's is a kernel
 * (kernels.h), the other two are plain products and sums in lm_real, each rounded. Rates and corrections are computed in
 * double with temper/math.h and rounded once. */
#include "internal.h"

#include <math.h>
#include <stdlib.h>
#include <temper/math.h>

enum { PIECE = 16384, STRIPES = 16 };

temper_status lm_pieces_init(lm_trainer *self, temper_error *error) {
    size_t count = 0;
    for (size_t i = 0; i < self->trained_count; i++) {
        count += (self->trained[i].count + PIECE - 1) / PIECE;
    }
    self->pieces = calloc(count, sizeof *self->pieces);
    if (self->pieces == NULL) {
        return temper_fail(error, TEMPER_NO_MEMORY, "no memory for a list of %zu pieces", count);
    }
    for (size_t i = 0; i < self->trained_count; i++) {
        size_t all = self->trained[i].count;
        for (size_t start = 0; start < all; start += PIECE) {
            struct lm_piece *piece = &self->pieces[self->piece_count++];
            piece->tensor = i;
            piece->start = start;
            piece->count = all - start < PIECE ? all - start : PIECE;
        }
    }
    return TEMPER_OK;
}

/* AdamW has two moments, Lion one, SGD one if it has momentum. */
temper_status lm_moments_reserve(lm_trainer *self, temper_error *error) {
    const lm_train_options *options = &self->options;
    bool first = options->optimiser != LM_SGD || options->beta1 > 0, second = options->optimiser == LM_ADAMW;
    if (first && self->moment1 == NULL) {
        self->moment1 = lm_train_allocate(self->parameters, 1);
    }
    if (second && self->moment2 == NULL) {
        self->moment2 = lm_train_allocate(self->parameters, 1);
    }
    return (first && self->moment1 == NULL) || (second && self->moment2 == NULL)
               ? temper_fail(error, TEMPER_NO_MEMORY, "no memory for the moments of %zu values",
                             self->parameters)
               : TEMPER_OK;
}

static void square_piece(void *context, size_t index, size_t worker) {
    lm_trainer *self = context;
    struct lm_piece *piece = &self->pieces[index];
    const lm_real *g = self->gradient + self->trained[piece->tensor].offset + piece->start;
    double stripes[STRIPES] = {0};
    (void)worker;
    size_t i = 0;
    for (; i + STRIPES <= piece->count; i += STRIPES) {
        for (size_t s = 0; s < STRIPES; s++) {
            stripes[s] += (double)g[i + s] * (double)g[i + s];
        }
    }
    for (size_t s = 0; i + s < piece->count; s++) {
        stripes[s] += (double)g[i + s] * (double)g[i + s];
    }
    for (size_t half = STRIPES / 2; half > 0; half /= 2) {
        for (size_t s = 0; s < half; s++) {
            stripes[s] += stripes[s + half];
        }
    }
    piece->squares = stripes[0];
}

/* c = b1 m + (1 - b1) g;  w -= rate (sign c + decay w);  m = b2 m + (1 - b2) g */
static void lion(lm_real *w, lm_real *m, const lm_real *gradient, lm_real scale, lm_real rate, lm_real beta1,
                 lm_real beta2, lm_real decay, size_t n) {
    lm_real rest1 = 1 - beta1, rest2 = 1 - beta2;
    for (size_t i = 0; i < n; i++) {
        lm_real g = gradient[i] * scale, c = beta1 * m[i] + rest1 * g;
        lm_real sign = (lm_real)((c > 0) - (c < 0));
        w[i] -= rate * (sign + decay * w[i]);
        m[i] = beta2 * m[i] + rest2 * g;
    }
}

/* g += decay w;  m = momentum m + g (the first time g);  w -= rate m */
static void sgd(lm_real *w, lm_real *m, const lm_real *gradient, lm_real scale, lm_real rate,
                lm_real momentum, lm_real decay, size_t n) {
    for (size_t i = 0; i < n; i++) {
        lm_real g = gradient[i] * scale + decay * w[i];
        if (m != NULL) {
            m[i] = momentum * m[i] + g;
            g = m[i];
        }
        w[i] -= rate * g;
    }
}

typedef struct stepping {
    lm_trainer *trainer;
    lm_real scale, rate, decay, beta1, beta2, epsilon, correction1, correction2;
} stepping;

static void step_piece(void *context, size_t index, size_t worker) {
    const stepping *self = context;
    lm_trainer *trainer = self->trainer;
    const struct lm_piece *piece = &trainer->pieces[index];
    const lm_trained *tensor = &trainer->trained[piece->tensor];
    size_t at = tensor->offset + piece->start;
    lm_real decay = tensor->decays ? self->decay : 0, *values = tensor->values + piece->start;
    (void)worker;
    if (trainer->options.optimiser == LM_LION) {
        lion(values, trainer->moment1 + at, trainer->gradient + at, self->scale, self->rate, self->beta1,
             self->beta2, decay, piece->count);
        return;
    }
    if (trainer->options.optimiser == LM_SGD) {
        sgd(values, trainer->moment1 != NULL ? trainer->moment1 + at : NULL, trainer->gradient + at,
            self->scale, self->rate, self->beta1, decay, piece->count);
        return;
    }
    trainer->outer->kernels->adamw(values, trainer->moment1 + at, trainer->moment2 + at,
                                   trainer->gradient + at, self->scale, self->rate, self->beta1, self->beta2,
                                   self->epsilon, decay, self->correction1, self->correction2, piece->count);
}

/* 1 / (1 - beta^step), of beta as the step uses it: as an lm_real. With any other a long memory starts too small or too
 * large (0.99999 by 0.07%). */
static lm_real correction(double beta, size_t step) {
    return (lm_real)(1 / (1 - temper_pow((double)(lm_real)beta, (double)step)));
}

temper_status lm_trainer_apply(lm_trainer *self, double rate, double *norm, temper_error *error) {
    const lm_train_options *options = &self->options;
    const lm_parallel *parallel = &self->outer->parallel;
    if (self->gradient == NULL) {
        return temper_fail(error, TEMPER_FAILED, "there is no gradient to apply");
    }
    parallel->run(parallel->self, self->piece_count, square_piece, self);
    double squares = 0;
    for (size_t i = 0; i < self->piece_count; i++) {
        squares += self->pieces[i].squares;
    }
    *norm = sqrt(squares) * self->gradient_scale;
    if (!isfinite(*norm)) {
        return temper_fail(
            error, TEMPER_FAILED,
            "the gradient is not finite at step %zu: the learning rate is too high, or the model is broken",
            self->step + 1);
    }
    double scale = self->gradient_scale;
    if (options->clip > 0 && *norm > options->clip) {
        scale *= options->clip / (*norm + 1e-6);
    }
    temper_status status = lm_moments_reserve(self, error);
    if (status) {
        return status;
    }
    self->step++;
    stepping job = {.trainer = self,
                    .scale = (lm_real)scale,
                    .rate = (lm_real)rate,
                    .decay = (lm_real)options->weight_decay,
                    .beta1 = (lm_real)options->beta1,
                    .beta2 = (lm_real)options->beta2,
                    .epsilon = (lm_real)options->epsilon,
                    .correction1 = correction(options->beta1, self->step),
                    .correction2 = correction(options->beta2, self->step)};
    parallel->run(parallel->self, self->piece_count, step_piece, &job);
    return lm_trainer_pack(self, error);
}

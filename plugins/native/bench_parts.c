/* bench_parts.c: where the time goes, told by kernels that look at the clock.
 *
 * A copy of the kernel set has every function wrapped: it runs the real one and adds the time to the part of the model it
 * works for. Products are told apart by the packed weights they read; what reads none of them is attention. All that is
 * between the kernels (hand-offs, waiting, gathering rows, choosing tokens) is what is left of the threads' time. The
 * clock costs some 50 ns a call: the shares are right to a per cent or two, the figures are measured without it. */
#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum part {
    PACKING,
    QKV,
    ATTENTION_PRODUCTS,
    SOFTMAX,
    OUTPUT,
    FEED,
    ACTIVATION,
    NORMS,
    ROPE,
    RESIDUAL,
    HEAD,
    CHOOSING,
    BETWEEN,
    PARTS
};

const char *const bench_part_names[] = {
    [PACKING] = "rows packed",
    [QKV] = "query, key, value",
    [ATTENTION_PRODUCTS] = "attention, products",
    [SOFTMAX] = "attention, softmax",
    [OUTPUT] = "attention, output",
    [FEED] = "feed-forward products",
    [ACTIVATION] = "activation",
    [NORMS] = "norms",
    [ROPE] = "rotary positions",
    [RESIDUAL] = "additions",
    [HEAD] = "vocabulary product",
    [CHOOSING] = "log-sum-exp, choosing",
    [BETWEEN] = "between the kernels",
    [PARTS] = NULL,
};

typedef struct range {
    const char *begin, *end;
    enum part part;
} range;

static struct {
    const lm_kernels *real;
    lm_kernels timed;
    range *ranges;
    size_t count;
    _Atomic uint64_t nanoseconds[PARTS];
} state;

static uint64_t clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void spend(enum part part, uint64_t since) {
    atomic_fetch_add_explicit(&state.nanoseconds[part], clock_now() - since, memory_order_relaxed);
}

static enum part part_of(const void *packed) {
    const char *at = packed;
    size_t low = 0, high = state.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (at >= state.ranges[middle].end) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < state.count && at >= state.ranges[low].begin ? state.ranges[low].part : ATTENTION_PRODUCTS;
}

#define PRODUCT(field)                                                                                       \
    static void multiply_##field(size_t m, size_t n, size_t k, const lm_real *a, size_t a_stride,            \
                                 bool a_transposed, const void *packed, lm_real *c, size_t c_stride,         \
                                 bool accumulate, void *scratch) {                                           \
        uint64_t start = clock_now();                                                                        \
        state.real->field.multiply(m, n, k, a, a_stride, a_transposed, packed, c, c_stride, accumulate,      \
                                   scratch);                                                                 \
        spend(part_of(packed), start);                                                                       \
    }                                                                                                        \
    static void pack_##field(void *packed, const lm_real *b, size_t k, size_t n, size_t stride,              \
                             bool transposed) {                                                              \
        uint64_t start = clock_now();                                                                        \
        state.real->field.pack(packed, b, k, n, stride, transposed);                                         \
        spend(ATTENTION_PRODUCTS, start);                                                                    \
    }                                                                                                        \
    static void pack_left_##field(void *left, size_t m, size_t k, const lm_real *a, size_t a_stride) {       \
        uint64_t start = clock_now();                                                                        \
        state.real->field.pack_left(left, m, k, a, a_stride);                                                \
        spend(PACKING, start);                                                                               \
    }                                                                                                        \
    static void multiply_left_##field(size_t m, size_t n, size_t k, const void *left, const void *packed,    \
                                      size_t panel_bytes, lm_real *c, size_t c_stride, bool accumulate) {    \
        uint64_t start = clock_now();                                                                        \
        state.real->field.multiply_left(m, n, k, left, packed, panel_bytes, c, c_stride, accumulate);        \
        spend(part_of(packed), start);                                                                       \
    }                                                                                                        \
    static void multiply_causal_##field(size_t m, size_t n, size_t k, const lm_real *a, size_t a_stride,     \
                                        const void *packed, size_t panel_bytes, lm_real *c, size_t c_stride, \
                                        bool accumulate, void *scratch) {                                    \
        uint64_t start = clock_now();                                                                        \
        state.real->field.multiply_causal(m, n, k, a, a_stride, packed, panel_bytes, c, c_stride,            \
                                          accumulate, scratch);                                              \
        spend(ATTENTION_PRODUCTS, start);                                                                    \
    }                                                                                                        \
    static void time_##field(lm_product *self) {                                                             \
        self->multiply = multiply_##field;                                                                   \
        self->pack = pack_##field;                                                                           \
        self->pack_left = pack_left_##field;                                                                 \
        self->multiply_left = multiply_left_##field;                                                         \
        self->multiply_causal = self->multiply_causal == NULL ? NULL : multiply_causal_##field;              \
    }
PRODUCT(f32)
PRODUCT(bf16)
PRODUCT(q8)

#define ROW(part, name, parameters, arguments)                                                               \
    static void timed_##name parameters {                                                                    \
        uint64_t start = clock_now();                                                                        \
        state.real->name arguments;                                                                          \
        spend(part, start);                                                                                  \
    }
ROW(NORMS, rms_norm,
    (lm_real * y, lm_real *inverse, const lm_real *x, const lm_real *w, lm_real eps, size_t n),
    (y, inverse, x, w, eps, n))
ROW(NORMS, layer_norm,
    (lm_real * y, lm_real *mean, lm_real *inverse, const lm_real *x, const lm_real *w, const lm_real *b,
     lm_real eps, size_t n),
    (y, mean, inverse, x, w, b, eps, n))
ROW(ACTIVATION, swiglu, (lm_real * y, const lm_real *gate, const lm_real *up, size_t n), (y, gate, up, n))
ROW(ACTIVATION, gelu_new, (lm_real * y, const lm_real *x, size_t n), (y, x, n))
ROW(ROPE, rope, (lm_real * x, const lm_real *cosine, const lm_real *sine, size_t n, bool inverse),
    (x, cosine, sine, n, inverse))
ROW(RESIDUAL, add, (lm_real * y, const lm_real *x, size_t n), (y, x, n))
ROW(SOFTMAX, scale, (lm_real * y, lm_real scale, size_t n), (y, scale, n))
ROW(CHOOSING, log_sum_exp, (lm_real * max, lm_real *log_sum, const lm_real *x, size_t n),
    (max, log_sum, x, n))
ROW(CHOOSING, exp, (lm_real * out, const lm_real *x, size_t n), (out, x, n))

static lm_real timed_softmax_numerators(lm_real *p, lm_real *max_out, const lm_real *x, lm_real scale,
                                        size_t n) {
    uint64_t start = clock_now();
    lm_real sum = state.real->softmax_numerators(p, max_out, x, scale, n);
    spend(SOFTMAX, start);
    return sum;
}

static size_t timed_argmax(const lm_real *x, size_t n) {
    uint64_t start = clock_now();
    size_t index = state.real->argmax(x, n);
    spend(CHOOSING, start);
    return index;
}

const lm_kernels *bench_parts_begin(const lm_kernels *kernels) {
    state.real = kernels;
    state.timed = *kernels;
    time_f32(&state.timed.f32);
    time_bf16(&state.timed.bf16);
    time_q8(&state.timed.q8);
    state.timed.rms_norm = timed_rms_norm, state.timed.layer_norm = timed_layer_norm;
    state.timed.swiglu = timed_swiglu, state.timed.gelu_new = timed_gelu_new;
    state.timed.rope = timed_rope, state.timed.add = timed_add, state.timed.scale = timed_scale;
    state.timed.log_sum_exp = timed_log_sum_exp, state.timed.exp = timed_exp;
    state.timed.softmax_numerators = timed_softmax_numerators, state.timed.argmax = timed_argmax;
    return &state.timed;
}

static int by_begin(const void *a, const void *b) {
    const range *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

void bench_parts_model(lm_model *model) {
    static const struct {
        lm_role role;
        enum part part;
    } roles[] = {{LM_QUERY, QKV}, {LM_KEY, QKV}, {LM_VALUE, QKV}, {LM_OUTPUT, OUTPUT},
                 {LM_GATE, FEED}, {LM_UP, FEED}, {LM_DOWN, FEED}, {LM_HEAD, HEAD}};
    size_t most = sizeof roles / sizeof *roles * (model->config.layers + 1);
    free(state.ranges);
    state.count = 0;
    state.ranges = calloc(most, sizeof *state.ranges);
    for (size_t i = 0; state.ranges != NULL && i < sizeof roles / sizeof *roles; i++) {
        size_t layers = lm_role_per_layer(roles[i].role) ? model->config.layers : 1;
        for (size_t layer = 0; layer < layers; layer++) {
            const lm_linear *linear = lm_model_linear(model, roles[i].role, layer);
            if (linear != NULL && linear->forward != NULL) {
                size_t bytes = (linear->outputs + LM_PANEL - 1) / LM_PANEL *
                               state.timed.bf16.panel_bytes(linear->inputs);
                const char *begin = linear->forward;
                state.ranges[state.count++] = (range){begin, begin + bytes, roles[i].part};
            }
        }
    }
    qsort(state.ranges, state.count, sizeof *state.ranges, by_begin);
}

void bench_parts_reset(void) {
    for (int i = 0; i < PARTS; i++) {
        atomic_store(&state.nanoseconds[i], 0);
    }
}

void bench_parts_read(bench_parts *out, double elapsed, size_t threads) {
    double rest = elapsed * (double)threads;
    for (int i = 0; i < BETWEEN; i++) {
        out->seconds[i] = (double)atomic_load(&state.nanoseconds[i]) * 1e-9;
        rest -= out->seconds[i];
    }
    out->seconds[BETWEEN] = rest > 0 ? rest : 0;
}

void bench_parts_end(void) {
    free(state.ranges);
    state.ranges = NULL;
    state.count = 0;
}

/* rows.h: the row operations of kernels.h over sixteen lanes, written once and compiled for each vector
 * set.
 *
 * Invariant: every lane does the operations of its namesake in scalar.c, in that order. A set includes its
 * vector header first, then this file. Blocks are sixteen elements; lane l of a block is stripe l of a
 * reduction, and lanes past the end of a row neither load, store nor join a sum. */
#ifndef LM_KERNELS_ROWS_H
#define LM_KERNELS_ROWS_H

#include "elementary.h"
#include "kernels.h"

#include <math.h>

enum { LANES = 16 };

#define FOR_BLOCKS(i, n)                                                                                     \
    for (size_t i = 0, lanes = (n) < LANES ? (n) : LANES; i < (n);                                           \
         i += LANES, lanes = (n)-i < LANES ? (n)-i : LANES)

static inline v16 get(const float *p, size_t lanes) {
    return lanes == LANES ? v_load(p) : v_load_first(p, lanes);
}

static inline void put(float *p, v16 x, size_t lanes) {
    if (lanes == LANES) {
        v_store(p, x);
    } else {
        v_store_first(p, x, lanes);
    }
}

/* The stripes after a block: those past the end stay as they were. */
static inline v16 joined(v16 before, v16 after, size_t lanes) {
    return lanes == LANES ? after : v_choose(v_first(lanes), after, before);
}

/* --- elementary functions --- */

static inline v16 exponential(v16 x) {
    v16 shifted, n, r, p;
    i16 whole, half, bias = i_set(127);
    x = v_lesser_of(v_set(LM_EXP_HIGHEST), x);
    x = v_greater_of(v_set(LM_EXP_LOWEST), x);
    shifted = v_fma(x, v_set(LM_EXP_LOG2E), v_set(LM_EXP_MAGIC));
    n = v_sub(shifted, v_set(LM_EXP_MAGIC));
    r = v_fma(n, v_set(-LM_LN2_HIGH), x);
    r = v_fma(n, v_set(-LM_LN2_LOW), r);
    p = v_fma(v_set(LM_EXP_P4), r, v_set(LM_EXP_P3));
    p = v_fma(p, r, v_set(LM_EXP_P2));
    p = v_fma(p, r, v_set(LM_EXP_P1));
    p = v_fma(p, r, v_set(LM_EXP_P0));
    p = v_fma(p, v_mul(r, r), r);
    p = v_add(v_set(1.0f), p);
    whole = i_sub(v_bits(shifted), v_bits(v_set(LM_EXP_MAGIC)));
    half = i_shift_right_signed(whole, 1);
    p = v_mul(p, i_float_of(i_shift_left(i_add(half, bias), 23)));
    return v_mul(p, i_float_of(i_shift_left(i_add(i_sub(whole, half), bias), 23)));
}

static inline v16 logarithm(v16 x) {
    v16 infinity = v_set(INFINITY), e, f, z, p, y, scaled;
    m16 tiny = v_less(x, v_set(0x1p-126f));
    i16 offset, origin = i_set(LM_LOG_ORIGIN);
    scaled = v_choose(tiny, v_mul(x, v_set(0x1p23f)), x);
    offset = i_sub(v_bits(scaled), origin);
    e = i_convert(i_shift_right_signed(offset, 23));
    e = v_sub(e, v_choose(tiny, v_set(23.0f), v_set(0.0f)));
    f = v_sub(i_float_of(i_add(i_and(offset, i_set(0x007fffffu)), origin)), v_set(1.0f));
    p = v_fma(v_set(LM_LOG_P8), f, v_set(LM_LOG_P7));
    p = v_fma(p, f, v_set(LM_LOG_P6));
    p = v_fma(p, f, v_set(LM_LOG_P5));
    p = v_fma(p, f, v_set(LM_LOG_P4));
    p = v_fma(p, f, v_set(LM_LOG_P3));
    p = v_fma(p, f, v_set(LM_LOG_P2));
    p = v_fma(p, f, v_set(LM_LOG_P1));
    p = v_fma(p, f, v_set(LM_LOG_P0));
    z = v_mul(f, f);
    y = v_fma(p, v_mul(f, z), v_mul(z, v_set(-0.5f)));
    y = v_fma(e, v_set(LM_LN2_LOW), y);
    y = v_add(f, y);
    y = v_fma(e, v_set(LM_LN2_HIGH), y);
    y = v_choose(v_equal(x, v_set(0.0f)), v_set(-INFINITY), y);
    y = v_choose(v_less(x, v_set(0.0f)), v_set(NAN), y);
    return v_choose(v_less(x, infinity), y, v_add(x, x));
}

static inline v16 tangent(v16 x) {
    i16 sign = i_and(v_bits(x), i_set(0x80000000u));
    v16 magnitude = i_float_of(i_and(v_bits(x), i_set(0x7fffffffu))), z = v_mul(x, x), p, small, large;
    p = v_fma(v_set(LM_TANH_P4), z, v_set(LM_TANH_P3));
    p = v_fma(p, z, v_set(LM_TANH_P2));
    p = v_fma(p, z, v_set(LM_TANH_P1));
    p = v_fma(p, z, v_set(LM_TANH_P0));
    small = v_fma(v_mul(p, z), magnitude, magnitude);
    large = v_add(exponential(v_add(magnitude, magnitude)), v_set(1.0f));
    large = v_sub(v_set(1.0f), v_div(v_set(2.0f), large));
    small = v_choose(v_less(magnitude, v_set(LM_TANH_BORDER)), small, large);
    return i_float_of(i_or(v_bits(small), sign));
}

static void rows_exp(float *out, const float *x, size_t n) {
    FOR_BLOCKS(i, n) {
        put(out + i, exponential(get(x + i, lanes)), lanes);
    }
}

static void rows_log(float *out, const float *x, size_t n) {
    FOR_BLOCKS(i, n) {
        put(out + i, logarithm(get(x + i, lanes)), lanes);
    }
}

static void rows_tanh(float *out, const float *x, size_t n) {
    FOR_BLOCKS(i, n) {
        put(out + i, tangent(get(x + i, lanes)), lanes);
    }
}

/* --- row reductions --- */

static float rows_dot_striped(const float *x, const float *y, size_t n) {
    v16 sum = v_set(0.0f);
    FOR_BLOCKS(i, n) {
        sum = joined(sum, v_fma(get(x + i, lanes), get(y + i, lanes), sum), lanes);
    }
    return v_tree(sum);
}

/* The greatest of scale x[i], a NaN never winning; a zero is +0. */
static float greatest(const float *x, size_t n, float scale) {
    v16 max = v_set(-INFINITY), factor = v_set(scale);
    float of_lane[LANES], result = -INFINITY;
    FOR_BLOCKS(i, n) {
        max = joined(max, v_greater_of(v_mul(factor, get(x + i, lanes)), max), lanes);
    }
    v_store(of_lane, max);
    for (size_t i = 0; i < LANES; i++) {
        result = of_lane[i] > result ? of_lane[i] : result;
    }
    return result + 0.0f;
}

/* --- elementwise --- */

static void rows_add(float *y, const float *x, size_t n) {
    FOR_BLOCKS(i, n) {
        put(y + i, v_add(get(y + i, lanes), get(x + i, lanes)), lanes);
    }
}

static void rows_add_scaled(float *y, const float *x, float scale, size_t n) {
    v16 factor = v_set(scale);
    FOR_BLOCKS(i, n) {
        put(y + i, v_fma(factor, get(x + i, lanes), get(y + i, lanes)), lanes);
    }
}

static void rows_scale(float *y, float scale, size_t n) {
    v16 factor = v_set(scale);
    FOR_BLOCKS(i, n) {
        put(y + i, v_mul(get(y + i, lanes), factor), lanes);
    }
}

/* --- norms --- */

static void rows_rms_norm(float *y, float *inverse, const float *x, const float *w, float eps, size_t n) {
    float mean = rows_dot_striped(x, x, n) / (float)n;
    float r = 1.0f / __builtin_sqrtf(mean + eps);
    v16 factor = v_set(r);
    FOR_BLOCKS(i, n) {
        put(y + i, v_mul(v_mul(get(x + i, lanes), factor), get(w + i, lanes)), lanes);
    }
    *inverse = r;
}

static void rows_rms_norm_backward(float *dx, float *dw, const float *dy, const float *x, const float *w,
                                   float inverse, size_t n) {
    v16 sum = v_set(0.0f), r = v_set(inverse), c;
    FOR_BLOCKS(i, n) {
        v16 t = v_mul(get(dy + i, lanes), get(w + i, lanes));
        sum = joined(sum, v_fma(t, get(x + i, lanes), sum), lanes);
    }
    c = v_set(v_tree(sum) / (float)n * (inverse * inverse));
    FOR_BLOCKS(i, n) {
        v16 d = get(dy + i, lanes), v = get(x + i, lanes);
        v16 t = v_fnma(v, c, v_mul(d, get(w + i, lanes)));
        put(dx + i, v_fma(r, t, get(dx + i, lanes)), lanes);
        if (dw != NULL) {
            put(dw + i, v_fma(d, v_mul(v, r), get(dw + i, lanes)), lanes);
        }
    }
}

static void rows_layer_norm(float *y, float *mean, float *inverse, const float *x, const float *w,
                            const float *b, float eps, size_t n) {
    v16 sum = v_set(0.0f), squares = v_set(0.0f), centre, factor;
    float average, r;
    FOR_BLOCKS(i, n) {
        sum = joined(sum, v_add(sum, get(x + i, lanes)), lanes);
    }
    average = v_tree(sum) / (float)n;
    centre = v_set(average);
    FOR_BLOCKS(i, n) {
        v16 t = v_sub(get(x + i, lanes), centre);
        squares = joined(squares, v_fma(t, t, squares), lanes);
    }
    r = 1.0f / __builtin_sqrtf(v_tree(squares) / (float)n + eps);
    factor = v_set(r);
    FOR_BLOCKS(i, n) {
        v16 h = v_mul(v_sub(get(x + i, lanes), centre), factor);
        put(y + i, v_fma(h, get(w + i, lanes), get(b + i, lanes)), lanes);
    }
    *mean = average;
    *inverse = r;
}

static void rows_layer_norm_backward(float *dx, float *dw, float *db, const float *dy, const float *x,
                                     const float *w, float mean, float inverse, size_t n) {
    v16 sum = v_set(0.0f), products = v_set(0.0f), centre = v_set(mean), r = v_set(inverse), a, c;
    FOR_BLOCKS(i, n) {
        v16 t = v_mul(get(dy + i, lanes), get(w + i, lanes));
        v16 h = v_mul(v_sub(get(x + i, lanes), centre), r);
        sum = joined(sum, v_add(sum, t), lanes);
        products = joined(products, v_fma(t, h, products), lanes);
    }
    a = v_set(v_tree(sum) / (float)n);
    c = v_set(v_tree(products) / (float)n);
    FOR_BLOCKS(i, n) {
        v16 d = get(dy + i, lanes), t = v_mul(d, get(w + i, lanes));
        v16 h = v_mul(v_sub(get(x + i, lanes), centre), r);
        put(dx + i, v_fma(r, v_fnma(h, c, v_sub(t, a)), get(dx + i, lanes)), lanes);
        if (dw != NULL) {
            put(dw + i, v_fma(d, h, get(dw + i, lanes)), lanes);
        }
        if (db != NULL) {
            put(db + i, v_add(get(db + i, lanes), d), lanes);
        }
    }
}

/* --- activations --- */

static inline v16 negative(v16 x) {
    return i_float_of(i_add(v_bits(x), i_set(0x80000000u)));
}

static void rows_swiglu(float *y, const float *gate, const float *up, size_t n) {
    v16 one = v_set(1.0f);
    FOR_BLOCKS(i, n) {
        v16 g = get(gate + i, lanes);
        v16 silu = v_div(g, v_add(one, exponential(negative(g))));
        put(y + i, v_mul(silu, get(up + i, lanes)), lanes);
    }
}

static void rows_swiglu_backward(float *dgate, float *dup, const float *dy, const float *gate,
                                 const float *up, size_t n) {
    v16 one = v_set(1.0f);
    FOR_BLOCKS(i, n) {
        v16 g = get(gate + i, lanes), u = get(up + i, lanes), d = get(dy + i, lanes);
        v16 denominator = v_add(one, exponential(negative(g)));
        v16 s = v_div(one, denominator);
        v16 slope = v_mul(s, v_fma(g, v_sub(one, s), one));
        put(dgate + i, v_mul(v_mul(d, u), slope), lanes);
        put(dup + i, v_mul(d, v_div(g, denominator)), lanes);
    }
}

/* sqrt(2/pi) (x + 0.044715 x^3), given x and x^2 */
static inline v16 gelu_inner(v16 x, v16 square) {
    return v_mul(v_set((float)LM_GELU_SCALE), v_fma(v_mul(v_set((float)LM_GELU_CUBIC), x), square, x));
}

static void rows_gelu_new(float *y, const float *x, size_t n) {
    FOR_BLOCKS(i, n) {
        v16 v = get(x + i, lanes), t = tangent(gelu_inner(v, v_mul(v, v)));
        put(y + i, v_mul(v_mul(v_set(0.5f), v), v_add(v_set(1.0f), t)), lanes);
    }
}

static void rows_gelu_new_backward(float *dx, const float *dy, const float *x, size_t n) {
    v16 one = v_set(1.0f), half_one = v_set(0.5f);
    FOR_BLOCKS(i, n) {
        v16 v = get(x + i, lanes), square = v_mul(v, v), t = tangent(gelu_inner(v, square));
        v16 slope = v_mul(v_set((float)LM_GELU_SCALE), v_fma(v_set((float)(3 * LM_GELU_CUBIC)), square, one));
        v16 rest = v_mul(v_fnma(t, t, one), slope);
        rest = v_fma(v_mul(half_one, v), rest, v_fma(half_one, t, half_one));
        put(dx + i, v_mul(get(dy + i, lanes), rest), lanes);
    }
}

/* 1 + erf(x / sqrt(2)) */
static inline v16 twice_normal(v16 x) {
    v16 z = v_mul(v_set((float)LM_GELU_HALF_ROOT), x), square = v_mul(z, z), p, q, tail, far;
    v16 magnitude = i_float_of(i_and(v_bits(z), i_set(0x7fffffffu)));
    v16 held = v_lesser_of(v_set(LM_ERF_HIGHEST), magnitude);
    p = v_fma(v_set(LM_ERF_P7), square, v_set(LM_ERF_P6));
    p = v_fma(p, square, v_set(LM_ERF_P5));
    p = v_fma(p, square, v_set(LM_ERF_P4));
    p = v_fma(p, square, v_set(LM_ERF_P3));
    p = v_fma(p, square, v_set(LM_ERF_P2));
    p = v_fma(p, square, v_set(LM_ERF_P1));
    p = v_fma(p, square, v_set(LM_ERF_P0));
    q = v_fma(v_set(LM_ERF_Q10), held, v_set(LM_ERF_Q9));
    q = v_fma(q, held, v_set(LM_ERF_Q8));
    q = v_fma(q, held, v_set(LM_ERF_Q7));
    q = v_fma(q, held, v_set(LM_ERF_Q6));
    q = v_fma(q, held, v_set(LM_ERF_Q5));
    q = v_fma(q, held, v_set(LM_ERF_Q4));
    q = v_fma(q, held, v_set(LM_ERF_Q3));
    q = v_fma(q, held, v_set(LM_ERF_Q2));
    q = v_fma(q, held, v_set(LM_ERF_Q1));
    q = v_fma(q, held, v_set(LM_ERF_Q0));
    tail = exponential(negative(q));
    far = v_choose(v_less(z, v_set(0.0f)), tail, v_sub(v_set(2.0f), tail));
    return v_choose(v_less(magnitude, v_set(LM_ERF_BORDER)), v_fma(z, p, v_set(1.0f)), far);
}

static void rows_gelu(float *y, const float *x, size_t n) {
    FOR_BLOCKS(i, n) {
        v16 v = get(x + i, lanes);
        put(y + i, v_mul(v_mul(v_set(0.5f), v), twice_normal(v)), lanes);
    }
}

static void rows_gelu_backward(float *dx, const float *dy, const float *x, size_t n) {
    FOR_BLOCKS(i, n) {
        v16 v = get(x + i, lanes), density = exponential(v_mul(v_set(-0.5f), v_mul(v, v)));
        v16 slope =
            v_fma(v_mul(v_set((float)LM_GELU_INVERSE_ROOT), v), density, v_mul(v_set(0.5f), twice_normal(v)));
        put(dx + i, v_mul(get(dy + i, lanes), slope), lanes);
    }
}

/* --- rotary positions --- */

static void rows_rope(float *x, const float *cosine, const float *sine, size_t n, bool inverse) {
    size_t half = n / 2;
    FOR_BLOCKS(i, half) {
        v16 a = get(x + i, lanes), b = get(x + half + i, lanes);
        v16 c = get(cosine + i, lanes), s = get(sine + i, lanes);
        s = inverse ? negative(s) : s;
        put(x + i, v_fms(a, c, v_mul(b, s)), lanes);
        put(x + half + i, v_fma(b, c, v_mul(a, s)), lanes);
    }
}

/* --- softmax and its kin --- */

static float rows_softmax_numerators(float *p, float *max_out, const float *x, float scale, size_t n) {
    float top = greatest(x, n, scale);
    v16 sum = v_set(0.0f), max = v_set(top), factor = v_set(scale);
    FOR_BLOCKS(i, n) {
        v16 numerator = exponential(v_sub(v_mul(factor, get(x + i, lanes)), max));
        put(p + i, numerator, lanes);
        sum = joined(sum, v_add(sum, numerator), lanes);
    }
    if (max_out != NULL) {
        *max_out = top;
    }
    return v_tree(sum);
}

static void rows_log_sum_exp(float *max, float *log_sum, const float *x, size_t n) {
    float top = greatest(x, n, 1.0f), total;
    v16 sum = v_set(0.0f), shift = v_set(top);
    FOR_BLOCKS(i, n) {
        sum = joined(sum, v_add(sum, exponential(v_sub(get(x + i, lanes), shift))), lanes);
    }
    total = v_tree(sum);
    *max = top;
    rows_log(log_sum, &total, 1);
}

/* The first number, where no lane found one above -infinity. */
static size_t first_number(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (x[i] == x[i]) {
            return i;
        }
    }
    return 0;
}

static size_t rows_argmax(const float *x, size_t n) {
    v16 best = v_set(-INFINITY);
    i16 block_of_best = i_set(UINT32_MAX);
    float values[LANES], top = -INFINITY;
    uint32_t blocks[LANES];
    size_t index = SIZE_MAX;
    FOR_BLOCKS(i, n) {
        v16 v = joined(best, get(x + i, lanes), lanes);
        m16 better = v_less(best, v);
        best = v_choose(better, v, best);
        block_of_best = i_choose(better, i_set((uint32_t)(i / LANES)), block_of_best);
    }
    v_store(values, best);
    i_store(blocks, block_of_best);
    for (size_t lane = 0; lane < LANES; lane++) {
        size_t candidate = (size_t)blocks[lane] * LANES + lane;
        if (blocks[lane] == UINT32_MAX) {
            continue;
        }
        if (values[lane] > top || (values[lane] == top && candidate < index)) {
            top = values[lane];
            index = candidate;
        }
    }
    return index == SIZE_MAX ? first_number(x, n) : index;
}

/* --- AdamW --- */

static void rows_adamw(float *w, float *m, float *v, const float *gradient, float gradient_scale, float rate,
                       float beta1, float beta2, float eps, float decay, float correction1, float correction2,
                       size_t n) {
    v16 rest1 = v_set(1.0f - beta1), rest2 = v_set(1.0f - beta2);
    FOR_BLOCKS(i, n) {
        v16 g = v_mul(get(gradient + i, lanes), v_set(gradient_scale)), old = get(w + i, lanes);
        v16 first = v_fma(v_set(beta1), get(m + i, lanes), v_mul(rest1, g));
        v16 second = v_fma(v_set(beta2), get(v + i, lanes), v_mul(rest2, v_mul(g, g)));
        v16 root = v_sqrt(v_mul(second, v_set(correction2)));
        v16 step = v_div(v_mul(first, v_set(correction1)), v_add(root, v_set(eps)));
        step = v_fma(v_set(decay), old, step);
        put(m + i, first, lanes);
        put(v + i, second, lanes);
        put(w + i, v_fnma(v_set(rate), step, old), lanes);
    }
}

/* The members of lm_kernels that this file fills. */
#define LM_ROWS                                                                                              \
    .exp = rows_exp, .log = rows_log, .tanh = rows_tanh, .add = rows_add, .add_scaled = rows_add_scaled,     \
    .scale = rows_scale, .rms_norm = rows_rms_norm, .rms_norm_backward = rows_rms_norm_backward,             \
    .layer_norm = rows_layer_norm, .layer_norm_backward = rows_layer_norm_backward, .swiglu = rows_swiglu,   \
    .swiglu_backward = rows_swiglu_backward, .gelu_new = rows_gelu_new,                                      \
    .gelu_new_backward = rows_gelu_new_backward, .gelu = rows_gelu, .gelu_backward = rows_gelu_backward,     \
    .rope = rows_rope, .softmax_numerators = rows_softmax_numerators, .log_sum_exp = rows_log_sum_exp,       \
    .dot_striped = rows_dot_striped, .argmax = rows_argmax, .adamw = rows_adamw

#endif

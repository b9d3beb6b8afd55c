/* selftest.c: every usable kernel set against scalar, bit for bit, on random shapes and hostile values.
 *
 * Invariant: a disagreement is reported with what repeats it: the seed, the round, the set and the
 * operation. This is the one file of the room that allocates. */
#include "kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <temper/rng.h>

enum { WHOLE_LENGTH = 1 << 16, ROW_INPUTS = 5, LONGEST_ROW = 2100 };

static const char *const profiles[] = {"f32/1", "bf16/1", "q8/1"};
enum { PROFILES = sizeof profiles / sizeof profiles[0] };

typedef struct selftest {
    uint64_t seed, round, draws;
    lm_report *report;
    void *context;
    size_t disagreements;
    float *a, *b, *c, *expected, *got, *split;
    uint16_t *packed, *packed_expected;
    void *scratch;
} selftest;

/* --- random shapes and values --- */

static uint64_t draw(selftest *t) {
    return temper_random(t->seed, t->round, t->draws++);
}

static size_t below(selftest *t, size_t bound) {
    return (size_t)(draw(t) % bound);
}

/* Mostly small, sometimes 0, 1 or large. */
static size_t length(selftest *t, size_t usual, size_t large) {
    size_t kind = below(t, 10);
    return kind == 0 ? below(t, 2) : kind == 1 ? below(t, large + 1) : below(t, usual + 1);
}

/* A value of a kind: ordinary, small enough to underflow in products, any bits at all, or an edge. */
static float value(selftest *t, size_t kind) {
    static const float edges[] = {0.0f,      -0.0f,           1.0f,           -1.0f,     INFINITY,  -INFINITY,
                                  NAN,       0x1p-149f,       -0x1p-149f,     0x1p-126f, 0x1p-127f, 0x1p-62f,
                                  -0x1p-62f, 0x1.fffffep-63f, 0x1p127f,       -0x1p127f, 88.7f,     -103.9f,
                                  0x1.01p0f, 0x1.03p0f,       0x1.fffffep127f};
    uint64_t random = draw(t);
    uint32_t bits = (uint32_t)random;
    float x;
    switch (kind) {
    case 0: return (float)((double)(int64_t)random * 0x1p-63 * 4.0);
    case 1: /* denormal, or 2^-63 to 2^-60: sums of their products underflow now and then */
        bits &= 0x807fffffu;
        bits |= random >> 62 == 0 ? 0 : (uint32_t)(64 + (random >> 32) % 3) << 23;
        break;
    case 2: break;
    default: return edges[random % (sizeof edges / sizeof edges[0])];
    }
    memcpy(&x, &bits, sizeof x);
    return x;
}

static size_t draw_mixture(selftest *t) {
    return below(t, 6); /* 0, 1, 2: ordinary; 3: small; 4: any bits; 5: ordinary with a few edges */
}

static void fill(selftest *t, float *x, size_t n, size_t mixture) {
    for (size_t i = 0; i < n; i++) {
        size_t kind = mixture < 3 ? 0 : mixture < 5 ? mixture - 2 : below(t, 16) == 0 ? 3 : 0;
        x[i] = value(t, kind);
    }
}

/* --- comparing --- */

static uint32_t canonical(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x == x ? bits : 0x7fc00000u;
}

static void complain(selftest *t, const lm_kernels *set, const char *what, size_t index, size_t n, float got,
                     float expected) {
    char line[256];
    snprintf(line, sizeof line, "%s: %s: value %zu of %zu is %08x, scalar has %08x (seed %llu, round %llu)",
             set->name, what, index, n, (unsigned)canonical(got), (unsigned)canonical(expected),
             (unsigned long long)t->seed, (unsigned long long)t->round);
    t->disagreements++;
    if (t->report != NULL) {
        t->report(t->context, line);
    }
}

static void compare(selftest *t, const lm_kernels *set, const char *what, const float *got,
                    const float *expected, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (canonical(got[i]) != canonical(expected[i])) {
            complain(t, set, what, i, n, got[i], expected[i]);
            return; /* one line an operation is enough */
        }
    }
}

/* --- products --- */

typedef struct product_case {
    size_t m, n, k, a_stride, b_stride, c_stride;
    bool a_transposed, b_transposed, accumulate;
    char what[128];
} product_case;

static void draw_product(selftest *t, const char *profile, product_case *p) {
    size_t large = below(t, 3); /* at most one of them is large */
    p->m = length(t, 30, large == 0 ? 200 : 30);
    p->n = length(t, 80, large == 1 ? 200 : 80);
    p->k = length(t, 40, large == 2 ? 2100 : 40);
    if (p->k > 300) {
        p->m %= 16, p->n %= 40;
    }
    p->a_transposed = below(t, 2) == 1;
    p->b_transposed = below(t, 2) == 1;
    p->accumulate = below(t, 2) == 1;
    p->a_stride = (p->a_transposed ? p->m : p->k) + below(t, 4);
    p->b_stride = (p->b_transposed ? p->k : p->n) + below(t, 4);
    p->c_stride = p->n + below(t, 4);
    snprintf(p->what, sizeof p->what, "%s %zu x %zu x %zu%s%s%s", profile, p->m, p->n, p->k,
             p->a_transposed ? ", A transposed" : "", p->b_transposed ? ", B transposed" : "",
             p->accumulate ? ", accumulating" : "");
}

static size_t packed_bytes(const lm_product *product, const product_case *p) {
    return (p->n + LM_PANEL - 1) / LM_PANEL * product->panel_bytes(p->k);
}

/* The slot of a missing odd partner may hold anything: here, NaN. */
static void poison(const product_case *p, uint16_t *packed, size_t bytes) {
    size_t panel = (p->k + 1) / 2 * LM_PANEL * 2;
    for (size_t end = panel; p->k % 2 == 1 && end * 2 <= bytes; end += panel) {
        for (size_t column = 0; column < LM_PANEL; column++) {
            packed[end - 2 * column - 1] = 0x7fc0;
        }
    }
}

static void multiply(const lm_product *product, const product_case *p, const selftest *t, float *c,
                     size_t first_row, size_t rows, size_t first_column, size_t columns) {
    const float *a = t->a + first_row * (p->a_transposed ? 1 : p->a_stride);
    const char *b = (const char *)t->packed + first_column / LM_PANEL * product->panel_bytes(p->k);
    product->multiply(rows, columns, p->k, a, p->a_stride, p->a_transposed, b,
                      c + first_row * p->c_stride + first_column, p->c_stride, p->accumulate, t->scratch);
}

/* C cut in four at a row and a panel: the same bits as in one piece. */
static void check_split(selftest *t, const lm_kernels *set, const lm_product *product, const product_case *p,
                        size_t cells) {
    size_t row = below(t, p->m + 1), column = below(t, p->n / LM_PANEL + 1) * LM_PANEL;
    memcpy(t->got, t->c, cells * sizeof *t->got);
    multiply(product, p, t, t->got, 0, row, 0, column);
    multiply(product, p, t, t->got, row, p->m - row, 0, column);
    multiply(product, p, t, t->got, 0, row, column, p->n - column);
    multiply(product, p, t, t->got, row, p->m - row, column, p->n - column);
    compare(t, set, "product cut in four", t->got, t->expected, cells);
}

/* A packed before, once for two halves of B: the same bits as in one piece. */
static void check_left(selftest *t, const lm_kernels *set, const lm_product *product, const product_case *p,
                       size_t cells) {
    size_t panel = product->panel_bytes(p->k), column = p->n / LM_PANEL / 2 * LM_PANEL;
    size_t bytes = (product->left_bytes(p->m, p->k) + 63) / 64 * 64;
    char *left = p->a_transposed ? NULL : aligned_alloc(64, bytes);
    if (left == NULL) { /* packed so for rows side by side only */
        return;
    }
    memcpy(t->got, t->c, cells * sizeof *t->got);
    product->pack_left(left, p->m, p->k, t->a, p->a_stride);
    product->multiply_left(p->m, p->n - column, p->k, left,
                           (const char *)t->packed + column / LM_PANEL * panel, panel, t->got + column,
                           p->c_stride, p->accumulate);
    product->multiply_left(p->m, column, p->k, left, t->packed, panel, t->got, p->c_stride, p->accumulate);
    compare(t, set, "product of a packed A", t->got, t->expected, cells);
    free(left);
}

/* Each row one index more than the one before, against scalar's, which takes rows one by one. */
static void check_causal(selftest *t, const lm_kernels *set, const lm_product *product,
                         const lm_product *reference, const product_case *p, size_t cells) {
    size_t panel = product->panel_bytes(p->k);
    if (product->multiply_causal == NULL || p->a_transposed || p->k < p->m) {
        return;
    }
    memcpy(t->got, t->c, cells * sizeof *t->got);
    memcpy(t->split, t->c, cells * sizeof *t->split);
    product->multiply_causal(p->m, p->n, p->k - p->m, t->a, p->a_stride, t->packed, panel, t->got,
                             p->c_stride, p->accumulate, t->scratch);
    reference->multiply_causal(p->m, p->n, p->k - p->m, t->a, p->a_stride, t->packed, panel, t->split,
                               p->c_stride, p->accumulate, t->scratch);
    compare(t, set, "causal product", t->got, t->split, cells);
}

/* Draws a product and its operands. */
static void draw_operands(selftest *t, const char *profile, product_case *p) {
    size_t mixture;
    draw_product(t, profile, p);
    mixture = draw_mixture(t);
    fill(t, t->a, (p->a_transposed ? p->k : p->m) * p->a_stride, mixture);
    mixture = below(t, 2) == 0 ? mixture : draw_mixture(t); /* small times small must not be rare */
    fill(t, t->b, (p->b_transposed ? p->n : p->k) * p->b_stride, mixture);
    fill(t, t->c, p->m * p->c_stride, below(t, 2) == 0 ? mixture : draw_mixture(t));
}

static void check_product(selftest *t, const char *profile) {
    const lm_kernels *const *sets = lm_kernels_all();
    const lm_kernels *scalar = lm_kernels_choose("scalar", NULL);
    const lm_product *reference = lm_kernels_product(scalar, profile);
    product_case p;
    size_t cells, bytes;
    draw_operands(t, profile, &p);
    cells = p.m * p.c_stride;
    bytes = packed_bytes(reference, &p);
    memset(t->packed_expected, 0x55, bytes);
    reference->pack(t->packed_expected, t->b, p.k, p.n, p.b_stride, p.b_transposed);
    memcpy(t->packed, t->packed_expected, bytes);
    if (reference->pairs) {
        poison(&p, t->packed, bytes);
    }
    memcpy(t->expected, t->c, cells * sizeof *t->c);
    multiply(reference, &p, t, t->expected, 0, p.m, 0, p.n);
    check_left(t, scalar, reference, &p, cells);
    for (; *sets != scalar; sets++) {
        const lm_product *product = lm_kernels_product(*sets, profile);
        if (!lm_kernels_usable(*sets, NULL)) {
            continue;
        }
        memset(t->packed, 0xaa, bytes);
        product->pack(t->packed, t->b, p.k, p.n, p.b_stride, p.b_transposed);
        for (size_t i = 0; i < bytes / 2;
             i++) { /* f32 NaN keep their bits when packed: nothing is computed */
            if (t->packed[i] != t->packed_expected[i]) {
                complain(t, *sets, p.what, i, bytes / 2, (float)t->packed[i], (float)t->packed_expected[i]);
                break;
            }
        }
        if (reference->pairs) {
            poison(&p, t->packed, bytes);
        }
        memcpy(t->got, t->c, cells * sizeof *t->c);
        multiply(product, &p, t, t->got, 0, p.m, 0, p.n);
        compare(t, *sets, p.what, t->got, t->expected, cells);
        check_split(t, *sets, product, &p, cells);
        check_left(t, *sets, product, &p, cells);
        check_causal(t, *sets, product, reference, &p, cells);
        product->round(t->got, t->a, p.k);
        reference->round(t->split, t->a, p.k);
        compare(t, *sets, "round", t->got, t->split, p.k);
    }
}

/* --- row operations --- */

/* What one operation is run on: five rows of inputs and some numbers. It writes to rows of `out` n apart. */
typedef struct row_case {
    const float *in[ROW_INPUTS];
    float number[4];
    bool flag;
    size_t n;
} row_case;

typedef void row_operation(const lm_kernels *set, const row_case *r, float *out);

static void copy(float *to, const float *from, size_t n) {
    memcpy(to, from, n * sizeof *to);
}

static void run_exp(const lm_kernels *set, const row_case *r, float *out) {
    set->exp(out, r->in[0], r->n);
    copy(out + r->n, r->in[1], r->n); /* and in place */
    set->exp(out + r->n, out + r->n, r->n);
}
static void run_log(const lm_kernels *set, const row_case *r, float *out) {
    set->log(out, r->in[0], r->n);
}
static void run_tanh(const lm_kernels *set, const row_case *r, float *out) {
    set->tanh(out, r->in[0], r->n);
}
static void run_add(const lm_kernels *set, const row_case *r, float *out) {
    copy(out, r->in[0], r->n);
    set->add(out, r->in[1], r->n);
}
static void run_add_scaled(const lm_kernels *set, const row_case *r, float *out) {
    copy(out, r->in[0], r->n);
    set->add_scaled(out, r->in[1], r->number[0], r->n);
}
static void run_scale(const lm_kernels *set, const row_case *r, float *out) {
    copy(out, r->in[0], r->n);
    set->scale(out, r->number[0], r->n);
}
static void run_rms_norm(const lm_kernels *set, const row_case *r, float *out) {
    set->rms_norm(out, out + r->n, r->in[0], r->in[1], 1e-5f, r->n);
}
static void run_rms_norm_backward(const lm_kernels *set, const row_case *r, float *out) {
    float *dw = r->flag ? NULL : out + r->n;
    copy(out, r->in[0], r->n);
    copy(out + r->n, r->in[1], r->n);
    set->rms_norm_backward(out, dw, r->in[2], r->in[3], r->in[4], r->number[0], r->n);
}
static void run_layer_norm(const lm_kernels *set, const row_case *r, float *out) {
    set->layer_norm(out, out + r->n, out + r->n + 1, r->in[0], r->in[1], r->in[2], 1e-5f, r->n);
}
static void run_layer_norm_backward(const lm_kernels *set, const row_case *r, float *out) {
    float *dw = r->flag ? NULL : out + r->n, *db = r->flag ? NULL : out + 2 * r->n;
    copy(out, r->in[0], r->n);
    copy(out + r->n, r->in[1], r->n);
    copy(out + 2 * r->n, r->in[1], r->n);
    set->layer_norm_backward(out, dw, db, r->in[2], r->in[3], r->in[4], r->number[0], r->number[1], r->n);
}
static void run_swiglu(const lm_kernels *set, const row_case *r, float *out) {
    set->swiglu(out, r->in[0], r->in[1], r->n);
}
static void run_swiglu_backward(const lm_kernels *set, const row_case *r, float *out) {
    copy(out, r->in[0], r->n); /* dgate over gate, dup over up */
    copy(out + r->n, r->in[1], r->n);
    set->swiglu_backward(out, out + r->n, r->in[2], out, out + r->n, r->n);
}
static void run_gelu_new(const lm_kernels *set, const row_case *r, float *out) {
    set->gelu_new(out, r->in[0], r->n);
}
static void run_gelu(const lm_kernels *set, const row_case *r, float *out) {
    set->gelu(out, r->in[0], r->n);
}
static void run_gelu_backward(const lm_kernels *set, const row_case *r, float *out) {
    set->gelu_backward(out, r->in[0], r->in[1], r->n);
}
static void run_gelu_new_backward(const lm_kernels *set, const row_case *r, float *out) {
    set->gelu_new_backward(out, r->in[0], r->in[1], r->n);
}
static void run_rope(const lm_kernels *set, const row_case *r, float *out) {
    copy(out, r->in[0], r->n);
    set->rope(out, r->in[1], r->in[2], r->n, r->flag);
}
static void run_softmax_numerators(const lm_kernels *set, const row_case *r, float *out) {
    copy(out, r->in[0], r->n);
    out[r->n] = set->softmax_numerators(out, r->flag ? NULL : out + r->n + 1, r->flag ? out : r->in[0],
                                        r->number[0], r->n);
}
static void run_log_sum_exp(const lm_kernels *set, const row_case *r, float *out) {
    set->log_sum_exp(out, out + 1, r->in[0], r->n);
}
static void run_dot_striped(const lm_kernels *set, const row_case *r, float *out) {
    out[0] = set->dot_striped(r->in[0], r->in[1], r->n);
}
static void run_argmax(const lm_kernels *set, const row_case *r, float *out) {
    out[0] = (float)set->argmax(r->in[0], r->n);
    copy(out + 1, r->in[0], r->n); /* with many ties */
    for (size_t i = 0; i < r->n; i++) {
        out[1 + i] = out[1 + i] > 0.0f ? 1.0f : out[1 + i] < -1.0f ? NAN : -INFINITY;
    }
    out[0] += 65536.0f * (float)set->argmax(out + 1, r->n);
}
static void run_adamw(const lm_kernels *set, const row_case *r, float *out) {
    copy(out, r->in[0], r->n);
    copy(out + r->n, r->in[1], r->n);
    copy(out + 2 * r->n, r->in[2], r->n);
    set->adamw(out, out + r->n, out + 2 * r->n, r->in[3], r->number[0], 3e-4f, 0.9f, 0.999f, 1e-8f, 0.01f,
               r->number[1], r->number[2], r->n);
}

static const struct {
    const char *name;
    row_operation *run;
} operations[] = {
    {"exp", run_exp},
    {"log", run_log},
    {"tanh", run_tanh},
    {"add", run_add},
    {"add_scaled", run_add_scaled},
    {"scale", run_scale},
    {"rms_norm", run_rms_norm},
    {"rms_norm_backward", run_rms_norm_backward},
    {"layer_norm", run_layer_norm},
    {"layer_norm_backward", run_layer_norm_backward},
    {"swiglu", run_swiglu},
    {"swiglu_backward", run_swiglu_backward},
    {"gelu_new", run_gelu_new},
    {"gelu_new_backward", run_gelu_new_backward},
    {"gelu", run_gelu},
    {"gelu_backward", run_gelu_backward},
    {"rope", run_rope},
    {"softmax_numerators", run_softmax_numerators},
    {"log_sum_exp", run_log_sum_exp},
    {"dot_striped", run_dot_striped},
    {"argmax", run_argmax},
    {"adamw", run_adamw},
};

enum { OPERATIONS = sizeof operations / sizeof operations[0] };

/* Draws the inputs of the row operations. Returns how many values one may write. */
static size_t draw_rows(selftest *t, row_case *r) {
    size_t room;
    *r = (row_case){.n = length(t, 100, LONGEST_ROW)};
    room = 3 * r->n + 2;
    for (size_t i = 0; i < ROW_INPUTS; i++) {
        float *row = t->a + i * LONGEST_ROW;
        fill(t, row, r->n, draw_mixture(t));
        r->in[i] = row;
    }
    fill(t, r->number, 4, draw_mixture(t));
    r->flag = below(t, 2) == 1;
    fill(t, t->c, room, draw_mixture(t)); /* what is not written must stay */
    return room;
}

static void check_rows(selftest *t) {
    const lm_kernels *const *sets = lm_kernels_all();
    const lm_kernels *scalar = lm_kernels_choose("scalar", NULL);
    row_case r;
    size_t room = draw_rows(t, &r);
    for (; *sets != scalar; sets++) {
        if (!lm_kernels_usable(*sets, NULL)) {
            continue;
        }
        for (size_t i = 0; i < OPERATIONS; i++) {
            copy(t->expected, t->c, room);
            copy(t->got, t->c, room);
            operations[i].run(scalar, &r, t->expected);
            operations[i].run(*sets, &r, t->got);
            compare(t, *sets, operations[i].name, t->got, t->expected, room);
        }
    }
}

/* --- all of it --- */

static size_t scratch_size(void) {
    size_t size = 64;
    for (const lm_kernels *const *set = lm_kernels_all(); *set != NULL; set++) {
        for (size_t i = 0; i < PROFILES; i++) {
            size_t bytes = lm_kernels_product(*set, profiles[i])->scratch_bytes(WHOLE_LENGTH);
            size = bytes > size ? bytes : size;
        }
    }
    return (size + 63) / 64 * 64;
}

/* Room for `t`; false when there is none. */
static bool begin(selftest *t) {
    float **const buffers[] = {&t->a, &t->b, &t->c, &t->expected, &t->got, &t->split};
    bool complete = true;
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        *buffers[i] = malloc(WHOLE_LENGTH * 2 * sizeof(float));
        complete = complete && *buffers[i] != NULL;
    }
    t->packed = malloc(WHOLE_LENGTH * 16);
    t->packed_expected = malloc(WHOLE_LENGTH * 16);
    t->scratch = aligned_alloc(64, scratch_size());
    return complete && t->packed != NULL && t->packed_expected != NULL && t->scratch != NULL;
}

static void end(selftest *t) {
    void *const buffers[] = {
        t->a, t->b, t->c, t->expected, t->got, t->split, t->packed, t->packed_expected, t->scratch};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        free(buffers[i]);
    }
}

size_t lm_kernels_selftest(uint64_t seed, unsigned rounds, lm_report *report, void *context) {
    selftest t = {.seed = seed, .report = report, .context = context};
    if (begin(&t)) {
        for (t.round = 0; t.round < rounds; t.round++) {
            t.draws = 0;
            for (size_t i = 0; i < PROFILES; i++) {
                check_product(&t, profiles[i]);
            }
            check_rows(&t);
        }
    } else {
        t.disagreements = 1;
        if (report != NULL) {
            report(context, "no memory for the self-test's buffers (about 6 MB)");
        }
    }
    end(&t);
    return t.disagreements;
}

/* FNV-1a over the canonical bits of values, lowest byte first whatever the machine's order. */
static uint64_t digest_of(uint64_t digest, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = canonical(x[i]);
        for (int byte = 0; byte < 4; byte++) {
            digest = (digest ^ (bits >> 8 * byte & 0xffu)) * UINT64_C(0x100000001b3);
        }
    }
    return digest;
}

static uint64_t digest_product(selftest *t, const lm_kernels *set, const char *profile, uint64_t digest) {
    const lm_product *product = lm_kernels_product(set, profile);
    product_case p;
    size_t cells;
    draw_operands(t, profile, &p);
    cells = p.m * p.c_stride;
    product->pack(t->packed, t->b, p.k, p.n, p.b_stride, p.b_transposed);
    multiply(product, &p, t, t->c, 0, p.m, 0, p.n);
    product->round(t->got, t->a, p.k);
    return digest_of(digest_of(digest, t->c, cells), t->got, p.k);
}

uint64_t lm_kernels_digest(const lm_kernels *set, uint64_t seed, unsigned rounds) {
    selftest t = {.seed = seed};
    uint64_t digest = UINT64_C(0xcbf29ce484222325);
    bool ready = begin(&t);
    for (t.round = 0; ready && t.round < rounds; t.round++) {
        row_case r;
        size_t room;
        t.draws = 0;
        for (size_t i = 0; i < PROFILES; i++) {
            digest = digest_product(&t, set, profiles[i], digest);
        }
        room = draw_rows(&t, &r);
        for (size_t i = 0; i < OPERATIONS; i++) {
            copy(t.got, t.c, room);
            operations[i].run(set, &r, t.got);
            digest = digest_of(digest, t.got, room);
        }
    }
    end(&t);
    return ready ? digest : 0;
}
